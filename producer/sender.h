/*
 * sender.h - publishing with confirm over a connection that may break.
 *
 *	struct sender sender;
 *	if (sender_open(&sender, &config, &err) < 0) ...	// wrong URL: at once
 *	rc = sender_send(&sender, ROUTE_JOB, &message, 30000, &err);
 *	sender_close(&sender);
 *
 * When the connection is lost before the confirm came, the message is sent
 * again over a new one until the time is over. It may then be queued twice
 * with the same id and bytes, which a worker recognises.
 */
#ifndef SBX_PRODUCER_SENDER_H
#define SBX_PRODUCER_SENDER_H

#include "queue/carrier.h"

struct sender {
	struct carrier_config config; /* its texts are borrowed */
	struct publisher *publisher;  /* NULL between connections */
};

int sender_open(struct sender *sender, const struct carrier_config *config,
		struct err *err) MUST_CHECK;
void sender_close(struct sender *sender);

/* ERR_PEER or ERR_TIMEOUT: whether the message is queued is not known, and
 * sending it again later is safe. Every other error: it is not queued. */
int sender_send(struct sender *sender, enum route route, const struct message *message,
		int64_t timeout_ms, struct err *err) MUST_CHECK;

/* Waits, and answers the broker meanwhile. A connection that is lost now is
 * made again by the next sender_send. */
void sender_idle(struct sender *sender, int64_t ms);

#endif
