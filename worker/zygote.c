/*
 * zygote.c - theory: a slot holds one box and one executor, made while
 * nobody waits for them, and used for one job. The executor's end (its job is
 * done, it crashed, or it was killed) is what ends the box; when both are
 * gone the slot is filled anew, if the supervisor wants one there (pool.c). What
 * it says goes before making boxes, which nobody waits for as long.
 *
 *	empty --make--> ready --executor ended--> dying --init ended--> empty
 *
 *	empty	no box, no executor; after a while unkept, no template of a root
 *	ready	box and executor live; the supervisor has the executor's socket
 *	dying	the executor is reaped, the box is killed and not yet collected
 */
#include "worker/zygote.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snapshots/gitdb.h"
#include "worker/confine.h"
#include "worker/executor.h"
#include "worker/instance.h"
#include "worker/ipc.h"
#include "worker/pool.h"
#include "worker/role.h"
#include "worker/roots.h"

enum { CONFIG_ARENA_BYTES = 1 << 20, RETRY_US = 1000 * 1000, IDLE_MS = 1000 };
enum { FORGET_US = 5 * 1000 * 1000 };

struct slot {
	enum { SLOT_EMPTY, SLOT_READY, SLOT_DYING } state;
	struct box *box;
	pid_t executor;
	int executor_pidfd;
	uint64_t serial;
	unsigned root; /* of its box, or of the next; see roots.h */
	bool attached;
	int lower_fd; /* the checkout, flocked: it is not removed while the box lives */
	int under_fd; /* what it is a layer over, flocked too; 0: nothing */
	int64_t made_at_us;
	int64_t retry_at_us; /* empty: not before, after a failure */
	bool kept;	     /* to be filled when it is empty */
	bool used;	     /* the host keeps something for its next box */
	int64_t empty_at_us; /* since when it is */
};

struct zygote {
	struct config *config;
	bool as_root;
	int store_fd;
	struct roots roots;
	const char *root_paths[ROOTS_MAX];
	struct box_config box_config;
	struct box_host *host;
	struct instance instance;
	struct slot slots[ROLE_BOXES_MAX];
	size_t slots_len;
	uint64_t serial;
	uint64_t config_serial; /* how often the settings have changed */
	bool quit;
};

/* --- telling the supervisor ------------------------------------------- */

static void tell(struct zygote *zygote, const void *message, size_t len, const int *fd)
{
	struct err err = {0};

	if (fd_send(ROLE_SOCKET, message, len, fd, fd == NULL ? 0 : 1, &err) < 0)
		zygote->quit = true;
}

static void tell_host(struct zygote *zygote)
{
	struct ipc_box_host message = {.kind = IPC_BOX_HOST};
	const struct box_layer *layers;
	size_t len = box_host_layers(zygote->host, &layers);

	for (size_t i = 0; i < len; i++) {
		if (layers[i].present || message.missing_len == ARRAY_LEN(message.missing))
			continue;
		/* A meter, not a wall: without it figures are missing, no protection. */
		if (strcmp(layers[i].name, "cgroup_io") == 0)
			continue;
		ipc_text(message.missing[message.missing_len], layers[i].name);
		message.missing_len++;
	}
	tell(zygote, &message, sizeof(message), NULL);
}

/* --- filling a slot --------------------------------------------------- */

/* The executor's process: nothing of the zygote's stays but what it is given. */
static NORETURN void become_executor(struct zygote *zygote, size_t slot, int socket,
				     struct box_handle *handle)
{
	uid_t uid = (uid_t)(zygote->config->worker_uid_base + ROLE_UID_EXECUTOR + (int64_t)slot);
	gid_t gid = (gid_t)zygote->config->worker_uid_base;
	struct err err = {0};

	log_init("executor", LOG_INFO, zygote->config->log_json);
	(void)prctl(PR_SET_NAME, "sbx-executor", 0, 0, 0); /* what ps(1) shows */
	executor_keep_descriptors(&socket, handle, &zygote->store_fd);
	if (confine_executor(zygote->store_fd, zygote->as_root ? uid : ROLE_SAME_UID, gid, &err) <
	    0) {
		log_error("executor cannot start", "error", err.message, NULL);
		_exit(1);
	}
	fd_close(zygote->store_fd);
	_exit(executor_main(zygote->config, zygote->roots.items[zygote->slots[slot].root].env,
			    socket, handle));
}

static int start_executor(struct zygote *zygote, size_t slot, struct box_handle *handle,
			  int *ret_socket, struct err *err)
{
	struct slot *self = &zygote->slots[slot];
	int pair[2];

	if (fd_socketpair(pair, err) < 0)
		return -1;
	self->executor = fork();
	if (self->executor == 0)
		become_executor(zygote, slot, pair[1], handle);
	fd_close(pair[1]);
	if (self->executor < 0) {
		fd_close(pair[0]);
		return err_sys(err, "cannot start executor");
	}
	self->executor_pidfd = pidfd_open(self->executor, 0);
	if (self->executor_pidfd < 0) {
		(void)err_sys(err, "cannot watch executor");
		(void)kill(self->executor, SIGKILL);
		(void)waitpid(self->executor, NULL, 0);
		fd_close(pair[0]);
		return -1;
	}
	*ret_socket = pair[0];
	return 0;
}

static int make(struct zygote *zygote, size_t slot, struct err *err)
{
	struct ipc_box_ready message = {
		.kind = IPC_BOX_READY, .slot = (uint32_t)slot, .config = zygote->config_serial};
	struct slot *self = &zygote->slots[slot];
	struct box_handle handle;
	CLEANUP(fd_cleanup) int socket = -1;
	int rc;

	message.root = self->root;
	if (box_new_in(zygote->host, (unsigned)slot, self->root, &self->box, err) < 0)
		return -1;
	box_handle_take(self->box, &handle);
	rc = start_executor(zygote, slot, &handle, &socket, err);
	box_handle_release(&handle);
	if (rc < 0) {
		box_free(self->box);
		self->box = NULL;
		return -1;
	}
	self->state = SLOT_READY;
	self->used = true;
	self->attached = false;
	self->lower_fd = -1;
	self->made_at_us = clock_mono_us();
	self->serial = message.serial = ++zygote->serial;
	message.networks = box_host_networks(zygote->host);
	tell(zygote, &message, sizeof(message), &socket);
	return 0;
}

static bool is_due(const struct slot *self, int64_t now_us)
{
	return self->kept && self->state == SLOT_EMPTY && self->retry_at_us <= now_us;
}

static void fill(struct zygote *zygote, size_t slot, int64_t now_us)
{
	struct slot *self = &zygote->slots[slot];
	struct ipc_box_failed message = {
		.kind = IPC_BOX_FAILED, .slot = (uint32_t)slot, .root = self->root};
	struct err err = {0};

	if (make(zygote, slot, &err) == 0)
		return;
	/* Another one may do; whoever wants this one asks again. */
	self->retry_at_us = self->root == 0 ? now_us + RETRY_US : 0;
	self->root = 0;
	ipc_text(message.error, err.message);
	tell(zygote, &message, sizeof(message), NULL);
}

/* Makes one box; returns whether there are more to be made. */
static bool fill_one(struct zygote *zygote)
{
	int64_t now_us = clock_mono_us();
	bool filled = false;

	for (size_t i = 0; i < zygote->slots_len && !zygote->quit; i++) {
		if (!is_due(&zygote->slots[i], now_us))
			continue;
		if (filled)
			return true;
		fill(zygote, i, now_us);
		filled = true;
	}
	return false;
}

/* What the host has for slots that nobody wanted for a while. */
static void forget_unkept(struct zygote *zygote)
{
	int64_t before_us = clock_mono_us() - FORGET_US;

	for (size_t i = 0; i < zygote->slots_len; i++) {
		struct slot *self = &zygote->slots[i];

		if (self->kept || !self->used || self->state != SLOT_EMPTY ||
		    self->empty_at_us > before_us)
			continue;
		box_host_forget(zygote->host, (unsigned)i);
		self->used = false;
	}
}

/* --- emptying a slot -------------------------------------------------- */

static void executor_ended(struct slot *self)
{
	int64_t now_us = clock_mono_us();
	int status = 0;

	while (waitpid(self->executor, &status, 0) < 0 && errno == EINTR)
		continue;
	/* One that fails at once would be made again and again without a pause. */
	if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) &&
	    now_us - self->made_at_us < RETRY_US)
		self->retry_at_us = now_us + RETRY_US;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		log_error("executor crashed", LOG_INT("signal", WTERMSIG(status)), NULL);
	fd_cleanup(&self->executor_pidfd);
	box_kill(self->box);
	self->state = SLOT_DYING;
}

static void box_ended(struct slot *self)
{
	box_free(self->box);
	self->box = NULL;
	fd_cleanup(&self->lower_fd);
	if (self->under_fd > 0)
		fd_close(self->under_fd);
	self->under_fd = 0;
	self->state = SLOT_EMPTY;
	self->empty_at_us = clock_mono_us();
}

/* --- requests --------------------------------------------------------- */

/* Opens a checkout for as long as the box lives. Whoever removes one flocks it
 * and takes its name away first. */
static int hold_checkout(const struct zygote *zygote, const char *path, int *ret_fd,
			 struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	struct stat held, named;

	if (fd_open_beneath(zygote->store_fd, path, O_RDONLY | O_DIRECTORY, 0, &fd, err) < 0)
		return -1;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0 || fstat(fd, &held) < 0 ||
	    fstatat(zygote->store_fd, path, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "cannot hold checkout '%s'", path);
	if (held.st_dev != named.st_dev || held.st_ino != named.st_ino)
		return err_set(err, ERR_CONFLICT, "checkout '%s' was just removed", path);
	*ret_fd = fd_take(&fd);
	return 0;
}

/* Both, or neither. */
static int hold_base(const struct zygote *zygote, struct ipc_box_attach *request, struct slot *self,
		     struct err *err)
{
	request->checkout_path[sizeof(request->checkout_path) - 1] = '\0';
	request->under_path[sizeof(request->under_path) - 1] = '\0';
	if (request->checkout_path[0] == '\0')
		return 0;
	if (hold_checkout(zygote, request->checkout_path, &self->lower_fd, err) < 0)
		return -1;
	if (request->under_path[0] != '\0' &&
	    hold_checkout(zygote, request->under_path, &self->under_fd, err) < 0) {
		fd_cleanup(&self->lower_fd);
		return -1;
	}
	return 0;
}

static int attach(struct zygote *zygote, struct ipc_box_attach *request, bool *ret_gone,
		  struct err *err)
{
	struct slot *self = &zygote->slots[request->slot];
	struct box_workspace workspace = {
		.lower_fd = -1,
		.lower_uid = (uid_t)zygote->config->worker_uid_base,
		.lower_gid = (gid_t)zygote->config->worker_uid_base,
	};

	if (self->state != SLOT_READY || self->serial != request->serial)
		return err_set(err, ERR_CONFLICT, "the sandbox is gone");
	if (self->attached)
		return err_set(err, ERR_CONFLICT, "the sandbox has its workspace already");
	*ret_gone = hold_base(zygote, request, self, err) < 0;
	if (*ret_gone)
		return -1;
	self->attached = true;
	workspace.lower_fd = self->lower_fd;
	workspace.under_fd = self->under_fd;
	return box_attach(self->box, &workspace, &request->limits, err);
}

static void on_attach(struct zygote *zygote, struct ipc_box_attach *request)
{
	struct ipc_box_attached reply = {
		.kind = IPC_BOX_ATTACHED, .slot = request->slot, .serial = request->serial};
	struct err err = {0};

	assert(request->slot < zygote->slots_len);
	reply.ok = attach(zygote, request, &reply.gone, &err) == 0;
	reply.unlimited = !reply.ok && err.kind == ERR_UNSUPPORTED;
	ipc_text(reply.error, err.message);
	tell(zygote, &reply, sizeof(reply), NULL);
	/* The executor, which starts meanwhile, hears of it too. */
	if (reply.ok && box_confirm(zygote->slots[request->slot].box, &err) < 0)
		log_warn("sandbox has no workspace", "error", err.message, NULL);
}

static void on_kill(struct zygote *zygote, const struct ipc_box_kill *request)
{
	struct slot *self;

	assert(request->slot < zygote->slots_len);
	self = &zygote->slots[request->slot];
	if (self->state == SLOT_READY && self->serial == request->serial)
		(void)kill(self->executor, SIGKILL);
}

static void on_keep(struct zygote *zygote, const struct ipc_box_keep *request)
{
	struct slot *self;

	assert(request->slot < zygote->slots_len);
	self = &zygote->slots[request->slot];
	self->kept = request->kept;
	if (!self->kept && self->state == SLOT_READY && self->serial == request->serial)
		(void)kill(self->executor, SIGKILL);
}

/* The root stays for the boxes that follow: what was asked for once will be
 * again. A box that is on its way out already is followed by one of that root. */
static void on_remake(struct zygote *zygote, const struct ipc_box_remake *request)
{
	struct slot *self;

	assert(request->slot < zygote->slots_len && request->root < zygote->roots.len);
	self = &zygote->slots[request->slot];
	if (self->state == SLOT_READY && (self->serial != request->serial || self->attached))
		return; /* the supervisor sees from BOX_READY what this one is */
	self->root = request->root;
	if (self->state == SLOT_READY)
		(void)kill(self->executor, SIGKILL);
}

/* Executors are made with the settings of their time; the supervisor lets go of
 * those that were made before. */
static void on_config(struct zygote *zygote, int fd)
{
	role_reload("zygote", zygote->config, fd);
	zygote->config_serial++;
}

static void on_supervisor(struct zygote *zygote)
{
	static _Alignas(max_align_t) uint8_t room[IPC_MESSAGE_BYTES];
	enum ipc_kind *kind = (enum ipc_kind *)room;
	struct err err = {0};
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	ssize_t len = fd_recv(ROLE_SOCKET, room, sizeof(room), fds, &fds_len, &err);

	if (len == sizeof(struct ipc_box_attach) && *kind == IPC_BOX_ATTACH)
		on_attach(zygote, (struct ipc_box_attach *)room);
	else if (len == sizeof(struct ipc_box_kill) && *kind == IPC_BOX_KILL)
		on_kill(zygote, (struct ipc_box_kill *)room);
	else if (len == sizeof(struct ipc_box_keep) && *kind == IPC_BOX_KEEP)
		on_keep(zygote, (struct ipc_box_keep *)room);
	else if (len == sizeof(struct ipc_box_remake) && *kind == IPC_BOX_REMAKE)
		on_remake(zygote, (struct ipc_box_remake *)room);
	else if (len == sizeof(struct ipc_config) && *kind == IPC_CONFIG && fds_len == 1)
		on_config(zygote, fds[0]);
	else
		zygote->quit = true;
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
}

/* --- the loop --------------------------------------------------------- */

static int watched_fd(const struct slot *self)
{
	switch (self->state) {
	case SLOT_EMPTY:
		return -1;
	case SLOT_READY:
		return self->executor_pidfd;
	case SLOT_DYING:
		return box_pidfd(self->box);
	}
	return -1;
}

static void serve(struct zygote *zygote)
{
	static struct pollfd fds[ROLE_BOXES_MAX + 1];

	while (!zygote->quit) {
		bool more = fill_one(zygote);

		forget_unkept(zygote);
		fds[0] = (struct pollfd){.fd = ROLE_SOCKET, .events = POLLIN};
		for (size_t i = 0; i < zygote->slots_len; i++)
			fds[i + 1] = (struct pollfd){.fd = watched_fd(&zygote->slots[i]),
						     .events = POLLIN};
		if (poll(fds, zygote->slots_len + 1, more ? 0 : IDLE_MS) < 0)
			continue;
		if (fds[0].revents != 0)
			on_supervisor(zygote);
		for (size_t i = 0; i < zygote->slots_len; i++) {
			struct slot *self = &zygote->slots[i];

			if (fds[i + 1].revents == 0)
				continue;
			if (self->state == SLOT_READY)
				executor_ended(self);
			else if (self->state == SLOT_DYING)
				box_ended(self);
		}
	}
}

/* --- start and end ---------------------------------------------------- */

static int sweep(void *ctx, const char *name, struct err *err)
{
	struct zygote *zygote = ctx;

	return box_host_sweep(zygote->host, name, err);
}

static bool allows_missing_cgroup(const struct config *config)
{
	for (size_t i = 0; i < config->sandbox_allow_missing.len; i++) {
		if (strcmp(config->sandbox_allow_missing.items[i], "cgroup") == 0)
			return true;
	}
	return false;
}

static const char *text_or_null(const char *text)
{
	return *text == '\0' ? NULL : text;
}

static int open_store(struct zygote *zygote, struct arena *arena, struct err *err)
{
	const char *path = arena_printf(arena, "%s/store", zygote->config->worker_state_dir);

	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	zygote->store_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (zygote->store_fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	return 0;
}

/* The settings' roots, none of which anybody else may change, and their variables. */
static int open_roots(struct zygote *zygote, struct arena *arena, struct err *err)
{
	struct roots *roots = &zygote->roots;

	if (roots_read(zygote->config, arena, roots, err) < 0)
		return -1;
	for (size_t i = 0; i < roots->len; i++) {
		zygote->root_paths[i] = roots->items[i].path;
		if (*roots->items[i].path != '\0' && root_check(roots->items[i].path, err) < 0)
			return err_prefix(err, "root '%s'", roots->items[i].name);
		if (root_env_read(roots->items[i].path, arena, &roots->items[i].env, err) < 0)
			return err_prefix(err, "root '%s'", roots->items[i].name);
	}
	return 0;
}

static int start(struct zygote *zygote, struct arena *arena, struct err *err)
{
	const struct config *config = zygote->config;

	if (open_roots(zygote, arena, err) < 0)
		return -1;
	zygote->as_root = geteuid() == 0;
	zygote->slots_len = pool_boxes(config);
	zygote->box_config = (struct box_config){
		.cgroup_parent = text_or_null(config->sandbox_cgroup_parent),
		.widest = config->sources_trusted.len > 0 ? FILTER_TRUSTED : FILTER_DEFAULT,
		.allow_missing_cgroup = allows_missing_cgroup(config),
		.uid_base = (uid_t)(config->worker_uid_base + ROLE_UID_SANDBOX),
		.slots = (unsigned)zygote->slots_len,
		.roots = zygote->root_paths,
		.roots_len = (unsigned)zygote->roots.len,
		.reuse_networks = config->sandbox_reuse_networks,
	};
	(void)umask(022);
	if (open_store(zygote, arena, err) < 0 || gitdb_library_init(err) < 0 ||
	    instance_take(config->worker_state_dir, &zygote->instance, err) < 0)
		return -1;
	zygote->box_config.instance = zygote->instance.name;
	if (box_host_open(&zygote->host, &zygote->box_config, err) < 0)
		return -1;
	return instance_sweep(&zygote->instance, sweep, zygote, err);
}

static void end(struct zygote *zygote)
{
	for (size_t i = 0; i < zygote->slots_len; i++) {
		struct slot *self = &zygote->slots[i];

		if (self->state == SLOT_READY) {
			(void)kill(self->executor, SIGKILL);
			executor_ended(self);
		}
	}
	for (size_t i = 0; i < zygote->slots_len; i++) {
		if (zygote->slots[i].state == SLOT_DYING)
			box_ended(&zygote->slots[i]);
	}
	box_host_close(zygote->host);
	instance_release(&zygote->instance);
}

int zygote_main(void)
{
	static struct zygote zygote;
	struct arena arena;
	struct config config;
	struct err err = {0};

	arena_init(&arena, CONFIG_ARENA_BYTES);
	zygote.config = &config;
	if (role_enter("zygote", &config, &arena, &err) < 0 || start(&zygote, &arena, &err) < 0) {
		log_error("zygote cannot start", "error", err.message, NULL);
		return 1;
	}
	tell_host(&zygote);
	serve(&zygote);
	end(&zygote);
	arena_release(&arena);
	return 0;
}
