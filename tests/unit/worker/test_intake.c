/*
 * test_intake.c - the supervisor while jobs wait: for their base, then for a
 * slot, in this order.
 */
#include "base/log.h"
#include "tests/unit/worker/supervisor_kit.h"

static void jobs_wait_for_a_slot(void **state)
{
	(void)state;
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	(void)kit_fetched();
	kit_turn();
	assert_true(kit.self.tasks->waiting);
	kit_ready(1);
	assert_given(1);
	assert_false(kit.self.tasks->waiting);
}

static const char other_job[] = "{\"id\":\"k\"," KIT_SOURCE ",\"steps\":[{\"run\":[\"true\"]}]}";

/* A host that is asked and says nothing holds up the jobs that name it, no slot. */
static void who_has_its_base_goes_first(void **state)
{
	struct ipc_store_fetch silent;

	(void)state;
	kit.config.worker_slots = 1;
	kit_ready(0);
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	(void)kit_receive(kit.storekeeper, IPC_STORE_FETCH, &silent, sizeof(silent));
	assert_null(kit.slots[0].task);
	kit_deliver(other_job, KIT_EPOCH);
	kit_turn();
	(void)kit_fetched();
	assert_given(0);
	assert_string_equal(kit.slots[0].task->job.id, "k");
	assert_int_equal(kit_tasks(), 2);
}

static void who_waits_too_long_has_expired(void **state)
{
	(void)state;
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	(void)kit_fetched();
	kit_turn();
	assert_silent(kit.publisher);
	kit.self.tasks->job.deadline_ms = 1; /* long past */
	kit_ready(0);
	kit_turn();
	assert_silent(kit.executors[0]);
	assert_result(1, "expired", "job.expired");
}

/* Its checkout may be gone by the time there is a slot: the storekeeper is asked
 * again. That question is left unanswered here. */
static void wait_until_stale(void)
{
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	(void)kit_fetched();
	kit_turn();
	kit.self.tasks->base_mono_us -= INT64_C(3600) * 1000000;
	kit_ready(0);
	kit_turn();
	assert_silent(kit.executors[0]);
	assert_non_null(kit.slots[0].task);
}

static void an_old_base_is_asked_for_again(void **state)
{
	(void)state;
	wait_until_stale();
	(void)kit_fetched();
	assert_given(0);
}

static void a_base_that_is_gone_is_a_fault(void **state)
{
	struct ipc_store_fetched reply = {.kind = IPC_STORE_FETCHED, .end = IPC_FAULT};
	struct ipc_store_fetch asked;
	struct published published;

	(void)state;
	wait_until_stale();
	(void)kit_receive(kit.storekeeper, IPC_STORE_FETCH, &asked, sizeof(asked));
	reply.task = asked.task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	kit_turn();
	assert_null(kit.slots[0].task);
	published = kit_published();
	assert_int_equal(published.route, ROUTE_RETRY);
	assert_string_equal(published.reason, "source.unreachable");
}

/* What another worker could do as well is handed back at once. */
static void who_waits_is_dropped(void **state)
{
	struct ipc_store_fetch asked;
	struct ipc_store_fetched reply = {.kind = IPC_STORE_FETCHED, .end = IPC_OK};

	(void)state;
	kit_ready(0);
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	(void)kit_receive(kit.storekeeper, IPC_STORE_FETCH, &asked, sizeof(asked));
	intake_drop_waiting(&kit.self, true);
	assert_int_equal(kit_tasks(), 0);
	reply.task = asked.task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	kit_turn();
	assert_silent(kit.executors[0]);
}

/* --- late and out of date --------------------------------------------- */

static void an_executor_that_dies_during_a_fetch_costs_nothing(void **state)
{
	(void)state;
	kit_ready(0);
	kit_turn();
	kit_deliver(kit_steps_job, KIT_EPOCH);
	fd_cleanup(&kit.executors[0]);
	kit_turn();
	(void)kit_fetched();
	kit_turn();
	assert_silent(kit.publisher);
	kit_ready(0);
	assert_given(0);
}

static void a_fetch_that_ends_after_its_executor_is_late(void **state)
{
	uint64_t task;

	(void)state;
	wait_until_stale();
	fd_cleanup(&kit.executors[0]);
	kit_turn();
	task = kit_fetched();
	assert_retried(task);
}

static void an_end_that_is_settled_too_late_changes_nothing(void **state)
{
	struct ipc_store_settled reply = {.kind = IPC_STORE_SETTLED, .end = IPC_OK};
	uint64_t task;

	(void)state;
	wait_until_stale();
	fd_cleanup(&kit.executors[0]);
	kit_turn();
	task = kit_fetched();
	reply.task = task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	assert_retried(task);
	reply.task = 4711; /* a task that never was */
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	kit_turn();
	assert_silent(kit.publisher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(jobs_wait_for_a_slot, kit_setup, kit_teardown),
		cmocka_unit_test_setup_teardown(who_has_its_base_goes_first, kit_setup,
						kit_teardown),
		cmocka_unit_test_setup_teardown(an_old_base_is_asked_for_again, kit_setup,
						kit_teardown),
		cmocka_unit_test_setup_teardown(a_base_that_is_gone_is_a_fault, kit_setup,
						kit_teardown),
		cmocka_unit_test_setup_teardown(who_waits_is_dropped, kit_setup, kit_teardown),
		cmocka_unit_test_setup_teardown(an_executor_that_dies_during_a_fetch_costs_nothing,
						kit_setup, kit_teardown),
		cmocka_unit_test_setup_teardown(who_waits_too_long_has_expired, kit_setup,
						kit_teardown),
		cmocka_unit_test_setup_teardown(a_fetch_that_ends_after_its_executor_is_late,
						kit_setup, kit_teardown),
		cmocka_unit_test_setup_teardown(an_end_that_is_settled_too_late_changes_nothing,
						kit_setup, kit_teardown),
	};

	log_init("test", (enum log_level)(LOG_ERROR + 1), false); /* quiet */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
