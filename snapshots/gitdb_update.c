/*
 * gitdb_update.c - trees with some of their files changed.
 *
 * gitdb_tree_update sorts the edits so that those below one name are together,
 * then descends only into directories that an edit names. In each directory
 * the changed names become one short sorted list, merged with what stays. So
 * it costs the touched directories, not the repository.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { UPDATE_ARENA_BYTES = 512 << 20 };

/* --- edits of one directory --------------------------------------------- */

struct update {
	struct gitdb *db;
	struct arena arena;
	struct err *err;
};

/* A name of one directory that edits touch, and what becomes of it. */
struct change {
	struct tree_item item; /* entry.mode 0: gone */
	size_t place;	       /* in an indexed tree; SIZE_MAX: it is not there */
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

/* What the base's items before `to` are, but for those that changes take away. */
struct rest {
	const struct tree_index *index;
	size_t at;
	const size_t *gone; /* in order */
	size_t gone_len;
};

static void add_rest(struct rest *rest, size_t to, struct buf *out)
{
	while (rest->at < to) {
		bool cut = rest->gone_len > 0 && rest->gone[0] < to;
		size_t end = cut ? rest->gone[0] : to;
		uint32_t from = rest->index->starts[rest->at];

		buf_add(out, rest->index->object.bytes.data + from,
			rest->index->starts[end] - from);
		rest->at = end + cut;
		rest->gone += cut;
		rest->gone_len -= cut;
	}
}

static int compare_places(const void *a, const void *b)
{
	const size_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* The same as merge, but what lies between two changes is copied as a whole. */
static int merge_indexed(struct update *update, const struct tree_index *index,
			 struct change *changes, size_t len, struct change *by_order,
			 struct buf *out)
{
	size_t *gone = arena_array(&update->arena, len, sizeof(*gone));
	struct rest rest = {.index = index, .gone = gone};

	if (gone == NULL)
		return gitdb_oom(update->err, "cannot write tree");
	for (size_t i = 0; i < len; i++) {
		if (changes[i].place != SIZE_MAX)
			gone[rest.gone_len++] = changes[i].place;
	}
	qsort(gone, rest.gone_len, sizeof(*gone), compare_places);
	(void)memcpy(by_order, changes, len * sizeof(*changes));
	qsort(by_order, len, sizeof(*by_order), compare_changes);
	for (size_t i = 0; i < len; i++) {
		if (by_order[i].item.entry.mode == 0)
			continue;
		add_rest(&rest, tree_index_place(index, &by_order[i].item), out);
		add_item(out, &by_order[i].item);
	}
	add_rest(&rest, index->len, out);
	if (out->failed)
		return err_set(update->err, ERR_LIMIT, "cannot write tree: too large");
	return 0;
}

/* Tells each change what the base has of its name. */
static int find_changes(struct update *update, const struct tree *tree, struct change *changes,
			size_t len)
{
	struct bytes left = tree->bytes;
	struct change *change;
	struct tree_item item;
	int got;

	for (size_t i = 0; i < len && tree->index != NULL; i++) {
		item = changes[i].item;
		changes[i].place = tree_index_find(tree->index, item.name, item.name_len,
						   &changes[i].item.entry);
	}
	if (tree->index != NULL)
		return 0;
	while ((got = tree_next(&left, &item, update->err)) == 1) {
		change = find_change(changes, len, &item);
		if (change != NULL)
			change->item.entry = item.entry;
	}
	return got;
}

static int update_dir(struct update *update, const struct oid *base,
		      const struct gitdb_edit *const *edits, size_t len, size_t skip,
		      unsigned depth, struct oid *ret, bool *ret_empty)
{
	CLEANUP(tree_close) struct tree tree = {0};
	CLEANUP(buf_release) struct buf out = {0};
	struct change *changes, *by_order;
	size_t count;
	int got;

	if (depth > GITDB_DEPTH_MAX)
		return err_set(update->err, ERR_LIMIT, "cannot write '%.200s': too deep",
			       edits[0]->path);
	if (base != NULL && tree_open(update->db, base, &tree, update->err) < 0)
		return -1;
	changes = group_edits(update, edits, len, skip, &count);
	by_order = arena_array(&update->arena, len, sizeof(*by_order));
	if (changes == NULL || by_order == NULL)
		return gitdb_oom(update->err, "cannot write tree");
	got = find_changes(update, &tree, changes, count);
	for (size_t i = 0; got == 0 && i < count; i++)
		got = resolve_change(update, &changes[i], skip, depth);
	if (got < 0)
		return -1;
	buf_init(&out, GITDB_TREE_BYTES_MAX);
	got = tree.index != NULL ? merge_indexed(update, tree.index, changes, count, by_order, &out)
				 : merge(update, tree.bytes, changes, count, by_order, &out);
	if (got < 0)
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
