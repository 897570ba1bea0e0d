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

/*
 * Appends a line of text to `notes` for each hunk that moved: "<path>: hunk 2
 * applied at line 15 instead of 12". False when the arena is exhausted.
 */
bool hunk_notes(struct arena *arena, const struct diff_file *file, const struct hunk_result *result,
		struct text_list *notes) MUST_CHECK;

#endif
