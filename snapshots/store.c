/*
 * store.c - the directories of a store, and settling.
 *
 * What exists under its final name is complete: repositories and checkouts are
 * made below tmp/ and renamed. A directory below tmp/ is flocked by who builds
 * it; store_open removes those that nobody holds. To keep it from removing one
 * between mkdir and flock, builders hold tmp/ itself shared meanwhile, and the
 * cleaner holds it exclusively. All locks are flock(2): the kernel drops them
 * with the process.
 *
 * A commit is usable once refs/sbx-base/<oid> exists; that of a tag's oid leads to
 * the commit, so that nobody needs to read the tag again. The ref is set after
 * everything below the commit was seen to be there; it also keeps a garbage
 * collection from taking it away.
 */
#include "snapshots/store_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

enum {
	DIR_MODE = 0750,
	REMOVE_DEPTH_MAX = 512,
	MARK_FRESH_S = 3600, /* as often as a mark is touched */
};

/* --- removing trees ---------------------------------------------------- */

/* Removes what is in the directory `fd`, which is closed. Best effort: what
 * stays is found again. */
static void remove_content(int fd, unsigned depth)
{
	DIR *stream = fdopendir(fd);
	const struct dirent *entry;

	if (stream == NULL) {
		fd_close(fd);
		return;
	}
	while ((entry = readdir(stream)) != NULL) {
		const char *name = entry->d_name;
		int below;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    unlinkat(fd, name, 0) == 0 || depth >= REMOVE_DEPTH_MAX)
			continue;
		below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below >= 0)
			remove_content(below, depth + 1);
		(void)unlinkat(fd, name, AT_REMOVEDIR);
	}
	(void)closedir(stream);
}

void store_remove_tree(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		remove_content(fd, 0);
	(void)rmdir(path);
}

/* --- building ---------------------------------------------------------- */

static int lock_tmp(const struct store *store, int how, int *ret_fd, struct err *err)
{
	char path[PATH_MAX];
	CLEANUP(fd_cleanup) int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/tmp", store->path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	while (flock(fd, how) < 0) {
		if (errno != EINTR)
			return err_sys(err, "cannot lock '%s'", path);
	}
	*ret_fd = fd_take(&fd);
	return 0;
}

int store_build_begin(const struct store *store, struct store_build *ret, struct err *err)
{
	CLEANUP(fd_cleanup) int tmp = -1;
	struct store_build build = {.fd = -1};

	if (lock_tmp(store, LOCK_SH, &tmp, err) < 0)
		return -1;
	(void)snprintf(build.path, sizeof(build.path), "%s/tmp/build-XXXXXX", store->path);
	if (mkdtemp(build.path) == NULL)
		return err_sys(err, "cannot make '%s'", build.path);
	build.fd = open(build.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (build.fd < 0 || flock(build.fd, LOCK_EX | LOCK_NB) < 0 || fchmod(build.fd, 0755) < 0) {
		(void)err_sys(err, "cannot lock '%s'", build.path);
		store_build_release(&build);
		return -1;
	}
	*ret = build;
	return 0;
}

int store_build_finish(struct store_build *build, const char *final, struct err *err)
{
	if (rename(build->path, final) == 0)
		build->path[0] = '\0';
	else if (errno != EEXIST && errno != ENOTEMPTY)
		return err_sys(err, "cannot rename '%s' to '%s'", build->path, final);
	store_build_release(build);
	return 0;
}

void store_build_release(struct store_build *build)
{
	if (build->path[0] != '\0')
		store_remove_tree(build->path);
	build->path[0] = '\0';
	fd_cleanup(&build->fd);
}

/* Removes each directory below tmp/ whose builder is gone. */
int store_clean_tmp(const struct store *store, struct err *err)
{
	CLEANUP(fd_cleanup) int tmp = -1;
	const struct dirent *entry;
	DIR *stream;
	int copy;

	if (lock_tmp(store, LOCK_EX, &tmp, err) < 0)
		return -1;
	copy = openat(tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stream = copy >= 0 ? fdopendir(copy) : NULL;
	if (stream == NULL) {
		(void)err_sys(err, "cannot read '%s/tmp'", store->path);
		fd_close(copy);
		return -1;
	}
	while ((entry = readdir(stream)) != NULL) {
		int fd;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		fd = openat(tmp, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		/* Who has built it may have given it its final name since it was opened:
		 * then the lock is free as well. */
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
		    store_is_named(fd, tmp, entry->d_name)) {
			remove_content(fd, 0);
			(void)unlinkat(tmp, entry->d_name, AT_REMOVEDIR);
		} else if (fd >= 0) {
			fd_close(fd);
		} else {
			(void)unlinkat(tmp, entry->d_name, 0);
		}
	}
	(void)closedir(stream);
	return 0;
}

/* --- opening ----------------------------------------------------------- */

int store_open(struct store **ret, const struct store_config *config, struct err *err)
{
	static const char *const dirs[] = {"", "/repos", "/blobs", "/checkouts", "/tmp"};
	char path[PATH_MAX];
	struct store *store;

	assert(config->fetch_timeout_ms > 0 && config->max_repo_bytes > 0 &&
	       config->max_checkout_files > 0 && config->max_checkout_bytes > 0);
	if (strlen(config->path) >= STORE_PATH_MAX || config->path[0] != '/')
		return err_set(err, ERR_INPUT, "cannot open store '%.100s': %s", config->path,
			       config->path[0] == '/' ? "path too long" : "path is not absolute");
	if (gitdb_library_init(err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", config->path, dirs[i]);
		if (fd_make_dirs(path, DIR_MODE, err) < 0)
			return err_prefix(err, "cannot open store");
	}
	store = calloc(1, sizeof(*store));
	if (store == NULL) {
		errno = ENOMEM;
		return err_sys(err, "cannot open store");
	}
	store->config = *config;
	(void)snprintf(store->path, sizeof(store->path), "%s", config->path);
	store->config.path = store->path;
	if (store_clean_tmp(store, err) < 0) {
		store_close(store);
		return err_prefix(err, "cannot open store");
	}
	*ret = store;
	return 0;
}

void store_close(struct store *store)
{
	free(store);
}

const char *store_repo_path(struct arena *arena, const struct store *store,
			    const struct source_url *source)
{
	return arena_printf(arena, "%s/repos/%s.git", store->path, source->name);
}

/* --- usable commits ---------------------------------------------------- */

static void base_ref(const struct oid *named, char ret[64])
{
	char hex[OID_HEX_BYTES];

	oid_hex(named, hex);
	(void)snprintf(ret, 64, "refs/sbx-base/%s", hex);
}

/* What a mark leads to. Returns 1, 0 when there is none, -1. */
static int read_mark(struct gitdb *db, const struct oid *named, struct oid *ret, struct err *err)
{
	struct err why = {0};
	char ref[64];

	base_ref(named, ref);
	if (gitdb_ref_get(db, ref, ret, &why) == 0) {
		gitdb_ref_touch(db, ref);
		return 1;
	}
	return why.kind == ERR_NOT_FOUND ? 0 : err_set(err, why.kind, "%s", why.message);
}

int store_marked(struct gitdb *db, const struct oid *commit, struct err *err)
{
	struct oid found;
	int got = read_mark(db, commit, &found, err);

	return got == 1 ? oid_equal(&found, commit) : got;
}

int store_marked_named(struct gitdb *db, const struct oid *named, struct oid *ret, struct err *err)
{
	int got = read_mark(db, named, ret, err);

	return got == 1 && !oid_equal(ret, named) ? store_marked(db, ret, err) : got;
}

bool store_marked_fast(const struct store *store, const char *repo, const struct oid *commit)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char path[PATH_MAX + 512], text[OID_HEX_BYTES] = "", ref[64];
	struct stat st;
	struct oid found;

	base_ref(commit, ref);
	(void)snprintf(path, sizeof(path), "%s/repos/%s.git/%s", store->path, repo, ref);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	/* One that was not touched for long is left to who touches it. */
	return fd >= 0 && fstat(fd, &st) == 0 &&
	       st.st_mtim.tv_sec + MARK_FRESH_S > clock_wall_us() / 1000000 &&
	       read(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1 &&
	       oid_parse(text, &found) && oid_equal(&found, commit);
}

int store_mark(struct gitdb *db, const struct oid *named, const struct oid *commit, struct err *err)
{
	char ref[64];

	base_ref(commit, ref);
	if (gitdb_ref_set(db, ref, commit, err) < 0)
		return -1;
	base_ref(named, ref);
	return oid_equal(named, commit) ? 0 : gitdb_ref_set(db, ref, commit, err);
}

/* --- settling ---------------------------------------------------------- */

/* An id may be what no ref may end in (".lock", ".."): its dots are escaped
 * then, with a sign that no id has. */
const char *store_job_ref(struct arena *arena, const char *job)
{
	size_t len = strlen(job);
	char *ref;
	size_t at;

	assert(text_is_id(job));
	if (job[0] != '.' && job[len - 1] != '.' && strstr(job, "..") == NULL &&
	    (len < 5 || strcmp(job + len - 5, ".lock") != 0))
		return arena_printf(arena, "refs/sbx/%s", job);
	ref = arena_alloc(arena, sizeof("refs/sbx/") + 3 * len);
	if (ref == NULL)
		return NULL;
	at = (size_t)snprintf(ref, sizeof("refs/sbx/"), "refs/sbx/");
	for (; *job != '\0'; job++) {
		const char *spelled = *job == '.' ? "%2E" : (const char[]){*job, '\0'};

		at += (size_t)snprintf(ref + at, sizeof("%2E"), "%s", spelled);
	}
	return ref;
}

static int settle_in(struct gitdb *db, const char *ref, const struct store_outcome *outcome,
		     struct err *err)
{
	bool is_base = oid_equal(&outcome->keep, &outcome->base);
	struct oid tree;

	if (outcome->objects.len > 0) {
		if (gitdb_import(db, outcome->objects, &outcome->base, &outcome->keep, err) < 0)
			return -1;
	} else if (!is_base) {
		return err_set(err, ERR_INPUT, "a commit is to be kept that did not come along");
	}
	/* What has just been imported was judged there. */
	if (is_base && gitdb_commit_tree(db, &outcome->keep, &tree, err) < 0)
		return -1;
	return gitdb_ref_set(db, ref, &outcome->keep, err);
}

int store_settle(struct store *store, const struct source_url *source, const char *job,
		 const struct store_outcome *outcome, struct err *err)
{
	int64_t deadline_us = clock_mono_us() + store->config.fetch_timeout_ms * 1000;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	CLEANUP(fd_cleanup) int lock = -1;
	struct gitdb *db = NULL;
	const char *path;
	const char *ref;
	int result;

	arena_init(&arena, 2 * PATH_MAX);
	path = store_repo_path(&arena, store, source);
	ref = store_job_ref(&arena, job);
	if (path == NULL || ref == NULL) {
		errno = ENOMEM;
		return err_sys(err, "cannot settle job '%s'", job);
	}
	if (store_write_lock(store, source->name, STORE_WRITES, deadline_us, &lock, err) < 0 ||
	    gitdb_open(path, GITDB_WRITE, &db, err) < 0)
		return err_prefix(err, "cannot settle job '%s'", job);
	result = settle_in(db, ref, outcome, err);
	gitdb_close(db);
	return result < 0 ? err_prefix(err, "cannot settle job '%s'", job) : 0;
}
