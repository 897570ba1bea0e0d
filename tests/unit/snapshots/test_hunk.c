/*
 * test_hunk.c - where hunks land: at their line, at the only other place, or
 * nowhere; and what a refusal shows.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "base/clock.h"
#include "snapshots/diff.h"
#include "snapshots/hunk.h"

struct rig {
	struct arena arena;
	struct hunk_result result;
	struct reason reason;
};

/* Applies hunks (without header) to a file. */
static int place_bytes(struct rig *rig, struct bytes preimage, struct bytes hunks, bool trusted)
{
	static const struct diff_limits limits = {.files = 1, .hunks = 200000};
	static const char header[] = "--- a/x\n+++ b/x\n";
	struct hunk_request request = {
		.preimage = preimage, .trusted = trusted, .limit_bytes = 32 << 20};
	struct err err = {0};
	struct diff diff;
	uint8_t *text;

	arena_release(&rig->arena);
	rig->result = (struct hunk_result){0};
	rig->reason = (struct reason){0};
	text = arena_alloc(&rig->arena, sizeof(header) - 1 + hunks.len);
	assert_non_null(text);
	(void)memcpy(text, header, sizeof(header) - 1);
	(void)memcpy(text + sizeof(header) - 1, hunks.data, hunks.len);
	if (diff_parse(&rig->arena, (struct bytes){text, sizeof(header) - 1 + hunks.len}, 1,
		       &limits, &diff, &rig->reason, &err) != 0)
		fail_msg("cannot parse: %s", rig->reason.message);
	request.file = &diff.files[0];
	return hunk_apply(&rig->arena, &request, &rig->result, &rig->reason, &err);
}

static int place(struct rig *rig, const char *preimage, const char *hunks, bool trusted)
{
	return place_bytes(rig, kit_text(preimage), kit_text(hunks), trusted);
}

static void gives(struct rig *rig, const char *preimage, const char *hunks, const char *postimage)
{
	if (place(rig, preimage, hunks, false) != 0)
		fail_msg("refused: %s: %s\n%s", reason_code_name(rig->reason.code),
			 rig->reason.message, hunks);
	assert_int_equal(rig->result.postimage.len, strlen(postimage));
	assert_memory_equal(rig->result.postimage.data, postimage, strlen(postimage));
}

static void refuses(struct rig *rig, const char *preimage, const char *hunks, enum reason_code code,
		    const char *word)
{
	if (place(rig, preimage, hunks, false) != REFUSED)
		fail_msg("accepted:\n%s", hunks);
	if (rig->reason.code != code || strstr(rig->reason.message, word) == NULL)
		fail_msg("wanted %s (%s), got %s: %s\n%s", reason_code_name(code), word,
			 reason_code_name(rig->reason.code), rig->reason.message, hunks);
}

static int open_rig(void **state)
{
	static struct rig rig;

	arena_init(&rig.arena, 256 << 20);
	*state = &rig;
	return 0;
}

static int close_rig(void **state)
{
	struct rig *rig = *state;

	arena_release(&rig->arena);
	return 0;
}

/* --- at the stated line ---------------------------------------------------- */

static void test_at_the_stated_line_though_others_fit(void **state)
{
	gives(*state, "x\na\nx\na\nx\na\nx\n", "@@ -3,3 +3,3 @@\n x\n-a\n+b\n x\n",
	      "x\na\nx\nb\nx\na\nx\n");
	gives(*state, "a\nb\nc\nd\n", "@@ -1,2 +1,2 @@\n-a\n+A\n b\n@@ -4 +4,2 @@\n d\n+e\n",
	      "A\nb\nc\nd\ne\n");
}

static void test_line_ends_are_bytes(void **state)
{
	gives(*state, "a\r\nb\n", "@@ -1,2 +1,2 @@\n a\r\n-b\n+c\n", "a\r\nc\n");
	refuses(*state, "a\r\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n", REASON_PATCH_CONFLICT,
		"lines differ");
	gives(*state, "a\nb", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n",
	      "a\nb\n");
	gives(*state, "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n",
	      "a\nb");
	gives(*state, "a\nb", "@@ -1,2 +1,2 @@\n-a\n+A\n b\n\\ No newline at end of file\n",
	      "A\nb");
	refuses(*state, "a\nb", "@@ -1,2 +1,2 @@\n-a\n+A\n b\n", REASON_PATCH_CONFLICT,
		"b (no newline)");
	refuses(*state, "a\nb\nc\n",
		"@@ -1,3 +1,3 @@\n a\n-b\n+B\n\\ No newline at end of file\n c\n",
		REASON_PATCH_MALFORMED, "follows");
}

static void test_a_file_of_nothing(void **state)
{
	gives(*state, "", "@@ -0,0 +1,2 @@\n+a\n+b\n", "a\nb\n");
	gives(*state, "a\n", "@@ -1 +0,0 @@\n-a\n", "");
	refuses(*state, "a\nb\n", "@@ -1,3 +0,0 @@\n-a\n-b\n-c\n", REASON_PATCH_CONFLICT,
		"(end of file)");
}

/* --- elsewhere -------------------------------------------------------------- */

static void test_the_only_other_place(void **state)
{
	struct rig *rig = *state;
	struct text_list notes = {0};

	gives(rig, "new\nnew\na\nb\nc\n", "@@ -2,3 +2,3 @@\n a\n-b\n+B\n c\n",
	      "new\nnew\na\nB\nc\n");
	assert_int_equal(rig->result.moved, 1);
	assert_int_equal(rig->result.places[0].line, 2);
	assert_true(hunk_notes(
		&rig->arena,
		&(struct diff_file){.old_path = "x",
				    .hunks = (struct diff_hunk[]){{.old_start = 2, .old_len = 3}},
				    .hunks_len = 1},
		&rig->result, &notes));
	assert_int_equal(notes.len, 1);
	assert_string_equal(notes.items[0], "x: hunk 1 applied at line 3 instead of 2");
}

static void test_two_other_places_are_ambiguous(void **state)
{
	refuses(*state, "0\na\nb\nc\na\nb\nc\n", "@@ -4,3 +4,3 @@\n a\n-b\n+B\n c\n",
		REASON_PATCH_AMBIGUOUS, "at line 2 and at line 5");
}

static void test_after_a_move_the_stated_line_proves_nothing(void **state)
{
	static const char preimage[] = "new\nnew\nnew\na\nb\nc\nx\ny\nz\nx\ny\nz\n";
	static const char hunks[] = "@@ -2,3 +2,3 @@\n a\n-b\n+B\n c\n"
				    "@@ -7,3 +7,3 @@\n x\n-y\n+Y\n z\n";

	refuses(*state, preimage, hunks, REASON_PATCH_AMBIGUOUS, "hunk 2");
}

static void test_sides_that_disagree_prove_nothing(void **state)
{
	static const char preimage[] = "x\ny\nz\nx\ny\nz\n";

	gives(*state, preimage, "@@ -4,3 +4,3 @@\n x\n-y\n+Y\n z\n", "x\ny\nz\nx\nY\nz\n");
	refuses(*state, preimage, "@@ -4,3 +1,3 @@\n x\n-y\n+Y\n z\n", REASON_PATCH_AMBIGUOUS,
		"at line 1 and at line 4");
}

static void test_ends_of_the_file_tie_a_hunk(void **state)
{
	refuses(*state, "new\na\nb\nc\n", "@@ -1,2 +1,2 @@\n-a\n+A\n b\n", REASON_PATCH_CONFLICT,
		"start of the file");
	refuses(*state, "a\nb\nc\nd\n", "@@ -2,2 +2,2 @@\n b\n-c\n+C\n", REASON_PATCH_CONFLICT,
		"end of the file");
	gives(*state, "0\na\nb\nc\n", "@@ -2,2 +2,2 @@\n b\n-c\n+C\n", "0\na\nb\nC\n");
}

/* --- without context ---------------------------------------------------------- */

static void test_without_context_only_the_number_counts(void **state)
{
	struct rig *rig = *state;

	refuses(rig, "a\nb\n", "@@ -1,0 +2 @@\n+x\n", REASON_PATCH_AMBIGUOUS, "only adds");
	assert_int_equal(place(rig, "a\nb\n", "@@ -1,0 +2 @@\n+x\n", true), 0);
	assert_memory_equal(rig->result.postimage.data, "a\nx\nb\n", 6);
	assert_int_equal(place(rig, "a\nb\n", "@@ -0,0 +1 @@\n+x\n@@ -2,0 +4 @@\n+y\n", true), 0);
	assert_memory_equal(rig->result.postimage.data, "x\na\nb\ny\n", 8);
	assert_int_equal(place(rig, "a\nb\n", "@@ -3,0 +4 @@\n+x\n", true), REFUSED);
	gives(rig, "a\nb\nc\n", "@@ -2 +2 @@\n-b\n+B\n", "a\nB\nc\n");
	refuses(rig, "0\na\nb\nc\n", "@@ -2 +2 @@\n-b\n+B\n", REASON_PATCH_CONFLICT,
		"may not move");
}

/* --- done before ---------------------------------------------------------------- */

static void test_a_change_that_is_there_says_so(void **state)
{
	refuses(*state, "a\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", REASON_PATCH_APPLIED,
		"already");
	refuses(*state, "0\na\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", REASON_PATCH_APPLIED,
		"already");
	refuses(*state, "a\nX\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", REASON_PATCH_CONFLICT,
		"expected | a");
	refuses(*state, "q\n", "@@ -1 +0,0 @@\n-b\n", REASON_PATCH_CONFLICT, "differ");
}

/* --- what is shown ---------------------------------------------------------------- */

static void test_a_conflict_shows_both_sides_and_the_line_of_the_diff(void **state)
{
	struct rig *rig = *state;

	refuses(rig, "1\n2\n3\nfour\n5\n6\n", "@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n+FIVE\n 6\n",
		REASON_PATCH_CONFLICT, "line 6: hunk 1");
	assert_non_null(strstr(rig->reason.message, "expected | 3\n           | 4"));
	assert_non_null(strstr(rig->reason.message, "found    | 3\n           | four"));
	refuses(rig, "0\n0\n0\n0\nunique\nb\nc\n", "@@ -2,3 +2,3 @@\n unique\n-x\n+y\n c\n",
		REASON_PATCH_CONFLICT, "nearest lines are elsewhere");
	assert_non_null(strstr(rig->reason.message, "found    | unique\n           | b"));
}

/* --- cost ---------------------------------------------------------------------------- */

/* `hunks` hunks, each with one line of context around; all are `shift` off. */
static void build_drift(struct buf *preimage, struct buf *diff, size_t hunks, unsigned shift)
{
	buf_clear(preimage);
	buf_clear(diff);
	for (unsigned i = 0; i < shift; i++)
		buf_add_text(preimage, "shift\n");
	for (size_t i = 0; i < 4 * hunks; i++)
		buf_printf(preimage, "%s%zu\n", i % 4 == 3 ? "}" : "l", i % 4 == 3 ? i % 8 : i);
	for (size_t i = 0; i < hunks; i++)
		buf_printf(diff, "@@ -%zu,3 +%zu,3 @@\n l%zu\n-l%zu\n+n\n l%zu\n", 4 * i + 2,
			   4 * i + 2, 4 * i, 4 * i + 1, 4 * i + 2);
	assert_false(preimage->failed || diff->failed);
}

static void test_many_moved_hunks_cost_no_square(void **state)
{
	struct rig *rig = *state;
	struct buf preimage, diff;
	int64_t start;

	buf_init(&preimage, 64 << 20);
	buf_init(&diff, 64 << 20);
	build_drift(&preimage, &diff, 80000, 5);
	start = clock_mono_us();
	assert_int_equal(place_bytes(rig, buf_bytes(&preimage), buf_bytes(&diff), false), 0);
	assert_int_equal(rig->result.moved, 80000);
	assert_true(clock_mono_us() - start < 5000000); /* a square would take hours */
	buf_release(&preimage);
	buf_release(&diff);
}

static void test_lines_that_repeat_exhaust_a_budget(void **state)
{
	struct rig *rig = *state;
	struct buf preimage, diff;
	int64_t start;

	buf_init(&preimage, 64 << 20);
	buf_init(&diff, 64 << 20);
	for (size_t i = 0; i < 300000; i++)
		buf_add_text(&preimage, i % 2 == 0 ? "a\n" : "b\n");
	buf_add_text(&diff, "@@ -10,2000 +10,2001 @@\n");
	for (size_t i = 0; i < 1999; i++)
		buf_add_text(&diff, i % 2 == 0 ? " a\n" : " b\n");
	buf_add_text(&diff, "+c\n b\n");
	start = clock_mono_us();
	assert_int_equal(place_bytes(rig, buf_bytes(&preimage), buf_bytes(&diff), false), REFUSED);
	assert_true(clock_mono_us() - start < 5000000);
	buf_release(&preimage);
	buf_release(&diff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_the_stated_line_though_others_fit),
		cmocka_unit_test(test_line_ends_are_bytes),
		cmocka_unit_test(test_a_file_of_nothing),
		cmocka_unit_test(test_the_only_other_place),
		cmocka_unit_test(test_two_other_places_are_ambiguous),
		cmocka_unit_test(test_after_a_move_the_stated_line_proves_nothing),
		cmocka_unit_test(test_sides_that_disagree_prove_nothing),
		cmocka_unit_test(test_ends_of_the_file_tie_a_hunk),
		cmocka_unit_test(test_without_context_only_the_number_counts),
		cmocka_unit_test(test_a_change_that_is_there_says_so),
		cmocka_unit_test(test_a_conflict_shows_both_sides_and_the_line_of_the_diff),
		cmocka_unit_test(test_many_moved_hunks_cost_no_square),
		cmocka_unit_test(test_lines_that_repeat_exhaust_a_budget),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
