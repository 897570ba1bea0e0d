/* test_sbx.c - libsbx where no broker is needed: jobs, errors by kind, results in
 * a file. */
#include "producer/sbx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "queue/carrier.h"
#include "schema/value.h"

static void a_job_is_completed(void **state)
{
	static const char text[] = "{\"limit\":{},\"labels\":{\"a\":\"b\"}}";
	struct sbx_error error = {0};
	struct sbx_job *job = NULL;
	struct sbx_job *again = NULL;
	size_t len;
	size_t again_len;
	const void *message;

	(void)state;
	assert_int_equal(sbx_job_from_json(&job, text, strlen(text), &error), 0);
	assert_int_equal(strlen(sbx_job_id(job)), 36);
	assert_non_null(strstr(sbx_job_warning(job, 0), "did you mean 'limits'?"));
	assert_null(sbx_job_warning(job, 1));
	message = sbx_job_message(job, &len);
	assert_int_equal(sbx_job_from_msgpack(&again, message, len, &error), 0);
	assert_string_equal(sbx_job_id(again), sbx_job_id(job));
	assert_memory_equal(sbx_job_message(again, &again_len), message, len);
	assert_int_equal(again_len, len);
	sbx_job_free(job);
	sbx_job_free(again);
}

static void a_bad_job_is_named(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} rows[] = {
		{"{\"steps\":[{\"run\":[\"x\"],\"timeout_ms\":0}]}", "steps[0].timeout_ms"},
		{"{\"v\":9}", "job.version"},
		{"{\"code\":{\"language\":\"c\"}}", "job.unsupported"},
		{"{", "job.malformed"},
		{"", "job.malformed"},
		{"[]", "job.malformed"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sbx_error error = {0};
		struct sbx_job *job = NULL;

		if (sbx_job_from_json(&job, rows[i].text, strlen(rows[i].text), &error) != -1)
			fail_msg("'%s' was taken", rows[i].text);
		assert_null(job);
		assert_int_equal(error.failure, SBX_JOB);
		if (strstr(error.message, rows[i].message) == NULL)
			fail_msg("'%s': %s", rows[i].text, error.message);
	}
}

static void bad_bytes_are_refused(void **state)
{
	struct sbx_error error = {0};
	struct sbx_job *job = NULL;

	(void)state;
	assert_int_equal(sbx_job_from_msgpack(&job, "\xc1", 1, &error), -1);
	assert_int_equal(error.failure, SBX_JOB);
	assert_int_equal(sbx_job_from_msgpack(&job, "", 0, NULL), -1);
	assert_null(job);
}

static void a_missing_broker_is_told(void **state)
{
	const struct sbx_options nowhere = {.url = "amqp://u:secret@127.0.0.1:1/"};
	const struct sbx_options wrong = {.url = "http://127.0.0.1/"};
	const struct sbx_options none = {0};
	struct sbx_error error = {0};
	struct sbx *sbx = NULL;

	(void)state;
	assert_int_equal(sbx_open(&sbx, &nowhere, &error), -1);
	assert_int_equal(error.failure, SBX_CONNECTION);
	assert_non_null(strstr(error.message, "127.0.0.1"));
	assert_null(strstr(error.message, "secret"));
	assert_int_equal(sbx_open(&sbx, &wrong, &error), -1);
	assert_int_equal(error.failure, SBX_USAGE);
	assert_int_equal(unsetenv("SBX_QUEUE_URL"), 0);
	assert_int_equal(sbx_open(&sbx, &none, &error), -1);
	assert_int_equal(error.failure, SBX_USAGE);
	assert_null(sbx);
	sbx_close(NULL);
	sbx_job_free(NULL);
	sbx_wait_close(NULL);
}

/* --- results ---------------------------------------------------------- */

static char folder[64];
static char url[96];

static int make_queue(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/sbx-results.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	(void)snprintf(url, sizeof(url), "sqlite:%s/queue.db", folder);
	return 0;
}

static int remove_queue(void **state)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-leases"};
	char name[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		(void)snprintf(name, sizeof(name), "%s/queue.db%s", folder, tails[i]);
		(void)unlink(name);
	}
	return rmdir(folder);
}

/* As a worker does; `job` NULL: what is no result. */
static void publish_result(const char *job, const char *name)
{
	const struct carrier_config config = {.url = url, .prefix = "sbx"};
	struct publisher *publisher = NULL;
	struct err err = {0};
	struct arena arena;
	struct value *map;
	struct buf out;
	struct message message = {.id = name, .key = "default.job"};

	arena_init(&arena, 1 << 16);
	buf_init(&out, 4096);
	map = value_map(&arena);
	value_put(&arena, map, "v", value_int(&arena, 1));
	value_put(&arena, map, "job", value_str(&arena, job == NULL ? "x" : job));
	value_put(&arena, map, "run", value_int(&arena, 2));
	value_put(&arena, map, "verdict", value_str(&arena, job == NULL ? "odd" : "failed"));
	value_pack(map, &out);
	message.body = buf_bytes(&out);
	if (publisher_open(&publisher, &config, &err) < 0 ||
	    publisher_send_wait(publisher, ROUTE_RESULT, &message, 5000, &err) < 0)
		fail_msg("%s", err.message);
	publisher_close(publisher);
	buf_release(&out);
	arena_release(&arena);
}

static struct sbx_results *open_results(void)
{
	const struct sbx_options options = {.url = url};
	struct sbx_error error = {0};
	struct sbx_results *results = NULL;
	struct sbx *sbx = NULL;

	if (sbx_open(&sbx, &options, &error) < 0 || sbx_results_open(&results, sbx, &error) < 0)
		fail_msg("%s", error.message);
	sbx_close(sbx);
	return results;
}

static void assert_next(struct sbx_results *results, const char *job)
{
	struct sbx_error error = {0};
	struct sbx_result result;

	if (sbx_results_next(results, 5000, &result, &error) != 1)
		fail_msg("no result: %s", error.message);
	assert_string_equal(result.job, job);
	assert_int_equal(result.run, 2);
	assert_string_equal(result.verdict, "failed");
	assert_int_equal(result.exit_code, 1);
	assert_non_null(strstr(result.json, "\"verdict\":"));
}

static void assert_none(struct sbx_results *results)
{
	struct sbx_error error = {0};
	struct sbx_result result;

	assert_int_equal(sbx_results_next(results, 50, &result, &error), 0);
	assert_int_equal(sbx_results_next(results, 0, &result, &error), 0);
}

static void a_result_is_handed_out_until_it_is_done(void **state)
{
	struct sbx_results *results;
	struct sbx_error error = {0};
	struct sbx_result result;

	(void)state;
	publish_result("a", "a.2");
	publish_result("a", "a.2"); /* a worker's repetition */
	publish_result("b", "b.2");
	results = open_results();
	assert_next(results, "a");
	assert_next(results, "a");
	sbx_results_close(results); /* not done: it comes again */
	results = open_results();
	assert_next(results, "a");
	sbx_results_done(results);
	publish_result("a", "a.2");
	assert_next(results, "b");
	sbx_results_done(results);
	assert_none(results);
	publish_result(NULL, "x.1");
	publish_result("c", "c.2");
	assert_int_equal(sbx_results_next(results, 5000, &result, &error), -1);
	assert_int_equal(error.failure, SBX_USAGE);
	sbx_results_done(results);
	assert_next(results, "c");
	sbx_results_done(results);
	sbx_results_close(results);
	results = open_results();
	assert_none(results);
	sbx_results_close(results);
	sbx_results_close(NULL);
}

static void a_cancel_names_a_job_and_a_run(void **state)
{
	const struct sbx_options options = {.url = url};
	struct sbx_error error = {0};
	struct sbx *sbx = NULL;

	(void)state;
	assert_int_equal(sbx_open(&sbx, &options, &error), 0);
	assert_int_equal(sbx_cancel(sbx, "job-1", 1, &error), 0);
	assert_int_equal(sbx_cancel(sbx, "job 1", 1, &error), -1);
	assert_int_equal(error.failure, SBX_USAGE);
	assert_int_equal(sbx_cancel(sbx, "job-1", 0, &error), -1);
	assert_int_equal(sbx_cancel(sbx, NULL, 1, NULL), -1);
	sbx_close(sbx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_is_completed),
		cmocka_unit_test(a_bad_job_is_named),
		cmocka_unit_test(bad_bytes_are_refused),
		cmocka_unit_test(a_missing_broker_is_told),
		cmocka_unit_test_setup_teardown(a_result_is_handed_out_until_it_is_done, make_queue,
						remove_queue),
		cmocka_unit_test_setup_teardown(a_cancel_names_a_job_and_a_run, make_queue,
						remove_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
