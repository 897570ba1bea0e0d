/*
 * store_crew.c - files of a checkout, made by several threads.
 *
 * To make a file takes five system calls, and a tree has thousands of files:
 * work for the kernel, which does it on several processors at once. One thread
 * walks the tree and reads the objects, for libgit2 belongs to that one alone.
 * It hands each file over with its content; a helper makes it. When no place is
 * free it makes the file itself, so it waits for nobody before the end.
 *
 * Helpers are threads, not processes, because of what a kill must leave behind:
 * no lock that is held for longer than the builder lives, no hand that still
 * writes where the next start sweeps. A process is seen to be dead, and its
 * flocks are dropped, after the last system call of its last thread. Helpers run
 * nothing but what is in this file and are gone when store_crew_end returns, so
 * no fork meets them.
 *
 * Files in a directory move its time. It is therefore set, and the directory
 * closed, by who lets go of it last: the walk, or a helper with its last file.
 *
 * The places are a ring. Those from `taken` to `handed` wait for a helper; one
 * that was taken is busy until its file is made. Only the walk frees a content.
 */
#include "snapshots/store_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "schema/limits.h"

enum {
	PLACES = 64,
	HELPERS_MAX = 3,
	ALONE_FILES = 256,	      /* smaller trees are not worth a thread */
	HANDED_BYTES_MAX = 256 << 10, /* bounds what all places hold */
	WAKE_PLACES = 8,	      /* one at a time, waking costs more than making */
	STACK_BYTES = 256 << 10,
};

const struct timespec store_times[2] = {{.tv_sec = STORE_MTIME_S}, {.tv_sec = STORE_MTIME_S}};

struct place {
	struct store_dir *dir;
	struct store_file file;
	char name[LIMIT_NAME_BYTES + 1];
	bool busy; /* handed over and not yet made */
};

struct store_crew {
	int blobs;
	unsigned helpers_max;
	size_t files;
	pthread_t helpers[HELPERS_MAX];
	unsigned helpers_len;

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t work;
	struct place places[PLACES];
	size_t handed, taken;
	bool ending;
	bool failed;
	struct err err; /* of the first that failed */
};

/* --- directories ------------------------------------------------------- */

struct store_dir *store_dir_new(int fd, struct err *err)
{
	struct store_dir *dir = malloc(sizeof(*dir));

	if (dir == NULL) {
		fd_close(fd);
		errno = ENOMEM;
		(void)err_sys(err, "cannot open directory");
		return NULL;
	}
	dir->fd = fd;
	atomic_init(&dir->users, 1);
	return dir;
}

int store_dir_release(struct store_dir *dir, struct err *err)
{
	int result = 0;

	if (atomic_fetch_sub(&dir->users, 1) > 1)
		return 0;
	if (futimens(dir->fd, store_times) < 0)
		result = err_sys(err, "cannot set the time of a directory");
	fd_close(dir->fd);
	free(dir);
	return result;
}

/* --- one file ---------------------------------------------------------- */

static int make_file(int blobs, int dir, const struct store_file *file, struct err *err)
{
	CLEANUP(fd_cleanup)
	int fd = openat(dir, file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			file->blob.exec ? 0755 : 0644);

	if (fd < 0)
		return err_sys(err, "cannot make '%s'", file->name);
	if (fd_write_all(fd, file->content.bytes.data, file->content.bytes.len, err) < 0)
		return err_prefix(err, "'%s'", file->name);
	if (futimens(fd, store_times) < 0)
		return err_sys(err, "cannot set the time of '%s'", file->name);
	if (file->shared)
		store_blob_keep(blobs, &file->blob, dir, file->name);
	return 0;
}

/* --- helpers ----------------------------------------------------------- */

/* Makes the next file that waits. The lock is held before and after. */
static void work_off(struct store_crew *crew)
{
	struct place *place = &crew->places[crew->taken++ % PLACES];
	bool failed = crew->failed;
	struct err why = {0};
	int result = 0;

	(void)pthread_mutex_unlock(&crew->lock);
	if (!failed)
		result = make_file(crew->blobs, place->dir->fd, &place->file, &why);
	if (store_dir_release(place->dir, result < 0 ? NULL : &why) < 0)
		result = -1;
	(void)pthread_mutex_lock(&crew->lock);
	place->busy = false;
	if (result < 0 && !crew->failed) {
		crew->failed = true;
		crew->err = why;
	}
}

static void *help(void *ctx)
{
	struct store_crew *crew = ctx;

	(void)pthread_mutex_lock(&crew->lock);
	for (;;) {
		while (crew->taken < crew->handed)
			work_off(crew);
		if (crew->ending)
			break;
		while (!crew->ending && crew->handed - crew->taken < WAKE_PLACES)
			(void)pthread_cond_wait(&crew->work, &crew->lock);
	}
	(void)pthread_mutex_unlock(&crew->lock);
	return NULL;
}

static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

/* As many as there are processors besides the walk's, and as can be started. Signals
 * stay with the walk. */
static void hire(struct store_crew *crew)
{
	unsigned wanted = processors() - 1;
	pthread_attr_t attr;
	sigset_t all, before;

	if (wanted > crew->helpers_max)
		wanted = crew->helpers_max;
	if (wanted == 0 || pthread_attr_init(&attr) != 0)
		return;
	(void)sigfillset(&all);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (pthread_sigmask(SIG_SETMASK, &all, &before) == 0) {
		while (crew->helpers_len < wanted &&
		       pthread_create(&crew->helpers[crew->helpers_len], &attr, help, crew) == 0)
			crew->helpers_len++;
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	(void)pthread_attr_destroy(&attr);
}

/* --- the crew ---------------------------------------------------------- */

struct store_crew *store_crew_new(int blobs, enum store_crew_size size, struct err *err)
{
	struct store_crew *crew = calloc(1, sizeof(*crew));

	if (crew == NULL) {
		errno = ENOMEM;
		(void)err_sys(err, "cannot check out");
		return NULL;
	}
	crew->blobs = blobs;
	crew->helpers_max = size == STORE_CREW_FULL ? HELPERS_MAX : 0;
	(void)pthread_mutex_init(&crew->lock, NULL);
	(void)pthread_cond_init(&crew->work, NULL);
	return crew;
}

/* 1 when a helper will make the file, 0 when no place is free, -1 when one failed. */
static int hand_over(struct store_crew *crew, struct store_dir *dir, const struct store_file *file)
{
	struct place *place = &crew->places[crew->handed % PLACES];
	bool busy, failed, enough;

	(void)pthread_mutex_lock(&crew->lock);
	busy = place->busy;
	failed = crew->failed;
	(void)pthread_mutex_unlock(&crew->lock);
	if (busy || failed)
		return failed ? -1 : 0;
	/* Nobody else looks at a place that is not busy. */
	gitdb_blob_release(&place->file.content);
	(void)snprintf(place->name, sizeof(place->name), "%s", file->name);
	place->file = *file;
	place->file.name = place->name;
	place->dir = dir;
	(void)atomic_fetch_add(&dir->users, 1);
	(void)pthread_mutex_lock(&crew->lock);
	place->busy = true;
	crew->handed++;
	enough = crew->handed - crew->taken >= WAKE_PLACES;
	(void)pthread_mutex_unlock(&crew->lock);
	if (enough)
		(void)pthread_cond_signal(&crew->work);
	return 1;
}

int store_crew_make(struct store_crew *crew, struct store_dir *dir, struct store_file *file,
		    struct err *err)
{
	int result = 0;

	assert(strlen(file->name) <= LIMIT_NAME_BYTES);
	if (crew->files++ == ALONE_FILES)
		hire(crew);
	if (crew->helpers_len > 0 && file->content.bytes.len <= HANDED_BYTES_MAX)
		result = hand_over(crew, dir, file);
	if (result > 0) {
		file->content = (struct gitdb_blob){0};
		return 0;
	}
	if (result < 0)
		return err_set(err, ERR_SYSTEM, "cannot make other files");
	return make_file(crew->blobs, dir->fd, file, err);
}

int store_crew_end(struct store_crew *crew, struct err *err)
{
	int result = 0;

	(void)pthread_mutex_lock(&crew->lock);
	crew->ending = true;
	(void)pthread_cond_broadcast(&crew->work);
	while (crew->taken < crew->handed)
		work_off(crew);
	(void)pthread_mutex_unlock(&crew->lock);
	for (unsigned i = 0; i < crew->helpers_len; i++)
		(void)pthread_join(crew->helpers[i], NULL);
	for (size_t i = 0; i < PLACES; i++)
		gitdb_blob_release(&crew->places[i].file.content);
	if (crew->failed) {
		if (err != NULL)
			*err = crew->err;
		result = -1;
	}
	(void)pthread_cond_destroy(&crew->work);
	(void)pthread_mutex_destroy(&crew->lock);
	free(crew);
	return result;
}
