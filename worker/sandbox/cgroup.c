/*
 * cgroup.c - theory of operation.
 *
 * A box has one directory of the same name in each tree that cgroup_find.c has
 * found.
 *
 * The memory group is given memory and disk together, because the pages of
 * the tmpfs layer are charged to whoever writes them; driver_step.c keeps the
 * two apart by the shmem counter.
 */
#include "worker/sandbox/cgroup_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/sandbox_private.h"

static const char *const names[CGROUP_CONTROLLERS] = {
	[CGROUP_MEMORY] = "memory",   [CGROUP_PIDS] = "pids", [CGROUP_CPU] = "cpu",
	[CGROUP_CPUACCT] = "cpuacct", [CGROUP_IO] = "io",
};

const char *cgroup_controller_name(enum cgroup_controller controller)
{
	assert(controller < CGROUP_CONTROLLERS);
	return names[controller];
}

/* --- small files -------------------------------------------------------- */

int cgroup_write(int dir_fd, const char *file, const char *text)
{
	int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	fd_close(fd);
	return n < 0 ? -1 : 0;
}

int cgroup_write_number(int dir_fd, const char *file, int64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", (long long)value);
	return cgroup_write(dir_fd, file, text);
}

size_t cgroup_read(int dir_fd, const char *file, char *text, size_t size)
{
	int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	fd_close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

bool cgroup_has(const struct cgroup_host *host, enum cgroup_controller controller)
{
	return host->missing[controller][0] == '\0';
}

void cgroup_host_close(struct cgroup_host *host)
{
	for (size_t i = 0; i < host->trees_len; i++)
		fd_close(host->trees[i].parent_fd);
	host->trees_len = 0;
}

/* --- the groups of one box ------------------------------------------------ */

int cgroup_new(const struct cgroup_host *host, unsigned slot, unsigned serial, struct cgroup *ret,
	       struct err *err)
{
	struct cgroup group;

	(void)snprintf(group.name, sizeof(group.name), "sbx-%s-%u-%u", host->instance, slot,
		       serial);
	for (size_t i = 0; i < CGROUP_TREES; i++)
		group.fds[i] = -1;
	for (size_t i = 0; i < host->trees_len; i++) {
		const struct cgroup_tree *tree = &host->trees[i];

		if (mkdirat(tree->parent_fd, group.name, 0755) == 0)
			group.fds[i] = openat(tree->parent_fd, group.name,
					      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (group.fds[i] >= 0)
			continue;
		err_sys(err, "cannot make control group '%s/%s'", tree->parent, group.name);
		if (err != NULL && err->number == EEXIST)
			err->kind = ERR_CONFLICT;
		(void)cgroup_release(host, &group);
		return -1;
	}
	*ret = group;
	return 0;
}

int cgroup_v2_fd(const struct cgroup_host *host, const struct cgroup *group)
{
	for (size_t i = 0; i < host->trees_len; i++)
		if (host->trees[i].v2)
			return group->fds[i];
	return -1;
}

int cgroup_joins(const struct cgroup_host *host, const struct cgroup *group,
		 int ret_fds[CGROUP_JOINS], struct err *err)
{
	for (size_t i = 0; i < CGROUP_JOINS; i++)
		ret_fds[i] = -1;
	for (size_t i = 0; i < host->trees_len; i++) {
		if (host->trees[i].v2)
			continue;
		ret_fds[i] = openat(group->fds[i], "tasks", O_WRONLY | O_CLOEXEC);
		if (ret_fds[i] < 0)
			return err_sys(err, "cannot open 'tasks' of control group '%s/%s'",
				       host->trees[i].parent, group->name);
	}
	return 0;
}

/* --- limits ---------------------------------------------------------------- */

enum { CPU_PERIOD_US = 100 * 1000 };

/* What not every host counts. */
static int write_optional(int fd, const char *file, int64_t value)
{
	if (cgroup_write_number(fd, file, value) < 0 && errno != ENOENT && errno != EOPNOTSUPP)
		return -1;
	return 0;
}

/* Memory and swap together may never be less than memory: which of the two goes
 * first depends on whether the limit is being raised. */
static int limit_memory_v1(int fd, int64_t bytes)
{
	static const char memory[] = "memory.limit_in_bytes";
	static const char with_swap[] = "memory.memsw.limit_in_bytes";

	if (cgroup_write_number(fd, memory, bytes) == 0)
		return write_optional(fd, with_swap, bytes);
	if (errno != EINVAL || write_optional(fd, with_swap, bytes) < 0)
		return -1;
	return cgroup_write_number(fd, memory, bytes);
}

static int limit_memory(bool v2, int fd, const struct box_limits *limits)
{
	int64_t bytes = limits->memory_bytes + limits->disk_bytes + BOX_INIT_MEMORY_BYTES;

	if (v2) {
		if (cgroup_write_number(fd, "memory.swap.max", 0) < 0 && errno != ENOENT)
			return -1;
		return cgroup_write_number(fd, "memory.max", bytes);
	}
	/* Version 1 counts what lies in sockets apart, and only when it is limited. */
	if (write_optional(fd, "memory.kmem.tcp.limit_in_bytes", limits->memory_bytes) < 0)
		return -1;
	return limit_memory_v1(fd, bytes);
}

static int limit_cpu(bool v2, int fd, int64_t millicpus)
{
	int64_t quota_us = millicpus * (CPU_PERIOD_US / 1000);
	char text[64];

	if (quota_us < 1000)
		quota_us = 1000;
	if (!v2)
		return cgroup_write_number(fd, "cpu.cfs_quota_us", quota_us);
	(void)snprintf(text, sizeof(text), "%lld %d", (long long)quota_us, CPU_PERIOD_US);
	return cgroup_write(fd, "cpu.max", text);
}

/* Against the other boxes and the worker itself. A kernel or a disk without weights
 * has none of these files. */
static void weigh(const struct cgroup_tree *tree, int fd, int nice)
{
	enum { USUAL = 100, LEAST = 10 };
	char text[32];

	if (!tree->v2 || nice == 0)
		return;
	if ((tree->controllers & 1U << CGROUP_CPU) != 0)
		NEGLECT(cgroup_write_number(fd, "cpu.weight.nice", nice));
	(void)snprintf(text, sizeof(text), "default %d", USUAL - nice * (USUAL - LEAST) / 19);
	if ((tree->controllers & 1U << CGROUP_IO) != 0)
		NEGLECT(cgroup_write(fd, "io.weight", text));
}

static int limit_tree(const struct cgroup_tree *tree, int fd, const struct box_limits *limits)
{
	weigh(tree, fd, limits->nice);
	if ((tree->controllers & 1U << CGROUP_MEMORY) != 0 &&
	    limit_memory(tree->v2, fd, limits) < 0)
		return -1;
	if ((tree->controllers & 1U << CGROUP_PIDS) != 0 &&
	    cgroup_write_number(fd, "pids.max", limits->processes + BOX_INIT_PROCESSES) < 0)
		return -1;
	if ((tree->controllers & 1U << CGROUP_CPU) != 0 && limits->millicpus > 0)
		return limit_cpu(tree->v2, fd, limits->millicpus);
	return 0;
}

int cgroup_limit(const struct cgroup_host *host, const struct cgroup *group,
		 const struct box_limits *limits, struct err *err)
{
	for (size_t i = 0; i < host->trees_len; i++)
		if (limit_tree(&host->trees[i], group->fds[i], limits) < 0)
			return err_sys(err, "cannot set limits of control group '%s/%s'",
				       host->trees[i].parent, group->name);
	return 0;
}

/* --- meters ---------------------------------------------------------------- */

static const struct {
	enum cgroup_controller controller;
	const char *v1; /* NULL: version 1 has none worth reading */
	const char *v2;
} meters[BOX_METERS] = {
	[BOX_METER_CPU] = {CGROUP_CPUACCT, "cpuacct.usage", "cpu.stat"},
	[BOX_METER_MEMORY_PEAK] = {CGROUP_MEMORY, "memory.max_usage_in_bytes", "memory.peak"},
	[BOX_METER_MEMORY_EVENTS] = {CGROUP_MEMORY, "memory.oom_control", "memory.events"},
	[BOX_METER_MEMORY_STAT] = {CGROUP_MEMORY, "memory.stat", "memory.stat"},
	[BOX_METER_PROCESSES_PEAK] = {CGROUP_PIDS, "pids.peak", "pids.peak"},
	[BOX_METER_PROCESSES_EVENTS] = {CGROUP_PIDS, "pids.events", "pids.events"},
	[BOX_METER_IO] = {CGROUP_IO, NULL, "io.stat"},
	[BOX_METER_THROTTLED] = {CGROUP_CPU, "cpu.stat", NULL},
};

void cgroup_meters(const struct cgroup_host *host, const struct cgroup *group,
		   int ret_fds[BOX_METERS])
{
	for (size_t m = 0; m < BOX_METERS; m++) {
		ret_fds[m] = -1;
		for (size_t i = 0; i < host->trees_len; i++) {
			const struct cgroup_tree *tree = &host->trees[i];
			const char *file = tree->v2 ? meters[m].v2 : meters[m].v1;

			if ((tree->controllers & 1U << meters[m].controller) != 0 && file != NULL)
				ret_fds[m] = openat(group->fds[i], file, O_RDONLY | O_CLOEXEC);
		}
	}
}

/* --- the end ---------------------------------------------------------------- */

enum {
	REMOVE_TRIES = 400,
	REMOVE_PAUSE_US = 250,
};

static void pause_us(long us)
{
	struct timespec pause = {.tv_nsec = us * 1000};

	(void)nanosleep(&pause, NULL);
}

/* A group stays busy for a moment after its last process was reaped. */
static bool remove_group(int parent_fd, const char *name)
{
	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return true;
		if (errno != EBUSY)
			return false;
		pause_us(REMOVE_PAUSE_US);
	}
	return false;
}

bool cgroup_release(const struct cgroup_host *host, struct cgroup *group)
{
	bool gone = true;

	for (size_t i = 0; i < host->trees_len; i++) {
		if (group->fds[i] < 0)
			continue;
		fd_cleanup(&group->fds[i]);
		if (!remove_group(host->trees[i].parent_fd, group->name))
			gone = false;
	}
	return gone;
}

/* Whether a directory is "sbx-INSTANCE-NUMBER-NUMBER". */
static bool is_ours(const char *name, const char *instance)
{
	char prefix[CGROUP_NAME_BYTES];
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), "sbx-%s-", instance);
	size_t slot, serial;

	if (strncmp(name, prefix, len) != 0)
		return false;
	name += len;
	slot = strspn(name, "0123456789");
	if (slot == 0 || name[slot] != '-')
		return false;
	serial = strspn(name + slot + 1, "0123456789");
	return serial > 0 && name[slot + 1 + serial] == '\0';
}

static void kill_group(const struct cgroup_tree *tree, int fd)
{
	char pids[4096];

	if (tree->v2 && cgroup_write(fd, "cgroup.kill", "1") == 0)
		return;
	(void)cgroup_read(fd, "cgroup.procs", pids, sizeof(pids));
	for (char *at = pids; *at != '\0';) {
		char *end;
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		if (*end == '\n' && pid > 1)
			(void)kill((pid_t)pid, SIGKILL);
		at = *end == '\n' ? end + 1 : end;
	}
}

static bool sweep_group(const struct cgroup_tree *tree, const char *name)
{
	enum { TRIES = 200, PAUSE_US = 5000 };
	int fd = openat(tree->parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool gone = fd < 0;

	for (int i = 0; i < TRIES && !gone; i++) {
		kill_group(tree, fd);
		gone = unlinkat(tree->parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
		if (!gone)
			pause_us(PAUSE_US);
	}
	fd_close(fd);
	return gone;
}

/* Kills and removes each wanted group of a tree; names one that would not go. */
static int each_group(const struct cgroup_tree *tree,
		      bool (*wanted)(const char *name, const char *text), const char *text,
		      char ret_busy[CGROUP_NAME_BYTES])
{
	int fd = openat(tree->parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL) {
		fd_close(fd);
		return -1;
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		if (strncmp(entry->d_name, "sbx-", 4) == 0 && wanted(entry->d_name, text) &&
		    !sweep_group(tree, entry->d_name))
			(void)snprintf(ret_busy, CGROUP_NAME_BYTES, "%.*s", CGROUP_NAME_BYTES - 1,
				       entry->d_name);
	(void)closedir(dir);
	return 0;
}

int cgroup_sweep(const struct cgroup_host *host, const char *instance, struct err *err)
{
	char busy[CGROUP_NAME_BYTES] = "";

	for (size_t i = 0; i < host->trees_len; i++) {
		const char *parent = host->trees[i].parent;

		if (each_group(&host->trees[i], is_ours, instance, busy) < 0)
			return err_sys(err, "cannot list control groups of '%s'", parent);
		if (busy[0] != '\0')
			return err_set(err, ERR_CONFLICT,
				       "cannot remove control group '%s/%s': still busy", parent,
				       busy);
	}
	return 0;
}

/* "sbx-PREFIX-PID-SLOT-SERIAL" of a process that is no more. */
static bool is_dead(const char *name, const char *prefix)
{
	char instance[CGROUP_NAME_BYTES];
	int len = snprintf(instance, sizeof(instance), "sbx-%s-", prefix);
	long pid;

	if (strncmp(name, instance, (size_t)len) != 0)
		return false;
	pid = strtol(name + len, NULL, 10);
	(void)snprintf(instance, sizeof(instance), "%s-%ld", prefix, pid);
	return pid > 0 && is_ours(name, instance) && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

void cgroup_sweep_dead(const struct cgroup_host *host, const char *prefix)
{
	char busy[CGROUP_NAME_BYTES];

	for (size_t i = 0; i < host->trees_len; i++)
		(void)each_group(&host->trees[i], is_dead, prefix, busy);
}
