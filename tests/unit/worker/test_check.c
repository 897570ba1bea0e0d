/* test_check.c - each check holds, warns or fails for its own reason, and all
 * of them run. With SBX_TEST_BROKER_URL a real broker is looked at too. */
#include "worker/check.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "schema/value.h"
#include "worker/check_private.h"

static struct arena arena;
static struct config config;
static struct check_report report;
static struct err err;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 32 << 20);
	err = (struct err){0};
	check_report_init(&report, &arena);
	return config_init(&config, &arena, &err);
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static void set(const char *key, const char *value)
{
	if (config_set(&config, key, value, &err) < 0)
		fail_msg("%s", err.message);
}

static const char *printed(void)
{
	struct buf out;
	const char *copy;

	buf_init(&out, 1 << 20);
	check_print(&report, false, &out);
	copy = arena_strdup(&arena, buf_text(&out));
	buf_release(&out);
	return copy;
}

/* The row of this name and status whose detail has `part`. */
static void expect(enum check_status status, const char *name, const char *part)
{
	for (size_t i = 0; i < report.len; i++) {
		const struct check_row *row = &report.rows[i];

		if (row->status != status || strcmp(row->name, name) != 0 ||
		    strstr(row->detail, part) == NULL)
			continue;
		if (*row->fix == '\0' && status != CHECK_OK)
			fail_msg("no fix: %s", row->detail);
		return;
	}
	fail_msg("no row %d %s '%s' in\n%s", status, name, part, printed());
}

/* --- the report ------------------------------------------------------- */

static void reports_are_printed_and_encoded(void **state)
{
	struct value *tree = NULL;
	struct buf out;

	(void)state;
	check_add(&report, CHECK_OK, "a", "not shown", "fine %d", 1);
	check_add(&report, CHECK_WARN, "long_name", "do this", "hm");
	assert_false(check_failed(&report));
	assert_string_equal(printed(), "ok    a          fine 1\n"
				       "warn  long_name  hm\n"
				       "      fix: do this\n"
				       "1 ok, 1 warning, 0 failed: the worker can run jobs\n");
	check_add(&report, CHECK_FAIL, "b", "mend", "\"quoted\"");
	assert_true(check_failed(&report));
	buf_init(&out, 1 << 16);
	check_json(&report, &out);
	assert_int_equal(value_from_json(&arena, buf_text(&out), out.len, &tree, &err), 0);
	assert_false(value_get(tree, "ok")->boolean);
	assert_int_equal(value_get(tree, "checks")->list.len, 3);
	assert_string_equal(
		value_text(&arena, value_get(value_get(tree, "checks")->list.items[2], "detail")),
		"\"quoted\"");
	assert_string_equal(
		value_text(&arena, value_get(value_get(tree, "checks")->list.items[1], "status")),
		"warn");
	buf_release(&out);
}

static void without_memory_a_report_has_failed(void **state)
{
	struct check_report other;
	struct arena small;
	struct buf out;

	(void)state;
	arena_init(&small, 64);
	check_report_init(&other, &small);
	check_add(&other, CHECK_OK, "a", "", "b");
	assert_int_equal(other.len, 0);
	assert_true(check_failed(&other));
	buf_init(&out, 1 << 16);
	check_json(&other, &out);
	assert_string_equal(buf_text(&out), "{\"ok\": false, \"checks\": []}\n");
	buf_release(&out);
	arena_release(&small);
}

static void rows_are_bounded(void **state)
{
	(void)state;
	for (int i = 0; i < CHECK_ROWS_MAX + 10; i++)
		check_add(&report, CHECK_OK, "a", "", "b");
	assert_int_equal(report.len, CHECK_ROWS_MAX);
}

/* --- policy and limits ------------------------------------------------ */

static void policy_is_judged(void **state)
{
	(void)state;
	check_policy(&config, &report);
	expect(CHECK_FAIL, "sources", "no source is allowed");
	expect(CHECK_FAIL, "commands", "no command is allowed");
	report.len = 0;
	set("sources.allow", "/usr/, https://example.org/x/, /nowhere-at-all/, ftp://x/, "
			     "https://user:secret@example.org/");
	set("commands.allow", "make test\nmake 'x");
	check_policy(&config, &report);
	expect(CHECK_OK, "sources", "2 of 5 entries");
	expect(CHECK_WARN, "sources", "'/nowhere-at-all/'");
	expect(CHECK_FAIL, "sources", "ftp://x/");
	expect(CHECK_FAIL, "commands", "quote is not closed");
	assert_null(strstr(printed(), "secret"));
	report.len = 0;
	set("commands.allow", "off");
	check_policy(&config, &report);
	expect(CHECK_WARN, "commands", "off");
	report.len = 0;
	set("commands.allow", "make test\nmake all");
	check_policy(&config, &report);
	expect(CHECK_OK, "commands", "2 patterns");
}

static void limits_are_held_against_the_machine(void **state)
{
	(void)state;
	set("worker.slots", "2");
	set("limits.memory", "16m");
	set("max.memory", "32m");
	check_limits(&config, &report);
	expect(CHECK_OK, "memory", "2 slots with 16 MiB");
	assert_false(check_failed(&report));
	report.len = 0;
	set("limits.memory", "900g");
	set("max.memory", "1000g");
	check_limits(&config, &report);
	expect(CHECK_FAIL, "memory", "921600 MiB by default");
	expect(CHECK_WARN, "memory", "1024000 MiB");
	report.len = 0;
	set("limits.memory", "16m");
	set("worker.slots", "1000000");
	check_limits(&config, &report);
	expect(CHECK_WARN, "memory", "1000000 slots");
}

/* --- identities ------------------------------------------------------- */

static void uids_must_exist_in_the_user_namespace(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	check_uids(&config, &report);
	assert_false(check_failed(&report));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Root there, of one uid and no other. */
		uid_t uid = geteuid();
		FILE *map;

		if (unshare(CLONE_NEWUSER) < 0)
			_exit(77);
		map = fopen("/proc/self/uid_map", "we");
		if (map == NULL || fprintf(map, "0 %u 1\n", uid) < 0 || fclose(map) != 0)
			_exit(1);
		check_uids(&config, &report);
		_exit(check_failed(&report) && strstr(printed(), "uids 1879048192 to ") != NULL
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* --- the state directory ---------------------------------------------- */

static void the_state_directory_is_tried(void **state)
{
	char dir[] = "/tmp/sbx-check-XXXXXX";
	char path[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	set("worker.state_dir", dir);
	check_state(&config, &report);
	expect(CHECK_OK, "state_dir", "can be written");
	assert_int_equal(rmdir(dir), 0); /* nothing was left in it */
	check_state(&config, &report);
	expect(CHECK_OK, "state_dir", "is not there yet");
	(void)snprintf(path, sizeof(path), "%s/a/b", dir);
	set("worker.state_dir", path);
	report.len = 0;
	check_state(&config, &report);
	expect(CHECK_OK, "state_dir", "is not there yet");
	set("worker.state_dir", "/etc/passwd");
	check_state(&config, &report);
	expect(CHECK_FAIL, "state_dir", "'/etc/passwd' is not a directory");
	set("worker.state_dir", "/proc/sbx");
	check_state(&config, &report);
	expect(CHECK_FAIL, "state_dir", "'/proc': cannot make a file");
	set("worker.state_dir", "relative");
	check_state(&config, &report);
	expect(CHECK_FAIL, "state_dir", "'relative' is not a directory");
}

static void little_space_is_said(void **state)
{
	(void)state;
	set("worker.state_dir", "/tmp");
	set("sources.max_files", "9000000000000000");
	check_state(&config, &report);
	expect(CHECK_WARN, "state_space", "inodes free");
}

/* --- the sandbox ------------------------------------------------------ */

static void a_sandbox_is_made_to_try(void **state)
{
	(void)state;
	set("sandbox.allow_missing", "cgroup");
	check_sandbox(&config, &report);
	expect(CHECK_OK, "sandbox.seccomp", "");
	expect(CHECK_OK, "sandbox.user_namespace", "");
	expect(CHECK_OK, "sandbox.trial", "ran /bin/true");
	assert_false(check_failed(&report));
}

static void a_wrong_root_fails_the_trial(void **state)
{
	(void)state;
	set("sandbox.allow_missing", "cgroup");
	set("sandbox.root", "/nowhere-at-all");
	check_sandbox(&config, &report);
	expect(CHECK_FAIL, "sandbox.root.default", "cannot find '/nowhere-at-all'");
	expect(CHECK_FAIL, "sandbox.trial", "'/nowhere-at-all'"); /* it was tried all the same */
}

/* --- the broker ------------------------------------------------------- */

static void an_embedded_queue_must_be_the_workers(void **state)
{
	char folder[] = "/tmp/sbx-check-XXXXXX";
	char path[64];
	char url[80];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/queue.db", folder);
	(void)snprintf(url, sizeof(url), "sqlite:%s", path);
	set("queue.url", url);
	check_queue(&config, &report);
	expect(CHECK_OK, "queue", "is made by its first user");
	assert_int_equal(access(path, F_OK), -1);
	assert_false(check_failed(&report));
	report.len = 0;
	set("queue.url", "sqlite:/proc/queue.db");
	check_queue(&config, &report);
	expect(CHECK_FAIL, "queue", "'/proc/queue.db' is not there and cannot be made");
	set("queue.url", url);
	report.len = 0;
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, url, strlen(url)), strlen(url));
	(void)close(fd);
	check_queue(&config, &report);
	expect(CHECK_FAIL, "queue", path);
	report.len = 0;
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 1234, 1234), 0);
		check_queue(&config, &report);
		expect(CHECK_FAIL, "queue", "belongs to uid 1234");
	}
	(void)snprintf(url, sizeof(url), "rm -rf '%s'", folder);
	assert_int_equal(system(url), 0);
}

static void a_queue_must_be_named_and_reached(void **state)
{
	(void)state;
	check_queue(&config, &report);
	expect(CHECK_FAIL, "broker", "no queue is configured");
	report.len = 0;
	set("queue.url", "amqp://user:secret@127.0.0.1:1/");
	set("queue.heartbeat", "2s");
	set("queue.ca_file", "/nowhere");
	check_queue(&config, &report);
	expect(CHECK_FAIL, "broker", "127.0.0.1:1");
	expect(CHECK_WARN, "queue.heartbeat", "2000 ms");
	expect(CHECK_FAIL, "queue.ca_file", "'/nowhere' cannot be read");
	assert_null(strstr(printed(), "secret"));
	assert_null(strstr(printed(), "unencrypted"));
}

/* 203.0.113.0/24 belongs to documentation; nobody is asked, for the port is 0. */
static void passwords_in_the_clear_are_a_warning(void **state)
{
	static const struct {
		const char *url;
		bool warns;
	} rows[] = {
		{"amqp://u:p@localhost:1/", false},
		{"amqp://u:p@[::1]:1/", false},
		{"amqp://u:localhost@203.0.113.1:0/", true},
		{"amqps://u:p@127.0.0.1:1/", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		report.len = 0;
		set("queue.url", rows[i].url);
		check_queue(&config, &report);
		assert_int_equal(strstr(printed(), "unencrypted") != NULL, rows[i].warns);
		expect(CHECK_FAIL, "broker", "");
	}
}

static void a_real_broker_is_known(void **state)
{
	const char *url = getenv("SBX_TEST_BROKER_URL");
	const char *prefix = arena_printf(&arena, "check%d", (int)getpid());

	(void)state;
	if (url == NULL)
		skip();
	set("queue.url", url);
	set("queue.prefix", prefix);
	check_queue(&config, &report);
	expect(CHECK_OK, "broker", "reached");
	expect(CHECK_OK, "broker_version", "RabbitMQ");
	expect(CHECK_OK, "queues", "not there yet");
	assert_null(strstr(printed(), "dead_letters"));
	report.len = 0;
	set("queue.passive", "true");
	set("max.wall", "20m");
	check_queue(&config, &report);
	expect(CHECK_FAIL, "queues", "are missing");
	assert_null(strstr(printed(), "consumer_timeout"));
}

static void every_check_runs_whatever_fails(void **state)
{
	(void)state;
	set("worker.state_dir", "/etc/passwd");
	set("sandbox.root", "/nowhere-at-all");
	assert_int_equal(check_run(&config, &report, &err), 0);
	expect(CHECK_FAIL, "sources", "");
	expect(CHECK_FAIL, "commands", "");
	expect(CHECK_FAIL, "state_dir", "");
	expect(CHECK_FAIL, "sandbox.root.default", "");
	expect(CHECK_FAIL, "broker", "");
	assert_true(check_failed(&report));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reports_are_printed_and_encoded),
		T(without_memory_a_report_has_failed),
		T(rows_are_bounded),
		T(policy_is_judged),
		T(limits_are_held_against_the_machine),
		T(uids_must_exist_in_the_user_namespace),
		T(the_state_directory_is_tried),
		T(little_space_is_said),
		T(a_sandbox_is_made_to_try),
		T(a_wrong_root_fails_the_trial),
		T(a_queue_must_be_named_and_reached),
		T(an_embedded_queue_must_be_the_workers),
		T(passwords_in_the_clear_are_a_warning),
		T(a_real_broker_is_known),
		T(every_check_runs_whatever_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
