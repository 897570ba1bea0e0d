/*
 * diff_line.c - the cursor of the diff parser, and how it refuses.
 *
 * Every refusal names a line and shows it, so that a person finds the place
 * without counting. What is shown is cut, and control characters are spelled
 * as '?', because the line is hostile and the message ends on terminals.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "snapshots/diff_private.h"

enum { SHOWN_BYTES = 120 };

/* --- lines ------------------------------------------------------------- */

bool diff_raw_at(const struct diff_parser *parser, const uint8_t *at, struct diff_raw *ret)
{
	const uint8_t *newline;

	if (at == parser->end)
		return false;
	newline = memchr(at, '\n', (size_t)(parser->end - at));
	ret->whole = newline != NULL;
	if (newline == NULL)
		newline = parser->end;
	ret->text = (struct bytes){at, (size_t)(newline - at)};
	ret->next = ret->whole ? newline + 1 : newline;
	return true;
}

bool diff_peek(const struct diff_parser *parser, struct diff_raw *ret)
{
	return diff_raw_at(parser, parser->at, ret);
}

void diff_skip(struct diff_parser *parser, const struct diff_raw *line)
{
	parser->at = line->next;
	parser->line++;
}

size_t diff_count_heads(struct bytes text, size_t most)
{
	const uint8_t *at = text.data, *end = text.data + text.len;
	size_t heads = 1;

	while (heads < most && (at = memmem(at, (size_t)(end - at), "\n@@", 3)) != NULL) {
		at += 3;
		heads++;
	}
	return heads;
}

struct bytes diff_after(struct bytes text, size_t len)
{
	return (struct bytes){text.data + len, text.len - len};
}

bool diff_number(struct bytes *text, uint32_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	for (; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++) {
		value = value * 10 + (uint64_t)(text->data[i] - '0');
		if (value > INT32_MAX)
			return false;
	}
	if (i == 0)
		return false;
	*text = diff_after(*text, i);
	*ret = (uint32_t)value;
	return true;
}

/* --- refusals ---------------------------------------------------------- */

static int refuse(struct diff_parser *parser, enum reason_code code, size_t line, struct bytes text,
		  const char *fmt, va_list args) PRINTF_LIKE(5, 0);

static int refuse(struct diff_parser *parser, enum reason_code code, size_t line, struct bytes text,
		  const char *fmt, va_list args)
{
	char message[REASON_MESSAGE_BYTES / 2];
	char shown[SHOWN_BYTES + 1];
	size_t len = text.len < SHOWN_BYTES ? text.len : SHOWN_BYTES;

	(void)vsnprintf(message, sizeof(message), fmt, args);
	for (size_t i = 0; i < len; i++)
		shown[i] = text.data[i] < ' ' || text.data[i] == 127 ? '?' : (char)text.data[i];
	shown[len] = '\0';
	if (len == 0)
		return reason_set(parser->reason, code, NULL, "line %zu: %s", line, message);
	return reason_set(parser->reason, code, NULL, "line %zu: %s\n  %zu | %s%s", line, message,
			  line, shown, text.len > SHOWN_BYTES ? "..." : "");
}

int diff_refuse(struct diff_parser *parser, enum reason_code code, size_t line, struct bytes text,
		const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)refuse(parser, code, line, text, fmt, args);
	va_end(args);
	return REFUSED;
}

int diff_refuse_here(struct diff_parser *parser, enum reason_code code, const char *fmt, ...)
{
	struct diff_raw line = {0};
	va_list args;

	(void)diff_peek(parser, &line);
	va_start(args, fmt);
	(void)refuse(parser, code, parser->line, line.text, fmt, args);
	va_end(args);
	return REFUSED;
}

int diff_exhausted(struct diff_parser *parser)
{
	return reason_set(parser->reason, REASON_PATCH_TOO_LARGE, NULL,
			  "line %zu: the diff needs more memory than a job may use", parser->line);
}
