/*
 * gitdb_refs.c - refs as files, and names resolved to commits.
 *
 * A ref is <dir>/<name> with an oid or "ref: <other name>", or else a line of
 * packed-refs (gitrepository-layout(5), gitdb_packed.c). Names are checked before they become
 * paths, and resolved beneath the git directory without following links. A
 * ref is set by rename(2) of a file of its own: there is no lock that a crash
 * could leave behind, and the last writer wins.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum {
	REF_NAME_MAX = 1024,
	REF_BYTES_MAX = 4096,
	SYMBOLIC_MAX = 5,
	PEEL_MAX = 16,
	ANCESTORS_MAX = 100000,
	OID_PREFIX_MIN = 4,
	TOUCH_AFTER_S = 3600,
};

/* --- names ------------------------------------------------------------- */

/* The rules of git-check-ref-format(1); one level is allowed ("HEAD"). */
bool ref_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > REF_NAME_MAX || name[0] == '-' || name[0] == '/' ||
	    name[len - 1] == '/' || name[len - 1] == '.' || strcmp(name, "@") == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];
		unsigned char next = (unsigned char)name[i + 1];

		if (c < 0x20 || c == 0x7f || strchr(" ~^:?*[\\", c) != NULL)
			return false;
		if ((c == '.' && next == '.') || (c == '@' && next == '{') ||
		    (c == '/' && (next == '/' || next == '.')))
			return false;
	}
	for (const char *part = name; *part != '\0';) {
		size_t part_len = strcspn(part, "/");

		if (part[0] == '.' ||
		    (part_len >= 5 && memcmp(part + part_len - 5, ".lock", 5) == 0))
			return false;
		part += part_len + (part[part_len] == '/');
	}
	return true;
}

/* --- reading ----------------------------------------------------------- */

/* Returns 1 when there is no such file; a directory counts as none. */
static int open_beneath(const char *dir, const char *name, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(fd_cleanup) int fd = -1;
	struct err open_err = {0};
	struct stat st;

	if (dir_fd < 0)
		return err_sys(err, "cannot open '%s'", dir);
	if (fd_open_beneath(dir_fd, name, O_RDONLY | O_NONBLOCK, 0, &fd, &open_err) < 0) {
		if (open_err.number == ENOENT || open_err.number == ENOTDIR)
			return 1;
		return err_set(err, open_err.kind, "%s", open_err.message);
	}
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at '%s/%s'", dir, name);
	if (S_ISDIR(st.st_mode))
		return 1;
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INPUT, "cannot read '%s/%s': not a regular file", dir,
			       name);
	*ret_fd = fd_take(&fd);
	return 0;
}

static int read_beneath(const char *dir, const char *name, size_t limit_bytes, struct buf *out,
			struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	int got = open_beneath(dir, name, &fd, err);

	if (got != 0)
		return got;
	buf_init(out, limit_bytes);
	if (fd_read_all(fd, out, err) < 0)
		return err_prefix(err, "'%s/%s'", dir, name);
	return 0;
}

static int read_packed(struct gitdb *db, const char *name, struct oid *ret, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	int got = open_beneath(db->dir, "packed-refs", &fd, err);

	if (got == 0)
		got = packed_read(fd, name, db->peeks, ret, err);
	return got < 0 ? err_prefix(err, "'%s'", db->dir) : got;
}

int ref_read(struct gitdb *db, const char *name, struct oid *ret, struct err *err)
{
	char target[REF_NAME_MAX + 1];

	for (int i = 0; i < SYMBOLIC_MAX; i++) {
		CLEANUP(buf_release) struct buf text = {0};
		bool shared = strncmp(name, "refs/", 5) == 0;
		size_t len;
		int got;

		if (!ref_name_valid(name))
			return 1;
		got = read_beneath(shared ? db->dir : db->head_dir, name, REF_BYTES_MAX, &text,
				   err);
		if (got < 0)
			return -1;
		if (got == 1)
			return shared ? read_packed(db, name, ret, err) : 1;
		while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
			text.data[--text.len] = 0;
		if (oid_parse(buf_text(&text), ret))
			return 0;
		len = text.len < 5 ? 0 : text.len - 5;
		if (len == 0 || len > REF_NAME_MAX || memcmp(text.data, "ref: ", 5) != 0)
			return err_set(err, ERR_INPUT, "cannot read ref '%s': it is corrupt", name);
		(void)memcpy(target, text.data + 5, len + 1);
		name = target;
	}
	return err_set(err, ERR_INPUT, "cannot read ref '%s': too many symbolic refs", name);
}

int gitdb_ref_get(struct gitdb *db, const char *name, struct oid *ret, struct err *err)
{
	int got = ref_read(db, name, ret, err);

	if (got == 1)
		return err_set(err, ERR_NOT_FOUND, "cannot read ref '%s': there is none", name);
	return got;
}

/* --- writing ----------------------------------------------------------- */

int ref_write_file(struct gitdb *db, const char *name, struct bytes text, struct err *err)
{
	char path[PATH_MAX];
	char temporary[PATH_MAX];
	CLEANUP(fd_cleanup) int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", db->dir, name) >= (int)sizeof(path) ||
	    snprintf(temporary, sizeof(temporary), "%s/sbx-ref-XXXXXX", db->dir) >=
		    (int)sizeof(temporary))
		return err_set(err, ERR_INPUT, "cannot write ref '%s': path too long", name);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot write ref '%s'", name);
	if (fd_write_all(fd, text.data, text.len, err) < 0 || fchmod(fd, 0644) < 0 ||
	    rename(temporary, path) < 0) {
		(void)err_sys(err, "cannot write ref '%s'", name);
		(void)unlink(temporary);
		return -1;
	}
	return 0;
}

int gitdb_ref_set(struct gitdb *db, const char *name, const struct oid *oid, struct err *err)
{
	char text[OID_HEX_BYTES + 1];
	char parent[PATH_MAX];
	char *slash;

	assert(db->mode == GITDB_WRITE);
	if (strncmp(name, "refs/", 5) != 0 || !ref_name_valid(name) ||
	    snprintf(parent, sizeof(parent), "%s/%s", db->dir, name) >= (int)sizeof(parent))
		return err_set(err, ERR_INPUT, "cannot write ref '%.200s': bad name", name);
	slash = strrchr(parent, '/');
	*slash = '\0';
	if (access(parent, F_OK) < 0 && fd_make_dirs(parent, 0755, err) < 0)
		return -1;
	oid_hex(oid, text);
	text[2 * OID_BYTES] = '\n';
	text[2 * OID_BYTES + 1] = '\0';
	return ref_write_file(db, name, (struct bytes){(const uint8_t *)text, 2 * OID_BYTES + 1},
			      err);
}

/* Also takes it out of packed-refs, together with the peel line after it. */
int gitdb_ref_delete(struct gitdb *db, const char *name, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	CLEANUP(buf_release) struct buf kept = {0};
	char path[PATH_MAX];
	bool skipping = false;
	struct oid oid;
	int got;

	assert(db->mode == GITDB_WRITE);
	if (strncmp(name, "refs/", 5) != 0 || !ref_name_valid(name) ||
	    snprintf(path, sizeof(path), "%s/%s", db->dir, name) >= (int)sizeof(path))
		return err_set(err, ERR_INPUT, "cannot delete ref '%.200s': bad name", name);
	got = read_beneath(db->dir, "packed-refs", PACKED_REFS_BYTES_MAX, &text, err);
	if (got < 0)
		return -1;
	buf_init(&kept, PACKED_REFS_BYTES_MAX);
	for (const char *line = buf_text(&text); *line != '\0';) {
		size_t len = strcspn(line, "\n");

		skipping = packed_line(line, len, name, &oid) || (skipping && line[0] == '^');
		if (!skipping)
			buf_add(&kept, line, len + (line[len] == '\n'));
		line += len + (line[len] == '\n');
	}
	if (kept.failed)
		return gitdb_oom(err, "cannot delete ref '%s'", name);
	if (kept.len != text.len && ref_write_file(db, "packed-refs", buf_bytes(&kept), err) < 0)
		return -1;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, "cannot delete ref '%s'", name);
	return 0;
}

/* --- age --------------------------------------------------------------- */

int gitdb_refs_expire(struct gitdb *db, const char *place, int64_t before_s, int64_t *ret_deleted,
		      struct err *err)
{
	const struct dirent *entry;
	char path[PATH_MAX];
	DIR *stream;

	assert(db->mode == GITDB_WRITE && strncmp(place, "refs/", 5) == 0);
	(void)snprintf(path, sizeof(path), "%s/%s", db->dir, place);
	*ret_deleted = 0;
	stream = opendir(path);
	if (stream == NULL)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open '%s'", path);
	while ((entry = readdir(stream)) != NULL) {
		struct stat st;

		if (fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && st.st_mtim.tv_sec < before_s &&
		    unlinkat(dirfd(stream), entry->d_name, 0) == 0)
			(*ret_deleted)++;
	}
	(void)closedir(stream);
	return 0;
}

void gitdb_ref_touch(struct gitdb *db, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/%s", db->dir, name) < (int)sizeof(path) &&
	    lstat(path, &st) == 0 && st.st_mtim.tv_sec + TOUCH_AFTER_S < clock_wall_us() / 1000000)
		(void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
}

/* --- commits ----------------------------------------------------------- */

/* "<key> <40 digits>\n" at the start of a commit or tag. */
static bool header_oid(struct bytes text, const char *key, struct oid *ret)
{
	size_t len = strlen(key);
	char hex[OID_HEX_BYTES];

	if (text.len < len + 2 + 2 * OID_BYTES || memcmp(text.data, key, len) != 0 ||
	    text.data[len] != ' ' || text.data[len + 1 + 2 * OID_BYTES] != '\n')
		return false;
	(void)memcpy(hex, text.data + len + 1, 2 * OID_BYTES);
	hex[2 * OID_BYTES] = '\0';
	return oid_parse(hex, ret);
}

int gitdb_commit_tree(struct gitdb *db, const struct oid *commit, struct oid *ret_tree,
		      struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	char hex[OID_HEX_BYTES];

	if (object_read(db, commit, GIT_OBJECT_COMMIT, GITDB_COMMIT_BYTES_MAX, &object, err) < 0)
		return -1;
	oid_hex(commit, hex);
	if (!header_oid(object.bytes, "tree", ret_tree))
		return err_set(err, ERR_INPUT, "cannot read commit %s: it names no tree", hex);
	return 0;
}

static int peel(struct gitdb *db, const struct oid *oid, const char *name, struct oid *ret,
		struct err *err)
{
	struct oid at = *oid;

	for (int i = 0; i < PEEL_MAX; i++) {
		CLEANUP(object_release) struct object object = {0};

		if (object_read(db, &at, GIT_OBJECT_ANY, GITDB_COMMIT_BYTES_MAX, &object, err) < 0)
			return -1;
		if (object.type == GIT_OBJECT_COMMIT) {
			*ret = at;
			return 0;
		}
		if (object.type != GIT_OBJECT_TAG)
			return err_set(err, ERR_NOT_FOUND,
				       "cannot resolve '%.200s': it is a %s, not a commit", name,
				       git_object_type2string(object.type));
		if (!header_oid(object.bytes, "object", &at))
			return err_set(err, ERR_INPUT,
				       "cannot resolve '%.200s': its tag is corrupt", name);
	}
	return err_set(err, ERR_INPUT, "cannot resolve '%.200s': too many tags of tags", name);
}

static bool is_hex(const char *text, size_t len)
{
	return strspn(text, "0123456789abcdefABCDEF") == len;
}

static int resolve_prefix(struct gitdb *db, const char *hex, size_t len, struct oid *ret,
			  struct err *err)
{
	git_oid prefix;
	git_oid full;
	int code = git_oid_fromstrn(&prefix, hex, len);

	if (code == 0)
		code = git_odb_exists_prefix(&full, db->odb, &prefix, len);
	if (code == GIT_EAMBIGUOUS)
		return err_set(err, ERR_NOT_FOUND,
			       "cannot resolve '%s': several objects start so; give more digits",
			       hex);
	if (code < 0)
		return err_set(err, ERR_NOT_FOUND, "cannot resolve '%s': no such commit", hex);
	(void)memcpy(ret->raw, full.id, OID_BYTES);
	return 0;
}

/* The ref that a name means, in the order of gitrevisions(7). As ref_read. */
static int find_ref(struct gitdb *db, const char *commit, struct oid *ret, struct err *err)
{
	static const char *const places[] = {"", "refs/", "refs/tags/", "refs/heads/",
					     "refs/remotes/"};
	char name[REF_NAME_MAX + 16];
	int got = 1;

	if (strlen(commit) > REF_NAME_MAX)
		return 1;
	for (size_t i = 0; got == 1 && i < ARRAY_LEN(places); i++) {
		/* Beside HEAD, what lies in the git directory itself is no ref. */
		if (i == 0 && strcmp(commit, "HEAD") != 0 && strncmp(commit, "refs/", 5) != 0)
			continue;
		(void)snprintf(name, sizeof(name), "%s%s", places[i], commit);
		got = ref_read(db, name, ret, err);
	}
	return got;
}

/* What a name stands for, which may be a tag. */
static int find_named(struct gitdb *db, const char *commit, struct oid *ret, struct err *err)
{
	size_t len = strlen(commit);
	int got;

	if (oid_parse(commit, ret))
		return 0;
	got = find_ref(db, commit, ret, err);
	if (got < 0)
		return -1;
	if (got == 0 && !gitdb_has(db, ret))
		return err_set(err, ERR_INPUT, "cannot resolve '%s': its object is missing",
			       commit);
	if (got == 0)
		return 0;
	if (len < OID_PREFIX_MIN || len >= 2 * OID_BYTES || !is_hex(commit, len))
		return err_set(err, ERR_NOT_FOUND, "cannot resolve '%.200s': no such ref", commit);
	return resolve_prefix(db, commit, len, ret, err);
}

int gitdb_resolve_named(struct gitdb *db, const char *commit, struct oid *ret_named,
			struct oid *ret, struct err *err)
{
	return find_named(db, commit, ret_named, err) < 0 ? -1
							  : peel(db, ret_named, commit, ret, err);
}

int gitdb_resolve(struct gitdb *db, const char *commit, struct oid *ret, struct err *err)
{
	struct oid named;

	return gitdb_resolve_named(db, commit, &named, ret, err);
}

/* Neither links nor borrowed directories: those are looked at with more care. */
int gitdb_peek(const char *path, const char *commit, struct oid *ret)
{
	char head_dir[PATH_MAX], dir[PATH_MAX], real[PATH_MAX];
	struct gitdb db = {.mode = GITDB_READ, .dir = dir, .head_dir = head_dir, .peeks = true};
	struct err err = {0};

	if (layout_find_dirs(path, head_dir, dir, &err) < 0 || strcmp(head_dir, dir) != 0 ||
	    realpath(dir, real) == NULL || strcmp(real, dir) != 0)
		return 1;
	return find_ref(&db, commit, ret, &err) == 0 ? 0 : 1;
}

/* --- ancestors ----------------------------------------------------------- */

/* The first parent, by the line after the tree's. */
static int first_parent(struct gitdb *db, struct oid *commit, struct err *err)
{
	static const size_t tree_line = sizeof("tree ") - 1 + 2 * OID_BYTES + 1;
	CLEANUP(object_release) struct object object = {0};
	struct bytes rest;
	char hex[OID_HEX_BYTES];

	if (object_read(db, commit, GIT_OBJECT_COMMIT, GITDB_COMMIT_BYTES_MAX, &object, err) < 0)
		return -1;
	rest = object.bytes;
	if (rest.len > tree_line) {
		rest.data += tree_line;
		rest.len -= tree_line;
		if (header_oid(rest, "parent", commit))
			return 0;
	}
	oid_hex(commit, hex);
	return err_set(err, ERR_NOT_FOUND, "commit %s has no parent", hex);
}

/* How many steps "~3", "^" or "^^~2" go back; -1: it is something else. */
static long count_steps(const char *suffix)
{
	long steps = 0;

	while (*suffix != '\0') {
		bool counted = *suffix == '~' && isdigit((unsigned char)suffix[1]);
		char *end = (char *)(uintptr_t)suffix + 1;
		long more = counted ? strtol(suffix + 1, &end, 10) : 1;

		if ((*suffix != '~' && *suffix != '^') || more > ANCESTORS_MAX ||
		    steps + more > ANCESTORS_MAX)
			return -1;
		steps += more;
		suffix = end;
	}
	return steps;
}

int gitdb_resolve_ancestor(struct gitdb *db, const char *revision, struct oid *ret, struct err *err)
{
	size_t len = strcspn(revision, "~^"); /* in no ref name */
	long steps = count_steps(revision + len);
	char name[REF_NAME_MAX + 1];
	int result;

	if (revision[len] == '\0')
		return gitdb_resolve(db, revision, ret, err);
	if (steps < 0 || len > REF_NAME_MAX)
		return err_set(err, ERR_NOT_FOUND,
			       "cannot resolve '%.200s': after '~' or '^' only a number of "
			       "commits to go back is known",
			       revision);
	(void)snprintf(name, sizeof(name), "%.*s", (int)len, revision);
	result = gitdb_resolve(db, name, ret, err);
	while (result == 0 && steps-- > 0)
		result = first_parent(db, ret, err);
	return result < 0 ? err_prefix(err, "cannot resolve '%.200s'", revision) : 0;
}
