/*
 * broker.h - what the broker tests share: where the broker is, a consumer that
 * remembers, and a raw connection for what the carrier itself never does.
 */
#ifndef SBX_TESTS_QUEUE_BROKER_H
#define SBX_TESTS_QUEUE_BROKER_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "queue/carrier.h"
#include "tests/unit/queue/remove.h"

/* --- where ------------------------------------------------------------ */

static char test_prefix[64];

static inline const char *test_url(void)
{
	const char *url = getenv("SBX_TEST_BROKER_URL");

	if (url == NULL || *url == '\0') {
		(void)fputs("SBX_TEST_BROKER_URL is not set; start a broker first:\n"
			    "  export SBX_TEST_BROKER_URL=$(contrib/broker/sbx-broker start "
			    "/tmp/sbx-test-broker)\n",
			    stderr);
		exit(1);
	}
	return url;
}

/* A prefix of one's own, so that tests running at once do not meet. */
static inline struct carrier_config test_config(const char *url)
{
	if (*test_prefix == '\0')
		(void)snprintf(test_prefix, sizeof(test_prefix), "sbxt-%d", (int)getpid());
	return (struct carrier_config){.url = url,
				       .prefix = test_prefix,
				       .prefetch = 10,
				       .heartbeat_s = 10,
				       .name = "sbx-test"};
}

/* The configuration that all tests of one program share. */
static struct carrier_config config;

#define assert_done(call)                                                                    \
	do {                                                                                 \
		struct err err = {0};                                                        \
		if ((call) != 0)                                                             \
			fail_msg("%s: %s: %s", #call, err_kind_name(err.kind), err.message); \
	} while (0)

/* --- a raw connection ------------------------------------------------- */

static inline amqp_connection_state_t raw_open(const char *text)
{
	CLEANUP(arena_cleanup) struct arena arena;
	amqp_connection_state_t raw = amqp_new_connection();
	struct url url;

	arena_init(&arena, 1 << 16);
	assert_done(url_parse(&arena, text, &url, &err));
	assert_int_equal(amqp_socket_open(amqp_tcp_socket_new(raw), url.host, url.port), 0);
	assert_int_equal(amqp_login(raw, url.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, url.user,
				    url.password)
				 .reply_type,
			 AMQP_RESPONSE_NORMAL);
	(void)amqp_channel_open(raw, 1);
	assert_int_equal(amqp_get_rpc_reply(raw).reply_type, AMQP_RESPONSE_NORMAL);
	return raw;
}

static inline void raw_close(amqp_connection_state_t raw)
{
	(void)amqp_connection_close(raw, AMQP_REPLY_SUCCESS);
	(void)amqp_destroy_connection(raw);
}

static inline void raw_done(amqp_connection_state_t raw)
{
	assert_int_equal(amqp_get_rpc_reply(raw).reply_type, AMQP_RESPONSE_NORMAL);
}

static inline void raw_remove(const char *url, const char *prefix)
{
	assert_true(remove_topology_of(url, prefix));
}

static inline void raw_purge(const char *url)
{
	amqp_connection_state_t raw = raw_open(url);
	char name[TOPOLOGY_NAME_BYTES];

	for (size_t i = 0; i < topology_queues_len; i++) {
		if (strcmp(topology_queues[i].suffix, "control") == 0)
			continue;
		topology_name(test_prefix, topology_queues[i].suffix, name);
		(void)amqp_queue_purge(raw, 1, amqp_cstring_bytes(name));
		raw_done(raw);
	}
	raw_close(raw);
}

/* --- a consumer that remembers ---------------------------------------- */

enum { SEEN_MAX = 4096 };

struct seen {
	uint64_t tag;
	uint64_t epoch;
	char id[64];
	char key[64];
	char queue[64];
	char reply_to[64];
	char reason[64];
	char error[64];
	char worker[64];
	char from[64];
	char header[64]; /* the first one handed on, "key=value" */
	int64_t attempts;
	int64_t first_at_ms;
	int64_t last_at_ms;
	int64_t redeliveries;
	int64_t timestamp_us;
	size_t body_len;
	uint64_t size_bytes;
	uint8_t body_first;
	uint8_t body_last;
	enum job_priority priority;
};

struct watcher {
	struct consumer *consumer;
	struct seen seen[SEEN_MAX];
	size_t seen_len;
	int connected;
	int lost;
	int blocked;
	struct err lost_why;
	bool ack_at_once;
	int heard_len;	/* of what is said to all, with an id "heard-..." */
	char heard[64]; /* the last one */
};

static inline void seen_copy(char to[64], const char *from)
{
	(void)snprintf(to, 64, "%s", from == NULL ? "" : from);
}

static inline void seen_fill(struct seen *seen, const struct delivery *d)
{
	*seen = (struct seen){.tag = d->tag,
			      .epoch = d->epoch,
			      .attempts = d->attempts,
			      .first_at_ms = d->death.first_at_ms,
			      .last_at_ms = d->death.last_at_ms,
			      .redeliveries = d->redeliveries,
			      .timestamp_us = d->timestamp_us,
			      .body_len = d->body.len,
			      .size_bytes = d->size_bytes,
			      .priority = d->priority};
	seen_copy(seen->id, d->id);
	seen_copy(seen->key, d->key);
	seen_copy(seen->queue, d->queue);
	seen_copy(seen->reply_to, d->reply_to);
	seen_copy(seen->reason, d->death.reason);
	seen_copy(seen->error, d->death.error);
	seen_copy(seen->worker, d->death.worker);
	seen_copy(seen->from, d->death.queue);
	if (d->headers.len > 0)
		(void)snprintf(seen->header, sizeof(seen->header), "%.30s=%.30s",
			       d->headers.items[0].key, d->headers.items[0].value);
	if (d->body.len > 0) {
		seen->body_first = d->body.data[0];
		seen->body_last = d->body.data[d->body.len - 1];
	}
}

static inline void on_delivered(void *ctx, const struct delivery *delivery)
{
	struct watcher *watcher = ctx;

	assert_true(watcher->seen_len < SEEN_MAX);
	seen_fill(&watcher->seen[watcher->seen_len++], delivery);
	if (watcher->ack_at_once)
		assert_done(consumer_ack(watcher->consumer, delivery->epoch, delivery->tag, &err));
}

static inline void on_control(void *ctx, const struct delivery *delivery)
{
	struct watcher *watcher = ctx;

	if (delivery->id == NULL || strncmp(delivery->id, "heard-", 6) != 0)
		return;
	assert_int_equal(delivery->body.len, strlen(delivery->id));
	seen_copy(watcher->heard, delivery->id);
	watcher->heard_len++;
}

static inline void on_connected(void *ctx, uint64_t epoch)
{
	assert_true(epoch > 0);
	((struct watcher *)ctx)->connected++;
}

static inline void on_lost(void *ctx, const struct err *why)
{
	((struct watcher *)ctx)->lost++;
	((struct watcher *)ctx)->lost_why = *why;
}

static inline void on_blocked(void *ctx, bool blocked, const char *why)
{
	assert_non_null(why);
	((struct watcher *)ctx)->blocked += blocked ? 1 : -1;
}

static inline struct watcher *watcher_new(const struct carrier_config *with, enum source source,
					  const char *key)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));
	struct consumer_hooks hooks = {.delivered = on_delivered,
				       .lost = on_lost,
				       .connected = on_connected,
				       .blocked = on_blocked,
				       .control = on_control,
				       .ctx = watcher};

	assert_non_null(watcher);
	assert_done(consumer_open(&watcher->consumer, with, source, key, &hooks, &err));
	return watcher;
}

static inline void watcher_free(struct watcher *watcher)
{
	consumer_close(watcher->consumer);
	free(watcher);
}

/* Runs the loop until `*counter` reaches `wanted` or the time is over. */
static inline bool watcher_until(struct watcher *watcher, const int *counter, int wanted, int ms)
{
	int64_t end_us = clock_mono_us() + (int64_t)ms * 1000;

	for (;;) {
		int64_t left_ms = (end_us - clock_mono_us()) / 1000;
		int own_ms = consumer_timeout_ms(watcher->consumer);
		struct pollfd item = {.fd = consumer_fd(watcher->consumer), .events = POLLIN};

		if (counter != NULL && *counter >= wanted)
			return true;
		if (left_ms <= 0)
			return false;
		if (own_ms >= 0 && own_ms < left_ms)
			left_ms = own_ms;
		(void)poll(&item, 1, (int)left_ms);
		assert_done(consumer_dispatch(watcher->consumer, &err));
	}
}

static inline void watcher_run(struct watcher *watcher, int ms)
{
	(void)watcher_until(watcher, NULL, 0, ms);
}

/* Until `wanted` deliveries in all have come; fails after ten seconds. */
static inline void watcher_expect(struct watcher *watcher, size_t wanted)
{
	int64_t end_us = clock_mono_us() + 15000000;

	while (watcher->seen_len < wanted && clock_mono_us() < end_us)
		watcher_run(watcher, 20);
	if (watcher->seen_len < wanted)
		fail_msg("%zu deliveries came, %zu were expected", watcher->seen_len, wanted);
}

/* What an earlier test has said is heard again: the last one tells. */
static inline void watcher_hears(struct watcher *watcher, const char *last)
{
	int64_t end_us = clock_mono_us() + 15000000;

	while (strcmp(watcher->heard, last) != 0 && clock_mono_us() < end_us)
		watcher_run(watcher, 20);
	assert_string_equal(watcher->heard, last);
}

static inline void watcher_ack(struct watcher *watcher, size_t i)
{
	assert_done(consumer_ack(watcher->consumer, watcher->seen[i].epoch, watcher->seen[i].tag,
				 &err));
}

/* --- messages --------------------------------------------------------- */

static inline struct message test_message(const char *id)
{
	return (struct message){.body = {(const uint8_t *)id, strlen(id)}, .id = id};
}

static inline void send_now(const struct carrier_config *with, enum route route,
			    const struct message *message)
{
	struct publisher *publisher;

	assert_done(publisher_open(&publisher, with, &err));
	assert_done(publisher_send_wait(publisher, route, message, 15000, &err));
	publisher_close(publisher);
}

/* How many messages are ready in a queue of the topology; -1: no such queue. */
static inline int64_t depth(const struct carrier_config *with, const char *suffix)
{
	CLEANUP(arena_cleanup) struct arena arena;
	struct carrier_report report;
	char name[TOPOLOGY_NAME_BYTES];

	arena_init(&arena, 1 << 16);
	topology_name(with->prefix, suffix, name);
	assert_done(carrier_inspect(&arena, with, &report, &err));
	for (size_t i = 0; i < report.queues_len; i++) {
		if (strcmp(report.queues[i].name, name) == 0)
			return report.queues[i].messages;
	}
	fail_msg("the report has no queue '%s'", name);
	return 0;
}

/* A quorum queue counts a moment later than it confirms. */
static inline void expect_depth(const struct carrier_config *with, const char *suffix,
				int64_t wanted)
{
	int64_t got = 0;

	for (int i = 0; i < 100; i++) {
		got = depth(with, suffix);
		if (got == wanted)
			return;
		(void)poll(NULL, 0, 50);
	}
	fail_msg("'%s' has %lld messages, %lld were expected", suffix, (long long)got,
		 (long long)wanted);
}

/* --- fixtures --------------------------------------------------------- */

/* For groups: the topology is made once and removed at the end. */
static inline int make_topology(void **state)
{
	(void)state;
	config = test_config(test_url());
	assert_done(carrier_declare(&config, &err));
	return 0;
}

static inline int remove_topology(void **state)
{
	(void)state;
	raw_remove(config.url, config.prefix);
	return 0;
}

/* For tests: each starts from empty queues. */
static inline int empty_queues(void **state)
{
	(void)state;
	raw_purge(config.url);
	return 0;
}

#define broker_test(name) cmocka_unit_test_setup(name, empty_queues)

#endif
