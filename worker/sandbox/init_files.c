/*
 * init_files.c - theory of operation.
 *
 * Edits come as records in a sealed memory file and are applied in the mounted
 * workspace, as the inner user, before any job has run. Every directory on the
 * way is opened beneath the one above it without following a link, so that no
 * link of the checkout leads elsewhere. A file is replaced by removing it and
 * making a new one: that never copies the old content up, and never writes
 * through a second name of it. The path of a record is checked again here,
 * although the driver's side has done so: the driver may be hostile.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/init_private.h"

/* --- paths ---------------------------------------------------------------------- */

/* Components of 1 to 255 bytes, none of them "." or "..". */
static bool valid_path(const char *path, size_t len)
{
	size_t start = 0;

	if (len == 0 || len >= WIRE_PATH_BYTES || strlen(path) != len)
		return false;
	for (size_t i = 0; i <= len; i++) {
		size_t part = i - start;

		if (i < len && path[i] != '/')
			continue;
		if (part == 0 || part > NAME_MAX || (part == 1 && path[start] == '.') ||
		    (part == 2 && path[start] == '.' && path[start + 1] == '.'))
			return false;
		start = i + 1;
	}
	return true;
}

static int conflict(struct err *err, const char *path, const char *what)
{
	return err_set(err, ERR_CONFLICT, "cannot write '%.200s': %s", path, what);
}

/* Opens a directory that is not a link, making it when `make`. */
static int open_dir(int dir_fd, const char *name, bool make)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir_fd, name, flags);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
		return -1;
	return openat(dir_fd, name, flags);
}

/* The directory that `path` lies in; `ret_name` points into `path`. */
static int open_parent(int top_fd, const char *path, bool make, int *ret_fd, const char **ret_name,
		       struct err *err)
{
	CLEANUP(fd_cleanup) int fd = openat(top_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX + 1];
	const char *slash;

	for (; fd >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1) {
		int next;

		(void)snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		next = open_dir(fd, name, make);
		if (next < 0)
			break;
		fd_close(fd);
		fd = next;
	}
	if (fd < 0 || slash != NULL) {
		if (errno == ENOTDIR || errno == ELOOP)
			return conflict(err, path, "a part of its path is no directory");
		return err_sys(err, "cannot open the directory of '%.200s'", path);
	}
	*ret_fd = fd_take(&fd);
	*ret_name = path;
	return 0;
}

/* --- one edit ---------------------------------------------------------------------- */

/* Takes what is at `name` away, unless it is a directory. */
static int clear_place(int dir_fd, const char *name, struct err *err)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno == EISDIR || errno == EPERM)
		return conflict(err, name, "a directory is in its place");
	return err_sys(err, "cannot remove '%.200s'", name);
}

static int write_link(int dir_fd, const char *name, struct bytes target, struct err *err)
{
	char text[WIRE_PATH_BYTES];

	if (target.len == 0 || target.len >= sizeof(text) ||
	    memchr(target.data, '\0', target.len) != NULL)
		return err_set(err, ERR_INPUT, "cannot write '%.200s': not the target of a link",
			       name);
	(void)memcpy(text, target.data, target.len);
	text[target.len] = '\0';
	if (symlinkat(text, dir_fd, name) < 0)
		return err_sys(err, "cannot make link '%.200s'", name);
	return 0;
}

static int write_file(int dir_fd, const char *name, bool executable, struct bytes content,
		      struct err *err)
{
	CLEANUP(fd_cleanup)
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(err, "cannot make '%.200s'", name);
	if (fd_write_all(fd, content.data, content.len, err) < 0)
		return err_prefix(err, "'%.200s'", name);
	if (fchmod(fd, executable ? 0755 : 0644) < 0)
		return err_sys(err, "cannot set the mode of '%.200s'", name);
	return 0;
}

/* As git has it: a directory that became empty goes with its last file. */
static void remove_empty_parents(int top_fd, const char *path)
{
	char text[WIRE_PATH_BYTES];

	(void)snprintf(text, sizeof(text), "%s", path);
	for (char *slash; (slash = strrchr(text, '/')) != NULL;) {
		CLEANUP(fd_cleanup) int fd = -1;
		const char *name;

		*slash = '\0';
		if (open_parent(top_fd, text, false, &fd, &name, NULL) < 0 ||
		    unlinkat(fd, name, AT_REMOVEDIR) < 0)
			return;
	}
}

static int remove_file(int top_fd, const char *path, struct err *err)
{
	CLEANUP(fd_cleanup) int dir_fd = -1;
	const char *name;

	if (open_parent(top_fd, path, false, &dir_fd, &name, err) < 0)
		return -1;
	if (unlinkat(dir_fd, name, 0) < 0) {
		if (errno == EISDIR || errno == ENOENT)
			return conflict(err, path, "it is no file that could be removed");
		return err_sys(err, "cannot remove '%.200s'", path);
	}
	remove_empty_parents(top_fd, path);
	return 0;
}

static int apply(int top_fd, const char *path, uint32_t mode, struct bytes content, struct err *err)
{
	CLEANUP(fd_cleanup) int dir_fd = -1;
	const char *name;

	if (mode == 0)
		return remove_file(top_fd, path, err);
	if (open_parent(top_fd, path, true, &dir_fd, &name, err) < 0 ||
	    clear_place(dir_fd, name, err) < 0)
		return -1;
	switch (mode) {
	case 0120000:
		return write_link(dir_fd, name, content, err);
	case 0100644:
	case 0100755:
		return write_file(dir_fd, name, mode == 0100755, content, err);
	default:
		return err_set(err, ERR_INPUT, "cannot write '%.200s': mode %o is none of git's",
			       path, mode);
	}
}

/* --- all of them ---------------------------------------------------------------------- */

static int apply_all(struct init *init, struct bytes map, struct err *err)
{
	size_t at = 0;

	while (at < map.len) {
		struct wire_edit head;
		const char *path;
		struct bytes content;
		uint64_t left = map.len - at;

		if (left < sizeof(head))
			return err_set(err, ERR_INPUT, "an edit that is cut off");
		(void)memcpy(&head, map.data + at, sizeof(head));
		left -= sizeof(head);
		if (head.path_len >= WIRE_PATH_BYTES || left < head.path_len + 1 ||
		    left - head.path_len - 1 < head.content_len)
			return err_set(err, ERR_INPUT, "an edit that is cut off");
		path = (const char *)map.data + at + sizeof(head);
		content =
			(struct bytes){(const uint8_t *)path + head.path_len + 1, head.content_len};
		if (path[head.path_len] != '\0' || !valid_path(path, head.path_len))
			return err_set(err, ERR_INPUT, "an edit of an invalid path");
		if (apply(init->work_fd, path, head.mode, content, err) < 0)
			return -1;
		at += (sizeof(head) + head.path_len + 1 + head.content_len + 7) / 8 * 8;
	}
	return 0;
}

int init_edit(struct init *init, int fd, struct err *err)
{
	struct bytes map;
	int result;

	if (fd_map(fd, WIRE_EDITS_BYTES, &map, err) < 0)
		return -1;
	result = apply_all(init, map, err);
	fd_unmap(&map);
	return result;
}
