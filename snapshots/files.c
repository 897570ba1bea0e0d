/*
 * files.c - files that come with a job are taken for a diff that creates them
 * all in an empty tree: the same code judges paths, links, and what stands in
 * each other's way, so there is one answer to what may be in a workspace.
 */
#include "snapshots/files.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots/patch_private.h"

/* Part of the commit's oid, as is its message. */
enum { COMMIT_TIME_S = 946684800 };
static const char MESSAGE[] = "sbx: files of a job\n";

/* --- entries ----------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_executable(const char *const *names, size_t len, const char *path)
{
	return len > 0 && bsearch(&path, names, len, sizeof(*names), compare_names) != NULL;
}

static int out_of_memory(struct err *err)
{
	errno = ENOMEM;
	return err_sys(err, "cannot take the files of the job");
}

static int add_entry(struct patch_run *run, const char *path, uint32_t mode, struct bytes content)
{
	struct patch_entry *entry = arena_alloc(run->arena, sizeof(*entry));

	if (entry == NULL)
		return out_of_memory(run->err);
	*entry = (struct patch_entry){
		.path = path,
		.now = {.mode = mode, .data = content, .fresh = true},
	};
	if (patch_map_get(&run->map, patch_key(path)) != NULL)
		return patch_refuse(run, REASON_SOURCE_FILES, 0, path, "'%s' is there twice", path);
	if (!patch_map_put(run->arena, &run->map, patch_key(path), entry))
		return out_of_memory(run->err);
	run->entries[run->entries_len++] = entry;
	return 0;
}

static int add_entries(struct patch_run *run, const struct job_source *source)
{
	size_t len = source->files.len + source->links.len;
	const char **executable =
		arena_array(run->arena, source->executable.len + 1, sizeof(char *));
	int result = 0;

	run->entries = arena_array(run->arena, len, sizeof(*run->entries));
	if (run->entries == NULL || executable == NULL)
		return out_of_memory(run->err);
	for (size_t i = 0; i < source->executable.len; i++)
		executable[i] = source->executable.items[i];
	qsort(executable, source->executable.len, sizeof(*executable), compare_names);
	for (size_t i = 0; result == 0 && i < source->files.len; i++) {
		const struct job_file *file = &source->files.items[i];
		bool run_it = is_executable(executable, source->executable.len, file->path);

		result = add_entry(run, file->path, run_it ? MODE_EXEC : MODE_FILE, file->content);
	}
	for (size_t i = 0; result == 0 && i < source->links.len; i++) {
		const struct pair *link = &source->links.items[i];

		result = add_entry(run, link->key, MODE_LINK, patch_key(link->value));
	}
	return result;
}

/* --- objects ----------------------------------------------------------- */

static int compare_edits(const void *a, const void *b)
{
	const struct gitdb_edit *left = a;
	const struct gitdb_edit *right = b;

	return strcmp(left->path, right->path);
}

static int write_tree(struct patch_run *run, struct oid *ret_tree)
{
	struct gitdb_edit *edits = arena_array(run->arena, run->entries_len, sizeof(*edits));

	if (edits == NULL)
		return out_of_memory(run->err);
	for (size_t i = 0; i < run->entries_len; i++) {
		const struct patch_entry *entry = run->entries[i];

		edits[i] = (struct gitdb_edit){.path = entry->path, .mode = entry->now.mode};
		if (gitdb_blob_write(run->db, entry->now.data, &edits[i].oid, run->err) < 0)
			return -1;
	}
	qsort(edits, run->entries_len, sizeof(*edits), compare_edits);
	return gitdb_tree_update(run->db, NULL, edits, run->entries_len, ret_tree, run->err);
}

int files_write(struct arena *arena, struct gitdb *db, const struct job_source *source,
		struct oid *ret_commit, struct oid *ret_tree, struct reason *ret_reason,
		struct err *err)
{
	struct oid empty;
	struct patch_run run = {
		.arena = arena, .db = db, .base = &empty, .reason = ret_reason, .err = err};
	int result;

	assert(source->files.len > 0);
	if (gitdb_tree_update(db, NULL, NULL, 0, &empty, err) < 0)
		return -1;
	result = add_entries(&run, source);
	if (result == 0)
		result = patch_check(&run);
	if (result == REFUSED) {
		/* No diff is there to be at fault. */
		ret_reason->code = REASON_SOURCE_FILES;
		return REFUSED;
	}
	if (result < 0 || write_tree(&run, ret_tree) < 0)
		return -1;
	return gitdb_commit_write(db, ret_tree, NULL, MESSAGE, COMMIT_TIME_S, ret_commit, err);
}
