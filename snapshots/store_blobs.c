/*
 * store_blobs.c - the content that checkouts have in common.
 *
 * blobs/<x>/<oid>-<mode> is a file as checkouts have it; a checkout links to
 * it, so what neighbouring commits share is on disk once and costs one link(2)
 * each. Within one tree each blob is linked once: two paths that share an
 * inode would be one file to the steps (`cp a b` refuses, tar writes a link).
 * The second path gets a copy, as does everything that cannot be linked.
 *
 * A file enters by a link to what was just written into a checkout, so it is
 * whole from the start. When it is linked again it must still look as it was
 * made, mtime included: what somebody changed is thrown out and made anew.
 */
#include "snapshots/store_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/* A directory costs more to make than a file, and holds thousands as fast. */
enum { DIR_MODE = 0750, SHARD_CHARS = 1, SHARDS = 16 };

static void blob_path(const struct store_blob *blob, char ret[STORE_BLOB_PATH_BYTES])
{
	char hex[OID_HEX_BYTES];

	oid_hex(&blob->oid, hex);
	(void)snprintf(ret, STORE_BLOB_PATH_BYTES, "%.1s/%s-%s", hex, hex,
		       blob->exec ? "755" : "644");
}

bool store_blob_parse(const char *name, struct store_blob *ret)
{
	char hex[OID_HEX_BYTES];
	const char *mode = name + OID_HEX_BYTES - 1;

	if (strlen(name) != OID_HEX_BYTES + 3 ||
	    (strcmp(mode, "-644") != 0 && strcmp(mode, "-755") != 0))
		return false;
	(void)memcpy(hex, name, OID_HEX_BYTES - 1);
	hex[OID_HEX_BYTES - 1] = '\0';
	ret->exec = mode[1] == '7';
	return oid_parse(hex, &ret->oid);
}

bool store_file_sound(const struct stat *st, bool exec)
{
	return S_ISREG(st->st_mode) && (st->st_mode & 07777) == (exec ? 0755 : 0644) &&
	       st->st_mtim.tv_sec == STORE_MTIME_S && st->st_mtim.tv_nsec == 0 &&
	       st->st_uid == geteuid();
}

/* A blob as a member of a set. At worst two are taken for one, which costs a copy. */
static struct oid blob_key(const struct store_blob *blob)
{
	struct oid key = blob->oid;

	key.raw[OID_BYTES - 1] ^= blob->exec ? 1 : 0;
	return key;
}

int store_blob_first(struct oid_set *placed, const struct store_blob *blob, struct err *err)
{
	const struct oid key = blob_key(blob);

	return oid_set_add(placed, &key, err);
}

bool store_blob_listed(const struct oid_set *listed, const struct store_blob *blob)
{
	const struct oid key = blob_key(blob);

	return oid_set_has(listed, &key);
}

int store_blob_link(int blobs, const struct store_blob *blob, int dir, const char *name,
		    struct stat *ret_st, struct err *err)
{
	char path[STORE_BLOB_PATH_BYTES];

	blob_path(blob, path);
	if (linkat(blobs, path, dir, name, 0) < 0) {
		/* A full one makes room for the next. */
		if (errno == EMLINK)
			(void)unlinkat(blobs, path, 0);
		else if (errno != ENOENT && errno != EPERM)
			return err_sys(err, "cannot link '%s'", name);
		return 0;
	}
	if (fstatat(dir, name, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "cannot look at '%s'", name);
	if (store_file_sound(ret_st, blob->exec))
		return 1;
	if (unlinkat(dir, name, 0) < 0)
		return err_sys(err, "cannot remove '%s'", name);
	(void)unlinkat(blobs, path, 0);
	return 0;
}

/* Sharing is a saving, not a need: what cannot be linked stays a copy. */
void store_blob_keep(int blobs, const struct store_blob *blob, int dir, const char *name)
{
	char path[STORE_BLOB_PATH_BYTES];

	blob_path(blob, path);
	if (linkat(dir, name, blobs, path, 0) == 0 || errno != ENOENT)
		return;
	path[SHARD_CHARS] = '\0';
	(void)mkdirat(blobs, path, DIR_MODE);
	path[SHARD_CHARS] = '/';
	(void)!linkat(dir, name, blobs, path, 0);
}

void store_blob_forget(int blobs, const struct store_blob *blob)
{
	char path[STORE_BLOB_PATH_BYTES];

	blob_path(blob, path);
	(void)unlinkat(blobs, path, 0);
}

/* --- all of them ------------------------------------------------------- */

static int each_in(int dir, store_blob_visit *visit, void *ctx, struct err *err)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *entry;
	int result = 0;

	if (stream == NULL) {
		fd_close(copy);
		return err_sys(err, "cannot read blobs");
	}
	while (result == 0 && (entry = readdir(stream)) != NULL) {
		struct store_blob blob;
		struct stat st;

		if (entry->d_name[0] == '.' ||
		    fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (store_blob_parse(entry->d_name, &blob))
			result = visit(ctx, dir, entry->d_name, &blob, &st, err);
		else
			(void)unlinkat(dir, entry->d_name, 0);
	}
	(void)closedir(stream);
	return result;
}

static bool list_shard(int blobs, const char *name, size_t *left, struct oid_set *listed)
{
	int fd = openat(blobs, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	bool all = true;

	if (stream == NULL) {
		fd_close(fd);
		return fd < 0 && errno == ENOENT;
	}
	while (all && (entry = readdir(stream)) != NULL) {
		struct store_blob blob;
		struct oid key;

		if (!store_blob_parse(entry->d_name, &blob))
			continue;
		key = blob_key(&blob);
		all = (*left)-- > 0 && oid_set_add(listed, &key, NULL) >= 0;
	}
	(void)closedir(stream);
	return all;
}

bool store_blobs_list(int blobs, size_t max, struct oid_set *listed)
{
	bool all = true;

	for (unsigned i = 0; all && i < SHARDS; i++) {
		char name[SHARD_CHARS + 1];

		(void)snprintf(name, sizeof(name), "%x", i);
		all = list_shard(blobs, name, &max, listed);
	}
	return all;
}

int store_blobs_each(const struct store *store, store_blob_visit *visit, void *ctx, struct err *err)
{
	char path[PATH_MAX];
	int result = 0;

	for (unsigned i = 0; result == 0 && i < SHARDS; i++) {
		CLEANUP(fd_cleanup) int dir = -1;

		(void)snprintf(path, sizeof(path), "%s/blobs/%x", store->path, i);
		dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir >= 0)
			result = each_in(dir, visit, ctx, err);
		else if (errno != ENOENT)
			result = err_sys(err, "cannot open '%s'", path);
	}
	return result;
}
