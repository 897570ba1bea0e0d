/*
 * gitdb_count.c - how much a tree becomes on disk, told from its objects.
 *
 * A dozen small trees that name each other ten times are ten billion files. The
 * walk counts each tree once and remembers what it counted, so that costs a
 * dozen reads; sums stop at what an integer holds, and the walk where a bound is
 * passed.
 *
 * Bytes are the same matter: what is there once was as large when it was
 * fetched, and was bounded then; what appears a second time, be it a blob or a
 * tree with all below, is new. So only what is repeated has its size looked up:
 * in a usual repository a few empty files.
 */
#include "snapshots/gitdb_private.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 256, SIZE_UNKNOWN = -1 };

/* --- what is known of an object ------------------------------------------ */

/* Of each tree, and of each blob that was met twice. */
struct counted {
	struct oid oid;
	bool taken;
	int64_t files; /* below a tree */
	int64_t bytes; /* all content below; SIZE_UNKNOWN until somebody asks */
};

static struct counted *find(const struct gitdb_counter *counter, const struct oid *oid)
{
	uint64_t hash;
	size_t at;

	(void)memcpy(&hash, oid->raw, sizeof(hash));
	for (at = (size_t)hash & (counter->slots_len - 1);
	     counter->slots[at].taken && !oid_equal(&counter->slots[at].oid, oid);
	     at = (at + 1) & (counter->slots_len - 1)) {
	}
	return &counter->slots[at];
}

/* NULL when it is not known yet. Only valid until the next is added. */
static struct counted *known(const struct gitdb_counter *counter, const struct oid *oid)
{
	struct counted *slot = counter->slots_len == 0 ? NULL : find(counter, oid);

	return slot != NULL && slot->taken ? slot : NULL;
}

static int grow(struct gitdb_counter *counter, struct err *err)
{
	struct gitdb_counter grown = {
		.slots_len = counter->slots_len == 0 ? FIRST_SLOTS : 2 * counter->slots_len};

	grown.slots = calloc(grown.slots_len, sizeof(*grown.slots));
	if (grown.slots == NULL)
		return gitdb_oom(err, "cannot count files");
	for (size_t i = 0; i < counter->slots_len; i++) {
		if (counter->slots[i].taken)
			*find(&grown, &counter->slots[i].oid) = counter->slots[i];
	}
	free(counter->slots);
	counter->slots = grown.slots;
	counter->slots_len = grown.slots_len;
	return 0;
}

static int remember(struct gitdb_counter *counter, const struct oid *oid, int64_t files,
		    int64_t bytes, struct err *err)
{
	if (2 * (counter->slots_used + 1) > counter->slots_len && grow(counter, err) < 0)
		return -1;
	*find(counter, oid) =
		(struct counted){.oid = *oid, .taken = true, .files = files, .bytes = bytes};
	counter->slots_used++;
	return 0;
}

/* --- bytes ----------------------------------------------------------------- */

/* As much as can be counted, when there is more. */
static int64_t add(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static int too_many(const char *what, struct err *err)
{
	return err_set(err, ERR_LIMIT, "the tree has too many %s", what);
}

/* The content of a tree that has been counted, with all repetitions. */
static int size_of(struct gitdb_counter *counter, const struct gitdb_entry *entry, int64_t *ret,
		   struct err *err);

static int size_of_tree(struct gitdb_counter *counter, const struct oid *oid, int64_t *ret,
			struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	struct tree_item item;
	struct bytes left;
	int64_t sum = 0;
	int got;

	if (object_read(counter->db, oid, GIT_OBJECT_TREE, GITDB_TREE_BYTES_MAX, &object, err) < 0)
		return -1;
	left = object.bytes;
	while ((got = tree_next(&left, &item, err)) == 1 && sum <= counter->max_bytes) {
		int64_t size;

		if (size_of(counter, &item.entry, &size, err) < 0)
			return -1;
		sum = add(sum, size);
	}
	*ret = sum;
	return got < 0 ? -1 : 0;
}

static int size_of(struct gitdb_counter *counter, const struct gitdb_entry *entry, int64_t *ret,
		   struct err *err)
{
	struct counted *slot = known(counter, &entry->oid);
	git_object_t type;
	size_t size;

	*ret = 0;
	if (entry->mode == MODE_GITLINK)
		return 0;
	if (slot != NULL && slot->bytes != SIZE_UNKNOWN) {
		*ret = slot->bytes;
		return 0;
	}
	if (entry->mode == MODE_TREE) {
		if (size_of_tree(counter, &entry->oid, ret, err) < 0)
			return -1;
	} else {
		if (object_header(counter->db, &entry->oid, &type, &size, err) < 0)
			return -1;
		*ret = size < INT64_MAX ? (int64_t)size : INT64_MAX;
	}
	if (*ret > counter->max_bytes)
		return too_many("bytes", err);
	slot = known(counter, &entry->oid);
	if (slot == NULL)
		return remember(counter, &entry->oid, 0, *ret, err);
	slot->bytes = *ret;
	return 0;
}

/* Something is there again. */
static int repeat(struct gitdb_counter *counter, const struct gitdb_entry *entry, struct err *err)
{
	int64_t size;

	if (size_of(counter, entry, &size, err) < 0)
		return -1;
	counter->repeated_bytes = add(counter->repeated_bytes, size);
	return counter->repeated_bytes > counter->max_bytes ? too_many("bytes", err) : 0;
}

/* --- files ------------------------------------------------------------------- */

/* An entry and what is below it. */
static int count_entry(struct gitdb_counter *counter, const struct gitdb_entry *entry,
		       unsigned depth, int64_t *ret, struct err *err);

static int count_tree(struct gitdb_counter *counter, const struct oid *oid, unsigned depth,
		      int64_t *ret, struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	struct tree_item item;
	struct bytes left;
	int64_t sum = 0;
	int got;

	if (depth > GITDB_DEPTH_MAX)
		return too_many("directories inside each other", err);
	if (object_read(counter->db, oid, GIT_OBJECT_TREE, GITDB_TREE_BYTES_MAX, &object, err) < 0)
		return -1;
	left = object.bytes;
	while ((got = tree_next(&left, &item, err)) == 1) {
		int64_t files;

		if (count_entry(counter, &item.entry, depth, &files, err) < 0)
			return -1;
		sum = add(sum, files);
		if (sum > counter->max_files)
			return too_many("files", err);
	}
	if (got < 0)
		return -1;
	*ret = sum;
	return remember(counter, oid, sum, SIZE_UNKNOWN, err);
}

static int count_entry(struct gitdb_counter *counter, const struct gitdb_entry *entry,
		       unsigned depth, int64_t *ret, struct err *err)
{
	const struct counted *slot;
	int64_t below = 0;
	int added = 1;

	if (entry->mode == MODE_TREE) {
		slot = known(counter, &entry->oid);
		if (slot == NULL && count_tree(counter, &entry->oid, depth + 1, &below, err) < 0)
			return -1;
		if (slot != NULL)
			below = slot->files;
		added = slot == NULL;
	} else if (entry->mode != MODE_GITLINK) {
		added = oid_set_add(&counter->blobs, &entry->oid, err);
	}
	*ret = add(below, 1);
	return added == 0 ? repeat(counter, entry, err) : added < 0 ? -1 : 0;
}

int gitdb_count(struct gitdb_counter *counter, const struct gitdb_entry *entry, struct err *err)
{
	int64_t files;

	if (count_entry(counter, entry, 0, &files, err) < 0)
		return -1;
	counter->files = add(counter->files, files);
	return counter->files > counter->max_files ? too_many("files", err) : 0;
}

void gitdb_counter_release(struct gitdb_counter *counter)
{
	free(counter->slots);
	oid_set_release(&counter->blobs);
	counter->slots = NULL;
	counter->slots_len = counter->slots_used = 0;
}
