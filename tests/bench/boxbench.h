/*
 * boxbench.h - what the benchmarks of boxes share: the limits they run under,
 * one run of a program in a box and one without, and the lines they print.
 */
#ifndef SBX_TESTS_BOXBENCH_H
#define SBX_TESTS_BOXBENCH_H

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/sandbox/driver.h"

enum { BENCH_SLOTS = 2, BENCH_UID_BASE = 1900000000 };

static const struct box_limits bench_limits = {.wall_ms = 60000,
					       .memory_bytes = 512 << 20,
					       .disk_bytes = 64 << 20,
					       .inodes = 10000,
					       .processes = 64,
					       .open_files = 256};

static const char *const bench_true[] = {"/bin/true", NULL};

static inline NORETURN void bench_fail(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, err->message);
	exit(1);
}

static inline void bench_print(const char *name, double value, const char *unit, const char *note)
{
	(void)printf("{\"name\": \"%s\", \"value\": %.4f, \"unit\": \"%s\", \"note\": \"%s\"}\n",
		     name, value, unit, note);
	(void)fflush(stdout);
}

/* The directory below the workspace's overlay. */
static inline void bench_open_lower(const char *path, struct box_workspace *ret)
{
	struct err err = {0};
	struct stat st;

	ret->lower_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->lower_fd < 0 || fstat(ret->lower_fd, &st) < 0) {
		(void)err_sys(&err, "cannot open");
		bench_fail(path, &err);
	}
	ret->lower_uid = st.st_uid;
	ret->lower_gid = st.st_gid;
}

/* Microseconds of posix_spawn(3) of /bin/true to its end reaped. */
static inline int64_t bench_spawn_us(void)
{
	static char *const argv[] = {"/bin/true", NULL};
	int64_t start_us = clock_mono_us();
	const struct err err = {.message = "failed"};
	int status;
	pid_t pid;

	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		bench_fail("posix_spawn", &err);
	return clock_mono_us() - start_us;
}

/* Microseconds from what is to be run to its end, seen by who asked for it. */
static inline int64_t bench_run_us(struct box *box, const struct box_workspace *workspace,
				   const char *const *argv, const struct driver_hooks *hooks)
{
	static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	int64_t start_us = clock_mono_us();
	const struct driver_step step = {.argv = argv, .env = env, .tty_fd = -1};
	struct driver_outcome outcome;
	struct box_handle handle;
	struct driver driver;
	struct err err = {0};
	int64_t took_us;

	if (box_attach(box, workspace, &bench_limits, &err) < 0)
		bench_fail("box_attach", &err);
	box_handle_take(box, &handle);
	driver_init(&driver, &handle, &bench_limits);
	if (driver_step(&driver, &step, hooks, &outcome, &err) < 0)
		bench_fail("driver_step", &err);
	took_us = clock_mono_us() - start_us;
	driver_release(&driver);
	if (outcome.exit_code != 0) {
		(void)err_set(&err, ERR_PEER, "exit code %d, signal %d, %s limit, %s%s",
			      outcome.exit_code, outcome.signal, box_limit_name(outcome.limit),
			      outcome.syscall, outcome.start_error);
		bench_fail(argv[0], &err);
	}
	return took_us;
}

#endif
