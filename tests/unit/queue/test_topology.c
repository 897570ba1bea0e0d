/* test_topology.c - the tables against the rules that brokers were found to
 * need, and the small functions around them. */
#include "queue/topology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct topology_argument *argument(const struct topology_queue *queue, const char *key)
{
	for (size_t i = 0; i < TOPOLOGY_ARGUMENTS_MAX && queue->arguments[i].key != NULL; i++) {
		if (strcmp(queue->arguments[i].key, key) == 0)
			return &queue->arguments[i];
	}
	return NULL;
}

static const struct topology_exchange *exchange(const char *suffix)
{
	for (size_t i = 0; i < topology_exchanges_len; i++) {
		if (strcmp(topology_exchanges[i].suffix, suffix) == 0)
			return &topology_exchanges[i];
	}
	return NULL;
}

static bool bound(const char *from, const char *queue, const char *key)
{
	for (size_t i = 0; i < topology_bindings_len; i++) {
		const struct topology_binding *row = &topology_bindings[i];

		if (strcmp(row->exchange, from) == 0 && strcmp(row->queue, queue) == 0)
			return strcmp(row->key, key) == 0;
	}
	return false;
}

static void every_queue_says_what_brokers_must_be_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < topology_queues_len; i++) {
		const struct topology_queue *queue = &topology_queues[i];
		const struct topology_argument *type = argument(queue, "x-queue-type");

		assert_non_null(type);
		if (strcmp(type->text, "stream") == 0)
			continue;
		assert_string_equal(type->text, "quorum");
		assert_int_equal(argument(queue, "x-delivery-limit")->number, 1000000);
		if (argument(queue, "x-dead-letter-exchange") == NULL)
			continue;
		assert_non_null(exchange(argument(queue, "x-dead-letter-exchange")->text));
		/* Without both, the broker falls back to at-most-once silently. */
		assert_string_equal(argument(queue, "x-dead-letter-strategy")->text,
				    "at-least-once");
		assert_string_equal(argument(queue, "x-overflow")->text, "reject-publish");
		/* Another key would send an expired message astray. */
		assert_null(argument(queue, "x-dead-letter-routing-key"));
	}
}

static void waiting_keeps_the_routing_key(void **state)
{
	(void)state;
	for (int i = 0; i < WAIT_COUNT; i++) {
		const char *suffix = topology_wait_suffix((enum wait_bucket)i);
		size_t found = 0;

		assert_string_equal(exchange(suffix)->type, "fanout");
		assert_true(bound(suffix, suffix, ""));
		for (size_t k = 0; k < topology_queues_len; k++) {
			const struct topology_queue *queue = &topology_queues[k];

			if (strcmp(queue->suffix, suffix) != 0)
				continue;
			found++;
			assert_int_equal(argument(queue, "x-message-ttl")->number,
					 wait_bucket_ms((enum wait_bucket)i));
			assert_string_equal(argument(queue, "x-dead-letter-exchange")->text, "");
		}
		assert_int_equal(found, 1);
	}
}

static void jobs_are_routed_by_priority(void **state)
{
	static const enum job_priority all[] = {PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		const char *suffix = topology_job_suffix(all[i]);

		assert_true(bound("", suffix, suffix));
		assert_int_equal(topology_job_priority(suffix), all[i]);
	}
	assert_int_equal(topology_job_priority("something"), PRIORITY_NORMAL);
	assert_int_equal(topology_job_priority(NULL), PRIORITY_NORMAL);
}

static void names_are_made_from_the_prefix(void **state)
{
	char name[TOPOLOGY_NAME_BYTES];
	struct err err = {0};

	(void)state;
	topology_name("sbx", "", name);
	assert_string_equal(name, "sbx");
	topology_name("team-a", "jobs.high", name);
	assert_string_equal(name, "team-a.jobs.high");
	assert_int_equal(topology_check_prefix("a.b-c_9", &err), 0);
	assert_int_equal(topology_check_prefix("", &err), -1);
	assert_int_equal(topology_check_prefix(NULL, &err), -1);
	assert_int_equal(topology_check_prefix("a b", &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
}

static void waits_grow_and_stay(void **state)
{
	static const int64_t ms[] = {5000, 30000, 120000, 600000, 3600000, 3600000, 3600000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ms); i++)
		assert_int_equal(wait_bucket_ms(wait_bucket_after((int64_t)i + 1)), ms[i]);
	assert_int_equal(wait_bucket_ms(wait_bucket_after(INT64_MAX)), 3600000);
}

static void replies_go_only_where_replies_belong(void **state)
{
	static const struct {
		const char *name;
		bool valid;
	} rows[] = {
		{"sbx.reply.x", true},
		{"sbx.reply.018f-aa", true},
		{"amq.rabbitmq.reply-to.g1h2AA", true},
		{"amq.rabbitmq.reply-to", false},
		{"amq.rabbitmq.reply-to.", false},
		{"sbx.reply.", false},
		{"sbx.reply", false},
		{"sbx.jobs", false},
		{"sbx.dead", false},
		{"sbx.replyx", false},
		{"other.reply.x", false},
		{"", false},
		{"xsbx.reply.x", false},
	};
	char longest[TOPOLOGY_NAME_BYTES + 1] = "sbx.reply.";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(carrier_reply_to_valid("sbx", rows[i].name), rows[i].valid);
	for (size_t i = strlen(longest); i < TOPOLOGY_NAME_BYTES - 1; i++)
		longest[i] = 'x';
	assert_true(carrier_reply_to_valid("sbx", longest));
	longest[TOPOLOGY_NAME_BYTES - 1] = 'x';
	assert_false(carrier_reply_to_valid("sbx", longest));
}

static void an_unknown_scheme_names_the_known_ones(void **state)
{
	struct carrier_config config = {.url = "redis://u:secret@h", .prefix = "sbx"};
	struct err err = {0};

	(void)state;
	assert_int_equal(carrier_declare(&config, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.message, "amqp://"));
	assert_null(strstr(err.message, "secret"));
	config = (struct carrier_config){.prefix = "sbx"};
	assert_int_equal(carrier_declare(&config, &err), -1);
	config = (struct carrier_config){.url = "amqp://h", .prefix = "a/b"};
	assert_int_equal(carrier_declare(&config, &err), -1);
	assert_non_null(strstr(err.message, "a/b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_queue_says_what_brokers_must_be_told),
		cmocka_unit_test(waiting_keeps_the_routing_key),
		cmocka_unit_test(jobs_are_routed_by_priority),
		cmocka_unit_test(names_are_made_from_the_prefix),
		cmocka_unit_test(waits_grow_and_stay),
		cmocka_unit_test(replies_go_only_where_replies_belong),
		cmocka_unit_test(an_unknown_scheme_names_the_known_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
