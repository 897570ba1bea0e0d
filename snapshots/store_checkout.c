/*
 * store_checkout.c - base trees on disk.
 *
 * A checkout is built below tmp/ and renamed to its final name, whose
 * existence says that it is complete. Files are made relative to descriptors
 * of their directories, exclusively, from names that are checked again here:
 * nothing in a tree can lead out of the directory being built. No filter,
 * attribute or hook has a part in it. Every mtime is the same, so that two
 * checkouts of a tree do not differ and whatever a step writes is newer; and a
 * file that somebody wrote to shows by it.
 *
 * Files that other checkouts have are linked (store_blobs.c), the others made
 * from their objects, which are hashed again on the way. A tree that is near to
 * a whole checkout becomes a layer over it instead (store_layer.c).
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

enum {
	DEPTH_MAX = 128,
	LINK_BYTES_MAX = 4095,
	BLOCK_BYTES = 4096,
	TOUCH_AFTER_S = 30,
	INFO_BYTES_MAX = 1024,
	LIST_FILES_MIN = 100,	 /* for fewer files each blob is tried */
	LIST_BLOBS_PER_FILE = 4, /* what more are there cost more to list than to try */
};

struct checkout {
	struct gitdb *db;
	int blobs;
	struct store_crew *crew;
	struct oid_set placed; /* blobs that this tree has linked already */
	struct oid_set listed; /* those that were there, when `is_listed` */
	bool is_listed;
	int64_t files_first, files_left;
	int64_t bytes_first, bytes_left;
	struct store_info info;
	bool layered; /* files are made, never linked */
	struct err *err;
};

/* The directory that is being filled. */
struct place {
	struct checkout *checkout;
	struct store_dir *dir;
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

/* What one more thing takes on disk, about. */
static void count_own(struct checkout *checkout, int64_t bytes)
{
	checkout->info.own_bytes += (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static int make_file(struct checkout *checkout, struct store_dir *dir, const char *name,
		     const struct store_blob *blob, bool shared)
{
	struct store_file file = {.name = name, .blob = *blob, .shared = shared};
	const struct gitdb_entry entry = {.oid = blob->oid};
	int result;

	if (read_blob(checkout, &entry, &file.content) < 0)
		return -1;
	if (!shared)
		count_own(checkout, (int64_t)file.content.bytes.len);
	result = store_crew_make(checkout->crew, dir, &file, checkout->err);
	gitdb_blob_release(&file.content);
	return result;
}

/* One that has come since then is made once more, and not kept. */
static bool may_be_there(const struct checkout *checkout, const struct store_blob *blob)
{
	return !checkout->is_listed || store_blob_listed(&checkout->listed, blob);
}

static int put_file(struct checkout *checkout, struct store_dir *dir, const char *name,
		    const struct gitdb_entry *entry)
{
	const struct store_blob blob = {.oid = entry->oid, .exec = entry->mode == MODE_EXEC};
	int first =
		checkout->layered ? 0 : store_blob_first(&checkout->placed, &blob, checkout->err);
	struct stat st;
	int linked = 0;

	if (first > 0 && may_be_there(checkout, &blob))
		linked = store_blob_link(checkout->blobs, &blob, dir->fd, name, &st, checkout->err);
	if (first < 0 || linked < 0)
		return -1;
	if (linked == 0)
		return make_file(checkout, dir, name, &blob, first > 0);
	checkout->bytes_left -= st.st_size;
	return checkout->bytes_left < 0 ? too_large(checkout, "bytes") : 0;
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
	    utimensat(dir, name, store_times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(checkout->err, "cannot make link '%s'", name);
	return 0;
}

static int make_dir(struct checkout *checkout, int dir, const char *name, int *ret_fd)
{
	int fd;

	count_own(checkout, BLOCK_BYTES);
	if (mkdirat(dir, name, 0755) < 0)
		return err_sys(checkout->err, "cannot make directory '%s'", name);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(checkout->err, "cannot open directory '%s'", name);
	*ret_fd = fd;
	return 0;
}

static int close_dir(struct checkout *checkout, int fd, const char *name)
{
	if (futimens(fd, store_times) < 0)
		return err_sys(checkout->err, "cannot set the time of '%s'", name);
	return 0;
}

/* --- trees ------------------------------------------------------------- */

/* An entry may be a tree, whose entries are put in turn. */
static int put_entry(void *ctx, const char *name, const struct gitdb_entry *entry);

static int put_tree(struct checkout *checkout, struct store_dir *dir, const struct oid *tree,
		    unsigned depth)
{
	struct place place = {.checkout = checkout, .dir = dir, .depth = depth};

	if (depth > DEPTH_MAX)
		return too_large(checkout, "directories inside each other");
	if (gitdb_list(checkout->db, tree, put_entry, &place, checkout->err) < 0)
		return -1;
	return place.result;
}

static int put_dir(struct place *place, const char *name, const struct gitdb_entry *entry)
{
	struct checkout *checkout = place->checkout;
	struct store_dir *dir;
	int result = 0;
	int fd;

	if (make_dir(checkout, place->dir->fd, name, &fd) < 0)
		return -1;
	dir = store_dir_new(fd, checkout->err);
	if (dir == NULL)
		return -1;
	if (entry->mode == MODE_TREE)
		result = put_tree(checkout, dir, &entry->oid, place->depth + 1);
	if (result < 0)
		(void)err_prefix(checkout->err, "in '%s'", name);
	if (store_dir_release(dir, result < 0 ? NULL : checkout->err) < 0)
		result = -1;
	return result;
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
		place->result = put_file(checkout, place->dir, name, entry);
	else if (entry->mode == MODE_LINK)
		place->result = put_link(checkout, place->dir->fd, name, entry);
	else
		place->result = put_dir(place, name, entry);
	return place->result;
}

/* --- what differs from another checkout ----------------------------------- */

static int layer_put(void *ctx, int dir, const char *name, const struct gitdb_entry *entry)
{
	struct store_dir here = {.fd = dir, .users = 1};
	struct place place = {.checkout = ctx, .dir = &here};

	return put_entry(&place, name, entry);
}

static int layer_hide(void *ctx, int dir, const char *name)
{
	struct checkout *checkout = ctx;

	if (checkout->files_left-- == 0)
		return too_large(checkout, "files");
	if (store_whiteout_make(dir, name) < 0 ||
	    utimensat(dir, name, store_times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(checkout->err, "cannot hide '%s'", name);
	return 0;
}

static int layer_enter(void *ctx, int dir, const char *name, int *ret_fd)
{
	struct checkout *checkout = ctx;

	if (checkout->files_left-- == 0)
		return too_large(checkout, "files");
	return make_dir(checkout, dir, name, ret_fd);
}

static int layer_leave(void *ctx, int fd, const char *name)
{
	return close_dir(ctx, fd, name);
}

/* Chooses what to be over, too. 1 when there is nothing near. */
static int put_layer(struct checkout *checkout, const struct store *store, const char *repo,
		     const struct oid *tree, int fd, int *ret_pin)
{
	const struct store_layer_walk walk = {.db = checkout->db,
					      .put = layer_put,
					      .hide = layer_hide,
					      .enter = layer_enter,
					      .leave = layer_leave,
					      .ctx = checkout,
					      .err = checkout->err};
	struct store_info under;

	if (!store_layer_choose(store, repo, checkout->db, tree, &checkout->info.under, &under,
				ret_pin))
		return 1;
	checkout->layered = checkout->info.layered = true;
	/* What the two have together, though some of it is hidden. */
	checkout->files_first = checkout->files_left = checkout->files_left - under.files;
	checkout->bytes_first = checkout->bytes_left = checkout->bytes_left - under.bytes;
	if (checkout->files_left < 0 || checkout->bytes_left < 0)
		return too_large(checkout, "files or bytes");
	return store_layer_walk(&walk, &checkout->info.under, tree, fd);
}

/* --- a checkout -------------------------------------------------------- */

/* Before anything is made: a few objects may be any number of files. */
static int check_extent(const struct checkout *checkout, const struct oid *tree, int64_t *ret_files)
{
	const struct gitdb_entry top = {.oid = *tree, .mode = MODE_TREE};
	CLEANUP(gitdb_counter_release)
	struct gitdb_counter counter = {
		.db = checkout->db,
		.max_files = checkout->files_left,
		.max_bytes = checkout->bytes_left,
		.files = -1, /* for the top itself, which is there already */
	};

	if (gitdb_count(&counter, &top, checkout->err) < 0)
		return -1;
	*ret_files = counter.files;
	return 0;
}

static int put_whole(struct checkout *checkout, const struct oid *tree, struct store_dir *top)
{
	int64_t files;

	if (check_extent(checkout, tree, &files) < 0)
		return -1;
	checkout->is_listed = files >= LIST_FILES_MIN &&
			      store_blobs_list(checkout->blobs, (size_t)files * LIST_BLOBS_PER_FILE,
					       &checkout->listed);
	return put_tree(checkout, top, tree, 0);
}

/* The crew's failure is the one to tell: the walk may just have met it. */
static int put_all(struct checkout *checkout, const struct store *store, const char *repo,
		   const struct oid *tree, int fd, int *ret_pin)
{
	struct store_dir top = {.fd = fd, .users = 1};
	int result;

	checkout->crew =
		store_crew_new(checkout->blobs,
			       ret_pin == NULL ? STORE_CREW_FULL : STORE_CREW_ALONE, checkout->err);
	if (checkout->crew == NULL)
		return -1;
	result = ret_pin != NULL ? put_layer(checkout, store, repo, tree, fd, ret_pin)
				 : put_whole(checkout, tree, &top);
	if (store_crew_end(checkout->crew, checkout->err) < 0)
		result = -1;
	return result == 0 ? close_dir(checkout, fd, "the top") : result;
}

/* Everything into the directory `fd`, hashed on its way; or what differs from
 * another checkout, which `ret_pin` then holds: 1 when none is near. */
static int fill(const struct store *store, const char *repo, const struct oid *tree, int fd,
		int *ret_pin, struct store_info *ret_info, struct err *err)
{
	struct checkout checkout = {
		.blobs = -1,
		.files_first = store->config.max_checkout_files,
		.bytes_first = store->config.max_checkout_bytes,
		.err = err,
	};
	char path[PATH_MAX];
	mode_t umask_before;
	int result;

	checkout.files_left = checkout.files_first;
	checkout.bytes_left = checkout.bytes_first;
	(void)snprintf(path, sizeof(path), "%s/blobs", store->path);
	checkout.blobs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (checkout.blobs < 0)
		return err_sys(err, "cannot open '%s'", path);
	(void)snprintf(path, sizeof(path), "%s/repos/%s.git", store->path, repo);
	gitdb_set_strict(true);
	/* The modes of files are as they are made; a call less for each. */
	umask_before = umask(022);
	result = gitdb_open(path, GITDB_READ, &checkout.db, err);
	if (result == 0)
		result = put_all(&checkout, store, repo, tree, fd, ret_pin);
	(void)umask(umask_before);
	gitdb_set_strict(false);
	gitdb_close(checkout.db);
	oid_set_release(&checkout.placed);
	oid_set_release(&checkout.listed);
	fd_close(checkout.blobs);
	checkout.info.files = checkout.files_first - checkout.files_left;
	checkout.info.bytes = checkout.bytes_first - checkout.bytes_left;
	(void)snprintf(checkout.info.repo, sizeof(checkout.info.repo), "%s", repo);
	*ret_info = checkout.info;
	return result;
}

/* The info comes first: a checkout without one is not of our making. A layer is
 * only tried: whatever stands in its way, the tree can be made whole. */
static int build(const struct store *store, const struct source_url *source, const struct oid *tree,
		 bool layered, struct err *err)
{
	CLEANUP(store_build_release) struct store_build build = {.fd = -1};
	CLEANUP(fd_cleanup) int pin = -1;
	struct store_info info;
	char path[PATH_MAX];
	int result;

	if (store_build_begin(store, &build, err) < 0)
		return -1;
	result = fill(store, source->name, tree, build.fd, layered ? &pin : NULL, &info, err);
	if (result != 0)
		return result;
	/* A layer whose checkout below is gone is in the way. */
	(void)store_checkout_remove(store, tree, true);
	store_checkout_path(store, tree, ".info", path);
	if (store_info_write(path, &info, err) < 0)
		return -1;
	store_checkout_path(store, tree, "", path);
	return store_build_finish(&build, path, err);
}

static int build_any(const struct store *store, const struct source_url *source,
		     const struct oid *tree, struct err *err)
{
	struct err why = {0};

	if (store->config.layers && build(store, source, tree, true, &why) == 0)
		return 0;
	return build(store, source, tree, false, err);
}

static void touch_one(const struct store *store, const struct oid *tree)
{
	char path[PATH_MAX];

	store_checkout_path(store, tree, ".info", path);
	(void)utimensat(AT_FDCWD, path, NULL, 0);
}

/* When it was last used, and with it the one that it is over. */
static void touch(const struct store *store, const struct oid *tree)
{
	char path[PATH_MAX];
	struct store_info info;
	struct stat st;

	store_checkout_path(store, tree, ".info", path);
	if (stat(path, &st) < 0 || st.st_mtim.tv_sec + TOUCH_AFTER_S >= clock_wall_us() / 1000000)
		return;
	touch_one(store, tree);
	if (store_info_read(path, &info, NULL) == 0 && info.layered)
		touch_one(store, &info.under);
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

	store_checkout_path(store, tree, "", final);
	path = arena_strdup(arena, final);
	if (path == NULL) {
		errno = ENOMEM;
		return err_sys(err, "cannot check out");
	}
	if (!store_has_checkout(store, tree)) {
		store_checkout_path(store, tree, ".lock", lock_path);
		if (store_lock(lock_path, deadline_us, &lock, err) < 0)
			return -1;
		if (!store_has_checkout(store, tree) && build_any(store, source, tree, &why) < 0) {
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
	} else {
		touch(store, tree);
	}
	*ret_path = path;
	return 0;
}
