/* test_tap.c - TAP as real programs print it, and as nobody should. */
#include "tests/unit/worker/reports_help.h"

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
		 "not ok 3 - c # Todo later\nok 4 - d # todo\nok 5 # Skipped: x\n",
		 "a=skipped\nb=skipped\nc=xfail\nd=xpass\ntest 5=skipped"},
		/* what only looks like a directive */
		{"1..5\nok 1 - a \\# SKIP\nok 2 - b#SKIP\nok 3 - c # not a directive\n"
		 "ok 4 - d # e # tOdO f\nok 5 - g \\\\ h\n",
		 "a # SKIP=passed\nb#SKIP=passed\nc # not a directive=passed\nd # e=xpass\n"
		 "g \\ h=passed"},
		{"1..0 # SKIP no compiler\n", "all tests=skipped"},
		/* mixed with other output */
		{"starting\nok then\nokay\nTAP version 13\nnoise\nok 1 - a\n  ok x\nok: b\n1..1\n"
		 "# tests 1\n",
		 "ok then"},
		/* Perl */
		{"1..3\nok 1 - first\n# Subtest: inner\n    1..2\n    ok 1 - a\n    ok 2 - b \\# "
		 "c\nok 2 - inner\nnot ok 3 - t # Todo later\n#   Failed test\n",
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
		{"1..2\nok 1 - if (x) {\nok 2 - {\n", "if (x)=passed\ntest 2=passed"},
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
		       "ok 3 - c # SKIP because\nok 4 - d # time=1.5s\nnot ok 5 - e # Todo: soon\n",
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(tap_is_read_as_its_writers_mean_it),
		T(tap_messages_and_times),
		T(plans_are_held_against_what_ran),
		T(tap_is_told_from_other_output),
		T(many_points_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
