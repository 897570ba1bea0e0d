/*
 * patch.c - the run over a whole diff: parse, apply in memory, judge what
 * results, and only then write.
 *
 * Nothing before the last step writes, and the last step has nothing left to
 * refuse: a diff is applied as a whole or not at all. Whatever grows with the
 * diff lives in the caller's arena, whose bound turns a diff that would need
 * more into a refusal; what grows with the repository is read and released.
 */
#include "snapshots/patch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/limits.h"
#include "snapshots/hunk_shape.h"
#include "snapshots/patch_private.h"

/* --- refusals ------------------------------------------------------------ */

int patch_refuse(struct patch_run *run, enum reason_code code, size_t line, const char *path,
		 const char *fmt, ...)
{
	char message[REASON_MESSAGE_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	if (line == 0)
		return reason_set(run->reason, code, path, "%s", message);
	return reason_set(run->reason, code, path, "line %zu: %s", line, message);
}

int patch_refuse_at(struct patch_run *run, size_t line)
{
	struct reason old = *run->reason;

	if (line == 0)
		return REFUSED;
	return reason_set(run->reason, old.code, old.subject, "line %zu: %s", line, old.message);
}

int patch_exhausted(struct patch_run *run)
{
	return reason_set(run->reason, REASON_PATCH_TOO_LARGE, NULL,
			  "the diff needs more memory than the %zu bytes a job may use",
			  run->arena->limit_bytes);
}

/* --- entries -------------------------------------------------------------- */

/* A new part of a series starts from what the part before left. */
static void enter_part(struct patch_entry *entry, size_t part)
{
	if (entry->part == part)
		return;
	entry->part = part;
	entry->start = entry->now;
	entry->touched = false;
	entry->arrived = false;
	entry->modified = false;
}

int patch_entry(struct patch_run *run, const char *path, struct patch_entry **ret)
{
	struct patch_entry *entry = patch_map_get(&run->map, patch_key(path));
	struct gitdb_entry found;
	int got;

	if (entry != NULL) {
		enter_part(entry, run->part);
		*ret = entry;
		return 0;
	}
	got = gitdb_lookup(run->db, run->base, path, &found, run->err);
	if (got < 0)
		return -1;
	entry = arena_alloc(run->arena, sizeof(*entry));
	if (entry == NULL || !patch_map_put(run->arena, &run->map, patch_key(path), entry))
		return patch_exhausted(run);
	*entry = (struct patch_entry){.path = path, .part = run->part};
	if (got == 0 && found.mode == MODE_TREE) {
		entry->base_dir = true;
	} else if (got == 0) {
		entry->in_base = true;
		entry->base = found;
		entry->now = (struct patch_version){.mode = found.mode, .oid = found.oid};
		entry->start = entry->now;
	}
	run->entries[run->entries_len++] = entry;
	*ret = entry;
	return 0;
}

bool patch_differs(const struct patch_entry *entry)
{
	if (!entry->in_base || entry->now.mode == 0)
		return entry->in_base || entry->now.mode != 0;
	return entry->now.mode != entry->base.mode || !oid_equal(&entry->now.oid, &entry->base.oid);
}

/* --- the files of the diff -------------------------------------------------- */

static int make_room(struct patch_run *run, const struct diff *diff)
{
	struct patch_outcome *outcome = run->outcome;

	run->entries = arena_array(run->arena, 2 * diff->files_len, sizeof(struct patch_entry *));
	outcome->files = arena_array(run->arena, diff->files_len, sizeof(*outcome->files));
	return run->entries == NULL || outcome->files == NULL ? patch_exhausted(run) : 0;
}

/* Counts the renames of the part that starts with the `first` file. */
static int count_departures(struct patch_run *run, const struct diff *diff, size_t first)
{
	for (size_t i = first; i < diff->files_len && diff->files[i].part == run->part; i++) {
		struct patch_entry *entry;
		int code;

		if (diff->files[i].change != DIFF_RENAME)
			continue;
		code = patch_entry(run, diff->files[i].old_path, &entry);
		if (code != 0)
			return code;
		entry->departures++;
	}
	return 0;
}

/* A file that is to go and is not there: the diff may have been applied before.
 * Then the next file that is to stay says so. */
static int look_behind(struct patch_run *run, const struct diff *diff, size_t number)
{
	struct reason first = *run->reason;

	while (++number < diff->files_len && diff->files[number].part == run->part) {
		int code = patch_take_file(run, &diff->files[number]);

		if (code < 0)
			return code;
		if (code == REFUSED && run->reason->code == REASON_PATCH_NO_FILE)
			continue;
		if (code == REFUSED && run->reason->code == REASON_PATCH_APPLIED)
			return REFUSED;
		break;
	}
	*run->reason = first;
	return REFUSED;
}

static int take_files(struct patch_run *run, const struct diff *diff)
{
	int code = make_room(run, diff);

	for (size_t i = 0; i < diff->files_len && code == 0; i++) {
		const struct diff_file *file = &diff->files[i];

		if (i == 0 || file->part != run->part) {
			run->part = file->part;
			code = count_departures(run, diff, i);
		}
		if (code == 0)
			code = patch_take_file(run, file);
		if (code == REFUSED && run->reason->code == REASON_PATCH_NO_FILE)
			return look_behind(run, diff, i);
	}
	return code;
}

/* --- the edits --------------------------------------------------------------- */

static int compare_edits(const void *a, const void *b)
{
	const struct gitdb_edit *left = a;
	const struct gitdb_edit *right = b;

	return strcmp(left->path, right->path);
}

static int collect_edits(struct patch_run *run, const struct diff *diff)
{
	struct patch_outcome *outcome = run->outcome;
	bool modes = false;

	outcome->edits = arena_array(run->arena, run->entries_len, sizeof(*outcome->edits));
	if (outcome->edits == NULL)
		return patch_exhausted(run);
	for (size_t i = 0; i < run->entries_len; i++) {
		const struct patch_entry *entry = run->entries[i];

		if (!patch_differs(entry))
			continue;
		outcome->edits[outcome->edits_len++] = (struct gitdb_edit){
			.path = entry->path,
			.mode = entry->now.mode,
			.oid = entry->now.mode != 0 ? entry->now.oid : (struct oid){{0}},
		};
	}
	if (outcome->edits_len > 0) {
		qsort(outcome->edits, outcome->edits_len, sizeof(*outcome->edits), compare_edits);
		return 0;
	}
	for (size_t i = 0; i < diff->files_len; i++)
		modes = modes || diff->files[i].new_mode != 0;
	if (modes && diff->files_len == 1)
		return patch_refuse(run, REASON_PATCH_APPLIED, diff->files[0].at_line,
				    diff->files[0].new_path, "'%s' has this mode already",
				    diff->files[0].new_path);
	return patch_refuse(run, REASON_PATCH_EMPTY, diff->files[0].at_line, NULL,
			    "the diff leaves the base as it is");
}

static int write_all(struct patch_run *run)
{
	struct patch_outcome *outcome = run->outcome;

	for (size_t i = 0; i < run->entries_len; i++) {
		const struct patch_entry *entry = run->entries[i];

		if (entry->now.mode == 0 || !entry->now.fresh || !patch_differs(entry))
			continue;
		if (gitdb_blob_keep(run->db, entry->now.data, &entry->now.oid, run->err) < 0)
			return -1;
	}
	return gitdb_tree_update(run->db, run->base, outcome->edits, outcome->edits_len,
				 &outcome->tree, run->err);
}

/* --- strict mode ---------------------------------------------------------------- */

/* Everything but the writing. */
static int take(struct patch_run *run, const struct diff *diff)
{
	int code = take_files(run, diff);

	if (code == 0)
		code = patch_check(run);
	if (code == 0)
		code = patch_protect(run);
	return code == 0 ? collect_edits(run, diff) : code;
}

static int take_strictly(struct patch_run *run, struct bytes diff, const struct diff_limits *limits)
{
	struct diff parsed;
	int code = diff_parse(run->arena, diff, run->policy->strip, limits, &parsed, run->reason,
			      run->err);

	return code == 0 ? take(run, &parsed) : code;
}

/* --- recover mode -------------------------------------------------------------- */

static bool in_base(void *ctx, const char *path)
{
	const struct patch_run *run = ctx;
	struct gitdb_entry found;

	return gitdb_lookup(run->db, run->base, path, &found, NULL) == 0 && found.mode != MODE_TREE;
}

static bool in_base_as(void *ctx, const char *path, const char *hex)
{
	const struct patch_run *run = ctx;
	struct gitdb_entry found;

	return gitdb_lookup(run->db, run->base, path, &found, NULL) == 0 &&
	       patch_oid_is(hex, &found.oid);
}

/* Refusals that another reading of the diff may get around. */
static bool may_be_damage(const struct reason *reason)
{
	switch (reason->code) {
	case REASON_PATCH_MALFORMED:
	case REASON_PATCH_EMPTY:
	case REASON_PATCH_TRUNCATED:
	case REASON_PATCH_NO_FILE:
	case REASON_PATCH_EXISTS:
	case REASON_PATCH_CONFLICT:
	case REASON_PATCH_AMBIGUOUS:
	case REASON_PATCH_PATH:
	case REASON_PATCH_RESULT:
		return true;
	default:
		return false;
	}
}

/* What looking for damaged hunks may cost: fixed parts that serve any small
 * diff, and parts that grow with the diff. */
enum { RECOVER_BUDGET = 2 << 20, RECOVER_BYTES = 16 << 20, RECOVER_BYTES_FACTOR = 16 };

static size_t count_hunks(const struct diff *diff)
{
	size_t hunks = 0;

	for (size_t i = 0; i < diff->files_len; i++)
		hunks += diff->files[i].hunks_len;
	return hunks;
}

/* So many hunks cannot be searched for; where strict mode has said what is wrong
 * with one of them, that tells more. */
static int refuse_many(struct patch_run *run, size_t hunks, int strict)
{
	if (strict == REFUSED)
		return REFUSED;
	return patch_refuse(run, REASON_PATCH_TOO_LARGE, 0, NULL,
			    "the diff is not whole or not of this version, and has %zu hunks; at "
			    "most %d are searched for",
			    hunks, LIMIT_DAMAGED_HUNKS);
}

/*
 * A diff whose form is whole is taken strictly when that works at its letter.
 * When only its line numbers prove wrong, all of them are in doubt, so it is
 * placed anew as a whole.
 */
static int take_recovering(struct patch_run *run, struct bytes diff,
			   const struct diff_limits *limits)
{
	struct recover_request request = {.input = diff,
					  .strip = run->policy->strip,
					  .limits = *limits,
					  .exists = in_base,
					  .is_blob = in_base_as,
					  .ctx = run};
	struct patch_run begin = *run;
	struct hunk_shape shape = {0};
	struct recovered recovered;
	int read = recover_parse(run->arena, &request, &recovered, run->reason, run->err);
	struct arena_mark mark = arena_mark(run->arena);
	int code = 0;

	if (read < 0)
		return read;
	if (read == 0 && !recovered.mended && !recovered.line_ends) {
		code = take_strictly(run, diff, limits);
		if (code < 0 || (code == 0 && run->outcome->adjusted.len == 0) ||
		    (code == REFUSED && !may_be_damage(run->reason)))
			return code;
	}
	if (read != 0)
		return read;
	arena_rewind(run->arena, &mark);
	if (count_hunks(&recovered.diff) > LIMIT_DAMAGED_HUNKS)
		return refuse_many(run, count_hunks(&recovered.diff), code);
	*run = begin;
	*run->outcome = (struct patch_outcome){.adjusted = recovered.notes};
	run->recovered = &recovered;
	run->recover_budget = RECOVER_BUDGET + diff.len / 2;
	run->shape = &shape;
	run->recover_bytes = RECOVER_BYTES + RECOVER_BYTES_FACTOR * diff.len;
	for (size_t i = 0; i < recovered.diff.files_len; i++) {
		for (size_t k = 0; k < recovered.diff.files[i].hunks_len; k++)
			hunk_shape_add_stated(&shape, &recovered.diff.files[i].hunks[k]);
	}
	code = take(run, &recovered.diff);
	run->recovered = NULL;
	return code;
}

/* --- the whole ----------------------------------------------------------------- */

static size_t or_limit(size_t wanted, size_t limit)
{
	return wanted != 0 && wanted < limit ? wanted : limit;
}

int patch_apply(struct arena *arena, struct gitdb *db, const struct oid *base, struct bytes diff,
		const struct patch_policy *policy, struct patch_outcome *ret,
		struct reason *ret_reason, struct err *err)
{
	struct diff_limits limits = {.files = or_limit(policy->max_files, LIMIT_DIFF_FILES),
				     .hunks = or_limit(policy->max_hunks, LIMIT_DIFF_HUNKS)};
	struct patch_outcome outcome = {0};
	struct patch_run run = {
		.arena = arena,
		.db = db,
		.base = base,
		.policy = policy,
		.max_file_bytes = or_limit(policy->max_file_bytes, LIMIT_FILE_BYTES),
		.outcome = &outcome,
		.reason = ret_reason,
		.err = err,
	};
	int code;

	if (diff.len > LIMIT_DIFF_BYTES)
		return reason_set(ret_reason, REASON_PATCH_TOO_LARGE, NULL,
				  "the diff has %zu bytes, %u are allowed", diff.len,
				  LIMIT_DIFF_BYTES);
	code = policy->recover ? take_recovering(&run, diff, &limits)
			       : take_strictly(&run, diff, &limits);
	if (code == 0)
		code = write_all(&run);
	if (code == 0)
		*ret = outcome;
	return code;
}
