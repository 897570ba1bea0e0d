/*
 * sbx-submit.c - sends jobs to the queue, waits for results, looks after dead
 * letters. The first word chooses the command; anything else is a job to send,
 * so a job file that is called like a command is written ./dead.
 */
#include <signal.h>
#include <string.h>

#include "base/defs.h"
#include "producer/commands.h"

struct command {
	const char *name;
	int (*run)(char *const *argv);
};

static const struct command commands[] = {
	{"batch", batch_main},	 {"wait", wait_main}, {"follow", follow_main},
	{"cancel", cancel_main}, {"dead", dead_main}, {"replay", replay_main},
};

int main(int argc, char **argv)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};

	/* A reader that goes away is an error to report, not a death. */
	(void)sigaction(SIGPIPE, &ignore, NULL);
	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argv + 2);
	}
	return submit_main(argv + (argc > 0));
}
