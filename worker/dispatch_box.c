/*
 * dispatch_box.c - theory: executors and the zygote that makes them. What an
 * executor says is hostile: each message is held against the state of its job,
 * and one out of turn ends the executor, as a crash of that attempt.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/dispatch_private.h"
#include "worker/lifecycle.h"

enum {
	BODY_PAIRS_MAX = 64,
	MESSAGES_LEFT = 4096, /* the most that a dead executor's socket can hold */
	KILL_GRACE_US = 60 * 1000 * 1000,
	TROUBLE_MOST_US = 60 * 1000 * 1000,
	TROUBLE_MOST_LOCAL_US = 3 * 1000 * 1000,
};

/* --- slots ------------------------------------------------------------ */

/* A place for a job could not be made. Once may be chance; when nothing else
 * happens for a while, jobs must not wait here for what never comes. */
static void trouble(struct supervisor *self, const char *why)
{
	int64_t most_us = self->local != NULL ? TROUBLE_MOST_LOCAL_US : TROUBLE_MOST_US;
	int64_t now_us = clock_mono_us();
	struct err err = {0};

	if (self->trouble_since_us == 0 || now_us - self->trouble_last_us > TROUBLE_GAP_US)
		self->trouble_since_us = now_us;
	self->trouble_last_us = now_us;
	if (now_us - self->trouble_since_us < most_us)
		return;
	(void)err_set(&err, ERR_UNSUPPORTED, "cannot make sandboxes: %s", why);
	supervisor_die(self, &err);
}

void dispatch_kill(struct slot *slot)
{
	struct ipc_box_kill message = {
		.kind = IPC_BOX_KILL, .slot = slot->number, .serial = slot->serial};
	struct err err = {0};

	if (outbox_send(&slot->supervisor->zygote, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(slot->supervisor, &err);
}

/* A box of the task's root takes the place of the one that waits in its slot. */
void dispatch_fit_root(struct slot *slot)
{
	struct ipc_box_remake message = {.kind = IPC_BOX_REMAKE,
					 .slot = slot->number,
					 .serial = slot->serial,
					 .root = slot->task->root};
	struct err err = {0};

	if (slot->root == slot->task->root)
		return;
	outbox_release(&slot->executor);
	if (outbox_send(&slot->supervisor->zygote, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(slot->supervisor, &err);
}

/* The executor is gone, or must go for what it said. */
static void executor_lost(struct slot *slot, const char *why)
{
	struct task *task = slot->task;
	bool had_job = task != NULL && task->kill_at_mono_us != 0;

	outbox_release(&slot->executor);
	dispatch_kill(slot);
	if (!had_job)
		trouble(slot->supervisor, why);
	if (task == NULL)
		return;
	task->slot = NULL;
	slot->task = NULL;
	slot->supervisor->meter.executors_lost += had_job;
	/* A job that the executor never had cannot have crashed it. */
	finish_fault(task, REASON_HOST_EXECUTOR, why, had_job);
}

static void send_executor(struct slot *slot, const void *message, size_t len, int fd)
{
	struct err err = {0};

	if (outbox_send(&slot->executor, message, len, fd, &err) < 0)
		executor_lost(slot, err.message);
}

void dispatch_job(struct task *task)
{
	struct ipc_exec_job message = {.kind = IPC_EXEC_JOB,
				       .limits = task->limits,
				       .commit = task->commit,
				       .tree = task->tree};
	const struct supervisor *self = task->supervisor;
	struct slot *slot = task->slot;
	CLEANUP(fd_cleanup) int fd = -1;
	struct err err = {0};

	if (fd_memfd("sbx-job", task->payload.data, task->payload.len, &fd, &err) < 0) {
		finish_fault(task, REASON_HOST_FAULT, err.message, false);
		return;
	}
	message.output_events =
		self->config->worker_events && (self->local == NULL || self->local->event != NULL);
	ipc_text(message.repo_path, task->repo_path);
	if (outbox_send(&slot->executor, &message, sizeof(message), fd, &err) < 0)
		executor_lost(slot, err.message);
	else
		task->kill_at_mono_us =
			clock_mono_us() + task->limits.wall_ms * 1000 + KILL_GRACE_US;
}

/* --- executor --------------------------------------------------------- */

void dispatch_take_back(struct slot *slot)
{
	struct task *task = slot->task;

	outbox_release(&slot->executor);
	dispatch_kill(slot);
	slot->task = NULL;
	task->slot = NULL;
	task->kill_at_mono_us = 0;
}

void dispatch_layer(struct task *task)
{
	struct slot *slot = task->slot;
	struct ipc_box_attach message = {
		.kind = IPC_BOX_ATTACH, .slot = slot->number, .serial = slot->serial};
	struct err err = {0};

	message.limits = task->limits;
	ipc_text(message.checkout_path, task->checkout_path);
	ipc_text(message.under_path, task->under_path);
	slot->layer = LAYER_ASKED;
	if (outbox_send(&slot->supervisor->zygote, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(slot->supervisor, &err);
}

static void want_layer(struct slot *slot, const struct ipc_exec_want_layer *asked)
{
	struct task *task = slot->task;
	struct reason reason;
	struct err err = {0};
	int rc = dispatch_mode(task, asked->findings, &reason, &err);

	if (rc != 0) {
		dispatch_take_back(slot);
		if (rc == REFUSED)
			finish_refused(task, VERDICT_rejected, &reason);
		else
			finish_fault(task, REASON_HOST_FAULT, err.message, false);
		return;
	}
	dispatch_layer(task);
}

/* Whether a job with this outcome moves its ref: it has made objects, or the
 * base itself is what it keeps. */
static void settle(struct task *task, const struct ipc_exec_done *done, int objects_fd)
{
	struct ipc_store_settle message = {
		.kind = IPC_STORE_SETTLE,
		.task = task->id,
		.base = task->commit,
		.keep = done->keep,
	};
	struct err err = {0};

	if (task->repo_path == NULL || done->verdict == VERDICT_rejected) {
		finish_result(task);
		return;
	}
	ipc_text(message.repo, task->job.source.repo);
	ipc_text(message.job, task->job.id);
	if (outbox_send(&task->supervisor->storekeeper, &message, sizeof(message), objects_fd,
			&err) < 0)
		supervisor_die(task->supervisor, &err);
}

/* Texts of an executor end where its message says, at the latest where the
 * field does. */
static void terminate(struct ipc_exec_done *done)
{
	done->error[sizeof(done->error) - 1] = '\0';
	done->reason.message[sizeof(done->reason.message) - 1] = '\0';
	done->reason.subject[sizeof(done->reason.subject) - 1] = '\0';
}

/* Whether these fields can be read at all, and whether a job in this state can
 * end like that. The verdict `error` is never an executor's to give. */
static bool is_sane(const struct task *task, const struct ipc_exec_done *done)
{
	uint8_t has_objects;

	(void)memcpy(&has_objects, &done->has_objects, sizeof(has_objects));
	if (has_objects > 1 || (unsigned)done->reason.code >= REASON_COUNT ||
	    done->body_pairs >= BODY_PAIRS_MAX)
		return false;
	if (done->end == IPC_FAULT)
		return letter.fds_len == 0;
	if (done->verdict == VERDICT_cancelled && !task->stop_sent)
		return false;
	return done->end == IPC_OK && letter.fds_len == 1U + has_objects &&
	       (unsigned)done->verdict < VERDICT_error &&
	       lifecycle_allows(task->state, lifecycle_end(done->verdict));
}

/* The executor's work is over: from here on the task has no slot. */
static void on_done(struct slot *slot, struct ipc_exec_done *done)
{
	struct task *task = slot->task;
	struct err err = {0};

	terminate(done);
	if (!is_sane(task, done)) {
		executor_lost(slot, "the executor sent nonsense");
		return;
	}
	task->slot = NULL;
	slot->task = NULL;
	task->kill_at_mono_us = 0;
	task->ended_mono_us = clock_mono_us();
	slot->supervisor->trouble_since_us = 0;
	/* Its exit follows and frees the slot; nothing of it is awaited. */
	outbox_release(&slot->executor);
	dispatch_kill(slot);
	if (done->end == IPC_FAULT) {
		finish_fault(task, REASON_HOST_SANDBOX, done->error, false);
		return;
	}
	if (fd_map(letter.fds[0], LIMIT_RESULT_BYTES, &task->body, &err) < 0) {
		finish_fault(task, REASON_HOST_EXECUTOR, err.message, false);
		return;
	}
	task->body_pairs = done->body_pairs;
	task->verdict = done->verdict;
	task->reason = done->reason;
	task->metrics = done->metrics;
	settle(task, done, done->has_objects ? letter.fds[1] : -1);
}

/* Returns false when the executor must go. */
static bool on_executor(struct slot *slot)
{
	struct ipc_exec_state *state = LETTER(IPC_EXEC_STATE, ipc_exec_state);
	struct ipc_exec_done *done = LETTER(IPC_EXEC_DONE, ipc_exec_done);
	struct ipc_exec_sample *sample = LETTER(IPC_EXEC_SAMPLE, ipc_exec_sample);
	struct ipc_exec_want_layer *wanted = LETTER(IPC_EXEC_WANT_LAYER, ipc_exec_want_layer);
	struct ipc_exec_output *output = (struct ipc_exec_output *)letter.room;

	if (slot->task == NULL || slot->task->kill_at_mono_us == 0)
		return false; /* it has no job to speak of */
	if (state != NULL) {
		if (!lifecycle_executor_allows(slot->task->state, state->state) ||
		    (state->state == STATE_prepared && slot->layer != LAYER_GIVEN))
			return false;
		task_move(slot->task, state->state, clock_wall_us());
		return true;
	}
	if (done != NULL) {
		on_done(slot, done);
		return true;
	}
	if (wanted != NULL && slot->layer == LAYER_NONE &&
	    lifecycle_executor_allows(slot->task->state, STATE_prepared)) {
		want_layer(slot, wanted);
		return true;
	}
	if (sample != NULL && slot->task->state == STATE_prepared) {
		sample->step[sizeof(sample->step) - 1] = '\0';
		if (!text_is_utf8(sample->step, strlen(sample->step)))
			return false;
		finish_event_sample(slot->task, sample);
		return true;
	}
	if (letter_kind() == IPC_EXEC_OUTPUT && (size_t)letter.len >= sizeof(*output) &&
	    output->len == (size_t)letter.len - sizeof(*output) &&
	    slot->task->state == STATE_prepared) {
		output->step[sizeof(output->step) - 1] = '\0';
		if (!text_is_utf8(output->step, strlen(output->step)))
			return false;
		finish_event_output(slot->task, output);
		return true;
	}
	return false;
}

/* Everything that an executor said before it ended. */
static void drain_executor(struct slot *slot)
{
	struct err err = {0};
	int rc = 1;

	for (int i = 0; rc == 1 && i < MESSAGES_LEFT && slot->executor.socket >= 0; i++) {
		rc = letter_next(slot->executor.socket, &err);
		if (rc == 1 && !on_executor(slot))
			rc = -1;
		letter_close_fds();
	}
	if (slot->executor.socket >= 0)
		executor_lost(slot, "the executor ended before its job");
}

static void dispatch_executor(void *ctx, int fd, uint32_t events)
{
	struct slot *slot = ctx;
	struct err err = {0};
	int rc = 1;

	if ((events & EPOLLOUT) != 0 && outbox_flush(&slot->executor, &err) < 0) {
		executor_lost(slot, err.message);
		return;
	}
	for (int i = 0; rc == 1 && i < MESSAGES_AT_ONCE && slot->executor.socket == fd; i++) {
		rc = letter_next(fd, &err);
		if (rc < 0)
			executor_lost(slot, "the executor ended before its job");
		else if (rc == 1 && !on_executor(slot))
			executor_lost(slot, "the executor spoke out of turn");
		letter_close_fds();
	}
}

/* --- zygote ----------------------------------------------------------- */

static void on_host(struct supervisor *self, const struct ipc_box_host *host)
{
	for (uint32_t i = 0; i < host->missing_len && i < MISSING_MAX; i++) {
		const char *name = arena_strdup(&self->arena, host->missing[i]);

		if (name != NULL)
			self->missing.items[self->missing.len++] = name;
		log_warn("sandbox layer missing", "layer", host->missing[i], NULL);
	}
	self->host_known = true;
}

/* The box of a slot that a task has taken already. */
static void on_ready_for(struct task *task)
{
	struct slot *slot = task->slot;

	dispatch_fit_root(slot); /* it may have been on its way when that was asked for */
	if (slot->executor.socket >= 0 && task->base == BASE_READY)
		dispatch_job(task);
}

static void on_ready(struct supervisor *self, const struct ipc_box_ready *ready)
{
	struct slot *slot;
	struct err err = {0};
	uint64_t serial = ready->serial;
	unsigned root = ready->root;
	bool stale = ready->config != self->zygote_config;
	int socket;

	assert(ready->slot < self->slots_len && letter.fds_len == 1);
	slot = &self->slots[ready->slot];
	socket = letter.fds[0];
	letter.fds_len = 0;
	/* The one before it is dead. Its last words may be read after this. */
	drain_executor(slot);
	outbox_init(&slot->executor, &self->loop, socket);
	slot->serial = serial;
	slot->root = root;
	slot->layer = LAYER_NONE;
	self->pool.made++;
	self->pool.networks = ready->networks;
	/* It was on its way when the settings changed, or the slot was let go of. */
	if (stale || !slot->kept) {
		outbox_release(&slot->executor);
		dispatch_kill(slot);
		return;
	}
	if (loop_add(&self->loop, slot->executor.socket, EPOLLIN, dispatch_executor, slot, &err) <
	    0)
		supervisor_die(self, &err);
	else if (slot->task != NULL)
		on_ready_for(slot->task);
	else
		intake_pump(self);
}

/* A limit of the job has no controller here, and the operator has not agreed
 * to do without: that is no fault to try again, it is this worker's policy. */
static void refuse_unlimited(struct slot *slot, const char *why)
{
	struct task *task = slot->task;
	struct reason reason;

	dispatch_take_back(slot);
	(void)reason_set(&reason, REASON_POLICY_CGROUP, "limits", "%s", why);
	finish_refused(task, VERDICT_rejected, &reason);
}

/* Who looked over the store found the checkout changed, and removed it after it
 * was named: the next answer names a new one. */
static void ask_again(struct slot *slot)
{
	struct err err = {0};

	slot->task->asked_again = true;
	slot->layer = LAYER_AWAY;
	if (dispatch_fetch(slot->task, &err) < 0)
		supervisor_die(slot->supervisor, &err);
}

static void on_attached(struct supervisor *self, struct ipc_box_attached *attached)
{
	struct ipc_exec_layer message = {.kind = IPC_EXEC_LAYER, .ok = attached->ok};
	struct slot *slot;

	assert(attached->slot < self->slots_len);
	slot = &self->slots[attached->slot];
	if (slot->layer != LAYER_ASKED || slot->serial != attached->serial ||
	    slot->executor.socket < 0)
		return;
	if (attached->unlimited && slot->task != NULL) {
		refuse_unlimited(slot, attached->error);
		return;
	}
	if (attached->gone && slot->task != NULL && !slot->task->asked_again) {
		ask_again(slot);
		return;
	}
	if (attached->ok)
		slot->layer = LAYER_GIVEN;
	if (slot->task != NULL)
		message.limits = slot->task->limits;
	ipc_text(message.error, attached->error);
	send_executor(slot, &message, sizeof(message), -1);
}

static void on_failed(struct supervisor *self, const struct ipc_box_failed *failed)
{
	struct task *task;

	assert(failed->slot < self->slots_len && failed->root < self->roots.len);
	task = self->slots[failed->slot].task;
	log_error("cannot make sandbox, trying again", LOG_INT("slot", failed->slot), "root",
		  self->roots.items[failed->root].name, "error", failed->error, NULL);
	if (failed->root == 0)
		trouble(self, failed->error);
	/* The zygote falls back to the first root: who waits for another has failed. */
	if (task != NULL && failed->root != 0 && task->kill_at_mono_us == 0 &&
	    task->root == failed->root)
		finish_fault(task, REASON_HOST_SANDBOX, failed->error, false);
}

static void on_zygote(struct supervisor *self)
{
	struct ipc_box_host *host = LETTER(IPC_BOX_HOST, ipc_box_host);
	struct ipc_box_ready *ready = LETTER(IPC_BOX_READY, ipc_box_ready);
	struct ipc_box_attached *attached = LETTER(IPC_BOX_ATTACHED, ipc_box_attached);
	struct ipc_box_failed *failed = LETTER(IPC_BOX_FAILED, ipc_box_failed);

	assert(host != NULL || ready != NULL || attached != NULL || failed != NULL);
	if (host != NULL)
		on_host(self, host);
	else if (ready != NULL)
		on_ready(self, ready);
	else if (attached != NULL)
		on_attached(self, attached);
	else
		on_failed(self, failed);
}

void dispatch_zygote(void *ctx, int fd, uint32_t events)
{
	struct supervisor *self = ctx;

	(void)fd;
	dispatch_role(self, &self->zygote, "zygote", events, on_zygote);
}
