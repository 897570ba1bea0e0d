/*
 * binary.c - decoding a binary patch.
 *
 * Lines are decoded from base 85 into one zlib stream, which is inflated into
 * exactly the claimed room: a stream that wants more, or fills less, has lied.
 * A delta inflates to copy and insert
 * instructions over the preimage (gitformat-pack(5)); its own header repeats
 * both sizes, which must be true.
 */
#include "snapshots/binary.h"

#include <string.h>

#include "snapshots/inflate.h"

enum { LINE_BYTES = 52, DIGITS = 85 };

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			     "!#$%&()*+-;<=>?@^_`{|}~";

static const char *path_of(const struct diff_file *file)
{
	return file->new_path != NULL ? file->new_path : file->old_path;
}

static int bad(const struct diff_file *file, struct reason *reason, const char *what)
{
	return reason_set(reason, REASON_PATCH_MALFORMED, path_of(file),
			  "line %zu: the binary patch of '%s' is corrupt: %s", file->at_line,
			  path_of(file), what);
}

static int too_large(const struct diff_file *file, uint64_t size, size_t limit_bytes,
		     struct reason *reason)
{
	return reason_set(reason, REASON_PATCH_TOO_LARGE, path_of(file),
			  "line %zu: the binary patch of '%s' makes %llu bytes, %zu are allowed",
			  file->at_line, path_of(file), (unsigned long long)size, limit_bytes);
}

/* --- base 85 ----------------------------------------------------------- */

static bool decode_group(const uint8_t *text, uint8_t ret[4])
{
	uint64_t value = 0;

	for (size_t i = 0; i < 5; i++) {
		const char *digit = text[i] == 0 ? NULL : strchr(digits, text[i]);

		if (digit == NULL)
			return false;
		value = value * DIGITS + (uint64_t)(digit - digits);
	}
	if (value > UINT32_MAX)
		return false;
	for (size_t i = 0; i < 4; i++)
		ret[i] = (uint8_t)(value >> (24 - 8 * i));
	return true;
}

/* Takes one line off `text`, whose frame the parser has checked. */
static bool decode_line(struct bytes *text, uint8_t ret[LINE_BYTES], size_t *ret_len)
{
	uint8_t letter = text->data[0];
	size_t len = letter <= 'Z' ? (size_t)(letter - 'A') + 1 : (size_t)(letter - 'a') + 27;
	size_t groups = (len + 3) / 4;

	for (size_t i = 0; i < groups; i++) {
		if (!decode_group(text->data + 1 + 5 * i, ret + 4 * i))
			return false;
	}
	*ret_len = len;
	*text = (struct bytes){text->data + 2 + 5 * groups, text->len - 2 - 5 * groups};
	return true;
}

/* --- inflating --------------------------------------------------------- */

/* The zlib stream that the lines hold. */
static int decode_lines(struct arena *arena, const struct diff_file *file, struct bytes *ret,
			struct reason *reason)
{
	struct bytes text = file->data.text;
	/* Five digits and more stand for four bytes; each line is decoded in
	 * whole groups, the last of which may pass the line's length. */
	uint8_t *data = arena_alloc(arena, text.len / 5 * 4 + LINE_BYTES);
	size_t used = 0;

	if (data == NULL)
		return too_large(file, text.len, arena->limit_bytes, reason);
	while (text.len > 0) {
		size_t len;

		if (!decode_line(&text, data + used, &len))
			return bad(file, reason, "it is not base 85");
		used += len;
	}
	*ret = (struct bytes){data, used};
	return 0;
}

/* Exactly `size` bytes, or it is refused. */
static int inflate_half(struct arena *arena, const struct diff_file *file, size_t size,
			struct bytes *ret, struct reason *reason)
{
	struct bytes stream;
	uint8_t *out;
	int code = decode_lines(arena, file, &stream, reason);

	if (code != 0)
		return code;
	out = arena_alloc(arena, size);
	if (out == NULL)
		return too_large(file, size, arena->limit_bytes, reason);
	if (!inflate_zlib(stream, out, size))
		return bad(file, reason, "it does not inflate to the size it claims");
	*ret = (struct bytes){out, size};
	return 0;
}

/* --- deltas ------------------------------------------------------------ */

/* A size of a delta's header: seven bits a byte, lowest first. */
static bool take_size(struct bytes *delta, uint64_t *ret)
{
	uint64_t size = 0;

	for (unsigned shift = 0; delta->len > 0 && shift < 63; shift += 7) {
		uint8_t byte = delta->data[0];

		*delta = (struct bytes){delta->data + 1, delta->len - 1};
		size |= (uint64_t)(byte & 127) << shift;
		if ((byte & 128) == 0) {
			*ret = size;
			return true;
		}
	}
	return false;
}

/* Operands of a copy: the bits of `mask` say which bytes follow. */
static bool take_operand(struct bytes *delta, unsigned mask, unsigned count, uint32_t *ret)
{
	*ret = 0;
	for (unsigned i = 0; i < count; i++) {
		if ((mask >> i & 1) == 0)
			continue;
		if (delta->len == 0)
			return false;
		*ret |= (uint32_t)delta->data[0] << (8 * i);
		*delta = (struct bytes){delta->data + 1, delta->len - 1};
	}
	return true;
}

static bool run_copy(struct bytes *delta, uint8_t op, struct bytes base, uint8_t *out, size_t room,
		     size_t *ret_len)
{
	uint32_t offset, len;

	if (!take_operand(delta, op & 15, 4, &offset) || !take_operand(delta, op >> 4 & 7, 3, &len))
		return false;
	if (len == 0)
		len = 0x10000;
	if (offset > base.len || len > base.len - offset || len > room)
		return false;
	(void)memcpy(out, base.data + offset, len);
	*ret_len = len;
	return true;
}

static bool run_delta(struct bytes delta, struct bytes base, uint8_t *out, size_t size)
{
	size_t used = 0;

	while (delta.len > 0) {
		uint8_t op = delta.data[0];
		size_t len = op;

		delta = (struct bytes){delta.data + 1, delta.len - 1};
		if ((op & 128) != 0) {
			if (!run_copy(&delta, op, base, out + used, size - used, &len))
				return false;
		} else {
			if (op == 0 || len > delta.len || len > size - used)
				return false;
			(void)memcpy(out + used, delta.data, len);
			delta = (struct bytes){delta.data + len, delta.len - len};
		}
		used += len;
	}
	return used == size;
}

static int apply_delta(struct arena *arena, const struct diff_file *file, struct bytes delta,
		       struct bytes preimage, size_t limit_bytes, struct bytes *ret,
		       struct reason *reason)
{
	uint64_t old_size, new_size;
	uint8_t *out;

	if (!take_size(&delta, &old_size) || !take_size(&delta, &new_size))
		return bad(file, reason, "its delta has no sizes");
	if (old_size != preimage.len)
		return reason_set(reason, REASON_PATCH_CONFLICT, path_of(file),
				  "line %zu: the delta of '%s' is for a file of %llu bytes, there "
				  "are %zu",
				  file->at_line, path_of(file), (unsigned long long)old_size,
				  preimage.len);
	if (new_size > limit_bytes || new_size >= arena->limit_bytes - arena->used_bytes)
		return too_large(file, new_size, limit_bytes, reason);
	out = arena_alloc(arena, (size_t)new_size);
	if (out == NULL)
		return too_large(file, new_size, arena->limit_bytes, reason);
	if (!run_delta(delta, preimage, out, (size_t)new_size))
		return bad(file, reason, "its delta reaches out of the file");
	*ret = (struct bytes){out, (size_t)new_size};
	return 0;
}

/* --- the whole --------------------------------------------------------- */

int binary_apply(struct arena *arena, const struct diff_file *file, struct bytes preimage,
		 size_t limit_bytes, struct bytes *ret, struct reason *ret_reason, struct err *err)
{
	struct bytes half;
	int code;

	(void)err; /* nothing of the host is asked */
	if (limit_bytes > BINARY_BYTES_MAX)
		limit_bytes = BINARY_BYTES_MAX;
	if (file->data.size > limit_bytes)
		return too_large(file, file->data.size, limit_bytes, ret_reason);
	code = inflate_half(arena, file, (size_t)file->data.size, &half, ret_reason);
	if (code != 0)
		return code;
	if (file->data.kind == DIFF_BINARY_DELTA)
		return apply_delta(arena, file, half, preimage, limit_bytes, ret, ret_reason);
	*ret = half;
	return 0;
}
