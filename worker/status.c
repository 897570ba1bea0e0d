/*
 * status.c - theory: a snapshot is built when somebody connects, from what the
 * supervisor has in memory, with a bound on the jobs that are listed. Nothing
 * here waits, and nothing is kept for a client.
 */
#include "worker/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "schema/value.h"
#include "worker/supervisor_private.h"

enum {
	CLIENTS_AT_ONCE = 4,
	JOBS_LISTED = 1000,
	STATUS_ARENA_BYTES = 8 << 20,
	STATUS_BYTES = 1 << 20,
};

/* --- counting --------------------------------------------------------- */

struct status_counts status_count(const struct supervisor *self)
{
	struct status_counts counts = {0};
	int64_t now_us = clock_mono_us();

	for (size_t i = 0; i < self->slots_len; i++) {
		counts.busy += self->slots[i].task != NULL;
		counts.ready += slot_waits(&self->slots[i]);
	}
	for (size_t i = 0; i < PRIORITIES; i++) {
		for (const struct task *task = self->waiting[i]; task != NULL;
		     task = task->next_waiting)
			counts.waiting++;
	}
	for (const struct task *task = self->tasks; task != NULL; task = task->next) {
		if (task->confirms_due == 0)
			continue;
		counts.unconfirmed++;
		if (now_us - task->leaving_mono_us > counts.oldest_unconfirmed_us)
			counts.oldest_unconfirmed_us = now_us - task->leaving_mono_us;
	}
	return counts;
}

bool status_ready(const struct supervisor *self, const char **ret_why)
{
	const char *why = NULL;

	if (!self->host_known)
		why = "starting";
	else if (self->stop_signals > 0)
		why = "draining";
	else if (!self->consuming.connected)
		why = "not connected to the queue";
	else if (!self->publishing.connected)
		why = "cannot publish results";
	else if (self->trouble_since_us != 0 &&
		 clock_mono_us() - self->trouble_last_us < TROUBLE_GAP_US)
		why = "cannot make sandboxes";
	*ret_why = why;
	return why == NULL;
}

/* --- the tree --------------------------------------------------------- */

static void put_int(struct arena *arena, struct value *map, const char *key, int64_t number)
{
	value_put(arena, map, key, value_int(arena, number));
}

static struct value *slots_of(struct arena *arena, const struct supervisor *self,
			      const struct status_counts *counts)
{
	struct value *map = value_map(arena);

	put_int(arena, map, "total", self->config->worker_slots);
	put_int(arena, map, "busy", (int64_t)counts->busy);
	put_int(arena, map, "executors_ready", (int64_t)counts->ready);
	return map;
}

static struct value *sandboxes_of(struct arena *arena, const struct supervisor *self,
				  const struct status_counts *counts)
{
	const struct pool *pool = &self->pool;
	struct value *map = value_map(arena);

	put_int(arena, map, "kept", (int64_t)pool_kept(self));
	put_int(arena, map, "waiting", (int64_t)counts->ready);
	put_int(arena, map, "wanted_waiting", (int64_t)pool->want);
	put_int(arena, map, "least", (int64_t)pool->least);
	put_int(arena, map, "most", (int64_t)pool->most);
	put_int(arena, map, "made", (int64_t)pool->made);
	put_int(arena, map, "missed", (int64_t)pool->missed);
	put_int(arena, map, "grown", (int64_t)pool->grown);
	put_int(arena, map, "shrunk", (int64_t)pool->shrunk);
	put_int(arena, map, "networks_made", (int64_t)pool->networks.made);
	put_int(arena, map, "networks_reused", (int64_t)pool->networks.reused);
	put_int(arena, map, "networks_refused", (int64_t)pool->networks.refused);
	return map;
}

static struct value *connection_of(struct arena *arena, const struct connection *connection)
{
	struct value *map = value_map(arena);

	value_put(arena, map, "connected", value_bool(arena, connection->connected));
	put_int(arena, map, "epoch", (int64_t)connection->epoch);
	value_put(arena, map, "blocked", value_bool(arena, connection->blocked));
	if (*connection->why != '\0')
		value_put(arena, map, "why", value_str(arena, connection->why));
	return map;
}

static struct value *outbox_of(struct arena *arena, const struct supervisor *self,
			       const struct status_counts *counts)
{
	struct value *map = value_map(arena);

	put_int(arena, map, "unconfirmed", (int64_t)counts->unconfirmed);
	put_int(arena, map, "oldest_us", counts->oldest_unconfirmed_us);
	put_int(arena, map, "queued_messages", (int64_t)self->publisher.len);
	put_int(arena, map, "queued_bytes", (int64_t)self->publisher.bytes);
	return map;
}

static struct value *queues_of(struct arena *arena, const struct supervisor *self)
{
	struct value *map = value_map(arena);

	for (size_t i = 0; i < DEPTHS && *self->depths[i].queue != '\0'; i++)
		put_int(arena, map, self->depths[i].queue, self->depths[i].messages);
	return map;
}

static const char *phase(const struct task *task)
{
	if (task->confirms_due > 0)
		return "leaving";
	return task->waiting ? "waiting" : "running";
}

static struct value *job_of(struct arena *arena, const struct task *task, int64_t now_us)
{
	struct value *map = value_map(arena);

	value_put(arena, map, "id", value_str(arena, task->job.id));
	put_int(arena, map, "run", task->job.run);
	value_put(arena, map, "tenant", value_str(arena, task->job.tenant));
	value_put(arena, map, "phase", value_str(arena, phase(task)));
	value_put(arena, map, "state", value_str(arena, job_state_name(task->state)));
	put_int(arena, map, "age_us", now_us - task->received_mono_us);
	put_int(arena, map, "attempt", task->attempts + 1);
	if (task->slot != NULL)
		put_int(arena, map, "slot", task->slot->number);
	return map;
}

static struct value *jobs_of(struct arena *arena, const struct supervisor *self)
{
	struct value *list = value_list(arena);
	int64_t now_us = clock_mono_us();
	int listed = 0;

	for (const struct task *task = self->tasks; task != NULL && listed < JOBS_LISTED;
	     task = task->next, listed++)
		value_append(arena, list, job_of(arena, task, now_us));
	return list;
}

static struct value *missing_of(struct arena *arena, const struct supervisor *self)
{
	struct value *list = value_list(arena);

	for (size_t i = 0; i < self->missing.len; i++)
		value_append(arena, list, value_str(arena, self->missing.items[i]));
	return list;
}

static struct value *tree_of(struct arena *arena, const struct supervisor *self)
{
	struct status_counts counts = status_count(self);
	struct value *map = value_map(arena);
	const char *why;
	bool ready = status_ready(self, &why);

	value_put(arena, map, "version", value_str(arena, SBX_VERSION));
	value_put(arena, map, "worker", value_str(arena, self->config->worker_name));
	put_int(arena, map, "pid", getpid());
	put_int(arena, map, "uptime_us", clock_mono_us() - self->started_mono_us);
	value_put(arena, map, "ready", value_bool(arena, ready));
	if (why != NULL)
		value_put(arena, map, "why", value_str(arena, why));
	value_put(arena, map, "slots", slots_of(arena, self, &counts));
	value_put(arena, map, "sandboxes", sandboxes_of(arena, self, &counts));
	put_int(arena, map, "waiting", (int64_t)counts.waiting);
	value_put(arena, map, "consuming", connection_of(arena, &self->consuming));
	value_put(arena, map, "publishing", connection_of(arena, &self->publishing));
	value_put(arena, map, "queues", queues_of(arena, self));
	value_put(arena, map, "outbox", outbox_of(arena, self, &counts));
	value_put(arena, map, "missing_layers", missing_of(arena, self));
	value_put(arena, map, "jobs", jobs_of(arena, self));
	return map;
}

/* --- the socket ------------------------------------------------------- */

static int answer(const struct supervisor *self, int client, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	struct arena arena;
	struct value *tree;
	struct buf out;
	int rc;

	arena_init(&arena, STATUS_ARENA_BYTES);
	buf_init(&out, STATUS_BYTES);
	tree = tree_of(&arena, self);
	if (!arena.exhausted)
		value_to_json(tree, 0, &out);
	rc = arena.exhausted || out.failed ? err_set(err, ERR_LIMIT, "status is too large") : 0;
	if (rc == 0)
		rc = fd_memfd("sbx-status", out.data, out.len, &fd, err);
	if (rc == 0)
		rc = fd_send_now(client, "status", 6, &fd, 1, err);
	buf_release(&out);
	arena_release(&arena);
	return rc;
}

static void on_client(void *ctx, int fd, uint32_t events)
{
	const struct supervisor *self = ctx;

	(void)events;
	for (int i = 0; i < CLIENTS_AT_ONCE; i++) {
		CLEANUP(fd_cleanup)
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct err err = {0};

		if (client < 0)
			return;
		if (answer(self, client, &err) < 0 && err.kind != ERR_PEER)
			log_warn("cannot tell the status", "error", err.message, NULL);
	}
}

/* The directory's path may be longer than an address: it is named by its
 * descriptor. */
static struct sockaddr_un address_of(int dir_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/status.sock",
		       dir_fd);
	return address;
}

static int open_dir(const struct config *config, int *ret_fd, struct err *err)
{
	*ret_fd = open(config->worker_state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(err, "cannot open '%s'", config->worker_state_dir);
	return 0;
}

int status_open(struct supervisor *self, struct err *err)
{
	CLEANUP(fd_cleanup) int dir = -1;
	CLEANUP(fd_cleanup) int fd = -1;
	struct sockaddr_un address;
	mode_t mask;
	int rc;

	if (open_dir(self->config, &dir, err) < 0)
		return -1;
	address = address_of(dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(err, "cannot make the status socket");
	if (unlinkat(dir, "status.sock", 0) < 0 && errno != ENOENT)
		return err_sys(err, "cannot remove '%s/status.sock'",
			       self->config->worker_state_dir);
	mask = umask(0177);
	rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	(void)umask(mask);
	if (rc < 0 || listen(fd, 16) < 0)
		return err_sys(err, "cannot listen at '%s/status.sock'",
			       self->config->worker_state_dir);
	if (loop_add(&self->loop, fd, EPOLLIN, on_client, self, err) < 0)
		return -1;
	self->status_fd = fd_take(&fd);
	return 0;
}

void status_close(struct supervisor *self)
{
	CLEANUP(fd_cleanup) int dir = -1;

	if (self->status_fd < 0)
		return;
	loop_remove(&self->loop, self->status_fd);
	fd_cleanup(&self->status_fd);
	if (open_dir(self->config, &dir, NULL) == 0)
		(void)unlinkat(dir, "status.sock", 0);
}
