/*
 * fuzz_diff.c - any bytes as a diff. What is accepted must hold what diff.h
 * promises: every line lies in the input, counts are those of the lines, hunks
 * are in order, names are within bounds, and the guard can judge them. What is
 * refused has a reason that can be encoded.
 */
#include "schema/limits.h"
#include "snapshots/diff.h"
#include "snapshots/guard.h"
#include "tests/fuzz/fuzz.h"

static void check_hunk(struct bytes input, const struct diff_hunk *hunk)
{
	uint32_t old_len = 0, new_len = 0;

	require(hunk->leading + hunk->trailing < hunk->lines_len);
	for (size_t i = 0; i < hunk->lines_len; i++) {
		const struct diff_line *line = &hunk->lines[i];

		require(line->text.data >= input.data &&
			line->text.data + line->text.len <= input.data + input.len);
		require(memchr(line->text.data, '\n', line->text.len) == NULL);
		old_len += line->kind != DIFF_ADD;
		new_len += line->kind != DIFF_REMOVE;
	}
	require(old_len == hunk->old_len && new_len == hunk->new_len);
}

static void check_path(const char *path)
{
	struct reason reason = {0};

	if (path == NULL)
		return;
	require(strlen(path) <= LIMIT_PATH_BYTES);
	if (guard_new_path(path, &reason) == REFUSED) {
		require(text_is_utf8(reason.message, strlen(reason.message)));
		return;
	}
	require(strstr(path, "..") == NULL || strstr(path, "/../") == NULL);
	require(path[0] != '/' && strcasestr(path, "/.git/") == NULL);
	(void)guard_protection(path);
	(void)guard_note(path);
}

static void check_file(struct bytes input, const struct diff_file *file)
{
	size_t next = 0;

	require(file->old_path != NULL || file->new_path != NULL);
	require((file->change == DIFF_CREATE) == (file->old_path == NULL));
	require((file->change == DIFF_DELETE) == (file->new_path == NULL));
	check_path(file->old_path);
	check_path(file->new_path);
	for (size_t i = 0; i < file->hunks_len; i++) {
		check_hunk(input, &file->hunks[i]);
		require(file->hunks[i].old_start + (file->hunks[i].old_len == 0) >= next);
		next = file->hunks[i].old_start + file->hunks[i].old_len +
		       (file->hunks[i].old_len == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct diff_limits limits = {.files = 50, .hunks = 500};
	struct bytes input = {data, size};
	struct reason reason = {0};
	struct err err = {0};
	struct arena arena;
	struct diff diff;

	for (unsigned strip = 0; strip < 3; strip++) {
		arena_init(&arena, 16 << 20);
		if (diff_parse(&arena, input, strip, &limits, &diff, &reason, &err) == 0) {
			require(diff.files_len > 0 && diff.files_len <= limits.files);
			for (size_t i = 0; i < diff.files_len; i++)
				check_file(input, &diff.files[i]);
		} else {
			require(reason.code != REASON_NONE && reason.message[0] != '\0');
			require(text_is_utf8(reason.message, strlen(reason.message)));
		}
		arena_release(&arena);
	}
	return 0;
}
