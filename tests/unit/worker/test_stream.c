/* test_stream.c - head and tail against a plain model of them. */
#include "worker/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

static struct arena arena;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 16 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static void assert_text(const struct stream *stream, const char *expected)
{
	struct bytes text = stream_text(stream, &arena);

	if (text.len != strlen(expected) ||
	    (text.len > 0 && memcmp(text.data, expected, text.len) != 0))
		fail_msg("'%.*s' instead of '%s'", (int)text.len, (const char *)text.data,
			 expected);
}

static void cuts_are_between_head_and_tail(void **state)
{
	static const struct {
		size_t head;
		size_t tail;
		const char *in;
		const char *out;
		int64_t truncated;
	} rows[] = {
		{4, 4, "", "", 0},
		{4, 4, "abc", "abc", 0},
		{4, 4, "abcd", "abcd", 0},
		{4, 4, "abcde", "abcde", 0},
		{4, 4, "abcdefgh", "abcdefgh", 0},
		{4, 4, "abcdefghi", "abcd\n[... 1 bytes left out ...]\nfghi", 1},
		{0, 4, "abcdefghi", "\n[... 5 bytes left out ...]\nfghi", 5},
		{4, 0, "abcdefghi", "abcd\n[... 5 bytes left out ...]\n", 5},
		{0, 0, "abc", "\n[... 3 bytes left out ...]\n", 3},
		/* no character is cut, and nothing is when all of it is there */
		{4, 4, "abc\xc3\xa9xyz", "abc\xc3\xa9xyz", 0},
		{4, 4, "abc\xc3\xa9wxyzz", "abc\n[... 3 bytes left out ...]\nxyzz", 3},
		{4, 4, "ab\xe2\x82\xac--wxyz", "ab\n[... 5 bytes left out ...]\nwxyz", 5},
		{4, 4, "abcd--\xe2\x82\xacyz", "abcd\n[... 5 bytes left out ...]\nyz", 5},
		{4, 4, "a\xf0\x9f\x98\x80--wxyz", "a\n[... 6 bytes left out ...]\nwxyz", 6},
		{4, 4, "abc\xff--wxyz", "abc\xff\n[... 2 bytes left out ...]\nwxyz", 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t piece = 1; piece <= 12; piece++) {
			struct stream stream;
			size_t len = strlen(rows[i].in);

			stream_init(&stream, rows[i].head, rows[i].tail);
			for (size_t at = 0; at < len; at += piece)
				stream_add(&stream, rows[i].in + at,
					   len - at < piece ? len - at : piece);
			assert_text(&stream, rows[i].out);
			assert_int_equal(stream_truncated(&stream), rows[i].truncated);
			assert_int_equal(stream.total_bytes, len);
			stream_release(&stream);
		}
	}
}

static void random_pieces_keep_first_and_last(void **state)
{
	enum { MAX = 4000 };
	static uint8_t all[MAX];
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < 500; round++) {
		size_t head = (size_t)rand_r(&seed) % 200;
		size_t tail = (size_t)rand_r(&seed) % 200;
		size_t total = (size_t)rand_r(&seed) % 1000;
		struct stream stream;
		struct bytes text;
		size_t at = 0;

		stream_init(&stream, head, tail);
		while (at < total) {
			size_t piece = (size_t)rand_r(&seed) % 300;

			piece = piece < total - at ? piece : total - at;
			for (size_t k = 0; k < piece; k++)
				all[at + k] = (uint8_t)(rand_r(&seed) & 0x7f);
			stream_add(&stream, all + at, piece);
			at += piece;
		}
		text = stream_text(&stream, &arena);
		if (total <= head + tail) {
			assert_int_equal(text.len, total);
			if (total > 0)
				assert_memory_equal(text.data, all, total);
		} else {
			assert_int_equal(stream_truncated(&stream), total - head - tail);
			if (head > 0)
				assert_memory_equal(text.data, all, head);
			if (tail > 0)
				assert_memory_equal(text.data + text.len - tail, all + total - tail,
						    tail);
		}
		stream_release(&stream);
	}
}

static void memory_comes_with_output(void **state)
{
	struct stream stream;

	(void)state;
	stream_init(&stream, 64 << 10, 64 << 10);
	assert_int_equal(stream.head.capacity, 0);
	stream_add(&stream, "x", 1);
	assert_true(stream.head.capacity < 1024);
	assert_null(stream.tail);
	stream_release(&stream);
	assert_text(&stream, "");
}

static void without_arena_there_is_no_text(void **state)
{
	struct stream stream;
	struct arena small;
	struct bytes text;

	(void)state;
	arena_init(&small, 2);
	stream_init(&stream, 8, 8);
	stream_add(&stream, "abc", 3);
	text = stream_text(&stream, &small);
	assert_int_equal(text.len, 0);
	stream_release(&stream);
	arena_release(&small);
}

static void a_failed_head_counts_as_truncated(void **state)
{
	struct stream stream;

	(void)state;
	stream_init(&stream, 8, 2);
	stream_add(&stream, "ab", 2);
	stream.head.failed = true; /* as after a failed realloc */
	stream_add(&stream, "cdef", 4);
	assert_text(&stream, "ab\n[... 2 bytes left out ...]\nef");
	stream_release(&stream);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(cuts_are_between_head_and_tail),    T(random_pieces_keep_first_and_last),
		T(memory_comes_with_output),	      T(without_arena_there_is_no_text),
		T(a_failed_head_counts_as_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
