/*
 * store_bundle.c - a bundle of git that comes with a job.
 *
 * All of these share one repository of the store, so a pack must not be able to
 * lean on what others have sent: as a delta of it, as a tree that names it, or
 * by asking for its commit. The bundle therefore becomes a repository of its
 * own first, which must be whole by itself; then its one commit is copied like
 * that of any local source.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "snapshots/store_private.h"

static int write_file(const char *path, struct bytes content, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(err, "cannot make '%s'", path);
	return fd_write_all(fd, content.data, content.len, err);
}

int store_unpack_bundle(const struct store *store, struct bytes bundle, const char *commit,
			struct store_build *build, struct gitdb **ret, struct oid *ret_commit,
			struct err *err)
{
	char path[PATH_MAX + 8], repo[PATH_MAX + 8];
	struct gitdb *db = NULL;
	int result;

	if (store_build_begin(store, build, err) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/bundle", build->path);
	(void)snprintf(repo, sizeof(repo), "%s/repo", build->path);
	if (write_file(path, bundle, err) < 0)
		return -1;
	if (!gitdb_is_bundle(path))
		return err_set(err, ERR_INPUT,
			       "it is no bundle; make one with git bundle create "
			       "FILE REF");
	if (mkdir(repo, 0700) < 0)
		return err_sys(err, "cannot make '%s'", repo);
	if (gitdb_create(repo, err) < 0 || gitdb_open(repo, GITDB_WRITE, &db, err) < 0)
		return -1;
	result =
		gitdb_fetch_bundle(db, path, commit, store->config.max_repo_bytes, ret_commit, err);
	if (result == 0)
		result = gitdb_check_commit(db, ret_commit, err);
	if (result == 0)
		*ret = db;
	else
		gitdb_close(db);
	return result;
}
