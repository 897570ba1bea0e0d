/*
 * finish.c - theory: a job leaves in one order and no other:
 *
 *	stored in the ledger -> published -> confirmed -> acked -> forgotten
 *
 * so a crash between any two repeats the rest and loses nothing. A dead letter
 * goes the same way: the ledger says with the result that one is due, until it
 * is confirmed, too. Every message
 * that must be confirmed carries the task's id as its tag and counts in
 * confirms_due; the last confirm acks. Results of a task that is gone from
 * memory (sent again at start) carry no task, only the ledger row.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/lifecycle.h"
#include "worker/snapshot_names.h"
#include "worker/supervisor_private.h"

enum { RESULT_ARENA_BYTES = 32 << 20, EVENTS_QUEUED_BYTES = 2 << 20 };

/* --- messages to the publisher ---------------------------------------- */

/* Fills what every message of a task has. */
static struct ipc_pub_message *new_message(enum route route, uint64_t tag)
{
	static _Alignas(struct ipc_pub_message)
		uint8_t room[sizeof(struct ipc_pub_message) + IPC_INLINE_BYTES];
	struct ipc_pub_message *message = (struct ipc_pub_message *)room;

	*message = (struct ipc_pub_message){.kind = IPC_PUB_MESSAGE, .route = route, .tag = tag};
	return message;
}

/* What follows the head: `headers`, then `body`. */
static void publish_with(struct supervisor *self, struct ipc_pub_message *message,
			 struct bytes headers, struct bytes body)
{
	CLEANUP(fd_cleanup) int fd = -1;
	CLEANUP(buf_release) struct buf large = {0};
	size_t len = headers.len + body.len;
	struct err err = {0};
	int rc = 0;

	message->headers_len = (uint32_t)headers.len;
	if (len <= IPC_INLINE_BYTES) {
		message->inline_len = (uint32_t)len;
		if (headers.len > 0)
			(void)memcpy(message->inline_body, headers.data, headers.len);
		if (body.len > 0)
			(void)memcpy(message->inline_body + headers.len, body.data, body.len);
	} else {
		buf_init(&large, len);
		buf_add(&large, headers.len > 0 ? headers.data : body.data, headers.len);
		buf_add(&large, body.data, body.len);
		rc = large.failed ? err_set(&err, ERR_LIMIT, "out of memory for a message")
				  : fd_memfd("sbx-message", large.data, large.len, &fd, &err);
	}
	if (rc == 0)
		rc = outbox_send(&self->publisher, message, sizeof(*message) + message->inline_len,
				 fd, &err);
	if (rc < 0)
		supervisor_die(self, &err);
}

static void publish(struct supervisor *self, struct ipc_pub_message *message, struct bytes body)
{
	publish_with(self, message, (struct bytes){NULL, 0}, body);
}

/* One message more that must be confirmed before the task is gone. */
static void note_leaving(struct task *task)
{
	if (task->confirms_due++ == 0)
		task->leaving_mono_us = clock_mono_us();
}

/* A retry or a dead letter: the message as it came, with why (or REASON_NONE). */
static void publish_again(struct task *task, enum route route, enum reason_code code,
			  const char *error)
{
	struct supervisor *self = task->supervisor;
	struct ipc_pub_message *message = new_message(route, task->id);
	int64_t now_ms = clock_wall_us() / 1000;

	message->priority = task->priority;
	message->attempts = task->attempts;
	message->bucket = wait_bucket_after(task->attempts < 1 ? 1 : task->attempts);
	message->timestamp_us = task->timestamp_us;
	message->first_at_ms = task->first_fault_ms == 0 ? now_ms : task->first_fault_ms;
	message->last_at_ms = now_ms;
	ipc_text(message->id, task->job.id == NULL ? task->message_id : task->job.id);
	ipc_text(message->reply_to, task->reply_to);
	ipc_text(message->correlation_id, task->correlation_id);
	ipc_text(message->reason, code == REASON_NONE ? "" : reason_code_name(code));
	ipc_text(message->error, error);
	ipc_text(message->worker, self->config->worker_name);
	ipc_text(message->queue, task->queue);
	if (route == ROUTE_RETRY)
		task->waits_until_us = (now_ms + wait_bucket_ms(message->bucket)) * 1000;
	note_leaving(task);
	publish_with(self, message, task->headers, task->payload);
}

/*
 * The name by which readers drop repetitions. Who reuses another's id must not
 * be able to take that job's result out of sight, so the refusal of a reused
 * id has the digest of its own message in its name.
 */
static void name_result(const struct task *task, const struct ledger_key *key,
			struct ipc_pub_message *message)
{
	bool reused = task->reason.code == REASON_JOB_ID_REUSED;

	(void)snprintf(message->id, sizeof(message->id), "%s.%lld%s%.12s", key->id,
		       (long long)key->run, reused ? "." : "", reused ? task->digest : "");
}

static void publish_result(const struct task *task, const struct ledger_key *key,
			   struct bytes result)
{
	struct ipc_pub_message *message = new_message(ROUTE_RESULT, task->id);

	name_result(task, key, message);
	(void)snprintf(message->key, sizeof(message->key), "%s.%s", task->job.tenant, key->id);
	publish(task->supervisor, message, result);
}

/* The copy for who asked to be answered directly; nobody vouches for it. */
static void publish_reply(struct task *task, const struct ledger_key *key, struct bytes result)
{
	struct ipc_pub_message *message;

	if (task->reply_to == NULL || *task->reply_to == '\0' ||
	    !carrier_reply_to_valid(task->supervisor->config->queue_prefix, task->reply_to))
		return;
	message = new_message(ROUTE_REPLY, 0);
	name_result(task, key, message);
	ipc_text(message->reply_to, task->reply_to);
	ipc_text(message->correlation_id, task->correlation_id);
	publish(task->supervisor, message, result);
}

void finish_control(struct supervisor *self, struct bytes body)
{
	publish(self, new_message(ROUTE_CONTROL, 0), body);
}

/* --- the end of a task ------------------------------------------------ */

/* Everything that follows from the message is confirmed: let go of it. */
static void let_go(struct task *task)
{
	struct supervisor *self = task->supervisor;
	struct err err = {0};

	fairness_note_gone(task);
	if (self->consumer != NULL &&
	    consumer_ack(self->consumer, task->epoch, task->tag, &err) < 0)
		log_warn("cannot ack, the broker will redeliver", "job", task->job.id, "error",
			 err.message, NULL);
	task_free(task);
	intake_pump(self);
}

void finish_confirmed(struct supervisor *self, uint64_t tag)
{
	struct task *task = task_find(self, tag);
	struct ledger_key key;
	struct err err = {0};

	if (task == NULL)
		return;
	assert(task->confirms_due > 0);
	if (--task->confirms_due > 0)
		return;
	if (task->waits_until_us != 0 && !task->decided && cancel_note_wait(task))
		return;
	key = (struct ledger_key){task->job.id, task->job.run};
	if (task->in_ledger && task->decided && ledger_sent(self->ledger, &key, &err) < 0)
		supervisor_die(self, &err);
	if (task->decided && lifecycle_allows(task->state, STATE_published)) {
		task_move(task, STATE_published, clock_wall_us());
		task_move(task, STATE_done, clock_wall_us());
	}
	if (task->decided && !task_needs_slot(task))
		fairness_note_quick(task);
	let_go(task);
}

void finish_attempt(struct task *task)
{
	struct ledger_key key = {task->job.id, task->job.run};
	struct err err = {0};

	if (!task->started)
		return;
	task->started = false;
	if (ledger_end(task->supervisor->ledger, &key, &err) < 0)
		supervisor_die(task->supervisor, &err);
}

void finish_handback(struct task *task)
{
	struct supervisor *self = task->supervisor;

	finish_attempt(task);
	if (self->consumer != NULL)
		NEGLECT(consumer_handback(self->consumer, task->epoch, task->tag, NULL));
	task_free(task);
}

void finish_aside(struct task *task)
{
	log_debug("job put aside: others may start before it", "job", task->job.id, NULL);
	task->supervisor->meter.put_aside++;
	publish_again(task, ROUTE_RETRY, REASON_NONE, "");
}

/* --- results ---------------------------------------------------------- */

static int64_t within(int64_t number, int64_t most)
{
	return number < 0 ? 0 : number > most ? most : number;
}

static void measure_use(struct result_metrics *metrics)
{
	struct result_use *use = &metrics->use;

	if ((unsigned)metrics->memory_counter > MEMORY_COUNTER_PROCESS)
		metrics->memory_counter = MEMORY_COUNTER_NONE;
	use->user_us = within(use->user_us, INT64_MAX);
	use->system_us = within(use->system_us, INT64_MAX);
	use->context_switches = within(use->context_switches, INT64_MAX);
	use->page_faults = within(use->page_faults, INT64_MAX);
	use->disk_faults = within(use->disk_faults, INT64_MAX);
	use->throttled_us = within(use->throttled_us, INT64_MAX);
	use->output_bytes = within(use->output_bytes, INT64_MAX);
}

/* Adds the supervisor's own measurements. The kernel's counters came through
 * the executor: what cannot be is 0, as is what this host does not count. */
static void measure(struct task *task)
{
	struct result_metrics *metrics = &task->metrics;
	int64_t received = task->state_at_us[STATE_received];
	int64_t prepared = task->state_at_us[STATE_prepared];
	int64_t spent_us = clock_mono_us() - task->received_mono_us;

	metrics->cpu_us = within(metrics->cpu_us, INT64_MAX);
	metrics->memory_peak_bytes = within(metrics->memory_peak_bytes, INT64_MAX);
	metrics->io_read_bytes = within(metrics->io_read_bytes, INT64_MAX);
	metrics->io_write_bytes = within(metrics->io_write_bytes, INT64_MAX);
	metrics->processes_peak = within(metrics->processes_peak, INT64_MAX);
	measure_use(metrics);
	metrics->run_us = within(metrics->run_us, spent_us);
	metrics->queue_us = -1;
	if (task->timestamp_us > 0)
		metrics->queue_us = within(received - task->timestamp_us, INT64_MAX);
	metrics->prepare_us = prepared == 0 ? 0 : within(prepared - received, INT64_MAX);
	metrics->overhead_us = spent_us - metrics->run_us;
}

/* A job that no executor saw has the base as its only snapshot. */
static struct bytes own_body(struct task *task, struct arena *arena, struct buf *out,
			     size_t *ret_pairs)
{
	char hex[OID_HEX_BYTES];
	struct pair initial = {"initial", hex};
	struct result_body body = {.snapshots = {&initial, 1}};

	if (task->repo_path == NULL)
		return (struct bytes){NULL, 0};
	oid_hex(&task->commit, hex);
	result_body_pack(arena, &body, out, ret_pairs);
	return buf_bytes(out);
}

static int encode(struct task *task, struct buf *out, struct err *err)
{
	const struct mode *mode = task->mode.mode;
	struct supervisor *self = task->supervisor;
	struct result_head head = {
		.id = task->job.id,
		.run = task->job.run < 1 ? 1 : task->job.run,
		.attempt = task->attempts + 1,
		.worker = self->config->worker_name,
		.tenant = task->job.tenant,
		.stage = task->job.stage,
		.labels = &task->job.labels,
		.traceparent = task->job.traceparent,
		.verdict = task->verdict,
		.reason = task->reason,
		.metrics = task->metrics,
		.security_mode = mode == NULL ? NULL : mode->name,
		.security_profile = mode == NULL ? NULL : filter_profile_name(mode->profile),
		.security_reason = task->mode.why,
		.security_root = self->roots.items[task->root].name,
		.missing = self->missing,
		.clamped = task->clamped,
	};
	struct bytes body = task->body;
	size_t pairs = task->body_pairs;
	struct arena arena;
	struct buf own;
	int rc;

	arena_init(&arena, RESULT_ARENA_BYTES);
	buf_init(&own, LIMIT_RESULT_BYTES);
	(void)memcpy(head.state_at_us, task->state_at_us, sizeof(head.state_at_us));
	if (body.len == 0)
		body = own_body(task, &arena, &own, &pairs);
	rc = result_encode(&arena, &head, body, pairs, out, err);
	buf_release(&own);
	arena_release(&arena);
	return rc;
}

static int store(struct task *task, const struct ledger_key *key, struct bytes result,
		 struct err *err)
{
	struct ledger_outcome outcome = {.verdict = verdict_name(task->verdict),
					 .reason = reason_code_name(task->reason.code),
					 .letter = task->letter,
					 .result = result};
	struct arena arena;
	int rc;

	arena_init(&arena, RESULT_ARENA_BYTES);
	if (task->repo_path != NULL)
		outcome.snapshots = snapshot_names(&arena, result);
	rc = ledger_finish(task->supervisor->ledger, key, &outcome, err);
	arena_release(&arena);
	return rc;
}

/* The ledger knows by now that it is due. */
static void publish_letter(struct task *task)
{
	if (task->letter == NULL)
		return;
	task->supervisor->meter.dead++;
	task->attempts++; /* with the one that ends here */
	publish_again(task, ROUTE_DEAD, task->reason.code, task->letter);
	task->attempts--;
}

/* Stores, then publishes. */
static void send_result(struct task *task, struct bytes result)
{
	struct supervisor *self = task->supervisor;
	struct ledger_key key = {task->job.id, task->job.run < 1 ? 1 : task->job.run};
	struct err err = {0};

	if (self->local != NULL) {
		size_t index = task->local_index;

		self->local->result(self->local->ctx, index, result);
		self->local_done++;
		task_free(task);
		intake_pump(self);
		return;
	}
	if (task->in_ledger && store(task, &key, result, &err) < 0) {
		supervisor_die(self, &err);
		return;
	}
	task->started = false;
	task->decided = true;
	publish_letter(task);
	note_leaving(task);
	publish_result(task, &key, result);
	publish_reply(task, &key, result);
}

static void log_finished(const struct task *task)
{
	log_info("job finished", "job", task->job.id, "verdict", verdict_name(task->verdict),
		 "reason",
		 task->reason.code == REASON_NONE ? NULL : reason_code_name(task->reason.code),
		 LOG_INT("run_us", task->metrics.run_us),
		 LOG_INT("overhead_us", task->metrics.overhead_us), NULL);
}

void finish_result(struct task *task)
{
	struct buf out;
	struct err err = {0};

	measure(task);
	task_move(task, lifecycle_end(task->verdict), clock_wall_us());
	buf_init(&out, LIMIT_RESULT_BYTES);
	if (encode(task, &out, &err) < 0) {
		/* The body is not what it claims: an executor gone wrong. What the
		 * supervisor itself knows is still worth a result. */
		log_error("cannot encode result", "job", task->job.id, "error", err.message, NULL);
		fd_unmap(&task->body);
		task->body_pairs = 0;
		task->verdict = VERDICT_error;
		(void)reason_set(&task->reason, REASON_HOST_EXECUTOR, NULL, "%s", err.message);
		buf_clear(&out);
		if (encode(task, &out, &err) < 0) {
			supervisor_die(task->supervisor, &err);
			buf_release(&out);
			return;
		}
	}
	task->supervisor->meter.finished[task->verdict][task->reason.code]++;
	log_finished(task);
	send_result(task, buf_bytes(&out));
	buf_release(&out);
}

void finish_refused(struct task *task, enum verdict verdict, const struct reason *reason)
{
	struct slot *slot = task->slot;

	if (slot != NULL) {
		/* Its executor has not been given anything: it waits for the next. */
		slot->task = NULL;
		task->slot = NULL;
	}
	task->verdict = verdict;
	task->reason = *reason;
	finish_result(task);
}

/* --- faults ----------------------------------------------------------- */

/* A slot that is still taken here was not reached by the job. */
static void give_back(struct task *task)
{
	if (task->slot == NULL)
		return;
	task->slot->task = NULL;
	task->slot = NULL;
}

void finish_fault(struct task *task, enum reason_code code, const char *message, bool crashed)
{
	struct supervisor *self = task->supervisor;
	int64_t cap = self->config->worker_max_attempts;

	if (task->stop_sent) { /* what failed was cancelled: nothing to try again */
		cancel_finish(task);
		return;
	}
	give_back(task);
	fd_unmap(&task->body);
	task->body_pairs = 0;
	task->attempts++;
	if (task->job.max_attempts > 0 && task->job.max_attempts < cap)
		cap = task->job.max_attempts;
	log_warn("attempt failed", "job", task->job.id, LOG_INT("attempt", task->attempts),
		 "reason", reason_code_name(code), "error", message, NULL);
	if (!crashed)
		finish_attempt(task);
	if (self->local == NULL && task->attempts < cap && code != REASON_JOB_POISON) {
		task->started = false;
		self->meter.retried++;
		publish_again(task, ROUTE_RETRY, code, message);
		return;
	}
	task->verdict = VERDICT_error;
	(void)reason_set(&task->reason, code, NULL, "%s", message);
	if (self->local == NULL) {
		task->letter = arena_strdup(&task->arena, message);
		if (task->letter == NULL)
			task->letter = "out of memory";
	}
	task->attempts--; /* the result counts this attempt itself */
	finish_result(task);
}

/* --- messages that are no job ----------------------------------------- */

void finish_malformed(struct task *task, const char *tenant)
{
	struct supervisor *self = task->supervisor;

	log_warn("message refused", "job", task->job.id, "reason",
		 reason_code_name(task->reason.code), "error", task->reason.message, NULL);
	task->job.tenant = tenant == NULL ? "default" : tenant;
	task->verdict = VERDICT_rejected;
	task->in_ledger = false;
	if (self->local == NULL) {
		self->meter.dead++;
		publish_again(task, ROUTE_DEAD, task->reason.code, task->reason.message);
	}
	if (self->local != NULL || task->job.id != NULL)
		finish_result(task);
}

/* --- results of before ------------------------------------------------ */

/* Also for a row of the ledger whose delivery has not come yet. */
static void send_again(struct task *task, struct bytes result)
{
	struct ledger_key key = {task->job.id, task->job.run};

	log_info("job was finished before, its result is sent again", "job", task->job.id, NULL);
	task->in_ledger = true;
	task->supervisor->meter.resent++;
	task->decided = true;
	publish_letter(task);
	note_leaving(task);
	publish_result(task, &key, result);
	publish_reply(task, &key, result);
}

void finish_resend(struct task *task, const struct ledger_entry *entry)
{
	task->letter = entry->letter;
	if (entry->letter != NULL && !reason_code_parse(entry->reason, &task->reason.code))
		task->reason.code = REASON_HOST_FAULT; /* of a later version */
	send_again(task, entry->result);
}

static int resend(void *ctx, const struct ledger_key *key, const char *digest, const char *tenant,
		  struct bytes result)
{
	struct supervisor *self = ctx;
	struct task *task = task_new(self);

	if (task == NULL)
		return 1;
	/* A task without a delivery: epoch 0 is never a connection's. The delivery
	 * is still to come, perhaps before the confirm: then it joins this task. */
	ipc_text(task->digest, digest);
	task->job.id = arena_strdup(&task->arena, key->id);
	task->job.tenant = arena_strdup(&task->arena, tenant);
	task->job.run = key->run;
	if (task->arena.exhausted)
		return 1;
	send_again(task, result);
	return 0;
}

int finish_unsent(struct supervisor *self, struct err *err)
{
	return ledger_unsent(self->ledger, resend, self, err);
}

/* --- live news -------------------------------------------------------- */

static struct value *new_event(struct arena *arena, const struct task *task, const char *kind,
			       int64_t at_us)
{
	struct value *map = value_map(arena);

	value_put(arena, map, "v", value_int(arena, 1));
	value_put(arena, map, "id", value_str(arena, task->job.id));
	value_put(arena, map, "run", value_int(arena, task->job.run));
	value_put(arena, map, "kind", value_str(arena, kind));
	value_put(arena, map, "at_us", value_int(arena, at_us));
	return map;
}

static void send_event(struct task *task, struct arena *arena, const struct value *map,
		       const char *kind)
{
	struct supervisor *self = task->supervisor;
	struct ipc_pub_message *message;
	struct buf out;

	buf_init(&out, IPC_INLINE_BYTES);
	if (!arena->exhausted)
		value_pack(map, &out);
	if (arena->exhausted || out.failed || out.len == 0) {
		buf_release(&out);
		return;
	}
	if (self->local != NULL) {
		self->local->event(self->local->ctx, task->local_index, buf_bytes(&out));
	} else {
		message = new_message(ROUTE_EVENT, 0);
		ipc_text(message->id, task->job.id);
		(void)snprintf(message->key, sizeof(message->key), "job.%s.%s", task->job.id, kind);
		publish(self, message, buf_bytes(&out));
	}
	buf_release(&out);
}

static bool wants_events(const struct task *task)
{
	const struct supervisor *self = task->supervisor;

	if (!self->config->worker_events || task->job.id == NULL || self->dying)
		return false;
	/* Of what is answered at once only the end is news. */
	if (!job_has_source(&task->job) && task->state != STATE_done)
		return false;
	if (self->local != NULL)
		return self->local->event != NULL;
	/* Under an alarm the publisher does not empty its queue: news can wait. */
	return self->publisher.bytes < EVENTS_QUEUED_BYTES;
}

void finish_event_state(struct task *task, enum job_state state, int64_t at_us)
{
	struct arena arena;
	struct value *map;

	if (!wants_events(task))
		return;
	arena_init(&arena, IPC_INLINE_BYTES);
	map = new_event(&arena, task, "state", at_us);
	value_put(&arena, map, "state", value_str(&arena, job_state_name(state)));
	send_event(task, &arena, map, "state");
	arena_release(&arena);
}

void finish_event_output(struct task *task, const struct ipc_exec_output *output)
{
	struct arena arena;
	struct value *map;

	if (!wants_events(task))
		return;
	arena_init(&arena, IPC_INLINE_BYTES);
	map = new_event(&arena, task, "output", clock_wall_us());
	value_put(&arena, map, "step", value_str(&arena, output->step));
	value_put(&arena, map, "stream",
		  value_str(&arena, output->stream == 0 ? "stdout" : "stderr"));
	value_put(&arena, map, "data",
		  value_bin(&arena, (struct bytes){output->data, output->len}));
	send_event(task, &arena, map, "output");
	arena_release(&arena);
}

/* A number that an executor told; what cannot be is left out. */
static void put_count(struct arena *arena, struct value *map, const char *key, int64_t count)
{
	if (count >= 0)
		value_put(arena, map, key, value_int(arena, count));
}

void finish_event_sample(struct task *task, const struct ipc_exec_sample *sample)
{
	struct arena arena;
	struct value *map;

	if (!wants_events(task))
		return;
	arena_init(&arena, IPC_INLINE_BYTES);
	map = new_event(&arena, task, "sample", clock_wall_us());
	value_put(&arena, map, "step", value_str(&arena, sample->step));
	put_count(&arena, map, "wall_us", sample->wall_us);
	put_count(&arena, map, "cpu_us", sample->cpu_us);
	put_count(&arena, map, "memory_bytes", sample->memory_bytes);
	put_count(&arena, map, "output_bytes", sample->output_bytes);
	send_event(task, &arena, map, "sample");
	arena_release(&arena);
}
