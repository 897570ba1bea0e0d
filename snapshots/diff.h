/*
 * diff.h - a strict parser of unified diffs as git and GNU diff write them.
 *
 *	struct diff diff;
 *	switch (diff_parse(&arena, bytes, strip, &limits, &diff, &reason, &err)) ...
 *
 * Hostile bytes in, a checked structure out. Parsing judges form alone: what a
 * path may be is guard.h's business, where a hunk lands is hunk.h's. Lines
 * borrow from the input. Time and memory are linear in the input.
 *
 *   file     := git_header extended* body? | plain_header hunk+
 *   extended := old mode | new mode | new file mode | deleted file mode |
 *               rename from/to | copy from/to | similarity | dissimilarity | index
 *   body     := from_line to_line hunk+ | "Binary files ... differ" |
 *               "GIT binary patch" NL binary+
 *   hunk     := "@@ -" range " +" range " @@" heading? NL line*
 *
 * Text before, between and after files is skipped (the header of a mail, its
 * diffstat and signature), but never a line that continues a hunk.
 */
#ifndef SBX_SNAPSHOTS_DIFF_H
#define SBX_SNAPSHOTS_DIFF_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/defs.h"
#include "base/err.h"
#include "schema/reason.h"

/* All hunks of one diff together; more is PATCH_TOO_LARGE. */
enum { DIFF_LINES_MAX = 1 << 20 };

struct diff_limits {
	size_t files;
	size_t hunks;
};

enum diff_line_kind { DIFF_CONTEXT = ' ', DIFF_REMOVE = '-', DIFF_ADD = '+' };

struct diff_line {
	enum diff_line_kind kind;
	bool no_newline;   /* "\ No newline at end of file" follows */
	struct bytes text; /* without its newline, with its CR if it has one */
};

/* What recover.h could not make sure of; nothing in strict mode. */
enum diff_doubt {
	DIFF_DOUBT_LINES = 1 << 0,  /* its line numbers are not known */
	DIFF_DOUBT_COUNTS = 1 << 1, /* its counts were wrong or not there */
	DIFF_DOUBT_CUT = 1 << 2,    /* more lines may have followed */
	DIFF_DOUBT_LAST = 1 << 3,   /* its last line may go on: it has no newline */
	DIFF_DOUBT_BLANK = 1 << 4,  /* its blank lines may have lost a + or - */
};

struct diff_hunk {
	uint32_t old_start, old_len, new_start, new_len; /* lines, from 1 */
	struct bytes heading;				 /* after the second @@ */
	struct diff_line *lines;
	size_t lines_len;
	size_t at_line;		     /* of the diff, from 1: where its @@ is */
	uint32_t leading, trailing;  /* context lines at its two ends */
	unsigned doubts;	     /* enum diff_doubt */
	uint32_t lacking;	     /* context lines that its counts promise beside those it has */
	uint32_t owed_old, owed_new; /* of a DIFF_DOUBT_CUT: lines that its counts still promise */
};

enum diff_change {
	DIFF_MODIFY,
	DIFF_CREATE,
	DIFF_DELETE,
	DIFF_RENAME,
	DIFF_COPY,
};

/* The forward half of a "GIT binary patch": still in git's base 85. */
struct diff_binary {
	enum { DIFF_BINARY_ABSENT, DIFF_BINARY_LITERAL, DIFF_BINARY_DELTA } kind;
	uint64_t size; /* of what inflates from it, as it claims */
	struct bytes text;
};

struct diff_file {
	enum diff_change change;
	const char *old_path; /* unquoted, prefix stripped; NULL for a creation */
	const char *new_path; /* NULL for a deletion */
	uint32_t old_mode;    /* 0: not said */
	uint32_t new_mode;
	const char *old_oid; /* of the index line, abbreviated as written; NULL: none */
	const char *new_oid;
	bool binary; /* "Binary files differ" or "GIT binary patch" */
	struct diff_binary data;
	bool plain;	    /* only --- and +++, no git header */
	bool may_create;    /* plain, without old lines: a creation where there is no file */
	bool sides_swapped; /* the prefixes are b/ and a/: made with diff -R */
	struct diff_hunk *hunks;
	size_t hunks_len;
	int64_t additions; /* lines */
	int64_t deletions;
	size_t at_line; /* of the diff, from 1: its first header line */
	size_t part;	/* of a series: counts on where text stands between files */
};

struct diff {
	struct diff_file *files;
	size_t files_len;
};

/* `strip` leading components are taken off every path (git's -p). REFUSED with
 * PATCH_MALFORMED, _TRUNCATED, _EMPTY, _TOO_LARGE, _UNSUPPORTED, _PATH, _MODE; the
 * message starts with "line N: " of the diff and shows that line. */
int diff_parse(struct arena *arena, struct bytes input, unsigned strip,
	       const struct diff_limits *limits, struct diff *ret, struct reason *ret_reason,
	       struct err *err) MUST_CHECK;

#endif
