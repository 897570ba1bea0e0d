/*
 * result_print.c - a result as a person wants to read it.
 *
 * It reads the tree rather than the structs: a result of a newer version, or
 * one with damaged parts, still prints what can be understood.
 * Whatever comes from the job is printed through print_harmless.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "schema/print_private.h"
#include "schema/result.h"

enum {
	STATUS_CHARS = 9,
	SHOWN_FILES = 30,
	SHOWN_CASES = 20,
	SHOWN_FINDINGS = 20,
	SHOWN_LINES = 12,
};

struct printer {
	struct buf *out;
	bool color;
};

/* --- text ------------------------------------------------------------- */

#define RED    "\x1b[31m"
#define GREEN  "\x1b[32m"
#define YELLOW "\x1b[33m"
#define BOLD   "\x1b[1m"
#define PLAIN  "\x1b[0m"

static struct bytes bytes_of(const struct value *value)
{
	bool is_text = value != NULL && (value->kind == VALUE_STR || value->kind == VALUE_BIN);

	return is_text ? value->bytes : (struct bytes){NULL, 0};
}

static struct bytes get_text(const struct value *map, const char *key)
{
	return bytes_of(value_get(map, key));
}

static int64_t get_int(const struct value *map, const char *key)
{
	const struct value *value = value_get(map, key);

	return value != NULL && value->kind == VALUE_INT ? value->integer : 0;
}

static size_t list_len(const struct value *list)
{
	return list != NULL && list->kind == VALUE_LIST ? list->list.len : 0;
}

static bool text_is(struct bytes text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static void add_colored(struct printer *printer, const char *color, struct bytes text)
{
	if (printer->color)
		buf_add_text(printer->out, color);
	print_harmless(printer->out, text);
	if (printer->color)
		buf_add_text(printer->out, PLAIN);
}

/* A section's first line starts with its name, the others with blanks. */
static void add_label(struct printer *printer, const char *label)
{
	buf_printf(printer->out, "%-10s", label);
}

static void add_more(struct printer *printer, size_t len, size_t shown)
{
	if (len > shown) {
		add_label(printer, "");
		buf_printf(printer->out, "... and %zu more\n", len - shown);
	}
}

/* Lines of a text, each below the label. */
static void add_lines(struct printer *printer, const char *label, struct bytes text)
{
	while (text.len > 0) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t len = end == NULL ? text.len : (size_t)(end - text.data);

		add_label(printer, label);
		print_harmless(printer->out, (struct bytes){text.data, len});
		buf_add_byte(printer->out, '\n');
		len += end != NULL;
		text.data += len;
		text.len -= len;
		label = "";
	}
}

/* --- head ------------------------------------------------------------- */

static const char *verdict_color(struct bytes verdict)
{
	return text_is(verdict, "passed") ? GREEN : text_is(verdict, "failed") ? RED : YELLOW;
}

static void print_head(struct printer *printer, const struct value *result)
{
	struct bytes verdict = get_text(result, "verdict");
	struct buf *out = printer->out;

	add_colored(printer, verdict_color(verdict), verdict);
	buf_add_text(out, "  ");
	add_colored(printer, BOLD, get_text(result, "job"));
	buf_printf(out, "  run %" PRId64 ", attempt %" PRId64, get_int(result, "run"),
		   get_int(result, "attempt"));
	if (get_text(result, "worker").len > 0) {
		buf_add_text(out, ", worker ");
		print_harmless(out, get_text(result, "worker"));
	}
	buf_add_byte(out, '\n');
}

static void print_reason(struct printer *printer, const struct value *reason)
{
	struct buf *out = printer->out;

	if (reason == NULL)
		return;
	add_label(printer, "reason");
	add_colored(printer, BOLD, get_text(reason, "code"));
	if (get_text(reason, "subject").len > 0) {
		buf_add_text(out, "  ");
		print_harmless(out, get_text(reason, "subject"));
	}
	buf_add_byte(out, '\n');
	add_lines(printer, "", get_text(reason, "message"));
	if (get_text(reason, "hint").len > 0) {
		add_label(printer, "");
		buf_add_text(out, "hint: ");
		print_harmless(out, get_text(reason, "hint"));
		buf_add_byte(out, '\n');
	}
}

/* --- what was applied and changed ------------------------------------- */

static void print_file(struct printer *printer, const struct value *file)
{
	struct buf *out = printer->out;
	struct bytes status = get_text(file, "status");

	add_label(printer, "");
	print_harmless(out, status);
	buf_printf(out, "%*s", status.len < STATUS_CHARS ? (int)(STATUS_CHARS - status.len) : 1,
		   "");
	if (get_text(file, "old_path").len > 0) {
		print_harmless(out, get_text(file, "old_path"));
		buf_add_text(out, " -> ");
	}
	print_harmless(out, get_text(file, "path"));
	if (value_get(file, "additions") != NULL)
		buf_printf(out, "  +%" PRId64 " -%" PRId64, get_int(file, "additions"),
			   get_int(file, "deletions"));
	if (value_get(file, "size") != NULL) {
		buf_add_text(out, "  ");
		print_size(out, get_int(file, "size"));
	}
	buf_add_byte(out, '\n');
}

static void print_files(struct printer *printer, const struct value *files)
{
	size_t len = list_len(files);

	for (size_t i = 0; i < len && i < SHOWN_FILES; i++)
		print_file(printer, files->list.items[i]);
	add_more(printer, len, SHOWN_FILES);
}

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

static void print_patch(struct printer *printer, const struct value *patch)
{
	size_t len = list_len(value_get(patch, "files"));

	if (patch == NULL)
		return;
	add_label(printer, "patch");
	buf_printf(printer->out, "%zu file%s, +%" PRId64 " -%" PRId64 "\n", len, plural(len),
		   get_int(patch, "additions"), get_int(patch, "deletions"));
	print_files(printer, value_get(patch, "files"));
}

static void print_changes(struct printer *printer, const struct value *result)
{
	const struct value *changes = value_get(result, "changes");
	const struct value *truncated = value_get(result, "changes_truncated");
	size_t len = list_len(changes);

	if (len == 0)
		return;
	add_label(printer, "changes");
	buf_printf(printer->out, "%s%zu file%s changed by the steps\n",
		   truncated != NULL ? "more than " : "", len, plural(len));
	print_files(printer, changes);
}

static void print_snapshots(struct printer *printer, const struct value *snapshots)
{
	if (snapshots == NULL || snapshots->kind != VALUE_MAP || snapshots->map.len == 0)
		return;
	add_label(printer, "snapshots");
	for (size_t i = 0; i < snapshots->map.len; i++) {
		struct bytes oid = bytes_of(snapshots->map.items[i]);

		buf_add_text(printer->out, i == 0 ? "" : ", ");
		print_harmless(printer->out, snapshots->map.keys[i]);
		buf_add_byte(printer->out, ' ');
		print_harmless(printer->out, (struct bytes){oid.data, oid.len > 12 ? 12 : oid.len});
	}
	buf_add_byte(printer->out, '\n');
}

static void print_findings(struct printer *printer, const struct value *findings)
{
	size_t len = list_len(findings);

	for (size_t i = 0; i < len && i < SHOWN_FINDINGS; i++) {
		const struct value *finding = findings->list.items[i];

		add_label(printer, i == 0 ? "findings" : "");
		print_harmless(printer->out, get_text(finding, "severity"));
		buf_add_byte(printer->out, ' ');
		print_harmless(printer->out, get_text(finding, "rule"));
		if (get_text(finding, "path").len > 0) {
			buf_add_text(printer->out, " in ");
			print_harmless(printer->out, get_text(finding, "path"));
		}
		if (get_int(finding, "line") > 0)
			buf_printf(printer->out, ":%" PRId64, get_int(finding, "line"));
		buf_add_text(printer->out, ": ");
		print_harmless(printer->out, get_text(finding, "message"));
		buf_add_byte(printer->out, '\n');
	}
	add_more(printer, len, SHOWN_FINDINGS);
}

/* --- steps ------------------------------------------------------------ */

/* The last lines of a stream. */
static struct bytes last_lines(struct bytes text)
{
	size_t at = text.len;
	size_t lines = 0;

	if (text.len == 0)
		return text;
	if (text.data[at - 1] == '\n')
		at--;
	while (at > 0 && lines < SHOWN_LINES) {
		if (text.data[at - 1] == '\n' && ++lines == SHOWN_LINES)
			break;
		at--;
	}
	return (struct bytes){text.data + at, text.len - at};
}

static void print_step_end(struct printer *printer, const struct value *step)
{
	const struct value *met = value_get(step, "limits_met");
	struct buf *out = printer->out;

	if (get_int(step, "signal") > 0)
		buf_printf(out, "  signal %" PRId64, get_int(step, "signal"));
	else if (get_int(step, "exit") > 0)
		buf_printf(out, "  exit %" PRId64, get_int(step, "exit"));
	if (get_text(step, "syscall").len > 0) {
		buf_add_text(out, "  system call ");
		print_harmless(out, get_text(step, "syscall"));
	}
	if (list_len(met) > 0)
		buf_add_text(out, "  met the limit");
	for (size_t i = 0; i < list_len(met); i++) {
		buf_add_byte(out, ' ');
		print_harmless(out, bytes_of(met->list.items[i]));
	}
	buf_add_text(out, "  ");
	print_duration(out, get_int(step, "wall_us"));
	buf_add_byte(out, '\n');
}

static void print_step(struct printer *printer, const struct value *step, const char *label)
{
	const struct value *argv = value_get(step, "argv");
	struct bytes outcome = get_text(step, "outcome");
	bool passed = text_is(outcome, "passed");

	add_label(printer, label);
	add_colored(printer, passed ? GREEN : RED, outcome);
	buf_add_text(printer->out, "  ");
	print_harmless(printer->out, get_text(step, "name"));
	buf_add_text(printer->out, list_len(argv) > 0 ? ":" : "");
	for (size_t i = 0; i < list_len(argv); i++) {
		buf_add_byte(printer->out, ' ');
		print_harmless(printer->out, bytes_of(argv->list.items[i]));
	}
	print_step_end(printer, step);
	if (passed || text_is(outcome, "skipped"))
		return;
	add_lines(printer, "  stdout", last_lines(get_text(step, "stdout")));
	add_lines(printer, "  stderr", last_lines(get_text(step, "stderr")));
}

static void print_steps(struct printer *printer, const struct value *steps)
{
	for (size_t i = 0; i < list_len(steps); i++)
		print_step(printer, steps->list.items[i], i == 0 ? "steps" : "");
}

/* --- tests ------------------------------------------------------------ */

static bool is_bad(struct bytes status)
{
	return !text_is(status, "passed") && !text_is(status, "skipped") &&
	       !text_is(status, "xfail");
}

static void print_case(struct printer *printer, const struct value *item)
{
	struct bytes message = get_text(item, "message");
	const uint8_t *end = message.len == 0 ? NULL : memchr(message.data, '\n', message.len);

	add_label(printer, "");
	add_colored(printer, RED, get_text(item, "status"));
	buf_add_text(printer->out, "  ");
	print_harmless(printer->out, get_text(item, "id"));
	if (message.len > 0) {
		buf_add_text(printer->out, ": ");
		if (end != NULL)
			message.len = (size_t)(end - message.data);
		print_harmless(printer->out, message);
	}
	buf_add_byte(printer->out, '\n');
}

static void print_tests(struct printer *printer, const struct value *tests)
{
	static const char *const counts[] = {"failed", "errors", "skipped"};
	const struct value *resolved = value_get(tests, "resolved");
	const struct value *cases = value_get(tests, "cases");
	size_t bad = 0;

	if (tests == NULL)
		return;
	add_label(printer, "tests");
	buf_printf(printer->out, "%" PRId64 " of %" PRId64 " passed", get_int(tests, "passed"),
		   get_int(tests, "total"));
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		if (get_int(tests, counts[i]) > 0)
			buf_printf(printer->out, ", %" PRId64 " %s", get_int(tests, counts[i]),
				   counts[i]);
	}
	if (resolved != NULL && resolved->kind == VALUE_BOOL)
		buf_printf(printer->out, "; %s", resolved->boolean ? "resolved" : "not resolved");
	buf_add_byte(printer->out, '\n');
	for (size_t i = 0; i < list_len(cases); i++) {
		if (is_bad(get_text(cases->list.items[i], "status")) && bad++ < SHOWN_CASES)
			print_case(printer, cases->list.items[i]);
	}
	add_more(printer, bad, SHOWN_CASES);
}

/* --- the rest --------------------------------------------------------- */

static void print_artifacts(struct printer *printer, const struct value *artifacts)
{
	size_t len = list_len(artifacts);

	for (size_t i = 0; i < len && i < SHOWN_FILES; i++) {
		const struct value *artifact = artifacts->list.items[i];

		add_label(printer, i == 0 ? "artifacts" : "");
		print_harmless(printer->out, get_text(artifact, "path"));
		buf_add_text(printer->out, "  ");
		print_size(printer->out, get_int(artifact, "size"));
		if (text_is(get_text(artifact, "encoding"), "omitted"))
			buf_add_text(printer->out, "  (content left out)");
		buf_add_byte(printer->out, '\n');
	}
	add_more(printer, len, SHOWN_FILES);
}

/* The time of a state is when its work was done: it took what lies between. */
static void print_states(struct printer *printer, const struct value *states)
{
	size_t len = list_len(states);

	for (size_t i = 0; i < len; i++) {
		const struct value *state = states->list.items[i];

		if (i % 4 == 0)
			add_label(printer, i == 0 ? "times" : "");
		print_harmless(printer->out, get_text(state, "state"));
		if (i > 0) {
			buf_add_byte(printer->out, ' ');
			print_duration(printer->out,
				       get_int(state, "at_us") -
					       get_int(states->list.items[i - 1], "at_us"));
		}
		buf_add_text(printer->out, i + 1 == len ? "\n" : i % 4 == 3 ? ",\n" : ", ");
	}
}

static void print_metrics(struct printer *printer, const struct value *metrics)
{
	if (metrics == NULL)
		return;
	add_label(printer, "used");
	buf_add_text(printer->out, "cpu ");
	print_duration(printer->out, get_int(metrics, "cpu_us"));
	buf_add_text(printer->out, ", memory ");
	print_size(printer->out, get_int(metrics, "memory_peak_bytes"));
	buf_add_text(printer->out, "; steps ");
	print_duration(printer->out, get_int(metrics, "run_us"));
	buf_add_text(printer->out, ", overhead ");
	print_duration(printer->out, get_int(metrics, "overhead_us"));
	buf_add_byte(printer->out, '\n');
}

static void print_names(struct printer *printer, const char *label, const struct value *names)
{
	if (list_len(names) == 0)
		return;
	add_label(printer, label);
	for (size_t i = 0; i < list_len(names); i++) {
		buf_add_text(printer->out, i == 0 ? "" : ", ");
		print_harmless(printer->out, bytes_of(names->list.items[i]));
	}
	buf_add_byte(printer->out, '\n');
}

static void print_security(struct printer *printer, const struct value *security)
{
	if (security == NULL)
		return;
	add_label(printer, "security");
	print_harmless(printer->out, bytes_of(value_get(security, "mode")));
	buf_add_text(printer->out, " (");
	print_harmless(printer->out, bytes_of(value_get(security, "reason")));
	buf_add_text(printer->out, ")\n");
}

void result_print(const struct value *result, bool color, struct buf *out)
{
	struct printer printer = {out, color};

	print_head(&printer, result);
	print_reason(&printer, value_get(result, "reason"));
	print_patch(&printer, value_get(result, "patch"));
	print_findings(&printer, value_get(result, "findings"));
	print_steps(&printer, value_get(result, "steps"));
	print_tests(&printer, value_get(result, "tests"));
	print_changes(&printer, result);
	print_artifacts(&printer, value_get(result, "artifacts"));
	print_snapshots(&printer, value_get(result, "snapshots"));
	print_security(&printer, value_get(result, "security"));
	print_names(&printer, "missing", value_get(result, "missing"));
	print_names(&printer, "clamped", value_get(result, "clamped"));
	print_states(&printer, value_get(result, "states"));
	print_metrics(&printer, value_get(result, "metrics"));
}
