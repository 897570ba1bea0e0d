/* test_job_type.c - the type of a field by its path. */
#include "schema/job_type.h"

#include "kit.h"

static void a_path_has_the_type_of_its_field(void **state)
{
	static const struct {
		const char *path;
		enum job_type type;
	} cases[] = {
		{"id", JOB_TYPE_TEXT},
		{"v", JOB_TYPE_INT},
		{"priority", JOB_TYPE_TEXT},
		{"on_failure", JOB_TYPE_TEXT},
		{"limits", JOB_TYPE_OTHER},
		{"limits.memory_bytes", JOB_TYPE_INT},
		{"limits.cpus", JOB_TYPE_NUMBER},
		{"patch.diff", JOB_TYPE_BIN},
		{"steps", JOB_TYPE_OTHER},
		{"steps[0]", JOB_TYPE_OTHER},
		{"steps[12].stdin", JOB_TYPE_BIN},
		{"steps[0].always", JOB_TYPE_OTHER},
		{"steps[0].run", JOB_TYPE_OTHER},
		{"steps[0].run[3]", JOB_TYPE_TEXT},
		{"steps[0].env.PATH", JOB_TYPE_TEXT},
		{"labels.a.b", JOB_TYPE_TEXT},
		{"tests.report[0]", JOB_TYPE_TEXT},
		{"source.files", JOB_TYPE_OTHER},
		{"source.files.src/a.py", JOB_TYPE_BIN},
		{"source.links.src/a", JOB_TYPE_TEXT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (job_type_at(cases[i].path) != cases[i].type)
			fail_msg("%s: %d", cases[i].path, (int)job_type_at(cases[i].path));
	}
}

static void what_is_no_field_has_no_type(void **state)
{
	static const char *const paths[] = {
		"",
		"mine",
		"limits.",
		"limits.mine",
		"limits[0]",
		"steps.run",
		"steps[].run",
		"steps[a]",
		"steps[0",
		"id.x",
		"id[0]",
		"steps[0].run.x",
		"labels[0]",
		".",
		"steps[0][1]",
		"limits..cpus",
		"steps[0].run[1].x",
		"[0]",
		"labels[0].x",
		"code.source",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (job_type_at(paths[i]) != JOB_TYPE_UNKNOWN)
			fail_msg("%s: %d", paths[i], (int)job_type_at(paths[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_has_the_type_of_its_field),
		cmocka_unit_test(what_is_no_field_has_no_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
