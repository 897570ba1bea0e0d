/*
 * supervisor_kit.h - a supervisor with its real loop, intake, dispatch and
 * finish, whose other processes are the test: it holds the other ends of their
 * sockets and says what it likes.
 */
#ifndef SBX_TESTS_SUPERVISOR_KIT_H
#define SBX_TESTS_SUPERVISOR_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "schema/limits.h"
#include "worker/supervisor_private.h"

#define UNUSED __attribute__((unused)) /* not every test says everything */

enum { KIT_SLOTS = 2, KIT_EPOCH = 7 };

struct kit {
	struct supervisor self;
	struct config config;
	struct slot slots[KIT_SLOTS];
	int publisher, storekeeper, zygote; /* the other ends */
	int executors[KIT_SLOTS];
	uint64_t serial;
	uint64_t tag;
};

static struct kit kit;

static void must(int rc, const struct err *err)
{
	if (rc != 0)
		fail_msg("%s", err->message);
}

/* --- the supervisor --------------------------------------------------- */

/* What was sent is handled; a supervisor that gave up is a failed test. */
static void kit_turn(void)
{
	struct err err = {0};

	for (int i = 0; i < 10; i++)
		must(loop_wait(&kit.self.loop, 0, &err), &err);
	intake_pump(&kit.self);
	if (kit.self.dying)
		fail_msg("%s", kit.self.fatal.message);
}

UNUSED static size_t kit_tasks(void)
{
	size_t len = 0;

	for (const struct task *task = kit.self.tasks; task != NULL; task = task->next)
		len++;
	return len;
}

static int kit_connect(struct outbox *outbox, loop_handler *handler)
{
	int pair[2];
	struct err err = {0};

	must(fd_socketpair(pair, &err), &err);
	outbox_init(outbox, &kit.self.loop, pair[0]);
	must(loop_add(&kit.self.loop, pair[0], EPOLLIN, handler, &kit.self, &err), &err);
	return pair[1];
}

static void kit_send(int socket, const void *message, size_t len, const int *fds, size_t fds_len)
{
	struct err err = {0};

	must(fd_send(socket, message, len, fds, fds_len, &err), &err);
}

/* The next message that the supervisor sent there, of this size and kind. */
static int kit_receive(int socket, enum ipc_kind kind, void *message, size_t size)
{
	enum ipc_kind got = 0;
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	struct err err = {0};
	ssize_t len = fd_recv_now(socket, message, size, fds, &fds_len, &err);

	if (len < (ssize_t)sizeof(got))
		fail_msg("no message of kind %d", kind);
	(void)memcpy(&got, message, sizeof(got));
	assert_int_equal(got, kind);
	assert_in_range(fds_len, 0, 1);
	return fds_len == 1 ? fds[0] : -1;
}

static void assert_silent(int socket)
{
	uint8_t room[IPC_MESSAGE_BYTES];
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;

	assert_int_equal(fd_recv_now(socket, room, sizeof(room), fds, &fds_len, NULL), FD_AGAIN);
}

/* --- executors -------------------------------------------------------- */

UNUSED static void kit_ready(unsigned slot)
{
	struct ipc_box_ready message = {
		.kind = IPC_BOX_READY, .slot = slot, .serial = ++kit.serial};
	int pair[2];
	struct err err = {0};

	must(fd_socketpair(pair, &err), &err);
	fd_cleanup(&kit.executors[slot]);
	kit.executors[slot] = pair[1];
	kit_send(kit.zygote, &message, sizeof(message), &pair[0], 1);
	fd_close(pair[0]);
}

static void kit_host(void)
{
	struct ipc_box_host message = {.kind = IPC_BOX_HOST};

	kit_send(kit.zygote, &message, sizeof(message), NULL, 0);
}

UNUSED static void kit_state(unsigned slot, enum job_state state)
{
	struct ipc_exec_state message = {.kind = IPC_EXEC_STATE, .state = state};

	kit_send(kit.executors[slot], &message, sizeof(message), NULL, 0);
}

UNUSED static void kit_want_layer(unsigned slot)
{
	struct ipc_exec_want_layer message = {.kind = IPC_EXEC_WANT_LAYER};

	kit_send(kit.executors[slot], &message, sizeof(message), NULL, 0);
}

UNUSED static void kit_done(unsigned slot, enum verdict verdict)
{
	struct ipc_exec_done message = {.kind = IPC_EXEC_DONE, .end = IPC_OK, .verdict = verdict};
	int fd;
	struct err err = {0};

	must(fd_memfd("body", "", 0, &fd, &err), &err);
	kit_send(kit.executors[slot], &message, sizeof(message), &fd, 1);
	fd_close(fd);
}

UNUSED static void kit_attached(unsigned slot, uint64_t serial, bool ok)
{
	struct ipc_box_attached message = {
		.kind = IPC_BOX_ATTACHED, .slot = slot, .serial = serial, .ok = ok};

	kit_send(kit.zygote, &message, sizeof(message), NULL, 0);
}

/* The executor has been given a job. */
UNUSED static void assert_given(unsigned slot)
{
	struct ipc_exec_job order;

	kit_turn();
	fd_close(kit_receive(kit.executors[slot], IPC_EXEC_JOB, &order, sizeof(order)));
}

/* --- jobs ------------------------------------------------------------- */

#define KIT_SOURCE "\"source\":{\"repo\":\"/srv/git/x\",\"commit\":\"main\"}"

UNUSED static const char kit_steps_job[] =
	"{\"id\":\"j\"," KIT_SOURCE ",\"steps\":[{\"run\":[\"true\"]}]}";

/* A delivery of this JSON. */
static void kit_deliver(const char *json, uint64_t epoch)
{
	struct delivery delivery = {.tag = ++kit.tag, .epoch = epoch, .queue = "sbx.jobs"};
	struct text_list unknown;
	struct reason reason;
	struct value *tree;
	struct arena arena;
	struct buf message;
	struct err err = {0};
	char *text;

	arena_init(&arena, 1 << 20);
	buf_init(&message, 1 << 20);
	text = arena_strdup(&arena, json);
	must(value_from_json(&arena, text, strlen(text), &tree, &err), &err);
	must(job_prepare(&arena, tree, &message, &unknown, &reason, &err), &err);
	delivery.body = buf_bytes(&message);
	delivery.size_bytes = message.len;
	intake_delivered(&kit.self, &delivery);
	buf_release(&message);
	arena_release(&arena);
}

/* Answers the fetch that was asked for; returns its task. */
UNUSED static uint64_t kit_fetched(void)
{
	struct ipc_store_fetch asked;
	struct ipc_store_fetched reply = {
		.kind = IPC_STORE_FETCHED, .end = IPC_OK, .repo_path = "repos/x.git"};

	assert_int_equal(kit_receive(kit.storekeeper, IPC_STORE_FETCH, &asked, sizeof(asked)), -1);
	reply.task = asked.task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
	return asked.task;
}

UNUSED static void kit_settled(void)
{
	struct ipc_store_settle asked;
	struct ipc_store_settled reply = {.kind = IPC_STORE_SETTLED, .end = IPC_OK};

	fd_close(kit_receive(kit.storekeeper, IPC_STORE_SETTLE, &asked, sizeof(asked)));
	reply.task = asked.task;
	kit_send(kit.storekeeper, &reply, sizeof(reply), NULL, 0);
}

/* --- what is published ------------------------------------------------ */

struct published {
	enum route route;
	uint64_t tag;
	char id[IPC_KEY_BYTES];
	char reason[64];  /* of a retry or dead letter */
	char verdict[32]; /* of a result */
	char code[64];	  /* likewise */
	char correlation_id[IPC_KEY_BYTES];
};

static void read_result(const uint8_t *data, size_t len, struct published *ret)
{
	struct arena arena;
	struct value *tree;
	const struct value *reason;
	struct err err = {0};

	arena_init(&arena, 1 << 20);
	must(value_unpack(&arena, data, len, &tree, &err), &err);
	(void)snprintf(ret->verdict, sizeof(ret->verdict), "%s",
		       value_text(&arena, value_get(tree, "verdict")));
	reason = value_get(tree, "reason");
	if (reason != NULL)
		(void)snprintf(ret->code, sizeof(ret->code), "%s",
			       value_text(&arena, value_get(reason, "code")));
	arena_release(&arena);
}

UNUSED static struct published kit_published(void)
{
	static _Alignas(max_align_t) uint8_t room[IPC_MESSAGE_BYTES];
	const struct ipc_pub_message *head = (const struct ipc_pub_message *)(const void *)room;
	struct published published = {0};

	assert_int_equal(kit_receive(kit.publisher, IPC_PUB_MESSAGE, room, sizeof(room)), -1);
	published.route = head->route;
	published.tag = head->tag;
	(void)memcpy(published.id, head->id, sizeof(published.id));
	(void)memcpy(published.reason, head->reason, sizeof(published.reason));
	(void)memcpy(published.correlation_id, head->correlation_id,
		     sizeof(published.correlation_id));
	if (head->route == ROUTE_RESULT)
		read_result(head->inline_body, head->inline_len, &published);
	return published;
}

UNUSED static void kit_confirm(uint64_t tag)
{
	struct ipc_pub_fate message = {.kind = IPC_PUB_FATE, .tag = tag};

	kit_send(kit.publisher, &message, sizeof(message), NULL, 0);
	kit_turn();
}

/* The attempt at kit_steps_job has ended as a fault of the executor, and will be
 * tried again. */
UNUSED static void assert_retried(uint64_t task)
{
	struct published published;

	kit_turn();
	published = kit_published();
	assert_int_equal(published.route, ROUTE_RETRY);
	assert_int_equal(published.tag, task);
	assert_string_equal(published.id, "j");
	assert_string_equal(published.reason, "host.executor");
	assert_silent(kit.publisher);
	assert_silent(kit.storekeeper);
	kit_confirm(task);
	assert_int_equal(kit_tasks(), 0);
}

UNUSED static void assert_result(uint64_t task, const char *verdict, const char *code)
{
	struct published published = kit_published();

	assert_int_equal(published.route, ROUTE_RESULT);
	assert_int_equal(published.tag, task);
	assert_string_equal(published.verdict, verdict);
	assert_string_equal(published.code, code);
	assert_silent(kit.publisher);
	kit_confirm(task);
	assert_int_equal(kit_tasks(), 0);
}

/* --- start and end ---------------------------------------------------- */

static void kit_slots(void)
{
	kit.self.slots = kit.slots;
	kit.self.slots_len = KIT_SLOTS;
	for (unsigned i = 0; i < KIT_SLOTS; i++) {
		kit.slots[i] = (struct slot){.supervisor = &kit.self, .number = i, .kept = true};
		outbox_init(&kit.slots[i].executor, &kit.self.loop, -1);
		kit.executors[i] = -1;
	}
}

static int kit_setup(void **state)
{
	static const char *any[] = {"off", NULL};
	struct text_list commands = {any, 1};
	struct err err = {0};

	(void)state;
	kit = (struct kit){.self = {.config = &kit.config,
				    .consumer_fd = -1,
				    .signal_fd = -1,
				    .caught_up = true}};
	arena_init(&kit.self.arena, 4 << 20);
	must(config_init(&kit.config, &kit.self.arena, &err), &err);
	must(config_set(&kit.config, "worker.events", "false", &err), &err);
	kit.config.worker_slots = KIT_SLOTS;
	must(config_set(&kit.config, "worker.max_attempts", "2", &err), &err);
	must(commands_compile(&kit.self.arena, &commands, &kit.self.commands, &err), &err);
	must(loop_init(&kit.self.loop, &err), &err);
	kit_slots();
	kit.publisher = kit_connect(&kit.self.publisher, dispatch_publisher);
	kit.storekeeper = kit_connect(&kit.self.storekeeper, dispatch_storekeeper);
	kit.zygote = kit_connect(&kit.self.zygote, dispatch_zygote);
	kit_host();
	kit_turn();
	return 0;
}

static int kit_teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KIT_SLOTS; i++) {
		if (kit.slots[i].task != NULL)
			kit.slots[i].task->slot = NULL;
		outbox_release(&kit.slots[i].executor);
		fd_cleanup(&kit.executors[i]);
	}
	while (kit.self.tasks != NULL)
		task_free(kit.self.tasks);
	outbox_release(&kit.self.publisher);
	outbox_release(&kit.self.storekeeper);
	outbox_release(&kit.self.zygote);
	fd_close(kit.publisher);
	fd_close(kit.storekeeper);
	fd_close(kit.zygote);
	loop_release(&kit.self.loop);
	arena_release(&kit.self.arena);
	return 0;
}

#endif
