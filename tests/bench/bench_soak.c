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
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/text.h"
#include "tests/bench/boxbench.h"

enum {
	RUNS_MAX = 1000000,
	WINDOW_MAX = 1000,
	SPAWN_EVERY = 10,
	LOOK_EVERY = 100,
	SETTLE_TRIES = 100,
	SETTLE_MS = 100,
};

static const char instance[] = "bench-soak";

/* Of one slot, in memory that its process shares with the first. */
struct record {
	int64_t most_networks;
	int64_t descriptors, processes; /* more at the end than after the first run */
	int64_t box_us[RUNS_MAX / BENCH_SLOTS];
	int64_t spawn_us[RUNS_MAX / BENCH_SLOTS / SPAWN_EVERY];
};

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

/* From nothing to nothing. */
static int64_t box_once(struct box_host *host, unsigned slot, const struct box_workspace *workspace)
{
	const struct driver_hooks hooks = {.watch_fd = -1};
	int64_t start_us = clock_mono_us();
	struct err err = {0};
	struct box *box;

	if (box_new(host, slot, &box, &err) < 0)
		bench_fail("box_new", &err);
	(void)bench_run_us(box, workspace, bench_true, &hooks);
	box_free(box);
	return clock_mono_us() - start_us;
}

static void run_slot(struct box_host *host, unsigned slot, const struct box_workspace *workspace,
		     size_t runs, struct record *record)
{
	int64_t descriptors = 0;

	for (size_t i = 0; i < runs; i++) {
		record->box_us[i] = box_once(host, slot, workspace);
		if (i % SPAWN_EVERY == 0)
			record->spawn_us[i / SPAWN_EVERY] = bench_spawn_us();
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

static double mean_ms(struct record *const records[BENCH_SLOTS], bool spawns, size_t from,
		      size_t len)
{
	double sum = 0;

	for (size_t slot = 0; slot < BENCH_SLOTS; slot++)
		for (size_t i = from; i < from + len; i++)
			sum += (double)(spawns ? records[slot]->spawn_us[i]
					       : records[slot]->box_us[i]);
	return sum / (double)(len * BENCH_SLOTS) / 1000;
}

static void print_means(struct record *const records[BENCH_SLOTS], size_t runs)
{
	size_t window = runs / 10 < WINDOW_MAX / BENCH_SLOTS ? runs / 10 : WINDOW_MAX / BENCH_SLOTS;
	size_t spawns = window / SPAWN_EVERY;
	double first = mean_ms(records, false, 0, window);
	double last = mean_ms(records, false, runs - window, window);
	double then = mean_ms(records, true, 0, spawns);
	double now = mean_ms(records, true, runs / SPAWN_EVERY - spawns, spawns);
	char name[64], note[128];

	(void)snprintf(name, sizeof(name), "first %zu runs, mean", window * BENCH_SLOTS);
	(void)snprintf(note, sizeof(note), "%.2f x posix_spawn meanwhile, %.3f ms", first / then,
		       then);
	bench_print(name, first, "ms", note);
	(void)snprintf(name, sizeof(name), "last %zu runs, mean", window * BENCH_SLOTS);
	(void)snprintf(note, sizeof(note),
		       "%.2f x posix_spawn meanwhile, %.3f ms: %.2f x as much as at first",
		       last / now, now, last / now / (first / then));
	bench_print(name, last, "ms", note);
}

/* The kernel clears away for a while; what stays is left behind. Other programs
 * of the machine have network namespaces, too: those are told and not counted. */
static void print_left(struct record *const records[BENCH_SLOTS], int64_t mounts, int64_t networks)
{
	int64_t left = 0, processes = 0, descriptors = 0, most = 0;
	int64_t more = 0;
	char note[256];

	for (size_t slot = 0; slot < BENCH_SLOTS; slot++) {
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
	bench_print("left behind", (double)left, "things", note);
}

/* --- all of it ------------------------------------------------------------------------- */

static void soak(struct box_host *host, const struct box_workspace *workspace, size_t runs)
{
	struct record *records[BENCH_SLOTS];
	int64_t mounts = count_mounts(), networks = count_networks(), start_us = clock_mono_us();
	struct err err = {.message = "failed"};
	int status;

	for (unsigned slot = 0; slot < BENCH_SLOTS; slot++) {
		records[slot] = mmap(NULL, sizeof(*records[slot]), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (records[slot] == MAP_FAILED)
			bench_fail("memory", &err);
		if (fork() != 0)
			continue;
		run_slot(host, slot, workspace, runs, records[slot]);
		_exit(0);
	}
	for (unsigned slot = 0; slot < BENCH_SLOTS; slot++)
		if (wait(&status) < 0 || status != 0)
			bench_fail("a slot", &err);
	bench_print("boxes, two slots",
		    (double)(runs * BENCH_SLOTS) * 1e6 / (double)(clock_mono_us() - start_us), "/s",
		    "");
	print_means(records, runs);
	print_left(records, mounts, networks);
}

int main(int argc, char **argv)
{
	const struct box_config config = {
		.instance = instance, .uid_base = BENCH_UID_BASE, .slots = BENCH_SLOTS};
	struct box_workspace workspace = {.lower_fd = -1};
	struct box_host *host;
	struct err err = {0};
	int64_t runs;

	if (argc != 3 || !text_parse_int(argv[1], &runs) || runs < 10 * BENCH_SLOTS * SPAWN_EVERY ||
	    runs > RUNS_MAX) {
		(void)fputs("usage: bench_soak RUNS LOWER\n", stderr);
		return 2;
	}
	bench_open_lower(argv[2], &workspace);
	/* What others mount meanwhile is not ours to count. */
	if (unshare(CLONE_NEWNS) == 0)
		(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (box_host_open(&host, &config, &err) < 0)
		bench_fail("box_host_open", &err);
	soak(host, &workspace, (size_t)runs / BENCH_SLOTS);
	box_host_close(host);
	fd_close(workspace.lower_fd);
	return 0;
}
