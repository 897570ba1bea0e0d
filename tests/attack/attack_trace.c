/*
 * attack_trace.c - what the profile `trusted` gives is turned against it: a
 * tracer swaps the system calls of its child after they were begun, or switches
 * the filter off for it; a filter of the job's own allows what is refused. To
 * be run under that profile, where tracing itself works.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/user.h>

#include "attack.h"

static const struct {
	const char *name;
	long number;
	unsigned long args[3];
} swaps[] = {
	{"unshare", SYS_unshare, {CLONE_NEWUSER, 0, 0}},
	{"setns", SYS_setns, {0, 0, 0}},
	{"chroot", SYS_chroot, {0, 0, 0}},
	{"bpf", SYS_bpf, {0, 0, 0}},
	{"io_uring_setup", SYS_io_uring_setup, {4, 0, 0}},
	{"keyctl", SYS_keyctl, {0, (unsigned long)-4, 1}},
	{"a vsock", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}},
	{"userfaultfd", SYS_userfaultfd, {1, 0, 0}},
};

static void await_stop(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		_exit(1);
}

static pid_t start_child(void)
{
	pid_t child = fork();

	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(1);
		(void)raise(SIGSTOP);
		for (;;)
			(void)syscall(SYS_getppid);
	}
	await_stop(child);
	return child;
}

#ifdef __x86_64__
static void swap_calls(void)
{
	for (size_t i = 0; i < sizeof(swaps) / sizeof(swaps[0]); i++) {
		struct user_regs_struct regs;
		pid_t child = start_child();

		if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) < 0)
			_exit(1);
		await_stop(child);
		if (ptrace(PTRACE_GETREGS, child, NULL, &regs) < 0)
			_exit(1);
		regs.orig_rax = (unsigned long)swaps[i].number;
		regs.rdi = swaps[i].args[0];
		regs.rsi = swaps[i].args[1];
		regs.rdx = swaps[i].args[2];
		if (ptrace(PTRACE_SETREGS, child, NULL, &regs) < 0 ||
		    ptrace(PTRACE_SYSCALL, child, NULL, NULL) < 0)
			_exit(1);
		await_stop(child);
		if (ptrace(PTRACE_GETREGS, child, NULL, &regs) < 0)
			_exit(1);
		must_fail(swaps[i].name, (long)regs.rax);
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
}
#else
static void swap_calls(void)
{
	(void)swaps;
}
#endif

static void switch_filter_off(void)
{
	pid_t child = start_child();

	must_fail("PTRACE_O_SUSPEND_SECCOMP",
		  ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_SUSPEND_SECCOMP));
	must_fail("PTRACE_SECCOMP_GET_FILTER",
		  ptrace(PTRACE_SECCOMP_GET_FILTER, child, NULL, NULL));
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
}

static void filter_of_its_own(void)
{
	struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
	struct sock_fprog program = {1, allow};

	must_fail("a listener", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
					SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		_exit(1); /* it may have one, that is what the profile is for */
	must_fail("unshare under a filter of its own", unshare(CLONE_NEWUSER));
	must_fail("a vsock under a filter of its own", socket(AF_VSOCK, SOCK_STREAM, 0));
}

int main(void)
{
	swap_calls();
	switch_filter_off();
	filter_of_its_own();
	contained();
}
