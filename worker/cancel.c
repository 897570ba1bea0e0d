/*
 * cancel.c - theory: every worker hears every cancel, in the order they were
 * sent, those of the last days again with each connection. Each is kept in the
 * ledger, so a job that comes later is stopped when it is received; one that is
 * here is stopped now, by how far it is:
 *
 *	it waits for its base or a slot		refused as cancelled
 *	an executor has it			told to stop; killed when it has not
 *						within STOP_US, with all its processes
 *	its end is decided			too late, the result stands
 *	its message is in a wait queue		answered by the worker that put it there
 *
 * Nobody can take a message out of a wait queue, but until its time is over
 * nobody can run it either. So who has put it there answers at once, from what
 * the ledger has kept of the job; when the message is back it is known as
 * finished, or, to another worker, as cancelled, and its result is sent again.
 *
 * A cancel that was sent before the worker connected must not come later than
 * the job. So after connecting the worker sends a mark to itself by the same
 * way and starts nothing until it is heard.
 */
#include "worker/cancel.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "schema/control.h"
#include "schema/limits.h"
#include "worker/supervisor_private.h"

enum {
	STOP_US = 600 * 1000,
	/* As long as this the broker may be unable to take the mark. */
	MARK_US = 5 * 1000 * 1000,
	CONTROL_BYTES = 4096,
};

/* --- the mark --------------------------------------------------------- */

void cancel_connected(struct supervisor *self)
{
	CLEANUP(buf_release) struct buf out = {0};
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct control mark = {.kind = CONTROL_MARK, .id = self->mark};

	text_uuid7(self->mark);
	self->mark_until_us = clock_mono_us() + MARK_US;
	self->caught_up = false;
	arena_init(&arena, LIMIT_ARENA_BYTES);
	buf_init(&out, CONTROL_BYTES);
	control_pack(&arena, &mark, &out);
	finish_control(self, buf_bytes(&out));
}

void cancel_look_at_clock(struct supervisor *self, int64_t now_us)
{
	if (self->caught_up || now_us < self->mark_until_us)
		return;
	log_warn("cancels of before may be unknown: the broker does not answer in time", NULL);
	self->caught_up = true;
}

/* --- stopping --------------------------------------------------------- */

void cancel_finish(struct task *task)
{
	struct reason reason;

	(void)reason_set(&reason, REASON_JOB_CANCELLED, NULL, "the job was cancelled %s",
			 task->stop_sent      ? "while it ran"
			 : task->attempts > 0 ? "before its next attempt"
					      : "before it ran");
	finish_refused(task, VERDICT_cancelled, &reason);
}

static void stop_executor(struct task *task)
{
	const struct ipc_exec_stop message = {.kind = IPC_EXEC_STOP};
	int64_t kill_at_us = clock_mono_us() + STOP_US;
	struct err err = {0};

	if (task->stop_sent)
		return;
	task->stop_sent = true;
	if (kill_at_us < task->kill_at_mono_us)
		task->kill_at_mono_us = kill_at_us;
	/* One that is gone is noticed by its socket. */
	if (outbox_send(&task->slot->executor, &message, sizeof(message), -1, &err) < 0)
		log_debug("cannot tell the executor", "job", task->job.id, "error", err.message,
			  NULL);
}

static void cancel(struct task *task)
{
	/* It has a slot, whose box is still being made, or its base is looked for anew. */
	bool fitting = task->state == STATE_snapshotted && task->slot != NULL;

	log_info("job cancelled", "job", task->job.id, NULL);
	task->cancelled = true;
	if (task->confirms_due > 0)
		return;
	if (task->kill_at_mono_us != 0)
		stop_executor(task);
	else if (intake_unwait(task) || fitting)
		cancel_finish(task);
}

/* --- in a wait queue -------------------------------------------------- */

/* What a result repeats, and nothing of the work. */
static int pack_echo(struct arena *arena, const struct job *job, struct buf *out, struct err *err)
{
	struct job echo = *job;
	const struct value *tree;

	echo.source = (struct job_source){.repo = NULL};
	echo.patch.present = false;
	echo.protect = (struct job_protect){.paths = {NULL, 0}};
	echo.steps_len = 0;
	echo.tests.present = false;
	echo.artifacts.paths.len = 0;
	tree = job_to_value(arena, &echo);
	if (!arena->exhausted)
		value_pack(tree, out);
	return arena->exhausted || out->failed ? err_set(err, ERR_LIMIT, "out of memory") : 0;
}

bool cancel_note_wait(struct task *task)
{
	struct supervisor *self = task->supervisor;
	struct ledger_key key = {task->job.id, task->job.run};
	CLEANUP(arena_cleanup) struct arena arena = {0};
	CLEANUP(buf_release) struct buf out = {0};
	struct ledger_wait wait = {.until_us = task->waits_until_us,
				   .attempts = task->attempts,
				   .reply_to = task->reply_to,
				   .correlation_id = task->correlation_id};
	struct err err = {0};

	if (!task->in_ledger)
		return false;
	if (task->cancelled) {
		cancel_finish(task);
		return true;
	}
	arena_init(&arena, LIMIT_ARENA_BYTES);
	buf_init(&out, LIMIT_MESSAGE_BYTES);
	if (pack_echo(&arena, &task->job, &out, &err) == 0) {
		wait.job = buf_bytes(&out);
		if (ledger_wait(self->ledger, &key, &wait, &err) == 0)
			return false;
	}
	supervisor_die(self, &err);
	return false;
}

/* A task without a delivery: the message joins it, or finds it finished. */
static int revive(struct task *task, const struct ledger_wait *wait, struct err *err)
{
	struct reason reason;
	int rc = job_decode(&task->arena, wait->job.data, wait->job.len, &task->job, &reason, err);

	if (rc == REFUSED)
		return err_set(err, ERR_INPUT, "the ledger's copy of a job: %s", reason.message);
	if (rc < 0)
		return -1;
	ipc_text(task->digest, wait->digest);
	task->reply_to = wait->reply_to;
	task->correlation_id = wait->correlation_id;
	task->attempts = wait->attempts;
	task->in_ledger = true;
	task_move(task, STATE_received, clock_wall_us());
	return 0;
}

static void cancel_waiting(struct supervisor *self, const struct ledger_key *key)
{
	struct task *task = task_new(self);
	struct ledger_wait wait;
	struct err err = {0};
	int rc;

	if (task == NULL)
		return;
	rc = ledger_waiting(self->ledger, key, clock_wall_us(), &task->arena, &wait, &err);
	if (rc > 0)
		rc = revive(task, &wait, &err) < 0 ? -1 : 1;
	if (rc > 0) {
		log_info("job cancelled", "job", task->job.id, NULL);
		cancel_finish(task);
		return;
	}
	task_free(task);
	if (rc < 0)
		supervisor_die(self, &err);
}

/* --- hearing ---------------------------------------------------------- */

static struct task *find(struct supervisor *self, const struct control *control)
{
	struct task *task = self->tasks;

	while (task != NULL && (task->job.id == NULL || task->job.run != control->run ||
				strcmp(task->job.id, control->id) != 0))
		task = task->next;
	return task;
}

static void hear_cancel(struct supervisor *self, const struct control *control)
{
	struct ledger_key key = {control->id, control->run};
	struct task *task = find(self, control);
	struct err err = {0};

	if (ledger_cancel(self->ledger, &key, &err) < 0)
		supervisor_die(self, &err);
	else if (task != NULL)
		cancel(task);
	else
		cancel_waiting(self, &key);
}

void cancel_heard(void *ctx, const struct delivery *delivery)
{
	struct supervisor *self = ctx;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct control control;
	struct err err = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (delivery->size_bytes > CONTROL_BYTES ||
	    control_decode(&arena, delivery->body.data, delivery->body.len, &control, &err) < 0) {
		log_debug("control message ignored", "id", delivery->id, "error", err.message,
			  NULL);
		return;
	}
	if (control.kind == CONTROL_CANCEL)
		hear_cancel(self, &control);
	else if (strcmp(control.id, self->mark) == 0)
		self->caught_up = true;
}
