/*
 * test_broker.c - messages of strangers through a real broker, whose URL is in
 * SBX_TEST_BROKER_URL; what any carrier does is in test_conformance.c.
 * Every test starts from empty queues; the topology is made once, under a
 * prefix of this process, and removed at the end.
 */
#include "tests/unit/queue/broker.h"

#include "schema/limits.h"

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
	assert_int_equal(seen->timestamp_us, 0);
	assert_int_equal(seen->body_len, 0);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		broker_test(too_large_a_message_is_cut_and_rejected_whole),
		broker_test(strange_properties_count_as_absent),
	};

	return cmocka_run_group_tests(tests, make_topology, remove_topology);
}
