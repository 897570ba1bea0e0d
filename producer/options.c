/*
 * options.c - a table and one pass over the line. A misspelt name is answered
 * with the row at the smallest edit distance, if that is small enough to be
 * what was meant.
 */
#include "producer/options.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

enum { NAME_BYTES = 32, HELP_COLUMN = 26 };

/* --- nearest name ----------------------------------------------------- */

/* `word` is the option as typed, with its dashes, `len` bytes of it. */
static const char *nearest(const struct option_group *groups, size_t groups_len, const char *word,
			   size_t len)
{
	char name[NAME_BYTES + 1] = "";
	const char *best = NULL;
	size_t best_distance = len < 6 ? 2 : 3;

	if (strncmp(word, "--", 2) != 0 || len - 2 > NAME_BYTES)
		return NULL;
	memcpy(name, word + 2, len - 2);
	for (size_t g = 0; g < groups_len; g++) {
		for (size_t i = 0; i < groups[g].len; i++) {
			size_t distance = text_distance(name, groups[g].rows[i].name);

			if (distance < best_distance) {
				best_distance = distance;
				best = groups[g].rows[i].name;
			}
		}
	}
	return best;
}

/* --- takers ----------------------------------------------------------- */

static void *field(void *ctx, const struct option_row *row)
{
	return (char *)ctx + row->offset;
}

int option_flag(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	(void)value;
	(void)err;
	*(bool *)field(ctx, row) = true;
	return 0;
}

int option_stop(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	(void)option_flag(ctx, row, value, err);
	return OPTIONS_STOP;
}

int option_text(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	if (*value == '\0')
		return err_set(err, ERR_INPUT, "the value is empty");
	*(const char **)field(ctx, row) = value;
	return 0;
}

int option_duration(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	int64_t parsed;

	if (!text_parse_duration_ms(value, &parsed) || parsed < 1)
		return err_set(err, ERR_INPUT, "'%s' is no duration such as 90s, 5m or 1500ms",
			       value);
	*(int64_t *)field(ctx, row) = parsed;
	return 0;
}

int option_count(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	int64_t parsed;

	if (!text_parse_int(value, &parsed) || parsed < 1)
		return err_set(err, ERR_INPUT, "'%s' is no whole number of at least 1", value);
	*(int64_t *)field(ctx, row) = parsed;
	return 0;
}

/* --- the line --------------------------------------------------------- */

static const struct option_row *find(const struct option_group *groups, size_t groups_len,
				     const char *name, size_t len, void **ret_ctx)
{
	for (size_t g = 0; g < groups_len; g++) {
		for (size_t i = 0; i < groups[g].len; i++) {
			const struct option_row *row = &groups[g].rows[i];

			if (strlen(row->name) == len && memcmp(row->name, name, len) == 0) {
				*ret_ctx = groups[g].ctx;
				return row;
			}
		}
	}
	return NULL;
}

static int refuse_unknown(const struct option_group *groups, size_t groups_len, const char *word,
			  struct err *err)
{
	size_t len = strcspn(word, "=");
	const char *meant = nearest(groups, groups_len, word, len);

	if (meant != NULL)
		return err_set(err, ERR_INPUT, "unknown option '%.*s'; did you mean '--%s'?",
			       (int)len, word, meant);
	return err_set(err, ERR_INPUT, "unknown option '%s'; --help lists them", word);
}

/* Reads the option at `*at`, which moves past it and its value. */
static int take_option(const struct option_group *groups, size_t groups_len, char *const **at,
		       struct err *err)
{
	const char *word = *(*at)++;
	const char *name = strcmp(word, "-h") == 0 ? "--help" : word;
	size_t len = name[1] == '-' ? strcspn(name + 2, "=") : 0;
	const struct option_row *row = NULL;
	const char *value = NULL;
	void *ctx = NULL;
	int rc;

	if (name[1] == '-')
		row = find(groups, groups_len, name + 2, len, &ctx);
	if (row == NULL)
		return refuse_unknown(groups, groups_len, word, err);
	if (name[2 + len] == '=')
		value = name + 2 + len + 1;
	if (row->value == NULL && value != NULL)
		return err_set(err, ERR_INPUT, "--%s takes no value", row->name);
	if (row->value != NULL && value == NULL) {
		value = **at;
		if (value == NULL)
			return err_set(err, ERR_INPUT, "--%s needs a value: --%s %s", row->name,
				       row->name, row->value);
		(*at)++;
	}
	rc = row->take(ctx, row, value, err);
	return rc < 0 ? err_prefix(err, "--%s", row->name) : rc;
}

int options_parse(const struct option_group *groups, size_t groups_len, struct arena *arena,
		  char *const *argv, struct text_list *ret_rest, struct err *err)
{
	struct text_list rest = {0};
	bool ended = false;
	size_t count = 0;

	while (argv[count] != NULL)
		count++;
	rest.items = arena_array(arena, count + 1, sizeof(*rest.items));
	if (rest.items == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (char *const *at = argv; *at != NULL;) {
		int rc;

		if (!ended && strcmp(*at, "--") == 0) {
			ended = true;
			at++;
			continue;
		}
		if (ended || (*at)[0] != '-' || (*at)[1] == '\0') {
			rest.items[rest.len++] = *at++;
			continue;
		}
		rc = take_option(groups, groups_len, &at, err);
		if (rc != 0)
			return rc;
	}
	*ret_rest = rest;
	return 0;
}

/* --- help ------------------------------------------------------------- */

void options_help(const struct option_group *groups, size_t groups_len, struct buf *out)
{
	for (size_t g = 0; g < groups_len; g++) {
		buf_printf(out, "\n%s:\n", groups[g].title);
		for (size_t i = 0; i < groups[g].len; i++) {
			const struct option_row *row = &groups[g].rows[i];
			size_t width = 4 + strlen(row->name);

			buf_printf(out, "  --%s", row->name);
			if (row->value != NULL) {
				buf_printf(out, " %s", row->value);
				width += 1 + strlen(row->value);
			}
			if (width >= HELP_COLUMN) {
				buf_add_byte(out, '\n');
				width = 0;
			}
			buf_printf(out, "%*s%s\n", (int)(HELP_COLUMN - width), "", row->help);
		}
	}
}
