/* test_terminal.c - hostile text cannot drive a terminal. */
#include "base/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void each_hazard_is_spelled_out(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		bool lines;
		const char *out;
	} rows[] = {
		{"plain text", 10, false, "plain text"},
		{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 14, false,
		 "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\033[2J", 4, true, "\\x1b[2J"},
		{"a\0b", 3, false, "a\\x00b"},
		{"a\nb", 3, false, "a\\x0ab"},
		{"a\nb", 3, true, "a\nb"},
		{"a\r\nb", 4, true, "a\nb"},
		{"a\rb", 3, true, "a\\x0db"},
		{"a\r", 2, true, "a\\x0d"},
		{"\tx", 2, false, "\tx"},
		{"\x7f", 1, true, "\\x7f"},
		{"\xc2\x9b"
		 "31m",
		 5, true, "\\u009b31m"},
		{"\x9b", 1, true, "\\x9b"},
		{"\xe2\x80\xae", 3, true, "\\u202e"},
		{"\xe2\x80\xa8", 3, true, "\\u2028"},
		{"\xef\xbb\xbf", 3, true, "\\ufeff"},
		{"\xe2\x82", 2, true, "\\xe2\\x82"},
		{"\xed\xa0\x80", 3, true, "\\xed\\xa0\\x80"},
		{"\xc0\xaf", 2, true, "\\xc0\\xaf"},
		{"\xff\xff", 2, true, "\\xff\\xff"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out;

		buf_init(&out, 4096);
		terminal_add(&out, rows[i].in, rows[i].len, rows[i].lines);
		if (out.failed || strcmp(buf_text(&out), rows[i].out) != 0)
			fail_msg("row %zu gave '%s'", i, buf_text(&out));
		buf_release(&out);
	}
}

static void no_byte_gets_through_as_a_control(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		for (unsigned second = 0; second < 256; second++) {
			const uint8_t in[2] = {(uint8_t)first, (uint8_t)second};
			struct buf out;

			buf_init(&out, 64);
			terminal_add(&out, in, sizeof(in), false);
			for (size_t i = 0; i < out.len; i++) {
				uint8_t c = out.data[i];

				assert_false((c < 0x20 && c != '\t') || c == 0x7f);
				assert_false(c == 0xc2 && out.data[i + 1] < 0xa0);
			}
			buf_release(&out);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_hazard_is_spelled_out),
		cmocka_unit_test(no_byte_gets_through_as_a_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
