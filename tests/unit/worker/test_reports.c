/* test_reports.c - reports as real programs write them, and as nobody should. */
#include "worker/reports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/text.h"
#include "worker/reports_entries.h"

static struct arena arena;
static struct reports reports;
static struct result_tests result;
static struct reason reason;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 64 << 20);
	reason = (struct reason){0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static struct bytes bytes_of(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static void assert_says(const char *message, const char *part)
{
	if (strstr(message, part) == NULL)
		fail_msg("'%s' does not say '%s'", message, part);
}

/* "id=status id=status ..." in the order of the result. */
static const char *cases_text(void)
{
	struct buf text;
	const char *copy;

	buf_init(&text, 1 << 20);
	for (size_t i = 0; i < result.cases_len; i++)
		buf_printf(&text, "%s%s=%s", i == 0 ? "" : "\n", result.cases[i].id,
			   result.cases[i].status);
	copy = arena_strdup(&arena, buf_text(&text));
	buf_release(&text);
	return copy;
}

static const struct result_case *case_of(const char *id)
{
	for (size_t i = 0; i < result.cases_len; i++) {
		if (strcmp(result.cases[i].id, id) == 0)
			return &result.cases[i];
	}
	fail_msg("no case '%s'", id);
	return NULL;
}

static bool read_one(const char *format, const char *file, const char *stream, bool steps_failed)
{
	struct job_tests *wanted = arena_alloc(&arena, sizeof(*wanted));

	*wanted = (struct job_tests){.present = true, .format = format};
	reason = (struct reason){0};
	reports_init(&reports, &arena, wanted);
	if (stream != NULL)
		reports_stream(&reports, bytes_of(stream));
	if (file != NULL)
		reports_file(&reports, "report", bytes_of(file));
	return reports_finish(&reports, steps_failed, &result, &reason);
}

/* --- JUnit XML -------------------------------------------------------- */

static void junit_is_read_as_its_writers_mean_it(void **state)
{
	static const struct {
		const char *xml;
		const char *cases; /* bad ones come first in a result */
	} rows[] = {
		/* pytest */
		{"<?xml version=\"1.0\" encoding=\"utf-8\"?><testsuites><testsuite name=\"pytest\" "
		 "errors=\"1\" failures=\"2\" skipped=\"2\" tests=\"6\" time=\"0.1\">"
		 "<testcase classname=\"tests.test_a\" name=\"test_ok\" time=\"0.001\" />"
		 "<testcase classname=\"tests.test_a.TestB\" name=\"test_p[a::b]\"><failure "
		 "message=\"assert 1 == 2\">def test():\n&gt; assert</failure></testcase>"
		 "<testcase classname=\"tests.test_a\" name=\"test_skip\"><skipped "
		 "type=\"pytest.skip\" message=\"why\">x</skipped></testcase>"
		 "<testcase classname=\"tests.test_a\" name=\"test_x\"><skipped "
		 "type=\"pytest.xfail\" message=\"\" /></testcase>"
		 "<testcase classname=\"tests.test_a\" name=\"test_t\"><failure "
		 "message=\"Failed: Timeout &gt;1.0s\" /></testcase>"
		 "<testcase classname=\"\" name=\"tests.test_c\"><error message=\"collection "
		 "failure\">ImportError</error></testcase>"
		 "</testsuite></testsuites>",
		 "tests.test_a.TestB::test_p[a::b]=failed\n"
		 "tests.test_a::test_t=timeout\n"
		 "tests.test_c=error\n"
		 "tests.test_a::test_ok=passed\n"
		 "tests.test_a::test_skip=skipped\n"
		 "tests.test_a::test_x=xfail"},
		/* Gradle */
		{"<testsuite name=\"org.A\" tests=\"2\" skipped=\"1\" failures=\"0\" errors=\"0\" "
		 "timestamp=\"2024-01-01T00:00:00\" hostname=\"h\" time=\"0.02\"><properties/>"
		 "<testcase name=\"works()\" classname=\"org.A\" time=\"0.01\"/>"
		 "<testcase name=\"later()\" classname=\"org.A\"><skipped/></testcase>"
		 "<system-out><![CDATA[<failure>]]></system-out><system-err/></testsuite>",
		 "org.A::works()=passed\norg.A::later()=skipped"},
		/* Maven surefire with reruns */
		{"<testsuite name=\"A\" tests=\"3\" errors=\"0\" failures=\"1\" flakes=\"1\">"
		 "<testcase name=\"f\" classname=\"A\" time=\"1,000.5\"><flakyFailure "
		 "message=\"m\"><stackTrace>s</stackTrace><system-out>o</system-out>"
		 "</flakyFailure></testcase>"
		 "<testcase name=\"b\" classname=\"A\"><failure message=\"x\">t</failure>"
		 "<rerunFailure message=\"y\"/></testcase>"
		 "<testcase name=\"t\" classname=\"A\"><error "
		 "type=\"org.junit.runners.model.TestTimedOutException\"/></testcase></testsuite>",
		 "A::b=failed\nA::t=timeout\nA::f=flaky"},
		/* Jest */
		{"<testsuites name=\"jest tests\" tests=\"1\" failures=\"1\"><testsuite "
		 "name=\"sum\" failures=\"1\"><testcase classname=\"sum adds\" name=\"sum adds\" "
		 "time=\"0.002\"><failure>Error: thrown: \"Exceeded timeout of 5000 ms\""
		 "</failure></testcase></testsuite></testsuites>",
		 "sum adds::sum adds=failed"},
		/* GoogleTest and CTest */
		{"<testsuites><testsuite name=\"G\"><testcase name=\"A\" status=\"run\" "
		 "result=\"completed\" classname=\"G\"/><testcase name=\"B\" status=\"notrun\" "
		 "result=\"suppressed\" classname=\"G\"/><testcase name=\"C\" status=\"run\" "
		 "result=\"skipped\" classname=\"G\"/><testcase name=\"D\" status=\"fail\" "
		 "classname=\"G\"/><testcase name=\"E\" status=\"disabled\" classname=\"G\"/>"
		 "</testsuite></testsuites>",
		 "G::D=failed\nG::A=passed\nG::B=skipped\nG::C=skipped\nG::E=skipped"},
		/* nested suites, a namespace prefix, no names */
		{"<x:testsuites xmlns:x=\"u\"><testsuite><testsuite><testcase classname=\"c\" "
		 "name=\"\"/></testsuite><testcase/></testsuite></x:testsuites>",
		 "c=passed\n(unnamed)=passed"},
		/* a suite that broke before its cases */
		{"<testsuites><testsuite name=\"S\" errors=\"1\"><error message=\"no\">x</error>"
		 "</testsuite></testsuites>",
		 "S=error"},
		/* outcomes that are none of the case's */
		{"<testsuite><properties><failure/></properties><testcase name=\"a\"><system-out>"
		 "<failure/></system-out></testcase><testcase name=\"b\"><testcase name=\"c\">"
		 "<failure/></testcase></testcase><skipped/></testsuite>",
		 "a=passed\nb=passed"},
		/* the worst of several outcomes */
		{"<testsuite><testcase name=\"a\"><skipped/><failure/><error/></testcase>"
		 "</testsuite>",
		 "a=error"},
		/* what the encodings of XML may spell */
		{"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite><testcase "
		 "name=\"h\xc3\xa9&#233;&lt;\"/></testsuite>",
		 "h\xc3\xa9\xc3\xa9<=passed"},
		{"<?xml version='1.0' encoding='ISO-8859-1'?><testsuite><testcase name='h\xe9'/>"
		 "</testsuite>",
		 "h\xc3\xa9=passed"},
		{"<?xml version='1.0' encoding='us-ascii'?><testsuite><testcase name='h\xe9'/>"
		 "</testsuite>",
		 "h?=passed"},
		/* bytes and references that XML does not have */
		{"<testsuite><testcase name=\"a\x1b[1mb\xff\xc3&#27;&#x1B;&#0;&#xFFFE;z\"/>"
		 "</testsuite>",
		 "a?[1mb"
		 "\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?\?z=passed"},
		{"<testsuite><testcase name=\"&#9;a&#x41;\"/></testsuite>", "\taA=passed"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)read_one("auto", rows[i].xml, NULL, false);
		if (reports.problems.len > 0)
			fail_msg("row %zu: %s", i, reports.problems.items[0]);
		if (strcmp(cases_text(), rows[i].cases) != 0)
			fail_msg("row %zu: %s", i, cases_text());
	}
}

static void junit_messages_and_times(void **state)
{
	(void)state;
	(void)read_one(
		"junit",
		"<testsuite><testcase name=\"a\" time=\"1,234.5\"><failure message=\"short\" "
		"type=\"T\">long\n  text \n</failure></testcase>"
		"<testcase name=\"b\" time=\"2e-05\"><error>only text</error></testcase>"
		"<testcase name=\"c\" time=\"-1\"><failure message=\"only attr\"/>"
		"<system-out>noise</system-out></testcase>"
		"<testcase name=\"d\" time=\"nan\"/><testcase name=\"e\" time=\"1e300\"/>"
		"<testcase name=\"f\" time=\"0x10\"/></testsuite>",
		NULL, false);
	assert_string_equal(case_of("a")->message, "short\nlong\n  text");
	assert_int_equal(case_of("a")->duration_us, 1234500000);
	assert_string_equal(case_of("b")->message, "only text");
	assert_int_equal(case_of("b")->duration_us, 20);
	assert_string_equal(case_of("c")->message, "only attr");
	assert_int_equal(case_of("c")->duration_us, 0);
	assert_int_equal(case_of("d")->duration_us, 0);
	assert_int_equal(case_of("e")->duration_us, (int64_t)LIMIT_TIME_MS * 1000);
	assert_int_equal(case_of("f")->duration_us, 0);
	assert_null(case_of("d")->message);
	assert_int_equal(result.total, 6);
	assert_int_equal(result.failed, 2);
	assert_int_equal(result.errors, 1);
	assert_int_equal(result.passed, 3);
}

static void doubtful_junit_is_refused(void **state)
{
	static const struct {
		const char *xml;
		const char *part;
		int cases; /* that were read before */
	} rows[] = {
		{"", "no element found", 0},
		{"<html></html>", "the root is neither", 0},
		{"<testsuite><testcase name=\"a\"/><testcase name=\"b\">", "line 1: ", 1},
		{"<testsuite>\n<testcase name=\"a\"/>\n</testsuites>", "line 3: mismatched tag", 1},
		{"<testsuite/><testsuite/>", "junk after document element", 0},
		{"<!DOCTYPE testsuite><testsuite><testcase name=\"a\"/></testsuite>",
		 "document type declaration is refused", 0},
		{"<?xml version=\"1.0\"?><!DOCTYPE t [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b "
		 "\"&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]><testsuite><testcase "
		 "name=\"&b;\"/></testsuite>",
		 "document type declaration is refused", 0},
		{"<!DOCTYPE t SYSTEM \"file:///etc/passwd\"><testsuite/>",
		 "document type declaration is refused", 0},
		{"<testsuite><testcase name=\"&undefined;\"/></testsuite>", "undefined entity", 0},
		{"<?xml version='1.0' encoding='x-unknown'?><testsuite/>", "unknown encoding", 0},
		{"<testsuite failures=\"2\"><testcase name=\"a\"/></testsuite>",
		 "says to hold 2 failures and errors, but lists none", 1},
		{"<testsuites errors=\"1\"><testsuite name=\"s\"><testcase name=\"a\"/></testsuite>"
		 "</testsuites>",
		 "says to hold 1 ", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (read_one("junit", rows[i].xml, NULL, false))
			fail_msg("good: %s", rows[i].xml);
		assert_int_equal(result.cases_len, rows[i].cases);
		assert_int_equal(reports.problems.len, 1);
		assert_says(reports.problems.items[0], rows[i].part);
		assert_says(reason.message, rows[i].part);
		assert_true(result.conflicts.len >= 1);
	}
}

static void junit_depth_and_length_are_bounded(void **state)
{
	struct buf xml;
	char *id;

	(void)state;
	buf_init(&xml, LIMIT_REPORT_BYTES * 2);
	for (int i = 0; i < 100000; i++)
		buf_add_text(&xml, "<testsuite>");
	assert_false(read_one("junit", buf_text(&xml), NULL, false));
	assert_says(reason.message, "nested too deeply");
	buf_clear(&xml);
	/* one token as long as a report may be, with bad bytes in it */
	buf_add_text(&xml, "<testsuite><testcase name=\"");
	id = (char *)buf_reserve(&xml, 20 << 20);
	for (size_t i = 0; i < 20 << 20; i++)
		id[i] = i % 2 == 0 ? 'x' : '\x01';
	buf_commit(&xml, 20 << 20);
	buf_add_text(&xml, "\"/></testsuite>");
	(void)read_one("junit", buf_text(&xml), NULL, false);
	assert_int_equal(result.cases_len, 1);
	assert_int_equal(strlen(result.cases[0].id), CASE_ID_BYTES - 1);
	id = (char *)buf_reserve(&xml, LIMIT_REPORT_BYTES);
	(void)memset(id, ' ', LIMIT_REPORT_BYTES);
	buf_commit(&xml, LIMIT_REPORT_BYTES);
	assert_false(read_one("junit", buf_text(&xml), NULL, false));
	assert_says(reason.message, "too large");
	buf_release(&xml);
}

/* --- TAP -------------------------------------------------------------- */

static void tap_is_read_as_its_writers_mean_it(void **state)
{
	static const struct {
		const char *tap;
		const char *cases;
	} rows[] = {
		{"1..2\nok 1 - a\nnot ok 2 - b\n", "b=failed\na=passed"},
		{"ok 1 a\r\nok b\r\nok\r\nok 4\r\nok 5 -\r\n1..5\r\n",
		 "a=passed\nb=passed\ntest 3=passed\ntest 4=passed\ntest 5=passed"},
		{"TAP version 14\n1..5\nok 1 - a # SKIP no net\nnot ok 2 - b # skip\n"
		 "not ok 3 - c # TODO later\nok 4 - d # todo\nok 5 # Skipped: x\n",
		 "a=skipped\nb=skipped\nc=xfail\nd=xpass\ntest 5=skipped"},
		/* what only looks like a directive */
		{"1..5\nok 1 - a \\# SKIP\nok 2 - b#SKIP\nok 3 - c # not a directive\n"
		 "ok 4 - d # e # TODO f\nok 5 - g \\\\ h\n",
		 "a # SKIP=passed\nb#SKIP=passed\nc # not a directive=passed\nd # e=xpass\n"
		 "g \\ h=passed"},
		{"1..0 # SKIP no compiler\n", "all tests=skipped"},
		/* mixed with other output */
		{"starting\nok then\nokay\nTAP version 13\nnoise\nok 1 - a\n  ok x\nok: b\n1..1\n"
		 "# tests 1\n",
		 "ok then"},
		/* Perl */
		{"1..3\nok 1 - first\n# Subtest: inner\n    1..2\n    ok 1 - a\n    ok 2 - b \\# "
		 "c\nok 2 - inner\nnot ok 3 - t # TODO later\n#   Failed (TODO) test\n",
		 "first=passed\ninner::a=passed\ninner::b # c=passed\ninner=passed\nt=xfail"},
		/* node */
		{"TAP version 13\n# Subtest: top\n    # Subtest: in\n        # Subtest: deep\n"
		 "        ok 1 - deep\n          ---\n          duration_ms: 0.5\n          ...\n"
		 "        1..1\n    not ok 1 - in\n      ---\n      duration_ms: 1.25\n"
		 "      failureType: 'testCodeFailure'\n      error: 'boom'\n      stack: |-\n"
		 "        ok 1 - not a test\n      ...\n    1..1\nnot ok 1 - top\n  ---\n"
		 "  error: '1 subtest failed'\n  ...\n# Subtest: slow\nnot ok 2 - slow\n  ---\n"
		 "  failureType: 'testTimeoutFailure'\n  ...\n1..2\n",
		 "top::in=failed\ntop=failed\nslow=timeout\ntop::in::deep=passed"},
		/* tap(1): buffered subtests */
		{"TAP version 14\nok 1 - outer # time=12.5ms {\n    ok 1 - inner {\n"
		 "        ok 1 - deep\n        1..1\n    }\n    ok 2 - next\n    1..2\n}\n"
		 "ok 2 - after\n1..2\n",
		 "outer=passed\nouter::inner=passed\nouter::inner::deep=passed\nouter::next="
		 "passed\n"
		 "after=passed"},
		/* several documents in one stream, and prove(1)'s last word */
		{"1..1\nok 1 - a\nok\n1..2\nok 1 - b\nok 2 - c\nok\nok 1 - d\n1..1\n",
		 "a=passed\nb=passed\nc=passed\nd=passed"},
		{"TAP version 13\nok 1 - a\n1..1\nTAP version 13\n1..1\nok 1 - b\n",
		 "a=passed\nb=passed"},
		/* a block that is not closed ends with its indentation */
		{"1..2\nnot ok 1 - a\n  ---\n  message: \"why\"\nok 2 - b\n", "a=failed\nb=passed"},
		{"1..1\nok 1 - h\xff\x1b\n", "h?\?=passed"},
		{"1..1\nok 1 - a # SKIP", "a=skipped"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)read_one("tap", NULL, rows[i].tap, false);
		if (strcmp(rows[i].cases, "ok then") == 0) {
			/* "ok then" is a point to any parser of TAP: the plan tells */
			assert_int_equal(reports.stream_problems.len, 1);
			continue;
		}
		if (reports.stream_problems.len > 0)
			fail_msg("row %zu: %s", i, reports.stream_problems.items[0]);
		if (strcmp(cases_text(), rows[i].cases) != 0)
			fail_msg("row %zu: %s", i, cases_text());
	}
}

static void tap_messages_and_times(void **state)
{
	(void)state;
	(void)read_one("tap", NULL,
		       "1..5\nnot ok 1 - a\n  ---\n  duration_ms: 12.5\n  error: |-\n"
		       "    two words\n    more\n  message: 'no'\n  ...\n"
		       "not ok 2 - b\n# (in test file x, line 3)\n#   `false' failed\nnoise\n# no\n"
		       "ok 3 - c # SKIP because\nok 4 - d # time=1.5s\nnot ok 5 - e # TODO: soon\n",
		       false);
	assert_string_equal(case_of("a")->message, "two words");
	assert_int_equal(case_of("a")->duration_us, 12500);
	assert_string_equal(case_of("b")->message,
			    "# (in test file x, line 3)\n#   `false' failed");
	assert_string_equal(case_of("c")->message, "because");
	assert_int_equal(case_of("d")->duration_us, 1500000);
	assert_string_equal(case_of("e")->message, "soon");
}

static void plans_are_held_against_what_ran(void **state)
{
	static const struct {
		const char *tap;
		const char *part;
	} rows[] = {
		{"1..3\nok 1\nok 2\n", "3 tests were planned, but 2 ran"},
		{"1..1\nok 1\nok 2\n", "1 tests were planned, but 2 ran"},
		{"TAP version 13\nok 1\n", "no plan: the tests may have ended early, after 1"},
		{"TAP version 13\n", "no plan"},
		{"1..2\n1..2\nok 1\nok 2\n", "a second plan"},
		{"1..2\nok 2\nok 1\n", "out of sequence"},
		{"1..2\nok 1\nok 1\n", "out of sequence"},
		{"1..2\nok 1\n    1..2\n    ok 1\nok 2 - x\n", "2 tests were planned, but 1 ran"},
		{"1..2\nok 1\nBail out! disk is full\nok 2\n", "bailed out: disk is full"},
		{"1..1\n    Bail out!\n", "bailed out"},
		{"1..1\n    ok 1 - lost parent\n    1..1\n", "1 tests were planned, but 0 ran"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (read_one("tap", rows[i].tap, NULL, false))
			fail_msg("good: %s", rows[i].tap);
		if (reports.problems.len == 0)
			fail_msg("no problem: %s", rows[i].tap);
		assert_says(reports.problems.items[0], rows[i].part);
	}
}

static void tap_is_told_from_other_output(void **state)
{
	static const struct {
		const char *text;
		bool tap;
	} rows[] = {
		{"", false},
		{"ok\n", false},
		{"ok  \tgithub.com/x\t0.003s\n", false},
		{"1..3\n", false},
		{"1..3 ok\nok 1\n", false},
		{"1..\nok 1\n", false},
		{"1..9999999999\nok 1\n", false},
		{"  1..1\n  ok 1\n", false},
		{"okay\n1..1\n", false},
		{"1..0 # SKIP x\n", true},
		{"TAP version 13\n", true},
		{"x\n1..1\ny\nok\n", true},
		{"ok 1\n1..1", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (tap_looks_like(bytes_of(rows[i].text)) != rows[i].tap)
			fail_msg("%s", rows[i].text);
	}
}

static void many_points_are_bounded(void **state)
{
	struct buf tap;

	(void)state;
	buf_init(&tap, LIMIT_REPORT_BYTES);
	buf_add_text(&tap, "1..150000\n");
	for (int i = 0; i < 150000; i++)
		buf_add_text(&tap, "ok\n");
	assert_false(read_one("tap", buf_text(&tap), NULL, false));
	assert_says(reason.message, "more than 100000 tests");
	assert_true(result.cases_len <= LIMIT_CASES);
	assert_int_equal(result.total, 100000);
	buf_clear(&tap);
	buf_add_text(&tap, "TAP version 13\n");
	for (int i = 0; i < 10000; i++) {
		for (int k = 0; k < i % 200; k++)
			buf_add_text(&tap, "    ");
		buf_add_text(&tap, "ok\n");
	}
	(void)read_one("tap", buf_text(&tap), NULL, false);
	assert_false(arena.exhausted);
	buf_release(&tap);
}

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

static void the_tests_are_good_or_not(void **state)
{
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
	} rows[] = {
		/* without ids */
		{"auto", "", GOOD_XML, "", "", "", false, REASON_NONE, ""},
		{"auto", "", XML, "", "", "", true, REASON_TESTS_FAILED,
		 "1 of 6 tests failed: t.test_m::bad (failed)"},
		{"auto", "", XML, "", "", "", false, REASON_TESTS_FAILED, "1 of 6"},
		{"auto", "", GOOD_XML, "", "", "", true, REASON_TESTS_FAILED,
		 "a step failed, but no test is reported as failed"},
		{"auto", "", NULL, "", "", "", false, REASON_NONE, ""},
		{"auto", "", NULL, "hello\n", "", "", true, REASON_TESTS_FAILED,
		 "there is no test report"},
		{"auto", "", NULL, "1..1\nok 1 - a\n", "", "", false, REASON_NONE, ""},
		{"auto", "", NULL, "1..1\nok 1 - a # TODO\n", "", "", false, REASON_NONE, ""},
		{"auto", "", NULL, "1..1\nnot ok 1 - a\n", "", "", false, REASON_TESTS_FAILED, ""},
		{"auto", "", "<testsuite><testcase name='f'><flakyError/></testcase></testsuite>",
		 "", "", "", false, REASON_NONE, ""},
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
		{"junit", "", "<testsuite><testcase name='a'/>", "", "", "", false,
		 REASON_TESTS_FAILED, "not complete"},
		/* with ids */
		{"auto", "", XML, "", "t.test_m::ok xf", "skip t.test_m::ok", true, REASON_NONE,
		 ""},
		{"auto", "", XML, "", "t.test_m::ok", "", false, REASON_NONE, ""},
		{"auto", "", XML, "", "skip", "", true, REASON_TESTS_UNRESOLVED,
		 "1 of 1 expected tests are not resolved: skip (skipped)"},
		{"auto", "", XML, "", "t.test_m::bad gone", "xf skip", true,
		 REASON_TESTS_UNRESOLVED,
		 "2 of 4 expected tests are not resolved: "
		 "t.test_m::bad (failed), gone (missing)"},
		{"auto", "", XML, "", "", "fl", true, REASON_TESTS_UNRESOLVED, "fl (flaky)"},
		{"auto", "", XML, "", "", "t.test_m::bad", true, REASON_TESTS_UNRESOLVED, ""},
		{"auto", "", XML, "", "skip", "skip", true, REASON_TESTS_UNRESOLVED, ""},
		{"auto", "", GOOD_XML, "", "a", "b", true, REASON_TESTS_FAILED,
		 "a step failed, but no test is reported"},
		{"auto", "", NULL, "", "a", "", false, REASON_TESTS_NO_REPORT, ""},
		{"auto", "", "<testsuite><testcase name='a'/>", "", "a", "", false,
		 REASON_TESTS_FAILED, "not complete"},
		{"auto", "", NULL, "1..2\nok 1 - a\nok 2 - b\n", "a", "b", false, REASON_NONE, ""},
		/* pytest's own way to write ids */
		{"auto", "", XML, "", "t/test_m.py::ok", "t/test_m.py::K::ok[x/y.py::z]", true,
		 REASON_NONE, ""},
		{"auto", "", XML, "", "t/test_m.py::K::ok", "", true, REASON_TESTS_UNRESOLVED,
		 "t/test_m.py::K::ok (missing)"},
		/* only the exit code */
		{"exit", "*.xml", XML, "1..1\nnot ok 1\n", "", "", false, REASON_NONE, ""},
		{"exit", "", NULL, "", "", "", true, REASON_TESTS_FAILED, "a step failed"},
		{"exit", "", GOOD_XML, "", "a", "", false, REASON_TESTS_UNRESOLVED, "a (missing)"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct job_tests wanted = {.present = true,
						 .format = rows[i].format,
						 .report = ids(rows[i].globs),
						 .fail_to_pass = ids(rows[i].to_pass),
						 .pass_to_pass = ids(rows[i].to_stay)};
		bool has_ids = wanted.fail_to_pass.len + wanted.pass_to_pass.len > 0;
		bool good;

		reason = (struct reason){0};
		reports_init(&reports, &arena, &wanted);
		reports_stream(&reports, bytes_of(rows[i].stream));
		if (rows[i].file != NULL)
			reports_file(&reports, "report", bytes_of(rows[i].file));
		good = reports_finish(&reports, rows[i].steps_failed, &result, &reason);
		if (reason.code != rows[i].code || good != (rows[i].code == REASON_NONE))
			fail_msg("row %zu: %s %s", i, reason_code_name(reason.code),
				 reason.message);
		assert_says(reason.message, rows[i].part);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(junit_is_read_as_its_writers_mean_it),
		T(junit_messages_and_times),
		T(doubtful_junit_is_refused),
		T(junit_depth_and_length_are_bounded),
		T(tap_is_read_as_its_writers_mean_it),
		T(tap_messages_and_times),
		T(plans_are_held_against_what_ran),
		T(tap_is_told_from_other_output),
		T(many_points_are_bounded),
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
