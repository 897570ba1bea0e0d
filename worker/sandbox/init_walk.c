/*
 * init_walk.c - theory of operation.
 *
 * Both walks run when every job process is dead, so nothing moves. What is to
 * be looked at is kept as a list of paths rather than as a stack of open
 * directories: a job may nest them as deep as it likes. Each is opened from
 * the top of the workspace, beneath it and without following links; a path of
 * PATH_MAX or more cannot be said, so its directory is shown once more as
 * something that is no file: what lies there is missing, and that is told.
 *
 * The walk of changes lists the names of the layer, but reports what the
 * mounted workspace shows under them. So a whiteout, a forged one too, shows
 * as a name that is missing from its directory, and nothing that the layer
 * only claims is believed.
 *
 * init holds CAP_DAC_READ_SEARCH in its user namespace: a job can't hide a
 * file by its mode. Files are opened without blocking and checked again to be
 * regular once open.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "worker/sandbox/init_private.h"

/* --- the list of directories ---------------------------------------------------- */

struct pending {
	struct pending *next;
	char path[];
};

struct walk {
	struct init *init;
	struct pending *dirs;
	uint64_t entries; /* looked at */
	uint64_t max_entries;
	bool stopped; /* the driver has enough */
	struct buf names;
	const char *const *globs; /* of a search */
	size_t globs_len;
};

static int push(struct walk *walk, const char *path, struct err *err)
{
	size_t len = strlen(path) + 1;
	struct pending *dir = malloc(sizeof(*dir) + len);

	if (dir == NULL)
		return err_set(err, ERR_SYSTEM, "cannot walk the workspace: out of memory");
	(void)memcpy(dir->path, path, len);
	dir->next = walk->dirs;
	walk->dirs = dir;
	return 0;
}

static struct pending *pop(struct walk *walk)
{
	struct pending *dir = walk->dirs;

	if (dir != NULL)
		walk->dirs = dir->next;
	return dir;
}

static void walk_release(struct walk *walk)
{
	for (struct pending *dir; (dir = pop(walk)) != NULL;)
		free(dir);
	buf_release(&walk->names);
}

static int join(char ret_path[WIRE_PATH_BYTES], const char *dir, const char *name, struct err *err)
{
	int len =
		snprintf(ret_path, WIRE_PATH_BYTES, "%s%s%s", dir, dir[0] == '\0' ? "" : "/", name);

	if (len >= WIRE_PATH_BYTES)
		return err_set(err, ERR_LIMIT,
			       "cannot walk the workspace: a path is longer than %d bytes",
			       WIRE_PATH_BYTES - 1);
	return 0;
}

static int count(struct walk *walk, struct err *err)
{
	if (++walk->entries > walk->max_entries)
		return err_set(err, ERR_LIMIT, "cannot walk the workspace: more than %llu names",
			       (unsigned long long)walk->max_entries);
	return 0;
}

/* --- opening ----------------------------------------------------------------------- */

static int open_beneath(int top_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};

	return (int)syscall(SYS_openat2, top_fd, path[0] == '\0' ? "." : path, &how, sizeof(how));
}

static DIR *open_list(int top_fd, const char *path)
{
	int fd = open_beneath(top_fd, path, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL)
		fd_close(fd);
	return dir;
}

/* A regular file, open for reading; -1 for anything else. */
static int open_regular(int dir_fd, const char *name, struct stat *ret)
{
	CLEANUP(fd_cleanup)
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, ret) < 0 || !S_ISREG(ret->st_mode))
		return -1;
	return fd_take(&fd);
}

static struct dirent *next_name(DIR *dir)
{
	struct dirent *entry;

	do
		entry = readdir(dir);
	while (entry != NULL &&
	       (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	return entry;
}

/* --- sending ------------------------------------------------------------------------- */

/* The driver may end a walk at any time; it then waits for WIRE_END. */
static int heed_driver(struct walk *walk, struct err *err)
{
	struct pollfd readable = {.fd = walk->init->control_fd, .events = POLLIN};
	uint32_t kind = 0;

	if (poll(&readable, 1, 0) <= 0)
		return 0;
	if (fd_recv(walk->init->control_fd, &kind, sizeof(kind), NULL, NULL, err) != sizeof(kind) ||
	    kind != WIRE_STOP)
		return err_set(err, ERR_PEER, "the driver left a walk");
	walk->stopped = true;
	return 0;
}

static int send_entry(struct walk *walk, const char *path, enum driver_kind kind,
		      const struct stat *st, int fd, const char *target, struct err *err)
{
	struct wire_entry head = {
		.kind = WIRE_ENTRY, .entry_kind = kind, .mode = st->st_mode, .size = st->st_size};
	uint8_t *message = walk->init->message;
	size_t path_len = strlen(path) + 1, target_len = strlen(target) + 1;

	_Static_assert(sizeof(head) + 2 * (size_t)WIRE_PATH_BYTES <= WIRE_BYTES, "one message");
	head.bytes = (uint32_t)(path_len + target_len);
	(void)memcpy(message, &head, sizeof(head));
	(void)memcpy(message + sizeof(head), path, path_len);
	(void)memcpy(message + sizeof(head) + path_len, target, target_len);
	if (fd_send(walk->init->control_fd, message, sizeof(head) + head.bytes, &fd,
		    fd >= 0 ? 1 : 0, err) < 0)
		return -1;
	return heed_driver(walk, err);
}

static int flush_names(struct walk *walk, const char *path, uint32_t number, bool more,
		       struct err *err)
{
	size_t path_len = strlen(path) + 1;
	struct wire_names head = {.kind = WIRE_NAMES,
				  .count = number,
				  .more = more,
				  .bytes = (uint32_t)(path_len + walk->names.len)};
	uint8_t *message = walk->init->message;

	(void)memcpy(message, &head, sizeof(head));
	(void)memcpy(message + sizeof(head), path, path_len);
	if (walk->names.len > 0)
		(void)memcpy(message + sizeof(head) + path_len, walk->names.data, walk->names.len);
	buf_clear(&walk->names);
	if (fd_send(walk->init->control_fd, message, sizeof(head) + head.bytes, NULL, 0, err) < 0)
		return -1;
	return heed_driver(walk, err);
}

/* All names that the workspace shows in a directory, in as many messages as it takes. */
static int send_names(struct walk *walk, const char *path, struct err *err)
{
	enum { ROOM = WIRE_BYTES - WIRE_PATH_BYTES - 64 };
	DIR *dir = open_list(walk->init->work_fd, path);
	uint32_t number = 0;
	int result = 0;

	if (dir == NULL)
		return err_sys(err, "cannot list '%.200s' of the workspace", path);
	for (struct dirent *entry; result == 0 && (entry = next_name(dir)) != NULL; number++) {
		size_t len = strlen(entry->d_name) + 1;

		if (walk->names.len + len > ROOM) {
			result = flush_names(walk, path, number, true, err);
			number = 0;
		}
		buf_add(&walk->names, entry->d_name, len);
		if (result == 0)
			result = count(walk, err);
	}
	(void)closedir(dir);
	if (result == 0 && walk->names.failed)
		result = err_set(err, ERR_SYSTEM, "cannot walk the workspace: out of memory");
	return result < 0 ? -1 : flush_names(walk, path, number, false, err);
}

/* --- changes ---------------------------------------------------------------------------- */

static int send_other(struct walk *walk, int dir_fd, const char *name, const char *path,
		      const struct stat *st, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char target[WIRE_PATH_BYTES] = "";
	struct stat opened;
	ssize_t len;

	if (S_ISLNK(st->st_mode)) {
		len = readlinkat(dir_fd, name, target, sizeof(target) - 1);
		if (len < 0)
			return err_sys(err, "cannot read link '%.200s'", path);
		target[len] = '\0';
		return send_entry(walk, path, DRIVER_LINK, st, -1, target, err);
	}
	if (!S_ISREG(st->st_mode))
		return send_entry(walk, path, DRIVER_OTHER, st, -1, "", err);
	fd = open_regular(dir_fd, name, &opened);
	if (fd < 0)
		return err_sys(err, "cannot open '%.200s' of the workspace", path);
	return send_entry(walk, path, DRIVER_FILE, &opened, fd, "", err);
}

/* `name` is in the layer; what does the workspace show? */
static int change(struct walk *walk, int shown_fd, const char *dir, const char *name,
		  struct err *err)
{
	char path[WIRE_PATH_BYTES];
	struct stat st;

	if (count(walk, err) < 0)
		return -1;
	if (fstatat(shown_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at '%.200s'", name);
	if (join(path, dir, name, NULL) < 0)
		return send_entry(walk, dir, DRIVER_OTHER, &st, -1, "", err);
	if (S_ISDIR(st.st_mode))
		return push(walk, path, err);
	return send_other(walk, shown_fd, name, path, &st, err);
}

static int changes_in(struct walk *walk, int upper_fd, const char *path, struct err *err)
{
	CLEANUP(fd_cleanup) int shown_fd = -1;
	DIR *dir;
	int result = 0;

	if (send_names(walk, path, err) < 0)
		return -1;
	dir = open_list(upper_fd, path);
	if (dir == NULL)
		return err_sys(err, "cannot list '%.200s' of the layer", path);
	shown_fd = open_beneath(walk->init->work_fd, path, O_RDONLY | O_DIRECTORY);
	if (shown_fd < 0)
		result = err_sys(err, "cannot open '%.200s' of the workspace", path);
	for (struct dirent *entry;
	     result == 0 && !walk->stopped && (entry = next_name(dir)) != NULL;)
		result = change(walk, shown_fd, path, entry->d_name, err);
	(void)closedir(dir);
	return result;
}

/* --- the search --------------------------------------------------------------------------- */

static bool matches(const struct walk *walk, const char *path)
{
	for (size_t i = 0; i < walk->globs_len; i++)
		if (text_glob_match(walk->globs[i], path))
			return true;
	return false;
}

/* Whether anything below `dir` can match: each glob is literal up to its first
 * wildcard, and one without '/' matches at any depth. */
static bool worth_entering(const struct walk *walk, const char *dir)
{
	size_t dir_len = strlen(dir);

	for (size_t i = 0; i < walk->globs_len; i++) {
		const char *glob = walk->globs[i] + (walk->globs[i][0] == '/');
		size_t literal = strcspn(glob, "*?[\\");
		size_t common = literal < dir_len ? literal : dir_len;

		if (strchr(walk->globs[i], '/') == NULL)
			return true;
		if (strncmp(glob, dir, common) == 0 && (literal <= dir_len || glob[dir_len] == '/'))
			return true;
	}
	return false;
}

static int look(struct walk *walk, int dir_fd, const char *dir, const char *name, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char path[WIRE_PATH_BYTES];
	struct stat st;

	if (count(walk, err) < 0)
		return -1;
	if (join(path, dir, name, NULL) < 0)
		return 0; /* no artifact has such a name */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (S_ISDIR(st.st_mode))
		return worth_entering(walk, path) ? push(walk, path, err) : 0;
	if (!S_ISREG(st.st_mode) || !matches(walk, path))
		return 0;
	fd = open_regular(dir_fd, name, &st);
	if (fd < 0)
		return 0;
	return send_entry(walk, path, DRIVER_FILE, &st, fd, "", err);
}

static int search_in(struct walk *walk, const char *path, struct err *err)
{
	DIR *dir = open_list(walk->init->work_fd, path);
	int result = 0;

	if (dir == NULL)
		return err_sys(err, "cannot list '%.200s' of the workspace", path);
	for (struct dirent *entry;
	     result == 0 && !walk->stopped && (entry = next_name(dir)) != NULL;)
		result = look(walk, dirfd(dir), path, entry->d_name, err);
	(void)closedir(dir);
	return result;
}

/* --- the two walks --------------------------------------------------------------------------- */

/* What went wrong with the workspace is told; what went wrong with the driver
 * ends init. */
static int finish_walk(struct walk *walk, int result, struct err *err)
{
	uint32_t kind = WIRE_END;

	walk_release(walk);
	if (result < 0 && err->kind == ERR_PEER)
		return -1;
	if (result < 0) {
		init_reply(walk->init, -1, err);
		return 0;
	}
	return fd_send(walk->init->control_fd, &kind, sizeof(kind), NULL, 0, err);
}

int init_changes(struct init *init, struct err *err)
{
	struct walk walk = {.init = init, .max_entries = WIRE_WALK_ENTRIES};
	CLEANUP(fd_cleanup)
	int upper_fd = openat(init->layer_fd, LAYER_UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result;

	buf_init(&walk.names, WIRE_BYTES);
	result = upper_fd < 0 ? err_sys(err, "cannot open the layer") : push(&walk, "", err);
	while (result == 0 && !walk.stopped && walk.dirs != NULL) {
		struct pending *dir = pop(&walk);

		result = changes_in(&walk, upper_fd, dir->path, err);
		free(dir);
	}
	return finish_walk(&walk, result, err);
}

int init_find(struct init *init, size_t len, struct err *err)
{
	struct walk walk = {.init = init};
	struct wire_find head;
	const char *globs[WIRE_GLOBS];
	static char text[WIRE_BYTES]; /* the message's room is needed for answers */
	size_t at = 0;
	int result;

	if (len <= sizeof(head) || init->message[len - 1] != '\0')
		return err_set(err, ERR_PEER, "a search that is too short");
	(void)memcpy(&head, init->message, sizeof(head));
	(void)memcpy(text, init->message + sizeof(head), len - sizeof(head));
	if (head.globs > WIRE_GLOBS)
		return err_set(err, ERR_PEER, "a search for too much");
	for (size_t i = 0; i < head.globs; i++) {
		if (at >= len - sizeof(head))
			return err_set(err, ERR_PEER, "a search with patterns missing");
		globs[i] = text + at;
		at += strlen(globs[i]) + 1;
	}
	walk.globs = globs;
	walk.globs_len = head.globs;
	walk.max_entries = head.max_entries;
	buf_init(&walk.names, WIRE_BYTES);
	result = push(&walk, "", err);
	while (result == 0 && !walk.stopped && walk.dirs != NULL) {
		struct pending *dir = pop(&walk);

		result = search_in(&walk, dir->path, err);
		free(dir);
	}
	return finish_walk(&walk, result, err);
}
