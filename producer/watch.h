/*
 * watch.h - the result of one job, and its live events, as they arrive.
 *
 *	watch_open(&watch, &config, &target, &hooks, &err);	// before the job is sent
 *	... send the job ...
 *	while ((rc = watch_next(watch, 1000, &result, &err)) == 0)
 *		...						// once a second
 *	watch_drain(watch, 500);				// what events still come
 *	watch_close(watch);
 *
 * A watch has queues of its own, bound before the job is sent, so the result
 * cannot be missed. When the connection breaks it is made again; the queue for
 * the result waits for that (carrier.h says how long; a result that comes after
 * it was given up is only in the shared results queue), while events of the
 * time in between are lost. The hook `notice` tells of it.
 */
#ifndef SBX_PRODUCER_WATCH_H
#define SBX_PRODUCER_WATCH_H

#include "producer/event.h"
#include "queue/carrier.h"

struct watch_target {
	const char *tenant; /* NULL: any */
	const char *id;
	int64_t run;	    /* of this run or a later one */
	const char *events; /* NULL: none; "*": all; "state" */
};

struct watch_hooks {
	void (*event)(void *ctx, const struct event *event);
	/* The connection was lost (`lost`) or stands again, in words. */
	void (*notice)(void *ctx, bool lost, const char *text);
	void *ctx;
};

struct watch;

/* Texts of `config` and `target` are borrowed until watch_close. */
int watch_open(struct watch **ret, const struct carrier_config *config,
	       const struct watch_target *target, const struct watch_hooks *hooks,
	       struct err *err) MUST_CHECK;
void watch_close(struct watch *watch);

/* Waits up to `timeout_ms`. 1 with the result's tree, which lives as long as
 * the watch; 0 when the time is over; -1. Of a result that comes more than
 * once the first is taken. */
int watch_next(struct watch *watch, int64_t timeout_ms, const struct value **ret,
	       struct err *err) MUST_CHECK;

/* The result's message as it came, once watch_next has returned 1. */
struct bytes watch_message(const struct watch *watch);

/* After the result: hands out events until the job's last state has been seen
 * or `timeout_ms` is over. */
void watch_drain(struct watch *watch, int64_t timeout_ms);

#endif
