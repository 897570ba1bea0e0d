/*
 * test_executor.c - which descriptors an executor starts with: whatever numbers
 * they had, each arrives as itself, and nothing else does.
 */
#include "worker/executor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { FIRST = 3, KEPT = 5, FDS_LOOKED_AT = 1024, BAD = 1, LEAKED = 2, LOST = 3 };

/* A descriptor at exactly this number, of a file that knows its own name. */
static ino_t place(int number)
{
	struct stat st;
	int fd = memfd_create("mark", 0);

	if (fd < 0 || fstat(fd, &st) < 0)
		_exit(BAD);
	if (fd != number) {
		if (dup2(fd, number) < 0)
			_exit(BAD);
		(void)close(fd);
	}
	return st.st_ino;
}

static void expect(int fd, int number, ino_t mark)
{
	struct stat st;

	if (fd != number || fstat(fd, &st) < 0 || st.st_ino != mark ||
	    (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
		_exit(LOST);
}

static void expect_nothing_else(void)
{
	for (int fd = FIRST + KEPT; fd < FDS_LOOKED_AT; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			_exit(LEAKED);
	}
}

/* In a child: `numbers` are those of socket, store, control and two meters. */
static NORETURN void keep(const int numbers[KEPT], const int *others, size_t others_len)
{
	struct box_handle handle;
	ino_t marks[KEPT];
	int socket = numbers[0];
	int store = numbers[1];

	(void)close_range(FIRST, ~0U, 0);
	for (size_t i = 0; i < others_len; i++)
		(void)place(others[i]);
	for (size_t i = 0; i < KEPT; i++)
		marks[i] = place(numbers[i]);
	for (size_t i = 0; i < BOX_METERS; i++)
		handle.meter_fds[i] = -1;
	handle.control_fd = numbers[2];
	handle.meter_fds[0] = numbers[3];
	handle.meter_fds[BOX_METERS - 1] = numbers[4];
	executor_keep_descriptors(&socket, &handle, &store);
	expect(socket, FIRST, marks[0]);
	expect(store, FIRST + 1, marks[1]);
	expect(handle.control_fd, FIRST + 2, marks[2]);
	expect(handle.meter_fds[0], FIRST + 3, marks[3]);
	expect(handle.meter_fds[BOX_METERS - 1], FIRST + 4, marks[4]);
	for (size_t i = 1; i < BOX_METERS - 1; i++) {
		if (handle.meter_fds[i] != -1)
			_exit(LOST);
	}
	expect_nothing_else();
	_exit(0);
}

static void assert_kept(const int numbers[KEPT], const int *others, size_t others_len)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		keep(numbers, others, others_len);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("%d %d %d %d %d: %s", numbers[0], numbers[1], numbers[2], numbers[3],
			 numbers[4],
			 WEXITSTATUS(status) == LEAKED ? "something else stays open"
						       : "a descriptor is not what it was");
}

/* --- tests ------------------------------------------------------------ */

static void permute(int numbers[KEPT], size_t at)
{
	if (at == KEPT) {
		assert_kept(numbers, NULL, 0);
		return;
	}
	for (size_t i = at; i < KEPT; i++) {
		int swap = numbers[at];

		numbers[at] = numbers[i];
		numbers[i] = swap;
		permute(numbers, at + 1);
		swap = numbers[at];
		numbers[at] = numbers[i];
		numbers[i] = swap;
	}
}

static void every_order_of_low_numbers_is_kept(void **state)
{
	int numbers[KEPT] = {3, 4, 5, 6, 7};

	(void)state;
	permute(numbers, 0);
}

static void high_numbers_and_neighbours_are_kept(void **state)
{
	static const int numbers[][KEPT] = {
		{32, 33, 34, 35, 36}, {36, 35, 34, 33, 32}, {900, 3, 32, 7, 901},
		{8, 9, 10, 11, 12},   {31, 32, 12, 13, 3},
	};
	static const int others[] = {40, 41, 42, 500, 600, 1000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		assert_kept(numbers[i], others, ARRAY_LEN(others));
}

static void without_room_there_is_no_executor(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit few = {.rlim_cur = 16, .rlim_max = 16};
		struct box_handle handle = {.control_fd = -1};
		int socket = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int store = -1;

		for (size_t i = 0; i < BOX_METERS; i++)
			handle.meter_fds[i] = -1;
		if (setrlimit(RLIMIT_NOFILE, &few) < 0)
			_exit(LOST);
		executor_keep_descriptors(&socket, &handle, &store);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_order_of_low_numbers_is_kept),
		cmocka_unit_test(high_numbers_and_neighbours_are_kept),
		cmocka_unit_test(without_room_there_is_no_executor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
