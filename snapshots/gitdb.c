/*
 * gitdb.c - setting up libgit2, opening and closing databases.
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
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/text.h"

enum {
	WINDOW_BYTES = 32 << 20,
	MAPPED_BYTES = 512 << 20,
	OPEN_PACKS_MAX = 128,
	CACHE_BYTES = 16 << 20,
	CACHED_TREE_BYTES = 1 << 20,
	PACK_OBJECTS_MAX = 16 << 20,
	ALTERNATES_MAX = 16,
	FILE_MODE = 0444,
};

/* --- oids -------------------------------------------------------------- */

void oid_hex(const struct oid *oid, char ret_hex[OID_HEX_BYTES])
{
	text_hex(oid->raw, OID_BYTES, ret_hex);
}

bool oid_parse(const char *hex, struct oid *ret)
{
	struct oid oid;

	for (size_t i = 0; i < OID_BYTES; i++) {
		int byte = text_hex_byte(hex + 2 * i);

		if (byte < 0)
			return false;
		oid.raw[i] = (uint8_t)byte;
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

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static bool memory_bounded;

int gitdb_bound_memory(int64_t bytes, struct err *err)
{
	const struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};

	/* A sanitizer maps more for itself than any bound. */
	if (SANITIZED)
		return 0;
	if (setrlimit(RLIMIT_DATA, &limit) < 0)
		return err_sys(err, "cannot bound memory");
	memory_bounded = true;
	return 0;
}

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
	if (code == GIT_EMISMATCH)
		return err_set(err, ERR_SYSTEM, "%s: its content on disk has changed", subject);
	switch (last != NULL ? last->klass : GIT_ERROR_NONE) {
	case GIT_ERROR_NOMEMORY:
		if (memory_bounded)
			return err_set(err, ERR_LIMIT, "%s: it needs too much memory", subject);
		kind = ERR_SYSTEM;
		break;
	case GIT_ERROR_OS:
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
	if (memory_bounded)
		return err_set(err, ERR_LIMIT, "%s: it needs too much memory", subject);
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
	/* What enters the store is hashed on its way in, once; what is hashed when it
	 * is read is so here, faster (object_read). */
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

static bool library_ready;

int gitdb_library_init(struct err *err)
{
	int code;

	if (library_ready)
		return 0;
	code = git_libgit2_init();
	if (code < 0 || !set_options())
		return gitdb_fail(err, code, "cannot set up libgit2");
	library_ready = true;
	return 0;
}

/* libgit2 1.5 looks at HOME once, when it starts. */
int gitdb_set_home(const char *path, struct err *err)
{
	if (setenv("HOME", path, 1) < 0)
		return err_sys(err, "cannot set HOME");
	if (library_ready)
		(void)git_libgit2_shutdown();
	library_ready = false;
	return gitdb_library_init(err);
}

static bool strict;

void gitdb_set_strict(bool on)
{
	strict = on;
}

bool object_strict(void)
{
	return strict;
}

/* --- the object database ----------------------------------------------- */

static int add_backends(struct gitdb *db, const char *objects, struct err *err)
{
	git_odb_backend *pack;
	int code;

	code = git_odb_backend_loose(&db->loose, objects, -1, 0, GITDB_DIR_MODE, FILE_MODE);
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
	got = layout_read_small(path, GITDB_SMALL_BYTES_MAX, &text, err);
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

	if (gitdb_library_init(err) < 0 || layout_find_dirs(path, head_dir, dir, err) < 0 ||
	    layout_check_format(dir, err) < 0)
		return -1;
	return open_dirs(head_dir, dir, mode, true, ret, err);
}

int gitdb_open_foreign(const char *path, struct gitdb **ret, struct err *err)
{
	char head_dir[PATH_MAX];
	char dir[PATH_MAX];

	if (gitdb_library_init(err) < 0 || layout_find_dirs(path, head_dir, dir, err) < 0 ||
	    layout_check_confined(path, head_dir, dir, err) < 0 ||
	    layout_check_format(dir, err) < 0)
		return -1;
	return open_dirs(head_dir, dir, GITDB_READ, false, ret, err);
}

void gitdb_close(struct gitdb *db)
{
	if (db == NULL)
		return;
	for (size_t i = 0; i < ARRAY_LEN(db->indexes); i++)
		tree_index_free(db->indexes[i]);
	git_odb_free(db->odb);
	quarantine_release(&db->quarantine);
	free(db->dir);
	free(db->head_dir);
	free(db);
}
