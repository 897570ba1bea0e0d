/*
 * await.h - waiting for one job in front of a person or a script: a progress
 * line, live output, the report, the exit code.
 *
 *	await_open(&await, &cli, &config, &job, follow, &err);	// before it is sent
 *	... send it ...
 *	code = await_run(&await);
 *	await_close(&await);
 */
#ifndef SBX_PRODUCER_AWAIT_H
#define SBX_PRODUCER_AWAIT_H

#include "producer/cli.h"
#include "producer/watch.h"

struct await {
	const struct cli *cli;
	const struct job *job;
	struct watch *watch;
	struct transcript transcript;
	bool follow;
	bool progress; /* standard error is a terminal to be written over */
	bool drawn;    /* the progress line is there */
	int64_t begun_us;
	char state[64]; /* the last one heard of, "" before */
};

/* `cli`, `config` and `job` are borrowed until await_close. */
int await_open(struct await *await, const struct cli *cli, const struct carrier_config *config,
	       const struct job *job, bool follow, struct err *err) MUST_CHECK;

/* Waits, prints what `cli` asks for, and returns the verdict's exit code. */
int await_run(struct await *await) MUST_CHECK;

/* For a result that was found elsewhere: prints it as await_run does, and
 * returns its exit code. */
int await_finish(struct await *await, const struct value *result) MUST_CHECK;

void await_close(struct await *await);

#endif
