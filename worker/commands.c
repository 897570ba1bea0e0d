/*
 * commands.c - theory: the patterns become one trie of words. A node stands
 * for the words read so far; its children hang in one hash table keyed by
 * (node, word), but the child behind a '*', which the node names itself. A
 * step follows all ways that fit, so the cost does not grow with the number of
 * patterns that do not.
 *
 * Words of a job are compared byte for byte, so nothing can be hidden from the
 * list by spelling; what a permitted program does with its arguments is the
 * sandbox's concern.
 */
#include "worker/commands.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"

enum {
	PATTERN_WORDS = 1024,
	NODES_MAX = 1 << 20,
	SHOWN_BYTES = 400, /* of an argv in a message */
	NEAR_EDITS = 2,
};

struct node {
	uint32_t any_child; /* behind '*'; 0: none */
	uint32_t pattern;   /* that ends here, counted from 1; 0: none */
	uint32_t rest;	    /* pattern whose '**' starts here; 0: none */
};

struct edge {
	const char *word; /* NULL: a free place */
	uint32_t from;
	uint32_t to;
};

struct commands {
	bool off;
	const char **patterns; /* as the operator wrote them */
	size_t patterns_len;
	struct node *nodes; /* 0 is the root */
	size_t nodes_len;
	size_t nodes_capacity;
	struct edge *edges;
	size_t edges_mask;
};

/* --- words of a pattern ----------------------------------------------- */

enum word_kind { WORD_TEXT, WORD_ANY, WORD_REST };

struct word {
	enum word_kind kind;
	const char *text;
};

struct lexer {
	const char *at;
	const char *pattern; /* for messages */
	struct arena *arena;
};

static int wrong(const struct lexer *lexer, const char *what, struct err *err)
{
	return err_set(err, ERR_INPUT, "pattern '%.128s': %s", lexer->pattern, what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Copies a quoted part behind its quote, to its end. */
static int lex_quoted(struct lexer *lexer, char quote, char **to, struct err *err)
{
	for (; *lexer->at != quote; lexer->at++) {
		if (quote == '"' && *lexer->at == '\\' &&
		    (lexer->at[1] == '"' || lexer->at[1] == '\\'))
			lexer->at++;
		if (*lexer->at == '\0')
			return wrong(lexer, "a quote is not closed", err);
		*(*to)++ = *lexer->at;
	}
	lexer->at++;
	return 0;
}

static enum word_kind word_kind(const char *text, size_t bare_stars, size_t len)
{
	if (bare_stars != len || len == 0 || len > 2)
		return WORD_TEXT;
	return text[1] == '*' ? WORD_REST : WORD_ANY;
}

/* One word; the lexer stands on its first character. */
static int lex_word(struct lexer *lexer, struct word *ret, struct err *err)
{
	char *text = arena_alloc(lexer->arena, strlen(lexer->at) + 1);
	char *to = text;
	size_t bare_stars = 0;

	if (text == NULL)
		return err_set(err, ERR_LIMIT, "cannot compile patterns: out of memory");
	while (*lexer->at != '\0' && !is_blank(*lexer->at)) {
		char c = *lexer->at++;

		if (c == '\'' || c == '"') {
			if (lex_quoted(lexer, c, &to, err) < 0)
				return -1;
			continue;
		}
		if (c == '\\') {
			c = *lexer->at++;
			if (c == '\0')
				return wrong(lexer, "it ends in a backslash", err);
		} else if (c == '*') {
			bare_stars++;
		}
		*to++ = c;
	}
	*to = '\0';
	ret->text = text;
	ret->kind = word_kind(text, bare_stars, (size_t)(to - text));
	if (bare_stars > 0 && ret->kind == WORD_TEXT)
		return wrong(lexer,
			     "'*' stands for a whole argument only; quote it to mean the "
			     "character",
			     err);
	return 0;
}

/* --- the trie --------------------------------------------------------- */

static uint64_t word_hash(uint32_t from, const char *word)
{
	uint64_t hash = 0xcbf29ce484222325u ^ ((uint64_t)from * 0x9e3779b97f4a7c15u);

	for (; *word != '\0'; word++)
		hash = (hash ^ (uint8_t)*word) * 0x100000001b3u;
	return hash ^ (hash >> 32);
}

/* The edge, or the free place where it belongs. */
static struct edge *find_edge(const struct commands *commands, uint32_t from, const char *word)
{
	size_t at = word_hash(from, word) & commands->edges_mask;

	for (;;) {
		struct edge *edge = &commands->edges[at];

		if (edge->word == NULL || (edge->from == from && strcmp(edge->word, word) == 0))
			return edge;
		at = (at + 1) & commands->edges_mask;
	}
}

static uint32_t add_node(struct commands *commands)
{
	assert(commands->nodes_len < commands->nodes_capacity);
	return (uint32_t)commands->nodes_len++;
}

static uint32_t child_for(struct commands *commands, uint32_t from, const struct word *word)
{
	struct edge *edge;

	if (word->kind == WORD_ANY) {
		if (commands->nodes[from].any_child == 0)
			commands->nodes[from].any_child = add_node(commands);
		return commands->nodes[from].any_child;
	}
	edge = find_edge(commands, from, word->text);
	if (edge->word == NULL)
		*edge = (struct edge){.word = word->text, .from = from, .to = add_node(commands)};
	return edge->to;
}

static int add_pattern(struct commands *commands, struct arena *arena, uint32_t number,
		       struct err *err)
{
	struct lexer lexer = {.pattern = commands->patterns[number - 1], .arena = arena};
	struct word word = {0};
	uint32_t at = 0;
	size_t len = 0;

	for (lexer.at = lexer.pattern;; len++) {
		while (is_blank(*lexer.at))
			lexer.at++;
		if (*lexer.at == '\0')
			break;
		if (word.kind == WORD_REST)
			return wrong(&lexer, "'**' may only be its last word", err);
		if (len >= PATTERN_WORDS)
			return wrong(&lexer, "it has too many words", err);
		if (lex_word(&lexer, &word, err) < 0)
			return -1;
		if (len == 0 && word.kind != WORD_TEXT)
			return wrong(&lexer,
				     "the program may not be a wildcard; the single "
				     "pattern 'off' allows everything",
				     err);
		if (word.kind != WORD_REST)
			at = child_for(commands, at, &word);
	}
	if (len == 0)
		return wrong(&lexer, "it is empty", err);
	if (word.kind == WORD_REST)
		commands->nodes[at].rest = number;
	else
		commands->nodes[at].pattern = number;
	return 0;
}

/* Room for a node and an edge for every word there can be. */
static int make_room(struct commands *commands, struct arena *arena, struct err *err)
{
	size_t words = 1;
	size_t places = 64;

	for (size_t i = 0; i < commands->patterns_len; i++)
		words += strlen(commands->patterns[i]) / 2 + 1;
	if (words > NODES_MAX)
		return err_set(err, ERR_LIMIT, "the patterns of commands are too long together");
	while (places < words * 2)
		places *= 2;
	commands->nodes_capacity = words;
	commands->nodes = arena_array(arena, words, sizeof(*commands->nodes));
	commands->edges = arena_array(arena, places, sizeof(*commands->edges));
	commands->edges_mask = places - 1;
	commands->nodes_len = 1;
	if (commands->nodes == NULL || commands->edges == NULL)
		return err_set(err, ERR_LIMIT, "cannot compile patterns: out of memory");
	return 0;
}

int commands_compile(struct arena *arena, const struct text_list *patterns, struct commands **ret,
		     struct err *err)
{
	struct commands *commands = arena_alloc(arena, sizeof(*commands));

	if (commands == NULL)
		return err_set(err, ERR_LIMIT, "cannot compile patterns: out of memory");
	commands->patterns_len = patterns->len;
	commands->patterns = arena_array(arena, patterns->len, sizeof(*commands->patterns));
	for (size_t i = 0; commands->patterns != NULL && i < patterns->len; i++)
		commands->patterns[i] = arena_strdup(arena, patterns->items[i]);
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "cannot compile patterns: out of memory");
	for (size_t i = 0; i < patterns->len; i++) {
		if (strcmp(patterns->items[i], "off") != 0)
			continue;
		if (patterns->len > 1)
			return err_set(err, ERR_INPUT,
				       "pattern 'off' allows everything and must stand alone; "
				       "quote it to mean a program of this name");
		commands->off = true;
	}
	if (make_room(commands, arena, err) < 0)
		return -1;
	for (size_t i = 0; !commands->off && i < patterns->len; i++) {
		if (add_pattern(commands, arena, (uint32_t)i + 1, err) < 0)
			return -1;
	}
	*ret = commands;
	return 0;
}

/* --- a walk ----------------------------------------------------------- */

struct walk {
	const struct commands *commands;
	const char *const *argv;
	size_t len;
	size_t deepest_len; /* words of the longest way that fitted */
	uint32_t deepest;   /* node at its end; 0: not even the program is known */
};

/* Whether the arguments behind the first `at` lead on from `node` to an end.
 * As deep as a pattern is long; each node is seen once at most. */
static bool leads_on(struct walk *walk, uint32_t node, size_t at)
{
	const struct node *here = &walk->commands->nodes[node];
	const struct edge *edge;

	if (at > walk->deepest_len) {
		walk->deepest_len = at;
		walk->deepest = node;
	}
	if (here->rest != 0 || (at == walk->len && here->pattern != 0))
		return true;
	if (at == walk->len)
		return false;
	edge = find_edge(walk->commands, node, walk->argv[at]);
	if (edge->word != NULL && leads_on(walk, edge->to, at + 1))
		return true;
	return here->any_child != 0 && leads_on(walk, here->any_child, at + 1);
}

/* --- messages --------------------------------------------------------- */

/* A pattern below `node`, for the message: the first one found on the way
 * down. Every leaf ends one. */
static uint32_t pattern_below(const struct commands *commands, uint32_t node)
{
	while (commands->nodes[node].pattern == 0 && commands->nodes[node].rest == 0) {
		uint32_t next = commands->nodes[node].any_child;

		for (size_t i = 0; next == 0 && i <= commands->edges_mask; i++) {
			if (commands->edges[i].word != NULL && commands->edges[i].from == node)
				next = commands->edges[i].to;
		}
		assert(next != 0);
		node = next;
	}
	return commands->nodes[node].pattern != 0 ? commands->nodes[node].pattern
						  : commands->nodes[node].rest;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

/* The node of the program most like this one: the same file under another
 * path, or a small slip. 0: none. */
static uint32_t near_program(const struct commands *commands, const char *program)
{
	const struct edge *near = NULL;
	size_t near_edits = NEAR_EDITS + 1;

	for (size_t i = 0; i <= commands->edges_mask; i++) {
		const struct edge *edge = &commands->edges[i];
		size_t edits;

		if (edge->word == NULL || edge->from != 0)
			continue;
		edits = strcmp(base_name(edge->word), base_name(program)) == 0
				? 0
				: text_distance(edge->word, program);
		if (edits < near_edits && edits * 2 < strlen(edge->word) + 1) {
			near_edits = edits;
			near = edge;
		}
	}
	return near == NULL ? 0 : near->to;
}

/* The argv as a shell would read it, cut where the message ends. */
static void show_argv(const char *const *argv, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len && out->len < SHOWN_BYTES; i++) {
		bool plain = *argv[i] != '\0' && strpbrk(argv[i], " \t\n'\"\\*$`&|;<>()") == NULL;

		buf_printf(out, "%s%s%.*s%s", i == 0 ? "" : " ", plain ? "" : "'", SHOWN_BYTES,
			   argv[i], plain ? "" : "'");
	}
	if (out->len > SHOWN_BYTES) {
		out->len = SHOWN_BYTES;
		out->data[out->len] = 0;
		buf_add_text(out, "...");
	}
}

static int refuse(const struct walk *walk, const char *name, struct reason *ret_reason)
{
	const struct commands *commands = walk->commands;
	uint32_t near = walk->deepest != 0 ? walk->deepest : near_program(commands, walk->argv[0]);
	CLEANUP(buf_release) struct buf shown;

	/* Room for what show_argv adds before it looks at the length again. */
	buf_init(&shown, 4 * SHOWN_BYTES);
	show_argv(walk->argv, walk->len, &shown);
	if (commands->patterns_len == 0)
		return reason_set(ret_reason, REASON_POLICY_COMMAND, name,
				  "step '%s' may not run %s: the worker allows no command", name,
				  buf_text(&shown));
	if (near == 0)
		return reason_set(ret_reason, REASON_POLICY_COMMAND, name,
				  "step '%s' may not run %s: no allowed command is like it", name,
				  buf_text(&shown));
	return reason_set(ret_reason, REASON_POLICY_COMMAND, name,
			  "step '%s' may not run %s; the nearest allowed command is: %.300s", name,
			  buf_text(&shown), commands->patterns[pattern_below(commands, near) - 1]);
}

/* --- a job ------------------------------------------------------------ */

int commands_check(const struct commands *commands, const struct job *job,
		   struct reason *ret_reason)
{
	if (commands->off)
		return 0;
	for (size_t i = 0; i < job->steps_len; i++) {
		const struct job_step *step = &job->steps[i];
		const char *shell[] = {"sh", "-c", step->shell};
		const char *const *argv = step->shell != NULL ? shell : step->run.items;
		size_t len = step->shell != NULL ? ARRAY_LEN(shell) : step->run.len;
		struct walk walk = {.commands = commands, .argv = argv, .len = len};

		assert(len > 0);
		if (!leads_on(&walk, 0, 0))
			return refuse(&walk, step->name, ret_reason);
	}
	return 0;
}
