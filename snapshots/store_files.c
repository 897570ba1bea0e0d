/*
 * store_files.c - files that come with a job become a commit of the store.
 *
 * They are first hashed in memory, so files that are here already cost neither
 * a write nor a lock beyond the shared one. What is new takes the way of
 * everything that hostile bytes have made: through gitdb_import, which judges
 * each object before it writes the first.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/fd.h"
#include "snapshots/files.h"
#include "snapshots/store_private.h"

enum { ARENA_BYTES = 64 << 20, STREAM_BYTES = 64 << 20 };

static int keep(const char *path, struct gitdb *made, const struct oid *commit, struct err *err)
{
	CLEANUP(buf_release) struct buf stream = {0};
	struct gitdb *db = NULL;
	int result;

	if (gitdb_open(path, GITDB_WRITE, &db, err) < 0)
		return -1;
	buf_init(&stream, STREAM_BYTES);
	result = store_marked(db, commit, err);
	if (result == 0) {
		result = gitdb_export(made, &stream, err);
		if (result == 0)
			result = gitdb_import(db, buf_bytes(&stream), NULL, commit, err);
		if (result == 0)
			result = store_mark(db, commit, commit, err);
	}
	gitdb_close(db);
	return result < 0 ? -1 : 0;
}

int store_files(struct store *store, const struct job_source *source, struct store_base *ret,
		struct reason *ret_reason, struct err *err)
{
	int64_t deadline_us = clock_mono_us() + store->config.fetch_timeout_ms * 1000;
	const struct source_url place = source_of_files();
	CLEANUP(arena_cleanup) struct arena arena = {0};
	CLEANUP(fd_cleanup) int lock = -1;
	struct gitdb *made = NULL;
	struct store_base base;
	const char *path;
	int result;

	arena_init(&arena, ARENA_BYTES);
	path = store_repo_path(&arena, store, &place);
	if (path == NULL) {
		errno = ENOMEM;
		return err_sys(err, "cannot take the files of the job");
	}
	if (store_write_lock(store, place.name, STORE_WRITES, deadline_us, &lock, err) < 0 ||
	    store_make_repo(store, path, err) < 0 ||
	    gitdb_open(path, GITDB_QUARANTINE, &made, err) < 0)
		return -1;
	result = files_write(&arena, made, source, &base.commit, &base.tree, ret_reason, err);
	if (result == 0)
		result = keep(path, made, &base.commit, err);
	gitdb_close(made);
	if (result == 0)
		*ret = base;
	return result;
}
