/* test_junit.c - JUnit XML as real programs write it, and as nobody should. */
#include "tests/unit/worker/reports_help.h"

/* --- JUnit XML -------------------------------------------------------- */

static const struct {
	const char *xml;
	const char *cases; /* bad ones come first in a result */
} writers[] = {
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

static void junit_is_read_as_its_writers_mean_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
		(void)read_one("auto", writers[i].xml, NULL, false);
		if (reports.problems.len > 0)
			fail_msg("row %zu: %s", i, reports.problems.items[0]);
		if (strcmp(cases_text(), writers[i].cases) != 0)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(junit_is_read_as_its_writers_mean_it),
		T(junit_messages_and_times),
		T(doubtful_junit_is_refused),
		T(junit_depth_and_length_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
