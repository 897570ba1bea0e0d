/*
 * diff_name.c - file names as diffs spell them.
 *
 * git quotes a name in C's way when it holds a quote, a backslash, a control
 * character or (by default) a byte above 127. Unquoted names may hold spaces:
 * behind "diff --git " the two names are then told apart by being equal, or by
 * knowing them from other lines. `strip` components are counted as git counts
 * them, by slashes. A name that starts with a slash is refused at once, since
 * stripping would make a harmless one of it.
 */
#include <string.h>

#include "schema/limits.h"
#include "snapshots/diff_private.h"

/* A name is at most LIMIT_PATH_BYTES; quoted, each byte takes four. */
enum { NAME_TEXT_BYTES_MAX = 4 * LIMIT_PATH_BYTES + 64 };

/* --- stripping --------------------------------------------------------- */

/* Offset behind the `strip`-th slash from `from`; SIZE_MAX: not so many. */
static size_t strip_offset(struct bytes text, size_t from, unsigned strip)
{
	for (; strip > 0; strip--) {
		const uint8_t *slash = memchr(text.data + from, '/', text.len - from);

		if (slash == NULL)
			return SIZE_MAX;
		from = (size_t)(slash - text.data) + 1;
	}
	return from;
}

static int strip_name(struct diff_parser *parser, struct bytes name, unsigned strip,
		      const char **ret)
{
	size_t offset;

	if (name.len > 0 && name.data[0] == '/')
		return diff_refuse_here(parser, REASON_PATCH_PATH, "an absolute path");
	offset = strip_offset(name, 0, strip);
	if (offset == SIZE_MAX || offset == name.len)
		return diff_refuse_here(parser, REASON_PATCH_PATH,
					"the name has no %u leading components to strip; is the "
					"strip level right?",
					strip);
	if (memchr(name.data, 0, name.len) != NULL)
		return diff_refuse_here(parser, REASON_PATCH_PATH, "a NUL byte in the name");
	if (name.len - offset > LIMIT_PATH_BYTES)
		return diff_refuse_here(parser, REASON_PATCH_PATH,
					"the name is longer than %d bytes", LIMIT_PATH_BYTES);
	*ret = arena_memdup(parser->arena, name.data + offset, name.len - offset);
	return *ret == NULL ? diff_exhausted(parser) : 0;
}

/* --- quoting ----------------------------------------------------------- */

static const char escapes[] = "a\ab\bf\fn\nr\rt\tv\v\\\\\"\"";

/* One escape behind its backslash; returns how many bytes it takes, 0: bad. */
static size_t unescape(struct bytes text, uint8_t *ret)
{
	if (text.len >= 3 && text.data[0] >= '0' && text.data[0] <= '3' && text.data[1] >= '0' &&
	    text.data[1] <= '7' && text.data[2] >= '0' && text.data[2] <= '7') {
		*ret = (uint8_t)((text.data[0] - '0') << 6 | (text.data[1] - '0') << 3 |
				 (text.data[2] - '0'));
		return 3;
	}
	for (size_t i = 0; text.len > 0 && escapes[i] != '\0'; i += 2) {
		if (text.data[0] == (uint8_t)escapes[i]) {
			*ret = (uint8_t)escapes[i + 1];
			return 1;
		}
	}
	return 0;
}

/* A quoted name at the start of `text`, and the text behind its closing quote. */
static int unquote(struct diff_parser *parser, struct bytes text, struct bytes *ret,
		   struct bytes *ret_rest)
{
	uint8_t *name;
	size_t len = 0;

	if (text.len > 2 * NAME_TEXT_BYTES_MAX)
		return diff_refuse_here(parser, REASON_PATCH_PATH,
					"the name is longer than %d bytes", LIMIT_PATH_BYTES);
	name = arena_alloc(parser->arena, text.len);
	if (name == NULL)
		return diff_exhausted(parser);
	for (size_t i = 1; i < text.len; i++) {
		if (text.data[i] == '"') {
			*ret = (struct bytes){name, len};
			*ret_rest = diff_after(text, i + 1);
			return 0;
		}
		if (text.data[i] == '\\') {
			size_t taken = unescape(diff_after(text, i + 1), &name[len]);

			if (taken == 0)
				break;
			i += taken;
			len++;
		} else {
			name[len++] = text.data[i];
		}
	}
	return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
				"a quoted name with a bad escape or without its closing quote");
}

/* --- single names ------------------------------------------------------ */

int diff_name(struct diff_parser *parser, struct bytes text, unsigned strip, bool tab_ends,
	      const char **ret)
{
	const uint8_t *tab = tab_ends ? memchr(text.data, '\t', text.len) : NULL;
	struct bytes name, rest;

	if (text.len > 0 && text.data[0] == '"') {
		int code = unquote(parser, text, &name, &rest);

		if (code != 0)
			return code;
		if (rest.len > 0 && !(tab_ends && rest.data[0] == '\t'))
			return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
						"text after a quoted name");
		return strip_name(parser, name, strip, ret);
	}
	if (tab != NULL)
		text.len = (size_t)(tab - text.data);
	return strip_name(parser, text, strip, ret);
}

bool diff_is_null(struct bytes text)
{
	return diff_starts(text, "/dev/null") &&
	       (text.len == 9 || text.data[9] == ' ' || text.data[9] == '\t');
}

/* --- timestamps -------------------------------------------------------- */

/* Whether `text` has this form: 'd' stands for a digit. */
static bool has_form(struct bytes text, const char *form)
{
	if (text.len < strlen(form))
		return false;
	for (size_t i = 0; form[i] != '\0'; i++) {
		if (form[i] == 'd' ? text.data[i] < '0' || text.data[i] > '9'
				   : text.data[i] != (uint8_t)form[i])
			return false;
	}
	return true;
}

/* "2026-01-31 12:34:56.789 +0100" behind the last tab, or behind a space. */
static bool find_stamp(struct bytes text, struct bytes *ret, size_t *ret_name_len)
{
	static const char form[] = "dddd-dd-dd dd:dd:dd";

	for (size_t i = text.len; i > 1; i--) {
		bool tab = text.data[i - 1] == '\t';

		if (!tab && text.data[i - 1] != ' ')
			continue;
		if (has_form(diff_after(text, i), form)) {
			*ret = diff_after(text, i);
			*ret_name_len = i - 1;
			return true;
		}
		if (tab || text.len - i > 64)
			return false;
	}
	return false;
}

/* Minutes of "+hhmm" or "-hh:mm"; false when the text is something else. */
static bool parse_zone(struct bytes text, int *ret)
{
	int sign, digits[4];
	size_t at = 1;

	if (text.len == 0 || (text.data[0] != '+' && text.data[0] != '-'))
		return false;
	sign = text.data[0] == '-' ? -1 : 1;
	for (size_t i = 0; i < 4; i++, at++) {
		if (i == 2 && at < text.len && text.data[at] == ':')
			at++;
		if (at >= text.len || text.data[at] < '0' || text.data[at] > '9')
			return false;
		digits[i] = text.data[at] - '0';
	}
	*ret = sign * ((digits[0] * 10 + digits[1]) * 60 + digits[2] * 10 + digits[3]);
	return at == text.len;
}

bool diff_is_epoch(struct bytes text)
{
	struct bytes stamp;
	int minutes, zone;
	size_t unused;

	if (!find_stamp(text, &stamp, &unused))
		return false;
	if (!diff_starts(stamp, "1970-01-01 ") && !diff_starts(stamp, "1969-12-31 "))
		return false;
	minutes = ((stamp.data[11] - '0') * 10 + stamp.data[12] - '0') * 60 +
		  (stamp.data[14] - '0') * 10 + stamp.data[15] - '0';
	if (stamp.data[0] == '1' && stamp.data[3] == '9' && stamp.data[2] == '6')
		minutes -= 24 * 60;
	if (memcmp(stamp.data + 17, "00", 2) != 0)
		return false;
	stamp = diff_after(stamp, 19);
	if (stamp.len > 0 && stamp.data[0] == '.')
		stamp = diff_after(stamp, 1);
	while (stamp.len > 0 && stamp.data[0] == '0')
		stamp = diff_after(stamp, 1);
	while (stamp.len > 0 && (stamp.data[0] == ' ' || stamp.data[0] == '\t'))
		stamp = diff_after(stamp, 1);
	return parse_zone(stamp, &zone) && minutes == zone;
}

int diff_plain_name(struct diff_parser *parser, struct bytes text, const char **ret)
{
	struct bytes stamp;
	size_t name_len;

	if (text.len > 0 && text.data[0] != '"' && find_stamp(text, &stamp, &name_len))
		text.len = name_len;
	return diff_name(parser, text, parser->strip, true, ret);
}

/* --- two names on one line --------------------------------------------- */

/*
 * Unquoted twins: the space that parts them is where the stripped halves have
 * one length. As the space moves right, that equation grows strictly, so at
 * most one place fits and the search is linear.
 */
static int split_twins(struct diff_parser *parser, struct bytes text, const char **ret)
{
	size_t first = strip_offset(text, 0, parser->strip);
	size_t second = first;

	if (first == SIZE_MAX)
		return 0;
	for (size_t i = 0; i + 1 < text.len; i++) {
		if (parser->strip == 0) {
			second = i + 1;
		} else if (text.data[i] == '/') {
			second = strip_offset(text, second, 1);
			if (second == SIZE_MAX)
				return 0;
		}
		if (text.data[i] != ' ' || i < first || second > text.len ||
		    text.len - second != i - first)
			continue;
		if (memcmp(text.data + first, text.data + second, i - first) != 0)
			return 0;
		return strip_name(parser, (struct bytes){text.data, i}, parser->strip, ret);
	}
	return 0;
}

int diff_twin_name(struct diff_parser *parser, struct bytes text, const char **ret)
{
	const char *first_name, *second_name;
	struct bytes first, second, rest;
	int code;

	*ret = NULL;
	if (text.len > 2 * NAME_TEXT_BYTES_MAX)
		return diff_refuse_here(parser, REASON_PATCH_PATH,
					"the names are longer than %d bytes", LIMIT_PATH_BYTES);
	if (text.len == 0 || text.data[0] != '"')
		return split_twins(parser, text, ret);
	code = unquote(parser, text, &first, &rest);
	if (code != 0)
		return code;
	if (!diff_starts(rest, " \""))
		return 0;
	code = unquote(parser, diff_after(rest, 1), &second, &rest);
	if (code == 0)
		code = strip_name(parser, first, parser->strip, &first_name);
	if (code == 0)
		code = strip_name(parser, second, parser->strip, &second_name);
	if (code == 0 && rest.len == 0 && strcmp(first_name, second_name) == 0)
		*ret = first_name;
	return code;
}

/* Takes `name`, under any prefix of `strip` components, off the front. */
static int take_name(struct diff_parser *parser, struct bytes text, const char *name,
		     struct bytes *ret_rest, bool *ret)
{
	size_t len = strlen(name);
	struct bytes quoted;
	size_t offset;
	int code;

	*ret = false;
	if (text.len > 0 && text.data[0] == '"') {
		code = unquote(parser, text, &quoted, ret_rest);
		if (code != 0)
			return code;
		offset = strip_offset(quoted, 0, parser->strip);
		*ret = offset != SIZE_MAX && diff_equals(diff_after(quoted, offset), name);
		return 0;
	}
	offset = strip_offset(text, 0, parser->strip);
	if (offset == SIZE_MAX || !diff_starts(diff_after(text, offset), name))
		return 0;
	*ret_rest = diff_after(text, offset + len);
	*ret = true;
	return 0;
}

int diff_names_are(struct diff_parser *parser, struct bytes text, const char *old_name,
		   const char *new_name, bool *ret)
{
	struct bytes rest;
	int code;

	*ret = false;
	if (text.len > 2 * NAME_TEXT_BYTES_MAX)
		return 0;
	code = take_name(parser, text, old_name, &rest, ret);
	if (code != 0 || !*ret)
		return code;
	*ret = false;
	if (rest.len == 0 || rest.data[0] != ' ')
		return 0;
	code = take_name(parser, diff_after(rest, 1), new_name, &rest, ret);
	*ret = *ret && rest.len == 0;
	return code;
}
