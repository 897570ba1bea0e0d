/*
 * config_file.c - the gateway to inih: INI text and environment become calls
 * of config_assign.
 *
 * inih tells a handler section, key and value but no line, and hands the
 * lines of a multi-line value over one at a time under the same key. The
 * reader below gives it the lines, so it knows which one is being handled.
 * inih keeps its settings in global variables; they are set before each use.
 * Inline comments are off, for a pattern or a path may contain " ;".
 */
#include <assert.h>
#include <ctype.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "worker/config_private.h"

/* The longest line: a value, its key and the blanks around both. */
enum { LINE_BYTES = CONFIG_VALUE_BYTES + 256, KEYS_MAX = 128 };

struct reading {
	struct config *config;
	const char *origin;
	const struct config_sink *sink; /* NULL: only the first problem is kept */
	struct err *err;		/* of the first problem */
	const char *at;
	int line;
	int first_bad_line; /* 0: none */
	bool seen[KEYS_MAX];
};

/* --- problems --------------------------------------------------------- */

static void report(struct reading *reading, int line, const struct err *why)
{
	struct err err = *why;

	(void)err_prefix(&err, "'%.200s' line %d", reading->origin, line);
	if (reading->first_bad_line == 0) {
		reading->first_bad_line = line;
		if (reading->err != NULL)
			*reading->err = err;
	}
	if (reading->sink != NULL)
		reading->sink->found(reading->sink->ctx, err.message);
}

/* --- INI -------------------------------------------------------------- */

/* As fgets(3), from the text. */
static char *next_line(char *into, int size, void *ctx)
{
	struct reading *reading = ctx;
	const char *end = strchr(reading->at, '\n');
	size_t len = end == NULL ? strlen(reading->at) : (size_t)(end + 1 - reading->at);

	if (len == 0)
		return NULL;
	reading->line++;
	if (len >= (size_t)size) {
		struct err err;

		(void)err_set(&err, ERR_LIMIT, "longer than %d bytes", LINE_BYTES);
		report(reading, reading->line, &err);
		reading->at += len;
		(void)snprintf(into, (size_t)size, "\n");
		return into;
	}
	(void)memcpy(into, reading->at, len);
	into[len] = '\0';
	reading->at += len;
	return into;
}

static int handle(void *ctx, const char *section, const char *name, const char *value)
{
	struct reading *reading = ctx;
	struct err err = {0};
	const struct config_key *key = config_find(section, name, &err);
	size_t index;

	if (key == NULL) {
		report(reading, reading->line, &err);
		return 0;
	}
	index = (size_t)(key - config_keys);
	if (reading->seen[index] && !config_is_list(key)) {
		(void)err_set(&err, ERR_INPUT,
			      "%s.%s is given a second time, or its value is continued "
			      "on a second line",
			      section, name);
		report(reading, reading->line, &err);
		return 0;
	}
	if (config_assign(reading->config, key, value, reading->seen[index], &err) < 0) {
		report(reading, reading->line, &err);
		return 0;
	}
	reading->seen[index] = true;
	return 1;
}

/* inih itself only says which line is wrong first. */
static void check_syntax(struct reading *reading, int line)
{
	struct err err;

	if (line <= 0 || (reading->first_bad_line != 0 && reading->first_bad_line <= line))
		return;
	reading->first_bad_line = 0;
	(void)err_set(&err, ERR_INPUT, "expected '[section]', 'key = value' or a comment");
	report(reading, line, &err);
}

static int read_text(struct config *config, const char *text, const char *origin,
		     const struct config_sink *sink, struct err *err)
{
	struct reading reading = {
		.config = config, .origin = origin, .sink = sink, .err = err, .at = text};
	int rc;

	assert(config_keys_len <= KEYS_MAX);
	ini_use_stack = false;
	ini_max_line = LINE_BYTES + 3;
	ini_initial_alloc = LINE_BYTES + 3;
	ini_allow_inline_comments = false;
	ini_allow_multiline = true;
	ini_allow_no_value = false;
	ini_stop_on_first_error = false;
	rc = ini_parse_stream(next_line, &reading, handle, &reading);
	if (rc < 0 || config->arena->exhausted)
		return err_set(err, ERR_LIMIT, "cannot read '%.200s': out of memory", origin);
	check_syntax(&reading, rc);
	return reading.first_bad_line == 0 ? 0 : -1;
}

int config_read_text(struct config *config, const char *text, const char *origin, struct err *err)
{
	return read_text(config, text, origin, NULL, err);
}

static int slurp(const char *path, struct buf *content, struct err *err)
{
	buf_init(content, CONFIG_FILE_BYTES);
	if (fd_read_file(path, CONFIG_FILE_BYTES, content, err) < 0)
		return err_prefix(err, "cannot read the configuration");
	if (content->len > 0 && memchr(content->data, 0, content->len) != NULL)
		return err_set(err, ERR_INPUT, "'%.200s' holds a NUL byte: it is no text", path);
	return 0;
}

int config_read_file(struct config *config, const char *path, struct err *err)
{
	CLEANUP(buf_release) struct buf content;

	if (slurp(path, &content, err) < 0)
		return -1;
	return read_text(config, buf_text(&content), path, NULL, err);
}

/* --- environment ------------------------------------------------------ */

/* Variables of other programs and of the tests. An ending '*' stands for any
 * rest. */
static const char *const foreign[] = {"SBX_CONFIG", "SBX_TEST_*", "SBX_BENCH_*", "SBX_DEMO_*"};

static bool is_foreign(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
		size_t n = strlen(foreign[i]);

		if (foreign[i][n - 1] == '*' ? len >= n - 1 && memcmp(name, foreign[i], n - 1) == 0
					     : len == n && memcmp(name, foreign[i], n) == 0)
			return true;
	}
	return false;
}

static void variable_name(const struct config_key *key, char *ret, size_t size)
{
	(void)snprintf(ret, size, "SBX_%s_%s", key->section, key->name);
	for (char *at = ret; *at != '\0'; at++)
		*at = (char)toupper((unsigned char)*at);
}

static int unknown_variable(const char *name, struct err *err)
{
	char near[128] = "";
	size_t near_edits = 4;

	for (size_t i = 0; i < config_keys_len; i++) {
		char known[128];
		size_t edits;

		variable_name(&config_keys[i], known, sizeof(known));
		edits = text_distance(name, known);
		if (edits < near_edits) {
			near_edits = edits;
			(void)snprintf(near, sizeof(near), "%s", known);
		}
	}
	if (*near == '\0')
		return err_set(err, ERR_INPUT, "unknown environment variable %s", name);
	return err_set(err, ERR_INPUT, "unknown environment variable %s; did you mean %s?", name,
		       near);
}

static int read_variable(struct config *config, const char *entry, struct err *err)
{
	size_t len = strcspn(entry, "=");
	char name[128];

	if (strncmp(entry, "SBX_", 4) != 0 || is_foreign(entry, len))
		return 0;
	if (len >= sizeof(name) || entry[len] != '=')
		return err_set(err, ERR_INPUT, "unknown environment variable %.64s...", entry);
	(void)snprintf(name, sizeof(name), "%.*s", (int)len, entry);
	for (size_t i = 0; i < config_keys_len; i++) {
		char known[128];

		variable_name(&config_keys[i], known, sizeof(known));
		if (strcmp(known, name) != 0)
			continue;
		if (config_assign(config, &config_keys[i], entry + len + 1, false, err) < 0)
			return err_prefix(err, "environment variable %s", name);
		return 0;
	}
	return unknown_variable(name, err);
}

int config_read_env(struct config *config, char *const *env, struct err *err)
{
	for (size_t i = 0; env[i] != NULL; i++) {
		if (read_variable(config, env[i], err) < 0)
			return -1;
	}
	return 0;
}

/* --- everything, for check -------------------------------------------- */

static void load_file(struct config *config, const char *path, const struct config_sink *sink)
{
	CLEANUP(buf_release) struct buf content;
	struct err problem = {0};

	if (slurp(path, &content, &problem) < 0)
		sink->found(sink->ctx, problem.message);
	else /* which tells the sink by itself */
		(void)read_text(config, buf_text(&content), path, sink, NULL);
}

static int load_set(struct config *config, const char *set, struct err *err)
{
	const char *equals = strchr(set, '=');
	char key[64];

	if (equals == NULL || (size_t)(equals - set) >= sizeof(key))
		return err_set(err, ERR_INPUT, "'%.*s' is no setting; expected section.name=value",
			       (int)strcspn(set, "="), set);
	(void)snprintf(key, sizeof(key), "%.*s", (int)(equals - set), set);
	return config_set(config, key, equals + 1, err);
}

int config_load(struct config *config, const struct config_origins *origins,
		const struct config_sink *sink, struct err *err)
{
	struct err problem = {0};

	if (origins->path != NULL)
		load_file(config, origins->path, sink);
	for (size_t i = 0; origins->env != NULL && origins->env[i] != NULL; i++) {
		if (read_variable(config, origins->env[i], &problem) < 0)
			sink->found(sink->ctx, problem.message);
	}
	for (size_t i = 0; i < origins->sets_len; i++) {
		if (load_set(config, origins->sets[i], &problem) < 0)
			sink->found(sink->ctx, problem.message);
	}
	if (config_derive(config, &problem) < 0)
		sink->found(sink->ctx, problem.message);
	config_misfits(config, sink);
	if (config->arena->exhausted)
		return err_set(err, ERR_LIMIT, "cannot read the configuration: out of memory");
	return 0;
}
