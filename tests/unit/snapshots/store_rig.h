/*
 * store_rig.h - a store in the scratch directory and one source, for the tests
 * of the store.
 */
#ifndef SBX_TESTS_STORE_RIG_H
#define SBX_TESTS_STORE_RIG_H

#include "tests/unit/snapshots/git_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "snapshots/store.h"

enum { TIMEOUT_MS = 20000 };

struct rig {
	struct arena arena;
	struct store *store;
	struct source_url source;
	struct reason reason;
	struct err err;
	char path[PATH_MAX];
};

UNUSED static void rig_open_with(struct rig *rig, const char *store, bool layers)
{
	struct store_config config = {
		.path = rig->path,
		.fetch_timeout_ms = TIMEOUT_MS,
		.max_repo_bytes = 64 << 20,
		.max_checkout_files = 2000,
		.max_checkout_bytes = 64 << 20,
		.layers = layers,
	};
	struct err err = {0};

	*rig = (struct rig){0};
	arena_init(&rig->arena, 1 << 20);
	(void)snprintf(rig->path, sizeof(rig->path), "%s/%s", fixture_dir, store);
	OK(store_open(&rig->store, &config, &err));
}

/* All checkouts are whole. */
UNUSED static void rig_open(struct rig *rig, const char *store)
{
	rig_open_with(rig, store, false);
}

UNUSED static void rig_source(struct rig *rig, const char *repo)
{
	const char *const root = "/";
	const struct text_list allow = {.items = (const char *[]){root}, .len = 1};
	struct err err = {0};
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", fixture_dir, repo);
	if (source_normalise(&rig->arena, path, &allow, &rig->source, &rig->reason, &err) != 0)
		fail_msg("%s: %s%s", repo, rig->reason.message, err.message);
}

UNUSED static void rig_close(struct rig *rig)
{
	store_close(rig->store);
	arena_release(&rig->arena);
}

UNUSED static int fetch(struct rig *rig, const char *commit, struct store_base *ret)
{
	rig->reason = (struct reason){0};
	rig->err = (struct err){0};
	return store_fetch(rig->store, &rig->source, commit, ret, &rig->reason, &rig->err);
}

UNUSED static const char *checkout(struct rig *rig, const struct oid *tree)
{
	const char *path = NULL;
	int result = store_checkout(rig->store, &rig->source, tree, &rig->arena, &path,
				    &rig->reason, &rig->err);

	if (result != 0)
		fail_msg("checkout: %d %s%s", result, rig->reason.message, rig->err.message);
	return path;
}

#define FETCH_OK(rig, commit, base)                                                                \
	do {                                                                                       \
		if (fetch((rig), (commit), (base)) != 0)                                           \
			fail_msg("%s: %s%s", (commit), (rig)->reason.message, (rig)->err.message); \
	} while (0)

#define FETCH_REFUSED(rig, commit, base, reason_code)                                 \
	do {                                                                          \
		int got = fetch((rig), (commit), (base));                             \
		if (got != REFUSED || (rig)->reason.code != (reason_code))            \
			fail_msg("%s: %d %s%s", (commit), got, (rig)->reason.message, \
				 (rig)->err.message);                                 \
	} while (0)

/* --- what upkeep is about ------------------------------------------- */

UNUSED static const struct store_policy ROOMY = {
	.max_bytes = 1LL << 40, .recent_ms = 0, .keep_refs_ms = 1000LL * 3600 * 1000};

UNUSED static struct store_base base_of(struct rig *rig, const char *commit)
{
	struct store_base base;

	FETCH_OK(rig, commit, &base);
	return base;
}

/* Three commits with a common part, tagged c1 to c3. */
UNUSED static void make_commits(const char *name)
{
	sh("git init -q -b main %s && cd %s && mkdir -p dir/sub && head -c 60000 /dev/urandom "
	   ">dir/common && echo x >dir/sub/x && ln -s x dir/sub/link && echo run >run && "
	   "chmod +x run && for i in 1 2 3; do head -c 40000 /dev/urandom >own && git add . && "
	   "git commit -q -m $i && git tag c$i || exit 1; done",
	   name, name);
}

UNUSED static struct store_upkept upkeep(struct rig *rig, const struct store_policy *policy)
{
	struct store_upkept upkept;
	struct err err = {0};

	OK(store_upkeep(rig->store, policy, &upkept, &err));
	return upkept;
}

/* What a job leaves: one changed file, one commit, its ref. */
UNUSED static int try_settle(struct rig *rig, const struct store_base *base, const char *job,
			     struct oid *ret)
{
	struct gitdb_edit edit = {.path = "dir/job", .mode = MODE_FILE};
	struct gitdb *db = NULL;
	struct store_outcome outcome;
	struct oid tree, commit;
	struct err err = {0};
	struct arena arena;
	struct buf stream;
	int result;

	arena_init(&arena, 64 << 10); /* some settle for ever */
	OK(gitdb_open(store_repo_path(&arena, rig->store, &rig->source), GITDB_QUARANTINE, &db,
		      &err));
	arena_release(&arena);
	OK(gitdb_blob_write(db, (struct bytes){(const uint8_t *)job, strlen(job)}, &edit.oid,
			    &err));
	OK(gitdb_tree_update(db, &base->tree, &edit, 1, &tree, &err));
	OK(gitdb_commit_write(db, &tree, &base->commit, job, 1, &commit, &err));
	buf_init(&stream, 1 << 20);
	OK(gitdb_export(db, &stream, &err));
	gitdb_close(db);
	outcome = (struct store_outcome){
		.base = base->commit, .keep = commit, .objects = buf_bytes(&stream)};
	result = store_settle(rig->store, &rig->source, job, &outcome, &rig->err);
	buf_release(&stream);
	*ret = commit;
	return result;
}

UNUSED static struct oid settle(struct rig *rig, const struct store_base *base, const char *job)
{
	struct oid commit;

	if (try_settle(rig, base, job, &commit) != 0)
		fail_msg("%s: %s", job, rig->err.message);
	return commit;
}

/* --- against eviction ----------------------------------------------------- */

enum { RACE_USERS = 3 };

/* Ends only by a signal, or with an error. */
static void evict_for_ever(bool layers)
{
	const struct store_policy policy = {
		.max_bytes = 1, .recent_ms = 0, .keep_refs_ms = 1 << 30};
	struct store_upkept upkept;
	struct rig rig;

	rig_open_with(&rig, "store-race", layers);
	while (store_upkeep(rig.store, &policy, &upkept, &rig.err) == 0) {
	}
	_exit(5);
}

/* Runs `use` in processes of their own, numbered from 0, with the store "store-race",
 * from which another evicts all that it may meanwhile. */
UNUSED static void race_eviction(void (*use)(int which), bool layers)
{
	pid_t users[RACE_USERS], evictor;
	struct rig rig;
	int status;

	rig_open_with(&rig, "store-race", layers);
	rig_close(&rig);
	(void)fflush(NULL);
	evictor = fork();
	if (evictor == 0)
		evict_for_ever(layers);
	for (int i = 0; i < RACE_USERS; i++) {
		users[i] = fork();
		if (users[i] == 0) {
			use(i);
			_exit(0);
		}
	}
	for (int i = 0; i < RACE_USERS; i++) {
		assert_int_equal(waitpid(users[i], &status, 0), users[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(kill(evictor, SIGKILL), 0);
	assert_int_equal(waitpid(evictor, &status, 0), evictor);
	assert_true(WIFSIGNALED(status));
}

#endif
