/*
 * hunk_shape.c - what the context of hunks tells about how they were made.
 *
 * Programs that write diffs give every hunk the same number of context lines
 * before its first change and behind its last one, fewer only where the file
 * ends. So a hunk whose counts promise more lines than it has was either cut
 * off, and then lines of that shape must be missing, or its counts are wrong.
 * And a hunk that lost one line of context lost it on the side that has one
 * less.
 */
#include "snapshots/hunk_shape.h"

enum { FULL_SIDES = 4, CONTEXT_USUAL = 3, CONTEXT_MOST = 10 };

/* The file's line behind the hunk. */
static size_t line_behind(const struct diff_hunk *hunk, const struct ladder_place *place)
{
	return place->line + (hunk->old_len - place->from) + place->gaps_len;
}

/* A side that an end of the file cuts short has at most the others' context. */
static void add_side(struct hunk_shape *shape, uint32_t context, bool is_short)
{
	if (context > shape->most) {
		shape->most = context;
		shape->full = 0;
	}
	if (is_short)
		return;
	if (shape->sides == 0 || context < shape->least)
		shape->least = context;
	shape->full += context == shape->most;
	shape->sides++;
}

void hunk_shape_add(struct hunk_shape *shape, const struct diff_hunk *hunk,
		    const struct ladder_place *place, size_t lines)
{
	bool whole = !(hunk->doubts & DIFF_DOUBT_CUT) ||
		     (hunk->lacking > 0 && hunk->lacking == place->gaps_len);

	add_side(shape, hunk->leading, place->start == 0);
	if (whole) {
		add_side(shape, hunk->trailing, line_behind(hunk, place) >= lines);
		shape->behind += line_behind(hunk, place) < lines;
	}
}

void hunk_shape_add_stated(struct hunk_shape *shape, const struct diff_hunk *hunk)
{
	if (!(hunk->doubts & DIFF_DOUBT_LINES) && hunk->old_start > 1)
		add_side(shape, hunk->leading, false);
}

/* Whether all sides have the same context, the hunk's own among them unless the
 * file ends there. Where whole functions are shown (git diff -W) they have not,
 * but the sides before a few hunks may agree by chance: what is not the usual
 * number must have been seen behind a hunk too. */
static bool is_even(const struct hunk_shape *shape, const struct diff_hunk *hunk, size_t left)
{
	return shape->sides > 0 && shape->least == shape->most && shape->least > 0 &&
	       shape->most <= CONTEXT_MOST && (hunk->trailing == shape->most || left == 0) &&
	       (shape->most == CONTEXT_USUAL || shape->behind > 0);
}

/*
 * Three ways to lose something: a change of this hunk, which has its whole
 * context behind it; a change whose context the end of the file cuts short,
 * which uses up the file, of which `left` lines follow; or only context of this
 * hunk, and all that followed. The last is possible whatever the shape, for as
 * many lines of context may have been promised as a function is long.
 */
static bool may_have_owed(const struct hunk_shape *shape, const struct diff_hunk *hunk,
			  uint32_t old_len, uint32_t new_len, size_t left)
{
	if (old_len > left)
		return false; /* the file has not so many */
	if (!is_even(shape, hunk, left) || old_len == new_len)
		return true;
	return (old_len >= shape->least && new_len >= shape->least) || old_len == left;
}

static uint32_t without(uint32_t owed, size_t gaps)
{
	return owed > gaps ? owed - (uint32_t)gaps : 0;
}

/* Lines that were put back inside of the hunk may be some of those it owes. */
bool hunk_shape_may_be_cut(const struct hunk_shape *shape, const struct diff_hunk *hunk,
			   const struct ladder_place *place, size_t lines)
{
	size_t behind = line_behind(hunk, place);
	size_t left = behind < lines ? lines - behind : 0;
	size_t gaps = place->gaps_len;

	return may_have_owed(shape, hunk, hunk->owed_old, hunk->owed_new, left) ||
	       (gaps > 0 && may_have_owed(shape, hunk, without(hunk->owed_old, gaps),
					  without(hunk->owed_new, gaps), left));
}

/* Whether hunks of this diff have a shape that a lost line can be read from:
 * its counts remember the line, or nearly all sides have the same context. */
static bool is_telling(const struct hunk_shape *shape, const struct diff_hunk *hunk)
{
	if (hunk->lacking == 1)
		return true;
	return shape->full >= FULL_SIDES && shape->least + 1 >= shape->most;
}

enum hunk_shape_side hunk_shape_lacks(const struct hunk_shape *shape, const struct diff_hunk *hunk,
				      const struct ladder_place *place, size_t lines)
{
	bool starts = place->start > 0;
	bool ends = line_behind(hunk, place) < lines;
	bool before = hunk->leading + 1 == shape->most;
	bool behind = hunk->trailing + 1 == shape->most;

	if (!is_telling(shape, hunk) || shape->most == 0)
		return HUNK_SHAPE_UNKNOWN;
	if (starts && before && (!ends || hunk->trailing == shape->most))
		return HUNK_SHAPE_BEFORE;
	if (ends && behind && (!starts || hunk->leading == shape->most))
		return HUNK_SHAPE_BEHIND;
	return HUNK_SHAPE_UNKNOWN;
}
