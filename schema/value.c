/*
 * value.c - trees: making, changing and reading them.
 *
 * A list holds no capacity. It follows from the length: the next power of
 * two, at least FIRST_ITEMS. All room is taken by that rule, also when the
 * length is known, so an append knows without being told when it must grow.
 */
#include <assert.h>
#include <string.h>

#include "schema/base64.h"
#include "schema/value_private.h"

enum { FIRST_ITEMS = 4 };

const char *value_kind_name(enum value_kind kind)
{
	static const char *const names[] = {
		[VALUE_NULL] = "nil",  [VALUE_BOOL] = "bool", [VALUE_INT] = "int",
		[VALUE_REAL] = "real", [VALUE_STR] = "str",   [VALUE_BIN] = "bin",
		[VALUE_LIST] = "list", [VALUE_MAP] = "map",   [VALUE_TIME] = "time",
	};

	assert((size_t)kind < ARRAY_LEN(names));
	return names[kind];
}

int value_exhausted(const struct arena *arena, struct err *err)
{
	return err_set(err, ERR_LIMIT, "out of memory: the bound is %zu bytes", arena->limit_bytes);
}

/* --- room ------------------------------------------------------------- */

static size_t capacity_of(size_t len)
{
	size_t capacity = FIRST_ITEMS;

	while (capacity < len)
		capacity *= 2;
	return capacity;
}

/* Whether a list of `len` items has no room for one more. */
static bool is_full(size_t len)
{
	return len == 0 || (len >= FIRST_ITEMS && (len & (len - 1)) == 0);
}

struct value *value_new(struct arena *arena, enum value_kind kind)
{
	struct value *value = arena_alloc(arena, sizeof(*value));

	if (value != NULL)
		value->kind = kind;
	return value;
}

struct value *value_list_of(struct arena *arena, size_t len)
{
	struct value *list = value_new(arena, VALUE_LIST);

	if (list == NULL || len == 0)
		return list;
	list->list.len = len;
	list->list.items = arena_array(arena, capacity_of(len), sizeof(*list->list.items));
	return list->list.items == NULL ? NULL : list;
}

struct value *value_map_of(struct arena *arena, size_t len)
{
	struct value *map = value_new(arena, VALUE_MAP);

	if (map == NULL || len == 0)
		return map;
	map->map.len = len;
	map->map.keys = arena_array(arena, capacity_of(len), sizeof(*map->map.keys));
	map->map.items = arena_array(arena, capacity_of(len), sizeof(*map->map.items));
	return map->map.keys == NULL || map->map.items == NULL ? NULL : map;
}

/* A copy of `len` items with room for one more; NULL when exhausted. */
static void *grow(struct arena *arena, const void *items, size_t len, size_t size)
{
	void *more;

	assert(len < PTRDIFF_MAX / size / 2);
	more = arena_array(arena, capacity_of(len + 1), size);
	if (more != NULL && len > 0)
		(void)memcpy(more, items, len * size);
	return more;
}

/* --- makers ----------------------------------------------------------- */

struct value *value_bool(struct arena *arena, bool boolean)
{
	struct value *value = value_new(arena, VALUE_BOOL);

	if (value != NULL)
		value->boolean = boolean;
	return value;
}

struct value *value_int(struct arena *arena, int64_t integer)
{
	struct value *value = value_new(arena, VALUE_INT);

	if (value != NULL)
		value->integer = integer;
	return value;
}

struct value *value_str(struct arena *arena, const char *text)
{
	struct value *value = value_new(arena, text == NULL ? VALUE_NULL : VALUE_STR);

	if (value != NULL && text != NULL)
		value->bytes = (struct bytes){(const uint8_t *)text, strlen(text)};
	return value;
}

struct value *value_bin(struct arena *arena, struct bytes bytes)
{
	struct value *value = value_new(arena, VALUE_BIN);

	if (value != NULL)
		value->bytes = bytes;
	return value;
}

struct value *value_list(struct arena *arena)
{
	return value_list_of(arena, 0);
}

struct value *value_map(struct arena *arena)
{
	return value_map_of(arena, 0);
}

void value_append(struct arena *arena, struct value *list, struct value *item)
{
	if (list == NULL || item == NULL)
		return;
	assert(list->kind == VALUE_LIST);
	if (is_full(list->list.len)) {
		struct value **items =
			grow(arena, list->list.items, list->list.len, sizeof(*items));

		if (items == NULL)
			return;
		list->list.items = items;
	}
	list->list.items[list->list.len++] = item;
}

/* --- maps ------------------------------------------------------------- */

/* Where `key` is in the map; its length when it is not there. */
static size_t find(const struct value *map, const char *key)
{
	size_t len = strlen(key);
	size_t i = 0;

	while (i < map->map.len &&
	       !(map->map.keys[i].len == len && memcmp(map->map.keys[i].data, key, len) == 0))
		i++;
	return i;
}

void value_put(struct arena *arena, struct value *map, const char *key, struct value *item)
{
	size_t at;

	if (map == NULL || item == NULL)
		return;
	assert(map->kind == VALUE_MAP);
	at = find(map, key);
	if (at == map->map.len && is_full(at)) {
		struct bytes *keys = grow(arena, map->map.keys, at, sizeof(*keys));
		struct value **items = grow(arena, map->map.items, at, sizeof(*items));

		if (keys == NULL || items == NULL)
			return;
		map->map.keys = keys;
		map->map.items = items;
	}
	if (at == map->map.len) {
		map->map.keys[at] = (struct bytes){(const uint8_t *)key, strlen(key)};
		map->map.len++;
	}
	map->map.items[at] = item;
}

const struct value *value_get(const struct value *map, const char *key)
{
	size_t at;

	if (map == NULL || map->kind != VALUE_MAP)
		return NULL;
	at = find(map, key);
	return at == map->map.len ? NULL : map->map.items[at];
}

const char *value_text(struct arena *arena, const struct value *value)
{
	if (value == NULL || value->kind != VALUE_STR)
		return NULL;
	if (value->bytes.len > 0 && memchr(value->bytes.data, 0, value->bytes.len) != NULL)
		return NULL;
	return arena_memdup(arena, value->bytes.data, value->bytes.len);
}

/* --- binaries --------------------------------------------------------- */

bool value_binary(struct arena *arena, const struct value *value, struct bytes *ret)
{
	const struct value *text;

	if (value->kind == VALUE_BIN || value->kind == VALUE_STR) {
		*ret = value->bytes;
		return true;
	}
	text = value_get(value, "base64");
	if (text == NULL || text->kind != VALUE_STR || value->map.len != 1)
		return false;
	return base64_decode(arena, text->bytes, ret);
}
