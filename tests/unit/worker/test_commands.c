/* test_commands.c - what a pattern lets through, and what it says if not. */
#include "worker/commands.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

enum { ARENA_BYTES = 64 << 20, WORDS = 16 };

static struct arena arena;
static struct err err;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_BYTES);
	err = (struct err){0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

/* Items separated by '|'. */
static struct text_list items(const char *text)
{
	struct text_list list = {.items = arena_array(&arena, WORDS, sizeof(*list.items))};
	char *copy = arena_strdup(&arena, text);

	for (char *item = strsep(&copy, "|"); *text != '\0' && item != NULL;
	     item = strsep(&copy, "|"))
		list.items[list.len++] = item;
	return list;
}

static struct commands *compile(const char *patterns)
{
	const struct text_list list = items(patterns);
	struct commands *commands = NULL;

	if (commands_compile(&arena, &list, &commands, &err) < 0)
		fail_msg("%s", err.message);
	return commands;
}

static int check_argv(const struct commands *commands, const char *argv, struct reason *reason)
{
	struct job_step step = {.name = "test", .run = items(argv)};
	const struct job job = {.steps = &step, .steps_len = 1};

	return commands_check(commands, &job, reason);
}

static void patterns_fit_as_documented(void **state)
{
	static const struct {
		const char *patterns; /* '|' between them */
		const char *argv;     /* '|' between arguments */
		bool fits;
	} rows[] = {
		{"make test", "make|test", true},
		{"make test", "make", false},
		{"make test", "make|test|-j2", false},
		{"make test", "make test", false},
		{"make test", "/usr/bin/make|test", false},
		{"make test", "make|Test", false},
		{"  make\t test  ", "make|test", true},
		{"make *", "make|anything at all", true},
		{"make *", "make", false},
		{"make *", "make|a|b", false},
		{"make **", "make", true},
		{"make **", "make|a|b|c", true},
		{"make **", "makes", false},
		{"make * **", "make", false},
		{"make * **", "make|a", true},
		{"make * -k", "make|all|-k", true},
		{"make * -k", "make|all|-n", false},
		{"make * -k|make all -n", "make|all|-n", true},
		{"make * -k|make all -n", "make|all|-k", true},
		{"make * -k|make all -n", "make|x|-n", false},
		{"a * * d|a b * e|a * c f", "a|b|c|f", true},
		{"a * * d|a b * e|a * c f", "a|b|c|e", true},
		{"a * * d|a b * e|a * c f", "a|b|c|g", false},
		{"a|a b", "a", true},
		{"a b|a", "a", true},
		{"a b|a", "a|b", true},
		{"a b c", "a|b", false},
		{"awk '{ print $1, $2 }'", "awk|{ print $1, $2 }", true},
		{"echo \"a \\\"b\\\" \\\\ \\c\"", "echo|a \"b\" \\ \\c", true},
		{"echo a\\ b", "echo|a b", true},
		{"echo \\*", "echo|*", true},
		{"echo \\*", "echo|x", false},
		{"echo '*' \"**\"", "echo|*|**", true},
		{"echo '*' \"**\"", "echo|x|y", false},
		{"echo --flag='*'", "echo|--flag=*", true},
		{"echo ''", "echo|", true},
		{"echo ''", "echo", false},
		{"'my program' x", "my program|x", true},
		{"off", "anything|goes", true},
		{"'off'", "anything", false},
		{"'off'", "off", true},
		{"", "make", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct reason reason = {0};
		int rc = check_argv(compile(rows[i].patterns), rows[i].argv, &reason);

		if (rc != (rows[i].fits ? 0 : REFUSED))
			fail_msg("'%s' against '%s'", rows[i].patterns, rows[i].argv);
		assert_int_equal(reason.code, rows[i].fits ? REASON_NONE : REASON_POLICY_COMMAND);
	}
}

static void wrong_patterns_are_errors(void **state)
{
	static const struct {
		const char *patterns;
		const char *part;
	} rows[] = {
		{"make 'test", "quote is not closed"},
		{"make \"test\\\"", "quote is not closed"},
		{"make test\\", "ends in a backslash"},
		{"make foo*", "'*' stands for a whole argument only"},
		{"make ***", "'*' stands for a whole argument only"},
		{"make '*'*", "'*' stands for a whole argument only"},
		{"make ** test", "'**' may only be its last word"},
		{"* test", "the program may not be a wildcard"},
		{"**", "the program may not be a wildcard"},
		{"make|  ", "it is empty"},
		{"off|make", "must stand alone"},
		{"make|off", "must stand alone"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct text_list list = items(rows[i].patterns);
		struct commands *commands = NULL;

		if (commands_compile(&arena, &list, &commands, &err) != -1)
			fail_msg("accepted: %s", rows[i].patterns);
		assert_int_equal(err.kind, ERR_INPUT);
		if (strstr(err.message, rows[i].part) == NULL)
			fail_msg("'%s' does not say '%s'", err.message, rows[i].part);
		assert_null(commands);
	}
}

static void refusals_name_the_nearest(void **state)
{
	static const struct {
		const char *patterns;
		const char *argv;
		const char *part;
	} rows[] = {
		{"make test|pytest -v **", "make|tests",
		 "may not run make tests; the nearest "
		 "allowed command is: make test"},
		{"cc|make test", "/usr/bin/make|test", "nearest allowed command is: make test"},
		{"cc|pytest -v **", "pytset", "nearest allowed command is: pytest -v **"},
		{"make a * c", "make|a|b|d", "nearest allowed command is: make a * c"},
		{"make a *|make b x y", "make|b|x", "nearest allowed command is: make b x y"},
		{"cc|make", "rm|-rf|/ x",
		 "may not run rm -rf '/ x': no allowed command is like it"},
		{"", "rm|", "may not run rm '': the worker allows no command"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct reason reason = {0};

		assert_int_equal(check_argv(compile(rows[i].patterns), rows[i].argv, &reason),
				 REFUSED);
		if (strstr(reason.message, rows[i].part) == NULL)
			fail_msg("'%s' does not say '%s'", reason.message, rows[i].part);
		assert_string_equal(reason.subject, "test");
	}
}

static void shell_steps_are_sh_c(void **state)
{
	struct job_step step = {.name = "s", .shell = "make && make test"};
	const struct job job = {.steps = &step, .steps_len = 1};
	struct reason reason = {0};

	(void)state;
	assert_int_equal(commands_check(compile("make **"), &job, &reason), REFUSED);
	assert_int_equal(commands_check(compile("sh -c *"), &job, &reason), 0);
	assert_int_equal(commands_check(compile("sh -c 'make && make test'"), &job, &reason), 0);
	assert_int_equal(commands_check(compile("sh -c make"), &job, &reason), REFUSED);
	assert_int_equal(commands_check(compile("/bin/sh -c *"), &job, &reason), REFUSED);
}

static void the_first_refused_step_is_named(void **state)
{
	struct job_step steps[] = {
		{.name = "one", .run = items("make")},
		{.name = "two", .run = items("rm")},
		{.name = "three", .run = items("dd")},
	};
	struct job job = {.steps = steps, .steps_len = 3};
	struct reason reason = {0};

	(void)state;
	assert_int_equal(commands_check(compile("make"), &job, &reason), REFUSED);
	assert_string_equal(reason.subject, "two");
	job.steps_len = 1;
	assert_int_equal(commands_check(compile("make"), &job, &reason), 0);
	job.steps_len = 0;
	assert_int_equal(commands_check(compile(""), &job, &reason), 0);
}

/* Arguments are hostile: long, and not UTF-8. */
static void odd_arguments_are_harmless(void **state)
{
	static char big[100000];
	struct job_step step = {.name = "s", .run = items("make|x")};
	const struct job job = {.steps = &step, .steps_len = 1};
	struct reason reason = {0};

	(void)state;
	(void)memset(big, '\xff', sizeof(big) - 1);
	step.run.items[1] = big;
	assert_int_equal(commands_check(compile("make test"), &job, &reason), REFUSED);
	assert_true(strlen(reason.message) < REASON_MESSAGE_BYTES);
	assert_non_null(strstr(reason.message, "nearest allowed command is: make test"));
	step.run.items[0] = big;
	assert_int_equal(commands_check(compile("make test"), &job, &reason), REFUSED);
}

/* The median of a check of 64 steps against 1,000 patterns, permitted or not,
 * is far below 1 ms. The bound is the promise, not what this machine does. */
static void a_thousand_patterns_are_fast(void **state)
{
	enum { PATTERNS = 1000, STEPS = 64, ROUNDS = 31 };
	struct text_list list = {.items = arena_array(&arena, PATTERNS, sizeof(*list.items))};
	static struct job_step steps[STEPS];
	struct job job = {.steps = steps, .steps_len = STEPS};
	struct commands *commands = NULL;
	int64_t best[2] = {INT64_MAX, INT64_MAX};

	(void)state;
	for (; list.len < PATTERNS; list.len++)
		list.items[list.len] = arena_printf(
			&arena, "python3 -m pytest * tests/test_%zu.py --opt **", list.len);
	assert_int_equal(commands_compile(&arena, &list, &commands, &err), 0);
	for (size_t i = 0; i < STEPS; i++) {
		steps[i].name = "s";
		steps[i].run = items("python3|-m|pytest|-v|X|--opt|a|b");
		steps[i].run.items[4] = arena_printf(&arena, "tests/test_%zu.py", i * 15);
	}
	for (int round = 0; round < 2 * ROUNDS; round++) {
		struct reason reason = {0};
		int64_t start = clock_mono_us();
		int rc;

		steps[STEPS - 1].run.items[4] = round % 2 == 0 ? "tests/test_999.py" : "tests/no";
		start = clock_mono_us();
		rc = commands_check(commands, &job, &reason);
		start = clock_mono_us() - start;
		assert_int_equal(rc, round % 2 == 0 ? 0 : REFUSED);
		if (start < best[round % 2])
			best[round % 2] = start;
	}
	if (best[0] >= 1000 || best[1] >= 1000)
		fail_msg("%lld us, refused %lld us", (long long)best[0], (long long)best[1]);
}

static void exhausted_memory_is_an_error(void **state)
{
	const struct text_list list = items("make test|make **|a b c d e");

	(void)state;
	for (size_t bytes = 0; bytes < 4096; bytes += 16) {
		struct commands *commands = NULL;
		struct arena small;

		arena_init(&small, bytes);
		if (commands_compile(&small, &list, &commands, &err) < 0)
			assert_int_equal(err.kind, ERR_LIMIT);
		else
			assert_non_null(commands);
		arena_release(&small);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(patterns_fit_as_documented),	    T(wrong_patterns_are_errors),
		T(refusals_name_the_nearest),	    T(shell_steps_are_sh_c),
		T(the_first_refused_step_is_named), T(odd_arguments_are_harmless),
		T(a_thousand_patterns_are_fast),    T(exhausted_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
