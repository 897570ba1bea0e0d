/*
 * attack_init.c - hurts pid 1 of the box, which has more rights than a job:
 * signals, limits, priorities, its memory and its files.
 */
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "attack.h"

int main(void)
{
	struct rlimit none = {0, 0};
	struct sched_param param = {0};
	cpu_set_t cpus;
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	for (int i = 1; i < 65; i++)
		(void)kill(1, i);
	must_fail("prlimit of init", syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &none, NULL));
	must_fail("priority of init", setpriority(PRIO_PROCESS, 1, 19));
	must_fail("priority of the user", setpriority(PRIO_USER, 0, 19));
	must_fail("scheduler of init", sched_setscheduler(1, SCHED_IDLE, &param));
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	must_fail("affinity of init", sched_setaffinity(1, sizeof(cpus), &cpus));
	must_fail("ptrace of init", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
	must_fail("ptrace of init", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
	must_fail("memory of init", process_vm_readv(1, &here, 1, &there, 1, 0));
	if (pidfd >= 0)
		must_fail("a descriptor of init", syscall(SYS_pidfd_getfd, pidfd, 3, 0));
	must_not_open("/proc/1/mem", O_RDWR);
	must_not_open("/proc/1/mem", O_RDONLY);
	must_not_open("/proc/1/fd/3", O_RDONLY);
	must_not_open("/proc/1/status", O_RDONLY);
	must_not_open("/proc/1/oom_score_adj", O_WRONLY);
	contained();
}
