/*
 * wait.h - the results of jobs that were submitted before, as `wait` and
 * `cancel --wait` want them.
 *
 *	struct wait wait = {0};
 *
 *	wait_begin(&wait, &help, &which, &arena, argv, &words, &code);
 *	wait_collect(&wait, &words, &err);
 *	cli_carrier(&wait.cli, "sbx-submit wait", &wait.config);
 *	code = wait_run(&wait, NULL);
 *	wait_release(&wait);
 */
#ifndef SBX_PRODUCER_WAIT_H
#define SBX_PRODUCER_WAIT_H

#include "producer/cli.h"
#include "producer/ids.h"
#include "producer/progress.h"

struct wait {
	struct cli cli;
	const char *tenant; /* NULL: of any */
	int64_t run;
	struct carrier_config config;
	struct ids ids;
	size_t left;
	bool one; /* only one job is waited for: its report is shown */
	struct consumer *consumer;
	struct progress progress;
	int worst;
	struct err failure; /* kind ERR_NONE: none */
	bool lost;
};

/* Reads the options as cli_begin does; the group `which` has those that are not
 * every command's. */
int wait_begin(struct wait *wait, const struct cli_help *help, const struct option_group *which,
	       struct arena *arena, char *const *argv, struct text_list *ret_rest,
	       int *ret_exit) MUST_CHECK;

/* The ids that the words name; "-" reads them from standard input. */
int wait_collect(struct wait *wait, const struct text_list *words, struct err *err) MUST_CHECK;

/* Waits for all of them and returns the exit code of the worst verdict. `before`
 * (or NULL) is called once nothing that follows from it can be missed. */
int wait_run(struct wait *wait, int (*before)(struct wait *wait, struct err *err)) MUST_CHECK;

void wait_release(struct wait *wait);

#endif
