/*
 * diff.h - a strict parser of unified diffs as git writes them.
 *
 *	struct diff diff;
 *	switch (diff_parse(&arena, bytes, &limits, &diff, &reason, &err)) ...
 *
 * Hostile bytes in, a checked structure out. Parsing judges form alone: what a
 * path may be is guard.h's business, where a hunk lands is hunk.h's. Lines
 * borrow from the input. Time and memory are linear in the input.
 *
 *   file     := git_header extended* (from_line to_line hunk+)? | from_line to_line hunk+
 *   extended := old mode | new mode | new file mode | deleted file mode |
 *               rename from/to | copy from/to | similarity | dissimilarity | index
 *   hunk     := "@@ -" range " +" range " @@" heading? NL line*
 */
#ifndef SBX_SNAPSHOTS_DIFF_H
#define SBX_SNAPSHOTS_DIFF_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/defs.h"
#include "base/err.h"
#include "schema/reason.h"

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

struct diff_hunk {
	uint32_t old_start, old_len, new_start, new_len; /* lines, from 1 */
	struct bytes heading;				 /* after the second @@ */
	struct diff_line *lines;
	size_t lines_len;
	size_t at_line; /* of the diff, from 1: where its @@ is */
};

enum diff_change {
	DIFF_MODIFY,
	DIFF_CREATE,
	DIFF_DELETE,
	DIFF_RENAME,
	DIFF_COPY,
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
	struct diff_hunk *hunks;
	size_t hunks_len;
	size_t at_line; /* of the diff, from 1: its first header line */
};

struct diff {
	struct diff_file *files;
	size_t files_len;
};

/* `strip` leading components are taken off every path (git's -p). REFUSED with
 * PATCH_MALFORMED, _TRUNCATED, _EMPTY, _TOO_LARGE, _UNSUPPORTED, _PATH; the
 * message names the line of the diff and shows it. */
int diff_parse(struct arena *arena, struct bytes input, unsigned strip,
	       const struct diff_limits *limits, struct diff *ret, struct reason *ret_reason,
	       struct err *err) MUST_CHECK;

#endif
