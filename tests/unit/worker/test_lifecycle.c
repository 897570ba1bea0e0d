/* test_lifecycle.c - the whole table: every kind of job gets through, nothing leads back. */
#include "worker/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PATH_MOST = STATE_COUNT + 1 };

static bool is_end(enum job_state state)
{
	return state == STATE_refused || state == STATE_stopped || state == STATE_faulted;
}

static void every_kind_of_job_gets_through(void **state)
{
	/* clang-format off */
	static const enum job_state paths[][PATH_MOST] = {
		/* diff and steps */
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_checked, STATE_patched,
		 STATE_prepared, STATE_running, STATE_reported, STATE_collected, STATE_settled,
		 STATE_published, STATE_done},
		/* steps alone */
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_prepared, STATE_running,
		 STATE_reported, STATE_collected, STATE_settled, STATE_published, STATE_done},
		/* a diff alone */
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_checked, STATE_patched,
		 STATE_settled, STATE_published, STATE_done},
		/* a base alone */
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_settled, STATE_published,
		 STATE_done},
		/* nothing at all */
		{STATE_admitted, STATE_settled, STATE_published, STATE_done},
		/* refused at once; refused for its diff; stopped by a limit; the store fails */
		{STATE_refused, STATE_published, STATE_done},
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_refused, STATE_published,
		 STATE_done},
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_prepared, STATE_running,
		 STATE_reported, STATE_collected, STATE_stopped, STATE_published, STATE_done},
		{STATE_admitted, STATE_fetched, STATE_snapshotted, STATE_settled, STATE_faulted,
		 STATE_published, STATE_done},
	};
	/* clang-format on */

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		enum job_state now = STATE_received;

		for (size_t j = 0; now != STATE_done; j++) {
			if (!lifecycle_allows(now, paths[i][j]))
				fail_msg("path %zu: %s -> %s", i, job_state_name(now),
					 job_state_name(paths[i][j]));
			now = paths[i][j];
		}
	}
}

/* The enum is in the order of a job's life, but for the three other ends. */
static void nothing_leads_back(void **state)
{
	(void)state;
	for (int from = 0; from < STATE_COUNT; from++) {
		for (int to = 0; to < STATE_COUNT; to++) {
			bool forward = is_end((enum job_state)to) ||
				       (is_end((enum job_state)from) && to == STATE_published) ||
				       to > from;

			if (lifecycle_allows((enum job_state)from, (enum job_state)to) && !forward)
				fail_msg("%s -> %s", job_state_name((enum job_state)from),
					 job_state_name((enum job_state)to));
		}
	}
}

static void what_is_over_stays_over(void **state)
{
	(void)state;
	for (int to = 0; to < STATE_COUNT; to++) {
		assert_false(lifecycle_allows(STATE_done, (enum job_state)to));
		assert_int_equal(lifecycle_allows(STATE_published, (enum job_state)to),
				 to == STATE_done);
		assert_int_equal(lifecycle_allows(STATE_refused, (enum job_state)to),
				 to == STATE_published);
		assert_int_equal(lifecycle_allows(STATE_stopped, (enum job_state)to),
				 to == STATE_published);
		assert_int_equal(lifecycle_allows(STATE_faulted, (enum job_state)to),
				 to == STATE_published);
		assert_false(lifecycle_allows((enum job_state)to, STATE_received));
	}
}

/* Before it is settled any job may be refused, stopped, or meet a fault. */
static void every_job_may_end_at_any_time(void **state)
{
	(void)state;
	for (int from = 0; from < STATE_settled; from++) {
		assert_true(lifecycle_allows((enum job_state)from, STATE_refused));
		assert_true(lifecycle_allows((enum job_state)from, STATE_stopped));
		assert_true(lifecycle_allows((enum job_state)from, STATE_faulted));
	}
	assert_false(lifecycle_allows(STATE_settled, STATE_refused));
	assert_false(lifecycle_allows(STATE_settled, STATE_stopped));
	assert_true(lifecycle_allows(STATE_settled, STATE_faulted));
}

static void an_executor_speaks_of_its_own_states_only(void **state)
{
	(void)state;
	for (int from = 0; from < STATE_COUNT; from++) {
		for (int to = 0; to < STATE_COUNT; to++) {
			bool own = to >= STATE_checked && to <= STATE_collected;
			bool allowed = lifecycle_allows((enum job_state)from, (enum job_state)to);

			assert_int_equal(
				lifecycle_executor_allows((enum job_state)from, (enum job_state)to),
				own && allowed);
		}
		assert_false(lifecycle_executor_allows((enum job_state)from, STATE_COUNT));
		assert_false(lifecycle_executor_allows((enum job_state)from, (enum job_state)31));
		assert_false(lifecycle_executor_allows((enum job_state)from, (enum job_state)32));
		assert_false(
			lifecycle_executor_allows((enum job_state)from, (enum job_state)INT32_MAX));
		assert_false(lifecycle_executor_allows((enum job_state)from, (enum job_state) - 1));
	}
}

/* A job that has begun what it did not finish cannot be settled. */
static void half_done_is_not_settled(void **state)
{
	static const enum job_state half[] = {STATE_received, STATE_fetched, STATE_checked,
					      STATE_prepared, STATE_running};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(half); i++)
		assert_false(lifecycle_allows(half[i], STATE_settled));
}

static void each_verdict_has_its_end(void **state)
{
	static const enum job_state ends[VERDICT_COUNT] = {
		[VERDICT_passed] = STATE_settled,    [VERDICT_failed] = STATE_settled,
		[VERDICT_rejected] = STATE_refused,  [VERDICT_limit] = STATE_stopped,
		[VERDICT_cancelled] = STATE_stopped, [VERDICT_expired] = STATE_stopped,
		[VERDICT_error] = STATE_faulted,
	};

	(void)state;
	for (int verdict = 0; verdict < VERDICT_COUNT; verdict++)
		assert_int_equal(lifecycle_end((enum verdict)verdict), ends[verdict]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_job_gets_through),
		cmocka_unit_test(nothing_leads_back),
		cmocka_unit_test(what_is_over_stays_over),
		cmocka_unit_test(every_job_may_end_at_any_time),
		cmocka_unit_test(an_executor_speaks_of_its_own_states_only),
		cmocka_unit_test(half_done_is_not_settled),
		cmocka_unit_test(each_verdict_has_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
