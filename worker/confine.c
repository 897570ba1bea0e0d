/*
 * confine.c - theory: chroot into the store, drop the identity, then close the
 * two doors that are left: files (Landlock: reading below the root and
 * nothing else) and the kernel (seccomp: a short allowlist; what is not in it
 * answers EPERM, so that a library's probing costs nothing). A kernel without
 * Landlock still has the other four.
 */
#include "worker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/role.h"

/* --- files ------------------------------------------------------------ */

#define ALL_FILE_ACCESS ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)

static int landlock_reads_only(struct err *err)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_FILE_ACCESS};
	struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	};
	CLEANUP(fd_cleanup) int root = open("/", O_PATH | O_CLOEXEC);
	CLEANUP(fd_cleanup) int ruleset = -1;

	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	if (ruleset < 0 && errno == EINVAL) { /* ABI 1 knows no REFER */
		attr.handled_access_fs &= ~(uint64_t)LANDLOCK_ACCESS_FS_REFER;
		ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	}
	rule.parent_fd = root;
	if (ruleset < 0 || root < 0 ||
	    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return err_sys(err, "cannot confine executor with landlock");
	return 0;
}

/* --- system calls ----------------------------------------------------- */

static const int allowed[] = {
	/* descriptors that it has or is sent */
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwrite64,
	SYS_lseek,
	SYS_close,
	SYS_fcntl,
	SYS_dup,
	SYS_dup3,
	SYS_ftruncate,
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_shutdown,
	SYS_poll,
	SYS_ppoll,
	SYS_pipe2,
	SYS_close_range,
	/* the store, for reading */
	SYS_openat,
	SYS_openat2,
	SYS_fstat,
	SYS_newfstatat,
	SYS_stat,
	SYS_lstat,
	SYS_statx,
	SYS_access,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_readlink,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_getcwd,
	SYS_fstatfs,
	/* memory */
	SYS_mmap,
	SYS_munmap,
	SYS_mprotect,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_memfd_create,
	/* itself and the time */
	SYS_futex,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_getpid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_tgkill,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_getrandom,
	SYS_uname,
	SYS_sysinfo,
	SYS_prlimit64,
	SYS_getrusage,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_restart_syscall,
	SYS_rseq,
	SYS_set_robust_list,
	SYS_exit,
	SYS_exit_group,
};

enum { HEAD = 4, FILTER_MAX = HEAD + 2 * ARRAY_LEN(allowed) + 1 };

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "confine.c: name this architecture's AUDIT_ARCH here"
#endif

static int filter_calls(struct err *err)
{
	struct sock_filter code[FILTER_MAX];
	struct sock_fprog program = {.filter = code};
	unsigned short len = 0;

	code[len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						   offsetof(struct seccomp_data, arch));
	code[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
	code[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						   offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		code[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							   (uint32_t)allowed[i], 0, 1);
		code[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	program.len = len;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return err_sys(err, "cannot load the executor's system call filter");
	return 0;
}

/* --- all of it -------------------------------------------------------- */

int confine_executor(int store_fd, uid_t uid, gid_t gid, struct err *err)
{
	if (fchdir(store_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(err, "cannot make the store the executor's root");
	if (role_drop(uid, gid, 0, err) < 0 || landlock_reads_only(err) < 0)
		return -1;
	return filter_calls(err);
}
