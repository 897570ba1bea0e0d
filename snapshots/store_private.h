/*
 * store_private.h - what the files of the store share: its handle, locks and
 * directories being built. Only store*.c include it.
 */
#ifndef SBX_SNAPSHOTS_STORE_PRIVATE_H
#define SBX_SNAPSHOTS_STORE_PRIVATE_H

#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "snapshots/gitdb_store.h"
#include "snapshots/store.h"

enum { STORE_PATH_MAX = PATH_MAX - 256 }; /* so that what is below always fits */

enum { STORE_KNOWN = 64 };

/* A usable commit whose tree was read once: that never changes. */
struct store_known {
	char name[128]; /* of the source; "": free */
	struct oid named;
	struct store_base base;
};

struct store {
	struct store_config config;
	char path[STORE_PATH_MAX];
	struct store_known known[STORE_KNOWN]; /* by the first byte of `named` */
};

/* Waits for the exclusive flock of a file that it makes when it is not there.
 * `deadline_us` on the monotonic clock; -1 waits for ever. ERR_TIMEOUT. */
int store_lock(const char *path, int64_t deadline_us, int *ret_fd, struct err *err) MUST_CHECK;

/* Whether the open `fd` still has that name, which is no link. */
bool store_is_named(int fd, int dir_fd, const char *name);

/* Held, together with others, from the first object that is written to a
 * repository until the ref that leads to it is set; and by the one alone who
 * deletes objects and refs. Who deletes has its turn before writers that come
 * later, and gives up after 200 ms of keeping these waiting: ERR_TIMEOUT. */
enum store_writer { STORE_WRITES, STORE_DELETES };
int store_write_lock(const struct store *store, const char *repo, enum store_writer who,
		     int64_t deadline_us, int *ret_fd, struct err *err) MUST_CHECK;

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

/* Makes an empty repository at `path`, unless it is there. */
int store_make_repo(const struct store *store, const char *path, struct err *err) MUST_CHECK;

/* Removes a directory with all in it. Best effort: what stays is found again. */
void store_remove_tree(const char *path);

/* --- checkouts --------------------------------------------------------- */

/* <store>/checkouts/<tree><suffix> */
void store_checkout_path(const struct store *store, const struct oid *tree, const char *suffix,
			 char ret[PATH_MAX]);

/* What is written beside a checkout before it gets its name. The mtime of the
 * file is when the checkout was last used. */
struct store_info {
	char repo[256];	   /* where its objects are: the name below repos/ */
	int64_t files;	   /* directories and links count */
	int64_t bytes;	   /* of all files */
	int64_t own_bytes; /* on disk, without what is linked from blobs/ */
	bool layered;	   /* it is a layer over the checkout of `under`, and the sizes its own */
	struct oid under;
};
int store_info_write(const char *path, const struct store_info *info, struct err *err) MUST_CHECK;
int store_info_read(const char *path, struct store_info *ret, struct err *err) MUST_CHECK;

/* Calls `visit` for each checkout, until it returns non-zero. */
int store_checkouts_each(const struct store *store,
			 int (*visit)(void *ctx, const struct oid *tree, struct err *err),
			 void *ctx, struct err *err) MUST_CHECK;

/* Removes a checkout. One that is pinned, or that others are layers over, is left
 * alone (false), unless `force`: then it only loses its name, and goes when
 * nobody holds it any longer. */
bool store_checkout_remove(const struct store *store, const struct oid *tree, bool force);

/* --- layers (store_layer.c) -------------------------------------------- */

enum {
	STORE_LAYER_FILES_MIN = 200,  /* a smaller checkout is made whole as fast */
	STORE_LAYER_SHARE = 8,	      /* of whose entries at most one in so many differs */
	STORE_LAYER_CANDIDATES = 3,   /* those used last are compared */
	STORE_LAYER_LOOKS_MAX = 1000, /* so many checkouts are asked for their age */
};

/* Walks what differs between two trees. `fd` is the directory that the layer has
 * for the top, handed on to each call. A call that does not return 0 ends the
 * walk, which returns the same. */
struct store_layer_walk {
	struct gitdb *db;
	int (*put)(void *ctx, int dir, const char *name, const struct gitdb_entry *entry);
	int (*hide)(void *ctx, int dir, const char *name);
	/* A directory that both have. The walk closes *ret_fd. */
	int (*enter)(void *ctx, int dir, const char *name, int *ret_fd);
	int (*leave)(void *ctx, int fd, const char *name);
	void *ctx;
	struct err *err;
};
int store_layer_walk(const struct store_layer_walk *walk, const struct oid *under,
		     const struct oid *tree, int fd) MUST_CHECK;

/* The whole checkout that was used last among those near to `tree`, pinned. */
bool store_layer_choose(const struct store *store, const char *repo, struct gitdb *db,
			const struct oid *tree, struct oid *ret_under, struct store_info *ret_info,
			int *ret_pin) MUST_CHECK;

/* The sign that a name of the checkout below is gone. As mknodat(2). */
int store_whiteout_make(int dir, const char *name) MUST_CHECK;
bool store_whiteout_is(const struct stat *st);

/* --- blobs ------------------------------------------------------------- */

struct store_blob {
	struct oid oid;
	bool exec;
};
enum { STORE_BLOB_PATH_BYTES = 3 + OID_HEX_BYTES + 8 };

/* From the name of a file below blobs/<x>/. */
bool store_blob_parse(const char *name, struct store_blob *ret);

/* Whether a file looks as it was made: kind, mode, owner, mtime. */
bool store_file_sound(const struct stat *st, bool exec);

/* 1 for the first path of a tree with this blob, 0 for the others, -1. */
int store_blob_first(struct oid_set *placed, const struct store_blob *blob,
		     struct err *err) MUST_CHECK;

/* Notes all blobs that there are; false when there are more than `max`, or that
 * cannot be told. To look a blob up there costs a fraction of a try to link it. */
bool store_blobs_list(int blobs, size_t max, struct oid_set *listed) MUST_CHECK;
bool store_blob_listed(const struct oid_set *listed, const struct store_blob *blob);

/* Links the blob to `name` in `dir`. Returns 1 with *ret_st filled, 0 when it
 * has to be made, -1. `blobs` is the descriptor of the directory blobs/. */
int store_blob_link(int blobs, const struct store_blob *blob, int dir, const char *name,
		    struct stat *ret_st, struct err *err) MUST_CHECK;

/* Offers a finished file to others. */
void store_blob_keep(int blobs, const struct store_blob *blob, int dir, const char *name);
void store_blob_forget(int blobs, const struct store_blob *blob);

/* Calls `visit` for each blob, until it returns non-zero; what is no blob is removed. */
typedef int store_blob_visit(void *ctx, int dir, const char *name, const struct store_blob *blob,
			     const struct stat *st, struct err *err);
int store_blobs_each(const struct store *store, store_blob_visit *visit, void *ctx,
		     struct err *err) MUST_CHECK;

/* --- making files (store_crew.c) ---------------------------------------- */

/* The mtime of everything in a checkout, twice: as utimensat(2) wants it. */
extern const struct timespec store_times[2];

/* A directory that is being filled, and stays open until everybody who puts
 * something into it has let go: then it gets its time. */
struct store_dir {
	int fd;
	atomic_uint users; /* 1 more than is ever released: the descriptor is borrowed */
};
struct store_dir *store_dir_new(int fd, struct err *err) MUST_CHECK; /* takes `fd` */
int store_dir_release(struct store_dir *dir, struct err *err) MUST_CHECK;

struct store_file {
	const char *name; /* at most LIMIT_NAME_BYTES */
	struct store_blob blob;
	struct gitdb_blob content;
	bool shared; /* the others that have the blob link to it: store_blob_keep */
};

/*
 * Those who make the files of one checkout: the caller, and with
 * STORE_CREW_FULL helpers once there are many. A file is made some time before
 * store_crew_end returns, which fails when one could not be: its err is the
 * one that counts. store_crew_make takes the content when a helper gets the
 * file; what is left in `file` stays the caller's. The caller's umask, `blobs`
 * and all directories stay as they are until the end.
 */
struct store_crew;
enum store_crew_size { STORE_CREW_ALONE, STORE_CREW_FULL };
struct store_crew *store_crew_new(int blobs, enum store_crew_size size, struct err *err) MUST_CHECK;
int store_crew_make(struct store_crew *crew, struct store_dir *dir, struct store_file *file,
		    struct err *err) MUST_CHECK;
int store_crew_end(struct store_crew *crew, struct err *err) MUST_CHECK; /* frees it */

/* --- upkeep ------------------------------------------------------------ */

int store_clean_tmp(const struct store *store, struct err *err) MUST_CHECK;

/* The lock of whoever removes. `deadline_us` as for store_lock; 0 does not wait. */
int store_upkeep_lock(const struct store *store, int64_t deadline_us, int *ret_fd,
		      struct err *err) MUST_CHECK;

/* A bundle as a repository of its own, in `build` and open, whose `commit` is
 * whole. ERR_NOT_FOUND, ERR_LIMIT, ERR_UNSUPPORTED, ERR_INPUT are its own fault. */
int store_unpack_bundle(const struct store *store, struct bytes bundle, const char *commit,
			struct store_build *build, struct gitdb **ret, struct oid *ret_commit,
			struct err *err) MUST_CHECK;

/* Whether a commit was checked and may be used: store_mark says so. */
int store_marked(struct gitdb *db, const struct oid *commit, struct err *err) MUST_CHECK;

/* The same for what it was asked for by, which is its oid or that of a tag. */
int store_marked_named(struct gitdb *db, const struct oid *named, struct oid *ret,
		       struct err *err) MUST_CHECK;
int store_mark(struct gitdb *db, const struct oid *named, const struct oid *commit,
	       struct err *err) MUST_CHECK;

/* As store_marked, with a look at one file instead of an open database. False
 * also for what that cannot tell. */
bool store_marked_fast(const struct store *store, const char *repo, const struct oid *commit);

#endif
