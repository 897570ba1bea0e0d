/*
 * store_layer.c - a base tree as a layer over another one.
 *
 * Neighbouring commits differ in a few files, but a directory of links to all
 * the others costs a system call for each. So a tree that is near to one whose
 * checkout is whole gets a directory of what differs alone, in the form that
 * overlayfs takes for the upper of two lower layers: changed and new files
 * where they belong, and a whiteout (a character device 0/0, which anybody may
 * make) for each name that is gone. Who mounts it puts both below the job's own
 * layer. No directory is opaque: what a directory loses when a submodule takes
 * its place is whited out name by name.
 *
 * A layer is over a whole checkout, never over another layer, so there are two
 * at most. Its files are its own: a blob that the checkout below has too, under
 * another name, would be one inode at two paths of one tree (store_blobs.c).
 *
 * The walk is written once; who builds, who counts and who verifies differ in
 * what they do at each difference.
 */
#include "snapshots/store_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/arena.h"
#include "base/fd.h"

enum { DEPTH_MAX = 128, FIRST_ENTRIES = 64, NAMES_BYTES_MAX = 128 << 20 };

/* --- a tree's entries, by name ------------------------------------------ */

struct named {
	const char *name;
	struct gitdb_entry entry;
	bool stays;
};

struct names {
	struct arena arena;
	struct named *items;
	size_t len;
	size_t capacity;
	bool failed;
};

static void names_release(struct names *names)
{
	free(names->items);
	arena_release(&names->arena);
}

static int take_name(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct names *names = ctx;

	if (names->len == names->capacity) {
		size_t capacity = names->capacity == 0 ? FIRST_ENTRIES : 2 * names->capacity;
		struct named *grown = reallocarray(names->items, capacity, sizeof(*grown));

		names->failed = grown == NULL;
		if (names->failed)
			return 1;
		names->items = grown;
		names->capacity = capacity;
	}
	name = arena_strdup(&names->arena, name);
	names->failed = name == NULL;
	if (name != NULL)
		names->items[names->len++] = (struct named){.name = name, .entry = *entry};
	return names->failed;
}

static int compare_named(const void *a, const void *b)
{
	const struct named *left = a;
	const struct named *right = b;

	return strcmp(left->name, right->name);
}

static int read_names(struct gitdb *db, const struct oid *tree, struct names *names,
		      struct err *err)
{
	arena_init(&names->arena, NAMES_BYTES_MAX);
	if (gitdb_list(db, tree, take_name, names, err) < 0)
		return -1;
	if (names->failed) {
		errno = ENOMEM;
		return err_sys(err, "cannot compare trees");
	}
	if (names->len > 0)
		qsort(names->items, names->len, sizeof(*names->items), compare_named);
	return 0;
}

/* --- the walk ----------------------------------------------------------- */

/* Two trees at one path, whose differences may be in directories below. */
static int walk_pair(const struct store_layer_walk *walk, const struct oid *under,
		     const struct oid *tree, int fd, unsigned depth);

static int hide_all(const struct store_layer_walk *walk, const struct oid *under, int fd)
{
	CLEANUP(names_release) struct names names = {0};
	int result = read_names(walk->db, under, &names, walk->err);

	for (size_t i = 0; result == 0 && i < names.len; i++)
		result = walk->hide(walk->ctx, fd, names.items[i].name);
	return result;
}

/* A directory that both have; in `tree` it may be a submodule's, which is empty. */
static int walk_dir(const struct store_layer_walk *walk, const struct named *old,
		    const struct named *new, int fd, unsigned depth)
{
	CLEANUP(fd_cleanup) int below = -1;
	int result = walk->enter(walk->ctx, fd, new->name, &below);

	if (result == 0 && new->entry.mode == MODE_TREE)
		result = walk_pair(walk, &old->entry.oid, &new->entry.oid, below, depth + 1);
	else if (result == 0)
		result = hide_all(walk, &old->entry.oid, below);
	return result == 0 ? walk->leave(walk->ctx, below, new->name) : result;
}

static int walk_entry(const struct store_layer_walk *walk, struct names *olds,
		      const struct named *new, int fd, unsigned depth)
{
	struct named *old = olds->len == 0 ? NULL
					   : bsearch(new, olds->items, olds->len,
						     sizeof(*olds->items), compare_named);

	if (old == NULL)
		return walk->put(walk->ctx, fd, new->name, &new->entry);
	old->stays = true;
	if (old->entry.mode == new->entry.mode &&
	    (new->entry.mode == MODE_GITLINK || oid_equal(&old->entry.oid, &new->entry.oid)))
		return 0;
	if (old->entry.mode == MODE_TREE &&
	    (new->entry.mode == MODE_TREE || new->entry.mode == MODE_GITLINK))
		return walk_dir(walk, old, new, fd, depth);
	return walk->put(walk->ctx, fd, new->name, &new->entry);
}

static int walk_pair(const struct store_layer_walk *walk, const struct oid *under,
		     const struct oid *tree, int fd, unsigned depth)
{
	CLEANUP(names_release) struct names olds = {0};
	CLEANUP(names_release) struct names news = {0};
	int result = 0;

	if (depth > DEPTH_MAX)
		return err_set(walk->err, ERR_LIMIT,
			       "the tree has too many directories inside each other");
	if (read_names(walk->db, under, &olds, walk->err) < 0 ||
	    read_names(walk->db, tree, &news, walk->err) < 0)
		return -1;
	for (size_t i = 0; result == 0 && i < news.len; i++)
		result = walk_entry(walk, &olds, &news.items[i], fd, depth);
	for (size_t i = 0; result == 0 && i < olds.len; i++) {
		if (!olds.items[i].stays)
			result = walk->hide(walk->ctx, fd, olds.items[i].name);
	}
	return result;
}

int store_layer_walk(const struct store_layer_walk *walk, const struct oid *under,
		     const struct oid *tree, int fd)
{
	return walk_pair(walk, under, tree, fd, 0);
}

/* --- whiteouts ------------------------------------------------------------ */

int store_whiteout_make(int dir, const char *name)
{
	return mknodat(dir, name, S_IFCHR | 0444, makedev(0, 0));
}

bool store_whiteout_is(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* --- which checkout to be over ----------------------------------------------- */

struct count {
	struct gitdb_counter counter; /* of what the layer would have of its own */
	int64_t left;
	struct err *err;
};

static int count_one(struct count *count)
{
	return count->left-- > 0 ? 0 : 1;
}

static int count_put(void *ctx, int dir, const char *name, const struct gitdb_entry *entry)
{
	struct count *count = ctx;
	int64_t before = count->counter.files;

	(void)dir;
	(void)name;
	if (gitdb_count(&count->counter, entry, count->err) < 0)
		return -1;
	count->left -= count->counter.files - before;
	return count->left < 0;
}

static int count_hide(void *ctx, int dir, const char *name)
{
	(void)dir;
	(void)name;
	return count_one(ctx);
}

static int count_enter(void *ctx, int dir, const char *name, int *ret_fd)
{
	(void)dir;
	(void)name;
	(void)ret_fd;
	return count_one(ctx);
}

static int count_leave(void *ctx, int fd, const char *name)
{
	(void)ctx;
	(void)fd;
	(void)name;
	return 0;
}

struct candidate {
	struct oid tree;
	struct store_info info;
	int64_t used_ns;
};

struct choice {
	const struct store *store;
	const char *repo;
	struct candidate best[STORE_LAYER_CANDIDATES]; /* the latest first */
	size_t len;
	size_t looked_at;
};

static int consider(void *ctx, const struct oid *tree, struct err *err)
{
	struct choice *choice = ctx;
	struct candidate one = {.tree = *tree};
	char path[PATH_MAX];
	struct stat st;
	size_t at;

	(void)err;
	store_checkout_path(choice->store, tree, ".info", path);
	if (stat(path, &st) < 0 || store_info_read(path, &one.info, NULL) < 0 || one.info.layered ||
	    one.info.files < STORE_LAYER_FILES_MIN || strcmp(one.info.repo, choice->repo) != 0)
		return choice->looked_at++ > STORE_LAYER_LOOKS_MAX;
	one.used_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
	for (at = choice->len; at > 0 && choice->best[at - 1].used_ns < one.used_ns; at--) {
		if (at < STORE_LAYER_CANDIDATES)
			choice->best[at] = choice->best[at - 1];
	}
	if (at < STORE_LAYER_CANDIDATES) {
		choice->best[at] = one;
		choice->len += choice->len < STORE_LAYER_CANDIDATES;
	}
	return choice->looked_at++ > STORE_LAYER_LOOKS_MAX;
}

/* A directory that is new counts with all that is in it. */
static bool is_near(const struct store *store, struct gitdb *db, const struct candidate *one,
		    const struct oid *tree)
{
	struct err err = {0};
	struct count count = {.counter = {.db = db,
					  .max_files = one->info.files / STORE_LAYER_SHARE,
					  .max_bytes = store->config.max_checkout_bytes},
			      .left = one->info.files / STORE_LAYER_SHARE,
			      .err = &err};
	const struct store_layer_walk walk = {.db = db,
					      .put = count_put,
					      .hide = count_hide,
					      .enter = count_enter,
					      .leave = count_leave,
					      .ctx = &count,
					      .err = &err};
	bool near = store_layer_walk(&walk, &one->tree, tree, -1) == 0;

	gitdb_counter_release(&count.counter);
	return near;
}

bool store_layer_choose(const struct store *store, const char *repo, struct gitdb *db,
			const struct oid *tree, struct oid *ret_under, struct store_info *ret_info,
			int *ret_pin)
{
	struct choice choice = {.store = store, .repo = repo};
	struct err err = {0};

	if (store_checkouts_each(store, consider, &choice, &err) < 0)
		return false;
	for (size_t i = 0; i < choice.len; i++) {
		if (!is_near(store, db, &choice.best[i], tree) ||
		    store_pin(store, &choice.best[i].tree, ret_pin) != 0)
			continue;
		*ret_under = choice.best[i].tree;
		*ret_info = choice.best[i].info;
		return true;
	}
	return false;
}
