/*
 * store_checkout.c - base trees on disk.
 *
 * A checkout is built below tmp/ and renamed to its final name, whose
 * existence says that it is complete. Files are made relative to descriptors
 * of their directories, exclusively, from names that are checked again here:
 * nothing in a tree can lead out of the directory being built. No filter,
 * attribute or hook has a part in it. Every mtime is the same, so that two
 * checkouts of a tree do not differ and whatever a step writes is newer.
 */
#include "snapshots/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "schema/limits.h"

enum { DEPTH_MAX = 128, LINK_BYTES_MAX = 4095 };

static const struct timespec TIMES[2] = {{.tv_sec = STORE_MTIME_S}, {.tv_sec = STORE_MTIME_S}};

struct checkout {
	struct gitdb *db;
	int64_t files_left;
	int64_t bytes_left;
	struct err *err;
};

/* The directory that is being filled. */
struct place {
	struct checkout *checkout;
	int fd;
	unsigned depth;
	int result;
};

/* --- one entry --------------------------------------------------------- */

static int too_large(const struct checkout *checkout, const char *what)
{
	return err_set(checkout->err, ERR_LIMIT, "the tree has too many %s", what);
}

static int read_blob(struct checkout *checkout, const struct gitdb_entry *entry,
		     struct gitdb_blob *ret)
{
	if (gitdb_blob_read(checkout->db, &entry->oid, (size_t)checkout->bytes_left, ret,
			    checkout->err) < 0)
		return -1;
	checkout->bytes_left -= (int64_t)ret->bytes.len;
	return 0;
}

static int put_file(struct checkout *checkout, int dir, const char *name,
		    const struct gitdb_entry *entry)
{
	CLEANUP(gitdb_blob_release) struct gitdb_blob blob = {0};
	CLEANUP(fd_cleanup) int fd = -1;

	if (read_blob(checkout, entry, &blob) < 0)
		return -1;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(checkout->err, "cannot make '%s'", name);
	if (fd_write_all(fd, blob.bytes.data, blob.bytes.len, checkout->err) < 0)
		return err_prefix(checkout->err, "'%s'", name);
	if (fchmod(fd, entry->mode == MODE_EXEC ? 0755 : 0644) < 0 || futimens(fd, TIMES) < 0)
		return err_sys(checkout->err, "cannot set the mode of '%s'", name);
	return 0;
}

static int put_link(struct checkout *checkout, int dir, const char *name,
		    const struct gitdb_entry *entry)
{
	CLEANUP(gitdb_blob_release) struct gitdb_blob blob = {0};
	char target[LINK_BYTES_MAX + 1];

	if (read_blob(checkout, entry, &blob) < 0)
		return -1;
	if (blob.bytes.len == 0 || blob.bytes.len > LINK_BYTES_MAX ||
	    memchr(blob.bytes.data, 0, blob.bytes.len) != NULL)
		return err_set(checkout->err, ERR_INPUT, "'%.200s' is no possible link", name);
	(void)memcpy(target, blob.bytes.data, blob.bytes.len);
	target[blob.bytes.len] = '\0';
	if (symlinkat(target, dir, name) < 0 ||
	    utimensat(dir, name, TIMES, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(checkout->err, "cannot make link '%s'", name);
	return 0;
}

static int make_dir(struct checkout *checkout, int dir, const char *name, int *ret_fd)
{
	int fd;

	if (mkdirat(dir, name, 0700) < 0)
		return err_sys(checkout->err, "cannot make directory '%s'", name);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(checkout->err, "cannot open directory '%s'", name);
	*ret_fd = fd;
	return 0;
}

static int close_dir(struct checkout *checkout, int fd, const char *name)
{
	if (fchmod(fd, 0755) < 0 || futimens(fd, TIMES) < 0)
		return err_sys(checkout->err, "cannot set the mode of '%s'", name);
	return 0;
}

/* --- trees ------------------------------------------------------------- */

static int put_entry(void *ctx, const char *name, const struct gitdb_entry *entry);

static int put_tree(struct checkout *checkout, int fd, const struct oid *tree, unsigned depth)
{
	struct place place = {.checkout = checkout, .fd = fd, .depth = depth};

	if (depth > DEPTH_MAX)
		return too_large(checkout, "directories inside each other");
	if (gitdb_list(checkout->db, tree, put_entry, &place, checkout->err) < 0)
		return -1;
	return place.result;
}

static int put_dir(struct place *place, const char *name, const struct gitdb_entry *entry)
{
	CLEANUP(fd_cleanup) int fd = -1;

	if (make_dir(place->checkout, place->fd, name, &fd) < 0)
		return -1;
	if (entry->mode == MODE_TREE &&
	    put_tree(place->checkout, fd, &entry->oid, place->depth + 1) < 0)
		return err_prefix(place->checkout->err, "in '%s'", name);
	return close_dir(place->checkout, fd, name);
}

static int put_entry(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct place *place = ctx;
	struct checkout *checkout = place->checkout;

	if (checkout->files_left-- == 0)
		place->result = too_large(checkout, "files");
	else if (strlen(name) > LIMIT_NAME_BYTES || !gitdb_name_valid(name))
		place->result =
			err_set(checkout->err, ERR_INPUT, "no file may be named '%.200s'", name);
	else if (entry->mode == MODE_FILE || entry->mode == MODE_EXEC)
		place->result = put_file(checkout, place->fd, name, entry);
	else if (entry->mode == MODE_LINK)
		place->result = put_link(checkout, place->fd, name, entry);
	else
		place->result = put_dir(place, name, entry);
	return place->result;
}

/* --- a checkout -------------------------------------------------------- */

static void final_path(const struct store *store, const struct oid *tree, const char *suffix,
		       char ret[PATH_MAX])
{
	char hex[OID_HEX_BYTES];

	oid_hex(tree, hex);
	(void)snprintf(ret, PATH_MAX, "%s/checkouts/%s%s", store->path, hex, suffix);
}

bool store_has_checkout(const struct store *store, const struct oid *tree)
{
	char path[PATH_MAX];
	struct stat st;

	final_path(store, tree, "", path);
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int build(struct store *store, const struct source_url *source, const struct oid *tree,
		 const char *final, struct err *err)
{
	CLEANUP(store_build_release) struct store_build build = {.fd = -1};
	struct checkout checkout = {
		.files_left = store->config.max_checkout_files,
		.bytes_left = store->config.max_checkout_bytes,
		.err = err,
	};
	char repo[PATH_MAX];
	int result;

	(void)snprintf(repo, sizeof(repo), "%s/repos/%s.git", store->path, source->name);
	if (gitdb_open(repo, GITDB_READ, &checkout.db, err) < 0)
		return -1;
	result = store_build_begin(store, &build, err);
	if (result == 0)
		result = put_tree(&checkout, build.fd, tree, 0);
	if (result == 0)
		result = close_dir(&checkout, build.fd, "the top");
	if (result == 0)
		result = store_build_finish(&build, final, err);
	gitdb_close(checkout.db);
	return result;
}

int store_checkout(struct store *store, const struct source_url *source, const struct oid *tree,
		   struct arena *arena, const char **ret_path, struct reason *ret_reason,
		   struct err *err)
{
	int64_t deadline_us = clock_mono_us() + store->config.fetch_timeout_ms * 1000;
	CLEANUP(fd_cleanup) int lock = -1;
	char final[PATH_MAX];
	char lock_path[PATH_MAX];
	struct err why = {0};
	char *path;

	final_path(store, tree, "", final);
	path = arena_strdup(arena, final);
	if (path == NULL) {
		errno = ENOMEM;
		return err_sys(err, "cannot check out");
	}
	if (!store_has_checkout(store, tree)) {
		final_path(store, tree, ".lock", lock_path);
		if (store_lock(lock_path, deadline_us, &lock, err) < 0)
			return -1;
		if (!store_has_checkout(store, tree) &&
		    build(store, source, tree, final, &why) < 0) {
			if (why.kind == ERR_INPUT || why.kind == ERR_LIMIT)
				return reason_set(ret_reason,
						  why.kind == ERR_LIMIT ? REASON_SOURCE_LIMIT
									: REASON_SOURCE_CORRUPT,
						  source->url, "cannot check out: %s", why.message);
			return err_set(err, why.kind, "cannot check out '%s': %s", source->url,
				       why.message);
		}
		/* Who waits for this file finds the checkout; so does who makes it anew. */
		(void)unlink(lock_path);
	}
	*ret_path = path;
	return 0;
}
