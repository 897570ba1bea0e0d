/*
 * test_broker_flow.c - publishers and consumers at work against a real broker,
 * whose URL is in SBX_TEST_BROKER_URL: what is not routed, a consumer's life,
 * what the broker tells about itself, and the same topology seen by an
 * independent client. What any carrier does is in test_conformance.c.
 */
#include "tests/unit/queue/broker.h"

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

/* --- a consumer's life ------------------------------------------------ */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		broker_test(what_no_queue_takes_is_not_confirmed),
		broker_test(a_missing_exchange_says_what_to_do),
		broker_test(heartbeats_go_on_while_idle),
		broker_test(a_deleted_queue_is_made_again),
		broker_test(a_queue_of_another_kind_is_named),
		broker_test(the_report_names_what_is_missing),
		broker_test(a_python_client_sees_the_same),
	};

	return cmocka_run_group_tests(tests, make_topology, remove_topology);
}
