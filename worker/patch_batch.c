/*
 * patch_batch.c - the loop of sbx-patch --batch.
 *
 * One arena is emptied after each line. A repository's quarantine keeps what a
 * dry run writes, so a repository is opened anew once that is more than a few
 * megabytes; until then its open packs and cached trees serve the next line.
 *
 * A line is nearly all diff, and to read its base 64 as JSON would cost more
 * than to apply it: the text is cut out of the line first and a mark put in its
 * place. Where the mark does not turn up as the field, what was cut out stood
 * somewhere else.
 */
#include "worker/patch_batch.h"

#include <stdlib.h>
#include <string.h>

#include "schema/base64.h"
#include "schema/limits.h"
#include "schema/value.h"

enum {
	BATCH_ARENA_BYTES = 512 << 20,
	LINE_BYTES_MAX = 2 * LIMIT_MESSAGE_BYTES,
	REPOS_MAX = 16,
	INPUT_BYTES = 64 << 10,
	REOPEN_BYTES = 16 << 20,
	REOPEN_DIFFS = 2000,
};

struct repo {
	char *path;
	struct gitdb *db;
	size_t bytes; /* kept in its quarantine, about */
	size_t diffs;
};

struct batch {
	const struct patch_policy *policy;
	struct arena arena;
	struct repo repos[REPOS_MAX];
	size_t repos_len;
	size_t next; /* the one to give up when all places are taken */
};

/* One line, as far as it could be read. */
struct request {
	const char *id;
	const char *repo;
	const char *commit;
	unsigned strip;
	bool recover;
	struct bytes diff;
};

/* --- requests -------------------------------------------------------------- */

static int invalid(struct reason *reason, const char *field, const char *wanted)
{
	return reason_set(reason, REASON_JOB_INVALID, field, "%s: expected %s", field, wanted);
}

/* Takes the text of the first "diff_base64": "..." out of the line and leaves
 * MARK, which is no base 64, for it. In valid JSON a quote that follows '{' or ',' starts a string,
 * and one with a colon behind it is a key. No digit of base 64 needs an escape. */
#define KEY  "\"diff_base64\""
#define MARK "*cut*"

static bool cut_diff(struct arena *arena, char *line, size_t *len, struct bytes *ret)
{
	char *key = memmem(line, *len, KEY, strlen(KEY)), *end = line + *len, *from, *to;
	void *copy;

	if (key == NULL)
		return false;
	from = key + strlen(KEY);
	from += strspn(from, " \t\r\n");
	if (*from++ != ':')
		return false;
	from += strspn(from, " \t\r\n");
	if (*from++ != '"')
		return false;
	to = memchr(from, '"', (size_t)(end - from));
	if (to == NULL || to - from < (ptrdiff_t)strlen(MARK) ||
	    memchr(from, '\\', (size_t)(to - from)) != NULL)
		return false;
	copy = arena_memdup(arena, from, (size_t)(to - from));
	if (copy == NULL)
		return false;
	*ret = (struct bytes){copy, (size_t)(to - from)};
	(void)memcpy(from, MARK, strlen(MARK));
	from += strlen(MARK);
	(void)memmove(from, to, (size_t)(end - to) + 1);
	*len -= (size_t)(to - from);
	return true;
}

static bool read_diff(struct batch *batch, const struct value *field, struct bytes cut,
		      struct bytes *ret)
{
	struct bytes text;

	if (field == NULL || field->kind != VALUE_STR)
		return false;
	text = field->bytes;
	if (cut.len > 0 && text.len == strlen(MARK) && memcmp(text.data, MARK, text.len) == 0)
		text = cut;
	return base64_decode(&batch->arena, text, ret);
}

static int read_request(struct batch *batch, const struct value *tree, struct bytes cut,
			struct request *ret, struct reason *reason)
{
	const struct value *strip = value_get(tree, "strip");
	const char *mode = value_text(&batch->arena, value_get(tree, "mode"));

	ret->repo = value_text(&batch->arena, value_get(tree, "repo"));
	ret->commit = value_text(&batch->arena, value_get(tree, "commit"));
	ret->strip = 1;
	if (ret->repo == NULL)
		return invalid(reason, "repo", "the path of a repository");
	if (ret->commit == NULL)
		return invalid(reason, "commit", "an oid or a ref name");
	if (strip != NULL &&
	    (strip->kind != VALUE_INT || strip->integer < 0 || strip->integer > 64))
		return invalid(reason, "strip", "a number from 0 to 64");
	if (strip != NULL)
		ret->strip = (unsigned)strip->integer;
	ret->recover = mode != NULL ? strcmp(mode, "recover") == 0 : batch->policy->recover;
	if (mode != NULL && !ret->recover && strcmp(mode, "strict") != 0)
		return reason_set(reason, REASON_JOB_UNSUPPORTED, "mode",
				  "mode: expected \"strict\" or \"recover\"");
	if (!read_diff(batch, value_get(tree, "diff_base64"), cut, &ret->diff))
		return invalid(reason, "diff_base64", "a diff in base 64");
	return 0;
}

/* --- repositories ------------------------------------------------------------ */

static void close_repo(struct repo *repo)
{
	gitdb_close(repo->db);
	free(repo->path);
	*repo = (struct repo){0};
}

static struct repo *place_for(struct batch *batch)
{
	struct repo *repo;

	if (batch->repos_len < REPOS_MAX)
		return &batch->repos[batch->repos_len++];
	repo = &batch->repos[batch->next];
	batch->next = (batch->next + 1) % REPOS_MAX;
	close_repo(repo);
	return repo;
}

static struct repo *open_repo(struct batch *batch, const char *path, struct err *err)
{
	struct repo *repo = NULL;

	for (size_t i = 0; i < batch->repos_len && repo == NULL; i++) {
		if (batch->repos[i].path != NULL && strcmp(batch->repos[i].path, path) == 0)
			repo = &batch->repos[i];
	}
	if (repo != NULL && repo->bytes <= REOPEN_BYTES && repo->diffs <= REOPEN_DIFFS)
		return repo;
	if (repo == NULL)
		repo = place_for(batch);
	else
		close_repo(repo);
	if (gitdb_open(path, GITDB_QUARANTINE, &repo->db, err) < 0)
		return NULL;
	repo->path = strdup(path);
	if (repo->path == NULL) {
		(void)err_set(err, ERR_LIMIT, "out of memory");
		close_repo(repo);
		return NULL;
	}
	return repo;
}

/* --- answers ------------------------------------------------------------------- */

static int run(struct batch *batch, const struct request *request, struct patch_outcome *ret,
	       struct reason *reason)
{
	struct patch_policy policy = *batch->policy;
	struct err err = {0};
	struct repo *repo = open_repo(batch, request->repo, &err);
	struct oid commit, tree;
	int code;

	policy.strip = request->strip;
	policy.recover = request->recover;
	if (repo == NULL)
		return reason_set(reason, REASON_SOURCE_UNREACHABLE, request->repo, "%s",
				  err.message);
	if (gitdb_resolve_ancestor(repo->db, request->commit, &commit, &err) < 0 ||
	    gitdb_commit_tree(repo->db, &commit, &tree, &err) < 0)
		return reason_set(reason, REASON_SOURCE_NO_COMMIT, request->commit, "%s",
				  err.message);
	code = patch_apply(&batch->arena, repo->db, &tree, request->diff, &policy, ret, reason,
			   &err);
	if (code < 0)
		return reason_set(reason, REASON_HOST_FAULT, NULL, "%s", err.message);
	for (size_t i = 0; code == 0 && i < ret->files_len; i++)
		repo->bytes += 4096;
	repo->bytes += code == 0 ? 4 * request->diff.len : 0;
	repo->diffs++;
	return code;
}

static struct value *list_of(struct arena *arena, const struct text_list *texts)
{
	struct value *list = value_list(arena);

	for (size_t i = 0; i < texts->len; i++)
		value_append(arena, list, value_str(arena, texts->items[i]));
	return list;
}

static void answer(struct batch *batch, const struct request *request, int code,
		   const struct patch_outcome *outcome, const struct reason *reason,
		   struct buf *out)
{
	struct arena *arena = &batch->arena;
	struct value *map = value_map(arena);
	char hex[OID_HEX_BYTES];

	if (code == 0)
		oid_hex(&outcome->tree, hex);
	value_put(arena, map, "id", value_str(arena, request->id));
	value_put(arena, map, "ok", value_bool(arena, code == 0));
	value_put(arena, map, "tree", value_str(arena, code == 0 ? hex : NULL));
	value_put(arena, map, "reason",
		  value_str(arena, code == 0 ? NULL : reason_code_name(reason->code)));
	value_put(arena, map, "adjusted", list_of(arena, &outcome->adjusted));
	if (code != 0) {
		value_put(arena, map, "message", value_str(arena, reason->message));
		value_put(arena, map, "subject", value_str(arena, reason->subject));
	}
	if (map != NULL && !arena->exhausted)
		value_to_json(map, 0, out);
	else
		buf_printf(out,
			   "{\"id\":null,\"ok\":false,\"tree\":null,\"reason\":\"%s\","
			   "\"adjusted\":[]}",
			   reason_code_name(code == 0 ? REASON_PATCH_TOO_LARGE : reason->code));
	buf_add_byte(out, '\n');
}

/* `line` is NUL-terminated, and changed. */
static void take_line(struct batch *batch, char *line, size_t len, struct buf *out)
{
	struct patch_outcome outcome = {0};
	struct request request = {0};
	struct reason reason = {0};
	struct bytes cut = {0};
	struct err err = {0};
	struct value *tree;
	int code;

	if (len <= LINE_BYTES_MAX)
		(void)cut_diff(&batch->arena, line, &len, &cut);
	if (len > LINE_BYTES_MAX)
		code = reason_set(&reason, REASON_JOB_TOO_LARGE, NULL,
				  "the line is longer than %d bytes", LINE_BYTES_MAX);
	else if (value_from_json(&batch->arena, line, len, &tree, &err) < 0)
		code = reason_set(&reason, REASON_JOB_MALFORMED, NULL, "%s", err.message);
	else {
		request.id = value_text(&batch->arena, value_get(tree, "id"));
		code = read_request(batch, tree, cut, &request, &reason);
		if (code == 0)
			code = run(batch, &request, &outcome, &reason);
	}
	answer(batch, &request, code, &outcome, &reason, out);
}

int patch_batch(FILE *in, FILE *out, const struct patch_policy *policy, struct err *err)
{
	struct batch batch = {.policy = policy};
	struct buf text;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int code = 0;

	arena_init(&batch.arena, BATCH_ARENA_BYTES);
	buf_init(&text, LINE_BYTES_MAX);
	/* Lines are long: a call for each 4 KiB of them would be most of all calls. */
	(void)setvbuf(in, NULL, _IOFBF, INPUT_BYTES);
	while (code == 0 && (len = getline(&line, &size, in)) >= 0) {
		if (strspn(line, " \t\r\n") == (size_t)len)
			continue;
		take_line(&batch, line, (size_t)len, &text);
		if (fwrite(text.data, 1, text.len, out) != text.len || fflush(out) != 0)
			code = err_sys(err, "cannot write an answer");
		buf_clear(&text);
		arena_release(&batch.arena);
	}
	if (code == 0 && ferror(in))
		code = err_sys(err, "cannot read a line");
	free(line);
	buf_release(&text);
	for (size_t i = 0; i < batch.repos_len; i++)
		close_repo(&batch.repos[i]);
	return code;
}
