/*
 * layer.h - what the steps changed, as a tree: from the entries of the job's
 * layer alone, never by scanning the repository.
 *
 *	layer_init(&layer, &arena, db, &after_patch_tree, &limits);
 *	layer_dir(&layer, "", names);			// each directory of the layer
 *	layer_file(&layer, "a.txt", 0100644, content);	// each file or link in it
 *	layer_tree(&layer, &tree, ...);
 *
 * A file that took the place of a directory is listed as added and what was
 * in the directory as deleted; the other way round alike. A path may then be
 * listed twice. Line counts are not made: additions and deletions are 0.
 *
 * The calls have the order of worker/sandbox/driver.h's visitor, and it is the
 * caller who joins the two: this library knows no sandbox.
 */
#ifndef SBX_SNAPSHOTS_LAYER_H
#define SBX_SNAPSHOTS_LAYER_H

#include "schema/result.h"
#include "snapshots/gitdb.h"

struct layer_limits {
	size_t changes;	    /* at most so many are listed */
	size_t file_bytes;  /* a larger file is listed but not in the tree */
	size_t total_bytes; /* all files of the tree together */
};

struct layer {
	struct arena *arena;
	struct gitdb *db;
	struct oid base;
	struct layer_limits limits;
	struct result_file *changes;
	struct gitdb_edit *edits; /* one for each change that is in the tree */
	size_t changes_len, changes_capacity;
	size_t edits_len, edits_capacity;
	size_t bytes;		      /* of all files in the tree */
	const char *dir;	      /* looked up last, or NULL */
	struct gitdb_entry dir_entry; /* what the base has there; mode 0: nothing */
	bool truncated;		      /* something is missing from list or tree */
};

int layer_init(struct layer *layer, struct arena *arena, struct gitdb *db, const struct oid *base,
	       const struct layer_limits *limits, struct err *err) MUST_CHECK;

/* `names` is NULL-terminated: all that the directory holds now. Entries of the
 * base that are not among them were deleted, with all below them. */
int layer_dir(struct layer *layer, const char *path, const char *const *names,
	      struct err *err) MUST_CHECK;

/* A file or link as it is now. Equal to the base's: no change. `.git` and what
 * git cannot hold (other kinds, names that are not UTF-8 or not valid) is left
 * out by the caller or here, and marks the layer truncated. */
int layer_file(struct layer *layer, const char *path, uint32_t mode, struct bytes content,
	       struct err *err) MUST_CHECK;

/* Too large to be read: listed with its size, not in the tree. */
int layer_large(struct layer *layer, const char *path, uint32_t mode, int64_t size,
		struct err *err) MUST_CHECK;

/* The tree after all calls; equals the base when nothing changed. Sorts
 * `changes` by path. */
int layer_tree(struct layer *layer, struct oid *ret, struct err *err) MUST_CHECK;

#endif
