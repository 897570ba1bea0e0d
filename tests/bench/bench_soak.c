/*
 * bench_soak.c - whether boxes get slower, or leave anything, over many of them.
 *
 *	bench_soak RUNS LOWER
 *
 * Two processes make, use and free RUNS boxes between them, as fast as they can;
 * LOWER is the directory below the workspace's overlay. Every tenth run is
 * followed by a posix_spawn(3) of the same program, which tells how busy the
 * machine was then. Prints lines of JSON as bench_warm.c does: means of the first
 * and the last tenth (at most a thousand), how many network namespaces the kernel had not cleared
 * away yet, and all that is left once it has had its time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "worker/sandbox/driver.h"

enum {
	SLOTS = 2,
	RUNS_MAX = 1000000,
	WINDOW_MAX = 1000,
	SPAWN_EVERY = 10,
	LOOK_EVERY = 100,
	SETTLE_TRIES = 100,
	SETTLE_MS = 100,
	UID_BASE = 1900000000,
};

static const char instance[] = "bench-soak";

static const struct box_limits limits = {.wall_ms = 60000,
					 .memory_bytes = 512 << 20,
					 .disk_bytes = 64 << 20,
					 .inodes = 10000,
					 .processes = 64,
					 .open_files = 256};

/* Of one slot, in memory that its process shares with the first. */
struct record {
	int64_t most_networks;
	int64_t descriptors, processes; /* more at the end than after the first run */
	int64_t box_us[RUNS_MAX / SLOTS];
	int64_t spawn_us[RUNS_MAX / SLOTS / SPAWN_EVERY];
};

static NORETURN void fail(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "bench_soak: %s: %s\n", what, err->message);
	exit(1);
}

/* --- what there is --------------------------------------------------------------- */

/* As the kernel's allocator counts them: only root may know. -1: nobody tells. */
static int64_t count_networks(void)
{
	static const char name[] = "\nnet_namespace";
	struct buf text;
	const char *line;
	long long count = -1;

	buf_init(&text, 4 << 20);
	if (fd_read_file("/proc/slabinfo", 4 << 20, &text, NULL) == 0 &&
	    (line = strstr(buf_text(&text), name)) != NULL)
		count = strtoll(line + sizeof(name) - 1, NULL, 10);
	buf_release(&text);
	return count;
}

static int64_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int64_t count = 0;

	while (dir != NULL && readdir(dir) != NULL)
		count++;
	if (dir != NULL)
		(void)closedir(dir);
	return count;
}

static int64_t count_mounts(void)
{
	struct buf text;
	int64_t count = 0;

	buf_init(&text, 16 << 20);
	if (fd_read_file("/proc/self/mountinfo", 16 << 20, &text, NULL) == 0)
		for (const char *at = buf_text(&text); (at = strchr(at, '\n')) != NULL; at++)
			count++;
	buf_release(&text);
	return count;
}

static int64_t groups;

static int see_group(const char *path, const struct stat *st, int type, struct FTW *where)
{
	char prefix[64];

	(void)st;
	(void)snprintf(prefix, sizeof(prefix), "sbx-%s-", instance);
	groups += type == FTW_D && strncmp(path + where->base, prefix, strlen(prefix)) == 0;
	return 0;
}

static int64_t count_groups(void)
{
	groups = 0;
	(void)nftw("/sys/fs/cgroup", see_group, 32, FTW_PHYS);
	return groups;
}

/* Children that nobody has reaped. */
static int64_t count_children(void)
{
	siginfo_t info;
	int64_t count = 0;

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0)
		if (info.si_pid == 0)
			return count + 1; /* and they live */
		else
			count++;
	return count;
}

/* --- runs -------------------------------------------------------------------------- */

static int64_t spawn_once(void)
{
	static char *const argv[] = {"/bin/true", NULL};
	int64_t start_us = clock_mono_us();
	const struct err err = {.message = "failed"};
	int status;
	pid_t pid;

	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		fail("posix_spawn", &err);
	return clock_mono_us() - start_us;
}

/* From nothing to nothing. */
static int64_t box_once(struct box_host *host, unsigned slot, const struct box_workspace *workspace)
{
	static const char *const argv[] = {"/bin/true", NULL};
	static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	const struct driver_hooks hooks = {.watch_fd = -1};
	const struct driver_step step = {.argv = argv, .env = env, .tty_fd = -1};
	int64_t start_us = clock_mono_us();
	struct driver_outcome outcome;
	struct box_handle handle;
	struct driver driver;
	struct err err = {0};
	struct box *box;

	if (box_new(host, slot, &box, &err) < 0 || box_attach(box, workspace, &limits, &err) < 0)
		fail("box", &err);
	box_handle_take(box, &handle);
	driver_init(&driver, &handle, &limits);
	if (driver_step(&driver, &step, &hooks, &outcome, &err) < 0)
		fail("driver_step", &err);
	driver_release(&driver);
	box_free(box);
	if (outcome.exit_code != 0) {
		(void)err_set(&err, ERR_PEER, "exit code %d", outcome.exit_code);
		fail(argv[0], &err);
	}
	return clock_mono_us() - start_us;
}

static void run_slot(struct box_host *host, unsigned slot, const struct box_workspace *workspace,
		     size_t runs, struct record *record)
{
	int64_t descriptors = 0;

	for (size_t i = 0; i < runs; i++) {
		record->box_us[i] = box_once(host, slot, workspace);
		if (i % SPAWN_EVERY == 0)
			record->spawn_us[i / SPAWN_EVERY] = spawn_once();
		if (i == 0)
			descriptors = count_entries("/proc/self/fd");
		if (i % LOOK_EVERY == 0) {
			int64_t networks = count_networks();

			if (networks > record->most_networks)
				record->most_networks = networks;
		}
	}
	record->descriptors = count_entries("/proc/self/fd") - descriptors;
	/* The one that made the slot's user namespace is reaped when convenient. */
	box_host_forget(host, slot);
	record->processes = count_children();
}

/* --- what came of it ------------------------------------------------------------------ */

static double mean_ms(struct record *const records[SLOTS], bool spawns, size_t from, size_t len)
{
	double sum = 0;

	for (size_t slot = 0; slot < SLOTS; slot++)
		for (size_t i = from; i < from + len; i++)
			sum += (double)(spawns ? records[slot]->spawn_us[i]
					       : records[slot]->box_us[i]);
	return sum / (double)(len * SLOTS) / 1000;
}

static void print(const char *name, double value, const char *unit, const char *note)
{
	(void)printf("{\"name\": \"%s\", \"value\": %.4f, \"unit\": \"%s\", \"note\": \"%s\"}\n",
		     name, value, unit, note);
	(void)fflush(stdout);
}

static void print_means(struct record *const records[SLOTS], size_t runs)
{
	size_t window = runs / 10 < WINDOW_MAX / SLOTS ? runs / 10 : WINDOW_MAX / SLOTS;
	size_t spawns = window / SPAWN_EVERY;
	double first = mean_ms(records, false, 0, window);
	double last = mean_ms(records, false, runs - window, window);
	double then = mean_ms(records, true, 0, spawns);
	double now = mean_ms(records, true, runs / SPAWN_EVERY - spawns, spawns);
	char name[64], note[128];

	(void)snprintf(name, sizeof(name), "first %zu runs, mean", window * SLOTS);
	(void)snprintf(note, sizeof(note), "%.2f x posix_spawn meanwhile, %.3f ms", first / then,
		       then);
	print(name, first, "ms", note);
	(void)snprintf(name, sizeof(name), "last %zu runs, mean", window * SLOTS);
	(void)snprintf(note, sizeof(note),
		       "%.2f x posix_spawn meanwhile, %.3f ms: %.2f x as much as at first",
		       last / now, now, last / now / (first / then));
	print(name, last, "ms", note);
}

/* The kernel clears away for a while; what stays is left behind. Other programs
 * of the machine have network namespaces, too: those are told and not counted. */
static void print_left(struct record *const records[SLOTS], int64_t mounts, int64_t networks)
{
	int64_t left = 0, processes = 0, descriptors = 0, most = 0;
	int64_t more = 0;
	char note[256];

	for (size_t slot = 0; slot < SLOTS; slot++) {
		processes += records[slot]->processes;
		descriptors += records[slot]->descriptors;
		if (records[slot]->most_networks > most)
			most = records[slot]->most_networks;
	}
	for (int i = 0; i < SETTLE_TRIES; i++) {
		left = count_groups() + count_mounts() - mounts;
		more = count_networks() - networks;
		if (left == 0 && more <= 0)
			break;
		(void)poll(NULL, 0, SETTLE_MS);
	}
	left += processes + descriptors;
	(void)snprintf(note, sizeof(note),
		       "control groups and mounts %lld, processes %lld, descriptors %lld; network "
		       "namespaces of the machine: %lld at first, at most %lld, %+lld at the end",
		       (long long)(left - processes - descriptors), (long long)processes,
		       (long long)descriptors, (long long)networks, (long long)most,
		       (long long)more);
	print("left behind", (double)left, "things", note);
}

/* --- all of it ------------------------------------------------------------------------- */

static void soak(struct box_host *host, const struct box_workspace *workspace, size_t runs)
{
	struct record *records[SLOTS];
	int64_t mounts = count_mounts(), networks = count_networks(), start_us = clock_mono_us();
	struct err err = {.message = "failed"};
	int status;

	for (unsigned slot = 0; slot < SLOTS; slot++) {
		records[slot] = mmap(NULL, sizeof(*records[slot]), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (records[slot] == MAP_FAILED)
			fail("memory", &err);
		if (fork() != 0)
			continue;
		run_slot(host, slot, workspace, runs, records[slot]);
		_exit(0);
	}
	for (unsigned slot = 0; slot < SLOTS; slot++)
		if (wait(&status) < 0 || status != 0)
			fail("a slot", &err);
	print("boxes, two slots",
	      (double)(runs * SLOTS) * 1e6 / (double)(clock_mono_us() - start_us), "/s", "");
	print_means(records, runs);
	print_left(records, mounts, networks);
}

int main(int argc, char **argv)
{
	const struct box_config config = {
		.instance = instance, .uid_base = UID_BASE, .slots = SLOTS};
	struct box_workspace workspace = {.lower_fd = -1};
	struct box_host *host;
	struct err err = {0};
	struct stat st;
	int64_t runs;

	if (argc != 3 || !text_parse_int(argv[1], &runs) || runs < 10 * SLOTS * SPAWN_EVERY ||
	    runs > RUNS_MAX) {
		(void)fputs("usage: bench_soak RUNS LOWER\n", stderr);
		return 2;
	}
	workspace.lower_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (workspace.lower_fd < 0 || fstat(workspace.lower_fd, &st) < 0) {
		(void)err_sys(&err, "cannot open");
		fail(argv[2], &err);
	}
	workspace.lower_uid = st.st_uid;
	workspace.lower_gid = st.st_gid;
	/* What others mount meanwhile is not ours to count. */
	if (unshare(CLONE_NEWNS) == 0)
		(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (box_host_open(&host, &config, &err) < 0)
		fail("box_host_open", &err);
	soak(host, &workspace, (size_t)runs / SLOTS);
	box_host_close(host);
	fd_close(workspace.lower_fd);
	return 0;
}
