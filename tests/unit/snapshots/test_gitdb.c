/*
 * test_gitdb.c - objects, trees, commits and refs against the real git.
 */
#include "tests/unit/snapshots/git_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#define BYTES(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

/* --- reading ----------------------------------------------------------- */

static void make_repo(const char *name)
{
	sh("git init -q -b main %s && cd %s && mkdir -p dir/sub && echo one >a.txt && "
	   "echo two >dir/b.txt && echo three >dir/sub/c.txt && printf x >dir.txt && "
	   "chmod +x dir/b.txt && ln -s a.txt link && git add . && git commit -q -m first && "
	   "git tag light && git tag -a -m note heavy && echo four >>a.txt && "
	   "git commit -q -a -m second",
	   name, name);
}

static void commits_are_resolved_as_git_does(void **state)
{
	static const char *const names[] = {"HEAD",  "main",  "refs/heads/main", "heads/main",
					    "light", "heavy", "refs/tags/heavy"};
	static const char *const missing[] = {"",
					      "nothing",
					      "-x",
					      "HEAD~1",
					      "main^",
					      "main:a.txt",
					      "../HEAD",
					      "config",
					      "refs/heads/../../config",
					      "0000000000000000000000000000000000000000",
					      "abc"};
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid oid;
	char text[64];

	(void)state;
	make_repo("resolve");
	for (int packed = 0; packed < 2; packed++) {
		OK(gitdb_open("resolve", GITDB_READ, &db, &err));
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			struct oid want =
				sh_oid("git -C resolve rev-parse '%s^{commit}'", names[i]);

			OK(gitdb_resolve(db, names[i], &oid, &err));
			ASSERT_OID(&oid, &want);
			oid_hex(&want, text);
			OK(gitdb_resolve(db, text, &oid, &err));
			ASSERT_OID(&oid, &want);
			text[9] = '\0';
			OK(gitdb_resolve(db, text, &oid, &err));
			ASSERT_OID(&oid, &want);
		}
		for (size_t i = 0; i < ARRAY_LEN(missing); i++)
			FAILS(gitdb_resolve(db, missing[i], &oid, &err), ERR_NOT_FOUND);
		/* A tree is no commit. */
		sh_line(text, sizeof(text), "git -C resolve rev-parse HEAD:dir");
		FAILS(gitdb_resolve(db, text, &oid, &err), ERR_NOT_FOUND);
		gitdb_close(db);
		sh("git -C resolve gc -q && git -C resolve pack-refs --all");
	}
}

static int collect(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct buf *out = ctx;
	char hex[OID_HEX_BYTES];

	oid_hex(&entry->oid, hex);
	buf_printf(out, "%06o %s %s\n", entry->mode, hex, name);
	return 0;
}

static void trees_are_listed_and_looked_up(void **state)
{
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid tree, commit;
	struct gitdb_entry entry;
	struct gitdb_blob blob;
	struct buf out;
	char want[512];

	(void)state;
	make_repo("lookup");
	OK(gitdb_open("lookup/.git", GITDB_READ, &db, &err));
	OK(gitdb_resolve(db, "main", &commit, &err));
	OK(gitdb_commit_tree(db, &commit, &tree, &err));
	assert_true(gitdb_has(db, &tree));
	OK(gitdb_lookup(db, &tree, "dir/sub/c.txt", &entry, &err));
	assert_int_equal(entry.mode, MODE_FILE);
	OK(gitdb_blob_read(db, &entry.oid, 6, &blob, &err));
	assert_int_equal(blob.bytes.len, 6);
	assert_memory_equal(blob.bytes.data, "three\n", 6);
	gitdb_blob_release(&blob);
	FAILS(gitdb_blob_read(db, &entry.oid, 5, &blob, &err), ERR_LIMIT);
	FAILS(gitdb_blob_read(db, &tree, 500, &blob, &err), ERR_INPUT);
	OK(gitdb_lookup(db, &tree, "dir/b.txt", &entry, &err));
	assert_int_equal(entry.mode, MODE_EXEC);
	OK(gitdb_lookup(db, &tree, "link", &entry, &err));
	assert_int_equal(entry.mode, MODE_LINK);
	OK(gitdb_lookup(db, &tree, "dir", &entry, &err));
	assert_int_equal(entry.mode, MODE_TREE);
	assert_int_equal(gitdb_lookup(db, &tree, "dir/none", &entry, &err), 1);
	assert_int_equal(gitdb_lookup(db, &tree, "a.txt/x", &entry, &err), 1);
	assert_int_equal(gitdb_lookup(db, &tree, "dir//b.txt", &entry, &err), 1);
	assert_int_equal(gitdb_lookup(db, &tree, "", &entry, &err), 1);
	buf_init(&out, 4096);
	OK(gitdb_list(db, &tree, collect, &out, &err));
	for (const char *line = buf_text(&out), *end; *line != '\0'; line = end + 1) {
		end = strchr(line, '\n');
		sh_line(want, sizeof(want),
			"git -C lookup ls-tree main '%.*s' | sed 's/ [a-z]* / /; s/\t/ /'",
			(int)(end - line - 48), line + 48);
		assert_int_equal(strlen(want), end - line);
		assert_memory_equal(line, want, strlen(want));
	}
	buf_release(&out);
	gitdb_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_are_resolved_as_git_does),
		cmocka_unit_test(trees_are_listed_and_looked_up),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
