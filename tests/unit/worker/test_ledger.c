/*
 * test_ledger.c - the ledger against a real file: each call, and what is left
 * of them when the process is killed in between. Runs from the top of the tree,
 * where a file of version 1 is kept.
 */
#include "tests/unit/worker/ledger_kit.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"

static struct arena arena;

static const struct ledger_key key_a = {"job-a", 1};
static const struct ledger_key key_b = {"job-b", 1};
static const char digest_a[] = "aaaa";
static const struct bytes result_a = {(const uint8_t *)"re\0sult", 7};

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 16 << 20);
	return ledger_dir_make();
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return ledger_dir_remove();
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

	must(ledger_open(&ledger, ledger_path, &err), &err);
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

	must(ledger_finish(ledger, key, &(struct ledger_outcome){"passed", "", result, {0}, NULL},
			   &err),
	     &err);
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
	int fd = open(ledger_path, O_WRONLY | O_CLOEXEC);

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
	must(ledger_tidy(ledger, now + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_FINISHED);
	must(ledger_sent(ledger, &key_a, &err), &err);
	must(ledger_tidy(ledger, now - 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).known, LEDGER_FINISHED);
	must(ledger_tidy(ledger, now + 60000000, &err), &err);
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
	must(ledger_tidy(ledger, now + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 1);
	must(ledger_tidy(ledger, now + LEDGER_LOST_US + 60000000, &err), &err);
	assert_int_equal(begin(ledger, &key_a, digest_a).crashes, 0);
	ledger_close(ledger);
}

/* --- bounds ----------------------------------------------------------- */

static int64_t file_size(void)
{
	struct stat st;

	assert_int_equal(stat(ledger_path, &st), 0);
	return st.st_size;
}

static void finish_many(struct ledger *ledger, int from, int to, bool sent)
{
	static const uint8_t content[10000];
	struct err err = {0};

	for (int i = from; i < to; i++) {
		char id[16];
		struct ledger_key key = {id, 1};

		(void)snprintf(id, sizeof(id), "many-%03d", i);
		(void)begin(ledger, &key, digest_a);
		finish(ledger, &key, (struct bytes){content, sizeof(content)});
		if (sent)
			must(ledger_sent(ledger, &key, &err), &err);
	}
}

static bool is_known(struct ledger *ledger, int number)
{
	char id[16];
	struct ledger_key key = {id, 1};

	(void)snprintf(id, sizeof(id), "many-%03d", number);
	return begin(ledger, &key, digest_a).known == LEDGER_FINISHED;
}

static void the_oldest_go_when_it_is_too_much(void **state)
{
	const int64_t each = 10000 + LEDGER_JOB_BYTES;
	struct ledger *ledger = open_it();
	struct err err = {0};

	(void)state;
	finish_many(ledger, 0, 1, false);
	finish_many(ledger, 1, 10, true);
	must(ledger_trim(ledger, 10 * each, &err), &err);
	assert_true(is_known(ledger, 1));
	must(ledger_trim(ledger, 4 * each, &err), &err);
	/* the first is the oldest, but nobody has its result yet */
	for (int i = 0; i < 10; i++)
		assert_int_equal(is_known(ledger, i), i == 0 || i > 6);
	ledger_close(ledger);
	/* what is there is counted anew by who opens it */
	ledger = open_it();
	must(ledger_trim(ledger, 4 * each, &err), &err);
	assert_true(is_known(ledger, 7));
	must(ledger_trim(ledger, 3 * each, &err), &err);
	assert_false(is_known(ledger, 7));
	must(ledger_trim(ledger, 0, &err), &err);
	assert_true(is_known(ledger, 0));
	assert_false(is_known(ledger, 9));
	ledger_close(ledger);
}

static void what_is_forgotten_is_not_counted(void **state)
{
	const int64_t each = 10000 + LEDGER_JOB_BYTES;
	struct ledger *ledger = open_it();
	struct err err = {0};

	(void)state;
	finish_many(ledger, 0, 5, true);
	(void)begin(ledger, &key_a, digest_a); /* never finished: never counted */
	must(ledger_tidy(ledger, clock_wall_us() + LEDGER_LOST_US + 60000000, &err), &err);
	finish_many(ledger, 5, 8, true);
	must(ledger_trim(ledger, 3 * each, &err), &err);
	for (int i = 5; i < 8; i++)
		assert_true(is_known(ledger, i));
	ledger_close(ledger);
}

static void the_file_shrinks_again(void **state)
{
	struct ledger *ledger = open_it();
	struct err err = {0};

	(void)state;
	finish_many(ledger, 0, 200, true);
	ledger_close(ledger);
	assert_in_range(file_size(), 2000000, 4000000);
	ledger = open_it();
	must(ledger_trim(ledger, 0, &err), &err);
	must(ledger_tidy(ledger, 0, &err), &err);
	ledger_close(ledger);
	assert_in_range(file_size(), 0, 200000);
}

/* --- history ---------------------------------------------------------- */

struct told {
	char text[1024];
};

static int tell(void *ctx, const struct ledger_row *row)
{
	struct told *told = ctx;
	size_t len = strlen(told->text);

	(void)snprintf(told->text + len, sizeof(told->text) - len, "%s.%lld %s %s %s %lld%s%s;",
		       row->key.id, (long long)row->key.run, row->tenant,
		       row->verdict == NULL ? "-" : row->verdict,
		       row->reason == NULL ? "-" : row->reason, (long long)row->starts,
		       row->sent ? " sent" : "",
		       row->snapshots.after_patch == NULL ? "" : row->snapshots.after_patch);
	return 0;
}

static struct told told_by(struct ledger *ledger, const struct ledger_filter *filter)
{
	struct told told = {0};
	struct err err = {0};

	must(ledger_history(ledger, filter, tell, &told, &err), &err);
	return told;
}

static void the_history_is_read_beside_the_writer(void **state)
{
	static const struct ledger_key jobs[] = {{"a-1", 1}, {"a-2", 1}, {"b-1", 2}};
	struct ledger *ledger = open_it();
	struct ledger *reader = NULL;
	int64_t now = clock_wall_us();
	struct err err = {0};
	struct ledger_outcome outcome = {.verdict = "rejected",
					 .reason = "patch.conflict",
					 .result = result_a,
					 .snapshots = {.after_patch = " abc"}};

	(void)state;
	must(ledger_open_read(&reader, ledger_path, &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		(void)begin(ledger, &jobs[i], digest_a);
	start(ledger, &jobs[1]);
	start(ledger, &jobs[1]);
	finish(ledger, &jobs[1], result_a);
	must(ledger_finish(ledger, &jobs[2], &outcome, &err), &err);
	must(ledger_sent(ledger, &jobs[2], &err), &err);
	assert_string_equal(told_by(reader, &(struct ledger_filter){0}).text,
			    "b-1.2 tenant rejected patch.conflict 0 sent abc;"
			    "a-2.1 tenant passed  2;a-1.1 tenant - - 0;");
	assert_string_equal(told_by(reader, &(struct ledger_filter){.job = "a-*", .limit = 1}).text,
			    "a-2.1 tenant passed  2;");
	assert_string_equal(told_by(reader, &(struct ledger_filter){.verdict = "passed"}).text,
			    "a-2.1 tenant passed  2;");
	assert_string_equal(told_by(reader, &(struct ledger_filter){.tenant = "other"}).text, "");
	assert_string_equal(
		told_by(reader, &(struct ledger_filter){.since_us = now + 60000000}).text, "");
	assert_true(
		strlen(told_by(reader, &(struct ledger_filter){.since_us = now - 60000000}).text) >
		0);
	ledger_close(reader);
	ledger_close(ledger);
}

static void a_reader_makes_no_file(void **state)
{
	struct ledger *reader = NULL;
	struct err err = {0};

	(void)state;
	assert_int_equal(ledger_open_read(&reader, ledger_path, &err), -1);
	assert_int_equal(access(ledger_path, F_OK), -1);
}

/* --- an older file ---------------------------------------------------- */

/* As version 1 of this program has written it. */
static void copy_v1(void)
{
	struct buf file;
	struct err err = {0};
	int fd = open(ledger_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	buf_init(&file, 1 << 20);
	must(fd_read_file("tests/golden/ledger-v1.db", 1 << 20, &file, &err), &err);
	must(fd_write_all(fd, file.data, file.len, &err), &err);
	fd_close(fd);
	buf_release(&file);
}

static void an_older_file_is_taken_over(void **state)
{
	static const struct ledger_key sent = {"sent", 1}, running = {"running", 1};
	struct ledger *ledger;
	struct ledger_entry entry;
	struct seen seen;
	struct err err = {0};

	(void)state;
	copy_v1();
	assert_int_equal(ledger_open_read(&ledger, ledger_path, &err), -1);
	assert_non_null(strstr(err.message, "start its worker once"));
	ledger = open_it();
	entry = begin(ledger, &sent, digest_a);
	assert_int_equal(entry.known, LEDGER_FINISHED);
	assert_memory_equal(entry.result.data, result_a.data, result_a.len);
	assert_int_equal(begin(ledger, &running, digest_a).crashes, 1);
	seen = unsent(ledger);
	assert_int_equal(seen.len, 1);
	assert_string_equal(seen.items[0].id, "unsent");
	assert_int_equal(seen.items[0].run, 2);
	assert_string_equal(
		told_by(ledger, &(struct ledger_filter){.job = "*sent"}).text,
		"unsent.2 tenant rejected patch.conflict 0;sent.1 tenant passed  0 sent;");
	/* what is stored there counts, and the file can shrink now */
	must(ledger_trim(ledger, 2 * LEDGER_JOB_BYTES + 14, &err), &err);
	assert_int_equal(begin(ledger, &sent, digest_a).known, LEDGER_FINISHED);
	must(ledger_trim(ledger, 2 * LEDGER_JOB_BYTES + 13, &err), &err);
	assert_int_equal(begin(ledger, &sent, digest_a).known, LEDGER_NEW);
	finish_many(ledger, 0, 200, true);
	must(ledger_trim(ledger, 0, &err), &err);
	must(ledger_tidy(ledger, 0, &err), &err);
	ledger_close(ledger);
	assert_in_range(file_size(), 0, 200000);
	ledger = open_it(); /* and that is all there is to do */
	assert_int_equal(unsent(ledger).len, 1);
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
		int bad = ledger_open(&ledger, ledger_path, NULL);

		if (calls > 0)
			bad |= ledger_begin(ledger, &key_a, digest_a, "tenant", &arena, &entry,
					    NULL);
		if (calls > 1)
			bad |= ledger_start(ledger, &key_a, NULL);
		if (calls > 2)
			bad |= ledger_finish(
				ledger, &key_a,
				&(struct ledger_outcome){"passed", "", result_a, {0}, NULL}, NULL);
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
		ledger_remove_files();
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
	set_version(99);
	assert_int_equal(ledger_open(&ledger, ledger_path, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.message, "version 99"));
}

static void garbage_is_a_clear_error(void **state)
{
	struct ledger *ledger = NULL;
	struct err err = {0};
	int fd = open(ledger_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	for (int i = 0; i < 1000; i++)
		must(fd_write_all(fd, "this is no data base\n", 21, &err), &err);
	fd_close(fd);
	assert_int_equal(ledger_open(&ledger, ledger_path, &err), -1);
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
		TEST(the_oldest_go_when_it_is_too_much),
		TEST(what_is_forgotten_is_not_counted),
		TEST(the_file_shrinks_again),
		TEST(the_history_is_read_beside_the_writer),
		TEST(a_reader_makes_no_file),
		TEST(an_older_file_is_taken_over),
		TEST(a_kill_between_calls_loses_none),
		TEST(every_crash_is_counted),
		TEST(a_newer_version_is_refused),
		TEST(garbage_is_a_clear_error),
		TEST(a_directory_that_is_missing_is_a_clear_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
