/*
 * test_guard.c - names that are and are not allowed, folding, link targets,
 * and the tables of files.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "base/text.h"
#include "schema/limits.h"
#include "snapshots/guard.h"
#include "snapshots/guard_fold.h"

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
		"-dash",       "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9.png",
		"gi~12",       "x~123456",
		"gi7e~x",      "com\xc2\xb9\xc2\xb9",
		"com\xc2\xb4", "\xef\xac\x81le"};
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (guard_new_path(paths[i], &reason) != 0)
			fail_msg("refused: %s", reason.message);
	}
}

static const char *const refused[] = {"",
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
				      "gi7eb~12",
				      "x/g~123456",
				      "GI~12345/x",
				      "gi7eba~123 ",
				      "gitmod~1:x",
				      "gitatt~9",
				      "gitign~1",
				      "mailma~2",
				      "gi250~11",
				      "ma~12345",
				      ".gitmodules:x",
				      ".gitmodules::$DATA",
				      "a/.GitIgnore::$DATA",
				      ".git:",
				      ".git::$INDEX_ALLOCATION",
				      "git~1::$INDEX_ALLOCATION/x",
				      "..:x",
				      ".:x/a",
				      ".. :x",
				      ".gitmodule\xc5\xbf",   /* long s */
				      ".g\xc2\xadit",	      /* soft hyphen */
				      ".git\xef\xb8\x8f",     /* variation selector */
				      ".g\xe2\x80\x8bit/x",   /* zero width space */
				      ".mail\xe2\x81\xaamap", /* as HFS+ ignores it */
				      ".gitattributes\xef\xbb\xbf",
				      ".gi\xcd\x8ft", /* grapheme joiner */
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

static void test_names_that_are_not(void **state)
{
	struct reason reason;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		reason = (struct reason){0};
		if (guard_path(refused[i], &reason) != REFUSED)
			fail_msg("accepted '%s'", refused[i]);
		assert_int_equal(reason.code, REASON_PATCH_PATH);
		assert_true(text_is_utf8(reason.message, strlen(reason.message)));
	}
}

static void test_devices_are_refused_only_when_made(void **state)
{
	static const char *const paths[] = {"con",	     "AUX.c",	      "a/nul",
					    "prn.tar.gz",    "com1",	      "LPT9.x",
					    "aux .c",	     "conin$",	      "con:x",
					    "com\xc2\xb9",   "LPT\xc2\xb3.c", "a/Com\xc2\xb2 .x",
					    "com\xc2\xb9:x", "a\xc2\xadux",   "nul::$DATA"};
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
		{"\xc3\xa9", "e\xcc\x81", true}, /* e acute, e + acute */
		{"\xc3\x89X", "e\xcc\x81x", true},
		{"\xc3\xa9", "e", false},
		{"e\xcc\xa3\xcc\x87", "e\xcc\x87\xcc\xa3", true}, /* order of marks */
		{"e\xcc\x81\xcc\x80", "e\xcc\x80\xcc\x81", false},
		{"\xea\xb0\x80", "\xe1\x84\x80\xe1\x85\xa1", true}, /* Hangul ga */
		{"stra\xc3\x9f"
		 "e",
		 "STRASSE", true},
		{"\xef\xac\x81", "fi", true},		    /* ligature */
		{"\xe1\xbe\xb3", "\xce\xb1\xce\xb9", true}, /* alpha with iota below */
		{"\xce\xb1\xcd\x85\xcc\x81", "\xce\xac\xce\xb9", true},
		{"\xe2\x9d\xa4\xef\xb8\x8f", "\xe2\x9d\xa4", true}, /* heart, as emoji */
		{"\xe2\x84\xab", "a\xcc\x8a", true},		    /* Angstrom, a + ring */
		{"\xef\xbc\xa1", "a", false},	/* full width: no file system folds width */
		{"\xff\x41", "\xff\x61", true}, /* no UTF-8: case of A to Z alone */
		{"\xe9", "\xc3\xa9", false},
		{"\xe9", "\xc9", false},
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

/* Beyond what any file system holds, names are compared as they are. */
static void test_long_names_fold_too(void **state)
{
	char a[4 * FOLD_NAME_BYTES], b[sizeof(a)];
	size_t len = 0;

	(void)state;
	while (len + 2 <= FOLD_NAME_BYTES) { /* capital and small u with dialytika and tonos */
		(void)memcpy(a + len, "\xc7\x97", 2);
		(void)memcpy(b + len, "\xc7\x98", 2);
		len += 2;
	}
	assert_true(guard_fold_equal((struct bytes){(uint8_t *)a, len},
				     (struct bytes){(uint8_t *)b, len}));
	assert_int_equal(guard_fold_hash((struct bytes){(uint8_t *)a, len}),
			 guard_fold_hash((struct bytes){(uint8_t *)b, len}));
	(void)memset(a + len, 'A', sizeof(a) - len);
	(void)memset(b + len, 'a', sizeof(b) - len);
	assert_false(guard_fold_equal((struct bytes){(uint8_t *)a, sizeof(a)},
				      (struct bytes){(uint8_t *)b, sizeof(b)}));
	assert_true(guard_fold_equal((struct bytes){(uint8_t *)a + len, sizeof(a) - len},
				     (struct bytes){(uint8_t *)b + len, sizeof(b) - len}));
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
		{"l", "d/.g\xe2\x80\x8bit/x", false},
		{"l", "git~1", false},
		{"l", "gi7eb~12/x", false},
		{"l", ".git::$INDEX_ALLOCATION/config", false},
		{"l", ".gitmodules", true},
		{"l", "d/.GITMODULES", false},
		{"l", "x/.GIT/y", false},
		{"l", "C:\\x", false},
		{"d/l", "a\\..\\..\\..\\x", false},
		{"l", "\\\\x", false},
		{"l", "\xff\xff\xff\xff", true}, /* git takes any bytes, also no UTF-8 */
		{"l", "\xff", true},
		{"l", "\xf4\x90\x80\x80/\xc3", true},
		{"l", "\xed\xa0\x80/.git", false},
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
		cmocka_unit_test(test_long_names_fold_too),
		cmocka_unit_test(test_link_targets),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_tables_match_as_their_globs_say),
		cmocka_unit_test(test_every_rule_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
