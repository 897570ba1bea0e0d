/*
 * workspace.c - theory of operation.
 *
 * Everything a job can write is one tmpfs, the layer, limited in bytes and
 * inodes: the upper half of the workspace's overlay, /tmp and /dev/shm. It is
 * mounted by the host half inside the mount namespace of the box, which
 * belongs to the host's user namespace, so that nothing in the box has power
 * over any mount.
 *
 * As root the files of the lower directory are shown as the inner user's by an
 * idmapped mount; the overlay's marks are trusted.* attributes, which no job
 * can write. As an ordinary user the files are the user's own, and the marks
 * are user.* attributes, which overlayfs hides and refuses through itself.
 * Before Linux 6.6 a tmpfs can't store those, and overlayfs would fail at the
 * first removal of a directory: there the workspace is a copy in the layer. So
 * it is as root where the lower directory's file system has no idmapped mounts:
 * overlayfs (in a container), tmpfs before Linux 6.3.
 *
 * Overlayfs wants its layers attached, and Linux before 6.15 copies no
 * detached mount; so lower and layer are attached where the workspace and /tmp
 * will be, and covered by them; a second lower one, under the first, goes onto
 * the covered layer. Covered is as good as gone: nothing in the box may unmount,
 * and each unmounting would wait for an RCU grace period.
 *
 * The layer of a box that waits for work is mounted ahead, with the limits of
 * the job before, and given other ones when they are known.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/copy.h"
#include "worker/sandbox/mounts.h"
#include "worker/sandbox/sandbox_private.h"

/* --- mapping ids ------------------------------------------------------------ */

static int write_map(pid_t pid, const char *file, unsigned inside, unsigned outside)
{
	char path[64], text[64];
	int len = snprintf(text, sizeof(text), "%u %u 1", inside, outside), fd;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, text, (size_t)len);
	fd_close(fd);
	return n == len ? 0 : -1;
}

void idmap_reap(struct idmap *map, bool wait)
{
	if (map->maker > 0 && waitpid(map->maker, NULL, wait ? 0 : WNOHANG) != 0)
		map->maker = 0;
}

/* Shares our memory, but no signal of ours reaches it. */
static int await_kill(void *parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == (pid_t)(intptr_t)parent)
		(void)pause();
	return 0;
}

/* A copy of this process would cost more than the namespace. */
static pid_t start_maker(struct idmap *map)
{
	sigset_t all, before;
	pid_t pid;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = clone(await_kill, map->stack + sizeof(map->stack), CLONE_NEWUSER | CLONE_VM | SIGCHLD,
		    (void *)(intptr_t)getpid());
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* A user namespace is only made by a process that lives in it for a moment. It
 * is killed at once and reaped when it is convenient: waiting for its turn on a
 * busy processor would cost more than all the rest. */
static int make_userns(struct idmap *map, uid_t uid, gid_t gid, struct err *err)
{
	pid_t pid = start_maker(map);
	char path[64];
	int fd = -1;

	if (pid < 0)
		return err_sys(err, "cannot make a user namespace to map ids");
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	if (write_map(pid, "uid_map", map->uid, uid) < 0 ||
	    write_map(pid, "gid_map", map->gid, gid) < 0 ||
	    (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		(void)err_sys(err, "cannot map uid %u to uid %u", map->uid, uid);
	(void)kill(pid, SIGKILL);
	map->maker = pid;
	return fd;
}

int idmap_slot(struct box_host *host, unsigned slot, uid_t uid, gid_t gid, struct err *err)
{
	struct idmap *map = &host->idmaps[slot];

	if (map->userns_fd >= 0 && map->uid == uid && map->gid == gid)
		return map->userns_fd;
	idmap_reap(map, true);
	fd_cleanup(&map->userns_fd);
	map->uid = uid;
	map->gid = gid;
	map->userns_fd =
		make_userns(map, host_slot_uid(host, slot), host_slot_gid(host, slot), err);
	return map->userns_fd;
}

/* --- the lower directory ------------------------------------------------------- */

/* The descriptor may come from a process in another mount namespace; then the
 * same directory is looked up in this one. */
int tree_clone(int lower_fd)
{
	CLEANUP(fd_cleanup) int again = -1;
	char link[64], path[PATH_MAX];
	struct stat a, b;
	ssize_t len;
	int tree = mounts_clone(lower_fd, "");

	if (tree >= 0 || errno != EINVAL)
		return tree;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", lower_fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return -1;
	path[len] = '\0';
	again = open(path, O_PATH | O_CLOEXEC);
	if (again < 0 || fstat(again, &a) < 0 || fstat(lower_fd, &b) < 0)
		return -1;
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) {
		errno = ESTALE;
		return -1;
	}
	return mounts_clone_all(again, "");
}

/* `ret_copy`: the files can't be shown as the slot's, who can read them only
 * as a copy. */
static int open_lower(struct box_host *host, unsigned slot, const struct box_workspace *workspace,
		      int lower_fd, int *ret_fd, bool *ret_copy, struct err *err)
{
	CLEANUP(fd_cleanup) int tree = tree_clone(lower_fd);
	uint64_t attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	int userns = -1;

	if (tree < 0)
		return err_sys(err, "cannot take the workspace's directory into the sandbox");
	if (!workspace->direct)
		attrs |= MOUNT_ATTR_RDONLY;
	if (!host->user_mode) {
		userns = idmap_slot(host, slot, workspace->lower_uid, workspace->lower_gid, err);
		if (userns < 0)
			return -1;
	}
	*ret_copy = false;
	if (mounts_attrs(tree, "", 0, attrs, userns) < 0) {
		*ret_copy = errno == EINVAL && !workspace->direct;
		if (!*ret_copy)
			return err_sys(err, "cannot map the ids of the workspace's directory: its "
					    "file system may not support it");
	}
	*ret_fd = fd_take(&tree);
	return 0;
}

/* --- the layer --------------------------------------------------------------------- */

static int make_dir(int layer_fd, const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	if (mkdirat(layer_fd, name, 0700) < 0)
		return -1;
	if ((uid != geteuid() || gid != getegid()) &&
	    fchownat(layer_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	return fchmodat(layer_fd, name, mode, 0);
}

struct layer_options {
	char size[32], inodes[32];
};

static void layer_options(const struct box_limits *limits, struct layer_options *ret)
{
	int64_t inodes = limits->inodes > 0 ? limits->inodes + BOX_OVERLAY_INODES : 0;

	(void)snprintf(ret->size, sizeof(ret->size), "%lld", (long long)limits->disk_bytes);
	(void)snprintf(ret->inodes, sizeof(ret->inodes), "%lld", (long long)inodes);
}

void layer_release(struct layer *layer)
{
	fd_cleanup(&layer->mount_fd);
	fd_cleanup(&layer->top_fd);
}

int layer_new(const struct box_host *host, unsigned slot, const struct box_limits *limits,
	      struct layer *ret, struct err *err)
{
	struct layer_options text;
	const struct mount_option options[] = {
		{"size", text.size}, {"nr_inodes", text.inodes}, {"mode", "0755"}};
	uid_t uid = host_slot_uid(host, slot);
	gid_t gid = host_slot_gid(host, slot);
	CLEANUP(fd_cleanup) int fd = -1;

	layer_options(limits, &text);
	fd = mounts_make("tmpfs", options, ARRAY_LEN(options), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
			 err);
	if (fd < 0)
		return err_prefix(err, "layer of %s bytes", text.size);
	if (make_dir(fd, LAYER_UPPER, 0755, uid, gid) < 0 ||
	    make_dir(fd, LAYER_WORK, 0700, geteuid(), getegid()) < 0 ||
	    make_dir(fd, LAYER_TMP, 01777, uid, gid) < 0 ||
	    make_dir(fd, LAYER_SHM, 01777, uid, gid) < 0)
		return err_sys(err, "cannot make the directories of the layer");
	ret->top_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->top_fd < 0)
		return err_sys(err, "cannot open the layer");
	ret->mount_fd = fd_take(&fd);
	return 0;
}

int layer_limit(const struct layer *layer, const struct box_limits *limits, struct err *err)
{
	struct layer_options text;
	const struct mount_option options[] = {{"size", text.size}, {"nr_inodes", text.inodes}};

	layer_options(limits, &text);
	if (mounts_change(layer->mount_fd, options, ARRAY_LEN(options), err) < 0)
		return err_prefix(err, "layer of %s bytes", text.size);
	return 0;
}

/* Lower is attached at the workspace, the layer is the current directory, and what
 * is under lower is attached there. */
static int make_overlay(const struct box_host *host, bool two, struct err *err)
{
	const struct mount_option options[] = {
		{"lowerdir", two ? BOX_WORKSPACE ":" LAYER_UNDER : BOX_WORKSPACE},
		{"upperdir", LAYER_UPPER},
		{"workdir", LAYER_WORK},
		{"volatile", NULL}, /* the layer dies with the job: nothing is synced */
		{"redirect_dir", "nofollow"},
		{"metacopy", "off"},
		{"index", "off"},
		{"userxattr", NULL}, /* the last: only as an ordinary user */
	};
	size_t len = ARRAY_LEN(options) - (host->user_mode ? 0 : 1);

	return mounts_make("overlay", options, len, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

/* --- in the box's mount namespace ---------------------------------------------------- */

static int cover(const char *path, int mount_fd, struct err *err)
{
	if (mount_fd < 0 || mounts_attach(mount_fd, AT_FDCWD, path) < 0)
		return err_sys(err, "cannot mount '%s'", path);
	return 0;
}

static int attach_layer(const struct layer *layer, struct err *err)
{
	CLEANUP(fd_cleanup) int tmp = -1;
	CLEANUP(fd_cleanup) int shm = -1;

	if (cover("/tmp", layer->mount_fd, err) < 0)
		return -1;
	tmp = mounts_clone(layer->mount_fd, LAYER_TMP);
	shm = mounts_clone(layer->mount_fd, LAYER_SHM);
	if (cover("/tmp", tmp, err) < 0 || cover("/dev/shm", shm, err) < 0)
		return -1;
	return 0;
}

/* On a directory of the layer, which is out of everybody's sight. */
static int attach_under(const struct workspace_parts *parts, const struct layer *layer,
			struct err *err)
{
	if (parts->under_fd < 0)
		return 0;
	if (mkdirat(layer->mount_fd, LAYER_UNDER, 0700) < 0 ||
	    mounts_attach(parts->under_fd, layer->mount_fd, LAYER_UNDER) < 0)
		return err_sys(err, "cannot mount what is under the workspace");
	return 0;
}

static int attach_work(const struct box_host *host, const struct workspace_parts *parts,
		       const struct layer *layer, struct err *err)
{
	CLEANUP(fd_cleanup) int work = -1;

	if (parts->lower_fd >= 0 && cover(BOX_WORKSPACE, parts->lower_fd, err) < 0)
		return -1;
	if (parts->direct)
		return 0;
	if (fchdir(layer->mount_fd) < 0)
		return err_sys(err, "cannot enter the layer");
	if (parts->lower_fd < 0)
		work = mounts_clone(layer->mount_fd, LAYER_UPPER);
	else if (attach_under(parts, layer, err) < 0 ||
		 (work = make_overlay(host, parts->under_fd >= 0, err)) < 0)
		return -1;
	return cover(BOX_WORKSPACE, work, err);
}

int layer_mount(const struct box_host *host, struct layer *layer, int mount_ns_fd, struct err *err)
{
	struct mount_visit visit;
	int result;

	if (mount_visit_enter(&visit, host, mount_ns_fd, err) < 0)
		return -1;
	result = attach_layer(layer, err);
	mount_visit_leave(&visit);
	layer->mounted = result == 0;
	return result;
}

int workspace_mount(const struct box_host *host, const struct workspace_parts *parts,
		    struct layer *layer, int mount_ns_fd, struct err *err)
{
	struct mount_visit visit;
	int result = 0;

	if (mount_visit_enter(&visit, host, mount_ns_fd, err) < 0)
		return -1;
	if (!layer->mounted)
		result = attach_layer(layer, err);
	layer->mounted = result == 0;
	if (result == 0)
		result = attach_work(host, parts, layer, err);
	if (result == 0)
		result = binds_mount(host, parts->direct, err);
	mount_visit_leave(&visit);
	return result;
}

/* --- before that ------------------------------------------------------------------------- */

void workspace_release(struct workspace_parts *parts)
{
	fd_cleanup(&parts->lower_fd);
	fd_cleanup(&parts->under_fd);
}

/* Whether the layer can hold the overlay's marks. */
static bool can_mark(const struct box_host *host, int upper_fd)
{
	if (!host->user_mode)
		return true;
	if (fsetxattr(upper_fd, "user.overlay.probe", "y", 1, 0) < 0)
		return false;
	(void)fremovexattr(upper_fd, "user.overlay.probe");
	return true;
}

static int copy_unless_overlay(const struct box_host *host, unsigned slot, bool must_copy,
			       const struct layer *layer, struct workspace_parts *parts,
			       struct err *err)
{
	const struct copy_owner owner = {host_slot_uid(host, slot), host_slot_gid(host, slot)};
	CLEANUP(fd_cleanup) int upper_fd = -1;

	if (parts->lower_fd < 0 || parts->direct)
		return 0;
	upper_fd = openat(layer->top_fd, LAYER_UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (upper_fd < 0)
		return err_sys(err, "cannot open the layer");
	if (!must_copy && !host->copy_workspace && can_mark(host, upper_fd))
		return 0;
	if ((parts->under_fd >= 0 && copy_tree(parts->under_fd, upper_fd, &owner, err) < 0) ||
	    copy_tree(parts->lower_fd, upper_fd, &owner, err) < 0)
		return err_prefix(err, "cannot copy the workspace into its layer");
	fd_cleanup(&parts->lower_fd);
	fd_cleanup(&parts->under_fd);
	return 0;
}

int workspace_prepare(struct box_host *host, unsigned slot, const struct box_workspace *workspace,
		      const struct layer *layer, struct workspace_parts *ret, struct err *err)
{
	struct workspace_parts parts = {-1, -1, workspace->direct};
	bool must_copy = false, under_too = false;

	assert(workspace->lower_fd >= 0 || (!workspace->direct && workspace->under_fd == 0));
	idmap_reap(&host->idmaps[slot], false);
	if (workspace->lower_fd >= 0 && open_lower(host, slot, workspace, workspace->lower_fd,
						   &parts.lower_fd, &must_copy, err) < 0)
		return -1;
	if (workspace->under_fd > 0 && open_lower(host, slot, workspace, workspace->under_fd,
						  &parts.under_fd, &under_too, err) < 0) {
		workspace_release(&parts);
		return -1;
	}
	must_copy = must_copy || under_too;
	if (copy_unless_overlay(host, slot, must_copy, layer, &parts, err) < 0) {
		workspace_release(&parts);
		return -1;
	}
	*ret = parts;
	return 0;
}
