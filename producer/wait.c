/*
 * wait.c - `wait` and `follow`: jobs that somebody has submitted already. The
 * queue for what comes is made first, then what has come before is looked for
 * among the shared results, so nothing falls between the two; a result that is
 * seen twice counts once.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/terminal.h"
#include "base/text.h"
#include "producer/await.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/history.h"
#include "producer/lines.h"
#include "producer/wait.h"
#include "schema/limits.h"
#include "schema/result.h"

enum { PREFETCH = 64, REPORT_BYTES = 64 << 20, TURN_MS = 200, NAMED_MAX = 20, KEY_BYTES = 256 };

static const struct cli_help wait_help = {
	.usage = "usage: sbx-submit wait ID... [OPTIONS]\n",
	.intro = "\nWaits for the results of jobs that were submitted before, finished ones "
		 "included; '-'\nreads ids from standard input. One job's result is shown as a "
		 "report, of several\neach has one line.\n",
	.ending = "Exit codes: that of the worst verdict, as with --wait; 2 usage; 6 error, or no "
		  "result\nin time.\n",
};

static const struct cli_help follow_help = {
	.usage = "usage: sbx-submit follow ID [OPTIONS]\n",
	.intro = "\nShows states and output of a job that was submitted before, from now on, "
		 "then its\nresult.\n",
	.ending = "Exit codes: that of the verdict, as with --wait; 2 usage; 6 error, or no result "
		  "in time.\n",
};

#define AT(member) offsetof(struct wait, member), NULL

static const struct option_row which_rows[] = {
	{"tenant", "NAME", "only results of this tenant", option_text, AT(tenant)},
	{"run", "N", "of this run or a later one, after a replay", option_count, AT(run)},
};

static struct option_group which_of(struct wait *wait)
{
	return (struct option_group){"Which", which_rows, ARRAY_LEN(which_rows), wait};
}

/* --- results ---------------------------------------------------------- */

static const char *text_at(struct arena *arena, const struct value *map, const char *key)
{
	const char *text = value_text(arena, value_get(map, key));

	return text != NULL ? text : "";
}

static void add_row(struct arena *arena, const struct value *result, const char *id, int64_t run,
		    struct buf *out)
{
	const struct value *reason = value_get(result, "reason");
	const char *code = text_at(arena, reason, "code");

	terminal_add_text(out, text_at(arena, result, "verdict"));
	buf_printf(out, "  %s", id);
	if (run > 1)
		buf_printf(out, "  run %" PRId64, run);
	if (*code != '\0') {
		buf_add_text(out, "  ");
		terminal_add_text(out, code);
		buf_add_text(out, ": ");
		terminal_add_text(out, text_at(arena, reason, "message"));
	}
	buf_add_byte(out, '\n');
}

static void print_result(struct wait *wait, struct arena *arena, const struct value *result,
			 const char *id, int64_t run)
{
	CLEANUP(buf_release) struct buf out = {0};

	progress_erase(&wait->progress);
	buf_init(&out, REPORT_BYTES);
	if (wait->cli.json)
		cli_add_json(result, &out);
	else if (wait->one && !wait->cli.quiet)
		result_print(result, cli_color(STDOUT_FILENO), &out);
	else if (!wait->cli.quiet)
		add_row(arena, result, id, run, &out);
	if (cli_print(&out, CLI_DONE) != CLI_DONE)
		(void)err_set(&wait->failure, ERR_SYSTEM, "a result could not be printed");
}

static int unpack(struct arena *arena, const struct delivery *delivery, const char *id,
		  struct value **ret, struct err *err)
{
	if (delivery->size_bytes > delivery->body.len)
		return err_set(err, ERR_LIMIT, "the result of '%s' is too large", id);
	if (value_unpack(arena, delivery->body.data, delivery->body.len, ret, err) < 0) {
		err->kind = ERR_UNSUPPORTED;
		return err_prefix(err, "cannot read the result of '%s'", id);
	}
	return 0;
}

static void take_result(struct wait *wait, struct ids_entry *entry, int64_t run,
			const struct delivery *delivery)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct value *result;
	enum verdict verdict;
	int code = CLI_ERROR;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (unpack(&arena, delivery, entry->id, &result, &wait->failure) < 0)
		return;
	if (verdict_parse(text_at(&arena, result, "verdict"), &verdict))
		code = verdict_exit_code(verdict);
	else
		(void)cli_fail(CLI_ERROR, "the result of '%s' has an unknown verdict", entry->id);
	wait->worst = code > wait->worst ? code : wait->worst;
	entry->done = true;
	wait->left--;
	print_result(wait, &arena, result, entry->id, run);
}

static void found(void *ctx, struct ids_entry *entry, const struct delivery *delivery)
{
	struct wait *wait = ctx;

	if (wait->failure.kind == ERR_NONE && !entry->done)
		take_result(wait, entry, (int64_t)entry->digest, delivery);
}

static void delivered(void *ctx, const struct delivery *delivery)
{
	struct wait *wait = ctx;
	int64_t run;
	struct ids_entry *entry = history_entry(&wait->ids, delivery, wait->run, &run);

	if (entry != NULL && !entry->done && wait->failure.kind == ERR_NONE)
		take_result(wait, entry, run, delivery);
	/* The queue is our own: what cannot be acked is gone with it. */
	NEGLECT(consumer_ack(wait->consumer, delivery->epoch, delivery->tag, NULL));
}

/* --- the connection --------------------------------------------------- */

static void lost(void *ctx, const struct err *why)
{
	struct wait *wait = ctx;

	if (wait->lost)
		return;
	wait->lost = true;
	progress_erase(&wait->progress);
	cli_warn("connection lost: %s; reconnecting", why->message);
}

static void connected(void *ctx, uint64_t epoch)
{
	struct wait *wait = ctx;

	(void)epoch;
	if (wait->lost)
		cli_note(&wait->cli, "connected again; no result is lost");
	wait->lost = false;
}

static void blocked(void *ctx, bool is_blocked, const char *why)
{
	(void)ctx;
	(void)is_blocked;
	(void)why;
}

/* The id, when there is but one. */
static const char *only_id(const struct ids *ids)
{
	const char *id = NULL;

	for (size_t i = 0; ids->len == 1 && i < ids->capacity; i++) {
		if (ids->places[i].id != NULL)
			id = ids->places[i].id;
	}
	return id;
}

static int open_queue(struct wait *wait, struct err *err)
{
	const struct consumer_hooks hooks = {.delivered = delivered,
					     .lost = lost,
					     .connected = connected,
					     .blocked = blocked,
					     .ctx = wait};
	struct carrier_config own = wait->config;
	const char *id = only_id(&wait->ids);
	char key[KEY_BYTES];

	own.prefetch = PREFETCH;
	/* An id may have dots, which are words of a key. */
	if (wait->tenant == NULL)
		(void)snprintf(key, sizeof(key), "#%s%s", id != NULL ? "." : "",
			       id != NULL ? id : "");
	else
		(void)snprintf(key, sizeof(key), "%s.%s", wait->tenant, id != NULL ? id : "#");
	return consumer_open(&wait->consumer, &own, SOURCE_RESULTS, key, &hooks, err);
}

/* --- waiting ---------------------------------------------------------- */

static int fail_missing(struct wait *wait)
{
	size_t named = 0;

	progress_erase(&wait->progress);
	for (size_t i = 0; i < wait->ids.capacity; i++) {
		const struct ids_entry *entry = &wait->ids.places[i];

		if (entry->id != NULL && !entry->done && named++ < NAMED_MAX)
			(void)cli_fail(CLI_ERROR, "no result of '%s' within %" PRId64 " ms",
				       entry->id, wait->cli.timeout_ms);
	}
	if (named > NAMED_MAX)
		(void)cli_fail(CLI_ERROR, "and of %zu more", named - NAMED_MAX);
	return CLI_ERROR;
}

static int turn(struct wait *wait, int64_t left_ms, struct err *err)
{
	struct pollfd polled = {.fd = consumer_fd(wait->consumer), .events = POLLIN};
	int timeout_ms = consumer_timeout_ms(wait->consumer);

	if (timeout_ms < 0 || timeout_ms > TURN_MS)
		timeout_ms = TURN_MS;
	if (timeout_ms > left_ms)
		timeout_ms = (int)left_ms;
	(void)poll(&polled, 1, timeout_ms);
	return consumer_dispatch(wait->consumer, err);
}

static int wait_for_all(struct wait *wait)
{
	int64_t until_us = clock_mono_us() + wait->cli.timeout_ms * 1000;
	struct err err = {0};

	while (wait->left > 0 && wait->failure.kind == ERR_NONE) {
		int64_t left_ms = TURN_MS;

		if (wait->cli.timeout_ms > 0)
			left_ms = (until_us - clock_mono_us() + 999) / 1000;
		if (left_ms <= 0)
			return fail_missing(wait);
		progress_draw(&wait->progress, "waiting for %zu of %zu", wait->left, wait->ids.len);
		if (turn(wait, left_ms, &err) < 0) {
			progress_erase(&wait->progress);
			return cli_fail_carrier(&err);
		}
	}
	progress_erase(&wait->progress);
	if (wait->failure.kind != ERR_NONE)
		return cli_fail_carrier(&wait->failure);
	return wait->worst;
}

static int look_back(struct wait *wait, const struct history_hooks *hooks, struct err *err)
{
	uint64_t left_out;

	if (history_find(&wait->config, &wait->ids, wait->run, hooks, &left_out, err) < 0)
		return -1;
	if (left_out > 0)
		cli_warn("%" PRIu64 " of the results that came before could not be looked at; "
			 "a program that takes them from %s.results is missing",
			 left_out, wait->config.prefix);
	return 0;
}

int wait_run(struct wait *wait, int (*before)(struct wait *wait, struct err *err))
{
	const struct history_hooks hooks = {found, wait};
	struct err err = {0};

	progress_init(&wait->progress, wait->cli.quiet);
	wait->left = wait->ids.len;
	wait->one = wait->ids.len == 1;
	if (open_queue(wait, &err) < 0 || (before != NULL && before(wait, &err) < 0) ||
	    look_back(wait, &hooks, &err) < 0)
		return cli_fail_carrier(&err);
	return wait_for_all(wait);
}

/* --- which ------------------------------------------------------------ */

static int add_id(struct wait *wait, const char *id, struct err *err)
{
	bool fresh;

	if (!text_is_id(id))
		return err_set(err, ERR_INPUT, "'%.80s' is no id of a job", id);
	if (ids_put(&wait->ids, id, &fresh) == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	return 0;
}

static int read_ids(struct wait *wait, struct err *err)
{
	struct lines lines;
	struct bytes line;
	enum lines_got got;
	int rc = lines_open(&lines, "-", 4096, err);

	while (rc == 0 && (got = lines_next(&lines, &line, err)) != LINES_END) {
		rc = -1;
		if (got == LINES_LINE)
			rc = line.len == 0 ? 0 : add_id(wait, (const char *)line.data, err);
		else if (got == LINES_TOO_LONG)
			rc = err_set(err, ERR_INPUT, "line %" PRId64 " is no id of a job",
				     lines.number);
	}
	lines_close(&lines);
	return rc;
}

int wait_collect(struct wait *wait, const struct text_list *words, struct err *err)
{
	for (size_t i = 0; i < words->len; i++) {
		int rc = strcmp(words->items[i], "-") == 0 ? read_ids(wait, err)
							   : add_id(wait, words->items[i], err);

		if (rc < 0)
			return -1;
	}
	return 0;
}

int wait_begin(struct wait *wait, const struct cli_help *help, const struct option_group *which,
	       struct arena *arena, char *const *argv, struct text_list *ret_rest, int *ret_exit)
{
	struct option_group groups[] = {
		*which,
		cli_connection_options(&wait->cli),
		cli_common_options(&wait->cli),
	};

	wait->run = 1;
	ids_init(&wait->ids);
	if (cli_begin(&wait->cli, help, groups, ARRAY_LEN(groups), arena, argv, ret_rest,
		      ret_exit) < 0)
		return -1;
	if (wait->tenant != NULL && strlen(wait->tenant) > LIMIT_NAME_CHARS) {
		*ret_exit = cli_fail(CLI_USAGE, "--tenant: at most %d bytes", LIMIT_NAME_CHARS);
		return -1;
	}
	return 0;
}

void wait_release(struct wait *wait)
{
	if (wait->consumer != NULL)
		consumer_close(wait->consumer);
	ids_release(&wait->ids);
}

/* --- the commands ----------------------------------------------------- */

int wait_main(char *const *argv)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct wait wait = {0};
	const struct option_group which = which_of(&wait);
	struct text_list words;
	struct err err = {0};
	int code;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (wait_begin(&wait, &wait_help, &which, &arena, argv, &words, &code) == 0) {
		if (wait_collect(&wait, &words, &err) < 0)
			code = cli_fail(CLI_USAGE, "%s", err.message);
		else if (words.len == 0)
			code = cli_fail(CLI_USAGE, "name the IDs to wait for, or '-'");
		else if (wait.ids.len == 0)
			code = CLI_DONE;
		else if (cli_carrier(&wait.cli, "sbx-submit wait", &wait.config) < 0)
			code = CLI_USAGE;
		else
			code = wait_run(&wait, NULL);
	}
	wait_release(&wait);
	return code;
}

struct follow {
	struct wait wait;
	struct await await;
	int exit_code; /* -1: no result yet */
};

static void follow_found(void *ctx, struct ids_entry *entry, const struct delivery *delivery)
{
	struct follow *follow = ctx;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct value *result;
	struct err err = {0};

	if (entry->done)
		return;
	entry->done = true;
	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (unpack(&arena, delivery, entry->id, &result, &err) < 0)
		follow->exit_code = cli_fail_carrier(&err);
	else
		follow->exit_code = await_finish(&follow->await, result);
}

static int run_follow(struct follow *follow, const char *id)
{
	const struct history_hooks hooks = {follow_found, follow};
	struct wait *wait = &follow->wait;
	const struct job job = {.id = id, .tenant = wait->tenant, .run = wait->run};
	struct err err = {0};
	int code;

	follow->exit_code = -1;
	if (await_open(&follow->await, &wait->cli, &wait->config, &job, true, &err) < 0 ||
	    look_back(wait, &hooks, &err) < 0)
		code = cli_fail_carrier(&err);
	else if (follow->exit_code >= 0)
		code = follow->exit_code;
	else
		code = await_run(&follow->await);
	await_close(&follow->await);
	return code;
}

int follow_main(char *const *argv)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct follow follow = {0};
	const struct option_group which = which_of(&follow.wait);
	struct text_list words;
	struct err err = {0};
	int code;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (wait_begin(&follow.wait, &follow_help, &which, &arena, argv, &words, &code) == 0) {
		if (words.len != 1)
			code = cli_fail(CLI_USAGE, "'follow' takes one ID");
		else if (add_id(&follow.wait, words.items[0], &err) < 0)
			code = cli_fail(CLI_USAGE, "%s", err.message);
		else if (cli_carrier(&follow.wait.cli, "sbx-submit follow", &follow.wait.config) <
			 0)
			code = CLI_USAGE;
		else
			code = run_follow(&follow, words.items[0]);
	}
	ids_release(&follow.wait.ids);
	return code;
}
