/*
 * field_names.c - what is done for messages that people write by hand: hints
 * for keys that no table has, and JSON's spelling of binaries.
 *
 * A hint is the known name with the smallest edit distance, when that is
 * small, or one that the unknown key starts or is the start of.
 */
#include <stdio.h>
#include <string.h>

#include "schema/field_private.h"
#include "schema/value_private.h"

enum { NAME_MAX_CHARS = 40, NEAR_DISTANCE = 2, PREFIX_CHARS = 4 };

/* --- nearness --------------------------------------------------------- */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Insertions, deletions, replacements and swaps of neighbours between two
 * names (optimal string alignment, three rows). */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][NAME_MAX_CHARS + 1];
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);

	if (a_len > NAME_MAX_CHARS || b_len > NAME_MAX_CHARS)
		return SIZE_MAX;
	for (size_t k = 0; k <= b_len; k++)
		rows[0][k] = k;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *now = rows[i % 3];
		const size_t *before = rows[(i + 2) % 3];
		const size_t *earlier = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t k = 1; k <= b_len; k++) {
			now[k] = min3(before[k] + 1, now[k - 1] + 1,
				      before[k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
			    earlier[k - 2] + 1 < now[k])
				now[k] = earlier[k - 2] + 1;
		}
	}
	return rows[a_len % 3][b_len];
}

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
		size_t d = distance(key, name);

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

void map_make_binaries(struct arena *arena, const struct map *map, struct value *tree)
{
	for (size_t i = 0; tree->kind == VALUE_MAP && i < tree->map.len; i++) {
		const struct field *field = map_find(map, tree->map.keys[i]);
		struct value *item = tree->map.items[i];
		struct bytes bytes;

		if (field == NULL || item->kind == VALUE_NULL)
			continue;
		if (field->kind == FIELD_BIN && value_binary(arena, item, &bytes)) {
			item->kind = VALUE_BIN;
			item->bytes = bytes;
		}
		if (field->kind == FIELD_MAP && field->map != NULL)
			map_make_binaries(arena, field->map, item);
		if (field->kind != FIELD_MAPS || field->map == NULL || item->kind != VALUE_LIST)
			continue;
		for (size_t k = 0; k < item->list.len; k++)
			map_make_binaries(arena, field->map, item->list.items[k]);
	}
}
