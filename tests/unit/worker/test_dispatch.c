/*
 * test_dispatch.c - the supervisor between its other processes, when they are
 * late, die, or lie.
 */
#include <sys/mman.h>

#include "base/log.h"
#include "tests/unit/worker/supervisor_kit.h"

static const char base_job[] = "{\"id\":\"b\"," KIT_SOURCE "}";

/* A job with steps, up to the executor that has it. Returns its task. */
static uint64_t give_job(unsigned slot)
{
	struct ipc_exec_job order;
	uint64_t task;
	int payload;

	kit_ready(slot);
	kit_turn();
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	task = kit_fetched();
	kit_turn();
	payload = kit_receive(kit.executors[slot], IPC_EXEC_JOB, &order, sizeof(order));
	assert_true(payload >= 0);
	assert_string_equal(order.repo_path, "repos/x.git");
	fd_close(payload);
	return task;
}

static void give_layer(unsigned slot)
{
	struct ipc_box_attach asked;
	struct ipc_exec_layer layer;

	kit_want_layer(slot);
	kit_turn();
	(void)kit_receive(kit.zygote, IPC_BOX_ATTACH, &asked, sizeof(asked));
	assert_int_equal(asked.slot, slot);
	kit_attached(slot, asked.serial, true);
	kit_turn();
	(void)kit_receive(kit.executors[slot], IPC_EXEC_LAYER, &layer, sizeof(layer));
	assert_true(layer.ok);
}

static void run_steps(unsigned slot)
{
	static const enum job_state states[] = {STATE_prepared, STATE_running, STATE_reported,
						STATE_collected};

	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		kit_state(slot, states[i]);
	kit_turn();
}

static void assert_killed(unsigned slot, uint64_t serial)
{
	struct ipc_box_kill message;

	(void)kit_receive(kit.zygote, IPC_BOX_KILL, &message, sizeof(message));
	assert_int_equal(message.slot, slot);
	assert_int_equal(message.serial, serial);
}

/* --- the road --------------------------------------------------------- */

static void a_job_goes_its_way(void **state)
{
	uint64_t task = give_job(0);

	(void)state;
	give_layer(0);
	run_steps(0);
	kit_done(0, VERDICT_passed);
	kit_turn();
	assert_killed(0, 1);
	kit_settled();
	kit_turn();
	assert_result(task, "passed", "");
	assert_silent(kit.zygote);
}

/* What the executor says of the diff decides over the box; what cannot be does not. */
static void findings_make_the_box_strict(void **state)
{
	static const struct {
		int64_t findings[SEVERITY_COUNT];
		enum filter_profile profile;
	} rows[] = {
		{{5, 0, 0}, FILTER_DEFAULT},	       {{0, 1, 0}, FILTER_STRICT},
		{{0, 0, INT64_MAX}, FILTER_STRICT},    {{0, 1 << 22, 0}, FILTER_STRICT},
		{{-1, INT64_MIN, -7}, FILTER_DEFAULT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ipc_exec_want_layer message = {.kind = IPC_EXEC_WANT_LAYER};
		struct ipc_box_attach asked;

		(void)give_job(0);
		(void)memcpy(message.findings, rows[i].findings, sizeof(message.findings));
		kit_send(kit.executors[0], &message, sizeof(message), NULL, 0);
		kit_turn();
		(void)kit_receive(kit.zygote, IPC_BOX_ATTACH, &asked, sizeof(asked));
		assert_int_equal(asked.limits.profile, rows[i].profile);
		(void)kit_teardown(state);
		(void)kit_setup(state);
	}
}

static void a_base_needs_no_executor(void **state)
{
	uint64_t task;

	(void)state;
	kit_deliver(base_job, KIT_EPOCH);
	task = kit_fetched();
	kit_turn();
	kit_settled();
	kit_turn();
	assert_result(task, "passed", "");
}

static void a_job_of_nothing_passes(void **state)
{
	(void)state;
	kit_deliver("{\"id\":\"n\"}", KIT_EPOCH);
	kit_turn();
	assert_result(1, "passed", "");
}

/* What an executor hands over and the storekeeper does not believe is a crash. */
static void a_false_claim_costs_the_attempt(void **state)
{
	struct ipc_store_settled reply = {.kind = IPC_STORE_SETTLED, .end = IPC_REFUSED};
	struct ipc_store_settle asked;
	uint64_t task = give_job(0);

	(void)state;
	give_layer(0);
	run_steps(0);
	kit_done(0, VERDICT_passed);
	kit_turn();
	fd_close(kit_receive(kit.storekeeper, IPC_STORE_SETTLE, &asked, sizeof(asked)));
	assert_memory_equal(asked.base.raw, kit.self.tasks->commit.raw, OID_BYTES);
	reply.task = task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	assert_retried(task);
}

/* The zygote's word about a fresh box overtakes the last words of the executor
 * before, when the supervisor was busy. */
static void last_words_are_heard(void **state)
{
	uint64_t task = give_job(0);
	struct ipc_exec_output output = {.kind = IPC_EXEC_OUTPUT, .step = "step-1"};
	int old;

	(void)state;
	give_layer(0);
	kit_state(0, STATE_prepared);
	for (int i = 0; i < 100; i++) /* more than are read at once */
		kit_send(kit.executors[0], &output, sizeof(output), NULL, 0);
	kit_state(0, STATE_running);
	kit_state(0, STATE_reported);
	kit_state(0, STATE_collected);
	kit_done(0, VERDICT_failed);
	old = kit.executors[0];
	kit.executors[0] = -1;
	kit_ready(0);
	fd_close(old);
	kit_turn();
	assert_killed(0, 1);
	kit_settled();
	kit_turn();
	assert_result(task, "failed", "");
	assert_int_equal(kit.slots[0].serial, 2);
	assert_true(kit.slots[0].executor.socket >= 0);
}

static void a_fresh_box_ends_what_was_before_it(void **state)
{
	uint64_t task = give_job(0);
	int old = kit.executors[0];

	(void)state;
	kit.executors[0] = -1;
	kit_ready(0);
	kit_turn(); /* the old one is silent, and its socket still open */
	assert_killed(0, 1);
	assert_retried(task);
	fd_close(old);
}

/* It was made with settings that are no longer those of the worker. */
static void a_box_of_old_settings_is_made_anew(void **state)
{
	(void)state;
	kit.self.zygote_config = 1;
	kit_ready(0);
	kit_turn();
	assert_killed(0, kit.serial);
	kit_deliver(kit_steps_job, KIT_EPOCH);
	kit_turn();
	(void)kit_fetched();
	kit_turn();
	assert_null(kit.slots[0].task);
	kit.self.zygote_config = 0;
	kit_ready(0);
	assert_given(0);
	assert_int_equal(kit_tasks(), 1);
}

static void an_answer_about_another_box_is_none(void **state)
{
	struct ipc_box_attach asked;

	(void)state;
	(void)give_job(0);
	kit_want_layer(0);
	kit_turn();
	(void)kit_receive(kit.zygote, IPC_BOX_ATTACH, &asked, sizeof(asked));
	kit_attached(0, asked.serial + 1, false);
	kit_turn();
	assert_silent(kit.executors[0]);
	kit_attached(0, asked.serial, true);
	kit_attached(1, asked.serial, true); /* a slot that asked for nothing */
	kit_turn();
	kit_state(0, STATE_prepared);
	kit_turn();
	assert_int_equal(kit.slots[0].task->state, STATE_prepared);
}

/* Who looks over the store may remove a checkout after it was named. */
static void a_base_that_was_removed_is_asked_for_again(void **state)
{
	struct ipc_box_attached gone = {.kind = IPC_BOX_ATTACHED, .gone = true};
	struct ipc_exec_layer layer;
	struct ipc_box_attach asked;
	uint64_t task = give_job(0);

	(void)state;
	kit_want_layer(0);
	kit_turn();
	(void)kit_receive(kit.zygote, IPC_BOX_ATTACH, &asked, sizeof(asked));
	gone.serial = asked.serial;
	kit_send(kit.zygote, &gone, sizeof(gone), NULL, 0);
	kit_turn();
	assert_silent(kit.executors[0]);
	assert_int_equal(kit_fetched(), task);
	kit_turn();
	(void)kit_receive(kit.zygote, IPC_BOX_ATTACH, &asked, sizeof(asked));
	assert_int_equal(asked.serial, gone.serial);
	/* Once: then the executor is told that there is none. */
	kit_send(kit.zygote, &gone, sizeof(gone), NULL, 0);
	kit_turn();
	(void)kit_receive(kit.executors[0], IPC_EXEC_LAYER, &layer, sizeof(layer));
	assert_false(layer.ok);
}

static void a_base_that_is_lost_ends_its_job(void **state)
{
	struct ipc_box_attached gone = {.kind = IPC_BOX_ATTACHED, .gone = true};
	struct ipc_store_fetched lost = {
		.kind = IPC_STORE_FETCHED, .end = IPC_FAULT, .error = "no disk"};
	struct ipc_store_fetch again;
	struct ipc_box_attach asked;
	uint64_t task = give_job(0);

	(void)state;
	kit_want_layer(0);
	kit_turn();
	(void)kit_receive(kit.zygote, IPC_BOX_ATTACH, &asked, sizeof(asked));
	gone.serial = asked.serial;
	kit_send(kit.zygote, &gone, sizeof(gone), NULL, 0);
	kit_turn();
	(void)kit_receive(kit.storekeeper, IPC_STORE_FETCH, &again, sizeof(again));
	lost.task = task;
	kit_send(kit.storekeeper, &lost, sizeof(lost), NULL, 0);
	kit_turn();
	assert_killed(0, asked.serial);
	assert_null(kit.slots[0].task);
}

/* --- redeliveries ----------------------------------------------------- */

static void a_redelivery_joins(void **state)
{
	(void)state;
	(void)give_job(0);
	kit_deliver(kit_steps_job, KIT_EPOCH + 1);
	kit_turn();
	assert_int_equal(kit_tasks(), 1);
	assert_int_equal(kit.self.tasks->epoch, KIT_EPOCH + 1);
	assert_int_equal(kit.self.tasks->tag, 2);
	kit_deliver(kit_steps_job, KIT_EPOCH + 1); /* a second copy */
	kit_turn();
	assert_int_equal(kit_tasks(), 1);
	assert_int_equal(kit.self.tasks->tag, 2);
	assert_silent(kit.publisher);
	assert_silent(kit.storekeeper);
}

static void an_id_belongs_to_one_content(void **state)
{
	struct published published;

	(void)state;
	(void)give_job(0);
	kit_deliver("{\"id\":\"j\"," KIT_SOURCE ",\"steps\":[{\"run\":[\"false\"]}]}", KIT_EPOCH);
	kit_turn();
	published = kit_published();
	assert_string_equal(published.verdict, "rejected");
	assert_string_equal(published.code, "job.id_reused");
	kit_confirm(published.tag);
	assert_int_equal(kit_tasks(), 1);
}

/* --- the end of trying ------------------------------------------------ */

static void attempts_have_an_end(void **state)
{
	uint64_t task = give_job(0);
	struct published dead;
	struct published result;

	(void)state;
	kit.self.tasks->attempts = 1; /* the maximum is 2 */
	fd_cleanup(&kit.executors[0]);
	kit_turn();
	dead = kit_published();
	assert_int_equal(dead.route, ROUTE_DEAD);
	assert_string_equal(dead.reason, "host.executor");
	result = kit_published();
	assert_int_equal(result.route, ROUTE_RESULT);
	assert_string_equal(result.verdict, "error");
	kit_confirm(task);
	assert_int_equal(kit_tasks(), 1); /* two messages, two confirms */
	kit_confirm(task);
	assert_int_equal(kit_tasks(), 0);
	kit_confirm(task); /* one too many is nobody's */
}

static void a_fault_of_the_host_is_tried_again(void **state)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .end = IPC_FAULT, .error = "disk"};
	uint64_t task = give_job(0);
	struct published published;

	(void)state;
	kit_send(kit.executors[0], &done, sizeof(done), NULL, 0);
	kit_turn();
	published = kit_published();
	assert_int_equal(published.route, ROUTE_RETRY);
	assert_string_equal(published.reason, "host.sandbox");
	kit_confirm(task);
	assert_int_equal(kit_tasks(), 0);
}

/* --- an executor that lies -------------------------------------------- */

static void send_done(const struct ipc_exec_done *done, const int *fds, size_t fds_len)
{
	kit_send(kit.executors[0], done, sizeof(*done), fds, fds_len);
}

static void lie_state_out_of_turn(void)
{
	kit_state(0, STATE_collected);
}

static void lie_state_of_others(void)
{
	kit_state(0, STATE_published);
}

static void lie_state_unknown(void)
{
	kit_state(0, (enum job_state)12345);
}

static void lie_prepared_without_layer(void)
{
	kit_state(0, STATE_prepared);
}

static void lie_two_layers(void)
{
	give_layer(0);
	kit_want_layer(0);
}

static void lie_passed_half_way(void)
{
	give_layer(0);
	kit_state(0, STATE_prepared);
	kit_done(0, VERDICT_passed);
}

static void lie_verdict_unknown(void)
{
	kit_done(0, (enum verdict)77);
}

static void lie_verdict_error(void)
{
	kit_done(0, VERDICT_error);
}

/* Nobody has told it to stop. */
static void lie_verdict_cancelled(void)
{
	give_layer(0);
	kit_state(0, STATE_prepared);
	kit_done(0, VERDICT_cancelled);
}

static void lie_reason_unknown(void)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .verdict = VERDICT_failed};

	done.reason.code = (enum reason_code)9999;
	send_done(&done, &kit.zygote, 1);
}

static void lie_no_body(void)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .verdict = VERDICT_rejected};

	send_done(&done, NULL, 0);
}

static void lie_too_many_bodies(void)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .verdict = VERDICT_rejected};
	int fds[] = {kit.zygote, kit.zygote, kit.zygote};

	send_done(&done, fds, ARRAY_LEN(fds));
}

static void lie_body_not_sealed(void)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .verdict = VERDICT_rejected};
	int fd = memfd_create("body", MFD_CLOEXEC);

	send_done(&done, &fd, 1);
	fd_close(fd);
}

static void lie_output_before_steps(void)
{
	struct ipc_exec_output output = {.kind = IPC_EXEC_OUTPUT};

	kit_send(kit.executors[0], &output, sizeof(output), NULL, 0);
}

static void lie_output_length(void)
{
	struct ipc_exec_output output = {.kind = IPC_EXEC_OUTPUT, .len = 100};

	give_layer(0);
	kit_state(0, STATE_prepared);
	kit_send(kit.executors[0], &output, sizeof(output), NULL, 0);
}

static void lie_output_step(void)
{
	struct ipc_exec_output output = {.kind = IPC_EXEC_OUTPUT};

	give_layer(0);
	kit_state(0, STATE_prepared);
	(void)memset(output.step, 0xff, sizeof(output.step));
	kit_send(kit.executors[0], &output, sizeof(output), NULL, 0);
}

static void lie_as_another_role(void)
{
	struct ipc_store_settled settled = {.kind = IPC_STORE_SETTLED, .task = 1};

	kit_send(kit.executors[0], &settled, sizeof(settled), NULL, 0);
}

static void lie_short(void)
{
	kit_send(kit.executors[0], "x", 1, NULL, 0);
}

static void lie_long(void)
{
	static uint8_t message[IPC_MESSAGE_BYTES + 1];

	kit_send(kit.executors[0], message, sizeof(message), NULL, 0);
}

static void lie_with_descriptors(void)
{
	int fds[FD_PASS_MAX];

	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fds[i] = kit.zygote;
	kit_send(kit.executors[0], "xxxx", 4, fds, FD_PASS_MAX);
}

/* Whatever it says, it costs its own attempt: the worker lives, and no result
 * but a further attempt comes of it. */
static void a_lie_costs_the_attempt(void **state)
{
	static void (*const lies[])(void) = {
		lie_state_out_of_turn,
		lie_state_of_others,
		lie_state_unknown,
		lie_prepared_without_layer,
		lie_two_layers,
		lie_passed_half_way,
		lie_verdict_unknown,
		lie_verdict_error,
		lie_verdict_cancelled,
		lie_reason_unknown,
		lie_no_body,
		lie_too_many_bodies,
		lie_body_not_sealed,
		lie_output_before_steps,
		lie_output_length,
		lie_output_step,
		lie_as_another_role,
		lie_short,
		lie_long,
		lie_with_descriptors,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		uint64_t task = give_job(0);

		lies[i]();
		kit_turn();
		assert_killed(0, kit.serial);
		assert_retried(task);
		assert_int_equal(kit.slots[0].executor.socket, -1);
	}
}

/* A body that is no body is the executor's fault, not the end of the worker. */
static void a_body_that_is_none_is_an_error(void **state)
{
	struct ipc_exec_done done = {
		.kind = IPC_EXEC_DONE, .verdict = VERDICT_rejected, .body_pairs = 3};
	uint64_t task = give_job(0);
	struct err err = {0};
	int fd;

	(void)state;
	(void)memset(done.error, 'x', sizeof(done.error));
	(void)memset(&done.reason.message, 0xff, sizeof(done.reason.message));
	(void)memset(&done.reason.subject, 'x', sizeof(done.reason.subject));
	done.reason.code = REASON_PATCH_PATH;
	done.metrics = (struct result_metrics){.run_us = INT64_MIN, .cpu_us = -5};
	must(fd_memfd("body", "\xa7verdict\xa6passed", 15, &fd, &err), &err);
	send_done(&done, &fd, 1);
	fd_close(fd);
	kit_turn();
	assert_killed(0, 1);
	assert_result(task, "error", "host.executor");
}

static void an_executor_without_a_job_has_no_voice(void **state)
{
	(void)state;
	kit_ready(0);
	kit_turn();
	kit_done(0, VERDICT_passed);
	kit_turn();
	assert_killed(0, 1);
	assert_int_equal(kit.slots[0].executor.socket, -1);
	assert_silent(kit.publisher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_job_goes_its_way),
		TEST(findings_make_the_box_strict),
		TEST(a_base_needs_no_executor),
		TEST(a_job_of_nothing_passes),
		TEST(a_false_claim_costs_the_attempt),
		TEST(last_words_are_heard),
		TEST(a_fresh_box_ends_what_was_before_it),
		TEST(a_box_of_old_settings_is_made_anew),
		TEST(an_answer_about_another_box_is_none),
		TEST(a_base_that_was_removed_is_asked_for_again),
		TEST(a_base_that_is_lost_ends_its_job),
		TEST(a_redelivery_joins),
		TEST(an_id_belongs_to_one_content),
		TEST(attempts_have_an_end),
		TEST(a_fault_of_the_host_is_tried_again),
		TEST(a_lie_costs_the_attempt),
		TEST(a_body_that_is_none_is_an_error),
		TEST(an_executor_without_a_job_has_no_voice),
	};

	log_init("test", (enum log_level)(LOG_ERROR + 1), false); /* quiet */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
