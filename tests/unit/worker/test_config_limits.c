/* test_config_limits.c - the limits of one job: defaults, presets, maxima. */
#include "tests/unit/worker/config_kit.h"

/* --- limits ----------------------------------------------------------- */

static void limits_are_defaults_asked_or_clamped(void **state)
{
	const struct job_limits asked = {
		.wall_ms = 7200000, .memory_bytes = 1 << 20, .millicpus = 1500, .processes = 5000};
	struct job_limits limits;
	struct text_list clamped;
	struct reason reason;

	(void)state;
	assert_int_equal(config_set(&config, "max.millicpus", "1050", &err), 0);
	assert_int_equal(config_limits(&config, &asked, &arena, &limits, &clamped, &reason, &err),
			 0);
	assert_int_equal(limits.wall_ms, 3600000);
	assert_int_equal(limits.memory_bytes, 1 << 20);
	assert_int_equal(limits.processes, 2048);
	assert_int_equal(limits.millicpus, 1050);
	assert_int_equal(limits.disk_bytes, 2LL << 30);
	assert_int_equal(limits.idle_ms, 300000);
	assert_list(&clamped, (const char *[]){"wall_ms: 7200000 lowered to 3600000",
					       "processes: 5000 lowered to 2048",
					       "cpus: 1.5 lowered to 1.05", NULL});
}

static void presets_are_defaults_below_the_maxima(void **state)
{
	const struct job_limits heavy = {.preset = "heavy", .processes = 77};
	const struct job_limits own = {.preset = "ci"};
	const struct job_limits replaced = {.preset = "light"};
	const struct job_limits unknown = {.preset = "huge"};
	struct job_limits limits;
	struct text_list clamped;
	struct reason reason;

	(void)state;
	assert_int_equal(config_set(&config, "max.memory", "3g", &err), 0);
	assert_int_equal(config_set(&config, "limits.presets",
				    "ci wall=20m millicpus=1500\nlight memory=64m", &err),
			 0);
	assert_int_equal(config_limits(&config, &heavy, &arena, &limits, &clamped, &reason, &err),
			 0);
	assert_int_equal(limits.memory_bytes, 3LL << 30);
	assert_int_equal(limits.processes, 77);
	assert_int_equal(limits.wall_ms, 3600000);
	assert_list(&clamped, (const char *[]){"memory_bytes: 8589934592 of the preset 'heavy' "
					       "lowered to 3221225472",
					       NULL});
	assert_int_equal(config_limits(&config, &own, &arena, &limits, &clamped, &reason, &err), 0);
	assert_int_equal(limits.wall_ms, 1200000);
	assert_int_equal(limits.millicpus, 1500);
	assert_int_equal(limits.processes, 256);
	assert_int_equal(clamped.len, 0);
	assert_int_equal(
		config_limits(&config, &replaced, &arena, &limits, &clamped, &reason, &err), 0);
	assert_int_equal(limits.memory_bytes, 64 << 20);
	assert_int_equal(limits.wall_ms, 600000);
	assert_int_equal(config_limits(&config, &unknown, &arena, &limits, &clamped, &reason, &err),
			 REFUSED);
	assert_int_equal(reason.code, REASON_POLICY_PRESET);
	assert_string_equal(reason.message,
			    "this worker has no preset 'huge', only: default, light, heavy, "
			    "browser, ci");
}

static void a_quota_may_be_absent(void **state)
{
	const struct job_limits asked = {0};
	struct job_limits limits;
	struct text_list clamped;
	struct reason reason;

	(void)state;
	assert_int_equal(config_set(&config, "max.millicpus", "1024000", &err), 0);
	assert_int_equal(config_limits(&config, &asked, &arena, &limits, &clamped, &reason, &err),
			 0);
	assert_int_equal(limits.millicpus, 0);
	assert_int_equal(clamped.len, 0);
	assert_int_equal(config_set(&config, "max.millicpus", "1", &err), 0);
	assert_int_equal(config_limits(&config, &asked, &arena, &limits, &clamped, &reason, &err),
			 0);
	assert_int_equal(limits.millicpus, 1);
	assert_int_equal(clamped.len, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(limits_are_defaults_asked_or_clamped),
		T(presets_are_defaults_below_the_maxima),
		T(a_quota_may_be_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
