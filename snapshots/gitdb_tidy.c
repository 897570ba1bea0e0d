/*
 * gitdb_tidy.c - what writers that were killed leave in a repository: files
 * that never got their name, and packs that lost one of their two halves.
 */
#include "snapshots/gitdb_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
	size_t len = strlen(text);

	return len >= strlen(with) && strcmp(text + len - strlen(with), with) == 0;
}

/* "pack-<oid>.pack" without its index, or the other way round. */
static bool is_half(int dir, const char *name)
{
	bool pack = ends(name, ".pack");
	char other[NAME_MAX + 8];
	struct stat st;

	if (!starts(name, "pack-") || (!pack && !ends(name, ".idx")))
		return false;
	(void)snprintf(other, sizeof(other), "%.*s%s", (int)(strrchr(name, '.') - name), name,
		       pack ? ".idx" : ".pack");
	return fstatat(dir, other, &st, AT_SYMLINK_NOFOLLOW) < 0;
}

static bool is_nameless(int dir, const char *name)
{
	(void)dir;
	return starts(name, "sbx-ref-") || starts(name, "tmp_object_git2_");
}

static bool is_unfinished(int dir, const char *name)
{
	return starts(name, "pack_git2_") || is_half(dir, name);
}

static void remove_those(const char *path, const char *below, bool (*is)(int dir, const char *name))
{
	char place[PATH_MAX];
	const struct dirent *entry;
	DIR *stream;

	(void)snprintf(place, sizeof(place), "%s%s", path, below);
	stream = opendir(place);
	if (stream == NULL)
		return;
	while ((entry = readdir(stream)) != NULL) {
		if (is(dirfd(stream), entry->d_name))
			(void)unlinkat(dirfd(stream), entry->d_name, 0);
	}
	(void)closedir(stream);
}

void gitdb_tidy(const char *path)
{
	remove_those(path, "", is_nameless);
	remove_those(path, "/objects", is_nameless);
	remove_those(path, "/objects/pack", is_unfinished);
}
