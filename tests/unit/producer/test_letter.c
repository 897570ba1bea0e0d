/* test_letter.c - dead letters are shown whatever is in them, and renewed
 * without losing anything. */
#include "producer/letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schema/limits.h"

enum { NOW_MS = 1700000000 };

struct bench {
	struct arena arena;
	struct buf packed;
	struct delivery delivery;
	struct letter letter;
	struct buf message;
	struct job job;
	struct reason reason;
	struct err err;
};

static void read_bytes(struct bench *bench, const void *data, size_t len)
{
	*bench = (struct bench){0};
	arena_init(&bench->arena, LIMIT_ARENA_BYTES);
	buf_init(&bench->packed, LIMIT_MESSAGE_BYTES);
	buf_init(&bench->message, 2 * (size_t)LIMIT_MESSAGE_BYTES);
	buf_add(&bench->packed, data, len);
	bench->delivery.body = buf_bytes(&bench->packed);
	bench->delivery.size_bytes = len;
	letter_read(&bench->arena, &bench->delivery, &bench->letter);
}

static void read_json(struct bench *bench, const char *json)
{
	struct arena arena;
	struct value *tree;
	struct buf packed;

	arena_init(&arena, 1 << 20);
	buf_init(&packed, 1 << 20);
	assert_int_equal(value_from_json(&arena, json, strlen(json), &tree, NULL), 0);
	value_pack(tree, &packed);
	read_bytes(bench, packed.data, packed.len);
	buf_release(&packed);
	arena_release(&arena);
}

static void free_bench(struct bench *bench)
{
	buf_release(&bench->packed);
	buf_release(&bench->message);
	arena_release(&bench->arena);
}

static int replay(struct bench *bench)
{
	return letter_replay(&bench->arena, &bench->letter, NOW_MS, &bench->message, &bench->job,
			     &bench->reason, &bench->err);
}

static void assert_message_is(struct bench *bench, const char *json)
{
	struct value *tree;
	struct buf text;

	buf_init(&text, 1 << 20);
	assert_int_equal(value_unpack(&bench->arena, bench->message.data, bench->message.len, &tree,
				      &bench->err),
			 0);
	value_to_json(tree, 0, &text);
	assert_string_equal(buf_text(&text), json);
	buf_release(&text);
}

/* --- replay ----------------------------------------------------------- */

static void a_replay_keeps_what_it_does_not_know(void **state)
{
	struct bench bench;

	(void)state;
	read_json(&bench, "{\"zz\":[1,{\"y\":2.5}],\"v\":1,\"id\":\"j1\",\"priority\":\"high\","
			  "\"labels\":{\"a\":\"b\"}}");
	assert_int_equal(replay(&bench), 0);
	assert_message_is(&bench, "{\"zz\":[1,{\"y\":2.5}],\"v\":1,\"id\":\"j1\","
				  "\"priority\":\"high\",\"labels\":{\"a\":\"b\"},"
				  "\"replayed_from\":\"j1.1\",\"run\":2}");
	assert_int_equal(bench.job.run, 2);
	assert_int_equal(bench.job.priority, PRIORITY_HIGH);
	assert_string_equal(bench.job.replayed_from, "j1.1");
	free_bench(&bench);
}

static void a_replay_of_a_replay_counts_on(void **state)
{
	struct bench bench;

	(void)state;
	read_json(&bench, "{\"v\":1,\"run\":4,\"id\":\"j1\",\"replayed_from\":\"j1.3\"}");
	assert_int_equal(replay(&bench), 0);
	assert_message_is(&bench, "{\"v\":1,\"run\":5,\"id\":\"j1\",\"replayed_from\":\"j1.4\"}");
	free_bench(&bench);
}

static void a_repeated_replay_gives_the_same_bytes(void **state)
{
	static const char json[] = "{\"v\":1,\"id\":\"j1\",\"stage\":\"s\"}";
	struct bench first;
	struct bench second;

	(void)state;
	read_json(&first, json);
	read_json(&second, json);
	assert_int_equal(replay(&first), 0);
	assert_int_equal(replay(&second), 0);
	assert_int_equal(first.message.len, second.message.len);
	assert_memory_equal(first.message.data, second.message.data, first.message.len);
	free_bench(&first);
	free_bench(&second);
}

static void what_cannot_be_replayed_says_why(void **state)
{
	static const struct {
		const char *json;
		enum reason_code code;
		const char *message;
	} rows[] = {
		{"[]", REASON_JOB_MALFORMED, "expected a map, found list"},
		{"{\"v\":2,\"id\":\"j\"}", REASON_JOB_VERSION, "v"},
		{"{\"v\":1}", REASON_JOB_INVALID, "id"},
		{"{\"v\":1,\"id\":\"j\",\"run\":0}", REASON_JOB_INVALID, "run"},
		{"{\"v\":1,\"id\":\"j\",\"run\":\"x\"}", REASON_JOB_INVALID, "run"},
		{"{\"v\":1,\"id\":\"j\",\"run\":1000000}", REASON_JOB_INVALID, "run"},
		{"{\"v\":1,\"id\":\"j\",\"code\":{\"language\":\"c\"}}", REASON_JOB_UNSUPPORTED,
		 "code"},
		{"{\"v\":1,\"id\":\"j\",\"deadline_ms\":1700000000}", REASON_JOB_EXPIRED,
		 "its deadline passed at 1970-01-20 16:13:20Z"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct bench bench;

		read_json(&bench, rows[i].json);
		if (replay(&bench) != REFUSED)
			fail_msg("'%s' was taken", rows[i].json);
		if (bench.reason.code != rows[i].code ||
		    strstr(bench.reason.message, rows[i].message) == NULL)
			fail_msg("'%s': %s: %s", rows[i].json, reason_code_name(bench.reason.code),
				 bench.reason.message);
		assert_int_equal(bench.message.len, 0);
		free_bench(&bench);
	}
}

static void a_deadline_to_come_is_no_hindrance(void **state)
{
	struct bench bench;

	(void)state;
	read_json(&bench, "{\"v\":1,\"id\":\"j\",\"deadline_ms\":1700000001}");
	assert_int_equal(replay(&bench), 0);
	free_bench(&bench);
}

/* --- showing ---------------------------------------------------------- */

static void assert_shown(const struct letter *letter, const char *const *parts)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	letter_print(letter, &out);
	letter_print_row(letter, &out);
	assert_false(out.failed);
	assert_null(memchr(out.data, '\033', out.len));
	for (; *parts != NULL; parts++) {
		if (strstr(buf_text(&out), *parts) == NULL)
			fail_msg("no '%s' in:\n%s", *parts, buf_text(&out));
	}
	buf_release(&out);
}

static void garbage_is_shown_as_garbage(void **state)
{
	static const char *const parts[] = {"reason     job.malformed",
					    "error      \\x1b[31mred",
					    "6 bytes, the first 6",
					    "c1 1b 5b 32 4a 80",
					    "..[2J.",
					    "not decodable: ",
					    "hdr\\x07id",
					    NULL};
	struct bench bench;

	(void)state;
	read_bytes(&bench, "\xc1\033[2J\x80", 6);
	bench.delivery.id = "hdr\aid";
	bench.delivery.death.reason = "job.malformed";
	bench.delivery.death.error = "\033[31mred";
	letter_read(&bench.arena, &bench.delivery, &bench.letter);
	assert_null(bench.letter.tree);
	assert_string_equal(bench.letter.id, "hdr\\x07id");
	assert_shown(&bench.letter, parts);
	assert_int_equal(replay(&bench), REFUSED);
	assert_int_equal(bench.reason.code, REASON_JOB_MALFORMED);
	free_bench(&bench);
}

static void a_message_cut_short_is_said_to_be(void **state)
{
	static const char *const parts[] = {"the message has 9000000 bytes", NULL};
	struct bench bench;

	(void)state;
	read_json(&bench, "{\"v\":1,\"id\":\"big\"}");
	bench.delivery.size_bytes = 9000000;
	letter_read(&bench.arena, &bench.delivery, &bench.letter);
	assert_null(bench.letter.tree);
	assert_string_equal(bench.letter.id, "big");
	assert_shown(&bench.letter, parts);
	assert_int_equal(replay(&bench), REFUSED);
	free_bench(&bench);
}

static void times_are_bounded(void **state)
{
	static const char *const parts[] = {"2023-11-14 22:13:20Z to -", "worker     w1",
					    "attempts   5", "tenant     default", NULL};
	struct bench bench;

	(void)state;
	read_json(&bench, "{\"v\":1,\"id\":\"j\"}");
	bench.delivery.death = (struct message_death){.reason = "job.attempts",
						      .worker = "w1",
						      .attempts = 5,
						      .first_at_ms = 1700000000000,
						      .last_at_ms = INT64_MAX};
	assert_shown(&bench.letter, parts);
	free_bench(&bench);
}

static void the_tree_of_a_letter_is_complete(void **state)
{
	struct bench bench;
	struct buf out;

	(void)state;
	read_json(&bench, "{\"v\":1,\"id\":\"j\",\"tenant\":\"t\"}");
	bench.delivery.death.reason = "x\xff";
	buf_init(&out, 1 << 20);
	value_to_json(letter_to_value(&bench.arena, &bench.letter, true), 0, &out);
	assert_string_equal(buf_text(&out),
			    "{\"id\":\"j\",\"run\":1,\"tenant\":\"t\",\"reason\":\"x\\\\xff\","
			    "\"size_bytes\":18,\"decodable\":true,"
			    "\"job\":{\"v\":1,\"id\":\"j\",\"tenant\":\"t\"}}");
	buf_release(&out);
	free_bench(&bench);
	read_bytes(&bench, "\xc1", 1);
	buf_init(&out, 1 << 20);
	value_to_json(letter_to_value(&bench.arena, &bench.letter, true), 0, &out);
	assert_non_null(strstr(buf_text(&out), "\"decodable\":false"));
	assert_non_null(strstr(buf_text(&out), "\"body\":{\"base64\":\"wQ==\"}"));
	buf_release(&out);
	free_bench(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_replay_keeps_what_it_does_not_know),
		cmocka_unit_test(a_replay_of_a_replay_counts_on),
		cmocka_unit_test(a_repeated_replay_gives_the_same_bytes),
		cmocka_unit_test(what_cannot_be_replayed_says_why),
		cmocka_unit_test(a_deadline_to_come_is_no_hindrance),
		cmocka_unit_test(garbage_is_shown_as_garbage),
		cmocka_unit_test(a_message_cut_short_is_said_to_be),
		cmocka_unit_test(times_are_bounded),
		cmocka_unit_test(the_tree_of_a_letter_is_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
