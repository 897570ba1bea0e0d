/*
 * test_profile.c - profiles of system calls in real boxes: one that waits under
 * a wide one is narrowed when its work is known, and never widened.
 */
#include "boxtest.h"

#include <signal.h>
#include <sys/syscall.h>

#include "base/defs.h"

/* Prints errno of: ptrace(PTRACE_TRACEME), splice, a route socket, semget. */
static const char probe[] =
	"python3 -c '\n"
	"import ctypes, socket\n"
	"libc = ctypes.CDLL(None, use_errno=True)\n"
	"def call(*words):\n"
	"    return ctypes.get_errno() if libc.syscall(*words) < 0 else 0\n"
	"print(call(101, 0, 0, 0, 0), call(275, -1, 0, -1, 0, 1, 0), call(64, 0, 1, 384))\n"
	"try:\n"
	"    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
	"    print(\"route\")\n"
	"except OSError as error:\n"
	"    print(error.errno)\n"
	"for line in open(\"/proc/self/status\"):\n"
	"    if line.startswith(\"Seccomp_filters\"):\n"
	"        print(line.split()[1])\n"
	"'";

static void expect_probe(enum filter_profile widest, enum filter_profile profile,
			 const char *expected)
{
	struct box_limits limits = boxtest_limits;
	struct driver_outcome outcome;
	struct boxtest test;

	limits.profile = profile;
	boxtest_widest = widest;
	boxtest_open(&test, NULL, &limits);
	assert_string_equal(boxtest_ok(&test, probe), expected);
	outcome = boxtest_shell(&test, "python3 -c 'import ctypes; "
				       "ctypes.CDLL(None).syscall(169,0,0,0,0)'");
	assert_string_equal(outcome.syscall, "reboot");
	boxtest_close(&test);
}

static void test_trusted(void **state)
{
	(void)state;
	expect_probe(FILTER_TRUSTED, FILTER_TRUSTED, "0 9 0\nroute\n1\n");
}

static void test_default(void **state)
{
	(void)state;
	expect_probe(FILTER_DEFAULT, FILTER_DEFAULT, "1 9 0\nroute\n1\n");
}

static void test_strict(void **state)
{
	(void)state;
	expect_probe(FILTER_STRICT, FILTER_STRICT, "1 22 38\n97\n1\n");
}

static void test_default_on_trusted(void **state)
{
	(void)state;
	expect_probe(FILTER_TRUSTED, FILTER_DEFAULT, "1 9 0\nroute\n2\n");
}

static void test_strict_on_trusted(void **state)
{
	(void)state;
	expect_probe(FILTER_TRUSTED, FILTER_STRICT, "1 22 38\n97\n2\n");
}

static void test_strict_on_default(void **state)
{
	(void)state;
	expect_probe(FILTER_DEFAULT, FILTER_STRICT, "1 22 38\n97\n2\n");
}

static void test_never_wider(void **state)
{
	const struct box_workspace empty = {.lower_fd = -1};
	struct box_limits limits = boxtest_limits;
	struct boxtest test;
	struct err err = {0};

	(void)state;
	boxtest_widest = FILTER_DEFAULT;
	boxtest_open_host(&test, "unit");
	limits.profile = FILTER_TRUSTED;
	if (box_new(test.host, 0, &test.box, &err) < 0)
		boxtest_fail("box_new", &err);
	assert_int_equal(box_attach(test.box, &empty, &limits, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	limits.profile = FILTER_PROFILES;
	assert_int_equal(box_attach(test.box, &empty, &limits, &err), -1);
	box_free(test.box);
	test.box = NULL;
	test.driver = (struct driver){.handle.control_fd = -1};
	boxtest_close(&test);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_trusted),
	cmocka_unit_test(test_default),
	cmocka_unit_test(test_strict),
	cmocka_unit_test(test_default_on_trusted),
	cmocka_unit_test(test_strict_on_trusted),
	cmocka_unit_test(test_strict_on_default),
	cmocka_unit_test(test_never_wider),
};

int main(void)
{
#ifdef __x86_64__ /* the probe has its numbers */
	return boxtest_main(tests, ARRAY_LEN(tests), NULL, 0);
#else
	return 0;
#endif
}
