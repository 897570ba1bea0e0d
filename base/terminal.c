/*
 * terminal.c - one pass: the longest UTF-8 sequence at each place is either
 * passed through or spelled out; what is no sequence is spelled byte by byte.
 * The text is judged one character at a time, so the answer for a piece does
 * not depend on what surrounds it.
 */
#include "base/terminal.h"

#include <string.h>

#include "base/text.h"

/* The length of the character that starts at `at`, 0 when none does. */
static size_t character_len(const uint8_t *at, size_t len, uint32_t *ret_point)
{
	static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	size_t n = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

	if (n > len || !text_is_utf8(at, n))
		return 0;
	*ret_point = at[0] & masks[n];
	for (size_t i = 1; i < n; i++)
		*ret_point = *ret_point << 6 | (at[i] & 0x3f);
	return n;
}

/* Controls of both sets, and Unicode's marks for direction and line breaks. */
static bool is_harmful(uint32_t point)
{
	static const struct {
		uint32_t first;
		uint32_t last;
	} rows[] = {
		{0x00, 0x1f},	  {0x7f, 0x9f},	    {0x61c, 0x61c},   {0x200e, 0x200f},
		{0x2028, 0x202e}, {0x2066, 0x2069}, {0xfeff, 0xfeff}, {0xe0000, 0xe007f},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (point >= rows[i].first && point <= rows[i].last)
			return true;
	}
	return false;
}

size_t terminal_harmful(const void *data, size_t len, uint32_t *ret_point)
{
	uint32_t point = 0;
	size_t n = len == 0 ? 0 : character_len(data, len, &point);

	if (n == 0 || !is_harmful(point))
		return 0;
	*ret_point = point;
	return n;
}

void terminal_add(struct buf *out, const void *data, size_t len, bool lines)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len;) {
		uint32_t point = 0;
		size_t n = character_len(at + i, len - i, &point);

		if (n == 0) {
			buf_printf(out, "\\x%02x", at[i]);
			n = 1;
		} else if (!is_harmful(point) || point == '\t' || (point == '\n' && lines)) {
			buf_add(out, at + i, n);
		} else if (point == '\r' && lines && i + 1 < len && at[i + 1] == '\n') {
			; /* the line feed that follows says it all */
		} else if (point < 0x80) {
			buf_printf(out, "\\x%02x", (unsigned)point);
		} else {
			buf_printf(out, "\\u%04x", (unsigned)point);
		}
		i += n;
	}
}

void terminal_add_text(struct buf *out, const char *text)
{
	if (text != NULL)
		terminal_add(out, text, strlen(text), false);
}
