/*
 * bench_warm.c - what a step costs in a box that waits for it, against
 * posix_spawn(3) of the same program in the same rounds.
 *
 *	bench_warm ROUNDS LOWER
 *	bench_warm serve LOWER
 *
 * LOWER is the directory below the workspace's overlay. Prints a line of JSON
 * for each: {"name", "value", "unit", "note"}, and "p95" of times. To serve is
 * to run /bin/true once for each byte on standard input, in a box made before
 * it came, and to answer with a byte at its end: bench_spawn asks for it.
 *
 *	spawn        posix_spawn of /bin/true to its end reaped
 *	warm         box_attach to the end of /bin/true, all layers, limits, overlay
 *	warm, idle   the same when nothing was done for a quarter of a second
 *	cold         the same with the making of the box
 *	two slots    whole boxes made, used and freed by two processes at once;
 *	             and with network namespaces that are used anew
 *	filter       what the seccomp filter adds to a getppid(2)
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "tests/bench/boxbench.h"

enum {
	ROUNDS_MAX = 100000,
	IDLE_ROUNDS = 12,
	IDLE_MS = 250,
	CALLS = 2000000,
};

struct bench {
	struct box_host *host;
	struct box_workspace workspace;
	unsigned slot;
};

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int64_t percentile(int64_t *us, size_t len, size_t percent)
{
	qsort(us, len, sizeof(*us), compare);
	return us[len * percent / 100];
}

static void print_times(const char *name, int64_t *us, size_t len, double base_us)
{
	int64_t p50 = percentile(us, len, 50), p95 = percentile(us, len, 95);
	char note[96];

	(void)snprintf(note, sizeof(note), "%.2f x posix_spawn; p95 %.3f ms, %.2f x its p50",
		       (double)p50 / base_us, (double)p95 / 1000, (double)p95 / (double)p50);
	(void)printf("{\"name\": \"%s\", \"value\": %.4f, \"p95\": %.4f, \"unit\": \"ms\", "
		     "\"note\": \"%s\"}\n",
		     name, (double)p50 / 1000, (double)p95 / 1000, note);
	(void)fflush(stdout);
}

/* --- one run ------------------------------------------------------------------ */

static struct box *make(struct bench *bench)
{
	struct err err = {0};
	struct box *box;

	if (box_new(bench->host, bench->slot, &box, &err) < 0)
		bench_fail("box_new", &err);
	return box;
}

struct output {
	char *text;
	size_t size, len;
};

static void on_output(void *ctx, enum driver_stream stream, const void *data, size_t len)
{
	struct output *output = ctx;

	(void)stream;
	if (output->len + len < output->size) {
		(void)memcpy(output->text + output->len, data, len);
		output->len += len;
		output->text[output->len] = '\0';
	}
}

static int64_t true_in(struct bench *bench, struct box *box)
{
	const struct driver_hooks hooks = {.watch_fd = -1};

	return bench_run_us(box, &bench->workspace, bench_true, &hooks);
}

/* --- one at a time ----------------------------------------------------------------- */

static double one_at_a_time(struct bench *bench, int64_t *spawn, int64_t *warm, int64_t *cold,
			    size_t rounds)
{
	double base_us;

	for (size_t i = 0; i < rounds; i++) {
		struct box *box = make(bench);
		int64_t start_us;

		spawn[i] = bench_spawn_us();
		warm[i] = true_in(bench, box);
		box_free(box);
		start_us = clock_mono_us();
		box = make(bench);
		(void)true_in(bench, box);
		cold[i] = clock_mono_us() - start_us;
		box_free(box);
	}
	base_us = (double)percentile(spawn, rounds, 50);
	print_times("posix_spawn", spawn, rounds, base_us);
	print_times("warm box", warm, rounds, base_us);
	print_times("cold box", cold, rounds, base_us);
	return base_us;
}

static void after_idling(struct bench *bench, double base_us)
{
	int64_t us[IDLE_ROUNDS];

	for (size_t i = 0; i < IDLE_ROUNDS; i++) {
		struct box *box = make(bench);

		(void)poll(NULL, 0, IDLE_MS);
		us[i] = true_in(bench, box);
		box_free(box);
	}
	print_times("warm box, after an idle gap", us, IDLE_ROUNDS, base_us);
}

/* --- two at a time -------------------------------------------------------------------- */

/* As a worker does it: a box ends while the next one is made. */
static void loop_boxes(struct bench *bench, size_t rounds)
{
	struct box *last = NULL;

	for (size_t i = 0; i < rounds; i++) {
		struct box *box = make(bench);

		(void)true_in(bench, box);
		box_kill(box);
		box_free(last);
		last = box;
	}
	box_free(last);
}

static void loop_spawns(size_t rounds)
{
	for (size_t i = 0; i < rounds; i++)
		(void)bench_spawn_us();
}

static double per_second(struct bench *bench, size_t rounds, bool boxes)
{
	int64_t start_us = clock_mono_us();
	const struct err err = {.message = "failed"};

	for (unsigned slot = 0; slot < BENCH_SLOTS; slot++) {
		pid_t pid = fork();

		if (pid < 0)
			bench_fail("fork", &err);
		if (pid > 0)
			continue;
		bench->slot = slot;
		if (boxes)
			loop_boxes(bench, rounds);
		else
			loop_spawns(rounds);
		_exit(0);
	}
	for (unsigned slot = 0; slot < BENCH_SLOTS; slot++) {
		int status;

		if (wait(&status) < 0 || status != 0)
			bench_fail("two slots", &err);
	}
	return (double)rounds * BENCH_SLOTS * 1e6 / (double)(clock_mono_us() - start_us);
}

static void two_at_a_time(struct bench *bench, const char *name, size_t rounds)
{
	double boxes = per_second(bench, rounds, true), spawns = per_second(bench, rounds, false);
	char note[96];

	(void)snprintf(note, sizeof(note), "%.2f x two loops of posix_spawn, %.0f /s",
		       boxes / spawns, spawns);
	bench_print(name, boxes, "/s", note);
}

/* The same for a host that uses network namespaces anew. */
static void two_with_old_networks(const struct bench *bench, size_t rounds)
{
	const struct box_config config = {.instance = "bench-warm",
					  .uid_base = BENCH_UID_BASE + BENCH_SLOTS,
					  .slots = BENCH_SLOTS,
					  .reuse_networks = true};
	struct bench other = *bench;
	struct err err = {0};

	if (box_host_open(&other.host, &config, &err) < 0)
		bench_fail("box_host_open", &err);
	two_at_a_time(&other, "two slots, networks used anew", rounds);
	box_host_close(other.host);
}

/* --- the filter ------------------------------------------------------------------------ */

/* Nanoseconds of one call, inside as well as outside. */
static double call_ns(void)
{
	int64_t start_us = clock_mono_us();

	for (int i = 0; i < CALLS; i++)
		(void)syscall(SYS_getppid);
	return (double)(clock_mono_us() - start_us) * 1000 / CALLS;
}

/* The same under the least that a filter can be: what the kernel itself takes. */
static double least_call_ns(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog program = {.len = 1, .filter = &allow};
	double ns = 0;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return 0;
	pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
			_exit(1);
		ns = call_ns();
		_exit(write(ends[1], &ns, sizeof(ns)) != sizeof(ns));
	}
	fd_close(ends[1]);
	if (read(ends[0], &ns, sizeof(ns)) != sizeof(ns))
		ns = 0;
	fd_close(ends[0]);
	(void)waitpid(pid, NULL, 0);
	return ns;
}

static void filter_cost(struct bench *bench, const char *self)
{
	const char *const inside[] = {"./bench_warm", "calls", NULL};
	struct bench here = *bench;
	char text[64] = "", folder[512], note[128];
	struct output output = {text, sizeof(text), 0};
	const struct driver_hooks hooks = {.output = on_output, .watch_fd = -1, .ctx = &output};
	struct box *box;
	double out, in, least;

	(void)snprintf(folder, sizeof(folder), "%s", self);
	*strrchr(folder, '/') = '\0';
	here.workspace.lower_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	box = make(&here);
	(void)bench_run_us(box, &here.workspace, inside, &hooks);
	box_free(box);
	fd_close(here.workspace.lower_fd);
	out = call_ns();
	in = strtod(text, NULL);
	least = least_call_ns();
	(void)snprintf(note, sizeof(note),
		       "%.1f ns outside: %+.1f %%; a filter of one line: %+.1f %%", out,
		       (in / out - 1) * 100, (least / out - 1) * 100);
	bench_print("getppid under the filter", in, "ns", note);
}

/* --- for others ----------------------------------------------------------------------------- */

static void serve(struct bench *bench)
{
	struct box *box = make(bench);
	char byte;

	while (read(STDIN_FILENO, &byte, 1) == 1) {
		(void)true_in(bench, box);
		if (write(STDOUT_FILENO, &byte, 1) != 1)
			break;
		box_free(box);
		box = make(bench);
	}
	box_free(box);
}

/* --- all of it --------------------------------------------------------------------------- */

static void open_all(struct bench *bench, const struct box_config *config, const char *lower)
{
	struct err err = {0};

	bench_open_lower(lower, &bench->workspace);
	if (box_host_open(&bench->host, config, &err) < 0)
		bench_fail("box_host_open", &err);
}

static void measure(struct bench *bench, size_t rounds)
{
	int64_t *us = calloc(rounds * 3, sizeof(*us));
	const struct err err = {.message = "out of memory"};
	char self[512] = "";
	double base_us;

	if (us == NULL || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		bench_fail("start", &err);
	base_us = one_at_a_time(bench, us, us + rounds, us + 2 * rounds, rounds);
	free(us);
	after_idling(bench, base_us);
	two_at_a_time(bench, "two slots, a fresh box each", rounds);
	two_with_old_networks(bench, rounds);
	filter_cost(bench, self);
}

int main(int argc, char **argv)
{
	const struct box_config config = {
		.instance = "bench-warm", .uid_base = BENCH_UID_BASE, .slots = BENCH_SLOTS};
	struct bench bench = {.workspace = {.lower_fd = -1}};
	struct err err = {0};
	int64_t rounds = 0;

	if (argc == 2 && strcmp(argv[1], "calls") == 0)
		return printf("%.2f\n", call_ns()) < 0;
	if (argc != 3 || (strcmp(argv[1], "serve") != 0 && (!text_parse_int(argv[1], &rounds) ||
							    rounds < 1 || rounds > ROUNDS_MAX))) {
		(void)fputs("usage: bench_warm ROUNDS|serve LOWER\n", stderr);
		return 2;
	}
	open_all(&bench, &config, argv[2]);
	if (rounds == 0)
		serve(&bench);
	else
		measure(&bench, (size_t)rounds);
	if (box_host_sweep(bench.host, config.instance, &err) < 0)
		bench_fail("sweep", &err);
	box_host_close(bench.host);
	fd_close(bench.workspace.lower_fd);
	return 0;
}
