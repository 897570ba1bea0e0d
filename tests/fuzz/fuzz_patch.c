/*
 * fuzz_patch.c - any bytes as the diff of a job, against a tree that has what
 * tempts: links, a submodule, protected files, every kind of line end. The
 * oracle reads the resulting tree by itself: it is the base with the edits that
 * were reported and nothing else, every tree of it is one that git takes, no
 * link leads out, nothing lies below what stays a file, what is protected is
 * still there, and a refusal has left no object.
 *
 *	one byte of switches, then the diff
 */
#include <ftw.h>

#include "schema/limits.h"
#include "snapshots/gitdb_store.h"
#include "snapshots/guard.h"
#include "snapshots/patch.h"
#include "tests/fuzz/fuzz.h"

#define ALLOWED "package.json" /* which a job may lift, where the worker lets it */

enum { FILES_MAX = 4096, ARENA_BYTES = 64 << 20 };

/* A tree as the list of its files, in git's order. */
struct flat {
	struct arena *arena;
	struct gitdb *db;
	const char *prefix;
	struct gitdb_edit *files;
	size_t len;
};

static const struct base_file {
	const char *path;
	uint32_t mode;
	const char *content;
} base_files[] = {
	{".github/workflows/ci.yml", MODE_FILE, "on: push\njobs:\n  test:\n    run: make test\n"},
	{".gitignore", MODE_FILE, "*.o\nbuild/\n"},
	{"LICENSE", MODE_FILE, "MIT\n"},
	{"README.md", MODE_FILE, "# base\n\nSome words.\n"},
	{"bin.dat", MODE_FILE, "\x01\x02\x7f\xff binary"},
	{"crlf.txt", MODE_FILE, "one\r\ntwo\r\nthree\r\n"},
	{"dup.c", MODE_FILE, "{\n\ta();\n}\n\n{\n\ta();\n}\n\n{\n\ta();\n}\n"},
	{"empty", MODE_FILE, ""},
	{"link", MODE_LINK, "src/main.c"},
	{"nonl.txt", MODE_FILE, "first\nlast"},
	{"out", MODE_LINK, "src"},
	{"package.json", MODE_FILE, "{\n  \"name\": \"x\"\n}\n"},
	{"run.sh", MODE_EXEC, "#!/bin/sh\nexit 0\n"},
	{"src/deep/er/file.txt", MODE_FILE, "deep\n"},
	{"src/main.c", MODE_FILE,
	 "int helper(void)\n{\n\treturn 1;\n}\n\nint main(void)\n{\n\treturn helper();\n}\n"},
	{"src/util.c", MODE_FILE, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"},
	{"tests/test_a.py", MODE_FILE, "def test_a():\n    assert 1\n"},
};

static char repo[64];
static struct oid base_tree;
static struct gitdb *quarantine; /* without objects of its own */
static size_t empty_export_bytes;

/* --- the base, once -------------------------------------------------------- */

static size_t export_bytes(struct gitdb *db)
{
	struct err err = {0};
	struct buf out;
	size_t len;

	buf_init(&out, LIMIT_RESULT_BYTES);
	require(gitdb_export(db, &out, &err) == 0);
	len = out.len;
	buf_release(&out);
	return len;
}

static void open_quarantine(void)
{
	struct err err = {0};

	gitdb_close(quarantine);
	require(gitdb_open(repo, GITDB_QUARANTINE, &quarantine, &err) == 0);
	empty_export_bytes = export_bytes(quarantine);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void remove_base(void)
{
	gitdb_close(quarantine);
	require(nftw(repo, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void make_base(void)
{
	struct gitdb_edit edits[ARRAY_LEN(base_files) + 1];
	struct err err = {0};
	struct gitdb *db;
	size_t len = 0;

	(void)snprintf(repo, sizeof(repo), "/tmp/sbx-fuzz-patch-XXXXXX");
	require(mkdtemp(repo) != NULL);
	require(gitdb_create(repo, &err) == 0 && gitdb_open(repo, GITDB_WRITE, &db, &err) == 0);
	for (; len < ARRAY_LEN(base_files); len++) {
		const struct base_file *file = &base_files[len];
		struct bytes content = {(const uint8_t *)file->content, strlen(file->content)};

		edits[len] = (struct gitdb_edit){.path = file->path, .mode = file->mode};
		require(gitdb_blob_write(db, content, &edits[len].oid, &err) == 0);
	}
	edits[len] = (struct gitdb_edit){.path = "vendor/sub", .mode = MODE_GITLINK};
	(void)memset(edits[len].oid.raw, 0x11, OID_BYTES);
	require(gitdb_tree_update(db, NULL, edits, len + 1, &base_tree, &err) == 0);
	gitdb_close(db);
	require(atexit(remove_base) == 0);
	open_quarantine();
}

/* --- a tree as a list ------------------------------------------------------ */

static int take_entry(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct flat *flat = ctx;
	const char *prefix = flat->prefix;
	struct err err = {0};
	char *path = arena_printf(flat->arena, "%s%s", prefix, name);

	require(path != NULL && gitdb_name_valid(name));
	if (entry->mode != MODE_TREE) {
		require(flat->len < FILES_MAX);
		flat->files[flat->len++] = (struct gitdb_edit){path, entry->mode, entry->oid};
		return 0;
	}
	flat->prefix = arena_printf(flat->arena, "%s/", path);
	require(flat->prefix != NULL);
	require(gitdb_list(flat->db, &entry->oid, take_entry, flat, &err) == 0);
	flat->prefix = prefix;
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct gitdb_edit *)a)->path, ((const struct gitdb_edit *)b)->path);
}

static struct flat flatten(struct arena *arena, const struct oid *tree)
{
	struct flat flat = {.arena = arena, .db = quarantine, .prefix = ""};
	struct err err = {0};

	flat.files = arena_array(arena, FILES_MAX, sizeof(*flat.files));
	require(flat.files != NULL);
	require(gitdb_list(quarantine, tree, take_entry, &flat, &err) == 0);
	qsort(flat.files, flat.len, sizeof(*flat.files), compare_paths);
	for (size_t i = 1; i < flat.len; i++)
		require(strcmp(flat.files[i - 1].path, flat.files[i].path) != 0);
	return flat;
}

static const struct gitdb_edit *find(const struct gitdb_edit *files, size_t len, const char *path)
{
	const struct gitdb_edit key = {.path = path};

	return len == 0 ? NULL : bsearch(&key, files, len, sizeof(key), compare_paths);
}

/* --- the oracle ------------------------------------------------------------ */

/* The result is the base with the edits. */
static void check_edits(const struct flat *base, const struct flat *result,
			const struct patch_outcome *outcome)
{
	size_t kept = 0, made = 0;

	require(outcome->edits_len > 0);
	for (size_t i = 0; i < base->len; i++) {
		const struct gitdb_edit *file = &base->files[i];
		const struct gitdb_edit *now = find(result->files, result->len, file->path);

		if (find(outcome->edits, outcome->edits_len, file->path) != NULL)
			continue;
		kept++;
		require(now != NULL && now->mode == file->mode && oid_equal(&now->oid, &file->oid));
	}
	for (size_t i = 0; i < outcome->edits_len; i++) {
		const struct gitdb_edit *edit = &outcome->edits[i];
		const struct gitdb_edit *now = find(result->files, result->len, edit->path);

		require(i == 0 || strcmp(outcome->edits[i - 1].path, edit->path) < 0);
		require((now != NULL) == (edit->mode != 0));
		made += now != NULL;
		require(now == NULL ||
			(now->mode == edit->mode && oid_equal(&now->oid, &edit->oid)));
	}
	require(result->len == kept + made);
}

/* How far up a target leads from the link's own directory, counted blindly. */
static void check_link(const struct gitdb_edit *edit)
{
	struct gitdb_blob blob;
	struct err err = {0};
	struct bytes left;
	int depth = 0;

	for (const char *at = edit->path; *at != '\0'; at++)
		depth += *at == '/';
	require(gitdb_blob_read(quarantine, &edit->oid, LIMIT_FILE_BYTES, &blob, &err) == 0);
	left = blob.bytes;
	require(left.len > 0 && left.data[0] != '/' && memchr(left.data, 0, left.len) == NULL);
	while (left.len > 0) {
		struct bytes part = fuzz_until(&left, '/');

		if (part.len == 2 && memcmp(part.data, "..", 2) == 0)
			depth--;
		else if (part.len > 0 && !(part.len == 1 && part.data[0] == '.'))
			depth++;
		require(depth >= 0);
	}
	gitdb_blob_release(&blob);
}

static void check_made(const struct flat *base, const struct patch_outcome *outcome,
		       const struct gitdb_edit *edit, const struct patch_policy *policy)
{
	const struct gitdb_edit *was = find(base->files, base->len, edit->path);
	struct reason reason = {0};

	require(guard_path(edit->path, &reason) == 0);
	require(was != NULL || guard_new_path(edit->path, &reason) == 0);
	require(edit->mode == MODE_FILE || edit->mode == MODE_EXEC || edit->mode == MODE_LINK ||
		(edit->mode == MODE_GITLINK && policy->gitlinks));
	if (edit->mode == MODE_LINK)
		check_link(edit);
	/* below what was a file, link or submodule only when that has gone */
	for (const char *at = strchr(edit->path, '/'); at != NULL; at = strchr(at + 1, '/')) {
		char *parent = fuzz_text(
			(struct bytes){(const uint8_t *)edit->path, (size_t)(at - edit->path)});
		const struct gitdb_edit *gone = find(outcome->edits, outcome->edits_len, parent);

		require(find(base->files, base->len, parent) == NULL ||
			(gone != NULL && gone->mode == 0));
		free(parent);
	}
}

static void check_protection(const struct flat *base, const struct flat *result,
			     const struct patch_policy *policy)
{
	for (size_t i = 0; i < base->len && !policy->unprotected; i++) {
		const struct gitdb_edit *was = &base->files[i];
		const struct gitdb_edit *now = find(result->files, result->len, was->path);
		const struct guard_rule *rule = guard_protection(was->path);
		struct gitdb_blob blob;
		struct err err = {0};

		if (rule == NULL || (policy->allow.len > 0 && policy->allow_permitted != NULL &&
				     strcmp(was->path, ALLOWED) == 0))
			continue;
		require(now != NULL && (now->mode == MODE_LINK) == (was->mode == MODE_LINK));
		require(rule->strength != GUARD_FIXED || oid_equal(&now->oid, &was->oid));
		require(gitdb_blob_read(quarantine, &now->oid, LIMIT_FILE_BYTES, &blob, &err) == 0);
		require(blob.bytes.len > 0);
		gitdb_blob_release(&blob);
	}
}

static void check_accepted(struct arena *arena, const struct patch_outcome *outcome,
			   const struct patch_policy *policy)
{
	struct flat base = flatten(arena, &base_tree);
	struct flat result = flatten(arena, &outcome->tree);
	struct err err = {0};
	struct oid commit;

	check_edits(&base, &result, outcome);
	for (size_t i = 0; i < outcome->edits_len; i++) {
		if (outcome->edits[i].mode != 0)
			check_made(&base, outcome, &outcome->edits[i], policy);
		require(policy->protect.len == 0 ||
			!text_glob_match(policy->protect.items[0], outcome->edits[i].path));
	}
	check_protection(&base, &result, policy);
	require(policy->recover || outcome->files_len > 0);
	require(gitdb_commit_write(quarantine, &outcome->tree, NULL, "m", 1, &commit, &err) == 0);
	require(gitdb_check_commit(quarantine, &commit, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *globs[] = {"src/deep/**"}, *allowed[] = {ALLOWED};
	static const char *const permitted[] = {ALLOWED, NULL};
	struct bytes input = {data, size};
	uint8_t switches = fuzz_byte(&input);
	const struct patch_policy policy = {
		.strip = switches & 3,
		.recover = (switches & 4) != 0,
		.gitlinks = (switches & 8) != 0,
		.unprotected = (switches & 16) != 0,
		.protect = {globs, (switches & 32) != 0},
		.allow = {allowed, (switches & 64) != 0},
		.allow_permitted = (switches & 128) != 0 ? permitted : NULL,
	};
	struct patch_outcome outcome = {0};
	struct reason reason = {0};
	struct err err = {0};
	struct arena arena;
	int code;

	if (quarantine == NULL)
		make_base();
	arena_init(&arena, ARENA_BYTES);
	code = patch_apply(&arena, quarantine, &base_tree, input, &policy, &outcome, &reason, &err);
	require(code == 0 || code == REFUSED);
	if (code == 0) {
		check_accepted(&arena, &outcome, &policy);
		open_quarantine();
	} else {
		require(reason.code != REASON_NONE && reason.message[0] != '\0');
		require(text_is_utf8(reason.message, strlen(reason.message)));
		require(text_is_utf8(reason.subject, strlen(reason.subject)));
		require(export_bytes(quarantine) == empty_export_bytes);
	}
	arena_release(&arena);
	return 0;
}
