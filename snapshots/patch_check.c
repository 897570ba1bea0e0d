/*
 * patch_check.c - the tree that a diff would leave, judged before it exists.
 *
 * Only paths that are new need a look: a path that the base has already stands
 * on directories that the base has, and a clash in the base that the diff does
 * not touch is not the diff's fault. For each new path:
 *
 *   parents	none may be a file, a link or a gitlink in the final state, be it
 *		the base's or made by the same diff
 *   itself	may not be a directory, unless the diff empties it
 *   siblings	none may differ from it by case or Unicode form alone: at the
 *		deepest directory that the base has, against the base and the
 *		new ones, below it against the new ones
 *   device	names of other systems are refused
 *
 * A directory of the base is looked up once and listed at most once.
 */
#include <string.h>

#include "snapshots/guard.h"
#include "snapshots/guard_fold.h"
#include "snapshots/patch_private.h"

/* --- directories of the base -------------------------------------------- */

/* What the base has at a parent path. */
struct dir {
	struct bytes path;
	struct gitdb_entry entry;	  /* mode 0: nothing */
	const struct patch_entry **added; /* new entries right below it */
	size_t added_len;
};

/* A name that a new path adds to a directory, in folded form. */
struct folded {
	uint64_t hash;
	struct bytes parent;
	struct bytes name;
	const struct patch_entry *entry; /* NULL: free */
};

struct checker {
	struct patch_run *run;
	struct patch_map dirs;
	struct dir **list; /* of dirs that got new names */
	size_t list_len, list_size;
	struct folded *folds;
	size_t folds_size; /* a power of two */
	size_t folds_len;
};

static int find_dir(struct checker *checker, struct bytes path, struct dir **ret)
{
	struct patch_run *run = checker->run;
	struct dir *dir = patch_map_get(&checker->dirs, path);
	const char *text;

	if (dir == NULL) {
		dir = arena_alloc(run->arena, sizeof(*dir));
		text = arena_memdup(run->arena, path.data, path.len);
		if (dir == NULL || text == NULL)
			return patch_exhausted(run);
		dir->path = (struct bytes){(const uint8_t *)text, path.len};
		if (path.len == 0)
			dir->entry = (struct gitdb_entry){.oid = *run->base, .mode = MODE_TREE};
		else if (gitdb_lookup(run->db, run->base, text, &dir->entry, run->err) < 0)
			return -1;
		if (!patch_map_put(run->arena, &checker->dirs, dir->path, dir))
			return patch_exhausted(run);
	}
	*ret = dir;
	return 0;
}

/* --- emptied directories -------------------------------------------------- */

struct emptied {
	struct patch_run *run;
	struct buf path;
	bool gone;
	int result;
};

static int visit_emptied(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct emptied *walk = ctx;
	size_t len = walk->path.len;
	const struct patch_entry *known;

	buf_printf(&walk->path, "%s%s", len > 0 ? "/" : "", name);
	if (walk->path.failed) {
		walk->gone = false;
	} else if (entry->mode == MODE_TREE) {
		walk->result =
			gitdb_list(walk->run->db, &entry->oid, visit_emptied, walk, walk->run->err);
	} else {
		known = patch_map_get(&walk->run->map, buf_bytes(&walk->path));
		walk->gone = known != NULL && known->now.mode == 0;
	}
	walk->path.len = len;
	walk->path.data[len] = 0;
	return !walk->gone || walk->result < 0;
}

/* Whether the diff takes everything out of a directory of the base. */
static int is_emptied(struct patch_run *run, const char *path, const struct oid *tree, bool *ret)
{
	struct emptied walk = {.run = run, .gone = true};

	buf_init(&walk.path, 1 << 16);
	buf_add_text(&walk.path, path);
	if (gitdb_list(run->db, tree, visit_emptied, &walk, run->err) < 0)
		walk.result = -1;
	buf_release(&walk.path);
	*ret = walk.gone;
	return walk.result;
}

/* --- parents -------------------------------------------------------------- */

static int blocked(struct patch_run *run, const struct patch_entry *entry, struct bytes parent,
		   uint32_t mode)
{
	enum reason_code code = mode == MODE_LINK      ? REASON_PATCH_SYMLINK
				: mode == MODE_GITLINK ? REASON_PATCH_GITLINK
						       : REASON_PATCH_COLLISION;
	const char *what = mode == MODE_LINK	  ? "a link"
			   : mode == MODE_GITLINK ? "a submodule"
						  : "a file";

	return patch_refuse(run, code, entry->at_line, entry->path,
			    "'%s' is below '%.*s', which is %s", entry->path, (int)parent.len,
			    (const char *)parent.data, what);
}

/* What the final state has at one parent. *ret_dir is the base's directory
 * there, or NULL when nothing of the base is there or further down. */
static int check_parent(struct checker *checker, const struct patch_entry *entry,
			struct bytes parent, bool in_base, struct dir **ret_dir)
{
	const struct patch_entry *known = patch_map_get(&checker->run->map, parent);
	struct dir *dir;
	int code;

	*ret_dir = NULL;
	if (known != NULL && known->now.mode != 0)
		return blocked(checker->run, entry, parent, known->now.mode);
	if (!in_base)
		return 0;
	code = find_dir(checker, parent, &dir);
	if (code != 0 || dir->entry.mode == 0)
		return code;
	if (dir->entry.mode == MODE_TREE)
		*ret_dir = dir;
	else if (known == NULL)
		return blocked(checker->run, entry, parent, dir->entry.mode);
	return 0;
}

/* --- folds ----------------------------------------------------------------- */

static int collision(struct checker *checker, const struct patch_entry *entry, struct bytes name,
		     const char *other, size_t other_len)
{
	bool case_alone = guard_is_ascii(name) &&
			  guard_is_ascii((struct bytes){(const uint8_t *)other, other_len});

	return patch_refuse(checker->run, REASON_PATCH_COLLISION, entry->at_line, entry->path,
			    "'%.*s' in '%s' and '%.*s' differ only %s", (int)name.len,
			    (const char *)name.data, entry->path, (int)other_len, other,
			    case_alone ? "by case"
				       : "by case or by how Unicode writes them, which some file "
					 "systems ignore");
}

static bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static uint64_t fold_key(struct bytes parent, struct bytes name)
{
	uint64_t hash = guard_fold_hash(name);

	for (size_t i = 0; i < parent.len; i++)
		hash = (hash ^ parent.data[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}

/* The slot of a folded name, or the free one where it belongs. */
static struct folded *find_fold(struct folded *folds, size_t size, uint64_t hash,
				struct bytes parent, struct bytes name)
{
	size_t at = (size_t)hash & (size - 1);

	while (folds[at].entry != NULL &&
	       !(folds[at].hash == hash && bytes_equal(folds[at].parent, parent) &&
		 guard_fold_equal(folds[at].name, name)))
		at = (at + 1) & (size - 1);
	return &folds[at];
}

static bool grow_folds(struct checker *checker)
{
	size_t size = checker->folds_size == 0 ? 64 : 2 * checker->folds_size;
	struct folded *folds = arena_array(checker->run->arena, size, sizeof(*folds));

	if (folds == NULL)
		return false;
	for (size_t i = 0; i < checker->folds_size; i++) {
		const struct folded *old = &checker->folds[i];

		if (old->entry != NULL)
			*find_fold(folds, size, old->hash, old->parent, old->name) = *old;
	}
	checker->folds = folds;
	checker->folds_size = size;
	return true;
}

/* Adds a name to a directory; one with the same fold must be the same name. */
static int add_fold(struct checker *checker, const struct patch_entry *entry, struct bytes parent,
		    struct bytes name)
{
	uint64_t hash = fold_key(parent, name);
	struct folded *slot;

	if (2 * (checker->folds_len + 1) > checker->folds_size && !grow_folds(checker))
		return patch_exhausted(checker->run);
	slot = find_fold(checker->folds, checker->folds_size, hash, parent, name);
	if (slot->entry == NULL) {
		*slot = (struct folded){hash, parent, name, entry};
		checker->folds_len++;
		return 0;
	}
	if (bytes_equal(slot->name, name))
		return 0;
	return collision(checker, entry, name, slot->entry->path, strlen(slot->entry->path));
}

/* --- against the base's siblings -------------------------------------------- */

struct siblings {
	struct checker *checker;
	const struct dir *dir;
	int result;
};

static int visit_sibling(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct siblings *walk = ctx;
	struct checker *checker = walk->checker;
	struct patch_run *run = checker->run;
	struct bytes text = patch_key(name);
	const struct folded *slot =
		find_fold(checker->folds, checker->folds_size, fold_key(walk->dir->path, text),
			  walk->dir->path, text);
	const struct patch_entry *known;
	const char *path;
	bool gone;

	if (slot->entry == NULL || bytes_equal(slot->name, text))
		return 0;
	path = arena_printf(run->arena, "%.*s%s%s", (int)walk->dir->path.len,
			    (const char *)walk->dir->path.data, walk->dir->path.len > 0 ? "/" : "",
			    name);
	if (path == NULL) {
		walk->result = patch_exhausted(run);
		return 1;
	}
	known = patch_map_get(&run->map, patch_key(path));
	gone = known != NULL && known->now.mode == 0;
	if (entry->mode == MODE_TREE && is_emptied(run, path, &entry->oid, &gone) < 0)
		walk->result = -1;
	else if (!gone)
		walk->result = collision(checker, slot->entry, slot->name, path, strlen(path));
	return walk->result != 0;
}

static int check_siblings(struct checker *checker)
{
	for (size_t i = 0; i < checker->list_len; i++) {
		struct siblings walk = {.checker = checker, .dir = checker->list[i]};

		if (gitdb_list(checker->run->db, &walk.dir->entry.oid, visit_sibling, &walk,
			       checker->run->err) < 0)
			return -1;
		if (walk.result != 0)
			return walk.result;
	}
	return 0;
}

static int remember_dir(struct checker *checker, struct dir *dir)
{
	if (dir->added_len++ > 0)
		return 0;
	if (checker->list_len == checker->list_size) {
		size_t size = checker->list_size == 0 ? 16 : 2 * checker->list_size;
		struct dir **list = arena_array(checker->run->arena, size, sizeof(struct dir *));

		if (list == NULL)
			return patch_exhausted(checker->run);
		if (checker->list_len > 0)
			(void)memcpy(list, checker->list, checker->list_len * sizeof(struct dir *));
		checker->list = list;
		checker->list_size = size;
	}
	checker->list[checker->list_len++] = dir;
	return 0;
}

/* --- new paths ---------------------------------------------------------------- */

static int check_added(struct checker *checker, const struct patch_entry *entry)
{
	struct patch_run *run = checker->run;
	struct bytes path = patch_key(entry->path);
	struct dir *dir;
	size_t start = 0;
	int code = guard_new_path(entry->path, run->reason);

	if (code != 0)
		return patch_refuse_at(run, entry->at_line);
	code = find_dir(checker, (struct bytes){path.data, 0}, &dir);
	while (code == 0) {
		size_t end = start + strcspn(entry->path + start, "/");
		struct bytes parent = {path.data, start > 0 ? start - 1 : 0};
		struct bytes name = {path.data + start, end - start};
		bool last = end == path.len;
		struct dir *next = NULL;

		if (!last)
			code = check_parent(checker, entry, (struct bytes){path.data, end},
					    dir != NULL, &next);
		if (code == 0 && next == NULL) {
			code = add_fold(checker, entry, parent, name);
			if (code == 0 && dir != NULL)
				code = remember_dir(checker, dir);
		}
		if (last)
			break;
		dir = next;
		start = end + 1;
	}
	return code;
}

static int check_directory(struct patch_run *run, const struct patch_entry *entry)
{
	struct gitdb_entry found;
	bool emptied;

	if (!entry->base_dir)
		return 0;
	if (gitdb_lookup(run->db, run->base, entry->path, &found, run->err) != 0 ||
	    is_emptied(run, entry->path, &found.oid, &emptied) < 0)
		return -1;
	if (emptied)
		return 0;
	return patch_refuse(run, REASON_PATCH_COLLISION, entry->at_line, entry->path,
			    "'%s' is a directory in the base, which the diff does not empty",
			    entry->path);
}

/* --- links ---------------------------------------------------------------------- */

static int final_is_link(void *ctx, const char *path)
{
	struct patch_run *run = ctx;
	const struct patch_entry *known = patch_map_get(&run->map, patch_key(path));
	struct gitdb_entry found;
	int got;

	if (known != NULL)
		return known->now.mode == MODE_LINK;
	got = gitdb_lookup(run->db, run->base, path, &found, run->err);
	return got < 0 ? -1 : got == 0 && found.mode == MODE_LINK;
}

static int check_link(struct patch_run *run, const struct patch_entry *entry)
{
	CLEANUP(gitdb_blob_release) struct gitdb_blob blob = {0};
	struct bytes target = entry->now.data;
	int code;

	if (guard_is_git_file(entry->path))
		return patch_refuse(run, REASON_PATCH_SYMLINK, entry->at_line, entry->path,
				    "'%s' may not be a link", entry->path);
	if (!entry->now.fresh) {
		if (gitdb_blob_read(run->db, &entry->now.oid, run->max_file_bytes, &blob,
				    run->err) < 0)
			return -1;
		target = blob.bytes;
	}
	code = guard_link(entry->path, target, final_is_link, run, run->reason);
	return code == REFUSED ? patch_refuse_at(run, entry->at_line) : code;
}

/* --- the whole -------------------------------------------------------------------- */

int patch_check(struct patch_run *run)
{
	struct checker checker = {.run = run};
	int code = 0;

	for (size_t i = 0; i < run->entries_len && code == 0; i++) {
		const struct patch_entry *entry = run->entries[i];

		if (entry->now.mode == 0)
			continue;
		if (!entry->in_base)
			code = check_added(&checker, entry);
		if (code == 0 && !entry->in_base)
			code = check_directory(run, entry);
		if (code == 0 && entry->now.mode == MODE_LINK && patch_differs(entry))
			code = check_link(run, entry);
	}
	return code == 0 ? check_siblings(&checker) : code;
}
