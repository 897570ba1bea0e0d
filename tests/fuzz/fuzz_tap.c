/*
 * fuzz_tap.c - any bytes as TAP, and as the reports of a job.
 */
#include "tests/fuzz/fuzz_report.h"

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
	(void)tap_looks_like((struct bytes){data, size});
	(void)tap_parse((struct bytes){data, size}, &fuzz_report_sink);
	judge((struct bytes){data, size});
	return 0;
}
