/*
 * supervisor.h - the process that owns the jobs: it consumes, decides, keeps
 * the ledger, drives the other processes, and acks. It reads neither a diff
 * nor a report.
 */
#ifndef SBX_WORKER_SUPERVISOR_H
#define SBX_WORKER_SUPERVISOR_H

#include "worker/config.h"

struct supervisor;

/* A server that runs in the supervisor's loop, brought along by the program, so
 * that programs without it need not link its library. */
struct supervisor_server {
	int (*open)(struct supervisor *self, struct err *err);
	void (*turn)(struct supervisor *self); /* each turn of the loop */
	void (*close)(struct supervisor *self);
};

/* Where the configuration comes from: read again on SIGHUP. What was derived
 * from the machine is as in `old`. */
struct supervisor_source {
	int (*load)(void *ctx, const struct config *old, struct config *ret, struct arena *arena,
		    struct err *err);
	void *ctx;
};

/*
 * Serves the queue until a signal drains it. Returns 0 after a drain, -1 when a
 * process of the worker or the broker made going on impossible.
 */
int supervisor_serve(struct config *config, const struct supervisor_source *source,
		     const struct supervisor_server *server, struct err *err) MUST_CHECK;

/* Who gives the jobs and takes the results where there is no queue. */
struct supervisor_local {
	const struct bytes *jobs; /* messages */
	size_t jobs_len;
	void (*result)(void *ctx, size_t job, struct bytes result);
	/* States and output as they come, as event messages; NULL: not wanted. */
	void (*event)(void *ctx, size_t job, struct bytes event);
	void *ctx;
};

/* Runs these jobs with the same processes, ledger and broker left out. A fault
 * is not retried: it is the result. */
int supervisor_run(struct config *config, const struct supervisor_local *local,
		   struct err *err) MUST_CHECK;

#endif
