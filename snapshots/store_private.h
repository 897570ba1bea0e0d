/*
 * store_private.h - what the files of the store share: its handle, locks and
 * directories being built. Only store*.c include it.
 */
#ifndef SBX_SNAPSHOTS_STORE_PRIVATE_H
#define SBX_SNAPSHOTS_STORE_PRIVATE_H

#include <limits.h>

#include "snapshots/gitdb_store.h"
#include "snapshots/store.h"

enum { STORE_PATH_MAX = PATH_MAX - 256 }; /* so that what is below always fits */

struct store {
	struct store_config config;
	char path[STORE_PATH_MAX];
};

/* Waits for the exclusive flock of a file that it makes when it is not there.
 * `deadline_us` on the monotonic clock; -1 waits for ever. ERR_TIMEOUT. */
int store_lock(const char *path, int64_t deadline_us, int *ret_fd, struct err *err) MUST_CHECK;

/* A directory below tmp/, locked for as long as `fd` is open: what a killed
 * process leaves has no lock, and goes when a store is next opened. */
struct store_build {
	char path[PATH_MAX];
	int fd;
};
int store_build_begin(const struct store *store, struct store_build *ret,
		      struct err *err) MUST_CHECK;
/* Renames it to `final`; when that exists already, drops it and succeeds. */
int store_build_finish(struct store_build *build, const char *final, struct err *err) MUST_CHECK;
/* Removes it unless it was finished. Also for CLEANUP. */
void store_build_release(struct store_build *build);

/* Whether a commit was checked and may be used: store_mark sets it. */
int store_marked(struct gitdb *db, const struct oid *commit, struct err *err) MUST_CHECK;
int store_mark(struct gitdb *db, const struct oid *commit, struct err *err) MUST_CHECK;

#endif
