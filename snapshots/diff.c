/*
 * diff.c - from file to file through a diff.
 *
 * Between files any text may stand, as in git. What starts a file is
 * "diff --git ", or "--- " with "+++ " and a hunk behind it. Text that would
 * be lost silently is refused instead: a hunk without a file, a binary file
 * whose content is not there, a combined diff of a merge.
 */
#include "snapshots/diff.h"

#include <string.h>

#include "snapshots/diff_private.h"

/* --- the body of one file ---------------------------------------------- */

static bool is_binary_note(struct bytes text)
{
	return diff_starts(text, "Binary files ") && text.len > 7 &&
	       memcmp(text.data + text.len - 7, " differ", 7) == 0;
}

/* Whether a header alone is a change. */
static bool changes_alone(const struct diff_file *file)
{
	return file->change != DIFF_MODIFY || file->new_mode != 0;
}

static int no_body(struct diff_parser *parser, const struct diff_file *file)
{
	bool end = parser->at == parser->end;

	return diff_refuse(parser, end ? REASON_PATCH_TRUNCATED : REASON_PATCH_MALFORMED,
			   file->at_line, (struct bytes){0}, "the file has a header but no hunk");
}

/* What only the counts of all hunks together can tell. */
static int judge_sides(struct diff_parser *parser, struct diff_file *file)
{
	uint64_t old_lines = 0, new_lines = 0;

	for (size_t i = 0; i < file->hunks_len; i++) {
		old_lines += file->hunks[i].old_len;
		new_lines += file->hunks[i].new_len;
	}
	if (file->change == DIFF_CREATE && old_lines > 0)
		return diff_refuse(parser, REASON_PATCH_MALFORMED, file->at_line, (struct bytes){0},
				   "the new file '%s' has old lines", file->new_path);
	if (file->change == DIFF_DELETE && new_lines > 0)
		return diff_refuse(parser, REASON_PATCH_MALFORMED, file->at_line, (struct bytes){0},
				   "the deleted file '%s' has lines left", file->old_path);
	file->may_create = file->plain && file->change == DIFF_MODIFY && file->hunks_len == 1 &&
			   old_lines == 0;
	return 0;
}

static int take_body(struct diff_parser *parser, struct diff_file *file)
{
	struct diff_raw line;
	int code;

	if (diff_peek(parser, &line) && diff_equals(line.text, "GIT binary patch"))
		return diff_binary_patch(parser, file);
	if (diff_peek(parser, &line) && is_binary_note(line.text)) {
		file->binary = true;
		diff_skip(parser, &line);
		return 0;
	}
	code = diff_hunks(parser, file);
	if (code != 0)
		return code;
	if (file->hunks_len == 0 && (parser->sides || !changes_alone(file)))
		return no_body(parser, file);
	return judge_sides(parser, file);
}

/* --- between files ----------------------------------------------------- */

static bool starts_plain(const struct diff_parser *parser, const struct diff_raw *line)
{
	struct diff_raw second, third;

	return diff_starts(line->text, "--- ") && diff_raw_at(parser, line->next, &second) &&
	       diff_starts(second.text, "+++ ") && diff_raw_at(parser, second.next, &third) &&
	       diff_starts(third.text, "@@ -");
}

/* A mail with its diff as an attachment says what stands between its parts. */
static void note_boundary(struct diff_parser *parser, struct bytes text)
{
	static const char key[] = "boundary=\"";
	const uint8_t *at = memmem(text.data, text.len, key, sizeof(key) - 1), *end;

	if (at == NULL)
		return;
	at += sizeof(key) - 1;
	end = memchr(at, '"', (size_t)(text.data + text.len - at));
	if (end != NULL)
		parser->boundary = (struct bytes){at, (size_t)(end - at)};
}

/* Refuses what may not be skipped as text; 0: skip it. */
static int judge_text(struct diff_parser *parser, const struct diff_raw *line)
{
	struct bytes text = line->text;
	struct diff_hunk hunk;

	if (!line->whole && diff_is_cut_off(text))
		return diff_refuse_here(parser, REASON_PATCH_TRUNCATED,
					"the diff ends inside a line");
	if (diff_hunk_header(text, &hunk))
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"a hunk without a file header");
	if (diff_starts(text, "diff --cc ") || diff_starts(text, "diff --combined "))
		return diff_refuse_here(parser, REASON_PATCH_UNSUPPORTED,
					"a combined diff of a merge; diff against one parent");
	if (is_binary_note(text))
		return diff_refuse_here(parser, REASON_PATCH_UNSUPPORTED,
					"the content of a binary file is not in the diff; use git "
					"diff --binary");
	return 0;
}

static int add_file(struct diff_parser *parser, struct diff *diff, const struct diff_file *file)
{
	size_t len = diff->files_len;

	if (len >= parser->limits.files)
		return diff_refuse(parser, REASON_PATCH_TOO_LARGE, file->at_line, (struct bytes){0},
				   "more than %zu files", parser->limits.files);
	if ((len & (len - 1)) == 0) {
		struct diff_file *more =
			arena_array(parser->arena, len == 0 ? 1 : 2 * len, sizeof(*more));

		if (more == NULL)
			return diff_exhausted(parser);
		if (len > 0)
			(void)memcpy(more, diff->files, len * sizeof(*more));
		diff->files = more;
	}
	diff->files[diff->files_len++] = *file;
	return 0;
}

static int take_file(struct diff_parser *parser, struct diff *diff, bool plain)
{
	struct diff_file file = {0};
	int code;

	parser->sides = false;
	code = plain ? diff_plain_header(parser, &file) : diff_git_header(parser, &file);
	if (code == 0)
		code = take_body(parser, &file);
	if (parser->text && diff->files_len > 0)
		parser->part++;
	parser->text = false;
	file.part = parser->part;
	return code == 0 ? add_file(parser, diff, &file) : code;
}

static int nothing_found(struct diff_parser *parser, struct bytes input)
{
	for (size_t i = 0; i < input.len; i++) {
		if (memchr(" \t\r\n", input.data[i], 4) == NULL)
			return reason_set(parser->reason, REASON_PATCH_MALFORMED, NULL,
					  "line 1: no line of the text starts a diff ('diff --git "
					  "a/x b/x', or '--- a/x' and '+++ b/x')");
	}
	return reason_set(parser->reason, REASON_PATCH_EMPTY, NULL, "the diff is empty");
}

int diff_parse(struct arena *arena, struct bytes input, unsigned strip,
	       const struct diff_limits *limits, struct diff *ret, struct reason *ret_reason,
	       struct err *err)
{
	struct diff_parser parser = {
		.arena = arena,
		.at = input.data,
		.end = input.data + input.len,
		.line = 1,
		.strip = strip,
		.limits = *limits,
		.reason = ret_reason,
	};
	struct diff diff = {0};
	struct diff_raw line;

	(void)err; /* nothing of the host is asked */
	if (input.len == 0)
		return nothing_found(&parser, input);
	while (diff_peek(&parser, &line)) {
		bool git = diff_starts(line.text, "diff --git ");
		int code;

		if (git || starts_plain(&parser, &line)) {
			code = take_file(&parser, &diff, !git);
		} else {
			code = judge_text(&parser, &line);
			note_boundary(&parser, line.text);
			parser.text = parser.text || line.text.len > 0;
			diff_skip(&parser, &line);
		}
		if (code != 0)
			return code;
	}
	if (diff.files_len == 0)
		return nothing_found(&parser, input);
	*ret = diff;
	return 0;
}
