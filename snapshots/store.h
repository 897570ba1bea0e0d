/*
 * store.h - what a machine keeps: one bare repository for each source, and the
 * shared checkouts. Below the state directory:
 *
 *	store/repos/<name>.git		objects of one source, refs/sbx/<job>, and
 *					refs/sbx-base/<oid> for each usable commit, also
 *					by the oid of a tag that it was asked by; "files"
 *					for all files and bundles that came with jobs
 *	store/repos/<name>.lock		flock(2): who fetches
 *	store/repos/<name>.gc		flock(2): shared who writes, alone who deletes
 *	store/blobs/<x>/<oid>-<mode>	files of checkouts: neighbours share them by hard links
 *	store/checkouts/<tree>/		a base tree on disk, immutable once there
 *					- or what differs from another checkout
 *	store/checkouts/<tree>.info	its size, which other one it is over, and by its
 *					mtime when it was last used
 *	store/checkouts/<tree>.lock	flock(2): who builds; gone once it is built
 *	store/upkeep.lock		flock(2): who verifies or removes
 *	store/tmp/			what is being built; what a crash left there goes when
 *					a store is opened
 *
 * The storekeeper is the only writer. Several workers may share one store.
 * Files belong to the storekeeper, are readable by its group and by nobody
 * else: the directories at the top have mode 0750, and the process should have
 * umask 027 or 022. What jobs write is not synced: after a power failure the
 * newest objects and refs may be missing. What upkeep packs is.
 */
#ifndef SBX_SNAPSHOTS_STORE_H
#define SBX_SNAPSHOTS_STORE_H

#include "schema/job.h"
#include "snapshots/gitdb.h"
#include "snapshots/source.h"

struct store;

struct store_config {
	const char *path;	    /* the store's directory, absolute */
	const char *ca_file;	    /* certificates to trust; NULL: the system's. Borrowed */
	int64_t fetch_timeout_ms;   /* also the longest wait for a lock */
	int64_t max_repo_bytes;	    /* a fetch that receives more is stopped: SOURCE_LIMIT */
	int64_t max_checkout_files; /* directories count */
	int64_t max_checkout_bytes;
	bool layers; /* a checkout may be a layer over another: store_under */
};

/* Makes what is missing, removes what a crash left half-built. */
int store_open(struct store **ret, const struct store_config *config, struct err *err) MUST_CHECK;
void store_close(struct store *store);

/* Path of the repository of `source` below the store; it may not exist yet. */
const char *store_repo_path(struct arena *arena, const struct store *store,
			    const struct source_url *source);

/*
 * Resolves `commit` and makes sure that its objects are here and sound. A full
 * oid that is here already needs neither network nor lock. Otherwise the
 * repository is locked and the commit fetched, in a child process that is
 * killed when the timeout is over. Of a local source the one commit is copied,
 * without history; a bundle is taken whole; a remote one is asked for the commit by its oid where
 * it allows that, else for its branches and tags. A ref name or an abbreviated oid is always asked
 * of the source. REFUSED with SOURCE_NO_COMMIT, SOURCE_CORRUPT, SOURCE_LIMIT, or SOURCE_UNSUPPORTED
 * (no SHA-1 repository, or one that leads elsewhere); a source that cannot be reached is a fault
 * (-1).
 */
struct store_base {
	struct oid commit;
	struct oid tree;
};
int store_fetch(struct store *store, const struct source_url *source, const char *commit,
		struct store_base *ret, struct reason *ret_reason, struct err *err) MUST_CHECK;

/* As store_fetch, but only when that needs neither network nor waiting: for a
 * commit that is here already, named by its oid or by a branch of a local
 * source. Returns 0, or 1 when store_fetch must be asked. */
int store_fetch_fast(struct store *store, const struct source_url *source, const char *commit,
		     struct store_base *ret);

/*
 * As store_fetch, for files that come with the job (source_of_files): in the
 * calling process, which reads hostile bytes then. REFUSED with SOURCE_FILES.
 */
int store_files(struct store *store, const struct job_source *source, struct store_base *ret,
		struct reason *ret_reason, struct err *err) MUST_CHECK;

/*
 * As store_fetch, for a bundle that comes with the job: its `source.bundle` and
 * `source.commit`, kept beside the files of others. What it lacks is not looked
 * for there, nor is any other commit of theirs.
 */
int store_bundle(struct store *store, const struct job_source *source, struct store_base *ret,
		 struct reason *ret_reason, struct err *err) MUST_CHECK;

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

/*
 * Whether the checkout of `tree` is only a layer: what differs from that of
 * another tree, to be mounted over it as the upper one of two lower layers of
 * overlayfs. False: it is whole. Only a store with config.layers makes them. The
 * other one stays for as long as this one does.
 */
bool store_under(const struct store *store, const struct oid *tree, struct arena *arena,
		 const char **ret_path);

/* Whether it is there; looks only. */
bool store_has_checkout(const struct store *store, const struct oid *tree);

/*
 * Holds the checkout of `tree` for as long as *ret_fd, or a copy of it, is
 * open: it is not removed meanwhile (a shared flock(2) of its directory, which
 * whoever mounts it takes as well). Returns 0, or 1 when it is not there.
 */
int store_pin(const struct store *store, const struct oid *tree, int *ret_fd) MUST_CHECK;

/* --- upkeep ------------------------------------------------------------ */

/*
 * Checks what checkouts are made of, and removes what is not as it was made;
 * it is built anew when it is next asked for. STORE_LOOK compares kind, mode,
 * owner, times and sizes: whatever a program writes to a file or directory
 * shows. STORE_READ hashes every file, and every object of the repositories,
 * which are only reported. `tell` is called with a sentence for each thing that is wrong (and may
 * be NULL). Waits for other upkeep of the same store, at most fetch_timeout_ms.
 */
enum store_depth { STORE_LOOK, STORE_READ };
struct store_verified {
	int64_t checkouts;
	int64_t files;	 /* each inode once for every checkout */
	int64_t objects; /* of repositories */
	int64_t damaged; /* blobs and checkouts that were removed, objects that are corrupt */
};
int store_verify(struct store *store, enum store_depth depth,
		 void (*tell)(void *ctx, const char *what), void *ctx, struct store_verified *ret,
		 struct err *err) MUST_CHECK;

/*
 * Brings a store within its bounds: removes what crashes left, then checkouts
 * until all of them together take no more than `max_bytes` - never one that is
 * pinned or was used within `recent_ms` - refs older than `keep_refs_ms`, and
 * the objects that no ref leads to; packs are kept few. Returns 0 at once with
 * nothing done when another process is at it.
 */
struct store_policy {
	int64_t max_bytes;
	int64_t recent_ms;
	int64_t keep_refs_ms;
};
struct store_upkept {
	int64_t checkouts; /* removed */
	int64_t blobs;	   /* removed */
	int64_t refs;	   /* removed */
	int64_t repos;	   /* packed */
	int64_t bytes;	   /* that all checkouts take now */
};
int store_upkeep(struct store *store, const struct store_policy *policy, struct store_upkept *ret,
		 struct err *err) MUST_CHECK;

/* --- jobs -------------------------------------------------------------- */

/* The one ref of a job: "refs/sbx/<job>", with dots written %2E in ids that
 * no ref could have. NULL when the arena is exhausted. */
const char *store_job_ref(struct arena *arena, const char *job);

/*
 * Keeps what a job made of the commit `base`: imports the executor's objects
 * (none when empty) and sets the job's ref to the commit `keep`, in this order.
 * `keep` is the base, or a commit of these objects: ERR_INPUT for any other,
 * and for objects that are not what they should be (gitdb_import); ERR_LIMIT
 * for too many. Doing it again changes nothing. Objects and refs appear by
 * rename(2); the lock it takes only keeps off who deletes.
 */
struct store_outcome {
	struct oid base;
	struct oid keep;
	struct bytes objects;
};
int store_settle(struct store *store, const struct source_url *source, const char *job,
		 const struct store_outcome *outcome, struct err *err) MUST_CHECK;

#endif
