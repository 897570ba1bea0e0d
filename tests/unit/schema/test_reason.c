/* test_reason.c - the tables of verdicts and reasons, and foreign text in them. */
#include "kit.h"

#include "base/text.h"
#include "schema/reason.h"

static void verdicts_have_names_and_codes(void **state)
{
	enum verdict verdict;

	(void)state;
	for (int i = 0; i < VERDICT_COUNT; i++) {
		assert_true(verdict_parse(verdict_name((enum verdict)i), &verdict));
		assert_int_equal(verdict, i);
		assert_true(strlen(verdict_meaning((enum verdict)i)) > 0);
	}
	assert_false(verdict_parse("", &verdict));
	assert_int_equal(verdict_exit_code(VERDICT_passed), 0);
	assert_int_equal(verdict_exit_code(VERDICT_rejected), 3);
	assert_int_equal(verdict_exit_code(VERDICT_error), 6);
}

static void reasons_have_names(void **state)
{
	enum reason_code code;

	(void)state;
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		assert_true(reason_code_parse(reason_code_name((enum reason_code)i), &code));
		assert_int_equal(code, i);
		assert_non_null(reason_code_hint((enum reason_code)i));
	}
	assert_false(reason_code_parse("", &code));
	assert_false(reason_code_parse("patch", &code));
	assert_string_equal(reason_code_name(REASON_PATCH_PROTECTED), "patch.protected");
}

static void text_is_made_utf8(void **state)
{
	struct reason reason;

	(void)state;
	assert_int_equal(reason_set(&reason, REASON_PATCH_PATH, "a\xff\xc3", "line\n%s",
				    "\xe2\x82 \xe2\x82\xac \xed\xa0\x80"),
			 REFUSED);
	assert_int_equal(reason.code, REASON_PATCH_PATH);
	assert_string_equal(reason.subject, "a??");
	assert_string_equal(reason.message, "line\n?? \xe2\x82\xac ???");
	(void)reason_set(&reason, REASON_PATCH_PATH, NULL, "x");
	assert_string_equal(reason.subject, "");
}

static void text_is_cut_between_characters(void **state)
{
	char text[2 * REASON_MESSAGE_BYTES];
	struct reason reason;

	(void)state;
	for (size_t shift = 0; shift < 4; shift++) {
		size_t len = shift;

		(void)memset(text, 'x', shift);
		while (len + 4 < sizeof(text)) {
			(void)memcpy(text + len, "\xf0\x9f\x98\x80", 4);
			len += 4;
		}
		text[len] = '\0';
		(void)reason_set(&reason, REASON_PATCH_PATH, text, "%s", text);
		len = strlen(reason.message);
		assert_in_range(len, REASON_MESSAGE_BYTES - 5, REASON_MESSAGE_BYTES - 1);
		assert_true(text_is_utf8(reason.message, len));
		assert_null(strchr(reason.message, '?'));
		assert_true(text_is_utf8(reason.subject, strlen(reason.subject)));
		assert_null(strchr(reason.subject, '?'));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts_have_names_and_codes),
		cmocka_unit_test(reasons_have_names),
		cmocka_unit_test(text_is_made_utf8),
		cmocka_unit_test(text_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
