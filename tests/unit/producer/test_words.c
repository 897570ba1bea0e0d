/* test_words.c - a command line becomes the argv that was meant, or an error. */
#include "producer/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schema/limits.h"

static void lines_become_words(void **state)
{
	static const struct {
		const char *line;
		const char *words[6];
	} rows[] = {
		{"make test", {"make", "test"}},
		{"  make \t test\n", {"make", "test"}},
		{"a 'b c' d", {"a", "b c", "d"}},
		{"a \"b c\" d", {"a", "b c", "d"}},
		{"a b\\ c", {"a", "b c"}},
		{"a ''", {"a", ""}},
		{"'' \"\"", {"", ""}},
		{"x'y'\"z\"", {"xyz"}},
		{"a '$HOME|;\\'", {"a", "$HOME|;\\"}},
		{"a \"\\$x \\\" \\\\ \\n\"", {"a", "$x \" \\ \\n"}},
		{"a \\$x \\| \\'", {"a", "$x", "|", "'"}},
		{"a \\\nb", {"a", "b"}},
		{"a b\\\nc", {"a", "bc"}},
		{"a \"b\\\nc\"", {"a", "bc"}},
		{"pytest -k 'a or b' t/test_*.py", {"pytest", "-k", "a or b", "t/test_*.py"}},
		{"env A=b c", {"env", "A=b", "c"}},
		{"'A=b' c", {"A=b", "c"}},
		{"./x=y z", {"./x=y", "z"}},
		{"caf\xc3\xa9", {"caf\xc3\xa9"}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena arena;
		struct text_list words = {0};
		struct err err = {0};
		size_t len = 0;

		arena_init(&arena, 1 << 20);
		if (words_split(&arena, rows[i].line, &words, &err) < 0)
			fail_msg("'%s': %s", rows[i].line, err.message);
		while (len < ARRAY_LEN(rows[i].words) && rows[i].words[len] != NULL)
			len++;
		if (words.len != len)
			fail_msg("'%s' gave %zu words", rows[i].line, words.len);
		for (size_t k = 0; k < len; k++)
			assert_string_equal(words.items[k], rows[i].words[k]);
		assert_null(words.items[len]);
		arena_release(&arena);
	}
}

static void what_needs_a_shell_is_refused(void **state)
{
	static const struct {
		const char *line;
		const char *error;
	} rows[] = {
		{"", "the command line is empty"},
		{" \t ", "the command line is empty"},
		{"a 'b", "a single quote is not closed"},
		{"a \"b", "a double quote is not closed"},
		{"a \"b\\", "a double quote is not closed"},
		{"a \\", "a backslash at the end"},
		{"make | tee log", "'|' has no meaning without a shell"},
		{"make && x", "'&' has no meaning without a shell"},
		{"make; x", "';' has no meaning without a shell"},
		{"make > log", "'>' has no meaning without a shell"},
		{"(make)", "'(' has no meaning without a shell"},
		{"echo $HOME", "'$' expands nothing without a shell"},
		{"echo \"$HOME\"", "'$' expands nothing without a shell"},
		{"echo `id`", "'`' expands nothing without a shell"},
		{"CC=gcc make", "'CC=gcc' would only set a variable"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arena arena;
		struct text_list words = {0};
		struct err err = {0};

		arena_init(&arena, 1 << 20);
		if (words_split(&arena, rows[i].line, &words, &err) == 0)
			fail_msg("'%s' was taken", rows[i].line);
		assert_int_equal(err.kind, ERR_INPUT);
		if (strstr(err.message, rows[i].error) == NULL)
			fail_msg("'%s': %s", rows[i].line, err.message);
		assert_int_equal(words.len, 0);
		arena_release(&arena);
	}
}

static void the_number_of_words_is_bounded(void **state)
{
	static char line[2 * LIMIT_ARGV + 4];
	struct arena arena;
	struct text_list words = {0};
	struct err err = {0};

	(void)state;
	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < LIMIT_ARGV; i++)
		memcpy(line + 2 * i, "a ", 2);
	assert_int_equal(words_split(&arena, line, &words, &err), 0);
	assert_int_equal(words.len, LIMIT_ARGV);
	(void)snprintf(line + 2 * (size_t)LIMIT_ARGV, 3, "a ");
	assert_int_equal(words_split(&arena, line, &words, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_become_words),
		cmocka_unit_test(what_needs_a_shell_is_refused),
		cmocka_unit_test(the_number_of_words_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
