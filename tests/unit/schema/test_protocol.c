/*
 * test_protocol.c - PROTOCOL.md says what the tables say: every field, verdict,
 * reason and state has its row, and no row is about something else. The last
 * column of the field tables is prose and free. Runs from the top of the tree.
 */
#include "kit.h"

#include <inttypes.h>

#include "base/fd.h"
#include "schema/field_private.h"
#include "schema/reason.h"

#define DOCUMENT "schema/PROTOCOL.md"

/* --- rows as the document writes them --------------------------------- */

/* Rows, one per line: the cells that are bound, without the prose. */
struct rows {
	struct buf text;
	size_t len;
};

static void add_choices(struct buf *out, const struct field *field)
{
	size_t built = field->built;
	size_t i = 0;

	for (; field->choices[i] != NULL && (built == 0 || i < built); i++)
		buf_printf(out, "%s%s", i == 0 ? "" : ", ", field->choices[i]);
	for (size_t k = i; field->choices[k] != NULL; k++)
		buf_printf(out, "%s%s", k == i ? "; refused for now: " : ", ", field->choices[k]);
	if (field->open)
		buf_printf(out, "%s",
			   field->choices[i] == NULL ? "; refused for now: any other"
						     : ", any other");
}

static void add_range(struct buf *out, int64_t min, int64_t max, const char *unit)
{
	if (min > 0)
		buf_printf(out, "%" PRId64 " to %" PRId64 "%s", min, max, unit);
	else
		buf_printf(out, "at most %" PRId64 "%s", max, unit);
}

static void add_bounds(struct buf *out, const struct field *field)
{
	if (field->unbuilt)
		return;
	if (field->choices != NULL) {
		add_choices(out, field);
		return;
	}
	if (field->kind == FIELD_VERSION)
		buf_printf(out, "%" PRId64, field->min);
	if (field->kind == FIELD_INT)
		buf_printf(out, "%" PRId64 " to %" PRId64, field->min, field->max);
	if (field->kind == FIELD_MILLI)
		buf_printf(out, "%g to %g", (double)field->min / 1000, (double)field->max / 1000);
	if (field->kind == FIELD_TEXT || field->kind == FIELD_BIN)
		add_range(out, field->min, field->max, " bytes");
	if (field->kind == FIELD_TEXTS || field->kind == FIELD_PAIRS ||
	    field->kind == FIELD_FILES || field->kind == FIELD_MAPS)
		add_range(out, field->min, field->max, " items");
	if (field->kind == FIELD_TEXTS || field->kind == FIELD_PAIRS ||
	    field->kind == FIELD_FILES) {
		buf_add_text(out, " of ");
		add_range(out, field->item_min, field->item_max, " bytes");
	}
	if (field->key_rule != NULL)
		buf_printf(out, "; keys: %s", field->key_rule->expected);
	if (field->rule != NULL)
		buf_printf(out, "; %s", field->rule->expected);
}

static void add_default(struct buf *out, const struct field *field)
{
	if (field->unbuilt)
		buf_add_text(out, "refused for now");
	else if (field->required)
		buf_add_text(out, "required");
	else if (field->numbered != NULL)
		buf_printf(out, "%sN", field->numbered);
	else if (field->fallback_text != NULL)
		buf_add_text(out, field->fallback_text);
	else if (field->choices != NULL)
		buf_add_text(out, field->choices[0]);
	else if (field->kind == FIELD_BOOL)
		buf_add_text(out, "false");
	else if (field->fallback != 0)
		buf_printf(out, "%" PRId64, field->fallback);
}

static void add_job_rows(struct rows *rows, const struct map *map, const char *prefix)
{
	for (size_t i = 0; i < map->len; i++) {
		const struct field *field = &map->fields[i];
		char below[128];

		buf_printf(&rows->text, "| `%s%s` | %s | ", prefix, field->name,
			   field_type_name(field));
		add_default(&rows->text, field);
		buf_add_text(&rows->text, " | ");
		add_bounds(&rows->text, field);
		buf_add_text(&rows->text, " |\n");
		rows->len++;
		(void)snprintf(below, sizeof(below), "%s%s%s.", prefix, field->name,
			       field->kind == FIELD_MAPS ? "[]" : "");
		if (field->map != NULL)
			add_job_rows(rows, field->map, below);
	}
}

static void add_result_rows(struct rows *rows, const struct map *map, const char *prefix)
{
	for (size_t i = 0; i < map->len; i++) {
		const struct field *field = &map->fields[i];
		char below[128];

		buf_printf(&rows->text, "| `%s%s` | %s | %s |\n", prefix, field->name,
			   field_type_name(field), field->required ? "always" : "when known");
		rows->len++;
		(void)snprintf(below, sizeof(below), "%s%s%s.", prefix, field->name,
			       field->kind == FIELD_MAPS ? "[]" : "");
		if (field->map != NULL)
			add_result_rows(rows, field->map, below);
	}
}

/* --- the document ----------------------------------------------------- */

/* The section under "## title", up to the next one. */
static char *section(struct arena *arena, const char *document, const char *title)
{
	const char *heading = arena_printf(arena, "\n## %s\n", title);
	const char *start = strstr(document, heading);
	const char *end;

	if (start == NULL)
		fail_msg(DOCUMENT " has no section '%s'", title);
	start += strlen(heading);
	end = strstr(start, "\n## ");
	return arena_memdup(arena, start, end == NULL ? strlen(start) : (size_t)(end - start) + 1);
}

/* Rows are the lines that start with "| `". */
static size_t count_rows(const char *text)
{
	size_t count = strncmp(text, "| `", 3) == 0;

	for (const char *at = text; (at = strstr(at, "\n| `")) != NULL; at++)
		count++;
	return count;
}

static void compare(struct rows *rows, const char *title)
{
	struct arena arena;
	struct buf document;
	struct err err = {0};
	char *text;
	size_t wrong = 0;
	char *line = (char *)rows->text.data;

	kit_arena(&arena);
	buf_init(&document, 1 << 20);
	if (fd_read_file(DOCUMENT, 1 << 20, &document, &err) < 0)
		fail_msg("%s (run from the top of the tree)", err.message);
	text = section(&arena, buf_text(&document), title);
	for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		if (strstr(text, line) == NULL) {
			print_error("missing row: %s\n", line);
			wrong++;
		}
	}
	if (wrong > 0 || count_rows(text) != rows->len)
		fail_msg("section '%s' has %zu rows, the tables have %zu", title, count_rows(text),
			 rows->len);
	buf_release(&document);
	buf_release(&rows->text);
	arena_release(&arena);
}

/* --- the sections ----------------------------------------------------- */

static void every_job_field_is_documented(void **state)
{
	struct rows rows = {0};

	(void)state;
	buf_init(&rows.text, 1 << 20);
	add_job_rows(&rows, &job_map, "");
	compare(&rows, "The job");
}

static void every_result_field_is_documented(void **state)
{
	struct rows rows = {0};

	(void)state;
	buf_init(&rows.text, 1 << 20);
	add_result_rows(&rows, &result_head_map, "");
	add_result_rows(&rows, &result_body_map, "");
	compare(&rows, "The result");
}

static void every_verdict_is_documented(void **state)
{
	struct rows rows = {0};

	(void)state;
	buf_init(&rows.text, 1 << 20);
	for (int i = 0; i < VERDICT_COUNT; i++, rows.len++)
		buf_printf(&rows.text, "| `%s` | %d | %s |\n", verdict_name((enum verdict)i),
			   verdict_exit_code((enum verdict)i), verdict_meaning((enum verdict)i));
	compare(&rows, "Verdicts");
}

static void every_reason_is_documented(void **state)
{
	struct rows rows = {0};

	(void)state;
	buf_init(&rows.text, 1 << 20);
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++, rows.len++)
		buf_printf(&rows.text, "| `%s` | %s |\n", reason_code_name((enum reason_code)i),
			   reason_code_hint((enum reason_code)i));
	compare(&rows, "Reasons");
}

static void every_state_is_documented(void **state)
{
	static const char *const meanings[] = {
#define STATE(name, meaning) meaning,
#include "schema/state.def"
#undef STATE
	};
	struct rows rows = {0};

	(void)state;
	buf_init(&rows.text, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++, rows.len++)
		buf_printf(&rows.text, "| `%s` | %s |\n", job_state_name((enum job_state)i),
			   meanings[i]);
	compare(&rows, "States");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_job_field_is_documented),
		cmocka_unit_test(every_result_field_is_documented),
		cmocka_unit_test(every_verdict_is_documented),
		cmocka_unit_test(every_reason_is_documented),
		cmocka_unit_test(every_state_is_documented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
