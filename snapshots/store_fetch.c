/*
 * store_fetch.c - making sure that a commit is in the store.
 *
 * The fast way is one look at refs/sbx-base/<oid>. The slow way runs in a
 * forked child: it waits for the repository's lock, makes the repository when
 * it is the first, copies or downloads, checks every object that the checkout
 * will need, and only then marks the commit. The parent waits until the
 * deadline and kills: libgit2 has no timeouts, a source may be a fifo, and
 * whatever a hostile server does to the parser dies with the child. The answer
 * comes through a pipe in one write, so it is whole or missing.
 */
#include "snapshots/store_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { MEMORY_LEAST_BYTES = 1 << 30 };

/* What is wanted. */
struct fetching {
	const struct source_url *source;
	const char *commit;
	struct bytes bundle; /* of a job; len 0: none */
};

struct answer {
	int result; /* of store_fetch */
	struct oid commit;
	struct reason reason;
	struct err err;
};
static_assert(sizeof(struct answer) <= PIPE_BUF, "an answer is written at once");

/* --- the fast way ------------------------------------------------------ */

static int fetch_marked(const struct store *store, const struct source_url *source,
			const struct oid *named, struct store_base *ret, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct gitdb *db = NULL;
	struct oid commit;
	const char *path;
	int result;

	arena_init(&arena, PATH_MAX);
	path = store_repo_path(&arena, store, source);
	if (path == NULL || gitdb_open(path, GITDB_READ, &db, err) < 0)
		return -1;
	result = store_marked_named(db, named, &commit, err);
	if (result == 1)
		result = gitdb_commit_tree(db, &commit, &ret->tree, err);
	else if (result == 0)
		result = err_set(err, ERR_NOT_FOUND, "the commit is not in the store");
	gitdb_close(db);
	if (result == 0)
		ret->commit = commit;
	return result;
}

int store_fetch_fast(struct store *store, const struct source_url *source, const char *commit,
		     struct store_base *ret)
{
	struct err err = {0};
	struct store_known *known;
	struct store_base base;
	struct oid named;

	if (!oid_parse(commit, &named) &&
	    (!source->local || gitdb_peek(source->url, commit, &named) != 0))
		return 1;
	known = &store->known[named.raw[0] % STORE_KNOWN];
	if (strcmp(known->name, source->name) == 0 && oid_equal(&known->named, &named) &&
	    store_marked_fast(store, source->name, &known->base.commit)) {
		*ret = known->base;
		return 0;
	}
	if (fetch_marked(store, source, &named, &base, &err) < 0)
		return 1;
	if (snprintf(known->name, sizeof(known->name), "%s", source->name) >=
	    (int)sizeof(known->name))
		known->name[0] = '\0';
	known->named = named;
	known->base = base;
	*ret = base;
	return 0;
}

/* --- in the child ------------------------------------------------------ */

/* What is wrong with the source is a verdict, the rest a fault. */
static void blame_source(struct answer *answer, const char *subject)
{
	enum reason_code code;

	switch (answer->err.kind) {
	case ERR_INPUT:
		code = REASON_SOURCE_CORRUPT;
		break;
	case ERR_UNSUPPORTED:
		code = REASON_SOURCE_UNSUPPORTED;
		break;
	case ERR_LIMIT:
		code = REASON_SOURCE_LIMIT;
		break;
	default:
		answer->result = -1;
		return;
	}
	answer->result = reason_set(&answer->reason, code, subject, "%s", answer->err.message);
}

static void no_commit(struct answer *answer, const struct source_url *source, const char *commit)
{
	if (answer->err.kind == ERR_NOT_FOUND)
		answer->result = reason_set(&answer->reason, REASON_SOURCE_NO_COMMIT, commit,
					    "'%s': %s", source->url, answer->err.message);
	else
		blame_source(answer, source->url);
}

/* One commit of another database, which goes by `named` there. */
static void copy_commit(const struct store *store, const struct source_url *source,
			struct gitdb *from, const struct oid *named, struct gitdb *to,
			struct answer *answer)
{
	struct err *err = &answer->err;
	int marked = store_marked(to, &answer->commit, err);

	answer->result = marked < 0 ? -1 : 0;
	if (marked == 0 &&
	    (gitdb_copy_commit(from, to, &answer->commit, store->config.max_repo_bytes, err) < 0 ||
	     gitdb_check_commit(to, &answer->commit, err) < 0))
		blame_source(answer, source->url);
	else if (marked == 0 || (marked > 0 && !oid_equal(named, &answer->commit)))
		answer->result = store_mark(to, named, &answer->commit, err);
}

static void fetch_local(const struct store *store, const struct source_url *source,
			const char *commit, struct gitdb *to, struct answer *answer)
{
	struct err *err = &answer->err;
	struct gitdb *from = NULL;
	struct oid named;

	answer->result = gitdb_open_foreign(source->url, &from, err);
	if (answer->result < 0) {
		blame_source(answer, source->url);
		return;
	}
	answer->result = gitdb_resolve_named(from, commit, &named, &answer->commit, err);
	if (answer->result < 0)
		no_commit(answer, source, commit);
	else
		copy_commit(store, source, from, &named, to, answer);
	gitdb_close(from);
}

/* What has come is checked once, and marked; also by the oid of a tag. */
static void keep_commit(const struct source_url *source, const char *commit, struct gitdb *to,
			struct answer *answer)
{
	struct err *err = &answer->err;
	int marked = store_marked(to, &answer->commit, err);
	struct oid named;

	if (!oid_parse(commit, &named))
		named = answer->commit;
	answer->result = marked < 0 ? -1 : 0;
	if (marked == 0 && gitdb_check_commit(to, &answer->commit, err) < 0)
		blame_source(answer, source->url);
	else if (marked == 0 || (marked > 0 && !oid_equal(&named, &answer->commit)))
		answer->result = store_mark(to, &named, &answer->commit, err);
}

static void fetch_bundle(const struct store *store, const struct source_url *source,
			 const char *commit, struct gitdb *to, struct answer *answer)
{
	struct err *err = &answer->err;

	answer->result = gitdb_fetch_bundle(to, source->url, commit, store->config.max_repo_bytes,
					    &answer->commit, err);
	if (answer->result < 0) {
		no_commit(answer, source, commit);
		return;
	}
	keep_commit(source, commit, to, answer);
}

static bool may_redirect(const void *ctx, const char *url)
{
	return source_may_redirect(ctx, url);
}

static void fetch_remote(const struct store *store, const struct source_url *source,
			 const char *path, const char *commit, struct gitdb *to,
			 struct answer *answer)
{
	const struct gitdb_fetch fetch = {
		.path = path,
		.url = source->url,
		.commit = commit,
		.ca_file = store->config.ca_file,
		.login = source->login,
		.secret = source->secret,
		.max_bytes = store->config.max_repo_bytes,
		.allowed = may_redirect,
		.ctx = source,
	};
	struct err *err = &answer->err;
	struct err why = {0};

	/* History that came along with another commit may already hold it. */
	if (oid_parse(commit, &answer->commit) && gitdb_has(to, &answer->commit) &&
	    gitdb_check_commit(to, &answer->commit, &why) == 0) {
		answer->result = store_mark(to, &answer->commit, &answer->commit, err);
		return;
	}
	answer->result = gitdb_fetch(&fetch, &answer->commit, err);
	if (answer->result < 0) {
		no_commit(answer, source, commit);
		return;
	}
	keep_commit(source, commit, to, answer);
}

/* What writers that were killed left; not while somebody writes now. */
static void remove_leftovers(const struct store *store, const char *repo)
{
	CLEANUP(fd_cleanup) int lock = -1;
	char path[PATH_MAX + 512];

	if (store_write_lock(store, repo, STORE_DELETES, 0, &lock, NULL) < 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/repos/%s.git", store->path, repo);
	gitdb_tidy(path);
}

int store_make_repo(const struct store *store, const char *path, struct err *err)
{
	CLEANUP(store_build_release) struct store_build build = {.fd = -1};
	struct stat st;

	if (stat(path, &st) == 0)
		return 0;
	if (store_build_begin(store, &build, err) < 0 || gitdb_create(build.path, err) < 0)
		return -1;
	return store_build_finish(&build, path, err);
}

/* What ssh is to know of hosts, in a directory that goes with this process. */
static int prepare_ssh(const struct store *store, const struct source_url *source,
		       struct store_build *ret, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char path[PATH_MAX + 64];

	if (source->known_hosts == NULL)
		return err_set(err, ERR_PEER, "there is no known_hosts file to check its key with");
	if (store_build_begin(store, ret, err) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/.ssh", ret->path);
	if (mkdir(path, 0700) < 0)
		return err_sys(err, "cannot make '%s'", path);
	(void)snprintf(path, sizeof(path), "%s/.ssh/known_hosts", ret->path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "cannot make '%s'", path);
	if (fd_write_all(fd, source->known_hosts, strlen(source->known_hosts), err) < 0)
		return -1;
	return gitdb_set_home(ret->path, err);
}

/* As much memory as it may have bytes, or what any repository may take. */
static int bound_memory(const struct store *store, struct err *err)
{
	int64_t bytes = store->config.max_repo_bytes;

	return gitdb_bound_memory(bytes > MEMORY_LEAST_BYTES ? bytes : MEMORY_LEAST_BYTES, err);
}

/* `from`: what is copied, when it is open already. */
static void fetch_locked(const struct store *store, const struct fetching *fetching,
			 struct gitdb *from, struct answer *answer)
{
	const struct source_url *source = fetching->source;
	CLEANUP(fd_cleanup) int lock = -1;
	CLEANUP(fd_cleanup) int writing = -1;
	char path[PATH_MAX];
	struct gitdb *to = NULL;

	(void)snprintf(path, sizeof(path), "%s/repos/%s.lock", store->path, source->name);
	answer->result = store_lock(path, -1, &lock, &answer->err);
	if (answer->result < 0)
		return;
	remove_leftovers(store, source->name);
	answer->result =
		store_write_lock(store, source->name, STORE_WRITES, -1, &writing, &answer->err);
	if (answer->result < 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/repos/%s.git", store->path, source->name);
	answer->result = store_make_repo(store, path, &answer->err);
	if (answer->result < 0)
		return;
	answer->result = gitdb_open(path, GITDB_WRITE, &to, &answer->err);
	if (answer->result < 0)
		return;
	if (from != NULL)
		copy_commit(store, source, from, &answer->commit, to, answer);
	else if (source->local && gitdb_is_bundle(source->url))
		fetch_bundle(store, source, fetching->commit, to, answer);
	else if (source->local)
		fetch_local(store, source, fetching->commit, to, answer);
	else
		fetch_remote(store, source, path, fetching->commit, to, answer);
	gitdb_close(to);
}

static void fetch_bounded(const struct store *store, const struct fetching *fetching,
			  struct answer *answer)
{
	CLEANUP(store_build_release) struct store_build build = {.fd = -1};
	struct gitdb *from = NULL;

	answer->result = bound_memory(store, &answer->err);
	if (answer->result == 0 && fetching->source->ssh)
		answer->result = prepare_ssh(store, fetching->source, &build, &answer->err);
	if (answer->result < 0)
		return;
	if (fetching->bundle.len > 0) {
		answer->result = store_unpack_bundle(store, fetching->bundle, fetching->commit,
						     &build, &from, &answer->commit, &answer->err);
		if (answer->result < 0) {
			no_commit(answer, fetching->source, fetching->commit);
			return;
		}
	}
	fetch_locked(store, fetching, from, answer);
	gitdb_close(from);
}

/* --- in the parent ----------------------------------------------------- */

static pid_t start_child(const struct store *store, const struct fetching *fetching, int *ret_fd,
			 struct err *err)
{
	struct answer answer = {.result = -1};
	pid_t parent = getpid();
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make pipe");
	pid = fork();
	if (pid < 0) {
		(void)err_sys(err, "cannot fork");
		fd_close(ends[0]);
		fd_close(ends[1]);
		return -1;
	}
	if (pid > 0) {
		fd_close(ends[1]);
		*ret_fd = ends[0];
		return pid;
	}
	/* A lock must not outlive who asked for it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	fd_close(ends[0]);
	fetch_bounded(store, fetching, &answer);
	_exit(fd_write_all(ends[1], &answer, sizeof(answer), NULL) < 0);
}

/* Returns 0 with the answer, or -1: too late, or the child died. */
static int wait_answer(int fd, int64_t deadline_us, struct answer *ret, struct err *err)
{
	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int64_t left_us = deadline_us - clock_mono_us();
		ssize_t n;

		if (left_us <= 0)
			return err_set(err, ERR_TIMEOUT, "it took too long");
		n = poll(&poll_fd, 1,
			 left_us / 1000 < INT_MAX ? (int)(left_us / 1000) + 1 : INT_MAX);
		if (n < 0 && errno != EINTR)
			return err_sys(err, "cannot wait");
		if (n <= 0)
			continue;
		n = read(fd, ret, sizeof(*ret));
		if (n == (ssize_t)sizeof(*ret))
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		return err_set(err, ERR_PEER, "the process that fetches died");
	}
}

/* libgit2 1.5 does not survive all that a repository can hold. */
static bool is_crash(int status)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

	for (size_t i = 0; WIFSIGNALED(status) && i < ARRAY_LEN(signals); i++) {
		if (WTERMSIG(status) == signals[i])
			return true;
	}
	return false;
}

static int fetch_in_child(struct store *store, const struct fetching *fetching, struct answer *ret,
			  struct err *err)
{
	int64_t deadline_us = clock_mono_us() + store->config.fetch_timeout_ms * 1000;
	CLEANUP(fd_cleanup) int fd = -1;
	pid_t pid = start_child(store, fetching, &fd, err);
	int status = 0;
	int result;

	if (pid < 0)
		return -1;
	result = wait_answer(fd, deadline_us, ret, err);
	if (result < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (result == 0 || !is_crash(status))
		return result;
	ret->result = reason_set(&ret->reason, REASON_SOURCE_CORRUPT, fetching->source->url,
				 "'%s' holds what crashes who reads it", fetching->source->url);
	return 0;
}

static int fetch(struct store *store, const struct fetching *fetching, struct store_base *ret,
		 struct reason *ret_reason, struct err *err)
{
	const struct source_url *source = fetching->source;
	const char *commit = fetching->commit;
	struct answer answer = {.result = -1};

	if (fetch_in_child(store, fetching, &answer, err) < 0)
		return err_prefix(err, "cannot fetch '%s' of '%s'", commit, source->url);
	if (answer.result == REFUSED) {
		*ret_reason = answer.reason;
		return REFUSED;
	}
	if (answer.result < 0)
		return err_set(err, answer.err.kind, "cannot fetch '%s': %s", commit,
			       answer.err.message);
	return fetch_marked(store, source, &answer.commit, ret, err);
}

int store_fetch(struct store *store, const struct source_url *source, const char *commit,
		struct store_base *ret, struct reason *ret_reason, struct err *err)
{
	const struct fetching fetching = {.source = source, .commit = commit};

	if (store_fetch_fast(store, source, commit, ret) == 0)
		return 0;
	return fetch(store, &fetching, ret, ret_reason, err);
}

int store_bundle(struct store *store, const struct job_source *source, struct store_base *ret,
		 struct reason *ret_reason, struct err *err)
{
	struct source_url place = source_of_files();
	const struct fetching fetching = {
		.source = &place, .commit = source->commit, .bundle = source->bundle};

	place.url = "the bundle of the job";
	return fetch(store, &fetching, ret, ret_reason, err);
}
