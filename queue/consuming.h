/*
 * consuming.h - what the consumers of both carriers do alike: the names of the
 * queues they read, and coming back after a failure.
 *
 *	consuming_queues(&arena, prefix, source, key, with_control, &queues);
 *	consuming_retry_reset(&retry);			joined
 *	consuming_retry_schedule(&retry, jitter);	lost
 *	if (consuming_retry_due(&retry)) ...		again
 */
#ifndef SBX_QUEUE_CONSUMING_H
#define SBX_QUEUE_CONSUMING_H

#include "queue/carrier.h"

enum {
	CONSUMING_QUEUES_MAX = 3,
	CONSUMING_PREFETCH_MAX = 65535,
	/* One dispatch hands out no more than this, so that the loop around it
	 * gets to its other descriptors. */
	CONSUMING_DELIVERIES = 64,
};

struct consuming_queues {
	const char *names[CONSUMING_QUEUES_MAX]; /* of jobs, the highest priority first */
	size_t len;
	const char *control; /* what all workers read, or NULL */
};

/* Without `key` a shared queue; with it one of one's own, under a new name.
 * The names are the arena's; that it is exhausted is for the caller to see. */
void consuming_queues(struct arena *arena, const char *prefix, enum source source, const char *key,
		      bool with_control, struct consuming_queues *ret);

/* How many deliveries of one queue may be held, whatever prefetch is set later. */
size_t consuming_room(unsigned prefetch);

/* The wait doubles with each failure in a row, up to a bound. */
struct consuming_retry {
	int64_t at_us; /* by clock_mono_us */
	int64_t wait_ms;
};

void consuming_retry_reset(struct consuming_retry *retry);

/* With jitter, half of the wait is random: a hundred workers of one broker do
 * not come back in step. */
void consuming_retry_schedule(struct consuming_retry *retry, bool jitter);

bool consuming_retry_due(const struct consuming_retry *retry);

/* Whether trying again makes no sense: access refused, a queue of another kind. */
bool consuming_is_final(const struct err *err);

/* Milliseconds until `at_us`, rounded up, at least 0: for poll. */
int consuming_left_ms(int64_t at_us);

#endif
