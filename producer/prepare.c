/*
 * prepare.c - job_prepare does the work. The message is decoded once more, as
 * the worker will, so what is announced (id, tenant, priority) is what it says.
 */
#include "producer/prepare.h"

#include "schema/limits.h"

int prepare_tree(struct arena *arena, struct value *tree, struct prepared *ret,
		 struct reason *ret_reason, struct err *err)
{
	int rc;

	*ret = (struct prepared){.tree = tree};
	buf_init(&ret->message, LIMIT_MESSAGE_BYTES);
	rc = job_prepare(arena, tree, &ret->message, &ret->unknown, ret_reason, err);
	if (rc != 0)
		return rc;
	return job_decode(arena, ret->message.data, ret->message.len, &ret->job, ret_reason, err);
}

/* Input that is not in order is the job's own fault, not the host's. */
static int refuse_input(struct prepared *ret, const struct err *local, struct reason *ret_reason,
			struct err *err)
{
	*ret = (struct prepared){0};
	buf_init(&ret->message, LIMIT_MESSAGE_BYTES);
	if (local->kind == ERR_INPUT)
		return reason_set(ret_reason, REASON_JOB_MALFORMED, NULL, "%s", local->message);
	if (local->kind == ERR_LIMIT)
		return reason_set(ret_reason, REASON_JOB_TOO_LARGE, NULL, "%s", local->message);
	if (err != NULL)
		*err = *local;
	return -1;
}

int prepare_json(struct arena *arena, const char *text, size_t len, struct prepared *ret,
		 struct reason *ret_reason, struct err *err)
{
	struct err local = {0};
	struct value *tree;

	if (value_from_json(arena, text, len, &tree, &local) < 0)
		return refuse_input(ret, &local, ret_reason, err);
	return prepare_tree(arena, tree, ret, ret_reason, err);
}

int prepare_message(struct arena *arena, const void *data, size_t len, struct prepared *ret,
		    struct reason *ret_reason, struct err *err)
{
	struct err local = {0};
	struct value *tree;

	if (value_unpack(arena, data, len, &tree, &local) < 0)
		return refuse_input(ret, &local, ret_reason, err);
	return prepare_tree(arena, tree, ret, ret_reason, err);
}

void prepared_release(struct prepared *prepared)
{
	buf_release(&prepared->message);
}

struct message prepared_message(const struct prepared *prepared)
{
	return (struct message){
		.body = buf_bytes(&prepared->message),
		.id = prepared->job.id,
		.priority = prepared->job.priority,
	};
}
