/*
 * cgroup.c - theory of operation.
 *
 * A tree is one mounted hierarchy with at least one controller that boxes
 * use. Version 1 mounts come first, because a controller lives in one
 * hierarchy only; what is left is looked for in version 2. A box has one
 * directory of the same name in each tree.
 *
 * Version 2 forbids processes in a group whose controllers are enabled for
 * its children. When the parent is the group that this process itself is in,
 * everything in it moves one level down first, as systemd's delegation asks
 * of its clients.
 *
 * The memory group is given memory and disk together, because the pages of
 * the tmpfs layer are charged to whoever writes them; driver_step.c keeps the
 * two apart by the shmem counter.
 */
#include "worker/sandbox/cgroup.h"

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

static int write_at(int dir_fd, const char *file, const char *text)
{
	int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	fd_close(fd);
	return n < 0 ? -1 : 0;
}

static int write_number(int dir_fd, const char *file, int64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", (long long)value);
	return write_at(dir_fd, file, text);
}

static size_t read_at(int dir_fd, const char *file, char *text, size_t size)
{
	int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	fd_close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

/* Whether `word` is one of the words in `list`, which `separator` parts. */
static bool has_word(const char *list, const char *word, char separator)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)) != NULL; at += len) {
		char after = at[len];

		if ((at == list || at[-1] == separator) &&
		    (after == '\0' || after == separator || after == '\n'))
			return true;
	}
	return false;
}

/* --- finding the hierarchies -------------------------------------------- */

struct mount_line {
	char root[CGROUP_PATH_BYTES];
	char point[CGROUP_PATH_BYTES];
	char type[32];
	char options[256]; /* of the superblock: the version 1 controllers */
};

/* 36 35 98:0 ROOT POINT OPTIONS [FIELDS...] - TYPE SOURCE SUPEROPTIONS */
static bool parse_mount(const char *line, struct mount_line *ret)
{
	size_t len = strcspn(line, "\n");
	const char *dash = memmem(line, len, " - cgroup", 9);

	return dash != NULL &&
	       sscanf(line, "%*s %*s %*s %511s %511s", ret->root, ret->point) == 2 &&
	       sscanf(dash, " - %31s %*s %255s", ret->type, ret->options) == 2;
}

/* The path of this process in the hierarchy of `controller`, NULL: version 2. */
static bool own_path(const char *proc_cgroup, const char *controller, char *ret, size_t size)
{
	for (const char *line = proc_cgroup; line != NULL && *line != '\0';) {
		const char *list = strchr(line, ':');
		const char *path = list != NULL ? strchr(list + 1, ':') : NULL;
		const char *end = path != NULL ? strchrnul(path, '\n') : NULL;
		char controllers[256];

		if (path == NULL)
			return false;
		(void)snprintf(controllers, sizeof(controllers), "%.*s", (int)(path - list - 1),
			       list + 1);
		if (controller == NULL ? controllers[0] == '\0'
				       : has_word(controllers, controller, ',')) {
			(void)snprintf(ret, size, "%.*s", (int)(end - path - 1), path + 1);
			return true;
		}
		line = *end == '\0' ? NULL : end + 1;
	}
	return false;
}

/* Where our groups go in a hierarchy: below `parent`, or below ourselves. */
static bool parent_path(const struct mount_line *mount, const char *parent, const char *proc_cgroup,
			const char *controller, char *ret, size_t size)
{
	char own[CGROUP_PATH_BYTES];
	const char *below = own;
	size_t root_len = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);

	if (parent != NULL)
		return snprintf(ret, size, "%s/%s", mount->point, parent) < (int)size;
	if (!own_path(proc_cgroup, controller, own, sizeof(own)))
		return false;
	if (strncmp(own, mount->root, root_len) == 0)
		below = own + root_len;
	if (strncmp(below, "/..", 3) == 0)
		below = "";
	if (strcmp(below, "/") == 0)
		below = "";
	return snprintf(ret, size, "%s%s", mount->point, below) < (int)size;
}

static void set_missing(struct cgroup_host *host, uint32_t controllers, const char *path,
			const char *why)
{
	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++)
		if ((controllers & 1U << c) != 0)
			(void)snprintf(host->missing[c], sizeof(host->missing[c]), "%s: %s%.100s",
				       names[c], why, path);
}

static void add_tree(struct cgroup_host *host, bool v2, uint32_t controllers, const char *path,
		     int fd)
{
	struct cgroup_tree *tree = &host->trees[host->trees_len];

	assert(host->trees_len < CGROUP_TREES);
	*tree = (struct cgroup_tree){.v2 = v2, .controllers = controllers, .parent_fd = fd};
	(void)snprintf(tree->parent, sizeof(tree->parent), "%s", path);
	host->trees_len++;
	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++)
		if ((controllers & 1U << c) != 0)
			host->missing[c][0] = '\0';
}

static int open_parent(struct cgroup_host *host, uint32_t controllers, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		set_missing(host, controllers, path, "there is no group ");
	else if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0) {
		set_missing(host, controllers, path, "not delegated to this user: ");
		fd_close(fd);
		return -1;
	}
	return fd;
}

static void find_v1(struct cgroup_host *host, const struct mount_line *mount, const char *parent,
		    const char *proc_cgroup)
{
	char path[CGROUP_PATH_BYTES];
	uint32_t controllers = 0;
	const char *first = NULL;
	int fd;

	for (unsigned c = 0; c < CGROUP_IO; c++)
		if ((host->unwanted & 1U << c) == 0 && has_word(mount->options, names[c], ',')) {
			controllers |= 1U << c;
			first = names[c];
		}
	if (first == NULL || !parent_path(mount, parent, proc_cgroup, first, path, sizeof(path)))
		return;
	fd = open_parent(host, controllers, path);
	if (fd >= 0)
		add_tree(host, false, controllers, path, fd);
}

/* --- version 2 ------------------------------------------------------------ */

static void move_all(int from_fd, int to_fd)
{
	int fd = openat(from_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
	long pid;

	if (file == NULL)
		return;
	while (fscanf(file, "%ld", &pid) == 1)
		(void)write_number(to_fd, "cgroup.procs", pid);
	(void)fclose(file);
}

/* Empties the group we are in by moving all of it into a group below. */
static void step_down(struct cgroup_host *host, int fd)
{
	char name[CGROUP_NAME_BYTES];
	int below;

	(void)snprintf(name, sizeof(name), "sbx-%s-host", host->instance);
	if (mkdirat(fd, name, 0755) < 0 && errno != EEXIST)
		return;
	below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (below >= 0)
		move_all(fd, below);
	fd_close(below);
}

static uint32_t enable_v2(struct cgroup_host *host, int fd, uint32_t wanted, bool own)
{
	char enabled[256];
	uint32_t got = 0;

	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++) {
		char text[32];

		if (c == CGROUP_CPUACCT || (wanted & 1U << c) == 0)
			continue;
		(void)read_at(fd, "cgroup.subtree_control", enabled, sizeof(enabled));
		(void)snprintf(text, sizeof(text), "+%s", names[c]);
		if (!has_word(enabled, names[c], ' ') &&
		    write_at(fd, "cgroup.subtree_control", text) < 0) {
			if (errno == EBUSY && own)
				step_down(host, fd);
			if (write_at(fd, "cgroup.subtree_control", text) < 0)
				continue;
		}
		got |= 1U << c;
	}
	return got;
}

static void find_v2(struct cgroup_host *host, const struct mount_line *mount, const char *parent,
		    const char *proc_cgroup)
{
	char path[CGROUP_PATH_BYTES], available[256];
	uint32_t wanted = 0, got;
	int fd;

	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++)
		if (!cgroup_has(host, c) && (host->unwanted & 1U << c) == 0)
			wanted |= 1U << c;
	if (!parent_path(mount, parent, proc_cgroup, NULL, path, sizeof(path)))
		return;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)read_at(fd, "cgroup.controllers", available, sizeof(available));
	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++)
		if (!has_word(available, names[c], ' ') && c != CGROUP_CPUACCT)
			wanted &= ~(1U << c);
	fd_close(fd);
	if ((wanted & ~(1U << CGROUP_CPUACCT)) == 0)
		return;
	fd = open_parent(host, wanted, path);
	if (fd < 0)
		return;
	got = enable_v2(host, fd, wanted, parent == NULL);
	set_missing(host, wanted & ~got, path, "cannot be enabled for the groups below ");
	if (got == 0) {
		fd_close(fd);
		return;
	}
	add_tree(host, true, got | (wanted & 1U << CGROUP_CPUACCT), path, fd);
}

static void each_mount(struct cgroup_host *host, const char *mounts, const char *type,
		       const char *parent, const char *proc_cgroup)
{
	struct mount_line mount;

	for (const char *line = mounts; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');

		if (host->trees_len < CGROUP_TREES && parse_mount(line, &mount) &&
		    strcmp(mount.type, type) == 0) {
			if (strcmp(type, "cgroup2") == 0)
				find_v2(host, &mount, parent, proc_cgroup);
			else
				find_v1(host, &mount, parent, proc_cgroup);
		}
		line = end != NULL ? end + 1 : NULL;
	}
}

bool cgroup_has(const struct cgroup_host *host, enum cgroup_controller controller)
{
	return host->missing[controller][0] == '\0';
}

int cgroup_host_open(struct cgroup_host *host, const char *instance, const char *parent,
		     uint32_t unwanted, struct err *err)
{
	struct buf mounts, own;
	int result = -1;

	*host = (struct cgroup_host){.unwanted = unwanted};
	(void)snprintf(host->instance, sizeof(host->instance), "%s", instance);
	set_missing(host, (1U << CGROUP_CONTROLLERS) - 1, "",
		    "no cgroup hierarchy of this host has the controller");
	set_missing(host, unwanted, "", "nothing was asked that needs it");
	buf_init(&mounts, 4 << 20);
	buf_init(&own, 1 << 16);
	if (fd_read_file("/proc/self/mountinfo", 4 << 20, &mounts, err) < 0 ||
	    fd_read_file("/proc/self/cgroup", 1 << 16, &own, err) < 0)
		goto out;
	each_mount(host, buf_text(&mounts), "cgroup", parent, buf_text(&own));
	each_mount(host, buf_text(&mounts), "cgroup2", parent, buf_text(&own));
	result = 0;
out:
	buf_release(&mounts);
	buf_release(&own);
	return result;
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

static int limit_memory(bool v2, int fd, const struct box_limits *limits)
{
	int64_t bytes = limits->memory_bytes + limits->disk_bytes + BOX_INIT_MEMORY_BYTES;

	if (v2) {
		if (write_number(fd, "memory.swap.max", 0) < 0 && errno != ENOENT)
			return -1;
		return write_number(fd, "memory.max", bytes);
	}
	if (write_number(fd, "memory.limit_in_bytes", bytes) < 0)
		return -1;
	/* Memory and swap together; absent where swap is not counted. */
	if (write_number(fd, "memory.memsw.limit_in_bytes", bytes) < 0 && errno != ENOENT &&
	    errno != EOPNOTSUPP)
		return -1;
	return 0;
}

static int limit_cpu(bool v2, int fd, int64_t millicpus)
{
	int64_t quota_us = millicpus * (CPU_PERIOD_US / 1000);
	char text[64];

	if (quota_us < 1000)
		quota_us = 1000;
	if (!v2)
		return write_number(fd, "cpu.cfs_quota_us", quota_us);
	(void)snprintf(text, sizeof(text), "%lld %d", (long long)quota_us, CPU_PERIOD_US);
	return write_at(fd, "cpu.max", text);
}

static int limit_tree(const struct cgroup_tree *tree, int fd, const struct box_limits *limits)
{
	if ((tree->controllers & 1U << CGROUP_MEMORY) != 0 &&
	    limit_memory(tree->v2, fd, limits) < 0)
		return -1;
	if ((tree->controllers & 1U << CGROUP_PIDS) != 0 &&
	    write_number(fd, "pids.max", limits->processes + BOX_INIT_PROCESSES) < 0)
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

	if (tree->v2 && write_at(fd, "cgroup.kill", "1") == 0)
		return;
	(void)read_at(fd, "cgroup.procs", pids, sizeof(pids));
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
