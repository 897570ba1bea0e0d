/*
 * test_sqlite.c - what is special to the embedded carrier: members that are
 * killed or hang, many processes on one file, who is woken, files that are none
 * of ours, rights, and where the default queue is. What every carrier does is
 * in test_conformance.c.
 */
#include "tests/unit/queue/broker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "queue/sqlite_private.h"

static char folder[64];
static char url[128];

/* --- other processes -------------------------------------------------- */

/* A child that consumes jobs, says how many it has on `report`, and acks none. */
static pid_t hold_jobs(const struct carrier_config *with, size_t jobs, int *ret_report)
{
	int report[2];
	pid_t pid;

	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct watcher *watcher = watcher_new(with, SOURCE_JOBS, NULL);

		watcher_expect(watcher, jobs);
		if (write(report[1], "x", 1) != 1)
			_exit(1);
		watcher_run(watcher, 60000);
		_exit(0);
	}
	(void)close(report[1]);
	*ret_report = report[0];
	return pid;
}

static void await_report(int report)
{
	struct pollfd item = {.fd = report, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&item, 1, 20000), 1);
	assert_int_equal(read(report, &byte, 1), 1);
	(void)close(report);
}

static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- members ---------------------------------------------------------- */

static void what_a_killed_member_held_is_there_at_once(void **state)
{
	struct message message = test_message("held");
	struct watcher *watcher;
	int report;
	pid_t pid;
	int64_t killed_us;

	(void)state;
	send_now(&config, ROUTE_JOB, &message);
	pid = hold_jobs(&config, 1, &report);
	await_report(report);
	watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_run(watcher, 300);
	assert_int_equal(watcher->seen_len, 0);
	end_child(pid);
	killed_us = clock_mono_us();
	watcher_expect(watcher, 1);
	assert_true(clock_mono_us() - killed_us < 2000000);
	assert_int_equal(watcher->seen[0].redeliveries, 1);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
	expect_depth(&config, "jobs", 0);
}

static void a_member_that_hangs_loses_its_lease(void **state)
{
	struct carrier_config quick = config;
	struct message message = test_message("held");
	struct watcher *live;
	struct watcher *watcher;
	int report;
	pid_t pid;

	(void)state;
	quick.heartbeat_s = 1;
	send_now(&config, ROUTE_JOB, &message);
	pid = hold_jobs(&quick, 1, &report);
	await_report(report);
	/* As long as it renews its lease it keeps what it has. */
	watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_run(watcher, 4000);
	assert_int_equal(watcher->seen_len, 0);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	watcher_expect(watcher, 1);
	assert_int_equal(watcher->seen[0].redeliveries, 1);
	end_child(pid);

	/* And who was given up notices: old tags settle nothing. */
	quick.prefetch = 1;
	message = test_message("second");
	send_now(&config, ROUTE_JOB, &message);
	live = watcher_new(&quick, SOURCE_JOBS, NULL);
	watcher_ack(watcher, 0);
	watcher_expect(watcher, 2);
	assert_done(consumer_handback(watcher->consumer, watcher->seen[1].epoch,
				      watcher->seen[1].tag, &err));
	watcher_free(watcher);
	watcher_expect(live, 1);
	(void)poll(NULL, 0, 3500);
	watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_expect(watcher, 1);
	assert_true(watcher_until(live, &live->connected, 2, 5000));
	assert_int_equal(live->lost, 1);
	watcher_ack(live, 0);
	watcher_run(live, 100);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
	watcher_free(live);
	expect_depth(&config, "jobs", 0);
}

static void a_result_waits_for_a_process_that_hung(void **state)
{
	struct carrier_config quick = config;
	struct message message = test_message("j.1");
	struct watcher *mine;
	struct watcher *other;

	(void)state;
	quick.heartbeat_s = 1;
	mine = watcher_new(&quick, SOURCE_RESULTS, "t.j");
	(void)poll(NULL, 0, 3500);
	other = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_run(other, 100); /* which takes its lease */
	message.key = "t.j";
	send_now(&config, ROUTE_RESULT, &message);
	watcher_expect(mine, 1);
	assert_int_equal(mine->lost, 1);
	assert_string_equal(mine->seen[0].id, "j.1");
	watcher_free(mine);
	watcher_free(other);
}

/* Killed again and again amid its work: each message is acked by somebody. */
static void nothing_is_lost_to_kills(void **state)
{
	enum { MESSAGES = 300 };
	static bool seen[MESSAGES];
	struct publisher *publisher;
	struct watcher *watcher;
	char id[16];

	(void)state;
	assert_done(publisher_open(&publisher, &config, &err));
	for (int i = 0; i < MESSAGES; i++) {
		struct message message;

		(void)snprintf(id, sizeof(id), "%d", i);
		message = test_message(id);
		assert_done(publisher_send(publisher, ROUTE_JOB, &message, (uint64_t)i, &err));
	}
	assert_done(publisher_flush(publisher, 1000, &err));
	publisher_close(publisher);
	for (int round = 0; round < 30; round++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			/* Moves what it takes to the results, then acks. */
			struct publisher *out;

			watcher = watcher_new(&config, SOURCE_JOBS, NULL);
			assert_done(publisher_open(&out, &config, &err));
			for (size_t done = 0;; done++) {
				struct message message;

				watcher_expect(watcher, done + 1);
				message = test_message(watcher->seen[done].id);
				message.key = "t.x";
				assert_done(publisher_send_wait(out, ROUTE_RESULT, &message, 1000,
								&err));
				watcher_ack(watcher, done);
			}
		}
		(void)poll(NULL, 0, 5 + round * 2);
		end_child(pid);
	}
	watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher->ack_at_once = true;
	watcher_run(watcher, 500);
	for (size_t i = 0; i < watcher->seen_len; i++)
		seen[strtol(watcher->seen[i].id, NULL, 10)] = true;
	watcher_free(watcher);
	watcher = watcher_new(&config, SOURCE_RESULTS, NULL);
	watcher->ack_at_once = true;
	watcher_run(watcher, 500);
	for (size_t i = 0; i < watcher->seen_len; i++)
		seen[strtol(watcher->seen[i].id, NULL, 10)] = true;
	watcher_free(watcher);
	for (int i = 0; i < MESSAGES; i++)
		assert_true(seen[i]);
	expect_depth(&config, "jobs", 0);
}

static void allow_bytes(rlim_t bytes)
{
	struct rlimit files = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &files), 0);
}

/* As with a lost connection: over, until it is opened again; nothing half-written. */
static void a_full_disk_is_a_lost_connection(void **state)
{
	static uint8_t body[1 << 20];
	struct message message = {.id = "big", .body = {body, sizeof(body)}};
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct publisher *publisher;
	struct err why = {0};

	(void)state;
	assert_int_equal(sigaction(SIGXFSZ, &ignore, NULL), 0);
	assert_done(publisher_open(&publisher, &config, &err));
	allow_bytes(256 << 10);
	assert_done(publisher_send(publisher, ROUTE_JOB, &message, 1, &err));
	assert_int_equal(publisher_flush(publisher, 1000, &why), -1);
	assert_int_equal(why.kind, ERR_PEER);
	assert_int_equal(publisher_send(publisher, ROUTE_JOB, &message, 2, &why), -1);
	assert_int_equal(why.kind, ERR_PEER);
	publisher_close(publisher);
	watcher_run(watcher, 200);
	allow_bytes(RLIM_INFINITY);
	message.id = "after";
	send_now(&config, ROUTE_JOB, &message);
	watcher_expect(watcher, 1);
	assert_string_equal(watcher->seen[0].id, "after");
	assert_int_equal(watcher->seen[0].body_len, sizeof(body));
	watcher_ack(watcher, 0);
	watcher_free(watcher);
	expect_depth(&config, "jobs", 0);
}

/* --- waking ----------------------------------------------------------- */

static void a_message_of_another_process_wakes(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	struct pollfd item;
	int64_t begun_us;
	pid_t pid;

	(void)state;
	watcher_run(watcher, 200);
	item = (struct pollfd){.fd = consumer_fd(watcher->consumer), .events = POLLIN};
	assert_true(item.fd >= 0);
	assert_true(consumer_timeout_ms(watcher->consumer) > 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct message message = test_message("wake");

		send_now(&config, ROUTE_JOB, &message);
		_exit(0);
	}
	begun_us = clock_mono_us();
	assert_int_equal(poll(&item, 1, 5000), 1);
	watcher_expect(watcher, 1);
	assert_true(clock_mono_us() - begun_us < 3000000);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
}

static void events_nobody_takes_are_bounded(void **state)
{
	struct watcher *watcher = watcher_new(&config, SOURCE_EVENTS, "job.j.*");
	struct message message = test_message("e");
	struct publisher *publisher;

	(void)state;
	message.key = "job.j.log";
	assert_done(publisher_open(&publisher, &config, &err));
	for (int i = 0; i < LITE_EVENTS_MAX + 500; i++)
		assert_done(publisher_send(publisher, ROUTE_EVENT, &message, 0, &err));
	publisher_close(publisher);
	watcher->ack_at_once = true;
	watcher_run(watcher, 500);
	assert_int_equal(watcher->seen_len, LITE_EVENTS_MAX);
	watcher_free(watcher);
}

static void patterns_match_as_a_topic_exchange_has_it(void **state)
{
	static const struct {
		const char *pattern;
		const char *key;
		bool matches;
	} rows[] = {
		{"job.a.state", "job.a.state", true},
		{"job.a.*", "job.a.state", true},
		{"job.a.*", "job.a", false},
		{"job.a.*", "job.a.b.c", false},
		{"job.a.#", "job.a", true},
		{"job.a.#", "job.a.b.c", true},
		{"#", "anything.at.all", true},
		{"#.c", "a.b.c", true},
		{"#.c", "a.b.d", false},
		{"*.b.*", "a.b.c", true},
		{"a.#.c", "a.c", true},
		{"a.#.c", "a.x.y.c", true},
		{"ab", "a", false},
		{"a", "ab", false},
		{"job.x.y.*", "job.x.y.log", true},
		{"", "", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (lite_topic_matches(rows[i].pattern, rows[i].key) != rows[i].matches)
			fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].key);
	}
}

/* --- files ------------------------------------------------------------ */

static void expect_refusal(const char *at, bool passive, enum err_kind kind, const char *words)
{
	struct carrier_config other = config;
	struct err why = {0};

	other.url = at;
	other.passive = passive;
	assert_int_equal(carrier_declare(&other, &why), -1);
	if (why.kind != kind || strstr(why.message, words) == NULL)
		fail_msg("%s: %s: %s", at, err_kind_name(why.kind), why.message);
}

static void what_is_no_queue_is_refused(void **state)
{
	char text[256];
	FILE *file;
	sqlite3 *db;

	(void)state;
	expect_refusal("sqlite:relative/queue.db", false, ERR_INPUT, "absolute");
	expect_refusal("sqlite:/", false, ERR_INPUT, "absolute");
	(void)snprintf(text, sizeof(text), "sqlite:%s/none.db", folder);
	expect_refusal(text, true, ERR_NOT_FOUND, "does not exist");

	(void)snprintf(text, sizeof(text), "%s/text.db", folder);
	file = fopen(text, "we");
	assert_non_null(file);
	(void)fprintf(file, "%0*d", 5000, 7);
	(void)fclose(file);
	(void)snprintf(text, sizeof(text), "sqlite:%s/text.db", folder);
	expect_refusal(text, false, ERR_CONFLICT, "text.db");

	(void)snprintf(text, sizeof(text), "%s/other.db", folder);
	assert_int_equal(sqlite3_open(text, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE mine (x)", NULL, NULL, NULL), SQLITE_OK);
	(void)snprintf(text, sizeof(text), "sqlite:%s/other.db", folder);
	expect_refusal(text, false, ERR_CONFLICT, "not a queue");
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	expect_refusal(text, false, ERR_CONFLICT, "version 99");
	(void)sqlite3_close(db);

	(void)snprintf(text, sizeof(text), "%s/link.db", folder);
	assert_int_equal(symlink("queue.db", text), 0);
	(void)snprintf(text, sizeof(text), "sqlite:%s/link.db", folder);
	expect_refusal(text, false, ERR_UNSUPPORTED, "link.db");
}

/* Version 1 had times in seconds. */
static void a_queue_of_version_1_is_taken_over(void **state)
{
	struct message message = test_message("old");
	struct watcher *watcher;
	char path[sizeof(folder) + 32];
	sqlite3 *db;

	(void)state;
	message.timestamp_us = 1700000000123456;
	send_now(&config, ROUTE_JOB, &message);
	(void)snprintf(path, sizeof(path), "%s/queue.db", folder);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db,
			     "UPDATE messages SET timestamp_us = timestamp_us / 1000000;"
			     "ALTER TABLE messages RENAME COLUMN timestamp_us TO timestamp_s;"
			     "PRAGMA user_version = 1",
			     NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	watcher = watcher_new(&config, SOURCE_JOBS, NULL);
	watcher_expect(watcher, 1);
	assert_string_equal(watcher->seen[0].id, "old");
	assert_int_equal(watcher->seen[0].timestamp_us, 1700000000000000);
	watcher_ack(watcher, 0);
	watcher_free(watcher);
}

/* Root opens files in directories of others. */
static void no_link_is_followed(void **state)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-leases"};
	char path[sizeof(folder) + 32];
	char target[sizeof(folder) + 32];
	struct stat st;

	(void)state;
	(void)snprintf(target, sizeof(target), "%s/precious", folder);
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		assert_done(carrier_declare(&config, &err));
		(void)snprintf(path, sizeof(path), "%s/queue.db%s", folder, suffixes[i]);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(symlink(target, path), 0);
		expect_refusal(url, false, ERR_UNSUPPORTED, "queue.db");
		assert_int_equal(lstat(target, &st), -1);
		assert_int_equal(unlink(path), 0);
	}
}

static void a_report_makes_no_file(void **state)
{
	CLEANUP(arena_cleanup) struct arena arena;
	struct carrier_config other = config;
	struct carrier_report report;
	char text[256];

	(void)state;
	arena_init(&arena, 1 << 16);
	(void)snprintf(text, sizeof(text), "sqlite:%s/absent/queue.db", folder);
	other.url = text;
	assert_done(carrier_inspect(&arena, &other, &report, &err));
	assert_int_equal(report.queues[0].messages, -1);
	assert_int_equal(access(text + strlen("sqlite:"), F_OK), -1);
}

static void expect_owner(const char *path, uid_t uid)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_mode & 077, 0);
}

/* Root's file becomes the service's; afterwards both use it. */
static void root_gives_the_file_away(void **state)
{
	enum { SERVICE = 1879048192 };
	static const char *const suffixes[] = {"", "-wal", "-shm", "-leases"};
	struct message message = test_message("of root");
	char path[sizeof(folder) + 32];
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(folder, 0755), 0);
	send_now(&config, ROUTE_JOB, &message);
	assert_done(carrier_give(&config, SERVICE, &err));
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s/queue.db%s", folder, suffixes[i]);
		expect_owner(path, SERVICE);
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct watcher *watcher;

		if (setresgid(SERVICE, SERVICE, SERVICE) < 0 ||
		    setresuid(SERVICE, SERVICE, SERVICE) < 0)
			_exit(1);
		watcher = watcher_new(&config, SOURCE_JOBS, NULL);
		watcher_expect(watcher, 1);
		watcher_ack(watcher, 0);
		watcher_free(watcher);
		message = test_message("of the service");
		send_now(&config, ROUTE_DEAD, &message);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	expect_depth(&config, "jobs", 0);
	expect_depth(&config, "dead", 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err why = {0};

		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		_exit(carrier_declare(&config, &why) == -1 && why.kind == ERR_UNSUPPORTED ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* What root makes in the service's directory is the service's. */
static void root_makes_it_for_the_directorys_owner(void **state)
{
	enum { SERVICE = 1879048192 };
	static const char *const suffixes[] = {"", "-wal", "-shm", "-leases"};
	struct message message = test_message("of root");
	char path[sizeof(folder) + 32];

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(folder, SERVICE, SERVICE), 0);
	send_now(&config, ROUTE_JOB, &message);
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s/queue.db%s", folder, suffixes[i]);
		expect_owner(path, SERVICE);
	}
}

static void the_default_is_one_for_all_programs_of_a_user(void **state)
{
	CLEANUP(arena_cleanup) struct arena arena;
	int status;
	pid_t pid;

	(void)state;
	arena_init(&arena, 1 << 16);
	if (geteuid() == 0)
		assert_string_equal(carrier_default_url(&arena, NULL),
				    "sqlite:/var/lib/sbx/queue.db");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const char *got;

		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		(void)unsetenv("XDG_STATE_HOME");
		(void)setenv("HOME", "/home/you", 1);
		got = carrier_default_url(&arena, NULL);
		if (strcmp(got, "sqlite:/home/you/.local/state/sbx/queue.db") != 0)
			_exit(2);
		(void)setenv("XDG_STATE_HOME", "/state", 1);
		got = carrier_default_url(&arena, NULL);
		_exit(strcmp(got, "sqlite:/state/sbx/queue.db") != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- fixtures --------------------------------------------------------- */

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/sbx-sqlite-XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(url, sizeof(url), "sqlite:%s/queue.db", folder);
	config = test_config(url);
	return 0;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

#define file_test(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(what_a_killed_member_held_is_there_at_once),
		file_test(a_member_that_hangs_loses_its_lease),
		file_test(a_result_waits_for_a_process_that_hung),
		file_test(nothing_is_lost_to_kills),
		file_test(a_full_disk_is_a_lost_connection),
		file_test(a_message_of_another_process_wakes),
		file_test(events_nobody_takes_are_bounded),
		file_test(patterns_match_as_a_topic_exchange_has_it),
		file_test(what_is_no_queue_is_refused),
		file_test(a_queue_of_version_1_is_taken_over),
		file_test(no_link_is_followed),
		file_test(a_report_makes_no_file),
		file_test(root_gives_the_file_away),
		file_test(root_makes_it_for_the_directorys_owner),
		file_test(the_default_is_one_for_all_programs_of_a_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
