/*
 * fuzz_message.c - any bytes where this project reads what another process
 * wrote: the body of a result from an executor that a job has taken over, live
 * events, control messages, dead letters. What is decoded is printed as it would be
 * for a person; a terminal must not be able to tell it from plain text.
 */
#include "base/terminal.h"
#include "producer/event.h"
#include "producer/letter.h"
#include "schema/control.h"
#include "schema/limits.h"
#include "schema/result.h"
#include "schema/value.h"
#include "tests/fuzz/fuzz.h"

/* An executor's body joined to a head must be a message that all can read, and
 * must not say anything in the supervisor's name. */
static void take_body(struct arena *arena, struct bytes input)
{
	const struct result_head head = {.id = "fuzz",
					 .run = 1,
					 .attempt = 1,
					 .worker = "w",
					 .tenant = "t",
					 .stage = "running",
					 .verdict = VERDICT_failed};
	size_t pairs = fuzz_byte(&input) % 16;
	struct err err = {0};
	struct value *tree;
	struct buf out;

	buf_init(&out, LIMIT_RESULT_BYTES);
	if (result_encode(arena, &head, input, pairs, &out, &err) < 0) {
		require(err.kind != ERR_NONE && out.len == 0);
	} else {
		require(value_walk(out.data, out.len, &err) == 0);
		require(value_unpack(arena, out.data, out.len, &tree, &err) == 0);
		require(strcmp(value_text(arena, value_get(tree, "job")), "fuzz") == 0);
		require(strcmp(value_text(arena, value_get(tree, "verdict")), "failed") == 0);
	}
	buf_release(&out);
}

static void print_result(struct arena *arena, struct bytes input)
{
	struct err err = {0};
	struct value *tree;
	struct buf out;

	if (value_unpack(arena, input.data, input.len, &tree, &err) < 0)
		return;
	buf_init(&out, 4 * LIMIT_RESULT_BYTES);
	result_print(tree, false, &out);
	require(!out.failed);
	fuzz_require_harmless(out.data, out.len);
	buf_release(&out);
}

/* A stream of events, each with two bytes of length before it. */
static void take_events(struct arena *arena, struct bytes input)
{
	struct transcript transcript;
	struct err err = {0};
	struct event event;
	struct buf out;

	transcript_init(&transcript, false);
	buf_init(&out, 16 << 20);
	while (input.len > 2) {
		size_t len = fuzz_byte(&input);

		len = len << 8 | fuzz_byte(&input);
		len = len < input.len ? len : input.len;
		if (event_decode(arena, input.data, len, &event, &err) == 0)
			transcript_add(&transcript, &event, &out);
		input = (struct bytes){input.data + len, input.len - len};
	}
	transcript_finish(&transcript, &out);
	require(!out.failed);
	fuzz_require_harmless(out.data, out.len);
	buf_release(&out);
	transcript_release(&transcript);
}

static void take_control(struct arena *arena, struct bytes input)
{
	struct control control, again;
	struct err err = {0};
	struct buf out;

	if (control_decode(arena, input.data, input.len, &control, &err) < 0)
		return;
	buf_init(&out, LIMIT_MESSAGE_BYTES);
	control_pack(arena, &control, &out);
	require(!out.failed);
	require(control_decode(arena, out.data, out.len, &again, &err) == 0);
	require(again.kind == control.kind && strcmp(again.id, control.id) == 0);
	buf_release(&out);
}

/* ID \n REASON \n ERROR \n BODY */
static void take_letter(struct arena *arena, struct bytes input)
{
	char *id = fuzz_text(fuzz_until(&input, '\n'));
	char *reason_text = fuzz_text(fuzz_until(&input, '\n'));
	char *error = fuzz_text(fuzz_until(&input, '\n'));
	struct delivery delivery = {.body = input,
				    .size_bytes = input.len,
				    .queue = "sbx.dead",
				    .id = id,
				    .death = {.reason = reason_text, .error = error}};
	struct reason reason = {0};
	struct letter letter;
	struct err err = {0};
	struct job job;
	struct buf out;

	letter_read(arena, &delivery, &letter);
	require(letter.id != NULL && (letter.tree != NULL) == (letter.problem == NULL));
	buf_init(&out, 4 * LIMIT_RESULT_BYTES);
	letter_print_row(&letter, &out);
	letter_print(&letter, &out);
	fuzz_require_harmless(out.data, out.len);
	require(letter_to_value(arena, &letter, true) != NULL || arena->exhausted);
	buf_clear(&out);
	if (letter_replay(arena, &letter, 0, &out, &job, &reason, &err) == 0)
		require(job_decode(arena, out.data, out.len, &job, &reason, &err) == 0);
	buf_release(&out);
	free(id);
	free(reason_text);
	free(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static fuzz_taker *const takers[] = {take_body, print_result, take_events, take_control,
					     take_letter};

	fuzz_choose(takers, ARRAY_LEN(takers), 2 * LIMIT_ARENA_BYTES, (struct bytes){data, size});
	return 0;
}
