/*
 * gitdb_tree.c - raw trees: walking, listing, looking up.
 *
 * A tree object is a run of "<octal mode> <name>\0<20 raw bytes>", sorted by
 * name with directories compared as if they ended in '/'. Modes are brought to
 * git's five canonical ones as git does when it reads a tree (old histories
 * have 100664), so a rewritten directory is the one that git would write.
 *
 * A tree that is large and as git writes it is read once from end to end, and then
 * found in by halves; the last few such trees are kept, so that neither a diff of
 * many files nor the next diff to the same tree reads it again.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	TREE_ITEM_BYTES_MIN = 8 + OID_BYTES, /* "40000 x\0" and an oid */
	TREE_INDEX_BYTES_MIN = 4 << 10,
	TREE_INDEX_BYTES_MAX = 1 << 20,
};

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

/* --- large trees -------------------------------------------------------- */

/* What a binary search needs, or NULL for a tree that it cannot be made of. */
static struct tree_index *index_new(const struct oid *oid, struct bytes tree)
{
	struct tree_index *index = calloc(1, sizeof(*index));
	struct tree_item items[2] = {0};
	struct bytes left = tree;
	size_t len = 0;
	int got = -1;

	if (index != NULL)
		index->starts = calloc(tree.len / TREE_ITEM_BYTES_MIN + 2, sizeof(uint32_t));
	while (index != NULL && index->starts != NULL) {
		struct tree_item *item = &items[len % 2];
		uint32_t start = (uint32_t)(tree.len - left.len);

		got = tree_next(&left, item, NULL);
		index->starts[len] = start;
		if (got != 1)
			break;
		if (!item->canonical ||
		    (len > 0 && tree_compare(&items[(len + 1) % 2], item) >= 0)) {
			got = -1;
			break;
		}
		len++;
	}
	if (got != 0) {
		tree_index_free(index);
		return NULL;
	}
	index->oid = *oid;
	index->len = len;
	return index;
}

void tree_index_free(struct tree_index *index)
{
	if (index == NULL)
		return;
	object_release(&index->object);
	free(index->starts);
	free(index);
}

static struct tree_index *index_get(const struct gitdb *db, const struct oid *oid)
{
	for (size_t i = 0; i < ARRAY_LEN(db->indexes); i++) {
		if (db->indexes[i] != NULL && oid_equal(&db->indexes[i]->oid, oid))
			return db->indexes[i];
	}
	return NULL;
}

/* A place for one more: that of the one made first, of those that nobody uses. */
static struct tree_index **index_slot(struct gitdb *db)
{
	for (size_t i = 0; i < ARRAY_LEN(db->indexes); i++) {
		struct tree_index **slot = &db->indexes[db->indexes_next];

		db->indexes_next = (db->indexes_next + 1) % ARRAY_LEN(db->indexes);
		if (*slot == NULL || (*slot)->users == 0)
			return slot;
	}
	return NULL;
}

/* Makes the index of a tree that was just read, where that pays. */
static void index_tree(struct gitdb *db, const struct oid *oid, struct tree *tree)
{
	struct tree_index **slot;
	struct tree_index *index;

	if (tree->object.handle == NULL || tree->bytes.len < TREE_INDEX_BYTES_MIN ||
	    tree->bytes.len > TREE_INDEX_BYTES_MAX)
		return;
	slot = index_slot(db);
	index = slot == NULL ? NULL : index_new(oid, tree->bytes);
	if (index == NULL)
		return;
	tree_index_free(*slot);
	*slot = index;
	index->object = tree->object;
	tree->object = (struct object){0};
	tree->index = index;
}

int tree_open(struct gitdb *db, const struct oid *oid, struct tree *ret, struct err *err)
{
	struct tree tree = {.index = index_get(db, oid)};

	if (tree.index != NULL) {
		tree.bytes = tree.index->object.bytes;
	} else {
		if (object_read(db, oid, GIT_OBJECT_TREE, GITDB_TREE_BYTES_MAX, &tree.object, err) <
		    0)
			return -1;
		tree.bytes = tree.object.bytes;
		index_tree(db, oid, &tree);
	}
	if (tree.index != NULL)
		tree.index->users++;
	*ret = tree;
	return 0;
}

void tree_close(struct tree *tree)
{
	if (tree->index != NULL)
		tree->index->users--;
	object_release(&tree->object);
	*tree = (struct tree){0};
}

void tree_index_item(const struct tree_index *index, size_t number, struct tree_item *ret)
{
	struct bytes left = {index->object.bytes.data + index->starts[number],
			     index->starts[number + 1] - index->starts[number]};
	int got = tree_next(&left, ret, NULL);

	assert(got == 1 && left.len == 0);
}

size_t tree_index_place(const struct tree_index *index, const struct tree_item *item)
{
	size_t low = 0, high = index->len;

	while (low < high) {
		size_t middle = (low + high) / 2;
		struct tree_item at;

		tree_index_item(index, middle, &at);
		if (tree_compare(&at, item) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t tree_index_find(const struct tree_index *index, const char *name, size_t len,
		       struct gitdb_entry *ret)
{
	static const uint32_t modes[] = {MODE_FILE, MODE_TREE}; /* each has its own place */

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		const struct tree_item wanted = {
			.name = name, .name_len = len, .entry.mode = modes[i]};
		size_t place = tree_index_place(index, &wanted);
		struct tree_item found;

		if (place == index->len)
			continue;
		tree_index_item(index, place, &found);
		if (found.name_len == len && memcmp(found.name, name, len) == 0) {
			*ret = found.entry;
			return place;
		}
	}
	return SIZE_MAX;
}

/* --- looking up -------------------------------------------------------- */

static int find_in_tree(struct gitdb *db, const struct oid *oid, const char *name, size_t len,
			struct gitdb_entry *ret, struct err *err)
{
	CLEANUP(tree_close) struct tree tree = {0};
	struct tree_item item;
	int got;

	if (tree_open(db, oid, &tree, err) < 0)
		return -1;
	if (tree.index != NULL)
		return tree_index_find(tree.index, name, len, ret) == SIZE_MAX;
	while ((got = tree_next(&tree.bytes, &item, err)) == 1) {
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
