/*
 * carrier.h - how messages are carried, whatever carries them.
 *
 * Two halves, each owned by one process, because a broker under an alarm stops
 * a publisher while acks must go on:
 *
 *	consumer (supervisor)			publisher (its own process)
 *	consumer_open				publisher_open
 *	loop: poll consumer_fd,			publisher_send      (blocks)
 *	      consumer_dispatch			publisher_flush     (all confirmed)
 *	consumer_ack / consumer_handback	publisher_close
 *
 * A message is settled in this order and no other: what follows from it (a
 * result, a copy in a wait bucket, a dead letter) is published and confirmed,
 * then the delivery is acked. A crash in between repeats; nothing is lost.
 *
 * The carrier is chosen by the URL's scheme: amqp:, amqps:.
 */
#ifndef SBX_QUEUE_CARRIER_H
#define SBX_QUEUE_CARRIER_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/defs.h"
#include "base/err.h"
#include "schema/job.h"

struct carrier_config {
	const char *url;    /* amqp://user:password@host:port/vhost */
	const char *prefix; /* of all names; "sbx" */
	bool passive;	    /* declare nothing: the operator has */
	unsigned prefetch;  /* deliveries held and not acked, per queue */
	unsigned heartbeat_s;
	const char *ca_file; /* amqps: NULL is the system's */
	const char *cert_file;
	const char *key_file;
	bool insecure;	  /* amqps without verification: for tests by hand only */
	const char *name; /* shown by the broker as the connection's name */
};

/* The URL without its password, for messages. */
const char *carrier_url_redacted(struct arena *arena, const char *url);

/* --- messages --------------------------------------------------------- */

enum route {
	ROUTE_JOB,    /* to a job queue, by priority */
	ROUTE_RETRY,  /* to a wait bucket, back to its job queue afterwards */
	ROUTE_DEAD,   /* to the dead-letter queue */
	ROUTE_RESULT, /* to the results exchange, key <tenant>.<id> */
	ROUTE_REPLY,  /* straight to the queue `reply_to` */
	ROUTE_EVENT,  /* to the events exchange, key job.<id>.<kind>; not confirmed, may be lost */
	ROUTE_COUNT
};

enum wait_bucket { WAIT_5S, WAIT_30S, WAIT_2M, WAIT_10M, WAIT_1H, WAIT_COUNT };

/* Which bucket follows after `attempts` failed ones, 1 or more. */
enum wait_bucket wait_bucket_after(int64_t attempts);
int64_t wait_bucket_ms(enum wait_bucket bucket);

/* Headers of our own, beside those a message came with. */
struct message_death {
	const char *reason; /* reason code */
	const char *error;  /* last error, text */
	const char *worker;
	int64_t attempts;
	int64_t first_at_ms; /* Unix time of the first failure */
	int64_t last_at_ms;
	const char *queue; /* where it came from */
};

struct message {
	struct bytes body;
	const char *id;		    /* message id: the job's, or <id>.<run> for a result */
	const char *correlation_id; /* or NULL */
	const char *key;	    /* ROUTE_RESULT, ROUTE_EVENT: the routing key */
	const char *reply_to;	    /* ROUTE_JOB: handed on; ROUTE_REPLY: where to */
	int64_t timestamp_s;	    /* Unix time of first enqueueing; 0: now */
	enum job_priority priority; /* ROUTE_JOB, ROUTE_RETRY */
	int64_t attempts;	    /* ROUTE_RETRY, ROUTE_DEAD: started so far */
	enum wait_bucket bucket;    /* ROUTE_RETRY */
	struct message_death death; /* ROUTE_RETRY, ROUTE_DEAD; reason NULL: none */
};

/* --- publishing ------------------------------------------------------- */

struct publisher;

int publisher_open(struct publisher **ret, const struct carrier_config *config,
		   struct err *err) MUST_CHECK;
void publisher_close(struct publisher *publisher);

/*
 * Hands a message to the carrier; mandatory and persistent but for events and
 * replies. `tag` comes back through publisher_next once its fate is known.
 * Blocks while the broker does or while the window of unconfirmed messages is
 * full. ERR_PEER: the connection is lost, and the fate of everything pending
 * is unknown: open a new one and send again (consumers dedupe).
 */
int publisher_send(struct publisher *publisher, enum route route, const struct message *message,
		   uint64_t tag, struct err *err) MUST_CHECK;

/* The next message whose fate is known. Waits up to `timeout_ms` (0: only
 * looks). Returns 1 with *ret filled, 0 when there is none yet, -1. */
struct publisher_fate {
	uint64_t tag;
	bool confirmed; /* false: returned as unroutable or nacked; `why` says which */
	char why[128];
};
int publisher_next(struct publisher *publisher, int timeout_ms, struct publisher_fate *ret,
		   struct err *err) MUST_CHECK;

/* To be polled beside other descriptors; then publisher_next with timeout 0. */
int publisher_fd(const struct publisher *publisher);

/* Send and wait for that message's own confirm. For the command line. */
int publisher_send_wait(struct publisher *publisher, enum route route,
			const struct message *message, int timeout_ms, struct err *err) MUST_CHECK;

/* Milliseconds until publisher_next must be called for heartbeats' sake. */
int publisher_timeout_ms(const struct publisher *publisher);

/* --- consuming -------------------------------------------------------- */

struct consumer;

/* One delivery. Everything is borrowed until the callback returns, but `tag`,
 * which settles it and dies with the connection (see `epoch`). */
struct delivery {
	uint64_t tag;
	uint64_t epoch; /* of the connection */
	struct bytes body;
	const char *queue;
	const char *id;
	const char *correlation_id;
	const char *reply_to;
	const char *key;
	int64_t timestamp_s;	    /* 0: none */
	int64_t attempts;	    /* our own header; 0 at first */
	int64_t redeliveries;	    /* the broker's count, where it has one; else 0 or 1 */
	struct message_death death; /* as far as the headers have it */
	enum job_priority priority; /* by the queue it came from */
};

enum source { SOURCE_JOBS, SOURCE_RESULTS, SOURCE_DEAD, SOURCE_EVENTS };

struct consumer_hooks {
	void (*delivered)(void *ctx, const struct delivery *delivery);
	/* The connection was lost: every tag of that epoch is void. The consumer
	 * reconnects by itself with backoff and jitter; `lost` may come again. */
	void (*lost)(void *ctx, const struct err *why);
	void (*connected)(void *ctx, uint64_t epoch);
	/* The broker is blocking publishers (memory or disk alarm), or no longer. */
	void (*blocked)(void *ctx, bool blocked, const char *why);
	void *ctx;
};

/*
 * `key` selects for SOURCE_RESULTS and SOURCE_EVENTS: with a key, an exclusive
 * queue of one's own bound by it; NULL, the shared results queue. The first
 * connection is made here, so that a wrong URL fails at once.
 */
int consumer_open(struct consumer **ret, const struct carrier_config *config, enum source source,
		  const char *key, const struct consumer_hooks *hooks, struct err *err) MUST_CHECK;
void consumer_close(struct consumer *consumer);

/* For the loop: wait until the descriptor is readable or the timeout (ms) is
 * over, then dispatch. The descriptor changes with a reconnect and is -1
 * while there is no connection: ask again before every wait. */
int consumer_fd(const struct consumer *consumer);
int consumer_timeout_ms(const struct consumer *consumer);

/* Handles all that has arrived, never blocks long; calls the hooks. Fails only
 * when going on makes no sense (access refused, a queue of another type):
 * the message says what to do. */
int consumer_dispatch(struct consumer *consumer, struct err *err) MUST_CHECK;

/* Settles; a stale epoch is ignored, for the broker has redelivered already.
 * handback requeues for any worker. */
int consumer_ack(struct consumer *consumer, uint64_t epoch, uint64_t tag,
		 struct err *err) MUST_CHECK;
int consumer_handback(struct consumer *consumer, uint64_t epoch, uint64_t tag,
		      struct err *err) MUST_CHECK;

/* Stop new deliveries (a drain) while acks and heartbeats go on. */
int consumer_stop(struct consumer *consumer, struct err *err) MUST_CHECK;

/* --- looking ---------------------------------------------------------- */

struct queue_depth {
	const char *name;
	int64_t messages; /* ready; -1: the queue does not exist */
	int64_t consumers;
};

/* The broker's product and version, and each queue of the topology as it is
 * (passively). For `check` and `status`. */
struct carrier_report {
	char server[64];
	struct queue_depth *queues;
	size_t queues_len;
};
int carrier_inspect(struct arena *arena, const struct carrier_config *config,
		    struct carrier_report *ret, struct err *err) MUST_CHECK;

/* Declares the whole topology (or checks it, when config->passive). */
int carrier_declare(const struct carrier_config *config, struct err *err) MUST_CHECK;

/*
 * Takes messages from the dead-letter queue one at a time without a standing
 * consumer. `visit` decides: 0 leaves the letter where it is, 1 acks it (after
 * the caller has published and had confirmed what follows), -1 stops. Letters
 * left stay in their order.
 */
int carrier_visit_dead(const struct carrier_config *config,
		       int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
		       struct err *err) MUST_CHECK;

#endif
