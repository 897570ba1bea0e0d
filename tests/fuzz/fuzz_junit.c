/*
 * fuzz_junit.c - any bytes as a JUnit report.
 */
#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"
#include "worker/reports_entries.h"

static void on_found(void *ctx, const struct found_case *found)
{
	(void)ctx;
	require(strlen(found->id) < CASE_ID_BYTES && found->status < CASE_STATUSES);
	require(text_is_utf8(found->id, strlen(found->id)));
	require(found->duration_us >= 0);
	if (found->message != NULL) {
		require(strlen(found->message) <= LIMIT_CASE_MESSAGE_BYTES);
		require(text_is_utf8(found->message, strlen(found->message)));
	}
}

static void on_problem(void *ctx, const char *text)
{
	(void)ctx;
	require(*text != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct report_sink sink = {.found = on_found, .problem = on_problem};

	(void)junit_looks_like((struct bytes){data, size});
	(void)junit_parse((struct bytes){data, size}, &sink);
	return 0;
}
