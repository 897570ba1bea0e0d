/* test_job_message.c - messages that are damaged, and those that people write. */
#include "kit.h"

#include <stdlib.h>

#include "schema/job.h"

#define B(literal) literal, sizeof(literal) - 1

/* --- messages --------------------------------------------------------- */

static void bad_messages_are_malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *message;
	} messages[] = {
		{"\xdd\x0f\xff\xff\xff", 5, "claims 268435455 items"},
		{"\xc0\xc0", 2, "1 bytes follow"},
		{"", 0, "ends in the middle"},
		{"{\"v\": 1}", 8, "the message is JSON text; pack it as msgpack"},
	};
	struct arena arena;
	struct reason reason;
	struct job job;
	uint8_t *large = calloc(1, LIMIT_MESSAGE_BYTES + 1);

	(void)state;
	assert_non_null(large);
	kit_arena(&arena);
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		assert_int_equal(
			job_decode(&arena, messages[i].bytes, messages[i].len, &job, &reason, NULL),
			REFUSED);
		assert_int_equal(reason.code, REASON_JOB_MALFORMED);
		assert_non_null(strstr(reason.message, messages[i].message));
	}
	assert_int_equal(job_decode(&arena, large, LIMIT_MESSAGE_BYTES + 1, &job, &reason, NULL),
			 REFUSED);
	assert_int_equal(reason.code, REASON_JOB_TOO_LARGE);
	free(large);
	arena_release(&arena);
}

static void ids_are_salvaged(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *id;
		const char *tenant;
	} messages[] = {
		{B("\x82\xa2id\xa1x\xa6tenant\xa1t"), "x", "t"},
		/* trailing bytes, a damaged tail, a repeated key */
		{B("\x82\xa2id\xa1x\xa6tenant\xa1t\xff\xff"), "x", "t"},
		{B("\x82\xa2id\xa1x\xa6tenant\xa9t"), "x", NULL},
		{B("\x82\xa2id\xa1x\xa2id\xa1y"), "x", NULL},
		{B("\x82\xa1p\x91\xc0\xa2id\xa1x"), "x", NULL},
		/* what is not valid is not handed on */
		{B("\x82\xa2id\xa1/\xa6tenant\xa1\n"), NULL, NULL},
		{B("\x81\xa2id\xc4\x01x"), NULL, NULL},
		{B("\x81\xa2id\x01"), NULL, NULL},
		{B("\x92\xa2id\xa1x"), NULL, NULL},
		{B("\xdf\x0f\xff\xff\xff\xa2id\xa1x"), NULL, NULL},
		{B(""), NULL, NULL},
	};
	struct arena arena;

	(void)state;
	kit_arena(&arena);
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		const char *id = "unset";
		const char *tenant = "unset";

		job_salvage(&arena, messages[i].bytes, messages[i].len, &id, &tenant);
		if ((id == NULL) != (messages[i].id == NULL) ||
		    (tenant == NULL) != (messages[i].tenant == NULL))
			fail_msg("row %zu: id %s, tenant %s", i, id == NULL ? "none" : id,
				 tenant == NULL ? "none" : tenant);
		if (id != NULL)
			assert_string_equal(id, messages[i].id);
		if (tenant != NULL)
			assert_string_equal(tenant, messages[i].tenant);
	}
	arena_release(&arena);
}

/* --- what people write ------------------------------------------------ */

static void prepared_jobs_are_complete(void **state)
{
	struct arena arena;
	struct reason reason = {0};
	struct text_list unknown;
	struct value *tree;
	struct buf message;
	struct job job;

	(void)state;
	kit_arena(&arena);
	buf_init(&message, LIMIT_MESSAGE_BYTES);
	tree = kit_tree(&arena, "{'source': {'repo': '/r', 'commit': 'c'}, 'patch': {'diff': "
				"'text'}, 'limit': {'x': 1},"
				" 'steps': [{'shell': 'x', 'stdin': {'base64': '/w=='}}]}");
	if (job_prepare(&arena, tree, &message, &unknown, &reason, NULL) != 0)
		fail_msg("%s", reason.message);
	assert_int_equal(unknown.len, 1);
	assert_string_equal(unknown.items[0], "limit: unknown field; did you mean 'limits'?");
	assert_int_equal(value_get(value_get(tree, "patch"), "diff")->kind, VALUE_BIN);
	assert_int_equal(value_get(value_get(tree, "limit"), "x")->integer, 1);
	assert_int_equal(job_decode(&arena, message.data, message.len, &job, &reason, NULL), 0);
	assert_int_equal(strlen(job.id), 36);
	assert_int_equal(job.id[14], '7');
	assert_int_equal(job.steps[0].stdin_bytes.data[0], 0xff);
	buf_release(&message);
	arena_release(&arena);
}

static void unknown_fields_get_hints(void **state)
{
	static const struct {
		const char *job;
		const char *hint;
	} hints[] = {
		{"{'limit': 1}", "limit: unknown field; did you mean 'limits'?"},
		{"{'pathc': 1}", "pathc: unknown field; did you mean 'patch'?"},
		{"{'ptach': 1}", "ptach: unknown field; did you mean 'patch'?"},
		{"{'limits': {'memory': 1}}",
		 "limits.memory: unknown field; did you mean 'memory_bytes'?"},
		{"{'limits': {'wallms': 1}}",
		 "limits.wallms: unknown field; did you mean 'wall_ms'?"},
		{"{'steps': [{}, {'timeout': 1}]}",
		 "steps[1].timeout: unknown field; did you mean 'timeout_ms'?"},
		{"{'source': {'repository': 1}}",
		 "source.repository: unknown field; did you mean 'repo'?"},
		{"{'zzz': 1}", "zzz: unknown field"},
		{"{'x': 1}", "x: unknown field"},
		{"{'a\\nb': 1}", "a?b: unknown field"},
		{"{'labels': {'anything': 'x'}, 'code': {'x': 1}}", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
		struct arena arena;
		struct reason reason;
		struct text_list unknown = {0};
		struct buf message;

		kit_arena(&arena);
		buf_init(&message, LIMIT_MESSAGE_BYTES);
		assert_int_not_equal(job_prepare(&arena, kit_tree(&arena, hints[i].job), &message,
						 &unknown, &reason, NULL),
				     -1);
		assert_int_equal(unknown.len, hints[i].hint != NULL);
		if (hints[i].hint != NULL)
			assert_string_equal(unknown.items[0], hints[i].hint);
		buf_release(&message);
		arena_release(&arena);
	}
}

static void too_large_is_said_before_packing(void **state)
{
	struct arena arena;
	struct reason reason;
	struct text_list unknown;
	struct buf message;
	struct value *tree;
	char *text;

	(void)state;
	kit_arena(&arena);
	buf_init(&message, LIMIT_MESSAGE_BYTES);
	tree = kit_tree(&arena, "{'id': 'a'}");
	text = arena_alloc(&arena, LIMIT_MESSAGE_BYTES + 1);
	assert_non_null(text);
	(void)memset(text, 'x', LIMIT_MESSAGE_BYTES);
	value_put(&arena, tree, "unknown", value_str(&arena, text));
	assert_int_equal(job_prepare(&arena, tree, &message, &unknown, &reason, NULL), REFUSED);
	assert_int_equal(reason.code, REASON_JOB_TOO_LARGE);
	assert_int_equal(message.len, 0);
	buf_release(&message);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_messages_are_malformed),
		cmocka_unit_test(ids_are_salvaged),
		cmocka_unit_test(prepared_jobs_are_complete),
		cmocka_unit_test(unknown_fields_get_hints),
		cmocka_unit_test(too_large_is_said_before_packing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
