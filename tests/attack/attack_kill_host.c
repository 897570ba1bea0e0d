/*
 * attack_kill_host.c - signals a process of the host, whose pid is given, by
 * every call there is, and then everything.
 */
#include "attack.h"

int main(int argc, char **argv)
{
	pid_t pid = argc > 1 ? (int)number(argv[1]) : 0;
	union sigval value = {0};

	if (pid <= 1)
		return 1;
	must_fail("kill", kill(pid, SIGKILL));
	must_fail("kill of a group", kill(-pid, SIGKILL));
	must_fail("tkill", syscall(SYS_tkill, pid, SIGKILL));
	must_fail("tgkill", syscall(SYS_tgkill, pid, pid, SIGKILL));
	must_fail("sigqueue", sigqueue(pid, SIGKILL, value));
	must_fail("pidfd_open", syscall(SYS_pidfd_open, pid, 0));
	(void)kill(-1, SIGKILL); /* all but the caller: the test looks at the host's */
	(void)kill(1, SIGKILL);	 /* init: immune */
	contained();
}
