/*
 * tree.c - a path is walked one key at a time; the map or list it ends in is
 * found or made first, then changed, so an error leaves at most empty maps.
 */
#include "producer/tree.h"

#include <assert.h>
#include <string.h>

struct value *tree_item(struct value *map, const char *key)
{
	size_t len = strlen(key);

	if (map == NULL || map->kind != VALUE_MAP)
		return NULL;
	for (size_t i = 0; i < map->map.len; i++) {
		if (map->map.keys[i].len == len && memcmp(map->map.keys[i].data, key, len) == 0)
			return map->map.items[i];
	}
	return NULL;
}

void tree_remove_key(struct value *map, const char *key)
{
	size_t len = strlen(key);
	size_t kept = 0;

	for (size_t i = 0; i < map->map.len; i++) {
		if (map->map.keys[i].len == len && memcmp(map->map.keys[i].data, key, len) == 0)
			continue;
		map->map.keys[kept] = map->map.keys[i];
		map->map.items[kept++] = map->map.items[i];
	}
	map->map.len = kept;
}

void tree_remove_item(struct value *list, size_t index)
{
	for (size_t i = index; i + 1 < list->list.len; i++)
		list->list.items[i] = list->list.items[i + 1];
	if (index < list->list.len)
		list->list.len--;
}

struct value *tree_real(struct arena *arena, double real)
{
	struct value *value = arena_alloc(arena, sizeof(*value));

	if (value != NULL)
		*value = (struct value){.kind = VALUE_REAL, .real = real};
	return value;
}

int tree_enter(struct arena *arena, struct value *map, const char *key, enum value_kind kind,
	       struct value **ret, struct err *err)
{
	struct value *item = tree_item(map, key);

	assert(kind == VALUE_MAP || kind == VALUE_LIST);
	if (map->kind != VALUE_MAP)
		return err_set(err, ERR_INPUT, "expected a map with '%s', found a %s", key,
			       value_kind_name(map->kind));
	if (item == NULL) {
		item = kind == VALUE_MAP ? value_map(arena) : value_list(arena);
		value_put(arena, map, key, item);
	}
	if (item == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (item->kind != kind)
		return err_set(err, ERR_INPUT, "'%s' is a %s in the job, not a %s", key,
			       value_kind_name(item->kind), value_kind_name(kind));
	*ret = item;
	return 0;
}

/* Walks all but the last key of `path`; `ret_key` is that last one. */
static int walk(struct arena *arena, struct value *tree, const char *path, struct value **ret_map,
		const char **ret_key, struct err *err)
{
	const char *dot;

	if (tree->kind != VALUE_MAP)
		return err_set(err, ERR_INPUT, "the job is a %s, not a map",
			       value_kind_name(tree->kind));
	while ((dot = strchr(path, '.')) != NULL) {
		char *key = arena_memdup(arena, path, (size_t)(dot - path));

		if (key == NULL)
			return err_set(err, ERR_LIMIT, "out of memory");
		if (tree_enter(arena, tree, key, VALUE_MAP, &tree, err) < 0)
			return -1;
		path = dot + 1;
	}
	*ret_map = tree;
	*ret_key = path;
	return 0;
}

int tree_put(struct arena *arena, struct value *tree, const char *path, struct value *item,
	     struct err *err)
{
	struct value *map;
	const char *key;

	if (walk(arena, tree, path, &map, &key, err) < 0)
		return -1;
	value_put(arena, map, key, item);
	return 0;
}

int tree_append(struct arena *arena, struct value *tree, const char *path, struct value *item,
		struct err *err)
{
	struct value *map;
	struct value *list;
	const char *key;

	if (walk(arena, tree, path, &map, &key, err) < 0 ||
	    tree_enter(arena, map, key, VALUE_LIST, &list, err) < 0)
		return -1;
	value_append(arena, list, item);
	return 0;
}

int tree_put_pair(struct arena *arena, struct value *tree, const char *path, const char *pair,
		  struct err *err)
{
	const char *equals = strchr(pair, '=');
	struct value *map;
	struct value *pairs;
	const char *key;
	char *name;

	if (equals == NULL || equals == pair)
		return err_set(err, ERR_INPUT, "'%s' is not KEY=VALUE", pair);
	name = arena_memdup(arena, pair, (size_t)(equals - pair));
	if (name == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (walk(arena, tree, path, &map, &key, err) < 0 ||
	    tree_enter(arena, map, key, VALUE_MAP, &pairs, err) < 0)
		return -1;
	value_put(arena, pairs, name, value_str(arena, equals + 1));
	return 0;
}
