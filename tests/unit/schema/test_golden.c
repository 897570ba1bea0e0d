/*
 * test_golden.c - the vectors of tests/golden, which another language wrote:
 * JSON gives exactly the msgpack, msgpack gives exactly the JSON. Runs from
 * the top of the tree.
 */
#include "kit.h"

#include <dirent.h>

#include "base/fd.h"
#include "schema/job.h"
#include "schema/result.h"

#define GOLDEN "tests/golden/"

static void read_file(struct arena *arena, const char *stem, const char *suffix, struct buf *out)
{
	const char *path = arena_printf(arena, GOLDEN "%s%s", stem, suffix);
	struct err err = {0};

	buf_init(out, LIMIT_JSON_BYTES);
	if (fd_read_file(path, LIMIT_JSON_BYTES, out, &err) < 0)
		fail_msg("%s (run from the top of the tree)", err.message);
}

static void assert_same(const struct buf *a, const struct buf *b, const char *what)
{
	if (a->len != b->len || memcmp(a->data, b->data, a->len) != 0)
		fail_msg("%s: %zu bytes here, %zu bytes in the file", what, a->len, b->len);
}

static int prepare(struct arena *arena, const char *stem, struct value *tree, struct buf *out,
		   struct reason *reason)
{
	struct text_list unknown;

	if (strncmp(stem, "result-", 7) == 0)
		return result_prepare(arena, tree, out, reason, NULL);
	return job_prepare(arena, tree, out, &unknown, reason, NULL);
}

static void check(const char *stem)
{
	struct arena arena;
	struct reason reason = {0};
	struct value *tree;
	struct buf json;
	struct buf message;
	struct buf out;

	kit_arena(&arena);
	read_file(&arena, stem, ".json", &json);
	read_file(&arena, stem, ".msgpack", &message);
	buf_init(&out, LIMIT_JSON_BYTES);

	assert_int_equal(value_from_json(&arena, buf_text(&json), json.len, &tree, NULL), 0);
	if (prepare(&arena, stem, tree, &out, &reason) != 0)
		fail_msg("%s: %s", stem, reason.message);
	assert_same(&out, &message, stem);

	assert_int_equal(value_unpack(&arena, message.data, message.len, &tree, NULL), 0);
	buf_clear(&out);
	value_pack(tree, &out);
	assert_same(&out, &message, stem);
	buf_clear(&out);
	value_to_json(tree, 2, &out);
	buf_add_text(&out, "\n");
	assert_same(&out, &json, stem);

	buf_release(&out);
	buf_release(&message);
	buf_release(&json);
	arena_release(&arena);
}

static void every_vector_is_reproduced(void **state)
{
	DIR *dir = opendir(GOLDEN);
	const struct dirent *entry;
	size_t jobs = 0;
	size_t results = 0;

	(void)state;
	if (dir == NULL)
		fail_msg("no " GOLDEN " here; run from the top of the tree");
	while ((entry = readdir(dir)) != NULL) {
		size_t len = strlen(entry->d_name);
		char stem[256];

		if (len < 6 || strcmp(entry->d_name + len - 5, ".json") != 0)
			continue;
		(void)snprintf(stem, sizeof(stem), "%.*s", (int)(len - 5), entry->d_name);
		jobs += strncmp(stem, "job-", 4) == 0;
		results += strncmp(stem, "result-", 7) == 0;
		check(stem);
	}
	(void)closedir(dir);
	assert_true(jobs >= 3 && results >= 3);
}

/* The largest job uses every field that can be stored. */
static void the_maximal_job_is_maximal(void **state)
{
	struct arena arena;
	struct reason reason;
	struct job job;
	struct buf message;

	(void)state;
	kit_arena(&arena);
	read_file(&arena, "job-maximal", ".msgpack", &message);
	assert_int_equal(job_decode(&arena, message.data, message.len, &job, &reason, NULL), 0);
	assert_int_equal(strlen(job.id), LIMIT_ID_CHARS);
	assert_int_equal(job.limits.millicpus, 125);
	assert_int_equal(job.steps[0].stdin_bytes.len, 3);
	assert_int_equal(job.steps[1].stdin_bytes.len, 11);
	assert_string_equal(job.steps[1].name, "step-2");
	assert_int_equal(job.run, LIMIT_RUN);
	assert_int_equal(job.deadline_ms, LIMIT_DEADLINE_MS);
	buf_release(&message);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_is_reproduced),
		cmocka_unit_test(the_maximal_job_is_maximal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
