/*
 * fuzz_json.c - any text as JSON. What is read must come back from its own
 * JSON and its own msgpack as the same tree, must go through job_prepare and
 * result_prepare, and must print.
 */
#include "schema/job.h"
#include "schema/limits.h"
#include "schema/result.h"
#include "tests/fuzz/fuzz.h"

static void to_json(const struct value *tree, unsigned indent, struct buf *out)
{
	buf_init(out, LIMIT_JSON_BYTES);
	value_to_json(tree, indent, out);
	require(!out->failed);
}

static void same_json(const struct value *tree, const struct buf *json)
{
	struct buf again;

	to_json(tree, 0, &again);
	require(again.len == json->len && memcmp(again.data, json->data, json->len) == 0);
	buf_release(&again);
}

static void go_round(struct arena *arena, const struct value *tree)
{
	struct err err = {0};
	struct value *read = NULL;
	struct buf json;
	struct buf indented;
	struct buf message;

	to_json(tree, 0, &json);
	to_json(tree, 2, &indented);
	require(value_from_json(arena, (const char *)json.data, json.len, &read, &err) == 0);
	same_json(read, &json);
	require(value_from_json(arena, (const char *)indented.data, indented.len, &read, &err) ==
		0);
	same_json(read, &json);
	buf_init(&message, LIMIT_MESSAGE_BYTES);
	value_pack(tree, &message);
	require(!message.failed && message.len == value_packed_size(tree));
	require(value_unpack(arena, message.data, message.len, &read, &err) == 0);
	same_json(read, &json);
	buf_release(&message);
	buf_release(&indented);
	buf_release(&json);
}

static void prepare(struct arena *arena, struct value *tree)
{
	struct reason reason = {0};
	struct err err = {0};
	struct text_list unknown;
	struct buf out;
	struct job job;

	buf_init(&out, LIMIT_MESSAGE_BYTES);
	require(result_prepare(arena, tree, &out, &reason, &err) >= 0);
	buf_clear(&out);
	if (job_prepare(arena, tree, &out, &unknown, &reason, &err) == 0)
		require(job_decode(arena, out.data, out.len, &job, &reason, &err) == 0);
	buf_clear(&out);
	result_print(tree, true, &out);
	require(!out.failed);
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct err err = {0};
	struct value *tree = NULL;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (value_from_json(&arena, (const char *)data, size, &tree, &err) == 0) {
		go_round(&arena, tree);
		prepare(&arena, tree);
	}
	arena_release(&arena);
	return 0;
}
