/*
 * value_private.h - what the files of schema/ share about trees: the reader
 * of msgpack tokens, room for lists and maps, and packing in parts.
 */
#ifndef SBX_SCHEMA_VALUE_PRIVATE_H
#define SBX_SCHEMA_VALUE_PRIVATE_H

#include "schema/value.h"

/* --- tokens of msgpack (reader.c) ------------------------------------- */

struct reader {
	const uint8_t *data;
	size_t len;
	size_t at;
};

/* The head of a value. A list or map has `count` items or pairs to follow. */
struct token {
	enum value_kind kind;
	size_t at;	    /* where it starts */
	struct bytes bytes; /* VALUE_STR, VALUE_BIN */
	size_t count;	    /* VALUE_LIST, VALUE_MAP */
};

/*
 * Reads one token. ERR_INPUT when it is not allowed by value_walk's rules or
 * the input ends; a count is never more than the bytes left can hold.
 */
int reader_next(struct reader *reader, struct token *ret, struct err *err) MUST_CHECK;

/* Reads one whole value and forgets it. */
int reader_skip(struct reader *reader, struct err *err) MUST_CHECK;

/* --- room (value.c) --------------------------------------------------- */

/*
 * Lists and maps hold no capacity: it follows from the length (the next power
 * of two, at least 4), so whoever makes one takes its room from here. Sets
 * the length; the items are NULL until filled. NULL when exhausted.
 */
struct value *value_new(struct arena *arena, enum value_kind kind) MUST_CHECK;
struct value *value_list_of(struct arena *arena, size_t len) MUST_CHECK;
struct value *value_map_of(struct arena *arena, size_t len) MUST_CHECK;

/* ERR_LIMIT: the arena's bound was reached. */
int value_exhausted(const struct arena *arena, struct err *err);

/* --- packing in parts (msgpack.c) ------------------------------------- */

void value_pack_map_head(size_t pairs, struct buf *out);
void value_pack_pairs(const struct value *map, struct buf *out);

#endif
