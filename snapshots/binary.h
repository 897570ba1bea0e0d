/*
 * binary.h - the content of a "GIT binary patch": base 85, zlib, git's deltas.
 *
 * Nothing is allocated by a claim alone: the claimed size is held against
 * `limit_bytes` first, and what inflates is stopped one byte behind its claim.
 */
#ifndef SBX_SNAPSHOTS_BINARY_H
#define SBX_SNAPSHOTS_BINARY_H

#include "snapshots/diff.h"

/* What a binary patch may inflate to and make, whatever `limit_bytes` says: a
 * megabyte of deflate can hold a gigabyte. */
enum { BINARY_BYTES_MAX = 32 << 20 };

/* REFUSED with PATCH_MALFORMED, _CONFLICT (a delta for another preimage) or
 * _TOO_LARGE. The postimage is in the arena. */
int binary_apply(struct arena *arena, const struct diff_file *file, struct bytes preimage,
		 size_t limit_bytes, struct bytes *ret, struct reason *ret_reason,
		 struct err *err) MUST_CHECK;

#endif
