/*
 * test_ledger.c - the ledger against a real file: each call, and what is left
 * of them when the process is killed in between.
 */
#include "worker/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static char dir[64];
static char path[96];
static struct arena arena;

static const struct ledger_key key_a = {"job-a", 1};
static const struct ledger_key key_b = {"job-b", 1};
static const char digest_a[] = "aaaa";
static const struct bytes result_a = {(const uint8_t *)"re\0sult", 7};

static int setup(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/sbx-ledger.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/ledger.db", dir);
	arena_init(&arena, 16 << 20);
	return 0;
}

static void remove_files(void)
{
	static const char *const tails[] = {"", "-wal", "-shm"};
	char name[128];

	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", path, tails[i]);
		(void)unlink(name);
	}
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	remove_files();
	return rmdir(dir);
}

/* --- shorthands ------------------------------------------------------- */

static void must(int rc, const struct err *err)
{
	if (rc != 0)
		fail_msg("%s", err->message);
}

static struct ledger *open_it(void)
{
	struct ledger *ledger;
	struct err err = {0};

	must(ledger_open(&ledger, path, &err), &err);
	return ledger;
}

static struct ledger_entry begin(struct ledger *ledger, const struct ledger_key *key,
				 const char *digest)
{
	struct ledger_entry entry;
	struct err err = {0};

	must(ledger_begin(ledger, key, digest, "tenant", &arena, &entry, &err), &err);
	return entry;
}

static void start(struct ledger *ledger, const struct ledger_key *key)
{
	struct err err = {0};

	must(ledger_start(ledger, key, &err), &err);
}

static void finish(struct ledger *ledger, const struct ledger_key *key, struct bytes result)
{
	struct err err = {0};

	must(ledger_finish(ledger, key, "passed", "", result, &err), &err);
}

struct seen {
	size_t len;
	size_t stop_after;
	struct {
		char id[16];
		int64_t run;
		char digest[16];
		char tenant[16];
		char result[16];
		size_t result_len;
	} items[8];
};

static int see(void *ctx, const struct ledger_key *key, const char *digest, const char *tenant,
	       struct bytes result)
{
	struct seen *seen = ctx;

	assert_in_range(seen->len, 0, ARRAY_LEN(seen->items) - 1);
	(void)snprintf(seen->items[seen->len].id, 16, "%s", key->id);
	(void)snprintf(seen->items[seen->len].digest, 16, "%s", digest);
	(void)snprintf(seen->items[seen->len].tenant, 16, "%s", tenant);
	assert_in_range(result.len, 0, 16);
	(void)memcpy(seen->items[seen->len].result, result.data, result.len);
	seen->items[seen->len].result_len = result.len;
	seen->items[seen->len++].run = key->run;
	return seen->len == seen->stop_after;
}

static struct seen unsent(struct ledger *ledger)
{
	struct seen seen = {0};
	struct err err = {0};

	must(ledger_unsent(ledger, see, &seen, &err), &err);
	return seen;
}

/* The file's "user version" (https://sqlite.org/fileformat.html, 1.3). */
static void set_version(uint8_t version)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, &version, 1, 63), 1);
	fd_close(fd);
}

/* --- what is known of a job ------------------------------------------- */

static void a_new_job_is_new_until_it_is_finished(void **state)
{
	struct ledger *ledger = open_it();
	struct ledger_entry entry;

	(void)state;
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_NEW);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_NEW);
	start(ledger, &key_a);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_NEW);
	finish(ledger, &key_a, result_a);
	entry = begin(ledger, &key_a, digest_a);
	assert_int_equal(entry.known, LEDGER_FINISHED);
	assert_int_equal(entry.result.len, result_a.len);
	assert_memory_equal(entry.result.data, result_a.data, result_a.len);
	assert_int_equal(begin(ledger, &key_b, digest_a).known, LEDGER_NEW);
	ledger_close(ledger);
}

static void another_run_is_another_job(void **state)
{
	static const struct ledger_key again = {"job-a", 2};
	struct ledger *ledger = open_it();

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	finish(ledger, &key_a, result_a);
	assert_int_equal(begin(ledger, &again, "other").known, LEDGER_NEW);
	ledger_close(ledger);
}

static void another_digest_is_a_conflict(void **state)
{
	struct ledger *ledger = open_it();

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	assert_int_equal(begin(ledger, &key_a, "other").known, LEDGER_CONFLICT);
	finish(ledger, &key_a, result_a);
	assert_int_equal(begin(ledger, &key_a, "other").known, LEDGER_CONFLICT);
	/* and changes nothing */
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_FINISHED);
	ledger_close(ledger);
}

static void an_empty_result_is_a_result(void **state)
{
	struct ledger *ledger = open_it();
	struct ledger_entry entry;

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	finish(ledger, &key_a, (struct bytes){NULL, 0});
	entry = begin(ledger, &key_a, digest_a);
	assert_int_equal(entry.known, LEDGER_FINISHED);
	assert_int_equal(entry.result.len, 0);
	ledger_close(ledger);
}

static void memory_that_is_gone_is_a_fault(void **state)
{
	struct ledger *ledger = open_it();
	struct ledger_entry entry;
	struct arena small;
	struct err err = {0};

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	finish(ledger, &key_a, result_a);
	arena_init(&small, 4);
	assert_int_equal(ledger_begin(ledger, &key_a, digest_a, "tenant", &small, &entry, &err),
			 -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	arena_release(&small);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_FINISHED);
	ledger_close(ledger);
}

/* --- crashes ---------------------------------------------------------- */

static void starts_without_an_end_are_crashes(void **state)
{
	struct ledger *ledger = open_it();
	struct err err = {0};

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	for (int i = 0; i < 3; i++)
		start(ledger, &key_a);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 3);
	must(ledger_end(ledger, &key_a, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 2);
	for (int i = 0; i < 3; i++)
		must(ledger_end(ledger, &key_a, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 0);
	start(ledger, &key_a);
	finish(ledger, &key_a, result_a);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 0);
	ledger_close(ledger);
}

/* --- results that nobody has seen ------------------------------------- */

static void unsent_results_are_listed_until_they_are_sent(void **state)
{
	struct ledger *ledger = open_it();
	struct seen seen = {.stop_after = 1};
	struct err err = {0};

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	(void)begin(ledger, &key_b, "bbbb");
	assert_int_equal(unsent(ledger).len, 0);
	finish(ledger, &key_b, result_a);
	finish(ledger, &key_a, result_a);
	assert_int_equal(unsent(ledger).len, 2);
	/* a visitor may stop, and the list can be asked for again */
	must(ledger_unsent(ledger, see, &seen, &err), &err);
	assert_int_equal(seen.len, 1);
	must(ledger_sent(ledger, &key_b, &err), &err);
	seen = unsent(ledger);
	assert_int_equal(seen.len, 1);
	assert_string_equal(seen.items[0].id, "job-a");
	assert_int_equal(seen.items[0].run, 1);
	assert_string_equal(seen.items[0].digest, digest_a);
	assert_string_equal(seen.items[0].tenant, "tenant");
	assert_int_equal(seen.items[0].result_len, result_a.len);
	assert_memory_equal(seen.items[0].result, result_a.data, result_a.len);
	must(ledger_sent(ledger, &key_a, &err), &err);
	assert_int_equal(unsent(ledger).len, 0);
	ledger_close(ledger);
}

/* --- forgetting ------------------------------------------------------- */

static void what_was_sent_is_forgotten_in_time(void **state)
{
	struct ledger *ledger = open_it();
	int64_t now = clock_wall_us();
	struct err err = {0};

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	finish(ledger, &key_a, result_a);
	must(ledger_forget(ledger, now + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_FINISHED);
	must(ledger_sent(ledger, &key_a, &err), &err);
	must(ledger_forget(ledger, now - 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_FINISHED);
	must(ledger_forget(ledger, now + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_NEW);
	ledger_close(ledger);
}

/* Begun here, finished elsewhere: such rows must not pile up, but a job that
 * waits long is still known. */
static void what_never_ends_is_forgotten_late(void **state)
{
	struct ledger *ledger = open_it();
	int64_t now = clock_wall_us();
	struct err err = {0};

	(void)state;
	(void)begin(ledger, &key_a, digest_a);
	start(ledger, &key_a);
	must(ledger_forget(ledger, now + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 1);
	must(ledger_forget(ledger, now + LEDGER_LOST_US + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 0);
	ledger_close(ledger);
}

/* --- kill -9 ---------------------------------------------------------- */

enum { CALLS = 5 };

/* Makes the first `calls` calls of a job's life in a process that is killed. */
static void live_and_be_killed(int calls)
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct ledger *ledger = NULL;
		struct ledger_entry entry;
		int bad = ledger_open(&ledger, path, NULL);

		if (calls > 0)
			bad |= ledger_begin(ledger, &key_a, digest_a, "tenant", &arena, &entry,
					    NULL);
		if (calls > 1)
			bad |= ledger_start(ledger, &key_a, NULL);
		if (calls > 2)
			bad |= ledger_finish(ledger, &key_a, "passed", "", result_a, NULL);
		if (calls > 3)
			bad |= ledger_sent(ledger, &key_a, NULL);
		if (bad == 0)
			(void)raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void a_kill_between_calls_loses_none(void **state)
{
	(void)state;
	for (int calls = 0; calls < CALLS; calls++) {
		struct ledger *ledger;
		struct ledger_entry entry;

		live_and_be_killed(calls);
		ledger = open_it();
		assert_int_equal(unsent(ledger).len, calls == 3 ? 1 : 0);
		entry = begin(ledger, &key_a, calls > 0 ? digest_a : "another");
		assert_int_equal(entry.known, calls > 2 ? LEDGER_FINISHED : LEDGER_NEW);
		assert_int_equal(entry.crashes, calls == 2 ? 1 : 0);
		ledger_close(ledger);
		remove_files();
	}
}

static void every_crash_is_counted(void **state)
{
	struct ledger *ledger;

	(void)state;
	for (int i = 0; i < 3; i++)
		live_and_be_killed(2);
	ledger = open_it();
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 3);
	ledger_close(ledger);
}

/* --- files of others -------------------------------------------------- */

static void a_newer_version_is_refused(void **state)
{
	struct ledger *ledger = open_it();
	struct err err = {0};

	(void)state;
	ledger_close(ledger);
	set_version(2);
	assert_int_equal(ledger_open(&ledger, path, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.message, "version 2"));
}

static void garbage_is_a_clear_error(void **state)
{
	struct ledger *ledger = NULL;
	struct err err = {0};
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	for (int i = 0; i < 1000; i++)
		must(fd_write_all(fd, "this is no data base\n", 21, &err), &err);
	fd_close(fd);
	assert_int_equal(ledger_open(&ledger, path, &err), -1);
	assert_null(ledger);
	assert_non_null(strstr(err.message, "ledger"));
	assert_non_null(strstr(err.message, "not a database"));
}

static void a_directory_that_is_missing_is_a_clear_error(void **state)
{
	struct ledger *ledger = NULL;
	struct err err = {0};

	(void)state;
	assert_int_equal(ledger_open(&ledger, "/tmp/sbx-no-such-directory/ledger.db", &err), -1);
	assert_non_null(strstr(err.message, "/tmp/sbx-no-such-directory/ledger.db"));
	ledger_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_job_is_new_until_it_is_finished),
		TEST(another_run_is_another_job),
		TEST(another_digest_is_a_conflict),
		TEST(an_empty_result_is_a_result),
		TEST(memory_that_is_gone_is_a_fault),
		TEST(starts_without_an_end_are_crashes),
		TEST(unsent_results_are_listed_until_they_are_sent),
		TEST(what_was_sent_is_forgotten_in_time),
		TEST(what_never_ends_is_forgotten_late),
		TEST(a_kill_between_calls_loses_none),
		TEST(every_crash_is_counted),
		TEST(a_newer_version_is_refused),
		TEST(garbage_is_a_clear_error),
		TEST(a_directory_that_is_missing_is_a_clear_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
