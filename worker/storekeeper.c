/*
 * storekeeper.c - theory: a request that needs neither network nor waiting is
 * answered at once. Any other fetch runs in a forked child, whose one message
 * (a struct ipc_store_fetched) is handed on to the supervisor; a child that
 * dies without one is a fault of its task alone. Settling is short and done
 * here, so the refs of one job never move twice at a time.
 *
 * A checkout that an answer names is held for a while, so that nobody removes
 * it before the zygote, which mounts it, holds it too. The store is brought
 * within its bounds by a child: at the start, which also looks for damage, now
 * and then, and some time after something was built.
 */
#include "worker/storekeeper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snapshots/store.h"
#include "worker/ipc.h"
#include "worker/role.h"

enum {
	CHILDREN = ROLE_SLOTS_MAX,
	PINS = 64,
	LOGIN_BYTES = 4096,
	UPKEEP_NICE = 10,	   /* jobs go first */
	PIN_US = 60 * 1000 * 1000, /* from an answer to its mount */
	UPKEEP_EVERY_S = 600,
	UPKEEP_AFTER_BUILD_S = 30,
	RECENT_MS = 60 * 1000,
	REQUEST_ARENA_BYTES = 1 << 20,
	CONFIG_ARENA_BYTES = 1 << 20,
};

struct child {
	pid_t pid; /* 0: free */
	int socket;
	uint64_t task;
};

/* A checkout that was named in an answer. */
struct pin {
	int fd;
	int64_t until_us; /* 0: free */
};

struct upkeep {
	pid_t pid;   /* 0: none */
	int end;     /* readable when it is over */
	bool looked; /* for damage */
	int64_t next_us;
};

struct keeper {
	struct config *config;
	struct store *store;
	const char *store_path;
	struct child children[CHILDREN];
	size_t children_len;
	struct pin pins[PINS];
	struct upkeep upkeep;
	bool quit;
};

/* --- pins ------------------------------------------------------------- */

static void release_pins(struct keeper *keeper, int64_t now_us)
{
	for (size_t i = 0; i < PINS; i++) {
		struct pin *pin = &keeper->pins[i];

		if (pin->until_us != 0 && pin->until_us <= now_us) {
			fd_close(pin->fd);
			pin->until_us = 0;
		}
	}
}

/* False when the checkout is not there any more. */
static bool hold(struct keeper *keeper, const struct oid *tree)
{
	struct pin *oldest = &keeper->pins[0];
	int64_t now_us = clock_mono_us();
	int fd;

	if (store_pin(keeper->store, tree, &fd) != 0)
		return false;
	for (size_t i = 1; i < PINS; i++) {
		if (keeper->pins[i].until_us < oldest->until_us)
			oldest = &keeper->pins[i];
	}
	if (oldest->until_us != 0)
		fd_close(oldest->fd);
	*oldest = (struct pin){.fd = fd, .until_us = now_us + PIN_US};
	return true;
}

/* --- one fetch -------------------------------------------------------- */

/* Paths travel relative to the store, for executors have it as their root. */
static const char *below_store(const struct keeper *keeper, const char *path)
{
	size_t len = strlen(keeper->store_path);

	if (strncmp(path, keeper->store_path, len) == 0 && path[len] == '/')
		path += len;
	while (*path == '/')
		path++;
	return path;
}

static void fault(struct ipc_store_fetched *reply, const struct err *err)
{
	reply->end = IPC_FAULT;
	ipc_text(reply->error, err->message);
}

/* The checkout, once the commit is here. Returns as store_checkout. */
static int find_checkout(struct keeper *keeper, struct arena *arena,
			 const struct source_url *source, const struct oid *tree,
			 struct ipc_store_fetched *reply, struct err *err)
{
	const char *path;
	int rc = store_checkout(keeper->store, source, tree, arena, &path, &reply->reason, err);

	if (rc == 0)
		ipc_text(reply->checkout_path, below_store(keeper, path));
	return rc;
}

static void finish(const struct keeper *keeper, struct arena *arena,
		   const struct source_url *source, const struct store_base *base,
		   struct ipc_store_fetched *reply)
{
	const char *path = store_repo_path(arena, keeper->store, source);

	assert(path != NULL);
	reply->end = IPC_OK;
	reply->commit = base->commit;
	reply->tree = base->tree;
	ipc_text(reply->repo_path, below_store(keeper, path));
}

/* All of a request, network included. */
static void fetch(struct keeper *keeper, const struct ipc_store_fetch *request,
		  const struct source_url *source, struct arena *arena,
		  struct ipc_store_fetched *reply)
{
	struct store_base base;
	struct err err = {0};
	int rc = store_fetch(keeper->store, source, request->commit, &base, &reply->reason, &err);

	if (rc == 0 && request->checkout)
		rc = find_checkout(keeper, arena, source, &base.tree, reply, &err);
	if (rc < 0)
		fault(reply, &err);
	else if (rc == REFUSED)
		reply->end = IPC_REFUSED;
	else
		finish(keeper, arena, source, &base, reply);
}

/* Whether the answer needs nothing but a look. */
static bool fetch_fast(struct keeper *keeper, const struct ipc_store_fetch *request,
		       const struct source_url *source, struct arena *arena,
		       struct ipc_store_fetched *reply)
{
	struct store_base base;
	struct err err = {0};

	if (store_fetch_fast(keeper->store, source, request->commit, &base) != 0)
		return false;
	if (request->checkout) {
		if (!store_has_checkout(keeper->store, &base.tree))
			return false;
		if (find_checkout(keeper, arena, source, &base.tree, reply, &err) != 0 ||
		    !hold(keeper, &base.tree))
			return false;
	}
	finish(keeper, arena, source, &base, reply);
	return true;
}

/* --- credentials ------------------------------------------------------ */

/* The secret of one fetch, in the memory of this process alone. */
struct login {
	char text[LOGIN_BYTES];
};

static void login_cleanup(struct login *login)
{
	explicit_bzero(login->text, sizeof(login->text));
}

/* "login:token", or a token alone; the file is read at each fetch, so that it
 * may change. */
static int read_login(const char *path, struct login *ret, struct source_url *source,
		      struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, ret->text, sizeof(ret->text) - 1);
	char *colon;

	if (len < 0)
		return err_sys(err, "cannot read credentials '%s'", path);
	ret->text[len] = '\0';
	ret->text[strcspn(ret->text, "\r\n")] = '\0';
	if (ret->text[0] == '\0')
		return err_set(err, ERR_INPUT, "cannot read credentials '%s': it is empty", path);
	colon = strchr(ret->text, ':');
	source->login = colon != NULL ? ret->text : "x-access-token";
	source->secret = colon != NULL ? colon + 1 : ret->text;
	if (colon != NULL)
		*colon = '\0';
	return 0;
}

static int find_login(const struct keeper *keeper, struct login *ret, struct source_url *source,
		      struct err *err)
{
	const struct text_list *list = &keeper->config->sources_credentials;
	size_t len = source->host == NULL ? 0 : strlen(source->host);

	for (size_t i = 0; source->host != NULL && i < list->len; i++) {
		if (strncasecmp(list->items[i], source->host, len) == 0 &&
		    list->items[i][len] == '=')
			return read_login(list->items[i] + len + 1, ret, source, err);
	}
	return 0;
}

/* --- answering -------------------------------------------------------- */

static void answer(struct keeper *keeper, const void *reply, size_t len)
{
	struct err err = {0};

	if (fd_send(ROLE_SOCKET, reply, len, NULL, 0, &err) < 0)
		keeper->quit = true;
}

static NORETURN void child_main(struct keeper *keeper, int socket,
				const struct ipc_store_fetch *request,
				const struct source_url *source, struct arena *arena,
				struct ipc_store_fetched *reply)
{
	struct err err = {0};

	fd_close(ROLE_SOCKET);
	/* Who reads what a network sends may read no more than the store. */
	if (!source->local && role_drop(ROLE_SAME_UID, 0, 0, &err) < 0)
		fault(reply, &err);
	else
		fetch(keeper, request, source, arena, reply);
	_exit(fd_send(socket, reply, sizeof(*reply), NULL, 0, &err) < 0);
}

static int start_child(struct keeper *keeper, const struct ipc_store_fetch *request,
		       const struct source_url *source, struct arena *arena,
		       struct ipc_store_fetched *reply, struct err *err)
{
	int pair[2];
	pid_t pid;

	if (keeper->children_len == CHILDREN)
		return err_set(err, ERR_LIMIT, "too many fetches at once");
	if (fd_socketpair(pair, err) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		child_main(keeper, pair[1], request, source, arena, reply);
	fd_close(pair[1]);
	if (pid < 0) {
		fd_close(pair[0]);
		return err_sys(err, "cannot start fetch");
	}
	keeper->children[keeper->children_len++] =
		(struct child){.pid = pid, .socket = pair[0], .task = request->task};
	return 0;
}

static void on_fetch(struct keeper *keeper, struct ipc_store_fetch *request)
{
	struct ipc_store_fetched reply = {.kind = IPC_STORE_FETCHED, .task = request->task};
	CLEANUP(login_cleanup) struct login login;
	struct source_url source;
	struct arena arena;
	struct err err = {0};
	bool now = true;
	int rc;

	arena_init(&arena, REQUEST_ARENA_BYTES);
	request->repo[sizeof(request->repo) - 1] = '\0';
	request->commit[sizeof(request->commit) - 1] = '\0';
	rc = source_normalise(&arena, request->repo, &keeper->config->sources_allow, &source,
			      &reply.reason, &err);
	if (rc == REFUSED) {
		reply.end = IPC_REFUSED;
	} else if (rc < 0) {
		fault(&reply, &err);
	} else if (!fetch_fast(keeper, request, &source, &arena, &reply)) {
		now = find_login(keeper, &login, &source, &err) < 0 ||
		      start_child(keeper, request, &source, &arena, &reply, &err) < 0;
		if (now)
			fault(&reply, &err);
	}
	arena_release(&arena);
	if (now)
		answer(keeper, &reply, sizeof(reply));
}

static void on_settle(struct keeper *keeper, struct ipc_store_settle *request, int objects_fd)
{
	struct ipc_store_settled reply = {
		.kind = IPC_STORE_SETTLED, .task = request->task, .end = IPC_OK};
	struct bytes objects = {NULL, 0};
	struct source_url source;
	struct reason reason = {.code = REASON_NONE};
	struct arena arena;
	struct err err = {0};

	arena_init(&arena, REQUEST_ARENA_BYTES);
	request->repo[sizeof(request->repo) - 1] = '\0';
	request->job[sizeof(request->job) - 1] = '\0';
	if ((objects_fd >= 0 && fd_map(objects_fd, SIZE_MAX, &objects, &err) < 0) ||
	    source_normalise(&arena, request->repo, &keeper->config->sources_allow, &source,
			     &reason, &err) != 0 ||
	    store_settle(keeper->store, &source, request->job, objects, &request->keep, &err) < 0) {
		reply.end = IPC_FAULT;
		ipc_text(reply.error, err.kind == ERR_NONE ? reason.message : err.message);
	}
	fd_unmap(&objects);
	arena_release(&arena);
	answer(keeper, &reply, sizeof(reply));
}

/* --- upkeep ----------------------------------------------------------- */

static void on_damage(void *ctx, const char *what)
{
	(void)ctx;
	log_error("store damaged", "what", what, NULL);
}

static NORETURN void upkeep_main(struct keeper *keeper)
{
	const struct store_policy policy = {
		.max_bytes = keeper->config->sources_max_store,
		.recent_ms = RECENT_MS,
		.keep_refs_ms = keeper->config->sources_keep_refs,
	};
	struct store_verified verified;
	struct store_upkept upkept;
	struct err err = {0};

	fd_close(ROLE_SOCKET);
	(void)setpriority(PRIO_PROCESS, 0, UPKEEP_NICE);
	if ((!keeper->upkeep.looked &&
	     store_verify(keeper->store, STORE_LOOK, on_damage, NULL, &verified, &err) < 0) ||
	    store_upkeep(keeper->store, &policy, &upkept, &err) < 0) {
		log_error("store upkeep failed", "error", err.message, NULL);
		_exit(1);
	}
	_exit(0);
}

static void start_upkeep(struct keeper *keeper)
{
	struct upkeep *upkeep = &keeper->upkeep;
	pid_t parent = getpid();
	int ends[2];

	upkeep->next_us = clock_mono_us() + (int64_t)UPKEEP_EVERY_S * 1000000;
	release_pins(keeper, clock_mono_us());
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	upkeep->pid = fork();
	if (upkeep->pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		upkeep_main(keeper);
	}
	fd_close(ends[1]);
	if (upkeep->pid < 0) {
		fd_close(ends[0]);
		upkeep->pid = 0;
		return;
	}
	upkeep->end = ends[0];
	upkeep->looked = true;
}

static void upkeep_ended(struct keeper *keeper)
{
	while (waitpid(keeper->upkeep.pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	keeper->upkeep.pid = 0;
	fd_cleanup(&keeper->upkeep.end);
}

static void upkeep_within(struct keeper *keeper, int64_t seconds)
{
	int64_t at_us = clock_mono_us() + seconds * 1000000;

	if (at_us < keeper->upkeep.next_us)
		keeper->upkeep.next_us = at_us;
}

/* How long the loop may wait: while something is fetched there is no upkeep. */
static int wait_ms(const struct keeper *keeper)
{
	int64_t left_us = keeper->upkeep.next_us - clock_mono_us();

	if (keeper->upkeep.pid != 0 || keeper->children_len > 0)
		return -1;
	return left_us <= 0 ? 0 : (int)(left_us / 1000) + 1;
}

/* --- children --------------------------------------------------------- */

/* A child that has read a hostile pack speaks for its own task and no other. */
static void terminate(struct ipc_store_fetched *reply)
{
	reply->reason.message[sizeof(reply->reason.message) - 1] = '\0';
	reply->reason.subject[sizeof(reply->reason.subject) - 1] = '\0';
	reply->error[sizeof(reply->error) - 1] = '\0';
	reply->repo_path[sizeof(reply->repo_path) - 1] = '\0';
	reply->checkout_path[sizeof(reply->checkout_path) - 1] = '\0';
	if ((unsigned)reply->reason.code >= REASON_COUNT || (unsigned)reply->end > IPC_FAULT)
		*reply = (struct ipc_store_fetched){.end = IPC_FAULT,
						    .error = "the fetch went wrong"};
}

static void on_child(struct keeper *keeper, size_t at)
{
	struct child child = keeper->children[at];
	struct ipc_store_fetched reply;
	struct err err = {0};
	ssize_t len = fd_recv(child.socket, &reply, sizeof(reply), NULL, NULL, &err);

	if (len != sizeof(reply)) {
		reply = (struct ipc_store_fetched){.kind = IPC_STORE_FETCHED, .task = child.task};
		reply.end = IPC_FAULT;
		ipc_text(reply.error, "the fetch crashed");
	}
	terminate(&reply);
	reply.kind = IPC_STORE_FETCHED;
	reply.task = child.task;
	fd_close(child.socket);
	while (waitpid(child.pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	keeper->children[at] = keeper->children[--keeper->children_len];
	if (reply.end == IPC_OK && reply.checkout_path[0] != '\0' && !hold(keeper, &reply.tree)) {
		reply.end = IPC_FAULT;
		ipc_text(reply.error, "the checkout was removed at once");
	}
	upkeep_within(keeper, UPKEEP_AFTER_BUILD_S);
	answer(keeper, &reply, sizeof(reply));
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
		on_fetch(keeper, (struct ipc_store_fetch *)room);
	else if (len == sizeof(struct ipc_store_settle) && *kind == IPC_STORE_SETTLE)
		on_settle(keeper, (struct ipc_store_settle *)room, fds_len > 0 ? fds[0] : -1);
	else if (len == sizeof(struct ipc_config) && *kind == IPC_CONFIG && fds_len == 1)
		role_reload("storekeeper", keeper->config, fds[0]);
	else
		keeper->quit = true;
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
}

static void serve(struct keeper *keeper)
{
	static struct pollfd fds[CHILDREN + 2];

	while (!keeper->quit) {
		size_t len = keeper->children_len;

		if (wait_ms(keeper) == 0)
			start_upkeep(keeper);
		fds[0] = (struct pollfd){.fd = ROLE_SOCKET, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = keeper->upkeep.end, .events = POLLIN};
		for (size_t i = 0; i < len; i++)
			fds[i + 2] =
				(struct pollfd){.fd = keeper->children[i].socket, .events = POLLIN};
		if (poll(fds, len + 2, wait_ms(keeper)) < 0)
			continue;
		for (size_t i = len; i > 0; i--) {
			if (fds[i + 1].revents != 0)
				on_child(keeper, i - 1);
		}
		if (fds[1].revents != 0)
			upkeep_ended(keeper);
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
	keeper.upkeep = (struct upkeep){.end = -1, .next_us = clock_mono_us()};
	serve(&keeper);
	if (keeper.upkeep.pid != 0)
		(void)kill(keeper.upkeep.pid, SIGKILL);
	for (size_t i = 0; i < keeper.children_len; i++)
		(void)kill(keeper.children[i].pid, SIGKILL);
	store_close(keeper.store);
	arena_release(&arena);
	return 0;
}
