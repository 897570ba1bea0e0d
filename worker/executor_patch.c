/*
 * executor_patch.c - checked and patched: the diff becomes a commit in the
 * quarantine. Files that the job wants restored from the base are taken out
 * of what the diff changed before the tree is made, so no step ever sees the
 * diff's version of them.
 */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "worker/artifacts.h"
#include "worker/executor_private.h"

/* --- policy ----------------------------------------------------------- */

static int join_globs(struct executor *self, struct text_list *ret, struct err *err)
{
	const struct text_list *own = &self->config->protect_paths;
	const struct text_list *asked = &self->job.protect.paths;

	ret->len = own->len + asked->len;
	ret->items = arena_array(&self->arena, ret->len + 1, sizeof(*ret->items));
	if (ret->items == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (size_t i = 0; i < own->len; i++)
		ret->items[i] = own->items[i];
	for (size_t i = 0; i < asked->len; i++)
		ret->items[own->len + i] = asked->items[i];
	return 0;
}

static int permitted_globs(struct executor *self, const char *const **ret, struct err *err)
{
	const struct text_list *allow = &self->config->protect_allow;
	const char **items = arena_array(&self->arena, allow->len + 1, sizeof(*items));

	if (items == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (size_t i = 0; i < allow->len; i++)
		items[i] = allow->items[i];
	*ret = items;
	return 0;
}

static int apply(struct executor *self, struct err *err)
{
	struct patch_policy policy = {
		.strip = (unsigned)self->job.patch.strip,
		.recover = strcmp(self->job.patch.mode, "recover") == 0,
		.allow = self->job.protect.allow,
		.max_files = LIMIT_DIFF_FILES,
		.max_hunks = LIMIT_DIFF_HUNKS,
		.max_file_bytes = LIMIT_FILE_BYTES,
	};

	if (join_globs(self, &policy.protect, err) < 0 ||
	    permitted_globs(self, &policy.allow_permitted, err) < 0)
		return -1;
	return patch_apply(&self->arena, self->db, &self->before_tree, self->job.patch.diff,
			   &policy, &self->patch, &self->reason, err);
}

/* --- restored files --------------------------------------------------- */

static bool is_restored(const struct executor *self, const char *path)
{
	for (size_t i = 0; i < self->job.protect.restore.len; i++) {
		if (text_glob_match(self->job.protect.restore.items[i], path))
			return true;
	}
	return false;
}

/* Drops edits of restored paths; the tree is made anew when there were any. */
static int restore(struct executor *self, struct err *err)
{
	struct patch_outcome *patch = &self->patch;
	size_t kept = 0;

	for (size_t i = 0; i < patch->edits_len; i++) {
		struct result_finding finding = {
			.severity = SEVERITY_INFO,
			.rule = "protect.restored",
			.path = patch->edits[i].path,
			.message = "taken back from the base before the steps ran",
		};

		if (!is_restored(self, patch->edits[i].path)) {
			patch->edits[kept++] = patch->edits[i];
			continue;
		}
		if (executor_finding(self, &finding, err) < 0)
			return -1;
	}
	if (kept == patch->edits_len)
		return 0;
	patch->edits_len = kept;
	return gitdb_tree_update(self->db, &self->before_tree, patch->edits, kept, &patch->tree,
				 err);
}

/* --- the commits ------------------------------------------------------ */

static int describe(struct executor *self, struct err *err)
{
	struct result_patch *described = &self->body.patch;

	described->present = true;
	described->files = self->patch.files;
	described->files_len = self->patch.files_len;
	described->additions = self->patch.additions;
	described->deletions = self->patch.deletions;
	described->adjusted = self->patch.adjusted;
	sha256_hex(self->job.patch.diff, described->digest);
	for (size_t i = 0; i < self->patch.findings_len; i++) {
		if (executor_finding(self, &self->patch.findings[i], err) < 0)
			return -1;
	}
	return 0;
}

static int commit(struct executor *self, struct err *err)
{
	const char *message = arena_printf(&self->arena, "sbx: %s after patch\n", self->job.id);

	if (message == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	self->after_tree = self->patch.tree;
	if (gitdb_commit_write(self->db, &self->after_tree, &self->before_patch, message,
			       clock_wall_us() / 1000000, &self->after_patch, err) < 0)
		return -1;
	return executor_snapshot(self, "after_patch", &self->after_patch, err);
}

int executor_patch(struct executor *self, struct err *err)
{
	int rc;

	if (self->db == NULL)
		return 0;
	if (executor_snapshot(self, "before_patch", &self->before_patch, err) < 0)
		return -1;
	if (!self->job.patch.present)
		return 0;
	rc = apply(self, err);
	if (rc == REFUSED) {
		self->verdict = VERDICT_rejected;
		return REFUSED;
	}
	if (rc < 0 || describe(self, err) < 0 || executor_state(self, STATE_checked, err) < 0)
		return -1;
	if (restore(self, err) < 0 || commit(self, err) < 0)
		return -1;
	return executor_state(self, STATE_patched, err);
}
