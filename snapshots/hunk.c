/*
 * hunk.c - placing the hunks of one file, then building what results.
 *
 * First every hunk gets its place by the ladder of rules in hunk.h; only then
 * is the postimage made, in one allocation of the right size. When a hunk has
 * no place, the new sides are tried instead: if all of them are there, the
 * change was made already (or the diff runs backwards, which looks the same
 * unless its prefixes are swapped).
 */
#include "snapshots/hunk.h"

#include <assert.h>
#include <string.h>

#include "snapshots/hunk_private.h"

enum { BUDGET_LINES = 100000, BUDGET_FILE_FACTOR = 32, BUDGET_DIFF_FACTOR = 64 };

struct placer {
	const struct hunk_request *request;
	struct hunk_image image;
	struct hunk_place *places;
	size_t next_line; /* behind the last placed hunk */
	int64_t growth;	  /* new lines less old lines, so far */
	bool moved;	  /* some hunk was not at its stated line */
	struct reason *reason;
};

/* --- the rules --------------------------------------------------------- */

static const char differ[] = "the lines differ";

static bool without_context(const struct diff_hunk *hunk)
{
	return hunk->leading == 0 && hunk->trailing == 0;
}

/* Rule 1: the stated line. */
static bool at_stated(struct placer *placer, const struct diff_hunk *hunk, enum hunk_side side,
		      struct hunk_place *ret)
{
	size_t line = hunk_stated(hunk, side);
	size_t at, end, matched;

	if (line < placer->next_line || !hunk_seek(&placer->image, line, &at) ||
	    !hunk_match(&placer->image, at, hunk, side, &end, &matched))
		return false;
	*ret = (struct hunk_place){.line = line, .start = at, .end = end};
	return true;
}

/* Whether the header's two sides tell one story with the hunks before it. */
static bool sides_agree(const struct placer *placer, const struct diff_hunk *hunk)
{
	return (int64_t)hunk_stated(hunk, HUNK_NEW) ==
	       (int64_t)hunk_stated(hunk, HUNK_OLD) + placer->growth;
}

/* A hunk that only adds and has no context: nothing but a number. */
static int place_bare_addition(struct placer *placer, size_t number, struct hunk_place *ret)
{
	const struct diff_file *file = placer->request->file;
	const struct diff_hunk *hunk = &file->hunks[number];
	struct hunk_search none = {0};

	if (!placer->request->trusted && placer->image.bytes.len > 0)
		return hunk_ambiguous(file, number, &none, placer->reason);
	if (!at_stated(placer, hunk, HUNK_OLD, ret))
		return hunk_conflict(&placer->image, file, number, "the file ends before it",
				     placer->reason);
	return 0;
}

/* What ties a hunk to one end of the file, in words; NULL: nothing. */
static const char *tie_of(const struct placer *placer, const struct diff_hunk *hunk)
{
	if (without_context(hunk))
		return "the lines differ, and without context it may not move";
	if (hunk->old_start <= 1)
		return "it belongs to the start of the file";
	if (hunk->trailing == 0 && !placer->request->trusted)
		return "without context behind it, it belongs to the end of the file";
	return NULL;
}

/* The hunk at the very end of the file. */
static bool at_end(struct placer *placer, const struct diff_hunk *hunk, struct hunk_place *ret)
{
	size_t at, end, matched, line;

	if (!hunk_index_lines(&placer->image) || placer->image.index.lines < hunk->old_len)
		return false;
	line = placer->image.index.lines - hunk->old_len;
	if (line < placer->next_line || !hunk_seek(&placer->image, line, &at) ||
	    !hunk_match(&placer->image, at, hunk, HUNK_OLD, &end, &matched))
		return false;
	*ret = (struct hunk_place){.line = line, .start = at, .end = end};
	return true;
}

/* Rule 2: the only place. */
static int place_unique(struct placer *placer, size_t number, struct hunk_place *ret)
{
	const struct diff_file *file = placer->request->file;
	const struct diff_hunk *hunk = &file->hunks[number];
	const char *tie = tie_of(placer, hunk);
	struct hunk_search search;

	hunk_search(&placer->image, hunk, HUNK_OLD, placer->next_line, &search);
	if (search.gave_up || search.found > 1)
		return hunk_ambiguous(file, number, &search, placer->reason);
	if (search.found == 0)
		return hunk_conflict(&placer->image, file, number, differ, placer->reason);
	if (tie != NULL && search.places[0].line != hunk_stated(hunk, HUNK_OLD))
		return hunk_conflict(&placer->image, file, number, tie, placer->reason);
	*ret = search.places[0];
	return 0;
}

static int place_hunk(struct placer *placer, size_t number, struct hunk_place *ret)
{
	const struct diff_file *file = placer->request->file;
	const struct diff_hunk *hunk = &file->hunks[number];
	bool trusted = placer->request->trusted;
	bool stated;

	if (hunk->old_len == 0)
		return place_bare_addition(placer, number, ret);
	stated = at_stated(placer, hunk, HUNK_OLD, ret);
	if (stated && trusted)
		return 0;
	if (hunk->trailing == 0 && !without_context(hunk) && !trusted) {
		if (stated && ret->end == placer->image.bytes.len)
			return 0;
		if (hunk->old_start > 1 && at_end(placer, hunk, ret))
			return 0;
		return hunk_conflict(&placer->image, file, number,
				     stated ? tie_of(placer, hunk) : differ, placer->reason);
	}
	if (stated && !placer->moved && sides_agree(placer, hunk))
		return 0;
	return place_unique(placer, number, ret);
}

/* --- all hunks --------------------------------------------------------- */

static int place_all(struct placer *placer)
{
	const struct diff_file *file = placer->request->file;

	for (size_t i = 0; i < file->hunks_len; i++) {
		const struct diff_hunk *hunk = &file->hunks[i];
		int code = place_hunk(placer, i, &placer->places[i]);

		if (code != 0)
			return code;
		placer->next_line = placer->places[i].line + hunk->old_len;
		placer->growth += (int64_t)hunk->new_len - (int64_t)hunk->old_len;
		placer->moved =
			placer->moved || placer->places[i].line != hunk_stated(hunk, HUNK_OLD);
	}
	return 0;
}

/* Whether every new side is there, in order. */
static bool is_applied(struct placer *placer)
{
	const struct diff_file *file = placer->request->file;

	placer->next_line = 0;
	for (size_t i = 0; i < file->hunks_len; i++) {
		const struct diff_hunk *hunk = &file->hunks[i];
		struct hunk_search search;
		struct hunk_place place;

		if (hunk->new_len == 0 && placer->image.bytes.len > 0)
			return false;
		if (!at_stated(placer, hunk, HUNK_NEW, &place)) {
			hunk_search(&placer->image, hunk, HUNK_NEW, placer->next_line, &search);
			if (without_context(hunk) || search.gave_up || search.found != 1)
				return false;
			place = search.places[0];
		}
		placer->next_line = place.line + hunk->new_len;
	}
	return true;
}

static int refuse_applied(const struct diff_file *file, struct reason *reason)
{
	if (file->sides_swapped)
		return reason_set(reason, REASON_PATCH_REVERSED, hunk_path(file),
				  "line %zu: the base has the new side of '%s' already, and the "
				  "prefixes b/ and a/ show a diff made backwards",
				  file->at_line, hunk_path(file));
	return reason_set(
		reason, REASON_PATCH_APPLIED, hunk_path(file),
		"line %zu: the base has the new side of '%s' already: the diff was applied "
		"before, or it runs backwards",
		file->at_line, hunk_path(file));
}

/* --- the postimage ----------------------------------------------------- */

struct builder {
	uint8_t *data;
	size_t len;
	bool glued; /* something would follow a line without newline */
};

static void emit(struct builder *builder, const uint8_t *data, size_t len)
{
	if (len == 0)
		return;
	if (builder->len > 0 && builder->data[builder->len - 1] != '\n')
		builder->glued = true;
	(void)memcpy(builder->data + builder->len, data, len);
	builder->len += len;
}

static void emit_line(struct builder *builder, const struct diff_line *line)
{
	if (builder->len > 0 && builder->data[builder->len - 1] != '\n')
		builder->glued = true;
	(void)memcpy(builder->data + builder->len, line->text.data, line->text.len);
	builder->len += line->text.len;
	if (!line->no_newline)
		builder->data[builder->len++] = '\n';
}

static size_t postimage_len(const struct hunk_request *request, const struct hunk_place *places)
{
	size_t len = request->preimage.len;

	for (size_t i = 0; i < request->file->hunks_len; i++) {
		const struct diff_hunk *hunk = &request->file->hunks[i];

		len -= places[i].end - places[i].start;
		for (size_t k = 0; k < hunk->lines_len; k++) {
			if (hunk_line_on(&hunk->lines[k], HUNK_NEW))
				len += hunk->lines[k].text.len + !hunk->lines[k].no_newline;
		}
	}
	return len;
}

static int build(struct arena *arena, const struct hunk_request *request,
		 const struct hunk_place *places, struct bytes *ret, struct reason *reason,
		 struct err *err)
{
	const struct diff_file *file = request->file;
	size_t len = postimage_len(request, places);
	struct builder builder = {0};
	size_t at = 0;

	if (len > request->limit_bytes || len >= arena->limit_bytes - arena->used_bytes)
		return reason_set(reason, REASON_PATCH_TOO_LARGE, hunk_path(file),
				  "line %zu: '%s' would have %zu bytes, %zu are allowed",
				  file->at_line, hunk_path(file), len, request->limit_bytes);
	builder.data = arena_alloc(arena, len);
	if (builder.data == NULL)
		return err_set(err, ERR_LIMIT, "cannot apply hunks: out of memory");
	for (size_t i = 0; i < file->hunks_len; i++) {
		emit(&builder, request->preimage.data + at, places[i].start - at);
		for (size_t k = 0; k < file->hunks[i].lines_len; k++) {
			if (hunk_line_on(&file->hunks[i].lines[k], HUNK_NEW))
				emit_line(&builder, &file->hunks[i].lines[k]);
		}
		at = places[i].end;
	}
	emit(&builder, request->preimage.data + at, request->preimage.len - at);
	if (builder.glued)
		return reason_set(reason, REASON_PATCH_MALFORMED, hunk_path(file),
				  "line %zu: in '%s' more follows a line that is marked as the "
				  "last one without newline, or that is so in the base",
				  file->at_line, hunk_path(file));
	*ret = (struct bytes){builder.data, len};
	return 0;
}

/* --- the whole --------------------------------------------------------- */

static size_t budget_for(const struct diff_file *file, size_t bytes)
{
	size_t lines = 0;

	for (size_t i = 0; i < file->hunks_len; i++)
		lines += file->hunks[i].lines_len;
	return BUDGET_LINES + BUDGET_DIFF_FACTOR * lines + BUDGET_FILE_FACTOR * (bytes / 16);
}

int hunk_apply(struct arena *arena, const struct hunk_request *request, struct hunk_result *ret,
	       struct reason *ret_reason, struct err *err)
{
	const struct diff_file *file = request->file;
	struct hunk_result result = {0};
	struct placer placer = {
		.request = request,
		.image = {.arena = arena,
			  .bytes = request->preimage,
			  .budget = budget_for(file, request->preimage.len)},
		.reason = ret_reason,
	};
	int code;

	assert(file->hunks_len > 0);
	placer.places = arena_array(arena, file->hunks_len, sizeof(*placer.places));
	if (placer.places == NULL)
		return err_set(err, ERR_LIMIT, "cannot place hunks: out of memory");
	code = place_all(&placer);
	if (code == REFUSED && !request->trusted && is_applied(&placer))
		return refuse_applied(file, ret_reason);
	if (code == 0)
		code = build(arena, request, placer.places, &result.postimage, ret_reason, err);
	if (code != 0)
		return code;
	result.places = placer.places;
	for (size_t i = 0; i < file->hunks_len; i++)
		result.moved += placer.places[i].line != hunk_stated(&file->hunks[i], HUNK_OLD);
	*ret = result;
	return 0;
}
