/*
 * test_cancel.c - a cancel that comes while the job's message is on its way
 * into a wait queue, or is there, with a real ledger below the supervisor.
 */
#include "base/log.h"
#include "schema/control.h"
#include "tests/unit/worker/ledger_kit.h"
#include "tests/unit/worker/supervisor_kit.h"

static const char job[] = "{\"id\":\"j\",\"stage\":\"s\",\"labels\":{\"a\":\"b\"}," KIT_SOURCE ","
			  "\"patch\":{\"diff\":\"--- a/x\\n+++ b/x\\n@@ -1 +1 @@\\n-1\\n+2\\n\"},"
			  "\"protect\":{\"paths\":[\"x\"]},\"tests\":{\"report\":[\"*.xml\"]},"
			  "\"artifacts\":{\"paths\":[\"*.log\"]},\"steps\":[{\"run\":[\"true\"]}]}";

/* --- fixtures --------------------------------------------------------- */

static int setup(void **state)
{
	struct err err = {0};

	(void)kit_setup(state);
	if (ledger_dir_make() < 0)
		return -1;
	must(ledger_open(&kit.self.ledger, ledger_path, &err), &err);
	return 0;
}

static int teardown(void **state)
{
	ledger_close(kit.self.ledger);
	kit.self.ledger = NULL;
	(void)kit_teardown(state);
	return ledger_dir_remove();
}

static void hear_cancel(const char *id)
{
	const struct control control = {.kind = CONTROL_CANCEL, .id = id, .run = 1};
	struct delivery delivery = {.epoch = KIT_EPOCH};
	struct arena arena;
	struct buf out;

	arena_init(&arena, 1 << 20);
	buf_init(&out, 1 << 10);
	control_pack(&arena, &control, &out);
	delivery.body = buf_bytes(&out);
	delivery.size_bytes = out.len;
	cancel_heard(&kit.self, &delivery);
	buf_release(&out);
	arena_release(&arena);
}

/* Its source cannot be reached: the message goes to the wait queue of 5 s. */
static uint64_t fail_first_attempt(void)
{
	struct ipc_store_fetch asked;
	struct ipc_store_fetched reply = {.kind = IPC_STORE_FETCHED, .end = IPC_FAULT};
	struct published published;

	kit_deliver(job, KIT_EPOCH);
	kit_turn();
	(void)kit_receive(kit.storekeeper, IPC_STORE_FETCH, &asked, sizeof(asked));
	reply.task = asked.task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	kit_turn();
	published = kit_published();
	assert_int_equal(published.route, ROUTE_RETRY);
	assert_int_equal(published.tag, asked.task);
	assert_silent(kit.publisher);
	return asked.task;
}

static uint64_t assert_cancelled(void)
{
	struct published published = kit_published();

	assert_int_equal(published.route, ROUTE_RESULT);
	assert_string_equal(published.id, "j.1");
	assert_string_equal(published.verdict, "cancelled");
	assert_string_equal(published.code, "job.cancelled");
	assert_silent(kit.publisher);
	return published.tag;
}

/* The message is back: the result is sent again, and nothing runs. */
static void assert_finished_at_its_return(void)
{
	kit_deliver(job, KIT_EPOCH);
	kit_turn();
	kit_confirm(assert_cancelled());
	assert_silent(kit.storekeeper);
	assert_int_equal(kit_tasks(), 0);
}

/* --- tests ------------------------------------------------------------ */

static void a_job_in_a_wait_queue_is_answered_at_once(void **state)
{
	(void)state;
	kit_confirm(fail_first_attempt());
	assert_int_equal(kit_tasks(), 0);
	hear_cancel("another");
	assert_silent(kit.publisher);
	hear_cancel("j");
	kit_turn();
	hear_cancel("j"); /* its result is on its way */
	kit_confirm(assert_cancelled());
	hear_cancel("j"); /* it is finished */
	assert_silent(kit.publisher);
	assert_int_equal(kit_tasks(), 0);
	assert_finished_at_its_return();
}

static void a_cancel_may_come_before_the_retry_is_confirmed(void **state)
{
	uint64_t task = fail_first_attempt();

	(void)state;
	hear_cancel("j");
	kit_turn();
	assert_silent(kit.publisher);
	kit_confirm(task);
	kit_confirm(assert_cancelled());
	assert_int_equal(kit_tasks(), 0);
	assert_finished_at_its_return();
}

/* It returned before the confirm of its result: both are one. */
static void a_message_that_returns_meanwhile_joins(void **state)
{
	uint64_t task;

	(void)state;
	kit_confirm(fail_first_attempt());
	hear_cancel("j");
	task = assert_cancelled();
	kit_deliver(job, KIT_EPOCH);
	kit_turn();
	assert_silent(kit.storekeeper);
	assert_int_equal(kit_tasks(), 1);
	kit_confirm(task);
	assert_int_equal(kit_tasks(), 0);
}

/* Another worker may have it by now: it hears the cancel, too. */
static void one_whose_wait_is_over_is_left_to_who_has_it(void **state)
{
	const struct ledger_key key = {"j", 1};
	struct ledger_wait wait = {.until_us = clock_wall_us() - 1,
				   .job = {(const uint8_t *)"", 0}};
	struct err err = {0};

	(void)state;
	kit_confirm(fail_first_attempt());
	must(ledger_wait(kit.self.ledger, &key, &wait, &err), &err);
	hear_cancel("j");
	kit_turn();
	assert_silent(kit.publisher);
	assert_int_equal(kit_tasks(), 0);
	kit_deliver(job, KIT_EPOCH);
	kit_turn();
	kit_confirm(assert_cancelled());
	assert_int_equal(kit_tasks(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_job_in_a_wait_queue_is_answered_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_cancel_may_come_before_the_retry_is_confirmed,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_message_that_returns_meanwhile_joins, setup,
						teardown),
		cmocka_unit_test_setup_teardown(one_whose_wait_is_over_is_left_to_who_has_it, setup,
						teardown),
	};

	log_init("test", (enum log_level)(LOG_ERROR + 1), false); /* quiet */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
