/*
 * tree.h - writing into a message tree by dotted paths ("limits.wall_ms").
 *
 * Maps and lists on the way are made when they are missing; what stands there
 * already and is of another kind is ERR_INPUT. Texts are borrowed. When the
 * arena is exhausted nothing more is written, and arena->exhausted says so.
 */
#ifndef SBX_PRODUCER_TREE_H
#define SBX_PRODUCER_TREE_H

#include "schema/value.h"

/* Puts `item` at `path`, in place of what was there. */
int tree_put(struct arena *arena, struct value *tree, const char *path, struct value *item,
	     struct err *err) MUST_CHECK;

/* Appends `item` to the list at `path`. */
int tree_append(struct arena *arena, struct value *tree, const char *path, struct value *item,
		struct err *err) MUST_CHECK;

/* The map or list `key` of `map`, made when it is missing. */
int tree_enter(struct arena *arena, struct value *map, const char *key, enum value_kind kind,
	       struct value **ret, struct err *err) MUST_CHECK;

/* Puts the text `pair`, "KEY=VALUE", into the map at `path`. */
int tree_put_pair(struct arena *arena, struct value *tree, const char *path, const char *pair,
		  struct err *err) MUST_CHECK;

/* The item under `key` to be changed; NULL when absent or no map. */
struct value *tree_item(struct value *map, const char *key);

/* Takes away what stands there, if anything does. */
void tree_remove_key(struct value *map, const char *key);
void tree_remove_item(struct value *list, size_t index);

struct value *tree_real(struct arena *arena, double real);

#endif
