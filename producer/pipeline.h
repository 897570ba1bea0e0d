/*
 * pipeline.h - many messages with confirms, hundreds of them under way, over a
 * connection that may break.
 *
 *	pipeline_open(&pipeline, &config, ROUTE_JOB, &hooks, &err);
 *	pipeline_send(pipeline, &message, line, &err);		// again and again
 *	pipeline_flush(pipeline, &err);
 *	pipeline_close(pipeline);
 *
 * Messages leave in the order in which they are given. When the connection is
 * lost a new one is made, and what had no fate is sent again, in order: it may
 * then be queued twice with the same id and bytes.
 */
#ifndef SBX_PRODUCER_PIPELINE_H
#define SBX_PRODUCER_PIPELINE_H

#include "queue/carrier.h"

struct pipeline_hooks {
	/* The fate of one message, hardly ever out of order. `why` is NULL when
	 * it is confirmed. */
	void (*settled)(void *ctx, uint64_t number, const struct message *message, const char *why);
	/* The connection is lost, stands again, or the broker takes nothing. */
	void (*notice)(void *ctx, const char *text);
	void *ctx;
};

struct pipeline;

/* Connects. `config` and its texts are borrowed until pipeline_close. When nothing
 * has been confirmed for `timeout_ms`, over a connection or for want of one, it is
 * given up as ERR_TIMEOUT or ERR_PEER; with 0 a broker that is there is waited for,
 * with a notice, and a lost connection is given up after a minute. */
int pipeline_open(struct pipeline **ret, const struct carrier_config *config, enum route route,
		  int64_t timeout_ms, const struct pipeline_hooks *hooks,
		  struct err *err) MUST_CHECK;

/*
 * Sends a copy of `message`; waits while too many are under way. ERR_INPUT: it
 * cannot be sent, and the pipeline goes on without it. Every other error, and
 * ERR_TIMEOUT after an interrupt, ends the pipeline: what has had no fate may
 * be queued or not.
 */
int pipeline_send(struct pipeline *pipeline, const struct message *message, uint64_t number,
		  struct err *err) MUST_CHECK;

/* Collects the fates that are there, without waiting. */
int pipeline_collect(struct pipeline *pipeline, struct err *err) MUST_CHECK;

/* Waits for all fates. */
int pipeline_flush(struct pipeline *pipeline, struct err *err) MUST_CHECK;

/* How many messages have no fate yet. */
size_t pipeline_pending(const struct pipeline *pipeline);

void pipeline_close(struct pipeline *pipeline);

#endif
