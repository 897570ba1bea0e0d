/*
 * hunk_rewrite.c - hunks that found their places, as they should have been.
 *
 * Every old line is the file's own, byte by byte; added lines are the diff's,
 * but for their ends where the diff's are damaged. What comes out fits exactly,
 * and hunk_apply() checks that it does.
 */
#include "snapshots/hunk_gap.h"

#include <stdlib.h>
#include <string.h>

/* --- line ends ----------------------------------------------------------- */

static bool ends_in_cr(struct bytes text)
{
	return text.len > 0 && text.data[text.len - 1] == '\r';
}

/* Whether the file has other line ends than the hunks' old lines. */
void hunk_look_at_ends(struct recoverer *self)
{
	const struct hunk_index *index = &self->ladder.image.index;
	bool newline;

	self->line_ends = self->how->line_ends || self->how->ends > HUNK_ENDS_WRITTEN;
	for (size_t i = 0; i < self->file->hunks_len && !self->line_ends; i++) {
		const struct diff_hunk *hunk = &self->file->hunks[i];
		const struct ladder_place *place = &self->spots[i].place;
		size_t line = place->line, old = 0;

		if (self->spots[i].found != FOUND_ONE || place->ends == 0)
			continue;
		for (size_t k = 0; k < hunk->lines_len && old < place->to; k++) {
			if (!hunk_line_on(&hunk->lines[k], HUNK_OLD) || old++ < place->from)
				continue;
			for (size_t g = 0; g < place->gaps_len; g++)
				line += place->gaps[g] == old - 1;
			self->line_ends |= ends_in_cr(ladder_line(&self->ladder, line, &newline)) !=
					   ends_in_cr(hunk->lines[k].text);
			line++;
		}
	}
	for (size_t i = 0; self->line_ends && i < index->lines; i++)
		self->lines_cr += ends_in_cr(ladder_line(&self->ladder, i, &newline));
}

/* Whether added lines get a CR: by the file when all its lines agree, else by
 * the lines at the place when those do. */
static int choose_ends(struct recoverer *self, const struct spot *spot, bool *ret)
{
	const struct ladder_place *place = &spot->place;
	size_t lines = self->ladder.image.index.lines;
	size_t here = 0, len = place->to - place->from + place->gaps_len;
	bool newline;

	*ret = self->lines_cr > 0 || self->how->ends == HUNK_ENDS_CRLF;
	if (self->how->ends == HUNK_ENDS_CRLF || self->lines_cr == 0 || self->lines_cr == lines ||
	    (self->lines_cr + 1 == lines &&
	     !ends_in_cr(ladder_line(&self->ladder, lines - 1, &newline)) && !newline))
		return 0;
	for (size_t i = 0; i < len; i++)
		here += ends_in_cr(ladder_line(&self->ladder, place->line + i, &newline));
	*ret = here > 0;
	if (here == 0 || here == len)
		return 0;
	return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
			  "line %zu: the line ends of hunk %zu are not those of '%.160s', which "
			  "mixes LF and CR LF",
			  self->file->hunks[spot->number].at_line, spot->number + 1,
			  hunk_path(self->file));
}

static struct bytes with_end(struct arena *arena, struct bytes text, bool cr)
{
	uint8_t *copy;

	while (ends_in_cr(text))
		text.len--;
	if (!cr)
		return text;
	copy = arena_alloc(arena, text.len + 1);
	if (copy == NULL)
		return (struct bytes){0};
	if (text.len > 0)
		(void)memcpy(copy, text.data, text.len);
	copy[text.len] = '\r';
	return (struct bytes){copy, text.len + 1};
}

/* --- hunks as they should have been ---------------------------------------- */

struct rewrite {
	struct diff_hunk *to;
	size_t line;	/* the file's next */
	bool lost_mark; /* the file's last line has no newline, and the hunk does not say so */
};

static void add_line(struct rewrite *rewrite, enum diff_line_kind kind, struct bytes text,
		     bool no_newline)
{
	rewrite->to->lines[rewrite->to->lines_len++] =
		(struct diff_line){.kind = kind, .text = text, .no_newline = no_newline};
	rewrite->to->old_len += kind != DIFF_ADD;
	rewrite->to->new_len += kind != DIFF_REMOVE;
}

/* A line of the file, as context or removed. */
static void add_own(struct recoverer *self, struct rewrite *rewrite, enum diff_line_kind kind)
{
	bool newline;
	struct bytes text = ladder_line(&self->ladder, rewrite->line++, &newline);

	add_line(rewrite, kind, text, !newline);
}

static int fill(struct recoverer *self, const struct spot *spot, struct rewrite *rewrite)
{
	const struct diff_hunk *hunk = &self->file->hunks[spot->number];
	const struct ladder_place *place = &spot->place;
	bool ends = self->line_ends && self->how->ends != HUNK_ENDS_WRITTEN;
	bool cr = false;
	size_t gaps[LADDER_GAPS_MAX];
	size_t old = 0;
	int code = ends ? choose_ends(self, spot, &cr) : 0;

	if (code == 0 && place->gaps_len > 0)
		code = hunk_gap_read(self, spot, gaps);
	for (size_t i = 0; i < hunk->lines_len && code == 0; i++) {
		const struct diff_line *line = &hunk->lines[i];

		for (size_t k = 0; k < place->gaps_len; k++) {
			if (gaps[k] == i)
				add_own(self, rewrite, DIFF_CONTEXT);
		}
		if (line->kind == DIFF_ADD) {
			bool with_cr = cr && !line->no_newline;

			add_line(rewrite, DIFF_ADD,
				 ends ? with_end(self->arena, line->text, with_cr) : line->text,
				 line->no_newline);
			continue;
		}
		if (old++ < place->from || old > place->to)
			continue;
		add_own(self, rewrite, line->kind);
		if (rewrite->to->lines[rewrite->to->lines_len - 1].no_newline && !line->no_newline)
			rewrite->lost_mark = true;
	}
	if (self->arena->exhausted)
		return reason_set(self->reason, REASON_PATCH_TOO_LARGE, NULL,
				  "the diff needs more memory than a job may use");
	return code;
}

/* The last line of the file was removed, has no newline, and the hunk does not
 * tell whether the line instead of it has one. */
static int mend_mark(struct recoverer *self, const struct spot *spot, struct rewrite *rewrite)
{
	struct diff_line *last = NULL, *removed = NULL;

	for (size_t i = 0; i < rewrite->to->lines_len; i++) {
		struct diff_line *line = &rewrite->to->lines[i];

		if (hunk_line_on(line, HUNK_NEW))
			last = line;
		if (line->kind == DIFF_REMOVE && line->no_newline)
			removed = line;
	}
	if (self->how->newline == HUNK_NEWLINE_TAKEN && last != NULL && last->kind == DIFF_ADD &&
	    rewrite->line == self->ladder.image.index.lines)
		last->no_newline = true;
	if (!rewrite->lost_mark || removed == NULL || last == NULL || last->kind != DIFF_ADD ||
	    last->no_newline)
		return 0;
	if (last->text.len == removed->text.len &&
	    memcmp(last->text.data, removed->text.data, last->text.len) == 0)
		return 0; /* the newline is the change */
	if (self->how->newline == HUNK_NEWLINE_REFUSED)
		return reason_set(
			self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
			"line %zu: the last line of '%.160s' has no newline, and hunk %zu "
			"does not say whether its new last line has one",
			self->file->hunks[spot->number].at_line, hunk_path(self->file),
			spot->number + 1);
	last->no_newline = self->how->newline == HUNK_NEWLINE_KEPT;
	return 0;
}

/* --- indentation ------------------------------------------------------------ */

/* Lines of context that are looked at for what one hunk adds; enough for all
 * hunks but ones of thousands of lines, whose first added lines then decide. */
enum { INDENT_LOOKS_MAX = 1 << 20 };

/* The white space that a line starts with; of a blank line, no data. */
static struct bytes indent_of(struct bytes text)
{
	size_t len = 0;

	while (len < text.len && (text.data[len] == ' ' || text.data[len] == '\t'))
		len++;
	return hunk_trim(text).len == 0 ? (struct bytes){0} : (struct bytes){text.data, len};
}

static bool same_indent(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Whether a line of context is indented so: in the diff, or in the file. */
static bool has_indent(const struct recoverer *self, const struct spot *spot, struct bytes indent,
		       bool in_file)
{
	size_t line = spot->place.line;
	bool newline;

	for (size_t i = 0; i < spot->hunk->lines_len; i++) {
		struct bytes text = spot->hunk->lines[i].text;

		if (spot->hunk->lines[i].kind != DIFF_CONTEXT)
			continue;
		if (in_file)
			text = ladder_line(&self->ladder, line, &newline);
		line++;
		if (indent_of(text).data != NULL && same_indent(indent_of(text), indent))
			return true;
	}
	return false;
}

/*
 * Refuses a hunk that only adds, when no line that it adds is indented as its
 * context is in the file, and is not in the diff: then all of the hunk may have
 * been indented anew, and not the context alone.
 */
static int judge_indent(struct recoverer *self, const struct spot *spot)
{
	const struct diff_hunk *hunk = spot->hunk;
	bool adds = false;
	size_t looks = INDENT_LOOKS_MAX;

	if (spot->place.indent == 0 || self->how->trusted)
		return 0;
	for (size_t i = 0; i < hunk->lines_len; i++) {
		struct bytes indent = indent_of(hunk->lines[i].text);

		if (hunk->lines[i].kind == DIFF_REMOVE)
			return 0;
		if (hunk->lines[i].kind == DIFF_CONTEXT || indent.data == NULL)
			continue;
		if (has_indent(self, spot, indent, true) && !has_indent(self, spot, indent, false))
			return 0;
		adds = true;
		if (looks < hunk->lines_len)
			break;
		looks -= hunk->lines_len;
	}
	if (!adds)
		return 0;
	return reason_set(self->reason, REASON_PATCH_AMBIGUOUS, hunk_path(self->file),
			  "line %zu: hunk %zu of '%.160s' indents its context in another way than "
			  "the file, and what it adds may be indented so too",
			  hunk->at_line, spot->number + 1, hunk_path(self->file));
}

/* Whether the file has the hunk's old lines from `start` on without a gap. */
static bool is_whole_at(const struct recoverer *self, const struct diff_hunk *hunk, size_t start)
{
	for (size_t i = 0; i < hunk->lines_len; i++) {
		struct bytes wanted = hunk_trim_end(hunk->lines[i].text);
		struct bytes found;
		bool newline;

		if (hunk->lines[i].kind == DIFF_ADD)
			continue;
		if (start >= self->ladder.image.index.lines)
			return false;
		found = hunk_trim_end(ladder_line(&self->ladder, start++, &newline));
		if (found.len != wanted.len || memcmp(found.data, wanted.data, found.len) != 0)
			return false;
	}
	return true;
}

/* Whether the lines that counts promise beside those of the hunk were found
 * missing inside of it - and not at its end as well, where it was cut off. */
static bool is_explained(const struct recoverer *self, const struct diff_hunk *hunk,
			 const struct ladder_place *place)
{
	if (hunk->lacking == 0 || place->gaps_len != hunk->lacking)
		return false;
	for (size_t i = 0; i <= 2 * place->gaps_len; i++) {
		if (place->start + i >= place->gaps_len &&
		    is_whole_at(self, hunk, place->start + i - place->gaps_len))
			return false;
	}
	return true;
}

/* Whether more lines may have followed: counts promise more than the context
 * that the file showed to be missing, or the last line has no end. */
static bool is_cut(const struct recoverer *self, const struct diff_hunk *hunk,
		   const struct ladder_place *place)
{
	bool open = (hunk->doubts & DIFF_DOUBT_LAST) &&
		    hunk->lines[hunk->lines_len - 1].kind == DIFF_ADD;

	return open ||
	       ((hunk->doubts & DIFF_DOUBT_CUT) && !is_explained(self, hunk, place) &&
		hunk_shape_may_be_cut(&self->shape, hunk, place, self->ladder.image.index.lines));
}

static int rewrite_hunk(struct recoverer *self, const struct spot *spot, struct diff_hunk *to)
{
	const struct diff_hunk *from = &self->file->hunks[spot->number];
	struct rewrite rewrite = {.to = to, .line = spot->place.line};
	int code;

	*to = *from;
	to->doubts = is_cut(self, from, &spot->place) ? DIFF_DOUBT_CUT : 0;
	to->lines_len = to->old_len = to->new_len = to->leading = to->trailing = 0;
	to->lines = arena_array(self->arena, from->lines_len + spot->place.gaps_len,
				sizeof(*to->lines));
	if (to->lines == NULL)
		return reason_set(self->reason, REASON_PATCH_TOO_LARGE, NULL,
				  "the diff needs more memory than a job may use");
	code = judge_indent(self, spot);
	if (code == 0)
		code = fill(self, spot, &rewrite);
	if (code == 0)
		code = mend_mark(self, spot, &rewrite);
	if (code != 0)
		return code;
	while (to->lines[to->leading].kind == DIFF_CONTEXT)
		to->leading++;
	while (to->lines[to->lines_len - 1 - to->trailing].kind == DIFF_CONTEXT)
		to->trailing++;
	to->old_start = (uint32_t)spot->place.line + (to->old_len > 0);
	return 0;
}

/* --- order ------------------------------------------------------------------ */

static int compare_spots(const void *a, const void *b)
{
	const struct spot *left = a;
	const struct spot *right = b;

	if (left->place.line != right->place.line)
		return left->place.line < right->place.line ? -1 : 1;
	return left->number < right->number ? -1 : left->number > right->number;
}

int hunk_rewrite_all(struct recoverer *self, struct diff_hunk *hunks)
{
	size_t len = self->file->hunks_len, next = 0;
	int64_t growth = 0;
	int code = 0;

	for (size_t i = 0; i < len; i++) {
		if (self->spots[i].found == FOUND_ONE)
			hunk_shape_add(&self->shape, &self->file->hunks[i], &self->spots[i].place,
				       self->ladder.image.index.lines);
	}
	self->reading = self->how->reading;
	qsort(self->spots, len, sizeof(*self->spots), compare_spots);
	for (size_t i = 0; i < len && code == 0; i++) {
		const struct spot *spot = &self->spots[i];

		code = rewrite_hunk(self, spot, &hunks[i]);
		if (code == 0 && spot->place.line < next)
			return reason_set(self->reason, REASON_PATCH_CONFLICT,
					  hunk_path(self->file),
					  "line %zu: hunk %zu of '%.160s' fits only where another "
					  "hunk changes line %zu",
					  hunks[i].at_line, spot->number + 1, hunk_path(self->file),
					  spot->place.line + 1);
		next = spot->place.line + hunks[i].old_len;
		hunks[i].new_start = (uint32_t)((int64_t)hunks[i].old_start + growth);
		growth += (int64_t)hunks[i].new_len - (int64_t)hunks[i].old_len;
	}
	return code;
}
