/*
 * headers.h - the text headers of a message as bytes, for who hands them on:
 * each key and each value with its NUL.
 */
#ifndef SBX_QUEUE_HEADERS_H
#define SBX_QUEUE_HEADERS_H

#include "base/arena.h"
#include "base/buf.h"
#include "schema/job.h"

enum { HEADERS_BYTES = 65536 };

/* Appends them up to HEADERS_BYTES in all; what has no room is left out, and so
 * is what only a broker or the carrier itself says (x-death, x-sbx-...). */
void headers_pack(const struct pair_list *headers, struct buf *out);

/* Empty when the arena is exhausted. */
void headers_unpack(struct arena *arena, const void *data, size_t len, struct pair_list *ret);

#endif
