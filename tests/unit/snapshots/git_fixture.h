/*
 * git_fixture.h - a scratch directory and the real git in it, with none of the
 * caller's configuration. A command that fails fails the test.
 */
#ifndef SBX_TESTS_GIT_FIXTURE_H
#define SBX_TESTS_GIT_FIXTURE_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "snapshots/gitdb.h"

#define UNUSED __attribute__((unused))

static char fixture_dir[PATH_MAX - 256];

UNUSED static int fixture_setup(void **state)
{
	static const char *const unset[] = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE",
					    "GIT_OBJECT_DIRECTORY"};
	const char *tmp = getenv("TMPDIR");

	(void)state;
	(void)snprintf(fixture_dir, sizeof(fixture_dir), "%s/sbx-test-XXXXXX",
		       tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(fixture_dir) == NULL || chdir(fixture_dir) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(unset) / sizeof(unset[0]); i++)
		(void)unsetenv(unset[i]);
	(void)setenv("HOME", fixture_dir, 1);
	(void)setenv("LC_ALL", "C", 1);
	(void)setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
	(void)setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
	(void)setenv("GIT_AUTHOR_NAME", "tester", 1);
	(void)setenv("GIT_AUTHOR_EMAIL", "tester@example.org", 1);
	(void)setenv("GIT_COMMITTER_NAME", "tester", 1);
	(void)setenv("GIT_COMMITTER_EMAIL", "tester@example.org", 1);
	(void)setenv("GIT_AUTHOR_DATE", "1700000000 +0000", 1);
	(void)setenv("GIT_COMMITTER_DATE", "1700000000 +0000", 1);
	return 0;
}

/* Runs a shell command in the scratch directory. */
UNUSED static void sh(const char *fmt, ...) PRINTF_LIKE(1, 2);
UNUSED static void sh(const char *fmt, ...)
{
	char command[16384];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	(void)fflush(NULL);
	if (system(command) != 0)
		fail_msg("command failed: %s", command);
}

/* The first line that a shell command prints. */
UNUSED static void sh_line(char *ret, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
UNUSED static void sh_line(char *ret, size_t size, const char *fmt, ...)
{
	char command[16384];
	va_list args;
	FILE *pipe;

	va_start(args, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	(void)fflush(NULL);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	if (fgets(ret, (int)size, pipe) == NULL)
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (pclose(pipe) != 0)
		fail_msg("command failed: %s", command);
}

UNUSED static struct oid sh_oid(const char *fmt, ...) PRINTF_LIKE(1, 2);
UNUSED static struct oid sh_oid(const char *fmt, ...)
{
	char command[4096];
	char line[256];
	struct oid oid = {{0}};
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	sh_line(line, sizeof(line), "%s", command);
	if (!oid_parse(line, &oid))
		fail_msg("no oid: '%s' from %s", line, command);
	return oid;
}

UNUSED static int fixture_teardown(void **state)
{
	(void)state;
	if (chdir("/") < 0)
		return -1;
	sh("rm -rf '%s'", fixture_dir);
	return 0;
}

/* git finds no fault with any object. */
UNUSED static void assert_fsck(const char *repo)
{
	sh("git -C '%s' fsck --strict --full >fsck 2>&1; "
	   "! grep -v '^notice\\|^dangling' fsck",
	   repo);
}

/* Asserts that a call succeeded, and shows its error when not. */
#define OK(call)                                                \
	do {                                                    \
		if ((call) != 0)                                \
			fail_msg("%s: %s", #call, err.message); \
	} while (0)

#define FAILS(call, error_kind)                                                                   \
	do {                                                                                      \
		assert_int_equal((call), -1);                                                     \
		if (err.kind != (error_kind))                                                     \
			fail_msg("%s: kind %s: %s", #call, err_kind_name(err.kind), err.message); \
	} while (0)

#define ASSERT_OID(a, b)                                         \
	do {                                                     \
		char oid_a[OID_HEX_BYTES], oid_b[OID_HEX_BYTES]; \
		oid_hex((a), oid_a);                             \
		oid_hex((b), oid_b);                             \
		assert_string_equal(oid_a, oid_b);               \
	} while (0)

/* xorshift: the same numbers each time. */
static uint64_t random_state = 88172645463325252u;
UNUSED static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 16) % bound);
}

#endif
