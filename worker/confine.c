/*
 * confine.c - theory: chroot into the store, drop the identity, then close the
 * doors that are left: memory (rlimits), files (Landlock: reading below the
 * root and nothing else) and the kernel (seccomp: a short allowlist; what is
 * not in it answers EPERM, so that a library's probing costs nothing). Calls
 * that could reach another process of the same uid, which an ordinary user's
 * worker has plenty of, are allowed for the process itself alone. A kernel
 * without Landlock still has the others.
 */
#include "worker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/role.h"

/* --- memory ----------------------------------------------------------- */

/* Diff, base and result of one job fit many times; a diff that makes gigabytes
 * of a small repository ends here, as a failed allocation. Packs are mapped
 * for reading and do not count. */
#define DATA_BYTES (2ull << 30)
#define FILE_BYTES (1ull << 30) /* one memory file */
enum { FILES_MOST = 1024 };

/* Who has no uid of its own shares with the jobs the account of descriptors on
 * their way, and can send none when that is above its bound of open files. */
static int limit_memory(bool own_uid, struct err *err)
{
	const struct {
		__rlimit_resource_t what;
		rlim_t most;
	} rows[] = {
#if !defined(__SANITIZE_ADDRESS__)
		{RLIMIT_DATA, DATA_BYTES},
#endif
		{RLIMIT_FSIZE, FILE_BYTES},
		{RLIMIT_NOFILE, own_uid ? FILES_MOST : RLIM_INFINITY},
		{RLIMIT_CORE, 0},
	};
	/* A memory file that is too large is an error, no end. */
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	if (sigaction(SIGXFSZ, &ignore, NULL) < 0)
		return err_sys(err, "cannot ignore SIGXFSZ");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rlimit now;

		if (getrlimit(rows[i].what, &now) < 0)
			return err_sys(err, "cannot read the executor's limits");
		now.rlim_max = now.rlim_max < rows[i].most ? now.rlim_max : rows[i].most;
		now.rlim_cur = now.rlim_max;
		if (setrlimit(rows[i].what, &now) < 0)
			return err_sys(err, "cannot limit the executor");
	}
	return 0;
}

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

enum { SELF = -1 };

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
	SYS_dup,
	SYS_dup3,
	SYS_ftruncate,
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_shutdown,
	SYS_ppoll,
	SYS_pipe2,
	SYS_close_range,
	/* the store, for reading */
	SYS_openat,
	SYS_openat2,
	SYS_fstat,
	SYS_newfstatat,
	SYS_statx,
	SYS_faccessat,
	SYS_faccessat2,
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
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_getrandom,
	SYS_uname,
	SYS_sysinfo,
	SYS_getrusage,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_restart_syscall,
	SYS_rseq,
	SYS_set_robust_list,
	SYS_exit,
	SYS_exit_group,
#ifdef SYS_open /* older spellings, which newer architectures do not have */
	SYS_poll,
	SYS_stat,
	SYS_lstat,
	SYS_access,
	SYS_readlink,
#endif
};

/* Calls that are allowed with these values of one argument only. */
static const struct {
	int call;
	unsigned argument;
	int value; /* SELF: the process's own id */
} narrow[] = {
	{SYS_fcntl, 1, F_DUPFD},     {SYS_fcntl, 1, F_DUPFD_CLOEXEC}, {SYS_fcntl, 1, F_GETFD},
	{SYS_fcntl, 1, F_SETFD},     {SYS_fcntl, 1, F_GETFL},	      {SYS_fcntl, 1, F_SETFL},
	{SYS_fcntl, 1, F_ADD_SEALS}, {SYS_fcntl, 1, F_GET_SEALS},     {SYS_prlimit64, 0, 0},
	{SYS_tgkill, 0, SELF},
};

enum { HEAD = 4, FILTER_MAX = HEAD + 2 * ARRAY_LEN(allowed) + 5 * ARRAY_LEN(narrow) + 1 };

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "confine.c: name this architecture's AUDIT_ARCH here"
#endif

/* Each row loads the call's number anew, for the one before may have loaded an
 * argument. */
static unsigned short add_narrow(struct sock_filter *code, unsigned short len)
{
	for (size_t i = 0; i < ARRAY_LEN(narrow); i++) {
		uint32_t value =
			narrow[i].value == SELF ? (uint32_t)getpid() : (uint32_t)narrow[i].value;
		uint32_t at = offsetof(struct seccomp_data, args[0]) + 8 * narrow[i].argument;

		if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
			at += 4;
		code[len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							   offsetof(struct seccomp_data, nr));
		code[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							   (uint32_t)narrow[i].call, 0, 3);
		code[len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at);
		code[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
		code[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	return len;
}

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
	len = add_narrow(code, len);
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
	if (role_drop(uid, gid, 0, err) < 0 || limit_memory(uid != ROLE_SAME_UID, err) < 0)
		return -1;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_sys(err, "cannot tie the executor to its parent");
	if (landlock_reads_only(err) < 0)
		return -1;
	return filter_calls(err);
}
