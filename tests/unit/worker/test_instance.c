/* test_instance.c - numbers of workers that share a state directory. */
#include "worker/instance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/sbx-instance.XXXXXX");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	char path[128];

	(void)state;
	for (unsigned i = 0; i < INSTANCES_MAX; i++) {
		(void)snprintf(path, sizeof(path), "%s/instances/%u.lock", dir, i);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/instances", dir);
	(void)rmdir(path);
	return rmdir(dir);
}

static void must(int rc, const struct err *err)
{
	if (rc != 0)
		fail_msg("%s", err->message);
}

/* --- another process that holds a number ------------------------------ */

struct holder {
	pid_t pid;
	unsigned number;
	char name[INSTANCE_NAME_BYTES];
};

static void hold(struct holder *holder)
{
	struct instance instance;
	int pair[2];
	struct err err = {0};

	must(fd_socketpair(pair, &err), &err);
	holder->pid = fork();
	assert_true(holder->pid >= 0);
	if (holder->pid == 0) {
		if (instance_take(dir, &instance, NULL) < 0 ||
		    fd_send(pair[1], &instance, sizeof(instance), NULL, 0, NULL) < 0)
			_exit(1);
		(void)pause();
		_exit(0);
	}
	fd_close(pair[1]);
	assert_int_equal(fd_recv(pair[0], &instance, sizeof(instance), NULL, NULL, &err),
			 sizeof(instance));
	fd_close(pair[0]);
	holder->number = instance.number;
	(void)memcpy(holder->name, instance.name, sizeof(holder->name));
}

static void end(struct holder *holder)
{
	assert_int_equal(kill(holder->pid, SIGKILL), 0);
	assert_int_equal(waitpid(holder->pid, NULL, 0), holder->pid);
}

/* --- sweeping --------------------------------------------------------- */

struct swept {
	char names[INSTANCES_MAX][INSTANCE_NAME_BYTES];
	size_t len;
	bool fails;
};

static int on_sweep(void *ctx, const char *name, struct err *err)
{
	struct swept *swept = ctx;

	if (swept->fails)
		return err_set(err, ERR_SYSTEM, "cannot sweep");
	(void)snprintf(swept->names[swept->len++], INSTANCE_NAME_BYTES, "%s", name);
	return 0;
}

static bool has(const struct swept *swept, const char *name)
{
	for (size_t i = 0; i < swept->len; i++) {
		if (strcmp(swept->names[i], name) == 0)
			return true;
	}
	return false;
}

/* --- tests ------------------------------------------------------------ */

static void processes_take_different_numbers(void **state)
{
	struct holder holders[3];
	struct instance own;
	struct err err = {0};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		hold(&holders[i]);
		assert_int_equal(holders[i].number, i);
	}
	must(instance_take(dir, &own, &err), &err);
	assert_int_equal(own.number, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_string_not_equal(own.name, holders[i].name);
	instance_release(&own);
	for (unsigned i = 0; i < 3; i++)
		end(&holders[i]);
}

static void a_killed_process_frees_its_number(void **state)
{
	struct holder first;
	struct holder second;
	struct instance own;
	struct err err = {0};

	(void)state;
	hold(&first);
	hold(&second);
	end(&first);
	must(instance_take(dir, &own, &err), &err);
	assert_int_equal(own.number, first.number);
	assert_string_equal(own.name, first.name);
	instance_release(&own);
	end(&second);
}

static void a_sweep_sees_the_dead_and_only_them(void **state)
{
	struct holder live;
	struct holder dead;
	struct holder predecessor;
	struct instance own;
	struct swept swept = {.len = 0};
	struct err err = {0};

	(void)state;
	hold(&predecessor);
	hold(&live);
	hold(&dead);
	end(&predecessor);
	end(&dead);
	must(instance_take(dir, &own, &err), &err);
	assert_string_equal(own.name, predecessor.name);
	must(instance_sweep(&own, on_sweep, &swept, &err), &err);
	assert_int_equal(swept.len, 2); /* numbers that nobody ever had are no instances */
	assert_true(has(&swept, own.name));
	assert_true(has(&swept, dead.name));
	assert_false(has(&swept, live.name));
	/* Sweeping has let go of the dead one's number, and not of the own. */
	hold(&dead);
	assert_int_equal(dead.number, 2);
	end(&dead);
	swept = (struct swept){.fails = true};
	assert_int_equal(instance_sweep(&own, on_sweep, &swept, &err), -1);
	instance_release(&own);
	end(&live);
}

/* The boxes' processes are forked from the one that holds the lock. */
static void a_forked_child_does_not_keep_the_number(void **state)
{
	struct instance own;
	struct holder other;
	struct err err = {0};
	pid_t child;

	(void)state;
	must(instance_take(dir, &own, &err), &err);
	child = fork();
	if (child == 0) {
		(void)pause();
		_exit(0);
	}
	instance_release(&own);
	hold(&other);
	assert_int_equal(other.number, 0);
	end(&other);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void directories_have_names_of_their_own(void **state)
{
	char other[80];
	char made[128];
	struct instance own;
	struct instance there;
	struct err err = {0};

	(void)state;
	(void)snprintf(other, sizeof(other), "%s-other", dir);
	must(fd_make_dirs(other, 0700, &err), &err);
	must(instance_take(dir, &own, &err), &err);
	must(instance_take(other, &there, &err), &err);
	assert_int_equal(there.number, 0);
	assert_string_not_equal(own.name, there.name);
	assert_int_equal(strspn(own.name, "abcdefghijklmnopqrstuvwxyz0123456789-"),
			 strlen(own.name));
	instance_release(&own);
	instance_release(&there);
	(void)snprintf(made, sizeof(made), "%s/instances/0.lock", other);
	(void)unlink(made);
	(void)snprintf(made, sizeof(made), "%s/instances", other);
	(void)rmdir(made);
	(void)rmdir(other);
}

static void a_missing_directory_is_an_error(void **state)
{
	struct instance own;
	struct err err = {0};

	(void)state;
	assert_int_equal(instance_take("/tmp/sbx-no-such-directory", &own, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_non_null(strstr(err.message, "/tmp/sbx-no-such-directory"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(processes_take_different_numbers),
		TEST(a_killed_process_frees_its_number),
		TEST(a_sweep_sees_the_dead_and_only_them),
		TEST(a_forked_child_does_not_keep_the_number),
		TEST(directories_have_names_of_their_own),
		TEST(a_missing_directory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
