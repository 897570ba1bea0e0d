/*
 * gitdb_tree.c - raw trees: walking, looking up, judging, and rewriting.
 *
 * A tree object is a run of "<octal mode> <name>\0<20 raw bytes>", sorted by
 * name with directories compared as if they ended in '/'. Modes are brought to
 * git's five canonical ones as git does when it reads a tree (old histories
 * have 100664), so a rewritten directory is the one that git would write.
 *
 * gitdb_tree_update sorts the edits so that those below one name are together,
 * then descends only into directories that an edit names. In each directory
 * the changed names become one short sorted list, merged with what stays. So
 * it costs the touched directories, not the repository.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { UPDATE_ARENA_BYTES = 512 << 20 };

/* --- walking ----------------------------------------------------------- */

/* 0 for what is no mode of git's at all. */
static uint32_t canonical_mode(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return (mode & S_IXUSR) != 0 ? MODE_EXEC : MODE_FILE;
	case S_IFLNK:
		return MODE_LINK;
	case S_IFDIR:
		return MODE_TREE;
	default:
		return (mode & S_IFMT) == MODE_GITLINK ? MODE_GITLINK : 0;
	}
}

int tree_next(struct bytes *left, struct tree_item *ret, struct err *err)
{
	const uint8_t *at = left->data, *end, *nul;
	uint32_t mode = 0;

	if (left->len == 0)
		return 0;
	end = at + left->len;
	for (; at < end && *at >= '0' && *at <= '7' && mode <= 0777777; at++)
		mode = mode << 3 | (uint32_t)(*at - '0');
	if (at == end || *at != ' ' || canonical_mode(mode) == 0)
		return err_set(err, ERR_INPUT, "cannot read tree: bad mode");
	at++;
	nul = memchr(at, 0, (size_t)(end - at));
	if (nul == NULL || nul == at || (size_t)(end - nul) < 1 + OID_BYTES)
		return err_set(err, ERR_INPUT, "cannot read tree: bad entry");
	*ret = (struct tree_item){
		.name = (const char *)at,
		.name_len = (size_t)(nul - at),
		.raw = {left->data, (size_t)(nul + 1 + OID_BYTES - left->data)},
		.entry.mode = canonical_mode(mode),
	};
	ret->canonical = *left->data != '0' && mode == ret->entry.mode;
	(void)memcpy(ret->entry.oid.raw, nul + 1, OID_BYTES);
	*left = (struct bytes){nul + 1 + OID_BYTES, left->len - ret->raw.len};
	return 1;
}

/* The byte after the common part: names end in NUL, directories in '/'. */
static uint8_t byte_at(const struct tree_item *item, size_t at)
{
	if (at < item->name_len)
		return (uint8_t)item->name[at];
	return item->entry.mode == MODE_TREE ? '/' : 0;
}

int tree_compare(const struct tree_item *a, const struct tree_item *b)
{
	size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = memcmp(a->name, b->name, len);

	return order != 0 ? order : (int)byte_at(a, len) - (int)byte_at(b, len);
}

int gitdb_list(struct gitdb *db, const struct oid *tree,
	       int (*visit)(void *ctx, const char *name, const struct gitdb_entry *entry),
	       void *ctx, struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	struct tree_item item;
	struct bytes left;
	int got;

	if (object_read(db, tree, GIT_OBJECT_TREE, GITDB_TREE_BYTES_MAX, &object, err) < 0)
		return -1;
	left = object.bytes;
	while ((got = tree_next(&left, &item, err)) == 1) {
		if (visit(ctx, item.name, &item.entry) != 0)
			return 0;
	}
	return got;
}

/* --- looking up -------------------------------------------------------- */

static int find_in_tree(struct gitdb *db, const struct oid *tree, const char *name, size_t len,
			struct gitdb_entry *ret, struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	struct tree_item item;
	struct bytes left;
	int got;

	if (object_read(db, tree, GIT_OBJECT_TREE, GITDB_TREE_BYTES_MAX, &object, err) < 0)
		return -1;
	left = object.bytes;
	while ((got = tree_next(&left, &item, err)) == 1) {
		if (item.name_len == len && memcmp(item.name, name, len) == 0) {
			*ret = item.entry;
			return 0;
		}
	}
	return got < 0 ? -1 : 1;
}

int gitdb_lookup(struct gitdb *db, const struct oid *tree, const char *path,
		 struct gitdb_entry *ret, struct err *err)
{
	struct gitdb_entry entry = {.oid = *tree, .mode = MODE_TREE};

	for (;;) {
		size_t len = strcspn(path, "/");
		int got;

		if (entry.mode != MODE_TREE || len == 0)
			return 1;
		got = find_in_tree(db, &entry.oid, path, len, &entry, err);
		if (got != 0)
			return got;
		if (path[len] == '\0')
			break;
		path += len + 1;
	}
	*ret = entry;
	return 0;
}

/* --- rewriting --------------------------------------------------------- */

struct update {
	struct gitdb *db;
	struct arena arena;
	struct err *err;
};

/* A name of one directory that edits touch, and what becomes of it. */
struct change {
	struct tree_item item; /* entry.mode 0: gone */
	const struct gitdb_edit *const *edits;
	size_t len;
	bool exact; /* edits[0] is about the name itself, not below it */
};

/* '/' below every other byte, so that all of a directory is together. */
static int compare_edits(const void *a, const void *b)
{
	const struct gitdb_edit *const *left = a;
	const struct gitdb_edit *const *right = b;
	const uint8_t *x = (const uint8_t *)(*left)->path;
	const uint8_t *y = (const uint8_t *)(*right)->path;

	while (*x != 0 && *x == *y) {
		x++;
		y++;
	}
	if (*x == *y)
		return 0;
	if (*x == 0 || *y == 0)
		return *x == 0 ? -1 : 1;
	if (*x == '/' || *y == '/')
		return *x == '/' ? -1 : 1;
	return (int)*x - (int)*y;
}

static int compare_changes(const void *a, const void *b)
{
	const struct change *left = a;
	const struct change *right = b;

	return tree_compare(&left->item, &right->item);
}

/* Splits the sorted edits of one directory by their next name. */
static struct change *group_edits(struct update *update, const struct gitdb_edit *const *edits,
				  size_t len, size_t skip, size_t *ret_len)
{
	struct change *changes = arena_array(&update->arena, len, sizeof(*changes));
	size_t count = 0;

	if (changes == NULL)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		const char *name = edits[i]->path + skip;
		size_t name_len = strcspn(name, "/");
		struct change *last = count > 0 ? &changes[count - 1] : NULL;

		assert(name_len > 0);
		if (last != NULL && last->item.name_len == name_len &&
		    memcmp(last->item.name, name, name_len) == 0) {
			last->len++;
			continue;
		}
		changes[count++] = (struct change){
			.item = {.name = name, .name_len = name_len},
			.edits = edits + i,
			.len = 1,
			.exact = name[name_len] == '\0',
		};
	}
	*ret_len = count;
	return changes;
}

/* The changes are sorted by plain name, as compare_edits left them. */
static struct change *find_change(struct change *changes, size_t len, const struct tree_item *item)
{
	size_t low = 0;
	size_t high = len;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct tree_item *at = &changes[middle].item;
		size_t shorter = at->name_len < item->name_len ? at->name_len : item->name_len;
		int order = memcmp(at->name, item->name, shorter);

		if (order == 0 && at->name_len == item->name_len)
			return &changes[middle];
		if (order == 0)
			order = at->name_len < item->name_len ? -1 : 1;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Recurses through resolve_change into the directories that are touched. */
static int update_dir(struct update *update, const struct oid *base,
		      const struct gitdb_edit *const *edits, size_t len, size_t skip,
		      unsigned depth, struct oid *ret, bool *ret_empty);

static bool only_removals(const struct gitdb_edit *const *edits, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (edits[i]->mode != 0)
			return false;
	}
	return true;
}

/* What becomes of one name: first it may be removed, then what is below it
 * changes, then it may be set. item.entry holds what the base has. */
static int resolve_change(struct update *update, struct change *change, size_t skip, unsigned depth)
{
	struct gitdb_entry *entry = &change->item.entry;
	const struct gitdb_edit *const *below = change->edits + (change->exact ? 1 : 0);
	size_t below_len = change->len - (change->exact ? 1 : 0);
	bool empty;

	if (change->exact && change->edits[0]->mode == 0)
		*entry = (struct gitdb_entry){0};
	if (below_len > 0 && (entry->mode == MODE_TREE || !only_removals(below, below_len))) {
		if (entry->mode != MODE_TREE && entry->mode != 0)
			return err_set(update->err, ERR_CONFLICT,
				       "cannot write '%s': '%.*s' is no directory", below[0]->path,
				       (int)(skip + change->item.name_len), below[0]->path);
		if (update_dir(update, entry->mode == MODE_TREE ? &entry->oid : NULL, below,
			       below_len, skip + change->item.name_len + 1, depth + 1, &entry->oid,
			       &empty) < 0)
			return -1;
		entry->mode = empty ? 0 : MODE_TREE;
	}
	if (change->exact && change->edits[0]->mode != 0) {
		if (entry->mode == MODE_TREE)
			return err_set(update->err, ERR_CONFLICT,
				       "cannot write '%s': a directory is there",
				       change->edits[0]->path);
		entry->mode = change->edits[0]->mode;
		entry->oid = change->edits[0]->oid;
	}
	return 0;
}

static void add_item(struct buf *out, const struct tree_item *item)
{
	if (item->canonical) {
		buf_add(out, item->raw.data, item->raw.len);
		return;
	}
	buf_printf(out, "%o ", item->entry.mode);
	buf_add(out, item->name, item->name_len);
	buf_add_byte(out, 0);
	buf_add(out, item->entry.oid.raw, OID_BYTES);
}

/* Writes the base's items that no change names, merged with the changes. */
static int merge(struct update *update, struct bytes base, struct change *changes, size_t len,
		 struct change *by_order, struct buf *out)
{
	struct tree_item item;
	size_t next = 0;
	int got;

	(void)memcpy(by_order, changes, len * sizeof(*changes));
	qsort(by_order, len, sizeof(*by_order), compare_changes);
	while ((got = tree_next(&base, &item, update->err)) == 1) {
		if (find_change(changes, len, &item) != NULL)
			continue;
		for (; next < len && tree_compare(&by_order[next].item, &item) < 0; next++) {
			if (by_order[next].item.entry.mode != 0)
				add_item(out, &by_order[next].item);
		}
		add_item(out, &item);
	}
	for (; next < len; next++) {
		if (by_order[next].item.entry.mode != 0)
			add_item(out, &by_order[next].item);
	}
	if (out->failed)
		return err_set(update->err, ERR_LIMIT, "cannot write tree: too large");
	return got;
}

static int update_dir(struct update *update, const struct oid *base,
		      const struct gitdb_edit *const *edits, size_t len, size_t skip,
		      unsigned depth, struct oid *ret, bool *ret_empty)
{
	CLEANUP(object_release) struct object object = {0};
	CLEANUP(buf_release) struct buf out = {0};
	struct change *changes, *by_order, *change;
	struct tree_item item;
	struct bytes left;
	size_t count;
	int got;

	if (depth > GITDB_DEPTH_MAX)
		return err_set(update->err, ERR_LIMIT, "cannot write '%.200s': too deep",
			       edits[0]->path);
	if (base != NULL && object_read(update->db, base, GIT_OBJECT_TREE, GITDB_TREE_BYTES_MAX,
					&object, update->err) < 0)
		return -1;
	changes = group_edits(update, edits, len, skip, &count);
	by_order = arena_array(&update->arena, len, sizeof(*by_order));
	if (changes == NULL || by_order == NULL)
		return gitdb_oom(update->err, "cannot write tree");
	left = object.bytes;
	while ((got = tree_next(&left, &item, update->err)) == 1) {
		change = find_change(changes, count, &item);
		if (change != NULL)
			change->item.entry = item.entry;
	}
	for (size_t i = 0; got == 0 && i < count; i++)
		got = resolve_change(update, &changes[i], skip, depth);
	buf_init(&out, GITDB_TREE_BYTES_MAX);
	if (got < 0 || merge(update, object.bytes, changes, count, by_order, &out) < 0)
		return -1;
	*ret_empty = out.len == 0;
	if (*ret_empty && depth > 0)
		return 0;
	return object_write(update->db, GIT_OBJECT_TREE, buf_bytes(&out), ret, update->err);
}

int gitdb_tree_update(struct gitdb *db, const struct oid *base, const struct gitdb_edit *edits,
		      size_t len, struct oid *ret_tree, struct err *err)
{
	struct update update = {.db = db, .err = err};
	const struct gitdb_edit **sorted;
	int result;
	bool empty;

	if (len == 0 && base != NULL) {
		*ret_tree = *base;
		return 0;
	}
	arena_init(&update.arena, UPDATE_ARENA_BYTES);
	sorted = arena_array(&update.arena, len, sizeof(*sorted));
	if (sorted == NULL) {
		arena_release(&update.arena);
		return gitdb_oom(err, "cannot write tree");
	}
	for (size_t i = 0; i < len; i++)
		sorted[i] = &edits[i];
	qsort(sorted, len, sizeof(const struct gitdb_edit *), compare_edits);
	for (size_t i = 1; i < len; i++)
		assert(strcmp(sorted[i - 1]->path, sorted[i]->path) != 0);
	result = update_dir(&update, base, sorted, len, 0, 0, ret_tree, &empty);
	arena_release(&update.arena);
	return result;
}
