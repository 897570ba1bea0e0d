/*
 * bench_workspace.c - what a workspace costs below the sandbox:
 *
 *	bench_workspace STORE REPO ROUNDS COMMIT...
 *
 * fetches and checks out each commit in turn, then asks for the last one again
 * mounts it below a layer in memory (as root), and settles jobs that changed three
 * files on it. A line of JSON each, in milliseconds.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "snapshots/store.h"

enum { ROUNDS_MAX = 100000, CHANGED = 3, WIDE = 1 << 20 };

struct bench {
	struct arena arena;
	struct store *store;
	struct source_url source;
};

static NORETURN void fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench_workspace: %s: %s\n", what, why);
	exit(1);
}

static int compare(const void *a, const void *b)
{
	const int64_t *left = a;
	const int64_t *right = b;

	return (*left > *right) - (*left < *right);
}

static void print(const char *name, int64_t *us, size_t len)
{
	qsort(us, len, sizeof(*us), compare);
	(void)printf("{\"name\": \"%s\", \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", name,
		     (double)us[len / 2] / 1000, (double)us[len * 99 / 100] / 1000);
}

static void open_all(struct bench *bench, const char *path, const char *repo)
{
	const struct store_config config = {.path = path,
					    .fetch_timeout_ms = 600000,
					    .max_repo_bytes = INT64_MAX,
					    .max_checkout_files = 10 << 20,
					    .max_checkout_bytes = INT64_MAX,
					    .layers = true};
	const struct text_list allow = {.items = (const char *[]){"/"}, .len = 1};
	struct reason reason = {.code = REASON_NONE};
	struct err err = {0};

	arena_init(&bench->arena, 64 << 20);
	if (store_open(&bench->store, &config, &err) < 0 ||
	    source_normalise(&bench->arena, repo, &allow, &bench->source, &reason, &err) != 0)
		fail("open", err.kind != ERR_NONE ? err.message : reason.message);
}

static struct store_base make_ready(struct bench *bench, const char *commit, int64_t *ret_us)
{
	struct reason reason = {.code = REASON_NONE};
	struct store_base base;
	struct err err = {0};
	const char *path;
	int64_t start_us;

	if (store_fetch(bench->store, &bench->source, commit, &base, &reason, &err) != 0)
		fail("fetch", err.kind != ERR_NONE ? err.message : reason.message);
	start_us = clock_mono_us();
	if (store_checkout(bench->store, &bench->source, &base.tree, &bench->arena, &path, &reason,
			   &err) != 0)
		fail("checkout", err.kind != ERR_NONE ? err.message : reason.message);
	*ret_us = clock_mono_us() - start_us;
	return base;
}

static void ask_again(struct bench *bench, const struct store_base *base, int64_t *us,
		      size_t rounds)
{
	char hex[OID_HEX_BYTES];

	oid_hex(&base->commit, hex);
	for (size_t i = 0; i < rounds; i++) {
		int64_t start_us = clock_mono_us();
		struct store_base found;
		struct err err = {0};
		int pin;

		if (store_fetch_fast(bench->store, &bench->source, hex, &found) != 0 ||
		    store_pin(bench->store, &found.tree, &pin) != 0)
			fail("fetch again", err.message);
		us[i] = clock_mono_us() - start_us;
		(void)close(pin);
	}
}

static void mount_one(struct bench *bench, const struct oid *tree, const char *path,
		      const char *place)
{
	char options[4096], upper[256], work[256];
	const char *under;

	(void)snprintf(upper, sizeof(upper), "%s/upper", place);
	(void)snprintf(work, sizeof(work), "%s/work", place);
	if (mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m") < 0 ||
	    mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0)
		fail("mount", "no layer");
	if (!store_under(bench->store, tree, &bench->arena, &under))
		under = NULL;
	(void)snprintf(options, sizeof(options), "lowerdir=%s%s%s,upperdir=%s,workdir=%s,volatile",
		       path, under == NULL ? "" : ":", under == NULL ? "" : under, upper, work);
	if (mount("overlay", upper, "overlay", MS_NOSUID | MS_NODEV, options) < 0)
		fail("mount", "no overlay");
}

/* All that a workspace needs when its base is there. */
static void mount_again(struct bench *bench, const struct store_base *base, const char *place,
			int64_t *us, size_t rounds)
{
	char hex[OID_HEX_BYTES];

	if (geteuid() != 0)
		return;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir(place, 0755) < 0)
		fail("mount", "no place of our own");
	oid_hex(&base->commit, hex);
	for (size_t i = 0; i < rounds; i++) {
		int64_t start_us = clock_mono_us();
		struct reason reason = {.code = REASON_NONE};
		struct store_base found;
		struct err err = {0};
		const char *path;
		int pin;

		if (store_fetch_fast(bench->store, &bench->source, hex, &found) != 0 ||
		    store_pin(bench->store, &found.tree, &pin) != 0 ||
		    store_checkout(bench->store, &bench->source, &found.tree, &bench->arena, &path,
				   &reason, &err) != 0)
			fail("fetch again", err.message);
		mount_one(bench, &found.tree, path, place);
		us[i] = clock_mono_us() - start_us;
		(void)close(pin);
		(void)umount2(place, MNT_DETACH);
	}
	print("ready and mounted", us, rounds);
}

/* What an executor makes: a few blobs, their trees, one commit. */
static struct oid change(struct bench *bench, const struct store_base *base, size_t round,
			 struct buf *out)
{
	struct gitdb_edit edits[CHANGED];
	char paths[CHANGED][32], text[64];
	struct gitdb *db;
	struct oid tree, commit;
	struct err err = {0};
	const char *repo = store_repo_path(&bench->arena, bench->store, &bench->source);

	if (gitdb_open(repo, GITDB_QUARANTINE, &db, &err) < 0)
		fail("open", err.message);
	for (size_t i = 0; i < CHANGED; i++) {
		int len = snprintf(text, sizeof(text), "round %zu file %zu\n", round, i);

		(void)snprintf(paths[i], sizeof(paths[i]), "changed/%zu/file", i);
		edits[i] = (struct gitdb_edit){.path = paths[i], .mode = MODE_FILE};
		if (gitdb_blob_write(db, (struct bytes){(const uint8_t *)text, (size_t)len},
				     &edits[i].oid, &err) < 0)
			fail("write", err.message);
	}
	if (gitdb_tree_update(db, &base->tree, edits, CHANGED, &tree, &err) < 0 ||
	    gitdb_commit_write(db, &tree, &base->commit, "after_patch", (int64_t)round, &commit,
			       &err) < 0)
		fail("write", err.message);
	buf_clear(out);
	if (gitdb_export(db, out, &err) < 0)
		fail("export", err.message);
	gitdb_close(db);
	return commit;
}

static void settle(struct bench *bench, const struct store_base *base, int64_t *us, size_t rounds)
{
	struct buf stream;
	int64_t *back_us = calloc(rounds, sizeof(*back_us));

	if (back_us == NULL)
		fail("settle", "out of memory");
	buf_init(&stream, WIDE);
	for (size_t i = 0; i < rounds; i++) {
		struct oid commit = change(bench, base, i, &stream);
		const struct store_outcome made = {
			.base = base->commit, .keep = commit, .objects = buf_bytes(&stream)};
		const struct store_outcome back = {.base = base->commit, .keep = base->commit};
		struct err err = {0};
		char job[32];
		int64_t start_us;

		(void)snprintf(job, sizeof(job), "bench-%zu", i);
		start_us = clock_mono_us();
		if (store_settle(bench->store, &bench->source, job, &made, &err) < 0)
			fail("settle", err.message);
		us[i] = clock_mono_us() - start_us;
		start_us = clock_mono_us();
		if (store_settle(bench->store, &bench->source, job, &back, &err) < 0)
			fail("roll back", err.message);
		back_us[i] = clock_mono_us() - start_us;
	}
	print("settle 3 files", us, rounds);
	print("rollback", back_us, rounds);
	free(back_us);
	buf_release(&stream);
}

int main(int argc, char **argv)
{
	struct bench bench = {0};
	struct store_base base = {0};
	int64_t rounds, *us;
	char place[200];

	if (argc < 5 || !text_parse_int(argv[3], &rounds) || rounds < 1 || rounds > ROUNDS_MAX)
		fail("usage", "bench_workspace STORE REPO ROUNDS COMMIT...");
	us = calloc((size_t)rounds, sizeof(*us));
	if (us == NULL)
		fail("start", "out of memory");
	open_all(&bench, argv[1], argv[2]);
	for (int i = 4; i < argc; i++) {
		int64_t once;

		base = make_ready(&bench, argv[i], &once);
		print(i == 4 ? "checkout, first" : "checkout, neighbour", &once, 1);
	}
	ask_again(&bench, &base, us, (size_t)rounds);
	print("base again", us, (size_t)rounds);
	(void)snprintf(place, sizeof(place), "%s/bench-place", argv[1]);
	mount_again(&bench, &base, place, us, (size_t)rounds);
	settle(&bench, &base, us, (size_t)rounds);
	store_close(bench.store);
	arena_release(&bench.arena);
	free(us);
	return 0;
}
