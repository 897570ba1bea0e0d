/*
 * dispatch.c - theory: the conversation with the other processes while a job
 * runs. What storekeeper and zygote say is trusted in form; what an executor
 * says is checked against the state of its job, and anything out of turn ends
 * it as a crash.
 *
 *	storekeeper FETCHED -> executor JOB -> executor WANT_LAYER -> zygote ATTACH
 *	-> zygote ATTACHED -> executor LAYER -> executor DONE -> storekeeper SETTLE
 *	-> storekeeper SETTLED -> finish.c
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/lifecycle.h"
#include "worker/supervisor_private.h"

enum { MESSAGES_AT_ONCE = 64, KILL_GRACE_US = 60 * 1000 * 1000 };

/* One message of another role, with the descriptors that came along. */
struct letter {
	_Alignas(max_align_t) uint8_t room[IPC_MESSAGE_BYTES];
	ssize_t len;
	int fds[FD_PASS_MAX];
	size_t fds_len;
};

static struct letter letter;

static void close_fds(struct letter *self)
{
	for (size_t i = 0; i < self->fds_len; i++)
		fd_close(self->fds[i]);
	self->fds_len = 0;
}

/* Returns 1 with a message in `letter`, 0 when there is none now, -1 when the
 * other side is gone. */
static int next_letter(int socket, struct err *err)
{
	letter.fds_len = 0;
	letter.len = fd_recv_now(socket, letter.room, sizeof(letter.room), letter.fds,
				 &letter.fds_len, err);
	if (letter.len == FD_AGAIN)
		return 0;
	if (letter.len == 0)
		return err_set(err, ERR_PEER, "process ended");
	return letter.len < 0 ? -1 : 1;
}

static enum ipc_kind letter_kind(void)
{
	enum ipc_kind kind = 0;

	if ((size_t)letter.len >= sizeof(kind))
		(void)memcpy(&kind, letter.room, sizeof(kind));
	return kind;
}

/* The message as this structure, NULL when it is none. */
static void *letter_as(enum ipc_kind kind, size_t size)
{
	return letter_kind() == kind && (size_t)letter.len == size ? letter.room : NULL;
}

#define LETTER(kind, type) ((struct type *)letter_as(kind, sizeof(struct type)))

/* Messages of one trusted role; the loss of a role ends the worker. */
static void serve_role(struct supervisor *self, struct outbox *outbox, const char *name,
		       uint32_t events, void (*handle)(struct supervisor *self))
{
	struct err err = {0};
	int rc = 1;

	if ((events & EPOLLOUT) != 0 && outbox_flush(outbox, &err) < 0)
		rc = -1;
	for (int i = 0; rc == 1 && i < MESSAGES_AT_ONCE && !self->dying; i++) {
		rc = next_letter(outbox->socket, &err);
		if (rc == 1)
			handle(self);
		close_fds(&letter);
	}
	if (rc >= 0)
		return;
	(void)err_prefix(&err, "%s", name);
	supervisor_die(self, &err);
}

/* --- slots ------------------------------------------------------------ */

void dispatch_kill(struct slot *slot)
{
	struct ipc_box_kill message = {
		.kind = IPC_BOX_KILL, .slot = slot->number, .serial = slot->serial};
	struct err err = {0};

	if (outbox_send(&slot->supervisor->zygote, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(slot->supervisor, &err);
}

/* The executor is gone, or must go for what it said. */
static void executor_lost(struct slot *slot, const char *why)
{
	struct task *task = slot->task;

	outbox_release(&slot->executor);
	slot->wants_layer = false;
	dispatch_kill(slot);
	if (task == NULL)
		return;
	task->slot = NULL;
	slot->task = NULL;
	finish_fault(task, REASON_HOST_EXECUTOR, why, true);
}

static void send_executor(struct slot *slot, const void *message, size_t len, int fd)
{
	struct err err = {0};

	if (outbox_send(&slot->executor, message, len, fd, &err) < 0)
		executor_lost(slot, err.message);
}

/* --- a job starts ----------------------------------------------------- */

static int fetch(struct task *task, struct err *err)
{
	struct ipc_store_fetch message = {.kind = IPC_STORE_FETCH, .task = task->id};

	message.checkout = task->job.steps_len > 0;
	ipc_text(message.repo, task->job.source.repo);
	ipc_text(message.commit, task->job.source.commit);
	return outbox_send(&task->supervisor->storekeeper, &message, sizeof(message), -1, err);
}

static void send_job(struct task *task)
{
	struct ipc_exec_job message = {.kind = IPC_EXEC_JOB,
				       .limits = task->limits,
				       .commit = task->commit,
				       .tree = task->tree};
	const struct supervisor *self = task->supervisor;
	CLEANUP(fd_cleanup) int fd = -1;
	struct err err = {0};

	if (fd_memfd("sbx-job", task->payload.data, task->payload.len, &fd, &err) < 0) {
		finish_fault(task, REASON_HOST_FAULT, err.message, false);
		return;
	}
	message.output_events =
		self->config->worker_events && (self->local == NULL || self->local->event != NULL);
	ipc_text(message.repo_path, task->repo_path);
	task->kill_at_mono_us = clock_mono_us() + task->limits.wall_ms * 1000 + KILL_GRACE_US;
	send_executor(task->slot, &message, sizeof(message), fd);
}

int dispatch_start(struct task *task, struct err *err)
{
	struct supervisor *self = task->supervisor;
	struct ledger_key key = {task->job.id, task->job.run};

	if (self->ledger != NULL) {
		if (ledger_start(self->ledger, &key, err) < 0)
			return -1;
		task->started = true;
	}
	if (task->job.source.repo != NULL)
		return fetch(task, err);
	if (task->slot != NULL)
		send_job(task);
	else
		finish_result(task);
	return 0;
}

/* --- storekeeper ------------------------------------------------------ */

/* A job without diff and steps: the base alone is the answer. */
static void answer_base(struct task *task)
{
	struct ipc_store_settle message = {
		.kind = IPC_STORE_SETTLE, .task = task->id, .keep = task->commit};
	struct err err = {0};

	ipc_text(message.repo, task->job.source.repo);
	ipc_text(message.job, task->job.id);
	task->verdict = VERDICT_passed;
	if (outbox_send(&task->supervisor->storekeeper, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(task->supervisor, &err);
}

static void on_fetched(struct supervisor *self, struct ipc_store_fetched *reply)
{
	struct task *task = task_find(self, reply->task);
	int64_t now_us = clock_wall_us();

	if (task == NULL || task->decided)
		return;
	if (reply->end == IPC_FAULT) {
		finish_fault(task, REASON_SOURCE_UNREACHABLE, reply->error, false);
		return;
	}
	if (reply->end == IPC_REFUSED) {
		finish_refused(task, VERDICT_rejected, &reply->reason);
		return;
	}
	task->commit = reply->commit;
	task->tree = reply->tree;
	task->repo_path = arena_strdup(&task->arena, reply->repo_path);
	task->checkout_path = arena_strdup(&task->arena, reply->checkout_path);
	if (task->arena.exhausted) {
		finish_fault(task, REASON_HOST_FAULT, "out of memory", false);
		return;
	}
	task_move(task, STATE_fetched, now_us);
	task_move(task, STATE_snapshotted, now_us);
	if (task->slot != NULL)
		send_job(task);
	else
		answer_base(task);
}

static void on_settled(struct supervisor *self, struct ipc_store_settled *reply)
{
	struct task *task = task_find(self, reply->task);

	if (task == NULL || task->decided)
		return;
	if (reply->end != IPC_OK)
		finish_fault(task, REASON_HOST_STORE, reply->error, false);
	else
		finish_result(task);
}

static void on_storekeeper(struct supervisor *self)
{
	struct ipc_store_fetched *fetched = LETTER(IPC_STORE_FETCHED, ipc_store_fetched);
	struct ipc_store_settled *settled = LETTER(IPC_STORE_SETTLED, ipc_store_settled);

	assert(fetched != NULL || settled != NULL);
	if (fetched != NULL)
		on_fetched(self, fetched);
	else
		on_settled(self, settled);
}

void dispatch_storekeeper(void *ctx, int fd, uint32_t events)
{
	struct supervisor *self = ctx;

	(void)fd;
	serve_role(self, &self->storekeeper, "storekeeper", events, on_storekeeper);
}

/* --- publisher -------------------------------------------------------- */

static void on_publisher(struct supervisor *self)
{
	struct ipc_pub_fate *fate = LETTER(IPC_PUB_FATE, ipc_pub_fate);
	struct ipc_pub_state *state = LETTER(IPC_PUB_STATE, ipc_pub_state);

	assert(fate != NULL || state != NULL);
	if (fate != NULL)
		finish_confirmed(self, fate->tag);
	else if (state->connected)
		log_info("publishing connection up", NULL);
}

void dispatch_publisher(void *ctx, int fd, uint32_t events)
{
	struct supervisor *self = ctx;

	(void)fd;
	serve_role(self, &self->publisher, "publisher", events, on_publisher);
}

/* --- executor --------------------------------------------------------- */

static void want_layer(struct slot *slot)
{
	struct ipc_box_attach message = {
		.kind = IPC_BOX_ATTACH, .slot = slot->number, .serial = slot->serial};
	struct err err = {0};

	message.limits = slot->task->limits;
	ipc_text(message.checkout_path, slot->task->checkout_path);
	slot->wants_layer = true;
	if (outbox_send(&slot->supervisor->zygote, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(slot->supervisor, &err);
}

/* Whether a job with this outcome moves its ref: it has made objects, or the
 * base itself is what it keeps. */
static void settle(struct task *task, const struct ipc_exec_done *done, int objects_fd)
{
	struct ipc_store_settle message = {
		.kind = IPC_STORE_SETTLE, .task = task->id, .keep = done->keep};
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

static bool is_sane(const struct ipc_exec_done *done)
{
	return (unsigned)done->end <= IPC_FAULT && (unsigned)done->verdict < VERDICT_COUNT &&
	       (unsigned)done->reason.code < REASON_COUNT && done->body_pairs < 64 &&
	       letter.fds_len == (done->end == IPC_FAULT ? 0U : 1U + done->has_objects);
}

/* The executor's work is over: from here on the task has no slot. */
static void on_done(struct slot *slot, struct ipc_exec_done *done)
{
	struct task *task = slot->task;
	struct err err = {0};

	terminate(done);
	if (!is_sane(done)) {
		executor_lost(slot, "the executor sent nonsense");
		return;
	}
	task->slot = NULL;
	slot->task = NULL;
	task->kill_at_mono_us = 0;
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
	struct ipc_exec_output *output = (struct ipc_exec_output *)letter.room;

	if (slot->task == NULL)
		return false;
	if (state != NULL) {
		if (!lifecycle_executor_allows(slot->task->state, state->state))
			return false;
		task_move(slot->task, state->state, clock_wall_us());
		return true;
	}
	if (done != NULL) {
		on_done(slot, done);
		return true;
	}
	if (letter_kind() == IPC_EXEC_WANT_LAYER && !slot->wants_layer) {
		want_layer(slot);
		return true;
	}
	if (letter_kind() == IPC_EXEC_OUTPUT && (size_t)letter.len >= sizeof(*output) &&
	    output->len == (size_t)letter.len - sizeof(*output)) {
		output->step[sizeof(output->step) - 1] = '\0';
		finish_event_output(slot->task, output);
		return true;
	}
	return false;
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
		rc = next_letter(fd, &err);
		if (rc < 0)
			executor_lost(slot, "the executor ended before its job");
		else if (rc == 1 && !on_executor(slot))
			executor_lost(slot, "the executor spoke out of turn");
		close_fds(&letter);
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

static void on_ready(struct supervisor *self, const struct ipc_box_ready *ready)
{
	struct slot *slot;
	struct err err = {0};

	assert(ready->slot < self->slots_len && letter.fds_len == 1);
	slot = &self->slots[ready->slot];
	outbox_release(&slot->executor);
	outbox_init(&slot->executor, &self->loop, letter.fds[0]);
	letter.fds_len = 0;
	slot->serial = ready->serial;
	if (loop_add(&self->loop, slot->executor.socket, EPOLLIN, dispatch_executor, slot, &err) <
	    0)
		supervisor_die(self, &err);
	else
		intake_pump(self);
}

static void on_attached(struct supervisor *self, struct ipc_box_attached *attached)
{
	struct ipc_exec_layer message = {.kind = IPC_EXEC_LAYER, .ok = attached->ok};
	struct slot *slot;

	assert(attached->slot < self->slots_len);
	slot = &self->slots[attached->slot];
	if (!slot->wants_layer)
		return;
	slot->wants_layer = false;
	ipc_text(message.error, attached->error);
	send_executor(slot, &message, sizeof(message), -1);
}

static void on_failed(struct supervisor *self, const struct ipc_box_failed *failed)
{
	char number[16];

	assert(failed->slot < self->slots_len);
	(void)snprintf(number, sizeof(number), "%u", failed->slot);
	log_error("cannot make sandbox, trying again", "slot", number, "error", failed->error,
		  NULL);
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
	serve_role(self, &self->zygote, "zygote", events, on_zygote);
}
