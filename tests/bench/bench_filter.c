/*
 * bench_filter.c - writes a seccomp program for `bwrap --seccomp` to standard
 * output: a denylist of the size that container engines use, so that the peer
 * carries a filter too. It is no part of sbx.
 */
#include <errno.h>
#include <seccomp.h>
#include <unistd.h>

#include "base/defs.h"

int main(void)
{
	static const char *const denied[] = {
		"acct",
		"add_key",
		"bpf",
		"clock_adjtime",
		"clock_settime",
		"delete_module",
		"finit_module",
		"fsconfig",
		"fsmount",
		"fsopen",
		"fspick",
		"init_module",
		"io_uring_enter",
		"io_uring_register",
		"io_uring_setup",
		"ioperm",
		"iopl",
		"kcmp",
		"kexec_file_load",
		"kexec_load",
		"keyctl",
		"lookup_dcookie",
		"mbind",
		"migrate_pages",
		"mount",
		"mount_setattr",
		"move_mount",
		"move_pages",
		"name_to_handle_at",
		"open_by_handle_at",
		"open_tree",
		"perf_event_open",
		"pivot_root",
		"process_vm_readv",
		"process_vm_writev",
		"ptrace",
		"quotactl",
		"reboot",
		"request_key",
		"set_mempolicy",
		"setns",
		"settimeofday",
		"swapoff",
		"swapon",
		"syslog",
		"umount2",
		"unshare",
		"userfaultfd",
		"vhangup",
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rc = filter == NULL ? -1 : 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(denied); i++) {
		int number = seccomp_syscall_resolve_name(denied[i]);

		if (number != __NR_SCMP_ERROR)
			rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
	}
	if (rc == 0)
		rc = seccomp_export_bpf(filter, STDOUT_FILENO);
	seccomp_release(filter);
	return rc == 0 ? 0 : 1;
}
