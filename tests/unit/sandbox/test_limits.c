/*
 * test_limits.c - each limit ends a step and is named, and nothing else is.
 *
 * Without control groups, as an ordinary user has it here, what only they can
 * hold is not tried.
 */
#include <signal.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "boxtest.h"

/* --- helpers ------------------------------------------------------------------------ */

static struct driver_outcome run_limited(const struct box_limits *limits, const char *script)
{
	struct driver_outcome outcome;
	struct boxtest test;

	boxtest_open(&test, NULL, limits);
	outcome = boxtest_shell(&test, script);
	/* Whatever it was: the box still works. What takes long to start is idle meanwhile. */
	if (outcome.limit == BOX_LIMIT_IDLE)
		assert_int_equal(boxtest_shell(&test, "exit 3").exit_code, 3);
	else if (outcome.limit != BOX_LIMIT_WALL && outcome.limit != BOX_LIMIT_CPU)
		assert_int_equal(boxtest_shell(&test, "rm -rf /tmp/* ./*; exit 3").exit_code, 3);
	boxtest_close(&test);
	return outcome;
}

static void expect_limit(const struct box_limits *limits, const char *script,
			 enum box_limit expected)
{
	struct driver_outcome outcome = run_limited(limits, script);

	if (outcome.limit != expected)
		fail_msg("'%s': limit %s (%lld), not %s; exit %d signal %d", script,
			 box_limit_name(outcome.limit), (long long)outcome.limit_value,
			 box_limit_name(expected), outcome.exit_code, outcome.signal);
}

/* The step went on past it, and the outcome says so: of no other one. */
static void expect_met(const struct box_limits *limits, const char *script, enum box_limit expected)
{
	struct driver_outcome outcome = run_limited(limits, script);

	assert_int_equal(outcome.exit_code, 0);
	assert_int_equal(outcome.limit, BOX_LIMIT_NONE);
	for (int i = 0; i < BOX_LIMIT_COUNT; i++)
		if (outcome.met[i] != (i == (int)expected && expected != BOX_LIMIT_NONE))
			fail_msg("'%s': met %s: %d", script, box_limit_name((enum box_limit)i),
				 outcome.met[i]);
}

/* --- time ------------------------------------------------------------------------------ */

static void test_wall(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	int64_t started = clock_mono_us();

	(void)state;
	limits.wall_ms = 300;
	outcome = run_limited(&limits, "sleep 60");
	assert_int_equal(outcome.limit, BOX_LIMIT_WALL);
	assert_in_range(outcome.limit_value, 300, 3000);
	assert_int_equal(outcome.signal, SIGKILL);
	assert_true(clock_mono_us() - started < 10 * 1000000);
}

/* The wall limit spans all steps. */
static void test_wall_of_steps(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct boxtest test;
	char nap[32];

	(void)state;
	(void)snprintf(nap, sizeof(nap), "sleep %f", 0.55 * boxtest_slow());
	limits.wall_ms = 1000 * boxtest_slow();
	boxtest_open(&test, NULL, &limits);
	assert_int_equal(boxtest_shell(&test, nap).limit, BOX_LIMIT_NONE);
	assert_int_equal(boxtest_shell(&test, nap).limit, BOX_LIMIT_WALL);
	boxtest_close(&test);
}

static void test_step_wall(void **state)
{
	const char *const argv[] = {"sh", "-c", "trap '' TERM; kill -STOP $$; sleep 60", NULL};
	struct driver_step step = {
		.argv = argv, .env = boxtest_env, .tty_fd = -1, .timeout_ms = 200};
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	outcome = boxtest_run(&test, &step);
	assert_int_equal(outcome.limit, BOX_LIMIT_STEP_WALL);
	assert_in_range(outcome.limit_value, 200, 3000);
	assert_int_equal(boxtest_shell(&test, "true").exit_code, 0);
	boxtest_close(&test);
}

static void test_idle(void **state)
{
	struct box_limits limits = boxtest_limits;

	(void)state;
	limits.idle_ms = 600 * boxtest_slow();
	expect_limit(&limits, "echo a; sleep 60", BOX_LIMIT_IDLE);
	expect_limit(&limits, "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done", BOX_LIMIT_NONE);
}

static void test_cpu(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;

	(void)state;
	limits.cpu_ms = 400 * boxtest_slow();
	outcome = run_limited(&limits, "while :; do :; done");
	assert_int_equal(outcome.limit, BOX_LIMIT_CPU);
	if (!boxtest_as_user) {
		assert_in_range(outcome.limit_value, limits.cpu_ms, limits.cpu_ms + 300);
		/* Many processes together, each below the limit. */
		expect_limit(&limits,
			     "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait",
			     BOX_LIMIT_CPU);
	}
	expect_limit(&limits, "sleep 0.6", BOX_LIMIT_NONE);
}

/* --- memory --------------------------------------------------------------------------- */

#define EAT(mb) "python3 -c 'x=bytearray(" #mb "<<20)\nfor i in range(0,len(x),4096): x[i]=1'"

static void test_memory(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;

	(void)state;
	limits.memory_bytes = 64 << 20;
	limits.disk_bytes = 32 << 20;
	outcome = run_limited(&limits, EAT(300) "; sleep 1; true");
	assert_int_equal(outcome.limit, BOX_LIMIT_MEMORY);
	/* What was held, not what is left of it after the kill. */
	assert_in_range(outcome.limit_value, 64 << 20, 128 << 20);
	expect_limit(&limits, EAT(30), BOX_LIMIT_NONE);
	/* More than the processes may have, but not more than the group holds. */
	expect_limit(&limits, "python3 -c 'x=bytearray(85<<20)\nimport time\ntime.sleep(5)'",
		     BOX_LIMIT_MEMORY);
	/* The layer's pages are not the processes' memory. */
	expect_limit(&limits, "head -c 30m /dev/zero > f && " EAT(40), BOX_LIMIT_NONE);
}

static int compare_values(const void *a, const void *b)
{
	int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

	return (one > other) - (one < other);
}

/* The sooner the closer it comes to the limit, what the processes have is looked at:
 * a program that takes memory as fast as it can does not get far, whatever the
 * kernel would let it have for files. */
static void test_memory_taken_fast(void **state)
{
	enum { RUNS = 5 };
	struct box_limits limits = boxtest_limits;
	int64_t values[RUNS];

	(void)state;
	limits.memory_bytes = 64 << 20;
	limits.disk_bytes = 1 << 30;
	for (int i = 0; i < RUNS; i++) {
		struct driver_outcome outcome =
			run_limited(&limits, "exec python3 -c 'x=bytearray(700<<20)'");

		assert_int_equal(outcome.limit, BOX_LIMIT_MEMORY);
		values[i] = outcome.limit_value;
	}
	qsort(values, RUNS, sizeof(values[0]), compare_values);
	assert_in_range(values[RUNS / 2], 64 << 20, 80 << 20);
}

/* Each process is small; together they are not. */
static void test_memory_of_many(void **state)
{
	struct box_limits limits = boxtest_limits;

	(void)state;
	limits.memory_bytes = 96 << 20;
	limits.disk_bytes = 16 << 20;
	expect_limit(&limits,
		     "for i in 1 2 3 4 5 6 7 8; do python3 -c 'x=bytearray(24<<20)\n"
		     "import time\ntime.sleep(9)' & done; wait",
		     BOX_LIMIT_MEMORY);
}

/* --- places to write ---------------------------------------------------------------------- */

static void test_disk(void **state)
{
	static const char *const places[] = {"/work", "/tmp", "/dev/shm"};
	struct box_limits limits = boxtest_limits;
	char script[128];

	(void)state;
	limits.disk_bytes = 8 << 20;
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		(void)snprintf(script, sizeof(script), "head -c 20m /dev/zero > %s/f 2>/dev/null",
			       places[i]);
		expect_limit(&limits, script, BOX_LIMIT_DISK);
	}
	expect_limit(&limits, "head -c 6m /dev/zero > f", BOX_LIMIT_NONE);
	/* Met, but the step did not mind. */
	expect_met(&limits, "head -c 20m /dev/zero > f 2>/dev/null; true", BOX_LIMIT_DISK);
	/* One limit for all of them together. */
	expect_limit(&limits,
		     "head -c 5m /dev/zero > f && head -c 5m /dev/zero 2>/dev/null > /tmp/f",
		     BOX_LIMIT_DISK);
}

static void test_inodes(void **state)
{
	struct box_limits limits = boxtest_limits;

	(void)state;
	limits.inodes = 100;
	expect_limit(&limits, "i=0; while [ $i -lt 90 ]; do : > f$i; i=$((i+1)); done",
		     BOX_LIMIT_NONE);
	expect_limit(&limits,
		     "i=0; while [ $i -lt 200 ]; do { : > f$i; } 2>/dev/null || exit 1; "
		     "i=$((i+1)); done",
		     BOX_LIMIT_INODES);
	expect_met(&limits,
		   "i=0; while [ $i -lt 200 ]; do echo > f$i; i=$((i+1)); done 2>/dev/null; true",
		   BOX_LIMIT_INODES);
	expect_met(&limits, "true", BOX_LIMIT_NONE);
}

static void test_file_size(void **state)
{
	struct box_limits limits = boxtest_limits;

	(void)state;
	limits.file_bytes = 1 << 20;
	expect_limit(&limits, "exec head -c 2m /dev/zero > f", BOX_LIMIT_FILE);
	expect_limit(&limits, "head -c 2m /dev/zero > f", BOX_LIMIT_FILE);
	expect_limit(&limits, "head -c 1m /dev/zero > f", BOX_LIMIT_NONE);
}

/* --- processes, files, output ----------------------------------------------------------------- */

static void test_processes(void **state)
{
	struct box_limits limits = boxtest_limits;
	const char *bomb = "python3 -c 'import os\nfor i in range(100):\n"
			   "  if os.fork()==0:\n    import time; time.sleep(60)'";

	(void)state;
	limits.processes = 16;
	if (boxtest_as_user) /* held by the kernel, but nobody counts the refusals */
		assert_int_not_equal(run_limited(&limits, bomb).exit_code, 0);
	else
		expect_limit(&limits, bomb, BOX_LIMIT_PROCESSES);
	if (!boxtest_as_user)
		expect_met(&limits,
			   "python3 -c 'import os\ntry:\n  for i in range(100):\n"
			   "    if os.fork()==0:\n      import time; time.sleep(60)\n"
			   "except OSError: pass'",
			   BOX_LIMIT_PROCESSES);
	expect_limit(&limits, "for i in 1 2 3 4 5 6 7 8; do sleep 0.05 & done; wait",
		     BOX_LIMIT_NONE);
}

static void test_open_files(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct boxtest test;

	(void)state;
	limits.open_files = 32;
	boxtest_open(&test, NULL, &limits);
	assert_string_equal(boxtest_ok(&test, "ulimit -n; ulimit -Hn; ulimit -c"), "32\n32\n0\n");
	boxtest_close(&test);
}

static void test_niceness(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct boxtest test;
	char expected[16];
	int ours = getpriority(PRIO_PROCESS, 0);

	(void)state;
	limits.nice = 7;
	boxtest_open(&test, NULL, &limits);
	(void)snprintf(expected, sizeof(expected), "%d\n", ours + 7 > 19 ? 19 : ours + 7);
	assert_string_equal(boxtest_ok(&test, "nice"), expected);
	assert_int_not_equal(boxtest_shell(&test, "renice -n -1 $$ 2>/dev/null").exit_code, 0);
	boxtest_close(&test);
}

static void test_output(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	limits.output_bytes = 100000;
	boxtest_open(&test, NULL, &limits);
	assert_int_equal(boxtest_shell(&test, "head -c 60000 /dev/zero").limit, BOX_LIMIT_NONE);
	outcome = boxtest_shell(&test, "yes >&2 & yes");
	assert_int_equal(outcome.limit, BOX_LIMIT_OUTPUT);
	assert_int_equal(test.out.len + test.errors.len, 40000);
	assert_true(outcome.dropped_bytes > 0);
	assert_int_equal(outcome.limit_value, 100000 + outcome.dropped_bytes);
	boxtest_close(&test);
}

static void test_cpu_quota(void **state)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	char count[80];

	(void)state;
	limits.millicpus = 200;
	limits.wall_ms *= boxtest_slow();
	/* A slow machine is slow at this, too, and has but a fifth of its time. */
	(void)snprintf(count, sizeof(count), "i=0; while [ $i -lt %d ]; do i=$((i + 1)); done",
		       400000 / boxtest_slow());
	outcome = run_limited(&limits, count);
	assert_int_equal(outcome.limit, BOX_LIMIT_NONE);
	assert_in_range(outcome.cpu_us, 50000 / boxtest_slow(), outcome.wall_us * 45 / 100);
}

/* --- meters ------------------------------------------------------------------------------------
 */

static void test_meters(void **state)
{
	struct driver_outcome outcome;
	struct box_usage usage;
	struct boxtest test;
	struct err err = {0};

	(void)state;
	boxtest_open(&test, NULL, NULL);
	outcome = boxtest_shell(&test, "timeout 0.3 sh -c 'while :; do :; done'; " EAT(50));
	/* A machine that is busy gives it less than the third of a second. */
	assert_in_range(outcome.cpu_us, 30000, 5000000);
	assert_in_range(outcome.wall_us, 300000, 30000000);
	assert_true(outcome.memory_peak_bytes > 50 << 20);
	assert_int_equal(driver_usage(&test.driver, &usage, &err), 0);
	if (!boxtest_holds(&test, "cgroup_memory")) {
		assert_int_equal(usage.cpu_us, -1);
		assert_int_equal(usage.memory_peak_bytes, -1);
	} else {
		assert_true(usage.cpu_us >= outcome.cpu_us);
		assert_true(usage.memory_peak_bytes > 50 << 20);
		assert_in_range(usage.processes_peak, 2, 16);
		assert_int_equal(usage.oom_kills, 0);
	}
	boxtest_close(&test);
}

/* --- refusals
 * -------------------------------------------------------------------------------------- */

/* What has no control group to hold it is refused, unless it was agreed to. */
static void test_missing_controllers(void **state)
{
	struct box_config config = {.instance = "unit-missing",
				    .cgroup_parent = "no/such/group",
				    .uid_base = BOXTEST_UID_BASE,
				    .slots = 1};
	struct box_workspace workspace = {.lower_fd = -1};
	const struct box_layer *layers;
	struct box_host *host;
	struct box *box;
	struct err err = {0};
	bool told = false;

	(void)state;
	assert_int_equal(box_host_open(&host, &config, &err), 0);
	for (size_t i = box_host_layers(host, &layers); i > 0; i--)
		if (strcmp(layers[i - 1].name, "cgroup_memory") == 0)
			told = layers[i - 1].required && !layers[i - 1].present &&
			       layers[i - 1].detail[0] != '\0';
	assert_true(told);
	assert_int_equal(box_new(host, 0, &box, &err), 0);
	assert_int_equal(box_attach(box, &workspace, &boxtest_limits, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.message, "cannot limit memory"));
	assert_non_null(strstr(err.message, "--allow-missing cgroup")); /* the way on */
	box_free(box);
	box_host_close(host);
}

static void test_absurd_limits(void **state)
{
	struct box_workspace workspace = {.lower_fd = -1};
	struct box_limits limits = boxtest_limits;
	struct boxtest test;
	struct box *box;
	struct err err = {0};

	(void)state;
	boxtest_open_host(&test, "unit-absurd");
	assert_int_equal(box_new(test.host, 0, &box, &err), 0);
	limits.memory_bytes = 0;
	assert_int_equal(box_attach(box, &workspace, &limits, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	box_free(box);
	boxtest_close(&test);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_wall),	      cmocka_unit_test(test_wall_of_steps),
	cmocka_unit_test(test_step_wall),     cmocka_unit_test(test_idle),
	cmocka_unit_test(test_cpu),	      cmocka_unit_test(test_disk),
	cmocka_unit_test(test_inodes),	      cmocka_unit_test(test_file_size),
	cmocka_unit_test(test_processes),     cmocka_unit_test(test_open_files),
	cmocka_unit_test(test_niceness),      cmocka_unit_test(test_output),
	cmocka_unit_test(test_meters),	      cmocka_unit_test(test_missing_controllers),
	cmocka_unit_test(test_absurd_limits),
};

/* Only control groups can hold these. */
static const struct CMUnitTest held_by_groups[] = {
	cmocka_unit_test(test_memory),
	cmocka_unit_test(test_memory_taken_fast),
	cmocka_unit_test(test_memory_of_many),
	cmocka_unit_test(test_cpu_quota),
};

int main(void)
{
	return boxtest_main(tests, ARRAY_LEN(tests), held_by_groups, ARRAY_LEN(held_by_groups));
}
