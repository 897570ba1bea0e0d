/*
 * box.c - theory of operation.
 *
 * The init of a box is a copy of the calling process, made by clone3(2) in
 * new pid, uts and time namespaces. It enters a copy of the slot's template and
 * new ipc, cgroup and network namespaces, all of which belong to the host's user
 * namespace, sets everything up with the privilege it was born with, and only
 * then moves into a user namespace of its own, where it keeps a single
 * capability. Jobs are its children: even one that gained every capability in
 * that user namespace would own none of the others.
 *
 *	box_new      init: cgroups, root, /proc --ROOT--> ids, filter ... HELLO
 *	             host: network namespace --NET-/
 *	box_attach   limits, workspace; ATTACH -> init
 *	box_confirm  ATTACHED
 *	box_free     SIGKILL to init; the kernel kills and reaps the rest with it
 *
 * The two work side by side: a network namespace takes the kernel as long as
 * all the mounts, and what the driver sends after ATTACH waits in its socket. A
 * host that makes one box only fills the root of it meanwhile, and does not even
 * wait for HELLO in box_new, but prepares the workspace.
 *
 * init ends by itself when either socket closes, and by SIGKILL when this
 * process dies, so nothing outlives a killed host but empty control groups,
 * which box_host_sweep finds by their names.
 */
#include "worker/sandbox/box.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/sandbox/sandbox_private.h"

struct box {
	struct box_host *host;
	unsigned slot;
	unsigned root;
	struct cgroup cgroup;
	bool has_cgroup;
	bool taken;
	bool rooted; /* ROOT has come */
	bool ready;  /* HELLO has come */
	bool attached;
	pid_t pid; /* of init; 0: none */
	int pidfd;
	int host_fd; /* our end of the privileged socket */
	int mount_ns_fd;
	int net_fd; /* its network namespace, while that may be used anew; -1 */
	struct layer layer;
	struct box_limits prepared; /* what groups and layer have now, when there is a layer */
	struct box_handle handle;
};

/* --- handles ------------------------------------------------------------------- */

void box_handle_release(struct box_handle *handle)
{
	fd_cleanup(&handle->control_fd);
	for (size_t i = 0; i < BOX_METERS; i++)
		fd_cleanup(&handle->meter_fds[i]);
}

void box_handle_take(struct box *box, struct box_handle *ret)
{
	assert(!box->taken);
	box->taken = true;
	*ret = box->handle;
	box->handle.control_fd = -1;
	for (size_t i = 0; i < BOX_METERS; i++)
		box->handle.meter_fds[i] = -1;
}

/* --- talking to init -------------------------------------------------------------- */

/* Waits for the one message that may come now. */
static int expect(struct box *box, uint32_t kind, int *ret_fd, struct err *err)
{
	union {
		uint32_t kind;
		struct wire_failed failed;
	} message = {0};
	struct pollfd readable = {.fd = box->host_fd, .events = POLLIN};
	int fds[FD_PASS_MAX], n;
	size_t fds_len = 0;
	ssize_t len;

	do
		n = poll(&readable, 1, WIRE_REPLY_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return err_set(err, ERR_TIMEOUT, "the init of the sandbox does not answer");
	len = wire_recv(box->host_fd, &message, sizeof(message), fds, &fds_len, err);
	if (len < 0)
		return -1;
	for (size_t i = 0; i < fds_len; i++) {
		if (i == 0 && ret_fd != NULL)
			*ret_fd = fds[i];
		else
			fd_close(fds[i]);
	}
	if (len == 0)
		return err_set(err, ERR_PEER, "the init of the sandbox died");
	if (len == sizeof(message.failed) && message.kind == WIRE_FAILED)
		return wire_failed(&message.failed, err);
	if (len != sizeof(message.kind) || message.kind != kind)
		return err_set(err, ERR_PEER, "the init of the sandbox answers out of turn");
	return 0;
}

/* --- making ------------------------------------------------------------------------- */

static int make_cgroup(struct box *box, struct err *err)
{
	enum { TRIES = 1000 };
	struct err local = {0};

	for (int i = 0; i < TRIES; i++) {
		if (cgroup_new(&box->host->cgroups, box->slot, ++box->host->serial, &box->cgroup,
			       &local) == 0) {
			box->has_cgroup = true;
			return 0;
		}
		if (local.kind != ERR_CONFLICT)
			break;
	}
	if (err != NULL)
		*err = local;
	return -1;
}

/* The same without what not every kernel has. */
static pid_t clone_again(struct box_host *host, struct clone_args *args)
{
	if (errno != EINVAL || (args->flags & CLONE_NEWTIME) == 0)
		return -1;
	host->time_ns = false;
	args->flags &= ~(uint64_t)CLONE_NEWTIME;
	return (pid_t)syscall(SYS_clone3, args, sizeof(*args));
}

/* The kernel mostly leaves a new process on the CPU of its parent, though another
 * one idles. Here both have work to do at once. */
static void work_elsewhere(pid_t pid)
{
	int here = sched_getcpu();
	cpu_set_t all, others;

	if (here < 0 || sched_getaffinity(pid, sizeof(all), &all) < 0)
		return;
	others = all;
	CPU_CLR((size_t)here, &others);
	if (CPU_COUNT(&others) > 0 && sched_setaffinity(pid, sizeof(others), &others) == 0)
		(void)sched_setaffinity(pid, sizeof(all), &all);
}

static pid_t clone_init(struct box *box, struct init_start *start)
{
	int cgroup_fd = cgroup_v2_fd(&box->host->cgroups, &box->cgroup);
	int pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWUTS,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid;

	if (box->host->time_ns)
		args.flags |= CLONE_NEWTIME;
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		pid = clone_again(box->host, &args);
	if (pid == 0)
		init_main(start);
	if (pid > 0)
		work_elsewhere(pid);
	box->pid = pid < 0 ? 0 : pid;
	box->pidfd = pidfd;
	return pid;
}

static int start_init(struct box *box, int top_fd, struct err *err)
{
	struct box_host *host = box->host;
	int private_pair[2] = {-1, -1}, control_pair[2] = {-1, -1}, result = -1;
	struct init_start start = {
		.uid = host_slot_uid(host, box->slot),
		.gid = host_slot_gid(host, box->slot),
		.drop_groups = !host->user_mode,
		.template_fd = root_template_of(host, box->slot, box->root)->mount_ns_fd,
		.root = box->root,
		.top_fd = top_fd,
		.host = host,
	};

	if (cgroup_joins(&host->cgroups, &box->cgroup, start.cgroup_fds, err) < 0 ||
	    fd_socketpair(private_pair, err) < 0 || fd_socketpair(control_pair, err) < 0)
		goto out;
	start.host_fd = private_pair[1];
	start.control_fd = control_pair[1];
	if (clone_init(box, &start) < 0) {
		(void)err_sys(err, "cannot make the namespaces of a sandbox");
		NEGLECT(host_check(host, err)); /* may know better */
		goto out;
	}
	box->host_fd = fd_take(&private_pair[0]);
	box->handle.control_fd = fd_take(&control_pair[0]);
	result = 0;
out:
	for (int i = 0; i < 2; i++) {
		fd_close(private_pair[i]);
		fd_close(control_pair[i]);
	}
	for (size_t i = 0; i < CGROUP_JOINS; i++)
		fd_close(start.cgroup_fds[i]);
	return result;
}

static int await_root(struct box *box, struct err *err)
{
	if (!box->rooted && expect(box, WIRE_ROOT, &box->mount_ns_fd, err) < 0)
		return -1;
	box->rooted = true;
	return 0;
}

static int await_ready(struct box *box, struct err *err)
{
	if (box->ready)
		return 0;
	if (await_root(box, err) < 0 || expect(box, WIRE_HELLO, NULL, err) < 0)
		return -1;
	box->ready = true;
	return 0;
}

/* The groups and the layer, with the limits that the next job is likely to have:
 * mostly it is one of many alike. */
static int prepare(struct box *box, struct err *err)
{
	struct box_host *host = box->host;

	box->prepared = host->expected;
	if (cgroup_limit(&host->cgroups, &box->cgroup, &box->prepared, err) < 0 ||
	    layer_new(host, box->slot, &box->prepared, &box->layer, err) < 0)
		return -1;
	if (await_root(box, err) < 0)
		return -1;
	return layer_mount(host, &box->layer, box->mount_ns_fd, err);
}

/* init does not listen any more: what it said last is the reason. */
static int ask_why(struct box *box, struct err *err)
{
	if (await_ready(box, err) == 0)
		NEGLECT(expect(box, WIRE_ATTACHED, NULL, err));
	return -1;
}

static int give_network(struct box *box, struct err *err)
{
	struct box_host *host = box->host;
	uint32_t kind = WIRE_NET;
	bool own = !host->host_network;

	if (own && networks_take(host, &box->net_fd, err) < 0)
		return -1;
	if (fd_send(box->host_fd, &kind, sizeof(kind), own ? &box->net_fd : NULL, own, err) < 0)
		return ask_why(box, err);
	if (!host->networks.reuse)
		fd_cleanup(&box->net_fd); /* from now on init's alone */
	return 0;
}

static int make(struct box *box, struct err *err)
{
	const char *image = box->host->roots[box->root].path;
	CLEANUP(fd_cleanup) int top_fd = -1;

	if (root_template_open(box->host, box->slot, box->root, err) < 0 ||
	    make_cgroup(box, err) < 0)
		return -1;
	if (box->host->once && skeleton_new(&top_fd, err) < 0)
		return -1;
	if (top_fd >= 0 && *image != '\0' && skeleton_fill(image, top_fd, err) < 0)
		return -1;
	if (start_init(box, top_fd, err) < 0)
		return -1;
	if (top_fd >= 0 && *image == '\0' && skeleton_fill(image, top_fd, err) < 0)
		return -1;
	if (give_network(box, err) < 0)
		return -1;
	cgroup_meters(&box->host->cgroups, &box->cgroup, box->handle.meter_fds);
	if (box->host->once)
		return 0;
	return prepare(box, err) < 0 ? -1 : await_ready(box, err);
}

int box_new_in(struct box_host *host, unsigned slot, unsigned root, struct box **ret,
	       struct err *err)
{
	struct box *box;

	assert(slot < host->slots && root < host->roots_len);
	assert(host->once || !host->host_network);
	box = calloc(1, sizeof(*box));
	if (box == NULL)
		return err_set(err, ERR_SYSTEM, "cannot make a sandbox: out of memory");
	*box = (struct box){.host = host,
			    .slot = slot,
			    .root = root,
			    .pidfd = -1,
			    .host_fd = -1,
			    .mount_ns_fd = -1,
			    .net_fd = -1,
			    .layer = {-1, -1, false},
			    .handle.control_fd = -1};
	for (size_t i = 0; i < BOX_METERS; i++)
		box->handle.meter_fds[i] = -1;
	if (make(box, err) < 0) {
		box_free(box);
		return -1;
	}
	*ret = box;
	return 0;
}

int box_new(struct box_host *host, unsigned slot, struct box **ret, struct err *err)
{
	return box_new_in(host, slot, 0, ret, err);
}

/* --- attaching -------------------------------------------------------------------- */

static int check_limits(const struct box_host *host, const struct box_limits *limits,
			struct err *err)
{
	if (limits->memory_bytes <= 0 || limits->disk_bytes <= 0 || limits->processes <= 0)
		return err_set(err, ERR_INPUT, "limits: memory, disk and processes must be given");
	if (!filter_fits(host->widest, limits->profile) ||
	    (host->once && limits->profile != host->widest))
		return err_set(err, ERR_INPUT, "the profile '%s' does not fit the host's '%s'",
			       filter_profile_name(limits->profile),
			       filter_profile_name(host->widest));
	assert(limits->nice >= 0 && limits->nice < 20);
	if (limits->memory_bytes > INT64_MAX / 4 || limits->disk_bytes > INT64_MAX / 4)
		return err_set(err, ERR_INPUT, "limits: memory or disk is absurdly large");
	return 0;
}

/* Each limit asked for has a controller, or it was agreed to do without. */
static int check_controllers(const struct box_host *host, const struct box_limits *limits,
			     struct err *err)
{
	const bool wanted[CGROUP_CONTROLLERS] = {
		[CGROUP_MEMORY] = true,
		[CGROUP_PIDS] = true,
		[CGROUP_CPU] = limits->millicpus > 0,
		[CGROUP_CPUACCT] = limits->cpu_ms > 0,
	};

	for (unsigned c = 0; c < CGROUP_CONTROLLERS && !host->allow_missing_cgroup; c++)
		if (wanted[c] && !cgroup_has(&host->cgroups, c))
			return err_set(
				err, ERR_UNSUPPORTED,
				"cannot limit %s: %s; delegate a control group, or allow that "
				"it is missing (--allow-missing cgroup; [sandbox] "
				"allow_missing = cgroup)",
				cgroup_controller_name(c), host->cgroups.missing[c]);
	return 0;
}

/* ATTACH may be sent while init is still setting itself up: it is read after. */
static int attach(struct box *box, const struct workspace_parts *parts,
		  const struct box_limits *limits, struct err *err)
{
	struct wire_attach message = {.kind = WIRE_ATTACH,
				      .direct = parts->direct,
				      .limit_processes =
					      !cgroup_has(&box->host->cgroups, CGROUP_PIDS),
				      .limits = *limits};

	if (await_root(box, err) < 0 ||
	    workspace_mount(box->host, parts, &box->layer, box->mount_ns_fd, err) < 0)
		return -1;
	fd_cleanup(&box->mount_ns_fd); /* from now on init's alone, whose end unmounts all */
	if (fd_send(box->host_fd, &message, sizeof(message), &box->layer.top_fd, 1, err) < 0)
		return ask_why(box, err);
	layer_release(&box->layer);
	return 0;
}

int box_confirm(struct box *box, struct err *err)
{
	if (box->attached)
		return 0;
	/* init answers HELLO and ATTACHED, or says what failed. */
	if (await_ready(box, err) < 0 || expect(box, WIRE_ATTACHED, NULL, err) < 0)
		return -1;
	box->attached = true;
	return 0;
}

/* Gives groups and layer the limits that were asked for. */
static int set_limits(struct box *box, const struct box_limits *limits, struct err *err)
{
	struct box_host *host = box->host;
	const struct box_limits *had = &box->prepared;
	bool ahead = box->layer.mount_fd >= 0;
	bool same_memory = ahead && had->memory_bytes == limits->memory_bytes &&
			   had->disk_bytes == limits->disk_bytes;

	if ((!same_memory || had->processes != limits->processes || had->nice != limits->nice ||
	     limits->millicpus > 0) &&
	    cgroup_limit(&host->cgroups, &box->cgroup, limits, err) < 0)
		return -1;
	if (!ahead)
		return layer_new(host, box->slot, limits, &box->layer, err);
	if (had->disk_bytes == limits->disk_bytes && had->inodes == limits->inodes)
		return 0;
	return layer_limit(&box->layer, limits, err);
}

int box_attach(struct box *box, const struct box_workspace *workspace,
	       const struct box_limits *limits, struct err *err)
{
	struct workspace_parts parts;
	int result;

	assert(!box->attached);
	if (check_limits(box->host, limits, err) < 0 ||
	    check_controllers(box->host, limits, err) < 0)
		return -1;
	if (set_limits(box, limits, err) < 0)
		return -1;
	box->host->expected = *limits;
	box->host->expected.millicpus = 0; /* a quota could not be taken back */
	if (binds_take(box->host, box->slot, limits, err) < 0 ||
	    workspace_prepare(box->host, box->slot, workspace, &box->layer, &parts, err) < 0)
		return -1;
	result = attach(box, &parts, limits, err);
	workspace_release(&parts);
	return result;
}

/* --- the end ------------------------------------------------------------------------- */

int box_pidfd(const struct box *box)
{
	return box->pidfd;
}

void box_kill(struct box *box)
{
	if (box->pid > 0)
		(void)syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL, 0);
}

/* init is reaped only after the kernel has reaped all else in its namespace. */
static void reap(struct box *box)
{
	siginfo_t info;

	if (box->pid <= 0)
		return;
	while (waitid(P_PIDFD, (id_t)box->pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	box->pid = 0;
}

void box_free(struct box *box)
{
	if (box == NULL)
		return;
	box_kill(box);
	reap(box);
	fd_close(box->pidfd);
	fd_close(box->host_fd);
	fd_close(box->mount_ns_fd);
	networks_give(box->host, &box->net_fd); /* nobody is in it any more */
	layer_release(&box->layer);
	if (!box->taken)
		box_handle_release(&box->handle);
	if (box->has_cgroup)
		(void)cgroup_release(&box->host->cgroups, &box->cgroup);
	free(box);
}
