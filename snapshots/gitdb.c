/*
 * gitdb.c - opening and making repositories.
 *
 * A gitdb is libgit2's object database and nothing more of libgit2: the loose
 * and the pack backend of one objects directory, added by hand. There is no
 * git_repository, because opening one reads its configuration, and that of a
 * source belongs to somebody else (include.path alone makes libgit2 open any
 * file). The two facts we need of a configuration - is this SHA-1, are refs
 * files - are scanned for in its text. Refs are read and written as files
 * (gitdb_refs.c), trees are raw bytes (gitdb_tree.c).
 *
 * GITDB_QUARANTINE needs no backend of its own either: whatever is written
 * goes into a table that reads look into first (gitdb_object.c).
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
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
#include "base/text.h"

enum {
	WINDOW_BYTES = 32 << 20,
	MAPPED_BYTES = 512 << 20,
	OPEN_PACKS_MAX = 128,
	CACHE_BYTES = 16 << 20,
	CACHED_TREE_BYTES = 64 << 10,
	PACK_OBJECTS_MAX = 16 << 20,
	CONFIG_BYTES_MAX = 256 << 10,
	SMALL_FILE_BYTES_MAX = 64 << 10,
	ALTERNATES_MAX = 16,
	DIR_MODE = 0755, /* as the umask allows, in the store's own directory */
	FILE_MODE = 0444,
};

/* --- oids -------------------------------------------------------------- */

void oid_hex(const struct oid *oid, char ret_hex[OID_HEX_BYTES])
{
	text_hex(oid->raw, OID_BYTES, ret_hex);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool oid_parse(const char *hex, struct oid *ret)
{
	struct oid oid;

	for (size_t i = 0; i < OID_BYTES; i++) {
		int high = hex_digit(hex[2 * i]);
		int low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);

		if (low < 0)
			return false;
		oid.raw[i] = (uint8_t)(high << 4 | low);
	}
	if (hex[2 * OID_BYTES] != '\0')
		return false;
	*ret = oid;
	return true;
}

bool oid_equal(const struct oid *a, const struct oid *b)
{
	return memcmp(a->raw, b->raw, OID_BYTES) == 0;
}

/* --- the library ------------------------------------------------------- */

int gitdb_fail(struct err *err, int code, const char *fmt, ...)
{
	const git_error *last = git_error_last();
	enum err_kind kind = ERR_INPUT;
	char subject[ERR_MESSAGE_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(subject, sizeof(subject), fmt, args);
	va_end(args);
	if (code == GIT_ENOTFOUND)
		return err_set(err, ERR_NOT_FOUND, "%s: not found", subject);
	switch (last != NULL ? last->klass : GIT_ERROR_NONE) {
	case GIT_ERROR_OS:
	case GIT_ERROR_NOMEMORY:
		kind = ERR_SYSTEM;
		break;
	case GIT_ERROR_NET:
	case GIT_ERROR_SSL:
	case GIT_ERROR_SSH:
	case GIT_ERROR_HTTP:
		kind = ERR_PEER;
		break;
	default:
		break;
	}
	return err_set(err, kind, "%s: %s", subject,
		       last != NULL && last->message != NULL ? last->message : "unknown error");
}

int gitdb_oom(struct err *err, const char *fmt, ...)
{
	char subject[ERR_MESSAGE_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(subject, sizeof(subject), fmt, args);
	va_end(args);
	errno = ENOMEM;
	return err_sys(err, "%s", subject);
}

static bool set_options(void)
{
	static const int levels[] = {GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM,
				     GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL};
	bool good = true;

	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		good &= git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "") == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_TEMPLATE_PATH, "") == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0) == 0;
	/* What enters the store is hashed on its way in, once. */
	good &= git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 0) == 0;
	good &= git_libgit2_opts(GIT_OPT_DISABLE_PACK_KEEP_FILE_CHECKS, 1) == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, (size_t)WINDOW_BYTES) == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, (size_t)MAPPED_BYTES) == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_MWINDOW_FILE_LIMIT, (size_t)OPEN_PACKS_MAX) == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_PACK_MAX_OBJECTS, (size_t)PACK_OBJECTS_MAX) == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, (ssize_t)CACHE_BYTES) == 0;
	good &= git_libgit2_opts(GIT_OPT_SET_CACHE_OBJECT_LIMIT, GIT_OBJECT_TREE,
				 (size_t)CACHED_TREE_BYTES) == 0;
	return good;
}

int gitdb_library_init(struct err *err)
{
	static bool ready;
	int code;

	if (ready)
		return 0;
	code = git_libgit2_init();
	if (code < 0 || !set_options())
		return gitdb_fail(err, code, "cannot set up libgit2");
	ready = true;
	return 0;
}

/* --- where a repository's parts are ------------------------------------ */

/* A small regular file, at most SMALL_FILE_BYTES_MAX or CONFIG_BYTES_MAX.
 * Returns 1 when it does not exist. Never blocks on a fifo. */
static int read_small(const char *path, size_t limit_bytes, struct buf *out, struct err *err)
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
	got = read_small(path, SMALL_FILE_BYTES_MAX, &text, err);
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

/* Finds the directory of HEAD and the one of objects and refs. They differ
 * only for a linked work tree. */
static int find_dirs(const char *path, char ret_head[PATH_MAX], char ret_dir[PATH_MAX],
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

static int check_format(const char *dir, struct err *err)
{
	char path[PATH_MAX + 8];
	CLEANUP(buf_release) struct buf text = {0};
	int got;

	(void)snprintf(path, sizeof(path), "%s/config", dir);
	got = read_small(path, CONFIG_BYTES_MAX, &text, err);
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

/* --- the object database ----------------------------------------------- */

static int add_backends(struct gitdb *db, const char *objects, struct err *err)
{
	git_odb_backend *pack;
	int code;

	code = git_odb_backend_loose(&db->loose, objects, -1, 0, DIR_MODE, FILE_MODE);
	if (code < 0)
		return gitdb_fail(err, code, "cannot open '%s'", objects);
	code = git_odb_add_backend(db->odb, db->loose, 1);
	if (code < 0) {
		db->loose->free(db->loose);
		return gitdb_fail(err, code, "cannot open '%s'", objects);
	}
	code = git_odb_backend_pack(&pack, objects);
	if (code < 0)
		return gitdb_fail(err, code, "cannot open '%s/pack'", objects);
	code = git_odb_add_backend(db->odb, pack, 2);
	if (code < 0) {
		pack->free(pack);
		return gitdb_fail(err, code, "cannot open '%s/pack'", objects);
	}
	return 0;
}

/* Object directories that this one borrows from; libgit2 follows theirs. */
static int add_alternates(struct gitdb *db, const char *objects, struct err *err)
{
	char path[PATH_MAX + 32];
	CLEANUP(buf_release) struct buf text = {0};
	int left = ALTERNATES_MAX;
	int got;

	(void)snprintf(path, sizeof(path), "%s/info/alternates", objects);
	got = read_small(path, SMALL_FILE_BYTES_MAX, &text, err);
	if (got != 0)
		return got < 0 ? -1 : 0;
	for (const char *line = buf_text(&text); *line != '\0';) {
		size_t len = strcspn(line, "\n");
		int code = 0;

		if (len > 0 && line[0] != '#') {
			if (left-- == 0 ||
			    snprintf(path, sizeof(path), "%s%s%.*s", line[0] == '/' ? "" : objects,
				     line[0] == '/' ? "" : "/", (int)len,
				     line) >= (int)sizeof(path))
				return err_set(err, ERR_LIMIT,
					       "cannot open '%s': too many alternates", objects);
			code = git_odb_add_disk_alternate(db->odb, path);
		}
		if (code < 0)
			return gitdb_fail(err, code, "cannot open alternate '%s'", path);
		line += len + (line[len] == '\n');
	}
	return 0;
}

static int open_dirs(const char *head_dir, const char *dir, enum gitdb_mode mode, bool alternates,
		     struct gitdb **ret, struct err *err)
{
	char objects[PATH_MAX + 16];
	struct gitdb *db = calloc(1, sizeof(*db));
	int code;

	if (db == NULL)
		return gitdb_oom(err, "cannot open repository");
	(void)snprintf(objects, sizeof(objects), "%s/objects", dir);
	db->mode = mode;
	db->dir = strdup(dir);
	db->head_dir = strdup(head_dir);
	code = git_odb_new(&db->odb);
	if (db->dir == NULL || db->head_dir == NULL || code < 0) {
		gitdb_close(db);
		return gitdb_oom(err, "cannot open repository");
	}
	if (add_backends(db, objects, err) < 0 ||
	    (alternates && add_alternates(db, objects, err) < 0)) {
		gitdb_close(db);
		return -1;
	}
	*ret = db;
	return 0;
}

int gitdb_open(const char *path, enum gitdb_mode mode, struct gitdb **ret, struct err *err)
{
	char head_dir[PATH_MAX];
	char dir[PATH_MAX];

	if (gitdb_library_init(err) < 0 || find_dirs(path, head_dir, dir, err) < 0 ||
	    check_format(dir, err) < 0)
		return -1;
	return open_dirs(head_dir, dir, mode, true, ret, err);
}

void gitdb_close(struct gitdb *db)
{
	if (db == NULL)
		return;
	git_odb_free(db->odb);
	quarantine_release(&db->quarantine);
	free(db->dir);
	free(db->head_dir);
	free(db);
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
			result = err_set(err, ERR_INPUT,
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
static int check_confined(const char *path, const char *head_dir, const char *dir, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	char real_path[PATH_MAX];
	char real[PATH_MAX];
	char file[PATH_MAX + 32];
	const char *const dirs[] = {head_dir, dir};
	int got;

	if (realpath(path, real_path) == NULL)
		return err_sys(err, "cannot open '%s'", path);
	if (strcmp(path, real_path) != 0)
		return err_set(err, ERR_INPUT, "cannot use '%s': it is a link to somewhere else",
			       path);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		size_t len = strlen(real_path);

		if (realpath(dirs[i], real) == NULL)
			return err_sys(err, "cannot open '%s'", dirs[i]);
		if (strncmp(real, real_path, len) != 0 || (real[len] != '/' && real[len] != '\0'))
			return err_set(err, ERR_INPUT,
				       "cannot use '%s': its git directory is elsewhere; "
				       "name the main repository instead",
				       path);
	}
	(void)snprintf(file, sizeof(file), "%s/objects/info/alternates", dir);
	got = read_small(file, SMALL_FILE_BYTES_MAX, &text, err);
	if (got < 0)
		return -1;
	if (got == 0 && text.len > 0)
		return err_set(err, ERR_INPUT,
			       "cannot use '%s': it borrows objects (objects/info/alternates); "
			       "run git repack -a -d in it and remove that file",
			       path);
	(void)snprintf(file, sizeof(file), "%s/objects", dir);
	return no_links(file, true, err);
}

int gitdb_open_foreign(const char *path, struct gitdb **ret, struct err *err)
{
	char head_dir[PATH_MAX];
	char dir[PATH_MAX];

	if (gitdb_library_init(err) < 0 || find_dirs(path, head_dir, dir, err) < 0 ||
	    check_confined(path, head_dir, dir, err) < 0 || check_format(dir, err) < 0)
		return -1;
	return open_dirs(head_dir, dir, GITDB_READ, false, ret, err);
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
		if (fd_make_dirs(file, DIR_MODE, err) < 0)
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
