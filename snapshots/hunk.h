/*
 * hunk.h - where the hunks of one file land, and what results.
 *
 *	struct hunk_request request = {
 *		.file = file, .preimage = bytes, .trusted = oids_match, ...};
 *	hunk_apply(&arena, &request, &result, &reason, &err);
 *
 * Rules of placement, tried in this order for each hunk:
 *
 *   1. at the line that the hunk states, exactly;
 *   2. elsewhere, exactly, when only one place fits.
 *
 * The first suffices when nothing speaks against the stated line: the preimage
 * is known to be the right one (`trusted`: its oid is the index line's), or
 * the line numbers of both sides agree and no earlier hunk of the file had to
 * move. Otherwise the stated place, too, must be the only one. As in git, a
 * hunk that starts at line 1 belongs to the start of the file, and one without
 * context behind it to its end. A hunk without any context has nothing but its
 * line number, so it does not move, and one that only adds then needs a
 * trusted preimage or an empty file.
 *
 * Places do not overlap and keep the order of the hunks. Time is linear in
 * file and hunks but for rule 2, whose comparisons are bounded.
 */
#ifndef SBX_SNAPSHOTS_HUNK_H
#define SBX_SNAPSHOTS_HUNK_H

#include "schema/job.h"
#include "snapshots/diff.h"

struct hunk_request {
	const struct diff_file *file;
	struct bytes preimage;
	bool trusted;
	size_t limit_bytes; /* the postimage may have so many */
};

/* Where a hunk's old side is: lines counted from 0. */
struct hunk_place {
	size_t line;
	size_t start, end; /* bytes of the preimage */
};

struct hunk_result {
	struct bytes postimage;
	struct hunk_place *places; /* one for each hunk */
	size_t moved;		   /* hunks that are not at their stated line */
};

/*
 * REFUSED with PATCH_CONFLICT, _AMBIGUOUS, _APPLIED, _REVERSED, _MALFORMED or
 * _TOO_LARGE. The message starts with "line N: ", the line of the diff, and
 * shows what was expected and what is there. The postimage is in the arena.
 */
int hunk_apply(struct arena *arena, const struct hunk_request *request, struct hunk_result *ret,
	       struct reason *ret_reason, struct err *err) MUST_CHECK;

/* --- damaged hunks (hunk_recover.c) -------------------------------------- */

struct hunk_open {
	size_t readings; /* beside the likeliest */
	bool hopeless;	 /* some hunk has no place, whatever is chosen */
};

struct hunk_image;
struct hunk_shape;

struct hunk_recovery {
	bool line_ends; /* the diff's headers ended in CR: so may its added lines */
	/* The preimage is the one that the diff was made for, and the caller holds
	 * the result against an oid: where several places fit, `choice` counts
	 * through them, and where a lost line of context may have stood in
	 * several, `reading`: through those that differ from the likeliest in
	 * one hunk, or with all_readings through the two likeliest of each. */
	bool trusted;
	size_t choice;
	size_t reading;
	bool all_readings;
	struct hunk_open *open; /* NULL, or what of that was open is added there */
	/* NULL, or the preimage's index, kept from call to call: zeroed at first. */
	struct hunk_image *image;
	/* NULL, or how much comparing searches may still do (8 bytes of a line are
	 * one); what is used is taken off. */
	size_t *budget;
	/* NULL, or the context that hunks of the whole diff have. */
	const struct hunk_shape *shape;
	/* Of added lines: the file's when something shows that the diff's are
	 * damaged; as written; the file's; CR LF. */
	enum { HUNK_ENDS_SEEN, HUNK_ENDS_WRITTEN, HUNK_ENDS_FILE, HUNK_ENDS_CRLF } ends;
	/* What becomes of a last line without newline that the diff does not mark
	 * so: refused where that matters, kept so, or given a newline. TAKEN: the
	 * newline of an added last line is taken off. */
	enum {
		HUNK_NEWLINE_REFUSED,
		HUNK_NEWLINE_KEPT,
		HUNK_NEWLINE_GIVEN,
		HUNK_NEWLINE_TAKEN
	} newline;
};

/*
 * Finds where damaged hunks land and rewrites them by the file's own lines, so
 * that hunk_apply() takes them at their stated lines, as trusted ones. For
 * each hunk every place of the file is held against this ladder:
 *
 *   0. all old lines are there, byte by byte
 *   1. but for white space at their ends, CR included (removed lines too)
 *   2. but for the outermost context line at one end or both
 *   3. but for the two outermost ones
 *   4. but for one line of the file that the hunk lacks, or two if its counts
 *	say so; the file's is kept. Where it may have stood in several places
 *	with several results, the hunk's shape must tell: its counts remember
 *	the line, or all hunks around it have the same context, and one side of
 *	this one has one line less.
 *   5. but for the amount of white space in context lines: their indentation;
 *	not where added lines may have been indented anew with them
 *
 * The lowest rung that any place reaches must be reached by one place only,
 * and no higher one by the stated line. From rung 2 on it must be the stated
 * line, or the hunk has no line number and no other place reaches any rung;
 * and two lines that are not mere marks must be the same (one at the stated
 * line; on rungs 0 and 1 one, elsewhere). Removed lines are never passed over.
 * What is left open is decided by
 *
 *   - the stated line, when every hunk of the file fits at its own, and the
 *     numbers of both sides agree;
 *   - the drift that the hunks before and behind share;
 *   - the order of the hunks: one place between those before and behind;
 *   - the function that the header names;
 *
 * and refused otherwise. Places may not overlap. They have the order of the
 * hunks in the diff, or that of their stated lines, and a hunk between two that
 * drifted alike has drifted so too. A hunk with context on one side belongs to
 * that end of the file, and must be stated to be there when it fits elsewhere
 * too; and one that is in another function than its header names, which the
 * file has, and not at a stated line, met the twin of a place that is gone.
 *
 * A hunk whose counts promise one or two more lines of context is refused where
 * the file has a place that lacks as many. One that is elsewhere than stated,
 * or fits there in part, is refused when its new side is there. Hunks of *ret
 * that may have been cut off keep DIFF_DOUBT_CUT: counts promise lines that a
 * hunk of such a shape can end in (hunk_shape.h).
 * Once neither side of 16 hunks is in the file, the others are not looked for.
 * REFUSED as hunk_apply(). *ret borrows from the preimage.
 */
int hunk_recover(struct arena *arena, const struct hunk_request *request,
		 const struct hunk_recovery *how, struct diff_file *ret, struct text_list *notes,
		 struct reason *ret_reason, struct err *err) MUST_CHECK;

/* Whether the function above the byte `at` of a file is not the one that the
 * hunk's header names, though the file has that one. */
bool hunk_contradicts_heading(struct bytes preimage, const struct diff_hunk *hunk, size_t at);

/* --- what to tell --------------------------------------------------------- */

/*
 * Appends a line of text to `notes` for each hunk that moved: "<path>: hunk 2
 * applied at line 15 instead of 12". False when the arena is exhausted.
 */
bool hunk_notes(struct arena *arena, const struct diff_file *file, const struct hunk_result *result,
		struct text_list *notes) MUST_CHECK;

#endif
