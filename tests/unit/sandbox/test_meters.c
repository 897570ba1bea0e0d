/*
 * test_meters.c - the figures of a step, against programs whose cost is known.
 * A machine that is busy, or not a real one, takes longer for all but what is
 * counted: times are held against the clock on the wall.
 */
#include "boxtest.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include "base/defs.h"

/* The clock itself is the kernel's work, so it is not looked at all the time. */
#define BUSY(seconds)                                                        \
	"python3 -c 'import time; end = time.thread_time() + " #seconds "\n" \
	"while time.thread_time() < end: sum(range(20000))'"

/* All processors for as long as it took; clocks are read one after the other. */
static int64_t most_us(const struct driver_outcome *outcome)
{
	enum { SLACK_US = 50 * 1000 };

	return outcome->wall_us * sysconf(_SC_NPROCESSORS_ONLN) + SLACK_US;
}

static void test_user_and_system(void **state)
{
	struct driver_outcome outcome, busy;
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	busy = outcome = boxtest_shell(&test, BUSY(0.4));
	assert_in_range(outcome.user_us + outcome.system_us, 400000, most_us(&outcome));
	assert_true(outcome.user_us > 100000);
	assert_in_range(outcome.cpu_us, 390000, most_us(&outcome));
	/* the kernel copies nothing to nowhere, many times */
	outcome = boxtest_shell(&test, "dd if=/dev/zero of=/dev/null bs=64k count=60000 2>&1");
	assert_int_equal(outcome.exit_code, 0);
	assert_true(outcome.system_us > outcome.user_us);
	/* the second step does not count the first one's */
	outcome = boxtest_shell(&test, "true");
	assert_true(outcome.user_us + outcome.system_us < (busy.user_us + busy.system_us) / 2);
	boxtest_close(&test);
}

static void test_killed_steps_are_counted(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	limits.wall_ms = 1000;
	boxtest_open(&test, NULL, &limits);
	outcome = boxtest_shell(&test, "(while :; do :; done) & while :; do :; done");
	assert_int_equal(outcome.limit, BOX_LIMIT_WALL);
	assert_in_range(outcome.user_us + outcome.system_us, 50000, most_us(&outcome));
	boxtest_close(&test);
}

static void test_output_is_counted(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	limits.output_bytes = 200000;
	boxtest_open(&test, NULL, &limits);
	outcome = boxtest_shell(&test, "head -c 123456 /dev/zero; head -c 1000 /dev/zero >&2");
	assert_int_equal(outcome.output_bytes, 124456);
	assert_int_equal(boxtest_shell(&test, "true").output_bytes, 0);
	outcome = boxtest_shell(&test, "yes");
	assert_int_equal(outcome.limit, BOX_LIMIT_OUTPUT);
	assert_int_equal(outcome.output_bytes, 200000 - 124456 + outcome.dropped_bytes);
	boxtest_close(&test);
}

static void test_switches_and_faults(void **state)
{
	struct driver_outcome outcome, idle;
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	idle = boxtest_shell(&test, "true");
	outcome = boxtest_shell(&test, "python3 -c 'import time\nfor i in range(300): "
				       "time.sleep(0.0005)'");
	assert_true(outcome.context_switches >= 300);
	assert_true(idle.context_switches < 100);
	/* a program that is started has to fault its pages in, about a hundred */
	outcome = boxtest_shell(&test, "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true; done");
	assert_true(outcome.page_faults >= idle.page_faults + 10 * 30);
	assert_true(outcome.disk_faults <= outcome.page_faults);
	boxtest_close(&test);
}

static void test_processes(void **state)
{
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	outcome = boxtest_shell(&test, "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3 & done; wait");
	if (outcome.processes_peak >= 0)
		assert_in_range(outcome.processes_peak, 10, 12);
	boxtest_close(&test);
}

/* A new directory on a file system that has a disk, "" when none is at hand. */
static void make_on_disk(char path[64])
{
	static const char *const places[] = {"/var/tmp", "/mnt"};
	static const long disks[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC};
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		for (size_t j = 0; j < ARRAY_LEN(disks); j++) {
			(void)snprintf(path, 64, "%s/sbx-meters-XXXXXX", places[i]);
			if (statfs(places[i], &fs) == 0 && fs.f_type == disks[j] &&
			    mkdtemp(path) != NULL)
				return;
		}
	path[0] = '\0';
}

/* What is written to a disk; the layer of a box is memory. */
static void test_io(void **state)
{
	struct box_workspace workspace = {.direct = true};
	struct driver_outcome outcome;
	struct boxtest test;
	struct stat st;
	char path[64];

	(void)state;
	make_on_disk(path);
	if (path[0] == '\0')
		skip();
	workspace.lower_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(workspace.lower_fd >= 0);
	assert_int_equal(fstat(workspace.lower_fd, &st), 0);
	workspace.lower_uid = st.st_uid;
	workspace.lower_gid = st.st_gid;
	boxtest_open(&test, &workspace, NULL);
	outcome = boxtest_shell(&test, "dd if=/dev/zero of=f bs=1M count=8 conv=fsync 2>&1; rm f");
	assert_int_equal(outcome.exit_code, 0);
	assert_in_range(outcome.io_write_bytes, 8 << 20, 16 << 20);
	assert_true(boxtest_shell(&test, "true").io_write_bytes < 1 << 20);
	boxtest_close(&test);
	(void)close(workspace.lower_fd);
	assert_int_equal(rmdir(path), 0);
}

static void test_memory_says_its_counter(void **state)
{
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	outcome = boxtest_shell(&test, "python3 -c 'x = b\"x\" * (40 << 20)'");
	assert_int_equal(outcome.memory_is_groups, boxtest_holds(&test, "cgroup_memory"));
	assert_in_range(outcome.memory_peak_bytes, 40 << 20, 100 << 20);
	boxtest_close(&test);
}

static void test_throttled(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	limits.millicpus = 100;
	boxtest_open(&test, NULL, &limits);
	outcome = boxtest_shell(&test, BUSY(0.1));
	assert_int_equal(outcome.exit_code, 0);
	/* a tenth of a second at a tenth of a CPU */
	assert_in_range(outcome.throttled_us, 100000, 30000000);
	assert_true(outcome.wall_us > 500000);
	boxtest_close(&test);
}

/* --- live ------------------------------------------------------------------ */

struct samples {
	struct boxtest *test;
	size_t len;
	struct driver_sample last;
	int64_t most_memory_bytes; /* the last one may see it go */
};

static void on_sample(void *ctx, const struct driver_sample *sample)
{
	struct samples *samples = ctx;

	assert_true(sample->wall_us > samples->last.wall_us);
	assert_true(sample->cpu_us >= samples->last.cpu_us);
	assert_true(sample->output_bytes >= samples->last.output_bytes);
	samples->last = *sample;
	if (sample->memory_bytes > samples->most_memory_bytes)
		samples->most_memory_bytes = sample->memory_bytes;
	samples->len++;
}

static void on_output(void *ctx, enum driver_stream stream, const void *data, size_t len)
{
	const struct samples *samples = ctx;

	boxtest_output(samples->test, stream, data, len);
}

static void test_samples(void **state)
{
	static const char *const argv[] = {
		"python3", "-c",
		"import time\nx = b'x' * (40 << 20)\nprint('y' * 999, flush=True)\n"
		"end = time.monotonic() + 2\nwhile time.monotonic() < end: pass",
		NULL};
	struct driver_step step = {.argv = argv, .env = boxtest_env, .tty_fd = -1};
	struct boxtest test;
	struct samples samples = {.test = &test, .last = {.cpu_us = -1}};
	struct driver_hooks hooks = {.output = on_output,
				     .watch_fd = -1,
				     .sample_ms = 200,
				     .sample = on_sample,
				     .ctx = &samples};
	struct driver_outcome outcome;
	struct err err = {0};

	(void)state;
	boxtest_open(&test, NULL, NULL);
	if (driver_step(&test.driver, &step, &hooks, &outcome, &err) < 0)
		boxtest_fail("driver_step", &err);
	assert_in_range(samples.len, 3, outcome.wall_us / 200000);
	assert_int_equal(samples.last.output_bytes, 1000);
	if (boxtest_holds(&test, "cgroup_memory")) {
		assert_in_range(samples.most_memory_bytes, 40 << 20, 80 << 20);
		assert_in_range(samples.last.cpu_us, 50000, most_us(&outcome));
	}
	assert_true(outcome.wall_us >= samples.last.wall_us);
	boxtest_close(&test);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_user_and_system),
	cmocka_unit_test(test_killed_steps_are_counted),
	cmocka_unit_test(test_output_is_counted),
	cmocka_unit_test(test_switches_and_faults),
	cmocka_unit_test(test_processes),
	cmocka_unit_test(test_io),
	cmocka_unit_test(test_memory_says_its_counter),
	cmocka_unit_test(test_samples),
};

/* Only control groups count this. */
static const struct CMUnitTest of_groups[] = {
	cmocka_unit_test(test_throttled),
};

int main(void)
{
	return boxtest_main(tests, ARRAY_LEN(tests), of_groups, ARRAY_LEN(of_groups));
}
