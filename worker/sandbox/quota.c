/*
 * quota.c - theory: some things the kernel counts by user: an ordinary user, all
 * boxes that he starts and all else that he runs have one account, so a job could
 * use it up and leave the others without. Accounts nest as user namespaces do.
 * So each namespace gets a bound below that of the one around it: a worker's half
 * of what the user has, a box an eighth. A box of root has a user of its own, and
 * an account of its own.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/sandbox_private.h"

/* Of all users, and of those of one namespace; the least that programs need. */
static const struct {
	const char *all, *own;
	int least;
} counted[QUOTAS] = {
	{"sys/fs/inotify/max_user_instances", "sys/user/max_inotify_instances", 8},
	{"sys/fs/inotify/max_user_watches", "sys/user/max_inotify_watches", 1024},
};

void quotas_read(struct quotas *ret)
{
	for (size_t i = 0; i < QUOTAS; i++) {
		char path[64];
		int64_t most;

		(void)snprintf(path, sizeof(path), "/proc/%s", counted[i].all);
		ret->most[i] = fd_read_positive(path, &most) && most <= INT_MAX ? (int)most : 0;
	}
}

int quotas_set(const struct quotas *quotas, int proc_fd, int shares, struct err *err)
{
	for (size_t i = 0; i < QUOTAS; i++) {
		CLEANUP(fd_cleanup) int fd = -1;
		int share = quotas->most[i] / shares;
		char value[16];

		if (quotas->most[i] == 0)
			continue; /* a kernel without */
		(void)snprintf(value, sizeof(value), "%d",
			       share < counted[i].least ? counted[i].least : share);
		fd = openat(proc_fd, counted[i].own, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, value, strlen(value)) < 0)
			return err_sys(err, "cannot write '/proc/%s'", counted[i].own);
	}
	return 0;
}
