/*
 * base64.c - theory: diffs come this way by the megabyte, so all groups but the
 * last are read without a question about padding, by a table in which what is no
 * digit has more than six bits.
 */
#include "schema/base64.h"

#include <string.h>

enum { NO_DIGIT = 255, GROUP_DIGITS = 4, GROUP_BYTES = 3 };

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

/* --- reading ---------------------------------------------------------- */

static const uint8_t *digit_values(void)
{
	static uint8_t values[256];

	if (values[0] == 0) {
		(void)memset(values, NO_DIGIT, sizeof(values));
		for (uint8_t i = 0; digits[i] != '\0'; i++)
			values[(uint8_t)digits[i]] = i;
	}
	return values;
}

/* Three bytes; false when one of the four is no digit. */
static inline bool take_group(const uint8_t *values, const uint8_t *text, uint8_t *data)
{
	uint32_t a = values[text[0]], b = values[text[1]], c = values[text[2]], d = values[text[3]];
	uint32_t group = a << 18 | b << 12 | c << 6 | d;

	data[0] = (uint8_t)(group >> 16);
	data[1] = (uint8_t)(group >> 8);
	data[2] = (uint8_t)group;
	return (a | b | c | d) < 64;
}

/* What is left behind whole groups: two digits are a byte, three are two, and the
 * bits behind them are zeros. Returns how many bytes, 0 when there is none. */
static size_t take_rest(const uint8_t *values, const uint8_t *text, size_t len, uint8_t *data)
{
	const uint8_t filled[GROUP_DIGITS] = {text[0], text[1], len == 3 ? text[2] : 'A', 'A'};
	size_t have = len - 1;

	if (!take_group(values, filled, data) || data[2] != 0 || (have == 1 && data[1] != 0))
		return 0;
	return have;
}

static size_t padding_of(struct bytes text)
{
	size_t len = 0;

	while (len < 2 && len < text.len && text.data[text.len - 1 - len] == '=')
		len++;
	return len;
}

bool base64_decode(struct arena *arena, struct bytes text, struct bytes *ret)
{
	const uint8_t *values = digit_values();
	size_t padding = padding_of(text), digits_len = text.len - padding;
	size_t rest = digits_len % GROUP_DIGITS, whole = digits_len - rest, len = 0;
	uint8_t *data;

	if (rest == 1 || (padding > 0 && rest + padding != GROUP_DIGITS))
		return false;
	data = arena_alloc(arena, digits_len / GROUP_DIGITS * GROUP_BYTES + GROUP_BYTES);
	if (data == NULL)
		return false;
	for (size_t at = 0; at < whole; at += GROUP_DIGITS, len += GROUP_BYTES) {
		if (!take_group(values, text.data + at, data + len))
			return false;
	}
	if (rest > 0) {
		size_t have = take_rest(values, text.data + whole, rest, data + len);

		if (have == 0)
			return false;
		len += have;
	}
	*ret = (struct bytes){data, len};
	return true;
}
