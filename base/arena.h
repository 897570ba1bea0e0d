/*
 * arena.h - memory that is freed all at once.
 *
 *	struct arena arena;
 *	arena_init(&arena, 64 << 20);
 *	char *copy = arena_strdup(&arena, text);
 *	...
 *	arena_release(&arena);
 *
 * One arena a job, one for each request. An arena has a byte bound: what
 * would go beyond it, or what the system cannot give, returns NULL and marks
 * the arena exhausted for good, so a long decode may check once at its end.
 * Memory comes zeroed and aligned for any type.
 */
#ifndef SBX_BASE_ARENA_H
#define SBX_BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/defs.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first */
	size_t chunks_made;
	size_t used_bytes; /* handed out so far */
	size_t limit_bytes;
	bool exhausted;
};

/* `limit_bytes` is the most that may be handed out. Allocates nothing yet. */
void arena_init(struct arena *arena, size_t limit_bytes);

/* Frees everything. The arena may be used again as after arena_init. */
void arena_release(struct arena *arena);

/* NULL when exhausted. A size of 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size) MUST_CHECK;

/* As arena_alloc(count * size), with the product checked. */
void *arena_array(struct arena *arena, size_t count, size_t size) MUST_CHECK;

char *arena_strdup(struct arena *arena, const char *text) MUST_CHECK;

/* Copies `len` bytes and appends a NUL that is not counted. */
char *arena_memdup(struct arena *arena, const void *data, size_t len) MUST_CHECK;

char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
char *arena_vprintf(struct arena *arena, const char *fmt, va_list args)
	PRINTF_LIKE(2, 0) MUST_CHECK;

/*
 * Gives back what was handed out since a mark, all of it; an arena exhausted
 * since then is so no longer. Marks are undone from the newest to the oldest.
 */
struct arena_mark {
	size_t chunks, used, used_bytes;
};
struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, const struct arena_mark *mark);

/* For CLEANUP(arena_cleanup). */
static inline void arena_cleanup(struct arena *arena)
{
	arena_release(arena);
}

#endif
