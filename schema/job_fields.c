/*
 * job_fields.c - the fields of a job: the tables, the rules a text must keep,
 * and the rules between fields.
 *
 * In each table the fields that this version refuses come first, so that a
 * message that uses one is told so rather than that something else is missing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "schema/field_private.h"
#include "schema/limits.h"

/* --- rules of texts --------------------------------------------------- */

static bool is_printable(const char *text)
{
	for (const char *at = text; *at != '\0'; at++) {
		if ((uint8_t)*at < 0x20 || *at == 0x7f)
			return false;
	}
	return true;
}

static bool is_relative(const char *text)
{
	if (text[0] == '/')
		return false;
	for (const char *at = text; at != NULL; at = strchr(at, '/')) {
		at += *at == '/';
		if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
			return false;
	}
	return true;
}

static bool is_env_name(const char *text)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return !(text[0] >= '0' && text[0] <= '9') && text[strspn(text, allowed)] == '\0';
}

static const struct text_rule id_rule = {text_is_id, "1-64 characters of A-Za-z0-9._-"};
static const struct text_rule printable_rule = {is_printable, "free of control characters"};
static const struct text_rule path_rule = {is_relative, "a relative path without '..'"};
static const struct text_rule glob_rule = {is_relative, "a relative glob without '..'"};
static const struct text_rule env_rule = {is_env_name, "a name of A-Za-z0-9_ (no digit first)"};

/* --- rows ------------------------------------------------------------- */

#define FIELDS(table) .fields = (table), .len = ARRAY_LEN(table)

#define INT(type, member, low, high) \
	.kind = FIELD_INT, FIELD_AT(type, member, int64_t), .min = (low), .max = (high)
#define TEXT(type, member, low, high) \
	.kind = FIELD_TEXT, FIELD_AT(type, member, const char *), .min = (low), .max = (high)
#define GLOBS(type, member)                                                                \
	.kind = FIELD_TEXTS, FIELD_AT(type, member, struct text_list), .max = LIMIT_GLOBS, \
	.item_min = 1, .item_max = LIMIT_PATH_BYTES, .rule = &glob_rule
#define TEST_IDS(type, member)                                                                \
	.kind = FIELD_TEXTS, FIELD_AT(type, member, struct text_list), .max = LIMIT_TEST_IDS, \
	.item_min = 1, .item_max = LIMIT_TEXT_CHARS
#define MAP(type, member, ctype, table) \
	.kind = FIELD_MAP, FIELD_AT(type, member, ctype), .map = &(table)
#define UNBUILT(what) .kind = (what), .offset = FIELD_NOWHERE, .unbuilt = true

/* --- source ----------------------------------------------------------- */

static const struct field source_fields[] = {
	{"template", UNBUILT(FIELD_TEXT)},
	{"job", UNBUILT(FIELD_TEXT)},
	{"at", UNBUILT(FIELD_TEXT)},
	{"files", .kind = FIELD_FILES, FIELD_AT(struct job_source, files, struct file_list),
	 .min = 1, .max = LIMIT_FILES, .item_max = LIMIT_FILES_BYTES, .key_max = LIMIT_PATH_BYTES,
	 .key_rule = &path_rule},
	{"executable", .kind = FIELD_TEXTS,
	 FIELD_AT(struct job_source, executable, struct text_list), .max = LIMIT_FILES,
	 .item_min = 1, .item_max = LIMIT_PATH_BYTES, .rule = &path_rule},
	{"links", .kind = FIELD_PAIRS, FIELD_AT(struct job_source, links, struct pair_list),
	 .max = LIMIT_FILES, .item_min = 1, .item_max = LIMIT_PATH_BYTES,
	 .key_max = LIMIT_PATH_BYTES, .key_rule = &path_rule, .rule = &printable_rule},
	{"bundle", .kind = FIELD_BIN, FIELD_AT(struct job_source, bundle, struct bytes), .min = 1,
	 .max = LIMIT_FILES_BYTES},
	{"repo", TEXT(struct job_source, repo, 1, LIMIT_TEXT_CHARS), .rule = &printable_rule},
	{"commit", TEXT(struct job_source, commit, 1, LIMIT_PATH_BYTES), .rule = &printable_rule},
	{"subdir", TEXT(struct job_source, subdir, 1, LIMIT_PATH_BYTES), .rule = &path_rule},
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The paths of the files in order, so that many of them are looked up soon. */
static const char **sort_names(struct arena *arena, const struct file_list *files)
{
	const char **names = arena_array(arena, files->len, sizeof(*names));

	for (size_t i = 0; names != NULL && i < files->len; i++)
		names[i] = files->items[i].path;
	if (names != NULL)
		qsort(names, files->len, sizeof(*names), compare_names);
	return names;
}

static bool has_name(const char *const *names, size_t len, const char *name)
{
	return bsearch(&name, names, len, sizeof(*names), compare_names) != NULL;
}

static int check_names(struct decoder *decoder, const struct path *path,
		       const struct job_source *source)
{
	struct path executable = {path, "executable", 0};
	struct path links = {path, "links", PATH_NO_INDEX};
	const char **names = sort_names(decoder->arena, &source->files);

	if (names == NULL)
		return decoder_exhausted(decoder);
	for (; executable.index < source->executable.len; executable.index++) {
		const char *name = source->executable.items[executable.index];

		if (!has_name(names, source->files.len, name))
			return decoder_refuse(decoder, REASON_JOB_INVALID, &executable,
					      "'%.80s' is not among the files", name);
	}
	for (size_t i = 0; i < source->links.len; i++) {
		const char *name = source->links.items[i].key;

		if (has_name(names, source->files.len, name))
			return decoder_refuse(decoder, REASON_JOB_INVALID, &links,
					      "'%.80s' is among the files too", name);
	}
	return 0;
}

static int check_files(struct decoder *decoder, const struct path *path,
		       const struct job_source *source)
{
	struct path files = {path, "files", PATH_NO_INDEX};
	size_t bytes = 0;

	for (size_t i = 0; i < source->files.len; i++)
		bytes += source->files.items[i].content.len;
	if (bytes > LIMIT_FILES_BYTES)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &files,
				      "%zu bytes is above the maximum %u", bytes,
				      LIMIT_FILES_BYTES);
	return check_names(decoder, path, source);
}

static int check_source(struct decoder *decoder, const struct path *path, const void *at)
{
	const struct job_source *source = at;
	struct path repo = {path, "repo", PATH_NO_INDEX};
	struct path commit = {path, "commit", PATH_NO_INDEX};
	bool files = source->files.len > 0;
	bool bundle = source->bundle.len > 0;

	if (files && (bundle || source->repo != NULL || source->commit != NULL))
		return decoder_refuse(
			decoder, REASON_JOB_INVALID, path,
			"expected either 'files', or 'repo' or 'bundle' and 'commit', "
			"found both");
	if (bundle && source->repo != NULL)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "expected either 'repo' or 'bundle', found both");
	if (files)
		return check_files(decoder, path, source);
	if (source->executable.len > 0 || source->links.len > 0)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "'executable' and 'links' go with 'files', found none");
	if (source->repo == NULL && !bundle)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &repo,
				      "is missing; expected str, or 'bundle' or 'files'");
	if (source->commit == NULL)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &commit,
				      "is missing; expected str");
	return 0;
}

static const struct map source_map = {FIELDS(source_fields), sizeof(struct job_source),
				      .check = check_source};

/* --- patch and protection --------------------------------------------- */

static const char *const patch_modes[] = {"strict", "recover", NULL};

static const struct field patch_fields[] = {
	{"mode", TEXT(struct job_patch, mode, 0, 0), .choices = patch_modes,
	 .fallback_text = "strict"},
	{"diff", .kind = FIELD_BIN, FIELD_AT(struct job_patch, diff, struct bytes),
	 .required = true, .max = LIMIT_DIFF_BYTES},
	{"strip", INT(struct job_patch, strip, 0, LIMIT_STRIP), .fallback = 1},
};

static const struct map patch_map = {FIELDS(patch_fields), sizeof(struct job_patch),
				     .has_present = true};

static const struct field protect_fields[] = {
	{"paths", GLOBS(struct job_protect, paths)},
	{"allow", GLOBS(struct job_protect, allow)},
	{"restore", GLOBS(struct job_protect, restore)},
};

static const struct map protect_map = {FIELDS(protect_fields), sizeof(struct job_protect)};

/* --- steps and tests -------------------------------------------------- */

static const struct field step_fields[] = {
	{"name", TEXT(struct job_step, name, 1, LIMIT_NAME_CHARS), .rule = &printable_rule,
	 .numbered = "step-"},
	{"run", .kind = FIELD_TEXTS, FIELD_AT(struct job_step, run, struct text_list), .min = 1,
	 .max = LIMIT_ARGV, .item_max = LIMIT_ARGV_BYTES - 1},
	{"shell", TEXT(struct job_step, shell, 1, LIMIT_ARGV_BYTES - 1)},
	{"cwd", TEXT(struct job_step, cwd, 1, LIMIT_PATH_BYTES), .rule = &path_rule},
	{"env", .kind = FIELD_PAIRS, FIELD_AT(struct job_step, env, struct pair_list),
	 .max = LIMIT_ENV, .item_max = LIMIT_ENV_BYTES - 1, .key_rule = &env_rule},
	{"stdin", .kind = FIELD_BIN, FIELD_AT(struct job_step, stdin_bytes, struct bytes),
	 .max = LIMIT_STDIN_BYTES},
	{"timeout_ms", INT(struct job_step, timeout_ms, 1, LIMIT_TIME_MS)},
	{"expect_exit", INT(struct job_step, expect_exit, 0, 255)},
	{"always", .kind = FIELD_BOOL, FIELD_AT(struct job_step, always, bool)},
};

/* Bytes that a list takes as an argv, terminators counted. */
static size_t argv_bytes(const struct text_list *texts)
{
	size_t bytes = 0;

	for (size_t i = 0; i < texts->len; i++)
		bytes += strlen(texts->items[i]) + 1;
	return bytes;
}

static size_t env_bytes(const struct pair_list *pairs)
{
	size_t bytes = 0;

	for (size_t i = 0; i < pairs->len; i++)
		bytes += strlen(pairs->items[i].key) + strlen(pairs->items[i].value) + 2;
	return bytes;
}

static int check_step(struct decoder *decoder, const struct path *path, const void *at)
{
	const struct job_step *step = at;
	struct path run = {path, "run", PATH_NO_INDEX};
	struct path env = {path, "env", PATH_NO_INDEX};

	if ((step->run.len > 0) == (step->shell != NULL))
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "expected exactly one of 'run' and 'shell', found %s",
				      step->shell == NULL ? "none" : "both");
	if (step->run.len > 0 && step->run.items[0][0] == '\0') {
		run.index = 0;
		return decoder_refuse(decoder, REASON_JOB_INVALID, &run,
				      "is empty; expected a program");
	}
	if (argv_bytes(&step->run) > LIMIT_ARGV_BYTES)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &run,
				      "%zu bytes is above the maximum %u", argv_bytes(&step->run),
				      LIMIT_ARGV_BYTES);
	if (env_bytes(&step->env) > LIMIT_ENV_BYTES)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &env,
				      "%zu bytes is above the maximum %u", env_bytes(&step->env),
				      LIMIT_ENV_BYTES);
	return 0;
}

static const struct map step_map = {FIELDS(step_fields), sizeof(struct job_step),
				    .check = check_step};

static const char *const test_formats[] = {"auto", "junit", "tap", "exit", NULL};

static const struct field tests_fields[] = {
	{"retries", UNBUILT(FIELD_INT)},
	{"format", TEXT(struct job_tests, format, 0, 0), .choices = test_formats,
	 .fallback_text = "auto"},
	{"report", GLOBS(struct job_tests, report)},
	{"fail_to_pass", TEST_IDS(struct job_tests, fail_to_pass)},
	{"pass_to_pass", TEST_IDS(struct job_tests, pass_to_pass)},
};

static const struct map tests_map = {FIELDS(tests_fields), sizeof(struct job_tests),
				     .has_present = true};

/* --- limits, network, artifacts --------------------------------------- */

static const struct field limits_fields[] = {
	{"preset", TEXT(struct job_limits, preset, 1, LIMIT_ID_CHARS), .rule = &id_rule,
	 .fallback_text = "default"},
	{"wall_ms", INT(struct job_limits, wall_ms, 1, LIMIT_TIME_MS)},
	{"cpu_ms", INT(struct job_limits, cpu_ms, 1, LIMIT_TIME_MS)},
	{"idle_ms", INT(struct job_limits, idle_ms, 1, LIMIT_TIME_MS)},
	{"memory_bytes", INT(struct job_limits, memory_bytes, 1, LIMIT_SIZE_BYTES)},
	{"disk_bytes", INT(struct job_limits, disk_bytes, 1, LIMIT_SIZE_BYTES)},
	{"inodes", INT(struct job_limits, inodes, 1, LIMIT_COUNT)},
	{"processes", INT(struct job_limits, processes, 1, LIMIT_COUNT)},
	{"open_files", INT(struct job_limits, open_files, 1, LIMIT_COUNT)},
	{"file_bytes", INT(struct job_limits, file_bytes, 1, LIMIT_SIZE_BYTES)},
	{"output_bytes", INT(struct job_limits, output_bytes, 1, LIMIT_SIZE_BYTES)},
	{"cpus", .kind = FIELD_MILLI, FIELD_AT(struct job_limits, millicpus, int64_t), .min = 1,
	 .max = LIMIT_CPUS * 1000},
};

static const struct map limits_map = {FIELDS(limits_fields), sizeof(struct job_limits)};

static const char *const network_policies[] = {"none", "limited", "internet", NULL};

static const struct field network_fields[] = {
	{"policy", .kind = FIELD_TEXT, .offset = FIELD_NOWHERE, .choices = network_policies,
	 .built = 1, .open = true},
	{"allow", UNBUILT(FIELD_TEXTS)},
};

static const struct map network_map = {FIELDS(network_fields)};

static const struct field sandbox_fields[] = {
	{"root", TEXT(struct job_sandbox, root, 1, LIMIT_NAME_CHARS), .rule = &printable_rule},
};

static const struct map sandbox_map = {FIELDS(sandbox_fields), sizeof(struct job_sandbox)};

static const struct field artifacts_fields[] = {
	{"tree", UNBUILT(FIELD_BOOL)},
	{"paths", GLOBS(struct job_artifacts, paths)},
	{"max_bytes", INT(struct job_artifacts, max_bytes, 1, LIMIT_SIZE_BYTES)},
};

static const struct map artifacts_map = {FIELDS(artifacts_fields), sizeof(struct job_artifacts)};

/* --- the job ---------------------------------------------------------- */

static const char *const securities[] = {[SECURITY_AUTO] = "auto",
					 [SECURITY_SANDBOXED] = "sandboxed",
					 [SECURITY_TRUSTED] = "trusted",
					 [SECURITY_ISOLATED] = "isolated",
					 NULL};
static const char *const endings[] = {"rollback", "keep", NULL};
static const char *const priorities[] = {
	[PRIORITY_NORMAL] = "normal", [PRIORITY_HIGH] = "high", [PRIORITY_LOW] = "low", NULL};
static const char *const caches[] = {"off", "use", "refresh", NULL};

static const struct field job_fields[] = {
	{"v", .kind = FIELD_VERSION, .offset = FIELD_NOWHERE, .required = true, .min = JOB_VERSION,
	 .max = JOB_VERSION},
	{"id", TEXT(struct job, id, 1, LIMIT_ID_CHARS), .required = true, .rule = &id_rule},
	{"code", UNBUILT(FIELD_MAP)},
	{"cost", UNBUILT(FIELD_MAP)},
	{"cache", .kind = FIELD_TEXT, .offset = FIELD_NOWHERE, .choices = caches, .built = 1},
	{"security", .kind = FIELD_CHOICE, FIELD_AT(struct job, security, enum job_security),
	 .choices = securities},
	{"network", .kind = FIELD_MAP, .offset = FIELD_NOWHERE, .map = &network_map},
	{"tenant", TEXT(struct job, tenant, 1, LIMIT_NAME_CHARS), .rule = &printable_rule,
	 .fallback_text = "default"},
	{"stage", TEXT(struct job, stage, 1, LIMIT_NAME_CHARS), .rule = &printable_rule},
	{"labels", .kind = FIELD_PAIRS, FIELD_AT(struct job, labels, struct pair_list),
	 .max = LIMIT_LABELS, .item_max = LIMIT_TEXT_CHARS, .key_rule = &printable_rule},
	{"source", MAP(struct job, source, struct job_source, source_map)},
	{"patch", MAP(struct job, patch, struct job_patch, patch_map)},
	{"protect", MAP(struct job, protect, struct job_protect, protect_map)},
	{"steps", .kind = FIELD_MAPS, FIELD_LIST_AT(struct job, steps, struct job_step *),
	 .max = LIMIT_STEPS, .map = &step_map},
	{"tests", MAP(struct job, tests, struct job_tests, tests_map)},
	{"limits", MAP(struct job, limits, struct job_limits, limits_map)},
	{"sandbox", MAP(struct job, sandbox, struct job_sandbox, sandbox_map)},
	{"artifacts", MAP(struct job, artifacts, struct job_artifacts, artifacts_map)},
	{"on_failure", .kind = FIELD_FLAG, FIELD_AT(struct job, keep_on_failure, bool),
	 .choices = endings},
	{"deadline_ms", INT(struct job, deadline_ms, 1, LIMIT_DEADLINE_MS)},
	{"priority", .kind = FIELD_CHOICE, FIELD_AT(struct job, priority, enum job_priority),
	 .choices = priorities},
	{"concurrency_key", TEXT(struct job, concurrency_key, 1, LIMIT_NAME_CHARS),
	 .rule = &printable_rule},
	{"max_attempts", INT(struct job, max_attempts, 1, LIMIT_ATTEMPTS), .fallback = 5},
	{"run", INT(struct job, run, 1, LIMIT_RUN), .fallback = 1},
	{"replayed_from", TEXT(struct job, replayed_from, 1, LIMIT_NAME_CHARS),
	 .rule = &printable_rule},
	{"traceparent", TEXT(struct job, traceparent, 1, LIMIT_NAME_CHARS),
	 .rule = &printable_rule},
};

bool job_has_source(const struct job *job)
{
	return job->source.repo != NULL || job->source.bundle.len > 0 || job->source.files.len > 0;
}

/* A job without source, patch and steps is legal: it shows that the road from
 * producer to worker and back is open. */
static int check_job(struct decoder *decoder, const struct path *path, const void *at)
{
	const struct job *job = at;
	struct path source = {path, "source", PATH_NO_INDEX};
	struct path tests = {path, "tests", PATH_NO_INDEX};

	if (!job_has_source(job) && (job->patch.present || job->steps_len > 0))
		return decoder_refuse(decoder, REASON_JOB_INVALID, &source,
				      "is missing; a job with %s needs one",
				      job->patch.present ? "a patch" : "steps");
	if (job->tests.present && job->steps_len == 0)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &tests,
				      "expected steps that run them, found none");
	return 0;
}

const struct map job_map = {FIELDS(job_fields), sizeof(struct job), .check = check_job};

const char *job_priority_name(enum job_priority priority)
{
	return priorities[priority];
}
