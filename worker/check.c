/*
 * check.c - the report, what jobs may do by this configuration, and the order
 * of the checks.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "queue/carrier.h"
#include "schema/value.h"
#include "snapshots/source.h"
#include "worker/check_private.h"
#include "worker/commands.h"

/* --- the report ------------------------------------------------------- */

void check_report_init(struct check_report *report, struct arena *arena)
{
	*report = (struct check_report){.arena = arena};
	report->rows = arena_array(arena, CHECK_ROWS_MAX, sizeof(*report->rows));
}

void check_add(struct check_report *report, enum check_status status, const char *name,
	       const char *fix, const char *fmt, ...)
{
	struct check_row row = {.status = status};
	va_list args;

	if (report->rows == NULL || report->len >= CHECK_ROWS_MAX)
		return;
	va_start(args, fmt);
	row.detail = arena_vprintf(report->arena, fmt, args);
	va_end(args);
	row.name = arena_strdup(report->arena, name);
	row.fix = arena_strdup(report->arena, status == CHECK_OK ? "" : fix);
	if (row.detail != NULL && row.name != NULL && row.fix != NULL)
		report->rows[report->len++] = row;
}

bool check_failed(const struct check_report *report)
{
	for (size_t i = 0; i < report->len; i++) {
		if (report->rows[i].status == CHECK_FAIL)
			return true;
	}
	return report->rows == NULL || report->arena->exhausted;
}

/* --- printing --------------------------------------------------------- */

static const struct {
	const char *word;
	const char *color;
} statuses[] = {
	[CHECK_OK] = {"ok", "\033[32m"},
	[CHECK_WARN] = {"warn", "\033[33m"},
	[CHECK_FAIL] = {"FAIL", "\033[1;31m"},
};

void check_print(const struct check_report *report, bool color, struct buf *out)
{
	size_t counts[ARRAY_LEN(statuses)] = {0};
	int width = 0;

	for (size_t i = 0; i < report->len; i++) {
		int len = (int)strlen(report->rows[i].name);

		width = len > width ? len : width;
	}
	for (size_t i = 0; i < report->len; i++) {
		const struct check_row *row = &report->rows[i];

		counts[row->status]++;
		buf_printf(out, "%s%-4s%s  %-*s  %s\n", color ? statuses[row->status].color : "",
			   statuses[row->status].word, color ? "\033[0m" : "", width, row->name,
			   row->detail);
		if (*row->fix != '\0')
			buf_printf(out, "      fix: %s\n", row->fix);
	}
	buf_printf(out, "%zu ok, %zu warning%s, %zu failed: %s\n", counts[CHECK_OK],
		   counts[CHECK_WARN], counts[CHECK_WARN] == 1 ? "" : "s", counts[CHECK_FAIL],
		   check_failed(report) ? "the worker cannot run jobs like this"
					: "the worker can run jobs");
}

void check_json(const struct check_report *report, struct buf *out)
{
	static const char *const words[] = {
		[CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_FAIL] = "fail"};
	struct arena *arena = report->arena;
	struct value *tree = value_map(arena);
	struct value *list = value_list(arena);

	for (size_t i = 0; i < report->len; i++) {
		const struct check_row *row = &report->rows[i];
		struct value *item = value_map(arena);

		value_put(arena, item, "name", value_str(arena, row->name));
		value_put(arena, item, "status", value_str(arena, words[row->status]));
		value_put(arena, item, "detail", value_str(arena, row->detail));
		value_put(arena, item, "fix", value_str(arena, row->fix));
		value_append(arena, list, item);
	}
	value_put(arena, tree, "ok", value_bool(arena, !check_failed(report)));
	value_put(arena, tree, "checks", list);
	if (arena->exhausted)
		buf_add_text(out, "{\"ok\": false, \"checks\": []}");
	else
		value_to_json(tree, 2, out);
	buf_add_byte(out, '\n');
}

/* --- what jobs may do ------------------------------------------------- */

/* Messages quote the entry, and somebody may have put a password into it. */
static const char *redacted(struct arena *arena, const char *message, const char *entry)
{
	const char *at = strstr(message, entry);
	const char *shown = carrier_url_redacted(arena, entry);

	if (at == NULL || shown == NULL)
		return "an entry is not usable";
	return arena_printf(arena, "%.*s%s%s", (int)(at - message), message, shown,
			    at + strlen(entry));
}

static void check_sources(const struct config *config, struct check_report *report)
{
	static const char fix[] = "list what jobs may name in [sources] allow: /srv/git/, "
				  "https://host/path/ or ssh://user@host/path/";
	const struct text_list *allow = &config->sources_allow;
	size_t good = 0;

	if (allow->len == 0)
		check_add(report, CHECK_FAIL, "sources", fix,
			  "no source is allowed: every job with a repository is rejected");
	for (size_t i = 0; i < allow->len; i++) {
		struct err err = {0};

		if (source_allow_check(allow->items[i], &err) < 0)
			check_add(report, CHECK_FAIL, "sources", fix, "%s",
				  redacted(report->arena, err.message, allow->items[i]));
		else if (*allow->items[i] == '/' && access(allow->items[i], R_OK | X_OK) < 0)
			check_add(report, CHECK_WARN, "sources",
				  "create it, let the worker's user read it, or take it off the "
				  "list",
				  "'%s' is not a directory that can be read here", allow->items[i]);
		else
			good++;
	}
	if (good > 0)
		check_add(report, CHECK_OK, "sources", "", "%zu of %zu entries usable", good,
			  allow->len);
}

static void check_security(const struct config *config, struct check_report *report)
{
	const struct text_list *trusted = &config->sources_trusted;

	for (size_t i = 0; i < trusted->len; i++) {
		struct err err = {0};

		if (source_allow_check(trusted->items[i], &err) < 0)
			check_add(report, CHECK_FAIL, "security",
				  "correct the entry in [sources] trusted", "%s",
				  redacted(report->arena, err.message, trusted->items[i]));
	}
	check_add(report, CHECK_OK, "security", "",
		  "%zu trusted sources; at least %s; auto isolates a diff with findings: %s",
		  trusted->len, config->security_least, config->security_isolate);
}

static void check_commands(const struct config *config, struct check_report *report)
{
	const struct text_list *allow = &config->commands_allow;
	struct commands *commands;
	struct err err = {0};

	if (allow->len == 0)
		check_add(report, CHECK_FAIL, "commands",
			  "list them in [commands] allow, one a line, as in 'make test' or "
			  "'pytest **'; 'off' allows any",
			  "no command is allowed: every job with steps is rejected");
	else if (commands_compile(report->arena, allow, &commands, &err) < 0)
		check_add(report, CHECK_FAIL, "commands", "correct the line in [commands] allow",
			  "%s", err.message);
	else if (allow->len == 1 && strcmp(allow->items[0], "off") == 0)
		check_add(report, CHECK_WARN, "commands",
			  "list the commands that jobs need; the sandbox alone holds them until "
			  "then",
			  "the list is off: jobs may run anything");
	else
		check_add(report, CHECK_OK, "commands", "", "%zu patterns", allow->len);
}

void check_policy(const struct config *config, struct check_report *report)
{
	check_sources(config, report);
	check_security(config, report);
	check_commands(config, report);
}

/* --- all -------------------------------------------------------------- */

int check_run(const struct config *config, struct check_report *report, struct err *err)
{
	check_policy(config, report);
	check_limits(config, report);
	check_uids(config, report);
	check_state(config, report);
	check_sandbox(config, report);
	check_queue(config, report);
	if (report->arena->exhausted)
		return err_set(err, ERR_LIMIT, "cannot check: out of memory");
	return 0;
}
