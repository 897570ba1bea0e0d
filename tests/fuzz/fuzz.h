/*
 * fuzz.h - what the fuzz targets share: the entry point, an oracle's question,
 * the cutting of an input into parts, and the choice among several parsers.
 */
#ifndef SBX_TESTS_FUZZ_H
#define SBX_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/defs.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An oracle that is not content ends the process; libFuzzer keeps the input. */
#define require(holds)                                                                          \
	do {                                                                                    \
		if (!(holds)) {                                                                 \
			(void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
				      #holds);                                                  \
			abort();                                                                \
		}                                                                               \
	} while (0)

static inline uint8_t fuzz_byte(struct bytes *input)
{
	uint8_t byte = input->len > 0 ? input->data[0] : 0;

	if (input->len > 0)
		*input = (struct bytes){input->data + 1, input->len - 1};
	return byte;
}

/* What stands before the next `mark`, which is taken too; all that is left when
 * there is none. */
static inline struct bytes fuzz_until(struct bytes *input, char mark)
{
	const uint8_t *end = input->len > 0 ? memchr(input->data, mark, input->len) : NULL;
	size_t len = end != NULL ? (size_t)(end - input->data) : input->len;
	struct bytes part = {input->data, len};

	len += end != NULL;
	*input = (struct bytes){input->data + len, input->len - len};
	return part;
}

/* The same as text of its own, for malloc's redzones; NUL ends it early. */
static inline char *fuzz_text(struct bytes part)
{
	char *text = malloc(part.len + 1);

	require(text != NULL);
	if (part.len > 0)
		(void)memcpy(text, part.data, part.len);
	text[part.len] = '\0';
	return text;
}

/* One of the parsers of a target that has several. */
typedef void fuzz_taker(struct arena *arena, struct bytes input);

/* The first byte chooses who takes the rest, with an arena for that one input. */
static inline void fuzz_choose(fuzz_taker *const *takers, size_t len, size_t arena_bytes,
			       struct bytes input)
{
	size_t which = fuzz_byte(&input) % len;
	struct arena arena;

	arena_init(&arena, arena_bytes);
	takers[which](&arena, input);
	arena_release(&arena);
}

/* Text for a person: UTF-8, and nothing that a terminal obeys but line
 * feeds and tabs. */
static inline void fuzz_require_harmless(const void *data, size_t len)
{
	const uint8_t *at = data;

	require(text_is_utf8(data, len));
	for (size_t i = 0; i < len; i++) {
		require(at[i] == '\n' || at[i] == '\t' || (at[i] >= 0x20 && at[i] != 0x7f));
		require(at[i] != 0xc2 || at[i + 1] >= 0xa0);
	}
}

#endif
