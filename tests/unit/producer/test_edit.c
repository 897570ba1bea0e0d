/* test_edit.c - fields of a job changed from text. */
#include "producer/edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schema/limits.h"

static const char job[] = "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}],\"mine\":{\"x\":[]}}";

static struct value *tree_of(struct arena *arena, const char *json)
{
	struct value *tree;

	arena_init(arena, LIMIT_ARENA_BYTES);
	assert_int_equal(value_from_json(arena, json, strlen(json), &tree, NULL), 0);
	return tree;
}

static void assert_becomes(const char *assignment, const char *wanted)
{
	struct arena arena;
	struct value *tree = tree_of(&arena, job);
	struct err err = {0};
	struct buf text;

	buf_init(&text, 1 << 20);
	if (edit_check(assignment, &err) < 0 || edit_apply(&arena, tree, assignment, &err) < 0)
		fail_msg("%s: %s", assignment, err.message);
	value_to_json(tree, 0, &text);
	assert_string_equal(buf_text(&text), wanted);
	buf_release(&text);
	arena_release(&arena);
}

static void a_field_is_changed_where_it_is(void **state)
{
	(void)state;
	assert_becomes("id=k", "{\"id\":\"k\",\"steps\":[{\"run\":[\"a\",\"b\"]}],"
			       "\"mine\":{\"x\":[]}}");
	assert_becomes("steps[0].run[1]=c=d", "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"c=d\"]}],"
					      "\"mine\":{\"x\":[]}}");
	assert_becomes("mine.x[0][0].y=true", "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}],"
					      "\"mine\":{\"x\":[[{\"y\":true}]]}}");
	assert_becomes("mine=no json {", "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}],"
					 "\"mine\":\"no json {\"}");
	assert_becomes("mine.x=1,2", "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}],"
				     "\"mine\":{\"x\":\"1,2\"}}");
}

static void an_empty_value_takes_the_field_away(void **state)
{
	static const char untouched[] =
		"{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}],\"mine\":{\"x\":[]}}";

	(void)state;
	assert_becomes("mine=", "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}]}");
	assert_becomes("steps=", "{\"id\":\"j\",\"mine\":{\"x\":[]}}");
	assert_becomes("mine.x=", "{\"id\":\"j\",\"steps\":[{\"run\":[\"a\",\"b\"]}],\"mine\":{}}");
	assert_becomes("steps[0].run[0]=",
		       "{\"id\":\"j\",\"steps\":[{\"run\":[\"b\"]}],\"mine\":{\"x\":[]}}");
	/* What is not there need not be taken away, nor made on the way. */
	assert_becomes("steps[0].run[2]=", untouched);
	assert_becomes("steps[3].run[2]=", untouched);
	assert_becomes("labels.colour=", untouched);
	assert_becomes("stage=", untouched);
}

static void fields_that_nobody_knows_are_known_as_such(void **state)
{
	(void)state;
	assert_true(edit_is_unknown("limit.memory_bytes=2g"));
	assert_true(edit_is_unknown("limits.memory=2g"));
	assert_true(edit_is_unknown("future=1"));
	assert_false(edit_is_unknown("future="));
	assert_false(edit_is_unknown("limits.memory_bytes=2g"));
	assert_false(edit_is_unknown("labels.colour=red"));
	assert_false(edit_is_unknown("steps[0].run[1]=-v"));
	assert_false(edit_is_unknown("steps[0].env.CC=clang"));
}

static void the_value_has_the_type_of_its_field(void **state)
{
	static const char *const cases[][2] = {
		{"limits.memory_bytes=2m", "{\"limits\":{\"memory_bytes\":2097152}}"},
		{"limits.wall_ms=2m", "{\"limits\":{\"wall_ms\":120000}}"},
		{"limits.cpus=0.5", "{\"limits\":{\"cpus\":0.5}}"},
		{"max_attempts=3", "{\"max_attempts\":3}"},
		{"stage=3", "{\"stage\":\"3\"}"},
		{"stage=null", "{\"stage\":\"null\"}"},
		{"stage=\"quoted\"", "{\"stage\":\"quoted\"}"},
		{"stage=\"a\" b", "{\"stage\":\"\\\"a\\\" b\"}"},
		{"patch.diff={\"base64\":1}", "{\"patch\":{\"diff\":\"{\\\"base64\\\":1}\"}}"},
		{"tests.report=[\"a\"]", "{\"tests\":{\"report\":[\"a\"]}}"},
		{"new=1.5", "{\"new\":1.5}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena arena;
		struct value *tree = tree_of(&arena, "{}");
		struct err err = {0};
		struct buf text;

		buf_init(&text, 1 << 20);
		if (edit_apply(&arena, tree, cases[i][0], &err) < 0)
			fail_msg("%s: %s", cases[i][0], err.message);
		value_to_json(tree, 0, &text);
		assert_string_equal(buf_text(&text), cases[i][1]);
		buf_release(&text);
		arena_release(&arena);
	}
}

static void what_can_never_be_right_is_refused_beforehand(void **state)
{
	static const char *const cases[] = {
		"",
		"x",
		"=x",
		"a..b=1",
		".a=1",
		"a.=1",
		"a[=1",
		"a[x]=1",
		"a[1=1",
		"a[1]b=1",
		"a[12345678]=1",
		"run=2",
		"replayed_from=",
		"v=2",
		"limits.wall_ms=1x",
		"limits.cpus=1e3",
		"steps=x",
		"steps[0].always=maybe",
		"stage=\xff",
		"max_attempts=2m",
		"limits.memory_bytes=2s",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};

		if (edit_check(cases[i], &err) == 0)
			fail_msg("%s is taken", cases[i]);
		assert_int_equal(err.kind, ERR_INPUT);
	}
}

static void what_does_not_fit_the_job_is_refused(void **state)
{
	static const char *const cases[] = {
		"id.x=1", "id[0]=1", "steps[2].cwd=x", "steps.x=1", "mine[0]=1", "mine.x.y=1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena arena;
		struct value *tree = tree_of(&arena, job);
		struct err err = {0};

		assert_int_equal(edit_check(cases[i], &err), 0);
		if (edit_apply(&arena, tree, cases[i], &err) == 0)
			fail_msg("%s is taken", cases[i]);
		assert_int_equal(err.kind, ERR_INPUT);
		arena_release(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_field_is_changed_where_it_is),
		cmocka_unit_test(an_empty_value_takes_the_field_away),
		cmocka_unit_test(fields_that_nobody_knows_are_known_as_such),
		cmocka_unit_test(the_value_has_the_type_of_its_field),
		cmocka_unit_test(what_can_never_be_right_is_refused_beforehand),
		cmocka_unit_test(what_does_not_fit_the_job_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
