/* test_arena.c - memory is handed out zeroed, bounded, and given back to a mark. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 8 << 20, BLOCKS = 200, LARGEST = 40000 };

/* Numbers that are the same in every run. */
static size_t below(size_t limit)
{
	static uint32_t state = 1;

	state = state * 1664525 + 1013904223;
	return (state >> 8) % limit;
}

struct block {
	uint8_t *at;
	size_t len;
};

/* Takes blocks of every size, chunks of their own among them, and fills them. */
static void take(struct arena *arena, struct block *blocks, size_t len, uint8_t fill)
{
	for (size_t i = 0; i < len; i++) {
		size_t size = below(i % 8 == 0 ? LARGEST : 300);

		blocks[i] = (struct block){arena_alloc(arena, size), size};
		assert_non_null(blocks[i].at);
		for (size_t k = 0; k < size; k++)
			assert_int_equal(blocks[i].at[k], 0);
		(void)memset(blocks[i].at, fill, size);
	}
}

static void assert_filled(const struct block *blocks, size_t len, uint8_t fill)
{
	for (size_t i = 0; i < len; i++) {
		for (size_t k = 0; k < blocks[i].len; k++)
			assert_int_equal(blocks[i].at[k], fill);
	}
}

static void a_rewind_gives_back_what_came_after_the_mark(void **state)
{
	static struct block before[BLOCKS], after[BLOCKS];
	struct arena arena;

	(void)state;
	for (size_t round = 0; round < 50; round++) {
		size_t kept = below(BLOCKS), given = below(BLOCKS);
		struct arena_mark mark;
		size_t used;

		arena_init(&arena, LIMIT);
		take(&arena, before, kept, 1);
		mark = arena_mark(&arena);
		used = arena.used_bytes;
		for (int again = 0; again < 3; again++) {
			take(&arena, after, given, 2);
			assert_filled(before, kept, 1);
			arena_rewind(&arena, &mark);
			assert_int_equal(arena.used_bytes, used);
		}
		take(&arena, after, given, 3);
		assert_filled(before, kept, 1);
		assert_filled(after, given, 3);
		arena_release(&arena);
	}
}

static void marks_nest(void **state)
{
	struct arena_mark outer, inner;
	struct arena arena;
	char *text;

	(void)state;
	arena_init(&arena, LIMIT);
	outer = arena_mark(&arena);
	text = arena_strdup(&arena, "kept by the inner one");
	inner = arena_mark(&arena);
	assert_non_null(arena_alloc(&arena, 100000));
	arena_rewind(&arena, &inner);
	assert_string_equal(text, "kept by the inner one");
	arena_rewind(&arena, &outer);
	assert_int_equal(arena.used_bytes, 0);
	assert_null(arena.chunks);
}

static void an_arena_that_was_exhausted_is_not_after_a_rewind(void **state)
{
	struct arena_mark mark;
	struct arena arena;

	(void)state;
	arena_init(&arena, 1000);
	assert_non_null(arena_alloc(&arena, 600));
	mark = arena_mark(&arena);
	assert_null(arena_alloc(&arena, 600));
	assert_true(arena.exhausted);
	assert_null(arena_alloc(&arena, 1));
	arena_rewind(&arena, &mark);
	assert_non_null(arena_alloc(&arena, 400));
	assert_null(arena_alloc(&arena, 1));
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rewind_gives_back_what_came_after_the_mark),
		cmocka_unit_test(marks_nest),
		cmocka_unit_test(an_arena_that_was_exhausted_is_not_after_a_rewind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
