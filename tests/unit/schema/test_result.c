/* test_result.c - results: joined, bounded, safe from their bodies, printed. */
#include "kit.h"

#include <stdlib.h>

#include "base/text.h"
#include "schema/field_private.h"
#include "schema/result.h"

static const char oid[] = "0123456789abcdef0123456789abcdef01234567";
static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* --- a result with everything ----------------------------------------- */

static struct pair snapshots[] = {{"initial", oid}, {"after_patch", oid}};
static struct pair labels[] = {{"team", "a"}};
static const char *argv[] = {"make", "test", NULL};
static const char *names[] = {"one", "two", NULL};

static struct result_file files[] = {
	{.path = "src/new.c", .status = CHANGE_ADDED, .additions = 3, .mode = 0100644},
	{.path = "b", .old_path = "a", .status = CHANGE_RENAMED, .mode = 0100755},
	{.path = "gone", .status = CHANGE_DELETED, .deletions = 9},
};
static struct result_file changes[] = {
	{.path = "out.o", .status = CHANGE_ADDED, .mode = 0100644, .size_bytes = 0},
	{.path = "link", .status = CHANGE_MODIFIED, .mode = 0120000, .size_bytes = -1},
};
static struct result_finding findings[] = {
	{SEVERITY_WARNING, "secret", "src/new.c", 7, "key = \"\"", "looks like a key"},
	{SEVERITY_INFO, "note", NULL, 0, NULL, "hello"},
};
static struct result_step steps[] = {
	{.name = "build",
	 .argv = {argv, 2},
	 .exit = 0,
	 .outcome = "passed",
	 .wall_us = 1500000,
	 .cpu_us = 900000,
	 .memory_peak_bytes = 50 << 20,
	 .stdout_bytes = {(const uint8_t *)"ok\n\xff", 4}},
	{.name = "test",
	 .exit = -1,
	 .signal = 31,
	 .outcome = "killed",
	 .stderr_bytes = {(const uint8_t *)"one\ntwo\n", 8},
	 .truncated_bytes = 12,
	 .syscall = "ptrace"},
};
static struct result_case cases[] = {
	{"test_a", "passed", 10, NULL},
	{"test_b", "failed", 0, "expected 1\nfound 2"},
};
static struct result_artifact artifacts[] = {
	{.path = "a.xml",
	 .size_bytes = 3,
	 .encoding = "identity",
	 .data = {(const uint8_t *)"abc", 3}},
	{.path = "b.bin", .size_bytes = 30 << 20, .encoding = "omitted"},
};

static struct result_body full_body(void)
{
	struct result_body body = {
		.snapshots = {snapshots, 2},
		.patch = {.present = true,
			  .files = files,
			  .files_len = 3,
			  .additions = 3,
			  .deletions = 9,
			  .adjusted = {names, 2}},
		.findings = findings,
		.findings_len = 2,
		.steps = steps,
		.steps_len = 2,
		.tests = {.present = true,
			  .total = 2,
			  .passed = 1,
			  .failed = 1,
			  .has_resolved = true,
			  .cases = cases,
			  .cases_len = 2,
			  .conflicts = {names, 1}},
		.changes = changes,
		.changes_len = 2,
		.changes_truncated = true,
		.artifacts = artifacts,
		.artifacts_len = 2,
	};

	(void)memcpy(body.patch.digest, digest, sizeof(digest));
	(void)memcpy(artifacts[0].sha256, digest, sizeof(digest));
	return body;
}

static struct result_head full_head(void)
{
	static const struct pair_list label_list = {labels, 1};
	struct result_head head = {
		.id = "job-1",
		.run = 2,
		.attempt = 3,
		.worker = "w",
		.tenant = "t",
		.stage = "s",
		.labels = &label_list,
		.traceparent = "00",
		.verdict = VERDICT_failed,
		.metrics = {.cpu_us = 1, .queue_us = -1, .run_us = 5},
		.missing = {names, 1},
		.clamped = {names, 2},
	};

	(void)reason_set(&head.reason, REASON_TESTS_FAILED, "test_b", "1 of 2 tests failed");
	head.state_at_us[STATE_received] = 1000;
	head.state_at_us[STATE_admitted] = 1000;
	head.state_at_us[STATE_fetched] = 2000;
	head.state_at_us[STATE_stopped] = 1500;
	return head;
}

/* Encodes and reads back. */
static struct value *round_trip(struct arena *arena, const struct result_head *head,
				const struct result_body *body)
{
	struct buf pairs;
	struct buf out;
	size_t count;
	struct err err = {0};
	struct value *tree = NULL;
	uint8_t *message;

	buf_init(&pairs, LIMIT_RESULT_BYTES);
	buf_init(&out, LIMIT_RESULT_BYTES);
	result_body_pack(arena, body, &pairs, &count);
	assert_false(pairs.failed || arena->exhausted);
	if (result_encode(arena, head, buf_bytes(&pairs), count, &out, &err) < 0)
		fail_msg("%s", err.message);
	message = (uint8_t *)arena_memdup(arena, out.data, out.len);
	assert_int_equal(value_unpack(arena, message, out.len, &tree, NULL), 0);
	buf_release(&out);
	buf_release(&pairs);
	return tree;
}

static void assert_text(const struct value *map, const char *key, const char *text)
{
	const struct value *value = value_get(map, key);

	assert_non_null(value);
	assert_int_equal(value->kind, VALUE_STR);
	assert_int_equal(value->bytes.len, strlen(text));
	assert_memory_equal(value->bytes.data, text, strlen(text));
}

/* --- encoding --------------------------------------------------------- */

static void the_head_arrives(void **state)
{
	struct arena arena;
	struct result_head head = full_head();
	struct result_body body = full_body();
	const struct value *tree;
	const struct value *list;

	(void)state;
	kit_arena(&arena);
	tree = round_trip(&arena, &head, &body);
	assert_int_equal(value_get(tree, "v")->integer, 1);
	assert_text(tree, "job", "job-1");
	assert_int_equal(value_get(tree, "run")->integer, 2);
	assert_int_equal(value_get(tree, "attempt")->integer, 3);
	assert_text(value_get(tree, "labels"), "team", "a");
	assert_text(tree, "verdict", "failed");
	assert_text(value_get(tree, "reason"), "code", "tests.failed");
	assert_text(value_get(tree, "reason"), "subject", "test_b");
	assert_null(value_get(value_get(tree, "reason"), "hint"));
	assert_null(value_get(value_get(tree, "metrics"), "queue_us"));
	assert_int_equal(value_get(value_get(tree, "metrics"), "run_us")->integer, 5);
	list = value_get(tree, "states");
	assert_int_equal(list->list.len, 4);
	assert_text(list->list.items[0], "state", "received");
	assert_text(list->list.items[1], "state", "admitted");
	assert_text(list->list.items[2], "state", "stopped");
	assert_text(list->list.items[3], "state", "fetched");
	arena_release(&arena);
}

/* Decoding the body by the same tables gives what was encoded. */
static void the_body_comes_back(void **state)
{
	struct arena arena;
	struct result_head head = full_head();
	struct result_body body = full_body();
	struct result_body read = {0};
	struct reason reason = {0};
	struct decoder decoder = {&arena, &reason, NULL};
	const struct value *tree;

	(void)state;
	kit_arena(&arena);
	tree = round_trip(&arena, &head, &body);
	if (map_decode(&decoder, &result_body_map, tree, NULL, &read) != 0)
		fail_msg("%s", reason.message);
	assert_string_equal(read.snapshots.items[1].key, "after_patch");
	assert_true(read.patch.present);
	assert_string_equal(read.patch.digest, digest);
	assert_int_equal(read.patch.files_len, 3);
	assert_int_equal(read.patch.files[0].mode, 0100644);
	assert_string_equal(read.patch.files[1].old_path, "a");
	assert_int_equal(read.patch.files[2].status, CHANGE_DELETED);
	assert_int_equal(read.patch.files[2].mode, 0);
	assert_int_equal(read.findings[0].line, 7);
	assert_int_equal(read.findings[1].severity, SEVERITY_INFO);
	assert_null(read.findings[1].path);
	assert_string_equal(read.steps[0].argv.items[1], "test");
	assert_int_equal(read.steps[0].stdout_bytes.len, 4);
	assert_int_equal(read.steps[1].exit, -1);
	assert_int_equal(read.steps[1].signal, 31);
	assert_string_equal(read.steps[1].syscall, "ptrace");
	assert_true(read.tests.has_resolved);
	assert_false(read.tests.resolved);
	assert_string_equal(read.tests.cases[1].message, "expected 1\nfound 2");
	assert_int_equal(read.changes[0].size_bytes, 0);
	assert_int_equal(read.changes[1].size_bytes, -1);
	assert_true(read.changes_truncated);
	assert_string_equal(read.artifacts[0].sha256, digest);
	assert_int_equal(read.artifacts[1].data.len, 0);
	arena_release(&arena);
}

static void an_empty_body_is_a_result(void **state)
{
	struct arena arena;
	struct result_head head = {.run = 1, .attempt = 1, .verdict = VERDICT_rejected};
	struct buf out;

	(void)state;
	kit_arena(&arena);
	buf_init(&out, LIMIT_RESULT_BYTES);
	assert_int_equal(result_encode(&arena, &head, (struct bytes){NULL, 0}, 0, &out, NULL), 0);
	assert_int_equal(value_walk(out.data, out.len, NULL), 0);
	buf_release(&out);
	arena_release(&arena);
}

/* A file name is whatever bytes a step liked. */
static void strange_bytes_travel(void **state)
{
	struct arena arena;
	struct result_head head = full_head();
	struct result_file strange = {.path = "a\xff/\xe2\x82\xac\xc3", .status = CHANGE_ADDED};
	struct result_body body = {.changes = &strange, .changes_len = 1};
	const struct value *tree;

	(void)state;
	kit_arena(&arena);
	tree = round_trip(&arena, &head, &body);
	assert_text(value_get(tree, "changes")->list.items[0], "path",
		    "a\xef\xbf\xbd/\xe2\x82\xac\xef\xbf\xbd");
	arena_release(&arena);
}

/* --- bodies that claim what they are not ------------------------------- */

static void bodies_cannot_speak_for_the_head(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		size_t pairs;
	} bodies[] = {
		{"\xa7verdict\xa6passed", 15, 1}, /* a key of the head */
		{"\xa6reason\x80", 8, 1},	  /* one that this head lacks */
		{"\xa6"
		 "bogus!\xc0",
		 8, 1},				       /* nobody's key */
		{"\xa5steps\x90\xa5steps\x90", 14, 2}, /* the same key twice */
		{"\xa5steps\x90", 7, 2},	       /* a pair short */
		{"\xa5steps\x90\xa5tests\xc0", 14, 1}, /* a pair more */
		{"\xa5steps\x91", 7, 1},	       /* cut short */
		{"\xa5steps\xa2\xc3\x28", 9, 1},       /* not UTF-8 */
		{"\x01\xc0", 2, 1},		       /* a key that is no text */
		{"\xc0", 1, 0},
		{"", 0, 1},
	};
	struct arena arena;
	struct result_head head = {.run = 1, .attempt = 1, .verdict = VERDICT_passed};
	struct buf out;

	(void)state;
	kit_arena(&arena);
	buf_init(&out, LIMIT_RESULT_BYTES);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct bytes body = {(const uint8_t *)bodies[i].bytes, bodies[i].len};
		struct err err = {0};

		if (result_encode(&arena, &head, body, bodies[i].pairs, &out, &err) == 0)
			fail_msg("body %zu was let through", i);
		assert_int_equal(err.kind, ERR_INPUT);
		assert_int_equal(out.len, 0);
	}
	buf_release(&out);
	arena_release(&arena);
}

static void large_results_are_a_limit(void **state)
{
	static uint8_t data[LIMIT_RESULT_BYTES];
	struct result_artifact artifact = {
		.path = "a", .encoding = "identity", .data = {data, sizeof(data) - 100}};
	struct result_body body = {.artifacts = &artifact, .artifacts_len = 1};
	struct result_head head = full_head();
	struct arena arena;
	struct buf pairs;
	struct buf out;
	size_t count;
	struct err err = {0};

	(void)state;
	kit_arena(&arena);
	buf_init(&pairs, LIMIT_RESULT_BYTES);
	buf_init(&out, (size_t)2 * LIMIT_RESULT_BYTES);
	buf_add(&out, "x", 1);
	result_body_pack(&arena, &body, &pairs, &count);
	assert_false(pairs.failed);
	assert_int_equal(result_encode(&arena, &head, buf_bytes(&pairs), count, &out, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_string_equal(buf_text(&out), "x");
	buf_release(&out);
	buf_init(&out, 64);
	assert_int_equal(result_encode(&arena, &head, buf_bytes(&pairs), count, &out, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_false(out.failed);
	buf_release(&out);
	buf_release(&pairs);
	arena_release(&arena);
}

/* The largest lists that the limits allow fit into one message. */
static void the_largest_result_is_walked(void **state)
{
	static struct result_case many_cases[LIMIT_CASES];
	static struct result_file many_files[LIMIT_CHANGES];
	struct result_body body = {
		.patch = {.present = true, .files = many_files, .files_len = LIMIT_DIFF_FILES},
		.tests = {.present = true, .cases = many_cases, .cases_len = LIMIT_CASES},
		.changes = many_files,
		.changes_len = LIMIT_CHANGES,
	};
	struct result_head head = full_head();
	struct arena arena;

	(void)state;
	for (size_t i = 0; i < LIMIT_CASES; i++)
		many_cases[i] = (struct result_case){"a::b", "failed", 1, "m"};
	for (size_t i = 0; i < LIMIT_CHANGES; i++)
		many_files[i] = (struct result_file){
			.path = "p", .old_path = "q", .mode = 0100644, .size_bytes = 1};
	kit_arena(&arena);
	assert_non_null(round_trip(&arena, &head, &body));
	arena_release(&arena);
}

static void exhaustion_is_a_limit(void **state)
{
	struct result_head head = full_head();
	struct result_body body = full_body();
	struct buf out;
	size_t limit = 0;
	size_t count;
	int r;

	(void)state;
	do {
		struct arena arena;
		struct err err = {0};

		arena_init(&arena, limit += 16);
		buf_init(&out, LIMIT_RESULT_BYTES);
		r = result_encode(&arena, &head, (struct bytes){NULL, 0}, 0, &out, &err);
		assert_true(r == 0 || (err.kind == ERR_LIMIT && out.len == 0));
		buf_release(&out);
		arena_release(&arena);
	} while (r < 0);
	do {
		struct arena arena;

		arena_init(&arena, limit += 16);
		buf_init(&out, LIMIT_RESULT_BYTES);
		result_body_pack(&arena, &body, &out, &count);
		r = arena.exhausted ? -1 : 0;
		assert_true(r == 0 || out.len == 0);
		buf_release(&out);
		arena_release(&arena);
	} while (r < 0);
	assert_in_range(limit, 1000, 40000);
	assert_int_equal(count, 8);
}

/* --- names ------------------------------------------------------------ */

static void names_follow_the_tables(void **state)
{
	(void)state;
	assert_string_equal(job_state_name(STATE_received), "received");
	assert_string_equal(job_state_name(STATE_faulted), "faulted");
	assert_string_equal(change_status_name(CHANGE_RENAMED), "renamed");
}

/* --- JSON and back ---------------------------------------------------- */

static void json_becomes_the_same_message(void **state)
{
	struct arena arena;
	struct result_head head = full_head();
	struct result_body body = full_body();
	struct reason reason = {0};
	struct value *tree;
	struct value *again;
	struct buf json;
	struct buf first;
	struct buf second;

	(void)state;
	kit_arena(&arena);
	buf_init(&json, LIMIT_JSON_BYTES);
	buf_init(&first, LIMIT_RESULT_BYTES);
	buf_init(&second, LIMIT_RESULT_BYTES);
	tree = round_trip(&arena, &head, &body);
	value_pack(tree, &first);
	value_to_json(tree, 2, &json);
	assert_int_equal(value_from_json(&arena, (const char *)json.data, json.len, &again, NULL),
			 0);
	if (result_prepare(&arena, again, &second, &reason, NULL) != 0)
		fail_msg("%s", reason.message);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
	again = kit_tree(&arena, "{'v': 1, 'run': 1, 'attempt': 1, 'verdict': 'passed',"
				 " 'states': [], 'metrics': {}}");
	assert_int_equal(result_prepare(&arena, again, &second, &reason, NULL), REFUSED);
	assert_string_equal(reason.message, "metrics.cpu_us: is missing; expected int");
	assert_int_equal(result_prepare(&arena, value_list(&arena), &second, &reason, NULL),
			 REFUSED);
	buf_release(&json);
	buf_release(&first);
	buf_release(&second);
	arena_release(&arena);
}

/* --- the report ------------------------------------------------------- */

static void assert_has(const struct buf *out, const char *text)
{
	if (strstr(buf_text(out), text) == NULL)
		fail_msg("no '%s' in:\n%s", text, buf_text(out));
}

static void the_report_says_what_happened(void **state)
{
	static const char *const lines[] = {
		"failed  job-1  run 2, attempt 3, worker w\n",
		"reason    tests.failed  test_b\n          1 of 2 tests failed\n",
		"patch     3 files, +3 -9\n",
		"          added    src/new.c  +3 -0\n",
		"          renamed  a -> b  +0 -0\n",
		"findings  warning secret in src/new.c:7: looks like a key\n",
		"steps     passed  build: make test  1.50 s\n",
		"          killed  test  signal 31  system call ptrace  0.00 ms\n",
		"  stderr  one\n          two\n",
		"tests     1 of 2 passed, 1 failed; not resolved\n",
		"          failed  test_b: expected 1\n",
		"changes   more than 2 files changed by the steps\n",
		"artifacts a.xml  3 B\n          b.bin  30 MiB  (content left out)\n",
		"snapshots initial 0123456789ab, after_patch 0123456789ab\n",
		"missing   one\n",
		"clamped   one, two\n",
		"times     received, admitted 0.00 ms, stopped 0.50 ms, fetched 0.50 ms\n",
		"used      cpu 0.00 ms, memory 0 B; steps 0.01 ms, overhead 0.00 ms\n",
	};
	struct arena arena;
	struct result_head head = full_head();
	struct result_body body = full_body();
	struct buf out;

	(void)state;
	kit_arena(&arena);
	buf_init(&out, 1 << 20);
	result_print(round_trip(&arena, &head, &body), false, &out);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		assert_has(&out, lines[i]);
	assert_null(strchr(buf_text(&out), '\x1b'));
	buf_clear(&out);
	result_print(round_trip(&arena, &head, &body), true, &out);
	assert_has(&out, "\x1b[31mfailed\x1b[0m");
	buf_release(&out);
	arena_release(&arena);
}

/* Every text of a result tries to own the terminal. */
static void the_report_is_harmless(void **state)
{
	static const char hostile[] = "x\\u001b]0;t\\u0007\\u009b\\u202e\\u0000y\\rz";
	struct arena arena;
	struct buf out;
	char *text;

	(void)state;
	kit_arena(&arena);
	buf_init(&out, 1 << 20);
	text = arena_printf(
		&arena,
		"{'verdict':'%1$s','job':'%1$s','worker':'%1$s','reason':{'code':'%1$s','message':"
		"'%1$s','subject':'%1$s','hint':'%1$s'},'patch':{'files':[{'path':'%1$s','old_path'"
		":'%1$s','status':'%1$s'}]},'findings':[{'rule':'%1$s','path':'%1$s','severity':"
		"'%1$s','message':'%1$s'}],'steps':[{'name':'%1$s','argv':['%1$s'],'outcome':'%1$s'"
		","
		"'stdout':'%1$s','stderr':'%1$s','syscall':'%1$s'}],'tests':{'cases':[{'id':'%1$s',"
		"'status':'%1$s','message':'%1$s'}]},'artifacts':[{'path':'%1$s'}],'snapshots':"
		"{'k':'%1$s'},'missing':['%1$s'],'states':[{'state':'%1$s'}],'changes':"
		"[{'path':'%1$s'}]}",
		hostile);
	result_print(kit_tree(&arena, text), false, &out);
	for (size_t i = 0; i < out.len; i++) {
		if (out.data[i] < 0x20 && out.data[i] != '\n')
			fail_msg("byte %02x at %zu of:\n%s", out.data[i], i, buf_text(&out));
	}
	assert_true(text_is_utf8(out.data, out.len));
	assert_null(strstr(buf_text(&out), "\xe2\x80\xae"));
	assert_null(strstr(buf_text(&out), "\xc2\x9b"));
	buf_release(&out);
	arena_release(&arena);
}

/* A result of another kind in every place still prints. */
static void the_report_survives_anything(void **state)
{
	static const char *const keys[] = {"job",	"verdict",  "reason", "states",
					   "metrics",	"patch",    "steps",  "tests",
					   "changes",	"findings", "labels", "artifacts",
					   "snapshots", "missing",  "run"};
	static const char *const values[] = {"null",
					     "5",
					     "'x'",
					     "[]",
					     "{}",
					     "[5]",
					     "[{}]",
					     "[[]]",
					     "{'x': 5}",
					     "{'files': [5]}",
					     "{'cases': [[]]}"};
	struct arena arena;
	struct buf out;

	(void)state;
	kit_arena(&arena);
	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		for (size_t k = 0; k < ARRAY_LEN(values); k++) {
			const char *text = arena_printf(&arena, "{'%s': %s}", keys[i], values[k]);

			buf_clear(&out);
			result_print(kit_tree(&arena, text), true, &out);
			assert_false(out.failed);
		}
	}
	result_print(kit_tree(&arena, "[]"), true, &out);
	buf_release(&out);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_head_arrives),
		cmocka_unit_test(the_body_comes_back),
		cmocka_unit_test(an_empty_body_is_a_result),
		cmocka_unit_test(strange_bytes_travel),
		cmocka_unit_test(bodies_cannot_speak_for_the_head),
		cmocka_unit_test(large_results_are_a_limit),
		cmocka_unit_test(the_largest_result_is_walked),
		cmocka_unit_test(exhaustion_is_a_limit),
		cmocka_unit_test(names_follow_the_tables),
		cmocka_unit_test(json_becomes_the_same_message),
		cmocka_unit_test(the_report_says_what_happened),
		cmocka_unit_test(the_report_is_harmless),
		cmocka_unit_test(the_report_survives_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
