/*
 * test_control.c - control messages: there and back, and what is refused.
 */
#include "schema/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "schema/value.h"

static struct arena arena;
static struct err err;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static int decode_json(const char *json, struct control *ret)
{
	char *text = arena_strdup(&arena, json);
	struct value *tree;
	struct buf out;
	int rc;

	assert_int_equal(value_from_json(&arena, text, strlen(text), &tree, &err), 0);
	buf_init(&out, 4096);
	value_pack(tree, &out);
	rc = control_decode(&arena, out.data, out.len, ret, &err);
	buf_release(&out);
	return rc;
}

static void what_is_packed_is_read(void **state)
{
	const struct control cancel = {.kind = CONTROL_CANCEL, .id = "job-1", .run = 3};
	const struct control mark = {.kind = CONTROL_MARK, .id = "m"};
	struct control got;
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	control_pack(&arena, &cancel, &out);
	assert_false(out.failed);
	assert_int_equal(control_decode(&arena, out.data, out.len, &got, &err), 0);
	assert_int_equal(got.kind, CONTROL_CANCEL);
	assert_string_equal(got.id, "job-1");
	assert_int_equal(got.run, 3);
	buf_clear(&out);
	control_pack(&arena, &mark, &out);
	assert_int_equal(control_decode(&arena, out.data, out.len, &got, &err), 0);
	assert_int_equal(got.kind, CONTROL_MARK);
	buf_release(&out);
	assert_int_equal(decode_json("{\"v\":1,\"kind\":\"cancel\",\"id\":\"j\"}", &got), 0);
	assert_int_equal(got.run, 1);
}

static void what_is_wrong_is_refused(void **state)
{
	static const struct {
		const char *json;
		enum err_kind kind;
	} wrong[] = {
		{"[]", ERR_UNSUPPORTED},
		{"{\"v\":2,\"kind\":\"cancel\",\"id\":\"j\"}", ERR_UNSUPPORTED},
		{"{\"v\":1,\"kind\":\"explode\",\"id\":\"j\"}", ERR_UNSUPPORTED},
		{"{\"v\":1,\"id\":\"j\"}", ERR_INPUT},
		{"{\"v\":1,\"kind\":\"cancel\"}", ERR_INPUT},
		{"{\"v\":1,\"kind\":\"cancel\",\"id\":\"a b\"}", ERR_INPUT},
		{"{\"v\":1,\"kind\":\"cancel\",\"id\":\"j\",\"run\":0}", ERR_INPUT},
		{"{\"v\":1,\"kind\":\"cancel\",\"id\":\"j\",\"run\":\"1\"}", ERR_INPUT},
	};
	struct control got;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		err = (struct err){0};
		assert_int_equal(decode_json(wrong[i].json, &got), -1);
		assert_int_equal(err.kind, wrong[i].kind);
	}
	assert_int_equal(control_decode(&arena, "\xc1", 1, &got, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_packed_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
