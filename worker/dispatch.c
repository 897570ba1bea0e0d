/*
 * dispatch.c - theory: the conversation with the other processes while a job
 * runs. What storekeeper and zygote say is trusted in form; what an executor
 * says is checked against the state of its job, and anything out of turn ends
 * it as a crash.
 *
 *	storekeeper FETCH, FETCHED -> (a slot is free) -> executor JOB -> executor WANT_LAYER ->
 *zygote ATTACH
 *	-> zygote ATTACHED -> executor LAYER -> executor DONE -> storekeeper SETTLE
 *	-> storekeeper SETTLED -> finish.c
 */
#include <assert.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/dispatch_private.h"

enum { FRESH_US = 30 * 1000 * 1000 }; /* half of what the storekeeper holds it for */

/* --- a job starts ----------------------------------------------------- */

int dispatch_fetch(struct task *task, struct err *err)
{
	struct ipc_store_fetch message = {.kind = IPC_STORE_FETCH, .task = task->id};
	CLEANUP(fd_cleanup) int fd = -1;

	task->base = BASE_ASKED;
	task->base_mono_us = clock_mono_us();
	message.checkout = task->job.steps_len > 0;
	ipc_text(message.repo, task->job.source.repo);
	if (task->job.source.repo != NULL)
		ipc_text(message.commit, task->job.source.commit);
	else if (fd_memfd("sbx-files", task->payload.data, task->payload.len, &fd, err) < 0)
		return -1;
	return outbox_send(&task->supervisor->storekeeper, &message, sizeof(message), fd, err);
}

/* While a job waits for a slot others may need the room of its checkout: what
 * was there a while ago is asked for again, and then found or built. */
static bool is_fresh(const struct task *task)
{
	return task->job.steps_len == 0 || clock_mono_us() - task->base_mono_us < FRESH_US;
}

/* A job without diff and steps: the base alone is the answer. */
static void answer_base(struct task *task)
{
	struct ipc_store_settle message = {
		.kind = IPC_STORE_SETTLE,
		.task = task->id,
		.base = task->commit,
		.keep = task->commit,
	};
	struct err err = {0};

	ipc_text(message.repo, task->job.source.repo);
	ipc_text(message.job, task->job.id);
	task->verdict = VERDICT_passed;
	if (outbox_send(&task->supervisor->storekeeper, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(task->supervisor, &err);
}

/* Its base is here, and where it needs a slot it has one. */
static void go_on(struct task *task)
{
	if (task->slot == NULL)
		answer_base(task);
	else if (task->slot->layer == LAYER_AWAY)
		dispatch_layer(task);
	else if (task->slot->executor.socket >= 0) /* else when it comes, on_ready */
		dispatch_job(task);
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
	if (!job_has_source(&task->job)) {
		assert(task->slot == NULL);
		task->verdict = VERDICT_passed;
		finish_result(task);
	} else if (is_fresh(task)) {
		go_on(task);
	} else {
		return dispatch_fetch(task, err);
	}
	return 0;
}

/* --- storekeeper ------------------------------------------------------ */

static void base_missing(struct task *task, const struct ipc_store_fetched *reply)
{
	(void)intake_unwait(task);
	if (task->slot != NULL && task->slot->layer == LAYER_AWAY)
		dispatch_take_back(task->slot);
	if (reply->end == IPC_FAULT)
		finish_fault(task, REASON_SOURCE_UNREACHABLE, reply->error, false);
	else if (task->arena.exhausted)
		finish_fault(task, REASON_HOST_FAULT, "out of memory", false);
	else
		finish_refused(task, VERDICT_rejected, &reply->reason);
}

static void on_fetched(struct supervisor *self, struct ipc_store_fetched *reply)
{
	struct task *task = task_find(self, reply->task);
	int64_t now_us = clock_wall_us();

	if (task == NULL || task->confirms_due > 0 || task->base != BASE_ASKED)
		return;
	if (reply->end == IPC_OK) {
		task->commit = reply->commit;
		task->tree = reply->tree;
		task->repo_path = arena_strdup(&task->arena, reply->repo_path);
		task->checkout_path = arena_strdup(&task->arena, reply->checkout_path);
		task->under_path = arena_strdup(&task->arena, reply->under_path);
		task->trusted_source = reply->trusted;
	}
	if (reply->end != IPC_OK || task->arena.exhausted ||
	    dispatch_mode_check(task, &reply->reason) == REFUSED) {
		base_missing(task, reply);
		return;
	}
	task->base = BASE_READY;
	task->base_mono_us = clock_mono_us();
	if (task->state == STATE_admitted) {
		task_move(task, STATE_fetched, now_us);
		task_move(task, STATE_snapshotted, now_us);
	}
	if (task->waiting)
		intake_pump(self);
	else
		go_on(task);
}

static void on_settled(struct supervisor *self, struct ipc_store_settled *reply)
{
	struct task *task = task_find(self, reply->task);

	if (task == NULL || task->confirms_due > 0)
		return;
	if (reply->end == IPC_REFUSED)
		finish_fault(task, REASON_HOST_EXECUTOR, reply->error, true);
	else if (reply->end != IPC_OK)
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
	dispatch_role(self, &self->storekeeper, "storekeeper", events, on_storekeeper);
}

/* --- publisher -------------------------------------------------------- */

static void on_publisher_state(struct supervisor *self, const struct ipc_pub_state *state)
{
	struct connection *connection = &self->publishing;

	if (state->connected && !connection->connected) {
		connection->epoch++;
		log_info("publishing connection up", NULL);
	}
	connection->connected = state->connected;
	connection->blocked = state->blocked;
	ipc_text(connection->why, state->why);
}

static void on_publisher(struct supervisor *self)
{
	struct ipc_pub_fate *fate = LETTER(IPC_PUB_FATE, ipc_pub_fate);
	struct ipc_pub_state *state = LETTER(IPC_PUB_STATE, ipc_pub_state);

	assert(fate != NULL || state != NULL);
	if (fate != NULL)
		finish_confirmed(self, fate->tag);
	else
		on_publisher_state(self, state);
}

void dispatch_publisher(void *ctx, int fd, uint32_t events)
{
	struct supervisor *self = ctx;

	(void)fd;
	dispatch_role(self, &self->publisher, "publisher", events, on_publisher);
}
