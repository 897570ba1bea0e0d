/*
 * status.h - what a worker does at this moment.
 *
 * The supervisor listens at <state_dir>/status.sock, which only its own uid and
 * root may open. Who connects is sent one message with a sealed memory file:
 * the status as JSON. So nobody who reads slowly, or not at all, holds it up.
 */
#ifndef SBX_WORKER_STATUS_H
#define SBX_WORKER_STATUS_H

#include "worker/config.h"

struct supervisor;

/* The server's half. A socket that a killed worker left is replaced. */
int status_open(struct supervisor *self, struct err *err) MUST_CHECK;
void status_close(struct supervisor *self);

/* What both status and metrics tell. */
struct status_counts {
	size_t busy;	    /* slots with a job */
	size_t ready;	    /* executors that wait */
	size_t waiting;	    /* jobs without a slot */
	size_t unconfirmed; /* jobs whose last messages are on their way */
	int64_t oldest_unconfirmed_us;
};
struct status_counts status_count(const struct supervisor *self);

/* Whether it takes jobs now, as a worker is there for; else why not. */
bool status_ready(const struct supervisor *self, const char **ret_why);

/* The client's half: `sbx-worker status`. Returns the exit code. */
int status_main(const struct config *config, bool json);

#endif
