/* test_log.c - lines as a reader gets them: as text, and as JSON in which only
 * what was given as a number is one. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_BYTES = 4096 };

static int kept_fd, read_fd;

static void catch_lines(const char *program, enum log_level level, bool json)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	kept_fd = dup(STDERR_FILENO);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(ends[1]);
	read_fd = ends[0];
	log_init(program, level, json);
}

/* All that was logged since, without the time. */
static const char *caught(char ret_text[TEXT_BYTES])
{
	ssize_t len;
	char *at;

	assert_int_equal(dup2(kept_fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(kept_fd);
	len = read(read_fd, ret_text, TEXT_BYTES - 1);
	(void)close(read_fd);
	assert_true(len >= 0);
	ret_text[len] = '\0';
	at = strstr(ret_text, "level");
	return at == NULL ? ret_text : at;
}

static void a_line_is_pairs(void **state)
{
	char text[TEXT_BYTES];

	(void)state;
	catch_lines("p", LOG_INFO, false);
	log_info("a message", "job", "7", LOG_INT("run_us", 1200), "none", NULL, "why", "two words",
		 LOG_INT("left", -1), NULL);
	assert_string_equal(caught(text), "level=info program=p msg=\"a message\" job=7 "
					  "run_us=1200 why=\"two words\" left=-1\n");
}

static void in_json_only_numbers_are_numbers(void **state)
{
	char text[TEXT_BYTES];
	unsigned slot = 3;

	(void)state;
	catch_lines("p", LOG_INFO, true);
	log_warn("m", LOG_INT("slot", slot), "job", "7", "none", NULL, LOG_INT("least", INT64_MIN),
		 "why", "x", NULL);
	assert_string_equal(caught(text),
			    "level\":\"warn\",\"program\":\"p\",\"msg\":\"m\",\"slot\":3,"
			    "\"job\":\"7\",\"least\":-9223372036854775808,\"why\":\"x\"}\n");
}

/* An empty key is text like another, not the mark of a number. */
static void hostile_text_stays_within_its_value(void **state)
{
	char text[TEXT_BYTES];

	(void)state;
	catch_lines("p", LOG_INFO, true);
	log_error("m", "", "1,\"level\":\"info\"\n\x1b[0m\xc3\xa9\\", NULL);
	assert_string_equal(caught(text),
			    "level\":\"error\",\"program\":\"p\",\"msg\":\"m\",\"\":"
			    "\"1,\\\"level\\\":\\\"info\\\"\\n\\u001b[0m\\u00c3\\u00a9\\\\\"}\n");
}

static void what_is_below_the_level_is_not_said(void **state)
{
	enum log_level level = LOG_DEBUG;
	char text[TEXT_BYTES];

	(void)state;
	assert_true(log_level_parse("warn", &level));
	assert_false(log_level_parse("loud", &level));
	catch_lines("p", level, false);
	log_info("m", LOG_INT("n", 1), NULL);
	log_warn("m", NULL);
	assert_string_equal(caught(text), "level=warn program=p msg=m\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_pairs),
		cmocka_unit_test(in_json_only_numbers_are_numbers),
		cmocka_unit_test(hostile_text_stays_within_its_value),
		cmocka_unit_test(what_is_below_the_level_is_not_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
