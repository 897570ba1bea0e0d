/*
 * replay.c - dead letters back to the queue. For each: publish, wait for the
 * confirm, then let the letter go. Interrupted between the last two, letter
 * and job both exist; repeating the replay sends the same bytes under the same
 * id and run, which a worker answers from its ledger. A letter is never gone
 * without its job being queued. The first SIGINT ends the visit in order, so
 * that the letters it has passed over go back to their places.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/terminal.h"
#include "base/text.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/edit.h"
#include "producer/filter.h"
#include "producer/interrupt.h"
#include "producer/progress.h"
#include "producer/sender.h"
#include "schema/limits.h"

enum { CONFIRM_MS = 30000, OUTPUT_BYTES = 64 << 20, EDITS_MAX = 64, PAUSE_SLICE_MS = 500 };

struct replay {
	struct cli cli;
	struct filter filter;
	bool dry_run;
	bool yes;
	const char *edits[EDITS_MAX];
	size_t edits_len;
	const char *priority; /* NULL: the job's own */
	int64_t every_us;     /* between two; 0: as fast as it goes */
	int64_t next_us;      /* not before this time */
	struct carrier_config config;
	struct sender sender;
	struct progress progress;
	int64_t sent;
	int64_t refused;
	int exit_code; /* CLI_DONE until something failed for good */
};

static const struct cli_help replay_help = {
	.usage = "usage: sbx-submit replay ID... [OPTIONS]\n"
		 "       sbx-submit replay --all | FILTER... [--yes] [OPTIONS]\n",
	.intro =
		"\nSends dead letters to the job queue again, as they are but for 'run', which "
		"is\ncounted up, 'replayed_from', and what --edit and --queue change. The attempts "
		"start\nat none. May be interrupted at any point: a letter goes only when its job "
		"is queued.\n",
	.ending = "Exit codes: 0 all sent; 1 a letter was refused or not found, or interrupted;\n"
		  "2 usage; 6 error.\n"
		  "Example: sbx-submit replay --reason 'limit.*' --since 2h "
		  "--edit limits.memory_bytes=2g --rate 10/s\n",
};

/* --- options ---------------------------------------------------------- */

static int take_edit(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct replay *replay = ctx;

	(void)row;
	if (replay->edits_len == EDITS_MAX)
		return err_set(err, ERR_INPUT, "at most %d edits", EDITS_MAX);
	if (edit_check(value, err) < 0)
		return -1;
	if (edit_is_unknown(value))
		cli_warn("--edit: %.*s: unknown field", (int)strcspn(value, "="), value);
	replay->edits[replay->edits_len++] = value;
	return 0;
}

/* Every URL has a colon, no name of a job queue has one. */
static int take_queue(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct replay *replay = ctx;

	(void)row;
	if (strchr(value, ':') != NULL)
		replay->cli.url = value;
	else if (strcmp(value, "high") == 0 || strcmp(value, "normal") == 0 ||
		 strcmp(value, "low") == 0)
		replay->priority = value;
	else
		return err_set(err, ERR_INPUT, "'%s' is neither high, normal, low nor a URL",
			       value);
	return 0;
}

/* "10/s", "600/m", "5/h"; without a unit: a second. */
static int take_rate(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct replay *replay = ctx;
	size_t digits = strspn(value, "0123456789");
	const char *unit = value + digits;
	int64_t period_us = 1000000;
	char number[16] = "";
	int64_t count;

	(void)row;
	if (digits < sizeof(number))
		memcpy(number, value, digits);
	if (strcmp(unit, "/m") == 0)
		period_us *= 60;
	else if (strcmp(unit, "/h") == 0)
		period_us *= 3600;
	else if (*unit != '\0' && strcmp(unit, "/s") != 0)
		number[0] = '\0';
	if (!text_parse_int(number, &count) || count < 1 || count > 1000000)
		return err_set(err, ERR_INPUT, "'%s' is no rate such as 10/s, 600/m or 5/h", value);
	replay->every_us = period_us / count;
	return 0;
}

#define AT(member) offsetof(struct replay, member), NULL

static const struct option_row replay_rows[] = {
	{"edit", "PATH=VALUE", "change a field ('limits.wall_ms=5m'); may be repeated", take_edit,
	 0, NULL},
	{"queue", "high|normal|low", "send to this job queue (or: URL, as below)", take_queue, 0,
	 NULL},
	{"rate", "N/s", "at most so many a second (or /m, /h)", take_rate, 0, NULL},
	{"yes", NULL, "do not ask (needed without a terminal)", option_flag, AT(yes)},
	{"dry-run", NULL, "only say what would be sent", option_flag, AT(dry_run)},
};

/* --- saying what happens ---------------------------------------------- */

static void add_words(const struct replay *replay, const struct letter *letter,
		      const struct job *job, const struct reason *reason, struct buf *out)
{
	terminal_add_text(out, letter->id);
	if (reason != NULL) {
		buf_printf(out, "  refused: %s: ", reason_code_name(reason->code));
		terminal_add_text(out, reason->message);
		buf_add_byte(out, '\n');
	} else {
		buf_printf(out, "  %s as ", replay->dry_run ? "would be sent" : "sent");
		if (strcmp(letter->id, job->id) != 0)
			buf_printf(out, "%s, ", job->id);
		buf_printf(out, "run %" PRId64 ", priority %s\n", job->run,
			   job_priority_name(job->priority));
	}
}

static void add_tree(struct arena *arena, const struct replay *replay, const struct letter *letter,
		     const struct job *job, const struct reason *reason, struct buf *out)
{
	struct value *map = value_map(arena);

	if (map != NULL) {
		value_put(arena, map, "id", value_str(arena, letter->id));
		if (reason != NULL) {
			value_put(arena, map, "refused",
				  value_str(arena, reason_code_name(reason->code)));
			value_put(arena, map, "message", value_str(arena, reason->message));
		} else {
			if (strcmp(letter->id, job->id) != 0)
				value_put(arena, map, "as", value_str(arena, job->id));
			value_put(arena, map, "run", value_int(arena, job->run));
			value_put(arena, map, "sent", value_bool(arena, !replay->dry_run));
		}
	}
	cli_add_json(arena->exhausted ? NULL : map, out);
}

/* `reason` NULL: it was sent as `job`. */
static void report(struct replay *replay, struct arena *arena, const struct letter *letter,
		   const struct job *job, const struct reason *reason)
{
	CLEANUP(buf_release) struct buf out = {0};

	progress_erase(&replay->progress);
	buf_init(&out, OUTPUT_BYTES);
	if (replay->cli.json)
		add_tree(arena, replay, letter, job, reason, &out);
	else if (!replay->cli.quiet || reason != NULL)
		add_words(replay, letter, job, reason, &out);
	if (cli_print(&out, CLI_DONE) != CLI_DONE)
		replay->exit_code = CLI_ERROR;
}

/* --- one letter ------------------------------------------------------- */

/* Waits until the next one may go, and keeps the connection meanwhile. */
static void keep_rate(struct replay *replay)
{
	int64_t left_us;

	while ((left_us = replay->next_us - clock_mono_us()) > 0 && !interrupt_seen()) {
		int64_t left_ms = (left_us + 999) / 1000;

		progress_draw(&replay->progress, "%" PRId64 " sent, %" PRId64 " refused",
			      replay->sent, replay->refused);
		sender_idle(&replay->sender, left_ms < PAUSE_SLICE_MS ? left_ms : PAUSE_SLICE_MS);
	}
	replay->next_us = clock_mono_us() + replay->every_us;
}

/* Whether an edit was refused; then `ret_reason` says why. */
static bool is_edit_refused(struct replay *replay, struct arena *arena, const struct letter *letter,
			    struct reason *ret_reason)
{
	struct err err = {0};

	for (size_t i = 0; letter->tree != NULL && i < replay->edits_len; i++) {
		if (edit_apply(arena, letter->tree, replay->edits[i], &err) < 0) {
			(void)reason_set(ret_reason, REASON_JOB_INVALID, NULL, "--edit: %s",
					 err.message);
			return true;
		}
	}
	if (letter->tree != NULL && replay->priority != NULL)
		value_put(arena, letter->tree, "priority", value_str(arena, replay->priority));
	return false;
}

static int send_again(struct replay *replay, const struct letter *letter, const struct job *job,
		      const struct buf *body)
{
	const struct delivery *delivery = letter->delivery;
	struct message message = {
		.body = buf_bytes(body),
		.id = job->id,
		.correlation_id = delivery->correlation_id,
		.reply_to = delivery->reply_to,
		.priority = job->priority,
		.headers = delivery->headers,
	};
	struct err err = {0};

	if (replay->dry_run)
		return 0;
	keep_rate(replay);
	if (interrupt_seen())
		return -1;
	if (sender_send(&replay->sender, ROUTE_JOB, &message, CONFIRM_MS, &err) == 0)
		return 0;
	replay->exit_code = cli_fail(CLI_ERROR, "'%s' was not replayed, its letter stays: %s",
				     letter->id, err.message);
	return -1;
}

static int take(void *ctx, struct arena *arena, const struct letter *letter)
{
	struct replay *replay = ctx;
	CLEANUP(buf_release) struct buf body = {0};
	struct reason reason = {0};
	struct err err = {0};
	struct job job;
	int rc;

	buf_init(&body, 2 * (size_t)LIMIT_MESSAGE_BYTES);
	if (is_edit_refused(replay, arena, letter, &reason))
		rc = REFUSED;
	else
		rc = letter_replay(arena, letter, clock_wall_us() / 1000, &body, &job, &reason,
				   &err);
	if (rc < 0) {
		replay->exit_code = cli_fail(CLI_ERROR, "%s", err.message);
		return -1;
	}
	if (rc == REFUSED) {
		replay->refused++;
		report(replay, arena, letter, NULL, &reason);
		return replay->exit_code == CLI_DONE ? 0 : -1;
	}
	if (send_again(replay, letter, &job, &body) < 0)
		return -1;
	replay->sent++;
	report(replay, arena, letter, &job, NULL);
	return replay->dry_run ? 0 : 1;
}

/* What was sent and could not be said is done all the same, and the last. */
static int before(void *ctx)
{
	struct replay *replay = ctx;

	if (replay->exit_code != CLI_DONE)
		return -1;
	progress_draw(&replay->progress, "%" PRId64 " sent, %" PRId64 " refused", replay->sent,
		      replay->refused);
	return 0;
}

/* --- the command ------------------------------------------------------ */

static int run_visits(struct replay *replay)
{
	const struct filter_visitor visitor = {
		.more_bytes = LIMIT_ARENA_BYTES, .before = before, .take = take, .ctx = replay};
	struct err err = {0};
	int rc;

	if (!replay->dry_run && sender_open(&replay->sender, &replay->config, &err) < 0)
		return cli_fail_carrier(&err);
	interrupt_catch();
	rc = filter_visit(&replay->filter, &replay->config, &visitor, &err);
	sender_close(&replay->sender);
	progress_erase(&replay->progress);
	if (replay->exit_code != CLI_DONE)
		return replay->exit_code;
	return rc < 0 ? cli_fail_carrier(&err) : CLI_DONE;
}

static int conclude(struct replay *replay)
{
	int code = replay->refused > 0 ? CLI_FAILED : CLI_DONE;

	if (interrupt_seen())
		code = cli_fail(CLI_FAILED, "interrupted; every letter that was not sent is still "
					    "there");
	else
		code = filter_missing(&replay->filter, code);
	if (!replay->cli.json)
		cli_note(&replay->cli, "%" PRId64 " %s, %" PRId64 " refused", replay->sent,
			 replay->dry_run ? "would be sent" : "sent", replay->refused);
	return code;
}

/* Of several jobs with the same id only the first would be done. */
static bool gives_an_id(const struct replay *replay)
{
	for (size_t i = 0; i < replay->edits_len; i++) {
		if (strncmp(replay->edits[i], "id=", 3) == 0)
			return true;
	}
	return false;
}

static int replay_letters(struct replay *replay, struct arena *arena, char *const *argv)
{
	struct option_group groups[] = {
		filter_options_all(&replay->filter),
		{"How", replay_rows, ARRAY_LEN(replay_rows), replay},
		cli_connection_options(&replay->cli),
		cli_common_options(&replay->cli),
	};
	struct err err = {0};
	int code;

	if (cli_begin(&replay->cli, &replay_help, groups, ARRAY_LEN(groups), arena, argv,
		      &replay->filter.ids, &code) < 0)
		return code;
	if (filter_begin(&replay->filter, arena, &err) < 0)
		return cli_fail(CLI_ERROR, "%s", err.message);
	if (!filter_is_given(&replay->filter))
		return cli_fail(CLI_USAGE, "name the IDs to replay, a filter, or --all");
	if (replay->filter.ids.len != 1 && gives_an_id(replay))
		return cli_fail(CLI_USAGE, "--edit id= needs the one ID whose letter gets it");
	if (cli_carrier(&replay->cli, "sbx-submit replay", &replay->config) < 0)
		return CLI_USAGE;
	if (filter_agree(&replay->filter, &replay->cli, &replay->config,
			 replay->yes || replay->dry_run, "replay", &code) < 0)
		return code;
	progress_init(&replay->progress, replay->cli.quiet || replay->dry_run);
	code = run_visits(replay);
	return code == CLI_DONE ? conclude(replay) : code;
}

int replay_main(char *const *argv)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct replay replay = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	return replay_letters(&replay, &arena, argv);
}
