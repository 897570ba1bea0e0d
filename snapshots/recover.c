/*
 * recover.c - from damaged text to a struct diff.
 *
 * Damage is mended in the text: the reader writes the diff as it should have
 * been, with hunk headers that count right, and the strict parser reads that.
 * So nothing gets around the strict parser's rules, and there is one place that
 * makes a struct diff of bytes. Line numbers of hunks are written anew in the
 * mended text, since the strict parser wants them in order; what the input
 * stated is put back afterwards, with what is in doubt about it. A table leads
 * from lines of the mended text back to those of the input.
 */
#include "snapshots/recover.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots/recover_private.h"

enum { TEXT_FACTOR = 20, TEXT_MORE = 1 << 16 };

/* --- notes ------------------------------------------------------------- */

bool recover_note(struct arena *arena, struct text_list *notes, const char *fmt, ...)
{
	va_list args;
	char *text;

	if ((notes->len & (notes->len - 1)) == 0) {
		size_t size = notes->len == 0 ? 1 : 2 * notes->len;
		const char **items = arena_array(arena, size, sizeof(*items));

		if (items == NULL)
			return false;
		if (notes->len > 0)
			(void)memcpy(items, notes->items, notes->len * sizeof(*items));
		notes->items = items;
	}
	va_start(args, fmt);
	text = arena_vprintf(arena, fmt, args);
	va_end(args);
	if (text == NULL)
		return false;
	notes->items[notes->len++] = text;
	return true;
}

/* --- lines ------------------------------------------------------------- */

struct bytes recover_trim(struct recover_reader *reader, struct bytes text)
{
	if (text.len > 0 && text.data[text.len - 1] == '\r') {
		text.len--;
		if (text.len > 0)
			reader->ret->line_ends = true;
	}
	return text;
}

void recover_emit(struct recover_reader *reader, size_t origin, const char *prefix,
		  struct bytes text)
{
	uint32_t number = (uint32_t)origin;
	size_t prefix_len = strlen(prefix), len = prefix_len + text.len + 1;
	uint8_t *room = buf_reserve(&reader->text, len);

	if (room == NULL)
		return; /* the buffer remembers */
	(void)memcpy(room, prefix, prefix_len);
	if (text.len > 0)
		(void)memcpy(room + prefix_len, text.data, text.len);
	room[len - 1] = '\n';
	buf_commit(&reader->text, len);
	buf_add(&reader->origins, &number, sizeof(number));
}

/* --- between files ----------------------------------------------------- */

/* Text is kept as a mere mark, so that the strict parser takes it for nothing
 * else; what it must refuse is handed on. */
static int take_text(struct recover_reader *reader, const struct diff_raw *line)
{
	static const char *const refused[] = {"@@ -", "diff --cc ", "diff --combined ",
					      "Binary files "};
	static const struct bytes mark = {(const uint8_t *)"#", 1};
	struct bytes text = recover_trim(reader, line->text);

	if (!line->whole && diff_is_cut_off(text))
		return diff_refuse_here(&reader->in, REASON_PATCH_TRUNCATED,
					"the diff ends inside a line");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (diff_starts(text, refused[i])) {
			recover_emit(reader, reader->in.line, "", text);
			return 0;
		}
	}
	if (diff_starts(text, "@@"))
		return diff_refuse_here(&reader->in, REASON_PATCH_MALFORMED,
					"a hunk without a file header");
	recover_emit(reader, reader->in.line, "",
		     text.len == 0 || recover_is_fence(text) ? (struct bytes){0} : mark);
	return 0;
}

/* A binary patch is taken as it is. */
static void copy_binary(struct recover_reader *reader)
{
	struct diff_raw line;

	while (diff_peek(&reader->in, &line)) {
		struct bytes text = recover_trim(reader, line.text);
		bool known = diff_starts(text, "GIT binary patch") ||
			     diff_starts(text, "literal ") || diff_starts(text, "delta ") ||
			     diff_starts(text, "Binary files ");

		if (!known && (recover_is_fence(text) || memchr(text.data, ' ', text.len) != NULL))
			return;
		recover_emit(reader, reader->in.line, "", text);
		diff_skip(&reader->in, &line);
	}
}

static bool is_blank(struct bytes text)
{
	return text.len == 0 || diff_equals(text, "\r");
}

/* Goes over blank lines to the next hunk, if one follows. */
static bool at_hunk(struct recover_reader *reader)
{
	struct diff_parser ahead = reader->in;
	struct diff_raw line;

	while (diff_peek(&ahead, &line) && is_blank(line.text))
		diff_skip(&ahead, &line);
	if (!diff_peek(&ahead, &line) || !diff_starts(line.text, "@@"))
		return false;
	reader->in = ahead;
	return true;
}

static int take_file(struct recover_reader *reader)
{
	struct recover_header header;
	size_t first = reader->hunks_len;
	uint32_t next_line = 1;
	struct diff_raw line;
	int code = recover_read_header(reader, &header);

	while (code == 0 && at_hunk(reader))
		code = recover_read_hunk(reader);
	if (code == 0)
		code = recover_emit_header(reader, &header,
					   reader->hunks_len > first ? &reader->hunks[first] : NULL,
					   reader->hunks_len - first);
	if (code != 0)
		return code;
	for (size_t i = first; i < reader->hunks_len; i++)
		recover_emit_hunk(reader, &reader->hunks[i], &next_line);
	if (reader->hunks_len == first && diff_peek(&reader->in, &line) &&
	    (diff_starts(line.text, "GIT binary patch") || diff_starts(line.text, "Binary files ")))
		copy_binary(reader);
	return 0;
}

static int take_all(struct recover_reader *reader)
{
	struct diff_raw line;
	int code = 0;

	while (code == 0 && diff_peek(&reader->in, &line)) {
		if (recover_starts_file(reader, &line)) {
			code = take_file(reader);
		} else {
			code = take_text(reader, &line);
			diff_skip(&reader->in, &line);
		}
	}
	return code;
}

/* --- doubts ------------------------------------------------------------ */

/* Whether the last hunk is the last of the input, but for blank lines, and for a
 * fence where its counts promise more: who cuts a diff may close what it was in. */
static bool ends_with_hunk(const struct recover_reader *reader)
{
	const struct recover_hunk *last = &reader->hunks[reader->hunks_len - 1];
	struct diff_parser ahead = reader->in;
	struct diff_raw line;

	ahead.at = last->lines_at;
	for (size_t i = 0; i < last->lines_len && diff_peek(&ahead, &line); i++)
		diff_skip(&ahead, &line);
	while (diff_peek(&ahead, &line) && (is_blank(line.text) || (last->counted && last->missed &&
								    recover_is_fence(line.text))))
		diff_skip(&ahead, &line);
	return ahead.at == ahead.end;
}

/* Whether counts are right but for blank lines that were taken for context and
 * may have had a mark: one side has as many as stated, the other has more. */
static bool may_have_lost_marks(const struct recover_hunk *hunk, int64_t old_lacks,
				int64_t new_lacks)
{
	return (old_lacks == 0 && new_lacks < 0 && -new_lacks <= hunk->blank) ||
	       (new_lacks == 0 && old_lacks < 0 && -old_lacks <= hunk->blank);
}

/* Without counts and without any context, nothing but the mark of a file's end
 * shows that the lines are all there. */
static bool may_lack_its_end(const struct recover_hunk *hunk)
{
	return !hunk->counted && hunk->changing && !hunk->context;
}

/*
 * A last hunk with fewer lines than its counts may have been cut off. Counts
 * that are too small somewhere, or wrong in an earlier hunk, show that it is
 * the counts that are wrong.
 */
static void judge_hunks(struct recover_reader *reader)
{
	size_t last = reader->hunks_len - 1;
	bool counts_lie = false;

	for (size_t i = 0; i < reader->hunks_len; i++) {
		struct recover_hunk *hunk = &reader->hunks[i];
		int64_t old_lacks = (int64_t)hunk->old_len - hunk->old_found;
		int64_t new_lacks = (int64_t)hunk->new_len - hunk->new_found;

		reader->ret->mended = reader->ret->mended || hunk->missed || !hunk->counted;
		if (!hunk->numbered)
			hunk->doubts |= DIFF_DOUBT_LINES;
		if (!hunk->counted || hunk->missed)
			hunk->doubts |= DIFF_DOUBT_COUNTS;
		if (i == last && may_lack_its_end(hunk))
			hunk->doubts |= DIFF_DOUBT_CUT;
		if (!hunk->missed)
			continue;
		if (may_have_lost_marks(hunk, old_lacks, new_lacks))
			hunk->doubts |= DIFF_DOUBT_BLANK;
		if (old_lacks == new_lacks && old_lacks > 0)
			hunk->lacking = (uint32_t)old_lacks;
		counts_lie = counts_lie || i != last || old_lacks < 0 || new_lacks < 0;
		if (i == last && !counts_lie) {
			hunk->doubts |= DIFF_DOUBT_CUT;
			hunk->owed_old = (uint32_t)old_lacks;
			hunk->owed_new = (uint32_t)new_lacks;
		}
	}
	if (!ends_with_hunk(reader))
		reader->hunks[last].doubts &= ~(unsigned)DIFF_DOUBT_CUT;
	if (reader->hunks[last].unfinished) {
		reader->ret->mended = true;
		reader->hunks[last].doubts |= DIFF_DOUBT_LAST;
		if (reader->hunks[last].doubts & DIFF_DOUBT_COUNTS)
			reader->hunks[last].doubts |= DIFF_DOUBT_CUT;
	}
}

/* --- the result -------------------------------------------------------- */

static size_t origin_of(const struct recover_reader *reader, size_t line)
{
	uint32_t origin = 0;

	if (line == 0 || line * sizeof(origin) > reader->origins.len)
		return line;
	(void)memcpy(&origin, reader->origins.data + (line - 1) * sizeof(origin), sizeof(origin));
	return origin;
}

/* A refusal of the strict parser, with the input's line number. */
static int refuse_at_origin(struct recover_reader *reader, struct reason *reason)
{
	struct reason old = *reason;
	char *end;
	size_t line;

	if (strncmp(old.message, "line ", 5) != 0)
		return REFUSED;
	line = strtoul(old.message + 5, &end, 10);
	end[strcspn(end, "\n")] = '\0';
	return reason_set(reason, old.code, old.subject, "line %zu%s", origin_of(reader, line),
			  end);
}

static int note_hunk(struct recover_reader *reader, const struct diff_file *file, size_t number,
		     const struct recover_hunk *hunk)
{
	const char *path = file->new_path != NULL ? file->new_path : file->old_path;
	bool noted = true;

	if (hunk->missed)
		noted = recover_note(
			reader->in.arena, &reader->ret->notes,
			"%s: hunk %zu has %u old and %u new lines instead of %u and %u", path,
			number + 1, hunk->old_found, hunk->new_found, hunk->old_len, hunk->new_len);
	return noted ? 0 : diff_exhausted(&reader->in);
}

/* Puts back what the input stated, and adds the doubts. */
static int restate(struct recover_reader *reader, struct diff *diff)
{
	size_t number = 0;

	for (size_t i = 0; i < diff->files_len; i++) {
		struct diff_file *file = &diff->files[i];

		file->at_line = origin_of(reader, file->at_line);
		for (size_t k = 0; k < file->hunks_len; k++, number++) {
			struct diff_hunk *to = &file->hunks[k];
			const struct recover_hunk *from = &reader->hunks[number];

			assert(number < reader->hunks_len);
			to->at_line = origin_of(reader, to->at_line);
			to->doubts = from->doubts;
			to->lacking = from->lacking;
			to->owed_old = from->owed_old;
			to->owed_new = from->owed_new;
			if (from->numbered) {
				to->old_start = from->old_start;
				to->new_start = from->new_start;
			}
			if (note_hunk(reader, file, k, from) != 0)
				return REFUSED;
		}
	}
	assert(number == reader->hunks_len);
	return 0;
}

static int parse_mended(struct recover_reader *reader, struct diff *ret, struct reason *reason,
			struct err *err)
{
	struct bytes text = {(const uint8_t *)"", reader->text.len};

	if (reader->text.failed || reader->origins.failed)
		return diff_exhausted(&reader->in);
	if (text.len > 0)
		text.data = (const uint8_t *)arena_memdup(reader->in.arena, reader->text.data,
							  text.len);
	if (text.data == NULL)
		return diff_exhausted(&reader->in);
	return diff_parse(reader->in.arena, text, reader->request->strip, &reader->request->limits,
			  ret, reason, err);
}

static int run(struct recover_reader *reader, struct reason *reason, struct err *err)
{
	struct diff *diff = &reader->ret->diff;
	int code = take_all(reader);

	if (code != 0)
		return code;
	if (reader->hunks_len > 0)
		judge_hunks(reader);
	code = parse_mended(reader, diff, reason, err);
	if (code == REFUSED)
		return refuse_at_origin(reader, reason);
	return code == 0 ? restate(reader, diff) : code;
}

/* --- a fence that lost its line ------------------------------------------ */

/* Whether a fence is open where the text ends. */
static bool is_fenced(struct bytes text)
{
	bool open = false;

	while (text.len > 0) {
		const uint8_t *newline = memchr(text.data, '\n', text.len);
		size_t len = newline == NULL ? text.len : (size_t)(newline - text.data);

		/* one within a hunk has a mark before it */
		if (len > 0 && text.data[0] != ' ' &&
		    recover_is_fence((struct bytes){text.data, len}))
			open = !open;
		text = diff_after(text, newline == NULL ? len : len + 1);
	}
	return open;
}

/* The text, with a line of its own for a closing fence that was written right
 * behind the last line of the diff. */
static struct bytes part_fence(struct arena *arena, struct bytes text, struct recovered *recovered)
{
	static const char fence[] = "\n```\n";
	struct bytes rest = text;
	uint8_t *copy;

	while (rest.len > 0 && memchr(" \t\r\n", rest.data[rest.len - 1], 4) != NULL)
		rest.len--;
	if (rest.len < 4 || memcmp(rest.data + rest.len - 3, "```", 3) != 0 ||
	    rest.data[rest.len - 4] == '\n' || rest.data[rest.len - 4] == '`' || !is_fenced(text))
		return text;
	rest.len -= 3;
	copy = arena_alloc(arena, rest.len + sizeof(fence) - 1);
	if (copy == NULL || !recover_note(arena, &recovered->notes,
					  "the closing fence was not on a line of its own"))
		return text;
	(void)memcpy(copy, rest.data, rest.len);
	(void)memcpy(copy + rest.len, fence, sizeof(fence) - 1);
	recovered->mended = true;
	return (struct bytes){copy, rest.len + sizeof(fence) - 1};
}

/* --- the whole ------------------------------------------------------------ */

static size_t count_lines(struct bytes text)
{
	size_t lines = 0;

	for (size_t i = 0; i < text.len; i++)
		lines += text.data[i] == '\n';
	return lines;
}

int recover_parse(struct arena *arena, const struct recover_request *request, struct recovered *ret,
		  struct reason *ret_reason, struct err *err)
{
	struct recovered recovered = {0};
	struct bytes input = part_fence(arena, request->input, &recovered);
	struct recover_reader reader = {
		.in = {.arena = arena,
		       .at = input.data,
		       .end = input.data + input.len,
		       .line = 1,
		       .strip = request->strip,
		       .limits = request->limits,
		       .reason = ret_reason},
		.request = request,
		.ret = &recovered,
	};
	int code;

	if (count_lines(request->input) > DIFF_LINES_MAX)
		return reason_set(ret_reason, REASON_PATCH_TOO_LARGE, NULL,
				  "the diff has more than %d lines", DIFF_LINES_MAX);
	buf_init(&reader.text, TEXT_FACTOR * request->input.len + TEXT_MORE);
	buf_init(&reader.origins, TEXT_FACTOR * request->input.len + TEXT_MORE);
	buf_init(&reader.found, request->limits.hunks * sizeof(struct recover_hunk));
	code = run(&reader, ret_reason, err);
	buf_release(&reader.found);
	buf_release(&reader.text);
	buf_release(&reader.origins);
	if (code == 0)
		*ret = recovered;
	return code;
}
