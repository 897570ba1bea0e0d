/*
 * attack_survivor.c - stays behind: daemons that hold the streams, ignore
 * signals, stop themselves or fork at every turn, while the step itself ends.
 * The test looks for what the given word names.
 */
#include <sys/prctl.h>

#include "attack.h"

static void become_daemon(void)
{
	if (fork() != 0)
		return;
	(void)setsid();
	if (fork() != 0)
		_exit(0);
	ignore_signals();
	(void)prctl(PR_SET_PDEATHSIG, 0);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0;; i++) {
		if (fork() == 0 && i % 3 == 0)
			(void)raise(SIGSTOP);
		if (fork() > 0)
			_exit(0); /* always another pid */
		pause_ms(1);
	}
}

int main(void)
{
	for (int i = 0; i < 5; i++)
		become_daemon();
	pause_ms(20);
	contained();
}
