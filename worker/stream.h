/*
 * stream.h - what is kept of an output stream: its head and its tail.
 *
 * The first `head_bytes` and the last `tail_bytes` stay; stream_text joins
 * them with a line that says how much is missing. Memory is bounded by the two
 * sizes, and taken as output comes.
 */
#ifndef SBX_WORKER_STREAM_H
#define SBX_WORKER_STREAM_H

#include "base/arena.h"
#include "base/buf.h"

struct stream {
	struct buf head;
	uint8_t *tail; /* ring; NULL until the head is full */
	size_t tail_size;
	int64_t total_bytes;
};

void stream_init(struct stream *stream, size_t head_bytes, size_t tail_bytes);
void stream_release(struct stream *stream);
/* When memory is exhausted, what could not be kept counts as truncated. */
void stream_add(struct stream *stream, const void *data, size_t len);
/* Bytes that were left out between head and tail. */
int64_t stream_truncated(const struct stream *stream);
struct bytes stream_text(const struct stream *stream, struct arena *arena);

#endif
