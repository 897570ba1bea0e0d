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

static void ancestors_are_first_parents(void **state)
{
	static const char *const names[] = {"HEAD",   "HEAD~0", "main~",  "main^",
					    "main~2", "main^^", "HEAD~1^"};
	static const char *const missing[] = {"main~3",	 "main^2", "main^{tree}",     "main~x",
					      "main~-1", "~1",	   "main~99999999999"};
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid oid;

	(void)state;
	make_repo("ancestors");
	sh("git -C ancestors commit -q --allow-empty -m third");
	OK(gitdb_open("ancestors", GITDB_READ, &db, &err));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct oid want = sh_oid("git -C ancestors rev-parse '%s'", names[i]);

		OK(gitdb_resolve_ancestor(db, names[i], &oid, &err));
		ASSERT_OID(&oid, &want);
	}
	for (size_t i = 0; i < ARRAY_LEN(missing); i++)
		FAILS(gitdb_resolve_ancestor(db, missing[i], &oid, &err), ERR_NOT_FOUND);
	gitdb_close(db);
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

/* --- rewriting trees --------------------------------------------------- */

enum { FILES_MAX = 64, CASES = 300 };

struct file {
	char path[64];
	uint32_t mode; /* 0: unused */
	struct oid oid;
};

struct model {
	struct file files[FILES_MAX];
};

/* Names that sort differently as files and as directories. */
static void random_path(char *ret, size_t size)
{
	static const char *const names[] = {"a", "a.b", "a-", "a0", "b", "Z", "\xc3\xa9", "a b"};
	unsigned depth = 1 + random_below(4);

	ret[0] = '\0';
	for (unsigned i = 0; i < depth; i++) {
		size_t len = strlen(ret);

		(void)snprintf(ret + len, size - len, "%s%s", i == 0 ? "" : "/",
			       names[random_below(ARRAY_LEN(names))]);
	}
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && path[len] == '/';
}

static const struct file *model_find(const struct model *model, const char *path)
{
	for (size_t i = 0; i < FILES_MAX; i++) {
		if (model->files[i].mode != 0 && strcmp(model->files[i].path, path) == 0)
			return &model->files[i];
	}
	return NULL;
}

static void model_put(struct gitdb *db, struct model *model, const char *path)
{
	static const uint32_t modes[] = {MODE_FILE, MODE_FILE, MODE_EXEC, MODE_LINK, MODE_GITLINK};
	struct file *free_slot = NULL;
	struct err err = {0};
	char text[16];

	for (size_t i = 0; i < FILES_MAX; i++) {
		struct file *file = &model->files[i];

		if (file->mode != 0 && (strcmp(file->path, path) == 0 ||
					is_below(file->path, path) || is_below(path, file->path)))
			file->mode = 0;
		if (file->mode == 0)
			free_slot = file;
	}
	if (free_slot == NULL)
		return;
	(void)snprintf(text, sizeof(text), "%u", random_below(50));
	(void)snprintf(free_slot->path, sizeof(free_slot->path), "%s", path);
	free_slot->mode = modes[random_below(ARRAY_LEN(modes))];
	OK(gitdb_blob_write(db, (struct bytes){(const uint8_t *)text, strlen(text)},
			    &free_slot->oid, &err));
}

static void model_change(struct gitdb *db, struct model *model)
{
	unsigned changes = 1 + random_below(12);
	char path[64];

	for (unsigned i = 0; i < changes; i++) {
		struct file *file = &model->files[random_below(FILES_MAX)];

		if (random_below(3) == 0) {
			file->mode = 0;
			continue;
		}
		random_path(path, sizeof(path));
		model_put(db, model, path);
	}
	if (random_below(60) == 0)
		*model = (struct model){0};
}

/* The edits from one model to another; sometimes a directory goes as one. */
static size_t model_edits(const struct model *from, const struct model *to, struct gitdb_edit *ret)
{
	bool whole = random_below(2) == 0;
	size_t len = 0;

	for (size_t i = 0; i < FILES_MAX; i++) {
		const struct file *old = &from->files[i];
		const struct file *file = &to->files[i];

		if (old->mode != 0 && model_find(to, old->path) == NULL)
			ret[len++] = (struct gitdb_edit){.path = old->path};
		if (file->mode == 0)
			continue;
		old = model_find(from, file->path);
		if (old == NULL || old->mode != file->mode || !oid_equal(&old->oid, &file->oid))
			ret[len++] = (struct gitdb_edit){
				.path = file->path, .mode = file->mode, .oid = file->oid};
	}
	for (size_t i = 0; whole && i < FILES_MAX; i++) {
		static char dir[FILES_MAX][64];
		bool kept = false;

		(void)snprintf(dir[i], sizeof(dir[i]), "%s", from->files[i].path);
		if (from->files[i].mode == 0 || strrchr(dir[i], '/') == NULL)
			continue;
		*strrchr(dir[i], '/') = '\0';
		for (size_t j = 0; j < FILES_MAX; j++)
			kept |= from->files[j].mode != 0 && is_below(from->files[j].path, dir[i]) &&
				model_find(to, from->files[j].path) != NULL;
		for (size_t j = 0; j < len; j++)
			kept |= strcmp(ret[j].path, dir[i]) == 0;
		if (!kept)
			ret[len++] = (struct gitdb_edit){.path = dir[i]};
	}
	for (size_t i = len; i > 1; i--) {
		size_t j = random_below((uint32_t)i);
		struct gitdb_edit swap = ret[i - 1];

		ret[i - 1] = ret[j];
		ret[j] = swap;
	}
	return len;
}

static struct oid git_tree(const struct model *model)
{
	FILE *list = fopen("list", "w");
	char hex[OID_HEX_BYTES];

	assert_non_null(list);
	for (size_t i = 0; i < FILES_MAX; i++) {
		if (model->files[i].mode == 0)
			continue;
		oid_hex(&model->files[i].oid, hex);
		(void)fprintf(list, "%o %s\t%s%c", model->files[i].mode, hex, model->files[i].path,
			      0);
	}
	(void)fclose(list);
	return sh_oid("rm -f index; export GIT_INDEX_FILE=$PWD/index; "
		      "git -C trees.git update-index -z --index-info <list && "
		      "git -C trees.git write-tree --missing-ok");
}

/* 300 random edits, each against git's own write-tree; then all of it goes
 * through export and import, and git finds no fault with it. */
static void trees_are_rewritten_as_git_does(void **state)
{
	static struct gitdb_edit edits[4 * FILES_MAX];
	static struct model model, next;
	struct gitdb *db = NULL;
	struct gitdb *store = NULL;
	struct err err = {0};
	struct oid tree = {{0}}, commit;
	bool first = true;
	struct buf stream;

	(void)state;
	sh("git init -q --bare trees.git && git -C trees.git read-tree --empty");
	OK(gitdb_create("import.git", &err));
	OK(gitdb_open("import.git", GITDB_QUARANTINE, &db, &err));
	OK(gitdb_tree_update(db, NULL, NULL, 0, &tree, &err));
	for (int i = 0; i < CASES; i++) {
		struct oid want, parent = commit;
		size_t len;

		next = model;
		model_change(db, &next);
		len = model_edits(&model, &next, edits);
		OK(gitdb_tree_update(db, &tree, edits, len, &tree, &err));
		want = git_tree(&next);
		ASSERT_OID(&tree, &want);
		OK(gitdb_commit_write(db, &tree, first ? NULL : &parent, "step", 1700000000 + i,
				      &commit, &err));
		first = false;
		model = next;
	}
	buf_init(&stream, 64 << 20);
	OK(gitdb_export(db, &stream, &err));
	gitdb_close(db);

	OK(gitdb_open("import.git", GITDB_WRITE, &store, &err));
	assert_false(gitdb_has(store, &commit));
	OK(gitdb_import(store, buf_bytes(&stream), NULL, NULL, &err));
	OK(gitdb_ref_set(store, "refs/sbx/job-1", &commit, &err));
	assert_fsck("import.git");
	sh("test $(git -C import.git rev-list refs/sbx/job-1 | wc -l) = %d", CASES);
	/* Again changes nothing and fails nothing. */
	OK(gitdb_import(store, buf_bytes(&stream), NULL, NULL, &err));
	gitdb_close(store);
	buf_release(&stream);
}

/* Small objects are written by hand, large ones by libgit2: git reads both. */
static void objects_of_every_size_are_gits(void **state)
{
	static const size_t sizes[] = {0,   1,	 2,    48,   55,   56,	 63,   64,
				       255, 256, 3899, 3900, 3901, 5000, 70000};
	struct gitdb *db = NULL;
	struct err err = {0};

	(void)state;
	OK(gitdb_create("sizes.git", &err));
	OK(gitdb_open("sizes.git", GITDB_WRITE, &db, &err));
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		CLEANUP(gitdb_blob_release) struct gitdb_blob blob = {0};
		uint8_t *content = malloc(sizes[i] + 1);
		struct oid oid, want;
		char hex[OID_HEX_BYTES];

		assert_non_null(content);
		for (size_t k = 0; k < sizes[i]; k++)
			content[k] = (uint8_t)random_below(i % 2 == 0 ? 256 : 2);
		OK(gitdb_blob_write(db, (struct bytes){content, sizes[i]}, &oid, &err));
		OK(gitdb_blob_write(db, (struct bytes){content, sizes[i]}, &want, &err));
		oid_hex(&oid, hex);
		want = sh_oid("git -C sizes.git cat-file blob %s | git hash-object --stdin", hex);
		ASSERT_OID(&oid, &want);
		gitdb_blob_oid((struct bytes){content, sizes[i]}, &want);
		ASSERT_OID(&oid, &want);
		OK(gitdb_blob_read(db, &oid, sizes[i], &blob, &err));
		assert_int_equal(blob.bytes.len, sizes[i]);
		assert_memory_equal(blob.bytes.data, content, sizes[i]);
		free(content);
	}
	gitdb_close(db);
	sh("test -z \"$(find sizes.git -name 'tmp*')\" && "
	   "test $(find sizes.git/objects -type f -perm 444 | wc -l) = %zu",
	   ARRAY_LEN(sizes));
	assert_fsck("sizes.git");
}

static void edits_that_collide_are_refused(void **state)
{
	struct gitdb_edit edit = {.path = "dir", .mode = MODE_FILE};
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid tree, base, blob;

	(void)state;
	make_repo("collide");
	OK(gitdb_open("collide", GITDB_QUARANTINE, &db, &err));
	OK(gitdb_resolve(db, "main", &base, &err));
	OK(gitdb_commit_tree(db, &base, &base, &err));
	OK(gitdb_blob_write(db, BYTES("new"), &blob, &err));
	edit.oid = blob;
	FAILS(gitdb_tree_update(db, &base, &edit, 1, &tree, &err), ERR_CONFLICT);
	edit.path = "a.txt/below";
	FAILS(gitdb_tree_update(db, &base, &edit, 1, &tree, &err), ERR_CONFLICT);
	/* Removing what is not there changes nothing. */
	edit = (struct gitdb_edit){.path = "a.txt/below"};
	OK(gitdb_tree_update(db, &base, &edit, 1, &tree, &err));
	ASSERT_OID(&tree, &base);
	edit.path = "none/none";
	OK(gitdb_tree_update(db, &base, &edit, 1, &tree, &err));
	ASSERT_OID(&tree, &base);
	gitdb_close(db);
}

/* --- the quarantine ---------------------------------------------------- */

static void a_quarantine_leaves_no_trace(void **state)
{
	struct gitdb_edit edit = {.path = "dir/new", .mode = MODE_FILE};
	struct gitdb *db = NULL;
	struct err err = {0};
	struct gitdb_blob blob;
	struct oid commit, tree, oid;
	char before[128], after[128];

	(void)state;
	make_repo("trace");
	sh_line(before, sizeof(before), "find trace -printf '%%p %%s %%T@ %%i\\n' | sort | md5sum");
	OK(gitdb_open("trace", GITDB_QUARANTINE, &db, &err));
	OK(gitdb_resolve(db, "main", &commit, &err));
	OK(gitdb_commit_tree(db, &commit, &tree, &err));
	OK(gitdb_blob_write(db, BYTES("two\n"), &oid, &err)); /* there already */
	OK(gitdb_blob_write(db, BYTES("fresh"), &edit.oid, &err));
	gitdb_blob_oid(BYTES("fresh"), &oid);
	ASSERT_OID(&oid, &edit.oid);
	OK(gitdb_tree_update(db, &tree, &edit, 1, &tree, &err));
	OK(gitdb_commit_write(db, &tree, &commit, "x", 1, &commit, &err));
	OK(gitdb_blob_read(db, &edit.oid, 5, &blob, &err));
	assert_memory_equal(blob.bytes.data, "fresh", 5);
	gitdb_blob_release(&blob);
	gitdb_close(db);
	sh_line(after, sizeof(after), "find trace -printf '%%p %%s %%T@ %%i\\n' | sort | md5sum");
	assert_string_equal(before, after);
}

/* --- refs -------------------------------------------------------------- */

static void refs_are_set_moved_and_deleted(void **state)
{
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid tree, first, second, got, want;

	(void)state;
	OK(gitdb_create("refs.git", &err));
	OK(gitdb_open("refs.git", GITDB_WRITE, &db, &err));
	OK(gitdb_tree_update(db, NULL, NULL, 0, &tree, &err));
	OK(gitdb_commit_write(db, &tree, NULL, "one", 1, &first, &err));
	OK(gitdb_commit_write(db, &tree, &first, "two", 2, &second, &err));
	FAILS(gitdb_ref_get(db, "refs/sbx/j", &got, &err), ERR_NOT_FOUND);
	OK(gitdb_ref_set(db, "refs/sbx/j", &first, &err));
	OK(gitdb_ref_set(db, "refs/sbx/j", &second, &err));
	OK(gitdb_ref_get(db, "refs/sbx/j", &got, &err));
	ASSERT_OID(&got, &second);
	want = sh_oid("git -C refs.git rev-parse refs/sbx/j");
	ASSERT_OID(&got, &want);
	sh("git -C refs.git tag -a -m note t refs/sbx/j && git -C refs.git pack-refs --all");
	OK(gitdb_ref_get(db, "refs/sbx/j", &got, &err));
	ASSERT_OID(&got, &second);
	OK(gitdb_ref_set(db, "refs/sbx/j", &first, &err));
	OK(gitdb_ref_get(db, "refs/sbx/j", &got, &err));
	ASSERT_OID(&got, &first);
	OK(gitdb_ref_delete(db, "refs/sbx/j", &err));
	FAILS(gitdb_ref_get(db, "refs/sbx/j", &got, &err), ERR_NOT_FOUND);
	sh("git -C refs.git rev-parse -q --verify t^{commit} >/dev/null");
	OK(gitdb_ref_delete(db, "refs/sbx/j", &err));
	FAILS(gitdb_ref_set(db, "refs/../config", &first, &err), ERR_INPUT);
	FAILS(gitdb_ref_set(db, "HEAD", &first, &err), ERR_INPUT);
	FAILS(gitdb_ref_set(db, "refs/x.lock", &first, &err), ERR_INPUT);
	gitdb_close(db);
	sh("test -z \"$(find refs.git -name 'sbx-ref-*')\"");
	assert_fsck("refs.git");
}

/* --- repositories of every kind ---------------------------------------- */

static void kinds_of_repositories(void **state)
{
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid oid;

	(void)state;
	make_repo("kinds");
	sh("git clone -q --shared kinds borrowed && git -C kinds worktree add -q ../linked light "
	   "&& "
	   "git init -q --object-format=sha256 newer && mkdir none");
	OK(gitdb_open("borrowed", GITDB_READ, &db, &err));
	OK(gitdb_resolve(db, "main", &oid, &err));
	gitdb_close(db);
	OK(gitdb_open("linked", GITDB_READ, &db, &err));
	OK(gitdb_resolve(db, "HEAD", &oid, &err));
	gitdb_close(db);
	FAILS(gitdb_open("newer", GITDB_READ, &db, &err), ERR_UNSUPPORTED);
	FAILS(gitdb_open("none", GITDB_READ, &db, &err), ERR_NOT_FOUND);
	FAILS(gitdb_open("absent", GITDB_READ, &db, &err), ERR_NOT_FOUND);
	/* The configuration is not obeyed, not even read as one. */
	sh("mkfifo fifo && git -C kinds config include.path \"$PWD/fifo\"");
	OK(gitdb_open("kinds", GITDB_READ, &db, &err));
	OK(gitdb_resolve(db, "main", &oid, &err));
	gitdb_close(db);
}

static void corrupt_objects_are_errors(void **state)
{
	struct gitdb *db = NULL;
	struct err err = {0};
	struct gitdb_entry entry;
	struct gitdb_blob blob;
	struct oid tree;

	(void)state;
	make_repo("corrupt");
	OK(gitdb_open("corrupt", GITDB_READ, &db, &err));
	tree = sh_oid("git -C corrupt rev-parse 'main^{tree}'");
	OK(gitdb_lookup(db, &tree, "a.txt", &entry, &err));
	gitdb_close(db);
	sh("cd corrupt && o=.git/objects/$(git rev-parse main:a.txt | sed 's,^..,&/,') && "
	   "chmod u+w $o && printf garbage >$o");
	OK(gitdb_open("corrupt", GITDB_READ, &db, &err));
	assert_int_equal(gitdb_blob_read(db, &entry.oid, 100, &blob, &err), -1);
	gitdb_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_are_resolved_as_git_does),
		cmocka_unit_test(ancestors_are_first_parents),
		cmocka_unit_test(trees_are_listed_and_looked_up),
		cmocka_unit_test(trees_are_rewritten_as_git_does),
		cmocka_unit_test(objects_of_every_size_are_gits),
		cmocka_unit_test(edits_that_collide_are_refused),
		cmocka_unit_test(a_quarantine_leaves_no_trace),
		cmocka_unit_test(refs_are_set_moved_and_deleted),
		cmocka_unit_test(kinds_of_repositories),
		cmocka_unit_test(corrupt_objects_are_errors),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
