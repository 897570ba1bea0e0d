/*
 * ids.c - open addressing, at most two thirds full.
 */
#include "producer/ids.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

#define TEXTS_BYTES ((size_t)1 << 32)

void ids_init(struct ids *ids)
{
	*ids = (struct ids){0};
	arena_init(&ids->arena, TEXTS_BYTES);
}

void ids_release(struct ids *ids)
{
	free(ids->places);
	arena_release(&ids->arena);
	*ids = (struct ids){0};
}

uint64_t ids_digest(struct bytes bytes)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ bytes.data[i]) * 0x100000001b3;
	return hash;
}

static uint64_t hash_of(const char *id)
{
	return ids_digest((struct bytes){(const uint8_t *)id, strlen(id)});
}

/* Where `id` is, or would be. */
static struct ids_entry *place_of(const struct ids *ids, const char *id, uint64_t hash)
{
	size_t at = (size_t)hash & (ids->capacity - 1);

	while (ids->places[at].id != NULL &&
	       (ids->places[at].hash != hash || strcmp(ids->places[at].id, id) != 0))
		at = (at + 1) & (ids->capacity - 1);
	return &ids->places[at];
}

static bool grow(struct ids *ids)
{
	struct ids larger = *ids;

	if (ids->capacity > 0 && ids->len < ids->capacity / 3 * 2)
		return true;
	larger.capacity = ids->capacity > 0 ? 2 * ids->capacity : FIRST_CAPACITY;
	larger.places = calloc(larger.capacity, sizeof(*larger.places));
	if (larger.places == NULL)
		return false;
	for (size_t i = 0; i < ids->capacity; i++) {
		const struct ids_entry *entry = &ids->places[i];

		if (entry->id != NULL)
			*place_of(&larger, entry->id, entry->hash) = *entry;
	}
	free(ids->places);
	*ids = larger;
	return true;
}

struct ids_entry *ids_put(struct ids *ids, const char *id, bool *ret_fresh)
{
	uint64_t hash = hash_of(id);
	struct ids_entry *entry;
	const char *copy;

	if (!grow(ids))
		return NULL;
	entry = place_of(ids, id, hash);
	*ret_fresh = entry->id == NULL;
	if (entry->id != NULL)
		return entry;
	copy = arena_strdup(&ids->arena, id);
	if (copy == NULL)
		return NULL;
	*entry = (struct ids_entry){.id = copy, .hash = hash};
	ids->len++;
	return entry;
}

struct ids_entry *ids_find(const struct ids *ids, const char *id)
{
	struct ids_entry *entry;

	if (ids->capacity == 0)
		return NULL;
	entry = place_of(ids, id, hash_of(id));
	return entry->id != NULL ? entry : NULL;
}
