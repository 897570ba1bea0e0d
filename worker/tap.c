/*
 * tap.c - TAP 12, 13 and 14, as Perl, node, cmocka, bats and tap print it.
 *
 * Theory: lines are sorted by their indentation, four blanks a level. Test
 * points are gathered first and handed on at the end, for a subtest stands
 * before the point that names it: the points of level n + 1 become children of
 * the next point of level n. (Buffered subtests, `ok 1 - name {`, are named
 * before.) What is no line of TAP is somebody's output and is skipped, so a
 * stream may be mixed; the plan of each level says whether anything is amiss.
 *
 * An id is the descriptions from the outermost point to the case, joined by
 * "::"; a point without description is `test N`.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "schema/limits.h"
#include "worker/reports_private.h"

enum { DEPTH_MAX = 32, LEVEL_BLANKS = 4, YAML_BLANKS = 2, POINTS_MAX = 100000 };

/* --- lines ------------------------------------------------------------ */

static struct bytes trim(struct bytes text)
{
	while (text.len > 0 && (*text.data == ' ' || *text.data == '\t')) {
		text.data++;
		text.len--;
	}
	while (text.len > 0 && strchr(" \t\r", text.data[text.len - 1]) != NULL &&
	       text.data[text.len - 1] != '\0')
		text.len--;
	return text;
}

static struct bytes skip(struct bytes text, size_t len)
{
	return (struct bytes){text.data + len, text.len - len};
}

static bool starts_with(struct bytes text, const char *word)
{
	return text.len >= strlen(word) && memcmp(text.data, word, strlen(word)) == 0;
}

static bool is_text(struct bytes text, const char *word)
{
	return text.len == strlen(word) && starts_with(text, word);
}

/* Takes the next line off `rest`; false at the end. */
static bool next_line(struct bytes *rest, struct bytes *ret)
{
	const uint8_t *end;
	size_t len;

	if (rest->len == 0)
		return false;
	end = memchr(rest->data, '\n', rest->len);
	len = end == NULL ? rest->len : (size_t)(end - rest->data);
	*ret = (struct bytes){rest->data, len};
	*rest = skip(*rest, end == NULL ? len : len + 1);
	return true;
}

static size_t indentation(struct bytes line)
{
	size_t n = 0;

	while (n < line.len && line.data[n] == ' ')
		n++;
	return n;
}

/* Digits at the start, at most nine of them. Returns their number. */
static size_t read_number(struct bytes text, int64_t *ret)
{
	size_t n = 0;
	int64_t value = 0;

	while (n < text.len && n < 10 && text.data[n] >= '0' && text.data[n] <= '9')
		value = value * 10 + (text.data[n++] - '0');
	if (n == 10)
		return 0;
	*ret = value;
	return n;
}

/* "1..N", perhaps with "# SKIP reason" behind it. */
static bool is_plan(struct bytes line, int64_t *ret_count, struct bytes *ret_reason)
{
	struct bytes rest;
	size_t n;

	if (!starts_with(line, "1.."))
		return false;
	rest = skip(line, 3);
	n = read_number(rest, ret_count);
	rest = trim(skip(rest, n));
	*ret_reason = (struct bytes){rest.data, 0};
	if (n == 0 || (rest.len > 0 && *rest.data != '#'))
		return false;
	if (rest.len > 0)
		*ret_reason = trim(skip(rest, 1));
	return true;
}

/* "ok" or "not ok" as a word. `ret_rest` is what follows. */
static bool is_point(struct bytes line, bool *ret_ok, struct bytes *ret_rest)
{
	*ret_ok = starts_with(line, "ok");
	if (!*ret_ok && !starts_with(line, "not ok"))
		return false;
	line = skip(line, *ret_ok ? 2 : 6);
	*ret_rest = trim(line);
	return line.len == 0 || *line.data == ' ' || *line.data == '\t' || *line.data == '\r';
}

/* --- points ----------------------------------------------------------- */

struct point {
	struct bytes name;
	struct bytes message;
	int64_t number;
	int64_t duration_us;
	uint32_t parent;  /* counted from 1; 0: none */
	uint32_t sibling; /* the one before on its level that waits for a parent too */
	enum case_status status;
};

struct level {
	bool between; /* opened before any line of its own: it may stay empty */
	bool has_plan;
	int64_t plan;
	int64_t seen;
	bool out_of_sequence;
	uint32_t waiting; /* last of the points that wait for their parent */
	uint32_t parent;  /* of a buffered subtest */
};

struct tap {
	const struct report_sink *sink;
	struct point *points;
	size_t len;
	size_t capacity;
	struct level levels[DEPTH_MAX];
	size_t depth; /* levels that are open */
	size_t last_depth;
	bool in_yaml;
	bool message_follows; /* the next line of YAML is the message */
	bool takes_comments;  /* the last point failed, and only comments followed */
	bool bailed_out;
	bool overflow;
};

static void problem(struct tap *tap, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void problem(struct tap *tap, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	tap->sink->problem(tap->sink->ctx, text);
}

/* NULL when there are too many. */
static struct point *add_point(struct tap *tap)
{
	if (tap->len == tap->capacity && tap->len < POINTS_MAX) {
		size_t capacity = tap->capacity == 0 ? 256 : tap->capacity * 2;
		struct point *points = realloc(tap->points, capacity * sizeof(*points));

		if (points != NULL) {
			tap->points = points;
			tap->capacity = capacity;
		}
	}
	if (tap->len == tap->capacity || tap->len >= POINTS_MAX) {
		tap->overflow = true;
		return NULL;
	}
	tap->points[tap->len] = (struct point){.status = CASE_passed};
	return &tap->points[tap->len++];
}

/* --- levels ----------------------------------------------------------- */

static void close_level(struct tap *tap)
{
	struct level *level = &tap->levels[--tap->depth];

	if (level->out_of_sequence)
		problem(tap, "the test numbers are out of sequence");
	if (tap->bailed_out || (level->between && !level->has_plan && level->seen == 0))
		return;
	if (!level->has_plan)
		problem(tap, "no plan: the tests may have ended early, after %lld",
			(long long)level->seen);
	else if (level->plan != level->seen)
		problem(tap, "%lld tests were planned, but %lld ran", (long long)level->plan,
			(long long)level->seen);
}

/* Opens or closes levels so that the one at `depth` is the innermost. What
 * waits on a level that was never given a parent stays without one. */
static struct level *enter(struct tap *tap, size_t depth)
{
	while (tap->depth > depth + 1)
		close_level(tap);
	while (tap->depth <= depth) {
		tap->levels[tap->depth] = (struct level){0};
		tap->levels[tap->depth].between = tap->depth < depth;
		tap->depth++;
	}
	return &tap->levels[depth];
}

/* A new document begins where the last one is complete: several programs may
 * have printed theirs into one stream. */
static void start_over(struct tap *tap)
{
	while (tap->depth > 0)
		close_level(tap);
}

static void adopt(struct tap *tap, struct level *inner, uint32_t parent)
{
	for (uint32_t at = inner->waiting; at != 0;) {
		struct point *point = &tap->points[at - 1];

		at = point->sibling;
		point->parent = parent;
	}
	inner->waiting = 0;
}

/* --- directives ------------------------------------------------------- */

static bool starts_directive(struct bytes text, const char *word)
{
	return text.len >= 4 && strncasecmp((const char *)text.data, word, 4) == 0;
}

static void apply_directive(struct point *point, struct bytes text, bool ok)
{
	if (starts_directive(text, "skip"))
		point->status = CASE_skipped;
	else
		point->status = ok ? CASE_xpass : CASE_xfail;
	/* "# skipped: why" and "# todo why" */
	while (text.len > 0 && *text.data != ' ' && *text.data != '\t')
		text = skip(text, 1);
	point->message = trim(text);
}

/* "time=12.3ms", as tap(1) has it. */
static bool apply_time(struct point *point, struct bytes text)
{
	if (!starts_with(text, "time="))
		return false;
	text = skip(text, strlen("time="));
	if (text.len > 2 && memcmp(text.data + text.len - 2, "ms", 2) == 0)
		point->duration_us =
			report_duration_us((struct bytes){text.data, text.len - 2}, 1000);
	else if (text.len > 1 && text.data[text.len - 1] == 's')
		point->duration_us =
			report_duration_us((struct bytes){text.data, text.len - 1}, 1000000);
	return true;
}

/* Cuts the description at its directive: a '#' that is not escaped, behind a
 * blank, before skip, todo or a time. */
static void split_description(struct point *point, struct bytes text, bool ok)
{
	point->name = text;
	for (size_t i = 0; i < text.len; i++) {
		struct bytes after;

		if (text.data[i] == '\\') {
			i++;
			continue;
		}
		if (text.data[i] != '#' ||
		    (i > 0 && text.data[i - 1] != ' ' && text.data[i - 1] != '\t'))
			continue;
		after = trim(skip(text, i + 1));
		if (starts_directive(after, "skip") || starts_directive(after, "todo"))
			apply_directive(point, after, ok);
		else if (!apply_time(point, after))
			continue;
		point->name = trim((struct bytes){text.data, i});
		return;
	}
}

/* --- kinds of lines --------------------------------------------------- */

/* A document of nothing but its version still lacks a plan. */
static void on_version(struct tap *tap)
{
	if (tap->depth > 0 && (tap->levels[0].seen > 0 || tap->levels[0].has_plan))
		start_over(tap);
	(void)enter(tap, 0);
}

static void on_plan(struct tap *tap, size_t depth, int64_t count, struct bytes reason)
{
	struct level *level = enter(tap, depth);

	if (level->has_plan && depth == 0 && level->seen == level->plan) {
		start_over(tap);
		level = enter(tap, 0);
	}
	if (level->has_plan)
		problem(tap, "a second plan, of %lld tests", (long long)count);
	level->has_plan = true;
	level->plan = count;
	if (count == 0 && depth == 0 && level->seen == 0) {
		struct point *point = add_point(tap);

		if (point != NULL)
			*point = (struct point){.name = {(const uint8_t *)"all tests", 9},
						.message = reason,
						.status = CASE_skipped};
	}
}

/* Strips the " {" of a buffered subtest. */
static bool opens_buffered(struct bytes *text)
{
	if (text->len < 1 || text->data[text->len - 1] != '{' ||
	    (text->len > 1 && text->data[text->len - 2] != ' '))
		return false;
	*text = trim((struct bytes){text->data, text->len - 1});
	return true;
}

static void place_point(struct tap *tap, size_t depth, struct level *level, bool buffered)
{
	uint32_t index = (uint32_t)tap->len;
	struct point *point = &tap->points[index - 1];

	if (tap->depth > depth + 1)
		adopt(tap, &tap->levels[depth + 1], index);
	while (tap->depth > depth + 1)
		close_level(tap);
	if (level->parent != 0) {
		point->parent = level->parent;
	} else if (depth > 0) {
		point->sibling = level->waiting;
		level->waiting = index;
	}
	if (buffered && depth + 1 < DEPTH_MAX) {
		struct level *inner = enter(tap, depth + 1);

		/* Or a description just ends in a brace, and nothing follows. */
		inner->between = true;
		inner->parent = index;
	}
	tap->last_depth = depth;
}

static void on_point(struct tap *tap, size_t depth, bool ok, struct bytes rest)
{
	struct level *level = tap->depth > depth ? &tap->levels[depth] : enter(tap, depth);
	bool complete = depth == 0 && level->has_plan && level->seen == level->plan;
	bool buffered = opens_buffered(&rest);
	int64_t number = 0;
	size_t n = read_number(rest, &number);
	struct point *point;

	if (n > 0 && n < rest.len && rest.data[n] != ' ' && rest.data[n] != '\t')
		n = 0;
	/* prove(1) says "ok" when a file is done. */
	if (complete && rest.len == 0)
		return;
	if (complete && n > 0 && number == 1) {
		start_over(tap);
		level = enter(tap, depth);
	}
	level->seen++;
	if (n > 0 && number != level->seen)
		level->out_of_sequence = true;
	rest = trim(skip(rest, n));
	if (is_text(rest, "-"))
		rest.len = 0;
	else if (starts_with(rest, "- "))
		rest = trim(skip(rest, 2));
	point = add_point(tap);
	if (point == NULL)
		return;
	point->number = n > 0 ? number : level->seen;
	point->status = ok ? CASE_passed : CASE_failed;
	split_description(point, rest, ok);
	tap->takes_comments = point->status == CASE_failed;
	place_point(tap, depth, level, buffered);
}

static struct bytes unquoted(struct bytes text)
{
	uint8_t quote = text.len < 2 ? 0 : *text.data;

	if ((quote == '\'' || quote == '"') && text.data[text.len - 1] == quote)
		return (struct bytes){text.data + 1, text.len - 2};
	return text;
}

/* The few keys of a diagnostic block that say something here. */
static void on_yaml(struct tap *tap, struct bytes line)
{
	struct point *point = &tap->points[tap->len - 1];
	struct bytes text = trim(line);
	size_t key;

	if (tap->message_follows) {
		tap->message_follows = false;
		point->message = text;
		return;
	}
	if (starts_with(text, "duration_ms:")) {
		point->duration_us =
			report_duration_us(trim(skip(text, strlen("duration_ms:"))), 1000);
		return;
	}
	if (starts_with(text, "failureType:") && point->status == CASE_failed &&
	    memmem(text.data, text.len, "testTimeoutFailure", strlen("testTimeoutFailure")) != NULL)
		point->status = CASE_timeout;
	key = starts_with(text, "message:") ? 8 : starts_with(text, "error:") ? 6 : 0;
	if (key == 0 || point->message.len > 0)
		return;
	text = trim(skip(text, key));
	if (text.len == 0 || *text.data == '|' || *text.data == '>')
		tap->message_follows = true;
	else
		point->message = unquoted(text);
}

/* Many print why a test failed as comments behind its point. They stand
 * together, so the message is what lies between first and last of them. */
static void on_comment(struct tap *tap, struct bytes text)
{
	struct point *point = &tap->points[tap->len - 1];

	if (starts_with(text, "# Subtest"))
		tap->takes_comments = false;
	else if (point->message.len == 0)
		point->message = text;
	else
		point->message.len = (size_t)(text.data + text.len - point->message.data);
}

static void on_bail_out(struct tap *tap, struct bytes line)
{
	char text[256] = "bailed out: ";
	size_t len = strlen(text);
	struct bytes reason = trim(skip(line, strlen("Bail out!")));

	if (report_text(reason, text + len, sizeof(text) - len) == 0)
		text[len - 2] = '\0';
	tap->sink->problem(tap->sink->ctx, text);
	tap->bailed_out = true;
}

/* --- the whole -------------------------------------------------------- */

/* A block of YAML is indented by two against its point. One that is not
 * closed ends where a line is indented less. */
static bool in_yaml(struct tap *tap, struct bytes line)
{
	size_t blanks = tap->last_depth * LEVEL_BLANKS + YAML_BLANKS;
	struct bytes text = trim(line);

	if (tap->in_yaml) {
		bool ends = indentation(line) == blanks && is_text(text, "...");

		if (ends || (text.len > 0 && indentation(line) < blanks)) {
			tap->in_yaml = false;
			tap->message_follows = false;
			return ends;
		}
		on_yaml(tap, line);
		return true;
	}
	tap->in_yaml = tap->len > 0 && indentation(line) == blanks && is_text(text, "---");
	return tap->in_yaml;
}

static void on_line(struct tap *tap, struct bytes line)
{
	size_t blanks = indentation(line);
	size_t depth = blanks / LEVEL_BLANKS;
	struct bytes text = trim(line);
	struct bytes rest;
	int64_t count;
	bool ok;

	if (tap->takes_comments && starts_with(text, "#")) {
		on_comment(tap, text);
		return;
	}
	tap->takes_comments = false;
	if (in_yaml(tap, line) || blanks % LEVEL_BLANKS != 0 || depth >= DEPTH_MAX)
		return;
	if (is_point(text, &ok, &rest))
		on_point(tap, depth, ok, rest);
	else if (is_plan(text, &count, &rest))
		on_plan(tap, depth, count, rest);
	else if (starts_with(text, "Bail out!"))
		on_bail_out(tap, text);
	else if (depth == 0 && starts_with(text, "TAP version "))
		on_version(tap);
}

/* The description without its escapes, or "test N". */
static size_t copy_name(const struct point *point, char *to, size_t size)
{
	char plain[CASE_ID_BYTES];
	size_t len = 0;

	for (size_t i = 0; i < point->name.len && len < sizeof(plain); i++) {
		uint8_t c = point->name.data[i];

		if (c == '\\' && i + 1 < point->name.len &&
		    (point->name.data[i + 1] == '#' || point->name.data[i + 1] == '\\'))
			c = point->name.data[++i];
		plain[len++] = (char)c;
	}
	if (len == 0)
		len = (size_t)snprintf(plain, sizeof(plain), "test %lld", (long long)point->number);
	return report_text((struct bytes){(const uint8_t *)plain, len}, to, size);
}

static void hand_on(const struct tap *tap, const struct point *point)
{
	const struct point *path[DEPTH_MAX];
	char id[CASE_ID_BYTES];
	char message[LIMIT_CASE_MESSAGE_BYTES + 1];
	struct found_case found = {
		.id = id, .status = point->status, .duration_us = point->duration_us};
	size_t depth = 0;
	size_t len = 0;

	for (const struct point *at = point; depth < DEPTH_MAX; at = &tap->points[at->parent - 1]) {
		path[depth++] = at;
		if (at->parent == 0)
			break;
	}
	while (depth > 0) {
		len += copy_name(path[--depth], id + len, sizeof(id) - len);
		if (depth > 0 && len + CASE_JOINT_BYTES < sizeof(id)) {
			(void)memcpy(id + len, "::", CASE_JOINT_BYTES + 1);
			len += CASE_JOINT_BYTES;
		}
	}
	if (report_text(point->message, message, sizeof(message)) > 0)
		found.message = message;
	tap->sink->found(tap->sink->ctx, &found);
}

bool tap_parse(struct bytes content, const struct report_sink *sink)
{
	struct tap tap = {.sink = sink};
	struct bytes rest = content;
	struct bytes line;
	bool is_tap = tap_looks_like(content);

	while (!tap.bailed_out && next_line(&rest, &line))
		on_line(&tap, line);
	start_over(&tap);
	if (tap.overflow)
		problem(&tap, "more than %zu tests", tap.len);
	for (size_t i = 0; i < tap.len; i++)
		hand_on(&tap, &tap.points[i]);
	free(tap.points);
	return is_tap;
}

/* A version, or a plan together with a point: a lone "ok" is anybody's. */
bool tap_looks_like(struct bytes content)
{
	bool has_plan = false;
	bool has_point = false;
	struct bytes line;

	while (next_line(&content, &line)) {
		struct bytes rest;
		int64_t count = 0;
		bool ok;

		if (starts_with(line, "TAP version "))
			return true;
		if (is_plan(trim(line), &count, &rest) && indentation(line) == 0) {
			has_plan = true;
			has_point = has_point || (count == 0 && rest.len > 0);
		} else if (is_point(trim(line), &ok, &rest) ||
			   starts_with(trim(line), "Bail out!")) {
			has_point = true;
		}
		if (has_plan && has_point)
			return true;
	}
	return false;
}
