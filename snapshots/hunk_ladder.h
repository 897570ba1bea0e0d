/*
 * hunk_ladder.h - one damaged hunk against every place of a file. The ladder
 * itself is described in hunk.h.
 */
#ifndef SBX_SNAPSHOTS_HUNK_LADDER_H
#define SBX_SNAPSHOTS_HUNK_LADDER_H

#include "snapshots/hunk_private.h"

enum ladder_rung {
	RUNG_EXACT,
	RUNG_ENDS,
	RUNG_FUZZ_1,
	RUNG_FUZZ_2,
	RUNG_GAP,
	RUNG_INDENT,
	RUNGS,
};

enum { LADDER_GAPS_MAX = 2, LADDER_FUZZ_MAX = 2, LADDER_KEPT = 16 };

/* One place where a hunk may be. */
struct ladder_place {
	enum ladder_rung rung;
	size_t start;		      /* the file's line of the first old line, were it there */
	size_t line;		      /* of the first old line that is there */
	size_t from, to;	      /* the old lines that are there */
	size_t gaps[LADDER_GAPS_MAX]; /* a line of the file goes before these */
	size_t gaps_len;
	bool open;     /* where their lines stood is not plain (hunk_gap.h) */
	bool telling;  /* some line that is there says something */
	size_t ends;   /* lines that differ in white space at their ends */
	size_t indent; /* or at their beginnings */
};

struct ladder_places {
	size_t counts[RUNGS];
	struct ladder_place *best; /* of the lowest rung, in the ladder until its next search */
	size_t best_len;
	struct ladder_place stated; /* the one at the stated line */
	bool has_stated;
	size_t untied; /* places that only the end of the file they are not at rules out */
	bool gave_up;
};

/* How a line of the file and one of a hunk differ. */
enum ladder_match { MATCH_SAME, MATCH_ENDS, MATCH_INDENT, MATCH_NONE };

struct ladder {
	struct hunk_image image;	/* indexed, with `trims` */
	const struct diff_line **lines; /* the side at hand: scratch */
	size_t *numbers;		/* of those lines in the hunk */
	uint32_t *hashes;
	size_t len;
	size_t core_from, core_to; /* must all be there */
	size_t gaps_max;
	bool may_fuzz;
	struct ladder_place kept[LADDER_KEPT];
	bool open_end; /* the last old line has no newline in the diff: it must be whole */
	bool trusted;  /* the result is going to be proven, so a place needs no rest of doubt */
};

/* A line of the file without its newline. */
struct bytes ladder_line(const struct ladder *ladder, size_t line, bool *ret_newline);

/* Takes one side of a hunk as the lines at hand. */
void ladder_take_side(struct ladder *ladder, const struct diff_hunk *hunk, enum hunk_side side);

/* How line `number` of those at hand and a line of the file differ. */
enum ladder_match ladder_compare(struct ladder *ladder, size_t number, size_t line);

/* The core's line with the fewest lines of its hash: a range of the index's
 * `order`. */
size_t ladder_pick_anchor(const struct ladder *ladder, size_t *ret_start, size_t *ret_len);

/* All places of the hunk's old side. */
void ladder_search(struct ladder *ladder, const struct diff_hunk *hunk, struct ladder_places *ret);

/* The first of the lines `from` to `to` where the hunk's new side is, but for
 * white space at line ends, or for CR alone when there is one such line only.
 * SIZE_MAX: none. `from` when the budget is used up, so that nobody knows. */
size_t ladder_find_new_side(struct ladder *ladder, const struct diff_hunk *hunk, size_t from,
			    size_t to);

/* Whether the function above a place is the one that the hunk's header names. */
bool ladder_heading_is(struct ladder *ladder, const struct diff_hunk *hunk, size_t line);

#endif
