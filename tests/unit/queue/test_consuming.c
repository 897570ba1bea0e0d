/* test_consuming.c - the names both carriers' consumers read, and the patience
 * with which they come back. */
#include "queue/consuming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

enum { FIRST_MS = 250, MOST_MS = 15000, ROUNDS = 20 };

/* --- queues ----------------------------------------------------------- */

static void queues_are_named_by_source_and_key(void **state)
{
	struct consuming_queues queues, other;
	struct arena arena;

	(void)state;
	arena_init(&arena, 64 << 10);
	consuming_queues(&arena, "p", SOURCE_JOBS, NULL, true, &queues);
	assert_int_equal(queues.len, 3);
	assert_string_equal(queues.names[0], "p.jobs.high");
	assert_string_equal(queues.names[1], "p.jobs");
	assert_string_equal(queues.names[2], "p.jobs.low");
	assert_string_equal(queues.control, "p.control");
	consuming_queues(&arena, "p", SOURCE_JOBS, NULL, false, &queues);
	assert_null(queues.control);
	consuming_queues(&arena, "p", SOURCE_DEAD, NULL, true, &queues);
	assert_int_equal(queues.len, 1);
	assert_string_equal(queues.names[0], "p.dead");
	assert_null(queues.control);
	consuming_queues(&arena, "p", SOURCE_RESULTS, NULL, true, &queues);
	assert_string_equal(queues.names[0], "p.results");
	consuming_queues(&arena, "p", SOURCE_RESULTS, "t.#", true, &queues);
	consuming_queues(&arena, "p", SOURCE_EVENTS, "#", true, &other);
	assert_int_equal(queues.len, 1);
	assert_memory_equal(queues.names[0], "p.reply.", 8);
	assert_memory_equal(other.names[0], "p.reply.", 8);
	assert_string_not_equal(queues.names[0], other.names[0]);
	arena_release(&arena);
}

static void there_is_room_for_any_later_prefetch(void **state)
{
	(void)state;
	assert_int_equal(consuming_room(1), CONSUMER_ROOM);
	assert_int_equal(consuming_room(CONSUMING_PREFETCH_MAX), CONSUMING_PREFETCH_MAX);
}

/* --- coming back ------------------------------------------------------ */

/* How long the next wait is at least and at most, for the clock goes on. */
static void schedule(struct consuming_retry *retry, bool jitter, int64_t *ret_least_us,
		     int64_t *ret_most_us)
{
	int64_t before_us = clock_mono_us();

	consuming_retry_schedule(retry, jitter);
	*ret_least_us = retry->at_us - clock_mono_us();
	*ret_most_us = retry->at_us - before_us;
}

static void waits_double_up_to_a_bound(void **state)
{
	struct consuming_retry retry = {0};
	int64_t wait_us = FIRST_MS * 1000;

	(void)state;
	assert_true(consuming_retry_due(&retry));
	consuming_retry_reset(&retry);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t least_us, most_us;

		schedule(&retry, false, &least_us, &most_us);
		assert_true(least_us <= wait_us && wait_us <= most_us);
		assert_false(consuming_retry_due(&retry));
		wait_us = wait_us * 2 < MOST_MS * 1000 ? wait_us * 2 : MOST_MS * 1000;
	}
	consuming_retry_reset(&retry);
	assert_int_equal(retry.wait_ms, FIRST_MS);
}

static void jitter_leaves_half_of_the_wait(void **state)
{
	struct consuming_retry retry = {0};
	int64_t first_us = -1;
	bool differs = false;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		int64_t least_us, most_us;

		retry.wait_ms = MOST_MS;
		schedule(&retry, true, &least_us, &most_us);
		assert_true(least_us <= MOST_MS * 1000 && most_us >= MOST_MS * 1000 / 2);
		assert_int_equal(retry.wait_ms, MOST_MS);
		differs = differs || (first_us >= 0 && most_us / 1000 != first_us / 1000);
		first_us = most_us;
	}
	assert_true(differs);
}

static void what_cannot_get_better_is_final(void **state)
{
	struct err err = {.kind = ERR_PEER};

	(void)state;
	assert_false(consuming_is_final(&err));
	err.kind = ERR_TIMEOUT;
	assert_false(consuming_is_final(&err));
	err.kind = ERR_CONFLICT;
	assert_true(consuming_is_final(&err));
	err.kind = ERR_INPUT;
	assert_true(consuming_is_final(&err));
	err.kind = ERR_UNSUPPORTED;
	assert_true(consuming_is_final(&err));
}

static void what_is_past_is_due_at_once(void **state)
{
	int left_ms = consuming_left_ms(clock_mono_us() + 60000000);

	(void)state;
	assert_true(left_ms > 50000 && left_ms <= 60000);
	assert_int_equal(consuming_left_ms(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queues_are_named_by_source_and_key),
		cmocka_unit_test(there_is_room_for_any_later_prefetch),
		cmocka_unit_test(waits_double_up_to_a_bound),
		cmocka_unit_test(jitter_leaves_half_of_the_wait),
		cmocka_unit_test(what_cannot_get_better_is_final),
		cmocka_unit_test(what_is_past_is_due_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
