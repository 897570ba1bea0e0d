/*
 * test_roots.c - which names lead to which directories, and which directories
 * may be offered to jobs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "worker/roots.h"

static struct arena arena;
static struct config config;
static struct roots roots;
static struct err err;
static char folder[64], top[96], path[128];

static void make_dir(const char *name, mode_t mode)
{
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 20);
	err = (struct err){0};
	assert_int_equal(config_init(&config, &arena, &err), 0);
	(void)snprintf(folder, sizeof(folder), "/tmp/sbx-roots-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chmod(folder, 0755), 0);
	make_dir("root", 0755);
	(void)snprintf(top, sizeof(top), "%s/root", folder);
	make_dir("root/usr", 0755);
	return 0;
}

static int teardown(void **state)
{
	char command[96];

	(void)state;
	arena_release(&arena);
	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static void set(const char *key, const char *value)
{
	if (config_set(&config, key, value, &err) < 0)
		fail_msg("%s", err.message);
}

static void read_them(void)
{
	if (roots_read(&config, &arena, &roots, &err) < 0)
		fail_msg("%s", err.message);
}

static void assert_root(const char *name, unsigned index, const char *directory)
{
	unsigned found = 99;

	assert_true(roots_find(&roots, name, &found));
	assert_int_equal(found, index);
	assert_string_equal(roots.items[found].path, directory);
}

static void assert_refused(const char *part)
{
	assert_int_equal(root_check(top, &err), -1);
	if (strstr(err.message, part) == NULL)
		fail_msg("'%s' does not say '%s'", err.message, part);
}

/* --- names ------------------------------------------------------------ */

static void without_a_word_it_is_the_host(void **state)
{
	unsigned index;

	(void)state;
	read_them();
	assert_int_equal(roots.len, 1);
	assert_root(NULL, 0, "");
	assert_root("host", 0, "");
	assert_false(roots_find(&roots, "debian", &index));
}

static void each_way_to_name_one(void **state)
{
	CLEANUP(buf_release) struct buf names;

	(void)state;
	set("sandbox.roots_dir", "/srv/roots");
	set("sandbox.roots", "debian, bb=/opt/bb");
	read_them();
	assert_root("debian", 1, "/srv/roots/debian");
	assert_root("bb", 2, "/opt/bb");
	buf_init(&names, 256);
	roots_names(&roots, &names);
	assert_string_equal(buf_text(&names), "host, debian, bb");
}

/* Then the host's own /usr is to be had only when it is listed. */
static void the_first_is_that_of_sandbox_root(void **state)
{
	unsigned index;

	(void)state;
	set("sandbox.roots", "a=/srv/a, b=/srv/b");
	set("sandbox.root", "b");
	read_them();
	assert_root("", 0, "/srv/b");
	assert_root("b", 0, "/srv/b");
	assert_root("a", 1, "/srv/a");
	assert_false(roots_find(&roots, "host", &index));
	set("sandbox.roots", "a=/srv/a, b=/srv/b, host");
	read_them();
	assert_root("host", 2, "");
	set("sandbox.root", "/srv/c");
	read_them();
	assert_root(NULL, 0, "/srv/c");
	assert_root("b", 2, "/srv/b");
}

static void misfits_are_named(void **state)
{
	static const struct {
		const char *key, *value, *part;
	} rows[] = {
		{"sandbox.root", "rootfs", "'rootfs' is neither a directory nor a name"},
		{"sandbox.root", "/srv/a:b", "sandbox.root: expected an absolute path"},
		{"sandbox.roots", "a=/srv/a, a", "'a' is named twice"},
		{"sandbox.roots", "A=/srv/a", "'A' is no name"},
		{"sandbox.roots", "a=srv", "sandbox.roots: a: expected an absolute path"},
		{"sandbox.roots", "host=/srv", "no directory can be given for it"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set("sandbox.root", "");
		set("sandbox.roots", "");
		set(rows[i].key, rows[i].value);
		assert_int_equal(roots_read(&config, &arena, &roots, &err), -1);
		if (strstr(err.message, rows[i].part) == NULL)
			fail_msg("'%s' does not say '%s'", err.message, rows[i].part);
	}
}

static void names(void **state)
{
	(void)state;
	assert_true(roots_is_name("debian12-2026.11_a"));
	assert_false(roots_is_name(""));
	assert_false(roots_is_name("../x"));
	assert_false(roots_is_name(".."));
	assert_false(roots_is_name("a/b"));
	assert_false(roots_is_name("A"));
}

/* --- directories ------------------------------------------------------ */

static void a_good_one(void **state)
{
	(void)state;
	if (root_check(top, &err) < 0)
		fail_msg("%s", err.message);
	assert_ptr_equal(roots_locate(top, &arena, &err), top);
	assert_string_equal(roots_locate("host", &arena, &err), "/");
	assert_null(roots_locate("no-such-root", &arena, &err));
	assert_non_null(strstr(err.message, "mkroot"));
}

/* --- the variables of an image ------------------------------------------ */

static void write_env(const char *data, size_t len)
{
	FILE *out;

	(void)snprintf(path, sizeof(path), "%s.env", top);
	out = fopen(path, "we");
	assert_non_null(out);
	assert_int_equal(fwrite(data, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
}

static void assert_env_refused(const char *part)
{
	const char *const *env;

	assert_int_equal(root_env_read(top, &arena, &env, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	if (strstr(err.message, part) == NULL)
		fail_msg("'%s' does not say '%s'", err.message, part);
}

static void what_its_image_says(void **state)
{
	static const char data[] = "PATH=/app/bin:/bin\0HOME=/root\0A=b=c\nd\0SBX_JOB=x\0EMPTY=";
	const char *const *env;

	(void)state;
	for (size_t i = 0; i < 3; i++) { /* the host's, and one without a file */
		const char *without[] = {NULL, "", top};

		assert_int_equal(root_env_read(without[i], &arena, &env, &err), 0);
		assert_null(env[0]);
	}
	write_env(data, sizeof(data));
	assert_int_equal(root_env_read(top, &arena, &env, &err), 0);
	assert_string_equal(env[0], "PATH=/app/bin:/bin");
	assert_string_equal(env[1], "A=b=c\nd");
	assert_string_equal(env[2], "EMPTY=");
	assert_null(env[3]);
	assert_true(root_env_same("A=b", "A"));
	assert_false(root_env_same("AB=b", "A=b"));
	write_env("", 0);
	assert_int_equal(root_env_read(top, &arena, &env, &err), 0);
	assert_null(env[0]);
}

static void variables_that_are_damaged(void **state)
{
	char many[(ROOT_ENV_MAX + 1) * 4];
	static char large[ROOT_ENV_BYTES + 1];

	(void)state;
	write_env("A=b\0C=d", 7); /* cut */
	assert_env_refused("is damaged");
	write_env("A=b\0C\0", 6);
	assert_env_refused("is damaged");
	write_env("=b\0", 3);
	assert_env_refused("is damaged");
	write_env("A=b\0\0", 5);
	assert_env_refused("is damaged");
	for (size_t i = 0; i < sizeof(many); i += 4)
		(void)memcpy(many + i, "A=b", 4);
	write_env(many, sizeof(many));
	assert_env_refused("at most 256");
	write_env(large, sizeof(large));
	assert_env_refused("at most 65536 bytes");
}

static void variables_that_others_can_change(void **state)
{
	(void)state;
	write_env("A=b", 4);
	assert_int_equal(chmod(path, 0666), 0);
	assert_env_refused("nobody else can change");
	assert_int_equal(chmod(path, 0644), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 1234, 1234), 0);
		assert_env_refused("uid 1234");
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_env_refused("expected a file");
}

static void others_may_not_change_it(void **state)
{
	(void)state;
	assert_int_equal(chmod(top, 0775), 0);
	assert_refused("can be written by others");
	assert_int_equal(chmod(top, 01777), 0);
	assert_refused("can be written by others");
	assert_int_equal(chmod(top, 0755), 0);
	assert_int_equal(chmod(folder, 0777), 0); /* what leads to it neither */
	assert_refused("can be written by others");
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(chmod(top, 0700), 0);
	assert_refused("cannot be entered by jobs");
	assert_int_equal(chmod(top, 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(top, 1234, 1234), 0);
		assert_refused("belongs to uid 1234");
	}
}

static void it_must_look_like_a_root(void **state)
{
	(void)state;
	(void)snprintf(path, sizeof(path), "%s/usr", top);
	assert_int_equal(rmdir(path), 0);
	assert_refused("no usr/ is in it");
	assert_int_equal(symlink("/usr", path), 0);
	assert_refused("no usr/ is in it");
}

static void what_is_in_it_is_counted(void **state)
{
	struct root_audit audit;

	(void)state;
	make_dir("root/usr/open", 0777);
	(void)snprintf(path, sizeof(path), "%s/usr/su", top);
	assert_int_equal(mknod(path, S_IFREG | 0755, 0), 0);
	assert_int_equal(chmod(path, 04755), 0);
	(void)snprintf(path, sizeof(path), "%s/usr/pipe", top);
	assert_int_equal(mkfifo(path, 0600), 0);
	(void)snprintf(path, sizeof(path), "%s/usr/link", top);
	assert_int_equal(symlink("/", path), 0);
	if (root_walk(top, &audit, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(audit.files, 5);
	assert_int_equal(audit.flaws[ROOT_WRITABLE], 1);
	assert_string_equal(audit.first[ROOT_WRITABLE], "/usr/open");
	assert_int_equal(audit.flaws[ROOT_SET_ID], 1);
	assert_string_equal(audit.first[ROOT_SET_ID], "/usr/su");
	assert_int_equal(audit.flaws[ROOT_DEVICE], 1);
	assert_int_equal(audit.flaws[ROOT_FOREIGN], 0);
	assert_false(audit.cut);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_a_word_it_is_the_host),
		T(each_way_to_name_one),
		T(the_first_is_that_of_sandbox_root),
		T(misfits_are_named),
		T(names),
		T(a_good_one),
		T(what_its_image_says),
		T(variables_that_are_damaged),
		T(variables_that_others_can_change),
		T(others_may_not_change_it),
		T(it_must_look_like_a_root),
		T(what_is_in_it_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
