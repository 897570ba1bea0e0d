/*
 * field_names.c - what is done for messages that people write by hand: hints
 * for keys that no table has, and JSON's spelling of binaries.
 *
 * A hint is the known name with the smallest edit distance, when that is
 * small, or one that the unknown key starts or is the start of.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "schema/field_private.h"
#include "schema/value_private.h"

enum { NEAR_DISTANCE = 2, PREFIX_CHARS = 4 };

/* --- nearness --------------------------------------------------------- */

static bool starts(const char *text, const char *with)
{
	return strlen(with) >= PREFIX_CHARS && strncmp(text, with, strlen(with)) == 0;
}

static const char *nearest(const struct map *map, const char *key)
{
	const char *found = NULL;
	size_t found_distance = NEAR_DISTANCE + 1;

	for (size_t i = 0; i < map->len; i++) {
		const char *name = map->fields[i].name;
		size_t d = text_distance(key, name);

		/* "v" is two edits from everything short. */
		if (d < found_distance && 2 * d < strlen(name)) {
			found = name;
			found_distance = d;
		}
	}
	for (size_t i = 0; found == NULL && i < map->len; i++) {
		const char *name = map->fields[i].name;

		if (starts(name, key) || starts(key, name))
			found = name;
	}
	return found;
}

/* --- unknown keys ----------------------------------------------------- */

static void list_one(struct arena *arena, const struct map *map, struct bytes key,
		     const struct path *path, struct value *list)
{
	char quoted[QUOTE_BYTES];
	char where[PATH_TEXT_BYTES];
	struct path here = {path, quoted, PATH_NO_INDEX};
	const char *near;
	const char *text;

	quote_text(key, quoted);
	path_text(&here, where);
	near = nearest(map, quoted);
	text = near == NULL
		       ? arena_printf(arena, "%s: unknown field", where)
		       : arena_printf(arena, "%s: unknown field; did you mean '%s'?", where, near);
	if (text != NULL)
		value_append(arena, list, value_str(arena, text));
}

void map_list_unknown(struct arena *arena, const struct map *map, const struct value *tree,
		      const struct path *path, struct value *list)
{
	for (size_t i = 0; tree->kind == VALUE_MAP && i < tree->map.len; i++) {
		struct bytes key = tree->map.keys[i];
		const struct value *item = tree->map.items[i];
		const struct field *field = map_find(map, key);
		struct path here = {path, field == NULL ? NULL : field->name, PATH_NO_INDEX};

		if (field == NULL) {
			list_one(arena, map, key, path, list);
			continue;
		}
		if (field->kind == FIELD_MAP && field->map != NULL)
			map_list_unknown(arena, field->map, item, &here, list);
		if (field->kind != FIELD_MAPS || field->map == NULL || item->kind != VALUE_LIST)
			continue;
		for (here.index = 0; here.index < item->list.len; here.index++)
			map_list_unknown(arena, field->map, item->list.items[here.index], &here,
					 list);
	}
}

/* --- binaries --------------------------------------------------------- */

static void make_binary(struct arena *arena, struct value *item)
{
	struct bytes bytes;

	if (item->kind != VALUE_NULL && value_binary(arena, item, &bytes)) {
		item->kind = VALUE_BIN;
		item->bytes = bytes;
	}
}

void map_make_binaries(struct arena *arena, const struct map *map, struct value *tree)
{
	for (size_t i = 0; tree->kind == VALUE_MAP && i < tree->map.len; i++) {
		const struct field *field = map_find(map, tree->map.keys[i]);
		struct value *item = tree->map.items[i];

		if (field == NULL || item->kind == VALUE_NULL)
			continue;
		if (field->kind == FIELD_BIN)
			make_binary(arena, item);
		for (size_t k = 0;
		     field->kind == FIELD_FILES && item->kind == VALUE_MAP && k < item->map.len;
		     k++)
			make_binary(arena, item->map.items[k]);
		if (field->kind == FIELD_MAP && field->map != NULL)
			map_make_binaries(arena, field->map, item);
		if (field->kind != FIELD_MAPS || field->map == NULL || item->kind != VALUE_LIST)
			continue;
		for (size_t k = 0; k < item->list.len; k++)
			map_make_binaries(arena, field->map, item->list.items[k]);
	}
}
