/*
 * cancel.c - `cancel`: tells all workers that a job is not to run. The message
 * is confirmed by the broker, which keeps it for workers that are away; what
 * becomes of it is the job's result, for which --wait waits.
 */
#include <inttypes.h>

#include "producer/commands.h"
#include "producer/sender.h"
#include "producer/wait.h"
#include "schema/control.h"
#include "schema/limits.h"

enum { CANCEL_BYTES = 1024, TIMEOUT_MS = 30000 };

static const struct cli_help cancel_help = {
	.usage = "usage: sbx-submit cancel ID... [OPTIONS]\n",
	.intro = "\nStops jobs: one that is queued is not run, one that runs is ended with all its "
		 "processes.\nTheir verdict is 'cancelled'. What has finished keeps its result. "
		 "'-' reads ids from\nstandard input.\n",
	.ending = "Exit codes: 0 all workers are told or will be; with --wait that of the worst "
		  "verdict\n(5 cancelled, another one where the cancel came too late); 2 usage; "
		  "6 error, or no\nresult in time.\n",
};

struct cancel {
	struct wait wait;
	bool follow_up;
};

#define AT(member) offsetof(struct cancel, member), NULL

static const struct option_row cancel_rows[] = {
	{"run", "N", "this run of the jobs (1), after a replay", option_count, AT(wait.run)},
	{"wait", NULL, "wait for the results", option_flag, AT(follow_up)},
	{"tenant", "NAME", "with --wait: only results of this tenant", option_text,
	 AT(wait.tenant)},
};

static int send_one(struct sender *sender, const struct wait *wait, const char *id, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	CLEANUP(buf_release) struct buf out = {0};
	const struct control control = {.kind = CONTROL_CANCEL, .id = id, .run = wait->run};
	struct message message = {.id = id};
	int64_t timeout_ms = wait->cli.timeout_ms > 0 ? wait->cli.timeout_ms : TIMEOUT_MS;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	buf_init(&out, CANCEL_BYTES);
	control_pack(&arena, &control, &out);
	if (out.failed)
		return err_set(err, ERR_LIMIT, "out of memory");
	message.body = buf_bytes(&out);
	return sender_send(sender, ROUTE_CONTROL, &message, timeout_ms, err);
}

static int send_all(struct wait *wait, struct err *err)
{
	struct sender sender;
	int rc = sender_open(&sender, &wait->config, err);

	for (size_t i = 0; rc == 0 && i < wait->ids.capacity; i++) {
		if (wait->ids.places[i].id != NULL)
			rc = send_one(&sender, wait, wait->ids.places[i].id, err);
	}
	sender_close(&sender);
	return rc;
}

static int run(struct cancel *cancel)
{
	struct wait *wait = &cancel->wait;
	struct err err = {0};

	if (cancel->follow_up)
		return wait_run(wait, send_all);
	if (send_all(wait, &err) < 0)
		return cli_fail_carrier(&err);
	cli_note(&wait->cli, "all workers are told to stop %zu %s (run %" PRId64 ")", wait->ids.len,
		 wait->ids.len == 1 ? "job" : "jobs", wait->run);
	return CLI_DONE;
}

int cancel_main(char *const *argv)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct cancel cancel = {0};
	const struct option_group which = {"Which", cancel_rows, ARRAY_LEN(cancel_rows), &cancel};
	struct wait *wait = &cancel.wait;
	struct text_list words;
	struct err err = {0};
	int code;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (wait_begin(wait, &cancel_help, &which, &arena, argv, &words, &code) == 0) {
		if (wait_collect(wait, &words, &err) < 0)
			code = cli_fail(CLI_USAGE, "%s", err.message);
		else if (words.len == 0)
			code = cli_fail(CLI_USAGE, "name the IDs to cancel, or '-'");
		else if (wait->ids.len == 0)
			code = CLI_DONE;
		else if (cli_carrier(&wait->cli, "sbx-submit cancel", &wait->config) < 0)
			code = CLI_USAGE;
		else
			code = run(&cancel);
	}
	wait_release(wait);
	return code;
}
