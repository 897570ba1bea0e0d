/* buf.c - growth doubles, so that n additions cost O(n). */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 256 };

void buf_init(struct buf *buf, size_t limit_bytes)
{
	*buf = (struct buf){.limit_bytes = limit_bytes};
}

void buf_release(struct buf *buf)
{
	free(buf->data);
	buf_init(buf, buf->limit_bytes);
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
	if (buf->data != NULL)
		buf->data[0] = 0;
}

/* --- growth ----------------------------------------------------------- */

uint8_t *buf_reserve(struct buf *buf, size_t len)
{
	size_t capacity = buf->capacity == 0 ? FIRST_BYTES : buf->capacity;
	uint8_t *data;

	if (buf->failed || len > buf->limit_bytes - buf->len) {
		buf->failed = true;
		return NULL;
	}
	if (buf->data != NULL && len < buf->capacity - buf->len)
		return buf->data + buf->len;
	while (capacity <= buf->len + len)
		capacity *= 2;
	data = realloc(buf->data, capacity);
	if (data == NULL) {
		buf->failed = true;
		return NULL;
	}
	buf->data = data;
	buf->capacity = capacity;
	buf->data[buf->len] = 0;
	return buf->data + buf->len;
}

void buf_commit(struct buf *buf, size_t len)
{
	assert(len < buf->capacity - buf->len);
	buf->len += len;
	buf->data[buf->len] = 0;
}

/* --- additions -------------------------------------------------------- */

void buf_add(struct buf *buf, const void *data, size_t len)
{
	uint8_t *at = buf_reserve(buf, len);

	if (at == NULL)
		return;
	if (len > 0)
		(void)memcpy(at, data, len);
	buf_commit(buf, len);
}

void buf_add_text(struct buf *buf, const char *text)
{
	buf_add(buf, text, strlen(text));
}

void buf_add_byte(struct buf *buf, uint8_t byte)
{
	buf_add(buf, &byte, 1);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list args;
	int len;
	uint8_t *at;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	assert(len >= 0);
	at = buf_reserve(buf, (size_t)len);
	if (at == NULL)
		return;
	va_start(args, fmt);
	(void)vsnprintf((char *)at, (size_t)len + 1, fmt, args);
	va_end(args);
	buf_commit(buf, (size_t)len);
}

void buf_consume(struct buf *buf, size_t len)
{
	assert(len <= buf->len);
	if (len == 0)
		return;
	(void)memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
	buf->data[buf->len] = 0;
}

const char *buf_text(const struct buf *buf)
{
	return buf->data == NULL ? "" : (const char *)buf->data;
}
