/*
 * inflate.c - a decoder of deflate for streams that fit in memory.
 *
 * Bits are taken from the low end of a 64-bit store. Past the end of the input
 * the store is filled with zeros and `over` counts them: no code is longer
 * than what one refill gives, so the loops need no check for each bit, and
 * `over` is looked at once a symbol.
 *
 * Huffman codes are decoded canonically (RFC 1951, section 3.2.2): codes of
 * one length are consecutive numbers, so the counts of each length and the
 * symbols in order are the whole table. An over-subscribed set is refused; an
 * incomplete one is allowed where zlib allows it: a single distance code.
 */
#include "snapshots/inflate.h"

#include <string.h>

enum { CODE_BITS = 15, LITERALS = 288, DISTANCES = 32, LENGTH_CODES = 19, END_OF_BLOCK = 256 };

struct bits {
	const uint8_t *at;
	const uint8_t *end;
	uint64_t store;
	unsigned count; /* bits in the store */
	size_t over;	/* bytes of zeros taken behind the end */
};

struct output {
	uint8_t *data;
	size_t len;
	size_t size;
};

struct codes {
	uint16_t counts[CODE_BITS + 1];
	uint16_t symbols[LITERALS];
};

/* --- bits --------------------------------------------------------------- */

static void refill(struct bits *bits)
{
	while (bits->count <= 56) {
		if (bits->at < bits->end)
			bits->store |= (uint64_t)*bits->at++ << bits->count;
		else
			bits->over++;
		bits->count += 8;
	}
}

/* `count` is at most 16. */
static unsigned take(struct bits *bits, unsigned count)
{
	unsigned value;

	refill(bits);
	value = (unsigned)(bits->store & ((UINT64_C(1) << count) - 1));
	bits->store >>= count;
	bits->count -= count;
	return value;
}

/* Whether bits were used that the input does not have. */
static bool is_short(const struct bits *bits)
{
	return bits->over > bits->count / 8;
}

/* Gives whole unused bytes back; the store is empty then. */
static void align(struct bits *bits)
{
	size_t whole = bits->count / 8;

	bits->at -= whole - (bits->over < whole ? bits->over : whole);
	bits->store = 0;
	bits->count = 0;
	bits->over = 0;
}

/* --- codes ---------------------------------------------------------------- */

/* Fills `codes` from the length of each symbol's code. False when more codes
 * are asked for than there are, or fewer while `whole` is set. */
static bool make_codes(struct codes *codes, const uint8_t *lengths, size_t len, bool whole)
{
	uint16_t offsets[CODE_BITS + 2] = {0};
	int left = 1;

	*codes = (struct codes){0};
	for (size_t i = 0; i < len; i++)
		codes->counts[lengths[i]]++;
	codes->counts[0] = 0;
	for (unsigned i = 1; i <= CODE_BITS; i++) {
		left = 2 * left - codes->counts[i];
		if (left < 0)
			return false;
		offsets[i + 1] = (uint16_t)(offsets[i] + codes->counts[i]);
	}
	for (size_t i = 0; i < len; i++) {
		if (lengths[i] != 0)
			codes->symbols[offsets[lengths[i]]++] = (uint16_t)i;
	}
	return left == 0 || !whole;
}

/* The next symbol, or -1 when the bits are no code. */
static int take_symbol(struct bits *bits, const struct codes *codes)
{
	int code = 0, first = 0, index = 0;
	uint64_t store;

	refill(bits);
	store = bits->store;
	for (unsigned len = 1; len <= CODE_BITS; len++) {
		int count = codes->counts[len];

		code |= (int)(store & 1);
		store >>= 1;
		if (code - first < count) {
			bits->store = store;
			bits->count -= len;
			return codes->symbols[index + code - first];
		}
		index += count;
		first = (first + count) << 1;
		code <<= 1;
	}
	return -1;
}

/* --- blocks ---------------------------------------------------------------- */

static bool stored_block(struct bits *bits, struct output *out)
{
	unsigned len;

	if (is_short(bits))
		return false;
	align(bits);
	if (bits->end - bits->at < 4)
		return false;
	len = (unsigned)bits->at[0] | (unsigned)bits->at[1] << 8;
	if (((unsigned)bits->at[2] | (unsigned)bits->at[3] << 8) != (~len & 0xffff))
		return false;
	bits->at += 4;
	if ((size_t)(bits->end - bits->at) < len || len > out->size - out->len)
		return false;
	if (len > 0)
		(void)memcpy(out->data + out->len, bits->at, len);
	out->len += len;
	bits->at += len;
	return true;
}

/* Copies from `distance` back; what overlaps repeats. */
static void repeat(struct output *out, size_t distance, size_t len)
{
	uint8_t *to = out->data + out->len;
	const uint8_t *from = to - distance;

	out->len += len;
	if (distance == 1) {
		(void)memset(to, *from, len);
	} else if (distance >= len) {
		(void)memcpy(to, from, len);
	} else {
		while (len-- > 0)
			*to++ = *from++;
	}
}

/* A length and distance pair behind a length symbol. */
static bool copy_match(struct bits *bits, struct output *out, unsigned symbol,
		       const struct codes *distances)
{
	static const uint16_t bases[] = {3,  4,	 5,  6,	  7,   8,   9,	 10,  11, 13,
					 15, 17, 19, 23,  27,  31,  35,	 43,  51, 59,
					 67, 83, 99, 115, 131, 163, 195, 227, 258};
	static const uint8_t extras[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
					 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
	size_t len, distance;
	int code;

	if (symbol >= ARRAY_LEN(bases))
		return false;
	len = bases[symbol] + (size_t)take(bits, extras[symbol]);
	code = take_symbol(bits, distances);
	if (code < 0 || code >= 30)
		return false;
	/* Two codes for each number of extra bits, from the fifth code on. */
	if (code < 4) {
		distance = (size_t)code + 1;
	} else {
		unsigned extra = (unsigned)code / 2 - 1;

		distance = ((size_t)(2 + (code & 1)) << extra) + 1 + take(bits, extra);
	}
	if (distance > out->len || len > out->size - out->len)
		return false;
	repeat(out, distance, len);
	return true;
}

static bool coded_block(struct bits *bits, struct output *out, const struct codes *literals,
			const struct codes *distances)
{
	for (;;) {
		int symbol = take_symbol(bits, literals);

		if (symbol < 0 || is_short(bits))
			return false;
		if (symbol == END_OF_BLOCK)
			return true;
		if (symbol < END_OF_BLOCK) {
			if (out->len == out->size)
				return false;
			out->data[out->len++] = (uint8_t)symbol;
		} else if (!copy_match(bits, out, (unsigned)symbol - END_OF_BLOCK - 1, distances)) {
			return false;
		}
	}
}

static bool fixed_block(struct bits *bits, struct output *out)
{
	struct codes literals, distances;
	uint8_t lengths[LITERALS];

	for (size_t i = 0; i < LITERALS; i++)
		lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
	(void)make_codes(&literals, lengths, LITERALS, true);
	(void)memset(lengths, 5, DISTANCES);
	(void)make_codes(&distances, lengths, DISTANCES, true);
	return coded_block(bits, out, &literals, &distances);
}

/* The lengths of all codes, themselves coded with repetitions. */
static bool take_lengths(struct bits *bits, uint8_t *lengths, size_t len)
{
	static const uint8_t order[LENGTH_CODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
						    11, 4,  12, 3, 13, 2, 14, 1, 15};
	uint8_t own[LENGTH_CODES] = {0};
	unsigned given = take(bits, 4) + 4;
	struct codes codes;

	for (unsigned i = 0; i < given; i++)
		own[order[i]] = (uint8_t)take(bits, 3);
	if (!make_codes(&codes, own, LENGTH_CODES, true))
		return false;
	for (size_t at = 0; at < len;) {
		int symbol = take_symbol(bits, &codes);
		uint8_t value = 0;
		size_t times = 1;

		if (symbol < 0 || is_short(bits) || (symbol == 16 && at == 0))
			return false;
		if (symbol < 16)
			value = (uint8_t)symbol;
		else if (symbol == 16)
			value = lengths[at - 1];
		if (symbol >= 16)
			times = symbol == 16   ? 3 + take(bits, 2)
				: symbol == 17 ? 3 + take(bits, 3)
					       : 11 + take(bits, 7);
		if (times > len - at)
			return false;
		(void)memset(lengths + at, value, times);
		at += times;
	}
	return true;
}

static bool dynamic_block(struct bits *bits, struct output *out)
{
	uint8_t lengths[LITERALS + DISTANCES];
	struct codes literals, distances;
	size_t literals_len = take(bits, 5) + 257;
	size_t distances_len = take(bits, 5) + 1;
	size_t used = 0;

	if (literals_len > 286 || distances_len > 30 ||
	    !take_lengths(bits, lengths, literals_len + distances_len) ||
	    lengths[END_OF_BLOCK] == 0)
		return false;
	for (size_t i = 0; i < distances_len; i++)
		used += lengths[literals_len + i] != 0;
	return make_codes(&literals, lengths, literals_len, true) &&
	       make_codes(&distances, lengths + literals_len, distances_len, used > 1) &&
	       coded_block(bits, out, &literals, &distances);
}

/* --- the stream ------------------------------------------------------------- */

/* RFC 1950, section 8.2. The sums are reduced before they can overflow. */
static uint32_t adler32(const uint8_t *data, size_t len)
{
	uint32_t a = 1, b = 0;

	while (len > 0) {
		size_t run = len < 5552 ? len : 5552;

		for (size_t i = 0; i < run; i++) {
			a += data[i];
			b += a;
		}
		a %= 65521;
		b %= 65521;
		data += run;
		len -= run;
	}
	return b << 16 | a;
}

bool inflate_zlib(struct bytes in, uint8_t *out, size_t size)
{
	struct bits bits = {.at = in.data, .end = in.data + in.len};
	struct output output = {.data = out, .size = size};
	const uint8_t *sum;
	bool last;

	/* Deflate, a window of at most 32 KiB, no preset dictionary. */
	if (in.len < 6 || (in.data[0] & 15) != 8 || in.data[0] >> 4 > 7 ||
	    (in.data[0] * 256u + in.data[1]) % 31 != 0 || (in.data[1] & 32) != 0)
		return false;
	bits.at += 2;
	do {
		unsigned kind;
		bool good = false;

		last = take(&bits, 1) != 0;
		kind = take(&bits, 2);
		if (kind == 0)
			good = stored_block(&bits, &output);
		else if (kind == 1)
			good = fixed_block(&bits, &output);
		else if (kind == 2)
			good = dynamic_block(&bits, &output);
		if (!good)
			return false;
	} while (!last);
	if (is_short(&bits))
		return false;
	align(&bits);
	sum = bits.at;
	return bits.end - sum == 4 && output.len == size &&
	       ((uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 | sum[3]) ==
		       adler32(out, size);
}
