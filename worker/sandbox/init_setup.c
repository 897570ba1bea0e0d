/*
 * init_setup.c - theory of operation.
 *
 * A recipe of named steps turns a copy of the host half into pid 1 of a box.
 * The order matters: namespaces and mounts while the privilege is there, then
 * the identity, then a user namespace of its own, then the capabilities, then
 * the filter; each step reads back what it claims to have done. What init
 * keeps is CAP_DAC_READ_SEARCH within its user namespace, to read what a job
 * has made unreadable, and that only jobs lack: they can neither trace init
 * nor look into it.
 *
 * The id maps are written by the process itself: the kernel lets the owner of
 * a new user namespace map its own id there, so that no help from outside, no
 * waiting and no difference between root and an ordinary user is left.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/filter.h"
#include "worker/sandbox/init_private.h"
#include "worker/sandbox/landlock.h"

/* --- leaving the host ---------------------------------------------------------- */

static int forget_signals(struct init *init, const struct init_start *start, struct err *err)
{
	const struct sigaction usual = {.sa_handler = SIG_DFL};
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t child;

	(void)start;
	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, i == SIGPIPE ? &ignore : &usual, NULL);
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_SETMASK, &child, NULL) < 0)
		return err_sys(err, "cannot block SIGCHLD");
	init->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (init->signal_fd < 0)
		return err_sys(err, "cannot make a signalfd");
	return 0;
}

static int by_fd(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Closes everything but what is listed and the standard streams. */
static int close_inherited(struct init *init, const struct init_start *start, struct err *err)
{
	int kept[5 + CGROUP_JOINS];
	size_t len = 0;
	int next = 3;

	kept[len++] = start->host_fd;
	kept[len++] = start->control_fd;
	if (start->template_fd >= 0)
		kept[len++] = start->template_fd;
	if (start->top_fd >= 0)
		kept[len++] = start->top_fd;
	kept[len++] = init->signal_fd;
	for (size_t i = 0; i < CGROUP_JOINS; i++)
		if (start->cgroup_fds[i] >= 0)
			kept[len++] = start->cgroup_fds[i];
	for (size_t i = 1; i < len; i++)
		for (size_t j = i; j > 0 && by_fd(&kept[j - 1], &kept[j]) > 0; j--) {
			int swap = kept[j];

			kept[j] = kept[j - 1];
			kept[j - 1] = swap;
		}
	for (size_t i = 0; i < len; i++) {
		if (kept[i] > next && close_range((unsigned)next, (unsigned)kept[i] - 1, 0) < 0)
			return err_sys(err, "cannot close the host's descriptors");
		if (kept[i] >= next)
			next = kept[i] + 1;
	}
	if (close_range((unsigned)next, ~0U, 0) < 0)
		return err_sys(err, "cannot close the host's descriptors");
	return 0;
}

static int join_cgroups(struct init *init, const struct init_start *start, struct err *err)
{
	(void)init;
	for (size_t i = 0; i < CGROUP_JOINS; i++) {
		if (start->cgroup_fds[i] < 0)
			continue;
		if (write(start->cgroup_fds[i], "0", 1) != 1)
			return err_sys(err, "cannot join a control group");
		(void)close(start->cgroup_fds[i]);
	}
	return 0;
}

/* A private copy of the template, whose root is the root of the box. */
static int enter_root(struct init *init, const struct init_start *start, struct err *err)
{
	if (start->template_fd < 0) {
		if (root_build_here(start->host, start->root, start->top_fd, err) < 0)
			return -1;
	} else {
		if (setns(start->template_fd, CLONE_NEWNS) < 0)
			return err_sys(err, "cannot enter the root of the sandbox");
		(void)close(start->template_fd);
		if (unshare(CLONE_NEWNS) < 0)
			return err_sys(err, "cannot make a mount namespace");
	}
	if (unshare(CLONE_NEWCGROUP | CLONE_NEWIPC) < 0)
		return err_sys(err, "cannot make cgroup and ipc namespaces");
	if (root_mount_own(&init->proc_fd, err) < 0)
		return -1;
	init->mount_ns_fd = openat(init->proc_fd, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (init->mount_ns_fd < 0)
		return err_sys(err, "cannot open the mount namespace");
	return 0;
}

/* The host says by the network that it has filled the root. */
static int seal_root(struct init *init, const struct init_start *start, struct err *err)
{
	(void)init;
	if (start->top_fd < 0)
		return 0;
	/* That of an image lies below an overlay, which nobody writes through. */
	if (start->host->roots[start->root].path[0] == '\0' && root_seal(start->top_fd, err) < 0)
		return -1;
	(void)close(start->top_fd);
	return 0;
}

static int close_streams(struct init *init, const struct init_start *start, struct err *err)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)init;
	(void)start;
	if (fd < 0)
		return err_sys(err, "cannot open '/dev/null'");
	for (int i = 0; i < 3; i++) {
#ifdef __SANITIZE_ADDRESS__
		if (i == STDERR_FILENO)
			continue; /* where a sanitizer reports */
#endif
		if (dup2(fd, i) < 0)
			return err_sys(err, "cannot replace the standard streams");
	}
	if (fd > 2)
		(void)close(fd);
	return 0;
}

/* --- the machine as the job sees it ------------------------------------------------ */

static int name_host(struct init *init, const struct init_start *start, struct err *err)
{
	(void)init;
	(void)start;
	if (sethostname("sbx", 3) < 0)
		return err_sys(err, "cannot set the host name");
	return 0;
}

/* Made by the host meanwhile, loopback interface up, or, where that was asked
 * for, the one that init is in already. Either belongs to the host's user
 * namespace, as all but init's own does. */
static int enter_network(struct init *init, const struct init_start *start, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	uint32_t kind = WIRE_ROOT;

	if (fd_send(start->host_fd, &kind, sizeof(kind), &init->mount_ns_fd, 1, err) < 0)
		return -1;
	fd_cleanup(&init->mount_ns_fd);
	if (fd_recv(start->host_fd, &kind, sizeof(kind), fds, &fds_len, err) !=
		    (ssize_t)sizeof(kind) ||
	    kind != WIRE_NET || fds_len != !start->host->host_network)
		_exit(0); /* the host has given up */
	if (start->host->host_network)
		return 0;
	fd = fds[0];
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_sys(err, "cannot enter the network namespace");
	return 0;
}

/* --- identity ------------------------------------------------------------------------ */

static int become_slot(struct init *init, const struct init_start *start, struct err *err)
{
	(void)init;
	/* Only gains from here on: a session keyring that leads nowhere. */
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	if (!start->drop_groups)
		return 0;
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0)
		return err_sys(err, "cannot keep capabilities over a change of user");
	if (setgroups(0, NULL) < 0 || setresgid(start->gid, start->gid, start->gid) < 0 ||
	    setresuid(start->uid, start->uid, start->uid) < 0)
		return err_sys(err, "cannot become user %u", start->uid);
	if (getuid() != start->uid || geteuid() != start->uid || getgid() != start->gid ||
	    getegid() != start->gid || getgroups(0, NULL) != 0)
		return err_set(err, ERR_SYSTEM, "cannot become user %u: still another", start->uid);
	return 0;
}

static int write_self(const struct init *init, const char *file, const char *text, struct err *err)
{
	char path[64];
	CLEANUP(fd_cleanup) int fd = -1;

	(void)snprintf(path, sizeof(path), "self/%s", file);
	fd = openat(init->proc_fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return err_sys(err, "cannot write '/proc/%s'", path);
	return 0;
}

/* For init_step.c, when init is not dumpable any more. */
static int keep_oom_score(struct init *init, struct err *err)
{
	ssize_t n;

	init->oom_fd = openat(init->proc_fd, "self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (init->oom_fd < 0)
		return err_sys(err, "cannot open '/proc/self/oom_score_adj'");
	n = pread(init->oom_fd, init->oom_score, sizeof(init->oom_score) - 1, 0);
	return n > 0 ? 0 : err_sys(err, "cannot read '/proc/self/oom_score_adj'");
}

static int enter_user_namespace(struct init *init, const struct init_start *start, struct err *err)
{
	char uid_map[64], gid_map[64];

	(void)snprintf(uid_map, sizeof(uid_map), "%d %u 1", BOX_INNER_UID, start->uid);
	(void)snprintf(gid_map, sizeof(gid_map), "%d %u 1", BOX_INNER_GID, start->gid);
	if (unshare(CLONE_NEWUSER) < 0)
		return err_sys(err, "cannot make a user namespace");
	/* A process that is not dumpable does not own its files in /proc. */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_sys(err, "cannot set dumpable");
	if (write_self(init, "setgroups", "deny", err) < 0 ||
	    write_self(init, "uid_map", uid_map, err) < 0 ||
	    write_self(init, "gid_map", gid_map, err) < 0 || keep_oom_score(init, err) < 0)
		return -1;
	if (start->host->user_mode &&
	    quotas_set(&start->host->quotas, init->proc_fd, QUOTA_SHARES_BOX, err) < 0)
		return -1;
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_sys(err, "cannot clear dumpable");
	if (getuid() != BOX_INNER_UID || geteuid() != BOX_INNER_UID || getgid() != BOX_INNER_GID ||
	    getegid() != BOX_INNER_GID)
		return err_set(err, ERR_SYSTEM, "cannot map the user: still another");
	return 0;
}

/* --- privilege ------------------------------------------------------------------------- */

static int drop_capabilities(struct init *init, const struct init_start *start, struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}}, back[2] = {{0}};
	const uint32_t kept = 1U << CAP_DAC_READ_SEARCH;

	(void)init;
	(void)start;
	for (unsigned cap = 0; cap <= CAP_LAST_CAP || prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EINVAL)
			return err_sys(err, "cannot drop capability %u", cap);
	if (prctl(PR_SET_SECUREBITS, SECURE_ALL_BITS | SECURE_ALL_LOCKS) < 0)
		return err_sys(err, "cannot lock the securebits");
	data[0].effective = data[0].permitted = kept;
	if (syscall(SYS_capset, &header, data) < 0 || syscall(SYS_capget, &header, back) < 0)
		return err_sys(err, "cannot drop the capabilities");
	if (back[0].effective != kept || back[0].permitted != kept || back[0].inheritable != 0 ||
	    back[1].effective != 0 || back[1].permitted != 0 || back[1].inheritable != 0)
		return err_set(err, ERR_SYSTEM, "cannot drop the capabilities: some are left");
	return 0;
}

static int install_filter(struct init *init, const struct init_start *start, struct err *err)
{
	/* 0 would still run a handler of the host's that reads cores from a pipe, as
	 * root; for 1 the kernel runs none, and it is too small for a file. */
	struct rlimit no_core = {1, 1};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return err_sys(err, "cannot set no_new_privs");
	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return err_sys(err, "cannot switch core files off");
	(void)umask(022);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_sys(err, "cannot set the parent-death signal");
	init->filter_key = start->host->filter_key;
	init->narrow = start->host->narrow;
	init->route_sockets = start->host->route_sockets;
	init->host = start->host;
	init->landlock_abi = start->host->landlock_abi;
	if (init->landlock_abi != 0 &&
	    landlock_prepare(init->landlock_abi, &init->landlock_fd, err) < 0)
		return -1;
	return filter_install(&start->host->filter, &init->notify_fd, err);
}

/* --- the recipe -------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(struct init *init, const struct init_start *start, struct err *err);
} recipe[] = {
	{"signals", forget_signals},
	{"descriptors", close_inherited},
	{"cgroups", join_cgroups},
	{"root", enter_root},
	{"streams", close_streams},
	{"host name", name_host},
	{"network", enter_network},
	{"seal", seal_root},
	{"user", become_slot},
	{"user namespace", enter_user_namespace},
	{"capabilities", drop_capabilities},
	{"filter", install_filter},
};

int init_setup(struct init *init, const struct init_start *start, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(recipe); i++)
		if (recipe[i].run(init, start, err) < 0)
			return err_prefix(err, "sandbox init: %s", recipe[i].name);
	return 0;
}
