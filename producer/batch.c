/*
 * batch.c - `batch`: a file of jobs, one line each, sent with hundreds of
 * confirms under way. A line ends in exactly one of these ways, each counted
 * and all but `sent` said:
 *
 *	sent		the broker has confirmed it
 *	skipped		the journal has it from an earlier run, with the same content
 *	refused		no valid job, or an id that stands in the file already
 *	failed		the broker did not take it
 *	blank		nothing but blanks
 *
 * What is left when the batch ends early was read and may be queued or not, or
 * was not read at all; the exit code is not 0 then.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/ids.h"
#include "producer/interrupt.h"
#include "producer/journal.h"
#include "producer/lines.h"
#include "producer/pipeline.h"
#include "producer/prepare.h"
#include "producer/progress.h"
#include "schema/limits.h"

enum {
	OUTPUT_BYTES = 64 << 20,
	FLUSH_BYTES = 16 << 10,
	FLUSH_US = 100000,
	IDLE_MS = 200,
	WARNINGS_MAX = 20,
};

struct batch {
	struct cli cli;
	const char *resume;
	const char *reply_to;
	bool dry_run;
	struct carrier_config config;
	struct lines lines;
	struct ids ids;
	struct journal journal;
	struct pipeline *pipeline; /* NULL: a dry run */
	struct progress progress;
	struct buf out;
	int64_t begun_us;
	int64_t flushed_us;
	int64_t sent;
	int64_t skipped;
	int64_t refused;
	int64_t failed;
	int64_t blank;
	int64_t warnings;
	bool complete; /* every line was read and has its fate */
};

static const struct cli_help batch_help = {
	.usage = "usage: sbx-submit batch FILE.jsonl|- [OPTIONS]\n",
	.intro = "\nSends one job for each line of JSON and prints their ids as the broker "
		 "confirms them.\nA line that is no valid job is named with its number, and the "
		 "others are sent.\nWith --resume, a batch that was interrupted goes on where it "
		 "was: repeat the command.\n",
	.ending = "Exit codes: 0 every job is queued; 1 some are not; 2 usage; 6 error.\n"
		  "Example: sbx-submit batch jobs.jsonl --resume jobs.done | sbx-submit wait -\n",
};

#define AT(member) offsetof(struct batch, member), NULL

static const struct option_row batch_rows[] = {
	{"resume", "FILE", "note what is queued here, and skip what is noted", option_text,
	 AT(resume)},
	{"reply-to", "QUEUE", "have the results sent there, too", option_text, AT(reply_to)},
	{"dry-run", NULL, "only validate every line", option_flag, AT(dry_run)},
};

/* --- saying what happens ---------------------------------------------- */

/* Writes down what is confirmed: first for the next run, then for the reader. */
static int flush(struct batch *batch, struct err *err)
{
	if (journal_flush(&batch->journal, err) < 0)
		return -1;
	if (batch->out.len > 0) {
		progress_erase(&batch->progress);
		if (cli_print(&batch->out, CLI_DONE) != CLI_DONE)
			return err_set(err, ERR_SYSTEM, "the ids cannot be printed");
		buf_clear(&batch->out);
	}
	batch->flushed_us = clock_mono_us();
	return 0;
}

static int flush_now_and_then(struct batch *batch, struct err *err)
{
	if (batch->out.len < FLUSH_BYTES && clock_mono_us() - batch->flushed_us < FLUSH_US)
		return 0;
	return flush(batch, err);
}

static void draw(struct batch *batch)
{
	int64_t ms = (clock_mono_us() - batch->begun_us) / 1000;
	int64_t bad = batch->refused + batch->failed;

	if (batch->lines.size > 0)
		progress_draw(&batch->progress,
			      "%3" PRId64 "%%  %" PRId64 " sent, %" PRId64 " not, %" PRId64 "/s",
			      100 * batch->lines.read / (batch->lines.size + 1), batch->sent, bad,
			      1000 * batch->sent / (ms + 1));
	else
		progress_draw(&batch->progress, "%" PRId64 " sent, %" PRId64 " not, %" PRId64 "/s",
			      batch->sent, bad, 1000 * batch->sent / (ms + 1));
}

static void add_error(struct batch *batch, int64_t line, const char *id, const char *code,
		      const char *message)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct value *map;

	arena_init(&arena, 1 << 20);
	map = value_map(&arena);
	if (map != NULL) {
		value_put(&arena, map, "line", value_int(&arena, line));
		if (id != NULL)
			value_put(&arena, map, "id", value_str(&arena, id));
		value_put(&arena, map, "queued", value_bool(&arena, false));
		value_put(&arena, map, "code", value_str(&arena, code));
		value_put(&arena, map, "message", value_str(&arena, message));
	}
	cli_add_json(arena.exhausted ? NULL : map, &batch->out);
}

/* `code` is a reason's, or "broker". */
static void fail_line(struct batch *batch, int64_t line, const char *id, const char *code,
		      const char *message)
{
	if (batch->cli.json) {
		add_error(batch, line, id, code, message);
		return;
	}
	progress_erase(&batch->progress);
	(void)cli_fail(CLI_FAILED, "line %" PRId64 "%s%s%s: %s: %s", line, id != NULL ? " ('" : "",
		       id != NULL ? id : "", id != NULL ? "')" : "", code, message);
}

static void refuse_line(struct batch *batch, const char *id, const char *code, const char *message)
{
	batch->refused++;
	fail_line(batch, batch->lines.number, id, code, message);
}

static void warn_of(struct batch *batch, const struct text_list *unknown)
{
	for (size_t i = 0; i < unknown->len; i++) {
		if (batch->warnings++ >= WARNINGS_MAX)
			continue;
		progress_erase(&batch->progress);
		cli_warn("line %" PRId64 ": %s", batch->lines.number, unknown->items[i]);
	}
}

/* --- fates ------------------------------------------------------------ */

static void settled(void *ctx, uint64_t number, const struct message *message, const char *why)
{
	struct batch *batch = ctx;

	if (why != NULL) {
		batch->failed++;
		fail_line(batch, (int64_t)number, message->id, "broker", why);
		return;
	}
	batch->sent++;
	journal_add(&batch->journal, message->id, ids_digest(message->body));
	if (batch->cli.json)
		buf_printf(&batch->out, "{\"line\":%" PRIu64 ",\"id\":\"%s\",\"queued\":true}\n",
			   number, message->id);
	else if (!batch->cli.quiet)
		buf_printf(&batch->out, "%s\n", message->id);
}

static void notice(void *ctx, const char *text)
{
	struct batch *batch = ctx;

	progress_erase(&batch->progress);
	cli_warn("%s", text);
}

/* --- one line --------------------------------------------------------- */

/* A job without an id gets one that it has again when the batch is repeated. */
static void name_job(struct batch *batch, struct arena *arena, struct value *tree)
{
	const struct value *id = value_get(tree, "id");

	if (batch->resume == NULL || tree->kind != VALUE_MAP ||
	    (id != NULL && id->kind != VALUE_NULL))
		return;
	value_put(arena, tree, "id",
		  value_str(arena, arena_printf(arena, "%s-%" PRId64, batch->journal.batch,
						batch->lines.number)));
}

/* Whether the id is new in this batch; else the line is skipped or refused. */
static bool is_new(struct batch *batch, const struct prepared *prepared)
{
	uint64_t digest = ids_digest(buf_bytes(&prepared->message));
	const char *id = prepared->job.id;
	bool fresh;
	struct ids_entry *entry = ids_put(&batch->ids, id, &fresh);
	bool is_noted = entry != NULL && entry->done && entry->number == 0;
	char text[128];

	if (entry == NULL) {
		refuse_line(batch, id, "host.fault", "out of memory");
		return false;
	}
	if (fresh || is_noted) {
		entry->number = batch->lines.number;
		if (fresh)
			return true;
		if (entry->digest == digest) {
			batch->skipped++;
			return false;
		}
		refuse_line(batch, id, "job.id_reused",
			    "the journal has this id with another content");
		return false;
	}
	(void)snprintf(text, sizeof(text), "line %" PRId64 " has this id already", entry->number);
	refuse_line(batch, id, "job.id_reused", text);
	return false;
}

/* 0 also for a line that is at fault. */
static int send_job(struct batch *batch, const struct prepared *prepared, struct err *err)
{
	struct message message = prepared_message(prepared);
	struct err local = {0};

	message.reply_to = batch->reply_to;
	warn_of(batch, &prepared->unknown);
	if (!is_new(batch, prepared))
		return 0;
	if (batch->pipeline == NULL) {
		batch->sent++;
		return 0;
	}
	if (pipeline_send(batch->pipeline, &message, (uint64_t)batch->lines.number, &local) == 0)
		return 0;
	if (local.kind == ERR_INPUT) {
		refuse_line(batch, prepared->job.id, "job.invalid", local.message);
		return 0;
	}
	*err = local;
	return -1;
}

static int take_line(struct batch *batch, struct bytes line, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct prepared prepared = {0};
	struct reason reason = {0};
	struct err local = {0};
	struct value *tree;
	int rc;

	if (lines_is_blank(line)) {
		batch->blank++;
		return 0;
	}
	arena_init(&arena, 4 * (size_t)LIMIT_ARENA_BYTES);
	if (value_from_json(&arena, (const char *)line.data, line.len, &tree, &local) < 0) {
		refuse_line(batch, NULL, reason_code_name(REASON_JOB_MALFORMED), local.message);
		return 0;
	}
	name_job(batch, &arena, tree);
	rc = prepare_tree(&arena, tree, &prepared, &reason, &local);
	if (rc == 0)
		rc = send_job(batch, &prepared, err);
	else if (rc == REFUSED)
		refuse_line(batch, value_text(&arena, value_get(tree, "id")),
			    reason_code_name(reason.code), reason.message);
	else
		refuse_line(batch, NULL, "host.fault", local.message);
	prepared_release(&prepared);
	return rc < 0 && err->kind != ERR_NONE ? -1 : 0;
}

/* --- all lines -------------------------------------------------------- */

/* Until there is something to read: fates, heartbeats, the person. */
static int idle(struct batch *batch, struct err *err)
{
	int timeout_ms = 0;

	while (!lines_wait(&batch->lines, timeout_ms) && !interrupt_seen()) {
		timeout_ms = IDLE_MS;
		if (batch->pipeline != NULL && pipeline_collect(batch->pipeline, err) < 0)
			return -1;
		if (flush(batch, err) < 0)
			return -1;
		draw(batch);
	}
	return 0;
}

static int take_lines(struct batch *batch, struct err *err)
{
	struct bytes line;

	while (idle(batch, err) == 0 && !interrupt_seen()) {
		switch (lines_next(&batch->lines, &line, err)) {
		case LINES_FAILED:
			return interrupt_seen() ? 0 : -1;
		case LINES_END:
			batch->complete = true;
			return 0;
		case LINES_TOO_LONG:
			refuse_line(batch, NULL, reason_code_name(REASON_JOB_TOO_LARGE),
				    "the line is longer than any job");
			continue;
		case LINES_LINE:
			break;
		}
		if (take_line(batch, line, err) < 0 || flush_now_and_then(batch, err) < 0)
			return -1;
		draw(batch);
	}
	return err->kind == ERR_NONE ? 0 : -1;
}

/* --- the end ---------------------------------------------------------- */

static void print_summary(struct batch *batch)
{
	double seconds = (double)(clock_mono_us() - batch->begun_us) / 1e6;
	size_t unknown = batch->pipeline != NULL ? pipeline_pending(batch->pipeline) : 0;

	if (batch->warnings > WARNINGS_MAX)
		cli_warn("and %" PRId64 " more warnings", batch->warnings - WARNINGS_MAX);
	if (batch->cli.json) {
		buf_printf(&batch->out,
			   "{\"summary\":true,\"lines\":%" PRId64 ",\"sent\":%" PRId64
			   ",\"skipped\":%" PRId64 ",\"refused\":%" PRId64 ",\"failed\":%" PRId64
			   ",\"blank\":%" PRId64
			   ",\"unknown\":%zu,\"complete\":%s,\"seconds\":%.3f}\n",
			   batch->lines.number, batch->sent, batch->skipped, batch->refused,
			   batch->failed, batch->blank, unknown, batch->complete ? "true" : "false",
			   seconds);
		return;
	}
	cli_note(&batch->cli,
		 "%" PRId64 " lines: %" PRId64 " %s, %" PRId64 " skipped, %" PRId64
		 " refused, %" PRId64 " failed, %" PRId64 " blank; %.1f s",
		 batch->lines.number, batch->sent, batch->dry_run ? "valid" : "sent",
		 batch->skipped, batch->refused, batch->failed, batch->blank, seconds);
	if (unknown > 0)
		cli_warn("whether %zu more are queued is not known%s", unknown,
			 batch->resume != NULL ? "; repeat the command to send them again" : "");
}

static int conclude(struct batch *batch, const struct err *err)
{
	struct err local = {0};
	int code = CLI_DONE;

	progress_erase(&batch->progress);
	if (err->kind != ERR_NONE && !interrupt_seen()) {
		batch->complete = false;
		code = cli_fail_carrier(err);
	} else if (interrupt_seen()) {
		batch->complete = false;
		code = cli_fail(CLI_FAILED, "interrupted after line %" PRId64 "%s",
				batch->lines.number,
				batch->resume != NULL ? "; repeat the command to go on" : "");
	}
	print_summary(batch);
	if (flush(batch, &local) < 0)
		return cli_fail(CLI_ERROR, "%s", local.message);
	if (code == CLI_DONE && batch->refused + batch->failed > 0)
		code = CLI_FAILED;
	return code;
}

static int run(struct batch *batch)
{
	const struct pipeline_hooks hooks = {settled, notice, batch};
	struct err err = {0};
	int rc;

	if (batch->resume != NULL &&
	    journal_open(&batch->journal, batch->resume, &batch->ids, &err) < 0)
		return cli_fail(CLI_USAGE, "%s", err.message);
	interrupt_catch();
	if (!batch->dry_run && pipeline_open(&batch->pipeline, &batch->config, ROUTE_JOB,
					     batch->cli.timeout_ms, &hooks, &err) < 0)
		return cli_fail_carrier(&err);
	batch->begun_us = clock_mono_us();
	rc = take_lines(batch, &err);
	if (rc == 0 && batch->pipeline != NULL)
		NEGLECT(pipeline_flush(batch->pipeline, &err));
	return conclude(batch, &err);
}

static int open_and_run(struct batch *batch, const char *path)
{
	struct err err = {0};
	int code;

	if (lines_open(&batch->lines, path, LIMIT_JSON_BYTES, &err) < 0)
		code = cli_fail(CLI_USAGE, "%s", err.message);
	else
		code = run(batch);
	pipeline_close(batch->pipeline);
	lines_close(&batch->lines);
	journal_close(&batch->journal);
	ids_release(&batch->ids);
	buf_release(&batch->out);
	return code;
}

static int batch_jobs(struct arena *arena, char *const *argv)
{
	struct batch batch = {.journal.fd = -1};
	struct option_group groups[] = {
		{"How", batch_rows, ARRAY_LEN(batch_rows), &batch},
		cli_connection_options(&batch.cli),
		cli_common_options(&batch.cli),
	};
	struct text_list rest;
	int code;

	if (cli_begin(&batch.cli, &batch_help, groups, ARRAY_LEN(groups), arena, argv, &rest,
		      &code) < 0)
		return code;
	if (rest.len != 1)
		return cli_fail(CLI_USAGE, "'batch' takes one FILE.jsonl, or '-'");
	if (batch.dry_run && batch.resume != NULL)
		return cli_fail(CLI_USAGE, "--dry-run sends nothing that --resume could note");
	if (!batch.dry_run && (cli_carrier(&batch.cli, "sbx-submit batch", &batch.config) < 0 ||
			       cli_reply_to(batch.reply_to, &batch.config) < 0))
		return CLI_USAGE;
	ids_init(&batch.ids);
	buf_init(&batch.out, OUTPUT_BYTES);
	progress_init(&batch.progress, batch.cli.quiet);
	return open_and_run(&batch, rest.items[0]);
}

int batch_main(char *const *argv)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	return batch_jobs(&arena, argv);
}
