/*
 * mounts.c - thin wrappers; glibc 2.36 has the system calls.
 */
#include "worker/sandbox/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "base/fd.h"

int mounts_make(const char *type, const struct mount_option *options, size_t len, unsigned attrs)
{
	int fs = fsopen(type, FSOPEN_CLOEXEC), fd = -1, saved;

	if (fs < 0)
		return -1;
	for (size_t i = 0; i < len; i++) {
		unsigned how = options[i].value == NULL ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;

		if (fsconfig(fs, how, options[i].key, options[i].value, 0) < 0)
			goto out;
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
out:
	saved = errno;
	fd_close(fs);
	errno = saved;
	return fd;
}

int mounts_clone(int dir_fd, const char *path)
{
	return open_tree(dir_fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

int mounts_clone_all(int dir_fd, const char *path)
{
	return open_tree(dir_fd, path,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
}

int mounts_attrs(int dir_fd, const char *path, unsigned flags, uint64_t attrs, int userns_fd)
{
	struct mount_attr attr = {.attr_set = attrs};

	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	return mount_setattr(dir_fd, path, flags | AT_EMPTY_PATH, &attr, sizeof(attr));
}

int mounts_attach(int mount_fd, int dir_fd, const char *path)
{
	return move_mount(mount_fd, "", dir_fd, path, MOVE_MOUNT_F_EMPTY_PATH);
}
