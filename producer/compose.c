/*
 * compose.c - each option writes one place of the tree; the table says which.
 * Only what the order of options must not matter for waits until the end: the
 * patch, whose file is read once, and the environment, which goes to steps
 * that may come after it on the line.
 */
#include "producer/compose.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "producer/tree.h"
#include "producer/words.h"
#include "schema/job_directory.h"
#include "schema/limits.h"

/* --- single fields ---------------------------------------------------- */

static struct compose *composing(void *ctx)
{
	struct compose *compose = ctx;

	compose->touched = true;
	return compose;
}

static int check_text(const char *value, struct err *err)
{
	if (!text_is_utf8(value, strlen(value)))
		return err_set(err, ERR_INPUT, "the value is not UTF-8");
	return 0;
}

static int put_text(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);

	if (check_text(value, err) < 0)
		return -1;
	return tree_put(c->arena, c->tree, row->path, value_str(c->arena, value), err);
}

static int put_int(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);
	int64_t parsed;

	if (!text_parse_int(value, &parsed))
		return err_set(err, ERR_INPUT, "'%s' is no whole number", value);
	return tree_put(c->arena, c->tree, row->path, value_int(c->arena, parsed), err);
}

static int put_size(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);
	int64_t parsed;

	if (!text_parse_size(value, &parsed))
		return err_set(err, ERR_INPUT, "'%s' is no size such as 512m, 2g or 65536", value);
	return tree_put(c->arena, c->tree, row->path, value_int(c->arena, parsed), err);
}

static int parse_duration(const char *value, int64_t *ret_ms, struct err *err)
{
	if (!text_parse_duration_ms(value, ret_ms))
		return err_set(err, ERR_INPUT, "'%s' is no duration such as 90s, 5m or 1500ms",
			       value);
	return 0;
}

static int put_duration(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);
	int64_t ms;

	if (parse_duration(value, &ms, err) < 0)
		return -1;
	return tree_put(c->arena, c->tree, row->path, value_int(c->arena, ms), err);
}

/* The wire has a time, people have a while from now. */
static int put_deadline(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);
	int64_t now_ms = clock_wall_us() / 1000;
	int64_t ms;

	if (parse_duration(value, &ms, err) < 0)
		return -1;
	if (ms < 1 || ms > LIMIT_DEADLINE_MS - now_ms)
		return err_set(err, ERR_INPUT, "'%s' from now is no time that a job can have",
			       value);
	return tree_put(c->arena, c->tree, row->path, value_int(c->arena, now_ms + ms), err);
}

static int put_cpus(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);
	char *end;
	double cpus;

	if (*value < '0' || *value > '9')
		return err_set(err, ERR_INPUT, "'%s' is no number of CPUs such as 2 or 0.5", value);
	cpus = strtod(value, &end);
	if (*end != '\0' || !(cpus > 0 && cpus <= LIMIT_CPUS))
		return err_set(err, ERR_INPUT, "'%s' is no number of CPUs such as 2 or 0.5", value);
	return tree_put(c->arena, c->tree, row->path, tree_real(c->arena, cpus), err);
}

/* A repository that is a directory here is named by its absolute path. */
static int put_repo(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = ctx;
	struct stat st;
	char *absolute;
	const char *copy;

	c->repo_given = true;
	if (value[0] == '/' || strstr(value, "://") != NULL || stat(value, &st) < 0 ||
	    !S_ISDIR(st.st_mode))
		return put_text(ctx, row, value, err);
	absolute = realpath(value, NULL);
	if (absolute == NULL)
		return err_sys(err, "cannot resolve '%s'", value);
	copy = arena_strdup(c->arena, absolute);
	free(absolute);
	return put_text(ctx, row, copy != NULL ? copy : "", err);
}

/* --- fields that grow ------------------------------------------------- */

static int append_text(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);

	if (check_text(value, err) < 0)
		return -1;
	return tree_append(c->arena, c->tree, row->path, value_str(c->arena, value), err);
}

static int put_pair(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);

	if (check_text(value, err) < 0)
		return -1;
	return tree_put_pair(c->arena, c->tree, row->path, value, err);
}

static int put_env(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);

	if (check_text(value, err) < 0)
		return -1;
	return tree_put_pair(c->arena, c->env, row->path, value, err);
}

/* Files are read at the end, so only where they are is kept here. */
static int keep_path(const char *value, const char **ret_path, struct err *err)
{
	if (*value == '\0')
		return err_set(err, ERR_INPUT, "the value is empty");
	*ret_path = value;
	return 0;
}

static int put_patch(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	(void)row;
	return keep_path(value, &composing(ctx)->patch_path, err);
}

static int put_files(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	(void)row;
	return keep_path(value, &composing(ctx)->files_path, err);
}

static int put_bundle(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	(void)row;
	return keep_path(value, &composing(ctx)->bundle_path, err);
}

/* --- steps ------------------------------------------------------------ */

static int append_step(struct compose *c, const char *name, const char *key, struct value *command,
		       struct err *err)
{
	struct value *step = value_map(c->arena);

	if (step == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (name != NULL)
		value_put(c->arena, step, "name", value_str(c->arena, name));
	value_put(c->arena, step, key, command);
	return tree_append(c->arena, c->tree, "steps", step, err);
}

static int append_run(struct compose *c, const char *name, const char *line, struct err *err)
{
	struct value *argv = value_list(c->arena);
	struct text_list words;

	if (check_text(line, err) < 0 || words_split(c->arena, line, &words, err) < 0)
		return -1;
	for (size_t i = 0; i < words.len; i++)
		value_append(c->arena, argv, value_str(c->arena, words.items[i]));
	return append_step(c, name, "run", argv, err);
}

static int put_run(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	(void)row;
	return append_run(composing(ctx), NULL, value, err);
}

static int put_shell(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);

	(void)row;
	if (check_text(value, err) < 0)
		return -1;
	return append_step(c, NULL, "shell", value_str(c->arena, value), err);
}

static int put_step(void *ctx, const struct option_row *row, const char *value, struct err *err)
{
	struct compose *c = composing(ctx);
	const char *equals = strchr(value, '=');
	char *name;

	(void)row;
	if (equals == NULL || equals == value)
		return err_set(err, ERR_INPUT, "'%s' is not NAME=COMMAND", value);
	name = arena_memdup(c->arena, value, (size_t)(equals - value));
	if (name == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	return append_run(c, name, equals + 1, err);
}

/* --- the table -------------------------------------------------------- */

static const struct option_row what_rows[] = {
	{"repo", "URL|DIR", "repository of the base", put_repo, .path = "source.repo"},
	{"commit", "COMMIT", "base: oid, branch or tag", put_text, .path = "source.commit"},
	{"files", "DIR", "all files below DIR but .git as the base, sent with the job", put_files,
	 .path = NULL},
	{"bundle", "FILE", "a bundle of git that holds the base, sent with the job", put_bundle,
	 .path = NULL},
	{"subdir", "DIR", "where in it the steps start", put_text, .path = "source.subdir"},
	{"patch", "FILE", "diff to apply; '-' reads standard input", put_patch, .path = NULL},
	{"strip", "N", "leading components to drop from its paths (1)", put_int,
	 .path = "patch.strip"},
	{"mode", "MODE", "how the diff is read: strict or recover", put_text, .path = "patch.mode"},
	{"protect", "GLOB", "files that the diff must not touch", append_text,
	 .path = "protect.paths"},
	{"allow", "GLOB", "lift the worker's protection where it permits that", append_text,
	 .path = "protect.allow"},
	{"restore", "GLOB", "files taken back from the base before the steps", append_text,
	 .path = "protect.restore"},
};

static const struct option_row step_rows[] = {
	{"run", "COMMAND", "a step: words as in a shell, run without one", put_run, .path = NULL},
	{"step", "NAME=COMMAND", "the same with a name", put_step, .path = NULL},
	{"shell", "TEXT", "a step: a script for /bin/sh", put_shell, .path = NULL},
	{"env", "K=V", "a variable for every step", put_env, .path = "env"},
	{"format", "NAME", "test report: auto, junit, tap, exit", put_text, .path = "tests.format"},
	{"report", "GLOB", "test reports to read", append_text, .path = "tests.report"},
	{"fail-to-pass", "ID", "a test that must pass now", append_text,
	 .path = "tests.fail_to_pass"},
	{"pass-to-pass", "ID", "a test that must pass still", append_text,
	 .path = "tests.pass_to_pass"},
	{"root", "NAME", "root directory of the steps, as the workers name it", put_text,
	 .path = "sandbox.root"},
	{"security", "MODE", "auto, trusted, sandboxed or isolated", put_text, .path = "security"},
	{"artifact", "GLOB", "files to send back", append_text, .path = "artifacts.paths"},
	{"on-failure", "WHAT", "rollback (default) or keep", put_text, .path = "on_failure"},
};

static const struct option_row limit_rows[] = {
	{"preset", "NAME", "a set of limits: default, light, heavy, browser, ...", put_text,
	 .path = "limits.preset"},
	{"wall", "DURATION", "time for all steps together", put_duration, .path = "limits.wall_ms"},
	{"cpu", "DURATION", "CPU time", put_duration, .path = "limits.cpu_ms"},
	{"idle", "DURATION", "time without any output", put_duration, .path = "limits.idle_ms"},
	{"memory", "SIZE", "memory", put_size, .path = "limits.memory_bytes"},
	{"disk", "SIZE", "what the steps may write", put_size, .path = "limits.disk_bytes"},
	{"inodes", "N", "files the steps may make", put_int, .path = "limits.inodes"},
	{"processes", "N", "processes and threads", put_int, .path = "limits.processes"},
	{"open-files", "N", "descriptors of a process", put_int, .path = "limits.open_files"},
	{"file-size", "SIZE", "size of a single file", put_size, .path = "limits.file_bytes"},
	{"output", "SIZE", "what the steps may print", put_size, .path = "limits.output_bytes"},
	{"cpus", "N", "CPUs at a time, such as 1.5", put_cpus, .path = "limits.cpus"},
};

static const struct option_row about_rows[] = {
	{"id", "ID", "key of idempotency (a fresh UUID)", put_text, .path = "id"},
	{"tenant", "NAME", "on whose behalf (default)", put_text, .path = "tenant"},
	{"stage", "NAME", "stage of the pipeline", put_text, .path = "stage"},
	{"label", "K=V", "carried into the result", put_pair, .path = "labels"},
	{"priority", "P", "high, normal or low", put_text, .path = "priority"},
	{"deadline", "DURATION", "from now; not run when it has passed", put_deadline,
	 .path = "deadline_ms"},
	{"concurrency-key", "KEY", "jobs with the same one do not run side by side", put_text,
	 .path = "concurrency_key"},
	{"max-attempts", "N", "before a fault gives the job up (5)", put_int,
	 .path = "max_attempts"},
	{"traceparent", "TEXT", "W3C trace context, handed on", put_text, .path = "traceparent"},
};

void compose_options(struct compose *compose, struct option_group ret_groups[COMPOSE_GROUPS])
{
	const struct option_group groups[COMPOSE_GROUPS] = {
		{"What to run on", what_rows, ARRAY_LEN(what_rows), compose},
		{"What to run", step_rows, ARRAY_LEN(step_rows), compose},
		{"Limits of the job", limit_rows, ARRAY_LEN(limit_rows), compose},
		{"About the job", about_rows, ARRAY_LEN(about_rows), compose},
	};

	memcpy(ret_groups, groups, sizeof(groups));
}

/* --- beginning and end ------------------------------------------------ */

bool compose_init(struct compose *compose, struct arena *arena, struct value *tree)
{
	*compose = (struct compose){
		.arena = arena,
		.tree = tree != NULL ? tree : value_map(arena),
		.env = value_map(arena),
	};
	if (compose->tree == NULL || compose->env == NULL)
		return false;
	if (tree == NULL) {
		/* In front of the rest, where a reader looks for them;
		 * job_prepare fills in what is nil. */
		value_put(arena, compose->tree, "v", value_int(arena, JOB_VERSION));
		value_put(arena, compose->tree, "id", value_str(arena, NULL));
	}
	return !arena->exhausted;
}

/* What was read, in the job's own memory; NULL when that is used up. */
static struct value *bin_copy(struct arena *arena, const struct buf *buf)
{
	const char *copy =
		arena_memdup(arena, buf->data != NULL ? buf->data : (const uint8_t *)"", buf->len);

	if (copy == NULL)
		return NULL;
	return value_bin(arena, (struct bytes){(const uint8_t *)copy, buf->len});
}

static int read_patch(struct compose *c, struct err *err)
{
	CLEANUP(buf_release) struct buf diff = {0};
	struct value *copy;
	int rc;

	buf_init(&diff, LIMIT_DIFF_BYTES);
	if (strcmp(c->patch_path, "-") == 0)
		rc = fd_read_all(STDIN_FILENO, &diff, err);
	else
		rc = fd_read_file(c->patch_path, LIMIT_DIFF_BYTES, &diff, err);
	if (rc < 0)
		return err_prefix(err, "--patch");
	copy = bin_copy(c->arena, &diff);
	if (copy == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	return tree_put(c->arena, c->tree, "patch.diff", copy, err);
}

/* What takes the place of a repository that the file of the job names; `key` is
 * all that stays of the old source beside subdir, or NULL. */
static struct value *replace_source(struct compose *c, const char *key)
{
	struct value *old = tree_item(c->tree, "source");
	const char *const kept[] = {"subdir", key};
	struct value *source = value_map(c->arena);

	for (size_t i = 0; source != NULL && i < ARRAY_LEN(kept); i++) {
		struct value *item = kept[i] == NULL ? NULL : tree_item(old, kept[i]);

		if (item != NULL)
			value_put(c->arena, source, kept[i], item);
	}
	return source;
}

static int read_files(struct compose *c, struct err *err)
{
	struct value *source = replace_source(c, NULL);

	if (c->repo_given)
		return err_set(err, ERR_INPUT, "--files and --repo: only one can be the base");
	if (source == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (job_source_directory(c->arena, c->files_path, source, err) < 0)
		return err_prefix(err, "--files");
	return tree_put(c->arena, c->tree, "source", source, err);
}

static int read_bundle(struct compose *c, struct err *err)
{
	struct value *source = replace_source(c, "commit");
	CLEANUP(buf_release) struct buf bundle = {0};
	struct value *copy;

	if (c->repo_given || c->files_path != NULL)
		return err_set(err, ERR_INPUT, "--bundle and %s: only one can be the base",
			       c->repo_given ? "--repo" : "--files");
	if (fd_read_file(c->bundle_path, LIMIT_FILES_BYTES, &bundle, err) < 0)
		return err_prefix(err, "--bundle");
	copy = bin_copy(c->arena, &bundle);
	if (copy == NULL || source == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	value_put(c->arena, source, "bundle", copy);
	return tree_put(c->arena, c->tree, "source", source, err);
}

/* What the line says goes before what a file says about one step. */
static int spread_env(struct compose *c, struct err *err)
{
	struct value *env = tree_item(c->env, "env");
	struct value *steps = tree_item(c->tree, "steps");

	if (env == NULL)
		return 0;
	if (steps == NULL || steps->kind != VALUE_LIST || steps->list.len == 0)
		return err_set(err, ERR_INPUT, "--env needs a step; add --run, --step or --shell");
	for (size_t i = 0; i < steps->list.len; i++) {
		struct value *own;

		if (tree_enter(c->arena, steps->list.items[i], "env", VALUE_MAP, &own, err) < 0)
			return -1;
		for (size_t k = 0; k < env->map.len; k++) {
			const char *key =
				arena_memdup(c->arena, env->map.keys[k].data, env->map.keys[k].len);

			if (key != NULL)
				value_put(c->arena, own, key, env->map.items[k]);
		}
	}
	return 0;
}

int compose_finish(struct compose *compose, struct err *err)
{
	if (compose->patch_path != NULL && read_patch(compose, err) < 0)
		return -1;
	if (compose->files_path != NULL && read_files(compose, err) < 0)
		return -1;
	if (compose->bundle_path != NULL && read_bundle(compose, err) < 0)
		return -1;
	if (spread_env(compose, err) < 0)
		return -1;
	if (compose->arena->exhausted)
		return err_set(err, ERR_LIMIT,
			       "the job is too large: more than %zu bytes of memory",
			       compose->arena->limit_bytes);
	return 0;
}
