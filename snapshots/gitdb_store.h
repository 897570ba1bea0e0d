/*
 * gitdb_store.h - what the store needs of gitdb beyond the public header: to
 * copy or fetch a commit from a source that is not trusted, and to check what
 * came. Included by store*.c and gitdb*.c only.
 */
#ifndef SBX_SNAPSHOTS_GITDB_STORE_H
#define SBX_SNAPSHOTS_GITDB_STORE_H

#include "snapshots/gitdb.h"

/*
 * Opens a local repository that somebody else may have prepared: objects and
 * refs must lie inside `path`, without alternates and links that lead out of
 * it. ERR_UNSUPPORTED says what stands in the way, and how to put it right.
 */
int gitdb_open_foreign(const char *path, struct gitdb **ret, struct err *err) MUST_CHECK;

/*
 * What a ref of such a repository names now, as gitdb_resolve would find it but
 * unpeeled: a few small files are read and no object. Returns 0, or 1 when this
 * cannot be told so, whatever the reason.
 */
int gitdb_peek(const char *path, const char *commit, struct oid *ret) MUST_CHECK;

/* As gitdb_resolve, and what the name stands for: the commit, or a tag of it. */
int gitdb_resolve_named(struct gitdb *db, const char *commit, struct oid *ret_named,
			struct oid *ret, struct err *err) MUST_CHECK;

/*
 * Copies one commit with its tree, without history, so a shallow clone is a
 * source as good as any. Each object is hashed on its way. Only what `to`
 * lacks is copied; either all of it becomes visible, or the commit does not.
 * ERR_LIMIT above `max_bytes` of content; ERR_INPUT for a corrupt source.
 */
int gitdb_copy_commit(struct gitdb *from, struct gitdb *to, const struct oid *commit,
		      int64_t max_bytes, struct err *err) MUST_CHECK;

/* Whether this is a file that starts as a bundle of git does. Never blocks. */
bool gitdb_is_bundle(const char *path);

/*
 * Takes all objects of a bundle and resolves a commit of it: a ref of its list,
 * or an oid. ERR_NOT_FOUND, ERR_LIMIT above `max_bytes`, ERR_UNSUPPORTED for a
 * bundle that needs more than itself, ERR_INPUT for a damaged one.
 */
int gitdb_fetch_bundle(struct gitdb *to, const char *path, const char *commit, int64_t max_bytes,
		       struct oid *ret, struct err *err) MUST_CHECK;

/* Whether a file of a tree may have this name: no '/', not "." or "..", nothing
 * that any file system takes for ".git". */
bool gitdb_name_valid(const char *name);

/* Walks the commit's tree: every object is there, has the type its entry
 * claims, every tree is well-formed. ERR_INPUT names what is wrong. */
int gitdb_check_commit(struct gitdb *db, const struct oid *commit, struct err *err) MUST_CHECK;

/* Whether each object that is read from disk is hashed, in the whole process.
 * Off at first: what entered the store was hashed then. A mismatch is a fault
 * of the host (ERR_SYSTEM). */
void gitdb_set_strict(bool on);

/* Reads and hashes every object. `damaged` is told the name of each that is not
 * what its name says; how many there are goes to *ret_objects. */
int gitdb_verify(struct gitdb *db, void (*damaged)(void *ctx, const char *hex), void *ctx,
		 int64_t *ret_objects, struct err *err) MUST_CHECK;

/* Where ssh looks for .ssh/known_hosts from now on: a directory of the caller's.
 * Before it is set no host is known. No database may be open. */
int gitdb_set_home(const char *path, struct err *err) MUST_CHECK;

/* Bounds the memory that this process may still ask for. What a repository then
 * needs beyond it is ERR_LIMIT: its fault and not the host's. */
int gitdb_bound_memory(int64_t bytes, struct err *err) MUST_CHECK;

struct gitdb_fetch {
	const char *path;    /* of the bare repository that receives */
	const char *url;     /* normalised, of an allowed source */
	const char *commit;  /* full or abbreviated oid, or ref name */
	const char *ca_file; /* NULL: the system's certificates */
	const char *login;   /* told to a server that asks; NULL: nobody */
	const char *secret;  /* a password or token; over ssh a private key as text */
	int64_t max_bytes;
	/* Whether a redirect of https may lead to this address, of any spelling. */
	bool (*allowed)(const void *ctx, const char *url);
	const void *ctx;
};

/*
 * Fetches over the network, in the calling process and without a timeout of
 * its own: call it in a child. Returns 0 with the commit (peeled), or -1:
 * ERR_NOT_FOUND when the server answers but lacks the commit, ERR_LIMIT above
 * max_bytes, ERR_PEER and others when it cannot be reached or refuses.
 */
int gitdb_fetch(const struct gitdb_fetch *fetch, struct oid *ret, struct err *err) MUST_CHECK;

/* --- upkeep ------------------------------------------------------------ */

struct gitdb_gc_policy {
	int64_t pack_bytes; /* packs that are smaller are joined */
	size_t loose;	    /* so many loose objects, */
	size_t packs;	    /* or small packs, are left alone */
	bool always;	    /* some refs went: look for what nobody needs */
};

/*
 * Joins small packs and loose objects, and drops what no ref leads to: the
 * first half without any lock, the second while nobody else writes. When that
 * cannot be had, gitdb_gc_abandon takes the new packs away again.
 * gitdb_gc_begin returns 1 when there is nothing to do.
 */
struct gitdb_gc;
int gitdb_gc_begin(const char *path, const struct gitdb_gc_policy *policy, struct gitdb_gc **ret,
		   struct err *err) MUST_CHECK;
int gitdb_gc_finish(struct gitdb_gc *gc, struct err *err) MUST_CHECK;
void gitdb_gc_abandon(struct gitdb_gc *gc);
void gitdb_gc_free(struct gitdb_gc *gc);

/* Removes what writers that were killed have left. While nobody writes. */
void gitdb_tidy(const char *path);

/* Deletes the refs directly below `place` ("refs/sbx") that were last set or
 * touched before. While nobody else writes. */
int gitdb_refs_expire(struct gitdb *db, const char *place, int64_t before_s, int64_t *ret_deleted,
		      struct err *err) MUST_CHECK;

/* Says that a ref is in use, when it has not been said for a while. */
void gitdb_ref_touch(struct gitdb *db, const char *name);

/* --- sets of oids ------------------------------------------------------ */

struct oid_set {
	struct oid *slots;
	size_t slots_len; /* a power of two */
	size_t len;
};

void oid_set_release(struct oid_set *set);

/* Returns 1 when it is new, 0 when it was there, -1. The null oid is no member. */
int oid_set_add(struct oid_set *set, const struct oid *oid, struct err *err) MUST_CHECK;

bool oid_set_has(const struct oid_set *set, const struct oid *oid);

/* --- what a tree becomes ------------------------------------------------- */

/*
 * Counts what entries of trees would be on disk; no blob is read, and each tree
 * once or twice. Zero but for `db` and the bounds. gitdb_count adds an entry
 * with all below it: ERR_LIMIT as soon as it is clear that a bound is passed,
 * and the counter is of no more use then.
 */
struct gitdb_counter {
	struct gitdb *db;
	int64_t max_files;
	int64_t max_bytes; /* of content that has been counted before, under another name */

	int64_t files; /* so far; directories and submodules too */
	int64_t repeated_bytes;

	struct oid_set blobs; /* private from here on */
	struct counted *slots;
	size_t slots_len, slots_used;
};

int gitdb_count(struct gitdb_counter *counter, const struct gitdb_entry *entry,
		struct err *err) MUST_CHECK;
void gitdb_counter_release(struct gitdb_counter *counter); /* also for CLEANUP */

#endif
