/*
 * test_broker.c - the RabbitMQ carrier against a real broker, whose URL is in
 * SBX_TEST_BROKER_URL. Every test starts from empty queues; the topology is
 * made once, under a prefix of this process, and removed at the end.
 */
#include "tests/unit/queue/broker.h"

#include <sys/wait.h>

#include "schema/limits.h"

static struct carrier_config config;

/* --- there and back --------------------------------------------------- */

static void a_job_arrives_as_it_was_sent(void **state)
{
	static const enum job_priority order[] = {PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW};
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct pair header = {"traceparent", "00-aa-bb-01"};
	char name[TOPOLOGY_NAME_BYTES];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		struct message message = test_message("job-1");

		message.priority = order[i];
		message.correlation_id = "c";
		message.reply_to = "somewhere.else";
		message.timestamp_s = 1700000000;
		message.headers = (struct pair_list){&header, 1};
		send_now(&config, ROUTE_JOB, &message);
		watcher_expect(watcher, i + 1);
		topology_name(config.prefix, topology_job_suffix(order[i]), name);
		assert_string_equal(watcher->seen[i].id, "job-1");
		assert_string_equal(watcher->seen[i].queue, name);
		assert_string_equal(watcher->seen[i].reply_to, "somewhere.else");
		assert_string_equal(watcher->seen[i].header, "traceparent=00-aa-bb-01");
		assert_int_equal(watcher->seen[i].priority, order[i]);
		assert_int_equal(watcher->seen[i].timestamp_s, 1700000000);
		assert_int_equal(watcher->seen[i].body_len, 5);
		assert_int_equal(watcher->seen[i].attempts, 0);
		assert_int_equal(watcher->seen[i].redeliveries, 0);
		watcher_ack(watcher, i);
	}
	watcher_free(watcher);
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		expect_depth(&config, topology_job_suffix(order[i]), 0);
}

static void what_is_not_acked_comes_again(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct message message = test_message("again");

	(void)state;
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	assert_done(consumer_handback(watcher->consumer, watcher->seen[0].epoch,
				      watcher->seen[0].tag, &err));
	watcher_expect(watcher, 2);
	assert_string_equal(watcher->seen[1].id, "again");
	assert_int_equal(watcher->seen[1].redeliveries, 1);
	watcher_free(watcher);

	watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_expect(watcher, 1);
	assert_true(watcher->seen[0].redeliveries >= 1);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
	expect_depth(&config, "jobs", 0);
}

static void an_old_epoch_settles_nothing(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct message message = test_message("kept");

	(void)state;
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	assert_done(consumer_ack(watcher->consumer, watcher->seen[0].epoch + 1,
				 watcher->seen[0].tag, &err));
	watcher_free(watcher);
	expect_depth(&config, "jobs", 1);
}

static void no_more_than_the_prefetch_is_held(void **state)
{
	struct carrier_config two = config;
	struct publisher *publisher;
	struct message message = test_message("many");
	struct watcher *watcher;

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	for (int i = 0; i < 5; i++) {
		message.priority = PRIORITY_NORMAL;
		assert_done(publisher_send(publisher, ROUTE_JOB, &message, 0, &err));
		message.priority = PRIORITY_HIGH;
		assert_done(publisher_send(publisher, ROUTE_JOB, &message, 0, &err));
	}
	assert_done(publisher_flush(publisher, 10000, &err));
	publisher_close(publisher);
	two.prefetch = 2;
	watcher = watcher_new(&two, SOURCE_JOBS, NULL);
	watcher_expect(watcher, 4);
	watcher_run(watcher, 200);
	assert_int_equal(watcher->seen_len, 4);
	for (size_t i = 0; i < 10; i++) {
		watcher_expect(watcher, i + 1);
		watcher_ack(watcher, i);
	}
	watcher_free(watcher);
}

static void eight_mebibytes_travel_whole(void **state)
{
	uint8_t *body = calloc(1, LIMIT_MESSAGE_BYTES + 1);
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct message message = {.id = "big", .body = {body, LIMIT_MESSAGE_BYTES}};
	struct publisher *publisher;
	struct err why = {0};

	(void)state;
	assert_non_null(body);
	body[0] = 7;
	body[LIMIT_MESSAGE_BYTES - 1] = 9;
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	assert_int_equal(watcher->seen[0].body_len, LIMIT_MESSAGE_BYTES);
	assert_int_equal(watcher->seen[0].size_bytes, LIMIT_MESSAGE_BYTES);
	assert_int_equal(watcher->seen[0].body_first, 7);
	assert_int_equal(watcher->seen[0].body_last, 9);
	watcher_ack(watcher, 0);
	watcher_free(watcher);

	message.body.len++;
	assert_done(publisher_open(&publisher, &config, &err));
	assert_int_equal(publisher_send(publisher, ROUTE_JOB, &message, 0, &why), -1);
	assert_int_equal(why.kind, ERR_INPUT);
	publisher_close(publisher);
	free(body);
}

/* --- strangers -------------------------------------------------------- */

static void raw_publish(const char *exchange, const char *key, amqp_basic_properties_t *properties,
			amqp_bytes_t body)
{
	amqp_connection_state_t raw = raw_open(config.url);

	assert_int_equal(amqp_basic_publish(raw, 1, amqp_cstring_bytes(exchange),
					    amqp_cstring_bytes(key), 1, 0, properties, body),
			 0);
	raw_close(raw);
}

static int take_letter(void *ctx, const struct delivery *delivery)
{
	seen_fill(ctx, delivery);
	return 1;
}

static void too_large_a_message_is_cut_and_rejected_whole(void **state)
{
	const size_t size = LIMIT_MESSAGE_BYTES + 3000000;
	uint8_t *body = calloc(1, size);
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	amqp_basic_properties_t properties = {0};
	struct message message = test_message("after");
	struct seen letter = {0};

	(void)state;
	assert_non_null(body);
	raw_publish(config.prefix, "jobs.low", &properties, (amqp_bytes_t){size, body});
	free(body);
	watcher_expect(watcher, 1);
	assert_int_equal(watcher->seen[0].body_len, LIMIT_MESSAGE_BYTES + 1);
	assert_int_equal(watcher->seen[0].size_bytes, size);
	assert_string_equal(watcher->seen[0].id, "");
	assert_done(consumer_reject(watcher->consumer, watcher->seen[0].epoch, watcher->seen[0].tag,
				    &err));
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 2);
	watcher_ack(watcher, 1);
	watcher_free(watcher);

	expect_depth(&config, "dead", 1);
	assert_done(carrier_visit_dead(&config, take_letter, &letter, &err));
	assert_int_equal(letter.size_bytes, size);
	assert_string_equal(letter.reason, "broker.rejected");
	assert_non_null(strstr(letter.from, "jobs.low"));
	assert_int_equal(letter.priority, PRIORITY_LOW);
	assert_true(letter.last_at_ms > 1600000000000);
	expect_depth(&config, "dead", 0);
}

/* Properties and headers of every wrong kind must not reach anybody. */
static void strange_properties_count_as_absent(void **state)
{
	amqp_table_entry_t headers[] = {
		{amqp_cstring_bytes("x-sbx-attempts"),
		 {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("seven")}},
		{amqp_cstring_bytes("x-sbx-first-at"),
		 {.kind = AMQP_FIELD_KIND_I64, .value.i64 = -5}},
		{amqp_cstring_bytes("x-sbx-reason"),
		 {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
		{amqp_cstring_bytes("x-sbx-error"),
		 {.kind = AMQP_FIELD_KIND_UTF8,
		  .value.bytes = {2, (void *)(uintptr_t) "\xff\xfe"}}},
		{amqp_cstring_bytes("x-death"),
		 {.kind = AMQP_FIELD_KIND_ARRAY, .value.array = {0, NULL}}},
		{amqp_cstring_bytes("x-death-mine"),
		 {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("no")}},
		{amqp_cstring_bytes("x-sbx-new"),
		 {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("no")}},
		{amqp_cstring_bytes("number"), {.kind = AMQP_FIELD_KIND_I32, .value.i32 = 3}},
		{amqp_cstring_bytes("kept"),
		 {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("yes")}},
	};
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_REPLY_TO_FLAG |
			  AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_HEADERS_FLAG,
		.message_id = {3, (void *)(uintptr_t) "a\0b"},
		.reply_to = {2, (void *)(uintptr_t) "\xc0\x80"},
		.timestamp = UINT64_MAX,
		.headers = {ARRAY_LEN(headers), headers},
	};
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	const struct seen *seen = &watcher->seen[0];

	(void)state;
	raw_publish(config.prefix, "jobs", &properties, amqp_empty_bytes);
	watcher_expect(watcher, 1);
	assert_string_equal(seen->id, "");
	assert_string_equal(seen->reply_to, "");
	assert_string_equal(seen->reason, "");
	assert_string_equal(seen->error, "");
	assert_string_equal(seen->header, "kept=yes");
	assert_int_equal(seen->attempts, 0);
	assert_int_equal(seen->first_at_ms, 0);
	assert_int_equal(seen->timestamp_s, 0);
	assert_int_equal(seen->body_len, 0);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
}

/* --- retries and dead letters ----------------------------------------- */

static void a_retry_comes_back_to_its_queue(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct pair header = {"traceparent", "t"};
	struct message message = test_message("later");
	int64_t sent_us;

	(void)state;
	message.priority = PRIORITY_HIGH;
	message.attempts = 1;
	message.bucket = WAIT_5S;
	message.headers = (struct pair_list){&header, 1};
	message.death = (struct message_death){
		.reason = "host.fault", .error = "no disk", .worker = "w1", .first_at_ms = 1234};
	sent_us = clock_mono_us();
	send_now(&config, ROUTE_RETRY, &message);
	watcher_run(watcher, 4000);
	assert_int_equal(watcher->seen_len, 0);
	watcher_expect(watcher, 1);
	assert_in_range(clock_mono_us() - sent_us, 4900000, 9000000);
	assert_string_equal(watcher->seen[0].id, "later");
	assert_int_equal(watcher->seen[0].priority, PRIORITY_HIGH);
	assert_int_equal(watcher->seen[0].attempts, 1);
	assert_int_equal(watcher->seen[0].first_at_ms, 1234);
	assert_string_equal(watcher->seen[0].reason, "host.fault");
	assert_string_equal(watcher->seen[0].error, "no disk");
	assert_string_equal(watcher->seen[0].worker, "w1");
	/* The broker's own notes of the journey are not handed on. */
	assert_string_equal(watcher->seen[0].header, "traceparent=t");

	/* And a second time, which an x-death left in would have lost. */
	message.attempts = 2;
	send_now(&config, ROUTE_RETRY, &message);
	watcher_ack(watcher, 0);
	watcher_expect(watcher, 2);
	assert_int_equal(watcher->seen[1].attempts, 2);
	watcher_ack(watcher, 1);
	watcher_free(watcher);
	expect_depth(&config, "jobs.high", 0);
	expect_depth(&config, "wait.5s", 0);
}

struct visits {
	struct seen seen[16];
	size_t len;
	const char *ack;  /* the id to take, or NULL */
	const char *stop; /* the id to stop at, or NULL */
	const char *add;  /* sent to the dead letters at the first visit */
};

static int on_letter(void *ctx, const struct delivery *delivery)
{
	struct visits *visits = ctx;

	if (visits->add != NULL) {
		struct message message = test_message(visits->add);

		visits->add = NULL;
		send_now(&config, ROUTE_DEAD, &message);
	}
	assert_true(visits->len < ARRAY_LEN(visits->seen));
	seen_fill(&visits->seen[visits->len++], delivery);
	if (visits->stop != NULL && strcmp(delivery->id, visits->stop) == 0)
		return -1;
	return visits->ack != NULL && strcmp(delivery->id, visits->ack) == 0;
}

static void assert_letters(const char *wanted)
{
	struct visits visits = {0};
	char got[64] = "";

	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	for (size_t i = 0; i < visits.len; i++)
		(void)strcat(got, visits.seen[i].id);
	assert_string_equal(got, wanted);
}

static void dead_letters_tell_why_and_keep_their_order(void **state)
{
	static const char *const ids[] = {"a", "b", "c", "d", "e"};
	struct visits visits = {0};

	(void)state;
	assert_letters("");
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct message message = test_message(ids[i]);

		message.attempts = 5;
		message.priority = PRIORITY_LOW;
		message.reply_to = "sbx.reply.me";
		message.death = (struct message_death){.reason = "job.attempts",
						       .error = "source is away",
						       .worker = "w2",
						       .first_at_ms = 1000,
						       .last_at_ms = 2000,
						       .queue = "sbx.jobs.low"};
		send_now(&config, ROUTE_DEAD, &message);
	}
	expect_depth(&config, "dead", 5);
	visits.ack = "c";
	visits.add = "f";
	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	assert_int_equal(visits.len, 5);
	assert_string_equal(visits.seen[0].reason, "job.attempts");
	assert_string_equal(visits.seen[0].error, "source is away");
	assert_string_equal(visits.seen[0].worker, "w2");
	assert_string_equal(visits.seen[0].from, "sbx.jobs.low");
	assert_string_equal(visits.seen[0].reply_to, "sbx.reply.me");
	assert_int_equal(visits.seen[0].attempts, 5);
	assert_int_equal(visits.seen[0].first_at_ms, 1000);
	assert_int_equal(visits.seen[0].last_at_ms, 2000);
	assert_int_equal(visits.seen[0].priority, PRIORITY_LOW);
	expect_depth(&config, "dead", 5);

	visits = (struct visits){.ack = "a", .stop = "d"};
	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	assert_int_equal(visits.len, 3);
	expect_depth(&config, "dead", 4);
	assert_letters("bdef");
	assert_letters("bdef");
}

/* --- publishing ------------------------------------------------------- */

static struct carrier_config other_config(char prefix[64], const char *suffix)
{
	struct carrier_config other = config;

	(void)snprintf(prefix, 64, "%s-%s", config.prefix, suffix);
	other.prefix = prefix;
	other.passive = true;
	return other;
}

static void raw_exchange(const char *name)
{
	amqp_connection_state_t raw = raw_open(config.url);

	(void)amqp_exchange_declare(raw, 1, amqp_cstring_bytes(name), amqp_cstring_bytes("topic"),
				    0, 0, 1, 0, amqp_empty_table);
	raw_done(raw);
	raw_close(raw);
}

static void what_no_queue_takes_is_not_confirmed(void **state)
{
	char prefix[64];
	struct carrier_config other = other_config(prefix, "alone");
	struct message message = test_message("nowhere");
	struct publisher *publisher;
	struct publisher_fate fate;
	struct err why = {0};

	(void)state;
	raw_exchange(prefix);
	assert_done(publisher_open(&publisher, &other, &err));
	for (uint64_t tag = 70; tag < 73; tag++)
		assert_done(publisher_send(publisher, ROUTE_JOB, &message, tag, &err));
	for (uint64_t tag = 70; tag < 73; tag++) {
		assert_int_equal(publisher_next(publisher, 10000, &fate, &why), 1);
		assert_int_equal(fate.tag, tag);
		assert_false(fate.confirmed);
		assert_non_null(strstr(fate.why, "unroutable: 312"));
	}
	assert_int_equal(publisher_send_wait(publisher, ROUTE_JOB, &message, 10000, &why), -1);
	assert_int_equal(why.kind, ERR_NOT_FOUND);
	assert_int_equal(publisher_next(publisher, 0, &fate, &why), 0);
	publisher_close(publisher);
}

static void a_missing_exchange_says_what_to_do(void **state)
{
	char prefix[64];
	struct carrier_config other = other_config(prefix, "none");
	struct message message = test_message("nowhere");
	struct publisher *publisher;
	struct err why = {0};

	(void)state;
	assert_done(publisher_open(&publisher, &other, &err));
	assert_int_equal(publisher_send_wait(publisher, ROUTE_JOB, &message, 10000, &why), -1);
	assert_int_equal(why.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, "definitions.json"));
	assert_int_equal(publisher_send(publisher, ROUTE_JOB, &message, 1, &why), -1);
	assert_int_equal(why.kind, ERR_PEER);
	publisher_close(publisher);
	assert_int_equal(carrier_declare(&other, &why), -1);
	assert_int_equal(why.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, prefix));
}

static void every_message_has_one_fate(void **state)
{
	enum { MESSAGES = 3000 };
	static bool known[MESSAGES];
	struct message message = test_message("counted");
	struct publisher *publisher;
	struct publisher_fate fate;
	int confirmed = 0;

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	for (uint64_t tag = 0; tag < MESSAGES; tag++) {
		message.key = "t.counted";
		assert_done(publisher_send(publisher, tag % 3 == 0 ? ROUTE_EVENT : ROUTE_RESULT,
					   &message, tag, &err));
		while (publisher_next(publisher, 0, &fate, NULL) == 1) {
			assert_true(fate.confirmed && !known[fate.tag]);
			known[fate.tag] = true;
			confirmed++;
		}
	}
	assert_done(publisher_flush(publisher, 10000, &err));
	while (publisher_next(publisher, 0, &fate, NULL) == 1) {
		assert_true(fate.confirmed && !known[fate.tag]);
		known[fate.tag] = true;
		confirmed++;
	}
	publisher_close(publisher);
	/* Events have none. */
	assert_int_equal(confirmed, MESSAGES / 3 * 2);
	expect_depth(&config, "results", MESSAGES / 3 * 2);
}

static void fates_nobody_collects_are_bounded(void **state)
{
	struct message message = test_message("idle");
	struct publisher *publisher;
	struct publisher_fate fate;
	struct err why = {0};
	uint64_t sent = 0;

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	while (publisher_send(publisher, ROUTE_JOB, &message, sent, &why) == 0)
		sent++;
	assert_int_equal(why.kind, ERR_LIMIT);
	assert_int_equal(sent, PUBLISHER_FATES);
	for (uint64_t i = 0; i < sent; i++)
		assert_int_equal(publisher_next(publisher, 10000, &fate, &why), 1);
	assert_done(publisher_send(publisher, ROUTE_JOB, &message, 0, &err));
	publisher_close(publisher);
}

static void malformed_messages_are_refused(void **state)
{
	char long_id[300];
	struct message rows[] = {
		test_message(long_id),
		test_message("no-key"),
		test_message("wrong-reply"),
	};
	static const enum route routes[] = {ROUTE_JOB, ROUTE_RESULT, ROUTE_REPLY};
	struct publisher *publisher;

	(void)state;
	(void)memset(long_id, 'x', sizeof(long_id));
	long_id[sizeof(long_id) - 1] = '\0';
	rows[0].body.len = 1;
	rows[2].reply_to = "sbx.jobs";
	assert_done(publisher_open(&publisher, &config, &err));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err why = {0};

		assert_int_equal(publisher_send(publisher, routes[i], &rows[i], 0, &why), -1);
		assert_int_equal(why.kind, ERR_INPUT);
	}
	rows[1].key = "t.x";
	assert_done(publisher_send_wait(publisher, ROUTE_RESULT, &rows[1], 10000, &err));
	publisher_close(publisher);
}

/* --- results, replies, events ----------------------------------------- */

static void results_and_events_reach_who_asked(void **state)
{
	struct watcher *mine = watcher_new(&config, SOURCE_RESULTS, "t1.job-7");
	struct watcher *events = watcher_new(&config, SOURCE_EVENTS, "job.job-7.#");
	struct watcher *all = watcher_new(&config, SOURCE_RESULTS, NULL);
	struct message message = test_message("job-7.1");
	struct publisher *publisher;
	char reply_to[64];

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	message.key = "t1.job-8";
	assert_done(publisher_send_wait(publisher, ROUTE_RESULT, &message, 10000, &err));
	message.key = "t1.job-7";
	assert_done(publisher_send_wait(publisher, ROUTE_RESULT, &message, 10000, &err));
	message.key = "job.job-7.state";
	assert_done(publisher_send(publisher, ROUTE_EVENT, &message, 0, &err));
	message.key = "job.job-9.state";
	assert_done(publisher_send(publisher, ROUTE_EVENT, &message, 0, &err));
	watcher_expect(mine, 1);
	watcher_expect(events, 1);
	watcher_expect(all, 2);
	watcher_ack(mine, 0);
	watcher_ack(all, 0);
	watcher_ack(all, 1);
	assert_string_equal(mine->seen[0].key, "t1.job-7");
	assert_string_equal(events->seen[0].key, "job.job-7.state");

	/* The queue of one's own may be named as reply_to. */
	(void)snprintf(reply_to, sizeof(reply_to), "%s", mine->seen[0].queue);
	assert_true(carrier_reply_to_valid(config.prefix, reply_to));
	message.reply_to = reply_to;
	assert_done(publisher_send_wait(publisher, ROUTE_REPLY, &message, 10000, &err));
	watcher_expect(mine, 2);
	assert_string_equal(mine->seen[1].id, "job-7.1");
	assert_string_equal(mine->seen[1].reply_to, "");
	publisher_close(publisher);
	watcher_run(events, 100);
	assert_int_equal(events->seen_len, 1);
	watcher_free(mine);
	watcher_free(events);
	watcher_free(all);
	expect_depth(&config, "results", 0);
}

/* --- a consumer's life ------------------------------------------------ */

static void a_stopped_consumer_settles_but_takes_nothing(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct message message = test_message("first");

	(void)state;
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	assert_done(consumer_stop(watcher->consumer, &err));
	send_now(&config, ROUTE_JOB, &message);
	watcher_run(watcher, 300);
	assert_int_equal(watcher->seen_len, 1);
	watcher_ack(watcher, 0);
	watcher_run(watcher, 100);
	assert_int_equal(watcher->lost, 0);
	expect_depth(&config, "jobs", 1);
	watcher_free(watcher);
	expect_depth(&config, "jobs", 1);
}

static void heartbeats_go_on_while_idle(void **state)
{
	struct carrier_config quick = config;
	struct message message = test_message("still here");
	struct watcher *watcher;
	struct publisher *publisher;
	struct publisher_fate fate;

	(void)state;
	quick.heartbeat_s = 1;
	watcher = watcher_new(&quick, SOURCE_JOBS, NULL);
	assert_true(consumer_timeout_ms(watcher->consumer) <= 500);
	assert_done(publisher_open(&publisher, &quick, &err));
	for (int i = 0; i < 14; i++) {
		watcher_run(watcher, publisher_timeout_ms(publisher));
		assert_int_equal(publisher_next(publisher, 0, &fate, NULL), 0);
	}
	assert_int_equal(watcher->lost, 0);
	assert_int_equal(publisher_next(publisher, 3500, &fate, NULL), 0);
	assert_done(publisher_send_wait(publisher, ROUTE_JOB, &message, 10000, &err));
	watcher_free(watcher);
	publisher_close(publisher);
}

static void a_deleted_queue_is_made_again(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	amqp_connection_state_t raw = raw_open(config.url);
	struct message message = test_message("after");
	char name[TOPOLOGY_NAME_BYTES];

	(void)state;
	topology_name(config.prefix, "jobs", name);
	(void)amqp_queue_delete(raw, 1, amqp_cstring_bytes(name), 0, 0);
	raw_done(raw);
	raw_close(raw);
	assert_true(watcher_until(watcher, &watcher->connected, 2, 15000));
	assert_int_equal(watcher->lost, 1);
	assert_non_null(strstr(watcher->lost_why.message, "deleted"));
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
}

static void a_queue_of_another_kind_is_named(void **state)
{
	char prefix[64];
	struct carrier_config other = other_config(prefix, "classic");
	amqp_connection_state_t raw = raw_open(config.url);
	struct consumer_hooks hooks = {.delivered = on_delivered};
	struct consumer *consumer;
	char name[TOPOLOGY_NAME_BYTES];
	struct err why = {0};

	(void)state;
	other.passive = false;
	topology_name(prefix, "jobs", name);
	(void)amqp_queue_declare(raw, 1, amqp_cstring_bytes(name), 0, 1, 0, 0, amqp_empty_table);
	raw_done(raw);
	raw_close(raw);
	assert_int_equal(consumer_open(&consumer, &other, SOURCE_JOBS, NULL, &hooks, &why), -1);
	assert_int_equal(why.kind, ERR_CONFLICT);
	assert_non_null(strstr(why.message, name));
	assert_non_null(strstr(why.message, "delete it"));
	raw_remove(config.url, prefix);
}

/* --- looking ---------------------------------------------------------- */

static void the_report_names_what_is_missing(void **state)
{
	CLEANUP(arena_cleanup) struct arena arena;
	char prefix[64];
	struct carrier_config other = other_config(prefix, "missing");
	struct carrier_report report;
	struct message message = test_message("one");
	struct watcher *watcher;

	(void)state;
	arena_init(&arena, 1 << 16);
	assert_done(carrier_inspect(&arena, &other, &report, &err));
	assert_non_null(strstr(report.server, "RabbitMQ 3."));
	assert_int_equal(report.queues_len, topology_queues_len);
	for (size_t i = 0; i < report.queues_len; i++)
		assert_int_equal(report.queues[i].messages, -1);
	send_now(&config, ROUTE_DEAD, &message);
	expect_depth(&config, "dead", 1);
	watcher = watcher_new(&config, SOURCE_RESULTS, NULL);
	assert_done(carrier_inspect(&arena, &config, &report, &err));
	for (size_t i = 0; i < report.queues_len; i++) {
		bool results = strstr(report.queues[i].name, ".results") != NULL;

		assert_true(report.queues[i].messages >= 0);
		assert_int_equal(report.queues[i].consumers, results ? 1 : 0);
	}
	watcher_free(watcher);
}

static void many_may_declare_at_once(void **state)
{
	enum { CHILDREN = 4 };
	char prefix[64];
	struct carrier_config other = other_config(prefix, "race");
	pid_t children[CHILDREN];

	(void)state;
	other.passive = false;
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0) {
			struct err why = {0};
			int done = carrier_declare(&other, &why);

			if (done < 0)
				(void)fprintf(stderr, "%s\n", why.message);
			_exit(done < 0 ? 1 : 0);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		int status;

		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	other.passive = true;
	assert_done(carrier_declare(&other, &err));
	raw_remove(config.url, prefix);
}

/* --- an independent client -------------------------------------------- */

static void a_python_client_sees_the_same(void **state)
{
	char command[600];

	(void)state;
	(void)snprintf(command, sizeof(command),
		       "/usr/bin/python3 tests/system/test_wire_pika.py --prefix %s",
		       config.prefix);
	assert_int_equal(system(command), 0);
}

/* --- all -------------------------------------------------------------- */

static int empty(void **state)
{
	(void)state;
	raw_purge(config.url);
	return 0;
}

static int make(void **state)
{
	(void)state;
	config = test_config(test_url());
	assert_done(carrier_declare(&config, &err));
	return 0;
}

static int remove_all(void **state)
{
	(void)state;
	raw_remove(config.url, config.prefix);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_job_arrives_as_it_was_sent, empty),
		cmocka_unit_test_setup(what_is_not_acked_comes_again, empty),
		cmocka_unit_test_setup(an_old_epoch_settles_nothing, empty),
		cmocka_unit_test_setup(no_more_than_the_prefetch_is_held, empty),
		cmocka_unit_test_setup(eight_mebibytes_travel_whole, empty),
		cmocka_unit_test_setup(too_large_a_message_is_cut_and_rejected_whole, empty),
		cmocka_unit_test_setup(strange_properties_count_as_absent, empty),
		cmocka_unit_test_setup(a_retry_comes_back_to_its_queue, empty),
		cmocka_unit_test_setup(dead_letters_tell_why_and_keep_their_order, empty),
		cmocka_unit_test_setup(what_no_queue_takes_is_not_confirmed, empty),
		cmocka_unit_test_setup(a_missing_exchange_says_what_to_do, empty),
		cmocka_unit_test_setup(every_message_has_one_fate, empty),
		cmocka_unit_test_setup(fates_nobody_collects_are_bounded, empty),
		cmocka_unit_test_setup(malformed_messages_are_refused, empty),
		cmocka_unit_test_setup(results_and_events_reach_who_asked, empty),
		cmocka_unit_test_setup(a_stopped_consumer_settles_but_takes_nothing, empty),
		cmocka_unit_test_setup(heartbeats_go_on_while_idle, empty),
		cmocka_unit_test_setup(a_deleted_queue_is_made_again, empty),
		cmocka_unit_test_setup(a_queue_of_another_kind_is_named, empty),
		cmocka_unit_test_setup(the_report_names_what_is_missing, empty),
		cmocka_unit_test_setup(many_may_declare_at_once, empty),
		cmocka_unit_test_setup(a_python_client_sees_the_same, empty),
	};

	return cmocka_run_group_tests(tests, make, remove_all);
}
