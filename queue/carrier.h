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
 * The carrier is chosen by the URL's scheme: amqp: and amqps: are a broker
 * (RabbitMQ); sqlite:/absolute/path is the embedded one, a file that processes
 * of one machine share, without a server. What is said here of a broker's
 * connection holds for the file: it is lost when the file cannot be used for a
 * while or a process hung for longer than its lease (three heartbeats).
 *
 * Errors say by their kind whether trying again helps. ERR_PEER and
 * ERR_TIMEOUT: the connection is lost or was not made; it may come back. Where
 * nobody was there to connect to, err_is_unreachable says so.
 * ERR_UNSUPPORTED (access refused), ERR_CONFLICT (a queue or exchange of that
 * name has other properties, or the message is larger than the broker takes),
 * ERR_NOT_FOUND (virtual host, queue or exchange missing) and ERR_INPUT (URL,
 * prefix or message malformed) stay until a person changes something; the
 * message says what. Nothing here is safe to use from two threads.
 */
#ifndef SBX_QUEUE_CARRIER_H
#define SBX_QUEUE_CARRIER_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/defs.h"
#include "base/err.h"
#include "schema/job.h"

struct carrier_config {
	const char *url;      /* amqp://user:password@host:port/vhost, sqlite:/path */
	const char *prefix;   /* of all names; "sbx" */
	bool passive;	      /* declare nothing: the operator has */
	unsigned prefetch;    /* deliveries held and not acked, per queue; 0 is 1 */
	unsigned heartbeat_s; /* 0 is 10 */
	const char *ca_file;  /* amqps: NULL is the system's */
	const char *cert_file;
	const char *key_file;
	bool insecure;	  /* amqps without verification: for tests by hand only */
	const char *name; /* shown by the broker as the connection's name */
	int send_wait_ms; /* how long publisher_send may block; 0: for ever */
};

/*
 * The queue of who names none: "sqlite:<directory>/queue.db", where the
 * directory is /var/lib/sbx for root, else $XDG_STATE_HOME/sbx or
 * ~/.local/state/sbx. It is the same for workers and producers of one user.
 * NULL with ERR_INPUT when no home directory is known.
 */
const char *carrier_default_url(struct arena *arena, struct err *err);
const char *carrier_default_dir(struct arena *arena, struct err *err);

/* The URL without its password, for messages; whatever the text, nothing that
 * could be a password comes out. NULL when the arena is exhausted. */
const char *carrier_url_redacted(struct arena *arena, const char *url);

/*
 * Whether a producer may ask for a copy of the result to be sent to `name`: a
 * queue under "<prefix>.reply.", or the address that the broker makes of
 * direct reply-to ("amq.rabbitmq.reply-to.<token>"). Anything else would let
 * a producer write into queues that are none of its business, the job queues
 * among them. publisher_send refuses other names for ROUTE_REPLY.
 */
bool carrier_reply_to_valid(const char *prefix, const char *name);

/* --- messages --------------------------------------------------------- */

enum route {
	ROUTE_JOB,     /* to a job queue, by priority */
	ROUTE_RETRY,   /* to a wait bucket, back to its job queue afterwards */
	ROUTE_DEAD,    /* to the dead-letter queue */
	ROUTE_RESULT,  /* to the results exchange, key <tenant>.<id> */
	ROUTE_REPLY,   /* straight to the queue `reply_to` */
	ROUTE_EVENT,   /* to the events exchange, key job.<id>.<kind>; not confirmed, may be lost */
	ROUTE_CONTROL, /* to every worker, those that are away included */
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
	int64_t timestamp_us;	    /* Unix time of first enqueueing; 0: now */
	enum job_priority priority; /* ROUTE_JOB, ROUTE_RETRY */
	int64_t attempts;	    /* ROUTE_RETRY, ROUTE_DEAD: started so far */
	enum wait_bucket bucket;    /* ROUTE_RETRY */
	struct message_death death; /* ROUTE_RETRY, ROUTE_DEAD; reason NULL: none */
	struct pair_list headers;   /* handed on from the delivery */
};

/* --- publishing ------------------------------------------------------- */

/*
 * The most messages without a fate, and the most fates not yet collected.
 * Whoever sends more without calling publisher_next in between gets ERR_LIMIT.
 */
enum { PUBLISHER_WINDOW = 256, PUBLISHER_FATES = 1024 };

struct publisher;

int publisher_open(struct publisher **ret, const struct carrier_config *config,
		   struct err *err) MUST_CHECK;
void publisher_close(struct publisher *publisher);

/*
 * Hands a message to the carrier; mandatory and persistent but for events and
 * replies. `tag` comes back through publisher_next once its fate is known;
 * that of an event never does. A body beyond LIMIT_MESSAGE_BYTES is refused,
 * but for ROUTE_DEAD, which takes what consumers hand out. Blocks while the broker does or while
 * the window of unconfirmed messages is full; ERR_TIMEOUT after send_wait_ms, and
 * the message is not sent. ERR_PEER: the connection is lost, and the fate of
 * everything pending is unknown: open a new one and send again (consumers dedupe).
 * What was sent may wait for the next call of publisher_next or publisher_flush
 * before it goes out, in company; publisher_timeout_ms is 0 then.
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

/* Waits until no message is without a fate. ERR_TIMEOUT. The fates are still
 * to be collected. */
int publisher_flush(struct publisher *publisher, int timeout_ms, struct err *err) MUST_CHECK;

/* Whether the broker has said that it takes nothing now; `*ret_why` is its
 * reason, borrowed, and may be NULL when nobody wants it. */
bool publisher_blocked(const struct publisher *publisher, const char **ret_why);

/* Send and wait for that message's own confirm. For the command line.
 * ERR_NOT_FOUND when no queue takes it, ERR_LIMIT when the queue refuses it. */
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
	/*
	 * Never more than LIMIT_CARRIED_BYTES + 1: of a larger message only the
	 * start is kept, so that it cannot fill the memory, and `size_bytes` is
	 * the true length. Such a message is settled with consumer_reject, by
	 * which the broker moves it, whole, to the dead letters.
	 */
	struct bytes body;
	uint64_t size_bytes;
	const char *queue;
	const char *id;
	const char *correlation_id;
	const char *reply_to;
	const char *key;
	int64_t timestamp_us; /* 0: none; of strangers in whole seconds */
	int64_t attempts;     /* our own header; 0 at first */
	int64_t redeliveries; /* the broker's count, where it has one; else 0 or 1 */
	/* As far as the headers have it. What the broker itself has moved to
	 * the dead letters has the reason "broker.rejected" or
	 * "broker.delivery_limit". */
	struct message_death death;
	enum job_priority priority; /* by the queue it came from */
	/* The message's other headers that are text; the broker's x-death family
	 * and our own are left out. */
	struct pair_list headers;
};

enum source { SOURCE_JOBS, SOURCE_RESULTS, SOURCE_DEAD, SOURCE_EVENTS };

struct consumer_hooks {
	void (*delivered)(void *ctx, const struct delivery *delivery);
	/* The connection was lost: every tag of that epoch is void. The consumer
	 * reconnects by itself with backoff and jitter; `lost` may come again. */
	void (*lost)(void *ctx, const struct err *why);
	/* For the first time within consumer_open. */
	void (*connected)(void *ctx, uint64_t epoch);
	/* The broker is blocking publishers (memory or disk alarm), or no longer. */
	void (*blocked)(void *ctx, bool blocked, const char *why);
	/* SOURCE_JOBS, where it is not NULL: what was sent with ROUTE_CONTROL, of
	 * the last days at the start of each connection and then as it comes, to
	 * every consumer and also after consumer_stop. It is settled by the
	 * carrier; what has been seen before may come again. */
	void (*control)(void *ctx, const struct delivery *delivery);
	/* After `connected`: with this connection nothing is heard of ROUTE_CONTROL,
	 * because the broker has lost its stream. A new connection asks for it
	 * again after five minutes. */
	void (*deaf)(void *ctx, const char *why);
	/* An answer to consumer_ask: messages that are ready in a queue. */
	void (*depth)(void *ctx, const char *queue, int64_t messages);
	void *ctx;
};

/*
 * `key` selects for SOURCE_RESULTS and SOURCE_EVENTS: with a key, a queue of
 * one's own bound by it; NULL, the shared results queue. The own queue for
 * results outlives the connection for ten minutes, so nothing is missed while
 * it is made again; that for events goes with it. The first
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

/* Settles; a stale epoch is ignored, for the broker has redelivered already,
 * and so is a connection that breaks now. Settling a tag twice is a bug.
 * handback requeues for any worker. reject makes the broker move the message
 * to the dead letters as it is, without reason headers of our own: only for
 * what is too large to be carried again. */
int consumer_ack(struct consumer *consumer, uint64_t epoch, uint64_t tag,
		 struct err *err) MUST_CHECK;
int consumer_handback(struct consumer *consumer, uint64_t epoch, uint64_t tag,
		      struct err *err) MUST_CHECK;
int consumer_reject(struct consumer *consumer, uint64_t epoch, uint64_t tag,
		    struct err *err) MUST_CHECK;

/*
 * How many deliveries may be held from now on, per queue: 1 to CONSUMER_ROOM,
 * whatever the consumer was opened with. What is held beyond it stays held;
 * what is on its way already may still come.
 */
enum { CONSUMER_ROOM = 512 };
void consumer_prefetch(struct consumer *consumer, unsigned prefetch);

/* Asks how many messages are ready in the queues consumed and in the dead
 * letters; the hook `depth` is called for each of them, soon. Without a
 * connection nothing comes. */
void consumer_ask(struct consumer *consumer);

/* Stop new deliveries (a drain) while acks and heartbeats go on. Those that
 * are on their way already are handed back. A connection lost from here on is
 * not made again: everything held is redelivered to other workers anyway. */
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
	/*
	 * Whether the broker honours the consumer timeout of each queue. Older
	 * ones (before 3.12) have one for all queues, 30 minutes unless
	 * rabbitmq.conf says otherwise, and take a longer job back while it runs.
	 */
	bool queue_timeouts;
	struct queue_depth *queues;
	size_t queues_len;
};
int carrier_inspect(struct arena *arena, const struct carrier_config *config,
		    struct carrier_report *ret, struct err *err) MUST_CHECK;

/* Declares the whole topology (or checks that it is there, when
 * config->passive). Without `passive`, opening a consumer or a publisher does
 * it too. */
int carrier_declare(const struct carrier_config *config, struct err *err) MUST_CHECK;

/*
 * Called by root that will give up root: makes the queue usable for `uid`. A
 * broker needs nothing. A file of root's in a directory of root's becomes the
 * user's; in another directory it belongs to the directory's owner anyway.
 */
int carrier_give(const struct carrier_config *config, unsigned uid, struct err *err) MUST_CHECK;

/*
 * Takes messages from the dead-letter queue one at a time without a standing
 * consumer. `visit` decides: 0 leaves the letter where it is, 1 acks it (after
 * the caller has published and had confirmed what follows), -1 stops and leaves
 * that letter too. Letters left stay in their order, unless the process is
 * killed meanwhile: then they are all still there, but those it had seen may
 * stand behind others that were seen before. Each letter that was
 * there at the start is shown at most once, however long a visit takes; one
 * that comes back meanwhile is not. `tag` and `epoch` of these deliveries mean
 * nothing to a consumer. Letters are invisible to others while the visit lasts.
 */
int carrier_visit_dead(const struct carrier_config *config,
		       int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
		       struct err *err) MUST_CHECK;

#endif
