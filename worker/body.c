/*
 * body.c - theory: packing says whether it fits; nothing is estimated. Each row
 * of the table takes one part away and says whether there was any, and the
 * body is packed again. The last row leaves so little that it always fits.
 */
#include "worker/body.h"

#include <assert.h>
#include <string.h>

#include "schema/limits.h"

enum {
	PACK_ARENA_BYTES = 128 << 20,
	CASES_KEPT = 1000,
	OUTPUT_KEPT = 4096,
	CHANGES_KEPT = 200,
	FILES_KEPT = 500,
	LINES_KEPT = 100, /* adjusted, conflicts */
	ARGUMENTS_KEPT = 8,
	ARGUMENT_BYTES = 256,
	FINDINGS_KEPT = 50,
};

/* --- what may go ------------------------------------------------------ */

static bool drop_artifact_data(struct arena *arena, struct result_body *body)
{
	bool any = false;

	(void)arena;
	for (size_t i = 0; i < body->artifacts_len; i++) {
		struct result_artifact *artifact = &body->artifacts[i];

		any = any || artifact->data.len > 0;
		artifact->data = (struct bytes){NULL, 0};
		artifact->encoding = "omitted";
	}
	return any;
}

static bool drop_case_messages(struct arena *arena, struct result_body *body)
{
	bool any = false;

	(void)arena;
	for (size_t i = 0; i < body->tests.cases_len; i++) {
		any = any || body->tests.cases[i].message != NULL;
		body->tests.cases[i].message = NULL;
	}
	return any;
}

static bool cut(size_t *len, size_t most)
{
	if (*len <= most)
		return false;
	*len = most;
	return true;
}

/* Bad cases stand first, so they stay longest. */
static bool cut_cases(struct arena *arena, struct result_body *body)
{
	(void)arena;
	return cut(&body->tests.cases_len, CASES_KEPT);
}

static bool cut_stream(struct bytes *stream, int64_t *truncated)
{
	size_t len = stream->len;

	if (!cut(&stream->len, OUTPUT_KEPT))
		return false;
	*truncated += (int64_t)(len - stream->len);
	return true;
}

static bool cut_output(struct arena *arena, struct result_body *body)
{
	bool any = false;

	(void)arena;
	for (size_t i = 0; i < body->steps_len; i++) {
		struct result_step *step = &body->steps[i];

		any |= cut_stream(&step->stdout_bytes, &step->truncated_bytes);
		any |= cut_stream(&step->stderr_bytes, &step->truncated_bytes);
	}
	return any;
}

static bool cut_changes(struct arena *arena, struct result_body *body)
{
	(void)arena;
	if (!cut(&body->changes_len, CHANGES_KEPT))
		return false;
	body->changes_truncated = true;
	return true;
}

static bool cut_files(struct arena *arena, struct result_body *body)
{
	bool any = cut(&body->patch.files_len, FILES_KEPT);

	(void)arena;
	any |= cut(&body->patch.adjusted.len, LINES_KEPT);
	any |= cut(&body->tests.conflicts.len, LINES_KEPT);
	return any;
}

/* A list of its own: the job still needs the whole one. */
static bool cut_argv(struct arena *arena, struct text_list *argv)
{
	struct text_list kept = {.len = argv->len};
	bool any = cut(&kept.len, ARGUMENTS_KEPT);

	kept.items = arena_array(arena, kept.len + 1, sizeof(*kept.items));
	if (kept.items == NULL)
		return false;
	for (size_t i = 0; i < kept.len; i++) {
		kept.items[i] = argv->items[i];
		if (strlen(argv->items[i]) <= ARGUMENT_BYTES)
			continue;
		kept.items[i] = arena_printf(arena, "%.*s", ARGUMENT_BYTES, argv->items[i]);
		if (kept.items[i] == NULL)
			return false;
		any = true;
	}
	if (any)
		*argv = kept;
	return any;
}

static bool cut_arguments(struct arena *arena, struct result_body *body)
{
	bool any = false;

	for (size_t i = 0; i < body->steps_len; i++)
		any |= cut_argv(arena, &body->steps[i].argv);
	return any;
}

static bool cut_findings(struct arena *arena, struct result_body *body)
{
	bool any = cut(&body->findings_len, FINDINGS_KEPT);

	(void)arena;
	for (size_t i = 0; i < body->findings_len; i++) {
		any = any || body->findings[i].snippet != NULL;
		body->findings[i].snippet = NULL;
	}
	return any;
}

/* Names and counts only. */
static bool keep_bare(struct arena *arena, struct result_body *body)
{
	(void)arena;
	for (size_t i = 0; i < body->steps_len; i++) {
		struct result_step *step = &body->steps[i];

		step->truncated_bytes +=
			(int64_t)step->stdout_bytes.len + (int64_t)step->stderr_bytes.len;
		step->stdout_bytes = step->stderr_bytes = (struct bytes){NULL, 0};
		step->argv.len = 0;
	}
	body->changes_truncated = body->changes_truncated || body->changes_len > 0;
	body->changes_len = body->artifacts_len = body->findings_len = 0;
	body->patch.files_len = body->patch.adjusted.len = 0;
	body->tests.cases_len = body->tests.conflicts.len = 0;
	return true;
}

static const struct {
	const char *message;
	bool (*drop)(struct arena *arena, struct result_body *body);
} parts[] = {
	{"the content of the artifacts was left out: the result is too large", drop_artifact_data},
	{"the messages of the tests were left out: the result is too large", drop_case_messages},
	{"the list of tests was cut: the result is too large", cut_cases},
	{"the output of the steps was cut: the result is too large", cut_output},
	{"the list of changes was cut: the result is too large", cut_changes},
	{"the list of the diff's files was cut: the result is too large", cut_files},
	{"the arguments of the steps were cut: the result is too large", cut_arguments},
	{"the list of findings was cut: the result is too large", cut_findings},
	{"everything but names and counts was left out: the result is too large", keep_bare},
};

/* --- packing ---------------------------------------------------------- */

static int tell(struct arena *arena, struct result_body *body, const char *message, struct err *err)
{
	struct result_finding *findings;
	size_t len = body->findings_len;

	findings = arena_array(arena, len + 1, sizeof(*findings));
	if (findings == NULL)
		return err_set(err, ERR_LIMIT, "cannot shorten a result: out of memory");
	findings[0] = (struct result_finding){
		.severity = SEVERITY_WARNING, .rule = "result.truncated", .message = message};
	if (len > 0)
		(void)memcpy(findings + 1, body->findings, len * sizeof(*findings));
	body->findings = findings;
	body->findings_len = len < LIMIT_FINDINGS ? len + 1 : LIMIT_FINDINGS;
	return 0;
}

static bool try_pack(const struct result_body *body, size_t limit_bytes, struct buf *out,
		     size_t *ret_pairs)
{
	struct arena arena;
	bool fits;

	arena_init(&arena, PACK_ARENA_BYTES);
	buf_clear(out);
	result_body_pack(&arena, body, out, ret_pairs);
	fits = !arena.exhausted && !out->failed && out->len <= limit_bytes;
	arena_release(&arena);
	return fits;
}

int body_pack(struct arena *arena, struct result_body *body, size_t limit_bytes, struct buf *out,
	      size_t *ret_pairs, struct err *err)
{
	assert(out->len == 0);
	if (try_pack(body, limit_bytes, out, ret_pairs))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (!parts[i].drop(arena, body))
			continue;
		if (tell(arena, body, parts[i].message, err) < 0)
			return -1;
		if (try_pack(body, limit_bytes, out, ret_pairs))
			return 0;
	}
	return err_set(err, ERR_LIMIT, "cannot make a result of at most %zu bytes", limit_bytes);
}
