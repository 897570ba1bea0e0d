/* test_loop.c - the loop and its outboxes over real descriptors. */
#include "worker/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/outbox.h"

enum { BIG = 60 * 1024, MANY = 200 };

static struct loop loop;

static void must(int rc, const struct err *err)
{
	if (rc != 0)
		fail_msg("%s", err->message);
}

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t len = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		len++;
	(void)closedir(dir);
	return len;
}

static size_t descriptors_before;

static int setup(void **state)
{
	struct err err = {0};

	(void)state;
	descriptors_before = open_descriptors();
	return loop_init(&loop, &err);
}

/* Every test closes what it opens, so a descriptor too many is a leak. */
static int teardown(void **state)
{
	(void)state;
	loop_release(&loop);
	return open_descriptors() == descriptors_before ? 0 : -1;
}

static void pair_of(int pair[2])
{
	struct err err = {0};

	must(fd_socketpair(pair, &err), &err);
}

static void turn(int timeout_ms)
{
	struct err err = {0};

	must(loop_wait(&loop, timeout_ms, &err), &err);
}

static void poke(int socket)
{
	struct err err = {0};

	must(fd_send(socket, "x", 1, NULL, 0, &err), &err);
}

/* --- handlers --------------------------------------------------------- */

struct party {
	int fd;
	int calls;
	uint32_t events;
	struct party *removes; /* taken out of the loop by the handler */
	bool closes;	       /* and closed, its number used again at once */
	int again[2];
	struct party *reborn; /* watches the number from then on */
};

static void on_event(void *ctx, int fd, uint32_t events)
{
	struct party *party = ctx;
	struct err err = {0};

	assert_int_equal(fd, party->fd);
	party->calls++;
	party->events = events;
	if (party->removes == NULL)
		return;
	loop_remove(&loop, party->removes->fd);
	if (!party->closes)
		return;
	fd_close(party->removes->fd);
	pair_of(party->again);
	assert_int_equal(party->again[0], party->removes->fd);
	party->reborn->fd = party->again[0];
	must(loop_add(&loop, party->again[0], EPOLLIN, on_event, party->reborn, &err), &err);
}

static void watch(struct party *party)
{
	struct err err = {0};

	must(loop_add(&loop, party->fd, EPOLLIN, on_event, party, &err), &err);
}

static void handlers_are_called_for_what_is_ready(void **state)
{
	struct party party = {0};
	int pair[2];
	char byte;
	struct err err = {0};

	(void)state;
	pair_of(pair);
	party.fd = pair[0];
	watch(&party);
	turn(0);
	assert_int_equal(party.calls, 0);
	poke(pair[1]);
	turn(1000);
	assert_int_equal(party.calls, 1);
	assert_int_equal(party.events, EPOLLIN);
	turn(0); /* it is still there to be read */
	assert_int_equal(party.calls, 2);
	assert_int_equal(fd_recv(pair[0], &byte, 1, NULL, NULL, &err), 1);
	turn(0);
	assert_int_equal(party.calls, 2);
	must(loop_change(&loop, pair[0], EPOLLOUT, &err), &err);
	turn(0);
	assert_int_equal(party.events, EPOLLOUT);
	fd_close(pair[1]);
	turn(0);
	assert_true((party.events & EPOLLHUP) != 0);
	loop_remove(&loop, pair[0]);
	turn(0);
	assert_int_equal(party.calls, 4);
	fd_close(pair[0]);
}

static void a_handler_may_remove_itself(void **state)
{
	struct party party = {.removes = &party};
	int pair[2];

	(void)state;
	pair_of(pair);
	party.fd = pair[0];
	watch(&party);
	poke(pair[1]);
	turn(1000);
	turn(0);
	assert_int_equal(party.calls, 1);
	loop_remove(&loop, pair[0]); /* once more is harmless */
	loop_remove(&loop, -1);
	loop_remove(&loop, LOOP_FDS);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

/* Both are ready in one wait: whichever comes first removes the other. */
static void what_was_removed_is_called_no_more(void **state)
{
	struct party first = {0};
	struct party second = {.removes = &first};
	int pairs[2][2];

	(void)state;
	first.removes = &second;
	for (size_t i = 0; i < 2; i++)
		pair_of(pairs[i]);
	first.fd = pairs[0][0];
	second.fd = pairs[1][0];
	watch(&first);
	watch(&second);
	poke(pairs[0][1]);
	poke(pairs[1][1]);
	turn(1000);
	assert_int_equal(first.calls + second.calls, 1);
	for (size_t i = 0; i < 2; i++) {
		loop_remove(&loop, pairs[i][0]);
		fd_close(pairs[i][0]);
		fd_close(pairs[i][1]);
	}
}

/* And its number belongs to somebody else by the time its event comes up. */
static void a_number_used_again_is_not_the_old_one(void **state)
{
	struct party reborn = {0};
	struct party victim = {0};
	struct party killer = {.removes = &victim, .closes = true, .reborn = &reborn};
	int pairs[2][2];

	(void)state;
	pair_of(pairs[0]);
	pair_of(pairs[1]);
	victim.fd = pairs[0][0];
	killer.fd = pairs[1][0];
	watch(&victim);
	watch(&killer);
	poke(pairs[1][1]); /* ready first, so called first */
	poke(pairs[0][1]);
	turn(1000);
	assert_int_equal(killer.calls, 1);
	assert_int_equal(victim.calls, 0);
	assert_int_equal(reborn.calls, 0);
	killer.removes = NULL;
	poke(killer.again[1]);
	turn(1000);
	assert_int_equal(reborn.calls, 1);
	loop_remove(&loop, reborn.fd);
	loop_remove(&loop, killer.fd);
	fd_close(killer.again[0]);
	fd_close(killer.again[1]);
	fd_close(pairs[0][1]);
	fd_close(pairs[1][0]);
	fd_close(pairs[1][1]);
}

static void what_cannot_be_watched_is_an_error(void **state)
{
	struct party party = {0};
	int file = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = {0};

	(void)state;
	assert_int_equal(loop_add(&loop, file, EPOLLIN, on_event, &party, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_int_equal(loop_add(&loop, LOOP_FDS, EPOLLIN, on_event, &party, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	fd_close(file);
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
	int64_t start_us = clock_mono_us();

	(void)state;
	turn(20);
	assert_true(clock_mono_us() - start_us >= 19000);
}

/* --- outboxes --------------------------------------------------------- */

struct sender {
	struct outbox outbox;
	int peer;
	int failed;
};

static void on_writable(void *ctx, int fd, uint32_t events)
{
	struct sender *sender = ctx;
	struct err err = {0};

	(void)fd;
	if ((events & EPOLLOUT) != 0 && outbox_flush(&sender->outbox, &err) < 0) {
		sender->failed++;
		assert_int_equal(err.kind, ERR_PEER);
	}
}

static void sender_init(struct sender *sender)
{
	int pair[2];
	struct err err = {0};

	pair_of(pair);
	*sender = (struct sender){.peer = pair[1]};
	outbox_init(&sender->outbox, &loop, pair[0]);
	must(loop_add(&loop, pair[0], EPOLLIN, on_writable, sender, &err), &err);
}

static void sender_release(struct sender *sender)
{
	outbox_release(&sender->outbox);
	assert_int_equal(sender->outbox.socket, -1);
	assert_int_equal(sender->outbox.len, 0);
	assert_int_equal(sender->outbox.bytes, 0);
	fd_cleanup(&sender->peer);
}

static void send_number(struct sender *sender, uint32_t number, int fd)
{
	static uint8_t message[BIG];
	struct err err = {0};

	(void)memcpy(message, &number, sizeof(number));
	message[BIG - 1] = (uint8_t)number;
	must(outbox_send(&sender->outbox, message, sizeof(message), fd, &err), &err);
}

static uint32_t receive_number(struct sender *sender, int *ret_fd)
{
	static uint8_t message[BIG];
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	uint32_t number;
	struct err err = {0};

	assert_int_equal(fd_recv_now(sender->peer, message, sizeof(message), fds, &fds_len, &err),
			 BIG);
	(void)memcpy(&number, message, sizeof(number));
	assert_int_equal(message[BIG - 1], (uint8_t)number);
	assert_in_range(fds_len, 0, 1);
	*ret_fd = fds_len == 1 ? fds[0] : -1;
	return number;
}

static void messages_arrive_whole_and_in_order(void **state)
{
	struct sender sender;
	int fd;

	(void)state;
	sender_init(&sender);
	for (uint32_t i = 0; i < MANY; i++)
		send_number(&sender, i, -1);
	assert_true(sender.outbox.len > MANY / 2);
	assert_int_equal(sender.outbox.bytes, sender.outbox.len * BIG);
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(receive_number(&sender, &fd), i);
		assert_int_equal(fd, -1);
		turn(0);
	}
	assert_int_equal(sender.outbox.len, 0);
	assert_int_equal(sender.outbox.bytes, 0);
	sender_release(&sender);
}

static void nobody_overtakes(void **state)
{
	struct sender sender;
	uint32_t sent = 0;
	int fd;

	(void)state;
	sender_init(&sender);
	while (sender.outbox.len == 0)
		send_number(&sender, sent++, -1);
	/* There is room again, but somebody waits already. */
	assert_int_equal(receive_number(&sender, &fd), 0);
	assert_int_equal(receive_number(&sender, &fd), 1);
	send_number(&sender, sent++, -1);
	assert_int_equal(sender.outbox.len, 2);
	for (uint32_t i = 2; i < sent; i++) {
		turn(0);
		assert_int_equal(receive_number(&sender, &fd), i);
	}
	sender_release(&sender);
}

/* Nothing to write: the loop must not be woken by a socket with room. */
static void an_empty_outbox_is_quiet(void **state)
{
	struct sender sender;
	struct epoll_event event;
	uint32_t sent = 0;
	int fd;

	(void)state;
	sender_init(&sender);
	assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, 0), 0);
	while (sender.outbox.len == 0)
		send_number(&sender, sent++, -1);
	for (uint32_t i = 0; i < sent; i++) {
		turn(0);
		assert_int_equal(receive_number(&sender, &fd), i);
	}
	turn(0);
	assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, 0), 0);
	sender_release(&sender);
}

static void descriptors_travel_with_their_message(void **state)
{
	struct sender sender;
	struct err err = {0};

	(void)state;
	sender_init(&sender);
	for (uint32_t i = 0; i < 20; i++) {
		CLEANUP(fd_cleanup) int fd = -1;

		if (i % 2 == 0)
			must(fd_memfd("test", &i, sizeof(i), &fd, &err), &err);
		send_number(&sender, i, fd); /* borrowed: closed here at once */
	}
	for (uint32_t i = 0; i < 20; i++) {
		CLEANUP(fd_cleanup) int fd = -1;
		struct bytes map;

		turn(0);
		assert_int_equal(receive_number(&sender, &fd), i);
		assert_int_equal(fd >= 0, i % 2 == 0);
		if (fd < 0)
			continue;
		assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
		must(fd_map(fd, 64, &map, &err), &err);
		assert_int_equal(map.len, sizeof(i));
		assert_memory_equal(map.data, &i, sizeof(i));
		fd_unmap(&map);
	}
	sender_release(&sender);
}

/* teardown counts descriptors: those of unsent messages are closed too. */
static void what_is_left_is_dropped(void **state)
{
	struct sender sender;

	(void)state;
	sender_init(&sender);
	for (uint32_t i = 0; i < 20; i++)
		send_number(&sender, i, loop.epoll_fd);
	assert_true(sender.outbox.len > 0);
	sender_release(&sender);
	sender_release(&sender); /* twice is harmless */
}

static void a_peer_that_left_is_an_error(void **state)
{
	struct sender sender;
	struct err err = {0};

	(void)state;
	sender_init(&sender);
	for (uint32_t i = 0; i < 20; i++)
		send_number(&sender, i, -1);
	fd_cleanup(&sender.peer);
	turn(0);
	assert_int_equal(sender.failed, 1);
	sender_release(&sender);

	sender_init(&sender);
	fd_cleanup(&sender.peer);
	assert_int_equal(outbox_send(&sender.outbox, "x", 1, -1, &err), -1);
	assert_int_equal(err.kind, ERR_PEER);
	sender_release(&sender);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(handlers_are_called_for_what_is_ready),
		TEST(a_handler_may_remove_itself),
		TEST(what_was_removed_is_called_no_more),
		TEST(a_number_used_again_is_not_the_old_one),
		TEST(what_cannot_be_watched_is_an_error),
		TEST(a_wait_ends_when_its_time_is_over),
		TEST(messages_arrive_whole_and_in_order),
		TEST(nobody_overtakes),
		TEST(an_empty_outbox_is_quiet),
		TEST(descriptors_travel_with_their_message),
		TEST(what_is_left_is_dropped),
		TEST(a_peer_that_left_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
