/*
 * job_directory.c - one walk, depth first, that follows no link. A file that
 * grows meanwhile is read as far as the bounds allow and no further.
 */
#include "schema/job_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "schema/limits.h"

struct walk {
	struct arena *arena;
	const char *top;
	struct value *files, *executable, *links;
	size_t left_bytes;
	char path[LIMIT_PATH_BYTES + 1]; /* below `top`, without a slash at its end */
	struct err *err;
};

/* --- one entry --------------------------------------------------------- */

static int bad(struct walk *walk, enum err_kind kind, const char *why)
{
	return err_set(walk->err, kind, "'%.200s/%.200s' %s", walk->top, walk->path, why);
}

static int add_file(struct walk *walk, int dir, const char *name, bool executable)
{
	CLEANUP(fd_cleanup)
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP(buf_release) struct buf content = {0};
	const char *path = arena_strdup(walk->arena, walk->path);
	const char *copy;

	if (fd < 0)
		return err_sys(walk->err, "cannot open '%s/%s'", walk->top, walk->path);
	if (walk->files->map.len == LIMIT_FILES)
		return bad(walk, ERR_LIMIT,
			   "is one file more than a job may carry; use a repository");
	buf_init(&content, walk->left_bytes + 1);
	if (fd_read_all(fd, &content, walk->err) < 0 || content.len > walk->left_bytes)
		return bad(walk, ERR_LIMIT, "is more than a job may carry; use a repository");
	walk->left_bytes -= content.len;
	copy = arena_memdup(walk->arena, buf_text(&content), content.len);
	if (path == NULL || copy == NULL)
		return err_set(walk->err, ERR_LIMIT, "out of memory");
	value_put(walk->arena, walk->files, path,
		  value_bin(walk->arena, (struct bytes){(const uint8_t *)copy, content.len}));
	if (executable)
		value_append(walk->arena, walk->executable, value_str(walk->arena, path));
	return 0;
}

static int add_link(struct walk *walk, int dir, const char *name)
{
	char target[LIMIT_PATH_BYTES + 1];
	const char *path = arena_strdup(walk->arena, walk->path);
	const char *copy;
	ssize_t len = readlinkat(dir, name, target, sizeof(target));

	if (len < 0)
		return err_sys(walk->err, "cannot read link '%s/%s'", walk->top, walk->path);
	if (len > LIMIT_PATH_BYTES || !text_is_utf8(target, (size_t)len))
		return bad(walk, ERR_INPUT, "leads to what no job can name");
	target[len] = '\0';
	copy = arena_strdup(walk->arena, target);
	if (path == NULL || copy == NULL)
		return err_set(walk->err, ERR_LIMIT, "out of memory");
	value_put(walk->arena, walk->links, path, value_str(walk->arena, copy));
	return 0;
}

/* --- directories ------------------------------------------------------- */

static int is_wanted(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
	       strcmp(entry->d_name, ".git") != 0;
}

static int compare_entries(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Directories lie inside each other: add_entry comes back here. */
static int add_directory(struct walk *walk, int dir, unsigned depth);

static int add_entry(struct walk *walk, int dir, const char *name, unsigned depth)
{
	struct stat st;
	int below;
	int rc;

	if (!text_is_utf8(name, strlen(name)))
		return bad(walk, ERR_INPUT, "holds a name that is not UTF-8");
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(walk->err, "cannot look at '%s/%s'", walk->top, walk->path);
	if (S_ISREG(st.st_mode))
		return add_file(walk, dir, name, (st.st_mode & S_IXUSR) != 0);
	if (S_ISLNK(st.st_mode))
		return add_link(walk, dir, name);
	if (!S_ISDIR(st.st_mode))
		return bad(walk, ERR_INPUT, "is neither file, directory nor link");
	if (depth >= LIMIT_PATH_DEPTH)
		return bad(walk, ERR_LIMIT, "is deeper than a path may be");
	below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return err_sys(walk->err, "cannot open '%s/%s'", walk->top, walk->path);
	rc = add_directory(walk, below, depth + 1);
	fd_close(below);
	return rc;
}

static int add_directory(struct walk *walk, int dir, unsigned depth)
{
	size_t len = strlen(walk->path);
	struct dirent **entries;
	int count = scandirat(dir, ".", &entries, is_wanted, compare_entries);
	int rc = 0;

	if (count < 0)
		return err_sys(walk->err, "cannot list '%s/%s'", walk->top, walk->path);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;
		size_t left = sizeof(walk->path) - len;

		if (rc == 0 &&
		    snprintf(walk->path + len, left, "%s%s", len > 0 ? "/" : "", name) >= (int)left)
			rc = bad(walk, ERR_LIMIT, "has a longer path than a job can name");
		if (rc == 0)
			rc = add_entry(walk, dir, name, depth);
		walk->path[len] = '\0';
		free(entries[i]);
	}
	free(entries);
	return rc;
}

/* --- the whole --------------------------------------------------------- */

int job_source_directory(struct arena *arena, const char *dir, struct value *source,
			 struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct walk walk = {.arena = arena,
			    .top = dir,
			    .files = value_map(arena),
			    .executable = value_list(arena),
			    .links = value_map(arena),
			    .left_bytes = LIMIT_FILES_BYTES,
			    .err = err};

	if (fd < 0)
		return err_sys(err, "cannot open directory '%s'", dir);
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (add_directory(&walk, fd, 1) < 0)
		return -1;
	if (walk.files->map.len == 0)
		return err_set(err, ERR_INPUT, "'%s' holds no file", dir);
	value_put(arena, source, "files", walk.files);
	if (walk.executable->list.len > 0)
		value_put(arena, source, "executable", walk.executable);
	if (walk.links->map.len > 0)
		value_put(arena, source, "links", walk.links);
	return arena->exhausted ? err_set(err, ERR_LIMIT, "out of memory") : 0;
}
