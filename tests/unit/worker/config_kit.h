/*
 * config_kit.h - a configuration of defaults for each test, and what is asked of it.
 */
#ifndef SBX_TESTS_CONFIG_KIT_H
#define SBX_TESTS_CONFIG_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/config.h"

enum { ARENA_BYTES = 16 << 20 };

static struct arena arena;
static struct config config;
static struct err err;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_BYTES);
	err = (struct err){0};
	return config_init(&config, &arena, &err);
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static void assert_list(const struct text_list *list, const char *const *items)
{
	size_t i = 0;

	for (; items[i] != NULL; i++) {
		if (i >= list->len)
			fail_msg("'%s' is not in the list", items[i]);
		assert_string_equal(list->items[i], items[i]);
	}
	assert_int_equal(list->len, i);
	if (i > 0)
		assert_null(list->items[i]);
}

#endif
