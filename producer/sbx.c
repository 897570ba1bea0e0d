/*
 * sbx.c - libsbx over the modules that sbx-submit uses too: prepare, sender,
 * watch. This file only translates: their errors into sbx_error, borrowed
 * texts into owned ones, arenas into objects that are freed.
 */
#include "producer/sbx.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "producer/prepare.h"
#include "producer/sbx_private.h"
#include "producer/watch.h"
#include "schema/control.h"
#include "schema/limits.h"
#include "schema/result.h"

enum { TIMEOUT_MS = 30000, OPTIONS_BYTES = 64 << 10, JSON_BYTES = 64 << 20 };

struct sbx_job {
	struct arena arena;
	struct prepared prepared;
};

struct sbx_wait {
	struct arena arena; /* of the texts of config, target and result */
	struct carrier_config config;
	struct watch *watch;
	struct buf json;
	struct sbx_result result;
	bool has_result;
};

/* --- errors ----------------------------------------------------------- */

int libsbx_fail(struct sbx_error *error, enum sbx_failure failure, const char *message)
{
	if (error == NULL)
		return -1;
	error->failure = failure;
	(void)snprintf(error->message, sizeof(error->message), "%s", message);
	return -1;
}

int libsbx_fail_err(struct sbx_error *error, const struct err *err)
{
	static const enum sbx_failure failures[] = {
		[ERR_NONE] = SBX_SYSTEM,	[ERR_SYSTEM] = SBX_SYSTEM,
		[ERR_INPUT] = SBX_USAGE,	[ERR_LIMIT] = SBX_BROKER,
		[ERR_PEER] = SBX_CONNECTION,	[ERR_TIMEOUT] = SBX_TIMEOUT,
		[ERR_UNSUPPORTED] = SBX_BROKER, [ERR_CONFLICT] = SBX_BROKER,
		[ERR_NOT_FOUND] = SBX_BROKER,
	};

	assert((size_t)err->kind < ARRAY_LEN(failures));
	return libsbx_fail(error, failures[err->kind], err->message);
}

int libsbx_fail_memory(struct sbx_error *error)
{
	return libsbx_fail(error, SBX_SYSTEM, "out of memory");
}

static int fail_reason(struct sbx_error *error, const struct reason *reason)
{
	char text[SBX_MESSAGE_BYTES];

	(void)snprintf(text, sizeof(text), "%s: %s", reason_code_name(reason->code),
		       reason->message);
	return libsbx_fail(error, SBX_JOB, text);
}

/* --- connection ------------------------------------------------------- */

static const char *copy_text(struct arena *arena, const char *text)
{
	return text != NULL ? arena_strdup(arena, text) : NULL;
}

bool libsbx_copy_config(struct arena *arena, const struct carrier_config *from,
			struct carrier_config *ret)
{
	*ret = *from;
	ret->url = copy_text(arena, from->url);
	ret->prefix = copy_text(arena, from->prefix);
	ret->ca_file = copy_text(arena, from->ca_file);
	ret->cert_file = copy_text(arena, from->cert_file);
	ret->key_file = copy_text(arena, from->key_file);
	ret->name = copy_text(arena, from->name);
	return !arena->exhausted;
}

int sbx_open(struct sbx **ret, const struct sbx_options *options, struct sbx_error *error)
{
	const struct carrier_config wanted = {
		.url = options->url != NULL ? options->url : getenv("SBX_QUEUE_URL"),
		.prefix = options->prefix != NULL ? options->prefix : "sbx",
		.passive = options->passive != 0,
		.ca_file = options->ca_file,
		.cert_file = options->cert_file,
		.key_file = options->key_file,
		.name = options->name != NULL ? options->name : "libsbx",
	};
	struct err err = {0};
	struct sbx *sbx;

	if (wanted.url == NULL || *wanted.url == '\0')
		return libsbx_fail(error, SBX_USAGE,
				   "no queue is named; set options.url or SBX_QUEUE_URL");
	sbx = calloc(1, sizeof(*sbx));
	if (sbx == NULL)
		return libsbx_fail_memory(error);
	arena_init(&sbx->arena, OPTIONS_BYTES);
	sbx->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
	if (!libsbx_copy_config(&sbx->arena, &wanted, &sbx->config)) {
		sbx_close(sbx);
		return libsbx_fail_memory(error);
	}
	if (sender_open(&sbx->sender, &sbx->config, &err) < 0) {
		sbx_close(sbx);
		return libsbx_fail_err(error, &err);
	}
	*ret = sbx;
	return 0;
}

void sbx_close(struct sbx *sbx)
{
	if (sbx == NULL)
		return;
	sender_close(&sbx->sender);
	arena_release(&sbx->arena);
	free(sbx);
}

/* --- jobs ------------------------------------------------------------- */

typedef int prepare_fn(struct arena *arena, const void *data, size_t len, struct prepared *ret,
		       struct reason *ret_reason, struct err *err);

static int from_json(struct arena *arena, const void *data, size_t len, struct prepared *ret,
		     struct reason *ret_reason, struct err *err)
{
	return prepare_json(arena, data, len, ret, ret_reason, err);
}

static int make_job(struct sbx_job **ret, prepare_fn *prepare, const void *data, size_t len,
		    struct sbx_error *error)
{
	struct sbx_job *job = calloc(1, sizeof(*job));
	struct reason reason = {0};
	struct err err = {0};
	const char *copy;
	int rc;

	if (job == NULL)
		return libsbx_fail_memory(error);
	arena_init(&job->arena, 3 * (size_t)LIMIT_ARENA_BYTES);
	/* The decoded job borrows from what it was decoded from. */
	copy = arena_memdup(&job->arena, data, len);
	if (copy == NULL) {
		sbx_job_free(job);
		return libsbx_fail_memory(error);
	}
	rc = prepare(&job->arena, copy, len, &job->prepared, &reason, &err);
	if (rc == 0) {
		*ret = job;
		return 0;
	}
	sbx_job_free(job);
	return rc == REFUSED ? fail_reason(error, &reason) : libsbx_fail_err(error, &err);
}

int sbx_job_from_json(struct sbx_job **ret, const char *text, size_t len, struct sbx_error *error)
{
	return make_job(ret, from_json, text, len, error);
}

int sbx_job_from_msgpack(struct sbx_job **ret, const void *data, size_t len,
			 struct sbx_error *error)
{
	return make_job(ret, prepare_message, data, len, error);
}

void sbx_job_free(struct sbx_job *job)
{
	if (job == NULL)
		return;
	prepared_release(&job->prepared);
	arena_release(&job->arena);
	free(job);
}

const char *sbx_job_id(const struct sbx_job *job)
{
	return job->prepared.job.id;
}

const void *sbx_job_message(const struct sbx_job *job, size_t *ret_len)
{
	*ret_len = job->prepared.message.len;
	return job->prepared.message.data;
}

const char *sbx_job_warning(const struct sbx_job *job, size_t n)
{
	return n < job->prepared.unknown.len ? job->prepared.unknown.items[n] : NULL;
}

int sbx_submit(struct sbx *sbx, const struct sbx_job *job, struct sbx_error *error)
{
	struct message message = prepared_message(&job->prepared);
	struct err err = {0};

	if (sender_send(&sbx->sender, ROUTE_JOB, &message, sbx->timeout_ms, &err) < 0)
		return libsbx_fail_err(error, &err);
	return 0;
}

int sbx_cancel(struct sbx *sbx, const char *id, long long run, struct sbx_error *error)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	CLEANUP(buf_release) struct buf out = {0};
	const struct control control = {.kind = CONTROL_CANCEL, .id = id, .run = run};
	struct message message = {.id = id};
	struct err err = {0};

	if (id == NULL || !text_is_id(id) || run < 1 || run > LIMIT_RUN)
		return libsbx_fail(error, SBX_USAGE, "a cancel needs the id and the run of a job");
	arena_init(&arena, OPTIONS_BYTES);
	buf_init(&out, OPTIONS_BYTES);
	control_pack(&arena, &control, &out);
	if (out.failed)
		return libsbx_fail_memory(error);
	message.body = buf_bytes(&out);
	if (sender_send(&sbx->sender, ROUTE_CONTROL, &message, sbx->timeout_ms, &err) < 0)
		return libsbx_fail_err(error, &err);
	return 0;
}

/* --- results ---------------------------------------------------------- */

int sbx_wait_open(struct sbx_wait **ret, const struct sbx *sbx, const struct sbx_job *job,
		  struct sbx_error *error)
{
	struct sbx_wait *wait = calloc(1, sizeof(*wait));
	struct watch_target target = {.run = job->prepared.job.run};
	struct err err = {0};

	if (wait == NULL)
		return libsbx_fail_memory(error);
	arena_init(&wait->arena, LIMIT_ARENA_BYTES);
	buf_init(&wait->json, JSON_BYTES);
	target.tenant = copy_text(&wait->arena, job->prepared.job.tenant);
	target.id = copy_text(&wait->arena, job->prepared.job.id);
	if (!libsbx_copy_config(&wait->arena, &sbx->config, &wait->config)) {
		sbx_wait_close(wait);
		return libsbx_fail_memory(error);
	}
	if (watch_open(&wait->watch, &wait->config, &target, NULL, &err) < 0) {
		sbx_wait_close(wait);
		return libsbx_fail_err(error, &err);
	}
	*ret = wait;
	return 0;
}

void sbx_wait_close(struct sbx_wait *wait)
{
	if (wait == NULL)
		return;
	watch_close(wait->watch);
	buf_release(&wait->json);
	arena_release(&wait->arena);
	free(wait);
}

static const char *text_at(struct arena *arena, const struct value *map, const char *key)
{
	const char *text = value_text(arena, value_get(map, key));

	return text != NULL ? text : "";
}

int libsbx_read_result(struct arena *arena, struct buf *json, const struct value *tree,
		       struct bytes message, struct sbx_result *ret, struct sbx_error *error)
{
	const struct value *reason = value_get(tree, "reason");
	const struct value *run = value_get(tree, "run");
	enum verdict verdict;

	*ret = (struct sbx_result){
		.verdict = text_at(arena, tree, "verdict"),
		.reason = text_at(arena, reason, "code"),
		.message = text_at(arena, reason, "message"),
		.data = message.data,
		.len = message.len,
		.job = text_at(arena, tree, "job"),
		.run = run != NULL && run->kind == VALUE_INT ? run->integer : 1,
	};
	buf_clear(json);
	value_to_json(tree, 0, json);
	if (json->failed || arena->exhausted)
		return libsbx_fail_memory(error);
	ret->json = buf_text(json);
	if (!verdict_parse(ret->verdict, &verdict))
		return libsbx_fail(error, SBX_USAGE,
				   "the result has a verdict that this version does not know");
	ret->exit_code = verdict_exit_code(verdict);
	return 0;
}

static int take_result(struct sbx_wait *wait, const struct value *tree, struct sbx_error *error)
{
	if (libsbx_read_result(&wait->arena, &wait->json, tree, watch_message(wait->watch),
			       &wait->result, error) < 0)
		return -1;
	wait->has_result = true;
	return 1;
}

int sbx_wait_next(struct sbx_wait *wait, int timeout_ms, struct sbx_result *ret,
		  struct sbx_error *error)
{
	const struct value *tree;
	struct err err = {0};
	int rc = 1;

	if (!wait->has_result) {
		do {
			rc = watch_next(wait->watch, timeout_ms < 0 ? INT_MAX : timeout_ms, &tree,
					&err);
		} while (rc == 0 && timeout_ms < 0);
		if (rc < 0)
			return libsbx_fail_err(error, &err);
		if (rc > 0)
			rc = take_result(wait, tree, error);
	}
	if (rc > 0)
		*ret = wait->result;
	return rc;
}
