/* test_body.c - a result that is too large loses the least missed parts first. */
#include "worker/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "schema/limits.h"
#include "schema/value.h"

static struct arena arena;
static struct buf out;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 512 << 20);
	buf_init(&out, LIMIT_RESULT_BYTES);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_release(&out);
	arena_release(&arena);
	return 0;
}

/* --- bodies ----------------------------------------------------------- */

static const char *filled(size_t len)
{
	char *text = arena_alloc(&arena, len + 1);

	assert_non_null(text);
	(void)memset(text, 'x', len);
	return text;
}

static void *array(size_t len, size_t size)
{
	void *items = arena_array(&arena, len, size);

	assert_non_null(items);
	return items;
}

static void add_artifacts(struct result_body *body, size_t len, size_t bytes)
{
	body->artifacts = array(len, sizeof(*body->artifacts));
	body->artifacts_len = len;
	for (size_t i = 0; i < len; i++) {
		body->artifacts[i] = (struct result_artifact){
			.path = "out/file",
			.size_bytes = 1 << 20,
			.encoding = "zstd",
			.data = {(const uint8_t *)filled(bytes), bytes},
		};
	}
}

static void add_cases(struct result_body *body, size_t len, size_t id_bytes, size_t message_bytes)
{
	body->tests.present = true;
	body->tests.total = (int64_t)len;
	body->tests.cases = array(len, sizeof(*body->tests.cases));
	body->tests.cases_len = len;
	for (size_t i = 0; i < len; i++) {
		body->tests.cases[i] = (struct result_case){
			.id = filled(id_bytes),
			.status = "failed",
			.message = message_bytes == 0 ? NULL : filled(message_bytes),
		};
	}
}

static void add_steps(struct result_body *body, size_t len, size_t stream_bytes, size_t argv_len,
		      size_t arg_bytes)
{
	body->steps = array(len, sizeof(*body->steps));
	body->steps_len = len;
	for (size_t i = 0; i < len; i++) {
		struct result_step *step = &body->steps[i];

		*step = (struct result_step){.name = "step", .outcome = "passed"};
		step->stdout_bytes = step->stderr_bytes =
			(struct bytes){(const uint8_t *)filled(stream_bytes), stream_bytes};
		step->argv.items = array(argv_len + 1, sizeof(*step->argv.items));
		for (size_t j = 0; j < argv_len; j++)
			step->argv.items[j] = filled(arg_bytes);
		step->argv.len = argv_len;
	}
}

static struct result_file *files(size_t len, size_t path_bytes)
{
	struct result_file *list = array(len, sizeof(*list));

	for (size_t i = 0; i < len; i++)
		list[i] = (struct result_file){.path = filled(path_bytes), .mode = 0100644};
	return list;
}

static void add_findings(struct result_body *body, size_t len, size_t snippet_bytes)
{
	body->findings = array(len, sizeof(*body->findings));
	body->findings_len = len;
	for (size_t i = 0; i < len; i++)
		body->findings[i] = (struct result_finding){
			.rule = "rule", .message = "message", .snippet = filled(snippet_bytes)};
}

/* --- packing ---------------------------------------------------------- */

static struct result_body pack(struct result_body body, size_t limit_bytes)
{
	size_t pairs = 0;
	struct err err = {0};

	if (body_pack(&arena, &body, limit_bytes, &out, &pairs, &err) < 0)
		fail_msg("%s", err.message);
	assert_false(out.failed);
	assert_in_range(out.len, 1, limit_bytes);
	assert_in_range(pairs, 1, 16);
	return body;
}

static size_t warnings(const struct result_body *body)
{
	size_t len = 0;

	for (size_t i = 0; i < body->findings_len; i++)
		len += strcmp(body->findings[i].rule, "result.truncated") == 0 &&
		       body->findings[i].severity == SEVERITY_WARNING;
	return len;
}

static void what_fits_is_left_alone(void **state)
{
	struct result_body body = {0};

	(void)state;
	add_artifacts(&body, 12, 256 << 10);
	add_steps(&body, 4, 128 << 10, 3, 10);
	add_cases(&body, 100, 20, 2048);
	body = pack(body, LIMIT_BODY_BYTES);
	assert_int_equal(warnings(&body), 0);
	assert_int_equal(body.findings_len, 0);
	assert_int_equal(body.artifacts[11].data.len, 256 << 10);
}

static void content_of_artifacts_goes_first(void **state)
{
	struct result_body body = {0};

	(void)state;
	add_artifacts(&body, 4, 256 << 10);
	add_cases(&body, 100, 20, 100);
	body = pack(body, 512 << 10);
	assert_int_equal(warnings(&body), 1);
	assert_int_equal(body.artifacts_len, 4);
	assert_int_equal(body.artifacts[0].data.len, 0);
	assert_string_equal(body.artifacts[0].encoding, "omitted");
	assert_int_equal(body.artifacts[0].size_bytes, 1 << 20);
	assert_non_null(body.tests.cases[0].message);
}

static void then_messages_and_then_cases(void **state)
{
	struct result_body body = {0};
	struct result_body less;

	(void)state;
	add_cases(&body, 2000, 100, 1000);
	less = pack(body, 1 << 20);
	assert_int_equal(warnings(&less), 1);
	assert_int_equal(less.tests.cases_len, 2000);
	assert_null(less.tests.cases[0].message);

	buf_clear(&out);
	add_cases(&body, 20000, 100, 10);
	less = pack(body, 1 << 20);
	assert_int_equal(warnings(&less), 2);
	assert_int_equal(less.tests.cases_len, 1000);
	assert_int_equal(less.tests.total, 20000);
}

static void cut_output_is_counted(void **state)
{
	struct result_body body = {0};

	(void)state;
	add_steps(&body, 2, 64 << 10, 1, 10);
	body.steps[0].truncated_bytes = 5;
	body = pack(body, 32 << 10);
	assert_int_equal(warnings(&body), 1);
	assert_int_equal(body.steps[0].stdout_bytes.len, 4096);
	assert_int_equal(body.steps[0].truncated_bytes, 5 + 2 * ((64 << 10) - 4096));
	assert_int_equal(body.steps[1].truncated_bytes, 2 * ((64 << 10) - 4096));
}

static void arguments_of_the_job_itself_stay(void **state)
{
	struct result_body body = {0};
	const char *before;
	const char **items;

	(void)state;
	add_steps(&body, 64, 0, 100, 1000);
	items = body.steps[0].argv.items;
	before = items[0];
	body = pack(body, LIMIT_BODY_BYTES / 4);
	assert_int_equal(warnings(&body), 1);
	assert_int_equal(body.steps[0].argv.len, 8);
	assert_int_equal(strlen(body.steps[0].argv.items[0]), 256);
	assert_null(body.steps[0].argv.items[8]);
	assert_ptr_equal(items[0], before);
	assert_int_equal(strlen(before), 1000);
}

/* Every list at its bound, every text as long as it may be and longer: paths
 * that are no UTF-8 grow when they are packed. */
static void the_largest_body_fits(void **state)
{
	struct result_body body = {0};

	(void)state;
	add_artifacts(&body, LIMIT_ARTIFACTS, 12 << 10);
	add_cases(&body, LIMIT_CASES, 1024, 100);
	add_steps(&body, LIMIT_STEPS, 128 << 10, 128, 1000);
	add_findings(&body, LIMIT_FINDINGS, 1024);
	body.patch.present = true;
	body.patch.files = files(LIMIT_DIFF_FILES, LIMIT_PATH_BYTES);
	body.patch.files_len = LIMIT_DIFF_FILES;
	body.changes = files(LIMIT_CHANGES, 4095);
	body.changes_len = LIMIT_CHANGES;
	(void)memset((char *)(uintptr_t)body.changes[0].path, 0xff, 4095);
	body = pack(body, LIMIT_BODY_BYTES);
	assert_true(warnings(&body) >= 4);
	assert_true(body.changes_truncated);
	assert_int_equal(body.tests.total, LIMIT_CASES);
}

static void a_full_list_of_findings_still_tells(void **state)
{
	struct result_body body = {0};

	(void)state;
	add_findings(&body, LIMIT_FINDINGS, 100);
	add_artifacts(&body, 4, 256 << 10);
	body = pack(body, 512 << 10);
	assert_int_equal(body.findings_len, LIMIT_FINDINGS);
	assert_int_equal(warnings(&body), 1);
	assert_string_equal(body.findings[0].rule, "result.truncated");
}

static void in_the_end_names_and_counts_are_left(void **state)
{
	struct result_body body = {0};

	(void)state;
	add_artifacts(&body, 200, 100);
	add_cases(&body, 500, 100, 0);
	add_steps(&body, 3, 1000, 3, 100);
	body.changes = files(100, 100);
	body.changes_len = 100;
	body = pack(body, 1500);
	assert_int_equal(body.steps_len, 3);
	assert_int_equal(body.steps[0].truncated_bytes, 2000);
	assert_int_equal(body.tests.total, 500);
	assert_int_equal(body.tests.cases_len, 0);
	assert_true(body.changes_truncated);
	assert_true(warnings(&body) >= 1);
}

static void what_cannot_fit_is_a_fault(void **state)
{
	struct result_body body = {0};
	size_t pairs;
	struct err err = {0};

	(void)state;
	add_steps(&body, 64, 10, 1, 1);
	assert_int_equal(body_pack(&arena, &body, 100, &out, &pairs, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_fits_is_left_alone),
		TEST(content_of_artifacts_goes_first),
		TEST(then_messages_and_then_cases),
		TEST(cut_output_is_counted),
		TEST(arguments_of_the_job_itself_stay),
		TEST(the_largest_body_fits),
		TEST(a_full_list_of_findings_still_tells),
		TEST(in_the_end_names_and_counts_are_left),
		TEST(what_cannot_fit_is_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
