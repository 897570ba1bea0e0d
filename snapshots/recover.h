/*
 * recover.h - a tolerant reader of diffs that were damaged on their way:
 * copied by hand, sent through chats and editors, written by language models.
 *
 *	struct recover_request request = {.input = bytes, .strip = 1, ...};
 *	recover_parse(&arena, &request, &ret, &reason, &err)
 *
 * The reader mends the form only, and only where one reading is possible:
 *
 *   line ends    CR is taken off headers and markers; hunks keep theirs, which
 *		  placement compares with the file's
 *   counts	  of a hunk, by its lines; a last hunk that counts promise more
 *		  lines of is marked DIFF_DOUBT_CUT: it may have been cut off
 *   blanks	  behind a hunk, spaces in them too, are a gap; in it they are context,
 *		  DIFF_DOUBT_BLANK where counts say that some lost a + or -
 *   "@@"	  without line numbers, or with some missing: DIFF_DOUBT_LINES
 *   names	  without a/ and b/, when the base, or the index line with it, says
 *		  which file is meant
 *   headers	  without "new file mode", /dev/null, "---" or "+++", with an
 *		  index line that is none, with blank lines in between
 *
 * The result is what diff_parse() says about the mended text, so whatever it
 * refuses is refused here. Where a hunk lands is for hunk_recover.c, which
 * believes no line number that is in doubt. Lines that stand for others ("...")
 * are refused. Time and memory are linear in the input.
 */
#ifndef SBX_SNAPSHOTS_RECOVER_H
#define SBX_SNAPSHOTS_RECOVER_H

#include "schema/job.h"
#include "snapshots/diff.h"

struct recover_request {
	struct bytes input;
	unsigned strip;
	struct diff_limits limits;
	/* Whether the base has a file there; asked for names in doubt only. */
	bool (*exists)(void *ctx, const char *path);
	/* Whether the blob there has an oid that starts so; NULL: nobody knows. */
	bool (*is_blob)(void *ctx, const char *path, const char *hex);
	void *ctx;
};

struct recovered {
	struct diff diff;	/* its line numbers are those of the input */
	bool mended;		/* the form was not that of a diff */
	bool line_ends;		/* headers or markers ended in CR */
	struct text_list notes; /* a sentence for each thing mended */
};

/* As diff_parse(); lines are in the arena. */
int recover_parse(struct arena *arena, const struct recover_request *request, struct recovered *ret,
		  struct reason *ret_reason, struct err *err) MUST_CHECK;

/* Appends a sentence to a list that only this function appends to. False: the
 * arena is exhausted. */
bool recover_note(struct arena *arena, struct text_list *notes, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* Whether a line's text, without its mark, stands for lines left out. */
bool recover_is_elision(struct bytes text);

#endif
