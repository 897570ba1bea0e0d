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
			 task->stop_sent ? "while it ran" : "before it ran");
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
	if (task->confirms_due > 0)
		return;
	if (task->kill_at_mono_us != 0)
		stop_executor(task);
	else if (intake_unwait(task) || fitting)
		cancel_finish(task);
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
