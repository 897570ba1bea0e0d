/*
 * report_text.c - text and numbers of reports. Both come from the code under
 * test, so nothing is taken for valid.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "schema/limits.h"
#include "worker/reports_private.h"

size_t report_character(struct bytes text)
{
	for (size_t len = 1; len <= 4 && len <= text.len; len++) {
		if (text_is_utf8(text.data, len))
			return len;
	}
	return 0;
}

size_t report_text(struct bytes from, char *to, size_t size)
{
	size_t used = 0;

	while (from.len > 0) {
		size_t len = report_character(from);
		size_t wanted = len == 0 ? 1 : len;
		uint8_t first = *from.data;
		bool control = (first < ' ' && first != '\n' && first != '\t') || first == 0x7f;

		if (used + wanted >= size)
			break;
		if (len == 0 || control)
			to[used] = '?';
		else
			(void)memcpy(to + used, from.data, len);
		used += wanted;
		from.data += wanted;
		from.len -= wanted;
	}
	to[used] = '\0';
	return used;
}

int64_t report_duration_us(struct bytes text, int64_t unit_us)
{
	const int64_t most_us = (int64_t)LIMIT_TIME_MS * 1000;
	char digits[64];
	size_t len = 0;
	char *end;
	double value;

	for (size_t i = 0; i < text.len && len + 1 < sizeof(digits); i++) {
		if (text.data[i] != ',')
			digits[len++] = (char)text.data[i];
	}
	digits[len] = '\0';
	if (len == 0 || strspn(digits, "0123456789.eE+-") != len)
		return 0;
	value = strtod(digits, &end);
	if (end == digits || !isfinite(value) || value <= 0)
		return 0;
	value *= (double)unit_us;
	return value < (double)most_us ? (int64_t)(value + 0.5) : most_us;
}
