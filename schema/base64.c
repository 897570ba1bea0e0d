/*
 * base64.c - the spelling of binaries in JSON (RFC 4648, section 4): strict,
 * with padding, without line breaks, and with zeros in the bits that are left
 * over, so that each binary has exactly one spelling.
 */
#include "schema/value_private.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct bytes bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t group = (uint32_t)bytes.data[i] << 16;
		char text[4];

		if (have > 1)
			group |= (uint32_t)bytes.data[i + 1] << 8;
		if (have > 2)
			group |= bytes.data[i + 2];
		text[0] = digits[group >> 18];
		text[1] = digits[group >> 12 & 63];
		text[2] = have > 1 ? digits[group >> 6 & 63] : '=';
		text[3] = have > 2 ? digits[group & 63] : '=';
		buf_add(out, text, sizeof(text));
	}
}

/* The value of a digit, or -1. */
static int digit_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct arena *arena, struct bytes text, struct bytes *ret)
{
	size_t padding = 0;
	uint8_t *data;
	size_t len = 0;
	uint32_t group = 0;

	if (text.len % 4 != 0)
		return false;
	while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
		padding++;
	data = arena_alloc(arena, text.len / 4 * 3);
	if (data == NULL)
		return false;
	for (size_t i = 0; i < text.len - padding; i++) {
		int value = digit_value(text.data[i]);

		if (value < 0)
			return false;
		group = group << 6 | (uint32_t)value;
		if (i % 4 > 0)
			data[len++] = (uint8_t)(group >> (6 - 2 * (i % 4)));
	}
	if (padding > 0 && (group & (padding == 1 ? 0x3u : 0xfu)) != 0)
		return false;
	*ret = (struct bytes){data, len};
	return true;
}
