/* test_value.c - trees: made, packed, unpacked, spelled as JSON and back. */
#include "kit.h"

#include <stdlib.h>

#include "schema/base64.h"
#include "schema/value_private.h"

static void assert_json(const struct value *tree, unsigned indent, const char *expected)
{
	struct buf out;

	buf_init(&out, LIMIT_JSON_BYTES);
	value_to_json(tree, indent, &out);
	assert_string_equal(buf_text(&out), expected);
	buf_release(&out);
}

/* What may end on a terminal does nothing there, and reads back as it was. */
static void json_spells_out_what_misleads(void **state)
{
	static const char text[] =
		"a\x1b\x7f\xc2\x9b\xe2\x80\xae\xe2\x81\xa6\xf3\xa0\x80\x81\xc3\xa4";
	static const char json[] = "\"a\\u001b\\u007f\\u009b\\u202e\\u2066\\udb40\\udc01\xc3\xa4\"";
	struct arena arena;
	struct value *back;
	struct err err = {0};

	(void)state;
	arena_init(&arena, 1 << 16);
	assert_json(value_str(&arena, text), 0, json);
	assert_int_equal(
		value_from_json(&arena, arena_strdup(&arena, json), sizeof(json) - 1, &back, &err),
		0);
	assert_string_equal(value_text(&arena, back), text);
	arena_release(&arena);
}

/* --- making ----------------------------------------------------------- */

static void lists_and_maps_grow(void **state)
{
	struct arena arena;
	struct value *list;
	struct value *map;

	(void)state;
	kit_arena(&arena);
	list = value_list(&arena);
	map = value_map(&arena);
	for (int64_t i = 0; i < 1000; i++) {
		value_append(&arena, list, value_int(&arena, i));
		value_put(&arena, map, arena_printf(&arena, "k%lld", (long long)i),
			  value_int(&arena, i));
	}
	assert_false(arena.exhausted);
	assert_int_equal(list->list.len, 1000);
	assert_int_equal(list->list.items[999]->integer, 999);
	assert_int_equal(value_get(map, "k517")->integer, 517);
	value_put(&arena, map, "k517", value_bool(&arena, true));
	assert_int_equal(map->map.len, 1000);
	assert_int_equal(value_get(map, "k517")->kind, VALUE_BOOL);
	assert_null(value_get(map, "k"));
	assert_null(value_get(list, "k1"));
	assert_null(value_get(NULL, "k1"));
	arena_release(&arena);
}

/* A tree that was read has room of its own and may be changed as well. */
static void trees_that_were_read_grow(void **state)
{
	(void)state;
	for (size_t len = 0; len < 40; len++) {
		struct arena arena;
		struct value *map;
		struct value *read;
		struct buf out;

		kit_arena(&arena);
		map = value_map(&arena);
		for (size_t i = 0; i < len; i++)
			value_put(&arena, map, arena_printf(&arena, "k%zu", i), value_list(&arena));
		buf_init(&out, LIMIT_MESSAGE_BYTES);
		value_pack(map, &out);
		assert_int_equal(out.len, value_packed_size(map));
		assert_int_equal(value_unpack(&arena, out.data, out.len, &read, NULL), 0);
		for (size_t i = 0; i < 40; i++)
			value_put(&arena, read, arena_printf(&arena, "n%zu", i),
				  value_bool(&arena, true));
		assert_int_equal(read->map.len, len + 40);
		buf_release(&out);
		arena_release(&arena);
	}
}

static void texts_are_c_strings(void **state)
{
	struct arena arena;
	struct value *nul;

	(void)state;
	kit_arena(&arena);
	nul = value_str(&arena, "abc");
	assert_string_equal(value_text(&arena, nul), "abc");
	nul->bytes = (struct bytes){(const uint8_t *)"a\0b", 3};
	assert_null(value_text(&arena, nul));
	assert_null(value_text(&arena, value_int(&arena, 1)));
	assert_null(value_text(&arena, NULL));
	assert_int_equal(value_str(&arena, NULL)->kind, VALUE_NULL);
	arena_release(&arena);
}

/* --- msgpack ---------------------------------------------------------- */

static void integers_take_the_fewest_bytes(void **state)
{
	static const struct {
		int64_t integer;
		size_t bytes;
	} rows[] = {
		{0, 1},	     {127, 1},	  {128, 2},	      {255, 2},		  {256, 3},
		{65535, 3},  {65536, 5},  {4294967295, 5},    {4294967296, 9},	  {INT64_MAX, 9},
		{-1, 1},     {-32, 1},	  {-33, 2},	      {-128, 2},	  {-129, 3},
		{-32768, 3}, {-32769, 5}, {-2147483648ll, 5}, {-2147483649ll, 9}, {INT64_MIN, 9}};
	struct arena arena;

	(void)state;
	kit_arena(&arena);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out;
		struct value *read;

		buf_init(&out, 64);
		value_pack(value_int(&arena, rows[i].integer), &out);
		assert_int_equal(out.len, rows[i].bytes);
		assert_int_equal(value_unpack(&arena, out.data, out.len, &read, NULL), 0);
		assert_int_equal(read->kind, VALUE_INT);
		assert_true(read->integer == rows[i].integer);
		buf_release(&out);
	}
	arena_release(&arena);
}

static void timestamps_are_kept(void **state)
{
	static const char message[] =
		"\x83\xa1"
		"a\xd6\xff\x00\x00\x00\x01\xa1"
		"b\xd7\xff\x00\x00\x00\x04\x00\x00\x00\x01\xa1"
		"c\xc7\x0c\xff\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff";
	struct arena arena;
	struct value *tree;
	struct buf out;

	(void)state;
	kit_arena(&arena);
	buf_init(&out, 64);
	assert_int_equal(value_unpack(&arena, message, sizeof(message) - 1, &tree, NULL), 0);
	value_pack(tree, &out);
	assert_int_equal(out.len, sizeof(message) - 1);
	assert_memory_equal(out.data, message, out.len);
	assert_json(tree, 0,
		    "{\"a\":{\"seconds\":1,\"nanoseconds\":0},"
		    "\"b\":{\"seconds\":1,\"nanoseconds\":1},"
		    "\"c\":{\"seconds\":-1,\"nanoseconds\":1}}");
	buf_release(&out);
	arena_release(&arena);
}

static void a_small_arena_is_a_limit(void **state)
{
	struct arena arena;
	struct bytes message;
	size_t limit = 0;
	int r;

	(void)state;
	kit_arena(&arena);
	message = kit_message(&arena, "{'a': [1, 2, {'b': 'text'}], 'c': {'d': null}, 'e': 1.5}");
	do {
		struct arena small;
		struct err err = {0};
		struct value *tree = NULL;

		arena_init(&small, limit++);
		r = value_unpack(&small, message.data, message.len, &tree, &err);
		if (r < 0) {
			assert_int_equal(err.kind, ERR_LIMIT);
			assert_null(tree);
		}
		arena_release(&small);
	} while (r < 0);
	assert_in_range(limit, 100, 4000);
	arena_release(&arena);
}

static void a_small_buffer_fails(void **state)
{
	struct arena arena;
	struct value *tree;

	(void)state;
	kit_arena(&arena);
	tree = kit_tree(&arena, "{'a': [1, 2, {'b': 'text'}]}");
	for (size_t limit = 0; limit < value_packed_size(tree); limit++) {
		struct buf out;

		buf_init(&out, limit);
		value_pack(tree, &out);
		assert_true(out.failed);
		buf_release(&out);
	}
	arena_release(&arena);
}

/* --- JSON ------------------------------------------------------------- */

static void json_comes_back_as_it_was(void **state)
{
	static const char *const texts[] = {
		"null",
		"{}",
		"[]",
		"[true,false,null,0,-1,9223372036854775807,1.5,-0.25,1e+22,0.1,100000.0]",
		"{\"b\":1,\"a\":{\"z\":[[],{}],\"y\":\"\"}}",
		"\"\\\"\\\\\\n\\r\\t\\b\\f\\u0000\\u001b\\u007f\\u009b/\xc3\xa9\xf0\x9f\x98\x80\"",
	};
	struct arena arena;

	(void)state;
	kit_arena(&arena);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct value *tree;
		struct err err = {0};

		if (value_from_json(&arena, texts[i], strlen(texts[i]), &tree, &err) < 0)
			fail_msg("%s: %s", texts[i], err.message);
		assert_json(tree, 0, texts[i]);
	}
	arena_release(&arena);
}

static void json_is_indented(void **state)
{
	struct arena arena;

	(void)state;
	kit_arena(&arena);
	assert_json(kit_tree(&arena, "{'a': [1, {'b': []}], 'c': {}}"), 2,
		    "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
	arena_release(&arena);
}

static void bad_json_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"{'a': 1, 'a': 2}",
		"[1,]",
		"[1] 2",
		"nan",
		"1e999",
		"9223372036854775808",
		"'\\ud800'",
		"'\xff'",
		"'unfinished\\",
		"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]",
	};
	struct arena arena;

	(void)state;
	kit_arena(&arena);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char *json = arena_strdup(&arena, texts[i]);
		struct value *tree = NULL;
		struct err err = {0};

		for (char *at = json; *at != '\0'; at++)
			*at = *at == '\'' ? '"' : *at;
		if (value_from_json(&arena, json, strlen(json), &tree, &err) == 0)
			fail_msg("read: %s", json);
		assert_int_equal(err.kind, ERR_INPUT);
		assert_null(tree);
	}
	arena_release(&arena);
}

static void json_bombs_are_refused(void **state)
{
	size_t len = 2 * LIMIT_NODES + 3;
	char *text = malloc(len + 1);
	struct arena arena;
	struct value *tree;
	struct err err = {0};

	(void)state;
	assert_non_null(text);
	kit_arena(&arena);
	for (size_t i = 0; i < len; i++)
		text[i] = i % 2 == 0 ? '0' : ',';
	text[0] = '[';
	text[len - 1] = ']';
	assert_int_equal(value_from_json(&arena, text, len, &tree, &err), -1);
	assert_non_null(strstr(err.message, "values"));
	(void)memset(text, '[', len);
	assert_int_equal(value_from_json(&arena, text, len, &tree, &err), -1);
	assert_non_null(strstr(err.message, "nested"));
	free(text);
	arena_release(&arena);
}

/* --- binaries --------------------------------------------------------- */

static void binaries_are_text_or_base64(void **state)
{
	struct arena arena;

	(void)state;
	kit_arena(&arena);
	assert_json(value_bin(&arena, (struct bytes){(const uint8_t *)"a\n\0", 3}), 0,
		    "\"a\\n\\u0000\"");
	assert_json(value_bin(&arena, (struct bytes){(const uint8_t *)"\xff\x00", 2}), 0,
		    "{\"base64\":\"/wA=\"}");
	assert_json(value_bin(&arena, (struct bytes){NULL, 0}), 0, "\"\"");
	arena_release(&arena);
}

/* The text ends where it ends, with nothing behind it that may be read. */
static void expect_binary(struct arena *arena, const char *text, size_t len, const char *wanted)
{
	uint8_t *exact = malloc(len + 1);
	struct bytes read;

	assert_non_null(exact);
	memcpy(exact + 1, text, len);
	assert_true(base64_decode(arena, (struct bytes){exact + 1, len}, &read));
	assert_int_equal(read.len, strlen(wanted));
	assert_memory_equal(read.data, wanted, read.len);
	free(exact);
}

/* The vectors of RFC 4648, section 10, and every way to get it wrong. */
static void base64_is_exact(void **state)
{
	static const char *const pairs[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
	};
	static const char *const wrong[] = {
		"Z",	"Zg=",	"Zg===", "Zh==",     "Zh",    "Zm9=",  "Zm9",	   "Z===",
		"====", "=",	"==",	 "Zm9v=",    "Zm9vZ", "Zm8==", "Zm9v====", "Zm9v\n",
		"Zm 9", "Zm9-", "Zm9_",	 "Zg==Zg==", "Z=g=",  "=Zg="};
	struct arena arena;
	struct bytes read;

	(void)state;
	kit_arena(&arena);
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct buf out;

		buf_init(&out, 64);
		base64_encode((struct bytes){(const uint8_t *)pairs[i][0], strlen(pairs[i][0])},
			      &out);
		assert_string_equal(buf_text(&out), pairs[i][1]);
		expect_binary(&arena, pairs[i][1], strlen(pairs[i][1]), pairs[i][0]);
		expect_binary(&arena, pairs[i][1], strcspn(pairs[i][1], "="), pairs[i][0]);
		buf_release(&out);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct bytes text = {(const uint8_t *)wrong[i], strlen(wrong[i])};

		if (base64_decode(&arena, text, &read))
			fail_msg("read: %s", wrong[i]);
	}
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_and_maps_grow),
		cmocka_unit_test(trees_that_were_read_grow),
		cmocka_unit_test(texts_are_c_strings),
		cmocka_unit_test(integers_take_the_fewest_bytes),
		cmocka_unit_test(timestamps_are_kept),
		cmocka_unit_test(a_small_arena_is_a_limit),
		cmocka_unit_test(a_small_buffer_fails),
		cmocka_unit_test(json_comes_back_as_it_was),
		cmocka_unit_test(json_is_indented),
		cmocka_unit_test(json_spells_out_what_misleads),
		cmocka_unit_test(bad_json_is_refused),
		cmocka_unit_test(json_bombs_are_refused),
		cmocka_unit_test(binaries_are_text_or_base64),
		cmocka_unit_test(base64_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
