/*
 * root_check.c - theory: a root that somebody else could change would be a way
 * into every job. So the directory and each one above it must belong to root or
 * to the caller and be writable by nobody else, a sticky directory aside (in it,
 * only the owner of an entry can move that away). What is below is looked at by
 * root_walk, when somebody asks: the mount is read-only, without set-id bits and
 * devices whatever is found, so of its flaws only those of ownership matter.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/roots.h"

enum { ENTRIES_MAX = 4 << 20, DEPTH_MAX = 256 };

/* --- what leads to it ------------------------------------------------- */

static bool is_ours(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static int check_dir(const char *path, bool top, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_sys(err, "cannot look at '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INPUT, "'%s' is not a directory", path);
	if (!is_ours(st.st_uid))
		return err_set(err, ERR_INPUT, "'%s' belongs to uid %u, who could change it", path,
			       st.st_uid);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (top || (st.st_mode & S_ISVTX) == 0))
		return err_set(err, ERR_INPUT,
			       "'%s' can be written by others (mode %04o); chmod go-w", path,
			       st.st_mode & 07777);
	if (top && (st.st_mode & (S_IROTH | S_IXOTH)) != (S_IROTH | S_IXOTH))
		return err_set(err, ERR_INPUT,
			       "'%s' cannot be entered by jobs (mode %04o); chmod 755", path,
			       st.st_mode & 07777);
	return 0;
}

/* Every directory from "/" to the one above `path`, which has no link in it. */
static int check_above(char *path, struct err *err)
{
	if (check_dir("/", false, err) < 0)
		return -1;
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		int result;

		*slash = '\0';
		result = check_dir(path, false, err);
		*slash = '/';
		if (result < 0)
			return -1;
	}
	return 0;
}

int root_check(const char *path, struct err *err)
{
	char real[PATH_MAX], usr[PATH_MAX + 8];
	struct stat st;

	if (realpath(path, real) == NULL)
		return err_sys(err, "cannot find '%s'", path);
	if (strcmp(real, "/") == 0)
		return 0;
	if (check_above(real, err) < 0 || check_dir(real, true, err) < 0)
		return -1;
	(void)snprintf(usr, sizeof(usr), "%s/usr", real);
	if (lstat(usr, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(err, ERR_INPUT, "'%s' is no root directory: no usr/ is in it", path);
	return 0;
}

/* --- what is in it ---------------------------------------------------- */

static void note(struct root_audit *audit, enum root_flaw flaw, const char *path)
{
	if (audit->flaws[flaw]++ == 0)
		(void)snprintf(audit->first[flaw], ROOTS_PATH_BYTES, "%.*s", ROOTS_PATH_BYTES - 1,
			       path);
}

static void look(struct root_audit *audit, const char *path, const struct stat *st)
{
	audit->files++;
	if (S_ISREG(st->st_mode))
		audit->bytes += st->st_size;
	if (!is_ours(st->st_uid))
		note(audit, ROOT_FOREIGN, path);
	if (S_ISLNK(st->st_mode))
		return;
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		note(audit, ROOT_WRITABLE, path);
	if (S_ISREG(st->st_mode) && (st->st_mode & (S_ISUID | S_ISGID)) != 0)
		note(audit, ROOT_SET_ID, path);
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		note(audit, ROOT_DEVICE, path);
}

/* Recurses with visit. */
static int walk(struct root_audit *audit, int dir_fd, const char *path, int depth, struct err *err);

/* One name of a directory, and all below it. */
static int visit(struct root_audit *audit, int dir_fd, const char *path, const char *name,
		 int depth, struct err *err)
{
	char below[PATH_MAX];
	struct stat st;
	int fd;

	if (audit->files == ENTRIES_MAX || depth == DEPTH_MAX ||
	    snprintf(below, sizeof(below), "%s/%s", path, name) >= (int)sizeof(below)) {
		audit->cut = true;
		return 0;
	}
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "cannot look at '%s'", below);
	look(audit, below, &st);
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot read '%s'", below);
	return walk(audit, fd, below, depth + 1, err);
}

/* `dir_fd` is consumed; `path` is where it is, for messages. */
static int walk(struct root_audit *audit, int dir_fd, const char *path, int depth, struct err *err)
{
	DIR *dir = fdopendir(dir_fd);
	const struct dirent *entry;
	int result = 0;

	if (dir == NULL) {
		(void)err_sys(err, "cannot read '%s'", path);
		fd_close(dir_fd);
		return -1;
	}
	while (result == 0 && !audit->cut && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = visit(audit, dirfd(dir), path, entry->d_name, depth, err);
	(void)closedir(dir);
	return result;
}

int root_walk(const char *path, struct root_audit *ret, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*ret = (struct root_audit){.files = 0};
	if (fd < 0)
		return err_sys(err, "cannot read '%s'", path);
	return walk(ret, fd, "", 0, err);
}
