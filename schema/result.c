/*
 * result.c - results out: the executor's body, the supervisor's head, and the
 * message that joins them. The fields are in result_fields.c.
 *
 * A body comes from the process that has parsed hostile bytes. It is not
 * decoded here, yet it cannot say more than a body may: its keys are compared
 * with the table, and the walk over the joined message refuses a key that
 * comes twice, a count that lies and bytes left over.
 */
#include "schema/result.h"

#include <assert.h>
#include <string.h>

#include "schema/field_private.h"
#include "schema/limits.h"
#include "schema/value_private.h"

/* --- states ----------------------------------------------------------- */

const char *job_state_name(enum job_state state)
{
	static const char *const names[] = {
#define STATE(name, meaning) #name,
#include "schema/state.def"
#undef STATE
	};

	assert((size_t)state < ARRAY_LEN(names));
	return names[state];
}

/* --- the body --------------------------------------------------------- */

void result_body_pack(struct arena *arena, const struct result_body *body, struct buf *out,
		      size_t *ret_pairs)
{
	struct value *tree = map_encode(arena, &result_body_map, body);

	*ret_pairs = 0;
	if (tree == NULL)
		return;
	value_pack_pairs(tree, out);
	*ret_pairs = tree->map.len;
}

/* Whether the body is `pairs` pairs under keys that a body may have. */
static int check_body(struct bytes body, size_t pairs, struct err *err)
{
	struct reader reader = {body.data, body.len, 0};

	for (size_t i = 0; i < pairs; i++) {
		struct token key;
		char quoted[QUOTE_BYTES];

		if (reader_next(&reader, &key, err) < 0)
			return err_prefix(err, "cannot read the body of a result");
		quote_text(key.bytes, quoted);
		if (key.kind != VALUE_STR || map_find(&result_body_map, key.bytes) == NULL)
			return err_set(err, ERR_INPUT,
				       "the body of a result has a key '%s' that is not its own",
				       quoted);
		if (reader_skip(&reader, err) < 0)
			return err_prefix(err, "cannot read the body of a result");
	}
	if (reader.at != body.len)
		return err_set(err, ERR_INPUT, "the body of a result goes on after its %zu pairs",
			       pairs);
	return 0;
}

/* --- the head --------------------------------------------------------- */

/* The states that were reached, in the order of their times; of two at the
 * same time, the one that comes first in a job's life. */
static int wire_states(struct arena *arena, const struct result_head *head,
		       struct result_wire *wire, struct err *err)
{
	struct result_wire_state *states = arena_array(arena, STATE_COUNT, sizeof(*states));
	size_t len = 0;

	if (states == NULL)
		return value_exhausted(arena, err);
	for (size_t i = 0; i < STATE_COUNT; i++) {
		struct result_wire_state now = {job_state_name((enum job_state)i),
						head->state_at_us[i]};
		size_t at = len;

		if (now.at_us == 0)
			continue;
		for (; at > 0 && states[at - 1].at_us > now.at_us; at--)
			states[at] = states[at - 1];
		states[at] = now;
		len++;
	}
	wire->states = states;
	wire->states_len = len;
	return 0;
}

static int encode_head(struct arena *arena, const struct result_head *head, struct value **ret,
		       struct err *err)
{
	struct result_wire wire = {
		.job = head->id,
		.run = head->run,
		.attempt = head->attempt,
		.worker = head->worker,
		.tenant = head->tenant,
		.stage = head->stage,
		.traceparent = head->traceparent,
		.verdict = verdict_name(head->verdict),
		.reason = {.present = head->reason.code != REASON_NONE,
			   .code = reason_code_name(head->reason.code),
			   .message = head->reason.message,
			   .subject = head->reason.subject,
			   .hint = reason_code_hint(head->reason.code)},
		.metrics = head->metrics,
		.security = {.present = head->security_mode != NULL,
			     .mode = head->security_mode,
			     .profile = head->security_profile,
			     .reason = head->security_reason,
			     .root = head->security_root},
		.missing = head->missing,
		.clamped = head->clamped,
	};
	struct value *tree;

	if (head->labels != NULL)
		wire.labels = *head->labels;
	if (wire_states(arena, head, &wire, err) < 0)
		return -1;
	tree = map_encode(arena, &result_head_map, &wire);
	if (tree == NULL)
		return value_exhausted(arena, err);
	*ret = tree;
	return 0;
}

/* --- the message ------------------------------------------------------ */

/* Takes back what was appended since `from`. */
static int undo(struct buf *out, size_t from, int r)
{
	if (out->data != NULL) {
		out->len = from;
		out->data[from] = 0;
	}
	out->failed = false;
	return r;
}

int result_encode(struct arena *arena, const struct result_head *head, struct bytes body,
		  size_t body_pairs, struct buf *out, struct err *err)
{
	size_t from = out->len;
	struct value *tree = NULL;

	assert(!out->failed);
	if (check_body(body, body_pairs, err) < 0 || encode_head(arena, head, &tree, err) < 0)
		return -1;
	value_pack_map_head(tree->map.len + body_pairs, out);
	value_pack_pairs(tree, out);
	buf_add(out, body.data, body.len);
	if (out->failed || out->len - from > LIMIT_RESULT_BYTES)
		return undo(out, from,
			    err_set(err, ERR_LIMIT, "the result has more than %zu bytes",
				    out->failed && out->limit_bytes < LIMIT_RESULT_BYTES
					    ? out->limit_bytes
					    : (size_t)LIMIT_RESULT_BYTES));
	if (value_walk(out->data + from, out->len - from, err) < 0)
		return undo(out, from, err_prefix(err, "cannot encode a result"));
	return 0;
}

int result_prepare(struct arena *arena, struct value *tree, struct buf *ret_message,
		   struct reason *ret_reason, struct err *err)
{
	struct decoder decoder = {arena, ret_reason, err};
	struct result_wire wire = {0};
	struct result_body body = {0};
	size_t size;
	int r;

	map_make_binaries(arena, &result_body_map, tree);
	r = map_decode(&decoder, &result_head_map, tree, NULL, &wire);
	if (r == 0)
		r = map_decode(&decoder, &result_body_map, tree, NULL, &body);
	if (r != 0)
		return r;
	size = value_packed_size(tree);
	if (size > LIMIT_RESULT_BYTES)
		return reason_set(ret_reason, REASON_JOB_TOO_LARGE, NULL,
				  "the result has %zu bytes, the maximum is %u", size,
				  LIMIT_RESULT_BYTES);
	value_pack(tree, ret_message);
	if (ret_message->failed)
		return err_set(err, ERR_LIMIT, "out of memory for a result of %zu bytes", size);
	return 0;
}
