/*
 * test_confine.c - a process confined as executors are tries what it must not
 * be able to do: once started as root, once as an ordinary user in a user
 * namespace, which is how the zygote lives there.
 */
#include "worker/confine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/role.h"

enum { EXECUTOR_UID = 1879048292, EXECUTOR_GID = 1879048192, USER_UID = 65533 };

static char dir[64];
static char inside[96];

static int setup(void **state)
{
	struct err err = {0};
	int fd;

	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/sbx-confine.XXXXXX");
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0)
		return -1;
	(void)snprintf(inside, sizeof(inside), "%s/inside", dir);
	fd = open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (fd < 0 || fd_write_all(fd, "content", 7, &err) < 0)
		return -1;
	fd_close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(inside);
	return rmdir(dir);
}

/* --- what a confined process tries ------------------------------------ */

static bool denied(long result)
{
	return result < 0 && (errno == EPERM || errno == EACCES);
}

static bool reads_the_store(void)
{
	char text[8] = "";
	int fd = open("/inside", O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool good = fd >= 0 && read(fd, text, sizeof(text)) == 7 && fstat(fd, &st) == 0;
	int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char entries[512];

	good = good && strcmp(text, "content") == 0 &&
	       syscall(SYS_getdents64, root, entries, sizeof(entries)) > 0;
	fd_close(fd);
	fd_close(root);
	return good;
}

static bool sees_nothing_else(void)
{
	static const char *const paths[] = {
		"/etc/passwd",	  "/../etc/passwd", "/../../proc/self/mem",
		"/proc/self/exe", "/dev/null",	    "../../etc/passwd"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (open(paths[i], O_RDONLY | O_CLOEXEC) >= 0 || errno != ENOENT)
			return false;
	}
	return true;
}

static bool writes_nothing(void)
{
	return denied(open("/inside", O_WRONLY | O_CLOEXEC)) &&
	       denied(open("/inside", O_RDWR | O_CLOEXEC)) &&
	       denied(open("/inside", O_WRONLY | O_TRUNC | O_CLOEXEC)) &&
	       denied(open("/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) &&
	       denied(open("/", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600)) &&
	       denied(mkdir("/new", 0700)) && denied(unlink("/inside")) &&
	       denied(rename("/inside", "/moved")) && denied(link("/inside", "/linked")) &&
	       denied(symlink("x", "/linked")) && denied(truncate("/inside", 0)) &&
	       denied(chmod("/inside", 0777)) && denied(mknod("/pipe", S_IFIFO | 0600, 0));
}

static bool has_no_network(void)
{
	int pair[2];

	return denied(socket(AF_INET, SOCK_STREAM, 0)) && denied(socket(AF_INET6, SOCK_DGRAM, 0)) &&
	       denied(socket(AF_UNIX, SOCK_STREAM, 0)) && denied(socket(AF_NETLINK, SOCK_RAW, 0)) &&
	       denied(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

static bool makes_no_process(void)
{
	char *argv[] = {(char[]){"inside"}, NULL};

	return denied(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) &&
	       denied(syscall(SYS_clone3, NULL, 0)) && denied(fork()) &&
	       denied(execve("/inside", argv, argv + 1)) &&
	       denied(syscall(SYS_execveat, AT_FDCWD, "/inside", argv, argv + 1, 0));
}

static bool reaches_no_process(void)
{
	struct rlimit limit;
	char byte;
	struct iovec iov = {&byte, 1};

	return denied(ptrace(PTRACE_ATTACH, 1, NULL, NULL)) &&
	       denied(ptrace(PTRACE_TRACEME, 0, NULL, NULL)) &&
	       denied(syscall(SYS_process_vm_readv, 1, &iov, 1, &iov, 1, 0)) &&
	       denied(kill(1, 0)) && denied(syscall(SYS_tgkill, 1, 1, 0)) &&
	       denied(syscall(SYS_tkill, 1, 0)) && denied(syscall(SYS_pidfd_open, 1, 0)) &&
	       denied(syscall(SYS_prlimit64, 1, RLIMIT_CPU, NULL, &limit)) &&
	       denied(fcntl(0, F_SETOWN, 1)) && denied(fcntl(0, F_SETSIG, SIGKILL));
}

/* What a library may rely on for the process itself. */
static bool manages_itself(void)
{
	struct rlimit limit;

	return syscall(SYS_tgkill, getpid(), gettid(), 0) == 0 &&
	       getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0 && fcntl(0, F_GETFD) >= 0;
}

static bool gains_nothing(void)
{
	return denied(setuid(0)) && denied(setresuid(0, 0, 0)) && denied(setgid(0)) &&
	       denied(unshare(CLONE_NEWUSER)) && denied(unshare(CLONE_NEWNS)) &&
	       denied(chroot("/")) && denied(mount("none", "/", "tmpfs", 0, NULL)) &&
	       denied(syscall(SYS_bpf, 0, NULL, 0)) &&
	       denied(syscall(SYS_io_uring_setup, 1, NULL)) &&
	       denied(syscall(SYS_keyctl, 0, 0, 0, 0, 0)) && denied(syscall(SYS_userfaultfd, 0)) &&
	       denied(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0)) &&
	       denied(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
}

static bool memory_has_an_end(void)
{
	int fd = memfd_create("big", MFD_CLOEXEC);
	bool good = fd >= 0 && ftruncate(fd, 2ll << 30) < 0 && errno == EFBIG;

#if !defined(__SANITIZE_ADDRESS__)
	void *big = mmap(NULL, 3ull << 30, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	good = good && big == MAP_FAILED && errno == ENOMEM;
#endif
	fd_close(fd);
	return good;
}

static const struct {
	const char *name;
	bool (*holds)(void);
} checks[] = {
	{"reads the store", reads_the_store},	  {"sees nothing else", sees_nothing_else},
	{"writes nothing", writes_nothing},	  {"has no network", has_no_network},
	{"makes no process", makes_no_process},	  {"reaches no process", reaches_no_process},
	{"manages itself", manages_itself},	  {"gains nothing", gains_nothing},
	{"memory has an end", memory_has_an_end},
};

/* --- the confined process --------------------------------------------- */

static bool become_user(void)
{
	return setresgid(USER_UID, USER_UID, USER_UID) == 0 &&
	       setresuid(USER_UID, USER_UID, USER_UID) == 0 && unshare(CLONE_NEWUSER) == 0;
}

static NORETURN void confined(int report, bool as_root)
{
	int store = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uid_t uid = as_root ? EXECUTOR_UID : ROLE_SAME_UID;
	struct err err = {0};
	char go;

	if ((!as_root && !become_user()) || confine_executor(store, uid, EXECUTOR_GID, &err) < 0) {
		(void)dprintf(report, "not confined: %s", err.message);
		_exit(1);
	}
	fd_close(store);
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		if (!checks[i].holds())
			(void)!write(report, checks[i].name, strlen(checks[i].name));
	}
	(void)!write(report, ".", 1);
	(void)!read(report, &go, 1); /* until somebody has looked at it from outside */
	_exit(0);
}

static void assert_status(pid_t pid, const char *line)
{
	char path[64];
	struct buf text;
	struct err err = {0};

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	buf_init(&text, 1 << 16);
	assert_int_equal(fd_read_file(path, 1 << 16, &text, &err), 0);
	if (strstr(buf_text(&text), line) == NULL)
		fail_msg("no '%s' in\n%s", line, buf_text(&text));
	buf_release(&text);
}

static void assert_confined(bool as_root)
{
	char text[512] = "";
	char line[128];
	uid_t uid = as_root ? EXECUTOR_UID : USER_UID;
	gid_t gid = as_root ? EXECUTOR_GID : USER_UID;
	int pair[2];
	int status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fd_close(pair[0]);
		confined(pair[1], as_root);
	}
	fd_close(pair[1]);
	assert_true(read(pair[0], text, sizeof(text) - 1) > 0);
	if (strcmp(text, ".") != 0)
		fail_msg("%s", text);
	(void)snprintf(line, sizeof(line), "\nUid:\t%u\t%u\t%u\t%u\n", uid, uid, uid, uid);
	assert_status(pid, line);
	(void)snprintf(line, sizeof(line), "\nGid:\t%u\t%u\t%u\t%u\n", gid, gid, gid, gid);
	assert_status(pid, line);
	if (as_root)
		assert_status(pid, "\nGroups:\t \n");
	assert_status(pid, "\nCapInh:\t0000000000000000\n");
	assert_status(pid, "\nCapPrm:\t0000000000000000\n");
	assert_status(pid, "\nCapEff:\t0000000000000000\n");
	assert_status(pid, "\nCapAmb:\t0000000000000000\n");
	assert_status(pid, "\nNoNewPrivs:\t1\n");
	assert_status(pid, "\nSeccomp:\t2\n");
	fd_close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- tests ------------------------------------------------------------ */

static void as_root_nothing_is_left(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_confined(true);
}

/* Here the files of the store belong to the executor's own uid, and only
 * Landlock keeps them from being written. */
static void as_an_ordinary_user_nothing_is_left(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	if (geteuid() != 0 ||
	    syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1)
		skip();
	pid = fork();
	if (pid == 0)
		_exit(!become_user());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		skip(); /* this host has no user namespaces for users */
	assert_int_equal(chown(dir, USER_UID, USER_UID), 0);
	assert_int_equal(chown(inside, USER_UID, USER_UID), 0);
	assert_confined(false);
}

static void who_cannot_be_confined_hears_of_it(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct err err = {0};
		int store = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		/* without a namespace of its own an ordinary user cannot chroot */
		if (geteuid() == 0 && setresuid(USER_UID, USER_UID, USER_UID) < 0)
			_exit(2);
		if (confine_executor(store, ROLE_SAME_UID, 0, &err) == 0)
			_exit(3);
		_exit(err.kind == ERR_SYSTEM && strstr(err.message, "root") != NULL ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void it_dies_with_its_parent(void **state)
{
	struct pollfd ended = {.events = POLLIN};
	char byte;
	int pair[2];
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			fd_close(pair[0]);
			confined(pair[1], true);
		}
		fd_close(pair[0]);
		fd_close(pair[1]);
		(void)pause();
	}
	fd_close(pair[1]);
	assert_int_equal(read(pair[0], &byte, 1), 1); /* it is confined, and waits */
	assert_int_equal(byte, '.');
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	ended.fd = pair[0];
	assert_int_equal(poll(&ended, 1, 5000), 1);
	assert_int_equal(read(pair[0], &byte, 1), 0);
	fd_close(pair[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(as_root_nothing_is_left),
		TEST(as_an_ordinary_user_nothing_is_left),
		TEST(who_cannot_be_confined_hears_of_it),
		TEST(it_dies_with_its_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
