/*
 * attack_kernel.c - parts of the kernel that were holes before: each has to
 * refuse, whatever it is asked.
 */
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "attack.h"

int main(void)
{
	char zero[256] = {0};
	pid_t child = fork();

	if (child == 0) {
		(void)pause();
		_exit(0);
	}
	must_fail("bpf", syscall(SYS_bpf, 0, zero, sizeof(zero)));
	must_fail("perf_event_open", syscall(SYS_perf_event_open, zero, 0, -1, -1, 0));
	must_fail("userfaultfd", syscall(SYS_userfaultfd, 0));
	must_fail("userfaultfd, user mode", syscall(SYS_userfaultfd, 1));
	must_fail("io_uring_setup", syscall(SYS_io_uring_setup, 4, zero));
	must_fail("io_uring_enter", syscall(SYS_io_uring_enter, 0, 1, 0, 0, 0, 0));
	must_fail("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -4, 0));
	must_fail("keyctl", syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
	must_fail("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -4));
	must_fail("request_key", syscall(SYS_request_key, "user", "x", NULL, -4));
	must_fail("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	must_fail("ptrace of a child", ptrace(PTRACE_ATTACH, child, NULL, NULL));
	must_fail("kcmp", syscall(SYS_kcmp, getpid(), child, 0, 0, 0));
	must_fail("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
	must_fail("name_to_handle_at", syscall(SYS_name_to_handle_at, -100, "/", zero, zero, 0));
	must_fail("syslog", syscall(SYS_syslog, 3, zero, sizeof(zero)));
	must_fail("quotactl", syscall(SYS_quotactl, 0, "/", 0, zero));
	must_fail("memfd_secret", syscall(SYS_memfd_secret, 0));
	must_fail("move_pages", syscall(SYS_move_pages, 1, 1, zero, NULL, zero, 0));
	must_fail("seccomp", syscall(SYS_seccomp, 1, 8, zero));
	must_fail("PR_SET_SECCOMP", prctl(PR_SET_SECCOMP, 2, zero, 0, 0));
	must_fail("PR_SET_MM", prctl(PR_SET_MM, 1, 0, 0, 0));
	must_fail("modify_ldt", syscall(SYS_modify_ldt, 1, zero, 16));
	must_fail("READ_IMPLIES_EXEC", syscall(SYS_personality, 0x0400000));
	must_fail("sethostname", sethostname("x", 1));
	must_fail("clock_settime", syscall(SYS_clock_settime, 0, zero));
	must_fail("adjtimex", syscall(SYS_adjtimex, zero));
	(void)kill(child, SIGKILL);
	contained();
}
