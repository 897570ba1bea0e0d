/*
 * root_env.c - theory: an image says which variables its programs expect (PATH
 * above all), and mkroot leaves them beside the root in a file of its own, for
 * this is read by programs that have no JSON. The file decides what is executed
 * as which command, so it is held to the rule of the root itself: nobody but root
 * and the caller may be able to change it (root_check.c sees to its directory).
 *
 * Its WorkingDir is handed on as a variable and not gone to: a step that started
 * there would see the image's own copy of a project, not the patched one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/roots.h"

/* The box has its own writable places and its own user, whatever the image had. */
static const char *const kept_by_the_box[] = {"HOME", "TMPDIR", "USER", "LOGNAME", "SBX_JOB"};

bool root_env_same(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");

	return len == strcspn(b, "=") && strncmp(a, b, len) == 0;
}

static bool is_the_boxs(const char *entry)
{
	for (size_t i = 0; i < ARRAY_LEN(kept_by_the_box); i++)
		if (root_env_same(entry, kept_by_the_box[i]))
			return true;
	return false;
}

/* Its size, which a copy of it needs; REFUSED when there is none, or no root: that
 * is for others to say. */
static int open_file(const char *path, int *ret_fd, size_t *ret_size, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char name[PATH_MAX + 8];
	struct stat st;

	if (realpath(path, name) == NULL)
		return REFUSED;
	(void)memcpy(name + strlen(name), ".env", sizeof(".env"));
	fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return REFUSED;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot open '%s'", name);
	if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 || st.st_size > ROOT_ENV_BYTES)
		return err_set(err, ERR_INPUT,
			       "'%s': expected a file of at most %d bytes that nobody else can "
			       "change, found %lld bytes, uid %u, mode %04o",
			       name, ROOT_ENV_BYTES, (long long)st.st_size, st.st_uid,
			       st.st_mode & 07777);
	*ret_fd = fd_take(&fd);
	*ret_size = (size_t)st.st_size;
	return 0;
}

/* One after the other, each with its NUL. */
static int split(const char *path, const char *text, size_t len, const char **env, struct err *err)
{
	size_t count = 0;

	for (const char *at = text; at < text + len; at += strlen(at) + 1) {
		if (*at == '=' || strchr(at, '=') == NULL || count == ROOT_ENV_MAX ||
		    text[len - 1] != '\0')
			return err_set(err, ERR_INPUT,
				       "'%s.env' is damaged: expected at most %d of NAME=VALUE, "
				       "each followed by NUL",
				       path, ROOT_ENV_MAX);
		if (!is_the_boxs(at))
			env[count++] = at;
	}
	env[count] = NULL;
	return 0;
}

int root_env_read(const char *path, struct arena *arena, const char *const **ret, struct err *err)
{
	static const char *const none[] = {NULL};
	CLEANUP(fd_cleanup) int fd = -1;
	const char **env;
	size_t size = 0;
	ssize_t len;
	char *text;
	int rc = REFUSED;

	if (path != NULL && *path != '\0' && strcmp(path, "/") != 0)
		rc = open_file(path, &fd, &size, err);
	if (rc != 0) {
		*ret = none;
		return rc == REFUSED ? 0 : -1;
	}
	text = arena_alloc(arena, size + 1);
	env = arena_array(arena, ROOT_ENV_MAX + 1, sizeof(*env));
	if (text == NULL || env == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	len = read(fd, text, size);
	if (len < 0)
		return err_sys(err, "cannot read '%s.env'", path);
	text[len] = '\0';
	if (split(path, text, (size_t)len, env, err) < 0)
		return -1;
	*ret = env;
	return 0;
}
