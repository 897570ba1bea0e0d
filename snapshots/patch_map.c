/*
 * patch_map.c - an open-addressing map in an arena. Growing leaves the old
 * table behind; the sum of all tables is below twice the last one.
 */
#include <string.h>

#include "snapshots/patch_private.h"

static uint64_t hash_of(struct bytes key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < key.len; i++)
		hash = (hash ^ key.data[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}

struct bytes patch_key(const char *path)
{
	return (struct bytes){(const uint8_t *)path, strlen(path)};
}

/* Where the key is, or the free slot where it belongs. */
static struct patch_slot *find(struct patch_slot *slots, size_t capacity, uint64_t hash,
			       struct bytes key)
{
	size_t at = (size_t)hash & (capacity - 1);

	while (slots[at].value != NULL &&
	       !(slots[at].hash == hash && slots[at].key.len == key.len &&
		 (key.len == 0 || memcmp(slots[at].key.data, key.data, key.len) == 0)))
		at = (at + 1) & (capacity - 1);
	return &slots[at];
}

void *patch_map_get(const struct patch_map *map, struct bytes key)
{
	return map->len == 0 ? NULL : find(map->slots, map->capacity, hash_of(key), key)->value;
}

static bool grow(struct arena *arena, struct patch_map *map)
{
	size_t capacity = map->capacity == 0 ? 16 : 2 * map->capacity;
	struct patch_slot *slots = arena_array(arena, capacity, sizeof(*slots));

	if (slots == NULL)
		return false;
	for (size_t i = 0; i < map->capacity; i++) {
		if (map->slots[i].value != NULL)
			*find(slots, capacity, map->slots[i].hash, map->slots[i].key) =
				map->slots[i];
	}
	map->slots = slots;
	map->capacity = capacity;
	return true;
}

bool patch_map_put(struct arena *arena, struct patch_map *map, struct bytes key, void *value)
{
	uint64_t hash = hash_of(key);

	if (2 * (map->len + 1) > map->capacity && !grow(arena, map))
		return false;
	*find(map->slots, map->capacity, hash, key) =
		(struct patch_slot){.hash = hash, .key = key, .value = value};
	map->len++;
	return true;
}
