/*
 * diff_private.h - what the files of the diff parser share: the cursor over
 * lines, refusals that show a line, and the parts of the grammar.
 */
#ifndef SBX_SNAPSHOTS_DIFF_PRIVATE_H
#define SBX_SNAPSHOTS_DIFF_PRIVATE_H

#include <string.h>

#include "snapshots/diff.h"

struct diff_parser {
	struct arena *arena;
	const uint8_t *at; /* start of the next line */
	const uint8_t *end;
	size_t line; /* its number, from 1 */
	unsigned strip;
	struct diff_limits limits;
	size_t hunks;		/* so far, in all files */
	struct diff_hunk *room; /* for all of them, file after file */
	size_t room_len;
	size_t lines;
	size_t part;	       /* of a series of patches */
	bool text;	       /* since the last file */
	bool sides;	       /* this file has --- and +++, so a hunk must follow */
	struct bytes boundary; /* between the parts of the mail that was entered last */
	struct reason *reason;
};

/* --- lines (diff_line.c) ----------------------------------------------- */

struct diff_raw {
	struct bytes text;   /* without its newline */
	const uint8_t *next; /* where the following line starts */
	bool whole;	     /* it had a newline */
};

/* The line at `at`; false at the end. */
bool diff_raw_at(const struct diff_parser *parser, const uint8_t *at, struct diff_raw *ret);

/* The next line, which stays the next line. */
bool diff_peek(const struct diff_parser *parser, struct diff_raw *ret);
void diff_skip(struct diff_parser *parser, const struct diff_raw *line);

/* How many lines start as a hunk does, at most `most`; the text starts with one. */
size_t diff_count_heads(struct bytes text, size_t most);

/* Here, so that the length of a constant is one. */
static inline bool diff_starts(struct bytes text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

static inline bool diff_equals(struct bytes text, const char *whole)
{
	return text.len == strlen(whole) && diff_starts(text, whole);
}

struct bytes diff_after(struct bytes text, size_t len);

/* Whether a line has nothing but white space: a gap, or context. */
bool diff_is_blank(struct bytes text);

/* Refuses at a line of the diff, which is shown; `text` may be empty. */
int diff_refuse(struct diff_parser *parser, enum reason_code code, size_t line, struct bytes text,
		const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Refuses at the next line, or says that the diff ends here. */
int diff_refuse_here(struct diff_parser *parser, enum reason_code code, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* More memory would be needed than the job may use. */
int diff_exhausted(struct diff_parser *parser);

/* Decimal digits at the start of `text`, which moves behind them. False when
 * there are none or they pass INT32_MAX. */
bool diff_number(struct bytes *text, uint32_t *ret);

/* --- names (diff_name.c) ----------------------------------------------- */

/* A name as it stands after "--- " (then a tab ends it, when it is not quoted)
 * or "rename from ": unquoted, `strip` components taken off. */
int diff_name(struct diff_parser *parser, struct bytes text, unsigned strip, bool tab_ends,
	      const char **ret) MUST_CHECK;

/* A name of a header without git: a timestamp may follow it. */
int diff_plain_name(struct diff_parser *parser, struct bytes text, const char **ret) MUST_CHECK;

bool diff_is_null(struct bytes text); /* /dev/null */

/* Whether the timestamp behind the name is the epoch, in any zone: GNU diff's
 * way to say that the file is not there. */
bool diff_is_epoch(struct bytes text);

/* The name that stands twice behind "diff --git "; *ret is NULL when the two
 * differ. */
int diff_twin_name(struct diff_parser *parser, struct bytes text, const char **ret) MUST_CHECK;

/* Whether "diff --git " is followed by exactly these two names. */
int diff_names_are(struct diff_parser *parser, struct bytes text, const char *old_name,
		   const char *new_name, bool *ret) MUST_CHECK;

/* --- the grammar ------------------------------------------------------- */

/* diff_header.c: at "diff --git "; up to the body. */
int diff_git_header(struct diff_parser *parser, struct diff_file *ret) MUST_CHECK;
/* diff_header.c: whether a last line without newline could be the start of a
 * line that matters. */
bool diff_is_cut_off(struct bytes text);
/* diff_header.c: at "--- "; up to the first hunk. */
int diff_plain_header(struct diff_parser *parser, struct diff_file *ret) MUST_CHECK;

/* diff_hunk.c */
bool diff_hunk_header(struct bytes text, struct diff_hunk *ret);
int diff_hunks(struct diff_parser *parser, struct diff_file *file) MUST_CHECK;
/* diff_binary.c: at "GIT binary patch". */
int diff_binary_patch(struct diff_parser *parser, struct diff_file *file) MUST_CHECK;

#endif
