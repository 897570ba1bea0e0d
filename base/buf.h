/*
 * buf.h - a byte buffer that grows up to a bound.
 *
 *	struct buf out;
 *	buf_init(&out, 8 << 20);
 *	buf_add(&out, data, len);
 *	buf_printf(&out, "%d\n", n);
 *	if (out.failed) ...		// once, at the end
 *	buf_release(&out);
 *
 * An addition that would pass the bound, or that the system has no memory
 * for, changes nothing and sets `failed`, which sticks. `data` always has a
 * NUL after its `len` bytes, and is NULL before the first addition.
 */
#ifndef SBX_BASE_BUF_H
#define SBX_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/defs.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t capacity;
	size_t limit_bytes;
	bool failed;
};

void buf_init(struct buf *buf, size_t limit_bytes);
void buf_release(struct buf *buf);

/* Forgets the content and the failure, keeps the memory. */
void buf_clear(struct buf *buf);

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_add_text(struct buf *buf, const char *text);
void buf_add_byte(struct buf *buf, uint8_t byte);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Room for `len` more bytes at the returned place, NULL on failure; the bytes
 * count once buf_commit says how many were written there. */
uint8_t *buf_reserve(struct buf *buf, size_t len) MUST_CHECK;
void buf_commit(struct buf *buf, size_t len);

/* Drops the first `len` bytes. */
void buf_consume(struct buf *buf, size_t len);

/* The content as text, "" when empty. Borrowed until the next change. */
const char *buf_text(const struct buf *buf);

static inline struct bytes buf_bytes(const struct buf *buf)
{
	return (struct bytes){buf->data, buf->len};
}

#endif
