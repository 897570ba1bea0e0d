/*
 * layer.c - from what a layer holds to a list of changes and a tree.
 *
 * A file of the layer is compared with the base by its blob's oid, so one that
 * was copied up but not changed is no change. What is gone shows as names that
 * a directory of the base has and the workspace does not. What changed its
 * kind is both: the old is listed as deleted, the new as added. The tree comes
 * from gitdb_tree_update, in which removals go first.
 *
 * Calls come directory by directory, so the base's directory that was looked
 * up last is kept. Submodules are not looked into: their commit stays as it
 * was unless the directory itself is gone.
 */
#include "snapshots/layer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "schema/limits.h"
#include "snapshots/gitdb_store.h"

enum { FIRST_ENTRIES = 64, DEPTH_MAX = 256 };

static int oom(struct err *err)
{
	errno = ENOMEM;
	return err_sys(err, "cannot list what the steps changed");
}

int layer_init(struct layer *layer, struct arena *arena, struct gitdb *db, const struct oid *base,
	       const struct layer_limits *limits, struct err *err)
{
	(void)err;
	*layer = (struct layer){.arena = arena, .db = db, .base = *base, .limits = *limits};
	return 0;
}

/* --- paths ------------------------------------------------------------- */

/* Whether git can hold it: a relative path of valid UTF-8 names. */
static bool path_valid(const char *path)
{
	char name[LIMIT_NAME_BYTES + 1];
	size_t len = strlen(path);

	if (len == 0 || len > LIMIT_PATH_BYTES || !text_is_utf8(path, len))
		return false;
	for (;;) {
		len = strcspn(path, "/");
		if (len == 0 || len > LIMIT_NAME_BYTES)
			return false;
		(void)memcpy(name, path, len);
		name[len] = '\0';
		if (!gitdb_name_valid(name))
			return false;
		if (path[len] == '\0')
			return true;
		path += len + 1;
	}
}

static char *join(struct layer *layer, const char *dir, const char *name)
{
	return dir[0] == '\0' ? arena_strdup(layer->arena, name)
			      : arena_printf(layer->arena, "%s/%s", dir, name);
}

/* --- the base ---------------------------------------------------------- */

enum { BASE_FOUND = 0, BASE_NONE = 1, BASE_SUBMODULE = 2 };

/* What the base has at `path` ("" is its top). BASE_SUBMODULE for what lies
 * below a submodule, not for the submodule itself. */
static int base_lookup(struct layer *layer, const char *path, struct gitdb_entry *ret,
		       struct err *err)
{
	struct gitdb_entry entry = {.oid = layer->base, .mode = MODE_TREE};
	char name[LIMIT_NAME_BYTES + 1];

	while (*path != '\0') {
		size_t len = strcspn(path, "/");
		int got;

		if (entry.mode == MODE_GITLINK)
			return BASE_SUBMODULE;
		if (entry.mode != MODE_TREE)
			return BASE_NONE;
		(void)memcpy(name, path, len);
		name[len] = '\0';
		got = gitdb_lookup(layer->db, &entry.oid, name, &entry, err);
		if (got != 0)
			return got;
		path += len + (path[len] == '/');
	}
	*ret = entry;
	return BASE_FOUND;
}

/* As base_lookup for a file, through the directory that was looked up last. */
static int base_file(struct layer *layer, const char *path, struct gitdb_entry *ret,
		     struct err *err)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - path);

	if (layer->dir == NULL || strlen(layer->dir) != len || memcmp(layer->dir, path, len) != 0) {
		char *dir = arena_memdup(layer->arena, path, len);
		int got;

		if (dir == NULL)
			return oom(err);
		layer->dir = NULL;
		layer->dir_entry = (struct gitdb_entry){0};
		got = base_lookup(layer, dir, &layer->dir_entry, err);
		if (got < 0)
			return -1;
		layer->dir = dir;
		if (got == BASE_SUBMODULE)
			layer->dir_entry.mode = MODE_GITLINK;
		else if (got == BASE_NONE)
			layer->dir_entry.mode = 0;
	}
	if (layer->dir_entry.mode == MODE_GITLINK)
		return BASE_SUBMODULE;
	if (layer->dir_entry.mode != MODE_TREE)
		return BASE_NONE;
	return gitdb_lookup(layer->db, &layer->dir_entry.oid, slash == NULL ? path : slash + 1, ret,
			    err);
}

/* --- recording --------------------------------------------------------- */

/* Room for one more of an array that lives in the arena. */
static void *grow(struct layer *layer, void *items, size_t len, size_t *capacity, size_t size)
{
	size_t wanted = *capacity == 0 ? FIRST_ENTRIES : 2 * *capacity;
	void *grown;

	if (len < *capacity)
		return items;
	grown = arena_array(layer->arena, wanted, size);
	if (grown != NULL && len > 0)
		(void)memcpy(grown, items, len * size);
	if (grown != NULL)
		*capacity = wanted;
	return grown;
}

static int add_change(struct layer *layer, const char *path, enum change_status status,
		      uint32_t mode, int64_t size, struct err *err)
{
	struct result_file *changes;

	if (layer->changes_len >= layer->limits.changes) {
		layer->truncated = true;
		return 0;
	}
	changes = grow(layer, layer->changes, layer->changes_len, &layer->changes_capacity,
		       sizeof(*changes));
	if (changes == NULL)
		return oom(err);
	layer->changes = changes;
	layer->changes[layer->changes_len++] = (struct result_file){
		.path = path, .status = status, .mode = mode, .size_bytes = size};
	return 0;
}

static int add_edit(struct layer *layer, const char *path, uint32_t mode, const struct oid *oid,
		    struct err *err)
{
	struct gitdb_edit *edits =
		grow(layer, layer->edits, layer->edits_len, &layer->edits_capacity, sizeof(*edits));

	if (edits == NULL)
		return oom(err);
	layer->edits = edits;
	layer->edits[layer->edits_len] = (struct gitdb_edit){.path = path, .mode = mode};
	if (oid != NULL)
		layer->edits[layer->edits_len].oid = *oid;
	layer->edits_len++;
	return 0;
}

/* --- deletions --------------------------------------------------------- */

/* Visits the entries of one base directory. */
struct visit {
	struct layer *layer;
	const char *dir;
	const char **names; /* sorted: what is still there; NULL: nothing is */
	size_t names_len;
	bool edit; /* each is an edit of its own */
	unsigned depth;
	int result;
	struct err *err;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Recurses: a directory that is gone takes all below it along. */
static int visit_entry(void *ctx, const char *name, const struct gitdb_entry *entry);

/* Lists every file below a directory of the base as deleted. */
static int list_deleted(struct layer *layer, const char *dir, const struct oid *tree, bool edit,
			unsigned depth, struct err *err)
{
	struct visit visit = {.layer = layer, .dir = dir, .edit = edit, .depth = depth, .err = err};

	if (depth > DEPTH_MAX || (layer->changes_len >= layer->limits.changes && !edit)) {
		layer->truncated = true;
		return 0;
	}
	if (gitdb_list(layer->db, tree, visit_entry, &visit, err) < 0)
		return -1;
	return visit.result;
}

static int visit_entry(void *ctx, const char *name, const struct gitdb_entry *entry)
{
	struct visit *visit = ctx;
	struct layer *layer = visit->layer;
	const char *path;

	if (visit->names != NULL && bsearch(&name, visit->names, visit->names_len,
					    sizeof(*visit->names), compare_names) != NULL)
		return 0;
	path = join(layer, visit->dir, name);
	if (path == NULL)
		visit->result = oom(visit->err);
	else if (visit->edit)
		visit->result = add_edit(layer, path, 0, NULL, visit->err);
	if (visit->result == 0 && entry->mode == MODE_TREE)
		visit->result =
			list_deleted(layer, path, &entry->oid, false, visit->depth + 1, visit->err);
	else if (visit->result == 0)
		visit->result = add_change(layer, path, CHANGE_DELETED, 0, -1, visit->err);
	return visit->result;
}

/* --- what the walk reports --------------------------------------------- */

int layer_dir(struct layer *layer, const char *path, const char *const *names, struct err *err)
{
	struct visit visit = {.layer = layer, .edit = true, .err = err};
	struct gitdb_entry entry;
	int got;

	if (path[0] != '\0' && !path_valid(path)) {
		layer->truncated = true;
		return 0;
	}
	got = base_lookup(layer, path, &entry, err);
	if (got != BASE_FOUND || entry.mode == MODE_GITLINK)
		return got < 0 ? -1 : 0;
	visit.dir = arena_strdup(layer->arena, path);
	if (visit.dir == NULL)
		return oom(err);
	if (entry.mode != MODE_TREE) {
		/* A directory took the place of a file. */
		if (add_edit(layer, visit.dir, 0, NULL, err) < 0)
			return -1;
		return add_change(layer, visit.dir, CHANGE_DELETED, 0, -1, err);
	}
	while (names[visit.names_len] != NULL)
		visit.names_len++;
	visit.names = calloc(visit.names_len + 1, sizeof(*visit.names));
	if (visit.names == NULL)
		return oom(err);
	(void)memcpy(visit.names, names, visit.names_len * sizeof(*names));
	qsort(visit.names, visit.names_len, sizeof(*visit.names), compare_names);
	got = gitdb_list(layer->db, &entry.oid, visit_entry, &visit, err);
	free(visit.names);
	return got < 0 ? -1 : visit.result;
}

static uint32_t git_mode(uint32_t mode)
{
	if (S_ISLNK(mode))
		return MODE_LINK;
	return (mode & S_IXUSR) != 0 ? MODE_EXEC : MODE_FILE;
}

/* Lists one file as added or modified. A directory of the base that it took
 * the place of is listed as deleted; it is also edited away when the file
 * comes into the tree. */
static int record(struct layer *layer, const char *path, int got, const struct gitdb_entry *old,
		  uint32_t mode, int64_t size, const struct oid *oid, struct err *err)
{
	bool modified = got == BASE_FOUND && old->mode != MODE_TREE;
	const char *kept = arena_strdup(layer->arena, path);

	if (kept == NULL)
		return oom(err);
	if (layer->changes_len >= layer->limits.changes) {
		layer->truncated = true;
		return 0;
	}
	if (add_change(layer, kept, modified ? CHANGE_MODIFIED : CHANGE_ADDED, mode, size, err) < 0)
		return -1;
	if (got == BASE_FOUND && old->mode == MODE_TREE &&
	    list_deleted(layer, kept, &old->oid, oid != NULL, 0, err) < 0)
		return -1;
	return oid == NULL ? 0 : add_edit(layer, kept, mode, oid, err);
}

int layer_file(struct layer *layer, const char *path, uint32_t mode, struct bytes content,
	       struct err *err)
{
	struct gitdb_entry old = {0};
	struct oid oid;
	int got;

	if (!path_valid(path)) {
		layer->truncated = true;
		return 0;
	}
	if (content.len > layer->limits.file_bytes)
		return layer_large(layer, path, mode, (int64_t)content.len, err);
	mode = git_mode(mode);
	got = base_file(layer, path, &old, err);
	if (got < 0)
		return -1;
	gitdb_blob_oid(content, &oid);
	if (got == BASE_FOUND && old.mode == mode && oid_equal(&old.oid, &oid))
		return 0;
	if (got == BASE_SUBMODULE || content.len > layer->limits.total_bytes - layer->bytes)
		return layer_large(layer, path, mode, (int64_t)content.len, err);
	if (layer->changes_len < layer->limits.changes) {
		layer->bytes += content.len;
		if (gitdb_blob_write(layer->db, content, &oid, err) < 0)
			return -1;
	}
	return record(layer, path, got, &old, mode, (int64_t)content.len, &oid, err);
}

int layer_large(struct layer *layer, const char *path, uint32_t mode, int64_t size, struct err *err)
{
	struct gitdb_entry old = {0};
	int got;

	layer->truncated = true;
	if (!path_valid(path))
		return 0;
	got = base_file(layer, path, &old, err);
	if (got < 0)
		return -1;
	return record(layer, path, got, &old, git_mode(mode), size, NULL, err);
}

/* --- the tree ---------------------------------------------------------- */

static int compare_changes(const void *a, const void *b)
{
	const struct result_file *left = a;
	const struct result_file *right = b;
	int order = strcmp(left->path, right->path);

	return order != 0 ? order : (int)left->status - (int)right->status;
}

static int compare_edits(const void *a, const void *b)
{
	const struct gitdb_edit *left = a;
	const struct gitdb_edit *right = b;

	return strcmp(left->path, right->path);
}

int layer_tree(struct layer *layer, struct oid *ret, struct err *err)
{
	if (layer->changes_len > 0)
		qsort(layer->changes, layer->changes_len, sizeof(*layer->changes), compare_changes);
	if (layer->edits_len > 0)
		qsort(layer->edits, layer->edits_len, sizeof(*layer->edits), compare_edits);
	for (size_t i = 1; i < layer->edits_len; i++) {
		if (strcmp(layer->edits[i - 1].path, layer->edits[i].path) == 0)
			return err_set(err, ERR_INPUT,
				       "cannot list what the steps changed: '%s' was seen twice",
				       layer->edits[i].path);
	}
	return gitdb_tree_update(layer->db, &layer->base, layer->edits, layer->edits_len, ret, err);
}
