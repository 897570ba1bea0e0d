/*
 * storekeeper.c - theory: one request after the other, in the order in which
 * they come; what takes a while goes to a forked child with one message to say
 * (storekeeper_fetch.c, storekeeper_settle.c, storekeeper_upkeep.c). A child
 * that dies without it is a fault of its task alone. The supervisor has one
 * request a task, so the ref of one job never moves twice at a time.
 */
#include "worker/storekeeper.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/storekeeper_private.h"

enum { CONFIG_ARENA_BYTES = 1 << 20 };

/* --- answering -------------------------------------------------------- */

void keeper_answer(struct keeper *keeper, const void *reply, size_t len)
{
	struct err err = {0};

	if (fd_send(ROLE_SOCKET, reply, len, NULL, 0, &err) < 0)
		keeper->quit = true;
}

int keeper_source(struct keeper *keeper, struct arena *arena, const char *repo,
		  struct source_url *ret, struct reason *ret_reason, struct err *err)
{
	if (*repo != '\0')
		return source_normalise(arena, repo, &keeper->config->sources_allow, ret,
					ret_reason, err);
	*ret = source_of_files();
	return 0;
}

/* --- children --------------------------------------------------------- */

int keeper_child_start(struct keeper *keeper, enum ipc_kind kind, uint64_t task,
		       void (*run)(void *work, int socket), void *work, struct err *err)
{
	int pair[2];
	pid_t pid;

	if (keeper->children_len == KEEPER_CHILDREN)
		return err_set(err, ERR_LIMIT, "too many requests at once");
	if (fd_socketpair(pair, err) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		fd_close(ROLE_SOCKET);
		run(work, pair[1]);
		_exit(0);
	}
	fd_close(pair[1]);
	if (pid < 0) {
		fd_close(pair[0]);
		return err_sys(err, "cannot start a process for it");
	}
	keeper->children[keeper->children_len++] =
		(struct keeper_child){.pid = pid, .kind = kind, .socket = pair[0], .task = task};
	return 0;
}

static void child_ended(struct keeper *keeper, size_t at)
{
	struct keeper_child child = keeper->children[at];

	keeper->children[at] = keeper->children[--keeper->children_len];
	if (child.kind == IPC_STORE_FETCHED)
		keeper_fetched(keeper, &child);
	else
		keeper_settled(keeper, &child);
	fd_close(child.socket);
	while (waitpid(child.pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

/* --- the loop --------------------------------------------------------- */

static void on_supervisor(struct keeper *keeper)
{
	static _Alignas(max_align_t) uint8_t room[IPC_MESSAGE_BYTES];
	enum ipc_kind *kind = (enum ipc_kind *)room;
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	struct err err = {0};
	ssize_t len = fd_recv(ROLE_SOCKET, room, sizeof(room), fds, &fds_len, &err);

	if (len == sizeof(struct ipc_store_fetch) && *kind == IPC_STORE_FETCH)
		keeper_fetch(keeper, (struct ipc_store_fetch *)room, fds_len > 0 ? fds[0] : -1);
	else if (len == sizeof(struct ipc_store_settle) && *kind == IPC_STORE_SETTLE)
		keeper_settle(keeper, (struct ipc_store_settle *)room, fds_len > 0 ? fds[0] : -1);
	else if (len == sizeof(struct ipc_config) && *kind == IPC_CONFIG && fds_len == 1)
		role_reload("storekeeper", keeper->config, fds[0]);
	else
		keeper->quit = true;
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
}

static void serve(struct keeper *keeper)
{
	static struct pollfd fds[KEEPER_CHILDREN + 2];

	while (!keeper->quit) {
		size_t len = keeper->children_len;

		if (keeper_upkeep_wait_ms(keeper) == 0)
			keeper_upkeep_start(keeper);
		fds[0] = (struct pollfd){.fd = ROLE_SOCKET, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = keeper->upkeep.end, .events = POLLIN};
		for (size_t i = 0; i < len; i++)
			fds[i + 2] =
				(struct pollfd){.fd = keeper->children[i].socket, .events = POLLIN};
		if (poll(fds, len + 2, keeper_upkeep_wait_ms(keeper)) < 0)
			continue;
		for (size_t i = len; i > 0; i--) {
			if (fds[i + 1].revents != 0)
				child_ended(keeper, i - 1);
		}
		if (fds[1].revents != 0)
			keeper_upkeep_ended(keeper);
		if (fds[0].revents != 0)
			on_supervisor(keeper);
	}
}

static int start(struct keeper *keeper, struct arena *arena, struct err *err)
{
	uid_t uid = (uid_t)keeper->config->worker_uid_base;
	const char *path = arena_printf(arena, "%s/store", keeper->config->worker_state_dir);
	struct store_config store = {
		.path = path,
		.fetch_timeout_ms = keeper->config->sources_fetch_timeout,
		.ca_file = *keeper->config->sources_ca_file == '\0'
				   ? NULL
				   : keeper->config->sources_ca_file,
		.max_repo_bytes = keeper->config->sources_max_repo,
		.max_checkout_files = keeper->config->sources_max_files,
		.max_checkout_bytes = keeper->config->sources_max_checkout,
		.layers = true,
	};

	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	keeper->store_path = path;
	/* Local sources may belong to anybody: reading is all that is kept. */
	if (role_drop(uid, uid, 1ULL << CAP_DAC_READ_SEARCH, err) < 0 ||
	    gitdb_library_init(err) < 0)
		return -1;
	(void)umask(027);
	return store_open(&keeper->store, &store, err);
}

int storekeeper_main(void)
{
	static struct keeper keeper;
	struct arena arena;
	struct config config;
	struct err err = {0};

	arena_init(&arena, CONFIG_ARENA_BYTES);
	keeper.config = &config;
	if (role_enter("storekeeper", &config, &arena, &err) < 0 ||
	    start(&keeper, &arena, &err) < 0) {
		log_error("storekeeper cannot start", "error", err.message, NULL);
		return 1;
	}
	keeper.upkeep = (struct keeper_upkeep){.end = -1, .next_us = clock_mono_us()};
	serve(&keeper);
	if (keeper.upkeep.pid != 0)
		(void)kill(keeper.upkeep.pid, SIGKILL);
	for (size_t i = 0; i < keeper.children_len; i++)
		(void)kill(keeper.children[i].pid, SIGKILL);
	store_close(keeper.store);
	arena_release(&arena);
	return 0;
}
