/*
 * store_verify.c - whether blobs and checkouts are still what was made.
 *
 * A look at kind, mode, owner and mtime finds what any program changed: a
 * write moves a file's mtime, a file that comes or goes that of its directory.
 * The info file's count and size find what a power failure cut off. Reading
 * also finds what no time shows: each file's content is hashed and compared
 * with the entry of its tree, whose objects are hashed as they are read.
 *
 * A layer (store_layer.c) is compared with what differs between the two trees;
 * the checkout that it is over is one of its own.
 *
 * Repositories are read object by object, and only reported.
 *
 * Blobs come first. A checkout's file that is a blob found good needs no second
 * reading; one that is a blob found bad needs none either.
 */
#include "snapshots/store_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { DEPTH_MAX = 128, LINK_BYTES_MAX = 4096 };

struct verify {
	struct store *store;
	enum store_depth depth;
	void (*tell)(void *ctx, const char *what);
	void *ctx;
	struct oid_set good; /* inodes and what is in them */
	struct oid_set bad;  /* inodes alone */
	struct store_verified found;

	int blobs;	  /* the directory */
	const char *repo; /* that is read */

	/* of the checkout that is looked at */
	struct gitdb *db;
	struct store_info seen;
	bool layered;  /* whiteouts belong into it */
	char why[256]; /* what is wrong with it; "": nothing */
	struct err *err;
};

static void tell(struct verify *verify, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void tell(struct verify *verify, const char *fmt, ...)
{
	char text[ERR_MESSAGE_BYTES];
	va_list args;

	verify->found.damaged++;
	if (verify->tell == NULL)
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	verify->tell(verify->ctx, text);
}

/* --- content ----------------------------------------------------------- */

/* Returns whether the file could be read. */
static bool hash_file(int dir, const char *name, struct oid *ret)
{
	CLEANUP(fd_cleanup) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	void *map = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (st.st_size > 0) {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			return false;
	}
	gitdb_blob_oid((struct bytes){map, (size_t)st.st_size}, ret);
	if (map != NULL)
		(void)munmap(map, (size_t)st.st_size);
	return true;
}

/* One inode, with one content and mode or with any, as a member of a set. */
static struct oid inode_key(const struct stat *st, const struct store_blob *blob)
{
	struct oid key = {{0}};
	uint64_t inode = (uint64_t)st->st_ino;

	if (blob != NULL) {
		key = blob->oid;
		key.raw[OID_BYTES - 1] ^= blob->exec ? 1 : 0;
	}
	(void)memcpy(key.raw, &inode, sizeof(inode));
	return key;
}

static bool content_good(struct verify *verify, int dir, const char *name, const struct stat *st,
			 const struct store_blob *blob)
{
	struct oid key = inode_key(st, blob);
	struct oid oid;

	return oid_set_has(&verify->good, &key) ||
	       (hash_file(dir, name, &oid) && oid_equal(&oid, &blob->oid));
}

/* --- blobs ------------------------------------------------------------- */

static int check_blob(void *ctx, int dir, const char *name, const struct store_blob *blob,
		      const struct stat *st, struct err *err)
{
	struct verify *verify = ctx;
	bool good = store_file_sound(st, blob->exec);
	struct oid key;

	if (good && verify->depth == STORE_READ) {
		good = content_good(verify, dir, name, st, blob);
		key = inode_key(st, blob);
		if (good && oid_set_add(&verify->good, &key, err) < 0)
			return -1;
	}
	if (!good) {
		tell(verify, "blob %s has changed; removed", name);
		key = inode_key(st, NULL);
		if (oid_set_add(&verify->bad, &key, err) < 0)
			return -1;
		if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
			return err_sys(err, "cannot remove blob '%s'", name);
	}
	return 0;
}

/* --- a checkout, by itself --------------------------------------------- */

static int bad(struct verify *verify, const char *name, const char *what)
{
	if (verify->why[0] == '\0')
		(void)snprintf(verify->why, sizeof(verify->why), "'%.100s' %.120s", name, what);
	return 1;
}

static bool time_good(const struct stat *st)
{
	return st->st_mtim.tv_sec == STORE_MTIME_S && st->st_mtim.tv_nsec == 0 &&
	       st->st_uid == geteuid();
}

/* An entry may be a directory, whose entries are looked at in turn. */
static int look_dir(struct verify *verify, int fd, const char *name, unsigned depth);

static int look_entry(struct verify *verify, int dir, const char *name, unsigned depth)
{
	CLEANUP(fd_cleanup) int fd = -1;
	struct stat st;
	struct oid key;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return bad(verify, name, "cannot be looked at");
	verify->seen.files++;
	key = inode_key(&st, NULL);
	if (!time_good(&st) || oid_set_has(&verify->bad, &key))
		return bad(verify, name, "was changed");
	if (S_ISDIR(st.st_mode)) {
		fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		return fd < 0 ? bad(verify, name, "cannot be opened")
			      : look_dir(verify, fd_take(&fd), name, depth + 1);
	}
	verify->seen.bytes += st.st_size;
	if (S_ISLNK(st.st_mode) || (verify->layered && store_whiteout_is(&st)))
		return 0;
	return store_file_sound(&st, (st.st_mode & 0100) != 0)
		       ? 0
		       : bad(verify, name, "is not the file that was made");
}

/* Takes `fd`. */
static int look_dir(struct verify *verify, int fd, const char *name, unsigned depth)
{
	DIR *stream = fdopendir(fd);
	const struct dirent *entry;
	struct stat st;
	int result = 0;

	if (stream == NULL) {
		fd_close(fd);
		return bad(verify, name, "cannot be read");
	}
	if (depth > DEPTH_MAX || fstat(fd, &st) < 0 || !time_good(&st) ||
	    (st.st_mode & 07777) != 0755)
		result = bad(verify, name, "is not the directory that was made");
	while (result == 0 && (entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = look_entry(verify, fd, entry->d_name, depth);
	}
	(void)closedir(stream);
	return result;
}

static int look(struct verify *verify, const char *path, const struct store_info *info)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	verify->seen = (struct store_info){0};
	if (fd < 0)
		return bad(verify, ".", "cannot be opened");
	if (look_dir(verify, fd, ".", 0) != 0)
		return 1;
	if (verify->seen.files != info->files || verify->seen.bytes != info->bytes)
		return bad(verify, ".", "does not have the files or bytes that were made");
	return 0;
}

/* --- a checkout, against its tree -------------------------------------- */

struct place {
	struct verify *verify;
	int fd;
	unsigned depth;
};

/* An entry may be a tree, whose entries are read in turn. */
static int read_tree(struct verify *verify, int fd, const struct oid *tree, unsigned depth);

static bool link_good(const struct place *place, const char *name, const struct gitdb_entry *entry)
{
	char target[LINK_BYTES_MAX];
	ssize_t len = readlinkat(place->fd, name, target, sizeof(target));
	struct oid oid;

	if (len < 0 || len == (ssize_t)sizeof(target))
		return false;
	gitdb_blob_oid((struct bytes){(const uint8_t *)target, (size_t)len}, &oid);
	return oid_equal(&oid, &entry->oid);
}

/* Goes on after what is wrong, for each changed file may be a blob that the next
 * checkout would link. The number of files was compared already: with every
 * entry of every tree there and right, there is nothing else. */
static int read_entry(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	const struct place *place = ctx;
	struct verify *verify = place->verify;
	const struct store_blob blob = {.oid = entry->oid, .exec = entry->mode == MODE_EXEC};
	CLEANUP(fd_cleanup) int fd = -1;
	struct stat st;
	bool good;

	if (entry->mode == MODE_LINK) {
		good = link_good(place, name, entry);
	} else if (entry->mode == MODE_TREE || entry->mode == MODE_GITLINK) {
		fd = openat(place->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		good = fd >= 0;
	} else {
		verify->found.files++;
		good = fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		       store_file_sound(&st, blob.exec) &&
		       content_good(verify, place->fd, name, &st, &blob);
		if (!good)
			store_blob_forget(verify->blobs, &blob);
	}
	if (!good)
		(void)bad(verify, name, "has changed or is missing");
	return good && entry->mode == MODE_TREE
		       ? read_tree(verify, fd, &entry->oid, place->depth + 1)
		       : 0;
}

static int read_tree(struct verify *verify, int fd, const struct oid *tree, unsigned depth)
{
	struct place place = {.verify = verify, .fd = fd, .depth = depth};

	if (depth > DEPTH_MAX)
		return bad(verify, ".", "is too deep");
	if (gitdb_list(verify->db, tree, read_entry, &place, verify->err) < 0)
		return -1;
	return 0;
}

/* --- a layer, against the two trees ------------------------------------- */

static int layer_put(void *ctx, int dir, const char *name, const struct gitdb_entry *entry)
{
	struct place place = {.verify = ctx, .fd = dir};

	return read_entry(&place, name, entry);
}

static int layer_hide(void *ctx, int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !store_whiteout_is(&st))
		(void)bad(ctx, name, "is not hidden");
	return 0;
}

/* Without the directory, all below it would be missing too: one is enough. */
static int layer_enter(void *ctx, int dir, const char *name, int *ret_fd)
{
	*ret_fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd < 0 ? bad(ctx, name, "has changed or is missing") : 0;
}

static int layer_leave(void *ctx, int fd, const char *name)
{
	(void)ctx;
	(void)fd;
	(void)name;
	return 0;
}

static int read_layer(struct verify *verify, int fd, const struct oid *tree,
		      const struct oid *under)
{
	const struct store_layer_walk walk = {.db = verify->db,
					      .put = layer_put,
					      .hide = layer_hide,
					      .enter = layer_enter,
					      .leave = layer_leave,
					      .ctx = verify,
					      .err = verify->err};

	return store_layer_walk(&walk, under, tree, fd);
}

static int read_all(struct verify *verify, const char *path, const struct oid *tree,
		    const struct store_info *info)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char repo[2 * PATH_MAX];
	struct err err = {0};
	int result;

	if (fd < 0)
		return bad(verify, ".", "cannot be opened");
	(void)snprintf(repo, sizeof(repo), "%s/repos/%s.git", verify->store->path, info->repo);
	if (gitdb_open(repo, GITDB_READ, &verify->db, &err) < 0)
		return bad(verify, ".", "comes from a repository that is gone");
	verify->err = &err;
	result = info->layered ? read_layer(verify, fd, tree, &info->under)
			       : read_tree(verify, fd, tree, 0);
	gitdb_close(verify->db);
	verify->db = NULL;
	if (result < 0)
		(void)bad(verify, ".", err.message);
	return verify->why[0] != '\0';
}

/* --- all checkouts ----------------------------------------------------- */

static int check_checkout(void *ctx, const struct oid *tree, struct err *err)
{
	struct verify *verify = ctx;
	char path[PATH_MAX], hex[OID_HEX_BYTES];
	struct store_info info;
	int result;

	(void)err;
	verify->why[0] = '\0';
	verify->found.checkouts++;
	store_checkout_path(verify->store, tree, ".info", path);
	if (store_info_read(path, &info, NULL) < 0)
		result = bad(verify, ".", "has no info file");
	else if (!store_has_checkout(verify->store, tree))
		result = bad(verify, ".", "is over a checkout that is gone");
	else {
		verify->layered = info.layered;
		store_checkout_path(verify->store, tree, "", path);
		result = look(verify, path, &info);
		if (result != 0 || verify->depth == STORE_READ)
			result = read_all(verify, path, tree, &info);
		else
			verify->found.files += verify->seen.files;
	}
	if (result != 0) {
		oid_hex(tree, hex);
		tell(verify, "checkout %s: %s; removed, the next job that needs it builds it anew",
		     hex, verify->why);
		(void)store_checkout_remove(verify->store, tree, true);
	}
	return 0;
}

/* --- repositories ------------------------------------------------------ */

/* Nothing here can mend one: what is in it may be the only copy of a job's work. */
static void on_object(void *ctx, const char *hex)
{
	struct verify *verify = ctx;

	tell(verify,
	     "repository '%s/repos/%s': object %s is corrupt; move the repository away "
	     "while no worker runs, and it is fetched anew",
	     verify->store->path, verify->repo, hex);
}

static int read_repo(struct verify *verify, struct err *err)
{
	char path[2 * PATH_MAX];
	struct gitdb *db = NULL;
	int64_t objects = 0;
	int result;

	(void)snprintf(path, sizeof(path), "%s/repos/%s", verify->store->path, verify->repo);
	if (gitdb_open(path, GITDB_READ, &db, err) < 0)
		return -1;
	result = gitdb_verify(db, on_object, verify, &objects, err);
	gitdb_close(db);
	verify->found.objects += objects;
	return result;
}

static int read_repos(struct verify *verify, struct err *err)
{
	char path[PATH_MAX];
	const struct dirent *entry;
	int result = 0;
	DIR *stream;

	(void)snprintf(path, sizeof(path), "%s/repos", verify->store->path);
	stream = opendir(path);
	if (stream == NULL)
		return err_sys(err, "cannot open '%s'", path);
	while (result == 0 && (entry = readdir(stream)) != NULL) {
		size_t len = strlen(entry->d_name);

		if (len < 5 || strcmp(entry->d_name + len - 4, ".git") != 0)
			continue;
		verify->repo = entry->d_name;
		result = read_repo(verify, err);
	}
	(void)closedir(stream);
	return result;
}

/* --- all of it --------------------------------------------------------- */

int store_verify(struct store *store, enum store_depth depth,
		 void (*told)(void *ctx, const char *what), void *ctx, struct store_verified *ret,
		 struct err *err)
{
	struct verify verify = {.store = store, .depth = depth, .tell = told, .ctx = ctx};
	int64_t deadline_us = clock_mono_us() + store->config.fetch_timeout_ms * 1000;
	CLEANUP(fd_cleanup) int lock = -1;
	CLEANUP(fd_cleanup) int blobs = -1;
	char path[PATH_MAX];
	int result;

	(void)snprintf(path, sizeof(path), "%s/blobs", store->path);
	verify.blobs = blobs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (blobs < 0)
		return err_sys(err, "cannot open '%s'", path);
	if (store_upkeep_lock(store, deadline_us, &lock, err) < 0)
		return -1;
	gitdb_set_strict(depth == STORE_READ);
	result = store_blobs_each(store, check_blob, &verify, err);
	if (result == 0)
		result = store_checkouts_each(store, check_checkout, &verify, err);
	gitdb_set_strict(false);
	if (result == 0 && depth == STORE_READ)
		result = read_repos(&verify, err);
	oid_set_release(&verify.good);
	oid_set_release(&verify.bad);
	if (result == 0)
		*ret = verify.found;
	return result < 0 ? err_prefix(err, "cannot verify the store") : 0;
}
