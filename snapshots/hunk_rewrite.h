/*
 * hunk_rewrite.h - what finding places, deciding and rewriting hunks share.
 */
#ifndef SBX_SNAPSHOTS_HUNK_REWRITE_H
#define SBX_SNAPSHOTS_HUNK_REWRITE_H

#include "snapshots/hunk_ladder.h"
#include "snapshots/hunk_shape.h"

enum found { FOUND_NOT, FOUND_ONE, FOUND_MANY, FOUND_AT_START };

struct spot {
	enum found found;
	struct ladder_place place;
	struct ladder_places *all; /* when there are many */
	size_t number;		   /* of the hunk */
	const struct diff_hunk *hunk;
};

struct recoverer {
	struct arena *arena;
	const struct hunk_request *request;
	const struct hunk_recovery *how;
	const struct diff_file *file;
	struct ladder ladder;
	struct spot *spots;
	struct hunk_shape shape; /* of the hunks that were found */
	bool ordered;		 /* nothing speaks against the order of the hunks */
	bool line_ends;		 /* added lines take the file's */
	size_t reading;		 /* of how->reading, what the hunks before left */
	size_t lines_cr;	 /* of the file: lines that end in CR LF */
	struct text_list *notes;
	struct reason *reason;
};

static inline bool hunk_is_numbered(const struct diff_hunk *hunk)
{
	return !(hunk->doubts & DIFF_DOUBT_LINES);
}

static inline bool hunk_at_stated(const struct diff_hunk *hunk, const struct ladder_place *place)
{
	return hunk_is_numbered(hunk) && place->start == hunk_stated(hunk, HUNK_OLD);
}

/* The refusal of a hunk whose place is not known. */
int hunk_refuse_unplaced(struct recoverer *self, const struct spot *spot) MUST_CHECK;

/* Decides what single hunks left open, and judges all places together. */
int hunk_decide_all(struct recoverer *self) MUST_CHECK;

/* Finds out whether the file has other line ends than the hunks' old lines. */
void hunk_look_at_ends(struct recoverer *self);

/* Writes all hunks anew, in the order of their places, which sorts `spots`.
 * REFUSED when they overlap, or when line ends or a last newline are open. */
int hunk_rewrite_all(struct recoverer *self, struct diff_hunk *hunks) MUST_CHECK;

#endif
