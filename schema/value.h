/*
 * value.h - one message as a tree, whatever its spelling: msgpack on the wire,
 * JSON for people. job.h and result.h read and write these trees; nobody else
 * sees msgpack.h or jansson.h.
 *
 *	struct value *tree;
 *	if (value_unpack(arena, data, len, &tree, &err) < 0) ...	// hostile bytes
 *	const struct value *id = value_get(tree, "id");
 *
 * Trees live in the caller's arena. Decoding copies nothing: strings and
 * binaries borrow from the input, which must outlive the tree.
 */
#ifndef SBX_SCHEMA_VALUE_H
#define SBX_SCHEMA_VALUE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

enum value_kind {
	VALUE_NULL,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_REAL,
	VALUE_STR, /* UTF-8 */
	VALUE_BIN, /* any bytes */
	VALUE_LIST,
	VALUE_MAP,  /* keys are unique UTF-8 strings, in the order of the input */
	VALUE_TIME, /* msgpack's timestamp; no field of ours has one, unknown ones may */
};

struct value {
	enum value_kind kind;
	union {
		bool boolean;
		int64_t integer;
		double real;
		struct bytes bytes; /* VALUE_STR, VALUE_BIN */
		struct {
			struct value **items;
			size_t len;
		} list;
		struct {
			struct bytes *keys;
			struct value **items;
			size_t len;
		} map;
		struct {
			int64_t seconds;
			uint32_t nanoseconds;
		} time;
	};
};

/* "nil", "bool", "int", "real", "str", "bin", "list", "map", "time": the words
 * of PROTOCOL.md. */
const char *value_kind_name(enum value_kind kind);

/* --- msgpack ---------------------------------------------------------- */

/*
 * Checks without allocating that `data` is exactly one msgpack value within
 * LIMIT_DEPTH and LIMIT_NODES: strings UTF-8, map keys unique strings,
 * declared counts covered by the bytes that are there, reals finite, no
 * extension but the timestamp, integers within int64. ERR_INPUT says what and
 * where, ERR_LIMIT when it is longer than LIMIT_MESSAGE_BYTES.
 */
int value_walk(const void *data, size_t len, struct err *err) MUST_CHECK;

/* value_walk, then the tree. ERR_LIMIT when the arena is exhausted. */
int value_unpack(struct arena *arena, const void *data, size_t len, struct value **ret,
		 struct err *err) MUST_CHECK;

/* Appends the tree's shortest msgpack form; check out->failed. */
void value_pack(const struct value *value, struct buf *out);

/* How many bytes value_pack appends. */
size_t value_packed_size(const struct value *value);

/* --- JSON ------------------------------------------------------------- */

/* Binary travels as text where it is UTF-8 and as {"base64": "..."} else;
 * reading leaves the choice open: a field that is binary accepts both.
 * Nothing is borrowed from `text`. ERR_INPUT with line and column for what is
 * not JSON or beyond the bounds of value_walk. */
int value_from_json(struct arena *arena, const char *text, size_t len, struct value **ret,
		    struct err *err) MUST_CHECK;

/* Appends JSON; `indent` 0 puts it on one line without blanks. A timestamp
 * becomes {"seconds": ..., "nanoseconds": ...}. */
void value_to_json(const struct value *value, unsigned indent, struct buf *out);

/* --- reading and making trees ----------------------------------------- */

/* The item under `key`; NULL when absent or when `map` is no map. */
const struct value *value_get(const struct value *map, const char *key);

/* The text of a VALUE_STR as a C string in the arena; NULL when it is no
 * string, holds a NUL, or the arena is exhausted. */
const char *value_text(struct arena *arena, const struct value *value);

/* The bytes of a value that stands for a binary: a bin, a str, or JSON's map
 * {"base64": str}. False when it is none of these, or the arena is exhausted. */
bool value_binary(struct arena *arena, const struct value *value, struct bytes *ret);

/* Makers return NULL when the arena is exhausted, and accept NULL parts then,
 * so one check of arena->exhausted at the end is enough. */
struct value *value_bool(struct arena *arena, bool boolean);
struct value *value_int(struct arena *arena, int64_t integer);
struct value *value_str(struct arena *arena, const char *text);	  /* borrowed; NULL gives nil */
struct value *value_bin(struct arena *arena, struct bytes bytes); /* borrowed */
struct value *value_list(struct arena *arena);
struct value *value_map(struct arena *arena);
void value_append(struct arena *arena, struct value *list, struct value *item);
/* Replaces an existing key. `key` is borrowed. */
void value_put(struct arena *arena, struct value *map, const char *key, struct value *item);

#endif
