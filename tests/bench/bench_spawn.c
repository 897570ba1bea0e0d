/*
 * bench_spawn.c - how long whole commands take, interleaved, so that a noisy
 * machine disturbs all of them alike.
 *
 *	bench_spawn ROUNDS FILE NAME CMD ARG... \; NAME CMD ARG... ...
 *
 * FILE is opened anew as descriptor 10 of each command (a seccomp program).
 * A command that begins with "+" is a server: started once, it is sent a byte
 * for each round and answers with one when the work is done. One that begins
 * with "@FILE" is started in the mount namespace FILE.
 * Each round starts every command once, with posix_spawn, /dev/null as its
 * standard streams, and waits for its end; after a pause and in an order drawn
 * anew, because what a command leaves to be done behind its back would be paid
 * by the next. Prints one JSON object a line:
 * {"name", "rounds", "p50_us", "p95_us", "min_us", "failed"}.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
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
	int ask_fd; /* of a server; else -1 */
	int answer_fd;
	pid_t pid;
	int mounts_fd; /* namespace to start it in; else -1 */
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
		command->ask_fd = -1;
		command->mounts_fd = -1;
		while (*argv != NULL && strcmp(*argv, ";") != 0)
			argv++;
		if (*argv != NULL)
			*argv++ = NULL;
	}
	return len;
}

/* --- mount namespaces ------------------------------------------------- */

static bool open_mounts(struct command *command)
{
	command->mounts_fd = open(*command->argv++ + 1, O_RDONLY | O_CLOEXEC);
	return command->mounts_fd >= 0;
}

/* Going there and back is not measured. Both lose the working directory. */
static void enter_mounts(int mounts_fd, int folder_fd)
{
	if (setns(mounts_fd, CLONE_NEWNS) < 0 || (folder_fd >= 0 && fchdir(folder_fd) < 0))
		_exit(1);
}

/* --- servers ---------------------------------------------------------- */

static bool start_server(struct command *command)
{
	posix_spawn_file_actions_t actions;
	int ask[2], answer[2];
	bool ok;

	command->argv++;
	if (pipe2(ask, O_CLOEXEC) < 0 || pipe2(answer, O_CLOEXEC) < 0 ||
	    posix_spawn_file_actions_init(&actions) != 0)
		return false;
	(void)posix_spawn_file_actions_adddup2(&actions, ask[0], STDIN_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, answer[1], STDOUT_FILENO);
	ok = posix_spawnp(&command->pid, command->argv[0], &actions, NULL, command->argv,
			  environ) == 0;
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(ask[0]);
	(void)close(answer[1]);
	command->ask_fd = ask[1];
	command->answer_fd = answer[0];
	return ok;
}

static void stop_server(struct command *command)
{
	(void)close(command->ask_fd);
	(void)close(command->answer_fd);
	(void)waitpid(command->pid, NULL, 0);
}

static int64_t ask_server(struct command *command)
{
	int64_t start_us = clock_mono_us();
	char byte = 0;

	command->failed +=
		write(command->ask_fd, &byte, 1) != 1 || read(command->answer_fd, &byte, 1) != 1;
	return clock_mono_us() - start_us;
}

/* --- one run ---------------------------------------------------------- */

static int64_t time_command(struct command *command, const posix_spawn_file_actions_t *actions)
{
	int64_t start_us = clock_mono_us();
	int status = 0;
	pid_t pid;

	if (posix_spawnp(&pid, command->argv[0], actions, NULL, command->argv, environ) != 0) {
		command->failed++;
		return 0;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	command->failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	return clock_mono_us() - start_us;
}

static int64_t time_one(struct command *command, const posix_spawn_file_actions_t *actions)
{
	static int home_fd = -1, folder_fd = -1;
	int64_t us;

	(void)poll(NULL, 0, PAUSE_MS);
	if (command->ask_fd >= 0)
		return ask_server(command);
	if (command->mounts_fd < 0)
		return time_command(command, actions);
	if (home_fd < 0) {
		home_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		folder_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	enter_mounts(command->mounts_fd, -1);
	us = time_command(command, actions);
	enter_mounts(home_fd, folder_fd);
	return us;
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
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < len; i++) {
		const char *mark = commands[i].argv[0];

		if ((mark[0] == '@' && !open_mounts(&commands[i])) ||
		    (strcmp(mark, "+") == 0 && !start_server(&commands[i])))
			return 1;
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
		if (commands[i].ask_fd >= 0)
			stop_server(&commands[i]);
		free(commands[i].us);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return 0;
}
