/*
 * diff_header.c - the lines before a file's hunks.
 *
 * Header lines are collected first, each at most once, and judged together
 * afterwards: what is claimed (a creation, a rename, ...) must be claimed once,
 * and all the names must agree, those behind "diff --git" too. git itself
 * believes the rename lines and lets the first line say something else, which
 * hides a rename from whoever reads or checks names by that line.
 */
#include <string.h>

#include "snapshots/diff_private.h"

enum header_word {
	OLD_MODE,
	NEW_MODE,
	CREATED,
	DELETED,
	RENAME_FROM,
	RENAME_TO,
	COPY_FROM,
	COPY_TO,
	SIMILARITY,
	DISSIMILARITY,
	INDEX,
	WORDS
};

static const char *const words[WORDS] = {
	[OLD_MODE] = "old mode ",
	[NEW_MODE] = "new mode ",
	[CREATED] = "new file mode ",
	[DELETED] = "deleted file mode ",
	[RENAME_FROM] = "rename from ",
	[RENAME_TO] = "rename to ",
	[COPY_FROM] = "copy from ",
	[COPY_TO] = "copy to ",
	[SIMILARITY] = "similarity index ",
	[DISSIMILARITY] = "dissimilarity index ",
	[INDEX] = "index ",
};

struct header {
	struct bytes names; /* behind "diff --git " */
	size_t at_line;
	bool seen[WORDS];
	uint32_t modes[WORDS];
	const char *from; /* of rename or copy */
	const char *to;
	const char *old_oid;
	const char *new_oid;
	uint32_t index_mode;
	bool has_sides; /* --- and +++ */
	struct bytes sides[2];
	const char *side_names[2]; /* NULL: /dev/null */
};

/* --- single lines ------------------------------------------------------ */

static int take_mode(struct diff_parser *parser, struct bytes text, uint32_t *ret)
{
	uint32_t mode = 0;
	size_t i = 0;

	for (; i < text.len && text.data[i] >= '0' && text.data[i] <= '7' && i < 7; i++)
		mode = mode << 3 | (uint32_t)(text.data[i] - '0');
	if (i == 0 || i != text.len)
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED, "a mode is octal digits");
	/* 0 stands for "not said" from here on. */
	if (mode == 0)
		return diff_refuse_here(parser, REASON_PATCH_MODE, "mode 000000 is not allowed");
	*ret = mode;
	return 0;
}

/* An oid as written, or NULL when it is none: then it proves nothing. */
static int take_oid(struct diff_parser *parser, struct bytes text, const char **ret)
{
	*ret = NULL;
	if (text.len < 4 || text.len > 40)
		return 0;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
			return 0;
	}
	*ret = arena_memdup(parser->arena, text.data, text.len);
	return *ret == NULL ? diff_exhausted(parser) : 0;
}

/* "<oid>..<oid>[ <mode>]" */
static int take_index(struct diff_parser *parser, struct bytes text, struct header *header)
{
	const uint8_t *dots = memmem(text.data, text.len, "..", 2);
	const uint8_t *space = memchr(text.data, ' ', text.len);
	struct bytes old_oid, new_oid;
	int code = 0;

	if (dots == NULL || (space != NULL && space < dots))
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"an index line is 'index <oid>..<oid> <mode>'");
	old_oid = (struct bytes){text.data, (size_t)(dots - text.data)};
	new_oid = diff_after(text, old_oid.len + 2);
	if (space != NULL) {
		new_oid.len = (size_t)(space - new_oid.data);
		code = take_mode(parser, diff_after(text, (size_t)(space - text.data) + 1),
				 &header->index_mode);
	}
	if (code == 0)
		code = take_oid(parser, old_oid, &header->old_oid);
	if (code == 0)
		code = take_oid(parser, new_oid, &header->new_oid);
	return code;
}

static int take_word(struct diff_parser *parser, enum header_word word, struct bytes text,
		     struct header *header)
{
	unsigned strip = parser->strip > 0 ? parser->strip - 1 : 0;

	if (header->seen[word])
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"a second '%s' line for one file", words[word]);
	header->seen[word] = true;
	switch (word) {
	case OLD_MODE:
	case NEW_MODE:
	case CREATED:
	case DELETED:
		return take_mode(parser, text, &header->modes[word]);
	case RENAME_FROM:
	case COPY_FROM:
		return diff_name(parser, text, strip, false, &header->from);
	case RENAME_TO:
	case COPY_TO:
		return diff_name(parser, text, strip, false, &header->to);
	case INDEX:
		return take_index(parser, text, header);
	case SIMILARITY:
	case DISSIMILARITY:
	case WORDS:
		return 0;
	}
	return 0;
}

/* --- "--- " and "+++ " ------------------------------------------------- */

/* Both lines, when the next two are these. */
static bool peek_sides(struct diff_parser *parser, struct diff_raw ret[2])
{
	return diff_peek(parser, &ret[0]) && diff_starts(ret[0].text, "--- ") &&
	       diff_raw_at(parser, ret[0].next, &ret[1]) && diff_starts(ret[1].text, "+++ ");
}

static int take_sides(struct diff_parser *parser, bool plain, struct header *header)
{
	struct diff_raw lines[2];

	if (!peek_sides(parser, lines))
		return diff_refuse_here(parser, REASON_PATCH_MALFORMED,
					"a '--- ' line without its '+++ ' line");
	header->has_sides = true;
	parser->sides = true;
	for (size_t i = 0; i < 2; i++) {
		struct bytes text = diff_after(lines[i].text, 4);
		int code = 0;

		header->sides[i] = text;
		if (!diff_is_null(text) && plain)
			code = diff_plain_name(parser, text, &header->side_names[i]);
		else if (!diff_is_null(text))
			code = diff_name(parser, text, parser->strip, true, &header->side_names[i]);
		if (code != 0)
			return code;
		diff_skip(parser, &lines[i]);
	}
	return 0;
}

static bool sides_swapped(const struct header *header)
{
	return header->has_sides && diff_starts(header->sides[0], "b/") &&
	       diff_starts(header->sides[1], "a/");
}

/* --- judging a git header ---------------------------------------------- */

static int inconsistent(struct diff_parser *parser, const struct header *header, const char *what)
{
	return diff_refuse(parser, REASON_PATCH_MALFORMED, header->at_line, header->names,
			   "the header contradicts itself: %s", what);
}

static int judge_words(struct diff_parser *parser, const struct header *header)
{
	const bool *seen = header->seen;

	if (seen[RENAME_FROM] != seen[RENAME_TO] || seen[COPY_FROM] != seen[COPY_TO])
		return inconsistent(parser, header, "a rename or copy needs 'from' and 'to'");
	if (seen[CREATED] + seen[DELETED] + seen[RENAME_FROM] + seen[COPY_FROM] > 1)
		return inconsistent(parser, header,
				    "a file is created, deleted, renamed or copied");
	if (seen[OLD_MODE] != seen[NEW_MODE])
		return inconsistent(parser, header, "'old mode' and 'new mode' go together");
	if (seen[OLD_MODE] && (seen[CREATED] || seen[DELETED]))
		return inconsistent(parser, header, "a mode change of a new or deleted file");
	if (header->has_sides && (header->side_names[0] == NULL) != seen[CREATED])
		return inconsistent(parser, header,
				    "'--- /dev/null' and 'new file mode' go together");
	if (header->has_sides && (header->side_names[1] == NULL) != seen[DELETED])
		return inconsistent(parser, header,
				    "'+++ /dev/null' and 'deleted file mode' go together");
	return 0;
}

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL || strcmp(a, b) == 0;
}

/* The two effective names, agreed on by every line that has one. */
static int judge_names(struct diff_parser *parser, const struct header *header,
		       struct diff_file *ret)
{
	const char *old_name = header->from;
	const char *new_name = header->to;
	bool agree = true;
	int code = 0;

	if (old_name == NULL) {
		old_name = header->side_names[0];
		new_name = header->side_names[1];
		if (old_name == NULL)
			old_name = new_name;
		if (new_name == NULL)
			new_name = old_name;
		if (old_name == NULL) {
			code = diff_twin_name(parser, header->names, &old_name);
			new_name = old_name;
		}
		if (code == 0 && (old_name == NULL || strcmp(old_name, new_name) != 0))
			return inconsistent(parser, header,
					    "the names differ, but nothing says 'rename'");
	}
	if (code == 0 &&
	    (!same(old_name, header->side_names[0]) || !same(new_name, header->side_names[1])))
		return inconsistent(parser, header, "'---' and '+++' name other files");
	if (code == 0)
		code = diff_names_are(parser, header->names, old_name, new_name, &agree);
	if (code == 0 && !agree)
		return inconsistent(parser, header, "its first line names other files");
	ret->old_path = header->seen[CREATED] ? NULL : old_name;
	ret->new_path = header->seen[DELETED] ? NULL : new_name;
	return code;
}

static enum diff_change change_of(const struct header *header)
{
	if (header->seen[CREATED])
		return DIFF_CREATE;
	if (header->seen[DELETED])
		return DIFF_DELETE;
	if (header->seen[RENAME_FROM])
		return DIFF_RENAME;
	return header->seen[COPY_FROM] ? DIFF_COPY : DIFF_MODIFY;
}

static void fill(const struct header *header, struct diff_file *ret)
{
	ret->change = change_of(header);
	ret->old_mode = header->seen[DELETED]	 ? header->modes[DELETED]
			: header->seen[OLD_MODE] ? header->modes[OLD_MODE]
						 : header->index_mode;
	ret->new_mode = header->seen[CREATED] ? header->modes[CREATED] : header->modes[NEW_MODE];
	ret->old_oid = header->old_oid;
	ret->new_oid = header->new_oid;
	ret->sides_swapped = sides_swapped(header);
	ret->at_line = header->at_line;
}

bool diff_is_cut_off(struct bytes text)
{
	static const char *const others[] = {"diff --git ", "--- ", "@@ -", "GIT binary patch",
					     "Binary files "};

	for (size_t i = 0; i < WORDS + ARRAY_LEN(others); i++) {
		const char *word = i < WORDS ? words[i] : others[i - WORDS];
		size_t len = strlen(word) < text.len ? strlen(word) : text.len;

		if (memcmp(text.data, word, len) == 0)
			return true;
	}
	return false;
}

/* Takes the lines with a known word; the first other one ends the header. */
static int take_words(struct diff_parser *parser, struct header *header)
{
	struct diff_raw line;

	while (diff_peek(parser, &line)) {
		size_t word = 0;
		int code;

		while (word < WORDS && !diff_starts(line.text, words[word]))
			word++;
		if (word == WORDS)
			return 0;
		if (!line.whole)
			return diff_refuse_here(parser, REASON_PATCH_TRUNCATED,
						"the diff ends inside a header");
		code = take_word(parser, (enum header_word)word,
				 diff_after(line.text, strlen(words[word])), header);
		if (code != 0)
			return code;
		diff_skip(parser, &line);
	}
	return 0;
}

int diff_git_header(struct diff_parser *parser, struct diff_file *ret)
{
	struct header header = {.at_line = parser->line};
	struct diff_raw line = {0};
	int code;

	(void)diff_peek(parser, &line);
	header.names = diff_after(line.text, strlen("diff --git "));
	if (!line.whole)
		return diff_refuse_here(parser, REASON_PATCH_TRUNCATED,
					"the diff ends inside a header");
	diff_skip(parser, &line);
	code = take_words(parser, &header);
	if (code == 0 && diff_peek(parser, &line) && diff_starts(line.text, "--- "))
		code = take_sides(parser, false, &header);
	if (code == 0)
		code = judge_words(parser, &header);
	if (code == 0)
		code = judge_names(parser, &header, ret);
	if (code == 0)
		fill(&header, ret);
	return code;
}

/* --- a header without git ---------------------------------------------- */

/* Which of "x" and "x.orig" is meant: the one that the other starts with. NULL
 * when they are two files. */
static const char *common_name(const char *a, const char *b)
{
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);
	size_t len = a_len < b_len ? a_len : b_len;
	const char *longer = a_len < b_len ? b : a;

	if (memcmp(a, b, len) != 0 || longer[len] == '/')
		return NULL;
	return a_len <= b_len ? a : b;
}

int diff_plain_header(struct diff_parser *parser, struct diff_file *ret)
{
	struct header header = {.at_line = parser->line};
	struct diff_raw line;
	const char *name, *old_name, *new_name;
	bool created, deleted;
	int code;

	(void)diff_peek(parser, &line);
	code = take_sides(parser, true, &header);
	if (code != 0)
		return code;
	old_name = header.side_names[0];
	new_name = header.side_names[1];
	created = old_name == NULL || diff_is_epoch(header.sides[0]);
	deleted = new_name == NULL || diff_is_epoch(header.sides[1]);
	if (created && deleted)
		return diff_refuse(parser, REASON_PATCH_MALFORMED, header.at_line, line.text,
				   "the file exists on neither side");
	name = old_name == NULL	  ? new_name
	       : new_name == NULL ? old_name
				  : common_name(old_name, new_name);
	if (name == NULL)
		return diff_refuse(parser, REASON_PATCH_MALFORMED, header.at_line, line.text,
				   "'---' and '+++' name two files");
	*ret = (struct diff_file){
		.change = created   ? DIFF_CREATE
			  : deleted ? DIFF_DELETE
				    : DIFF_MODIFY,
		.old_path = created ? NULL : name,
		.new_path = deleted ? NULL : name,
		.plain = true,
		.sides_swapped = sides_swapped(&header),
		.at_line = header.at_line,
	};
	return 0;
}
