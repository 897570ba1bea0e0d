/*
 * store_upkeep.c - keeping a store within its bounds.
 *
 * What all checkouts take together is what the blobs take, each once, and what
 * is each checkout's own. Removing one frees its own part, and then the blobs
 * that nobody links any longer: those with a single link. A builder may link
 * such a blob in between; its checkout then has the file to itself.
 *
 * One process at a time does this, in a child of the storekeeper, while jobs
 * go on: a checkout that is mounted is locked by who mounted it, one that is
 * about to be was used a moment ago.
 */
#include "snapshots/store_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { DISK_UNIT = 512, MS_PER_S = 1000, LOCK_WAIT_US = 2 * 1000 * 1000, ORPHAN_MS = 60 * 1000 };

/* --- what there is ----------------------------------------------------- */

struct kept {
	struct oid tree;
	int64_t used_ms;
	int64_t own_bytes;
	bool known; /* its info is whole, and what it is over is there */
};

struct shelf {
	struct store *store;
	struct store_upkept *upkept;
	struct kept *kept;
	size_t len;
	size_t capacity;
	int64_t blob_bytes;
};

static int note_checkout(void *ctx, const struct oid *tree, struct err *err)
{
	struct shelf *shelf = ctx;
	struct kept kept = {.tree = *tree};
	struct store_info info;
	char path[PATH_MAX];
	struct stat st;

	if (shelf->len == shelf->capacity) {
		size_t capacity = shelf->capacity == 0 ? 64 : 2 * shelf->capacity;
		struct kept *grown = reallocarray(shelf->kept, capacity, sizeof(*grown));

		if (grown == NULL) {
			errno = ENOMEM;
			return err_sys(err, "cannot list checkouts");
		}
		shelf->kept = grown;
		shelf->capacity = capacity;
	}
	store_checkout_path(shelf->store, tree, ".info", path);
	if (stat(path, &st) == 0 && store_info_read(path, &info, NULL) == 0) {
		kept.known = store_has_checkout(shelf->store, tree);
		kept.used_ms = st.st_mtim.tv_sec * MS_PER_S + st.st_mtim.tv_nsec / 1000000;
		kept.own_bytes = info.own_bytes;
	}
	shelf->kept[shelf->len++] = kept;
	return 0;
}

/* Oldest first; those without an info before all others. */
static int compare_kept(const void *a, const void *b)
{
	const struct kept *left = a;
	const struct kept *right = b;

	return (left->used_ms > right->used_ms) - (left->used_ms < right->used_ms);
}

/* Removes the blob when no checkout has it. */
static int sweep_blob(void *ctx, int dir, const char *name, const struct store_blob *blob,
		      const struct stat *st, struct err *err)
{
	struct shelf *shelf = ctx;

	(void)blob;
	(void)err;
	if (st->st_nlink == 1 && unlinkat(dir, name, 0) == 0)
		shelf->upkept->blobs++;
	else
		shelf->blob_bytes += (int64_t)st->st_blocks * DISK_UNIT;
	return 0;
}

static int sweep_blobs(struct shelf *shelf, struct err *err)
{
	shelf->blob_bytes = 0;
	return store_blobs_each(shelf->store, sweep_blob, shelf, err);
}

static int64_t total(const struct shelf *shelf)
{
	int64_t bytes = shelf->blob_bytes;

	for (size_t i = 0; i < shelf->len; i++)
		bytes += shelf->kept[i].own_bytes;
	return bytes;
}

/* --- removing ---------------------------------------------------------- */

/* Files of crashed builders beside the checkouts. A builder at work is about to
 * give the checkout its name when the info is there. */
static void remove_orphans(const struct store *store)
{
	int64_t before_ms = clock_wall_us() / 1000 - ORPHAN_MS;
	char path[PATH_MAX];
	const struct dirent *entry;
	DIR *stream;

	(void)snprintf(path, sizeof(path), "%s/checkouts", store->path);
	stream = opendir(path);
	while (stream != NULL && (entry = readdir(stream)) != NULL) {
		char hex[OID_HEX_BYTES] = "";
		struct oid tree;
		struct stat st;

		(void)snprintf(hex, sizeof(hex), "%.40s", entry->d_name);
		if (!oid_parse(hex, &tree) || entry->d_name[OID_HEX_BYTES - 1] == '\0' ||
		    store_has_checkout(store, &tree))
			continue;
		if (fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_mtim.tv_sec * MS_PER_S < before_ms)
			(void)unlinkat(dirfd(stream), entry->d_name, 0);
	}
	if (stream != NULL)
		(void)closedir(stream);
}

/* Least recently used first, until the rest fits. What one removal frees is
 * only known when the blobs were swept. */
static int evict(struct shelf *shelf, int64_t max_bytes, int64_t before_ms, struct err *err)
{
	for (size_t i = 0; i < shelf->len; i++) {
		struct kept *kept = &shelf->kept[i];

		if (kept->known && (total(shelf) <= max_bytes || kept->used_ms > before_ms))
			continue;
		if (!store_checkout_remove(shelf->store, &kept->tree, false))
			continue;
		shelf->upkept->checkouts++;
		*kept = (struct kept){.used_ms = INT64_MAX, .known = true};
		if (sweep_blobs(shelf, err) < 0)
			return -1;
	}
	return 0;
}

static int trim_checkouts(struct shelf *shelf, const struct store_policy *policy, struct err *err)
{
	int64_t before_ms = clock_wall_us() / 1000 - policy->recent_ms;

	remove_orphans(shelf->store);
	if (store_checkouts_each(shelf->store, note_checkout, shelf, err) < 0 ||
	    sweep_blobs(shelf, err) < 0)
		return -1;
	if (shelf->len > 0)
		qsort(shelf->kept, shelf->len, sizeof(*shelf->kept), compare_kept);
	/* The second time for those whose layers went. */
	if (evict(shelf, policy->max_bytes, before_ms, err) < 0)
		return -1;
	return evict(shelf, policy->max_bytes, before_ms, err);
}

/* --- repositories ------------------------------------------------------ */

static const struct gitdb_gc_policy GC = {.pack_bytes = 64 << 20, .loose = 1000, .packs = 12};

/* How many refs went. Somebody who fetches may take minutes: another time. */
static int expire_refs(const struct store *store, const char *repo, const char *path,
		       int64_t before_s, int64_t *ret_deleted, struct err *err)
{
	CLEANUP(fd_cleanup) int lock = -1;
	struct gitdb *db = NULL;
	int64_t jobs = 0, bases = 0;
	int result;

	*ret_deleted = 0;
	if (store_write_lock(store, repo, STORE_DELETES, clock_mono_us() + LOCK_WAIT_US, &lock,
			     NULL) < 0)
		return 0;
	gitdb_tidy(path);
	if (gitdb_open(path, GITDB_WRITE, &db, err) < 0)
		return -1;
	result = gitdb_refs_expire(db, "refs/sbx", before_s, &jobs, err);
	if (result == 0)
		result = gitdb_refs_expire(db, "refs/sbx-base", before_s, &bases, err);
	gitdb_close(db);
	*ret_deleted = jobs + bases;
	return result;
}

static int pack_repo(const struct store *store, const char *repo, const char *path, bool always,
		     struct store_upkept *upkept, struct err *err)
{
	struct gitdb_gc_policy policy = GC;
	CLEANUP(fd_cleanup) int lock = -1;
	struct gitdb_gc *gc;
	int result;

	policy.always = always;
	if (store_write_lock(store, repo, STORE_WRITES, clock_mono_us() + LOCK_WAIT_US, &lock,
			     err) < 0)
		return -1;
	result = gitdb_gc_begin(path, &policy, &gc, err);
	fd_cleanup(&lock);
	if (result != 0)
		return result < 0 ? -1 : 0;
	if (store_write_lock(store, repo, STORE_DELETES, clock_mono_us() + LOCK_WAIT_US, &lock,
			     NULL) < 0) {
		gitdb_gc_abandon(gc);
	} else {
		result = gitdb_gc_finish(gc, err);
		upkept->repos++;
	}
	gitdb_gc_free(gc);
	return result;
}

/* One repository that cannot be packed does not keep the others from it. */
static int trim_repos(const struct store *store, const struct store_policy *policy,
		      struct store_upkept *upkept, struct err *err)
{
	int64_t before_s = (clock_wall_us() / 1000 - policy->keep_refs_ms) / MS_PER_S;
	const struct dirent *entry;
	char path[PATH_MAX + 256], repo[256];
	int result = 0;
	DIR *stream;

	(void)snprintf(path, sizeof(path), "%s/repos", store->path);
	stream = opendir(path);
	if (stream == NULL)
		return err_sys(err, "cannot open '%s'", path);
	while ((entry = readdir(stream)) != NULL) {
		size_t len = strlen(entry->d_name);
		int64_t deleted;

		if (len < 5 || strcmp(entry->d_name + len - 4, ".git") != 0)
			continue;
		(void)snprintf(repo, sizeof(repo), "%.*s", (int)len - 4, entry->d_name);
		(void)snprintf(path, sizeof(path), "%s/repos/%s", store->path, entry->d_name);
		if (expire_refs(store, repo, path, before_s, &deleted, err) < 0 ||
		    pack_repo(store, repo, path, deleted > 0, upkept, err) < 0)
			result = -1;
		upkept->refs += deleted;
	}
	(void)closedir(stream);
	return result;
}

/* --- all of it --------------------------------------------------------- */

int store_upkeep(struct store *store, const struct store_policy *policy, struct store_upkept *ret,
		 struct err *err)
{
	struct store_upkept upkept = {0};
	struct shelf shelf = {.store = store, .upkept = &upkept};
	CLEANUP(fd_cleanup) int lock = -1;
	struct err busy = {0};
	int result;

	assert(policy->max_bytes > 0 && policy->recent_ms >= 0 && policy->keep_refs_ms > 0);
	*ret = upkept;
	if (store_upkeep_lock(store, 0, &lock, &busy) < 0)
		return busy.kind == ERR_TIMEOUT ? 0 : err_set(err, busy.kind, "%s", busy.message);
	result = store_clean_tmp(store, err);
	if (result == 0)
		result = trim_checkouts(&shelf, policy, err);
	if (result == 0)
		result = trim_repos(store, policy, &upkept, err);
	upkept.bytes = total(&shelf);
	free(shelf.kept);
	if (result < 0)
		return err_prefix(err, "cannot keep the store in order");
	*ret = upkept;
	return 0;
}
