/*
 * test_box.c - what a job is inside a box: who, where, and with what rights.
 */
#include <sys/socket.h>
#include <sys/syscall.h>

#include "boxtest.h"

#include "worker/sandbox/landlock.h"

/* --- helpers ---------------------------------------------------------------------- */

static void expect_text(struct boxtest *test, const char *script, const char *expected)
{
	assert_string_equal(boxtest_ok(test, script), expected);
}

/* A namespace of the box is not the one that this process is in. */
static void expect_other_namespace(struct boxtest *test, const char *name)
{
	char script[128], path[64], here[64];
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	len = readlink(path, here, sizeof(here) - 1);
	assert_true(len > 0);
	here[len] = '\0';
	(void)snprintf(script, sizeof(script), "readlink %s | tr -d '\\n'", path);
	assert_string_not_equal(boxtest_ok(test, script), here);
}

/* --- the tests ---------------------------------------------------------------------- */

static void test_identity(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	expect_text(&test, "id -u; id -g; id -un; hostname; pwd", "1000\n1000\nsbx\nsbx\n/work\n");
	expect_text(&test, "sed -n 's/^Cap[A-Z][a-z]*:\\t//p' /proc/self/status | sort -u",
		    "0000000000000000\n");
	expect_text(&test, "sed -n 's/^NoNewPrivs:\\t//p; s/^Seccomp:\\t//p' /proc/self/status",
		    "1\n2\n");
	expect_text(&test, "cat /proc/self/oom_score_adj", "1000\n");
	expect_text(&test, "ls /proc | grep -c '^1$'; true", "0\n"); /* init can't be seen */
	if (!boxtest_as_user)
		expect_text(&test, "id -G", "1000\n");
	boxtest_close(&test);
}

static void test_namespaces(void **state)
{
	static const char *const names[] = {"user", "mnt", "pid",    "net",
					    "ipc",  "uts", "cgroup", "time"};
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		expect_other_namespace(&test, names[i]);
	boxtest_close(&test);
}

/* The pid that a pidfd stands for. */
static pid_t pid_of(int pidfd)
{
	char path[64], line[128];
	int pid = -1;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		(void)sscanf(line, "Pid: %d", &pid);
	(void)fclose(file);
	return pid;
}

/* Outside, the job is neither root nor, when there is a choice, anybody: init
 * runs as the uid that its steps have. */
static void test_uid_outside(void **state)
{
	uid_t expected = boxtest_as_user ? getuid() : BOXTEST_UID_BASE;
	char path[64], line[128];
	unsigned real = 0, effective = 0, saved = 0, fs = 0;
	struct boxtest test;
	FILE *file;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid_of(box_pidfd(test.box)));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		(void)sscanf(line, "Uid: %u %u %u %u", &real, &effective, &saved, &fs);
	(void)fclose(file);
	assert_int_equal(real, expected);
	assert_int_equal(effective, expected);
	assert_int_equal(saved, expected);
	assert_int_equal(fs, expected);
	boxtest_close(&test);
}

static void test_root(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	expect_text(&test, "ls -d /sys /boot /srv /mnt /opt /etc/shadow 2>/dev/null; true", "");
	expect_text(&test, "ls /home /root /run | grep -v : | tr -d '\\n'", "");
	expect_text(&test, "touch /x /usr/x /etc/x /dev/x /proc/x 2>/dev/null; echo $?", "1\n");
	expect_text(&test, "echo 1 2>/dev/null > /proc/sys/kernel/hostname; echo $?", "2\n");
	expect_text(&test, "cat /proc/keys /proc/kallsyms /proc/kcore 2>/dev/null | wc -c", "0\n");
	expect_text(&test, "stat -c %a /tmp /dev/shm", "1777\n1777\n");
	expect_text(&test, "cat /etc/hostname; grep -c . /etc/passwd", "sbx\n3\n");
	(void)boxtest_ok(&test, "cp /bin/true /work/t && /work/t && cp /bin/true /tmp/t && /tmp/t");
	boxtest_close(&test);
}

static void test_devices(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	expect_text(&test, "echo lost > /dev/null; head -c 3 /dev/zero | od -An -tx1",
		    " 00 00 00\n");
	expect_text(&test, "echo out > /dev/stdout", "out\n");
	(void)boxtest_ok(&test, "echo err > /dev/stderr; echo fd > /dev/fd/2");
	assert_string_equal(buf_text(&test.errors), "err\nfd\n");
	(void)boxtest_ok(&test, "head -c 16 /dev/urandom > /tmp/r; test -s /tmp/r");
	(void)boxtest_ok(&test, "python3 -c 'import pty,os; m,s=pty.openpty(); os.write(s,b\"x\");"
				" assert os.read(m,1)==b\"x\"'");
	boxtest_close(&test);
}

static void test_network(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	expect_text(&test,
		    "ls /proc/self/net/dev >/dev/null; sed -n 's/^ *\\([a-z0-9]*\\):.*/\\1/p' "
		    "/proc/self/net/dev",
		    "lo\n");
	(void)boxtest_ok(&test,
			 "python3 -c 'import socket as s; a=s.socket(); a.bind((\"127.0.0.1\",0)); "
			 "a.listen();"
			 "b=s.create_connection(a.getsockname()); c,_=a.accept(); b.send(b\"x\");"
			 "assert c.recv(1)==b\"x\"'");
	(void)boxtest_ok(&test, "python3 -c 'import socket as s, errno\n"
				"a=s.socket(); a.settimeout(5)\n"
				"try: a.connect((\"192.0.2.1\",80))\n"
				"except OSError as e: assert e.errno==errno.ENETUNREACH, e\n"
				"else: raise SystemExit(1)'");
	boxtest_close(&test);
}

static void test_streams(void **state)
{
	const char *const argv[] = {"cat", NULL};
	struct driver_step step = {.argv = argv,
				   .env = boxtest_env,
				   .tty_fd = -1,
				   .stdin_bytes = {(const uint8_t *)"from outside", 12}};
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	assert_int_equal(boxtest_run(&test, &step).exit_code, 0);
	assert_string_equal(buf_text(&test.out), "from outside");
	expect_text(&test, "cat", ""); /* no input: an empty one */
	expect_text(&test, "ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "); /* 3 is ls's own */
	(void)boxtest_ok(&test, "printf out; printf err >&2");
	assert_string_equal(buf_text(&test.out), "out");
	assert_string_equal(buf_text(&test.errors), "err");
	boxtest_close(&test);
}

static void test_outcomes(void **state)
{
	const char *const missing[] = {"no-such-program", NULL};
	const char *const denied[] = {"/etc/passwd", NULL};
	const char *const fine[] = {"true", NULL};
	struct driver_step step = {.argv = missing, .env = boxtest_env, .tty_fd = -1};
	struct driver_outcome outcome;
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	assert_int_equal(boxtest_shell(&test, "exit 7").exit_code, 7);
	outcome = boxtest_shell(&test, "kill -SEGV $$");
	assert_int_equal(outcome.exit_code, -1);
	assert_int_equal(outcome.signal, SIGSEGV);
	assert_int_equal(outcome.limit, BOX_LIMIT_NONE);
	outcome = boxtest_run(&test, &step);
	assert_false(outcome.started);
	assert_string_equal(outcome.start_error, "No such file or directory");
	step.argv = denied;
	assert_string_equal(boxtest_run(&test, &step).start_error, "Permission denied");
	step.argv = fine;
	step.cwd = "nowhere";
	assert_string_equal(boxtest_run(&test, &step).start_error,
			    "cannot enter the step's directory: No such file or directory");
	/* A script without "#!" is the shell's, as for execvp(3). */
	(void)boxtest_ok(&test, "mkdir bin; echo 'echo from $0' > bin/s; chmod +x bin/s");
	step = (struct driver_step){
		.argv = (const char *const[]){"bin/s", NULL}, .env = boxtest_env, .tty_fd = -1};
	assert_int_equal(boxtest_run(&test, &step).exit_code, 0);
	assert_string_equal(buf_text(&test.out), "from bin/s\n");
	boxtest_close(&test);
}

/* Arguments and environment that do not fit into one message. */
static void test_large_step(void **state)
{
	enum { WORD = 100000 };
	char *word = malloc(WORD + 1), script[64];
	const char *argv[] = {"sh", "-c", "printf %s \"$1$X\" | wc -c", "sh", word, NULL};
	const char *env[] = {"PATH=/usr/bin:/bin", word, NULL};
	struct driver_step step = {.argv = argv, .env = env, .tty_fd = -1};
	struct boxtest test;

	(void)state;
	assert_non_null(word);
	(void)memset(word, 'y', WORD);
	word[0] = 'X';
	word[1] = '=';
	word[WORD] = '\0';
	boxtest_open(&test, NULL, NULL);
	assert_int_equal(boxtest_run(&test, &step).exit_code, 0);
	(void)snprintf(script, sizeof(script), "%d\n", WORD + WORD - 2);
	assert_string_equal(buf_text(&test.out), script);
	boxtest_close(&test);
	free(word);
}

/* What a killing call is called, through each way into the kernel. */
static void test_killed_call(void **state)
{
	static const struct {
		long number;
		const char *name;
	} calls[] = {{SYS_reboot, "reboot"},
		     {SYS_init_module, "init_module"},
		     {SYS_open_by_handle_at, "open_by_handle_at"},
		     {SYS_swapon, "swapon"}};
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct driver_outcome outcome;
		char script[256];

		(void)snprintf(
			script, sizeof(script),
			"python3 -c 'import ctypes; ctypes.CDLL(None).syscall(%ld,0,0,0,0)'; "
			"echo survived",
			calls[i].number);
		outcome = boxtest_shell(&test, script);
		assert_string_equal(outcome.syscall, calls[i].name);
		assert_int_equal(outcome.signal, SIGSYS);
		assert_int_equal(outcome.exit_code, -1);
		assert_string_equal(buf_text(&test.out), "");
	}
	expect_text(&test, "echo the box goes on", "the box goes on\n");
	boxtest_close(&test);
}

/* Rules beside the mounts: what a step needs works, and init is out of reach. */
static void test_landlock(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	(void)boxtest_ok(&test,
			 "touch a && mkdir d && mv a d/ && ln d/a d/b && ln -s d s && rm -r d");
	(void)boxtest_ok(&test, "touch /tmp/x /dev/shm/x && mkfifo f && : > /dev/null && "
				"echo cut > c && : > c && echo to > /dev/stdout");
	(void)boxtest_ok(&test, "sleep 10 & kill $! && python3 -c '"
				"import socket\n"
				"s = socket.socket(socket.AF_UNIX); s.bind(b\"\\0x\"); s.listen()\n"
				"socket.socket(socket.AF_UNIX).connect(b\"\\0x\")'");
	if (landlock_abi() >= 6) /* it knows scopes */
		(void)boxtest_ok(&test, "! kill -0 1");
	boxtest_close(&test);
}

/* Several steps share the workspace and nothing else. */
static void test_steps(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	(void)boxtest_ok(&test, "echo kept > f; sleep 100 & cd /tmp; (setsid sleep 100 &) ; true");
	expect_text(&test, "cat f; ps -e | grep -c sleep; true", "kept\n0\n");
	boxtest_close(&test);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_identity),    cmocka_unit_test(test_namespaces),
	cmocka_unit_test(test_uid_outside), cmocka_unit_test(test_root),
	cmocka_unit_test(test_devices),	    cmocka_unit_test(test_network),
	cmocka_unit_test(test_streams),	    cmocka_unit_test(test_outcomes),
	cmocka_unit_test(test_large_step),  cmocka_unit_test(test_killed_call),
	cmocka_unit_test(test_steps),	    cmocka_unit_test(test_landlock),
};

int main(void)
{
	return boxtest_main(tests, ARRAY_LEN(tests), NULL, 0);
}
