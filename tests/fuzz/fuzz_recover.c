/*
 * fuzz_recover.c - any file and any damaged diff: a preimage, a NUL byte, and a
 * diff. The oracle knows nothing of the ladder: where hunks were accepted, the
 * rewritten ones must fit the file byte by byte, in order and without overlap;
 * every line that they remove must be one that the diff removes, but for white
 * space at its end; every line they add must be one that the diff adds, but for
 * its line end; and nothing that the diff removes or adds may be missing.
 */
#include "snapshots/hunk.h"
#include "snapshots/recover.h"
#include "tests/fuzz/fuzz.h"

static bool exists(void *ctx, const char *path)
{
	return *(const uint8_t *)ctx % 2 == 0 || strlen(path) % 2 == 0;
}

static size_t trimmed(struct bytes text)
{
	while (text.len > 0 && memchr(" \t\r\f\v", text.data[text.len - 1], 5) != NULL)
		text.len--;
	return text.len;
}

static bool equal_but_end(struct bytes a, struct bytes b)
{
	size_t len = trimmed(a);

	return len == trimmed(b) && (len == 0 || memcmp(a.data, b.data, len) == 0);
}

/* The changes of both hunks are the same, in the same order. */
static void check_changes(const struct diff_hunk *was, const struct diff_hunk *is)
{
	size_t k = 0;

	for (size_t i = 0; i < was->lines_len; i++) {
		if (was->lines[i].kind == DIFF_CONTEXT)
			continue;
		while (k < is->lines_len && is->lines[k].kind == DIFF_CONTEXT)
			k++;
		require(k < is->lines_len && is->lines[k].kind == was->lines[i].kind);
		require(equal_but_end(is->lines[k].text, was->lines[i].text));
		k++;
	}
	while (k < is->lines_len && is->lines[k].kind == DIFF_CONTEXT)
		k++;
	require(k == is->lines_len);
}

static const struct diff_hunk *original_of(const struct diff_file *file, const struct diff_hunk *is)
{
	for (size_t i = 0; i < file->hunks_len; i++) {
		if (file->hunks[i].at_line == is->at_line)
			return &file->hunks[i];
	}
	abort();
}

/* The old side is in the file at the place, byte by byte. */
static void check_place(struct bytes pre, const struct diff_hunk *hunk,
			const struct hunk_place *place)
{
	size_t at = place->start;

	for (size_t i = 0; i < hunk->lines_len; i++) {
		const struct diff_line *line = &hunk->lines[i];

		if (line->kind == DIFF_ADD)
			continue;
		require(line->text.len <= pre.len - at);
		require(memcmp(pre.data + at, line->text.data, line->text.len) == 0);
		at += line->text.len;
		if (line->no_newline) {
			require(at == pre.len);
		} else {
			require(at < pre.len && pre.data[at] == '\n');
			at++;
		}
	}
	require(at == place->end);
}

static void check(struct arena *arena, const struct diff_file *file, struct bytes pre,
		  const struct hunk_recovery *how)
{
	struct hunk_request request = {.file = file, .preimage = pre, .limit_bytes = 1 << 20};
	struct text_list notes = {0};
	struct reason reason = {0};
	struct hunk_result result;
	struct diff_file mended;
	struct err err = {0};
	size_t at = 0;

	if (hunk_recover(arena, &request, how, &mended, &notes, &reason, &err) != 0) {
		require(text_is_utf8(reason.message, strlen(reason.message)));
		return;
	}
	require(mended.hunks_len == file->hunks_len);
	for (size_t i = 0; i < mended.hunks_len; i++)
		check_changes(original_of(file, &mended.hunks[i]), &mended.hunks[i]);
	request.file = &mended;
	request.trusted = true;
	if (hunk_apply(arena, &request, &result, &reason, &err) != 0) {
		/* only what no place can help: two last lines, or too many bytes */
		require(reason.code == REASON_PATCH_MALFORMED ||
			reason.code == REASON_PATCH_TOO_LARGE);
		return;
	}
	require(result.moved == 0);
	for (size_t i = 0; i < mended.hunks_len; i++) {
		require(result.places[i].start >= at);
		check_place(pre, &mended.hunks[i], &result.places[i]);
		at = result.places[i].end;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size == 0 ? NULL : memchr(data, 0, size);
	struct recover_request request = {.strip = 1, .limits = {.files = 5, .hunks = 100}};
	struct recovered recovered;
	struct reason reason = {0};
	struct err err = {0};
	struct arena arena;
	struct bytes pre;

	if (nul == NULL)
		return 0;
	pre = (struct bytes){data, (size_t)(nul - data)};
	request.input = (struct bytes){nul + 1, size - pre.len - 1};
	request.exists = exists;
	request.ctx = &size;
	arena_init(&arena, 64 << 20);
	if (recover_parse(&arena, &request, &recovered, &reason, &err) != 0) {
		require(text_is_utf8(reason.message, strlen(reason.message)));
		arena_release(&arena);
		return 0;
	}
	for (size_t i = 0; i < recovered.diff.files_len; i++) {
		for (unsigned trial = 0; trial < 4 && recovered.diff.files[i].hunks_len > 0;
		     trial++) {
			struct hunk_recovery how = {
				.line_ends = recovered.line_ends,
				.trusted = trial > 1,
				.ends = trial == 3 ? HUNK_ENDS_CRLF : HUNK_ENDS_SEEN,
				.newline = trial,
				.reading = trial,
				.all_readings = trial == 3,
			};

			check(&arena, &recovered.diff.files[i], pre, &how);
		}
	}
	arena_release(&arena);
	return 0;
}
