/*
 * arena.c - a list of chunks, each at least CHUNK_BYTES, filled from the
 * front. Large requests get a chunk of their own, put behind the newest so
 * that its free room is not lost.
 */
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 16 * 1024 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t number; /* from 0, in the order of their making */
	size_t used;
	size_t size;
	alignas(max_align_t) uint8_t data[];
};

/* --- chunks ----------------------------------------------------------- */

static size_t round_up(size_t size)
{
	size_t align = alignof(max_align_t);

	return (size + align - 1) / align * align;
}

static struct arena_chunk *chunk_new(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = calloc(1, sizeof(*chunk) + size);

	if (chunk == NULL)
		return NULL;
	chunk->size = size;
	chunk->number = arena->chunks_made++;
	return chunk;
}

static void *chunk_take(struct arena_chunk *chunk, size_t size)
{
	void *at = chunk->data + chunk->used;

	assert(size <= chunk->size - chunk->used);
	chunk->used += size;
	return at;
}

/* --- the arena -------------------------------------------------------- */

void arena_init(struct arena *arena, size_t limit_bytes)
{
	*arena = (struct arena){.limit_bytes = limit_bytes};
}

void arena_release(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;

	while (chunk != NULL) {
		struct arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	arena_init(arena, arena->limit_bytes);
}

static void *exhaust(struct arena *arena)
{
	arena->exhausted = true;
	return NULL;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = arena->chunks;

	if (arena->exhausted || size > arena->limit_bytes - arena->used_bytes)
		return exhaust(arena);
	arena->used_bytes += size;
	size = round_up(size == 0 ? 1 : size);
	if (chunk != NULL && size <= chunk->size - chunk->used)
		return chunk_take(chunk, size);
	if (size > CHUNK_BYTES / 4 && chunk != NULL) {
		struct arena_chunk *own = chunk_new(arena, size);

		if (own == NULL)
			return exhaust(arena);
		own->next = chunk->next;
		chunk->next = own;
		return chunk_take(own, size);
	}
	chunk = chunk_new(arena, size > CHUNK_BYTES ? size : CHUNK_BYTES);
	if (chunk == NULL)
		return exhaust(arena);
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return chunk_take(chunk, size);
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		return exhaust(arena);
	return arena_alloc(arena, total);
}

/* --- marks ------------------------------------------------------------ */

struct arena_mark arena_mark(const struct arena *arena)
{
	return (struct arena_mark){
		.chunks = arena->chunks_made,
		.used = arena->chunks != NULL ? arena->chunks->used : 0,
		.used_bytes = arena->used_bytes,
	};
}

/* Newer chunks stand before the one that was the newest then, or right behind
 * it; so the search ends with the last of them. */
void arena_rewind(struct arena *arena, const struct arena_mark *mark)
{
	struct arena_chunk **at = &arena->chunks;
	size_t left = arena->chunks_made - mark->chunks;

	while (left > 0) {
		struct arena_chunk *chunk = *at;

		assert(chunk != NULL);
		if (chunk->number >= mark->chunks) {
			*at = chunk->next;
			free(chunk);
			left--;
		} else {
			at = &chunk->next;
		}
	}
	if (arena->chunks != NULL) {
		struct arena_chunk *newest = arena->chunks;

		assert(newest->used >= mark->used);
		(void)memset(newest->data + mark->used, 0, newest->used - mark->used);
		newest->used = mark->used;
	}
	arena->chunks_made = mark->chunks;
	arena->used_bytes = mark->used_bytes;
	arena->exhausted = false;
}

/* --- copies ----------------------------------------------------------- */

char *arena_memdup(struct arena *arena, const void *data, size_t len)
{
	char *copy;

	if (len == SIZE_MAX)
		return exhaust(arena);
	copy = arena_alloc(arena, len + 1);
	if (copy != NULL && len > 0)
		(void)memcpy(copy, data, len);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_memdup(arena, text, strlen(text));
}

char *arena_vprintf(struct arena *arena, const char *fmt, va_list args)
{
	va_list again;
	int len;
	char *text;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	assert(len >= 0);
	text = arena_alloc(arena, (size_t)len + 1);
	if (text != NULL)
		(void)vsnprintf(text, (size_t)len + 1, fmt, args);
	return text;
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	text = arena_vprintf(arena, fmt, args);
	va_end(args);
	return text;
}
