/*
 * hunk_report.c - what a person needs who reads that a hunk did not land: the
 * line of the diff, what it expects, and the lines that are really there.
 *
 * A message has a fixed size, so lines are cut and only the few around the
 * first difference are shown. Bytes that a terminal might obey are not.
 */
#include <stdio.h>
#include <string.h>

#include "snapshots/hunk_private.h"

enum { SHOWN_LINES = 4, SHOWN_BYTES = 72, SHOWN_PATH_BYTES = 160 };

const char *hunk_path(const struct diff_file *file)
{
	return file->old_path != NULL ? file->old_path : file->new_path;
}

static void add_line(struct buf *out, const char *label, struct bytes text)
{
	size_t len = text.len < SHOWN_BYTES ? text.len : SHOWN_BYTES;

	buf_add_text(out, label);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = text.data[i];

		if (c == '\r')
			buf_add_text(out, "\\r");
		else
			buf_add_byte(out, (c < ' ' && c != '\t') || c == 127 ? '?' : c);
	}
	buf_add_text(out, text.len > SHOWN_BYTES ? "..." : "");
}

/* Old lines of the hunk from the `skip`-th on. */
static void add_expected(struct buf *out, const struct diff_hunk *hunk, size_t skip)
{
	size_t shown = 0;

	for (size_t i = 0; i < hunk->lines_len && shown < SHOWN_LINES; i++) {
		if (!hunk_line_on(&hunk->lines[i], HUNK_OLD))
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		add_line(out, shown == 0 ? "\n  expected | " : "\n           | ",
			 hunk->lines[i].text);
		if (hunk->lines[i].no_newline)
			buf_add_text(out, " (no newline)");
		shown++;
	}
}

static void add_found(struct buf *out, struct hunk_image *image, size_t line)
{
	size_t at, next;

	for (size_t i = 0; i < SHOWN_LINES; i++) {
		const char *label = i == 0 ? "\n  found    | " : "\n           | ";
		struct bytes text;

		if (!hunk_seek(image, line + i, &at) || at == image->bytes.len) {
			buf_add_text(out, label);
			buf_add_text(out, "(end of file)");
			return;
		}
		(void)hunk_seek(image, line + i + 1, &next);
		text = (struct bytes){image->bytes.data + at, next - at};
		if (text.data[text.len - 1] == '\n')
			text.len--;
		add_line(out, label, text);
		if (next - at == text.len)
			buf_add_text(out, " (no newline)");
	}
}

/* The diff's line number of the `number`-th old line. */
static size_t diff_line_of(const struct diff_hunk *hunk, size_t number)
{
	size_t line = hunk->at_line;

	for (size_t i = 0; i < hunk->lines_len; i++) {
		line++;
		if (hunk_line_on(&hunk->lines[i], HUNK_OLD) && number-- == 0)
			return line;
		line += hunk->lines[i].no_newline;
	}
	return hunk->at_line;
}

int hunk_conflict(struct hunk_image *image, const struct diff_file *file, size_t number,
		  const char *why, struct reason *reason)
{
	CLEANUP(buf_release) struct buf text = {0};
	const struct diff_hunk *hunk = &file->hunks[number];
	size_t stated = hunk_stated(hunk, HUNK_OLD);
	size_t line = hunk_nearest(image, hunk, stated);
	size_t matched = 0, at, end, from;

	if (hunk_seek(image, line, &at))
		(void)hunk_match(image, at, hunk, HUNK_OLD, &end, &matched);
	if (matched >= hunk->old_len)
		matched = 0; /* it is there, but may not be used */
	from = matched > 0 ? matched - 1 : 0;
	buf_init(&text, REASON_MESSAGE_BYTES);
	add_expected(&text, hunk, from);
	add_found(&text, image, line + from);
	if (hunk->doubts & DIFF_DOUBT_LINES)
		return reason_set(reason, REASON_PATCH_CONFLICT, hunk_path(file),
				  "line %zu: hunk %zu of '%.*s' applies nowhere: %s%s",
				  diff_line_of(hunk, matched), number + 1, SHOWN_PATH_BYTES,
				  hunk_path(file), why, buf_text(&text));
	return reason_set(reason, REASON_PATCH_CONFLICT, hunk_path(file),
			  "line %zu: hunk %zu of '%.*s' does not apply at line %zu: %s%s%s",
			  diff_line_of(hunk, matched), number + 1, SHOWN_PATH_BYTES,
			  hunk_path(file), stated + 1, why,
			  line == stated ? "" : "; the nearest lines are elsewhere",
			  buf_text(&text));
}

int hunk_ambiguous(const struct diff_file *file, size_t number, const struct hunk_search *search,
		   struct reason *reason)
{
	const struct diff_hunk *hunk = &file->hunks[number];

	if (search->gave_up)
		return reason_set(reason, REASON_PATCH_AMBIGUOUS, hunk_path(file),
				  "line %zu: hunk %zu of '%.*s' is not at its stated line %zu, and "
				  "its lines repeat too often to look for it",
				  hunk->at_line, number + 1, SHOWN_PATH_BYTES, hunk_path(file),
				  hunk_stated(hunk, HUNK_OLD) + 1);
	if (search->found == 0)
		return reason_set(reason, REASON_PATCH_AMBIGUOUS, hunk_path(file),
				  "line %zu: hunk %zu of '%.*s' only adds lines, without context, "
				  "and the base is not known to be the file it was made for",
				  hunk->at_line, number + 1, SHOWN_PATH_BYTES, hunk_path(file));
	return reason_set(
		reason, REASON_PATCH_AMBIGUOUS, hunk_path(file),
		"line %zu: hunk %zu of '%.*s' fits at line %zu and at line %zu; it states "
		"line %zu",
		hunk->at_line, number + 1, SHOWN_PATH_BYTES, hunk_path(file),
		search->places[0].line + 1, search->places[1].line + 1,
		hunk_stated(hunk, HUNK_OLD) + 1);
}

bool hunk_notes(struct arena *arena, const struct diff_file *file, const struct hunk_result *result,
		struct text_list *notes)
{
	const char **items;

	if (result->moved == 0)
		return true;
	items = arena_array(arena, notes->len + result->moved, sizeof(*items));
	if (items == NULL)
		return false;
	if (notes->len > 0)
		(void)memcpy(items, notes->items, notes->len * sizeof(*items));
	notes->items = items;
	for (size_t i = 0; i < file->hunks_len; i++) {
		size_t stated = hunk_stated(&file->hunks[i], HUNK_OLD);

		if (result->places[i].line == stated)
			continue;
		items[notes->len] = arena_printf(
			arena, "%s: hunk %zu applied at line %zu instead of %zu", hunk_path(file),
			i + 1, result->places[i].line + 1, stated + 1);
		if (items[notes->len++] == NULL)
			return false;
	}
	return true;
}
