/*
 * stream.h - what is kept of an output stream: its head and its tail.
 *
 *	stream_init(&stream, LIMIT_STREAM_HEAD_BYTES, LIMIT_STREAM_TAIL_BYTES);
 *	stream_add(&stream, data, len);		// as output comes
 *	step.stdout_bytes = stream_text(&stream, &arena);
 *	stream_release(&stream);
 *
 * The first `head_bytes` and the last `tail_bytes` stay; stream_text joins
 * them with a line that says how much is missing. The cut falls between the
 * characters of UTF-8, so that text stays text. Memory is bounded by the two
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
	size_t tail_len;
	size_t tail_next; /* where the next byte is written */
	int64_t total_bytes;
};

/* Either size may be 0. */
void stream_init(struct stream *stream, size_t head_bytes, size_t tail_bytes);
void stream_release(struct stream *stream);

/* When memory is exhausted, what could not be kept counts as truncated. */
void stream_add(struct stream *stream, const void *data, size_t len);

/* Bytes that stream_text leaves out between head and tail. */
int64_t stream_truncated(const struct stream *stream);

/* Empty when there was no output, and when the arena is exhausted. */
struct bytes stream_text(const struct stream *stream, struct arena *arena);

#endif
