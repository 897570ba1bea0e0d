/*
 * gitdb_layout.c - the parts of a repository as files: where they are, whether
 * they are of a kind we can read, whether they stay inside the repository, and
 * making an empty one (gitrepository-layout(5)).
 */
#include "snapshots/gitdb_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { CONFIG_BYTES_MAX = 256 << 10 };

/* --- where a repository's parts are ------------------------------------ */

int layout_read_small(const char *path, size_t limit_bytes, struct buf *out, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 1;
	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INPUT, "cannot read '%s': not a regular file", path);
	buf_init(out, limit_bytes);
	if (fd_read_all(fd, out, err) < 0)
		return err_prefix(err, "'%s'", path);
	return 0;
}

static bool is_dir(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) &&
	       stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The first line of dir/name after `prefix`, as a path relative to `dir`.
 * Returns 1 when there is no such file. */
static int read_link_file(const char *dir, const char *name, const char *prefix, char ret[PATH_MAX],
			  struct err *err)
{
	char path[PATH_MAX];
	CLEANUP(buf_release) struct buf text = {0};
	const char *target;
	int len, got;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return err_set(err, ERR_INPUT, "cannot open '%.200s...': path too long", dir);
	got = layout_read_small(path, GITDB_SMALL_BYTES_MAX, &text, err);
	if (got != 0)
		return got;
	target = buf_text(&text);
	if (strncmp(target, prefix, strlen(prefix)) != 0)
		return err_set(err, ERR_INPUT, "cannot read '%s': no '%s'", path, prefix);
	target += strlen(prefix);
	len = (int)strcspn(target, "\r\n");
	if (snprintf(ret, PATH_MAX, "%s%s%.*s", target[0] == '/' ? "" : dir,
		     target[0] == '/' ? "" : "/", len, target) >= PATH_MAX)
		return err_set(err, ERR_INPUT, "cannot read '%s': path too long", path);
	return 0;
}

int layout_find_dirs(const char *path, char ret_head[PATH_MAX], char ret_dir[PATH_MAX],
		     struct err *err)
{
	int got;

	if (is_dir(path, "objects") && is_dir(path, "refs")) {
		if (snprintf(ret_head, PATH_MAX, "%s", path) >= PATH_MAX)
			return err_set(err, ERR_INPUT, "cannot open repository: path too long");
	} else if (is_dir(path, ".git")) {
		if (snprintf(ret_head, PATH_MAX, "%s/.git", path) >= PATH_MAX)
			return err_set(err, ERR_INPUT, "cannot open repository: path too long");
	} else {
		got = read_link_file(path, ".git", "gitdir: ", ret_head, err);
		if (got < 0)
			return -1;
		if (got == 1)
			return err_set(err, ERR_NOT_FOUND,
				       "cannot open repository '%s': no repository there", path);
	}
	got = read_link_file(ret_head, "commondir", "", ret_dir, err);
	if (got < 0)
		return -1;
	if (got == 1)
		(void)memcpy(ret_dir, ret_head, PATH_MAX);
	if (!is_dir(ret_dir, "objects"))
		return err_set(err, ERR_NOT_FOUND,
			       "cannot open repository '%s': no objects directory", path);
	return 0;
}

/* --- the two facts of a configuration ---------------------------------- */

/* "  key = value ; comment" -> whether key is `key`, and its value. */
static bool config_value(const char *line, size_t len, const char *key, struct bytes *ret)
{
	size_t key_len = strlen(key);
	size_t end;

	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	if (len < key_len || strncasecmp(line, key, key_len) != 0)
		return false;
	line += key_len;
	len -= key_len;
	while (len > 0 && (*line == ' ' || *line == '\t' || *line == '=' || *line == '"')) {
		line++;
		len--;
	}
	for (end = 0; end < len && strchr(" \t\r\";#", line[end]) == NULL;)
		end++;
	*ret = (struct bytes){(const uint8_t *)line, end};
	return true;
}

static bool value_is(struct bytes value, const char *text)
{
	return value.len == strlen(text) &&
	       strncasecmp((const char *)value.data, text, value.len) == 0;
}

int layout_check_format(const char *dir, struct err *err)
{
	char path[PATH_MAX + 8];
	CLEANUP(buf_release) struct buf text = {0};
	int got;

	(void)snprintf(path, sizeof(path), "%s/config", dir);
	got = layout_read_small(path, CONFIG_BYTES_MAX, &text, err);
	if (got != 0)
		return got < 0 ? -1 : 0;
	for (const char *line = buf_text(&text); *line != '\0';) {
		size_t len = strcspn(line, "\n");
		struct bytes value;

		if (config_value(line, len, "objectformat", &value) && !value_is(value, "sha1"))
			return err_set(err, ERR_UNSUPPORTED,
				       "cannot open repository '%s': its object format is '%.*s'; "
				       "only sha1 is supported",
				       dir, (int)value.len, (const char *)value.data);
		if (config_value(line, len, "refstorage", &value) && !value_is(value, "files"))
			return err_set(err, ERR_UNSUPPORTED,
				       "cannot open repository '%s': its ref storage is '%.*s'; "
				       "only files are supported",
				       dir, (int)value.len, (const char *)value.data);
		line += len + (line[len] == '\n');
	}
	return 0;
}

/* --- a repository that somebody else prepared -------------------------- */

static int no_links(const char *dir, bool below, struct err *err)
{
	DIR *stream = opendir(dir);
	const struct dirent *entry;
	char path[PATH_MAX];
	int result = 0;

	if (stream == NULL)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open '%s'", dir);
	while (result == 0 && (entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type != DT_DIR && entry->d_type != DT_REG)
			result = err_set(err, ERR_UNSUPPORTED,
					 "cannot use '%s': '%s' is neither file nor directory; "
					 "make a plain copy with git clone --bare --no-local",
					 dir, entry->d_name);
		else if (entry->d_type == DT_DIR && below &&
			 snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) <
				 (int)sizeof(path))
			result = no_links(path, false, err);
	}
	(void)closedir(stream);
	return result;
}

/* Whoever may write the source could make us read other people's objects by
 * an alternate, a link, or a .git file that names another directory. */
int layout_check_confined(const char *path, const char *head_dir, const char *dir, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	char real_path[PATH_MAX];
	char real[PATH_MAX];
	char file[PATH_MAX + 32];
	char objects[PATH_MAX + 32];
	const char *const dirs[] = {head_dir, dir, objects};
	int got;

	(void)snprintf(objects, sizeof(objects), "%s/objects", dir);
	if (realpath(path, real_path) == NULL)
		return err_sys(err, "cannot open '%s'", path);
	if (strcmp(path, real_path) != 0)
		return err_set(err, ERR_UNSUPPORTED,
			       "cannot use '%s': it is a link to somewhere else", path);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		size_t len = strlen(real_path);

		if (realpath(dirs[i], real) == NULL)
			return err_sys(err, "cannot open '%s'", dirs[i]);
		if (strncmp(real, real_path, len) != 0 || (real[len] != '/' && real[len] != '\0'))
			return err_set(err, ERR_UNSUPPORTED,
				       "cannot use '%s': its git directory is elsewhere; "
				       "name the main repository instead",
				       path);
	}
	(void)snprintf(file, sizeof(file), "%s/objects/info/alternates", dir);
	got = layout_read_small(file, GITDB_SMALL_BYTES_MAX, &text, err);
	if (got < 0)
		return -1;
	if (got == 0 && text.len > 0)
		return err_set(err, ERR_UNSUPPORTED,
			       "cannot use '%s': it borrows objects (objects/info/alternates); "
			       "run git repack -a -d in it and remove that file",
			       path);
	return no_links(objects, true, err);
}

/* --- making one -------------------------------------------------------- */

int gitdb_create(const char *path, struct err *err)
{
	static const char *const dirs[] = {"objects/info", "objects/pack", "refs/heads",
					   "refs/tags"};
	static const struct {
		const char *name;
		const char *text;
	} files[] = {
		{"config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"},
		{"sbx-pack.config", "[core]\n\tbigFileThreshold = 1\n"
				    "[pack]\n\tdeltaCacheSize = 1\n"},
		{"HEAD", "ref: refs/heads/main\n"},
	};
	char file[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		if (snprintf(file, sizeof(file), "%s/%s", path, dirs[i]) >= (int)sizeof(file))
			return err_set(err, ERR_INPUT, "cannot make repository: path too long");
		if (fd_make_dirs(file, GITDB_DIR_MODE, err) < 0)
			return err_prefix(err, "cannot make repository '%s'", path);
	}
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEANUP(fd_cleanup) int fd = -1;

		(void)snprintf(file, sizeof(file), "%s/%s", path, files[i].name);
		fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0)
			return err_sys(err, "cannot make '%s'", file);
		if (fd_write_all(fd, files[i].text, strlen(files[i].text), err) < 0)
			return err_prefix(err, "cannot make repository '%s'", path);
	}
	return 0;
}
