/*
 * fuzz_tap.c - any bytes as TAP, and as the reports of a job. Built with
 * `clang -fsanitize=fuzzer,address,undefined`; seeds in corpus/tap.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "schema/limits.h"
#include "worker/reports_entries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_found(void *ctx, const struct found_case *found)
{
	(void)ctx;
	assert(strlen(found->id) < CASE_ID_BYTES && found->status < CASE_STATUSES);
	assert(text_is_utf8(found->id, strlen(found->id)));
	assert(found->duration_us >= 0);
	if (found->message != NULL) {
		assert(strlen(found->message) <= LIMIT_CASE_MESSAGE_BYTES);
		assert(text_is_utf8(found->message, strlen(found->message)));
	}
}

static void on_problem(void *ctx, const char *text)
{
	(void)ctx;
	assert(*text != '\0');
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
	assert(good == (reason.code == REASON_NONE));
	assert(!good || result.resolved);
	assert(result.total == result.passed + result.failed + result.errors + result.skipped);
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
