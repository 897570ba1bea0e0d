/*
 * replay.c - dead letters back to the queue. For each: publish, wait for the
 * confirm, then let the letter go. Interrupted between the last two, letter
 * and job both exist; repeating the replay sends the same bytes under the same
 * id and run, which a worker answers from its ledger. A letter is never gone
 * without its job being queued.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/terminal.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/letter.h"
#include "producer/sender.h"
#include "schema/limits.h"

enum { CONFIRM_MS = 30000, OUTPUT_BYTES = 64 << 20 };

struct replay {
	struct cli cli;
	bool all;
	bool dry_run;
	bool yes;
	struct text_list ids;
	bool *found; /* for each of ids */
	struct carrier_config config;
	struct sender sender;
	int64_t matched;
	int64_t sent;
	int64_t refused;
	int exit_code; /* CLI_DONE until something failed for good */
};

static const struct cli_help replay_help = {
	.usage = "usage: sbx-submit replay ID... [OPTIONS]\n"
		 "       sbx-submit replay --all [--yes] [OPTIONS]\n",
	.intro = "\nSends dead letters to the job queue again, as they are but for 'run', which "
		 "is\ncounted up, and 'replayed_from'. The attempts start at none. May be "
		 "interrupted\nat any point: a letter goes only when its job is queued.\n",
	.ending =
		"Exit codes: 0 all sent; 1 a letter was refused or not found; 2 usage; 6 error.\n",
};

#define AT(member) offsetof(struct replay, member), NULL

static const struct option_row replay_rows[] = {
	{"all", NULL, "every letter", option_flag, AT(all)},
	{"yes", NULL, "do not ask (needed by --all without a terminal)", option_flag, AT(yes)},
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
		buf_printf(out, "  %s as run %" PRId64 ", priority %s\n",
			   replay->dry_run ? "would be sent" : "sent", job->run,
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

	buf_init(&out, OUTPUT_BYTES);
	if (replay->cli.json)
		add_tree(arena, replay, letter, job, reason, &out);
	else if (!replay->cli.quiet || reason != NULL)
		add_words(replay, letter, job, reason, &out);
	if (cli_print(&out, CLI_DONE) != CLI_DONE)
		replay->exit_code = CLI_ERROR;
}

/* --- one letter ------------------------------------------------------- */

static bool is_wanted(struct replay *replay, const char *id)
{
	bool wanted = replay->all;

	for (size_t i = 0; i < replay->ids.len; i++) {
		if (strcmp(replay->ids.items[i], id) == 0)
			replay->found[i] = wanted = true;
	}
	return wanted;
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
	if (sender_send(&replay->sender, ROUTE_JOB, &message, CONFIRM_MS, &err) == 0)
		return 0;
	replay->exit_code = cli_fail(CLI_ERROR, "'%s' was not replayed, its letter stays: %s",
				     letter->id, err.message);
	return -1;
}

/* The answer of carrier_visit_dead's callback. */
static int replay_letter(struct replay *replay, struct arena *arena, const struct letter *letter)
{
	CLEANUP(buf_release) struct buf body = {0};
	struct reason reason = {0};
	struct err err = {0};
	struct job job;
	int rc;

	buf_init(&body, 2 * (size_t)LIMIT_MESSAGE_BYTES);
	rc = letter_replay(arena, letter, clock_wall_us() / 1000, &body, &job, &reason, &err);
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

static int visit(void *ctx, const struct delivery *delivery)
{
	struct replay *replay = ctx;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct letter letter;

	if (replay->exit_code != CLI_DONE)
		return -1;
	arena_init(&arena, 3 * (size_t)LIMIT_ARENA_BYTES);
	letter_read(&arena, delivery, &letter);
	if (!is_wanted(replay, letter.id))
		return 0;
	replay->matched++;
	return replay_letter(replay, &arena, &letter);
}

/* --- asking ----------------------------------------------------------- */

static int count_letter(void *ctx, const struct delivery *delivery)
{
	int64_t *count = ctx;

	(void)delivery;
	(*count)++;
	return 0;
}

/* Whether a person agrees to send all of them. */
static bool is_agreed(struct replay *replay)
{
	struct err err = {0};
	int64_t count = 0;
	char answer[8];

	if (!replay->all || replay->yes || replay->dry_run)
		return true;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		replay->exit_code = cli_fail(CLI_USAGE, "--all without a terminal needs --yes");
		return false;
	}
	if (carrier_visit_dead(&replay->config, count_letter, &count, &err) < 0) {
		replay->exit_code = cli_fail_carrier(&err);
		return false;
	}
	if (count == 0)
		return true;
	(void)fprintf(stderr, "replay %" PRId64 " dead letters? [y/N] ", count);
	if (fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
		return true;
	replay->exit_code = cli_fail(CLI_FAILED, "nothing was replayed");
	return false;
}

/* --- the command ------------------------------------------------------ */

static int run_visits(struct replay *replay)
{
	struct err err = {0};
	int rc;

	if (!replay->dry_run && sender_open(&replay->sender, &replay->config, &err) < 0)
		return cli_fail_carrier(&err);
	rc = carrier_visit_dead(&replay->config, visit, replay, &err);
	sender_close(&replay->sender);
	if (replay->exit_code != CLI_DONE)
		return replay->exit_code;
	return rc < 0 ? cli_fail_carrier(&err) : CLI_DONE;
}

static int conclude(struct replay *replay)
{
	int code = replay->refused > 0 ? CLI_FAILED : CLI_DONE;

	for (size_t i = 0; i < replay->ids.len; i++) {
		if (!replay->found[i])
			code = cli_fail(CLI_FAILED,
					"no dead letter has the id '%s'; 'dead list' lists them",
					replay->ids.items[i]);
	}
	if (!replay->cli.json)
		cli_note(&replay->cli, "%" PRId64 " %s, %" PRId64 " refused", replay->sent,
			 replay->dry_run ? "would be sent" : "sent", replay->refused);
	return code;
}

static int replay_letters(struct replay *replay, struct arena *arena, char *const *argv)
{
	struct option_group groups[] = {
		{"Which and how", replay_rows, ARRAY_LEN(replay_rows), replay},
		cli_connection_options(&replay->cli),
		cli_common_options(&replay->cli),
	};
	int code;

	if (cli_begin(&replay->cli, &replay_help, groups, ARRAY_LEN(groups), arena, argv,
		      &replay->ids, &code) < 0)
		return code;
	if (replay->all == (replay->ids.len > 0))
		return cli_fail(CLI_USAGE, replay->all ? "--all and IDs exclude each other"
						       : "name the IDs to replay, or --all");
	replay->found = arena_array(arena, replay->ids.len + 1, sizeof(*replay->found));
	if (replay->found == NULL)
		return cli_fail(CLI_ERROR, "out of memory");
	if (cli_carrier(&replay->cli, "sbx-submit replay", &replay->config) < 0)
		return CLI_USAGE;
	if (!is_agreed(replay))
		return replay->exit_code;
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
