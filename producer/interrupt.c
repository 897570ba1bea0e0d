/*
 * interrupt.c - the handler only takes a note. It is not restarting, so a poll
 * that waits ends at once, and it is good for one signal.
 */
#include "producer/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t seen;

static void take_note(int number)
{
	(void)number;
	seen = 1;
}

void interrupt_catch(void)
{
	const struct sigaction action = {.sa_handler = take_note, .sa_flags = (int)SA_RESETHAND};

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

bool interrupt_seen(void)
{
	return seen != 0;
}
