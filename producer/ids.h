/*
 * ids.h - a set of ids with a number and a digest each, for batches.
 *
 *	ids_init(&ids);
 *	known = ids_put(&ids, "j1", &fresh);	// NULL: out of memory
 *	if (fresh) known->number = 17;
 *	ids_release(&ids);
 */
#ifndef SBX_PRODUCER_IDS_H
#define SBX_PRODUCER_IDS_H

#include <stdbool.h>

#include "base/arena.h"

struct ids_entry {
	const char *id; /* NULL: a free place */
	uint64_t hash;
	uint64_t digest;
	int64_t number;
	bool done;
};

struct ids {
	struct arena arena; /* of the texts */
	struct ids_entry *places;
	size_t capacity; /* a power of two */
	size_t len;
};

void ids_init(struct ids *ids);
void ids_release(struct ids *ids);

/* The entry of `id`, made with zeros when it is not there. Valid until the next
 * ids_put. NULL when there is no memory. */
struct ids_entry *ids_put(struct ids *ids, const char *id, bool *ret_fresh) MUST_CHECK;

/* NULL when it is not there. */
struct ids_entry *ids_find(const struct ids *ids, const char *id);

/* FNV-1a: tells contents apart by accident, not against an enemy. */
uint64_t ids_digest(struct bytes bytes);

#endif
