/*
 * test_cleanup.c - nothing of a box is left: no process, no mount, no control
 * group, no descriptor, whether it ends well, is killed, or its host is.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "boxtest.h"
#include "worker/sandbox/sandbox_private.h"

/* --- looking around ------------------------------------------------------------------------ */

static size_t count_lines(const char *path)
{
	struct buf text;
	size_t lines = 0;

	buf_init(&text, 8 << 20);
	assert_int_equal(fd_read_file(path, 8 << 20, &text, NULL), 0);
	for (size_t i = 0; i < text.len; i++)
		lines += text.data[i] == '\n';
	buf_release(&text);
	return lines;
}

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t len = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		len++;
	(void)closedir(dir);
	return len;
}

/* Control groups below every parent that the host uses, by our name. */
static size_t count_groups(const char *prefix_name, pid_t pid)
{
	static const char *const trees[] = {"memory", "pids", "cpu", "cpuacct", "unified", "."};
	char command[512], prefix[64];
	size_t len = 0;
	FILE *pipe;

	(void)snprintf(prefix, sizeof(prefix), "sbx-%s-%d-*", prefix_name, (int)pid);
	for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
		char line[512];

		(void)snprintf(command, sizeof(command),
			       "find /sys/fs/cgroup/%s -maxdepth 4 -type d -name '%s' 2>/dev/null",
			       trees[i], prefix);
		pipe = popen(command, "re");
		assert_non_null(pipe);
		while (fgets(line, sizeof(line), pipe) != NULL)
			len++;
		(void)pclose(pipe);
	}
	return len;
}

/* Processes whose command line holds `word`. */
static size_t count_processes(const char *word)
{
	DIR *dir = opendir("/proc");
	size_t found = 0;

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char path[300], text[512];
		int fd;
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		fd_close(fd);
		for (ssize_t i = 0; i < n; i++)
			text[i] = text[i] == '\0' ? ' ' : text[i];
		text[n < 0 ? 0 : n] = '\0';
		found += strstr(text, word) != NULL;
	}
	(void)closedir(dir);
	return found;
}

static bool comes_true(bool (*is_true)(const void *what), const void *what)
{
	int64_t until = clock_mono_us() + 10 * 1000000;

	while (!is_true(what)) {
		if (clock_mono_us() > until)
			return false;
		(void)poll(NULL, 0, 5);
	}
	return true;
}

static bool none_runs(const void *word)
{
	return count_processes(word) == 0;
}

static bool one_runs(const void *word)
{
	return count_processes(word) > 0;
}

/* --- the tests ------------------------------------------------------------------------------- */

static void test_nothing_left(void **state)
{
	size_t fds = 0, mounts = 0;
	struct boxtest test;

	(void)state;
	boxtest_open_host(&test, "unit-left");
	for (int i = 0; i < 5; i++) {
		boxtest_new(&test, NULL, NULL);
		(void)boxtest_ok(&test, "sleep 98761 & (setsid sleep 98761 &); echo x > f");
		boxtest_drop(&test);
		if (i == 0) { /* the slot's template stays */
			fds = count_fds();
			mounts = count_lines("/proc/self/mountinfo");
		}
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_lines("/proc/self/mountinfo"), mounts);
	assert_int_equal(count_groups("unit-left", getpid()), 0);
	assert_int_equal(count_processes("sleep 98761"), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie either */
	boxtest_close(&test);
}

/* A box that was never attached, and one whose attach failed. */
static void test_half_made(void **state)
{
	struct box_workspace workspace = {.lower_fd = STDIN_FILENO}; /* no directory */
	struct box_handle handle;
	struct boxtest test;
	struct box *box;
	struct err err = {0};
	size_t fds;

	(void)state;
	boxtest_open_host(&test, "unit-half");
	assert_int_equal(box_new(test.host, 1, &box, &err), 0);
	assert_int_equal(box_attach(box, &workspace, &boxtest_limits, &err), -1);
	box_free(box);
	fds = count_fds(); /* template and id map of the slot stay */
	assert_int_equal(box_new(test.host, 1, &box, &err), 0);
	assert_int_equal(box_attach(box, &workspace, &boxtest_limits, &err), -1);
	box_free(box);
	assert_int_equal(box_new(test.host, 1, &box, &err), 0);
	box_handle_take(box, &handle);
	box_handle_release(&handle);
	box_free(box);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_groups("unit-half", getpid()), 0);
	boxtest_close(&test);
}

/* Two boxes at once know nothing of each other. */
static void test_two_boxes(void **state)
{
	struct box_workspace workspace = {.lower_fd = -1};
	struct boxtest one, two = {0};
	struct box_handle handle;
	struct err err = {0};

	(void)state;
	boxtest_open(&one, NULL, NULL);
	two = one;
	buf_init(&two.out, 1 << 20);
	buf_init(&two.errors, 1 << 20);
	assert_int_equal(box_new(one.host, 1, &two.box, &err), 0);
	box_handle_take(two.box, &handle);
	assert_int_equal(box_attach(two.box, &workspace, &boxtest_limits, &err), 0);
	driver_init(&two.driver, &handle, &boxtest_limits);
	(void)boxtest_ok(&one, "echo one > /tmp/f; echo one > f");
	assert_string_equal(boxtest_ok(&two, "ls /tmp /work /dev/shm | grep -v : | tr -d '\\n'"),
			    "");
	boxtest_drop(&two);
	buf_release(&two.out);
	buf_release(&two.errors);
	assert_string_equal(boxtest_ok(&one, "cat f /tmp/f"), "one\none\n");
	boxtest_close(&one);
}

/* Closing the control socket is the driver's way to end it all. */
static void test_driver_leaves(void **state)
{
	struct boxtest test;
	struct pollfd dead;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	driver_release(&test.driver);
	dead = (struct pollfd){.fd = box_pidfd(test.box), .events = POLLIN};
	assert_int_equal(poll(&dead, 1, 10000), 1);
	box_free(test.box);
	test.box = NULL;
	boxtest_close(&test);
}

/* While a step runs: the driver learns of it. */
static void test_killed_box(void **state)
{
	const char *const argv[] = {"sh", "-c", "echo started; sleep 98762", NULL};
	struct driver_step step = {.argv = argv, .env = boxtest_env, .tty_fd = -1};
	struct driver_hooks hooks = {.watch_fd = -1};
	struct driver_outcome outcome;
	struct boxtest test;
	struct err err = {0};
	int status;
	pid_t pid;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	pid = fork();
	if (pid == 0)
		_exit(driver_step(&test.driver, &step, &hooks, &outcome, &err) == -1 &&
				      err.kind == ERR_PEER
			      ? 0
			      : 1);
	assert_true(comes_true(one_runs, "sleep 98762"));
	box_kill(test.box);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	boxtest_close(&test);
	assert_int_equal(count_processes("sleep 98762"), 0);
}

/* kill -9 of the host half: the kernel takes the box down, the next host sweeps. */
static void test_killed_host(void **state)
{
	const char *const argv[] = {"sh", "-c", "setsid sleep 98763 & sleep 98763", NULL};
	struct driver_step step = {.argv = argv, .env = boxtest_env, .tty_fd = -1};
	char instance[40];
	struct boxtest test;
	struct err err = {0};
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		boxtest_open_host(&test, "unit-killed");
		boxtest_new(&test, NULL, NULL);
		(void)boxtest_run(&test, &step);
		_exit(1);
	}
	assert_true(comes_true(one_runs, "sleep 98763"));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	assert_true(comes_true(none_runs, "sleep 98763"));
	boxtest_open_host(&test, "unit-other");
	if (!boxtest_as_user)
		assert_true(count_groups("unit-killed", pid) > 0);
	(void)snprintf(instance, sizeof(instance), "unit-killed-%d0", (int)pid); /* not that name */
	assert_int_equal(box_host_sweep(test.host, instance, &err), 0);
	if (!boxtest_as_user)
		assert_true(count_groups("unit-killed", pid) > 0);
	(void)snprintf(instance, sizeof(instance), "unit-killed-%d", (int)pid);
	assert_int_equal(box_host_sweep(test.host, instance, &err), 0);
	assert_int_equal(count_groups("unit-killed", pid), 0);
	boxtest_close(&test);
}

/* A host of one box; and box_confirm tells how an attach went: an init that was
 * killed meanwhile is an error there, not a hang. */
static void test_one_box_only(void **state)
{
	struct box_config config = {.allow_missing_cgroup = true,
				    .uid_base = BOXTEST_UID_BASE,
				    .slots = 1,
				    .once = true,
				    .without_cpu = true};
	struct box_workspace workspace = {.lower_fd = -1};
	struct boxtest test = {0};
	struct box_handle handle;
	struct err err = {0};
	char instance[40];

	(void)state;
	(void)snprintf(instance, sizeof(instance), "unit-once-%d", (int)getpid());
	config.instance = instance;
	buf_init(&test.out, 1 << 20);
	buf_init(&test.errors, 1 << 20);
	assert_int_equal(box_host_open(&test.host, &config, &err), 0);
	boxtest_new(&test, NULL, NULL);
	assert_string_equal(boxtest_ok(&test, "echo once"), "once\n");
	assert_int_equal(box_confirm(test.box, &err), 0);
	assert_int_equal(box_confirm(test.box, &err), 0);
	boxtest_drop(&test);
	assert_int_equal(box_new(test.host, 0, &test.box, &err), 0);
	assert_int_equal(box_attach(test.box, &workspace, &boxtest_limits, &err), 0);
	box_kill(test.box);
	box_handle_take(test.box, &handle);
	driver_init(&test.driver, &handle, &boxtest_limits);
	if (box_confirm(test.box, &err) < 0) /* unless it had answered before it died */
		assert_int_equal(err.kind, ERR_PEER);
	assert_int_equal(driver_finish(&test.driver, &err), -1);
	assert_int_equal(err.kind, ERR_PEER);
	boxtest_close(&test);
	assert_int_equal(count_groups("unit-once", getpid()), 0);
}

/* --- a driver that is an enemy ---------------------------------------------------------------- */

static void expect_death(struct boxtest *test, const void *message, size_t len, int fd)
{
	struct pollfd dead;

	boxtest_new(test, NULL, NULL);
	assert_int_equal(fd_send(test->driver.handle.control_fd, message, len, &fd, fd >= 0, NULL),
			 0);
	dead = (struct pollfd){.fd = box_pidfd(test->box), .events = POLLIN};
	assert_int_equal(poll(&dead, 1, 10000), 1);
	boxtest_drop(test);
}

static void test_hostile_driver(void **state)
{
	uint32_t words[2048] = {0};
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct boxtest test;

	(void)state;
	boxtest_open_host(&test, "unit-enemy");
	expect_death(&test, "x", 1, -1);
	for (uint32_t kind = 0; kind < WIRE_END + 3; kind++) {
		words[0] = kind;
		if (kind == WIRE_KILL || kind == WIRE_FINISH || kind == WIRE_STOP)
			continue; /* welcome at any time */
		expect_death(&test, words, sizeof(words[0]), -1);
		if (kind != WIRE_EDIT) /* which is answered: not a sealed memory file */
			expect_death(&test, words, sizeof(words), null_fd);
	}
	/* A step of so many words, without them, or with more than it says. */
	words[0] = WIRE_STEP;
	words[2] = 4000000000U;
	words[3] = 4000000000U;
	expect_death(&test, words, sizeof(words), -1);
	words[2] = 1;
	words[3] = 0;
	expect_death(&test, words, sizeof(words), -1);
	words[1] = WIRE_STEP_TTY | WIRE_STEP_STDIN | WIRE_STEP_MEMFD;
	expect_death(&test, words, sizeof(words), null_fd);
	(void)close(null_fd);
	boxtest_close(&test);
}

/* The process of a pidfd. */
static pid_t pid_of(int pidfd)
{
	char path[64], *at;
	struct buf text;
	pid_t pid;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	buf_init(&text, 4096);
	assert_int_equal(fd_read_file(path, 4096, &text, NULL), 0);
	at = strstr(buf_text(&text), "\nPid:");
	assert_non_null(at);
	pid = (pid_t)strtol(at + 5, NULL, 10);
	buf_release(&text);
	return pid;
}

/* As the user of the process, for root may lack the capability for others. */
static void allow_files(const struct box *box, rlim_t files)
{
	const struct rlimit limit = {files, files};
	pid_t target = pid_of(box_pidfd(box)), pid = fork();
	int status;

	if (pid == 0) {
		if (geteuid() == 0 &&
		    (setgid(BOXTEST_UID_BASE) < 0 || setuid(BOXTEST_UID_BASE) < 0))
			_exit(1);
		_exit(prlimit(target, RLIMIT_NOFILE, &limit, NULL) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* init has so few descriptors that it cannot attach: neither half waits for long,
 * and the driver hears init's own words where init had any. */
static void test_failed_attach(void **state)
{
	const char *const argv[] = {"true", NULL};
	const struct driver_step step = {.argv = argv, .env = boxtest_env, .tty_fd = -1};
	const struct driver_hooks hooks = {.watch_fd = -1};
	const struct box_workspace workspace = {.lower_fd = -1};
	bool worked = false, told = false;
	struct boxtest test;

	(void)state;
	boxtest_open_host(&test, "unit-failed");
	for (rlim_t files = 4; files < 64 && !worked; files++) {
		struct driver_outcome outcome;
		struct box_handle handle;
		struct driver driver;
		struct err err = {0};

		assert_int_equal(box_new(test.host, 0, &test.box, &err), 0);
		allow_files(test.box, files);
		box_handle_take(test.box, &handle);
		driver_init(&driver, &handle, &boxtest_limits);
		/* An init that is gone already is seen by either. */
		if (box_attach(test.box, &workspace, &boxtest_limits, &err) < 0 ||
		    driver_step(&driver, &step, &hooks, &outcome, &err) < 0)
			told = told || strstr(err.message, "cannot open the workspace") != NULL;
		else
			worked = outcome.started && outcome.exit_code == 0;
		driver_release(&driver);
		box_free(test.box);
		test.box = NULL;
	}
	assert_true(told);
	assert_true(worked);
	boxtest_close(&test);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_nothing_left),  cmocka_unit_test(test_half_made),
	cmocka_unit_test(test_two_boxes),     cmocka_unit_test(test_driver_leaves),
	cmocka_unit_test(test_killed_box),    cmocka_unit_test(test_killed_host),
	cmocka_unit_test(test_one_box_only),  cmocka_unit_test(test_hostile_driver),
	cmocka_unit_test(test_failed_attach),
};

int main(void)
{
	return boxtest_main(tests, ARRAY_LEN(tests), NULL, 0);
}
