/*
 * patch_private.h - what the files of patch share: the state of every path
 * that a diff names, and the steps of a run.
 *
 *	taken      patch_take_file() for each file of the diff, in its order
 *	checked    patch_check(): clashes, folds, links, on the final state
 *	protected  patch_protect(): rules and findings
 *	written    blobs and tree (patch.c)
 */
#ifndef SBX_SNAPSHOTS_PATCH_PRIVATE_H
#define SBX_SNAPSHOTS_PATCH_PRIVATE_H

#include "snapshots/diff.h"
#include "snapshots/patch.h"
#include "snapshots/recover.h"

/* --- a map from names to whatever (patch_map.c) ------------------------- */

struct patch_slot {
	uint64_t hash;
	struct bytes key;
	void *value; /* NULL: free */
};

struct patch_map {
	struct patch_slot *slots;
	size_t capacity; /* a power of two */
	size_t len;
};

/* NULL when there is none. */
void *patch_map_get(const struct patch_map *map, struct bytes key);

/* The key is borrowed and not yet there. False: no memory. */
bool patch_map_put(struct arena *arena, struct patch_map *map, struct bytes key,
		   void *value) MUST_CHECK;

struct bytes patch_key(const char *path);

/* --- paths --------------------------------------------------------------- */

/* One version of a path. */
struct patch_version {
	uint32_t mode; /* 0: nothing */
	struct oid oid;
	struct bytes data; /* when it is not in the repository yet: `fresh` */
	bool fresh;
};

struct patch_entry {
	const char *path;
	size_t at_line; /* of the diff: the last file that touched it */

	/* what the base has there */
	bool in_base;  /* a file, link or gitlink */
	bool base_dir; /* a directory */
	struct gitdb_entry base;

	struct patch_version now;
	bool departed; /* deleted or renamed away, at least once */

	/* the story within one part of a series, and how the part found it */
	size_t part;
	struct patch_version start;
	bool touched;
	bool arrived;	     /* created, or renamed or copied to */
	bool modified;	     /* changed in place since it was there */
	unsigned departures; /* renames from here that are still to come */
};

struct patch_run {
	struct arena *arena;
	struct gitdb *db;
	const struct oid *base;
	const struct patch_policy *policy;
	size_t max_file_bytes;
	struct patch_map map;
	struct patch_entry **entries; /* in the order of their first mention */
	size_t entries_len;
	size_t part;			   /* of the series */
	const struct recovered *recovered; /* NULL: strict */
	struct hunk_shape *shape;	   /* of the hunks of the whole diff */
	const struct diff_file *cr_made;   /* a new file whose lines end in CR LF */
	bool cr_damaged;		   /* CR LF is damage elsewhere in the diff */
	size_t recover_budget;		   /* of comparing that is left for the whole diff */
	size_t recover_bytes;		   /* of files that may still be read for it */
	struct patch_outcome *outcome;
	struct reason *reason;
	struct err *err;
};

/* The entry of a path, made from the base when it is not there yet, in the
 * story of the current part. REFUSED or -1. */
int patch_entry(struct patch_run *run, const char *path, struct patch_entry **ret) MUST_CHECK;

/* Whether the final state differs from the base. */
bool patch_differs(const struct patch_entry *entry);

/* --- steps ---------------------------------------------------------------- */

/* Refuses: "line N: ..."; without that when `line` is 0: there is no diff. */
int patch_refuse(struct patch_run *run, enum reason_code code, size_t line, const char *path,
		 const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Puts "line N: " before the reason that is there. */
int patch_refuse_at(struct patch_run *run, size_t line);

int patch_exhausted(struct patch_run *run);

int patch_take_file(struct patch_run *run, const struct diff_file *file) MUST_CHECK;

/* Whether an abbreviated oid of an index line is this one; NULL is none. */
bool patch_oid_is(const char *hex, const struct oid *oid);

/* What the hunks of a damaged diff make of a file (patch_recover.c). `before`
 * is NULL for a file that is new. *trusted is cleared when the index line
 * turns out to be made up. */
int patch_recover_hunks(struct patch_run *run, const struct diff_file *file, const char *path,
			const struct oid *before, struct bytes preimage, bool *trusted,
			struct bytes *ret) MUST_CHECK;

int patch_check(struct patch_run *run) MUST_CHECK;
int patch_protect(struct patch_run *run) MUST_CHECK;

#endif
