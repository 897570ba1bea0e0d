/*
 * reader.c - msgpack tokens, one at a time, from bytes that nobody vouches
 * for (the format: github.com/msgpack/msgpack, spec.md).
 *
 * Nothing is allocated and nothing is read beyond the input. A head that
 * promises more than the input holds is refused at once, so a message of five
 * bytes cannot make anybody reserve gigabytes.
 */
#include "schema/value_private.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/text.h"

/* --- bytes ------------------------------------------------------------ */

static size_t left(const struct reader *reader)
{
	return reader->len - reader->at;
}

static int truncated(const struct reader *reader, struct err *err)
{
	return err_set(err, ERR_INPUT, "the message ends in the middle of a value at byte %zu",
		       reader->len);
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static int take_number(struct reader *reader, size_t size, uint64_t *ret, struct err *err)
{
	uint64_t number = 0;

	if (left(reader) < size)
		return truncated(reader, err);
	for (size_t i = 0; i < size; i++)
		number = number << 8 | reader->data[reader->at++];
	*ret = number;
	return 0;
}

static int take_bytes(struct reader *reader, size_t size, struct bytes *ret, struct err *err)
{
	if (left(reader) < size)
		return truncated(reader, err);
	*ret = (struct bytes){reader->data + reader->at, size};
	reader->at += size;
	return 0;
}

/* --- kinds ------------------------------------------------------------ */

static int take_str(struct reader *reader, uint64_t size, struct token *token, struct err *err)
{
	token->kind = VALUE_STR;
	if (take_bytes(reader, size, &token->bytes, err) < 0)
		return -1;
	if (!text_is_utf8(token->bytes.data, token->bytes.len))
		return err_set(err, ERR_INPUT, "the text at byte %zu is not UTF-8", token->at);
	return 0;
}

static int take_bin(struct reader *reader, uint64_t size, struct token *token, struct err *err)
{
	token->kind = VALUE_BIN;
	return take_bytes(reader, size, &token->bytes, err);
}

static int take_count(struct reader *reader, enum value_kind kind, uint64_t count,
		      struct token *token, struct err *err)
{
	uint64_t least_bytes = kind == VALUE_MAP ? 2 * count : count;

	token->kind = kind;
	token->count = count;
	if (least_bytes > left(reader))
		return err_set(err, ERR_INPUT,
			       "the %s at byte %zu claims %llu items, more than the message holds",
			       value_kind_name(kind), token->at, (unsigned long long)count);
	return 0;
}

static int take_int(struct reader *reader, uint8_t lead, struct token *token, struct err *err)
{
	uint64_t number = 0;

	token->kind = VALUE_INT;
	if (take_number(reader, (size_t)1 << (lead & 3), &number, err) < 0)
		return -1;
	if (lead == 0xcf && number > INT64_MAX)
		return err_set(err, ERR_INPUT, "the integer at byte %zu is above %lld", token->at,
			       (long long)INT64_MAX);
	return 0;
}

static int take_real(struct reader *reader, uint8_t lead, struct token *token, struct err *err)
{
	uint64_t raw = 0;
	double real;

	token->kind = VALUE_REAL;
	if (take_number(reader, lead == 0xca ? 4 : 8, &raw, err) < 0)
		return -1;
	if (lead == 0xca) {
		uint32_t half = (uint32_t)raw;
		float single;

		(void)memcpy(&single, &half, sizeof(single));
		real = (double)single;
	} else {
		(void)memcpy(&real, &raw, sizeof(real));
	}
	if (!isfinite(real))
		return err_set(err, ERR_INPUT, "the number at byte %zu is not finite", token->at);
	return 0;
}

/* Only the timestamp (type -1) in its three sizes, with legal nanoseconds. */
static int take_ext(struct reader *reader, uint64_t size, struct token *token, struct err *err)
{
	uint64_t type = 0;
	uint64_t number = 0;
	uint64_t nanoseconds = 0;

	token->kind = VALUE_TIME;
	if (take_number(reader, 1, &type, err) < 0)
		return -1;
	if (type != 0xff || (size != 4 && size != 8 && size != 12))
		return err_set(err, ERR_INPUT, "the extension at byte %zu is not a timestamp",
			       token->at);
	if (size == 12 && take_number(reader, 4, &nanoseconds, err) < 0)
		return -1;
	if (take_number(reader, size == 4 ? 4 : 8, &number, err) < 0)
		return -1;
	if (size == 8)
		nanoseconds = number >> 34;
	if (nanoseconds > 999999999)
		return err_set(err, ERR_INPUT, "the timestamp at byte %zu is out of range",
			       token->at);
	return 0;
}

/* --- tokens ----------------------------------------------------------- */

/* Heads whose length or count is a number of its own, by size class 0-2. */
static int take_sized(struct reader *reader, uint8_t lead, struct token *token, struct err *err)
{
	static const uint8_t sizes[0x20] = {
		[0x04] = 1, [0x05] = 2, [0x06] = 4, [0x07] = 1, [0x08] = 2, [0x09] = 4, [0x19] = 1,
		[0x1a] = 2, [0x1b] = 4, [0x1c] = 2, [0x1d] = 4, [0x1e] = 2, [0x1f] = 4};
	uint64_t size = 0;

	if (take_number(reader, sizes[lead & 0x1f], &size, err) < 0)
		return -1;
	if (lead <= 0xc6)
		return take_bin(reader, size, token, err);
	if (lead <= 0xc9)
		return take_ext(reader, size, token, err);
	if (lead <= 0xdb)
		return take_str(reader, size, token, err);
	return take_count(reader, lead <= 0xdd ? VALUE_LIST : VALUE_MAP, size, token, err);
}

int reader_next(struct reader *reader, struct token *ret, struct err *err)
{
	uint8_t lead;

	*ret = (struct token){.at = reader->at};
	if (left(reader) == 0)
		return truncated(reader, err);
	lead = reader->data[reader->at++];
	if (lead <= 0x7f || lead >= 0xe0) {
		ret->kind = VALUE_INT;
		return 0;
	}
	if (lead <= 0x8f)
		return take_count(reader, VALUE_MAP, lead & 0x0f, ret, err);
	if (lead <= 0x9f)
		return take_count(reader, VALUE_LIST, lead & 0x0f, ret, err);
	if (lead <= 0xbf)
		return take_str(reader, lead & 0x1f, ret, err);
	if (lead == 0xc1)
		return err_set(err, ERR_INPUT, "the byte at %zu starts no value", ret->at);
	if (lead <= 0xc3) {
		ret->kind = lead == 0xc0 ? VALUE_NULL : VALUE_BOOL;
		return 0;
	}
	if (lead == 0xca || lead == 0xcb)
		return take_real(reader, lead, ret, err);
	if (lead >= 0xcc && lead <= 0xd3)
		return take_int(reader, lead, ret, err);
	if (lead >= 0xd4 && lead <= 0xd8)
		return take_ext(reader, (uint64_t)1 << (lead - 0xd4), ret, err);
	return take_sized(reader, lead, ret, err);
}

int reader_skip(struct reader *reader, struct err *err)
{
	/* Every value counted here takes a byte at least, so the sum cannot
	 * overflow and the loop ends with the input. */
	for (size_t wanted = 1; wanted > 0; wanted--) {
		struct token token;

		if (reader_next(reader, &token, err) < 0)
			return -1;
		wanted += token.kind == VALUE_MAP ? 2 * token.count : token.count;
	}
	return 0;
}
