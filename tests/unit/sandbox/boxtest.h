/*
 * boxtest.h - one box, ready for a test: real namespaces, real control groups
 * where the machine has them, a real workspace.
 *
 * Each program of tests runs twice: as it was started, and, when that was as
 * root, again as an ordinary user, in a process of its own.
 */
#ifndef SBX_TESTS_BOXTEST_H
#define SBX_TESTS_BOXTEST_H

#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fd.h"
#include "worker/sandbox/driver.h"

enum {
	BOXTEST_UID = 65533, /* the ordinary user */
	BOXTEST_UID_BASE = 1879048192,
};

static const struct box_limits boxtest_limits = {
	.wall_ms = 60 * 1000,
	.memory_bytes = 256 << 20,
	.disk_bytes = 64 << 20,
	.inodes = 10000,
	.processes = 64,
	.open_files = 256,
	.output_bytes = 1 << 20,
};

static const char *const boxtest_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp",
					  "LANG=C.UTF-8", NULL};

struct boxtest {
	struct box_host *host;
	struct box *box;
	struct driver driver;
	struct buf out, errors;
};

static bool boxtest_as_user;
static enum filter_profile boxtest_widest; /* of the next host */

static inline void boxtest_fail(const char *what, const struct err *err)
{
	fail_msg("%s: %s", what, err->message);
}

/* The instance is "PREFIX-PID": nobody else's, and swept by the next test of
 * the same prefix should this one fail half-way. */
static inline void boxtest_open_host(struct boxtest *test, const char *prefix)
{
	char instance[40];
	struct box_config config = {.instance = instance,
				    .allow_missing_cgroup = boxtest_as_user,
				    .uid_base = BOXTEST_UID_BASE,
				    .slots = 2,
				    .widest = boxtest_widest};
	struct err err = {0};

	*test = (struct boxtest){0};
	(void)snprintf(instance, sizeof(instance), "%s-%d", prefix, (int)getpid());
	buf_init(&test->out, 8 << 20);
	buf_init(&test->errors, 8 << 20);
	if (box_host_open(&test->host, &config, &err) < 0)
		boxtest_fail("box_host_open", &err);
	box_host_sweep_dead(test->host, prefix);
}

/* Whether a layer holds here, a user's control groups for instance. */
static inline bool boxtest_holds(const struct boxtest *test, const char *name)
{
	const struct box_layer *layers;
	size_t len = box_host_layers(test->host, &layers);

	for (size_t i = 0; i < len; i++)
		if (strcmp(layers[i].name, name) == 0)
			return layers[i].present;
	fail_msg("no layer '%s'", name);
	return false;
}

/* How much slower than usual this machine is, for limits in time. */
static inline int boxtest_slow(void)
{
	const char *text = getenv("SBX_TEST_SLOW");
	long factor = text == NULL ? 1 : strtol(text, NULL, 10);

	return factor >= 1 && factor <= 100 ? (int)factor : 1;
}

static inline void boxtest_new(struct boxtest *test, const struct box_workspace *workspace,
			       const struct box_limits *limits)
{
	static const struct box_workspace empty = {.lower_fd = -1};
	struct box_handle handle;
	struct err err = {0};

	if (box_new(test->host, 0, &test->box, &err) < 0)
		boxtest_fail("box_new", &err);
	box_handle_take(test->box, &handle);
	if (limits == NULL)
		limits = &boxtest_limits;
	if (box_attach(test->box, workspace == NULL ? &empty : workspace, limits, &err) < 0)
		boxtest_fail("box_attach", &err);
	driver_init(&test->driver, &handle, limits);
}

static inline void boxtest_open(struct boxtest *test, const struct box_workspace *workspace,
				const struct box_limits *limits)
{
	boxtest_open_host(test, "unit");
	boxtest_new(test, workspace, limits);
}

static inline void boxtest_drop(struct boxtest *test)
{
	driver_release(&test->driver);
	box_free(test->box);
	test->box = NULL;
}

static inline void boxtest_close(struct boxtest *test)
{
	if (test->box != NULL)
		boxtest_drop(test);
	box_host_close(test->host);
	buf_release(&test->out);
	buf_release(&test->errors);
}

static inline void boxtest_output(void *ctx, enum driver_stream stream, const void *data,
				  size_t len)
{
	struct boxtest *test = ctx;

	buf_add(stream == DRIVER_STDOUT ? &test->out : &test->errors, data, len);
}

static inline struct driver_outcome boxtest_run(struct boxtest *test,
						const struct driver_step *step)
{
	struct driver_hooks hooks = {.output = boxtest_output, .watch_fd = -1, .ctx = test};
	struct driver_outcome outcome = {0};
	struct err err = {0};

	buf_clear(&test->out);
	buf_clear(&test->errors);
	if (driver_step(&test->driver, step, &hooks, &outcome, &err) < 0)
		boxtest_fail("driver_step", &err);
	return outcome;
}

static inline struct driver_outcome boxtest_shell(struct boxtest *test, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct driver_step step = {.argv = argv, .env = boxtest_env, .tty_fd = -1};

	return boxtest_run(test, &step);
}

/* Runs a script that must succeed, and returns what it wrote. */
static inline const char *boxtest_ok(struct boxtest *test, const char *script)
{
	struct driver_outcome outcome = boxtest_shell(test, script);

	if (outcome.exit_code != 0)
		fail_msg("'%s': exit %d signal %d limit %s start '%s' syscall '%s': %s%s", script,
			 outcome.exit_code, outcome.signal, box_limit_name(outcome.limit),
			 outcome.start_error, outcome.syscall, buf_text(&test->out),
			 buf_text(&test->errors));
	return buf_text(&test->out);
}

/* Runs all tests in a child: opening a host as a user changes the process. */
static inline int boxtest_run_group(const char *who, const struct CMUnitTest *tests, size_t len,
				    bool as_user)
{
	pid_t pid;
	int status = 0, failed;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char name[128];

		boxtest_as_user = as_user || getuid() != 0;
		if (as_user && (setgroups(0, NULL) != 0 || setgid(BOXTEST_UID) != 0 ||
				setuid(BOXTEST_UID) != 0))
			_exit(99);
		(void)snprintf(name, sizeof(name), "%s", who);
		failed = _cmocka_run_group_tests(name, tests, len, NULL, NULL);
		(void)fflush(NULL);
		_exit(failed);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Each test in a process of its own, as a host can only be opened once there:
 * `both` as started and again as a user, `started` only as started. */
static inline int boxtest_main(const struct CMUnitTest *both, size_t both_len,
			       const struct CMUnitTest *started, size_t started_len)
{
	size_t failed = 0, run = 0;

	for (size_t i = 0; i < both_len; i++, run++) {
		failed += boxtest_run_group("as started", &both[i], 1, false) != 0;
		if (getuid() != 0)
			continue;
		failed += boxtest_run_group("as a user", &both[i], 1, true) != 0;
		run++;
	}
	for (size_t i = 0; i < started_len; i++, run++)
		failed += boxtest_run_group("as started", &started[i], 1, false) != 0;
	(void)printf("%zu passed, %zu failed, 0 skipped\n", run - failed, failed);
	return failed != 0;
}

#endif
