/*
 * diff_hunk.c - hunks: their header and their lines.
 *
 * The counts of the header say where a hunk ends, as in git. They are believed
 * in one direction only: fewer lines is a malformed or truncated hunk, and a
 * line that looks like a further line of the hunk is refused instead of being
 * skipped as text between files (git skips it, and so loses the rest of a file
 * whose count is too short).
 *
 * A hunk is walked twice: to count and check, then to fill an array that fits.
 */
#include <assert.h>
#include <string.h>

#include "snapshots/diff_private.h"

/* --- the header -------------------------------------------------------- */

static bool take_text(struct bytes *text, const char *word)
{
	if (!diff_starts(*text, word))
		return false;
	*text = diff_after(*text, strlen(word));
	return true;
}

static bool take_range(struct bytes *text, uint32_t *ret_start, uint32_t *ret_len)
{
	*ret_len = 1;
	return diff_number(text, ret_start) &&
	       (!take_text(text, ",") || diff_number(text, ret_len));
}

bool diff_hunk_header(struct bytes text, struct diff_hunk *ret)
{
	*ret = (struct diff_hunk){0};
	if (!take_text(&text, "@@ -") || !take_range(&text, &ret->old_start, &ret->old_len) ||
	    !take_text(&text, " +") || !take_range(&text, &ret->new_start, &ret->new_len) ||
	    !take_text(&text, " @@"))
		return false;
	(void)take_text(&text, " ");
	ret->heading = text;
	return true;
}

/* --- the lines --------------------------------------------------------- */

/* Lines that are still owed to the two sides. */
struct owed {
	uint32_t old_len;
	uint32_t new_len;
};

static bool owes(const struct owed *owed)
{
	return owed->old_len > 0 || owed->new_len > 0;
}

/* The kind of a hunk's line; a blank line is context whose space was lost, as
 * newer GNU diffs write it. 0: no such line. */
static int kind_of(struct bytes text)
{
	if (text.len == 0)
		return DIFF_CONTEXT;
	if (text.data[0] == ' ' || text.data[0] == '-' || text.data[0] == '+')
		return text.data[0];
	return 0;
}

static bool pay(struct owed *owed, int kind)
{
	if ((kind != DIFF_ADD && owed->old_len == 0) || (kind != DIFF_REMOVE && owed->new_len == 0))
		return false;
	owed->old_len -= kind != DIFF_ADD;
	owed->new_len -= kind != DIFF_REMOVE;
	return true;
}

static bool is_marker(struct bytes text)
{
	return text.len >= 12 && diff_starts(text, "\\ ");
}

/* At the very end of the diff the marker's own newline may be missing. */
static bool is_complete(const struct diff_raw *line)
{
	return line->whole || diff_equals(line->text, "\\ No newline at end of file");
}

static int bad_line(struct diff_parser *parser, const struct diff_hunk *hunk,
		    const struct owed *owed)
{
	struct diff_raw line;

	if (!diff_peek(parser, &line) || !line.whole)
		return diff_refuse_here(parser, REASON_PATCH_TRUNCATED,
					"the diff ends inside the hunk of line %zu: %u old and %u "
					"new lines are missing",
					hunk->at_line, owed->old_len, owed->new_len);
	return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
				"not a line of the hunk of line %zu, which still lacks %u old and "
				"%u new lines",
				hunk->at_line, owed->old_len, owed->new_len);
}

/* Walks the lines without keeping them; the parser ends behind them. */
static int count_lines(struct diff_parser *parser, struct diff_hunk *hunk)
{
	struct owed owed = {hunk->old_len, hunk->new_len};
	bool changes = false, marked = true;
	struct diff_raw line;

	for (;;) {
		bool more = diff_peek(parser, &line);
		int kind;

		if (more && is_marker(line.text)) {
			if (marked || !is_complete(&line))
				return bad_line(parser, hunk, &owed);
			marked = true;
			diff_skip(parser, &line);
			continue;
		}
		if (!owes(&owed))
			break;
		kind = more && line.whole ? kind_of(line.text) : 0;
		if (kind == 0 || !pay(&owed, kind))
			return bad_line(parser, hunk, &owed);
		changes = changes || kind != DIFF_CONTEXT;
		marked = false;
		hunk->lines_len++;
		diff_skip(parser, &line);
	}
	if (!changes)
		return diff_refuse(parser, REASON_PATCH_MALFORMED, hunk->at_line, (struct bytes){0},
				   "a hunk that changes nothing");
	return 0;
}

/* The second walk: count_lines has found every line good. */
static void fill_lines(const struct diff_parser *parser, const uint8_t *at, struct diff_hunk *hunk)
{
	struct diff_raw line;

	for (size_t i = 0; i < hunk->lines_len; i++) {
		struct diff_line *to = &hunk->lines[i];

		(void)diff_raw_at(parser, at, &line);
		to->kind = (enum diff_line_kind)kind_of(line.text);
		to->text = line.text.len == 0 ? line.text : diff_after(line.text, 1);
		at = line.next;
		if (diff_raw_at(parser, at, &line) && is_marker(line.text)) {
			to->no_newline = true;
			at = line.next;
		}
	}
	while (hunk->leading < hunk->lines_len && hunk->lines[hunk->leading].kind == DIFF_CONTEXT)
		hunk->leading++;
	while (hunk->lines[hunk->lines_len - 1 - hunk->trailing].kind == DIFF_CONTEXT)
		hunk->trailing++;
}

/* --- between hunks ----------------------------------------------------- */

/* "--<boundary>" and "--<boundary>--" (RFC 2046, section 5.1.1). */
static bool ends_mail_part(const struct diff_parser *parser, struct bytes text)
{
	size_t len = parser->boundary.len;

	if (len == 0 || text.len < 2 + len || !diff_starts(text, "--") ||
	    memcmp(text.data + 2, parser->boundary.data, len) != 0)
		return false;
	text = diff_after(text, 2 + len);
	return text.len == 0 || diff_equals(text, "--");
}

bool diff_is_blank(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (memchr(" \t\r", text.data[i], 3) == NULL)
			return false;
	}
	return true;
}

/* A line behind a complete hunk that can only be one more line of it. Blank
 * context there costs nothing to leave out. */
static bool continues(const struct diff_parser *parser)
{
	struct diff_raw line, next;
	const uint8_t *at = parser->at;

	while (diff_raw_at(parser, at, &line) && diff_is_blank(line.text))
		at = line.next;
	if (at == parser->end || kind_of(line.text) == 0)
		return false;
	if (diff_equals(line.text, "-- ") || diff_equals(line.text, "--"))
		return false; /* a mail's signature */
	if (ends_mail_part(parser, line.text))
		return false;
	return !(diff_starts(line.text, "--- ") && diff_raw_at(parser, line.next, &next) &&
		 diff_starts(next.text, "+++ "));
}

static int check_order(struct diff_parser *parser, const struct diff_file *file,
		       const struct diff_hunk *hunk)
{
	const struct diff_hunk *before;
	uint32_t start = hunk->old_start + (hunk->old_len == 0);

	if (hunk->old_start == 0 && hunk->old_len > 0)
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED, "lines count from 1");
	if (file->hunks_len == 0)
		return 0;
	before = &file->hunks[file->hunks_len - 1];
	if (start < before->old_start + before->old_len + (before->old_len == 0))
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"the hunk starts before the end of the one at line %zu",
					before->at_line);
	return 0;
}

/* All hunks of the diff lie in one array, which is never moved: to grow it step
 * by step would leave as much behind again. */
static int add_hunk(struct diff_parser *parser, struct diff_file *file,
		    const struct diff_hunk *hunk, const uint8_t *head)
{
	if (parser->room == NULL) {
		parser->room_len = diff_count_heads(
			(struct bytes){head, (size_t)(parser->end - head)}, parser->limits.hunks);
		parser->room = arena_array(parser->arena, parser->room_len, sizeof(*parser->room));
		if (parser->room == NULL)
			return diff_exhausted(parser);
	}
	assert(parser->hunks <= parser->room_len);
	if (file->hunks_len == 0)
		file->hunks = &parser->room[parser->hunks - 1];
	file->hunks[file->hunks_len++] = *hunk;
	return 0;
}

static int take_hunk(struct diff_parser *parser, struct diff_file *file, struct diff_hunk *hunk)
{
	const uint8_t *lines, *head = parser->at;
	struct diff_raw line;
	int code;

	if (++parser->hunks > parser->limits.hunks)
		return diff_refuse_here(parser, REASON_PATCH_TOO_LARGE, "more than %zu hunks",
					parser->limits.hunks);
	code = check_order(parser, file, hunk);
	if (code != 0)
		return code;
	hunk->at_line = parser->line;
	(void)diff_peek(parser, &line);
	diff_skip(parser, &line);
	lines = parser->at;
	code = count_lines(parser, hunk);
	if (code != 0)
		return code;
	parser->lines += hunk->lines_len;
	if (parser->lines > DIFF_LINES_MAX)
		return diff_refuse_here(parser, REASON_PATCH_TOO_LARGE,
					"the hunks have more than %d lines", DIFF_LINES_MAX);
	hunk->lines = arena_array(parser->arena, hunk->lines_len, sizeof(*hunk->lines));
	if (hunk->lines == NULL)
		return diff_exhausted(parser);
	fill_lines(parser, lines, hunk);
	for (size_t i = 0; i < hunk->lines_len; i++) {
		file->additions += hunk->lines[i].kind == DIFF_ADD;
		file->deletions += hunk->lines[i].kind == DIFF_REMOVE;
	}
	return add_hunk(parser, file, hunk, head);
}

int diff_hunks(struct diff_parser *parser, struct diff_file *file)
{
	struct diff_hunk hunk;
	struct diff_raw line;

	while (diff_peek(parser, &line) && diff_starts(line.text, "@@")) {
		int code;

		if (!diff_hunk_header(line.text, &hunk))
			return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
						"a hunk starts with '@@ -<line>,<count> "
						"+<line>,<count> @@'");
		code = take_hunk(parser, file, &hunk);
		if (code != 0)
			return code;
	}
	if (file->hunks_len > 0 && continues(parser))
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"more lines than the hunk of line %zu counts",
					file->hunks[file->hunks_len - 1].at_line);
	return 0;
}
