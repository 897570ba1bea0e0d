/*
 * instance.c - theory: the name has the inode of the state directory in it, so
 * that workers of different directories never sweep each other. A lock file
 * is never removed: who would unlink it could do so under another's lock.
 */
#include "worker/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static int open_dir(const char *state_dir, int *ret_fd, struct err *err)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/instances", state_dir) >= (int)sizeof(path))
		return err_set(err, ERR_INPUT, "state directory's path is too long");
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, "cannot make '%s'", path);
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	return 0;
}

/* Returns 1 when somebody else holds it. */
static int lock_number(int dir_fd, unsigned number, int flags, int *ret_fd, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	CLEANUP(fd_cleanup) int fd = -1;
	char name[16];

	(void)snprintf(name, sizeof(name), "%u.lock", number);
	fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | flags, 0600);
	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0)
		return err_sys(err, "cannot open instance lock '%s'", name);
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		if (errno == EACCES || errno == EAGAIN)
			return 1;
		return err_sys(err, "cannot lock instance '%s'", name);
	}
	*ret_fd = fd_take(&fd);
	return 0;
}

static void name_of(unsigned long long inode, unsigned number, char ret[INSTANCE_NAME_BYTES])
{
	(void)snprintf(ret, INSTANCE_NAME_BYTES, "%llx-%u", inode & 0xffffffffffffULL, number);
}

int instance_take(const char *state_dir, struct instance *ret, struct err *err)
{
	struct stat st;
	int rc = 1;

	*ret = (struct instance){.dir_fd = -1, .lock_fd = -1};
	if (open_dir(state_dir, &ret->dir_fd, err) < 0)
		return -1;
	if (fstat(ret->dir_fd, &st) < 0)
		return err_sys(err, "cannot stat instances");
	ret->directory = st.st_ino;
	while (ret->number < INSTANCES_MAX) {
		rc = lock_number(ret->dir_fd, ret->number, O_CREAT, &ret->lock_fd, err);
		if (rc != 1)
			break;
		ret->number++;
	}
	if (rc == 1)
		(void)err_set(err, ERR_LIMIT, "state directory '%s' is used by %d workers already",
			      state_dir, INSTANCES_MAX);
	name_of(ret->directory, ret->number, ret->name);
	if (rc == 0)
		return 0;
	instance_release(ret);
	return -1;
}

int instance_sweep(struct instance *instance,
		   int (*sweep)(void *ctx, const char *name, struct err *err), void *ctx,
		   struct err *err)
{
	for (unsigned number = 0; number < INSTANCES_MAX; number++) {
		CLEANUP(fd_cleanup) int fd = -1;
		char name[INSTANCE_NAME_BYTES];
		int rc = 0;

		if (number != instance->number)
			rc = lock_number(instance->dir_fd, number, 0, &fd, err);
		if (rc < 0)
			return -1;
		if (rc == 1)
			continue;
		name_of(instance->directory, number, name);
		if (sweep(ctx, name, err) < 0)
			return -1;
	}
	return 0;
}

void instance_release(struct instance *instance)
{
	fd_cleanup(&instance->lock_fd);
	fd_cleanup(&instance->dir_fd);
}
