/*
 * test_diff.c - the parser: what a header and a hunk may look like, and the
 * line that a refusal names.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "snapshots/diff.h"

struct parse {
	struct arena arena;
	struct diff diff;
	struct reason reason;
};

static int parse_at(struct parse *parse, struct bytes text, unsigned strip)
{
	static const struct diff_limits limits = {.files = 100, .hunks = 1000};
	struct err err = {0};

	arena_release(&parse->arena);
	parse->diff = (struct diff){0};
	parse->reason = (struct reason){0};
	return diff_parse(&parse->arena, text, strip, &limits, &parse->diff, &parse->reason, &err);
}

static const struct diff_file *accepts(struct parse *parse, const char *text)
{
	if (parse_at(parse, kit_text(text), 1) != 0)
		fail_msg("refused: %s: %s\n%s", reason_code_name(parse->reason.code),
			 parse->reason.message, text);
	return parse->diff.files;
}

static void refuses(struct parse *parse, const char *text, enum reason_code code, const char *word)
{
	if (parse_at(parse, kit_text(text), 1) != REFUSED)
		fail_msg("accepted:\n%s", text);
	if (parse->reason.code != code || strstr(parse->reason.message, word) == NULL)
		fail_msg("wanted %s (%s), got %s: %s\n%s", reason_code_name(code), word,
			 reason_code_name(parse->reason.code), parse->reason.message, text);
}

static int open_arena(void **state)
{
	static struct parse parse;

	arena_init(&parse.arena, 64 << 20);
	*state = &parse;
	return 0;
}

static int close_arena(void **state)
{
	struct parse *parse = *state;

	arena_release(&parse->arena);
	return 0;
}

/* --- names ---------------------------------------------------------------- */

static void test_names(void **state)
{
	static const struct {
		const char *header;
		unsigned strip;
		const char *name; /* NULL: refused */
	} names[] = {
		{"a/x b/x", 1, "x"},
		{"a/x y b/x y", 1, "x y"},
		{"a/b/x b/b/x b/b/x b/b/x", 1, "b/x b/b/x"},
		{"x x", 0, "x"},
		{"x x x x x", 0, NULL},
		{"x y x y", 0, "x y"},
		{"a/d/x b/d/x", 2, "x"},
		{"i/x w/x", 1, "x"},
		{"old/t/x new/tree/x", 2, "x"},
		{"\"a/\\303\\274\" \"b/\\303\\274\"", 1, "\xc3\xbc"},
		{"\"a/q\\\"\\\\\" \"b/q\\\"\\\\\"", 1, "q\"\\"},
		{"\"a/t\\tn\" \"b/t\\tn\"", 1, "t\tn"},
		{"a/x b/y", 1, NULL},
		{"x x", 1, NULL},
		{"\"a/x\" b/x", 1, NULL},
		{"\"a/x \"b/x\"", 1, NULL},
		{"\"a/\\8\" \"b/\\8\"", 1, NULL},
		{"a/ b/", 1, NULL},
		{"", 1, NULL},
	};
	struct parse *parse = *state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char text[256];
		int len = snprintf(text, sizeof(text), "diff --git %s\nnew file mode 100644\n",
				   names[i].header);
		int code = parse_at(parse, (struct bytes){(const uint8_t *)text, (size_t)len},
				    names[i].strip);

		if ((code == 0) != (names[i].name != NULL))
			fail_msg("'%s' -p%u: %s", names[i].header, names[i].strip,
				 code == 0 ? parse->diff.files[0].new_path : parse->reason.message);
		if (code == 0)
			assert_string_equal(parse->diff.files[0].new_path, names[i].name);
	}
}

static void test_rename_lines_have_one_component_less(void **state)
{
	struct parse *parse = *state;

	assert_int_equal(parse_at(parse,
				  TEXT("diff --git a/d/x b/d/y\nsimilarity index 100%\n"
				       "rename from d/x\nrename to d/y\n"),
				  1),
			 0);
	assert_string_equal(parse->diff.files[0].old_path, "d/x");
	assert_int_equal(parse->diff.files[0].change, DIFF_RENAME);
	assert_int_equal(parse_at(parse,
				  TEXT("diff --git d/x e f d/y\nsimilarity index 100%\n"
				       "rename from d/x e\nrename to f d/y\n"),
				  0),
			 0);
	assert_string_equal(parse->diff.files[0].new_path, "f d/y");
}

/* --- headers without git --------------------------------------------------- */

static void test_timestamps_tell_creation_and_deletion(void **state)
{
	static const struct {
		const char *from, *to;
		enum diff_change change;
		const char *path;
	} headers[] = {
		{"o/x\t2024-01-02 03:04:05.678 +0100", "n/x\t2024-01-02 03:04:05 +0100",
		 DIFF_MODIFY, "x"},
		{"o/x\t1970-01-01 00:00:00.000000000 +0000", "n/x\t2024-01-02 03:04:05 +0100",
		 DIFF_CREATE, "x"},
		{"o/x\t1970-01-01 05:30:00.000000000 +0530", "n/x", DIFF_CREATE, "x"},
		{"o/x\t1969-12-31 19:00:00 -0500", "n/x", DIFF_CREATE, "x"},
		{"o/x\t1970-01-01 01:00:00 +0000", "n/x", DIFF_MODIFY, "x"},
		{"o/x", "n/x\t1970-01-01 00:00:00.000000000 +0000", DIFF_DELETE, "x"},
		{"o/a b\t2024-01-02 03:04:05 +0100", "n/a b\t2024-01-02 03:04:05 +0100",
		 DIFF_MODIFY, "a b"},
		{"o/a b 2024-01-02 03:04:05 +0100", "n/a b 2024-01-02 03:04:05 +0100", DIFF_MODIFY,
		 "a b"},
		{"o/x\t(revision 12)", "n/x\t(working copy)", DIFF_MODIFY, "x"},
		{"o/x.orig", "n/x", DIFF_MODIFY, "x"},
		{"/dev/null", "n/x", DIFF_CREATE, "x"},
		{"o/x", "/dev/null", DIFF_DELETE, "x"},
	};
	struct parse *parse = *state;

	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		char text[512];
		const struct diff_file *file;

		(void)snprintf(text, sizeof(text), "--- %s\n+++ %s\n@@ -%s +%s @@\n%s%s",
			       headers[i].from, headers[i].to,
			       headers[i].change == DIFF_CREATE ? "0,0" : "1",
			       headers[i].change == DIFF_DELETE ? "0,0" : "1",
			       headers[i].change == DIFF_CREATE ? "" : "-x\n",
			       headers[i].change == DIFF_DELETE ? "" : "+y\n");
		file = accepts(parse, text);
		assert_int_equal(file->change, headers[i].change);
		assert_string_equal(file->new_path != NULL ? file->new_path : file->old_path,
				    headers[i].path);
		assert_true(file->plain);
	}
}

/* --- text between files ------------------------------------------------------ */

static void test_a_mail_is_read_around(void **state)
{
	struct parse *parse = *state;

	(void)accepts(parse, "From 0123 Mon Sep 17 00:00:00 2001\nFrom: x\nSubject: [PATCH] y\n\n"
			     "Words.\n---\n x | 2 +-\n 1 file changed\n\n"
			     "diff --git a/x b/x\nindex 1234567..89abcde 100644\n--- a/x\n+++ b/x\n"
			     "@@ -1 +1 @@ heading text\n-a\n+b\n-- \n2.39.5\n\n"
			     "From 0123 Mon Sep 17 00:00:00 2001\n\n---\n"
			     "diff --git a/y b/y\nnew file mode 100644\n-- \n2.39.5\n\n");
	assert_int_equal(parse->diff.files_len, 2);
	assert_int_equal(parse->diff.files[0].part, 0);
	assert_int_equal(parse->diff.files[1].part, 1);
	assert_int_equal(parse->diff.files[0].at_line, 10);
	assert_int_equal(parse->diff.files[0].hunks[0].at_line, 14);
	assert_int_equal(parse->diff.files[0].hunks[0].heading.len, strlen("heading text"));
	assert_string_equal(parse->diff.files[0].old_oid, "1234567");
	assert_int_equal(parse->diff.files[0].additions, 1);
}

static void test_a_mail_s_attachment_ends_at_its_boundary(void **state)
{
	static const char hunk[] = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\n";
	static const char head[] = "Content-Type: multipart/mixed; boundary=\"----------2.39\"\n\n";
	struct parse *parse = *state;
	char text[512];

	(void)snprintf(text, sizeof(text),
		       "%s%s------------2.39--\n\nFrom 1\n%s%s------------2.39\n", head, hunk, head,
		       hunk);
	(void)accepts(parse, text);
	assert_int_equal(parse->diff.files_len, 2);
	assert_int_equal(parse->diff.files[1].part, 1);
	/* Without the header, or with more behind it, it is a line too many. */
	(void)snprintf(text, sizeof(text), "%s------------2.39--\n", hunk);
	refuses(parse, text, REASON_PATCH_MALFORMED, "more lines");
	(void)snprintf(text, sizeof(text), "%s%s------------2.39-- x\n", head, hunk);
	refuses(parse, text, REASON_PATCH_MALFORMED, "more lines");
}

#define FILE_X "--- a/x\n+++ b/x\n"

static void test_hunk_lines(void **state)
{
	struct parse *parse = *state;
	const struct diff_file *file = accepts(
		parse, FILE_X "@@ -2,4 +2,5 @@\n a\n\n-b\n\\ No newline at end of file\n+c\n"
			      "+d\r\n e\n\\ Kein Zeilenumbruch am Ende\n");
	const struct diff_hunk *hunk = &file->hunks[0];

	assert_int_equal(hunk->lines_len, 6);
	assert_int_equal(hunk->leading, 2);
	assert_int_equal(hunk->trailing, 1);
	assert_int_equal(hunk->lines[1].kind, DIFF_CONTEXT);
	assert_int_equal(hunk->lines[1].text.len, 0);
	assert_true(hunk->lines[2].no_newline);
	assert_false(hunk->lines[3].no_newline);
	assert_int_equal(hunk->lines[4].text.len, 2);
	assert_true(hunk->lines[5].no_newline);
	/* white space behind a hunk that has all its lines is a gap */
	file = accepts(parse, FILE_X "@@ -1 +1 @@\n-a\n+b\n \n \t\n");
	assert_int_equal(file->hunks[0].lines_len, 2);
}

/* --- refusals ------------------------------------------------------------------ */

static const struct {
	const char *text;
	enum reason_code code;
	const char *word;
} bad[] = {
	{"", REASON_PATCH_EMPTY, "empty"},
	{" \n\t\r\n", REASON_PATCH_EMPTY, "empty"},
	{"hello\n", REASON_PATCH_MALFORMED, "line 1"},
	{"@@ -1 +1 @@\n-a\n+b\n", REASON_PATCH_MALFORMED, "line 1: a hunk without"},
	{FILE_X "@@ -1 +1 @@\n-a\n", REASON_PATCH_TRUNCATED, "line 5"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b", REASON_PATCH_TRUNCATED, "0 old and 1 new"},
	{FILE_X "@@ -1,3 +1 @@\n-a\n+b\n", REASON_PATCH_TRUNCATED, "2 old and 0 new"},
	{FILE_X "@@ -1,2 +1 @@\n-a\n+b\nx\n", REASON_PATCH_MALFORMED, "line 6"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n+c\n", REASON_PATCH_MALFORMED, "line 6: more lines"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n c\n", REASON_PATCH_MALFORMED, "line 6: more lines"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n \t\n+c\n", REASON_PATCH_MALFORMED, "more lines"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n\n+c\n", REASON_PATCH_MALFORMED, "more lines"},
	{FILE_X "@@ -1 +1 @@\n-a\n-b\n", REASON_PATCH_MALFORMED, "line 5"},
	{FILE_X "@@ -1 +1 @@\n a\n", REASON_PATCH_MALFORMED, "changes nothing"},
	{FILE_X "@@ -1 +1 @@\n\\ No newline at end of file\n-a\n+b\n", REASON_PATCH_MALFORMED,
	 "line 4"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n\\ No newline at", REASON_PATCH_TRUNCATED, "line 6"},
	{FILE_X "@@ -0 +1 @@\n-a\n+b\n", REASON_PATCH_MALFORMED, "count from 1"},
	{FILE_X "@@ -1,4294967297 +1 @@\n-a\n+b\n", REASON_PATCH_MALFORMED, "starts with '@@"},
	{FILE_X "@@ -1,2147483647 +1 @@\n-a\n+b\n", REASON_PATCH_TRUNCATED, "2147483646 old"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n@@ -1 +1 @@\n-a\n+b\n", REASON_PATCH_MALFORMED,
	 "line 6: the hunk starts before"},
	{FILE_X "@@ -1 +1 @@\n-a\n+b\n@@\n", REASON_PATCH_MALFORMED, "line 6: a hunk starts with"},
	{"diff --git a/x b/x\n", REASON_PATCH_TRUNCATED, "no hunk"},
	{"diff --git a/x b/x\nindex 1..2\nwords\n", REASON_PATCH_MALFORMED, "no hunk"},
	{"diff --git a/x b/x\nnew file mode 10", REASON_PATCH_TRUNCATED, "header"},
	{"diff --git a/x b/x\nnew file mode rw-r\n", REASON_PATCH_MALFORMED, "octal"},
	{"diff --git a/x b/x\nold mode 100644\n", REASON_PATCH_MALFORMED, "go together"},
	{"diff --git a/x b/x\nnew file mode 100644\nnew file mode 100644\n", REASON_PATCH_MALFORMED,
	 "line 3: a second"},
	{"diff --git a/x b/y\nrename from x\n", REASON_PATCH_MALFORMED, "'from' and 'to'"},
	{"diff --git a/x b/x\n--- a/x\nindex\n", REASON_PATCH_MALFORMED, "'+++ '"},
	{"diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
	 REASON_PATCH_MALFORMED, "has old lines"},
	{"diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +1 @@\n-a\n"
	 "+b\n",
	 REASON_PATCH_MALFORMED, "lines left"},
	{"diff --cc x\nindex 1,2..3\n", REASON_PATCH_UNSUPPORTED, "combined"},
	{"Binary files old/x and new/x differ\n", REASON_PATCH_UNSUPPORTED, "--binary"},
	{"diff --git a/x b/x\nindex 1..2\nGIT binary patch\nliteral 3\n", REASON_PATCH_TRUNCATED,
	 "binary"},
	{"diff --git a/x b/x\nindex 1..2\nGIT binary patch\nliteral -3\n\n", REASON_PATCH_MALFORMED,
	 "literal <size>"},
	{"diff --git a/x b/x\nindex 1..2\nGIT binary patch\nliteral 3\nzABCDE\n\n",
	 REASON_PATCH_MALFORMED, "not a line"},
};

static void test_refusals_name_the_line(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refuses(*state, bad[i].text, bad[i].code, bad[i].word);
}

static void test_shown_lines_are_harmless(void **state)
{
	struct parse *parse = *state;

	refuses(parse, FILE_X "@@ -1 +1 @@\n-a\n\x1b[2J\x07\n", REASON_PATCH_MALFORMED, "?[2J?");
}

static void test_every_prefix_of_a_diff_is_refused_or_whole(void **state)
{
	static const char text[] = "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n"
				   "index 1234567..89abcde\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n"
				   " a\n-b\n+c\n@@ -9 +9,2 @@\n-d\n+e\n+f\n";
	struct parse *parse = *state;

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		struct bytes cut = {(const uint8_t *)text, len};
		bool whole = len > 0 && text[len - 1] == '\n' &&
			     (strncmp(text + len, "@@ -9", 5) == 0 ||
			      strncmp(text + len, "index", 5) == 0 ||
			      strncmp(text + len, "--- ", 4) == 0);

		if (parse_at(parse, cut, 1) == 0 && !whole)
			fail_msg("accepted the first %zu bytes", len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_rename_lines_have_one_component_less),
		cmocka_unit_test(test_timestamps_tell_creation_and_deletion),
		cmocka_unit_test(test_a_mail_is_read_around),
		cmocka_unit_test(test_a_mail_s_attachment_ends_at_its_boundary),
		cmocka_unit_test(test_hunk_lines),
		cmocka_unit_test(test_refusals_name_the_line),
		cmocka_unit_test(test_shown_lines_are_harmless),
		cmocka_unit_test(test_every_prefix_of_a_diff_is_refused_or_whole),
	};

	return cmocka_run_group_tests(tests, open_arena, close_arena);
}
