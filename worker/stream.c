/*
 * stream.c - theory: bytes go to the head until it is full or cannot grow,
 * from then on to a ring that overwrites its oldest. What is kept is thus
 * head + tail, and what is lost lies between them, so its length is a
 * subtraction.
 */
#include "worker/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* --- life ------------------------------------------------------------- */

void stream_init(struct stream *stream, size_t head_bytes, size_t tail_bytes)
{
	*stream = (struct stream){.tail_size = tail_bytes};
	buf_init(&stream->head, head_bytes);
}

void stream_release(struct stream *stream)
{
	buf_release(&stream->head);
	free(stream->tail);
	stream->tail = NULL;
	stream->tail_len = 0;
	stream->tail_next = 0;
	stream->total_bytes = 0;
}

/* --- adding ----------------------------------------------------------- */

static void add_to_tail(struct stream *stream, const uint8_t *data, size_t len)
{
	size_t before_end;

	if (stream->tail_size == 0 || len == 0)
		return;
	if (stream->tail == NULL)
		stream->tail = malloc(stream->tail_size);
	if (stream->tail == NULL)
		return;
	if (len > stream->tail_size) {
		data += len - stream->tail_size;
		len = stream->tail_size;
	}
	before_end = stream->tail_size - stream->tail_next;
	if (len < before_end) {
		(void)memcpy(stream->tail + stream->tail_next, data, len);
		stream->tail_next += len;
	} else {
		(void)memcpy(stream->tail + stream->tail_next, data, before_end);
		(void)memcpy(stream->tail, data + before_end, len - before_end);
		stream->tail_next = len - before_end;
	}
	stream->tail_len += len;
	if (stream->tail_len > stream->tail_size)
		stream->tail_len = stream->tail_size;
}

void stream_add(struct stream *stream, const void *data, size_t len)
{
	const uint8_t *at = data;
	size_t room = stream->head.failed ? 0 : stream->head.limit_bytes - stream->head.len;
	size_t first = len < room ? len : room;

	stream->total_bytes += (int64_t)len;
	if (first > 0) {
		buf_add(&stream->head, at, first);
		if (stream->head.failed)
			first = 0;
	}
	add_to_tail(stream, at + first, len - first);
}

/* --- looking ---------------------------------------------------------- */

/* How many bytes at the end of `data` begin a character that is not whole. */
static size_t cut_at_end(const uint8_t *data, size_t len)
{
	for (size_t back = 1; back <= 3 && back <= len; back++) {
		uint8_t byte = data[len - back];

		if ((byte & 0xc0) == 0x80)
			continue;
		return byte >= 0xc2 && byte <= 0xf4 && !text_is_utf8(data + len - back, back) ? back
											      : 0;
	}
	return 0;
}

static uint8_t tail_at(const struct stream *stream, size_t index)
{
	size_t start = stream->tail_len < stream->tail_size ? 0 : stream->tail_next;

	return stream->tail[(start + index) % stream->tail_size];
}

/* How many bytes at the start of the tail end a character that began before. */
static size_t cut_at_start(const struct stream *stream)
{
	size_t n = 0;

	while (n < 3 && n < stream->tail_len && (tail_at(stream, n) & 0xc0) == 0x80)
		n++;
	return n;
}

struct kept {
	size_t head_len;
	size_t tail_skip;
	int64_t truncated;
};

static struct kept what_is_kept(const struct stream *stream)
{
	struct kept kept = {.head_len = stream->head.len};

	kept.truncated =
		stream->total_bytes - (int64_t)stream->head.len - (int64_t)stream->tail_len;
	if (kept.truncated == 0)
		return kept;
	kept.head_len -= cut_at_end(stream->head.data, stream->head.len);
	kept.tail_skip = cut_at_start(stream);
	kept.truncated += (int64_t)(stream->head.len - kept.head_len + kept.tail_skip);
	return kept;
}

int64_t stream_truncated(const struct stream *stream)
{
	return what_is_kept(stream).truncated;
}

struct bytes stream_text(const struct stream *stream, struct arena *arena)
{
	struct kept kept = what_is_kept(stream);
	char mark[96] = "";
	int mark_len = 0;
	size_t tail_len = stream->tail_len - kept.tail_skip;
	size_t len;
	uint8_t *text;
	uint8_t *to;

	if (kept.truncated > 0)
		mark_len = snprintf(mark, sizeof(mark), "\n[... %lld bytes left out ...]\n",
				    (long long)kept.truncated);
	len = kept.head_len + (size_t)mark_len + tail_len;
	text = len == 0 ? NULL : arena_alloc(arena, len);
	if (text == NULL)
		return (struct bytes){NULL, 0};
	to = text;
	if (kept.head_len > 0)
		(void)memcpy(to, stream->head.data, kept.head_len);
	to += kept.head_len;
	(void)memcpy(to, mark, (size_t)mark_len);
	to += mark_len;
	for (size_t i = 0; i < tail_len; i++)
		to[i] = tail_at(stream, kept.tail_skip + i);
	return (struct bytes){text, len};
}
