/* test_event.c - events are read forgivingly and shown harmlessly. */
#include "producer/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schema/value.h"

struct bench {
	struct arena arena;
	struct buf packed;
	struct event event;
	struct err err;
};

static void free_bench(struct bench *bench)
{
	buf_release(&bench->packed);
	arena_release(&bench->arena);
}

/* Decodes the event that `json` spells. */
static int decode(struct bench *bench, const char *json)
{
	struct value *tree;

	*bench = (struct bench){0};
	arena_init(&bench->arena, 1 << 20);
	buf_init(&bench->packed, 1 << 20);
	assert_int_equal(value_from_json(&bench->arena, json, strlen(json), &tree, &bench->err), 0);
	value_pack(tree, &bench->packed);
	return event_decode(&bench->arena, bench->packed.data, bench->packed.len, &bench->event,
			    &bench->err);
}

static void a_state_is_read(void **state)
{
	struct bench bench;

	(void)state;
	assert_int_equal(decode(&bench, "{\"v\":1,\"id\":\"j\",\"run\":3,\"kind\":\"state\","
					"\"at_us\":1700000000123456,\"state\":\"running\"}"),
			 0);
	assert_int_equal(bench.event.kind, EVENT_STATE);
	assert_string_equal(bench.event.id, "j");
	assert_string_equal(bench.event.state, "running");
	assert_int_equal(bench.event.run, 3);
	assert_int_equal(bench.event.at_us, 1700000000123456);
	free_bench(&bench);
}

static void output_is_read(void **state)
{
	struct bench bench;

	(void)state;
	assert_int_equal(decode(&bench, "{\"id\":\"j\",\"kind\":\"output\",\"step\":\"unit\","
					"\"stream\":\"stderr\",\"data\":\"x\\ny\",\"at_us\":-5}"),
			 0);
	assert_int_equal(bench.event.kind, EVENT_OUTPUT);
	assert_string_equal(bench.event.step, "unit");
	assert_true(bench.event.is_stderr);
	assert_int_equal(bench.event.run, 1);
	assert_int_equal(bench.event.at_us, 0);
	assert_int_equal(bench.event.data.len, 3);
	free_bench(&bench);
}

static void a_sample_is_read_and_shown(void **state)
{
	struct transcript transcript;
	struct bench bench;
	struct buf out;

	(void)state;
	transcript_init(&transcript, false);
	buf_init(&out, 1 << 20);
	assert_int_equal(decode(&bench,
				"{\"id\":\"j\",\"kind\":\"sample\",\"step\":\"un\\u001bit\","
				"\"wall_us\":10400000,\"cpu_us\":9700000,"
				"\"memory_bytes\":125829120}"),
			 0);
	assert_int_equal(bench.event.kind, EVENT_SAMPLE);
	transcript_add(&transcript, &bench.event, &out);
	assert_null(strchr(buf_text(&out), '\033'));
	assert_non_null(strstr(buf_text(&out), "it: 10 s, cpu 9.7 s, memory 120 MiB\n"));
	free_bench(&bench);
	buf_clear(&out);
	assert_int_equal(decode(&bench, "{\"id\":\"j\",\"kind\":\"sample\",\"step\":\"s\","
					"\"wall_us\":5000000}"),
			 0);
	transcript_add(&transcript, &bench.event, &out);
	assert_string_equal(buf_text(&out), "s: 5 s\n");
	free_bench(&bench);
	buf_release(&out);
	transcript_release(&transcript);
}

static void what_is_no_event_is_refused(void **state)
{
	static const char *const rows[] = {
		"{}",
		"[]",
		"3",
		"{\"kind\":\"state\",\"state\":\"running\"}",
		"{\"id\":\"j\",\"kind\":\"state\"}",
		"{\"id\":\"j\",\"kind\":\"state\",\"state\":7}",
		"{\"id\":\"j\",\"kind\":\"output\"}",
		"{\"id\":\"j\",\"kind\":\"output\",\"data\":[]}",
		"{\"id\":\"j\",\"kind\":\"other\"}",
		"{\"id\":\"j\"}",
	};
	struct bench bench;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (decode(&bench, rows[i]) != -1)
			fail_msg("'%s' was taken", rows[i]);
		assert_int_equal(bench.err.kind, ERR_INPUT);
		free_bench(&bench);
	}
	assert_int_equal(event_decode(&bench.arena, "\xc1", 1, &bench.event, &bench.err), -1);
}

/* --- transcript ------------------------------------------------------- */

static void add_output(struct transcript *transcript, const char *step, bool is_stderr,
		       const char *text, struct buf *out)
{
	const struct event event = {
		.kind = EVENT_OUTPUT,
		.id = "j",
		.step = step,
		.is_stderr = is_stderr,
		.data = {(const uint8_t *)text, strlen(text)},
	};

	transcript_add(transcript, &event, out);
}

static void add_state(struct transcript *transcript, const char *name, int64_t at_us,
		      struct buf *out)
{
	const struct event event = {.kind = EVENT_STATE, .id = "j", .state = name, .at_us = at_us};

	transcript_add(transcript, &event, out);
}

static void pieces_become_lines(void **state)
{
	struct transcript transcript;
	struct buf out;

	(void)state;
	transcript_init(&transcript, false);
	buf_init(&out, 1 << 20);
	add_state(&transcript, "running", 1700000000123456, &out);
	assert_string_equal(buf_text(&out), "22:13:20.123 running: the steps have ended\n");
	buf_clear(&out);
	add_output(&transcript, "unit", false, "ab", &out);
	assert_int_equal(out.len, 0);
	add_output(&transcript, "unit", true, "warn\r\nmore", &out);
	add_output(&transcript, "unit", false, "c\n\nd\n", &out);
	assert_string_equal(buf_text(&out), "unit ! warn\nunit | abc\nunit | \nunit | d\n");
	buf_clear(&out);
	add_output(&transcript, "next", false, "caf\xc3", &out);
	assert_string_equal(buf_text(&out), "unit ! more\n");
	buf_clear(&out);
	add_output(&transcript, "next", false, "\xa9", &out);
	transcript_finish(&transcript, &out);
	assert_string_equal(buf_text(&out), "next | caf\xc3\xa9\n");
	buf_clear(&out);
	transcript_finish(&transcript, &out);
	assert_int_equal(out.len, 0);
	buf_release(&out);
	transcript_release(&transcript);
}

static void nothing_drives_the_terminal(void **state)
{
	struct transcript transcript;
	struct buf out;

	(void)state;
	transcript_init(&transcript, false);
	buf_init(&out, 1 << 20);
	add_output(&transcript, "a\nb\033[31m", false, "\033]0;title\a\rx\n", &out);
	add_state(&transcript, "do\033[2Jne\n", 0, &out);
	assert_string_equal(buf_text(&out), "a\\x0ab\\x1b[31m | \\x1b]0;title\\x07\\x0dx\n"
					    "do\\x1b[2Jne\\x0a\n");
	buf_release(&out);
	transcript_release(&transcript);
}

static void long_lines_come_in_parts(void **state)
{
	static char text[3 * TRANSCRIPT_LINE_BYTES];
	struct transcript transcript;
	struct buf out;
	size_t shown = 0;

	(void)state;
	memset(text, 'x', sizeof(text) - 2);
	text[sizeof(text) - 2] = '\n';
	transcript_init(&transcript, false);
	buf_init(&out, 1 << 20);
	add_output(&transcript, "", false, text, &out);
	for (size_t i = 0; i < out.len; i++)
		shown += out.data[i] == 'x';
	assert_int_equal(shown, sizeof(text) - 2);
	assert_memory_equal(out.data, "| x", 3);
	assert_int_equal(out.data[out.len - 1], '\n');
	assert_false(transcript.lines[0].failed);
	buf_release(&out);
	transcript_release(&transcript);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_is_read),
		cmocka_unit_test(output_is_read),
		cmocka_unit_test(a_sample_is_read_and_shown),
		cmocka_unit_test(what_is_no_event_is_refused),
		cmocka_unit_test(pieces_become_lines),
		cmocka_unit_test(nothing_drives_the_terminal),
		cmocka_unit_test(long_lines_come_in_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
