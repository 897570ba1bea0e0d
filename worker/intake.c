/*
 * intake.c - theory: each delivery is decoded, then asked in this order
 *
 *	1. is it a job at all?			else a dead letter
 *	2. does it run here already?		then it joins that attempt
 *	3. is it finished here already?		then its result is sent again
 *	4. was it cancelled?			then that is its result
 *	5. has it crashed too often?		then it is poison
 *	6. may it run: deadline, commands?	else it is refused
 *
 * and what is left waits for its base, which is asked for at once, and then for
 * a slot (fairness.c). A slot is never bound to a job whose base is still on its
 * way, so a host that says nothing costs no slot.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/headers.h"
#include "worker/artifacts.h"
#include "worker/supervisor_private.h"

/* --- limits ----------------------------------------------------------- */

/* So many jobs at work may not keep the worker from its own: where nobody else wants
 * a CPU they lose nothing by it. */
enum { STEP_NICE = 5 };

struct box_limits intake_box_limits(const struct job_limits *limits)
{
	return (struct box_limits){
		.nice = STEP_NICE,
		.wall_ms = limits->wall_ms,
		.cpu_ms = limits->cpu_ms,
		.idle_ms = limits->idle_ms,
		.memory_bytes = limits->memory_bytes,
		.disk_bytes = limits->disk_bytes,
		.inodes = limits->inodes,
		.processes = limits->processes,
		.open_files = limits->open_files,
		.file_bytes = limits->file_bytes,
		.output_bytes = limits->output_bytes,
		.millicpus = limits->millicpus,
	};
}

/* --- admission -------------------------------------------------------- */

static int check_deadline(const struct task *task, struct reason *ret_reason)
{
	int64_t late_ms = clock_wall_us() / 1000 - task->job.deadline_ms;

	if (task->job.deadline_ms == 0 || late_ms < 0)
		return 0;
	return reason_set(ret_reason, REASON_JOB_EXPIRED, "deadline_ms",
			  "the deadline passed %lld ms ago", (long long)late_ms);
}

static int check_root(struct task *task, struct reason *ret_reason)
{
	const struct roots *roots = &task->supervisor->roots;
	CLEANUP(buf_release) struct buf names;

	buf_init(&names, REASON_MESSAGE_BYTES);
	if (roots_find(roots, task->job.sandbox.root, &task->root))
		return 0;
	roots_names(roots, &names);
	return reason_set(ret_reason, REASON_POLICY_ROOT, "sandbox.root",
			  "this worker has no root '%s', only: %s", task->job.sandbox.root,
			  buf_text(&names));
}

/* Whether the job may run; sets its limits. */
static void admit(struct task *task)
{
	struct supervisor *self = task->supervisor;
	struct job_limits limits;
	struct reason reason;
	struct err err = {0};
	int rc;

	if (check_deadline(task, &reason) == REFUSED) {
		finish_refused(task, VERDICT_expired, &reason);
		return;
	}
	if (commands_check(self->commands, &task->job, &reason) == REFUSED ||
	    check_root(task, &reason) == REFUSED) {
		finish_refused(task, VERDICT_rejected, &reason);
		return;
	}
	rc = config_limits(self->config, &task->job.limits, &task->arena, &limits, &task->clamped,
			   &reason, &err);
	if (rc == REFUSED) {
		finish_refused(task, VERDICT_rejected, &reason);
		return;
	}
	if (rc < 0) {
		finish_fault(task, REASON_HOST_FAULT, err.message, false);
		return;
	}
	task->wanted = limits;
	task->limits = intake_box_limits(&limits);
	task->next_waiting = NULL;
	task->waiting = true;
	for (struct task **at = &self->waiting[task->priority];; at = &(*at)->next_waiting) {
		if (*at == NULL) {
			*at = task;
			break;
		}
	}
	intake_pump(self);
}

/* --- is it known? ----------------------------------------------------- */

static struct task *find_running(struct supervisor *self, const struct task *task)
{
	for (struct task *other = self->tasks; other != NULL; other = other->next) {
		if (other != task && other->job.id != NULL &&
		    strcmp(other->job.id, task->job.id) == 0 && other->job.run == task->job.run)
			return other;
	}
	return NULL;
}

static void reuse(struct task *task)
{
	struct reason reason;

	(void)reason_set(&reason, REASON_JOB_ID_REUSED, "id",
			 "another job with the id '%s' (run %lld) was enqueued before",
			 task->job.id, (long long)task->job.run);
	finish_refused(task, VERDICT_rejected, &reason);
}

static bool join(struct supervisor *self, struct task *task)
{
	struct task *running = find_running(self, task);

	if (running == NULL)
		return false;
	if (strcmp(running->digest, task->digest) != 0) {
		reuse(task);
		return true;
	}
	/* On the same connection it is a second copy, and the first answers for
	 * both. Over a new one it is the redelivery of the first, whose attempt
	 * the lost connection did not end: the new tag is the one to settle. */
	if (running->epoch == task->epoch) {
		if (self->consumer != NULL)
			NEGLECT(consumer_ack(self->consumer, task->epoch, task->tag, NULL));
	} else {
		running->epoch = task->epoch;
		running->tag = task->tag;
	}
	task_free(task);
	return true;
}

static void poison(struct task *task, int64_t crashes)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%lld attempts of this job ended in a crash",
		       (long long)crashes);
	task->attempts = crashes - 1; /* the last of them is the one that ends here */
	finish_fault(task, REASON_JOB_POISON, text, false);
}

/* Whether the ledger settles the matter. */
static bool known(struct supervisor *self, struct task *task)
{
	struct ledger_key key = {task->job.id, task->job.run};
	struct ledger_entry entry;
	struct err err = {0};

	if (self->ledger == NULL)
		return false;
	if (ledger_begin(self->ledger, &key, task->digest, task->job.tenant, &task->arena, &entry,
			 &err) < 0) {
		supervisor_die(self, &err);
		return true;
	}
	if (entry.known == LEDGER_CONFLICT) {
		reuse(task);
		return true;
	}
	if (entry.known == LEDGER_FINISHED) {
		finish_resend(task, &entry);
		return true;
	}
	task->in_ledger = true;
	if (entry.cancelled) {
		cancel_finish(task);
		return true;
	}
	/* The message counts what was retried, the ledger what a crash cut off. */
	if (task->attempts < entry.crashes)
		task->attempts = entry.crashes;
	if (entry.crashes >= self->config->worker_poison_cap) {
		poison(task, entry.crashes);
		return true;
	}
	return false;
}

/* --- a message -------------------------------------------------------- */

static void decode(struct task *task)
{
	struct supervisor *self = task->supervisor;
	int64_t received_us = clock_wall_us();
	struct err err = {0};
	const char *tenant = NULL;
	int rc;

	sha256_hex(task->payload, task->digest);
	rc = job_decode(&task->arena, task->payload.data, task->payload.len, &task->job,
			&task->reason, &err);
	if (rc != 0)
		task->job = (struct job){.id = NULL};
	task_move(task, STATE_received, received_us);
	if (rc < 0) {
		finish_fault(task, REASON_HOST_FAULT, err.message, false);
		return;
	}
	if (rc == REFUSED) {
		job_salvage(&task->arena, task->payload.data, task->payload.len, &task->job.id,
			    &tenant);
		finish_malformed(task, tenant);
		return;
	}
	task->priority = self->local != NULL ? task->job.priority : task->priority;
	if (join(self, task) || known(self, task))
		return;
	admit(task);
}

static const char *copy(struct task *task, const char *text)
{
	return text == NULL ? NULL : arena_strdup(&task->arena, text);
}

/* Only a part of it came: the broker itself has the whole. */
static void reject_whole(struct supervisor *self, const struct delivery *delivery)
{
	struct err err = {0};

	log_warn("message refused", "id", delivery->id, "reason",
		 reason_code_name(REASON_JOB_TOO_LARGE), LOG_INT("bytes", delivery->size_bytes),
		 NULL);
	if (consumer_reject(self->consumer, delivery->epoch, delivery->tag, &err) < 0)
		log_warn("cannot reject message", "error", err.message, NULL);
}

/* They go with a retry or a dead letter. */
static void copy_headers(struct task *task, const struct pair_list *headers)
{
	CLEANUP(buf_release) struct buf packed = {0};

	if (headers->len == 0)
		return;
	buf_init(&packed, HEADERS_BYTES);
	headers_pack(headers, &packed);
	task->headers.len = packed.len;
	task->headers.data =
		(const uint8_t *)arena_memdup(&task->arena, buf_text(&packed), packed.len);
}

void intake_delivered(void *ctx, const struct delivery *delivery)
{
	struct supervisor *self = ctx;
	struct task *task;
	struct err err = {0};

	if (delivery->size_bytes > delivery->body.len) {
		reject_whole(self, delivery);
		return;
	}
	task = task_new(self);
	if (task == NULL)
		return;
	self->meter.received++;
	fairness_note_come(self, delivery->priority);
	task->epoch = delivery->epoch;
	task->tag = delivery->tag;
	task->reply_to = copy(task, delivery->reply_to);
	task->message_id = copy(task, delivery->id);
	task->correlation_id = copy(task, delivery->correlation_id);
	task->queue = copy(task, delivery->queue);
	copy_headers(task, &delivery->headers);
	task->priority = delivery->priority;
	task->timestamp_us = delivery->timestamp_us;
	task->attempts = delivery->attempts;
	task->first_fault_ms = delivery->death.first_at_ms;
	task->payload.len = delivery->body.len;
	task->payload.data = (const uint8_t *)arena_memdup(&task->arena, delivery->body.data,
							   delivery->body.len);
	if (task->arena.exhausted) {
		(void)err_set(&err, ERR_LIMIT, "out of memory for a job");
		supervisor_die(self, &err);
		return;
	}
	decode(task);
}

void intake_local(struct supervisor *self, size_t index)
{
	struct task *task = task_new(self);

	if (task == NULL)
		return;
	task->local_index = index;
	task->payload = self->local->jobs[index];
	decode(task);
}

/* --- slots ------------------------------------------------------------ */

/* A box whose executor waits, rather one of this root than another; NULL too while
 * as many jobs run as may. */
static struct slot *free_slot(struct supervisor *self, unsigned root)
{
	struct slot *other = NULL;
	size_t running = 0;

	for (size_t i = 0; i < self->slots_len; i++)
		running += self->slots[i].task != NULL;
	if (running >= (size_t)self->config->worker_slots)
		return NULL;
	for (size_t i = 0; i < self->slots_len; i++) {
		struct slot *slot = &self->slots[i];

		if (slot->task != NULL || slot->executor.socket < 0)
			continue;
		if (slot->root == root)
			return slot;
		other = slot;
	}
	return other;
}

bool intake_unwait(struct task *task)
{
	struct task **at = &task->supervisor->waiting[task->priority];

	if (!task->waiting)
		return false;
	while (*at != task)
		at = &(*at)->next_waiting;
	*at = task->next_waiting;
	task->waiting = false;
	return true;
}

static struct task *find_wanting(struct supervisor *self)
{
	for (size_t i = 0; i < PRIORITIES; i++) {
		for (struct task *task = self->waiting[i]; task != NULL;
		     task = task->next_waiting) {
			if (task->base == BASE_WANTED)
				return task;
		}
	}
	return NULL;
}

static bool expire(struct task *task)
{
	struct reason reason;

	if (check_deadline(task, &reason) != REFUSED)
		return false;
	(void)intake_unwait(task);
	finish_refused(task, VERDICT_expired, &reason);
	return true;
}

static int ask_base(struct task *task, struct err *err)
{
	task_move(task, STATE_admitted, clock_wall_us());
	if (job_has_source(&task->job))
		return dispatch_fetch(task, err);
	task->base = BASE_READY;
	return 0;
}

static int start(struct task *task, struct err *err)
{
	struct supervisor *self = task->supervisor;

	if (task_needs_slot(task)) {
		struct slot *slot = free_slot(self, task->root);

		task->slot = slot;
		slot->task = task;
		self->quick_jobs = 0;
		dispatch_fit_root(slot);
	}
	return dispatch_start(task, err);
}

void intake_pump(struct supervisor *self)
{
	while (self->host_known && self->caught_up && !self->dying) {
		struct task *task = find_wanting(self);
		bool have_slot = free_slot(self, 0) != NULL;
		struct err err = {0};
		int rc = 0;

		if (task != NULL) {
			rc = expire(task) ? 0 : ask_base(task, &err);
		} else {
			task = fairness_take(self, have_slot);
			if (task == NULL) {
				fairness_adjust(self, have_slot);
				return;
			}
			rc = expire(task) ? 0 : start(task, &err);
		}
		if (rc < 0)
			supervisor_die(self, &err);
	}
}

void intake_drop_waiting(struct supervisor *self, bool hand_back)
{
	for (size_t i = 0; i < PRIORITIES; i++) {
		while (self->waiting[i] != NULL) {
			struct task *task = self->waiting[i];

			(void)intake_unwait(task);
			if (hand_back)
				finish_handback(task);
			else
				task_free(task);
		}
	}
}
