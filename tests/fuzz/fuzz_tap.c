/*
 * fuzz_tap.c - any bytes as TAP, and as the reports of a job.
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

/* The whole way: counts add up, and good means that nothing is bad. */
static void judge(struct bytes content)
{
	static const char *ids[] = {"a", "t/x.py::K::f[::]", NULL};
	const struct job_tests wanted = {
		.present = true, .format = "auto", .pass_to_pass = {ids, 2}};
	const struct job_tests *tests = &wanted;
	struct result_tests result;
	struct reason reason = {0};
	struct reports reports;
	struct arena arena;
	bool good;

	arena_init(&arena, 32 << 20);
	reports_init(&reports, &arena, tests);
	reports_stream(&reports, content);
	reports_file(&reports, "report", content);
	good = reports_finish(&reports, false, &result, &reason);
	require(good == (reason.code == REASON_NONE));
	require(!good || result.resolved);
	require(result.total == result.passed + result.failed + result.errors + result.skipped);
	arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct report_sink sink = {.found = on_found, .problem = on_problem};

	(void)tap_looks_like((struct bytes){data, size});
	(void)tap_parse((struct bytes){data, size}, &sink);
	judge((struct bytes){data, size});
	return 0;
}
