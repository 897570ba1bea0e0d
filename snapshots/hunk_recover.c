/*
 * hunk_recover.c - the hunks of one file by the ladder, together.
 *
 * Each hunk is searched for by itself; what one hunk leaves open the others
 * may decide: that stated lines are right, or how far the file has drifted.
 * Then every hunk is written anew by the file (hunk_rewrite.c).
 */
#include <assert.h>
#include <string.h>

#include "snapshots/hunk_gap.h"
#include "snapshots/recover.h"

enum {
	BUDGET = 1 << 20,
	HOPELESS_MAX = 16,
};

/* --- a hunk by itself ---------------------------------------------------- */

/* Whether the only place of the lowest rung may be taken. */
static bool is_unrivalled(const struct diff_hunk *hunk, const struct ladder_places *places,
			  bool trusted)
{
	const struct ladder_place *best = &places->best[0];
	size_t total = 0;

	for (size_t i = 0; i < RUNGS; i++)
		total += places->counts[i];
	if (hunk_at_stated(hunk, best))
		return true;
	if (best->rung > RUNG_ENDS)
		return total == 1 && places->untied == 0 && (trusted || !hunk_is_numbered(hunk));
	return best->telling && places->untied == 0 && (total == 1 || !places->has_stated);
}

/* Whether counts promise one or two more lines of context, and the file has a
 * place where as many are missing, while `place` is none: either may be meant. */
static bool is_unexplained(struct recoverer *self, const struct diff_hunk *hunk,
			   const struct ladder_place *place)
{
	bool stated = hunk_at_stated(hunk, place);

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

static struct ladder_places *keep_places(struct recoverer *self, const struct ladder_places *from)
{
	struct ladder_places *to = arena_alloc(self->arena, sizeof(*to));
	struct ladder_place *best = arena_array(self->arena, from->best_len, sizeof(*best));

	if (to == NULL || best == NULL)
		return NULL;
	*to = *from;
	to->best = best;
	(void)memcpy(best, from->best, from->best_len * sizeof(*best));
	return to;
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
	spot->all = keep_places(self, &places);
	if (spot->all == NULL)
		return reason_set(self->reason, REASON_PATCH_TOO_LARGE, NULL,
				  "the diff needs more memory than a job may use");
	return 0;
}

/* Whether neither side of a hunk is in the file: then the diff is refused,
 * whatever the other hunks are. */
static bool is_hopeless(struct recoverer *self, const struct spot *spot)
{
	return spot->found == FOUND_NOT &&
	       (self->how->trusted ||
		ladder_find_new_side(&self->ladder, spot->hunk, 0, SIZE_MAX) == SIZE_MAX);
}

/* A few hopeless hunks are a diff of which the others may say more. Many are
 * the diff of another file; and what is going to be proven has no use for
 * others, for no reading gives the first one a place. */
static int place_all(struct recoverer *self)
{
	const struct spot *first = NULL;
	size_t hopeless = 0;
	int code = 0;

	for (size_t i = 0; i < self->file->hunks_len && code == 0; i++) {
		code = search(self, i);
		if (code != 0 || !is_hopeless(self, &self->spots[i]))
			continue;
		first = first != NULL ? first : &self->spots[i];
		if (++hopeless < HOPELESS_MAX && !self->how->trusted)
			continue;
		if (self->how->open != NULL)
			self->how->open->hopeless = true;
		return hunk_refuse_unplaced(self, first);
	}
	return code == 0 ? hunk_decide_all(self) : code;
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

	if (!hunk_is_numbered(hunk))
		fine = recover_note(self->arena, self->notes,
				    "%s: hunk %zu has no line numbers, applied at line %zu", path,
				    number, place->line + 1);
	else if (spot->found == FOUND_ONE && !hunk_at_stated(hunk, place))
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
	if (self->how->shape != NULL)
		self->shape = *self->how->shape;
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
	struct diff_hunk *hunks = NULL;
	int code;

	assert(self.file->hunks_len > 0);
	code = start(&self);
	if (code == 0)
		code = place_all(&self);
	if (code == 0) {
		hunks = arena_array(arena, self.file->hunks_len, sizeof(*hunks));
		if (hunks == NULL)
			return err_set(err, ERR_LIMIT, "cannot place hunks: out of memory");
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
