/*
 * test_box.c - what a job is inside a box: who, where, and with what rights.
 */
#include "boxtest.h"

static void test_hello(void **state)
{
	struct boxtest test;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	assert_string_equal(boxtest_ok(&test, "echo hello; pwd"), "hello\n/work\n");
	boxtest_close(&test);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_hello),
};

boxtest_main(tests)
