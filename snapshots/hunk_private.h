/*
 * hunk_private.h - what the files of hunk placement share: the preimage with
 * its cursor and its index of lines, and the refusals.
 */
#ifndef SBX_SNAPSHOTS_HUNK_PRIVATE_H
#define SBX_SNAPSHOTS_HUNK_PRIVATE_H

#include "snapshots/hunk.h"

/* More lines are not indexed: then no hunk may move. */
enum { HUNK_INDEX_LINES_MAX = 1 << 20 };

enum hunk_side { HUNK_OLD, HUNK_NEW };

/* Lines by the bucket of their hash. */
struct hunk_index {
	uint32_t *starts; /* of each line, and the end: lines + 1 */
	uint32_t *hashes;
	uint32_t *bucket_ends; /* places in `order` where each bucket ends */
	uint32_t *order;       /* line numbers, bucket by bucket */
	size_t buckets;	       /* a power of two */
	size_t lines;
	bool trims; /* hashes are of lines without their white space */
};

struct hunk_image {
	struct arena *arena;
	struct bytes bytes;
	size_t line, at; /* the cursor: a line, and where it starts */
	bool indexed, unindexable;
	struct hunk_index index;
	size_t budget; /* comparisons of lines that searches may still make */
};

struct hunk_search {
	struct hunk_place places[2]; /* the first two */
	size_t found;		     /* 2: two or more */
	bool gave_up;		     /* the budget or the index was too small */
};

/* --- hunk_image.c ------------------------------------------------------- */

bool hunk_line_on(const struct diff_line *line, enum hunk_side side);
size_t hunk_side_len(const struct diff_hunk *hunk, enum hunk_side side);

/* Where the hunk's header says that a side is: lines from 0. */
size_t hunk_stated(const struct diff_hunk *hunk, enum hunk_side side);

/* Where `line` starts; false when the file ends before it. */
bool hunk_seek(struct hunk_image *image, size_t line, size_t *ret_at);

/* Whether a side is there, byte by byte. On a mismatch `ret_matched` lines of
 * the side were the same and *ret_end is where the first other one starts. */
bool hunk_match(const struct hunk_image *image, size_t at, const struct diff_hunk *hunk,
		enum hunk_side side, size_t *ret_end, size_t *ret_matched);

/* Indexes the lines once. False: too many, or no memory. */
bool hunk_index_lines(struct hunk_image *image);

/* The hash that the index has of such a line. */
uint32_t hunk_hash(const struct hunk_index *index, struct bytes text);

/* The lines whose hash may be this one: a range of `order`. */
size_t hunk_bucket(const struct hunk_index *index, uint32_t hash, size_t *ret_start);

/* Text without white space at both ends, or at its end alone. */
struct bytes hunk_trim(struct bytes text);
struct bytes hunk_trim_end(struct bytes text);

/* The same but for how much white space stands where some stands, and for any
 * at the ends. */
bool hunk_equal_but_white(struct bytes a, struct bytes b);

/* Every place from line `from` on where the side is. */
void hunk_search(struct hunk_image *image, const struct diff_hunk *hunk, enum hunk_side side,
		 size_t from, struct hunk_search *ret);

/* Where most of the old side's lines are, by votes of those that stand once in
 * the file; `fallback` when none does. */
size_t hunk_nearest(struct hunk_image *image, const struct diff_hunk *hunk, size_t fallback);

/* --- hunk_report.c ------------------------------------------------------ */

/* Refuses hunk `number` (from 0): shows the side and the nearest real lines. */
int hunk_conflict(struct hunk_image *image, const struct diff_file *file, size_t number,
		  const char *why, struct reason *reason);

int hunk_ambiguous(const struct diff_file *file, size_t number, const struct hunk_search *search,
		   struct reason *reason);

/* The path that a message is about. */
const char *hunk_path(const struct diff_file *file);

#endif
