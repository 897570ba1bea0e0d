/*
 * inflate.h - zlib streams (RFC 1950, RFC 1951) into memory of a known size.
 *
 *	if (!inflate_zlib(in, out, size)) ...
 *
 * Made for hostile input whose size is claimed beside it: no allocation, no
 * state, no window but the output itself, and the time is bounded by both
 * lengths.
 */
#ifndef SBX_SNAPSHOTS_INFLATE_H
#define SBX_SNAPSHOTS_INFLATE_H

#include <stdbool.h>

#include "base/defs.h"

/* True when `in` is one whole zlib stream of exactly `size` bytes, which are
 * then at `out`: with its checksum right and nothing behind it. */
bool inflate_zlib(struct bytes in, uint8_t *out, size_t size) MUST_CHECK;

#endif
