/*
 * copy.c - theory of operation.
 *
 * One level of recursion for each level of directories, with two descriptors
 * each, so the depth is bounded. Bytes go from file to file within the kernel.
 * The source is a checkout that nobody writes; no link is followed in either
 * tree all the same.
 */
#include "worker/sandbox/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"

enum { DEPTH_MAX = 200, FILE_FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };

/* --- what is in the way -------------------------------------------------- */

/* Removes what has this name, with all in it; false when something stays. */
static bool remove_all(int dir_fd, const char *name, int depth)
{
	int fd, list_fd;
	DIR *dir;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return true;
	if (depth == DEPTH_MAX ||
	    (fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return false;
	list_fd = dup(fd);
	dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	if (dir == NULL)
		fd_close(list_fd);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			(void)remove_all(fd, entry->d_name, depth + 1);
	if (dir != NULL)
		(void)closedir(dir);
	fd_close(fd);
	return unlinkat(dir_fd, name, AT_REMOVEDIR) == 0;
}

/* After a call that found the name taken. */
static bool make_room(int dir_fd, const char *name)
{
	return errno == EEXIST && remove_all(dir_fd, name, 0);
}

static bool is_dir(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* --- copying ---------------------------------------------------------------- */

static int copy_bytes(int from_fd, int to_fd, off_t left)
{
	while (left > 0) {
		ssize_t n = sendfile(to_fd, from_fd, NULL, (size_t)left);

		if (n < 0 && errno != EINTR)
			return -1;
		if (n == 0)
			break;
		left -= n < 0 ? 0 : n;
	}
	return 0;
}

static int copy_file(int from_dir, int to_dir, const char *name, struct err *err)
{
	CLEANUP(fd_cleanup)
	int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP(fd_cleanup) int to = -1;
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		return err_sys(err, "cannot read '%.200s'", name);
	to = openat(to_dir, name, FILE_FLAGS, 0600);
	if (to < 0 && make_room(to_dir, name))
		to = openat(to_dir, name, FILE_FLAGS, 0600);
	if (to < 0 || copy_bytes(from, to, st.st_size) < 0 || fchmod(to, st.st_mode & 0777) < 0)
		return err_sys(err, "cannot copy '%.200s'", name);
	return 0;
}

static int copy_link(int from_dir, int to_dir, const char *name, struct err *err)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (len < 0)
		return err_sys(err, "cannot read link '%.200s'", name);
	target[len] = '\0';
	if (symlinkat(target, to_dir, name) < 0 &&
	    (!make_room(to_dir, name) || symlinkat(target, to_dir, name) < 0))
		return err_sys(err, "cannot copy link '%.200s'", name);
	return 0;
}

/* copy_dir and copy_level call each other: the recursion. */
static int copy_level(int from_fd, int to_fd, int depth, const struct copy_owner *owner,
		      struct err *err);

static int copy_dir(int from_dir, int to_dir, const char *name, mode_t mode, int depth,
		    const struct copy_owner *owner, struct err *err)
{
	CLEANUP(fd_cleanup) int from = -1;
	CLEANUP(fd_cleanup) int to = -1;

	if (depth == DEPTH_MAX)
		return err_set(err, ERR_LIMIT, "cannot copy '%.200s': more than %d levels", name,
			       DEPTH_MAX);
	from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0)
		return err_sys(err, "cannot open '%.200s'", name);
	if (mkdirat(to_dir, name, 0700) < 0 && !(errno == EEXIST && is_dir(to_dir, name)) &&
	    (!make_room(to_dir, name) || mkdirat(to_dir, name, 0700) < 0))
		return err_sys(err, "cannot make '%.200s'", name);
	if ((to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return err_sys(err, "cannot make '%.200s'", name);
	if (copy_level(from, to, depth + 1, owner, err) < 0)
		return -1;
	if (fchmod(to, mode & 0777) < 0)
		return err_sys(err, "cannot set the mode of '%.200s'", name);
	return 0;
}

static int copy_kind(int from_fd, int to_fd, const char *name, const struct stat *st, int depth,
		     const struct copy_owner *owner, struct err *err)
{
	if (S_ISDIR(st->st_mode))
		return copy_dir(from_fd, to_fd, name, st->st_mode, depth, owner, err);
	if (S_ISREG(st->st_mode))
		return copy_file(from_fd, to_fd, name, err);
	return copy_link(from_fd, to_fd, name, err);
}

static int copy_one(int from_fd, int to_fd, const char *name, int depth,
		    const struct copy_owner *owner, struct err *err)
{
	struct stat st;

	if (fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "cannot look at '%.200s'", name);
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0) && !remove_all(to_fd, name, 0))
		return err_sys(err, "cannot remove '%.200s'", name);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return 0;
	if (copy_kind(from_fd, to_fd, name, &st, depth, owner, err) < 0)
		return -1;
	if ((owner->uid != geteuid() || owner->gid != getegid()) &&
	    fchownat(to_fd, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "cannot give '%.200s' to the job", name);
	return 0;
}

static int copy_level(int from_fd, int to_fd, int depth, const struct copy_owner *owner,
		      struct err *err)
{
	int list_fd = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;
	DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);

	if (dir == NULL) {
		fd_close(list_fd);
		return err_sys(err, "cannot list a directory");
	}
	for (struct dirent *entry; result == 0 && (entry = readdir(dir)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = copy_one(from_fd, to_fd, entry->d_name, depth, owner, err);
	(void)closedir(dir);
	return result;
}

int copy_tree(int from_fd, int to_fd, const struct copy_owner *owner, struct err *err)
{
	return copy_level(from_fd, to_fd, 0, owner, err);
}
