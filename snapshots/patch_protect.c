/*
 * patch_protect.c - protected files, and findings about the rest.
 *
 * Rules look at what becomes of a path over the whole diff, not at how the
 * diff puts it: deleting, renaming away, writing again, emptying, turning into
 * a link are one thing. A path that ends as it began breaks no rule.
 */
#include <string.h>

#include "base/text.h"
#include "schema/limits.h"
#include "snapshots/guard.h"
#include "snapshots/patch_private.h"

/* --- which rule holds ---------------------------------------------------- */

static const char *find_glob(const struct text_list *globs, const char *path)
{
	for (size_t i = 0; i < globs->len; i++) {
		if (text_glob_match(globs->items[i], path))
			return globs->items[i];
	}
	return NULL;
}

static bool is_permitted(const struct patch_policy *policy, const char *path)
{
	for (const char *const *glob = policy->allow_permitted; glob != NULL && *glob != NULL;
	     glob++) {
		if (text_glob_match(*glob, path))
			return true;
	}
	return false;
}

/* --- what became of the path ----------------------------------------------- */

/* White space, NUL bytes and the byte order mark say nothing. */
static bool is_blank(struct bytes text)
{
	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
		text = (struct bytes){text.data + 3, text.len - 3};
	for (size_t i = 0; i < text.len; i++) {
		if (memchr(" \t\r\n\f\v", text.data[i], 7) == NULL)
			return false;
	}
	return true;
}

/* Whether the final content is nothing or white space. */
static int is_hollow(struct patch_run *run, const struct patch_entry *entry, bool *ret)
{
	CLEANUP(gitdb_blob_release) struct gitdb_blob blob = {0};

	*ret = false;
	if (entry->now.mode == MODE_GITLINK)
		return 0;
	if (!entry->now.fresh) {
		if (gitdb_blob_read(run->db, &entry->now.oid, run->max_file_bytes, &blob,
				    run->err) < 0)
			return -1;
		*ret = is_blank(blob.bytes);
		return 0;
	}
	*ret = is_blank(entry->now.data);
	return 0;
}

/* What the diff does that GUARD_KEEP forbids, in words; NULL: nothing. */
static int what_is_lost(struct patch_run *run, const struct patch_entry *entry, const char **ret)
{
	bool hollow = false;

	*ret = NULL;
	if (!entry->in_base)
		return 0;
	if (entry->now.mode == 0)
		*ret = "deleted or renamed away";
	else if (entry->departed)
		*ret = "deleted and made again";
	else if ((entry->now.mode == MODE_LINK) != (entry->base.mode == MODE_LINK))
		*ret = "replaced by a link";
	else if (is_hollow(run, entry, &hollow) < 0)
		return -1;
	else if (hollow)
		*ret = "emptied";
	return 0;
}

/* --- judging ------------------------------------------------------------------ */

static int broken(struct patch_run *run, const struct patch_entry *entry, const char *what,
		  const char *why)
{
	return patch_refuse(run, REASON_PATCH_PROTECTED, entry->at_line, entry->path,
			    "the protected file '%s' may not be %s (%s)", entry->path, what, why);
}

/* What of a path's protection the diff breaks; *ret NULL: nothing. */
static int find_breach(struct patch_run *run, const struct patch_entry *entry, const char **ret,
		       const char **ret_why)
{
	const struct patch_policy *policy = run->policy;
	const struct guard_rule *rule = policy->unprotected ? NULL : guard_protection(entry->path);

	*ret = NULL;
	if (find_glob(&policy->protect, entry->path) != NULL) {
		*ret = "changed";
		*ret_why = "the worker or the job protects it";
		return 0;
	}
	if (rule == NULL)
		return 0;
	*ret_why = rule->why;
	if (what_is_lost(run, entry, ret) < 0)
		return -1;
	if (*ret == NULL && rule->strength == GUARD_FIXED)
		*ret = entry->in_base ? "changed" : "made";
	return 0;
}

static int judge(struct patch_run *run, const struct patch_entry *entry)
{
	const struct patch_policy *policy = run->policy;
	const char *lost, *why, *glob;

	if (find_breach(run, entry, &lost, &why) < 0)
		return -1;
	if (lost == NULL)
		return 0;
	glob = find_glob(&policy->allow, entry->path);
	if (glob == NULL)
		return broken(run, entry, lost, why);
	if (is_permitted(policy, entry->path))
		return 0;
	return patch_refuse(run, REASON_POLICY_PROTECT, entry->at_line, entry->path,
			    "protect.allow '%s' would let '%s' be %s, which this worker does not "
			    "permit",
			    glob, entry->path, lost);
}

/* --- findings ------------------------------------------------------------------- */

static int note(struct patch_run *run, const struct patch_entry *entry)
{
	struct patch_outcome *outcome = run->outcome;
	const struct guard_note *found = guard_note(entry->path);

	if (found == NULL || outcome->findings_len == LIMIT_FINDINGS)
		return 0;
	if (outcome->findings == NULL) {
		size_t len = run->entries_len < LIMIT_FINDINGS ? run->entries_len : LIMIT_FINDINGS;

		outcome->findings = arena_array(run->arena, len, sizeof(*outcome->findings));
		if (outcome->findings == NULL)
			return patch_exhausted(run);
	}
	outcome->findings[outcome->findings_len++] = (struct result_finding){
		.severity = found->severity,
		.rule = found->rule,
		.path = entry->path,
		.message = found->why,
	};
	return 0;
}

int patch_protect(struct patch_run *run)
{
	int code = 0;

	for (size_t i = 0; i < run->entries_len && code == 0; i++) {
		const struct patch_entry *entry = run->entries[i];

		if (!patch_differs(entry))
			continue;
		code = judge(run, entry);
		if (code == 0)
			code = note(run, entry);
	}
	return code;
}
