/*
 * json_write.c - trees as JSON (RFC 8259).
 *
 * Indented output is laid out as Python's json.dumps(..., ensure_ascii=False)
 * lays it out, so that golden files compare byte by byte. Control characters,
 * those above U+007F too, and marks that reorder text are escaped: the output
 * may go to a terminal.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/terminal.h"
#include "base/text.h"
#include "schema/base64.h"
#include "schema/value_private.h"

struct writer {
	struct buf *out;
	unsigned indent;
	unsigned depth;
};

/* --- scalars ---------------------------------------------------------- */

enum { ESCAPE_BYTES = 16 };

/* Beyond 16 bits a character is spelled as two halves. */
static void spell(uint32_t point, char room[ESCAPE_BYTES])
{
	if (point < 0x10000)
		(void)snprintf(room, ESCAPE_BYTES, "\\u%04x", point);
	else
		(void)snprintf(room, ESCAPE_BYTES, "\\u%04x\\u%04x",
			       0xd800 + ((point - 0x10000) >> 10), 0xdc00 + (point & 0x3ff));
}

/* How the next character is written: NULL when it stands for itself. */
static const char *escape_of(const uint8_t *at, size_t len, size_t *ret_len,
			     char room[ESCAPE_BYTES])
{
	uint32_t point;

	*ret_len = 1;
	switch (*at) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	case '\b':
		return "\\b";
	case '\f':
		return "\\f";
	default:
		break;
	}
	if (*at >= 0x20 && *at < 0x7f)
		return NULL;
	*ret_len = terminal_harmful(at, len, &point);
	if (*ret_len == 0)
		return NULL;
	spell(point, room);
	return room;
}

static void write_text(struct buf *out, struct bytes text)
{
	size_t from = 0;

	buf_add_byte(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		char room[ESCAPE_BYTES];
		size_t wide;
		const char *escape = escape_of(text.data + i, text.len - i, &wide, room);

		if (escape == NULL)
			continue;
		if (i > from)
			buf_add(out, text.data + from, i - from);
		buf_add_text(out, escape);
		i += wide - 1;
		from = i + 1;
	}
	if (text.len > from)
		buf_add(out, text.data + from, text.len - from);
	buf_add_byte(out, '"');
}

/* The shortest decimal that reads back as the same number, always with a
 * point or an exponent, so that it stays a real. */
static void write_real(struct buf *out, double real)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, real);
		if (strtod(text, NULL) == real)
			break;
	}
	buf_add_text(out, text);
	if (strpbrk(text, ".e") == NULL)
		buf_add_text(out, ".0");
}

/* --- lists and maps --------------------------------------------------- */

/* Lists and maps hold values, so these three call each other. */
static void write_value(struct writer *writer, const struct value *value);

static void write_break(struct writer *writer)
{
	if (writer->indent > 0)
		buf_printf(writer->out, "\n%*s", (int)(writer->indent * writer->depth), "");
}

static void write_open(struct writer *writer, char bracket)
{
	buf_add_byte(writer->out, (uint8_t)bracket);
	writer->depth++;
}

static void write_close(struct writer *writer, char bracket, bool empty)
{
	writer->depth--;
	if (!empty)
		write_break(writer);
	buf_add_byte(writer->out, (uint8_t)bracket);
}

static void write_key(struct writer *writer, struct bytes key, bool first)
{
	if (!first)
		buf_add_byte(writer->out, ',');
	write_break(writer);
	write_text(writer->out, key);
	buf_add_text(writer->out, writer->indent > 0 ? ": " : ":");
}

static void write_list(struct writer *writer, const struct value *list)
{
	write_open(writer, '[');
	for (size_t i = 0; i < list->list.len; i++) {
		if (i > 0)
			buf_add_byte(writer->out, ',');
		write_break(writer);
		write_value(writer, list->list.items[i]);
	}
	write_close(writer, ']', list->list.len == 0);
}

static void write_map(struct writer *writer, const struct value *map)
{
	write_open(writer, '{');
	for (size_t i = 0; i < map->map.len; i++) {
		write_key(writer, map->map.keys[i], i == 0);
		write_value(writer, map->map.items[i]);
	}
	write_close(writer, '}', map->map.len == 0);
}

static struct bytes bytes_of(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static void write_bin(struct writer *writer, struct bytes bytes)
{
	if (text_is_utf8(bytes.data, bytes.len)) {
		write_text(writer->out, bytes);
		return;
	}
	write_open(writer, '{');
	write_key(writer, bytes_of("base64"), true);
	buf_add_byte(writer->out, '"');
	base64_encode(bytes, writer->out);
	buf_add_byte(writer->out, '"');
	write_close(writer, '}', false);
}

static void write_time(struct writer *writer, const struct value *value)
{
	write_open(writer, '{');
	write_key(writer, bytes_of("seconds"), true);
	buf_printf(writer->out, "%" PRId64, value->time.seconds);
	write_key(writer, bytes_of("nanoseconds"), false);
	buf_printf(writer->out, "%" PRIu32, value->time.nanoseconds);
	write_close(writer, '}', false);
}

static void write_value(struct writer *writer, const struct value *value)
{
	switch (value->kind) {
	case VALUE_NULL:
		buf_add_text(writer->out, "null");
		return;
	case VALUE_BOOL:
		buf_add_text(writer->out, value->boolean ? "true" : "false");
		return;
	case VALUE_INT:
		buf_printf(writer->out, "%" PRId64, value->integer);
		return;
	case VALUE_REAL:
		write_real(writer->out, value->real);
		return;
	case VALUE_STR:
		write_text(writer->out, value->bytes);
		return;
	case VALUE_BIN:
		write_bin(writer, value->bytes);
		return;
	case VALUE_LIST:
		write_list(writer, value);
		return;
	case VALUE_MAP:
		write_map(writer, value);
		return;
	case VALUE_TIME:
		write_time(writer, value);
		return;
	}
	assert(!"a value has a kind");
}

void value_to_json(const struct value *value, unsigned indent, struct buf *out)
{
	struct writer writer = {.out = out, .indent = indent};

	write_value(&writer, value);
}
