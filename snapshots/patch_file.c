/*
 * patch_file.c - one file of the diff, applied to the state of its paths.
 *
 * Files are taken in the order of the diff, each on what the ones before it
 * left, so several patches in one input work as a series. Renames and copies
 * are the exception: within one patch they read what was there when it began,
 * in any order (that is how two files swap names, and how a copy is made of a
 * file that changes too). Where one patch of a series ends and the next begins
 * is seen by the text between them; without any, the index line tells which
 * version is meant, and a rename of a file that was changed in place before
 * means the changed one.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "snapshots/binary.h"
#include "snapshots/guard.h"
#include "snapshots/hunk.h"
#include "snapshots/patch_private.h"

/* --- contents ---------------------------------------------------------- */

/* One version of a file: what it is before or after its hunks. */
struct content {
	uint32_t mode;
	struct oid oid;
	struct bytes bytes;
	bool fresh; /* bytes are in the arena and not in the repository */
	struct gitdb_blob blob;
};

static void content_release(struct content *content)
{
	gitdb_blob_release(&content->blob);
}

static const char gitlink_text[] = "Subproject commit ";

/* How a diff writes a submodule's commit. */
static int gitlink_bytes(struct patch_run *run, struct content *content)
{
	char hex[OID_HEX_BYTES];
	const char *text;

	oid_hex(&content->oid, hex);
	text = arena_printf(run->arena, "%s%s\n", gitlink_text, hex);
	if (text == NULL)
		return patch_exhausted(run);
	content->bytes = patch_key(text);
	return 0;
}

/* Reads the bytes of a content that has mode and oid. */
static int read_bytes(struct patch_run *run, const struct diff_file *file, const char *path,
		      struct content *content)
{
	struct err err = {0};

	if (content->bytes.data != NULL)
		return 0;
	if (content->mode == MODE_GITLINK)
		return gitlink_bytes(run, content);
	if (gitdb_blob_read(run->db, &content->oid, run->max_file_bytes, &content->blob, &err) <
	    0) {
		if (err.kind == ERR_LIMIT)
			return patch_refuse(run, REASON_PATCH_TOO_LARGE, file->at_line, path,
					    "'%s' in the base has more than %zu bytes", path,
					    run->max_file_bytes);
		return err_set(run->err, err.kind, "%s", err.message);
	}
	content->bytes = content->blob.bytes;
	if (content->bytes.data == NULL)
		content->bytes.data = (const uint8_t *)"";
	return 0;
}

static struct content content_of(const struct patch_version *version)
{
	return (struct content){.mode = version->mode,
				.oid = version->oid,
				.bytes = version->fresh ? version->data : (struct bytes){0},
				.fresh = version->fresh};
}

/* --- oids of the index line --------------------------------------------- */

bool patch_oid_is(const char *hex, const struct oid *oid)
{
	char full[OID_HEX_BYTES];

	if (hex == NULL)
		return false;
	oid_hex(oid, full);
	return strncmp(hex, full, strlen(hex)) == 0;
}

static bool is_zero(const char *hex)
{
	return hex != NULL && strspn(hex, "0") == strlen(hex);
}

/* Whether the preimage is known to be the one the diff was made for. */
static bool is_trusted(const struct diff_file *file, const struct content *before)
{
	if (before->mode == 0)
		return is_zero(file->old_oid);
	return patch_oid_is(file->old_oid, &before->oid);
}

static int check_result(struct patch_run *run, const struct diff_file *file, const char *path,
			const struct content *after)
{
	char hex[OID_HEX_BYTES];

	if (file->new_oid == NULL || patch_oid_is(file->new_oid, &after->oid))
		return 0;
	oid_hex(&after->oid, hex);
	return patch_refuse(run, REASON_PATCH_RESULT, file->at_line, path,
			    "the result of '%s' is %.*s, the index line says %s: the diff was cut "
			    "or edited",
			    path, (int)strlen(file->new_oid), hex, file->new_oid);
}

/* --- bytes --------------------------------------------------------------- */

/*
 * The index line names what is there as the result, and something else as
 * what it starts from: the diff is applied already, or made the other way
 * round. In a file that repeats itself its hunks may fit all the same.
 */
static bool makes_what_is_there(const struct diff_file *file, bool trusted,
				const struct content *before)
{
	return !trusted && before->mode != 0 && file->new_oid != NULL && !is_zero(file->new_oid) &&
	       patch_oid_is(file->new_oid, &before->oid);
}

static int refuse_applied(struct patch_run *run, const struct diff_file *file, const char *path)
{
	return patch_refuse(run, REASON_PATCH_APPLIED, file->at_line, path,
			    "'%s' has the content already that the index line gives for the result",
			    path);
}

/* "Binary files differ": the content must be in the repository already, named
 * by its whole oid, as git has it. */
static int apply_absent(struct patch_run *run, const struct diff_file *file, const char *path,
			bool trusted, struct content *after)
{
	CLEANUP(gitdb_blob_release) struct gitdb_blob blob = {0};

	if (file->change == DIFF_DELETE && trusted && strlen(file->old_oid) == 40) {
		after->bytes = (struct bytes){(const uint8_t *)"", 0};
		return 0;
	}
	if (trusted && strlen(file->old_oid) == 40 && file->new_oid != NULL &&
	    oid_parse(file->new_oid, &after->oid) && gitdb_has(run->db, &after->oid) &&
	    gitdb_blob_read(run->db, &after->oid, run->max_file_bytes, &blob, NULL) == 0) {
		after->fresh = false;
		return 0;
	}
	return patch_refuse(run, REASON_PATCH_UNSUPPORTED, file->at_line, path,
			    "the content of the binary file '%s' is not in the diff; use git diff "
			    "--binary",
			    path);
}

static int apply_binary(struct patch_run *run, const struct diff_file *file, const char *path,
			const struct content *before, struct content *after)
{
	bool trusted = is_trusted(file, before);
	int code;

	if (before->mode == MODE_GITLINK || after->mode == MODE_GITLINK)
		return patch_refuse(run, REASON_PATCH_GITLINK, file->at_line, path,
				    "a binary patch of the submodule entry '%s'", path);
	if (file->data.kind == DIFF_BINARY_ABSENT)
		return apply_absent(run, file, path, trusted, after);
	if (file->old_oid == NULL || file->new_oid == NULL || strlen(file->old_oid) != 40 ||
	    strlen(file->new_oid) != 40)
		return patch_refuse(run, REASON_PATCH_MALFORMED, file->at_line, path,
				    "a binary patch of '%s' without whole oids in its index line",
				    path);
	if (makes_what_is_there(file, trusted, before))
		return refuse_applied(run, file, path);
	if (!trusted)
		return patch_refuse(run, REASON_PATCH_CONFLICT, file->at_line, path,
				    "the binary patch of '%s' is for the blob %.10s, which it is "
				    "not in the base",
				    path, file->old_oid);
	code = binary_apply(run->arena, file, before->bytes, run->max_file_bytes, &after->bytes,
			    run->reason, run->err);
	if (code == 0) {
		after->fresh = true;
		gitdb_blob_oid(after->bytes, &after->oid);
	}
	return code;
}

static int apply_damaged(struct patch_run *run, const struct diff_file *file, const char *path,
			 bool *trusted, const struct content *before, struct content *after)
{
	after->fresh = true;
	return patch_recover_hunks(run, file, path, before->mode == 0 ? NULL : &before->oid,
				   before->bytes, trusted, &after->bytes);
}

static int apply_hunks(struct patch_run *run, const struct diff_file *file, bool trusted,
		       const struct content *before, struct content *after)
{
	struct hunk_request request = {.file = file,
				       .preimage = before->bytes,
				       .trusted = trusted,
				       .limit_bytes = run->max_file_bytes};
	struct hunk_result result;
	int code;

	if (makes_what_is_there(file, trusted, before))
		return refuse_applied(run, file,
				      file->new_path == NULL ? file->old_path : file->new_path);
	code = hunk_apply(run->arena, &request, &result, run->reason, run->err);
	if (code != 0)
		return code;
	/* A line number alone may be damaged and fit by chance. */
	if (run->policy->recover && !trusted && file->hunks_len == 1 &&
	    hunk_contradicts_heading(before->bytes, &file->hunks[0], result.places[0].start))
		return patch_refuse(run, REASON_PATCH_AMBIGUOUS, file->at_line, file->new_path,
				    "the function above the stated line is not the one that the "
				    "hunk's header names");
	if (!hunk_notes(run->arena, file, &result, &run->outcome->adjusted))
		return patch_exhausted(run);
	after->bytes = result.postimage;
	after->fresh = true;
	return 0;
}

/* The commit that the text of a patched gitlink names. */
static int parse_gitlink(struct patch_run *run, const struct diff_file *file, const char *path,
			 struct content *after)
{
	size_t head = strlen(gitlink_text);
	char hex[OID_HEX_BYTES];

	if (after->bytes.len == head + 41 && memcmp(after->bytes.data, gitlink_text, head) == 0 &&
	    after->bytes.data[head + 40] == '\n') {
		(void)snprintf(hex, sizeof(hex), "%.40s", (const char *)after->bytes.data + head);
		if (oid_parse(hex, &after->oid)) {
			after->fresh = false;
			after->bytes = (struct bytes){0};
			return 0;
		}
	}
	return patch_refuse(run, REASON_PATCH_GITLINK, file->at_line, path,
			    "the submodule entry '%s' would not name one commit", path);
}

/*
 * What the file's hunks or binary patch make of `before`. `after` comes with
 * its mode set. A deletion leaves it empty, which its caller checks.
 */
static int apply_body(struct patch_run *run, const struct diff_file *file, const char *path,
		      struct content *before, struct content *after)
{
	bool trusted = is_trusted(file, before);
	uint32_t mode = after->mode;
	int code = 0;

	if (file->hunks_len > 0 || file->binary || file->change == DIFF_DELETE)
		code = before->mode == 0 ? 0 : read_bytes(run, file, path, before);
	if (code != 0)
		return code;
	if (before->bytes.data == NULL && before->mode == 0)
		before->bytes.data = (const uint8_t *)"";
	*after = *before;
	after->mode = mode;
	after->blob = (struct gitdb_blob){0};
	if (before->mode == 0) {
		after->fresh = true;
		gitdb_blob_oid(after->bytes, &after->oid);
	}
	if (file->binary)
		code = apply_binary(run, file, path, before, after);
	else if (file->hunks_len > 0 && run->recovered != NULL)
		code = apply_damaged(run, file, path, &trusted, before, after);
	else if (file->hunks_len > 0)
		code = apply_hunks(run, file, trusted, before, after);
	if (code != 0 || file->change == DIFF_DELETE)
		return code;
	if (mode == MODE_GITLINK && (file->hunks_len > 0 || before->mode == 0))
		code = parse_gitlink(run, file, path, after);
	else if (file->hunks_len > 0)
		gitdb_blob_oid(after->bytes, &after->oid);
	if (code != 0)
		return code;
	return trusted ? check_result(run, file, path, after) : 0;
}

/* --- modes ---------------------------------------------------------------- */

static const char *type_name(uint32_t mode)
{
	return S_ISLNK(mode) ? "a link" : mode == MODE_GITLINK ? "a submodule" : "a file";
}

static int check_modes(struct patch_run *run, const struct diff_file *file, const char *path,
		       uint32_t have, uint32_t *ret)
{
	int code = 0;

	if (file->old_mode != 0)
		code = guard_mode(file->old_mode, path, run->reason);
	if (code == 0 && file->new_mode != 0)
		code = guard_mode(file->new_mode, path, run->reason);
	if (code != 0)
		return patch_refuse_at(run, file->at_line);
	*ret = file->new_mode != 0 ? file->new_mode : have != 0 ? have : MODE_FILE;
	if (have != 0 && file->old_mode != 0 && (have & S_IFMT) != (file->old_mode & S_IFMT))
		return patch_refuse(run, REASON_PATCH_CONFLICT, file->at_line, path,
				    "'%s' is %s in the base, the diff is for %s", path,
				    type_name(have), type_name(file->old_mode));
	if (have != 0 && file->change != DIFF_DELETE && (have & S_IFMT) != (*ret & S_IFMT))
		return patch_refuse(run, REASON_PATCH_MODE, file->at_line, path,
				    "'%s' cannot turn from %s into %s by its mode alone", path,
				    type_name(have), type_name(*ret));
	if ((have == MODE_GITLINK || *ret == MODE_GITLINK) && !run->policy->gitlinks)
		return patch_refuse(run, REASON_PATCH_GITLINK, file->at_line, path,
				    "'%s' is a submodule", path);
	return 0;
}

/* --- the state of paths ---------------------------------------------------- */

static void set_now(struct patch_entry *entry, const struct content *content, bool arrived)
{
	entry->now = (struct patch_version){
		.mode = content->mode,
		.oid = content->oid,
		.data = content->fresh ? content->bytes : (struct bytes){0},
		.fresh = content->fresh,
	};
	entry->touched = true;
	if (arrived)
		entry->arrived = true;
	else
		entry->modified = true;
}

static void set_gone(struct patch_entry *entry)
{
	entry->now = (struct patch_version){0};
	entry->touched = true;
	entry->departed = true;
	entry->arrived = false;
	entry->modified = false;
}

/* Why a path is not there: the nearest parent that is no directory. */
static int missing(struct patch_run *run, const struct diff_file *file,
		   const struct patch_entry *entry)
{
	const char *path = entry->path;

	if (entry->base_dir)
		return patch_refuse(run, REASON_PATCH_COLLISION, file->at_line, path,
				    "'%s' is a directory", path);
	if (entry->departed)
		return patch_refuse(run, REASON_PATCH_DUPLICATE, file->at_line, path,
				    "'%s' was deleted or renamed earlier in the diff", path);
	for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		const char *parent = arena_memdup(run->arena, path, (size_t)(slash - path));
		struct gitdb_entry found;

		if (parent == NULL)
			return patch_exhausted(run);
		switch (gitdb_lookup(run->db, run->base, parent, &found, run->err)) {
		case 0:
			break;
		case 1:
			return patch_refuse(run, REASON_PATCH_NO_FILE, file->at_line, path,
					    "'%s' is not in the base, nor is its directory '%s'",
					    path, parent);
		default:
			return -1;
		}
		if (found.mode == MODE_LINK)
			return patch_refuse(run, REASON_PATCH_SYMLINK, file->at_line, path,
					    "'%s' is beyond the link '%s'", path, parent);
		if (found.mode != MODE_TREE)
			return patch_refuse(run, REASON_PATCH_COLLISION, file->at_line, path,
					    "'%s' is below '%s', which is no directory", path,
					    parent);
	}
	return patch_refuse(run, REASON_PATCH_NO_FILE, file->at_line, path,
			    file->change == DIFF_DELETE
				    ? "'%s' is not in the base: it was deleted before, or never "
				      "there"
				    : "'%s' is not in the base",
			    path);
}

/* A path where something is to arrive must be free, or become free by a
 * rename that is still to come. */
static bool is_free(const struct patch_entry *entry)
{
	return entry->now.mode == 0 || (!entry->touched && entry->departures > 0);
}

static int exists(struct patch_run *run, const struct diff_file *file,
		  const struct patch_entry *entry, const struct content *after)
{
	bool same = entry->now.mode == after->mode && oid_equal(&entry->now.oid, &after->oid);

	if (entry->arrived)
		return patch_refuse(run, REASON_PATCH_DUPLICATE, file->at_line, entry->path,
				    "the diff makes '%s' twice", entry->path);
	return patch_refuse(run, same ? REASON_PATCH_APPLIED : REASON_PATCH_EXISTS, file->at_line,
			    entry->path,
			    same ? "'%s' is in the base already, with this content"
				 : "'%s' is in the base already, with other content",
			    entry->path);
}

/* --- the five changes ------------------------------------------------------- */

static int take_creation(struct patch_run *run, const struct diff_file *file,
			 struct patch_entry *entry)
{
	struct content before = {0}, after = {0};
	int code = check_modes(run, file, entry->path, 0, &after.mode);

	if (code == 0)
		code = apply_body(run, file, entry->path, &before, &after);
	if (code == 0 && !is_free(entry))
		code = exists(run, file, entry, &after);
	if (code == 0)
		set_now(entry, &after, true);
	return code;
}

static int take_modification(struct patch_run *run, const struct diff_file *file,
			     struct patch_entry *entry)
{
	CLEANUP(content_release) struct content before = {0};
	struct content after = {0};
	int code;

	if (entry->now.mode == 0)
		return file->may_create && !entry->base_dir && !entry->departed
			       ? take_creation(run, file, entry)
			       : missing(run, file, entry);
	before = content_of(&entry->now);
	code = check_modes(run, file, entry->path, before.mode, &after.mode);
	if (code == 0)
		code = apply_body(run, file, entry->path, &before, &after);
	if (code == 0)
		set_now(entry, &after, false);
	return code;
}

static int take_deletion(struct patch_run *run, const struct diff_file *file,
			 struct patch_entry *entry)
{
	CLEANUP(content_release) struct content before = {0};
	struct content after = {0};
	int code;

	if (entry->now.mode == 0)
		return missing(run, file, entry);
	before = content_of(&entry->now);
	code = check_modes(run, file, entry->path, before.mode, &after.mode);
	if (code == 0)
		code = apply_body(run, file, entry->path, &before, &after);
	if (code == 0 && after.bytes.len > 0)
		code = patch_refuse(run, REASON_PATCH_CONFLICT, file->at_line, entry->path,
				    "'%s' is to be deleted, but has %zu bytes that the diff does "
				    "not show",
				    entry->path, after.bytes.len);
	if (code == 0)
		set_gone(entry);
	return code;
}

/* Whether a rename or copy reads what was there when its part of the series
 * began, and not what is there now. */
static bool reads_start(const struct diff_file *file, const struct patch_entry *source)
{
	if (source->start.mode == 0 || !source->touched)
		return source->start.mode != 0;
	if (patch_oid_is(file->old_oid, &source->start.oid))
		return true;
	if (source->now.mode != 0 && patch_oid_is(file->old_oid, &source->now.oid))
		return false;
	return file->change == DIFF_COPY || source->now.mode == 0 || !source->modified;
}

/* The source is gone: perhaps because all of this was done before. */
static int missing_source(struct patch_run *run, const struct diff_file *file,
			  const struct patch_entry *source, struct patch_entry *target)
{
	bool done = target->in_base && !target->touched && !source->departed &&
		    (file->hunks_len == 0 || patch_oid_is(file->new_oid, &target->base.oid));

	if (!done)
		return missing(run, file, source);
	return patch_refuse(run, REASON_PATCH_APPLIED, file->at_line, target->path,
			    "'%s' is not in the base, but '%s' is: it was renamed before",
			    source->path, target->path);
}

static int take_move(struct patch_run *run, const struct diff_file *file,
		     struct patch_entry *source, struct patch_entry *target)
{
	CLEANUP(content_release) struct content before = {0};
	struct content after = {0};
	bool start = reads_start(file, source);
	int code;

	if (source == target)
		return patch_refuse(run, REASON_PATCH_MALFORMED, file->at_line, source->path,
				    "'%s' is renamed or copied to itself", source->path);
	if (file->change == DIFF_RENAME)
		source->departures--;
	if ((!start && source->now.mode == 0) ||
	    (file->change == DIFF_RENAME && source->touched && source->now.mode == 0))
		return missing_source(run, file, source, target);
	before = content_of(start ? &source->start : &source->now);
	code = check_modes(run, file, source->path, before.mode, &after.mode);
	if (code == 0)
		code = apply_body(run, file, source->path, &before, &after);
	if (code == 0 && !is_free(target))
		code = exists(run, file, target, &after);
	if (code != 0)
		return code;
	if (file->change == DIFF_RENAME && !(start && source->arrived))
		set_gone(source);
	source->departed = source->departed || file->change == DIFF_RENAME;
	set_now(target, &after, true);
	return 0;
}

/* --- the whole --------------------------------------------------------------- */

static void note_file(struct patch_run *run, const struct diff_file *file,
		      const struct patch_entry *target)
{
	static const enum change_status statuses[] = {
		[DIFF_MODIFY] = CHANGE_MODIFIED, [DIFF_CREATE] = CHANGE_ADDED,
		[DIFF_DELETE] = CHANGE_DELETED,	 [DIFF_RENAME] = CHANGE_RENAMED,
		[DIFF_COPY] = CHANGE_COPIED,
	};
	struct patch_outcome *outcome = run->outcome;
	bool moved = file->change == DIFF_RENAME || file->change == DIFF_COPY;
	bool made = file->may_create && target->arrived;

	outcome->files[outcome->files_len++] = (struct result_file){
		.path = target->path,
		.old_path = moved ? file->old_path : NULL,
		.status = made ? CHANGE_ADDED : statuses[file->change],
		.additions = file->additions,
		.deletions = file->deletions,
		.mode = target->now.mode,
		.size_bytes = -1,
	};
	outcome->additions += file->additions;
	outcome->deletions += file->deletions;
}

static int guard_names(struct patch_run *run, const struct diff_file *file)
{
	int code = 0;

	if (file->old_path != NULL)
		code = guard_path(file->old_path, run->reason);
	if (code == 0 && file->new_path != NULL)
		code = guard_path(file->new_path, run->reason);
	return code == 0 ? 0 : patch_refuse_at(run, file->at_line);
}

int patch_take_file(struct patch_run *run, const struct diff_file *file)
{
	const char *target_path = file->new_path != NULL ? file->new_path : file->old_path;
	struct patch_entry *source, *target;
	int code = guard_names(run, file);

	if (code != 0)
		return code;
	code = patch_entry(run, target_path, &target);
	if (code == 0 && file->old_path != NULL)
		code = patch_entry(run, file->old_path, &source);
	if (code != 0)
		return code;
	target->at_line = file->at_line;
	switch (file->change) {
	case DIFF_MODIFY:
		code = take_modification(run, file, target);
		break;
	case DIFF_CREATE:
		code = take_creation(run, file, target);
		break;
	case DIFF_DELETE:
		code = take_deletion(run, file, target);
		break;
	case DIFF_RENAME:
	case DIFF_COPY:
		source->at_line = file->at_line;
		code = take_move(run, file, source, target);
		break;
	}
	if (code == 0)
		note_file(run, file, target);
	return code;
}
