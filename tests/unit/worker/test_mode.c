/*
 * test_mode.c - the security modes: every way through the choice, what a mode
 * does to limits, and that the documents say what the table says. Run from the
 * top of the tree.
 */
#include "worker/mode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fd.h"

static const char *lacking[] = {"cgroup_memory", "uid_per_slot"};
static const struct text_list whole = {0};
static const struct text_list partial = {lacking, 2};

struct way {
	enum job_security asked;
	bool trusted_source;
	int64_t infos, warnings, errors;
	bool missing;
	const char *least;
	const char *isolate;
	const char *mode; /* NULL: refused */
	const char *why;
};

static const struct way ways[] = {
	{SECURITY_AUTO, false, 0, 0, 0, false, "trusted", "warning", "sandboxed", "none of"},
	{SECURITY_AUTO, true, 0, 0, 0, false, "trusted", "warning", "trusted", "is one of"},
	{SECURITY_AUTO, true, 5, 0, 0, false, "trusted", "warning", "trusted", "is one of"},
	{SECURITY_AUTO, true, 5, 1, 0, false, "trusted", "warning", "isolated", "1 finding of"},
	{SECURITY_AUTO, false, 0, 1, 1, false, "trusted", "warning", "isolated", "2 findings of"},
	{SECURITY_AUTO, false, 0, 9, 0, false, "trusted", "error", "sandboxed", "none of"},
	{SECURITY_AUTO, false, 0, 0, 1, false, "trusted", "error", "isolated", "severity error"},
	{SECURITY_AUTO, false, 1, 0, 0, false, "trusted", "info", "isolated", "severity info"},
	{SECURITY_AUTO, false, 9, 9, 9, false, "trusted", "never", "sandboxed", "none of"},
	{SECURITY_AUTO, true, 9, 9, 9, false, "trusted", "never", "trusted", "is one of"},
	{SECURITY_AUTO, false, 0, 1, 0, true, "trusted", "warning", "isolated", "1 finding"},
	{SECURITY_AUTO, true, 0, 0, 0, false, "sandboxed", "warning", "sandboxed",
	 "least is sandboxed; it would have been trusted"},
	{SECURITY_AUTO, false, 0, 0, 0, false, "isolated", "never", "isolated",
	 "least is isolated"},
	{SECURITY_AUTO, false, 0, 0, 0, true, "isolated", "never", NULL, "uid_per_slot"},
	{SECURITY_TRUSTED, true, 0, 9, 9, true, "trusted", "warning", "trusted", "asks for it"},
	{SECURITY_TRUSTED, false, 0, 0, 0, false, "trusted", "warning", NULL, "this is none"},
	{SECURITY_TRUSTED, true, 0, 0, 0, false, "isolated", "warning", "isolated", "least"},
	{SECURITY_SANDBOXED, true, 0, 9, 9, true, "trusted", "warning", "sandboxed", "asks for it"},
	{SECURITY_SANDBOXED, false, 0, 0, 0, false, "isolated", "warning", "isolated", "least"},
	{SECURITY_ISOLATED, true, 0, 0, 0, false, "trusted", "never", "isolated", "asks for it"},
	{SECURITY_ISOLATED, true, 0, 0, 0, true, "trusted", "never", NULL,
	 "without cgroup_memory, uid_per_slot"},
};

static void every_way_is_said(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		const struct way *way = &ways[i];
		struct mode_facts facts = {.asked = way->asked,
					   .trusted_source = way->trusted_source,
					   .findings = {way->infos, way->warnings, way->errors},
					   .missing = way->missing ? &partial : &whole,
					   .least = way->least,
					   .isolate = way->isolate};
		struct mode_choice choice = {0};
		struct reason reason = {0};
		int rc = mode_choose(&facts, &choice, &reason);
		const char *said = rc == 0 ? choice.why : reason.message;

		if (rc != (way->mode == NULL ? REFUSED : 0) ||
		    (rc == 0 && strcmp(choice.mode->name, way->mode) != 0) ||
		    strstr(said, way->why) == NULL)
			fail_msg("way %zu: %d, '%s', '%s'", i, rc,
				 rc == 0 ? choice.mode->name : "refused", said);
		if (rc == REFUSED)
			assert_int_equal(reason.code, REASON_POLICY_SECURITY);
	}
}

/* The table goes from wide to strict, in all columns. */
static void a_stricter_mode_is_no_wider(void **state)
{
	const struct mode *modes;
	size_t len = mode_table(&modes);

	(void)state;
	assert_int_equal(len, 3);
	for (size_t i = 1; i < len; i++) {
		assert_true(filter_fits(modes[i - 1].profile, modes[i].profile));
		assert_true(modes[i].whole || !modes[i - 1].whole);
		assert_true(modes[i].most.memory_bytes <= modes[i - 1].most.memory_bytes ||
			    modes[i - 1].most.memory_bytes == 0);
	}
	assert_null(mode_find("off"));
	assert_null(mode_find("auto"));
}

static void what_is_lowered_is_said(void **state)
{
	struct job_limits limits = {
		.wall_ms = 3600000, .memory_bytes = 1LL << 40, .processes = 10, .millicpus = 4000};
	const char *before[] = {"earlier", NULL};
	struct text_list clamped = {before, 1};
	struct arena arena;
	struct err err = {0};

	(void)state;
	arena_init(&arena, 1 << 16);
	assert_int_equal(mode_lower(mode_find("sandboxed"), &arena, &limits, &clamped, &err), 0);
	assert_int_equal(clamped.len, 1);
	assert_int_equal(limits.memory_bytes, 1LL << 40);
	assert_int_equal(mode_lower(mode_find("isolated"), &arena, &limits, &clamped, &err), 0);
	assert_int_equal(limits.memory_bytes, 2LL << 30);
	assert_int_equal(limits.wall_ms, 1200000);
	assert_int_equal(limits.processes, 10);
	assert_int_equal(limits.millicpus, 4000);
	assert_int_equal(clamped.len, 3);
	assert_string_equal(clamped.items[0], "earlier");
	assert_string_equal(clamped.items[1],
			    "wall_ms: 3600000 lowered to 1200000 by the mode isolated");
	arena_release(&arena);
	arena_init(&arena, 16);
	limits.memory_bytes = 1LL << 40;
	assert_int_equal(mode_lower(mode_find("isolated"), &arena, &limits, &clamped, &err), -1);
	arena_release(&arena);
}

/* --- documents ---------------------------------------------------------- */

static void add_size(struct buf *out, const char *name, int64_t value)
{
	if (value >= 1LL << 30)
		buf_printf(out, ", %s %lldg", name, (long long)(value >> 30));
	else
		buf_printf(out, ", %s %lldm", name, (long long)(value >> 20));
}

static void add_limits(struct buf *out, const struct job_limits *most)
{
	buf_printf(out, "wall %lldm, cpu %lldm, idle %lldm", (long long)(most->wall_ms / 60000),
		   (long long)(most->cpu_ms / 60000), (long long)(most->idle_ms / 60000));
	add_size(out, "memory", most->memory_bytes);
	add_size(out, "disk", most->disk_bytes);
	buf_printf(out, ", inodes %lld, processes %lld, open_files %lld", (long long)most->inodes,
		   (long long)most->processes, (long long)most->open_files);
	add_size(out, "file", most->file_bytes);
	add_size(out, "output", most->output_bytes);
}

static void assert_in_file(const char *path, const char *wanted)
{
	CLEANUP(buf_release) struct buf text;
	struct err err = {0};

	buf_init(&text, 1 << 20);
	if (fd_read_file(path, 1 << 20, &text, &err) < 0)
		fail_msg("%s", err.message);
	if (strstr(buf_text(&text), wanted) == NULL)
		fail_msg("%s does not have: %s", path, wanted);
}

static void documents_have_the_table(void **state)
{
	const struct mode *modes;
	size_t len = mode_table(&modes);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		const struct mode *mode = &modes[i];
		const char *profile = filter_profile_name(mode->profile);
		bool bounded = mode->most.memory_bytes != 0;
		CLEANUP(buf_release) struct buf limits;
		CLEANUP(buf_release) struct buf row;

		buf_init(&limits, 4096);
		buf_init(&row, 4096);
		add_limits(&limits, &mode->most);
		buf_printf(&row, "| `%s` | %s | %s | %s | %s |", mode->name, profile,
			   mode->whole ? "none" : "allowed as configured",
			   bounded ? buf_text(&limits) : "none", mode->doc);
		assert_in_file("SECURITY.md", buf_text(&row));
		buf_clear(&row);
		buf_printf(&row, ".It %s\nProfile %s; %s; %s%s.\nFor %s.\n", mode->name, profile,
			   mode->whole ? "no layer may be missing" : "layers may be missing",
			   bounded ? "at most " : "the maxima alone",
			   bounded ? buf_text(&limits) : "", mode->doc);
		assert_in_file("contrib/man/sbx-worker.ini.5", buf_text(&row));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_is_said),
		cmocka_unit_test(a_stricter_mode_is_no_wider),
		cmocka_unit_test(what_is_lowered_is_said),
		cmocka_unit_test(documents_have_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
