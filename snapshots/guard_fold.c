/*
 * guard_fold.c - the gateway to utf8proc, which has the tables of Unicode.
 *
 * Almost all names are ASCII, whose fold is the small letters, so those are
 * hashed and compared byte by byte, and the rest must agree with that: a hash
 * runs over folded characters, a small letter is its own fold.
 *
 * Others are decomposed and put into canonical order as a whole, then each
 * character is folded by itself. No order needs to be restored behind that: of
 * what a decomposed text can hold, case folding turns letters to letters and
 * leaves marks alone but for U+0345, which is last of its marks and becomes a
 * letter. tests/property/test_names.py holds all this against Python's tables.
 */
#include "snapshots/guard_fold.h"

#include <assert.h>

#include <utf8proc.h>

/* --- names by kind ----------------------------------------------------------- */

enum kind { KIND_ASCII, KIND_UNICODE, KIND_OPAQUE };

bool guard_is_ascii(struct bytes name)
{
	uint8_t all = 0;

	for (size_t i = 0; i < name.len; i++)
		all |= name.data[i];
	return all < 0x80;
}

/* A name on its way through the tables. */
struct folding {
	utf8proc_int32_t text[2 * FOLD_NAME_BYTES]; /* decomposed, in order */
	size_t len, at;
	uint32_t out[FOLD_CHARACTERS]; /* of the one before text[at] */
	size_t out_len, out_at;
};

static enum kind begin(struct folding *folding, struct bytes name)
{
	utf8proc_ssize_t len;

	if (name.len > FOLD_NAME_BYTES)
		return KIND_OPAQUE;
	if (guard_is_ascii(name))
		return KIND_ASCII;
	len = utf8proc_decompose(name.data, (utf8proc_ssize_t)name.len, folding->text,
				 ARRAY_LEN(folding->text), UTF8PROC_DECOMPOSE | UTF8PROC_IGNORE);
	if (len < 0 || (size_t)len > ARRAY_LEN(folding->text))
		return KIND_OPAQUE;
	folding->len = (size_t)len;
	folding->at = folding->out_len = folding->out_at = 0;
	return KIND_UNICODE;
}

enum { UNICODE_MAX = 0x10ffff };

/* --- characters -------------------------------------------------------------- */

static size_t fold(uint32_t c, utf8proc_option_t options, uint32_t ret[FOLD_CHARACTERS])
{
	utf8proc_int32_t out[FOLD_CHARACTERS];
	int boundary = 0;
	utf8proc_ssize_t len = utf8proc_decompose_char(
		(utf8proc_int32_t)c, out, ARRAY_LEN(out),
		UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | options, &boundary);

	assert(len >= 0 && (size_t)len <= ARRAY_LEN(out));
	for (utf8proc_ssize_t i = 0; i < len; i++)
		ret[i] = (uint32_t)out[i];
	return (size_t)len;
}

static uint32_t small(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte + 32u : byte;
}

size_t guard_fold_character(uint32_t character, uint32_t ret[FOLD_CHARACTERS])
{
	if (character >= 0x80 && character <= UNICODE_MAX)
		return fold(character, UTF8PROC_IGNORE, ret);
	ret[0] = character < 0x80 ? small((uint8_t)character) : character;
	return 1;
}

/* The next folded character; UINT32_MAX at the end. */
static uint32_t next(struct folding *folding)
{
	while (folding->out_at == folding->out_len) {
		if (folding->at == folding->len)
			return UINT32_MAX;
		folding->out_len = fold((uint32_t)folding->text[folding->at++], 0, folding->out);
		folding->out_at = 0;
	}
	return folding->out[folding->out_at++];
}

/* --- names ------------------------------------------------------------------- */

static bool bytes_fold_equal(struct bytes a, struct bytes b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		if (small(a.data[i]) != small(b.data[i]))
			return false;
	}
	return true;
}

/* ASCII text that is to be compared with what is not. */
static void begin_ascii(struct folding *folding, struct bytes name)
{
	for (size_t i = 0; i < name.len; i++)
		folding->text[i] = name.data[i];
	folding->len = name.len;
	folding->at = folding->out_len = folding->out_at = 0;
}

bool guard_fold_equal(struct bytes a, struct bytes b)
{
	struct folding left, right;
	enum kind left_kind = begin(&left, a);
	enum kind right_kind = begin(&right, b);
	uint32_t c;

	if (left_kind != KIND_UNICODE && right_kind != KIND_UNICODE)
		return bytes_fold_equal(a, b);
	if (left_kind == KIND_OPAQUE || right_kind == KIND_OPAQUE)
		return false;
	if (left_kind == KIND_ASCII)
		begin_ascii(&left, a);
	if (right_kind == KIND_ASCII)
		begin_ascii(&right, b);
	do {
		c = next(&left);
		if (c != next(&right))
			return false;
	} while (c != UINT32_MAX);
	return true;
}

uint64_t guard_fold_hash(struct bytes name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const uint64_t prime = UINT64_C(0x100000001b3);
	struct folding folding;
	uint32_t c;

	if (begin(&folding, name) == KIND_UNICODE) {
		while ((c = next(&folding)) != UINT32_MAX)
			hash = (hash ^ c) * prime;
	} else {
		for (size_t i = 0; i < name.len; i++)
			hash = (hash ^ small(name.data[i])) * prime;
	}
	return hash ^ hash >> 31;
}
