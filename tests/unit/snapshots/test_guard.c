/*
 * test_guard.c - names that are and are not allowed, folding, link targets,
 * and the tables of files.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "base/text.h"
#include "schema/limits.h"
#include "snapshots/guard.h"

static void test_names_that_are_fine(void **state)
{
	static const char *const paths[] = {
		"a",	       "a/b c/d",
		".gitignore",  "x/.gitattributes",
		".github/x",   "git",
		"git~",	       "git~x",
		"gitmodules",  ".gitx",
		"..a",	       "a..",
		"...",	       "\xc3\xbc/\xe6\x97\xa5",
		"a:b",	       "it's \"q\"",
		"auxiliary.c", "console",
		"com10",       "x.con",
		"-dash",       "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9.png"};
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (guard_new_path(paths[i], &reason) != 0)
			fail_msg("refused: %s", reason.message);
	}
}

static void test_names_that_are_not(void **state)
{
	static const char *const paths[] = {"",
					    "/a",
					    "a/",
					    "a//b",
					    ".",
					    "..",
					    "a/..",
					    "../a",
					    "a/./b",
					    ".. /a",
					    ".git",
					    "a/.Git/b",
					    ".git.",
					    ".git ",
					    ".git . .",
					    ".git:x",
					    "GIT~1",
					    "git~2",
					    "gi7eba~1",
					    "gi7d29~9",
					    ".gitModules",
					    ".gitignore.",
					    ".gitattributes ",
					    ".g\xe2\x80\x8cit",
					    "\xef\xbb\xbf.git",
					    ".gi\xe2\x80\xaet",
					    "a\\b",
					    "a\nb",
					    "a\x1b[b",
					    "a\x7f",
					    "\xc2\x80",
					    "\xff",
					    "\xc3",
					    "\xed\xa0\x80"};
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		reason = (struct reason){0};
		if (guard_path(paths[i], &reason) != REFUSED)
			fail_msg("accepted '%s'", paths[i]);
		assert_int_equal(reason.code, REASON_PATCH_PATH);
		assert_true(text_is_utf8(reason.message, strlen(reason.message)));
	}
}

static void test_devices_are_refused_only_when_made(void **state)
{
	static const char *const paths[] = {"con",    "AUX.c",	"a/nul",  "prn.tar.gz", "com1",
					    "LPT9.x", "aux .c", "conin$", "con:x"};
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_equal(guard_path(paths[i], &reason), 0);
		assert_int_equal(guard_new_path(paths[i], &reason), REFUSED);
	}
}

static void test_bounds_of_a_path(void **state)
{
	char path[LIMIT_PATH_BYTES + 2];
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 200 == 199 ? '/' : 'x';
	path[LIMIT_PATH_BYTES] = '\0';
	assert_int_equal(guard_path(path, &reason), 0);
	path[LIMIT_PATH_BYTES] = 'x';
	path[LIMIT_PATH_BYTES + 1] = '\0';
	assert_int_equal(guard_path(path, &reason), REFUSED);
	for (size_t i = 0; i < 2 * LIMIT_PATH_DEPTH; i++)
		path[i] = i % 2 == 1 ? '/' : 'x';
	path[2 * LIMIT_PATH_DEPTH - 1] = '\0';
	assert_int_equal(guard_path(path, &reason), 0);
	path[2 * LIMIT_PATH_DEPTH - 1] = '/';
	path[2 * LIMIT_PATH_DEPTH] = 'x';
	path[2 * LIMIT_PATH_DEPTH + 1] = '\0';
	assert_int_equal(guard_path(path, &reason), REFUSED);
}

static void test_folding(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} pairs[] = {
		{"README", "readme", true},
		{"a", "b", false},
		{"", "", true},
		{"a", "ab", false},
		{"\xc3\x84", "\xc3\xa4", true}, /* Ae */
		{"\xce\xa3", "\xcf\x82", true}, /* sigma, final sigma */
		{"\xd0\x96", "\xd0\xb6", true}, /* Zhe */
		{"\xe2\x84\xaa", "k", true},	/* Kelvin */
		{"\xc5\xbf", "S", true},	/* long s */
		{"a\xe2\x80\x8d", "A", true},	/* zero width joiner */
		{"\xc4\x80", "\xc4\x81", true},
		{"\xc4\x81", "\xc4\x82", false},
		{"\xc3\x97", "\xc3\xb7", false}, /* times, divided */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct bytes a = kit_text(pairs[i].a);
		struct bytes b = kit_text(pairs[i].b);

		if (guard_fold_equal(a, b) != pairs[i].same)
			fail_msg("pair %zu", i);
		assert_true(!pairs[i].same || guard_fold_hash(a) == guard_fold_hash(b));
	}
}

static int never_a_link(void *ctx, const char *path)
{
	(void)ctx;
	return strcmp(path, "d/away") == 0;
}

static void test_link_targets(void **state)
{
	static const struct {
		const char *path, *target;
		bool good;
	} links[] = {
		{"l", "a", true},
		{"l", "./a/../b", true},
		{"d/l", "../a", true},
		{"d/l", "..", true},
		{"d/e/l", "../../a", true},
		{"d/l", "../d/../a", true},
		{"l", ".", true},
		{"l", "", false},
		{"l", "/a", false},
		{"l", "..", false},
		{"l", "a/../../b", false},
		{"d/l", "../../a", false},
		{"d/l", "away/../x", false},
		{"d/l", "away/x", true},
		{"l", ".git", false},
		{"l", "x/.GIT/y", false},
		{"l", "C:\\x", false},
		{"l", "\\\\x", false},
	};
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		int code = guard_link(links[i].path, kit_text(links[i].target), never_a_link, NULL,
				      &reason);

		if ((code == 0) != links[i].good)
			fail_msg("%s -> '%s'", links[i].path, links[i].target);
	}
	assert_int_equal(guard_link("l", TEXT("a\0b"), never_a_link, NULL, &reason), REFUSED);
}

static void test_modes(void **state)
{
	struct reason reason;

	(void)state;
	assert_int_equal(guard_mode(0100644, "x", &reason), 0);
	assert_int_equal(guard_mode(0100755, "x", &reason), 0);
	assert_int_equal(guard_mode(0120000, "x", &reason), 0);
	assert_int_equal(guard_mode(0160000, "x", &reason), 0);
	for (uint32_t mode = 0; mode <= 0177777; mode++) {
		if (mode != 0100644 && mode != 0100755 && mode != 0120000 && mode != 0160000)
			assert_int_equal(guard_mode(mode, "x", &reason), REFUSED);
	}
}

/* The quick comparison before the glob matcher changes no answer. */
static void test_tables_match_as_their_globs_say(void **state)
{
	static const char *const paths[] = {
		"LICENSE",	    "LICENSE.txt", "a/LICENSE",	  "package.json",
		"a/b/package.json", "Makefile",	   "a/Makefile",  ".github/workflows/ci.yml",
		".github/x",	    "x.lock",	   "a/tests/b/c", "tests",
		"test_x",	    "a/x_test.go", "conftest.py", "README",
		"docs/README.md",   ".ci/a/b",	   "bun.lockb",	  "x.test.ts"};
	const struct guard_rule *rules;
	const struct guard_note *notes;
	size_t rules_len, notes_len;

	(void)state;
	rules = guard_rules(&rules_len);
	notes = guard_notes(&notes_len);
	assert_true(rules_len > 50 && notes_len > 20);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		const struct guard_rule *rule = NULL;
		const struct guard_note *note = NULL;

		for (size_t k = 0; k < rules_len && rule == NULL; k++)
			rule = text_glob_match(rules[k].glob, paths[i]) ? &rules[k] : NULL;
		for (size_t k = 0; k < notes_len && note == NULL; k++)
			note = text_glob_match(notes[k].glob, paths[i]) ? &notes[k] : NULL;
		assert_ptr_equal(guard_protection(paths[i]), rule);
		assert_ptr_equal(guard_note(paths[i]), note);
	}
	assert_null(guard_protection("src/main.c"));
	assert_null(guard_note("src/main.c"));
	assert_int_equal(guard_protection("x/.gitattributes")->strength, GUARD_FIXED);
}

static void test_every_rule_says_why(void **state)
{
	size_t len;
	const struct guard_rule *rules = guard_rules(&len);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		assert_true(strlen(rules[i].why) > 3);
		assert_true(strlen(rules[i].kind) > 1);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(rules[i].glob, rules[k].glob);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_that_are_fine),
		cmocka_unit_test(test_names_that_are_not),
		cmocka_unit_test(test_devices_are_refused_only_when_made),
		cmocka_unit_test(test_bounds_of_a_path),
		cmocka_unit_test(test_folding),
		cmocka_unit_test(test_link_targets),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_tables_match_as_their_globs_say),
		cmocka_unit_test(test_every_rule_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
