/*
 * sqlite_private.h - the parts of the embedded carrier, from the bottom up:
 *
 *	lite		the file: opening, creating, statements, transactions
 *	lite_message	a message as a row, a row as a delivery
 *	lite_member	one who holds messages: a lock, a lease, who has lost his
 *	lite_consumer, lite_publisher, lite_admin
 *
 * Only the sqlite*.c files include this, and no other file of the floor sees
 * sqlite3.h.
 */
#ifndef SBX_QUEUE_SQLITE_PRIVATE_H
#define SBX_QUEUE_SQLITE_PRIVATE_H

#include <limits.h>
#include <sqlite3.h>

#include "base/buf.h"
#include "queue/carrier_private.h"
#include "queue/topology.h"

enum {
	LITE_HEARTBEAT_S = 10,
	/* A member is given up after so many of its heartbeats. */
	LITE_LEASE_BEATS = 3,
	/* How long a results queue of one's own waits for an owner that hangs. */
	LITE_OWN_QUEUE_MS = 600000,
	/* Events that nobody takes are bounded, for each who listens. */
	LITE_EVENTS_MAX = 1000,
};

/* --- the file --------------------------------------------------------- */

enum lite_statement {
	LITE_BEGIN,
	LITE_COMMIT,
	LITE_ROLLBACK,
	LITE_DECLARE,
	LITE_DECLARED,
	LITE_PUT,
	LITE_PUT_BODY,
	LITE_READY,
	LITE_AFTER,
	LITE_HOLD,
	LITE_READ,
	LITE_DROP,
	LITE_HAND_BACK,
	LITE_REJECT,
	LITE_JOIN,
	LITE_BEAT,
	LITE_LEAVE,
	LITE_MEMBERS,
	LITE_RELEASE,
	LITE_SUBSCRIBE,
	LITE_SUBSCRIBERS,
	LITE_SUBSCRIBED,
	LITE_UNSUBSCRIBE,
	LITE_ORPHAN,
	LITE_STALE,
	LITE_FORGET_STALE,
	LITE_NEXT_DUE,
	LITE_MOVE_DUE,
	LITE_NEXT_EXPIRY,
	LITE_EXPIRE,
	LITE_BACKLOG,
	LITE_COUNT,
	LITE_COUNT_MEMBERS,
	LITE_STATEMENTS
};

struct lite {
	sqlite3 *db; /* NULL: not open */
	sqlite3_stmt *statements[LITE_STATEMENTS];
	char path[PATH_MAX];
	int lock_fd; /* "<path>-leases" */
	bool durable;
};

/*
 * Opens the file of config->url; without `passive` makes it, its directory and
 * the topology's entry. ERR_NOT_FOUND: passive, and file or entry are missing.
 */
int lite_open(struct lite *lite, const struct carrier_config *config, struct err *err) MUST_CHECK;

/* On one that is not open, nothing. */
void lite_close(struct lite *lite);

/* The absolute path that a URL names. */
int lite_path(const char *url, char ret_path[PATH_MAX], struct err *err) MUST_CHECK;

/* Fills `err` from what the library says last, and returns -1. */
int lite_fail(const struct lite *lite, const char *what, struct err *err);

/* A statement, reset and without bindings. */
sqlite3_stmt *lite_statement(struct lite *lite, enum lite_statement which);

/* Runs a statement that gives no rows. */
int lite_run(struct lite *lite, sqlite3_stmt *statement, const char *what,
	     struct err *err) MUST_CHECK;

/* The next row: 1, 0 after the last one (and the statement is reset), -1. */
int lite_step(struct lite *lite, sqlite3_stmt *statement, const char *what,
	      struct err *err) MUST_CHECK;

/* A statement that gives one number; `*ret` is `none` without a row or for NULL. */
int lite_number(struct lite *lite, sqlite3_stmt *statement, const char *what, int64_t none,
		int64_t *ret, struct err *err) MUST_CHECK;

/* A writing transaction. `durable`: its commit outlives a power cut, not only
 * the process. A failed commit is rolled back. */
int lite_begin(struct lite *lite, bool durable, struct err *err) MUST_CHECK;
int lite_commit(struct lite *lite, struct err *err) MUST_CHECK;
void lite_rollback(struct lite *lite);

void lite_bind_text(sqlite3_stmt *statement, int at, const char *text);

/* --- messages --------------------------------------------------------- */

/* ERR_INPUT when it cannot be sent like that; the same rules as the broker's. */
int lite_check(const char *prefix, enum route route, const struct message *message,
	       struct err *err) MUST_CHECK;

/* A copy in `arena`, its body too. */
int lite_copy(struct arena *arena, const struct message *message, struct message *ret,
	      struct err *err) MUST_CHECK;

/* Within a transaction: the rows that the message becomes, none or several. */
int lite_put(struct lite *lite, const char *prefix, enum route route, const struct message *message,
	     struct err *err) MUST_CHECK;

/* Whether anybody listens to events, so that sending one is worth writing. */
int lite_has_listeners(struct lite *lite, const char *prefix, bool *ret,
		       struct err *err) MUST_CHECK;

/* Reads the row `seq` into `ret`, all of it in `arena`. Returns 1, 0 when there
 * is none, -1. */
int lite_read(struct lite *lite, int64_t seq, struct arena *arena, struct delivery *ret,
	      struct err *err) MUST_CHECK;

/* Whether a topic exchange would take `key` for a binding with `pattern`. */
bool lite_topic_matches(const char *pattern, const char *key);

/* --- who holds messages ------------------------------------------------ */

struct lite_member {
	int64_t id; /* 0: none */
	int64_t lease_us;
	int64_t beat_at_us; /* when the next heartbeat is due */
};

/* Within a transaction: a new member with a lock and a lease of its own. */
int lite_join(struct lite *lite, struct lite_member *member, const struct carrier_config *config,
	      enum source source, bool shared, int64_t lease_us, struct err *err) MUST_CHECK;

/* Renews the lease. 1, 0 when others have given this member up, -1. */
int lite_beat(struct lite *lite, struct lite_member *member, struct err *err) MUST_CHECK;

/* Gives back all it holds. */
int lite_leave(struct lite *lite, struct lite_member *member, struct err *err) MUST_CHECK;

/*
 * What time has done, for everybody: members that died or hang lose what they
 * hold, waits that are over move to their job queue, old results go. Writes
 * only when there is something to write. `*ret_next_us` is when (monotonic) the
 * next wait is over, or INT64_MAX.
 */
int lite_sweep(struct lite *lite, const struct lite_member *member, int64_t *ret_next_us,
	       struct err *err) MUST_CHECK;

/* --- the rest --------------------------------------------------------- */

extern const struct publisher_ops lite_publisher_ops;
extern const struct consumer_ops lite_consumer_ops;

#endif
