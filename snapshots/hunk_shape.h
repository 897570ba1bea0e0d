/*
 * hunk_shape.h - what the context of hunks tells about how they were made.
 */
#ifndef SBX_SNAPSHOTS_HUNK_SHAPE_H
#define SBX_SNAPSHOTS_HUNK_SHAPE_H

#include "snapshots/hunk_ladder.h"

/* How many lines of context the diff's maker gives on each side of a hunk: the
 * least and the most that were seen on sides which no end of the file cuts
 * short. sides 0: none was seen. */
struct hunk_shape {
	uint32_t least, most;
	size_t sides, full; /* full: those that have the most */
	size_t behind;	    /* sides behind a hunk among them */
};

/* Adds both sides of a hunk that is at a place of a file of `lines` lines. The
 * side behind says nothing where the hunk may have been cut off. */
void hunk_shape_add(struct hunk_shape *shape, const struct diff_hunk *hunk,
		    const struct ladder_place *place, size_t lines);

/* Adds the side before a hunk by its stated line. */
void hunk_shape_add_stated(struct hunk_shape *shape, const struct diff_hunk *hunk);

/* Whether the lines that the counts of a last hunk still promise can be ones
 * that matter, or can have been followed by any. */
bool hunk_shape_may_be_cut(const struct hunk_shape *shape, const struct diff_hunk *hunk,
			   const struct ladder_place *place, size_t lines);

/* On which side of its changes a hunk that lacks one line of the file lacks it,
 * by its shape. */
enum hunk_shape_side { HUNK_SHAPE_UNKNOWN, HUNK_SHAPE_BEFORE, HUNK_SHAPE_BEHIND };
enum hunk_shape_side hunk_shape_lacks(const struct hunk_shape *shape, const struct diff_hunk *hunk,
				      const struct ladder_place *place, size_t lines);

#endif
