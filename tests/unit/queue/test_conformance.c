/*
 * test_conformance.c - what every carrier does, run against each of them: the
 * embedded one on a file of its own, then a broker whose URL is in
 * SBX_TEST_BROKER_URL. Every test starts from empty queues.
 */
#include "tests/unit/queue/broker.h"

#include <sys/wait.h>

#include "schema/limits.h"

/* Which carrier it is matters only for clearing up. */
static bool on_broker;

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
		message.timestamp_us = 1700000000123456;
		message.headers = (struct pair_list){&header, 1};
		send_now(&config, ROUTE_JOB, &message);
		watcher_expect(watcher, i + 1);
		topology_name(config.prefix, topology_job_suffix(order[i]), name);
		assert_string_equal(watcher->seen[i].id, "job-1");
		assert_string_equal(watcher->seen[i].queue, name);
		assert_string_equal(watcher->seen[i].reply_to, "somewhere.else");
		assert_string_equal(watcher->seen[i].header, "traceparent=00-aa-bb-01");
		assert_int_equal(watcher->seen[i].priority, order[i]);
		assert_int_equal(watcher->seen[i].timestamp_us, 1700000000123456);
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

static void what_is_rejected_is_dead_and_last(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct visits visits = {0};
	struct message message = test_message("bad");

	(void)state;
	message.priority = PRIORITY_LOW;
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	message = test_message("earlier");
	send_now(&config, ROUTE_DEAD, &message);
	expect_depth(&config, "dead", 1);
	assert_done(consumer_reject(watcher->consumer, watcher->seen[0].epoch, watcher->seen[0].tag,
				    &err));
	watcher_run(watcher, 100);
	watcher_free(watcher);
	expect_depth(&config, "dead", 2);
	expect_depth(&config, "jobs.low", 0);
	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	assert_int_equal(visits.len, 2);
	assert_string_equal(visits.seen[0].id, "earlier");
	assert_string_equal(visits.seen[1].id, "bad");
	assert_string_equal(visits.seen[1].reason, "broker.rejected");
	assert_non_null(strstr(visits.seen[1].from, "jobs.low"));
	assert_int_equal(visits.seen[1].priority, PRIORITY_LOW);
	assert_int_equal(visits.seen[1].body_len, 3);
	assert_true(visits.seen[1].last_at_ms > 1600000000000);
}

static int visit_within(void *ctx, const struct delivery *delivery)
{
	struct visits inner = {0};

	(void)delivery;
	(*(int *)ctx)++;
	assert_done(carrier_visit_dead(&config, on_letter, &inner, &err));
	assert_true(inner.len < 2);
	return 0;
}

static void letters_are_shown_to_one_visitor_once(void **state)
{
	struct message message = test_message("a");
	struct visits visits = {.add = "c"};
	int shown = 0;

	(void)state;
	send_now(&config, ROUTE_DEAD, &message);
	message = test_message("b");
	send_now(&config, ROUTE_DEAD, &message);
	expect_depth(&config, "dead", 2);
	assert_done(carrier_visit_dead(&config, visit_within, &shown, &err));
	assert_int_equal(shown, 2);
	expect_depth(&config, "dead", 2);
	/* What comes meanwhile is not shown. */
	assert_done(carrier_visit_dead(&config, on_letter, &visits, &err));
	assert_int_equal(visits.len, 2);
	expect_depth(&config, "dead", 3);
}

/* --- publishing ------------------------------------------------------- */

static void every_message_has_one_fate(void **state)
{
	enum { MESSAGES = 3000 };
	static bool known[MESSAGES];
	struct message message = test_message("counted");
	struct publisher *publisher;
	struct publisher_fate fate;
	int confirmed = 0;

	(void)state;
	(void)memset(known, 0, sizeof(known));
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
	char long_id[300] = "";
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
	assert_done(publisher_flush(publisher, 10000, &err));
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

/* --- a consumer's life, and looking ------------------------------------ */

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

static void the_report_counts(void **state)
{
	CLEANUP(arena_cleanup) struct arena arena;
	struct watcher *watcher = watcher_new(&config, SOURCE_RESULTS, NULL);
	struct message message = test_message("one");
	struct carrier_report report;

	(void)state;
	send_now(&config, ROUTE_JOB, &message);
	send_now(&config, ROUTE_JOB, &message);
	expect_depth(&config, "jobs", 2);
	arena_init(&arena, 1 << 16);
	assert_done(carrier_inspect(&arena, &config, &report, &err));
	assert_true(report.server[0] != '\0');
	assert_int_equal(report.queues_len, topology_queues_len);
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
	char prefix[80];
	struct carrier_config other = config;
	pid_t children[CHILDREN];

	(void)state;
	(void)snprintf(prefix, sizeof(prefix), "%s-race", config.prefix);
	other.prefix = prefix;
	other.passive = true;
	assert_int_equal(carrier_declare(&other, NULL), -1);
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
	if (on_broker)
		raw_remove(config.url, prefix);
}

/* --- the carriers ----------------------------------------------------- */

static char folder[] = "/tmp/sbx-conformance-XXXXXX";
static char file_url[sizeof(folder) + 32];

static void remove_files(void)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-leases"};
	char path[sizeof(file_url) + 16];

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s/queue.db%s", folder, suffixes[i]);
		(void)unlink(path);
	}
}

static int use_broker(void **state)
{
	on_broker = true;
	return make_topology(state);
}

static int use_file(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(file_url, sizeof(file_url), "sqlite:%s/queue.db", folder);
	config = test_config(file_url);
	return 0;
}

static int remove_file(void **state)
{
	(void)state;
	remove_files();
	return rmdir(folder);
}

static int start_empty(void **state)
{
	if (on_broker)
		return empty_queues(state);
	remove_files();
	assert_done(carrier_declare(&config, &err));
	return 0;
}

/* --- to everybody ------------------------------------------------------ */

static void what_is_said_to_all_is_heard_by_all(void **state)
{
	struct watcher *first = watcher_new(&config, SOURCE_JOBS, NULL);
	struct watcher *second = watcher_new(&config, SOURCE_JOBS, NULL);
	struct watcher *late;
	struct message one = test_message("heard-1");
	struct message two = test_message("heard-2");
	struct message three = test_message("heard-3");
	struct message job = test_message("job");

	(void)state;
	send_now(&config, ROUTE_CONTROL, &one);
	send_now(&config, ROUTE_CONTROL, &two);
	watcher_hears(first, "heard-2");
	watcher_hears(second, "heard-2");
	/* Who was away hears it, who drains as well. */
	late = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_hears(late, "heard-2");
	assert_done(consumer_stop(first->consumer, &err));
	send_now(&config, ROUTE_CONTROL, &three);
	watcher_hears(first, "heard-3");
	watcher_hears(late, "heard-3");
	/* And jobs are another matter. */
	assert_int_equal(late->seen_len, 0);
	send_now(&config, ROUTE_JOB, &job);
	while (late->seen_len + second->seen_len == 0) {
		watcher_run(late, 20);
		watcher_run(second, 20);
	}
	watcher_free(first);
	watcher_free(second);
	watcher_free(late);
}

#define conforms(name) cmocka_unit_test_setup(name, start_empty)

int main(void)
{
	const struct CMUnitTest tests[] = {
		conforms(a_job_arrives_as_it_was_sent),
		conforms(what_is_not_acked_comes_again),
		conforms(an_old_epoch_settles_nothing),
		conforms(no_more_than_the_prefetch_is_held),
		conforms(eight_mebibytes_travel_whole),
		conforms(a_retry_comes_back_to_its_queue),
		conforms(dead_letters_tell_why_and_keep_their_order),
		conforms(many_dead_letters_keep_their_order),
		conforms(what_is_rejected_is_dead_and_last),
		conforms(letters_are_shown_to_one_visitor_once),
		conforms(every_message_has_one_fate),
		conforms(fates_nobody_collects_are_bounded),
		conforms(malformed_messages_are_refused),
		conforms(results_and_events_reach_who_asked),
		conforms(a_stopped_consumer_settles_but_takes_nothing),
		conforms(the_report_counts),
		conforms(many_may_declare_at_once),
		conforms(what_is_said_to_all_is_heard_by_all),
	};
	int failed = cmocka_run_group_tests_name("sqlite", tests, use_file, remove_file);

	return failed + cmocka_run_group_tests_name("amqp", tests, use_broker, remove_topology);
}
