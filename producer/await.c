/*
 * await.c - live lines go where the report goes, but for --json, whose
 * standard output is the result alone. The progress line is written over
 * itself and taken away before anything else is printed.
 */
#include "producer/await.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/terminal.h"
#include "schema/limits.h"
#include "schema/result.h"

enum {
	REFRESH_MS = 500,
	ALONE_S = 10,	      /* a worker takes a job sooner, unless all are busy */
	DRAIN_MS = 500,	      /* for the last events, after the result */
	FOREVER_MS = 1 << 30, /* one wait of many */
	REPORT_BYTES = 64 << 20,
};

/* --- the progress line ------------------------------------------------ */

static void erase_progress(struct await *await)
{
	if (await->drawn)
		(void)fputs("\r\033[K", stderr);
	await->drawn = false;
}

static void draw_progress(struct await *await)
{
	CLEANUP(buf_release) struct buf line = {0};
	int64_t seconds = (clock_mono_us() - await->begun_us) / 1000000;

	if (!await->progress)
		return;
	buf_init(&line, 4096);
	buf_printf(&line, "\r\033[Kwaiting for %s: ", await->job->id);
	if (await->state[0] != '\0')
		terminal_add_text(&line, await->state);
	else
		buf_add_text(&line,
			     seconds < ALONE_S
				     ? "queued"
				     : "queued, no worker has taken it yet (is one running?)");
	buf_printf(&line, ", %" PRId64 " s", seconds);
	(void)fputs(buf_text(&line), stderr);
	(void)fflush(stderr);
	await->drawn = true;
}

/* --- what arrives ----------------------------------------------------- */

static void print_live(struct await *await, const struct buf *out)
{
	if (out->len == 0)
		return;
	erase_progress(await);
	if (fd_write_all(await->cli->json ? STDERR_FILENO : STDOUT_FILENO, out->data, out->len,
			 NULL) < 0)
		await->follow = false; /* the reader is gone; the verdict still counts */
}

static void event_arrived(void *ctx, const struct event *event)
{
	struct await *await = ctx;
	CLEANUP(buf_release) struct buf out = {0};

	if (event->kind == EVENT_STATE)
		(void)snprintf(await->state, sizeof(await->state), "%s", event->state);
	if (!await->follow)
		return;
	buf_init(&out, REPORT_BYTES);
	transcript_add(&await->transcript, event, &out);
	print_live(await, &out);
}

static void connection_changed(void *ctx, bool lost, const char *text)
{
	struct await *await = ctx;

	erase_progress(await);
	if (lost)
		cli_warn("%s", text);
	else
		cli_note(await->cli, "%s", text);
}

/* --- the end ---------------------------------------------------------- */

static int verdict_exit(const struct value *result)
{
	const struct value *name = value_get(result, "verdict");
	char text[32] = "";
	enum verdict verdict;

	if (name != NULL && name->kind == VALUE_STR && name->bytes.len < sizeof(text))
		memcpy(text, name->bytes.data, name->bytes.len);
	if (!verdict_parse(text, &verdict))
		return cli_fail(CLI_ERROR, "the result has the unknown verdict '%s'", text);
	return verdict_exit_code(verdict);
}

int await_finish(struct await *await, const struct value *result)
{
	CLEANUP(buf_release) struct buf out = {0};

	buf_init(&out, REPORT_BYTES);
	transcript_finish(&await->transcript, &out);
	print_live(await, &out);
	buf_clear(&out);
	erase_progress(await);
	if (await->cli->json)
		cli_add_json(result, &out);
	else if (!await->cli->quiet)
		result_print(result, cli_color(STDOUT_FILENO), &out);
	return cli_print(&out, verdict_exit(result));
}

static int give_up(struct await *await)
{
	erase_progress(await);
	return cli_fail(CLI_ERROR,
			"no result of '%s' within %" PRId64 " ms; the job stays queued or goes on, "
			"and its result goes to the results queue",
			await->job->id, await->cli->timeout_ms);
}

/* --- calling sequence ------------------------------------------------- */

int await_open(struct await *await, const struct cli *cli, const struct carrier_config *config,
	       const struct job *job, bool follow, struct err *err)
{
	const struct watch_hooks hooks = {event_arrived, connection_changed, await};
	struct watch_target target = {job->tenant, job->id, job->run, NULL};

	*await = (struct await){
		.cli = cli,
		.job = job,
		.follow = follow,
		.progress = !cli->quiet && !follow && isatty(STDERR_FILENO),
		.begun_us = clock_mono_us(),
	};
	transcript_init(&await->transcript, cli_color(cli->json ? STDERR_FILENO : STDOUT_FILENO));
	if (follow)
		target.events = "*";
	else if (await->progress)
		target.events = "state";
	return watch_open(&await->watch, config, &target, &hooks, err);
}

int await_run(struct await *await)
{
	const int64_t timeout_us = await->cli->timeout_ms * 1000;
	const struct value *result = NULL;
	struct err err = {0};

	for (;;) {
		int64_t left_ms = FOREVER_MS;
		int rc;

		if (timeout_us > 0)
			left_ms = (await->begun_us + timeout_us - clock_mono_us() + 999) / 1000;
		if (left_ms <= 0)
			return give_up(await);
		draw_progress(await);
		if (await->progress && left_ms > REFRESH_MS)
			left_ms = REFRESH_MS;
		rc = watch_next(await->watch, left_ms, &result, &err);
		if (rc > 0) {
			if (await->follow)
				watch_drain(await->watch, DRAIN_MS);
			return await_finish(await, result);
		}
		if (rc < 0) {
			erase_progress(await);
			return cli_fail_carrier(&err);
		}
	}
}

void await_close(struct await *await)
{
	watch_close(await->watch);
	transcript_release(&await->transcript);
}
