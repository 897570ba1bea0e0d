/*
 * test_ledger_marks.c - what the ledger remembers about a job beside its
 * result: that it was cancelled, that a dead letter is due.
 */
#include "tests/unit/worker/ledger_kit.h"

#include <string.h>

#include "base/clock.h"

static struct arena arena;
static struct err err;

static const struct ledger_key key_a = {"job-a", 1};
static const struct ledger_key key_b = {"job-b", 1};

/* --- fixtures --------------------------------------------------------- */

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

static void must(int rc)
{
	if (rc != 0)
		fail_msg("%s", err.message);
}

static struct ledger *open_it(void)
{
	struct ledger *ledger;

	must(ledger_open(&ledger, ledger_path, &err));
	return ledger;
}

static struct ledger_entry begin(struct ledger *ledger, const struct ledger_key *key)
{
	struct ledger_entry entry;

	must(ledger_begin(ledger, key, "digest", "tenant", &arena, &entry, &err));
	return entry;
}

/* --- cancels ---------------------------------------------------------- */

static void a_cancel_is_remembered_for_its_run(void **state)
{
	static const struct ledger_key next_run = {"job-a", 2};
	struct ledger *ledger = open_it();

	(void)state;
	must(ledger_cancel(ledger, &key_a, &err));
	must(ledger_cancel(ledger, &key_a, &err));
	ledger_close(ledger);
	ledger = open_it();
	assert_true(begin(ledger, &key_a).cancelled);
	assert_false(begin(ledger, &next_run).cancelled);
	assert_false(begin(ledger, &key_b).cancelled);
	/* tidying what is over keeps it */
	must(ledger_tidy(ledger, clock_wall_us(), &err));
	assert_true(begin(ledger, &key_a).cancelled);
	ledger_close(ledger);
}

/* --- wait queues ------------------------------------------------------- */

static int waits(struct ledger *ledger, const struct ledger_key *key, int64_t wall_us,
		 struct ledger_wait *ret)
{
	int rc = ledger_waiting(ledger, key, wall_us, &arena, ret, &err);

	if (rc < 0)
		fail_msg("%s", err.message);
	return rc;
}

static void a_job_waits_until_its_time_is_over_or_it_comes(void **state)
{
	const struct ledger_outcome outcome = {.verdict = "cancelled",
					       .reason = "job.cancelled",
					       .result = {(const uint8_t *)"r", 1}};
	const struct ledger_wait wait = {.until_us = 5000,
					 .attempts = 3,
					 .job = {(const uint8_t *)"j\0b", 3},
					 .reply_to = "sbx.reply.x"};
	struct ledger *ledger = open_it();
	struct ledger_wait got;

	(void)state;
	(void)begin(ledger, &key_a);
	(void)begin(ledger, &key_b);
	assert_int_equal(waits(ledger, &key_a, 1, &got), 0);
	must(ledger_wait(ledger, &key_a, &wait, &err));
	must(ledger_wait(ledger, &key_b, &wait, &err));
	ledger_close(ledger);
	ledger = open_it();
	assert_int_equal(waits(ledger, &key_a, 4999, &got), 1);
	assert_int_equal(got.attempts, 3);
	assert_int_equal(got.job.len, 3);
	assert_memory_equal(got.job.data, "j\0b", 3);
	assert_string_equal(got.reply_to, "sbx.reply.x");
	assert_null(got.correlation_id);
	assert_string_equal(got.digest, "digest");
	assert_int_equal(waits(ledger, &key_a, 5000, &got), 0);
	/* it came again */
	(void)begin(ledger, &key_a);
	assert_int_equal(waits(ledger, &key_a, 1, &got), 0);
	/* it has a result */
	must(ledger_finish(ledger, &key_b, &outcome, &err));
	assert_int_equal(waits(ledger, &key_b, 1, &got), 0);
	/* its time has been over for long: nothing of it is kept */
	must(ledger_wait(ledger, &key_a, &wait, &err));
	must(ledger_tidy(ledger, 0, &err));
	assert_int_equal(waits(ledger, &key_a, 1, &got), 0);
	ledger_close(ledger);
}

/* --- dead letters ------------------------------------------------------ */

static int count(void *ctx, const struct ledger_key *key, const char *digest, const char *tenant,
		 struct bytes result)
{
	(void)key;
	(void)digest;
	(void)tenant;
	(void)result;
	++*(int *)ctx;
	return 0;
}

static void a_letter_is_due_until_it_is_sent(void **state)
{
	struct ledger_outcome outcome = {.verdict = "error",
					 .reason = "host.store",
					 .letter = "disk full",
					 .result = {(const uint8_t *)"r", 1}};
	struct ledger *ledger = open_it();
	struct ledger_entry entry;
	int unsent = 0;

	(void)state;
	(void)begin(ledger, &key_a);
	must(ledger_finish(ledger, &key_a, &outcome, &err));
	ledger_close(ledger);
	ledger = open_it();
	/* without its message nothing can be sent */
	must(ledger_unsent(ledger, count, &unsent, &err));
	assert_int_equal(unsent, 0);
	entry = begin(ledger, &key_a);
	assert_int_equal(entry.known, LEDGER_FINISHED);
	assert_string_equal(entry.letter, "disk full");
	assert_string_equal(entry.reason, "host.store");
	must(ledger_sent(ledger, &key_a, &err));
	entry = begin(ledger, &key_a);
	assert_int_equal(entry.known, LEDGER_FINISHED);
	assert_null(entry.letter);
	/* the message never came again, here: another worker has answered it */
	(void)begin(ledger, &key_b);
	must(ledger_finish(ledger, &key_b, &outcome, &err));
	must(ledger_tidy(ledger, clock_wall_us() + LEDGER_LOST_US + 1000000, &err));
	assert_int_equal(begin(ledger, &key_b).known, LEDGER_NEW);
	ledger_close(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_cancel_is_remembered_for_its_run, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_job_waits_until_its_time_is_over_or_it_comes,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_letter_is_due_until_it_is_sent, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
