/* test_sbx.c - libsbx where no broker is needed: jobs, and errors by kind. */
#include "producer/sbx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_is_completed),
		cmocka_unit_test(a_bad_job_is_named),
		cmocka_unit_test(bad_bytes_are_refused),
		cmocka_unit_test(a_missing_broker_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
