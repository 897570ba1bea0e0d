/*
 * role.c - fork, exec of /proc/self/exe with "--role NAME", and the dropping of
 * identities. The child's environment is empty but for PATH: credentials that
 * came to the supervisor in its own environment stay there.
 */
#include "worker/role.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

enum { CONFIG_TEXT_BYTES = 128 * 1024, RELOAD_ARENA_BYTES = 1 << 20 };

/* --- starting --------------------------------------------------------- */

/* Runs in the child: only async-signal-safe calls until execve. Standard error
 * is for the log; nothing else of the worker's own streams is a role's business. */
static NORETURN void become(const char *name, int socket)
{
	char title[64];
	char *argv[] = {title, (char[]){"--role"}, (char[]){""}, NULL};
	char role[32];
	char *env[] = {(char[]){"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}, NULL};
	int null;

	(void)snprintf(title, sizeof(title), "sbx-worker: %s", name);
	(void)snprintf(role, sizeof(role), "%s", name);
	argv[2] = role;
	if (socket != ROLE_SOCKET && dup3(socket, ROLE_SOCKET, 0) < 0)
		_exit(127);
	if (socket == ROLE_SOCKET && fcntl(socket, F_SETFD, 0) < 0)
		_exit(127);
	null = open("/dev/null", O_RDWR); /* past the socket, which is at 3 by now */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(127);
	(void)close_range(ROLE_SOCKET + 1, ~0U, 0);
	(void)execve("/proc/self/exe", argv, env);
	_exit(127);
}

static int send_config(int socket, const struct config *config, enum config_role role,
		       struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	struct buf text;
	int rc;

	buf_init(&text, CONFIG_TEXT_BYTES);
	config_role_text(config, role, &text);
	rc = text.failed ? err_set(err, ERR_LIMIT, "configuration is larger than %d bytes",
				   CONFIG_TEXT_BYTES)
			 : fd_memfd("sbx-config", text.data, text.len, &fd, err);
	buf_release(&text);
	if (rc < 0)
		return -1;
	return fd_send(socket, "config", 6, &fd, 1, err);
}

int role_start(const char *name, const struct config *config, enum config_role role,
	       int *ret_socket, pid_t *ret_pid, struct err *err)
{
	int pair[2];
	pid_t pid;

	if (fd_socketpair(pair, err) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		become(name, pair[1]);
	fd_close(pair[1]);
	if (pid < 0) {
		fd_close(pair[0]);
		return err_sys(err, "cannot start %s", name);
	}
	if (send_config(pair[0], config, role, err) < 0) {
		fd_close(pair[0]);
		return err_prefix(err, "cannot configure %s", name);
	}
	*ret_socket = pair[0];
	*ret_pid = pid;
	return 0;
}

/* --- entering --------------------------------------------------------- */

static int read_text(int fd, struct config *config, struct arena *arena, struct err *err)
{
	struct bytes text;
	const char *copy;

	if (fd_map(fd, CONFIG_TEXT_BYTES, &text, err) < 0)
		return -1;
	copy = arena_memdup(arena, text.data, text.len);
	fd_unmap(&text);
	if (copy == NULL)
		return err_set(err, ERR_LIMIT, "cannot read configuration: out of memory");
	return config_read_text(config, copy, "supervisor", err);
}

static int read_config(struct config *config, struct arena *arena, struct err *err)
{
	char word[8];
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	int rc;
	ssize_t len = fd_recv(ROLE_SOCKET, word, sizeof(word), fds, &fds_len, err);

	if (len < 0)
		return -1;
	if (len == 0 || fds_len != 1)
		return err_set(err, ERR_PEER, "cannot read configuration: no supervisor");
	rc = read_text(fds[0], config, arena, err);
	fd_close(fds[0]);
	return rc;
}

static void set_log(const char *name, const struct config *config)
{
	enum log_level level;

	if (log_level_parse(config->log_level, &level))
		log_init(name, level, config->log_json);
}

int role_enter(const char *name, struct config *config, struct arena *arena, struct err *err)
{
	if (fcntl(ROLE_SOCKET, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(err, "role '%s' has no socket: it is started by the worker only",
			       name);
	if (config_init(config, arena, err) < 0 || read_config(config, arena, err) < 0)
		return -1;
	set_log(name, config);
	return 0;
}

void role_reload(const char *name, struct config *config, int fd)
{
	static struct arena live; /* of the settings that were taken over last */
	struct arena arena;
	struct config fresh;
	struct err err = {0};

	arena_init(&arena, RELOAD_ARENA_BYTES);
	if (config_init(&fresh, &arena, &err) < 0 || read_text(fd, &fresh, &arena, &err) < 0) {
		log_error("configuration not taken over", "error", err.message, NULL);
		arena_release(&arena);
		return;
	}
	config_take_live(config, &fresh);
	arena_release(&live);
	live = arena;
	set_log(name, config);
}

/* --- giving up -------------------------------------------------------- */

static int set_capabilities(uint64_t keep, struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
		{.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
	};

	if (syscall(SYS_capset, &header, data) < 0)
		return err_sys(err, "cannot set capabilities");
	return 0;
}

/* What may be kept is at most what is held: an ordinary user holds nothing. */
static uint64_t held(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static int change_identity(uid_t uid, gid_t gid, struct err *err)
{
	uid_t ids[3];
	gid_t groups[3];

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(err, "cannot keep capabilities");
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(err, "cannot become uid %u", uid);
	if (getresuid(&ids[0], &ids[1], &ids[2]) < 0 || ids[0] != uid || ids[1] != uid ||
	    ids[2] != uid)
		return err_set(err, ERR_SYSTEM, "cannot become uid %u: still %u", uid, ids[0]);
	if (getresgid(&groups[0], &groups[1], &groups[2]) < 0 || groups[0] != gid ||
	    groups[1] != gid || groups[2] != gid || getgroups(0, NULL) != 0)
		return err_set(err, ERR_SYSTEM, "cannot become gid %u: still %u", gid, groups[0]);
	return 0;
}

int role_drop(uid_t uid, gid_t gid, uint64_t keep, struct err *err)
{
	if (uid != ROLE_SAME_UID && geteuid() == 0 && change_identity(uid, gid, err) < 0)
		return -1;
	if (set_capabilities(keep & held(), err) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(err, "cannot give up privileges");
	return 0;
}

/* --- the broker ------------------------------------------------------- */

struct carrier_config role_carrier(const struct config *config, struct arena *arena,
				   const char *process)
{
	const char *name = arena_printf(arena, "%s/%s", config->worker_name, process);

	return (struct carrier_config){
		.url = config->queue_url,
		.prefix = config->queue_prefix,
		.passive = config->queue_passive,
		.prefetch = (unsigned)config->worker_slots,
		.heartbeat_s = (unsigned)((config->queue_heartbeat + 999) / 1000),
		.ca_file = *config->queue_ca_file == '\0' ? NULL : config->queue_ca_file,
		.cert_file = *config->queue_cert_file == '\0' ? NULL : config->queue_cert_file,
		.key_file = *config->queue_key_file == '\0' ? NULL : config->queue_key_file,
		.name = name == NULL ? process : name,
	};
}
