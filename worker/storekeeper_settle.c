/*
 * storekeeper_settle.c - theory: what a job keeps. Most jobs have made a few
 * small objects, which are judged and written at once; more of them, which may
 * take seconds, are left to a child, for other jobs wait behind this one.
 */
#include <unistd.h>

#include "worker/storekeeper_private.h"

enum { AT_ONCE_BYTES = 256 << 10 };

struct work {
	struct keeper *keeper;
	const struct ipc_store_settle *request;
	struct source_url source;
	struct store_outcome outcome;
	struct ipc_store_settled *reply;
};

static void failed(struct ipc_store_settled *reply, const struct err *err)
{
	/* These kinds are what an executor may be to blame for. */
	reply->end = err->kind == ERR_INPUT || err->kind == ERR_LIMIT ? IPC_REFUSED : IPC_FAULT;
	ipc_text(reply->error, err->message);
}

static void settle(struct work *work)
{
	struct err err = {0};

	if (store_settle(work->keeper->store, &work->source, work->request->job, &work->outcome,
			 &err) < 0)
		failed(work->reply, &err);
}

static void settle_apart(void *ctx, int socket)
{
	struct work *work = ctx;
	struct err err = {0};

	if (role_drop(ROLE_SAME_UID, 0, 0, &err) < 0)
		failed(work->reply, &err);
	else
		settle(work);
	NEGLECT(fd_send(socket, work->reply, sizeof(*work->reply), NULL, 0, NULL));
}

void keeper_settle(struct keeper *keeper, struct ipc_store_settle *request, int objects_fd)
{
	struct ipc_store_settled reply = {
		.kind = IPC_STORE_SETTLED, .task = request->task, .end = IPC_OK};
	struct work work = {.keeper = keeper,
			    .request = request,
			    .outcome = {.base = request->base, .keep = request->keep},
			    .reply = &reply};
	struct reason reason = {.code = REASON_NONE};
	struct arena arena;
	struct err err = {0};
	bool now = true;

	arena_init(&arena, KEEPER_ARENA_BYTES);
	request->repo[sizeof(request->repo) - 1] = '\0';
	request->job[sizeof(request->job) - 1] = '\0';
	if (objects_fd >= 0 && fd_map(objects_fd, SIZE_MAX, &work.outcome.objects, &err) < 0) {
		failed(&reply, &err);
	} else if (keeper_source(keeper, &arena, request->repo, &work.source, &reason, &err) != 0) {
		reply.end = IPC_FAULT;
		ipc_text(reply.error, err.kind == ERR_NONE ? reason.message : err.message);
	} else if (work.outcome.objects.len <= AT_ONCE_BYTES) {
		settle(&work);
	} else {
		now = keeper_child_start(keeper, IPC_STORE_SETTLED, request->task, settle_apart,
					 &work, &err) < 0;
		if (now) {
			reply.end = IPC_FAULT;
			ipc_text(reply.error, err.message);
		}
	}
	fd_unmap(&work.outcome.objects);
	arena_release(&arena);
	if (now)
		keeper_answer(keeper, &reply, sizeof(reply));
}

/* A child that has read hostile objects speaks for its own task and no other. */
void keeper_settled(struct keeper *keeper, const struct keeper_child *child)
{
	struct ipc_store_settled reply;
	struct err err = {0};
	ssize_t len = fd_recv(child->socket, &reply, sizeof(reply), NULL, NULL, &err);

	if (len != sizeof(reply) || (unsigned)reply.end > IPC_FAULT) {
		reply = (struct ipc_store_settled){.end = IPC_FAULT};
		ipc_text(reply.error, "settling crashed");
	}
	reply.error[sizeof(reply.error) - 1] = '\0';
	reply.kind = IPC_STORE_SETTLED;
	reply.task = child->task;
	keeper_answer(keeper, &reply, sizeof(reply));
}
