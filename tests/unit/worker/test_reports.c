/* test_reports.c - cases of several sources merged, bounded and judged. */
#include "tests/unit/worker/reports_help.h"

#include "base/clock.h"

/* --- merging ---------------------------------------------------------- */

static void sources_are_merged_and_conflicts_listed(void **state)
{
	struct job_tests wanted = {.present = true, .format = "auto"};
	static const char stream[] = "1..3\nok 1 - a\nok 2 - b\nok 3 - only here\n";
	static const char first[] = "<testsuite><testcase name='a'/><testcase name='b'><failure/>"
				    "</testcase><testcase name='c'/><testcase name='c'><failure "
				    "message='m'/></testcase></testsuite>";
	static const char second[] = "<testsuite><testcase name='b'><error/></testcase><testcase "
				     "name='a'/></testsuite>";

	(void)state;
	for (int stream_last = 0; stream_last < 2; stream_last++) {
		reports_init(&reports, &arena, &wanted);
		if (stream_last == 0)
			reports_stream(&reports, bytes_of(stream));
		reports_file(&reports, "1.xml", bytes_of(first));
		reports_file(&reports, "2.xml", bytes_of(second));
		if (stream_last == 1)
			reports_stream(&reports, bytes_of(stream));
		assert_false(reports_finish(&reports, true, &result, &reason));
		assert_string_equal(case_of("a")->status, "passed");
		assert_string_equal(case_of("b")->status, "error");
		assert_string_equal(case_of("c")->status, "failed");
		assert_string_equal(case_of("c")->message, "m");
		assert_string_equal(case_of("only here")->status, "passed");
		assert_int_equal(result.total, 4);
		assert_int_equal(result.conflicts.len, 3);
	}
	assert_says(result.conflicts.items[0], "c: passed and failed, given twice");
	assert_says(result.conflicts.items[1], "b: failed and error, given twice");
	assert_says(result.conflicts.items[2],
		    "b: error and passed, in a report and in the output");
}

static void a_file_makes_problems_of_the_stream_moot(void **state)
{
	(void)state;
	assert_false(read_one("auto", NULL, "1..3\nok 1 - a\n", false));
	assert_true(read_one("auto", "<testsuite><testcase name='a'/></testsuite>",
			     "1..3\nok 1 - a\n", false));
	assert_true(read_one("junit", "<testsuite><testcase name='a'/></testsuite>",
			     "1..1\nnot ok 1 - b\n", false));
}

static void notes_are_bounded(void **state)
{
	struct buf xml;

	(void)state;
	buf_init(&xml, 1 << 22);
	buf_add_text(&xml, "<testsuite>");
	for (int i = 0; i < 5000; i++)
		buf_printf(&xml, "<testcase name='%d'/><testcase name='%d'><error/></testcase>", i,
			   i);
	buf_add_text(&xml, "</testsuite>");
	(void)read_one("junit", buf_text(&xml), NULL, true);
	assert_int_equal(result.conflicts.len, REPORTS_NOTES);
	assert_string_equal(result.conflicts.items[REPORTS_NOTES - 1], "and more");
	assert_int_equal(result.errors, 5000);
	buf_release(&xml);
}

static void ids_that_collide_stay_apart(void **state)
{
	struct buf xml;

	(void)state;
	buf_init(&xml, 1 << 22);
	buf_add_text(&xml, "<testsuite>");
	for (int i = 0; i < LIMIT_CASES + 500; i++)
		buf_printf(&xml, "<testcase classname='c' name='%d'>%s</testcase>", i,
			   i % 1000 == 0 ? "<failure/>" : "");
	buf_add_text(&xml, "<testcase name='late'><error/></testcase></testsuite>");
	assert_false(read_one("junit", buf_text(&xml), NULL, false));
	assert_int_equal(result.total, LIMIT_CASES + 501);
	assert_int_equal(result.failed, 21);
	assert_int_equal(result.errors, 1);
	assert_int_equal(result.cases_len, LIMIT_CASES);
	assert_says(result.conflicts.items[result.conflicts.len - 1],
		    "501 cases are counted but not listed");
	buf_release(&xml);
}

/* What a result may carry is bounded; bad cases and their messages come first. */
static void texts_of_a_result_are_bounded(void **state)
{
	struct buf xml;
	size_t bytes = 0;

	(void)state;
	buf_init(&xml, LIMIT_REPORT_BYTES);
	buf_add_text(&xml, "<testsuite>");
	for (int i = 0; i < 8000; i++)
		buf_printf(&xml, "<testcase name='%0900d'><skipped message='%02000d'/></testcase>",
			   i, i);
	for (int i = 0; i < 10; i++)
		buf_printf(&xml, "<testcase name='bad %d'><failure message='why'/></testcase>", i);
	buf_add_text(&xml, "</testsuite>");
	assert_false(xml.failed);
	(void)read_one("junit", buf_text(&xml), NULL, false);
	for (size_t i = 0; i < result.cases_len; i++)
		bytes += strlen(result.cases[i].id) +
			 (result.cases[i].message == NULL ? 0 : strlen(result.cases[i].message));
	assert_true(bytes <= REPORTS_TEXT_BYTES);
	assert_true(result.cases_len > 500);
	assert_int_equal(result.total, 8010);
	assert_false(arena.exhausted);
	buf_release(&xml);
}

/* --- verdicts --------------------------------------------------------- */

static struct text_list ids(const char *text)
{
	struct text_list list = {.items = arena_array(&arena, 32, sizeof(*list.items))};
	char *copy = arena_strdup(&arena, text);

	for (char *item = strsep(&copy, " "); *text != '\0' && item != NULL;
	     item = strsep(&copy, " "))
		list.items[list.len++] = item;
	return list;
}

#define XML                                                                              \
	"<testsuite><testcase classname='t.test_m' name='ok'/>"                          \
	"<testcase classname='t.test_m' name='bad'><failure message='m'/></testcase>"    \
	"<testcase classname='t.test_m.K' name='ok[x/y.py::z]'/>"                        \
	"<testcase name='skip'><skipped/></testcase><testcase name='xf'><skipped "       \
	"type='pytest.xfail'/></testcase><testcase name='fl'><flakyFailure/></testcase>" \
	"</testsuite>"
#define GOOD_XML "<testsuite><testcase name='a'/><testcase name='b'/></testsuite>"

static const struct {
	const char *format;
	const char *globs;
	const char *file; /* NULL: none */
	const char *stream;
	const char *to_pass;
	const char *to_stay;
	bool steps_failed;
	enum reason_code code; /* REASON_NONE: good */
	const char *part;
} verdicts[] = {
	/* without ids */
	{"auto", "", GOOD_XML, "", "", "", false, REASON_NONE, ""},
	{"auto", "", XML, "", "", "", true, REASON_TESTS_FAILED,
	 "1 of 6 tests failed: t.test_m::bad (failed)"},
	{"auto", "", XML, "", "", "", false, REASON_TESTS_FAILED, "1 of 6"},
	{"auto", "", GOOD_XML, "", "", "", true, REASON_TESTS_FAILED,
	 "a step failed, but no test is reported as failed"},
	{"auto", "", NULL, "", "", "", false, REASON_NONE, ""},
	{"auto", "", NULL, "hello\n", "", "", true, REASON_TESTS_FAILED, "there is no test report"},
	{"auto", "", NULL, "1..1\nok 1 - a\n", "", "", false, REASON_NONE, ""},
	{"auto", "", NULL, "1..1\nok 1 - a # todo\n", "", "", false, REASON_NONE, ""},
	{"auto", "", NULL, "1..1\nnot ok 1 - a\n", "", "", false, REASON_TESTS_FAILED, ""},
	{"auto", "", "<testsuite><testcase name='f'><flakyError/></testcase></testsuite>", "", "",
	 "", false, REASON_NONE, ""},
	/* reports that were asked for */
	{"junit", "", NULL, "1..1\nok 1 - a\n", "", "", false, REASON_TESTS_NO_REPORT,
	 "no test report was found"},
	{"tap", "", NULL, "hello", "", "", false, REASON_TESTS_NO_REPORT, ""},
	{"auto", "*.xml", NULL, "", "", "", false, REASON_TESTS_NO_REPORT, ""},
	{"auto", "*.xml", NULL, "1..1\nok 1 - a\n", "", "", false, REASON_NONE, ""},
	{"auto", "*.xml", "hello", "", "", "", false, REASON_TESTS_NO_REPORT,
	 "report: it is neither JUnit XML nor TAP"},
	{"tap", "", "hello", "", "", "", false, REASON_TESTS_NO_REPORT, "it is no TAP"},
	{"junit", "", "<testsuite/>", "", "", "", false, REASON_TESTS_NO_REPORT,
	 "the test reports hold no test"},
	{"junit", "", "<testsuite><testcase name='a'/>", "", "", "", false, REASON_TESTS_FAILED,
	 "not complete"},
	/* with ids */
	{"auto", "", XML, "", "t.test_m::ok xf", "skip t.test_m::ok", true, REASON_NONE, ""},
	{"auto", "", XML, "", "t.test_m::ok", "", false, REASON_NONE, ""},
	{"auto", "", XML, "", "skip", "", true, REASON_TESTS_UNRESOLVED,
	 "1 of 1 expected tests are not resolved: skip (skipped)"},
	{"auto", "", XML, "", "t.test_m::bad gone", "xf skip", true, REASON_TESTS_UNRESOLVED,
	 "2 of 4 expected tests are not resolved: "
	 "t.test_m::bad (failed), gone (missing)"},
	{"auto", "", XML, "", "", "fl", true, REASON_TESTS_UNRESOLVED, "fl (flaky)"},
	{"auto", "", XML, "", "", "t.test_m::bad", true, REASON_TESTS_UNRESOLVED, ""},
	{"auto", "", XML, "", "skip", "skip", true, REASON_TESTS_UNRESOLVED, ""},
	{"auto", "", GOOD_XML, "", "a", "b", true, REASON_TESTS_FAILED,
	 "a step failed, but no test is reported"},
	{"auto", "", NULL, "", "a", "", false, REASON_TESTS_NO_REPORT, ""},
	{"auto", "", "<testsuite><testcase name='a'/>", "", "a", "", false, REASON_TESTS_FAILED,
	 "not complete"},
	{"auto", "", NULL, "1..2\nok 1 - a\nok 2 - b\n", "a", "b", false, REASON_NONE, ""},
	/* pytest's own way to write ids */
	{"auto", "", XML, "", "t/test_m.py::ok", "t/test_m.py::K::ok[x/y.py::z]", true, REASON_NONE,
	 ""},
	{"auto", "", XML, "", "t/test_m.py::K::ok", "", true, REASON_TESTS_UNRESOLVED,
	 "t/test_m.py::K::ok (missing)"},
	/* only the exit code */
	{"exit", "*.xml", XML, "1..1\nnot ok 1\n", "", "", false, REASON_NONE, ""},
	{"exit", "", NULL, "", "", "", true, REASON_TESTS_FAILED, "a step failed"},
	{"exit", "", GOOD_XML, "", "a", "", false, REASON_TESTS_UNRESOLVED, "a (missing)"},
};

static void the_tests_are_good_or_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
		const struct job_tests wanted = {.present = true,
						 .format = verdicts[i].format,
						 .report = ids(verdicts[i].globs),
						 .fail_to_pass = ids(verdicts[i].to_pass),
						 .pass_to_pass = ids(verdicts[i].to_stay)};
		bool has_ids = wanted.fail_to_pass.len + wanted.pass_to_pass.len > 0;
		bool good;

		reason = (struct reason){0};
		reports_init(&reports, &arena, &wanted);
		reports_stream(&reports, bytes_of(verdicts[i].stream));
		if (verdicts[i].file != NULL)
			reports_file(&reports, "report", bytes_of(verdicts[i].file));
		good = reports_finish(&reports, verdicts[i].steps_failed, &result, &reason);
		if (reason.code != verdicts[i].code || good != (verdicts[i].code == REASON_NONE))
			fail_msg("row %zu: %s %s", i, reason_code_name(reason.code),
				 reason.message);
		assert_says(reason.message, verdicts[i].part);
		assert_true(result.present);
		assert_int_equal(result.has_resolved, has_ids);
		assert_int_equal(result.resolved, has_ids &&
							  reason.code != REASON_TESTS_UNRESOLVED &&
							  reason.code != REASON_TESTS_NO_REPORT);
		assert_int_equal(result.total,
				 result.passed + result.failed + result.errors + result.skipped);
	}
}

static void without_tests_only_steps_count(void **state)
{
	const struct job_tests wanted = {.present = false};

	(void)state;
	for (int failed = 0; failed < 2; failed++) {
		reports_init(&reports, &arena, &wanted);
		reports_stream(&reports, bytes_of("1..1\nnot ok 1\n"));
		reports_file(&reports, "x", bytes_of(XML));
		assert_int_equal(reports_finish(&reports, failed == 1, &result, &reason),
				 failed == 0);
		assert_false(result.present);
	}
}

/* A wanted id is found however many others there are. */
static void wanted_ids_always_have_room(void **state)
{
	struct job_tests wanted = {.present = true, .format = "junit"};
	struct buf xml;

	(void)state;
	wanted.fail_to_pass = ids("c::20400 c::20401");
	buf_init(&xml, 1 << 22);
	buf_add_text(&xml, "<testsuite>");
	for (int i = 0; i < 20500; i++)
		buf_printf(&xml, "<testcase classname='c' name='%d'/>", i);
	buf_add_text(&xml, "</testsuite>");
	reports_init(&reports, &arena, &wanted);
	reports_file(&reports, "x", (struct bytes){xml.data, xml.len});
	assert_true(reports_finish(&reports, false, &result, &reason));
	assert_true(result.resolved);
	assert_string_equal(case_of("c::20401")->status, "passed");
	assert_int_equal(result.total, 20500);
	buf_release(&xml);
}

static void long_ids_are_cut_alike(void **state)
{
	struct job_tests wanted = {.present = true, .format = "junit"};
	char *id = arena_alloc(&arena, 5000);
	struct buf xml;

	(void)state;
	(void)memset(id, 'x', 4000);
	wanted.fail_to_pass = ids(id);
	buf_init(&xml, 1 << 16);
	buf_printf(&xml, "<testsuite><testcase name='%s'/></testsuite>", id);
	reports_init(&reports, &arena, &wanted);
	reports_file(&reports, "x", (struct bytes){xml.data, xml.len});
	assert_true(reports_finish(&reports, false, &result, &reason));
	assert_int_equal(result.total, 1);
	buf_release(&xml);
}

static void exhausted_memory_is_never_good(void **state)
{
	struct job_tests wanted = {.present = true, .format = "auto"};

	(void)state;
	wanted.fail_to_pass = ids("a b");
	for (size_t bytes = 0; bytes < 4 << 20; bytes = bytes * 5 / 4 + 64) {
		struct arena small;

		arena_init(&small, bytes);
		reason = (struct reason){0};
		reports_init(&reports, &small, &wanted);
		reports_stream(&reports, bytes_of("1..2\nok 1 - a\nok 2 - c\n"));
		reports_file(&reports, "x", bytes_of(GOOD_XML));
		reports_file(&reports, "y", bytes_of(XML));
		if (reports_finish(&reports, true, &result, &reason))
			assert_false(small.exhausted);
		else
			assert_true(small.exhausted && reason.code == REASON_HOST_FAULT);
		arena_release(&small);
	}
}

/* 32 MiB of either format, at its worst, takes a bounded time. */
static void the_largest_reports_take_seconds_not_minutes(void **state)
{
	static const char *const pieces[] = {
		"<testcase name='a'><failure>&#27;\x1b</failure></testcase>",
		"<x a='1' b='2' c='3'/>",
		"&#1;",
		"<![CDATA[\xff\xff]]>",
	};
	int64_t start = clock_mono_us();
	struct buf text;

	(void)state;
	buf_init(&text, LIMIT_REPORT_BYTES);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		buf_clear(&text);
		buf_add_text(&text, "<testsuite>");
		while (text.len + 100 < LIMIT_REPORT_BYTES / 4)
			buf_add_text(&text, pieces[i]);
		buf_add_text(&text, "</testsuite>");
		(void)read_one("junit", buf_text(&text), NULL, false);
	}
	buf_clear(&text);
	buf_add_text(&text, "TAP version 13\n");
	while (text.len + 100 < LIMIT_REPORT_BYTES / 4)
		buf_add_text(&text, "    ok\nnot ok # \\# x # y # z\n#\n");
	(void)read_one("tap", buf_text(&text), NULL, false);
	assert_true(clock_mono_us() - start < 60 * 1000000LL);
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sources_are_merged_and_conflicts_listed),
		T(a_file_makes_problems_of_the_stream_moot),
		T(notes_are_bounded),
		T(ids_that_collide_stay_apart),
		T(texts_of_a_result_are_bounded),
		T(the_tests_are_good_or_not),
		T(without_tests_only_steps_count),
		T(wanted_ids_always_have_room),
		T(long_ids_are_cut_alike),
		T(exhausted_memory_is_never_good),
		T(the_largest_reports_take_seconds_not_minutes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
