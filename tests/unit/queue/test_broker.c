/*
 * test_broker.c - messages through a real broker, whose URL is in
 * SBX_TEST_BROKER_URL: there and back, from strangers, later again, dead.
 * Every test starts from empty queues; the topology is made once, under a
 * prefix of this process, and removed at the end.
 */
#include "tests/unit/queue/broker.h"

#include "schema/limits.h"

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
	const size_t size = LIMIT_CARRIED_BYTES + 3000000;
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
	assert_int_equal(watcher->seen[0].body_len, LIMIT_CARRIED_BYTES + 1);
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
	struct seen seen[32];
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
	size_t used = 0;

	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	for (size_t i = 0; i < visits.len; i++)
		used += (size_t)snprintf(got + used, sizeof(got) - used, "%s", visits.seen[i].id);
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

static void many_dead_letters_keep_their_order(void **state)
{
	struct visits visits = {.stop = "l"};

	(void)state;
	for (char id[] = "a"; id[0] <= 'n'; id[0]++) {
		struct message message = test_message(id);

		send_now(&config, ROUTE_DEAD, &message);
	}
	assert_letters("abcdefghijklmn");
	assert_letters("abcdefghijklmn");
	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	assert_int_equal(visits.len, 12);
	assert_letters("abcdefghijklmn");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		broker_test(a_job_arrives_as_it_was_sent),
		broker_test(what_is_not_acked_comes_again),
		broker_test(an_old_epoch_settles_nothing),
		broker_test(no_more_than_the_prefetch_is_held),
		broker_test(eight_mebibytes_travel_whole),
		broker_test(too_large_a_message_is_cut_and_rejected_whole),
		broker_test(strange_properties_count_as_absent),
		broker_test(a_retry_comes_back_to_its_queue),
		broker_test(dead_letters_tell_why_and_keep_their_order),
		broker_test(many_dead_letters_keep_their_order),
	};

	return cmocka_run_group_tests(tests, make_topology, remove_topology);
}
