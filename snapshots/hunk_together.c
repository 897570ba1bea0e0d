/*
 * hunk_together.c - what the hunks of a file tell about each other's places.
 *
 * One hunk may fit at several places. The others say which is meant: that all
 * stated lines are right, how far the file has drifted, or between which lines
 * it must be. And what every hunk may be by itself they may not be together: in
 * another order, drifted apart, or made already.
 */
#include <stdlib.h>
#include <string.h>

#include "snapshots/hunk_rewrite.h"

enum { HUNKS_OF_A_STORY = 3 /* so many do not fit their stated lines by chance */ };

/* --- what they say ------------------------------------------------------ */

static int compare_stated(const void *a, const void *b)
{
	const struct diff_hunk *left = ((const struct spot *)a)->hunk;
	const struct diff_hunk *right = ((const struct spot *)b)->hunk;

	return (left->old_start > right->old_start) - (left->old_start < right->old_start);
}

/* Whether every number that the hunks state tells one story, when they are
 * told in the order of their lines. */
static bool numbers_agree(struct recoverer *self)
{
	size_t len = self->file->hunks_len;
	struct spot *spots = arena_array(self->arena, len, sizeof(*spots));
	int64_t growth = 0;

	if (spots == NULL)
		return false;
	(void)memcpy(spots, self->spots, len * sizeof(*spots));
	qsort(spots, len, sizeof(*spots), compare_stated);
	for (size_t i = 0; i < len; i++) {
		const struct spot *spot = &spots[i];
		const struct diff_hunk *hunk = spot->hunk;

		if (!hunk_is_numbered(hunk) || spot->found == FOUND_NOT ||
		    (int64_t)hunk_stated(hunk, HUNK_NEW) !=
			    (int64_t)hunk_stated(hunk, HUNK_OLD) + growth)
			return false;
		if (spot->found == FOUND_ONE ? !hunk_at_stated(hunk, &spot->place)
					     : spot->all != NULL && !spot->all->has_stated)
			return false;
		growth += (int64_t)hunk->new_len - (int64_t)hunk->old_len;
	}
	return true;
}

static int64_t drift_of(const struct recoverer *self, size_t number)
{
	return (int64_t)self->spots[number].place.start -
	       (int64_t)hunk_stated(&self->file->hunks[number], HUNK_OLD);
}

/* The drift that the found hunks on both sides share. */
static bool shared_drift(const struct recoverer *self, size_t number, int64_t *ret)
{
	size_t before = number, behind = number + 1;
	size_t len = self->file->hunks_len;

	if (number == 0 || number + 1 >= len)
		return false;
	before--;
	if (self->spots[before].found != FOUND_ONE || self->spots[behind].found != FOUND_ONE ||
	    !hunk_is_numbered(&self->file->hunks[before]) ||
	    !hunk_is_numbered(&self->file->hunks[behind]))
		return false;
	*ret = drift_of(self, before);
	return *ret == drift_of(self, behind);
}

static void take(struct spot *spot, const struct ladder_place *place)
{
	spot->place = *place;
	spot->found = FOUND_ONE;
}

/* The only one of the places below the function that the header names. */
static void decide_by_heading(struct recoverer *self, struct spot *spot)
{
	const struct diff_hunk *hunk = &self->file->hunks[spot->number];
	const struct ladder_places *all = spot->all;
	const struct ladder_place *only = NULL;

	if (hunk_trim(hunk->heading).len == 0 || all->best_len == LADDER_KEPT)
		return;
	for (size_t i = 0; i < all->best_len; i++) {
		if (!ladder_heading_is(&self->ladder, hunk, all->best[i].line))
			continue;
		if (only != NULL)
			return;
		only = &all->best[i];
	}
	if (only != NULL)
		take(spot, only);
}

/* Whether hunks are where hunks before them are not: none that was found is
 * out of order, nor are stated lines. */
static bool in_order(const struct recoverer *self)
{
	const struct diff_hunk *before = NULL;
	size_t line = 0;

	for (size_t i = 0; i < self->file->hunks_len; i++) {
		const struct diff_hunk *hunk = &self->file->hunks[i];

		if (before != NULL && hunk_is_numbered(hunk) && hunk_is_numbered(before) &&
		    hunk->old_start < before->old_start)
			return false;
		before = hunk;
		if (self->spots[i].found != FOUND_ONE)
			continue;
		if (self->spots[i].place.line < line)
			return false;
		line = self->spots[i].place.line;
	}
	return true;
}

/* Whether the others may choose among a hunk's places: the lines that are there
 * are the hunk's and say something, all places are known, and the stated line
 * is not a worse one of them. */
static bool may_choose(const struct ladder_places *all)
{
	return all->best[0].rung <= RUNG_ENDS && all->best[0].telling && all->untied == 0 &&
	       !(all->has_stated && all->stated.rung != all->best[0].rung);
}

static size_t place_end(const struct ladder_place *place)
{
	return place->line + (place->to - place->from) + place->gaps_len;
}

/* The places that a hunk can have; none: any. */
static size_t places_of(const struct spot *spot, const struct ladder_place **ret)
{
	if (spot->found == FOUND_ONE) {
		*ret = &spot->place;
		return 1;
	}
	if (spot->found != FOUND_MANY || spot->all == NULL || spot->all->best_len == LADDER_KEPT)
		return 0;
	*ret = spot->all->best;
	return spot->all->best_len;
}

/*
 * The first place of each hunk that leaves room for the hunks before it, and
 * the last one that leaves room for those behind, NULL where there is none.
 * Where both are one place, no other is possible.
 */
static void find_room(const struct recoverer *self, const struct ladder_place **first,
		      const struct ladder_place **last)
{
	size_t len = self->file->hunks_len, from = 0, to = SIZE_MAX;
	const struct ladder_place *places = NULL;

	for (size_t i = 0; i < len; i++) {
		size_t count = places_of(&self->spots[i], &places);

		for (size_t k = 0; k < count && first[i] == NULL; k++) {
			if (places[k].line >= from)
				first[i] = &places[k];
		}
		if (first[i] != NULL)
			from = place_end(first[i]);
	}
	for (size_t i = len; i-- > 0;) {
		size_t count = places_of(&self->spots[i], &places);

		while (count-- > 0 && last[i] == NULL) {
			if (place_end(&places[count]) <= to)
				last[i] = &places[count];
		}
		if (last[i] != NULL)
			to = last[i]->line;
	}
}

/* What the order of the hunks leaves one place for. A proof may try the first
 * that there is room for. */
static void decide_by_order(struct recoverer *self)
{
	size_t len = self->file->hunks_len;
	const struct ladder_place **first = arena_array(self->arena, len, sizeof(const void *));
	const struct ladder_place **last = arena_array(self->arena, len, sizeof(const void *));

	if (!self->ordered || first == NULL || last == NULL)
		return;
	find_room(self, first, last);
	for (size_t i = 0; i < len; i++) {
		struct spot *spot = &self->spots[i];

		if (spot->found != FOUND_MANY || spot->all == NULL || first[i] == NULL)
			continue;
		if ((first[i] == last[i] && may_choose(spot->all)) ||
		    (self->how->trusted && self->how->choice == 0))
			take(spot, first[i]);
	}
}

/* Whether a stated line, where all hunks fit theirs, outdoes other places. The
 * line of a single hunk may not contradict the function that its header names,
 * and needs that function's word when its counts are wrong. */
static bool stated_decides(struct recoverer *self, const struct diff_hunk *hunk,
			   const struct ladder_places *all)
{
	if (!self->how->trusted && self->file->hunks_len == 1 &&
	    ((hunk->doubts & DIFF_DOUBT_COUNTS) || hunk_trim(hunk->heading).len > 0) &&
	    !ladder_heading_is(&self->ladder, hunk, all->stated.line))
		return false;
	return self->how->trusted || all->stated.rung == all->best[0].rung ||
	       all->stated.rung <= RUNG_ENDS ||
	       (self->file->hunks_len > 1 && all->best[0].rung > RUNG_ENDS) ||
	       self->file->hunks_len >= HUNKS_OF_A_STORY;
}

/* By the stated line, or by the drift of the hunks around it. */
static void decide_by_numbers(struct recoverer *self, struct spot *spot, bool agree)
{
	const struct diff_hunk *hunk = spot->hunk;
	const struct ladder_places *all = spot->all;
	int64_t drift;

	if (agree && stated_decides(self, hunk, all)) {
		take(spot, &all->stated);
		return;
	}
	if (!may_choose(all) || !hunk_is_numbered(hunk) ||
	    !shared_drift(self, spot->number, &drift))
		return;
	for (size_t i = 0; i < all->best_len; i++) {
		if ((int64_t)all->best[i].start == (int64_t)hunk_stated(hunk, HUNK_OLD) + drift) {
			take(spot, &all->best[i]);
			return;
		}
	}
}

static bool is_open(const struct spot *spot)
{
	return spot->found == FOUND_MANY && spot->all != NULL;
}

static void decide(struct recoverer *self)
{
	bool agree = numbers_agree(self);

	self->ordered = in_order(self);
	for (size_t i = 0; i < self->file->hunks_len; i++) {
		if (is_open(&self->spots[i]))
			decide_by_numbers(self, &self->spots[i], agree);
	}
	decide_by_order(self);
	for (size_t i = 0; i < self->file->hunks_len; i++) {
		if (is_open(&self->spots[i]) && may_choose(self->spots[i].all))
			decide_by_heading(self, &self->spots[i]);
	}
	decide_by_order(self);
}

/* Whether the places are in the order in which the hunks stand in the diff, or
 * in that of the lines that they state. */
static bool places_in_order(const struct recoverer *self, bool stated)
{
	size_t len = self->file->hunks_len, line = 0;
	struct spot *spots = arena_array(self->arena, len, sizeof(*spots));

	if (spots == NULL)
		return false;
	(void)memcpy(spots, self->spots, len * sizeof(*spots));
	if (stated)
		qsort(spots, len, sizeof(*spots), compare_stated);
	for (size_t i = 0; i < len; i++) {
		if (spots[i].place.line < line || (stated && !hunk_is_numbered(spots[i].hunk)))
			return false;
		line = spots[i].place.line;
	}
	return true;
}

/* Refuses places that no one diff has: between two hunks at their stated lines
 * a third cannot have drifted, and hunks do not change places. */
static int judge_together(struct recoverer *self)
{
	int64_t drift;

	if (!places_in_order(self, false) && !places_in_order(self, true))
		return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
				  "line %zu: the hunks of '%.160s' fit in another order only than "
				  "the one they have and the one that their line numbers have",
				  self->file->at_line, hunk_path(self->file));
	for (size_t i = 0; i < self->file->hunks_len; i++) {
		const struct diff_hunk *hunk = &self->file->hunks[i];

		if (self->spots[i].found != FOUND_ONE || !hunk_is_numbered(hunk) ||
		    !shared_drift(self, i, &drift) || drift != 0 ||
		    llabs(drift_of(self, i)) <= LADDER_FUZZ_MAX)
			continue;
		return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
				  "line %zu: hunk %zu of '%.160s' fits at line %zu only, which is "
				  "not where the hunks around it say",
				  hunk->at_line, i + 1, hunk_path(self->file),
				  self->spots[i].place.line + 1);
	}
	return 0;
}

/* Whether a hunk has its heading among its own lines: then the function above
 * it says nothing. */
static bool holds_its_heading(const struct diff_hunk *hunk)
{
	struct bytes heading = hunk_trim(hunk->heading);

	for (size_t i = 0; i < hunk->lines_len; i++) {
		struct bytes text = hunk->lines[i].text;

		if (memmem(text.data, text.len, heading.data, heading.len) != NULL)
			return true;
	}
	return false;
}

/* At the stated line, or as far off as lines that the diff lost may move it. */
static bool is_about_stated(const struct recoverer *self, size_t number)
{
	const struct spot *spot = &self->spots[number];

	return hunk_at_stated(spot->hunk, &spot->place) ||
	       (hunk_is_numbered(spot->hunk) && llabs(drift_of(self, number)) <= LADDER_FUZZ_MAX);
}

/* Refuses a hunk that is in another function than its header names, which the
 * file has, and not about where it is stated: the place that was meant has
 * changed, and this is its twin. */
static int judge_headings(struct recoverer *self)
{
	const struct hunk_index *index = &self->ladder.image.index;

	for (size_t i = 0; i < self->file->hunks_len; i++) {
		const struct spot *spot = &self->spots[i];
		size_t line = spot->place.line;

		if (spot->found != FOUND_ONE || line >= index->lines || is_about_stated(self, i) ||
		    hunk_trim(spot->hunk->heading).len == 0 || holds_its_heading(spot->hunk) ||
		    ladder_heading_is(&self->ladder, spot->hunk, line))
			continue;
		if (self->ladder.image.budget < index->lines)
			return 0;
		self->ladder.image.budget -= index->lines;
		if (hunk_contradicts_heading(self->request->preimage, spot->hunk,
					     index->starts[line]))
			return reason_set(
				self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
				"line %zu: hunk %zu of '%.160s' fits at line %zu only, and "
				"the function there is not the one that its header names",
				spot->hunk->at_line, spot->number + 1, hunk_path(self->file),
				line + 1);
	}
	return 0;
}

int hunk_refuse_unplaced(struct recoverer *self, const struct spot *spot)
{
	struct hunk_search search = {0};
	const struct ladder_places *all = spot->all;

	if (spot->found == FOUND_NOT)
		return hunk_conflict(&self->ladder.image, self->file, spot->number,
				     "no place of the file has its removed lines and enough of its "
				     "context",
				     self->reason);
	if (all != NULL && all->best_len > 1) {
		search.found = 2;
		search.places[0].line = all->best[0].line;
		search.places[1].line = all->best[1].line;
	} else if (all != NULL) {
		return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
				  "line %zu: hunk %zu of '%.160s' fits best at line %zu, but not "
				  "exactly there, and at another place not much worse",
				  self->file->hunks[spot->number].at_line, spot->number + 1,
				  hunk_path(self->file), all->best[0].line + 1);
	}
	return hunk_ambiguous(self->file, spot->number, &search, self->reason);
}

/* Where a hunk can be when those before and behind are where they were found. */
static void find_bounds(const struct recoverer *self, size_t number, size_t *ret_from,
			size_t *ret_to)
{
	size_t i = number;

	*ret_from = 0;
	*ret_to = SIZE_MAX;
	if (!self->ordered)
		return;
	if (number > 0 && self->spots[number - 1].found == FOUND_ONE)
		*ret_from = place_end(&self->spots[number - 1].place);
	if (++i < self->file->hunks_len && self->spots[i].found == FOUND_ONE)
		*ret_to = self->spots[i].place.line;
}

/* Whether a place speaks for itself: the function that the header names is the
 * one above it, and not above the new side that is elsewhere. */
static bool heading_prefers(struct recoverer *self, const struct spot *spot, size_t other)
{
	return spot->found == FOUND_ONE && hunk_trim(spot->hunk->heading).len > 0 &&
	       ladder_heading_is(&self->ladder, spot->hunk, spot->place.line) &&
	       !ladder_heading_is(&self->ladder, spot->hunk, other);
}

/* Whether the new side is in the file although the hunk was found: where the
 * hunk can be when it is not where it says, there when it does not fit to the
 * letter. */
static bool may_be_applied(struct recoverer *self, const struct spot *spot)
{
	const struct diff_hunk *hunk = &self->file->hunks[spot->number];
	size_t start = spot->place.start, from, to, line;
	size_t near = spot->place.rung > RUNG_ENDS ? LADDER_FUZZ_MAX : 0;

	if (spot->found == FOUND_AT_START)
		return false;
	if (spot->found == FOUND_ONE && hunk_at_stated(hunk, &spot->place))
		return spot->place.rung > RUNG_EXACT &&
		       ladder_find_new_side(&self->ladder, hunk, start < near ? 0 : start - near,
					    start + near) != SIZE_MAX;
	find_bounds(self, spot->number, &from, &to);
	for (;;) {
		line = ladder_find_new_side(&self->ladder, hunk, from, to);
		if (line == SIZE_MAX || !heading_prefers(self, spot, line))
			return line != SIZE_MAX;
		from = line + 1;
	}
}

/* Refuses hunks that may have been applied. */
static int judge_applied(struct recoverer *self)
{
	const struct diff_file *file = self->file;
	size_t present = 0, first = SIZE_MAX;

	for (size_t i = 0; i < file->hunks_len; i++) {
		if (!may_be_applied(self, &self->spots[i]))
			continue;
		if (self->ladder.image.budget == 0)
			return hunk_ambiguous(file, i, &(struct hunk_search){.gave_up = true},
					      self->reason);
		present++;
		if (first == SIZE_MAX)
			first = i;
	}
	if (present == 0)
		return 0;
	if (present == file->hunks_len)
		return reason_set(self->reason,
				  file->sides_swapped ? REASON_PATCH_REVERSED
						      : REASON_PATCH_APPLIED,
				  hunk_path(file),
				  "line %zu: the base has the new side of '%.160s' already: the "
				  "diff was applied before, or it runs backwards",
				  file->at_line, hunk_path(file));
	return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(file),
			  "line %zu: hunk %zu of '%.160s' is not at its stated line, and the base "
			  "has its new side already",
			  file->hunks[first].at_line, first + 1, hunk_path(file));
}

/* Counts through the places of hunks that are still open. */
static void choose(struct recoverer *self)
{
	size_t choice = self->how->choice;

	for (size_t i = 0; i < self->file->hunks_len; i++) {
		struct spot *spot = &self->spots[i];

		if (spot->found != FOUND_MANY || spot->all == NULL)
			continue;
		take(spot, &spot->all->best[choice % spot->all->best_len]);
		choice /= spot->all->best_len;
	}
}

int hunk_decide_all(struct recoverer *self)
{
	int code = 0;

	decide(self);
	if (self->how->trusted)
		choose(self);
	else
		code = judge_applied(self);
	for (size_t i = 0; i < self->file->hunks_len && code == 0; i++) {
		if (self->spots[i].found == FOUND_NOT || self->spots[i].found == FOUND_MANY)
			code = hunk_refuse_unplaced(self, &self->spots[i]);
	}
	if (code == 0 && !self->how->trusted)
		code = judge_together(self);
	if (code == 0 && !self->how->trusted)
		code = judge_headings(self);
	return code;
}
