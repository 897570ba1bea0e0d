/*
 * hunk_recover.c - the hunks of one file by the ladder, together.
 *
 * Each hunk is searched for by itself; what one hunk leaves open the others
 * may decide: that stated lines are right, or how far the file has drifted.
 * Then every hunk is written anew by the file (hunk_rewrite.c).
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots/hunk_gap.h"
#include "snapshots/recover.h"

enum {
	BUDGET = 1 << 20,
	HUNKS_OF_A_STORY = 3, /* so many hunks do not fit their stated lines by chance */
};

/* --- a hunk by itself ---------------------------------------------------- */

static bool is_numbered(const struct diff_hunk *hunk)
{
	return !(hunk->doubts & DIFF_DOUBT_LINES);
}

static bool at_stated(const struct diff_hunk *hunk, const struct ladder_place *place)
{
	return is_numbered(hunk) && place->start == hunk_stated(hunk, HUNK_OLD);
}

/* Whether the only place of the lowest rung may be taken. */
static bool is_unrivalled(const struct diff_hunk *hunk, const struct ladder_places *places,
			  bool trusted)
{
	const struct ladder_place *best = &places->best[0];
	size_t total = 0;

	for (size_t i = 0; i < RUNGS; i++)
		total += places->counts[i];
	if (at_stated(hunk, best))
		return true;
	if (best->rung > RUNG_ENDS)
		return total == 1 && places->untied == 0 && (trusted || !is_numbered(hunk));
	return best->telling && places->untied == 0 && (total == 1 || !places->has_stated);
}

/* Whether counts promise one or two more lines of context, and the file has a
 * place where as many are missing, while `place` is none: either may be meant. */
static bool is_unexplained(struct recoverer *self, const struct diff_hunk *hunk,
			   const struct ladder_place *place)
{
	bool stated = at_stated(hunk, place);

	if (self->how->trusted || hunk->lacking == 0 || hunk->lacking > LADDER_GAPS_MAX ||
	    place->gaps_len == hunk->lacking)
		return false;
	if (place->rung > RUNG_ENDS && !stated)
		return true;
	return ladder_has_gapped(
		&self->ladder, hunk, hunk->lacking,
		stated && place->line > LADDER_GAPS_MAX ? place->line - LADDER_GAPS_MAX : 0,
		stated ? place->line + LADDER_GAPS_MAX : SIZE_MAX);
}

static int search(struct recoverer *self, size_t number)
{
	const struct diff_hunk *hunk = &self->file->hunks[number];
	struct spot *spot = &self->spots[number];
	struct ladder_places places;

	spot->number = number;
	spot->hunk = hunk;
	if (hunk->old_len == 0) {
		spot->found = self->request->preimage.len == 0 ? FOUND_AT_START : FOUND_MANY;
		return 0;
	}
	ladder_search(&self->ladder, hunk, &places);
	if (places.gave_up) {
		struct hunk_search search = {.gave_up = true};

		return hunk_ambiguous(self->file, number, &search, self->reason);
	}
	if (places.best_len == 0)
		return 0;
	spot->place = places.best[0];
	if (is_unexplained(self, hunk, &spot->place))
		return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
				  "line %zu: by its counts hunk %zu of '%.160s' lacks %u lines of "
				  "context, and the file does not show which",
				  hunk->at_line, number + 1, hunk_path(self->file), hunk->lacking);
	if (places.best_len == 1 && is_unrivalled(hunk, &places, self->how->trusted)) {
		spot->found = FOUND_ONE;
		return 0;
	}
	spot->found = FOUND_MANY;
	spot->all = arena_alloc(self->arena, sizeof(*spot->all));
	if (spot->all == NULL)
		return reason_set(self->reason, REASON_PATCH_TOO_LARGE, NULL,
				  "the diff needs more memory than a job may use");
	*spot->all = places;
	return 0;
}

/* --- hunks together ------------------------------------------------------ */

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

		if (!is_numbered(hunk) || spot->found == FOUND_NOT ||
		    (int64_t)hunk_stated(hunk, HUNK_NEW) !=
			    (int64_t)hunk_stated(hunk, HUNK_OLD) + growth)
			return false;
		if (spot->found == FOUND_ONE ? !at_stated(hunk, &spot->place)
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
	    !is_numbered(&self->file->hunks[before]) || !is_numbered(&self->file->hunks[behind]))
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

		if (before != NULL && is_numbered(hunk) && is_numbered(before) &&
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

/* The only one of the places between the hunks before and behind. */
static bool decide_by_order(struct recoverer *self, struct spot *spot)
{
	const struct ladder_places *all = spot->all;
	const struct ladder_place *only = NULL;
	size_t from = 0, to = SIZE_MAX, number = spot->number;

	if (!self->ordered || all->best_len == LADDER_KEPT)
		return false;
	while (number > 0 && self->spots[number - 1].found != FOUND_ONE)
		number--;
	if (number > 0)
		from = self->spots[number - 1].place.line + 1;
	for (number = spot->number + 1; number < self->file->hunks_len; number++) {
		if (self->spots[number].found != FOUND_ONE)
			continue;
		to = self->spots[number].place.line;
		break;
	}
	for (size_t i = 0; i < all->best_len; i++) {
		if (all->best[i].line < from || all->best[i].line >= to)
			continue;
		if (only != NULL)
			return false;
		only = &all->best[i];
	}
	if (only != NULL)
		take(spot, only);
	return only != NULL;
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

static void decide(struct recoverer *self, struct spot *spot, bool agree)
{
	const struct diff_hunk *hunk = &self->file->hunks[spot->number];
	const struct ladder_places *all = spot->all;
	int64_t drift;

	if (all == NULL)
		return;
	if (agree && stated_decides(self, hunk, all)) {
		take(spot, &all->stated);
		return;
	}
	if (all->best[0].rung > RUNG_ENDS || !all->best[0].telling || all->untied > 0 ||
	    (all->has_stated && all->stated.rung != all->best[0].rung))
		return;
	if (is_numbered(hunk) && shared_drift(self, spot->number, &drift)) {
		for (size_t i = 0; i < all->best_len; i++) {
			if ((int64_t)all->best[i].start ==
			    (int64_t)hunk_stated(hunk, HUNK_OLD) + drift) {
				take(spot, &all->best[i]);
				return;
			}
		}
	}
	if (!decide_by_order(self, spot))
		decide_by_heading(self, spot);
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
		if (spots[i].place.line < line || (stated && !is_numbered(spots[i].hunk)))
			return false;
		line = spots[i].place.line;
	}
	return true;
}

/* Refuses places that no one diff has: between two hunks that drifted alike a
 * third cannot have drifted in another way, and hunks do not change places. */
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

		if (self->spots[i].found != FOUND_ONE || !is_numbered(hunk) ||
		    !shared_drift(self, i, &drift) || drift_of(self, i) == drift)
			continue;
		return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
				  "line %zu: hunk %zu of '%.160s' fits at line %zu only, which is "
				  "not where the hunks around it say",
				  hunk->at_line, i + 1, hunk_path(self->file),
				  self->spots[i].place.line + 1);
	}
	return 0;
}

static int refuse_unplaced(struct recoverer *self, const struct spot *spot)
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

/* Whether the new side is in the file although the hunk was found: anywhere
 * when it is not where it says, there when it does not fit to the letter. */
static bool may_be_applied(struct recoverer *self, const struct spot *spot)
{
	const struct diff_hunk *hunk = &self->file->hunks[spot->number];
	size_t start = spot->place.start;
	size_t near = spot->place.rung > RUNG_ENDS ? LADDER_FUZZ_MAX : 0;

	if (spot->found == FOUND_AT_START)
		return false;
	if (spot->found != FOUND_ONE || !at_stated(hunk, &spot->place))
		return ladder_has_new_side(&self->ladder, hunk, 0, SIZE_MAX);
	return spot->place.rung > RUNG_EXACT &&
	       ladder_has_new_side(&self->ladder, hunk, start < near ? 0 : start - near,
				   start + near);
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

static int place_all(struct recoverer *self)
{
	bool agree;
	int code = 0;

	for (size_t i = 0; i < self->file->hunks_len && code == 0; i++)
		code = search(self, i);
	if (code != 0)
		return code;
	agree = numbers_agree(self);
	self->ordered = in_order(self);
	for (size_t i = 0; i < self->file->hunks_len; i++) {
		if (self->spots[i].found == FOUND_MANY)
			decide(self, &self->spots[i], agree);
	}
	if (self->how->trusted)
		choose(self);
	if (!self->how->trusted)
		code = judge_applied(self);
	for (size_t i = 0; i < self->file->hunks_len && code == 0; i++) {
		if (self->spots[i].found == FOUND_NOT || self->spots[i].found == FOUND_MANY)
			code = refuse_unplaced(self, &self->spots[i]);
	}
	if (code == 0 && !self->how->trusted)
		code = judge_together(self);
	return code;
}

/* --- notes ------------------------------------------------------------------ */

static bool note_place(struct recoverer *self, const struct spot *spot)
{
	const struct diff_hunk *hunk = &self->file->hunks[spot->number];
	const struct ladder_place *place = &spot->place;
	const char *path = hunk_path(self->file);
	size_t number = spot->number + 1;
	size_t fuzz = place->from + (spot->found == FOUND_ONE ? hunk->old_len - place->to : 0);
	bool fine = true;

	if (!is_numbered(hunk))
		fine = recover_note(self->arena, self->notes,
				    "%s: hunk %zu has no line numbers, applied at line %zu", path,
				    number, place->line + 1);
	else if (spot->found == FOUND_ONE && !at_stated(hunk, place))
		fine = recover_note(self->arena, self->notes,
				    "%s: hunk %zu applied at line %zu instead of %zu", path, number,
				    place->start + 1, hunk_stated(hunk, HUNK_OLD) + 1);
	if (fine && place->ends > 0)
		fine = recover_note(
			self->arena, self->notes,
			"%s: hunk %zu differs in white space at the end of %zu lines, the "
			"file's were kept",
			path, number, place->ends);
	if (fine && place->indent > 0)
		fine = recover_note(
			self->arena, self->notes,
			"%s: hunk %zu indents %zu context lines in another way, the file's "
			"were kept",
			path, number, place->indent);
	if (fine && place->gaps_len > 0)
		fine = recover_note(self->arena, self->notes,
				    "%s: hunk %zu lacks %zu context lines, the file's were kept",
				    path, number, place->gaps_len);
	if (fine && fuzz > 0)
		fine = recover_note(self->arena, self->notes,
				    "%s: hunk %zu has %zu outer context lines that are not in the "
				    "file, the file's were kept",
				    path, number, fuzz);
	return fine;
}

static int note_all(struct recoverer *self)
{
	bool fine = true;
	bool sorted = true;

	for (size_t i = 0; i < self->file->hunks_len && fine; i++) {
		fine = note_place(self, &self->spots[i]);
		sorted = sorted && self->spots[i].number == i;
	}
	if (fine && !sorted)
		fine = recover_note(self->arena, self->notes, "%s: hunks were put in order",
				    hunk_path(self->file));
	if (fine && self->line_ends && self->how->ends != HUNK_ENDS_WRITTEN)
		fine = recover_note(self->arena, self->notes,
				    "%s: added lines end as those of the file do",
				    hunk_path(self->file));
	return fine ? 0
		    : reason_set(self->reason, REASON_PATCH_TOO_LARGE, NULL,
				 "the diff needs more memory than a job may use");
}

/* --- the whole -------------------------------------------------------------- */

static int start(struct recoverer *self)
{
	const struct diff_file *file = self->file;
	size_t longest = 0;
	struct ladder *ladder = &self->ladder;

	for (size_t i = 0; i < file->hunks_len; i++) {
		if (file->hunks[i].lines_len > longest)
			longest = file->hunks[i].lines_len;
	}
	if (self->how->image != NULL && self->how->image->indexed)
		ladder->image = *self->how->image;
	else
		ladder->image = (struct hunk_image){.arena = self->arena,
						    .bytes = self->request->preimage,
						    .index = {.trims = true}};
	ladder->image.budget = self->how->budget != NULL ? *self->how->budget : BUDGET;
	ladder->trusted = self->how->trusted;
	ladder->lines = arena_array(self->arena, longest, sizeof(const struct diff_line *));
	ladder->numbers = arena_array(self->arena, longest, sizeof(*ladder->numbers));
	ladder->hashes = arena_array(self->arena, longest, sizeof(*ladder->hashes));
	self->spots = arena_array(self->arena, file->hunks_len, sizeof(*self->spots));
	if (ladder->lines == NULL || ladder->numbers == NULL || ladder->hashes == NULL ||
	    self->spots == NULL || !hunk_index_lines(&ladder->image))
		return reason_set(self->reason, REASON_PATCH_TOO_LARGE, hunk_path(file),
				  "line %zu: '%.160s' has too many lines to recover a damaged diff "
				  "of it",
				  file->at_line, hunk_path(file));
	if (self->how->image != NULL)
		*self->how->image = ladder->image;
	return 0;
}

int hunk_recover(struct arena *arena, const struct hunk_request *request,
		 const struct hunk_recovery *how, struct diff_file *ret, struct text_list *notes,
		 struct reason *ret_reason, struct err *err)
{
	struct recoverer self = {
		.arena = arena,
		.request = request,
		.how = how,
		.file = request->file,
		.notes = notes,
		.reason = ret_reason,
	};
	struct diff_hunk *hunks;
	int code;

	assert(self.file->hunks_len > 0);
	hunks = arena_array(arena, self.file->hunks_len, sizeof(*hunks));
	if (hunks == NULL)
		return err_set(err, ERR_LIMIT, "cannot place hunks: out of memory");
	code = start(&self);
	if (code == 0)
		code = place_all(&self);
	if (code == 0) {
		hunk_look_at_ends(&self);
		code = hunk_rewrite_all(&self, hunks);
	}
	if (how->budget != NULL)
		*how->budget = self.ladder.image.budget;
	if (code == 0)
		code = note_all(&self);
	if (code != 0)
		return code;
	*ret = *self.file;
	ret->hunks = hunks;
	return 0;
}
