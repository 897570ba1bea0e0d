/*
 * walk.c - the look at a message before anything is allocated for it.
 *
 * One forward pass with a fixed stack of open lists and maps. The places that
 * all open lists and maps still owe are summed: each owed value takes a byte
 * at least, so a sum above the bytes left proves the message false at the
 * first head that lies.
 *
 * Keys are compared through their hashes, kept for the open maps only. The
 * hash is seeded with an address, so nobody outside can prepare keys that
 * collide; equal hashes are settled by comparing the keys themselves.
 */
#include <string.h>

#include "schema/limits.h"
#include "schema/value_private.h"

struct frame {
	size_t left;	  /* values still to come: two for each pair of a map */
	bool is_map;	  /* then an even `left` means that a key is next */
	size_t keys_from; /* where its keys start in the walker's list */
};

struct walker {
	struct reader reader;
	size_t owed;
	size_t nodes;
	size_t depth;
	size_t keys_len;
	uint32_t seed;
	struct frame frames[LIMIT_DEPTH];
	uint32_t key_hash[LIMIT_OPEN_KEYS];
	struct bytes keys[LIMIT_OPEN_KEYS];
};

/* --- keys ------------------------------------------------------------- */

/* Murmur3's mixing step over single bytes: short keys, nothing to unroll. */
static uint32_t hash_key(uint32_t seed, struct bytes key)
{
	uint32_t hash = seed ^ (uint32_t)key.len;

	for (size_t i = 0; i < key.len; i++) {
		hash = (hash ^ key.data[i]) * 0xcc9e2d51u;
		hash ^= hash >> 15;
	}
	return hash;
}

static bool same_key(struct bytes a, struct bytes b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static int walk_key(struct walker *walker, const struct frame *frame, const struct token *token,
		    struct err *err)
{
	uint32_t hash;

	if (token->kind != VALUE_STR)
		return err_set(err, ERR_INPUT, "the map key at byte %zu is %s, not str", token->at,
			       value_kind_name(token->kind));
	hash = hash_key(walker->seed, token->bytes);
	for (size_t i = frame->keys_from; i < walker->keys_len; i++) {
		if (walker->key_hash[i] == hash && same_key(walker->keys[i], token->bytes))
			return err_set(err, ERR_INPUT, "the map key '%.*s' at byte %zu is repeated",
				       (int)(token->bytes.len > 64 ? 64 : token->bytes.len),
				       (const char *)token->bytes.data, token->at);
	}
	if (walker->keys_len == LIMIT_OPEN_KEYS)
		return err_set(err, ERR_INPUT, "the maps around byte %zu have more than %d keys",
			       token->at, LIMIT_OPEN_KEYS);
	walker->key_hash[walker->keys_len] = hash;
	walker->keys[walker->keys_len++] = token->bytes;
	return 0;
}

/* --- lists and maps --------------------------------------------------- */

static int walk_open(struct walker *walker, const struct token *token, struct err *err)
{
	bool is_map = token->kind == VALUE_MAP;
	size_t values = is_map ? 2 * token->count : token->count;

	if (walker->depth == LIMIT_DEPTH)
		return err_set(err, ERR_INPUT, "the %s at byte %zu is nested deeper than %d",
			       value_kind_name(token->kind), token->at, LIMIT_DEPTH);
	walker->owed += values;
	if (walker->owed > walker->reader.len - walker->reader.at)
		return err_set(err, ERR_INPUT,
			       "the %s at byte %zu claims %zu items, more than the message holds",
			       value_kind_name(token->kind), token->at, token->count);
	walker->frames[walker->depth++] = (struct frame){values, is_map, walker->keys_len};
	return 0;
}

/* Closes what is complete, from the innermost outwards. */
static void walk_close(struct walker *walker)
{
	while (walker->depth > 0 && walker->frames[walker->depth - 1].left == 0)
		walker->keys_len = walker->frames[--walker->depth].keys_from;
}

static int walk_value(struct walker *walker, struct err *err)
{
	struct frame *frame = walker->depth == 0 ? NULL : &walker->frames[walker->depth - 1];
	struct token token;

	if (reader_next(&walker->reader, &token, err) < 0)
		return -1;
	if (++walker->nodes > LIMIT_NODES)
		return err_set(err, ERR_INPUT, "the message has more than %u values", LIMIT_NODES);
	if (frame != NULL) {
		if (frame->is_map && frame->left % 2 == 0 &&
		    walk_key(walker, frame, &token, err) < 0)
			return -1;
		frame->left--;
		walker->owed--;
	}
	if ((token.kind == VALUE_LIST || token.kind == VALUE_MAP) &&
	    walk_open(walker, &token, err) < 0)
		return -1;
	walk_close(walker);
	return 0;
}

int value_walk(const void *data, size_t len, struct err *err)
{
	/* Its arrays are written before they are read; clearing them would cost
	 * more than the walk of a small message. */
	struct walker walker;

	if (len > LIMIT_MESSAGE_BYTES)
		return err_set(err, ERR_LIMIT, "the message has %zu bytes, more than %u", len,
			       LIMIT_MESSAGE_BYTES);
	walker.reader = (struct reader){data, len, 0};
	walker.owed = walker.nodes = walker.depth = walker.keys_len = 0;
	walker.seed = (uint32_t)((uintptr_t)&walker >> 4);
	do {
		if (walk_value(&walker, err) < 0)
			return -1;
	} while (walker.depth > 0);
	if (walker.reader.at != len)
		return err_set(err, ERR_INPUT, "%zu bytes follow the value's end at byte %zu",
			       len - walker.reader.at, walker.reader.at);
	return 0;
}
