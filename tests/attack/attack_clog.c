/*
 * attack_clog.c - uses up what the kernel counts for the whole machine and no
 * control group limits: asynchronous contexts, pseudo-terminals. As many of
 * the named kind as there are to be had are taken and kept; more than the
 * given number is a win.
 */
#include <linux/aio_abi.h>

#include "attack.h"

enum { PROCESSES = 16, EVENTS = 1000, MANY = 100000 };

static long take_contexts(void)
{
	long taken = 0;

	for (int i = 0; i < MANY; i++) {
		aio_context_t context = 0;

		if (syscall(SYS_io_setup, EVENTS, &context) < 0)
			break;
		taken += EVENTS;
	}
	return taken;
}

static long take_terminals(void)
{
	long taken = 0;

	while (taken < MANY && posix_openpt(O_RDWR | O_NOCTTY) >= 0)
		taken++;
	return taken;
}

/* Each process has descriptors of its own; it keeps what it has until the end. */
static long take_in_child(bool contexts)
{
	long taken = 0;
	int ends[2];

	if (pipe(ends) < 0)
		_exit(1);
	if (fork() == 0) {
		taken = contexts ? take_contexts() : take_terminals();
		if (write(ends[1], &taken, sizeof(taken)) != sizeof(taken))
			_exit(1);
		for (;;)
			(void)pause();
	}
	if (read(ends[0], &taken, sizeof(taken)) != sizeof(taken))
		_exit(1);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return taken;
}

int main(int argc, char **argv)
{
	long most = argc > 2 ? number(argv[2]) : 0, taken = 0;

	if (most == 0)
		return 1;
	for (int i = 0; i < PROCESSES; i++)
		taken += take_in_child(strcmp(argv[1], "contexts") == 0);
	if (taken > most)
		escaped("%ld %s were to be had", taken, argv[1]);
	contained();
}
