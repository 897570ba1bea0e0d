/*
 * storekeeper_fetch.c - theory: a request that needs neither network nor
 * waiting is answered at once. Any other runs in a child, whose answer is handed
 * on to the supervisor.
 *
 * A checkout that an answer names is held for a while, so that nobody removes
 * it before the zygote, which mounts it, holds it too.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/storekeeper_private.h"

enum { PIN_US = 60 * 1000 * 1000 /* from an answer to its mount */ };

/* --- pins ------------------------------------------------------------- */

void keeper_release_pins(struct keeper *keeper, int64_t now_us)
{
	for (size_t i = 0; i < KEEPER_PINS; i++) {
		struct keeper_pin *pin = &keeper->pins[i];

		if (pin->until_us != 0 && pin->until_us <= now_us) {
			fd_close(pin->fd);
			pin->until_us = 0;
		}
	}
}

/* False when the checkout is not there any more. */
static bool hold(struct keeper *keeper, const struct oid *tree)
{
	struct keeper_pin *oldest = &keeper->pins[0];
	int64_t now_us = clock_mono_us();
	int fd;

	if (store_pin(keeper->store, tree, &fd) != 0)
		return false;
	for (size_t i = 1; i < KEEPER_PINS; i++) {
		if (keeper->pins[i].until_us < oldest->until_us)
			oldest = &keeper->pins[i];
	}
	if (oldest->until_us != 0)
		fd_close(oldest->fd);
	*oldest = (struct keeper_pin){.fd = fd, .until_us = now_us + PIN_US};
	return true;
}

/* --- one fetch -------------------------------------------------------- */

/* Paths travel relative to the store, for executors have it as their root. */
static const char *below_store(const struct keeper *keeper, const char *path)
{
	size_t len = strlen(keeper->store_path);

	if (strncmp(path, keeper->store_path, len) == 0 && path[len] == '/')
		path += len;
	while (*path == '/')
		path++;
	return path;
}

static void fault(struct ipc_store_fetched *reply, const struct err *err)
{
	reply->end = IPC_FAULT;
	ipc_text(reply->error, err->message);
}

/* The checkout, once the commit is here. Returns as store_checkout. */
static int find_checkout(struct keeper *keeper, struct arena *arena,
			 const struct source_url *source, const struct oid *tree,
			 struct ipc_store_fetched *reply, struct err *err)
{
	const char *path, *under;
	int rc = store_checkout(keeper->store, source, tree, arena, &path, &reply->reason, err);

	if (rc == 0)
		ipc_text(reply->checkout_path, below_store(keeper, path));
	if (rc == 0 && store_under(keeper->store, tree, arena, &under))
		ipc_text(reply->under_path, below_store(keeper, under));
	return rc;
}

static void finish(const struct keeper *keeper, struct arena *arena,
		   const struct source_url *source, const struct store_base *base,
		   struct ipc_store_fetched *reply)
{
	const char *path = store_repo_path(arena, keeper->store, source);

	assert(path != NULL);
	reply->end = IPC_OK;
	reply->commit = base->commit;
	reply->tree = base->tree;
	ipc_text(reply->repo_path, below_store(keeper, path));
}

/* One request, while it is worked on. */
struct work {
	struct keeper *keeper;
	const struct ipc_store_fetch *request;
	int payload_fd; /* the job's message, or -1 */
	struct source_url source;
	struct arena *arena;
	struct ipc_store_fetched *reply;
};

/* The job's message was judged by the supervisor, which hands it on. */
static int take_payload(struct work *work, struct store_base *ret, struct err *err)
{
	struct store *store = work->keeper->store;
	struct bytes payload;
	struct arena arena;
	struct job job;
	int rc;

	if (work->payload_fd < 0)
		return err_set(err, ERR_INPUT, "a request for files came without them");
	if (fd_map(work->payload_fd, LIMIT_MESSAGE_BYTES, &payload, err) < 0)
		return -1;
	arena_init(&arena, LIMIT_ARENA_BYTES);
	rc = job_decode(&arena, payload.data, payload.len, &job, &work->reply->reason, err);
	if (rc == 0 && job.source.bundle.len > 0)
		rc = store_bundle(store, &job.source, ret, &work->reply->reason, err);
	else if (rc == 0)
		rc = store_files(store, &job.source, ret, &work->reply->reason, err);
	arena_release(&arena);
	fd_unmap(&payload);
	return rc;
}

/* All of a request, network included. */
static void fetch(struct work *work)
{
	struct keeper *keeper = work->keeper;
	struct ipc_store_fetched *reply = work->reply;
	struct store_base base;
	struct err err = {0};
	int rc;

	if (*work->request->repo == '\0')
		rc = take_payload(work, &base, &err);
	else
		rc = store_fetch(keeper->store, &work->source, work->request->commit, &base,
				 &reply->reason, &err);
	if (rc == 0 && work->request->checkout)
		rc = find_checkout(keeper, work->arena, &work->source, &base.tree, reply, &err);
	if (rc < 0)
		fault(reply, &err);
	else if (rc == REFUSED)
		reply->end = IPC_REFUSED;
	else
		finish(keeper, work->arena, &work->source, &base, reply);
}

/* Whether the answer needs nothing but a look. */
static bool fetch_fast(struct work *work)
{
	struct keeper *keeper = work->keeper;
	struct store_base base;
	struct err err = {0};

	/* What comes with a job is read; a name alone is no right to what others sent. */
	if (*work->request->repo == '\0' ||
	    store_fetch_fast(keeper->store, &work->source, work->request->commit, &base) != 0)
		return false;
	if (work->request->checkout) {
		if (!store_has_checkout(keeper->store, &base.tree))
			return false;
		if (find_checkout(keeper, work->arena, &work->source, &base.tree, work->reply,
				  &err) != 0 ||
		    !hold(keeper, &base.tree))
			return false;
	}
	finish(keeper, work->arena, &work->source, &base, work->reply);
	return true;
}

static void fetch_apart(void *ctx, int socket)
{
	struct work *work = ctx;
	bool hostile = !work->source.local || work->payload_fd >= 0;
	struct err err = {0};

	/* Who reads what a stranger sends may read no more than the store. */
	if (hostile && role_drop(ROLE_SAME_UID, 0, 0, &err) < 0)
		fault(work->reply, &err);
	else
		fetch(work);
	NEGLECT(fd_send(socket, work->reply, sizeof(*work->reply), NULL, 0, &err));
}

/* What comes with a job is the producer's, and no source of the operator's. */
static bool is_trusted(const struct keeper *keeper, struct arena *arena, const char *repo)
{
	struct source_url source;
	struct reason reason;

	return *repo != '\0' && source_normalise(arena, repo, &keeper->config->sources_trusted,
						 &source, &reason, NULL) == 0;
}

void keeper_fetch(struct keeper *keeper, struct ipc_store_fetch *request, int payload_fd)
{
	struct ipc_store_fetched reply = {.kind = IPC_STORE_FETCHED, .task = request->task};
	CLEANUP(keeper_login_cleanup) struct keeper_login login; /* filled when needed */
	struct arena arena;
	struct work work = {.keeper = keeper,
			    .request = request,
			    .payload_fd = payload_fd,
			    .arena = &arena,
			    .reply = &reply};
	struct err err = {0};
	bool now = true, trusted = false;
	int rc;

	arena_init(&arena, KEEPER_ARENA_BYTES);
	request->repo[sizeof(request->repo) - 1] = '\0';
	request->commit[sizeof(request->commit) - 1] = '\0';
	rc = keeper_source(keeper, &arena, request->repo, &work.source, &reply.reason, &err);
	trusted = rc == 0 && is_trusted(keeper, &arena, request->repo);
	if (rc == REFUSED) {
		reply.end = IPC_REFUSED;
	} else if (rc < 0) {
		fault(&reply, &err);
	} else if (!fetch_fast(&work)) {
		now = keeper_login(keeper, &login, &work.source, &err) < 0 ||
		      keeper_child_start(keeper, IPC_STORE_FETCHED, request->task, fetch_apart,
					 &work, &err) < 0;
		if (now)
			fault(&reply, &err);
		else
			keeper->children[keeper->children_len - 1].trusted = trusted;
	}
	reply.trusted = trusted;
	arena_release(&arena);
	if (now)
		keeper_answer(keeper, &reply, sizeof(reply));
}

/* --- children --------------------------------------------------------- */

/* A child that has read a hostile pack speaks for its own task and no other. */
static void terminate(struct ipc_store_fetched *reply)
{
	reply->reason.message[sizeof(reply->reason.message) - 1] = '\0';
	reply->reason.subject[sizeof(reply->reason.subject) - 1] = '\0';
	reply->error[sizeof(reply->error) - 1] = '\0';
	reply->repo_path[sizeof(reply->repo_path) - 1] = '\0';
	reply->checkout_path[sizeof(reply->checkout_path) - 1] = '\0';
	if ((unsigned)reply->reason.code >= REASON_COUNT || (unsigned)reply->end > IPC_FAULT)
		*reply = (struct ipc_store_fetched){.end = IPC_FAULT,
						    .error = "the fetch went wrong"};
}

void keeper_fetched(struct keeper *keeper, const struct keeper_child *child)
{
	struct ipc_store_fetched reply;
	struct err err = {0};
	ssize_t len = fd_recv(child->socket, &reply, sizeof(reply), NULL, NULL, &err);

	if (len != sizeof(reply)) {
		reply = (struct ipc_store_fetched){.end = IPC_FAULT};
		ipc_text(reply.error, "the fetch crashed");
	}
	terminate(&reply);
	reply.kind = IPC_STORE_FETCHED;
	reply.task = child->task;
	reply.trusted = child->trusted;
	if (reply.end == IPC_OK && reply.checkout_path[0] != '\0' && !hold(keeper, &reply.tree)) {
		reply.end = IPC_FAULT;
		ipc_text(reply.error, "the checkout was removed at once");
	}
	keeper_upkeep_soon(keeper);
	keeper_answer(keeper, &reply, sizeof(reply));
}
