/*
 * test_pool.c - how many boxes wait: it grows with jobs that found none, shrinks
 * with boxes that nobody needed, and is told to the zygote slot by slot.
 */
#include "tests/unit/worker/supervisor_kit.h"

#define SOURCE "\"source\":{\"repo\":\"/srv/x\",\"commit\":\"main\"}"

enum { MANY = 6 };

static struct slot many[MANY];
static int executors[MANY];

/* More slots than the kit's, none of which is kept. */
static int pool_setup(void **state)
{
	if (kit_setup(state) != 0)
		return -1;
	kit.self.slots = many;
	kit.self.slots_len = MANY;
	for (unsigned i = 0; i < MANY; i++) {
		many[i] = (struct slot){.supervisor = &kit.self, .number = i};
		outbox_init(&many[i].executor, &kit.self.loop, -1);
		executors[i] = -1;
	}
	kit.config.worker_slots = 3;
	kit.config.sandbox_pool_idle = 1000;
	pool_init(&kit.self);
	return 0;
}

static int pool_teardown(void **state)
{
	for (unsigned i = 0; i < MANY; i++) {
		if (many[i].task != NULL)
			many[i].task->slot = NULL;
		outbox_release(&many[i].executor);
		fd_cleanup(&executors[i]);
	}
	return kit_teardown(state);
}

/* What the zygote is told next: the slot, and whether it keeps a box there. */
static void assert_keep(unsigned slot, bool kept)
{
	struct ipc_box_keep message;

	assert_int_equal(kit_receive(kit.zygote, IPC_BOX_KEEP, &message, sizeof(message)), -1);
	assert_int_equal(message.slot, slot);
	assert_int_equal(message.kept, kept);
	assert_int_equal(message.serial, many[slot].serial);
	assert_int_equal(many[slot].kept, kept);
}

static void ready(unsigned slot, uint64_t serial)
{
	struct ipc_box_ready message = {.kind = IPC_BOX_READY, .slot = slot, .serial = serial};
	int pair[2];
	struct err err = {0};

	must(fd_socketpair(pair, &err), &err);
	kit_send(kit.zygote, &message, sizeof(message), &pair[0], 1);
	fd_close(pair[0]);
	executors[slot] = pair[1];
	kit_turn();
}

static void deliver(const char *id)
{
	char job[256];

	(void)snprintf(job, sizeof(job),
		       "{\"id\":\"%s\"," SOURCE ",\"steps\":[{\"run\":[\"true\"]}]}", id);
	kit_deliver(job, KIT_EPOCH);
	kit_turn();
	(void)kit_fetched();
	kit_turn();
}

/* As if so much time had gone by. */
static void later(int64_t ms)
{
	kit.self.pool.since_us -= ms * 1000;
	pool_fit(&kit.self);
}

static void as_many_wait_as_are_wanted(void **state)
{
	(void)state;
	kit.config.sandbox_pool_least = 2;
	pool_fit(&kit.self);
	assert_keep(0, true);
	assert_keep(1, true);
	assert_silent(kit.zygote);
	assert_int_equal(pool_kept(&kit.self), 2);
}

static void a_job_without_a_box_makes_it_grow_once(void **state)
{
	(void)state;
	pool_fit(&kit.self);
	assert_keep(0, true);
	deliver("a");
	deliver("b");
	pool_fit(&kit.self);
	assert_int_equal(kit.self.pool.want, 3);
	assert_int_equal(kit.self.pool.missed, 2);
	assert_keep(1, true);
	assert_keep(2, true);
	pool_fit(&kit.self);
	assert_int_equal(kit.self.pool.want, 3);
	assert_silent(kit.zygote);
}

static void it_grows_up_to_its_bound(void **state)
{
	(void)state;
	kit.config.sandbox_pool_most = 2;
	pool_init(&kit.self);
	deliver("a");
	deliver("b");
	deliver("c");
	deliver("d"); /* beyond the slots: no box would start it */
	pool_fit(&kit.self);
	assert_int_equal(kit.self.pool.want, 2);
	assert_int_equal(kit.self.pool.missed, 3);
	assert_int_equal(pool_kept(&kit.self), 2);
}

static void a_successor_is_made_when_the_workspace_is_there(void **state)
{
	(void)state;
	pool_fit(&kit.self);
	assert_keep(0, true);
	ready(0, 7);
	deliver("a");
	assert_non_null(many[0].task);
	pool_fit(&kit.self);
	assert_silent(kit.zygote);
	many[0].layer = LAYER_GIVEN;
	pool_fit(&kit.self);
	assert_keep(1, true);
	assert_int_equal(kit.self.pool.missed, 0);
	/* It ends: its slot is not filled again. */
	many[0].task->slot = NULL;
	many[0].task = NULL;
	outbox_release(&many[0].executor);
	pool_fit(&kit.self);
	assert_int_equal(pool_kept(&kit.self), 1);
	assert_false(many[1].kept && many[0].kept);
}

static void what_nobody_needs_goes(void **state)
{
	(void)state;
	kit.config.sandbox_pool_least = 1;
	pool_init(&kit.self);
	kit.self.pool.want = 4;
	pool_fit(&kit.self);
	for (unsigned i = 0; i < 4; i++) {
		assert_keep(i, true);
		ready(i, i + 1);
	}
	later(2000); /* in that time there was none at first */
	assert_int_equal(kit.self.pool.want, 4);
	later(500);
	assert_int_equal(kit.self.pool.want, 4);
	later(2000);
	assert_int_equal(kit.self.pool.want, 2);
	assert_keep(3, false);
	assert_keep(2, false);
	assert_int_equal(many[3].executor.socket, -1);
	later(2000);
	later(2000);
	assert_int_equal(kit.self.pool.want, 1);
	assert_keep(1, false);
	later(2000);
	assert_int_equal(kit.self.pool.want, 1);
	assert_int_equal(kit.self.pool.shrunk, 3);
	assert_silent(kit.zygote);
}

/* It was made while the supervisor let go of its slot. */
static void a_box_that_comes_too_late_is_killed(void **state)
{
	struct ipc_box_kill kill;

	(void)state;
	ready(5, 9);
	assert_int_equal(kit_receive(kit.zygote, IPC_BOX_KILL, &kill, sizeof(kill)), -1);
	assert_int_equal(kill.slot, 5);
	assert_int_equal(kill.serial, 9);
	assert_int_equal(many[5].executor.socket, -1);
}

static void jobs_given_by_hand_need_no_more_boxes_than_there_are(void **state)
{
	struct supervisor_local local = {.jobs_len = 1};

	(void)state;
	kit.config.sandbox_pool_least = 3;
	kit.self.local = &local;
	pool_fit(&kit.self);
	assert_keep(0, true);
	assert_silent(kit.zygote);
	kit.self.local = NULL;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)
	const struct CMUnitTest tests[] = {
		TEST(as_many_wait_as_are_wanted),
		TEST(a_job_without_a_box_makes_it_grow_once),
		TEST(it_grows_up_to_its_bound),
		TEST(a_successor_is_made_when_the_workspace_is_there),
		TEST(what_nobody_needs_goes),
		TEST(a_box_that_comes_too_late_is_killed),
		TEST(jobs_given_by_hand_need_no_more_boxes_than_there_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
