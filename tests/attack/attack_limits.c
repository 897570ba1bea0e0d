/*
 * attack_limits.c - takes back what was limited: resource limits, core files,
 * priorities, the oom score.
 */
#include <sched.h>
#include <sys/resource.h>

#include "attack.h"

static void must_not_rise(const char *what, __rlimit_resource_t resource)
{
	struct rlimit limit, more;

	if (getrlimit(resource, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
		escaped("%s is not limited", what);
	more = (struct rlimit){limit.rlim_cur, limit.rlim_max + 1};
	must_fail(what, setrlimit(resource, &more));
}

/* Of all limits only 1 keeps a core from the host's handler, if it has one. */
static void must_not_be_piped(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_cur != 1 || limit.rlim_max != 1)
		escaped("a core goes to the handler of the host");
}

int main(void)
{
	struct sched_param first = {.sched_priority = 1};

	must_not_rise("core", RLIMIT_CORE);
	must_not_be_piped();
	must_not_rise("files", RLIMIT_NOFILE);
	must_not_rise("locked memory", RLIMIT_MEMLOCK);
	must_not_rise("stack", RLIMIT_STACK);
	must_not_rise("real time", RLIMIT_RTPRIO);
	must_fail("nice", setpriority(PRIO_PROCESS, 0, -5));
	must_fail("SCHED_FIFO", sched_setscheduler(0, SCHED_FIFO, &first));
	must_fail("SCHED_RR", sched_setscheduler(0, SCHED_RR, &first));
	must_fail("io priority", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
	must_not_open("/proc/self/oom_score_adj", O_WRONLY);
	contained();
}
