/*
 * hunk_gap.h - old sides that lack lines of the file: whether there are such
 * places, and where in the hunk the file's lines belong.
 */
#ifndef SBX_SNAPSHOTS_HUNK_GAP_H
#define SBX_SNAPSHOTS_HUNK_GAP_H

#include "snapshots/hunk_rewrite.h"

/* Whether the old side is anywhere from line `from` to line `to`, all of it,
 * but for one to `most` lines of the file in between. */
bool ladder_has_gapped(struct ladder *ladder, const struct diff_hunk *hunk, size_t most,
		       size_t from, size_t to);

/* Before which of the hunk's lines the file's lines go that its place passes
 * over: one number for each gap. REFUSED: more than one result is possible,
 * and neither a proof (how->reading counts through them) nor the hunk's shape
 * tells which is meant. */
int hunk_gap_read(struct recoverer *self, const struct spot *spot, size_t *ret) MUST_CHECK;

#endif
