/*
 * gitdb.h - the only door to libgit2: objects, trees, commits and refs of one
 * bare repository. Nothing here parses a diff or touches a work tree, and no
 * configuration, hook, filter or attribute of any repository is ever read.
 *
 *	gitdb_library_init(&err);			// once a process
 *	gitdb_open(path, GITDB_QUARANTINE, &db, &err);	// reads; new objects stay in memory
 *	gitdb_resolve(db, "refs/heads/main", &commit, &err);
 *	...
 *	gitdb_export(db, &stream, &err);		// the new objects, for another process
 *	gitdb_close(db);
 *
 * Only SHA-1 repositories: others are ERR_UNSUPPORTED. One gitdb belongs to
 * one thread.
 */
#ifndef SBX_SNAPSHOTS_GITDB_H
#define SBX_SNAPSHOTS_GITDB_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

enum { OID_BYTES = 20, OID_HEX_BYTES = 41 };

struct oid {
	uint8_t raw[OID_BYTES];
};

void oid_hex(const struct oid *oid, char ret_hex[OID_HEX_BYTES]);
bool oid_parse(const char *hex, struct oid *ret); /* exactly 40 digits */
bool oid_equal(const struct oid *a, const struct oid *b);

/* git's file modes, as tree entries have them. */
enum {
	MODE_TREE = 0040000,
	MODE_FILE = 0100644,
	MODE_EXEC = 0100755,
	MODE_LINK = 0120000,
	MODE_GITLINK = 0160000
};

struct gitdb;

enum gitdb_mode {
	GITDB_READ,	  /* writing asserts */
	GITDB_QUARANTINE, /* what is written stays in memory until exported */
	GITDB_WRITE,	  /* what is written goes to disk */
};

/* Blanks every search path of libgit2, lowers its caches, turns off what the
 * store does not need. Safe to call again. */
int gitdb_library_init(struct err *err) MUST_CHECK;

/* A bare repository of the store, or one that the caller trusts: with a work
 * tree, linked or borrowing objects too. ERR_NOT_FOUND when there is none,
 * ERR_UNSUPPORTED for another object format or ref storage. */
int gitdb_open(const char *path, enum gitdb_mode mode, struct gitdb **ret,
	       struct err *err) MUST_CHECK;
void gitdb_close(struct gitdb *db);

/* Makes an empty bare repository. */
int gitdb_create(const char *path, struct err *err) MUST_CHECK;

/* --- reading ---------------------------------------------------------- */

bool gitdb_has(struct gitdb *db, const struct oid *oid);

/* A full or unambiguous abbreviated oid, or a ref name (also short: "main",
 * "v1.0"), peeled to a commit. No other revision syntax. ERR_NOT_FOUND. */
int gitdb_resolve(struct gitdb *db, const char *commit, struct oid *ret,
		  struct err *err) MUST_CHECK;

/* The same, or with "~N" or "^" behind it as many first parents before it. */
int gitdb_resolve_ancestor(struct gitdb *db, const char *revision, struct oid *ret,
			   struct err *err) MUST_CHECK;

int gitdb_commit_tree(struct gitdb *db, const struct oid *commit, struct oid *ret_tree,
		      struct err *err) MUST_CHECK;

struct gitdb_entry {
	struct oid oid;
	uint32_t mode;
};

/* The entry at `path` below `tree`. Returns 0 with *ret filled, 1 when there
 * is none (also when a parent is no directory), -1. */
int gitdb_lookup(struct gitdb *db, const struct oid *tree, const char *path,
		 struct gitdb_entry *ret, struct err *err) MUST_CHECK;

/* Calls `visit` for each entry of one tree, in git's order; non-zero ends. */
int gitdb_list(struct gitdb *db, const struct oid *tree,
	       int (*visit)(void *ctx, const char *name, const struct gitdb_entry *entry),
	       void *ctx, struct err *err) MUST_CHECK;

struct gitdb_blob {
	struct bytes bytes;
	void *handle;
};

/* ERR_LIMIT when larger than `limit_bytes`, found out before it is inflated. */
int gitdb_blob_read(struct gitdb *db, const struct oid *oid, size_t limit_bytes,
		    struct gitdb_blob *ret, struct err *err) MUST_CHECK;
void gitdb_blob_release(struct gitdb_blob *blob); /* also for CLEANUP */

/* --- writing ---------------------------------------------------------- */

/* The oid that a blob of this content has; writes nothing. */
void gitdb_blob_oid(struct bytes content, struct oid *ret);

int gitdb_blob_write(struct gitdb *db, struct bytes content, struct oid *ret,
		     struct err *err) MUST_CHECK;

/* As gitdb_blob_write, for content whose oid gitdb_blob_oid told already: in a
 * quarantine it is not hashed again, which is half the cost of a large file. */
int gitdb_blob_keep(struct gitdb *db, struct bytes content, const struct oid *oid,
		    struct err *err) MUST_CHECK;

/* One change of a tree. mode 0 removes the file, or the directory with all in
 * it; that nothing is there is no error. Directories come and go by themselves. */
struct gitdb_edit {
	const char *path;
	uint32_t mode;
	struct oid oid;
};

/* Removals come first, then additions, so that a file may take the place of a
 * directory that `edits` empties. Paths are unique and already validated.
 * `base` NULL is the empty tree. ERR_CONFLICT where a file would replace a
 * directory that is not empty, or a directory a file that stays. */
int gitdb_tree_update(struct gitdb *db, const struct oid *base, const struct gitdb_edit *edits,
		      size_t len, struct oid *ret_tree, struct err *err) MUST_CHECK;

/* Author and committer are "sbx <sbx@localhost>" at `time_s`. */
int gitdb_commit_write(struct gitdb *db, const struct oid *tree, const struct oid *parent,
		       const char *message, int64_t time_s, struct oid *ret,
		       struct err *err) MUST_CHECK;

/* Sets or moves a ref, whatever it was. */
int gitdb_ref_set(struct gitdb *db, const char *name, const struct oid *oid,
		  struct err *err) MUST_CHECK;
int gitdb_ref_get(struct gitdb *db, const char *name, struct oid *ret, struct err *err) MUST_CHECK;
int gitdb_ref_delete(struct gitdb *db, const char *name, struct err *err) MUST_CHECK;

/* --- quarantine ------------------------------------------------------- */

/* Appends every object written so far in a form of our own. */
int gitdb_export(struct gitdb *db, struct buf *out, struct err *err) MUST_CHECK;

/*
 * Writes the objects of an export to a GITDB_WRITE repository. The stream is
 * hostile: each object's oid is computed anew, its form is checked (trees
 * sorted and sane, commits as gitdb_commit_write makes them), and each object
 * that it refers to must stand before it or be in the repository, with the
 * type that is claimed; the parent of a commit must be `base`, or a commit that
 * stands before it. `base` may be NULL, then the first commit has no parent.
 * `keep` must be `base` or a commit of the stream (NULL: whatever), so that the
 * stream's author cannot pass off as made what was there. The number and size
 * of objects are bounded: ERR_LIMIT. All of it is judged before anything is
 * written. The database must not have quarantined objects.
 */
int gitdb_import(struct gitdb *db, struct bytes stream, const struct oid *base,
		 const struct oid *keep, struct err *err) MUST_CHECK;

#endif
