/*
 * binds.c - theory of operation.
 *
 * What the caller wants to be seen beside root and workspace is taken from the
 * host's mounts first, as detached copies, and attached in the mount namespace
 * of the box after the workspace, so that it may lie in that as well.
 *
 * A place that is not there is made, but only where nothing is made on the
 * host by it: in the skeleton of the root (through a writable copy of its
 * mount, for the mount itself is read-only), in /tmp, /dev/shm and in a
 * workspace that is a layer. No link is followed on the way to it: a workspace
 * may be hostile.
 *
 * What is mounted below a directory does not come along, but for an ordinary
 * user, who may not take it off.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/mounts.h"
#include "worker/sandbox/sandbox_private.h"

/* --- taking it --------------------------------------------------------------- */

static int make_tmpfs(const struct box_limits *limits, struct err *err)
{
	char size[32];
	const struct mount_option options[] = {{"size", size}, {"mode", "1777"}};

	(void)snprintf(size, sizeof(size), "%lld", (long long)limits->disk_bytes);
	return mounts_make("tmpfs", options, ARRAY_LEN(options),
			   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

/* As root the owner's files are shown as the inner user's, where the file system
 * can do that; where not, only what anybody may read can be read. */
static int take(struct box_host *host, unsigned slot, const struct box_bind *bind, int *ret_fd,
		struct err *err)
{
	CLEANUP(fd_cleanup) int tree = tree_clone(bind->fd);
	uint64_t attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	int userns = -1;

	if (tree < 0)
		return err_sys(err, "cannot take what is to be '%s' into the sandbox", bind->at);
	if (!bind->writable)
		attrs |= MOUNT_ATTR_RDONLY;
	if (!host->user_mode) {
		userns = idmap_slot(host, slot, bind->uid, bind->gid, err);
		if (userns < 0)
			return -1;
	}
	if (mounts_attrs(tree, "", AT_RECURSIVE, attrs, userns) < 0 &&
	    (userns < 0 || bind->writable || errno != EINVAL ||
	     mounts_attrs(tree, "", AT_RECURSIVE, attrs, -1) < 0))
		return err_sys(err, "cannot set how '%s' is shown in the sandbox", bind->at);
	*ret_fd = fd_take(&tree);
	return 0;
}

int binds_take(struct box_host *host, unsigned slot, const struct box_limits *limits,
	       struct err *err)
{
	for (unsigned i = 0; i < host->binds_len; i++) {
		const struct box_bind *bind = &host->binds[i];
		int fd = -1;

		if (bind->fd < 0)
			fd = make_tmpfs(limits, err);
		else if (take(host, slot, bind, &fd, err) < 0)
			return -1;
		if (fd < 0)
			return -1;
		host->bind_fds[i] = fd;
	}
	return 0;
}

void binds_release(struct box_host *host)
{
	for (unsigned i = 0; i < host->binds_len; i++)
		fd_cleanup(&host->bind_fds[i]);
}

/* --- its place ----------------------------------------------------------------- */

static int open_place(int dir_fd, const char *name)
{
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC,
				     .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
}

static int make_entry(int dir_fd, const char *name, bool is_dir)
{
	int fd;

	if (is_dir)
		return mkdirat(dir_fd, name, 0755);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);
	fd_close(fd);
	return fd < 0 ? -1 : 0;
}

static bool same_device(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev;
}

/* The skeleton of the root is a tmpfs that only this box has: no place of the
 * host's shares its device. */
static bool in_skeleton(int dir_fd)
{
	struct statfs fs;

	return fstatfs(dir_fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC && same_device(dir_fd, "/");
}

static int make_in_skeleton(int dir_fd, const char *name, bool is_dir)
{
	CLEANUP(fd_cleanup) int tree = mounts_clone(dir_fd, "");
	struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};

	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &writable, sizeof(writable)) < 0)
		return -1;
	return make_entry(tree, name, is_dir);
}

static int make_place(int dir_fd, const char *name, bool is_dir, bool direct)
{
	if (in_skeleton(dir_fd))
		return make_in_skeleton(dir_fd, name, is_dir);
	if (same_device(dir_fd, "/tmp") || (!direct && same_device(dir_fd, BOX_WORKSPACE)))
		return make_entry(dir_fd, name, is_dir);
	errno = ENOENT;
	return -1;
}

/* Goes down the path, which has no "..", and makes what is missing. */
static int find_place(const char *at, bool is_dir, bool direct, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open_place(AT_FDCWD, "/");
	char name[NAME_MAX + 1];

	for (at += strspn(at, "/"); fd >= 0 && *at != '\0'; at += strspn(at, "/")) {
		size_t len = strcspn(at, "/");
		bool last = at[len + strspn(at + len, "/")] == '\0';
		int next;

		(void)snprintf(name, sizeof(name), "%.*s", (int)len, at);
		next = open_place(fd, name);
		if (next < 0 && errno == ENOENT &&
		    make_place(fd, name, !last || is_dir, direct) == 0)
			next = open_place(fd, name);
		fd_close(fd);
		fd = next;
		at += len;
	}
	if (fd < 0)
		return err_sys(err, "no place for it");
	*ret_fd = fd_take(&fd);
	return 0;
}

static int mount_one(const struct box_bind *bind, int mount_fd, bool direct, struct err *err)
{
	CLEANUP(fd_cleanup) int place = -1;
	struct stat st;

	if (fstat(mount_fd, &st) < 0)
		return err_sys(err, "cannot mount '%s'", bind->at);
	if (find_place(bind->at, S_ISDIR(st.st_mode), direct, &place, err) < 0)
		return err_prefix(err, "cannot mount '%s'", bind->at);
	if (syscall(SYS_move_mount, mount_fd, "", place, "",
		    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(err, "cannot mount '%s'", bind->at);
	return 0;
}

int binds_mount(const struct box_host *host, bool direct, struct err *err)
{
	for (unsigned i = 0; i < host->binds_len; i++)
		if (mount_one(&host->binds[i], host->bind_fds[i], direct, err) < 0)
			return -1;
	return 0;
}
