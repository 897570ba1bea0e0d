/*
 * attack_stuck.c - does not die: processes that wait in the kernel where signals
 * do not reach (a parent in vfork), that are stopped, that hold each other, and
 * threads that go on when the first one of their process has ended. The test
 * looks for what is left.
 */
#include <pthread.h>

#include "attack.h"

/* The parent of a vfork sleeps without minding signals until the child ends. */
static void stuck_in_vfork(void)
{
	if (fork() != 0)
		return;
	ignore_signals();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	if (vfork() == 0)
		for (;;)
			(void)syscall(SYS_pause);
#pragma GCC diagnostic pop
	_exit(0);
}

static void *go_on(void *unused)
{
	while (unused == NULL)
		(void)pause();
	return NULL;
}

/* Its first thread has ended: a zombie for those who look, and not gone. */
static void headless(void)
{
	pthread_t thread;

	if (fork() != 0)
		return;
	ignore_signals();
	if (pthread_create(&thread, NULL, go_on, NULL) != 0)
		_exit(1);
	(void)syscall(SYS_exit, 0);
}

static void stopped(void)
{
	if (fork() != 0)
		return;
	(void)setsid();
	for (;;)
		(void)kill(getpid(), SIGSTOP);
}

/* Each waits for a pipe that only the other one will ever close. */
static void entangled(void)
{
	int a[2], b[2];
	char byte;

	if (pipe(a) < 0 || pipe(b) < 0)
		_exit(1);
	for (int i = 0; i < 2; i++)
		if (fork() == 0) {
			ignore_signals();
			(void)!read(i == 0 ? a[0] : b[0], &byte, 1);
			_exit(0);
		}
}

int main(int argc, char **argv)
{
	stuck_in_vfork();
	headless();
	stopped();
	entangled();
	pause_ms(100);
	if (argc > 1 && strcmp(argv[1], "stay") == 0) { /* until the limit of time */
		ignore_signals();
		for (;;)
			(void)pause();
	}
	contained();
}
