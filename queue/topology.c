/*
 * topology.c - the tables, and names made from them.
 *
 * Why it is shaped like this. Each wait bucket has a fanout exchange of its
 * own, because only then does a message keep the routing key of its job queue,
 * which its expiry needs; a bucket on the jobs' exchange or behind the default
 * exchange left messages stuck. Dead-lettering is at-least-once, which the
 * broker grants only to queues that refuse what is beyond their bound instead
 * of dropping it. The delivery limit is always written down, because brokers
 * have different defaults and none of them is what a long job wants.
 */
#include "queue/topology.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* --- the tables ------------------------------------------------------- */

#define TEXT(key_, text_)                                             \
	{                                                             \
		.key = (key_), .kind = ARGUMENT_TEXT, .text = (text_) \
	}
#define NUMBER(key_, number_)                                               \
	{                                                                   \
		.key = (key_), .kind = ARGUMENT_NUMBER, .number = (number_) \
	}
#define NAME(key_, suffix_)                                             \
	{                                                               \
		.key = (key_), .kind = ARGUMENT_NAME, .text = (suffix_) \
	}

#define QUORUM TEXT("x-queue-type", "quorum"), NUMBER("x-delivery-limit", TOPOLOGY_DELIVERY_LIMIT)
#define DEAD_LETTERS_TO(suffix_)                                                                  \
	NAME("x-dead-letter-exchange", suffix_), TEXT("x-dead-letter-strategy", "at-least-once"), \
		TEXT("x-overflow", "reject-publish")

#define JOBS(suffix_)                                                               \
	{                                                                           \
		.suffix = (suffix_), .arguments = {                                 \
			QUORUM,                                                     \
			DEAD_LETTERS_TO("dead"),                                    \
			NUMBER("x-consumer-timeout", TOPOLOGY_CONSUMER_TIMEOUT_MS), \
		}                                                                   \
	}
#define WAIT(suffix_, ttl_ms_)                              \
	{                                                   \
		.suffix = (suffix_), .arguments = {         \
			QUORUM,                             \
			DEAD_LETTERS_TO(""),                \
			NUMBER("x-message-ttl", (ttl_ms_)), \
		}                                           \
	}

const struct topology_exchange topology_exchanges[] = {
	{"", "topic"},	       {"wait.5s", "fanout"},  {"wait.30s", "fanout"},
	{"wait.2m", "fanout"}, {"wait.10m", "fanout"}, {"wait.1h", "fanout"},
	{"dead", "fanout"},    {"results", "topic"},   {"events", "topic"},
	{"control", "fanout"},
};
const size_t topology_exchanges_len = ARRAY_LEN(topology_exchanges);

const struct topology_queue topology_queues[] = {
	/* The targets of dead-lettering come first. */
	{.suffix = "dead", .arguments = {QUORUM}},
	JOBS("jobs.high"),
	JOBS("jobs"),
	JOBS("jobs.low"),
	WAIT("wait.5s", 5000),
	WAIT("wait.30s", 30000),
	WAIT("wait.2m", 120000),
	WAIT("wait.10m", 600000),
	WAIT("wait.1h", 3600000),
	{.suffix = "results",
	 .arguments = {QUORUM, NUMBER("x-message-ttl", TOPOLOGY_RESULTS_TTL_MS)}},
	/* A stream keeps what consumers that were away have missed. */
	{.suffix = "control",
	 .arguments = {TEXT("x-queue-type", "stream"), TEXT("x-max-age", "7D"),
		       NUMBER("x-max-length-bytes", 100000000),
		       NUMBER("x-stream-max-segment-size-bytes", 5000000)}},
};
const size_t topology_queues_len = ARRAY_LEN(topology_queues);

const struct topology_binding topology_bindings[] = {
	{"dead", "dead", ""},	      {"", "jobs.high", "jobs.high"}, {"", "jobs", "jobs"},
	{"", "jobs.low", "jobs.low"}, {"wait.5s", "wait.5s", ""},     {"wait.30s", "wait.30s", ""},
	{"wait.2m", "wait.2m", ""},   {"wait.10m", "wait.10m", ""},   {"wait.1h", "wait.1h", ""},
	{"results", "results", "#"},  {"control", "control", ""},
};
const size_t topology_bindings_len = ARRAY_LEN(topology_bindings);

/* --- names ------------------------------------------------------------ */

int topology_check_prefix(const char *prefix, struct err *err)
{
	if (prefix == NULL || !text_is_id(prefix))
		return err_set(err, ERR_INPUT, "the prefix '%s' is not 1-64 of A-Za-z0-9._-",
			       prefix == NULL ? "" : prefix);
	return 0;
}

void topology_name(const char *prefix, const char *suffix, char ret_name[TOPOLOGY_NAME_BYTES])
{
	int len = snprintf(ret_name, TOPOLOGY_NAME_BYTES, "%s%s%s", prefix,
			   *suffix == '\0' ? "" : ".", suffix);

	assert(len > 0 && len < TOPOLOGY_NAME_BYTES);
}

static const char *const job_suffixes[] = {
	[PRIORITY_NORMAL] = "jobs",
	[PRIORITY_HIGH] = "jobs.high",
	[PRIORITY_LOW] = "jobs.low",
};

const char *topology_job_suffix(enum job_priority priority)
{
	assert((size_t)priority < ARRAY_LEN(job_suffixes));
	return job_suffixes[priority];
}

enum job_priority topology_job_priority(const char *suffix)
{
	for (size_t i = 0; suffix != NULL && i < ARRAY_LEN(job_suffixes); i++) {
		if (strcmp(suffix, job_suffixes[i]) == 0)
			return (enum job_priority)i;
	}
	return PRIORITY_NORMAL;
}

const char *topology_wait_suffix(enum wait_bucket bucket)
{
	static const char *const suffixes[WAIT_COUNT] = {
		[WAIT_5S] = "wait.5s",	 [WAIT_30S] = "wait.30s", [WAIT_2M] = "wait.2m",
		[WAIT_10M] = "wait.10m", [WAIT_1H] = "wait.1h",
	};

	assert((size_t)bucket < WAIT_COUNT);
	return suffixes[bucket];
}
