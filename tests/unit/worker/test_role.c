/*
 * test_role.c - what a role is started with and what it gives up. The program
 * is its own role: role_start executes it anew.
 */
#include "worker/role.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { OTHER_UID = 1879048392, OTHER_GID = 1879048192, USER_UID = 65533 };

/* --- the role --------------------------------------------------------- */

struct told {
	bool entered;
	size_t environment;
	bool has_path;
	bool null_streams;
	bool socket_closes; /* at the next exec */
	size_t descriptors; /* beyond the first four */
	int64_t slots;
	char url[128];
	char commands[64];
	char sources[64];
	char state_dir[64];
};

static bool is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static void copy(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from);
}

static int be_role(const char *name)
{
	struct told told = {0};
	struct config config;
	struct arena arena;
	struct err err = {0};

	for (int fd = ROLE_SOCKET + 1; fd < 1024; fd++)
		told.descriptors += fcntl(fd, F_GETFD) >= 0;
	arena_init(&arena, 1 << 20);
	told.entered = role_enter(name, &config, &arena, &err) == 0;
	if (!told.entered) {
		(void)fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	for (char **pair = environ; *pair != NULL; pair++) {
		told.environment++;
		told.has_path = told.has_path || strncmp(*pair, "PATH=", 5) == 0;
	}
	told.null_streams = is_null(STDIN_FILENO) && is_null(STDOUT_FILENO);
	told.socket_closes = (fcntl(ROLE_SOCKET, F_GETFD) & FD_CLOEXEC) != 0;
	told.slots = config.worker_slots;
	copy(told.url, sizeof(told.url), config.queue_url);
	copy(told.state_dir, sizeof(told.state_dir), config.worker_state_dir);
	if (config.commands_allow.len > 0)
		copy(told.commands, sizeof(told.commands), config.commands_allow.items[0]);
	if (config.sources_allow.len > 0)
		copy(told.sources, sizeof(told.sources), config.sources_allow.items[0]);
	arena_release(&arena);
	return fd_send(ROLE_SOCKET, &told, sizeof(told), NULL, 0, &err) < 0;
}

/* --- starting --------------------------------------------------------- */

static struct told start(enum config_role role)
{
	struct told told;
	struct config config;
	struct arena arena;
	struct err err = {0};
	int socket;
	int status;
	pid_t pid;

	arena_init(&arena, 1 << 20);
	assert_int_equal(config_init(&config, &arena, &err), 0);
	assert_int_equal(config_set(&config, "queue.url", "amqp://user:secret@localhost/", &err),
			 0);
	assert_int_equal(config_set(&config, "commands.allow", "make **", &err), 0);
	assert_int_equal(config_set(&config, "sources.allow", "/srv/git/", &err), 0);
	assert_int_equal(config_set(&config, "worker.slots", "3", &err), 0);
	assert_int_equal(config_set(&config, "worker.state_dir", "/tmp/none", &err), 0);
	if (role_start("test", &config, role, &socket, &pid, &err) < 0)
		fail_msg("%s", err.message);
	assert_true((fcntl(socket, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(fd_recv(socket, &told, sizeof(told), NULL, NULL, &err), sizeof(told));
	fd_close(socket);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	arena_release(&arena);
	return told;
}

static void a_role_has_nothing_of_its_parents(void **state)
{
	int leak = open("/", O_RDONLY | O_DIRECTORY); /* not close-on-exec */
	int far = fcntl(leak, F_DUPFD, 900);
	struct told told;

	(void)state;
	assert_int_equal(setenv("SBX_QUEUE_URL", "amqp://user:secret@localhost/", 1), 0);
	told = start(ROLE_ZYGOTE);
	fd_close(leak);
	fd_close(far);
	assert_true(told.entered);
	assert_int_equal(told.environment, 1);
	assert_true(told.has_path);
	assert_int_equal(told.descriptors, 0);
	assert_true(told.null_streams);
	assert_true(told.socket_closes);
}

static void a_role_is_told_its_own_settings_only(void **state)
{
	struct told told = start(ROLE_ZYGOTE);

	(void)state;
	assert_string_equal(told.url, "");
	assert_string_equal(told.commands, "");
	assert_string_equal(told.sources, "");
	assert_int_equal(told.slots, 3);
	assert_string_equal(told.state_dir, "/tmp/none");
	told = start(ROLE_STOREKEEPER);
	assert_string_equal(told.url, "");
	assert_string_equal(told.sources, "/srv/git/");
	assert_string_equal(told.commands, "");
	told = start(ROLE_PUBLISHER);
	assert_string_equal(told.url, "amqp://user:secret@localhost/");
	assert_string_equal(told.sources, "");
	assert_string_equal(told.commands, "");
}

static void a_role_without_a_supervisor_says_so(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct config config;
		struct arena arena;
		struct err err = {0};

		arena_init(&arena, 1 << 20);
		(void)close(ROLE_SOCKET);
		_exit(role_enter("test", &config, &arena, &err) < 0 &&
				      strstr(err.message, "started by the worker only") != NULL
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- giving up -------------------------------------------------------- */

static bool has_capabilities(uint64_t expected)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	return (data[0].effective | (uint64_t)data[1].effective << 32) == expected &&
	       (data[0].permitted | (uint64_t)data[1].permitted << 32) == expected &&
	       (data[0].inheritable | data[1].inheritable) == 0;
}

static bool is(uid_t uid, gid_t gid)
{
	uid_t uids[3];
	gid_t gids[3];

	return getresuid(&uids[0], &uids[1], &uids[2]) == 0 &&
	       getresgid(&gids[0], &gids[1], &gids[2]) == 0 && uids[0] == uid && uids[1] == uid &&
	       uids[2] == uid && gids[0] == gid && gids[1] == gid && gids[2] == gid &&
	       getgroups(0, NULL) == 0;
}

static bool is_closed(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
	       prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && setuid(0) < 0 && setgid(0) < 0;
}

/* Runs `holds` in a child that may give everything up. */
static void assert_in_child(bool (*holds)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(holds() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static bool keeps_nothing(void)
{
	gid_t groups[] = {1, 2, 3};

	return setgroups(ARRAY_LEN(groups), groups) == 0 &&
	       role_drop(OTHER_UID, OTHER_GID, 0, NULL) == 0 && is(OTHER_UID, OTHER_GID) &&
	       has_capabilities(0) && is_closed();
}

static bool keeps_what_is_asked(void)
{
	uint64_t keep = 1ULL << CAP_DAC_READ_SEARCH | 1ULL << CAP_BPF;

	return role_drop(OTHER_UID, OTHER_GID, keep, NULL) == 0 && is(OTHER_UID, OTHER_GID) &&
	       has_capabilities(keep) && is_closed();
}

/* Asking twice does not bring back what went the first time. */
static bool never_keeps_more(void)
{
	uint64_t keep = 1ULL << CAP_DAC_READ_SEARCH;

	return role_drop(OTHER_UID, OTHER_GID, keep, NULL) == 0 &&
	       role_drop(ROLE_SAME_UID, 0, keep | 1ULL << CAP_KILL, NULL) == 0 &&
	       is(OTHER_UID, OTHER_GID) && has_capabilities(keep) &&
	       role_drop(ROLE_SAME_UID, 0, 0, NULL) == 0 && has_capabilities(0);
}

static bool keeps_its_identity_when_there_is_one(void)
{
	return setgroups(0, NULL) == 0 && setresgid(USER_UID, USER_UID, USER_UID) == 0 &&
	       setresuid(USER_UID, USER_UID, USER_UID) == 0 &&
	       role_drop(OTHER_UID, OTHER_GID, UINT64_MAX, NULL) == 0 && is(USER_UID, USER_UID) &&
	       has_capabilities(0) && is_closed();
}

static bool fails_closed(void)
{
	struct err err = {0};

	/* a group id that cannot be */
	return role_drop(OTHER_UID, (gid_t)-1, 0, &err) < 0 && err.kind == ERR_SYSTEM;
}

static void what_is_dropped_stays_dropped(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_in_child(keeps_nothing);
	assert_in_child(keeps_what_is_asked);
	assert_in_child(never_keeps_more);
	assert_in_child(keeps_its_identity_when_there_is_one);
	assert_in_child(fails_closed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_role_has_nothing_of_its_parents),
		cmocka_unit_test(a_role_is_told_its_own_settings_only),
		cmocka_unit_test(a_role_without_a_supervisor_says_so),
		cmocka_unit_test(what_is_dropped_stays_dropped),
	};

	if (argc == 3 && strcmp(argv[1], "--role") == 0)
		return be_role(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
