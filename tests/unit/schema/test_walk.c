/* test_walk.c - what the walk lets through and what it refuses, byte by byte. */
#include "kit.h"

#include <stdlib.h>

#include "base/arena.h"

#define B(literal) literal, sizeof(literal) - 1

static const struct {
	const char *what;
	const char *bytes;
	size_t len;
	const char *error; /* a part of the message; NULL: it is let through */
} rows[] = {
	{"nil", B("\xc0"), NULL},
	{"true", B("\xc3"), NULL},
	{"small integers", B("\x93\x00\x7f\xe0"), NULL},
	{"integers of all sizes",
	 B("\x98\xcc\xff\xcd\x01\x00\xce\xff\xff\xff\xff\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"
	   "\xd0\x80\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
	 NULL},
	{"an integer above int64", B("\xcf\x80\x00\x00\x00\x00\x00\x00\x00"), "integer at byte 0"},
	{"a single", B("\xca\x3f\xc0\x00\x00"), NULL},
	{"a double", B("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"), NULL},
	{"NaN", B("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), "not finite"},
	{"a single NaN", B("\xca\x7f\xc0\x00\x00"), "not finite"},
	{"infinity", B("\xcb\xff\xf0\x00\x00\x00\x00\x00\x00"), "not finite"},
	{"texts of all sizes", B("\x94\xa1x\xd9\x01x\xda\x00\x01x\xdb\x00\x00\x00\x01x"), NULL},
	{"binaries of all sizes", B("\x93\xc4\x01\xff\xc5\x00\x01\xff\xc6\x00\x00\x00\x01\xff"),
	 NULL},
	{"text that is not UTF-8", B("\xa2\xc3\x28"), "the text at byte 0 is not UTF-8"},
	{"an overlong form", B("\xa2\xc0\x80"), "not UTF-8"},
	{"a surrogate", B("\xa3\xed\xa0\x80"), "not UTF-8"},
	{"a text cut short", B("\xa3xy"), "ends in the middle"},
	{"a long text cut short", B("\xdb\xff\xff\xff\xffxy"), "ends in the middle"},
	{"a binary cut short", B("\xc6\x00\x00\x00\x09xy"), "ends in the middle"},
	{"a length cut short", B("\xdb\xff"), "ends in the middle"},
	{"a double cut short", B("\xcb\x00"), "ends in the middle"},
	{"nothing", B(""), "ends in the middle"},
	{"a byte that is never used", B("\xc1"), "starts no value"},
	{"lists of all sizes", B("\x93\x90\xdc\x00\x01\xc0\xdd\x00\x00\x00\x01\xc0"), NULL},
	{"maps of all sizes", B("\x93\x80\xde\x00\x01\xa1x\xc0\xdf\x00\x00\x00\x01\xa1x\xc0"),
	 NULL},
	{"five bytes that claim gigabytes", B("\xdd\x0f\xff\xff\xff"), "claims 268435455 items"},
	{"a map that claims gigabytes", B("\xdf\x0f\xff\xff\xff"), "claims 268435455 items"},
	{"a map that claims what overflows", B("\xdf\xff\xff\xff\xff"), "claims 4294967295 items"},
	{"a list short of one", B("\x92\xc0"), "claims 2 items"},
	{"a map short of a value", B("\x81\xa1x"), "ends in the middle"},
	{"lists that promise the same bytes twice", B("\x94\x94\x90\x90\x90\x90"),
	 "claims 4 items"},
	{"trailing bytes", B("\xc0\xc0"), "1 bytes follow the value's end at byte 1"},
	{"trailing bytes behind a map", B("\x81\xa1x\xc0\xc0\xc0"), "2 bytes follow"},
	{"the same key twice", B("\x82\xa1x\xc0\xa1x\xc0"),
	 "the map key 'x' at byte 4 is repeated"},
	{"the same key in two spellings", B("\x82\xa1x\xc0\xd9\x01x\xc0"), "repeated"},
	{"the empty key twice", B("\x82\xa0\xc0\xa0\xc0"), "repeated"},
	{"the same key in neighbours", B("\x92\x81\xa1x\xc0\x81\xa1x\xc0"), NULL},
	{"the same key at two depths", B("\x81\xa1x\x81\xa1x\xc0"), NULL},
	{"the same key around a map", B("\x82\xa1x\x81\xa1y\xc0\xa1x\xc0"), "repeated"},
	{"a key that is a number", B("\x81\x01\xc0"), "key at byte 1 is int, not str"},
	{"a key that is a binary", B("\x81\xc4\x01x\xc0"), "key at byte 1 is bin, not str"},
	{"a key that is a list", B("\x81\x90\xc0"), "key at byte 1 is list, not str"},
	{"the three timestamps",
	 B("\x93\xd6\xff\x00\x00\x00\x01\xd7\xff\x00\x00\x00\x04\x00\x00\x00\x01"
	   "\xc7\x0c\xff\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01"),
	 NULL},
	{"another extension", B("\xd6\x01\x00\x00\x00\x01"), "not a timestamp"},
	{"a timestamp of a wrong size", B("\xd4\xff\x00"), "not a timestamp"},
	{"a timestamp of 16 bytes",
	 B("\xd8\xff\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01"
	   "\x00\x00\x00\x01"),
	 "not a timestamp"},
	{"too many nanoseconds", B("\xd7\xff\xff\xff\xff\xff\x00\x00\x00\x01"), "out of range"},
	{"a timestamp cut short", B("\xd6\xff\x00"), "ends in the middle"},
};

static void each_form_is_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		/* A copy of the exact size, so that the sanitizer sees a read beyond. */
		void *copy = malloc(rows[i].len == 0 ? 1 : rows[i].len);
		struct err err = {0};
		int r;

		assert_non_null(copy);
		(void)memcpy(copy, rows[i].bytes, rows[i].len);
		r = value_walk(copy, rows[i].len, &err);
		free(copy);
		if ((r == 0) != (rows[i].error == NULL))
			fail_msg("%s: %s", rows[i].what, r == 0 ? "let through" : err.message);
		if (r < 0 && (err.kind != ERR_INPUT || strstr(err.message, rows[i].error) == NULL))
			fail_msg("%s: %s", rows[i].what, err.message);
	}
}

static void nesting_is_bounded(void **state)
{
	uint8_t lists[LIMIT_DEPTH + 2];
	struct err err = {0};

	(void)state;
	(void)memset(lists, 0x91, sizeof(lists));
	lists[LIMIT_DEPTH] = 0xc0;
	assert_int_equal(value_walk(lists, LIMIT_DEPTH + 1, &err), 0);
	lists[LIMIT_DEPTH] = 0x90;
	assert_int_equal(value_walk(lists, LIMIT_DEPTH + 1, &err), -1);
	assert_non_null(strstr(err.message, "nested deeper than 16"));
}

static void many_values_are_refused(void **state)
{
	size_t len = LIMIT_NODES + 5;
	uint8_t *data = malloc(len);
	struct err err = {0};

	(void)state;
	assert_non_null(data);
	(void)memset(data, 0xc0, len);
	data[0] = 0xdd;
	for (int i = 0; i < 4; i++)
		data[1 + i] = (uint8_t)((LIMIT_NODES - 1) >> (24 - 8 * i));
	assert_int_equal(value_walk(data, LIMIT_NODES + 4, &err), 0);
	for (int i = 0; i < 4; i++)
		data[1 + i] = (uint8_t)(LIMIT_NODES >> (24 - 8 * i));
	assert_int_equal(value_walk(data, LIMIT_NODES + 5, &err), -1);
	assert_non_null(strstr(err.message, "values"));
	free(data);
}

static void many_keys_are_refused(void **state)
{
	size_t count = LIMIT_OPEN_KEYS + 1;
	uint8_t *data = malloc(3 + count * 6);
	size_t len = 3;
	struct err err = {0};

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < count; i++) {
		char key[5];

		(void)snprintf(key, sizeof(key), "%04zx", i);
		data[len++] = 0xa4;
		(void)memcpy(data + len, key, 4);
		len += 4;
		data[len++] = 0xc0;
	}
	data[0] = 0xde;
	data[1] = (uint8_t)(count >> 8);
	data[2] = (uint8_t)count;
	assert_int_equal(value_walk(data, len, &err), -1);
	assert_non_null(strstr(err.message, "more than 4096 keys"));
	data[1] = (uint8_t)((count - 1) >> 8);
	data[2] = (uint8_t)(count - 1);
	assert_int_equal(value_walk(data, len - 6, &err), 0);
	free(data);
}

static void too_long_is_a_limit(void **state)
{
	uint8_t *data = calloc(1, LIMIT_MESSAGE_BYTES + 1);
	struct err err = {0};

	(void)state;
	assert_non_null(data);
	assert_int_equal(value_walk(data, LIMIT_MESSAGE_BYTES + 1, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	free(data);
}

/* Every prefix of a message is refused, and none is read beyond its end. */
static void prefixes_are_refused(void **state)
{
	struct arena arena;
	struct bytes message;

	(void)state;
	kit_arena(&arena);
	message = kit_message(&arena, "{'v': 1, 'id': 'a', 'x': [1, 300, 70000, 1.5, null, true],"
				      " 'y': {'k': {'z': 'text'}}, 'n': -5000000000}");
	assert_int_equal(value_walk(message.data, message.len, NULL), 0);
	for (size_t len = 0; len < message.len; len++) {
		void *copy = malloc(len == 0 ? 1 : len);

		assert_non_null(copy);
		(void)memcpy(copy, message.data, len);
		assert_int_equal(value_walk(copy, len, NULL), -1);
		free(copy);
	}
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_is_judged),	   cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(many_values_are_refused), cmocka_unit_test(many_keys_are_refused),
		cmocka_unit_test(too_long_is_a_limit),	   cmocka_unit_test(prefixes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
