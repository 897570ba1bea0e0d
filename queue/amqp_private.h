/*
 * amqp_private.h - the parts of the RabbitMQ carrier, from the bottom up:
 *
 *	rabbit_link	one connection with one channel: open, login, frames
 *	rabbit_inbound	frames put together to one message
 *	rabbit_outbound	one message taken apart to properties and headers
 *	rabbit_topology	declaring
 *	rabbit_consumer, rabbit_publisher, rabbit_admin
 *
 * Only the amqp*.c files include this, and no other file sees amqp.h.
 *
 * The library's own readers of messages (amqp_consume_message, amqp_read_message,
 * amqp_try_recv) are not used: they put back what they do not know, wait for
 * ever or mix up channels. All frames pass through rabbit_link_next.
 */
#ifndef SBX_QUEUE_AMQP_PRIVATE_H
#define SBX_QUEUE_AMQP_PRIVATE_H

#include <amqp.h>

#include "base/buf.h"
#include "queue/carrier_private.h"
#include "queue/topology.h"

enum {
	RABBIT_CHANNEL = 1,
	RABBIT_FRAME_BYTES = 131072,
	RABBIT_HEARTBEAT_S = 10,
	RABBIT_WHY_BYTES = 128,
	/* How long connecting may take, and logging in again: when somebody
	 * waits for it, and when a loop has other things to do. */
	RABBIT_PATIENCE_S = 10,
	RABBIT_PATIENCE_AGAIN_S = 2,
};

/* --- the connection --------------------------------------------------- */

struct rabbit_link {
	amqp_connection_state_t state; /* NULL: not connected */
	int heartbeat_s;
	int patience_s;
	bool starting; /* the last failure was that the broker is not all there yet */
	bool blocked;
	bool blocked_changed; /* since the owner last looked */
	char blocked_why[RABBIT_WHY_BYTES];
	char where[256];   /* the URL, redacted */
	char server[64];   /* "RabbitMQ 3.10.8" */
	char tls_why[160]; /* why a certificate was refused, or "" */
};

/*
 * Connects, logs in and opens the channel. Where a host does not answer it
 * blocks for `patience_s`. `heartbeat_s` 0 is none.
 */
int rabbit_link_open(struct rabbit_link *link, const struct carrier_config *config,
		     const char *role, int heartbeat_s, int patience_s, struct err *err) MUST_CHECK;

/*
 * After a failure with `link`, whether to begin again because the broker is
 * just starting: waits a little, and says no after RABBIT_PATIENCE_S. `*end_us`
 * is 0 at first.
 */
bool rabbit_link_worth_waiting(const struct rabbit_link *link, int64_t *end_us, struct err *err);

/* In order, with a goodbye, but never waiting long; on one not open, nothing. */
void rabbit_link_close(struct rabbit_link *link);

/* At once, for a connection that failed. */
void rabbit_link_drop(struct rabbit_link *link);

int rabbit_link_fd(const struct rabbit_link *link);

/* When frames must be asked for again for the heartbeats' sake. -1: never. */
int rabbit_link_timeout_ms(const struct rabbit_link *link);

/*
 * The next frame. Heartbeats, blocking notices and closes are handled within;
 * frames of channel 0 need nothing more, but are shown, because the owner may
 * be waiting for just that. Returns 1, 0 when none came within `timeout_ms`,
 * -1 when connection or channel are over. The frame is borrowed until the next
 * call.
 */
int rabbit_link_next(struct rabbit_link *link, int timeout_ms, amqp_frame_t *ret,
		     struct err *err) MUST_CHECK;

/* Checks the last call that has no amqp_rpc_reply_t of its own; `what` reads
 * "declare the queue 'x'". */
int rabbit_link_check(struct rabbit_link *link, const char *what, struct err *err) MUST_CHECK;
int rabbit_link_check_reply(struct rabbit_link *link, amqp_rpc_reply_t reply, const char *what,
			    struct err *err) MUST_CHECK;

/* As those, for calls that return a status. */
int rabbit_link_check_status(struct rabbit_link *link, int status, const char *what,
			     struct err *err) MUST_CHECK;

/* Makes the channel anew after the broker has closed it. */
int rabbit_link_reopen_channel(struct rabbit_link *link, struct err *err) MUST_CHECK;

/* TLS: a socket on `state` whose context verifies as the configuration says;
 * a refused certificate's reason goes to `link`. */
int rabbit_tls_socket(struct rabbit_link *link, const struct carrier_config *config,
		      const char *host, amqp_socket_t **ret, struct err *err) MUST_CHECK;

/* --- messages --------------------------------------------------------- */

enum inbound_kind { INBOUND_DELIVER, INBOUND_GET, INBOUND_RETURN };

struct rabbit_inbound {
	enum { INBOUND_IDLE, INBOUND_HEADER, INBOUND_BODY } state;
	enum inbound_kind kind;
	struct arena arena; /* all texts of the message */
	struct buf body;
	uint64_t got_bytes;
	char consumer[64];	    /* tag of the consumer it is for */
	char exchange[256];	    /* of a returned message */
	char why[RABBIT_WHY_BYTES]; /* of a returned message */
	bool redelivered;
	struct delivery delivery; /* queue, epoch and priority are the owner's */
	const char *died_in;	  /* the queue the broker dead-lettered it from, or NULL */
	const char *died_why;
	int64_t died_at_ms;
	int64_t timestamp_us; /* as our own header has it; 0: none */
};

void rabbit_inbound_init(struct rabbit_inbound *inbound);
void rabbit_inbound_release(struct rabbit_inbound *inbound);
void rabbit_inbound_reset(struct rabbit_inbound *inbound);

/*
 * Takes a frame: a method that starts a message, or a part of its content.
 * Returns 1 when the message is complete (valid until the next feed or reset),
 * 0 when more must come, -1 when the frame makes no sense here.
 */
int rabbit_inbound_feed(struct rabbit_inbound *inbound, const amqp_frame_t *frame,
			struct err *err) MUST_CHECK;

/*
 * For what came out of the dead-letter queue: when the broker itself has put
 * it there, its notes become the delivery's death. What we dead-letter
 * ourselves has none, because nothing of the kind is published again.
 */
void rabbit_inbound_tell_death(struct rabbit_inbound *inbound);

enum { OUTBOUND_HEADERS_MAX = 64 };

struct rabbit_outbound {
	char exchange[TOPOLOGY_NAME_BYTES];
	const char *key;
	bool mandatory;
	struct bytes body;
	amqp_basic_properties_t properties;
	amqp_table_entry_t headers[OUTBOUND_HEADERS_MAX];
};

/* Borrows from `message`. ERR_INPUT when it cannot be sent like that. */
int rabbit_outbound_make(struct rabbit_outbound *outbound, const char *prefix, enum route route,
			 const struct message *message, struct err *err) MUST_CHECK;

/* Identifies a message that comes back: its exchange, key and message id. */
uint64_t rabbit_fingerprint(const char *exchange, const char *key, const char *id);

/* --- the rest --------------------------------------------------------- */

/* A control stream that is there but has no leader is passed over: a broker that
 * was killed right after it had made its first stream never gets it back. */
int rabbit_topology_declare(struct rabbit_link *link, const char *prefix,
			    struct err *err) MUST_CHECK;
int rabbit_topology_check(struct rabbit_link *link, const char *prefix, struct err *err) MUST_CHECK;

extern const struct publisher_ops rabbit_publisher_ops;
extern const struct consumer_ops rabbit_consumer_ops;

/* A copy in `arena`, for who outlives the caller's. */
int rabbit_config_copy(struct arena *arena, const struct carrier_config *config,
		       struct carrier_config *ret, struct err *err) MUST_CHECK;

#endif
