/*
 * topology.h - exchanges, queues and bindings, written once.
 *
 * Every name is the prefix, or the prefix, a dot and a suffix from the tables
 * below; contrib/broker/definitions.json is the same for the prefix "sbx", and
 * a test holds both together.
 *
 *	sbx (topic) -- jobs.high / jobs / jobs.low --> sbx.jobs.high, sbx.jobs, sbx.jobs.low
 *	sbx.wait.5s ... sbx.wait.1h (fanout each) --> one queue each --expired--> sbx
 *	sbx.dead (fanout) --> sbx.dead
 *	sbx.results (topic) -- # --> sbx.results
 *	sbx.events (topic)
 *	sbx.control (fanout) --> sbx.control (stream)
 */
#ifndef SBX_QUEUE_TOPOLOGY_H
#define SBX_QUEUE_TOPOLOGY_H

#include <stdbool.h>

#include "base/err.h"
#include "queue/carrier.h"
#include "schema/limits.h"

/* An AMQP short string, with its NUL. */
enum { TOPOLOGY_NAME_BYTES = 256 };

/* How often the broker itself may redeliver; far above our own caps, for it
 * counts what is handed back and what a lost connection returns, too. */
enum { TOPOLOGY_DELIVERY_LIMIT = 1000000 };

/* How long a delivery may stay unacked, where the broker knows a limit per
 * queue: the longest job, and an hour to settle it. */
#define TOPOLOGY_CONSUMER_TIMEOUT_MS (LIMIT_TIME_MS + 3600000)

#define TOPOLOGY_RESULTS_TTL_MS (7 * 86400000)
#define TOPOLOGY_CONTROL_TTL_MS (7 * 86400000)

enum topology_argument_kind {
	ARGUMENT_TEXT,
	ARGUMENT_NUMBER,
	ARGUMENT_NAME, /* the name that `text` is the suffix of */
};

struct topology_argument {
	const char *key;
	enum topology_argument_kind kind;
	const char *text;
	int64_t number;
};

struct topology_exchange {
	const char *suffix; /* "": the prefix itself */
	const char *type;
};

enum { TOPOLOGY_ARGUMENTS_MAX = 8 };

struct topology_queue {
	const char *suffix;
	struct topology_argument arguments[TOPOLOGY_ARGUMENTS_MAX]; /* up to a NULL key */
};

struct topology_binding {
	const char *exchange; /* suffixes */
	const char *queue;
	const char *key;
};

extern const struct topology_exchange topology_exchanges[];
extern const size_t topology_exchanges_len;
extern const struct topology_queue topology_queues[];
extern const size_t topology_queues_len;
extern const struct topology_binding topology_bindings[];
extern const size_t topology_bindings_len;

/* Whether names can be made of it: 1-64 of A-Za-z0-9._- */
int topology_check_prefix(const char *prefix, struct err *err) MUST_CHECK;

/* The full name; the prefix is one that topology_check_prefix takes. */
void topology_name(const char *prefix, const char *suffix, char ret_name[TOPOLOGY_NAME_BYTES]);

/* Suffix and, at once, routing key of the job queue of a priority. */
const char *topology_job_suffix(enum job_priority priority);

/* The priority whose job queue has this suffix or routing key; normal for any
 * other text and NULL. */
enum job_priority topology_job_priority(const char *suffix);

const char *topology_wait_suffix(enum wait_bucket bucket);

#endif
