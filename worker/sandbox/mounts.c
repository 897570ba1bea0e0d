/*
 * mounts.c - thin wrappers; glibc 2.36 has the system calls.
 */
#include "worker/sandbox/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"

/* The kernel leaves lines like "e overlay: No changes allowed" to be read. */
static int explain(int fs, const char *type, struct err *err)
{
	int number = errno;
	char text[256];
	ssize_t len = fs < 0 ? -1 : read(fs, text, sizeof(text) - 1);

	text[len < 0 ? 0 : len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	errno = number;
	return err_sys(err, "cannot mount a file system of type '%s'%s%s", type,
		       len > 2 ? ": " : "", len > 2 ? text + 2 : "");
}

int mounts_make(const char *type, const struct mount_option *options, size_t len, unsigned attrs,
		struct err *err)
{
	CLEANUP(fd_cleanup) int fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return explain(fs, type, err);
	for (size_t i = 0; i < len; i++) {
		unsigned how = options[i].value == NULL ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;

		if (fsconfig(fs, how, options[i].key, options[i].value, 0) < 0)
			return explain(fs, type, err);
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ||
	    (fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs)) < 0)
		return explain(fs, type, err);
	return fd;
}

int mounts_change(int mount_fd, const struct mount_option *options, size_t len, struct err *err)
{
	CLEANUP(fd_cleanup) int fs = fspick(mount_fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);

	if (fs < 0)
		return err_sys(err, "cannot change a mounted file system");
	for (size_t i = 0; i < len; i++)
		if (fsconfig(fs, FSCONFIG_SET_STRING, options[i].key, options[i].value, 0) < 0)
			return err_sys(err, "cannot change a mounted file system");
	if (fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_sys(err, "cannot change a mounted file system");
	return 0;
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
