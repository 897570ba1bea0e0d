/*
 * fuzz_hunk.c - any file and any hunks: a preimage, a NUL byte, and a diff of
 * one file. The oracle knows nothing of how places are found: where a hunk was
 * accepted, its old lines must really be, places must not overlap, and the
 * postimage must be what those places give. Where the stated line was not
 * taken, no other place may fit.
 */
#include "snapshots/hunk.h"
#include "tests/fuzz/fuzz.h"

/* The byte behind the line at `at`. */
static size_t line_end(struct bytes text, size_t at)
{
	while (at < text.len && text.data[at] != '\n')
		at++;
	return at < text.len ? at + 1 : at;
}

static size_t line_start(struct bytes text, size_t line)
{
	size_t at = 0;

	while (line-- > 0) {
		require(at < text.len);
		at = line_end(text, at);
	}
	return at;
}

/* Where the old side ends when it starts at `at`; SIZE_MAX when it does not. */
static size_t old_side_end(struct bytes text, size_t at, const struct diff_hunk *hunk)
{
	for (size_t i = 0; i < hunk->lines_len; i++) {
		const struct diff_line *line = &hunk->lines[i];
		size_t end = line_end(text, at);
		bool newline = end > at && text.data[end - 1] == '\n';

		if (line->kind == DIFF_ADD)
			continue;
		if (at == text.len || end - at - newline != line->text.len ||
		    newline == line->no_newline ||
		    memcmp(text.data + at, line->text.data, line->text.len) != 0)
			return SIZE_MAX;
		at = end;
	}
	return at;
}

static size_t count_places(struct bytes text, const struct diff_hunk *hunk, size_t from)
{
	size_t found = 0;

	for (size_t at = from; at < text.len; at = line_end(text, at))
		found += old_side_end(text, at, hunk) != SIZE_MAX;
	return found;
}

static void check(const struct hunk_request *request, const struct hunk_result *result)
{
	struct bytes pre = request->preimage;
	struct bytes post = result->postimage;
	size_t at = 0, out = 0;

	for (size_t i = 0; i < request->file->hunks_len; i++) {
		const struct diff_hunk *hunk = &request->file->hunks[i];
		const struct hunk_place *place = &result->places[i];
		size_t stated = hunk->old_len > 0 ? hunk->old_start - 1 : hunk->old_start;

		require(place->start >= at && place->start == line_start(pre, place->line));
		require(old_side_end(pre, place->start, hunk) == place->end);
		if (place->line != stated) {
			require(hunk->old_len > 0 && hunk->leading + hunk->trailing > 0);
			require(hunk->trailing == 0 || count_places(pre, hunk, at) == 1);
		}
		require(out + place->start - at <= post.len);
		require(memcmp(post.data + out, pre.data + at, place->start - at) == 0);
		out += place->start - at;
		for (size_t k = 0; k < hunk->lines_len; k++) {
			const struct diff_line *line = &hunk->lines[k];

			if (line->kind == DIFF_REMOVE)
				continue;
			require(out + line->text.len + !line->no_newline <= post.len);
			require(memcmp(post.data + out, line->text.data, line->text.len) == 0);
			out += line->text.len;
			require(line->no_newline || post.data[out] == '\n');
			out += !line->no_newline;
		}
		at = place->end;
	}
	require(post.len - out == pre.len - at);
	require(memcmp(post.data + out, pre.data + at, pre.len - at) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct diff_limits limits = {.files = 1, .hunks = 100};
	const uint8_t *nul = size == 0 ? NULL : memchr(data, 0, size);
	struct hunk_request request = {.limit_bytes = 1 << 20};
	struct hunk_result result;
	struct reason reason = {0};
	struct err err = {0};
	struct arena arena;
	struct bytes input;
	struct diff diff;

	if (nul == NULL)
		return 0;
	request.preimage = (struct bytes){data, (size_t)(nul - data)};
	input = (struct bytes){nul + 1, size - request.preimage.len - 1};
	arena_init(&arena, 16 << 20);
	if (diff_parse(&arena, input, 1, &limits, &diff, &reason, &err) == 0 &&
	    diff.files[0].hunks_len > 0) {
		request.file = &diff.files[0];
		for (int trusted = 0; trusted < 2; trusted++) {
			request.trusted = trusted != 0;
			if (hunk_apply(&arena, &request, &result, &reason, &err) == 0)
				check(&request, &result);
			else
				require(text_is_utf8(reason.message, strlen(reason.message)));
		}
	}
	arena_release(&arena);
	return 0;
}
