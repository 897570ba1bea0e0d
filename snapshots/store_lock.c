/*
 * store_lock.c - the locks of a store: flock(2) of files that are made when they
 * are not there, so that the kernel drops them with the process.
 */
#include "snapshots/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"

enum {
	LOCK_MODE = 0640,
	POLL_MIN_US = 500,
	POLL_MAX_US = 50 * 1000,
};

/* flock(2) has no timeout, so a bounded wait has to look again and again. */
static int lock_fd(int fd, int how, int64_t deadline_us, const char *path, struct err *err)
{
	int64_t pause_us = POLL_MIN_US;

	while (flock(fd, deadline_us < 0 ? how : how | LOCK_NB) < 0) {
		struct timespec pause = {.tv_nsec = pause_us * 1000};

		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return err_sys(err, "cannot lock '%s'", path);
		if (clock_mono_us() >= deadline_us)
			return err_set(err, ERR_TIMEOUT, "cannot lock '%s': held for too long",
				       path);
		(void)nanosleep(&pause, NULL);
		pause_us = pause_us * 2 < POLL_MAX_US ? pause_us * 2 : POLL_MAX_US;
	}
	return 0;
}

/* Who had the lock before may have taken the file away: then it locks nobody
 * else out any more. */
static bool still_named(int fd, const char *path)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

static int lock_file(const char *path, int how, int64_t deadline_us, int *ret_fd, struct err *err)
{
	for (;;) {
		CLEANUP(fd_cleanup) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_MODE);

		if (fd < 0)
			return err_sys(err, "cannot open '%s'", path);
		if (lock_fd(fd, how, deadline_us, path, err) < 0)
			return -1;
		if (still_named(fd, path)) {
			*ret_fd = fd_take(&fd);
			return 0;
		}
	}
}

int store_lock(const char *path, int64_t deadline_us, int *ret_fd, struct err *err)
{
	return lock_file(path, LOCK_EX, deadline_us, ret_fd, err);
}

int store_write_lock(const struct store *store, const char *repo, enum store_writer who,
		     int64_t deadline_us, int *ret_fd, struct err *err)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/repos/%s.gc", store->path, repo);
	return lock_file(path, who == STORE_WRITES ? LOCK_SH : LOCK_EX, deadline_us, ret_fd, err);
}

int store_upkeep_lock(const struct store *store, int64_t deadline_us, int *ret_fd, struct err *err)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/upkeep.lock", store->path);
	return store_lock(path, deadline_us, ret_fd, err);
}
