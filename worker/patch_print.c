/*
 * patch_print.c - see patch_print.h. Paths and lines come from a diff, so what
 * goes to a terminal goes through terminal_add.
 */
#include "worker/patch_print.h"

#include <string.h>

#include "base/terminal.h"
#include "base/text.h"
#include "schema/value.h"
#include "snapshots/guard.h"

enum { SHOWN_BYTES = 160 };

static const char *change_name(enum diff_change change)
{
	static const char *const names[] = {
		[DIFF_MODIFY] = "modified", [DIFF_CREATE] = "added", [DIFF_DELETE] = "deleted",
		[DIFF_RENAME] = "renamed",  [DIFF_COPY] = "copied",
	};

	return names[change];
}

static const char *path_of(const struct diff_file *file)
{
	return file->new_path != NULL ? file->new_path : file->old_path;
}

/* --- refusals ------------------------------------------------------------- */

/* Takes "line N: " off a message; 0 when it does not start so. */
static int64_t take_line(const char **message)
{
	const char *colon;
	char digits[24];
	int64_t line;
	size_t len;

	if (strncmp(*message, "line ", 5) != 0 || (colon = strchr(*message, ':')) == NULL)
		return 0;
	len = (size_t)(colon - *message) - 5;
	if (len >= sizeof(digits) || colon[1] != ' ')
		return 0;
	(void)memcpy(digits, *message + 5, len);
	digits[len] = '\0';
	if (!text_parse_int(digits, &line))
		return 0;
	*message = colon + 2;
	return line;
}

static bool is_plain(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < 0x20 || text.data[i] > 0x7e)
			return false;
	}
	return true;
}

/* The line of the diff with this number, from 1. */
static struct bytes line_at(struct bytes diff, int64_t number)
{
	const uint8_t *end;

	while (--number > 0) {
		end = diff.len > 0 ? memchr(diff.data, '\n', diff.len) : NULL;
		if (end == NULL)
			return (struct bytes){NULL, 0};
		diff.len -= (size_t)(end + 1 - diff.data);
		diff.data = end + 1;
	}
	end = diff.len > 0 ? memchr(diff.data, '\n', diff.len) : NULL;
	if (end != NULL)
		diff.len = (size_t)(end - diff.data);
	return diff;
}

/* The line and, below it, what in it is meant. */
static void print_source(const struct patch_report *report, int64_t number, struct buf *out)
{
	struct bytes line = line_at(report->diff, number);
	size_t len = strlen(report->reason.subject), margin;
	const uint8_t *at = NULL;

	if (line.len == 0)
		return;
	if (line.len > SHOWN_BYTES)
		line.len = SHOWN_BYTES;
	margin = out->len;
	buf_printf(out, "  %lld", (long long)number);
	margin = out->len - margin;
	buf_add_text(out, " | ");
	terminal_add(out, (const char *)line.data, line.len, false);
	buf_add_text(out, "\n");
	if (len > 0 && is_plain(line))
		at = memmem(line.data, line.len, report->reason.subject, len);
	if (at == NULL)
		return;
	buf_printf(out, "%*s | %*s", (int)margin, "", (int)(at - line.data), "");
	for (size_t i = 0; i < len; i++)
		buf_add_byte(out, i == 0 ? '^' : '~');
	buf_add_text(out, "\n");
}

static void print_refusal(const struct patch_report *report, struct buf *out)
{
	const char *message = report->reason.message;
	const char *hint = reason_code_hint(report->reason.code);
	int64_t line = take_line(&message);

	terminal_add_text(out, strcmp(report->name, "-") == 0 ? "<stdin>" : report->name);
	if (line > 0)
		buf_printf(out, ":%lld", (long long)line);
	buf_printf(out, ": %s: ", reason_code_name(report->reason.code));
	terminal_add(out, message, strlen(message), true);
	buf_add_text(out, "\n");
	if (line > 0 && strchr(message, '\n') == NULL)
		print_source(report, line, out);
	if (hint[0] != '\0')
		buf_printf(out, "hint: %s\n", hint);
}

/* --- for a person ----------------------------------------------------------- */

static void print_verdict(const struct patch_report *report, struct buf *out)
{
	const struct patch_outcome *outcome = &report->outcome;
	char hex[OID_HEX_BYTES];

	for (size_t i = 0; i < outcome->files_len; i++) {
		const struct result_file *file = &outcome->files[i];

		buf_printf(out, "%-8s ", change_status_name(file->status));
		if (file->old_path != NULL) {
			terminal_add_text(out, file->old_path);
			buf_add_text(out, " -> ");
		}
		terminal_add_text(out, file->path);
		buf_printf(out, " +%lld -%lld\n", (long long)file->additions,
			   (long long)file->deletions);
	}
	for (size_t i = 0; i < outcome->adjusted.len; i++) {
		buf_add_text(out, "adjusted ");
		terminal_add_text(out, outcome->adjusted.items[i]);
		buf_add_text(out, "\n");
	}
	for (size_t i = 0; i < outcome->findings_len; i++) {
		buf_printf(out, "%-8s %s: ", severity_name(outcome->findings[i].severity),
			   outcome->findings[i].rule);
		terminal_add_text(out, outcome->findings[i].path);
		buf_printf(out, ": %s\n", outcome->findings[i].message);
	}
	oid_hex(&outcome->tree, hex);
	buf_printf(out, "tree     %s\n", hex);
	if (report->has_commit) {
		oid_hex(&report->commit, hex);
		buf_printf(out, "commit   %s\n", hex);
	}
}

static void print_stat(const struct diff *diff, struct buf *out)
{
	for (size_t i = 0; i < diff->files_len; i++) {
		const struct diff_file *file = &diff->files[i];

		if (file->binary)
			buf_add_text(out, "-\t-\t");
		else
			buf_printf(out, "%lld\t%lld\t", (long long)file->additions,
				   (long long)file->deletions);
		if (file->change == DIFF_RENAME || file->change == DIFF_COPY) {
			terminal_add_text(out, file->old_path);
			buf_add_text(out, " => ");
		}
		terminal_add_text(out, path_of(file));
		buf_add_text(out, "\n");
	}
}

static void print_show(const struct diff *diff, struct buf *out)
{
	for (size_t i = 0; i < diff->files_len; i++) {
		const struct diff_file *file = &diff->files[i];

		buf_printf(out, "line %zu: %s ", file->at_line, change_name(file->change));
		if (file->change == DIFF_RENAME || file->change == DIFF_COPY) {
			terminal_add_text(out, file->old_path);
			buf_add_text(out, " -> ");
		}
		terminal_add_text(out, path_of(file));
		if (file->old_mode != 0 && file->new_mode != 0 && file->old_mode != file->new_mode)
			buf_printf(out, " mode %06o -> %06o", file->old_mode, file->new_mode);
		else if (file->old_mode != 0 || file->new_mode != 0)
			buf_printf(out, " mode %06o", file->old_mode | file->new_mode);
		if (file->old_oid != NULL && file->new_oid != NULL)
			buf_printf(out, " index %.10s..%.10s", file->old_oid, file->new_oid);
		buf_add_text(out, file->binary ? " binary\n" : "\n");
		for (size_t k = 0; k < file->hunks_len; k++) {
			const struct diff_hunk *hunk = &file->hunks[k];

			buf_printf(out, "  line %zu: hunk %zu: old %u+%u, new %u+%u", hunk->at_line,
				   k + 1, hunk->old_start, hunk->old_len, hunk->new_start,
				   hunk->new_len);
			buf_add_text(out, hunk->heading.len > 0 ? "  " : "");
			terminal_add(out, hunk->heading.data, hunk->heading.len, false);
			buf_add_text(out, "\n");
		}
	}
}

static void print_guard(const struct diff *diff, struct buf *out)
{
	for (size_t i = 0; i < diff->files_len; i++) {
		const struct diff_file *file = &diff->files[i];
		const char *paths[2] = {file->old_path, file->new_path};
		bool same = paths[0] != NULL && paths[1] != NULL && strcmp(paths[0], paths[1]) == 0;

		for (size_t k = same ? 1 : 0; k < 2; k++) {
			const struct guard_rule *rule;
			const struct guard_note *note;

			if (paths[k] == NULL)
				continue;
			rule = guard_protection(paths[k]);
			note = guard_note(paths[k]);
			terminal_add_text(out, paths[k]);
			if (rule != NULL)
				buf_printf(out, ": %s by '%s': %s",
					   guard_strength_name(rule->strength), rule->glob,
					   rule->why);
			if (note != NULL)
				buf_printf(out, "%s %s: %s", rule != NULL ? ";" : ":", note->rule,
					   note->why);
			buf_add_text(out, rule == NULL && note == NULL ? ": free\n" : "\n");
		}
	}
}

void patch_print(const struct patch_report *report, const char *command, struct buf *out)
{
	if (report->refused)
		print_refusal(report, out);
	else if (strcmp(command, "stat") == 0)
		print_stat(&report->parsed, out);
	else if (strcmp(command, "show") == 0)
		print_show(&report->parsed, out);
	else if (strcmp(command, "guard") == 0)
		print_guard(&report->parsed, out);
	else
		print_verdict(report, out);
}

/* --- in JSON ------------------------------------------------------------------ */

static struct value *hex_value(struct arena *arena, const struct oid *oid)
{
	char hex[OID_HEX_BYTES];

	oid_hex(oid, hex);
	return value_str(arena, arena_strdup(arena, hex));
}

static struct value *outcome_files(struct arena *arena, const struct patch_outcome *outcome)
{
	struct value *list = value_list(arena);

	for (size_t i = 0; i < outcome->files_len; i++) {
		const struct result_file *file = &outcome->files[i];
		struct value *map = value_map(arena);

		value_put(arena, map, "path", value_str(arena, file->path));
		if (file->old_path != NULL)
			value_put(arena, map, "old_path", value_str(arena, file->old_path));
		value_put(arena, map, "status", value_str(arena, change_status_name(file->status)));
		value_put(arena, map, "additions", value_int(arena, file->additions));
		value_put(arena, map, "deletions", value_int(arena, file->deletions));
		value_put(arena, map, "mode",
			  value_str(arena, arena_printf(arena, "%06o", file->mode)));
		value_append(arena, list, map);
	}
	return list;
}

static void put_outcome(struct arena *arena, const struct patch_report *report, struct value *map)
{
	const struct patch_outcome *outcome = &report->outcome;
	struct value *adjusted = value_list(arena);
	struct value *findings = value_list(arena);

	for (size_t i = 0; i < outcome->adjusted.len; i++)
		value_append(arena, adjusted, value_str(arena, outcome->adjusted.items[i]));
	for (size_t i = 0; i < outcome->findings_len; i++) {
		struct value *finding = value_map(arena);

		value_put(arena, finding, "severity",
			  value_str(arena, severity_name(outcome->findings[i].severity)));
		value_put(arena, finding, "rule", value_str(arena, outcome->findings[i].rule));
		value_put(arena, finding, "path", value_str(arena, outcome->findings[i].path));
		value_put(arena, finding, "message",
			  value_str(arena, outcome->findings[i].message));
		value_append(arena, findings, finding);
	}
	value_put(arena, map, "tree", hex_value(arena, &outcome->tree));
	if (report->has_commit)
		value_put(arena, map, "commit", hex_value(arena, &report->commit));
	value_put(arena, map, "files", outcome_files(arena, outcome));
	value_put(arena, map, "additions", value_int(arena, outcome->additions));
	value_put(arena, map, "deletions", value_int(arena, outcome->deletions));
	value_put(arena, map, "adjusted", adjusted);
	value_put(arena, map, "findings", findings);
}

static struct value *hunk_value(struct arena *arena, const struct diff_hunk *hunk)
{
	struct value *map = value_map(arena);

	value_put(arena, map, "line", value_int(arena, (int64_t)hunk->at_line));
	value_put(arena, map, "old_start", value_int(arena, hunk->old_start));
	value_put(arena, map, "old_len", value_int(arena, hunk->old_len));
	value_put(arena, map, "new_start", value_int(arena, hunk->new_start));
	value_put(arena, map, "new_len", value_int(arena, hunk->new_len));
	return map;
}

/* The strictest rule on any of its names, for a rename takes one away. */
static void put_guards(struct arena *arena, const struct diff_file *file, struct value *map)
{
	const char *paths[2] = {file->new_path, file->old_path};
	const struct guard_rule *rule = NULL;
	const struct guard_note *note = NULL;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		const struct guard_rule *found =
			paths[i] == NULL ? NULL : guard_protection(paths[i]);

		if (found != NULL && (rule == NULL || found->strength > rule->strength))
			rule = found;
		if (note == NULL && paths[i] != NULL)
			note = guard_note(paths[i]);
	}
	value_put(arena, map, "protected",
		  value_str(arena, rule == NULL ? NULL : guard_strength_name(rule->strength)));
	value_put(arena, map, "why", value_str(arena, rule == NULL ? NULL : rule->why));
	value_put(arena, map, "note", value_str(arena, note == NULL ? NULL : note->rule));
}

static struct value *parsed_file(struct arena *arena, const struct diff_file *file,
				 const char *command)
{
	struct value *map = value_map(arena);
	struct value *hunks;

	value_put(arena, map, "path", value_str(arena, path_of(file)));
	if (file->change == DIFF_RENAME || file->change == DIFF_COPY)
		value_put(arena, map, "old_path", value_str(arena, file->old_path));
	value_put(arena, map, "status", value_str(arena, change_name(file->change)));
	if (strcmp(command, "guard") == 0) {
		put_guards(arena, file, map);
		return map;
	}
	value_put(arena, map, "additions", value_int(arena, file->additions));
	value_put(arena, map, "deletions", value_int(arena, file->deletions));
	value_put(arena, map, "binary", value_bool(arena, file->binary));
	if (strcmp(command, "show") != 0)
		return map;
	value_put(arena, map, "line", value_int(arena, (int64_t)file->at_line));
	hunks = value_list(arena);
	for (size_t i = 0; i < file->hunks_len; i++)
		value_append(arena, hunks, hunk_value(arena, &file->hunks[i]));
	value_put(arena, map, "hunks", hunks);
	return map;
}

static void put_refusal(struct arena *arena, const struct patch_report *report, struct value *map)
{
	const char *message = report->reason.message;
	struct value *reason = value_map(arena);
	int64_t line = take_line(&message);

	value_put(arena, reason, "code", value_str(arena, reason_code_name(report->reason.code)));
	value_put(arena, reason, "message", value_str(arena, message));
	value_put(arena, reason, "subject", value_str(arena, report->reason.subject));
	value_put(arena, reason, "hint", value_str(arena, reason_code_hint(report->reason.code)));
	if (line > 0)
		value_put(arena, reason, "line", value_int(arena, line));
	value_put(arena, map, "reason", reason);
}

void patch_print_json(struct arena *arena, const struct patch_report *report, const char *command,
		      struct buf *out)
{
	struct value *map = value_map(arena);
	struct value *files = value_list(arena);

	value_put(arena, map, "ok", value_bool(arena, !report->refused));
	if (report->refused) {
		put_refusal(arena, report, map);
	} else if (report->parsed.files_len == 0) {
		put_outcome(arena, report, map);
	} else {
		for (size_t i = 0; i < report->parsed.files_len; i++)
			value_append(arena, files,
				     parsed_file(arena, &report->parsed.files[i], command));
		value_put(arena, map, "files", files);
	}
	if (arena->exhausted) {
		out->failed = true;
		return;
	}
	value_to_json(map, 0, out);
	buf_add_byte(out, '\n');
}

/* --- the rules ------------------------------------------------------------------ */

void patch_print_rules(struct arena *arena, bool json, struct buf *out)
{
	size_t rules_len, notes_len;
	const struct guard_rule *rules = guard_rules(&rules_len);
	const struct guard_note *notes = guard_notes(&notes_len);
	struct value *list = value_list(arena);

	for (size_t i = 0; i < rules_len && !json; i++)
		buf_printf(out, "%-6s %-10s %-28s %s\n", guard_strength_name(rules[i].strength),
			   rules[i].kind, rules[i].glob, rules[i].why);
	for (size_t i = 0; i < notes_len && !json; i++)
		buf_printf(out, "%-6s %-18s %-20s %s\n", "note", notes[i].rule, notes[i].glob,
			   notes[i].why);
	if (!json)
		return;
	for (size_t i = 0; i < rules_len; i++) {
		struct value *map = value_map(arena);

		value_put(arena, map, "glob", value_str(arena, rules[i].glob));
		value_put(arena, map, "rule",
			  value_str(arena, guard_strength_name(rules[i].strength)));
		value_put(arena, map, "kind", value_str(arena, rules[i].kind));
		value_put(arena, map, "why", value_str(arena, rules[i].why));
		value_append(arena, list, map);
	}
	for (size_t i = 0; i < notes_len; i++) {
		struct value *map = value_map(arena);

		value_put(arena, map, "glob", value_str(arena, notes[i].glob));
		value_put(arena, map, "rule", value_str(arena, "note"));
		value_put(arena, map, "kind", value_str(arena, notes[i].rule));
		value_put(arena, map, "why", value_str(arena, notes[i].why));
		value_append(arena, list, map);
	}
	value_to_json(list, 0, out);
	buf_add_byte(out, '\n');
}
