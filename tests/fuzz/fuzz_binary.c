/*
 * fuzz_binary.c - any bytes as a zlib stream, as the lines of a binary patch
 * behind a header, and as a delta, packed into such lines here because no fuzzer
 * guesses a checksum. Whatever is claimed, nothing is written beyond the room that
 * the claim was given; what a delta makes is what a plain reading of it makes.
 */
#include "base/buf.h"
#include "snapshots/binary.h"
#include "snapshots/inflate.h"
#include "tests/fuzz/fuzz.h"

enum {
	ROOM_BYTES = 1 << 16,
	ARENA_BYTES = 16 << 20,
	ZLIB_BYTES_MIN = 8, /* header, a block, checksum */
	LINE_BYTES = 52,
	DELTA_BYTES_MAX = 65535,
};

static void inflate_all(struct bytes input)
{
	size_t claim = input.len > 1 ? input.data[0] * 256u + input.data[1] : 0;
	uint8_t *out = malloc(claim == 0 ? 1 : claim);

	require(out != NULL);
	if (input.len > 2 &&
	    inflate_zlib((struct bytes){input.data + 2, input.len - 2}, out, claim))
		require(input.len - 2 >= ZLIB_BYTES_MIN);
	free(out);
}

/* --- the wrapping of a delta ----------------------------------------------- */

/* One stored block: nothing is compressed. */
static void add_zlib(struct buf *out, struct bytes data)
{
	uint32_t low = 1, high = 0;
	uint16_t len = (uint16_t)data.len, other = (uint16_t)~len;

	for (size_t i = 0; i < data.len; i++) {
		low = (low + data.data[i]) % 65521;
		high = (high + low) % 65521;
	}
	buf_add(out, "\x78\x01\x01", 3);
	buf_add(out, (uint8_t[]){len & 255, len >> 8, other & 255, other >> 8}, 4);
	buf_add(out, data.data, data.len);
	buf_add(out, (uint8_t[]){high >> 8, high & 255, low >> 8, low & 255}, 4);
}

/* Lines of up to 52 bytes in base 85, each with its length as a letter. */
static void add_lines(struct buf *out, struct bytes data)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

	for (size_t at = 0; at < data.len; at += LINE_BYTES) {
		size_t len = data.len - at < LINE_BYTES ? data.len - at : LINE_BYTES;

		buf_add_byte(out, (uint8_t)(len <= 26 ? 'A' + len - 1 : 'a' + len - 27));
		for (size_t i = 0; i < len; i += 4) {
			char text[5];
			uint32_t group = 0;

			for (size_t k = i; k < i + 4; k++)
				group = group << 8 | (k < len ? data.data[at + k] : 0);
			for (size_t k = 5; k-- > 0; group /= 85)
				text[k] = digits[group % 85];
			buf_add(out, text, sizeof(text));
		}
		buf_add_byte(out, '\n');
	}
	buf_add_byte(out, '\n');
}

/* --- a plain reading ------------------------------------------------------- */

static bool take_number(struct bytes *delta, uint64_t *ret)
{
	unsigned shift = 0;
	uint8_t byte;

	*ret = 0;
	do {
		if (delta->len == 0 || shift > 56)
			return false;
		byte = fuzz_byte(delta);
		*ret |= (uint64_t)(byte & 127) << shift;
		shift += 7;
	} while ((byte & 128) != 0);
	return true;
}

/* False for what is no delta of the base. */
static bool read_delta(struct bytes delta, struct bytes base, struct buf *out)
{
	uint64_t old_size, new_size;

	if (!take_number(&delta, &old_size) || !take_number(&delta, &new_size) ||
	    old_size != base.len)
		return false;
	while (delta.len > 0) {
		uint8_t op = fuzz_byte(&delta);
		size_t operands[7] = {0}, from, len;

		if (op < 128) {
			if (op == 0 || op > delta.len)
				return false;
			buf_add(out, delta.data, op);
			delta = (struct bytes){delta.data + op, delta.len - op};
			continue;
		}
		for (unsigned i = 0; i < 7; i++) {
			if ((op >> i & 1) != 0 && delta.len == 0)
				return false;
			if ((op >> i & 1) != 0)
				operands[i] = fuzz_byte(&delta);
		}
		from = operands[0] | operands[1] << 8 | operands[2] << 16 | operands[3] << 24;
		len = operands[4] | operands[5] << 8 | operands[6] << 16;
		len = len == 0 ? 65536 : len;
		if (from > base.len || len > base.len - from)
			return false;
		buf_add(out, base.data + from, len);
	}
	return !out->failed && out->len == new_size && new_size <= ROOM_BYTES;
}

/* --- the targets ----------------------------------------------------------- */

static const char header[] = "diff --git a/x b/x\nindex 1..2\nGIT binary patch\n";

/* 0: applied to the header's own text, which is as good a base as any. */
static int apply(struct arena *arena, struct bytes text, struct bytes *out)
{
	static const struct diff_limits limits = {.files = 1, .hunks = 1};
	const struct bytes base = {(const uint8_t *)header, sizeof(header) - 1};
	struct reason reason = {0};
	struct err err = {0};
	struct diff diff;
	int code = diff_parse(arena, text, 1, &limits, &diff, &reason, &err);

	if (code != 0 || diff.files[0].data.kind == DIFF_BINARY_ABSENT)
		return REFUSED;
	code = binary_apply(arena, &diff.files[0], base, ROOM_BYTES, out, &reason, &err);
	require(code != 0 || out->len <= ROOM_BYTES);
	return code;
}

static void take_delta(struct arena *arena, struct bytes delta)
{
	const struct bytes base = {(const uint8_t *)header, sizeof(header) - 1};
	struct buf packed, text, wanted;
	struct bytes out;
	bool good;

	if (delta.len == 0 || delta.len > DELTA_BYTES_MAX)
		return;
	buf_init(&packed, ARENA_BYTES);
	buf_init(&text, ARENA_BYTES);
	buf_init(&wanted, ROOM_BYTES);
	add_zlib(&packed, delta);
	buf_add_text(&text, header);
	buf_printf(&text, "delta %zu\n", delta.len);
	add_lines(&text, buf_bytes(&packed));
	good = read_delta(delta, base, &wanted);
	require((apply(arena, buf_bytes(&text), &out) == 0) == good);
	if (good)
		require(out.len == wanted.len &&
			(out.len == 0 || memcmp(out.data, wanted.data, out.len) == 0));
	buf_release(&packed);
	buf_release(&text);
	buf_release(&wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct bytes out;
	struct buf text;

	inflate_all((struct bytes){data, size});
	arena_init(&arena, ARENA_BYTES);
	take_delta(&arena, (struct bytes){data, size});
	buf_init(&text, ARENA_BYTES);
	buf_add_text(&text, header);
	buf_add(&text, data, size);
	(void)(apply(&arena, buf_bytes(&text), &out) == 0);
	buf_release(&text);
	arena_release(&arena);
	return 0;
}
