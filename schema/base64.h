/*
 * base64.h - binaries as text: RFC 4648, section 4.
 *
 * What is written is whole groups of four digits, the last one filled with '='.
 * What is read may lack all of this padding, for many libraries leave it out, but
 * not a part of it. Line breaks and other characters are refused, and so is a last
 * digit with bits that no byte has: but for the padding, each binary has exactly
 * one spelling.
 */
#ifndef SBX_SCHEMA_BASE64_H
#define SBX_SCHEMA_BASE64_H

#include "base/arena.h"
#include "base/buf.h"

void base64_encode(struct bytes bytes, struct buf *out);

/* The arena's. False when the text is not as above, or the arena exhausted. */
bool base64_decode(struct arena *arena, struct bytes text, struct bytes *ret) MUST_CHECK;

#endif
