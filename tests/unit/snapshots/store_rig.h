/*
 * store_rig.h - a store in the scratch directory and one source, for the tests
 * of the store.
 */
#ifndef SBX_TESTS_STORE_RIG_H
#define SBX_TESTS_STORE_RIG_H

#include "tests/unit/snapshots/git_fixture.h"

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

#endif
