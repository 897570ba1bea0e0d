/* test_text.c - the pure functions of base/text.h against their rules. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void globs_match_as_documented(void **state)
{
	static const struct {
		const char *pattern;
		const char *path;
		bool match;
	} rows[] = {
		{"*.c", "a.c", true},
		{"*.c", "dir/a.c", true},
		{"/*.c", "dir/a.c", false},
		{"/*.c", "a.c", true},
		{"dir/*.c", "dir/a.c", true},
		{"dir/*.c", "dir/sub/a.c", false},
		{"dir/**", "dir/sub/a.c", true},
		{"dir/**", "dir", false},
		{"dir/**", "dirx/a", false},
		{"**/a.c", "a.c", true},
		{"**/a.c", "x/y/a.c", true},
		{"**/a.c", "x/ya.c", false},
		{"x/**/z", "x/z", true},
		{"x/**/z", "x/a/b/z", true},
		{"**", "any/thing", true},
		{"a?c", "abc", true},
		{"/a?c", "a/c", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{"\\*", "*", true},
		{"\\*", "x", false},
		{"", "", true},
		{"a", "", false},
		{"*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (text_glob_match(rows[i].pattern, rows[i].path) != rows[i].match)
			fail_msg("'%s' against '%s'", rows[i].pattern, rows[i].path);
	}
}

static void utf8_is_strict(void **state)
{
	(void)state;
	assert_true(text_is_utf8("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
	assert_false(text_is_utf8("\xc0\x80", 2));
	assert_false(text_is_utf8("\xed\xa0\x80", 3));
	assert_false(text_is_utf8("\xf4\x90\x80\x80", 4));
	assert_false(text_is_utf8("\xe2\x82", 2));
	assert_false(text_is_utf8("\x80", 1));
}

static void numbers_carry_units(void **state)
{
	int64_t n;

	(void)state;
	assert_true(text_parse_int("-12", &n) && n == -12);
	assert_false(text_parse_int("", &n));
	assert_false(text_parse_int(" 1", &n));
	assert_false(text_parse_int("99999999999999999999", &n));
	assert_true(text_parse_size("2g", &n) && n == 2LL << 30);
	assert_false(text_parse_size("9999999999g", &n));
	assert_false(text_parse_size("-1", &n));
	assert_true(text_parse_duration_ms("2m", &n) && n == 120000);
	assert_false(text_parse_duration_ms("2 m", &n));
}

static void identifiers_are_checked_and_made(void **state)
{
	char a[TEXT_UUID_BYTES];
	char b[TEXT_UUID_BYTES];

	(void)state;
	assert_true(text_is_id("job-1.a_B"));
	assert_false(text_is_id(""));
	assert_false(text_is_id("a/b"));
	text_uuid7(a);
	text_uuid7(b);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(a[14], '7');
	assert_true(text_is_id(a));
	assert_string_not_equal(a, b);
}

static void likeness_counts_edits(void **state)
{
	static const char long_text[TEXT_DISTANCE_CHARS + 2] = {[0 ... TEXT_DISTANCE_CHARS] = 'x'};

	(void)state;
	assert_int_equal(text_distance("", ""), 0);
	assert_int_equal(text_distance("kitten", "sitting"), 3);
	assert_int_equal(text_distance("slots", "slot"), 1);
	assert_int_equal(text_distance("", "abc"), 3);
	assert_true(text_distance("a", long_text) == SIZE_MAX);
}

static void hexadecimal_goes_there_and_back(void **state)
{
	static const char *const wrong[] = {"",	  "a",	"g0", "0g", " 1",
					    "+1", "/0", "0:", "@0", "0`"};
	char text[3];

	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		const uint8_t data = (uint8_t)byte;

		text_hex(&data, 1, text);
		assert_int_equal(text_hex_byte(text), byte);
		(void)snprintf(text, sizeof(text), "%02X", (unsigned)data);
		assert_int_equal(text_hex_byte(text), byte);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(text_hex_byte(wrong[i]), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(globs_match_as_documented),
		cmocka_unit_test(utf8_is_strict),
		cmocka_unit_test(numbers_carry_units),
		cmocka_unit_test(hexadecimal_goes_there_and_back),
		cmocka_unit_test(likeness_counts_edits),
		cmocka_unit_test(identifiers_are_checked_and_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
