/*
 * dead_import.c - `dead import`: what `dead export` wrote back among the dead
 * letters, in the order of the file. Every line is confirmed by the broker or
 * named as not imported. An import that ended early says from which line to go
 * on; going on too early makes letters twice, which a replay sends as the same
 * job.
 */
#include <inttypes.h>

#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/interrupt.h"
#include "producer/lines.h"
#include "producer/pipeline.h"
#include "producer/progress.h"
#include "producer/record.h"
#include "schema/limits.h"

enum { LINE_BYTES = LIMIT_JSON_BYTES };

struct import {
	struct cli cli;
	int64_t from; /* line; 0: not given */
	bool dry_run;
	struct carrier_config config;
	struct lines lines;
	struct pipeline *pipeline; /* NULL: a dry run */
	struct progress progress;
	int64_t imported;
	int64_t failed;
	int64_t settled_to; /* all lines up to here have their fate */
};

static const struct cli_help import_help = {
	.usage = "usage: sbx-submit dead import FILE [OPTIONS]\n",
	.intro = "\nPuts the letters that 'dead export' wrote ('-' is standard input) behind those "
		 "that\nare there, with payload, headers and reasons as they were.\n",
	.ending =
		"Exit codes: 0 all imported; 1 a line was not, or interrupted; 2 usage; 6 error.\n",
};

#define AT(member) offsetof(struct import, member), NULL

static const struct option_row import_rows[] = {
	{"from-line", "N", "pass over the lines before this one", option_count, AT(from)},
	{"dry-run", NULL, "only check the file", option_flag, AT(dry_run)},
};

/* --- fates ------------------------------------------------------------ */

static void fail_line(struct import *import, int64_t line, const char *why)
{
	progress_erase(&import->progress);
	(void)cli_fail(CLI_FAILED, "line %" PRId64 ": %s", line, why);
	import->failed++;
}

static void settled(void *ctx, uint64_t number, const struct message *message, const char *why)
{
	struct import *import = ctx;

	(void)message;
	if (why != NULL)
		fail_line(import, (int64_t)number, why);
	else
		import->imported++;
	import->settled_to = (int64_t)number;
}

static void notice(void *ctx, const char *text)
{
	struct import *import = ctx;

	progress_erase(&import->progress);
	cli_warn("%s", text);
}

/* --- lines ------------------------------------------------------------ */

/* 0 also for a line that is at fault. */
static int import_line(struct import *import, struct bytes line, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct err local = {0};
	struct value *record;
	struct message message;
	int rc;

	arena_init(&arena, 4 * (size_t)LIMIT_ARENA_BYTES);
	if (value_from_json(&arena, (const char *)line.data, line.len, &record, &local) < 0 ||
	    record_to_message(&arena, record, &message, &local) < 0) {
		fail_line(import, import->lines.number, local.message);
		return 0;
	}
	if (import->pipeline == NULL) {
		import->imported++;
		return 0;
	}
	rc = pipeline_send(import->pipeline, &message, (uint64_t)import->lines.number, &local);
	if (rc < 0 && local.kind == ERR_INPUT) {
		fail_line(import, import->lines.number, local.message);
		return 0;
	}
	if (rc < 0)
		*err = local;
	return rc;
}

static int import_lines(struct import *import, struct err *err)
{
	struct bytes line;

	while (!interrupt_seen()) {
		switch (lines_next(&import->lines, &line, err)) {
		case LINES_FAILED:
			return interrupt_seen() ? 0 : -1;
		case LINES_END:
			return 0;
		case LINES_TOO_LONG:
			fail_line(import, import->lines.number, "longer than any letter");
			continue;
		case LINES_LINE:
			break;
		}
		if (import->lines.number < import->from || lines_is_blank(line))
			continue;
		if (import_line(import, line, err) < 0)
			return -1;
		progress_draw(&import->progress, "%" PRId64 " imported", import->imported);
	}
	return 0;
}

/* --- the command ------------------------------------------------------ */

static int conclude(struct import *import, bool whole)
{
	progress_erase(&import->progress);
	if (!import->cli.json)
		cli_note(&import->cli, "%" PRId64 " %s, %" PRId64 " failed", import->imported,
			 import->dry_run ? "would be imported" : "imported", import->failed);
	if (!whole)
		return cli_fail(CLI_FAILED, "not finished; go on with --from-line %" PRId64,
				import->settled_to + 1);
	return import->failed > 0 ? CLI_FAILED : CLI_DONE;
}

static int run(struct import *import)
{
	const struct pipeline_hooks hooks = {settled, notice, import};
	struct err err = {0};
	int rc;
	int code;

	interrupt_catch();
	if (!import->dry_run && pipeline_open(&import->pipeline, &import->config, ROUTE_DEAD,
					      import->cli.timeout_ms, &hooks, &err) < 0)
		return cli_fail_carrier(&err);
	rc = import_lines(import, &err);
	if (rc == 0 && import->pipeline != NULL)
		rc = pipeline_flush(import->pipeline, &err);
	if (rc < 0 && !interrupt_seen()) {
		progress_erase(&import->progress);
		(void)cli_fail_carrier(&err);
	}
	code = conclude(import, rc == 0 && !interrupt_seen());
	pipeline_close(import->pipeline);
	return rc < 0 && !interrupt_seen() ? CLI_ERROR : code;
}

int dead_import(struct arena *arena, char *const *argv)
{
	struct import import = {0};
	struct option_group groups[] = {
		{"How", import_rows, ARRAY_LEN(import_rows), &import},
		cli_connection_options(&import.cli),
		cli_common_options(&import.cli),
	};
	struct text_list rest;
	struct err err = {0};
	int code;

	if (cli_begin(&import.cli, &import_help, groups, ARRAY_LEN(groups), arena, argv, &rest,
		      &code) < 0)
		return code;
	if (rest.len != 1)
		return cli_fail(CLI_USAGE, "'dead import' takes one FILE, or '-'");
	if (!import.dry_run && cli_carrier(&import.cli, "sbx-submit dead", &import.config) < 0)
		return CLI_USAGE;
	if (lines_open(&import.lines, rest.items[0], LINE_BYTES, &err) < 0) {
		code = cli_fail(CLI_USAGE, "%s", err.message);
	} else {
		progress_init(&import.progress, import.cli.quiet);
		code = run(&import);
	}
	lines_close(&import.lines);
	return code;
}
