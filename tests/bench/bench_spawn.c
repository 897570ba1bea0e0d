/*
 * bench_spawn.c - how long whole commands take, interleaved, so that a noisy
 * machine disturbs all of them alike.
 *
 *	bench_spawn ROUNDS FILE NAME CMD ARG... \; NAME CMD ARG... ...
 *
 * FILE is opened anew as descriptor 10 of each command (a seccomp program).
 * Each round starts every command once, with posix_spawn, /dev/null as its
 * standard streams, and waits for its end; after a pause and in an order drawn
 * anew, because what a command leaves to be done behind its back would be paid
 * by the next. Prints one JSON object a line:
 * {"name", "rounds", "p50_us", "p95_us", "min_us", "failed"}.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/defs.h"
#include "base/text.h"

enum { COMMANDS = 16, ROUNDS_MAX = 10000, FILE_FD = 10, PAUSE_MS = 5 };

struct command {
	const char *name;
	char **argv;
	int64_t *us;
	unsigned failed;
};

/* --- the command line ------------------------------------------------- */

static size_t split(char **argv, struct command *commands)
{
	size_t len = 0;

	while (*argv != NULL && len < COMMANDS) {
		struct command *command = &commands[len++];

		command->name = *argv++;
		command->argv = argv;
		while (*argv != NULL && strcmp(*argv, ";") != 0)
			argv++;
		if (*argv != NULL)
			*argv++ = NULL;
	}
	return len;
}

/* --- one run ---------------------------------------------------------- */

static int64_t time_one(struct command *command, const posix_spawn_file_actions_t *actions)
{
	int64_t start_us;
	int status = 0;
	pid_t pid;

	(void)poll(NULL, 0, PAUSE_MS);
	start_us = clock_mono_us();
	if (posix_spawnp(&pid, command->argv[0], actions, NULL, command->argv, environ) != 0) {
		command->failed++;
		return 0;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	command->failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	return clock_mono_us() - start_us;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void shuffle(struct command **order, size_t len)
{
	static unsigned seed = 1; /* the same orders every time */

	for (size_t i = len; i > 1; i--) {
		size_t k = (size_t)rand_r(&seed) % i;
		struct command *other = order[k];

		order[k] = order[i - 1];
		order[i - 1] = other;
	}
}

static void print(struct command *command, size_t rounds)
{
	qsort(command->us, rounds, sizeof(*command->us), compare);
	(void)printf("{\"name\": \"%s\", \"rounds\": %zu, \"p50_us\": %lld, \"p95_us\": %lld, "
		     "\"min_us\": %lld, \"failed\": %u}\n",
		     command->name, rounds, (long long)command->us[rounds / 2],
		     (long long)command->us[rounds * 95 / 100], (long long)command->us[0],
		     command->failed);
}

int main(int argc, char **argv)
{
	static struct command commands[COMMANDS];
	struct command *order[COMMANDS];
	posix_spawn_file_actions_t actions;
	int64_t rounds;
	size_t len;

	if (argc < 5 || !text_parse_int(argv[1], &rounds) || rounds < 1 || rounds > ROUNDS_MAX) {
		(void)fputs("usage: bench_spawn ROUNDS FILE NAME CMD ARG... [; NAME CMD ARG...]\n",
			    stderr);
		return 2;
	}
	len = split(argv + 3, commands);
	if (posix_spawn_file_actions_init(&actions) != 0)
		return 1;
	for (int fd = 0; fd < 3; fd++)
		(void)posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	(void)posix_spawn_file_actions_addopen(&actions, FILE_FD, argv[2], O_RDONLY, 0);
	for (size_t i = 0; i < len; i++) {
		commands[i].us = calloc((size_t)rounds, sizeof(*commands[i].us));
		if (commands[i].us == NULL)
			return 1;
		(void)time_one(&commands[i], &actions);
		commands[i].failed = 0;
		order[i] = &commands[i];
	}
	for (int64_t round = 0; round < rounds; round++) {
		shuffle(order, len);
		for (size_t i = 0; i < len; i++)
			order[i]->us[round] = time_one(order[i], &actions);
	}
	for (size_t i = 0; i < len; i++) {
		print(&commands[i], (size_t)rounds);
		free(commands[i].us);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return 0;
}
