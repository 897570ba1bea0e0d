/*
 * test_import.c - streams of objects from an executor that is not trusted.
 */
#include "tests/unit/snapshots/git_fixture.h"

#define BYTES(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

/* --- hostile streams --------------------------------------------------- */

static void add_object(struct buf *stream, char type, const void *data, size_t len)
{
	buf_add_byte(stream, (uint8_t)type);
	for (unsigned i = 0; i < 8; i++)
		buf_add_byte(stream, (uint8_t)(len >> (8 * i)));
	buf_add(stream, data, len);
}

static void add_end(struct buf *stream, size_t count)
{
	buf_add_byte(stream, 'e');
	for (unsigned i = 0; i < 8; i++)
		buf_add_byte(stream, (uint8_t)(count >> (8 * i)));
}

static void begin(struct buf *stream)
{
	buf_clear(stream);
	buf_add(stream, "sbxobj1\n", 8);
}

static void add_entry(struct buf *tree, const char *mode_and_name, const struct oid *oid)
{
	buf_add(tree, mode_and_name, strlen(mode_and_name) + 1);
	buf_add(tree, oid->raw, OID_BYTES);
}

/* Imports blob "x" (1), an empty tree (2) and a tree of the given entries. */
static int import_tree(struct gitdb *db, const char *const *entries, size_t len, struct err *err)
{
	struct buf tree, stream;
	struct oid blob, empty;
	int result;

	gitdb_blob_oid(BYTES("x"), &blob);
	assert_true(oid_parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904", &empty));
	buf_init(&tree, 1 << 20);
	buf_init(&stream, 1 << 20);
	for (size_t i = 0; i < len; i++)
		add_entry(&tree, entries[i],
			  strncmp(entries[i], "40000 ", 6) == 0 ? &empty : &blob);
	begin(&stream);
	add_object(&stream, 'b', "x", 1);
	add_object(&stream, 't', "", 0);
	add_object(&stream, 't', tree.data, tree.len);
	add_end(&stream, 3);
	result = gitdb_import(db, buf_bytes(&stream), err);
	buf_release(&tree);
	buf_release(&stream);
	return result;
}

static void hostile_trees_are_refused(void **state)
{
	static const struct {
		const char *entries[3];
		size_t len;
		bool good;
	} rows[] = {
		{{"100644 a", "100755 b", "120000 c"}, 3, true},
		{{"100644 a", "100644 a.b", "40000 a0"}, 3, true},
		{{"100644 a-b", "40000 a", "100644 a0"}, 3, true},
		{{"160000 module"}, 1, true},
		{{"100644 .gitignore", "100644 git", "100644 git~2"}, 3, true},
		{{"100644 b", "100644 a"}, 2, false},
		{{"100644 a", "100644 a"}, 2, false},
		{{"100644 a", "100644 a.b", "40000 a"}, 3, false},
		{{"40000 a", "100644 a-b"}, 2, false},
		{{"100664 a"}, 1, false},
		{{"100600 a"}, 1, false},
		{{"104755 a"}, 1, false},
		{{"040000 a"}, 1, false},
		{{"0100644 a"}, 1, false},
		{{"177777 a"}, 1, false},
		{{"0 a"}, 1, false},
		{{"100644  a"}, 1, true}, /* a leading blank is part of the name */
		{{"100644 "}, 1, false},
		{{"100644"}, 1, false},
		{{"100844 a"}, 1, false},
		{{"100644 ."}, 1, false},
		{{"40000 .."}, 1, false},
		{{"100644 a/b"}, 1, false},
		{{"40000 .git"}, 1, false},
		{{"40000 .GiT"}, 1, false},
		{{"40000 .git "}, 1, false},
		{{"40000 .git.."}, 1, false},
		{{"40000 .git::$INDEX_ALLOCATION"}, 1, false},
		{{"40000 GIT~1"}, 1, false},
		{{"40000 .g\xe2\x80\x8cit"}, 1, false},
		{{"40000 .git\xef\xbb\xbf"}, 1, false},
	};
	struct gitdb *db = NULL;
	struct err err = {0};

	(void)state;
	OK(gitdb_create("hostile-trees.git", &err));
	OK(gitdb_open("hostile-trees.git", GITDB_WRITE, &db, &err));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int result = import_tree(db, rows[i].entries, rows[i].len, &err);

		if (rows[i].good != (result == 0))
			fail_msg("row %zu ('%s'): %d %s", i, rows[i].entries[0], result,
				 err.message);
	}
	gitdb_close(db);
	assert_fsck("hostile-trees.git");
}

static void references_must_exist_and_have_their_type(void **state)
{
	struct gitdb *db = NULL;
	struct err err = {0};
	struct buf stream, tree;
	struct oid blob, empty, other;

	(void)state;
	OK(gitdb_create("hostile-refs.git", &err));
	OK(gitdb_open("hostile-refs.git", GITDB_WRITE, &db, &err));
	buf_init(&stream, 1 << 20);
	buf_init(&tree, 1 << 20);
	gitdb_blob_oid(BYTES("x"), &blob);
	gitdb_blob_oid(BYTES("never sent"), &other);
	assert_true(oid_parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904", &empty));

	/* missing */
	add_entry(&tree, "100644 a", &other);
	begin(&stream);
	add_object(&stream, 't', tree.data, tree.len);
	add_end(&stream, 1);
	FAILS(gitdb_import(db, buf_bytes(&stream), &err), ERR_NOT_FOUND);
	/* in the wrong order */
	buf_clear(&tree);
	add_entry(&tree, "100644 a", &blob);
	begin(&stream);
	add_object(&stream, 't', tree.data, tree.len);
	add_object(&stream, 'b', "x", 1);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), &err), ERR_NOT_FOUND);
	/* a blob as a directory, a directory as a blob */
	buf_clear(&tree);
	add_entry(&tree, "40000 a", &blob);
	begin(&stream);
	add_object(&stream, 'b', "x", 1);
	add_object(&stream, 't', tree.data, tree.len);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), &err), ERR_INPUT);
	buf_clear(&tree);
	add_entry(&tree, "100644 a", &empty);
	begin(&stream);
	add_object(&stream, 't', "", 0);
	add_object(&stream, 't', tree.data, tree.len);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), &err), ERR_INPUT);
	/* none of all this left anything behind */
	assert_false(gitdb_has(db, &blob));
	assert_false(gitdb_has(db, &empty));
	sh("test -z \"$(find hostile-refs.git/objects -type f)\"");
	gitdb_close(db);
	buf_release(&stream);
	buf_release(&tree);
}

static void hostile_commits_are_refused(void **state)
{
#define TREE_LINE "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
#define BLOB_OID  "c1b0730e0133e4ce6e5a5a1b7b5d1f6d3e2c1b00"
#define AUTHOR	  "author sbx <sbx@localhost> 1 +0000\n"
#define COMMITTER "committer sbx <sbx@localhost> 1 +0000\n"
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{TREE_LINE AUTHOR COMMITTER "\nok\n", true},
		{AUTHOR COMMITTER "\nno tree\n", false},
		{"tree " BLOB_OID "\n" AUTHOR COMMITTER "\nmissing tree\n", false},
		{TREE_LINE "parent " BLOB_OID "\n" AUTHOR COMMITTER "\nmissing parent\n", false},
		{TREE_LINE "parent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n" AUTHOR COMMITTER
			   "\nparent is a tree\n",
		 false},
		{TREE_LINE TREE_LINE AUTHOR COMMITTER "\ntwo trees\n", false},
		{TREE_LINE AUTHOR "\nno committer\n", false},
		{TREE_LINE "author Linus <l@example.org> 1 +0000\n" COMMITTER "\nforged\n", false},
		{TREE_LINE AUTHOR COMMITTER "encoding latin1\n\nheader\n", false},
		{TREE_LINE AUTHOR COMMITTER "\nno newline", false},
		{TREE_LINE AUTHOR COMMITTER "\n\xff\n", false},
		{TREE_LINE AUTHOR COMMITTER, false},
		{"", false},
	};
	struct gitdb *db = NULL;
	struct err err = {0};
	struct buf stream;

	(void)state;
	OK(gitdb_create("hostile-commits.git", &err));
	OK(gitdb_open("hostile-commits.git", GITDB_WRITE, &db, &err));
	buf_init(&stream, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int result;

		begin(&stream);
		add_object(&stream, 't', "", 0);
		add_object(&stream, 'c', rows[i].text, strlen(rows[i].text));
		add_end(&stream, 2);
		result = gitdb_import(db, buf_bytes(&stream), &err);
		if (rows[i].good != (result == 0))
			fail_msg("row %zu: %d %s", i, result, err.message);
	}
	gitdb_close(db);
	buf_release(&stream);
}

/* Every cut and every flipped byte of a good stream is refused, or harmless:
 * then the repository is still without fault. */
static void damaged_streams_are_refused(void **state)
{
	struct gitdb *db = NULL;
	struct gitdb *store = NULL;
	struct err err = {0};
	struct gitdb_edit edits[2] = {{.path = "dir/a", .mode = MODE_FILE},
				      {.path = "b", .mode = MODE_LINK}};
	struct oid tree, commit;
	struct buf stream;

	(void)state;
	OK(gitdb_create("damaged.git", &err));
	OK(gitdb_open("damaged.git", GITDB_QUARANTINE, &db, &err));
	OK(gitdb_blob_write(db, BYTES("content"), &edits[0].oid, &err));
	OK(gitdb_blob_write(db, BYTES("dir/a"), &edits[1].oid, &err));
	OK(gitdb_tree_update(db, NULL, edits, 2, &tree, &err));
	OK(gitdb_commit_write(db, &tree, NULL, "message", 5, &commit, &err));
	buf_init(&stream, 1 << 20);
	OK(gitdb_export(db, &stream, &err));
	gitdb_close(db);
	OK(gitdb_open("damaged.git", GITDB_WRITE, &store, &err));
	for (size_t len = 0; len < stream.len; len++)
		FAILS(gitdb_import(store, (struct bytes){stream.data, len}, &err), ERR_INPUT);
	sh("test -z \"$(find damaged.git/objects -type f)\"");
	for (size_t at = 0; at < stream.len; at++) {
		uint8_t flip = (uint8_t)(1u << random_below(8));

		stream.data[at] ^= flip;
		assert_in_range(gitdb_import(store, buf_bytes(&stream), &err) + 1, 0, 1);
		stream.data[at] ^= flip;
	}
	gitdb_close(store);
	buf_release(&stream);
	assert_fsck("damaged.git");
}

/* What another job has left on disk may be deleted before this one's arrive. */
static void an_export_is_whole_by_itself(void **state)
{
	struct gitdb *db = NULL;
	struct gitdb *store = NULL;
	struct err err = {0};
	struct gitdb_edit edit = {.path = "a", .mode = MODE_FILE};
	struct oid tree, commit;
	struct buf stream;

	(void)state;
	buf_init(&stream, 1 << 20);
	OK(gitdb_create("whole.git", &err));
	OK(gitdb_open("whole.git", GITDB_WRITE, &store, &err));
	OK(gitdb_blob_write(store, BYTES("common"), &edit.oid, &err));
	OK(gitdb_tree_update(store, NULL, &edit, 1, &tree, &err));
	gitdb_close(store);
	OK(gitdb_open("whole.git", GITDB_QUARANTINE, &db, &err));
	OK(gitdb_blob_write(db, BYTES("common"), &edit.oid, &err));
	OK(gitdb_blob_write(db, BYTES("common"), &edit.oid, &err));
	OK(gitdb_tree_update(db, NULL, &edit, 1, &tree, &err));
	OK(gitdb_commit_write(db, &tree, NULL, "message", 5, &commit, &err));
	OK(gitdb_export(db, &stream, &err));
	gitdb_close(db);
	sh("find whole.git/objects -type f -delete");
	OK(gitdb_open("whole.git", GITDB_WRITE, &store, &err));
	OK(gitdb_import(store, buf_bytes(&stream), &err));
	gitdb_close(store);
	buf_release(&stream);
	assert_fsck("whole.git");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_trees_are_refused),
		cmocka_unit_test(references_must_exist_and_have_their_type),
		cmocka_unit_test(hostile_commits_are_refused),
		cmocka_unit_test(damaged_streams_are_refused),
		cmocka_unit_test(an_export_is_whole_by_itself),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
