/*
 * words.c - one pass with a single word under construction. The word's text
 * is written into a copy as long as the line, for quoting only ever shortens.
 */
#include "producer/words.h"

#include <assert.h>
#include <string.h>

#include "schema/limits.h"

struct splitter {
	const char *at;
	char *out;	  /* where the next character of a word goes */
	const char *word; /* start of the current word, NULL between words */
	bool quoted;	  /* the current word has had a quote or backslash */
	struct text_list list;
};

/* --- what only a shell understands ------------------------------------ */

static int refuse_operator(char c, struct err *err)
{
	return err_set(err, ERR_INPUT,
		       "'%c' has no meaning without a shell; quote it ('%c'), or use --shell", c,
		       c);
}

static int refuse_expansion(char c, struct err *err)
{
	return err_set(
		err, ERR_INPUT,
		"'%c' expands nothing without a shell; put it in single quotes, or use --shell", c);
}

/* NAME=value before the command sets a variable in a shell only. */
static bool is_assignment(const char *word)
{
	size_t n = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return n > 0 && word[n] == '=' && !(word[0] >= '0' && word[0] <= '9');
}

/* --- one word --------------------------------------------------------- */

static void put(struct splitter *s, char c)
{
	if (s->word == NULL)
		s->word = s->out;
	*s->out++ = c;
}

static int read_single(struct splitter *s, struct err *err)
{
	const char *end = strchr(s->at, '\'');

	if (end == NULL)
		return err_set(err, ERR_INPUT, "a single quote is not closed");
	while (s->at < end)
		put(s, *s->at++);
	s->at++;
	return 0;
}

static int read_double(struct splitter *s, struct err *err)
{
	for (;;) {
		char c = *s->at++;

		if (c == '\0')
			return err_set(err, ERR_INPUT, "a double quote is not closed");
		if (c == '"')
			return 0;
		if (c == '$' || c == '`')
			return refuse_expansion(c, err);
		if (c == '\\' && *s->at != '\0' && strchr("\"\\$`\n", *s->at) != NULL) {
			c = *s->at++;
			if (c == '\n')
				continue;
		}
		put(s, c);
	}
}

static int read_quoted(struct splitter *s, char quote, struct err *err)
{
	if (quote == '\\' && *s->at == '\n') {
		s->at++;
		return 0;
	}
	s->quoted = true;
	if (s->word == NULL)
		s->word = s->out;
	if (quote == '\'')
		return read_single(s, err);
	if (quote == '"')
		return read_double(s, err);
	if (*s->at == '\0')
		return err_set(err, ERR_INPUT, "a backslash at the end escapes nothing");
	put(s, *s->at++);
	return 0;
}

static int end_word(struct splitter *s, struct err *err)
{
	if (s->word == NULL)
		return 0;
	*s->out++ = '\0';
	if (s->list.len == 0 && !s->quoted && is_assignment(s->word))
		return err_set(err, ERR_INPUT,
			       "'%s' would only set a variable in a shell; use --env, or --shell",
			       s->word);
	if (s->list.len == LIMIT_ARGV)
		return err_set(err, ERR_LIMIT, "more than %d words", LIMIT_ARGV);
	s->list.items[s->list.len++] = s->word;
	s->word = NULL;
	s->quoted = false;
	return 0;
}

/* --- the line --------------------------------------------------------- */

static int split(struct splitter *s, struct err *err)
{
	while (*s->at != '\0') {
		char c = *s->at++;
		int rc = 0;

		if (c == ' ' || c == '\t' || c == '\n')
			rc = end_word(s, err);
		else if (c == '\'' || c == '"' || c == '\\')
			rc = read_quoted(s, c, err);
		else if (strchr("|&;<>()", c) != NULL)
			rc = refuse_operator(c, err);
		else if (c == '$' || c == '`')
			rc = refuse_expansion(c, err);
		else
			put(s, c);
		if (rc < 0)
			return -1;
	}
	return end_word(s, err);
}

int words_split(struct arena *arena, const char *line, struct text_list *ret, struct err *err)
{
	size_t len = strlen(line);
	size_t most = len / 2 + 2 < LIMIT_ARGV ? len / 2 + 2 : LIMIT_ARGV;
	struct splitter s = {
		.at = line,
		.out = arena_alloc(arena, len + 2),
		.list.items = arena_array(arena, most + 1, sizeof(*s.list.items)),
	};

	if (s.out == NULL || s.list.items == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (split(&s, err) < 0)
		return -1;
	if (s.list.len == 0)
		return err_set(err, ERR_INPUT, "the command line is empty");
	s.list.items[s.list.len] = NULL;
	*ret = s.list;
	return 0;
}
