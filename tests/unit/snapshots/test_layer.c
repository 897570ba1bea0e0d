/*
 * test_layer.c - changes and tree of a layer against what git add and git diff
 * make of the same work tree.
 */
#include "tests/unit/snapshots/git_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "snapshots/layer.h"

#define BYTES(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static const struct layer_limits LIMITS = {
	.changes = 1000, .file_bytes = 1 << 20, .total_bytes = 4 << 20};

struct rig {
	struct arena arena;
	struct gitdb *db;
	struct oid base;
	struct layer layer;
};

static void rig_open(struct rig *rig, const char *repo, const struct layer_limits *limits)
{
	struct err err = {0};

	*rig = (struct rig){0};
	arena_init(&rig->arena, 64 << 20);
	OK(gitdb_open(repo, GITDB_QUARANTINE, &rig->db, &err));
	OK(gitdb_resolve(rig->db, "main", &rig->base, &err));
	OK(gitdb_commit_tree(rig->db, &rig->base, &rig->base, &err));
	OK(layer_init(&rig->layer, &rig->arena, rig->db, &rig->base, limits, &err));
}

static void rig_close(struct rig *rig)
{
	gitdb_close(rig->db);
	arena_release(&rig->arena);
}

/* --- against git ------------------------------------------------------- */

enum { NAMES_MAX = 64, CASES = 80 };

static void random_path(char *ret, size_t size)
{
	static const char *const names[] = {"a", "a.b", "a-", "b", "c d", "\xc3\xa9"};
	unsigned depth = 1 + random_below(3);

	ret[0] = '\0';
	for (unsigned i = 0; i < depth; i++) {
		size_t len = strlen(ret);

		(void)snprintf(ret + len, size - len, "%s%s", i == 0 ? "" : "/",
			       names[random_below(ARRAY_LEN(names))]);
	}
}

static void remove_path(const char *path)
{
	if (unlink(path) < 0 && errno == EISDIR)
		sh("rm -rf 'work/%s'", path + strlen("work/"));
}

/* Makes a file or link there, whatever is in the way. */
static void put_random(const char *path)
{
	char full[128], part[128], text[32];
	struct stat st;
	int fd;

	(void)snprintf(full, sizeof(full), "work/%s", path);
	for (char *slash = strchr(full + 5, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - full), full);
		if (lstat(part, &st) == 0 && !S_ISDIR(st.st_mode))
			assert_int_equal(unlink(part), 0);
		assert_true(mkdir(part, 0755) == 0 || errno == EEXIST);
	}
	remove_path(full);
	(void)snprintf(text, sizeof(text), "content %u", random_below(6));
	if (random_below(5) == 0) {
		assert_int_equal(symlink(text, full), 0);
		return;
	}
	fd = open(full, O_WRONLY | O_CREAT | O_EXCL, random_below(2) == 0 ? 0755 : 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

static void change_work_tree(void)
{
	char path[64], full[128];

	for (unsigned i = 1 + random_below(12); i > 0; i--) {
		random_path(path, sizeof(path));
		(void)snprintf(full, sizeof(full), "work/%s", path);
		if (random_below(3) == 0)
			remove_path(full);
		else
			put_random(path);
	}
}

/* Reports one entry; an unchanged one sometimes, as if it was copied up. */
static void report_file(struct rig *rig, const char *path, const char *full, const struct stat *st)
{
	struct gitdb_entry old;
	struct err err = {0};
	char text[64];
	struct oid oid;
	ssize_t len;
	int got;

	if (S_ISLNK(st->st_mode)) {
		len = readlink(full, text, sizeof(text));
	} else {
		int fd = open(full, O_RDONLY | O_CLOEXEC);

		len = read(fd, text, sizeof(text));
		(void)close(fd);
	}
	assert_true(len >= 0);
	gitdb_blob_oid((struct bytes){(const uint8_t *)text, (size_t)len}, &oid);
	got = gitdb_lookup(rig->db, &rig->base, path, &old, &err);
	assert_true(got >= 0);
	if (got == 0 && oid_equal(&old.oid, &oid) &&
	    old.mode == (S_ISLNK(st->st_mode)	     ? (uint32_t)MODE_LINK
			 : (st->st_mode & 0100) != 0 ? (uint32_t)MODE_EXEC
						     : (uint32_t)MODE_FILE) &&
	    random_below(3) != 0)
		return;
	OK(layer_file(&rig->layer, path, st->st_mode,
		      (struct bytes){(const uint8_t *)text, (size_t)len}, &err));
}

static void report_dir(struct rig *rig, const char *path)
{
	char full[128], names[NAMES_MAX][64], below[128];
	const char *list[NAMES_MAX + 1];
	const struct dirent *entry;
	struct err err = {0};
	struct stat st;
	size_t len = 0;
	DIR *stream;

	(void)snprintf(full, sizeof(full), "work/%s", path);
	stream = opendir(full);
	assert_non_null(stream);
	while ((entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		assert_true(len < NAMES_MAX);
		(void)snprintf(names[len], sizeof(names[len]), "%.60s", entry->d_name);
		list[len] = names[len];
		len++;
	}
	(void)closedir(stream);
	list[len] = NULL;
	OK(layer_dir(&rig->layer, path, list, &err));
	for (size_t i = 0; i < len; i++) {
		(void)snprintf(below, sizeof(below), "%s%s%s", path, path[0] != '\0' ? "/" : "",
			       names[i]);
		(void)snprintf(full, sizeof(full), "work/%.120s", below);
		assert_int_equal(lstat(full, &st), 0);
		if (S_ISDIR(st.st_mode))
			report_dir(rig, below);
		else
			report_file(rig, below, full, &st);
	}
}

/* The changes as git diff-tree --name-status -z --no-renames has them. */
static void assert_changes(const struct layer *layer, const struct oid *base,
			   const struct oid *tree)
{
	char base_hex[OID_HEX_BYTES], tree_hex[OID_HEX_BYTES];
	struct err err = {0};
	struct buf ours, theirs;

	oid_hex(base, base_hex);
	oid_hex(tree, tree_hex);
	sh("git -C layer.git diff-tree -r --no-renames --name-status %s %s -z | tr '\\0' '\\n' | "
	   "paste - - | sed 's/^T/M/' | LC_ALL=C sort -k2 >theirs",
	   base_hex, tree_hex);
	buf_init(&ours, 1 << 20);
	buf_init(&theirs, 1 << 20);
	for (size_t i = 0; i < layer->changes_len; i++) {
		const struct result_file *file = &layer->changes[i];

		assert_true(i == 0 || strcmp(file[-1].path, file->path) <= 0);
		buf_printf(&ours, "%c\t%s\n", "AMD"[file->status], file -> path);
	}
	{
		int fd = open("ours", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		assert_true(fd >= 0);
		OK(fd_write_all(fd, buf_text(&ours), ours.len, &err));
		(void)close(fd);
	}
	sh("LC_ALL=C sort -k2 ours | diff -u theirs - >&2");
	buf_release(&ours);
	buf_release(&theirs);
}

static void layers_equal_what_git_sees(void **state)
{
	static const char *const git = "git --git-dir=layer.git --work-tree=work";

	(void)state;
	sh("mkdir work && git init -q --bare -b main layer.git && cd layer.git && git config "
	   "core.bare false && git config core.fileMode true");
	for (int i = 0; i < CASES; i++) {
		struct err err = {0};
		struct oid tree, want;
		struct rig rig;

		if (i % 8 == 0) {
			sh("rm -rf work && mkdir work");
			for (int j = 0; j < 5; j++)
				change_work_tree();
		}
		sh("%s add -A && %s commit -q --allow-empty -m base", git, git);
		change_work_tree();
		rig_open(&rig, "layer.git", &LIMITS);
		report_dir(&rig, "");
		OK(layer_tree(&rig.layer, &tree, &err));
		want = sh_oid("%s add -A && %s write-tree", git, git);
		ASSERT_OID(&tree, &want);
		assert_false(rig.layer.truncated);
		assert_changes(&rig.layer, &rig.base, &want);
		rig_close(&rig);
	}
}

/* --- the single rules -------------------------------------------------- */

static void make_repo(const char *name)
{
	sh("git init -q -b main %s && cd %s && mkdir -p dir/sub && echo one >a.txt && "
	   "echo two >dir/b.txt && echo three >dir/sub/c.txt && git add . && "
	   "git update-index --add --cacheinfo 160000,1111111111111111111111111111111111111111,mod "
	   "&& "
	   "git commit -q -m first",
	   name, name);
}

static void nothing_changed_is_the_base(void **state)
{
	static const char *const top[] = {"a.txt", "mod", "dir", NULL};
	struct err err = {0};
	struct rig rig;
	struct oid tree;

	(void)state;
	make_repo("nothing");
	rig_open(&rig, "nothing", &LIMITS);
	OK(layer_dir(&rig.layer, "", top, &err));
	OK(layer_file(&rig.layer, "a.txt", 0100664, BYTES("one\n"), &err));
	OK(layer_tree(&rig.layer, &tree, &err));
	ASSERT_OID(&tree, &rig.base);
	assert_int_equal(rig.layer.changes_len, 0);
	assert_false(rig.layer.truncated);
	rig_close(&rig);
}

static void bounds_are_kept_and_told(void **state)
{
	static const char *const top[] = {"dir", "mod", "big", "small", NULL};
	const struct layer_limits limits = {.changes = 4, .file_bytes = 5, .total_bytes = 6};
	struct gitdb_entry entry;
	struct err err = {0};
	struct rig rig;
	struct oid tree;

	(void)state;
	make_repo("told");
	rig_open(&rig, "told", &limits);
	OK(layer_dir(&rig.layer, "", top, &err)); /* a.txt is gone */
	OK(layer_file(&rig.layer, "big", 0100644, BYTES("123456"), &err));
	assert_true(rig.layer.truncated);
	OK(layer_file(&rig.layer, "small", 0100644, BYTES("12345"), &err));
	OK(layer_file(&rig.layer, "dir/b.txt", 0100644, BYTES("12"), &err)); /* beyond the total */
	OK(layer_file(&rig.layer, "dir/fifth", 0100644, BYTES("1"), &err));  /* beyond the list */
	OK(layer_tree(&rig.layer, &tree, &err));
	assert_int_equal(rig.layer.changes_len, 4);
	assert_string_equal(rig.layer.changes[0].path, "a.txt");
	assert_int_equal(rig.layer.changes[0].status, CHANGE_DELETED);
	assert_string_equal(rig.layer.changes[1].path, "big");
	assert_int_equal(rig.layer.changes[1].size_bytes, 6);
	assert_string_equal(rig.layer.changes[2].path, "dir/b.txt");
	assert_int_equal(rig.layer.changes[2].status, CHANGE_MODIFIED);
	assert_int_equal(gitdb_lookup(rig.db, &tree, "a.txt", &entry, &err), 1);
	assert_int_equal(gitdb_lookup(rig.db, &tree, "big", &entry, &err), 1);
	assert_int_equal(gitdb_lookup(rig.db, &tree, "dir/fifth", &entry, &err), 1);
	OK(gitdb_lookup(rig.db, &tree, "small", &entry, &err));
	OK(gitdb_lookup(rig.db, &tree, "dir/b.txt", &entry, &err));
	rig_close(&rig);
}

static void what_git_cannot_hold_is_left_out(void **state)
{
	static const char *const paths[] = {".git/config",  "dir/.GIT/hooks/x",
					    "dir/../a.txt", "/a",
					    "a//b",	    "",
					    "dir/\xff",	    "a/./b",
					    "git~1",	    ".g\xe2\x80\x8cit/x"};
	struct err err = {0};
	struct oid tree;

	(void)state;
	make_repo("cannot");
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct rig rig;

		rig_open(&rig, "cannot", &LIMITS);
		OK(layer_file(&rig.layer, paths[i], 0100644, BYTES("x"), &err));
		assert_true(rig.layer.truncated);
		OK(layer_large(&rig.layer, paths[i], 0100644, 1, &err));
		assert_int_equal(rig.layer.changes_len, 0);
		OK(layer_tree(&rig.layer, &tree, &err));
		ASSERT_OID(&tree, &rig.base);
		rig_close(&rig);
	}
}

static void submodules_stay(void **state)
{
	static const char *const top[] = {"a.txt", "dir", "mod", NULL};
	static const char *const gone[] = {"a.txt", "dir", NULL};
	static const char *const inside[] = {"file", "deep", NULL};
	static const char *const none[] = {NULL};
	struct gitdb_entry entry;
	struct err err = {0};
	struct rig rig;
	struct oid tree;

	(void)state;
	make_repo("modules");
	rig_open(&rig, "modules", &LIMITS);
	OK(layer_dir(&rig.layer, "", top, &err));
	OK(layer_dir(&rig.layer, "mod", inside, &err));
	OK(layer_file(&rig.layer, "mod/file", 0100644, BYTES("x"), &err));
	OK(layer_dir(&rig.layer, "mod/deep", none, &err));
	OK(layer_file(&rig.layer, "mod/deep/file", 0100644, BYTES("x"), &err));
	OK(layer_tree(&rig.layer, &tree, &err));
	ASSERT_OID(&tree, &rig.base);
	assert_int_equal(rig.layer.changes_len, 2);
	assert_true(rig.layer.truncated);
	rig_close(&rig);
	rig_open(&rig, "modules", &LIMITS);
	OK(layer_dir(&rig.layer, "", gone, &err));
	OK(layer_tree(&rig.layer, &tree, &err));
	assert_int_equal(gitdb_lookup(rig.db, &tree, "mod", &entry, &err), 1);
	rig_close(&rig);
}

/* Whoever reports the same file twice is not believed. */
static void a_file_seen_twice_is_an_error(void **state)
{
	struct err err = {0};
	struct rig rig;
	struct oid tree;

	(void)state;
	make_repo("twice");
	rig_open(&rig, "twice", &LIMITS);
	OK(layer_file(&rig.layer, "new", 0100644, BYTES("x"), &err));
	OK(layer_file(&rig.layer, "new", 0100644, BYTES("y"), &err));
	FAILS(layer_tree(&rig.layer, &tree, &err), ERR_INPUT);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_equal_what_git_sees),
		cmocka_unit_test(nothing_changed_is_the_base),
		cmocka_unit_test(bounds_are_kept_and_told),
		cmocka_unit_test(what_git_cannot_hold_is_left_out),
		cmocka_unit_test(submodules_stay),
		cmocka_unit_test(a_file_seen_twice_is_an_error),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
