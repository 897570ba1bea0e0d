/*
 * test_under.c - a workspace over two directories: what the lower one changes of
 * the one under it, as an overlay and as a copy, and that both are safe.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "boxtest.h"

enum { LOWER_UID = 23456 };

struct pair {
	char path[256];
	int under_fd, lower_fd;
	struct box_workspace workspace;
};

/* Commands in a new directory that has "under" and "lower". */
static void shell(const char *path, const char *commands)
{
	char line[4096];

	(void)snprintf(line, sizeof(line), "cd %s && { %s; }", path, commands);
	(void)fflush(NULL);
	if (system(line) != 0)
		fail_msg("command failed: %s", line);
}

static int open_dir(const struct pair *pair, const char *name)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", pair->path, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* The whiteouts are made as anybody may make them. */
static void pair_make(struct pair *pair)
{
	const char *folder = getenv("TMPDIR");

	(void)snprintf(pair->path, sizeof(pair->path), "%s/sbx-unit-XXXXXX",
		       folder != NULL ? folder : "/tmp");
	assert_non_null(mkdtemp(pair->path));
	assert_int_equal(chmod(pair->path, 0755), 0);
	shell(pair->path,
	      "umask 022; mkdir -p under/dir under/gone/deep under/was lower/dir lower/new && "
	      "echo kept >under/kept && echo old >under/changed && echo x >under/removed && "
	      "echo a >under/dir/a && echo b >under/dir/b && echo d >under/gone/deep/f && "
	      "echo w >under/was/w && echo f >under/file && ln -s kept under/link && "
	      "echo new >lower/changed && mknod lower/removed c 0 0 && "
	      "mknod lower/dir/a c 0 0 && echo c >lower/dir/c && mknod lower/gone c 0 0 && "
	      "echo file >lower/was && mkdir lower/file && echo in >lower/file/in && "
	      "ln -s changed lower/link && echo n >lower/new/n");
	if (!boxtest_as_user)
		shell(pair->path, "chown -hR 23456:23456 under lower");
	pair->under_fd = open_dir(pair, "under");
	pair->lower_fd = open_dir(pair, "lower");
	pair->workspace = (struct box_workspace){.lower_fd = pair->lower_fd,
						 .under_fd = pair->under_fd,
						 .lower_uid = LOWER_UID,
						 .lower_gid = LOWER_UID};
}

static void pair_remove(struct pair *pair)
{
	(void)close(pair->under_fd);
	(void)close(pair->lower_fd);
	shell(pair->path, "rm -r under lower");
	assert_int_equal(rmdir(pair->path), 0);
}

static const char look[] = "find . -type f | sort | while read f; do echo $f $(cat $f); done; "
			   "find . ! -user sbx; readlink link; test ! -e removed; ls dir | xargs";

static const char shown[] = "./changed new\n./dir/b b\n./dir/c c\n./file/in in\n./kept kept\n"
			    "./new/n n\n./was file\nchanged\nb c\n";

static void test_the_two_are_shown_as_one(void **state)
{
	struct pair pair;
	struct boxtest test;

	(void)state;
	pair_make(&pair);
	boxtest_open(&test, &pair.workspace, NULL);
	assert_string_equal(boxtest_ok(&test, look), shown);
	/* What a job does reaches neither, and nothing of them can be reached elsewhere. */
	(void)boxtest_ok(&test, "echo more >>kept; rm -r dir; mkdir dir gone; echo again >removed; "
				"rm changed; test -z \"$(ls /dev/shm)\"; test ! -e dir/a");
	assert_string_equal(boxtest_ok(&test, "ls dir gone | xargs; cat kept removed"),
			    "dir: gone:\nkept\nmore\nagain\n");
	boxtest_close(&test);
	shell(pair.path, "test $(cat under/kept) = kept && test $(cat lower/changed) = new && "
			 "test -c lower/gone && test -f under/gone/deep/f && test -f under/dir/b");
	pair_remove(&pair);
}

static void test_a_copy_has_the_same(void **state)
{
	struct box_config config = {.instance = "unit-under",
				    .allow_missing_cgroup = true,
				    .uid_base = BOXTEST_UID_BASE,
				    .slots = 1,
				    .copy_workspace = true};
	struct boxtest test = {0};
	struct err err = {0};
	struct pair pair;

	(void)state;
	pair_make(&pair);
	buf_init(&test.out, 1 << 20);
	buf_init(&test.errors, 1 << 20);
	assert_int_equal(box_host_open(&test.host, &config, &err), 0);
	boxtest_new(&test, &pair.workspace, NULL);
	assert_string_equal(boxtest_ok(&test, look), shown);
	boxtest_close(&test);
	pair_remove(&pair);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_the_two_are_shown_as_one),
	cmocka_unit_test(test_a_copy_has_the_same),
};

int main(void)
{
	return boxtest_main(tests, ARRAY_LEN(tests), NULL, 0);
}
