/*
 * hunk_gap.c - old sides that lack lines of the file.
 *
 * Whether there is such a place: from the anchor outwards the old side is held
 * against the file at several shifts at once; bit `s` of a mask says that the
 * lines so far fit with `s` lines of the file passed over in between. So
 * nothing depends on where a gap is tried first, and the time is linear.
 *
 * What becomes of the file's line: it can have stood anywhere in one range of
 * the hunk's lines. Moving it past a line of context changes nothing, past an
 * added line or an equal one it may, so the range falls into classes of one
 * result each. One class is one result, and is taken. Of several, the shape of
 * the hunk may name one: when its counts remember the line, or all other hunks
 * have the same context, and this one lacks a line of it on one side only.
 */
#include "snapshots/hunk_gap.h"

#include <string.h>

/* The shifts with which the lines behind the anchor fit. */
static unsigned shifts_behind(struct ladder *ladder, size_t anchor, size_t line, size_t most)
{
	unsigned mask = 1;

	for (size_t i = anchor + 1; i < ladder->len && mask != 0; i++) {
		unsigned next = 0;

		for (size_t shift = 0; shift <= most; shift++) {
			if ((mask & ((2u << shift) - 1)) != 0 &&
			    ladder_compare(ladder, i, line + (i - anchor) + shift) != MATCH_NONE)
				next |= 1u << shift;
		}
		mask = next;
	}
	return mask;
}

static unsigned shifts_before(struct ladder *ladder, size_t anchor, size_t line, size_t most)
{
	unsigned mask = 1;

	for (size_t i = anchor; i-- > 0 && mask != 0;) {
		unsigned next = 0;

		for (size_t shift = 0; shift <= most; shift++) {
			if ((mask & ((2u << shift) - 1)) != 0 && line >= anchor - i + shift &&
			    ladder_compare(ladder, i, line - (anchor - i) - shift) != MATCH_NONE)
				next |= 1u << shift;
		}
		mask = next;
	}
	return mask;
}

static bool fits_gapped(unsigned before, unsigned behind, size_t most)
{
	for (size_t i = 0; i <= most; i++) {
		for (size_t k = 0; i + k <= most; k++) {
			if (i + k > 0 && (before >> i & 1) != 0 && (behind >> k & 1) != 0)
				return true;
		}
	}
	return false;
}

bool ladder_has_gapped(struct ladder *ladder, const struct diff_hunk *hunk, size_t most,
		       size_t from, size_t to)
{
	const struct hunk_index *index = &ladder->image.index;
	size_t start = 0, len, anchor;

	ladder_take_side(ladder, hunk, HUNK_OLD);
	if (ladder->len < 2)
		return false;
	anchor = ladder_pick_anchor(ladder, &start, &len);
	for (size_t i = 0; i < len; i++) {
		size_t line = index->order[start + i];
		unsigned behind;

		if (ladder->image.budget == 0)
			return true; /* nobody knows */
		if (line < from || line - from < anchor ||
		    (line > to && line - to > anchor + most) ||
		    ladder_compare(ladder, anchor, line) == MATCH_NONE)
			continue;
		behind = shifts_behind(ladder, anchor, line, most);
		if (behind != 0 &&
		    fits_gapped(shifts_before(ladder, anchor, line, most), behind, most))
			return true;
	}
	return false;
}

/* --- readings ------------------------------------------------------------ */

enum { CLASSES_MAX = 32 };

/* Where the file's line may go: before line `first` to `last` of the hunk. */
struct range {
	size_t first, last;
	size_t line; /* the file's line that is passed over when it is `first` */
};

static bool same_line(const struct recoverer *self, size_t line, struct bytes text, bool newline)
{
	bool has_newline;
	struct bytes found = ladder_line(&self->ladder, line, &has_newline);

	return has_newline == newline && found.len == text.len &&
	       (text.len == 0 || memcmp(found.data, text.data, text.len) == 0);
}

/* The one gap of a place, as far as it can be moved. */
static struct range find_range(struct recoverer *self, const struct ladder_place *place)
{
	struct ladder *ladder = &self->ladder;
	size_t low = place->gaps[0], high = low;

	while (low > 1 && ladder_compare(ladder, low - 1, place->line + low) != MATCH_NONE)
		low--;
	while (high + 1 < ladder->len &&
	       ladder_compare(ladder, high, place->line + high) != MATCH_NONE)
		high++;
	return (struct range){ladder->numbers[low - 1] + 1, ladder->numbers[high],
			      place->line + low};
}

/* The first of each class of one result; of too many, the first and the last. */
static size_t find_classes(const struct recoverer *self, const struct diff_hunk *hunk,
			   struct range range, size_t *ret)
{
	size_t len = 0, line = range.line;

	ret[len++] = range.first;
	for (size_t i = range.first; i < range.last; i++) {
		const struct diff_line *past = &hunk->lines[i];
		bool newline;
		bool same = true;

		if (past->kind == DIFF_ADD) {
			same = same_line(self, line, past->text, !past->no_newline);
		} else {
			struct bytes next = ladder_line(&self->ladder, line + 1, &newline);

			same = past->kind == DIFF_CONTEXT || same_line(self, line, next, newline);
			line++;
		}
		if (!same && len < CLASSES_MAX)
			len++;
		if (!same)
			ret[len - 1] = i + 1;
	}
	return len;
}

/* The class that the shape of the hunk names; `len`: none. */
static size_t class_by_shape(const struct recoverer *self, const struct spot *spot,
			     const size_t *classes, size_t len, size_t last)
{
	const struct diff_hunk *hunk = spot->hunk;
	enum hunk_shape_side side =
		hunk_shape_lacks(&self->shape, hunk, &spot->place, self->ladder.image.index.lines);
	size_t behind = hunk->lines_len - hunk->trailing;

	if (side == HUNK_SHAPE_BEFORE && classes[0] <= hunk->leading &&
	    (len == 1 || classes[1] > hunk->leading))
		return 0;
	if (side == HUNK_SHAPE_BEHIND && last >= behind && classes[len - 1] <= behind)
		return len - 1;
	return len;
}

/* Counts through readings: first those in which one hunk is read in another
 * way than the likeliest, then those of each hunk's two likeliest. */
static size_t take_digit(struct recoverer *self, size_t readings)
{
	size_t digit = 0;

	if (self->how->open != NULL)
		self->how->open->readings += readings - 1;
	if (!self->how->all_readings) {
		if (self->reading < readings) {
			digit = self->reading;
			self->reading = 0;
		} else {
			self->reading -= readings - 1;
		}
		return digit;
	}
	digit = self->reading % 2;
	self->reading /= 2;
	return digit;
}

static int refuse_open(const struct recoverer *self, const struct spot *spot)
{
	return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
			  "line %zu: hunk %zu of '%.160s' lacks %zu of the lines from line %zu on, "
			  "and nothing shows on which side of its changes",
			  spot->hunk->at_line, spot->number + 1, hunk_path(self->file),
			  spot->place.gaps_len, spot->place.line + 1);
}

/* Several gaps: before or behind what is added at each. */
static int read_several(struct recoverer *self, const struct spot *spot, size_t *ret)
{
	const struct ladder *ladder = &self->ladder;
	size_t digit = 0;

	if (spot->place.open && !self->how->trusted)
		return refuse_open(self, spot);
	if (spot->place.open)
		digit = take_digit(self, (size_t)1 << spot->place.gaps_len);
	for (size_t i = 0; i < spot->place.gaps_len; i++) {
		size_t gap = spot->place.gaps[i];

		ret[i] =
			(digit >> i & 1) != 0 ? ladder->numbers[gap - 1] + 1 : ladder->numbers[gap];
	}
	return 0;
}

int hunk_gap_read(struct recoverer *self, const struct spot *spot, size_t *ret)
{
	size_t classes[CLASSES_MAX];
	size_t len, likely, digit;
	struct range range;

	ladder_take_side(&self->ladder, spot->hunk, HUNK_OLD);
	if (spot->place.gaps_len != 1)
		return read_several(self, spot, ret);
	range = find_range(self, &spot->place);
	len = find_classes(self, spot->hunk, range, classes);
	likely = len == 1 ? 0 : class_by_shape(self, spot, classes, len, range.last);
	if (likely == len && !self->how->trusted)
		return refuse_open(self, spot);
	if (likely == len)
		likely = len - 1;
	digit = self->how->trusted ? take_digit(self, len) : 0;
	if (digit > 0)
		likely = likely == 0 ? len - digit : digit <= likely ? digit - 1 : digit;
	*ret = classes[likely];
	return 0;
}
