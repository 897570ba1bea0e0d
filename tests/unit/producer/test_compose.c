/* test_compose.c - the words of a command line become the tree of a job. */
#include "producer/compose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "schema/limits.h"

enum { WORDS = 24 };

struct bench {
	struct arena arena;
	struct compose compose;
	struct text_list rest;
	struct err err;
};

/* Parses `argv` over `file` (JSON, or NULL); returns what options_parse and
 * compose_finish returned. */
static int parse(struct bench *bench, const char *file, const char *const *argv)
{
	struct option_group groups[COMPOSE_GROUPS];
	struct value *tree = NULL;
	char *words[WORDS + 1] = {0};
	int rc;

	*bench = (struct bench){0};
	arena_init(&bench->arena, LIMIT_ARENA_BYTES);
	if (file != NULL)
		assert_int_equal(
			value_from_json(&bench->arena, file, strlen(file), &tree, &bench->err), 0);
	assert_true(compose_init(&bench->compose, &bench->arena, tree));
	compose_options(&bench->compose, groups);
	for (size_t i = 0; i < WORDS && argv[i] != NULL; i++)
		words[i] = arena_strdup(&bench->arena, argv[i]);
	rc = options_parse(groups, COMPOSE_GROUPS, &bench->arena, words, &bench->rest, &bench->err);
	return rc == 0 ? compose_finish(&bench->compose, &bench->err) : rc;
}

static void free_bench(struct bench *bench)
{
	arena_release(&bench->arena);
}

static const struct {
	const char *file;
	const char *argv[WORDS];
	const char *tree;
} writes[] = {
	{NULL,
	 {"--repo", "https://h/r", "--commit", "main", "--subdir", "a/b"},
	 "{\"v\":1,\"id\":null,\"source\":{\"repo\":\"https://h/r\",\"commit\":\"main\","
	 "\"subdir\":\"a/b\"}}"},
	{"{}",
	 {"--repo=/r", "--commit=main"},
	 "{\"source\":{\"repo\":\"/r\",\"commit\":\"main\"}}"},
	{"{}", {"--run", "make 'a b'"}, "{\"steps\":[{\"run\":[\"make\",\"a b\"]}]}"},
	{"{}",
	 {"--run", "a", "--step", "unit=b c", "--shell", "d | e"},
	 "{\"steps\":[{\"run\":[\"a\"]},{\"name\":\"unit\",\"run\":[\"b\",\"c\"]},"
	 "{\"shell\":\"d | e\"}]}"},
	{"{\"steps\":[{\"run\":[\"x\"]}]}",
	 {"--run", "y"},
	 "{\"steps\":[{\"run\":[\"x\"]},{\"run\":[\"y\"]}]}"},
	{"{}",
	 {"--env", "A=b=c", "--run", "x", "--env", "B.C="},
	 "{\"steps\":[{\"run\":[\"x\"],\"env\":{\"A\":\"b=c\",\"B.C\":\"\"}}]}"},
	{"{\"steps\":[{\"run\":[\"x\"],\"env\":{\"A\":\"1\",\"Z\":\"2\"}}]}",
	 {"--env", "A=3"},
	 "{\"steps\":[{\"run\":[\"x\"],\"env\":{\"A\":\"3\",\"Z\":\"2\"}}]}"},
	{"{}",
	 {"--wall", "60s", "--cpu", "5m", "--idle", "1500ms"},
	 "{\"limits\":{\"wall_ms\":60000,\"cpu_ms\":300000,\"idle_ms\":1500}}"},
	{"{}",
	 {"--memory", "512m", "--disk", "2g", "--file-size", "1k", "--output", "9"},
	 "{\"limits\":{\"memory_bytes\":536870912,\"disk_bytes\":2147483648,"
	 "\"file_bytes\":1024,\"output_bytes\":9}}"},
	{"{}",
	 {"--cpus", "1.5", "--processes", "8", "--inodes", "9", "--open-files", "10"},
	 "{\"limits\":{\"cpus\":1.5,\"processes\":8,\"inodes\":9,\"open_files\":10}}"},
	{"{\"limits\":{\"wall_ms\":1,\"x\":2}}",
	 {"--wall", "2s"},
	 "{\"limits\":{\"wall_ms\":2000,\"x\":2}}"},
	{"{}",
	 {"--label", "a.b=c", "--label", "d=e", "--label", "d=f"},
	 "{\"labels\":{\"a.b\":\"c\",\"d\":\"f\"}}"},
	{"{}",
	 {"--id", "j1", "--tenant", "t", "--stage", "s", "--priority", "high"},
	 "{\"id\":\"j1\",\"tenant\":\"t\",\"stage\":\"s\",\"priority\":\"high\"}"},
	{"{}",
	 {"--report", "a", "--report", "b", "--format", "junit", "--fail-to-pass", "t1",
	  "--pass-to-pass", "t2"},
	 "{\"tests\":{\"report\":[\"a\",\"b\"],\"format\":\"junit\",\"fail_to_pass\":["
	 "\"t1\"],"
	 "\"pass_to_pass\":[\"t2\"]}}"},
	{"{}",
	 {"--preset", "heavy", "--memory", "1g", "--security", "isolated"},
	 "{\"limits\":{\"preset\":\"heavy\",\"memory_bytes\":1073741824},"
	 "\"security\":\"isolated\"}"},
	{"{}",
	 {"--artifact", "out/*", "--on-failure", "keep", "--max-attempts", "2"},
	 "{\"artifacts\":{\"paths\":[\"out/"
	 "*\"]},\"on_failure\":\"keep\",\"max_attempts\":2}"},
	{"{}",
	 {"--protect", "a", "--allow", "b", "--restore", "c"},
	 "{\"protect\":{\"paths\":[\"a\"],\"allow\":[\"b\"],\"restore\":[\"c\"]}}"},
	{"{}",
	 {"--strip", "0", "--mode", "strict", "--traceparent", "00-x"},
	 "{\"patch\":{\"strip\":0,\"mode\":\"strict\"},\"traceparent\":\"00-x\"}"},
};

static void each_option_writes_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
		struct bench bench;
		struct buf json;

		if (parse(&bench, writes[i].file, writes[i].argv) != 0)
			fail_msg("row %zu: %s", i, bench.err.message);
		buf_init(&json, 1 << 20);
		value_to_json(bench.compose.tree, 0, &json);
		assert_string_equal(buf_text(&json), writes[i].tree);
		assert_true(bench.compose.touched);
		assert_int_equal(bench.rest.len, 0);
		buf_release(&json);
		free_bench(&bench);
	}
}

static const struct {
	const char *file;
	const char *argv[WORDS];
	const char *error;
} mistakes[] = {
	{"{}", {"--rpeo", "x"}, "unknown option '--rpeo'; did you mean '--repo'?"},
	{"{}", {"--memry=5"}, "unknown option '--memry'; did you mean '--memory'?"},
	{"{}", {"--frobnicate"}, "unknown option '--frobnicate'; --help lists them"},
	{"{}", {"-x"}, "unknown option '-x'; --help lists them"},
	{"{}", {"--repo"}, "--repo needs a value: --repo URL|DIR"},
	{"{}", {"--run", "a | b"}, "--run: '|' has no meaning without a shell"},
	{"{}", {"--step", "a"}, "--step: 'a' is not NAME=COMMAND"},
	{"{}", {"--step", "=a"}, "--step: '=a' is not NAME=COMMAND"},
	{"{}", {"--label", "a"}, "--label: 'a' is not KEY=VALUE"},
	{"{}", {"--env", "=a"}, "--env: '=a' is not KEY=VALUE"},
	{"{}", {"--env", "A=b"}, "--env needs a step"},
	{"{}", {"--wall", "soon"}, "--wall: 'soon' is no duration"},
	{"{}", {"--memory", "big"}, "--memory: 'big' is no size"},
	{"{}", {"--cpus", "-1"}, "--cpus: '-1' is no number of CPUs"},
	{"{}", {"--cpus", "nan"}, "--cpus: 'nan' is no number of CPUs"},
	{"{}", {"--cpus", "1x"}, "--cpus: '1x' is no number of CPUs"},
	{"{}", {"--strip", "1.5"}, "--strip: '1.5' is no whole number"},
	{"{}", {"--deadline", "0s"}, "--deadline: '0s' from now is no time"},
	{"{}", {"--tenant", "\xff"}, "--tenant: the value is not UTF-8"},
	{"{}", {"--shell", "\xff"}, "--shell: the value is not UTF-8"},
	{"{}", {"--patch", ""}, "--patch: the value is empty"},
	{"{\"limits\":3}", {"--wall", "1s"}, "--wall: 'limits' is a int in the job, not a map"},
	{"{\"steps\":{}}", {"--run", "x"}, "--run: 'steps' is a map in the job, not a list"},
	{"[]", {"--id", "x"}, "--id: the job is a list, not a map"},
	{"{\"steps\":[1]}", {"--env", "A=b"}, "expected a map with 'env', found a int"},
};

static void mistakes_are_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
		struct bench bench;

		if (parse(&bench, mistakes[i].file, mistakes[i].argv) != -1)
			fail_msg("row %zu was taken", i);
		assert_int_equal(bench.err.kind, ERR_INPUT);
		if (strncmp(bench.err.message, mistakes[i].error, strlen(mistakes[i].error)) != 0)
			fail_msg("row %zu: %s", i, bench.err.message);
		free_bench(&bench);
	}
}

static void a_deadline_is_counted_from_now(void **state)
{
	const char *const argv[WORDS] = {"--deadline", "1h"};
	int64_t before_ms = clock_wall_us() / 1000;
	struct bench bench;
	int64_t deadline_ms;

	(void)state;
	assert_int_equal(parse(&bench, NULL, argv), 0);
	deadline_ms = value_get(bench.compose.tree, "deadline_ms")->integer;
	assert_true(deadline_ms >= before_ms + 3600000);
	assert_true(deadline_ms <= clock_wall_us() / 1000 + 3600000);
	free_bench(&bench);
}

static void a_patch_is_taken_byte_by_byte(void **state)
{
	static const char diff[] = "--- a\0\xff\n";
	char path[] = "/tmp/sbx-compose-XXXXXX";
	int fd = mkstemp(path);
	const char *const argv[WORDS] = {"--patch", path, "--strip", "2"};
	const struct value *patch;
	struct bench bench;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, diff, sizeof(diff)), sizeof(diff));
	(void)close(fd);
	assert_int_equal(parse(&bench, NULL, argv), 0);
	patch = value_get(bench.compose.tree, "patch");
	assert_int_equal(value_get(patch, "strip")->integer, 2);
	assert_int_equal(value_get(patch, "diff")->kind, VALUE_BIN);
	assert_int_equal(value_get(patch, "diff")->bytes.len, sizeof(diff));
	assert_memory_equal(value_get(patch, "diff")->bytes.data, diff, sizeof(diff));
	free_bench(&bench);
	(void)unlink(path);
	assert_int_equal(parse(&bench, NULL, argv), -1);
	assert_non_null(strstr(bench.err.message, "--patch"));
	assert_non_null(strstr(bench.err.message, path));
	free_bench(&bench);
}

static void a_directory_is_named_absolutely(void **state)
{
	const char *const argv[WORDS] = {"--repo", "."};
	char cwd[4096];
	struct bench bench;
	const struct value *repo;

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(parse(&bench, NULL, argv), 0);
	repo = value_get(value_get(bench.compose.tree, "source"), "repo");
	assert_string_equal(value_text(&bench.arena, repo), cwd);
	free_bench(&bench);
}

static void words_and_options_mix(void **state)
{
	const char *const argv[WORDS] = {"a", "--id", "--x", "-", "--", "--id", "b"};
	struct bench bench;

	(void)state;
	assert_int_equal(parse(&bench, NULL, argv), 0);
	assert_int_equal(bench.rest.len, 4);
	assert_string_equal(bench.rest.items[0], "a");
	assert_string_equal(bench.rest.items[1], "-");
	assert_string_equal(bench.rest.items[2], "--id");
	assert_string_equal(bench.rest.items[3], "b");
	assert_string_equal(value_text(&bench.arena, value_get(bench.compose.tree, "id")), "--x");
	free_bench(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_option_writes_its_place),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(a_deadline_is_counted_from_now),
		cmocka_unit_test(a_patch_is_taken_byte_by_byte),
		cmocka_unit_test(a_directory_is_named_absolutely),
		cmocka_unit_test(words_and_options_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
