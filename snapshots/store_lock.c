/*
 * store_lock.c - the locks of a store: flock(2) of files that are made when they
 * are not there, so that the kernel drops them with the process.
 *
 * Writers of a repository share its lock, and where they overlap it is never
 * free for the one who deletes. So all pass a gate before it, the first byte of
 * the same file: writers only pass, the deleter keeps it closed until the
 * writers before it are done, or until these have kept the next ones waiting
 * for too long.
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
	GATE_CLOSED_US = 200 * 1000, /* so long at most, each time */
};

/* Neither kind of lock has a timeout, so a bounded wait has to look again and
 * again. False once it is over. */
static bool pause_until(int64_t deadline_us, int64_t *pause_us)
{
	struct timespec pause = {.tv_nsec = *pause_us * 1000};

	if (clock_mono_us() >= deadline_us)
		return false;
	(void)nanosleep(&pause, NULL);
	*pause_us = *pause_us * 2 < POLL_MAX_US ? *pause_us * 2 : POLL_MAX_US;
	return true;
}

typedef int try_fn(int fd, int how, bool wait);

static int keep_trying(try_fn *try, int fd, int how, int64_t deadline_us, const char *path,
		       struct err *err)
{
	int64_t pause_us = POLL_MIN_US;

	while (try(fd, how, deadline_us < 0) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EACCES)
			return err_sys(err, "cannot lock '%s'", path);
		if (!pause_until(deadline_us, &pause_us))
			return err_set(err, ERR_TIMEOUT, "cannot lock '%s': held for too long",
				       path);
	}
	return 0;
}

static int try_file(int fd, int how, bool wait)
{
	return flock(fd, wait ? how : how | LOCK_NB);
}

static int lock_fd(int fd, int how, int64_t deadline_us, const char *path, struct err *err)
{
	return keep_trying(try_file, fd, how, deadline_us, path, err);
}

/* --- the gate ---------------------------------------------------------- */

static int try_gate(int fd, int type, bool wait)
{
	struct flock gate = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

	return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &gate);
}

static int enter_gate(int fd, int type, int64_t deadline_us, const char *path, struct err *err)
{
	return keep_trying(try_gate, fd, type, deadline_us, path, err);
}

static void leave_gate(int fd)
{
	(void)try_gate(fd, F_UNLCK, false);
}

/* --- the ways to hold a lock ------------------------------------------- */

typedef int hold_fn(int fd, int64_t deadline_us, const char *path, struct err *err);

static int hold_alone(int fd, int64_t deadline_us, const char *path, struct err *err)
{
	return lock_fd(fd, LOCK_EX, deadline_us, path, err);
}

static int hold_writing(int fd, int64_t deadline_us, const char *path, struct err *err)
{
	int result;

	if (enter_gate(fd, F_RDLCK, deadline_us, path, err) < 0)
		return -1;
	result = lock_fd(fd, LOCK_SH, deadline_us, path, err);
	leave_gate(fd);
	return result;
}

static int hold_deleting(int fd, int64_t deadline_us, const char *path, struct err *err)
{
	int64_t open_us;
	int result;

	if (enter_gate(fd, F_WRLCK, deadline_us, path, err) < 0)
		return -1;
	open_us = clock_mono_us() + GATE_CLOSED_US;
	if (deadline_us < 0 || deadline_us > open_us)
		deadline_us = open_us;
	result = lock_fd(fd, LOCK_EX, deadline_us, path, err);
	leave_gate(fd);
	return result;
}

/* --- files ------------------------------------------------------------- */

bool store_is_named(int fd, int dir_fd, const char *name)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static int lock_file(const char *path, hold_fn *hold, int64_t deadline_us, int *ret_fd,
		     struct err *err)
{
	for (;;) {
		CLEANUP(fd_cleanup) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_MODE);

		if (fd < 0)
			return err_sys(err, "cannot open '%s'", path);
		if (hold(fd, deadline_us, path, err) < 0)
			return -1;
		/* Who had the lock before may have taken the file away: then it locks
		 * nobody else out any more. */
		if (store_is_named(fd, AT_FDCWD, path)) {
			*ret_fd = fd_take(&fd);
			return 0;
		}
	}
}

int store_lock(const char *path, int64_t deadline_us, int *ret_fd, struct err *err)
{
	return lock_file(path, hold_alone, deadline_us, ret_fd, err);
}

int store_write_lock(const struct store *store, const char *repo, enum store_writer who,
		     int64_t deadline_us, int *ret_fd, struct err *err)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/repos/%s.gc", store->path, repo);
	return lock_file(path, who == STORE_WRITES ? hold_writing : hold_deleting, deadline_us,
			 ret_fd, err);
}

int store_upkeep_lock(const struct store *store, int64_t deadline_us, int *ret_fd, struct err *err)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/upkeep.lock", store->path);
	return store_lock(path, deadline_us, ret_fd, err);
}
