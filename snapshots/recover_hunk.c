/*
 * recover_hunk.c - hunks whose header may lie.
 *
 * Counts are believed when they end where a hunk can end. When they do not,
 * the hunk goes on as long as lines look like a hunk's, and what stands behind
 * it must not look like more of it: text in the middle of a hunk, or a line
 * that stands for others, is refused. Blank lines at its end are the gap to
 * whatever follows; dropping a blank line of context there costs nothing.
 */
#include <string.h>

#include "snapshots/recover_private.h"

enum { ELISION_WORDS = 6 };

/* --- lines ------------------------------------------------------------- */

static bool is_marker(struct bytes text)
{
	return diff_starts(text, "\\ ");
}

int recover_kind(struct bytes text)
{
	if (text.len == 0)
		return DIFF_CONTEXT;
	return memchr(" +-", text.data[0], 3) != NULL ? text.data[0] : 0;
}

/* Without the '\r' of a line that ends with one. */
static bool raw_at(struct recover_reader *reader, const uint8_t *at, struct diff_raw *ret)
{
	if (!diff_raw_at(&reader->in, at, ret))
		return false;
	if (ret->text.len > 0 && ret->text.data[ret->text.len - 1] == '\r')
		ret->text.len--;
	return true;
}

/* The first words: a comment that goes on from the line before may say anything
 * further on. */
static struct bytes beginning(struct bytes text)
{
	size_t len = 0, words = 0;

	for (bool inside = false; len < text.len; len++) {
		bool is_space = text.data[len] == ' ' || text.data[len] == '\t';

		words += !is_space && !inside;
		if (words > ELISION_WORDS)
			break;
		inside = !is_space;
	}
	return (struct bytes){text.data, len};
}

static bool has_word(struct bytes text)
{
	static const char *const words[] = {"existing", "unchanged", "remain", "rest", "same",
					    "omitted",	"other",     "code",   "more", "previous"};

	if (memmem(text.data + 1, text.len - 1, "...", 3) == NULL)
		text = beginning(text);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (memmem(text.data, text.len, words[i], strlen(words[i])) != NULL)
			return true;
	}
	return false;
}

/* What is left without white space and the marks of a comment. */
static struct bytes bare_text(struct bytes text)
{
	while (text.len > 0 && memchr(" \t\r/#*;<!-([{", text.data[0], 13) != NULL)
		text = diff_after(text, 1);
	return text;
}

bool recover_is_elision(struct bytes text)
{
	struct bytes bare = bare_text(text);

	return diff_starts(bare, "...") || diff_starts(bare, "\xe2\x80\xa6");
}

/* A line to add that only says that others were left out. */
static bool elides(struct bytes text, bool missed)
{
	struct bytes bare = bare_text(text);

	return recover_is_elision(text) &&
	       (has_word(bare) || (missed && (bare.len == 3 || bare.data[0] != '.')));
}

/* --- where a hunk ends ------------------------------------------------- */

/* The two lines that name a file, or one of them with its prefix right before
 * a hunk. */
static bool is_sides(struct recover_reader *reader, const struct diff_raw *line)
{
	struct diff_raw next;

	if (!raw_at(reader, line->next, &next))
		return false;
	if (diff_starts(line->text, "--- ") && diff_starts(next.text, "+++ "))
		return true;
	return (diff_starts(line->text, "--- a/") || diff_starts(line->text, "+++ b/")) &&
	       diff_starts(next.text, "@@");
}

/* A mail's signature: "-- " and a version, then nothing of a hunk. */
static bool is_signature(struct recover_reader *reader, const struct diff_raw *line)
{
	struct diff_raw next;

	if (!diff_equals(line->text, "-- ") && !diff_equals(line->text, "--"))
		return false;
	return !raw_at(reader, line->next, &next) || recover_kind(next.text) == 0 ||
	       next.text.len == 0;
}

struct walk {
	const uint8_t *at;
	size_t lines_len;
	uint32_t old_len, new_len, blank;
	bool unfinished;
	bool changing; /* the last line is no context, and no marker follows it */
	bool context;  /* some line is */
};

static void step(struct walk *walk, const struct diff_raw *line, int kind)
{
	walk->at = line->next;
	walk->lines_len++;
	walk->changing = kind == DIFF_ADD || kind == DIFF_REMOVE;
	walk->context = walk->context || kind == DIFF_CONTEXT;
	if (kind == 0)
		return; /* a marker */
	walk->old_len += kind != DIFF_ADD;
	walk->new_len += kind != DIFF_REMOVE;
	walk->blank += line->text.len == 0;
	walk->unfinished = !line->whole;
}

/* An indented fence at the very end; elsewhere it may be a line of context. */
static bool is_last_fence(struct recover_reader *reader, const struct diff_raw *line)
{
	const uint8_t *at = line->next;
	struct diff_raw next;

	for (; raw_at(reader, at, &next); at = next.next) {
		if (next.text.len > 0)
			return false;
	}
	return recover_is_fence(line->text);
}

/* A ruler between a diff and prose: a line of its own, with nothing of a hunk
 * behind it. */
static bool is_ruler(struct recover_reader *reader, const struct diff_raw *line)
{
	struct diff_raw next;

	if (!diff_equals(line->text, "---"))
		return false;
	if (!raw_at(reader, line->next, &next))
		return true;
	if (next.text.len > 0)
		return false;
	while (next.text.len == 0) {
		if (!raw_at(reader, next.next, &next))
			return true;
	}
	return recover_kind(next.text) == 0;
}

/* Whether a hunk may end here: nothing behind it is one more line. White space is
 * a gap, but not between two hunks of a file. */
static bool may_end(struct recover_reader *reader, const uint8_t *at)
{
	const uint8_t *first = at;
	struct diff_raw line;
	bool spaced = false;

	while (raw_at(reader, at, &line)) {
		if (at > first && is_ruler(reader, &line))
			return true;
		if (spaced && diff_starts(line.text, "@@"))
			return false;
		spaced = spaced || line.text.len > 0;
		if (!diff_is_blank(line.text))
			return recover_kind(line.text) == 0 || is_sides(reader, &line) ||
			       is_signature(reader, &line) || is_last_fence(reader, &line);
		at = line.next;
	}
	return true;
}

static bool walk_by_counts(struct recover_reader *reader, const struct recover_hunk *hunk,
			   struct walk *ret)
{
	struct walk walk = {.at = reader->in.at};
	struct diff_raw line;

	for (;;) {
		bool more = raw_at(reader, walk.at, &line);
		int kind;

		if (more && is_marker(line.text)) {
			step(&walk, &line, 0);
			continue;
		}
		if (walk.old_len == hunk->old_len && walk.new_len == hunk->new_len)
			break;
		kind = more ? recover_kind(line.text) : 0;
		if (kind == 0 || (kind != DIFF_ADD && walk.old_len == hunk->old_len) ||
		    (kind != DIFF_REMOVE && walk.new_len == hunk->new_len))
			return false;
		step(&walk, &line, kind);
	}
	*ret = walk;
	return may_end(reader, walk.at);
}

static void walk_by_looks(struct recover_reader *reader, struct walk *ret)
{
	struct walk walk = {.at = reader->in.at};
	struct diff_raw line;

	*ret = walk;
	while (raw_at(reader, walk.at, &line)) {
		int kind = recover_kind(line.text);

		if (is_sides(reader, &line) || is_signature(reader, &line) ||
		    (kind == 0 && !is_marker(line.text)))
			return;
		step(&walk, &line, kind);
		if (line.text.len > 0)
			*ret = walk;
	}
}

/* Text behind a hunk whose counts prove nothing: it must stand apart, and
 * nothing of a hunk may follow it. */
static int judge_text_behind(struct recover_reader *reader, const struct walk *walk)
{
	const uint8_t *at = walk->at;
	struct diff_raw line;
	bool apart = false;

	for (; raw_at(reader, at, &line) && line.text.len == 0; at = line.next)
		apart = true;
	if (!raw_at(reader, at, &line) || diff_starts(line.text, "@@") ||
	    recover_is_fence(line.text) || recover_starts_file(reader, &line) ||
	    is_signature(reader, &line))
		return 0;
	reader->in.line += walk->lines_len;
	reader->in.at = at;
	if (recover_is_elision(line.text))
		return diff_refuse_here(&reader->in, REASON_PATCH_MALFORMED,
					"the line stands for lines that were left out");
	for (; raw_at(reader, at, &line); at = line.next) {
		if (recover_is_fence(line.text) || recover_starts_file(reader, &line))
			break;
		apart = apart &&
			memchr("+-@", line.text.len > 0 ? line.text.data[0] : 0, 3) == NULL;
	}
	return apart ? 0
		     : diff_refuse_here(&reader->in, REASON_PATCH_MALFORMED,
					"text in the middle of a hunk whose counts are wrong or "
					"missing");
}

/* --- the header -------------------------------------------------------- */

static void copy_numbers(const struct diff_hunk *from, struct recover_hunk *to)
{
	to->numbered = to->counted = true;
	to->old_start = from->old_start;
	to->old_len = from->old_len;
	to->new_start = from->new_start;
	to->new_len = from->new_len;
	to->heading = from->heading;
}

/* "@@", "@@ @@ heading", "@@ heading", "@@ -1,2 +1,2" */
static void read_numbers(struct bytes text, struct recover_hunk *hunk)
{
	char closed[64];
	struct diff_hunk strict;

	if (diff_hunk_header(text, &strict)) {
		copy_numbers(&strict, hunk);
		return;
	}
	if (text.len < sizeof(closed) - 4) {
		struct bytes again = {(const uint8_t *)closed, text.len + 3};

		(void)memcpy(closed, text.data, text.len);
		(void)memcpy(closed + text.len, " @@", 3);
		if (diff_hunk_header(again, &strict)) {
			strict.heading = (struct bytes){0};
			copy_numbers(&strict, hunk);
			return;
		}
	}
	for (size_t i = text.len; i > 4; i--) {
		if (memcmp(text.data + i - 2, "@@", 2) == 0) {
			hunk->heading = diff_after(text, i);
			break;
		}
	}
	if (hunk->heading.data == NULL)
		hunk->heading = diff_after(text, 2);
	while (hunk->heading.len > 0 && hunk->heading.data[0] == ' ')
		hunk->heading = diff_after(hunk->heading, 1);
	if (diff_starts(hunk->heading, "-"))
		hunk->heading.len = 0;
}

/* --- one hunk ---------------------------------------------------------- */

static int judge_lines(struct recover_reader *reader, const struct recover_hunk *hunk)
{
	const uint8_t *at = hunk->lines_at;
	struct diff_raw line;

	for (size_t i = 0; i < hunk->lines_len && raw_at(reader, at, &line); i++) {
		if (diff_starts(line.text, "+") &&
		    elides(diff_after(line.text, 1), hunk->missed || !hunk->counted))
			return diff_refuse(&reader->in, REASON_PATCH_MALFORMED,
					   hunk->at_line + 1 + i, line.text,
					   "the line stands for lines that were left out");
		at = line.next;
	}
	return 0;
}

static int add_hunk(struct recover_reader *reader, const struct recover_hunk *hunk)
{
	if (reader->hunks_len >= reader->in.limits.hunks)
		return diff_refuse_here(&reader->in, REASON_PATCH_TOO_LARGE, "more than %zu hunks",
					reader->in.limits.hunks);
	buf_add(&reader->found, hunk, sizeof(*hunk));
	if (reader->found.failed)
		return diff_exhausted(&reader->in);
	reader->hunks = (struct recover_hunk *)(void *)reader->found.data;
	reader->hunks_len++;
	return 0;
}

int recover_read_hunk(struct recover_reader *reader)
{
	struct recover_hunk hunk = {.at_line = reader->in.line};
	struct diff_raw line;
	struct walk walk;
	int code;

	(void)diff_peek(&reader->in, &line);
	read_numbers(recover_trim(reader, line.text), &hunk);
	diff_skip(&reader->in, &line);
	hunk.lines_at = reader->in.at;
	if (!hunk.counted || !walk_by_counts(reader, &hunk, &walk)) {
		hunk.missed = hunk.counted;
		walk_by_looks(reader, &walk);
		code = judge_text_behind(reader, &walk);
		if (code != 0)
			return code;
		reader->in.at = hunk.lines_at;
		reader->in.line = hunk.at_line + 1;
	}
	if (raw_at(reader, walk.at, &line) && recover_kind(line.text) == 0 &&
	    recover_is_elision(line.text))
		return diff_refuse(&reader->in, REASON_PATCH_MALFORMED,
				   hunk.at_line + 1 + walk.lines_len, line.text,
				   "the line stands for lines that were left out");
	hunk.lines_len = walk.lines_len;
	hunk.old_found = walk.old_len;
	hunk.new_found = walk.new_len;
	hunk.blank = walk.blank;
	hunk.changing = walk.changing;
	hunk.context = walk.context;
	hunk.unfinished = walk.unfinished;
	code = judge_lines(reader, &hunk);
	if (code != 0)
		return code;
	reader->in.at = walk.at;
	reader->in.line += walk.lines_len;
	return add_hunk(reader, &hunk);
}

/* --- writing it -------------------------------------------------------- */

static char *put_text(char *at, const char *text)
{
	size_t len = strlen(text);

	(void)memcpy(at, text, len);
	return at + len;
}

static char *put_number(char *at, uint32_t number)
{
	char digits[10];
	size_t from = sizeof(digits);

	do {
		digits[--from] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	(void)memcpy(at, digits + from, sizeof(digits) - from);
	return at + sizeof(digits) - from;
}

static char *put_range(char *at, uint32_t start, uint32_t len)
{
	return put_number(put_text(put_number(at, start), ","), len);
}

void recover_emit_hunk(struct recover_reader *reader, const struct recover_hunk *hunk,
		       uint32_t *next_line)
{
	static const struct bytes marker = {(const uint8_t *)"\\ No newline at end of file", 27};
	const uint8_t *at = hunk->lines_at;
	struct diff_raw line;
	char text[80], *end = text;

	/* snprintf would be a tenth of the reading of a long diff */
	end = put_range(put_text(end, "@@ -"), *next_line - (hunk->old_found == 0),
			hunk->old_found);
	end = put_range(put_text(end, " +"), *next_line, hunk->new_found);
	*put_text(end, " @@ ") = '\0';
	recover_emit(reader, hunk->at_line, text, hunk->heading);
	*next_line += hunk->old_found;
	for (size_t i = 0; i < hunk->lines_len; i++) {
		size_t origin = hunk->at_line + 1 + i;

		(void)diff_raw_at(&reader->in, at, &line);
		at = line.next;
		if (is_marker(line.text))
			recover_emit(reader, origin, "", marker);
		else
			recover_emit(reader, origin, diff_equals(line.text, "\r") ? " " : "",
				     line.text);
	}
}
