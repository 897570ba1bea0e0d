/*
 * guard_fold.h - when two names are one to some common file system.
 *
 * APFS, HFS+, NTFS, and ext4 and f2fs directories without case disagree about
 * details. A name is folded here to what the least exact of them keeps of it:
 * canonically decomposed (NFD), without characters that are ignored by default
 * (those of HFS+ among them), with full case folding: NFD, toCasefold of the
 * Unicode Standard, section 3.13, D145. Names that one of them takes for one
 * have one fold; some that all of them tell apart have one too, like
 * "strasse" and "stra<sharp s>e" on NTFS.
 *
 * A name that is not UTF-8, or longer than any file system holds, differs from
 * others by more than the case of A to Z.
 */
#ifndef SBX_SNAPSHOTS_GUARD_FOLD_H
#define SBX_SNAPSHOTS_GUARD_FOLD_H

#include <stdbool.h>

#include "base/defs.h"

enum {
	FOLD_NAME_BYTES = 1024, /* four bytes for each of 255 characters, and some */
	FOLD_CHARACTERS = 8,	/* more than one character folds to */
};

bool guard_is_ascii(struct bytes name);

/* Whether two names have one fold, and a hash of the fold. Neither needs to be
 * valid; ASCII names never reach the tables of Unicode. */
bool guard_fold_equal(struct bytes a, struct bytes b);
uint64_t guard_fold_hash(struct bytes name);

/* What one character folds to: `ret` gets as many as are returned, none for
 * one that is ignored. Enough to recognise an ASCII word; order of combining
 * marks is not looked at. What is beyond Unicode is its own fold. */
size_t guard_fold_character(uint32_t character, uint32_t ret[FOLD_CHARACTERS]);

#endif
