/* test_filter.c - which letters are meant, and letters as lines that come back. */
#include "producer/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "producer/record.h"
#include "schema/limits.h"

/* --- filters ---------------------------------------------------------- */

struct sample {
	const char *id;
	const char *reason;
	const char *tenant;
	int64_t last_at_ms;
	int64_t timestamp_us;
};

static enum filter_verdict judge(struct filter *filter, const struct sample *sample)
{
	const struct delivery delivery = {
		.death = {.reason = sample->reason, .last_at_ms = sample->last_at_ms},
		.timestamp_us = sample->timestamp_us,
	};
	const struct letter letter = {
		.delivery = &delivery, .id = sample->id, .tenant = sample->tenant};

	return filter_judge(filter, &letter);
}

static void each_condition_must_hold(void **state)
{
	const struct sample sample = {"build-1", "limit.wall", "acme", 1000000, 1};
	const struct sample bare = {"?", NULL, NULL, 0, 0};
	struct filter filters[] = {
		{0},
		{.reason = "limit.*"},
		{.tenant = "acme"},
		{.id = "build-[0-9]"},
		{.now_ms = 1000500, .since_ms = 500},
		{.reason = "limit.*", .tenant = "acme", .id = "*", .now_ms = 1, .since_ms = 1},
	};
	struct filter others[] = {
		{.reason = "limit"},
		{.tenant = "other"},
		{.id = "build"},
		{.now_ms = 1000501, .since_ms = 500},
		{.reason = "limit.*", .tenant = "other"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		assert_int_equal(judge(&filters[i], &sample), FILTER_TAKE);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_int_equal(judge(&others[i], &sample), FILTER_SKIP);
	for (size_t i = 1; i < ARRAY_LEN(filters); i++)
		assert_int_equal(judge(&filters[i], &bare), FILTER_SKIP);
	assert_int_equal(judge(&(struct filter){.reason = "-"}, &bare), FILTER_TAKE);
}

static void without_a_time_of_death_that_of_enqueueing_counts(void **state)
{
	struct filter filter = {.now_ms = 10000000, .since_ms = 1000};
	const struct sample recent = {"a", "x", "t", 0, 9999000000};
	const struct sample old = {"a", "x", "t", 0, 9998999999};
	const struct sample absurd = {"a", "x", "t", 0, INT64_MAX};

	(void)state;
	assert_int_equal(judge(&filter, &recent), FILTER_TAKE);
	assert_int_equal(judge(&filter, &old), FILTER_SKIP);
	assert_int_equal(judge(&filter, &absurd), FILTER_SKIP);
}

static void the_limit_counts_what_is_taken(void **state)
{
	struct filter filter = {.reason = "x", .limit = 2};
	const struct sample yes = {"a", "x", "t", 1, 1};
	const struct sample no = {"a", "y", "t", 1, 1};

	(void)state;
	assert_int_equal(judge(&filter, &no), FILTER_SKIP);
	assert_int_equal(judge(&filter, &yes), FILTER_TAKE);
	assert_int_equal(judge(&filter, &no), FILTER_SKIP);
	assert_int_equal(judge(&filter, &yes), FILTER_TAKE);
	assert_int_equal(judge(&filter, &yes), FILTER_STOP);
}

/* --- records ---------------------------------------------------------- */

static void assert_returns(const struct delivery *delivery)
{
	struct arena arena;
	struct value *tree;
	struct message message;
	struct err err = {0};
	struct buf text;

	arena_init(&arena, 4 * (size_t)LIMIT_ARENA_BYTES);
	buf_init(&text, LIMIT_JSON_BYTES);
	assert_int_equal(record_from_delivery(&arena, delivery, &tree, &err), 0);
	value_to_json(tree, 0, &text);
	assert_null(memchr(text.data, '\n', text.len));
	if (value_from_json(&arena, buf_text(&text), text.len, &tree, &err) < 0 ||
	    record_to_message(&arena, tree, &message, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(message.body.len, delivery->body.len);
	if (message.body.len > 0)
		assert_memory_equal(message.body.data, delivery->body.data, message.body.len);
	assert_int_equal(message.headers.len, delivery->headers.len);
	for (size_t i = 0; i < message.headers.len; i++) {
		assert_string_equal(message.headers.items[i].key, delivery->headers.items[i].key);
		assert_string_equal(message.headers.items[i].value,
				    delivery->headers.items[i].value);
	}
	assert_int_equal(message.id == NULL, delivery->id == NULL);
	if (message.id != NULL)
		assert_string_equal(message.id, delivery->id);
	if (delivery->death.reason != NULL)
		assert_string_equal(message.death.reason, delivery->death.reason);
	assert_int_equal(message.death.last_at_ms, delivery->death.last_at_ms);
	assert_int_equal(message.attempts, delivery->attempts);
	assert_int_equal(message.priority, delivery->priority);
	assert_int_equal(message.timestamp_us, delivery->timestamp_us);
	buf_release(&text);
	arena_release(&arena);
}

static void a_letter_comes_back_as_it_was(void **state)
{
	struct pair headers[] = {{"a", "b"}, {"a", "\xff\n"}, {"\xc3\xbc", ""}};
	static uint8_t large[LIMIT_CARRIED_BYTES];
	struct delivery delivery = {
		.id = "x\xff",
		.death = {.reason = "host.fault", .last_at_ms = 7},
		.attempts = 3,
		.priority = PRIORITY_LOW,
		.timestamp_us = 1700000000123456,
		.headers = {headers, ARRAY_LEN(headers)},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i * 7);
	for (size_t len = 0; len < 600; len++) {
		delivery.body = (struct bytes){large, len};
		delivery.size_bytes = len;
		assert_returns(&delivery);
	}
	delivery.body = (struct bytes){large, sizeof(large)};
	delivery.size_bytes = sizeof(large);
	assert_returns(&delivery);
	delivery = (struct delivery){.body = {(const uint8_t *)"{\"base64\":\"AA==\"}", 17},
				     .size_bytes = 17};
	assert_returns(&delivery);
}

static void what_was_not_carried_whole_is_no_record(void **state)
{
	const struct delivery delivery = {.body = {(const uint8_t *)"x", 1}, .size_bytes = 2};
	struct arena arena;
	struct value *tree;
	struct err err = {0};

	(void)state;
	arena_init(&arena, 1 << 20);
	assert_int_equal(record_from_delivery(&arena, &delivery, &tree, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_condition_must_hold),
		cmocka_unit_test(without_a_time_of_death_that_of_enqueueing_counts),
		cmocka_unit_test(the_limit_counts_what_is_taken),
		cmocka_unit_test(a_letter_comes_back_as_it_was),
		cmocka_unit_test(what_was_not_carried_whole_is_no_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
