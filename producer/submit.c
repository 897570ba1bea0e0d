/*
 * submit.c - one job from a file or from the command line: composed, validated
 * here as the worker will, then sent, then waited for.
 *
 * The line is read twice when it names a file: once to find the file, once to
 * let the options change what the file says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "producer/await.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/compose.h"
#include "producer/prepare.h"
#include "producer/sender.h"
#include "schema/limits.h"

enum { CONFIRM_MS = 30000, OUTPUT_BYTES = 64 << 20 };

struct submit {
	struct cli cli;
	bool wait;
	bool follow;
	bool dry_run;
	const char *reply_to;
	struct compose compose;
	struct arena arena;
	struct buf file; /* the job file's text */
	struct prepared prepared;
};

static const struct cli_help submit_help = {
	.usage = "usage: sbx-submit JOB.json [OPTIONS]\n"
		 "       sbx-submit --repo R --commit C [--patch F] --run COMMAND [OPTIONS]\n"
		 "       sbx-submit --files DIR [--patch F] --run COMMAND [OPTIONS]\n"
		 "       sbx-submit batch|wait|follow|cancel|replay ...\n"
		 "       sbx-submit dead list|show|purge|export|import ...\n",
	.intro = "\nSends a job to the queue and prints its id. JOB.json may be '-' for standard "
		 "input;\noptions change what it says. Options that take a list may be repeated.\n",
	.ending = "Exit codes: 0 sent, or passed with --wait; 1 failed; 2 usage; 3 rejected;\n"
		  "4 limit; 5 cancelled or expired; 6 error.\n"
		  "Each command has a --help of its own: 'sbx-submit batch --help'.\n",
};

#define AT(member) offsetof(struct submit, member), NULL

static const struct option_row submit_rows[] = {
	{"wait", NULL, "wait for the result and print it", option_flag, AT(wait)},
	{"follow", NULL, "the same, with live states and output", option_flag, AT(follow)},
	{"reply-to", "QUEUE", "have the result sent there, too", option_text, AT(reply_to)},
	{"dry-run", NULL, "only validate, and print the message as JSON", option_flag, AT(dry_run)},
};

/* --- reading ---------------------------------------------------------- */

static int parse_line(struct submit *submit, struct value *tree, char *const *argv,
		      struct text_list *ret_rest, int *ret_exit)
{
	enum { GROUPS = COMPOSE_GROUPS + 3 };
	struct option_group groups[GROUPS];

	submit->cli = (struct cli){0};
	if (!compose_init(&submit->compose, &submit->arena, tree)) {
		*ret_exit = cli_fail(CLI_ERROR, "out of memory");
		return -1;
	}
	compose_options(&submit->compose, groups);
	groups[COMPOSE_GROUPS] = (struct option_group){"What to do with it", submit_rows,
						       ARRAY_LEN(submit_rows), submit};
	groups[COMPOSE_GROUPS + 1] = cli_connection_options(&submit->cli);
	groups[COMPOSE_GROUPS + 2] = cli_common_options(&submit->cli);
	return cli_begin(&submit->cli, &submit_help, groups, GROUPS, &submit->arena, argv, ret_rest,
			 ret_exit);
}

static int read_job(struct submit *submit, const char *path, struct value **ret, int *ret_exit)
{
	struct err err = {0};
	int rc;

	if (strcmp(path, "-") == 0)
		rc = fd_read_all(STDIN_FILENO, &submit->file, &err);
	else
		rc = fd_read_file(path, LIMIT_JSON_BYTES, &submit->file, &err);
	if (rc < 0) {
		*ret_exit = cli_fail(
			CLI_USAGE, "%s%s", err.message,
			err.number == ENOENT ? "; 'sbx-submit --help' lists the commands" : "");
		return -1;
	}
	if (value_from_json(&submit->arena, buf_text(&submit->file), submit->file.len, ret, &err) <
	    0) {
		*ret_exit = cli_fail(CLI_REJECTED, "%s: %s", path, err.message);
		return -1;
	}
	return 0;
}

/* Composes the tree that file and options describe. */
static int compose_job(struct submit *submit, char *const *argv, int *ret_exit)
{
	struct text_list rest;
	struct value *tree;
	struct err err = {0};

	if (parse_line(submit, NULL, argv, &rest, ret_exit) < 0)
		return -1;
	if (rest.len > 1) {
		*ret_exit = cli_fail(CLI_USAGE, "one job at a time: '%s' is one too many",
				     rest.items[1]);
		return -1;
	}
	if (rest.len == 0 && !submit->compose.touched) {
		*ret_exit = cli_fail(CLI_USAGE, "no job: name a JOB.json, or give --repo, --commit "
						"and --run; --help tells more");
		return -1;
	}
	if (rest.len == 1 && strcmp(rest.items[0], "-") == 0 &&
	    submit->compose.patch_path != NULL && strcmp(submit->compose.patch_path, "-") == 0) {
		*ret_exit = cli_fail(CLI_USAGE, "job and patch cannot both be standard input");
		return -1;
	}
	if (rest.len == 1) {
		if (read_job(submit, rest.items[0], &tree, ret_exit) < 0 ||
		    parse_line(submit, tree, argv, &rest, ret_exit) < 0)
			return -1;
	}
	if (compose_finish(&submit->compose, &err) < 0) {
		*ret_exit = cli_fail(CLI_USAGE, "%s", err.message);
		return -1;
	}
	return 0;
}

/* --- refusing --------------------------------------------------------- */

/* As the worker's result would say it, in short. */
static int print_refusal(struct submit *submit, const struct reason *reason)
{
	CLEANUP(buf_release) struct buf out = {0};
	struct arena *arena = &submit->arena;
	struct value *result = value_map(arena);
	struct value *why = value_map(arena);
	const char *id = value_text(arena, value_get(submit->compose.tree, "id"));

	if (why != NULL && result != NULL) {
		value_put(arena, why, "code", value_str(arena, reason_code_name(reason->code)));
		value_put(arena, why, "message", value_str(arena, reason->message));
		value_put(arena, why, "subject", value_str(arena, reason->subject));
		value_put(arena, why, "hint", value_str(arena, reason_code_hint(reason->code)));
		value_put(arena, result, "v", value_int(arena, JOB_VERSION));
		value_put(arena, result, "job", value_str(arena, id));
		value_put(arena, result, "verdict",
			  value_str(arena, verdict_name(VERDICT_rejected)));
		value_put(arena, result, "reason", why);
	}
	buf_init(&out, OUTPUT_BYTES);
	cli_add_json(arena->exhausted ? NULL : result, &out);
	return cli_print(&out, CLI_REJECTED);
}

static int refuse(struct submit *submit, const struct reason *reason)
{
	const char *hint = reason_code_hint(reason->code);

	(void)cli_fail(CLI_REJECTED, "not sent, %s: %s%s%s", reason_code_name(reason->code),
		       reason->message, *hint != '\0' ? "; " : "", hint);
	return submit->cli.json ? print_refusal(submit, reason) : CLI_REJECTED;
}

/* --- sending ---------------------------------------------------------- */

static int print_message(struct submit *submit)
{
	CLEANUP(buf_release) struct buf out = {0};

	buf_init(&out, OUTPUT_BYTES);
	value_to_json(submit->prepared.tree, submit->cli.json ? 0 : 2, &out);
	buf_add_byte(&out, '\n');
	return cli_print(&out, CLI_DONE);
}

static int print_sent(struct submit *submit)
{
	CLEANUP(buf_release) struct buf out = {0};
	struct arena *arena = &submit->arena;
	struct value *sent = value_map(arena);

	buf_init(&out, OUTPUT_BYTES);
	if (submit->cli.json) {
		if (sent != NULL) {
			value_put(arena, sent, "id", value_str(arena, submit->prepared.job.id));
			value_put(arena, sent, "tenant",
				  value_str(arena, submit->prepared.job.tenant));
			value_put(arena, sent, "queued", value_bool(arena, true));
		}
		cli_add_json(arena->exhausted ? NULL : sent, &out);
	} else if (!submit->cli.quiet) {
		buf_printf(&out, "%s\n", submit->prepared.job.id);
	}
	return cli_print(&out, CLI_DONE);
}

static int send_job(struct submit *submit, const struct carrier_config *config)
{
	struct message message = prepared_message(&submit->prepared);
	int64_t timeout_ms = submit->cli.timeout_ms != 0 ? submit->cli.timeout_ms : CONFIRM_MS;
	struct sender sender;
	struct err err = {0};
	int rc;

	message.reply_to = submit->reply_to;
	if (sender_open(&sender, config, &err) < 0)
		return cli_fail_carrier(&err);
	rc = sender_send(&sender, ROUTE_JOB, &message,
			 timeout_ms < CONFIRM_MS ? timeout_ms : CONFIRM_MS, &err);
	sender_close(&sender);
	if (rc == 0)
		return CLI_DONE;
	if (err.kind == ERR_PEER || err.kind == ERR_TIMEOUT)
		return cli_fail(CLI_ERROR,
				"%s; whether '%s' is queued is not known: send it again with the "
				"same --id, so that workers can tell",
				err.message, submit->prepared.job.id);
	return cli_fail_carrier(&err);
}

static int send_and_wait(struct submit *submit, const struct carrier_config *config)
{
	struct await await;
	struct err err = {0};
	int code;

	if (await_open(&await, &submit->cli, config, &submit->prepared.job, submit->follow, &err) <
	    0) {
		code = cli_fail_carrier(&err);
	} else {
		code = send_job(submit, config);
		if (code == CLI_DONE)
			code = await_run(&await);
	}
	await_close(&await);
	return code;
}

static int deliver(struct submit *submit)
{
	struct carrier_config config;
	int code;

	if (submit->dry_run)
		return print_message(submit);
	if (cli_carrier(&submit->cli, "sbx-submit", &config) < 0 ||
	    cli_reply_to(submit->reply_to, &config) < 0)
		return CLI_USAGE;
	if (submit->wait || submit->follow)
		return send_and_wait(submit, &config);
	code = send_job(submit, &config);
	return code == CLI_DONE ? print_sent(submit) : code;
}

/* --- the command ------------------------------------------------------ */

static int prepare_and_deliver(struct submit *submit)
{
	struct reason reason = {0};
	struct err err = {0};
	int rc = prepare_tree(&submit->arena, submit->compose.tree, &submit->prepared, &reason,
			      &err);

	for (size_t i = 0; i < submit->prepared.unknown.len; i++)
		cli_warn("%s", submit->prepared.unknown.items[i]);
	if (rc == REFUSED)
		return refuse(submit, &reason);
	if (rc < 0)
		return cli_fail(CLI_ERROR, "%s", err.message);
	return deliver(submit);
}

int submit_main(char *const *argv)
{
	struct submit submit = {0};
	int code = CLI_ERROR;

	arena_init(&submit.arena, 4 * (size_t)LIMIT_ARENA_BYTES);
	buf_init(&submit.file, LIMIT_JSON_BYTES);
	if (compose_job(&submit, argv, &code) == 0)
		code = prepare_and_deliver(&submit);
	prepared_release(&submit.prepared);
	buf_release(&submit.file);
	arena_release(&submit.arena);
	return code;
}
