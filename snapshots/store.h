/*
 * store.h - what a machine keeps: one bare repository for each source, and the
 * shared checkouts. Below the state directory:
 *
 *	store/repos/<name>.git		objects of one source, and refs/sbx/<job>
 *	store/repos/<name>.lock		flock(2): who fetches
 *	store/checkouts/<tree>/		a base tree on disk, immutable once there
 *	store/checkouts/<tree>.lock	flock(2): who builds
 *	store/tmp/			what is being built; emptied when the store opens
 *
 * The storekeeper is the only writer. Several workers may share one store.
 * Files belong to the storekeeper, are readable by its group and by nobody
 * else.
 */
#ifndef SBX_SNAPSHOTS_STORE_H
#define SBX_SNAPSHOTS_STORE_H

#include "snapshots/gitdb.h"
#include "snapshots/source.h"

struct store;

struct store_config {
	const char *path; /* the store's directory */
	int64_t fetch_timeout_ms;
	int64_t max_repo_bytes; /* a fetch that receives more is stopped: SOURCE_LIMIT */
	int64_t max_checkout_files;
	int64_t max_checkout_bytes;
};

/* Makes what is missing, removes what a crash left half-built. */
int store_open(struct store **ret, const struct store_config *config, struct err *err) MUST_CHECK;
void store_close(struct store *store);

/* Path of the repository of `source` below the store; it may not exist yet. */
const char *store_repo_path(struct arena *arena, const struct store *store,
			    const struct source_url *source);

/*
 * Resolves `commit` and makes sure that its objects are here. A full oid that
 * is here already needs neither network nor lock. Otherwise the repository is
 * locked and fetched: one commit by its oid where the server allows it, else
 * its branches and tags. A ref name is always asked of the source.
 * REFUSED with SOURCE_NO_COMMIT, SOURCE_CORRUPT or SOURCE_LIMIT; a source that
 * cannot be reached is a fault (-1).
 */
struct store_base {
	struct oid commit;
	struct oid tree;
};
int store_fetch(struct store *store, const struct source_url *source, const char *commit,
		struct store_base *ret, struct reason *ret_reason, struct err *err) MUST_CHECK;

/* As store_fetch, but only when that needs neither network nor waiting.
 * Returns 0, or 1 when store_fetch must be asked. */
int store_fetch_fast(struct store *store, const struct source_url *source, const char *commit,
		     struct store_base *ret);

/*
 * The shared checkout of `tree`: built when it is not there (once, whoever
 * asks), never changed afterwards. Files have the modes 0644 and 0755, the
 * content of the blob unfiltered, and the mtime STORE_MTIME_S; links are as in
 * git; submodules are empty directories. `ret_path` is below the store.
 */
enum { STORE_MTIME_S = 946684800 }; /* 2000-01-01: older than anything a step writes */
int store_checkout(struct store *store, const struct source_url *source, const struct oid *tree,
		   struct arena *arena, const char **ret_path, struct reason *ret_reason,
		   struct err *err) MUST_CHECK;

/* Whether it is there; looks only. */
bool store_has_checkout(const struct store *store, const struct oid *tree);

/*
 * Keeps what a job made: imports the executor's objects and sets
 * refs/sbx/<job> to `keep`, in this order.
 */
int store_settle(struct store *store, const struct source_url *source, const char *job,
		 struct bytes objects, const struct oid *keep, struct err *err) MUST_CHECK;

#endif
