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
	result = gitdb_import(db, buf_bytes(&stream), NULL, NULL, err);
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
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err), ERR_NOT_FOUND);
	/* in the wrong order */
	buf_clear(&tree);
	add_entry(&tree, "100644 a", &blob);
	begin(&stream);
	add_object(&stream, 't', tree.data, tree.len);
	add_object(&stream, 'b', "x", 1);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err), ERR_NOT_FOUND);
	/* a blob as a directory, a directory as a blob */
	buf_clear(&tree);
	add_entry(&tree, "40000 a", &blob);
	begin(&stream);
	add_object(&stream, 'b', "x", 1);
	add_object(&stream, 't', tree.data, tree.len);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err), ERR_INPUT);
	buf_clear(&tree);
	add_entry(&tree, "100644 a", &empty);
	begin(&stream);
	add_object(&stream, 't', "", 0);
	add_object(&stream, 't', tree.data, tree.len);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err), ERR_INPUT);
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
		result = gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err);
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
		FAILS(gitdb_import(store, (struct bytes){stream.data, len}, NULL, NULL, &err),
		      ERR_INPUT);
	sh("test -z \"$(find damaged.git/objects -type f)\"");
	for (size_t at = 0; at < stream.len; at++) {
		uint8_t flip = (uint8_t)(1u << random_below(8));

		stream.data[at] ^= flip;
		assert_in_range(gitdb_import(store, buf_bytes(&stream), NULL, NULL, &err) + 1, 0,
				1);
		stream.data[at] ^= flip;
	}
	gitdb_close(store);
	buf_release(&stream);
	assert_fsck("damaged.git");
}

/* A commit of `tree` on `parent` as text, so that nothing of ours has to make it. */
static void add_commit(struct buf *stream, const struct oid *tree, const struct oid *parent,
		       struct oid *ret)
{
	char tree_hex[OID_HEX_BYTES], parent_hex[OID_HEX_BYTES], text[512];
	int len;

	oid_hex(tree, tree_hex);
	if (parent != NULL)
		oid_hex(parent, parent_hex);
	len = snprintf(text, sizeof(text), "tree %s\n%s%s%sauthor sbx <sbx@localhost> 1 +0000\n%s",
		       tree_hex, parent != NULL ? "parent " : "", parent != NULL ? parent_hex : "",
		       parent != NULL ? "\n" : "", "committer sbx <sbx@localhost> 1 +0000\n\nx\n");
	add_object(stream, 'c', text, (size_t)len);
	sh("printf %%b '%s' >text && git hash-object -t commit --stdin <text >oid", text);
	*ret = sh_oid("cat oid");
}

/* Who has made nothing but `made` may keep that or the base, and stand on nothing else. */
static void claims_are_bound_to_the_base(void **state)
{
	struct gitdb *db = NULL;
	struct err err = {0};
	struct buf stream, none;
	struct oid base, other, empty, made, second, blob;

	(void)state;
	assert_true(oid_parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904", &empty));
	OK(gitdb_create("claims.git", &err));
	OK(gitdb_open("claims.git", GITDB_WRITE, &db, &err));
	OK(gitdb_tree_update(db, NULL, NULL, 0, &empty, &err));
	OK(gitdb_blob_write(db, BYTES("a blob"), &blob, &err));
	OK(gitdb_commit_write(db, &empty, NULL, "base", 1, &base, &err));
	OK(gitdb_commit_write(db, &empty, NULL, "another job's", 1, &other, &err));
	buf_init(&stream, 1 << 20);
	buf_init(&none, 1 << 20);
	begin(&none);
	add_end(&none, 0);

	begin(&stream);
	add_commit(&stream, &empty, &base, &made);
	add_commit(&stream, &empty, &made, &second);
	add_end(&stream, 2);
	FAILS(gitdb_import(db, buf_bytes(&stream), &base, &other, &err), ERR_INPUT);
	FAILS(gitdb_import(db, buf_bytes(&stream), &base, &empty, &err), ERR_INPUT);
	FAILS(gitdb_import(db, buf_bytes(&stream), &base, &blob, &err), ERR_INPUT);
	FAILS(gitdb_import(db, buf_bytes(&stream), &other, &made, &err), ERR_INPUT);
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, &made, &err), ERR_INPUT);
	FAILS(gitdb_import(db, buf_bytes(&none), &base, &made, &err), ERR_INPUT);
	assert_false(gitdb_has(db, &made));
	OK(gitdb_import(db, buf_bytes(&stream), &base, &base, &err));
	OK(gitdb_import(db, buf_bytes(&stream), &base, &made, &err));
	OK(gitdb_import(db, buf_bytes(&stream), &base, &second, &err));
	OK(gitdb_import(db, buf_bytes(&none), &base, &base, &err));
	/* What is there by now did still not come along. */
	FAILS(gitdb_import(db, buf_bytes(&none), &base, &made, &err), ERR_INPUT);
	begin(&stream);
	add_commit(&stream, &empty, NULL, &made);
	add_end(&stream, 1);
	FAILS(gitdb_import(db, buf_bytes(&stream), &base, &made, &err), ERR_INPUT);
	gitdb_close(db);
	buf_release(&stream);
	buf_release(&none);
	assert_fsck("claims.git");
}

/* A million of the smallest objects, and one of the largest, cost an error. */
static void streams_are_bounded(void **state)
{
	enum { MANY = 1 << 20 };
	struct gitdb *db = NULL;
	struct err err = {0};
	struct buf stream;

	(void)state;
	OK(gitdb_create("bounds.git", &err));
	OK(gitdb_open("bounds.git", GITDB_WRITE, &db, &err));
	buf_init(&stream, 64 << 20);
	begin(&stream);
	for (int i = 0; i < MANY; i++)
		add_object(&stream, 'b', &i, sizeof(i));
	add_end(&stream, MANY);
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err), ERR_LIMIT);
	begin(&stream);
	buf_add_text(&stream, "b\xff\xff\xff\xff\xff\xff\xff\x7f");
	FAILS(gitdb_import(db, buf_bytes(&stream), NULL, NULL, &err), ERR_INPUT);
	sh("test -z \"$(find bounds.git/objects -type f)\"");
	gitdb_close(db);
	buf_release(&stream);
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
	OK(gitdb_import(store, buf_bytes(&stream), NULL, NULL, &err));
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
		cmocka_unit_test(claims_are_bound_to_the_base),
		cmocka_unit_test(streams_are_bounded),
		cmocka_unit_test(an_export_is_whole_by_itself),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
