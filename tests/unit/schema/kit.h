/* kit.h - what the tests of schema/ share: JSON literals as trees. */
#ifndef SBX_TESTS_SCHEMA_KIT_H
#define SBX_TESTS_SCHEMA_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schema/limits.h"
#include "schema/value.h"

/* JSON with ' for ", so that literals stay readable. */
static inline struct value *kit_tree(struct arena *arena, const char *text)
{
	struct err err = {0};
	struct value *tree = NULL;
	char *json = arena_strdup(arena, text);

	assert_non_null(json);
	for (char *at = json; *at != '\0'; at++)
		*at = *at == '\'' ? '"' : *at;
	if (value_from_json(arena, json, strlen(json), &tree, &err) < 0)
		fail_msg("%s: %s", err.message, json);
	return tree;
}

/* The same as a msgpack message. */
static inline struct bytes kit_message(struct arena *arena, const char *text)
{
	struct value *tree = kit_tree(arena, text);
	struct buf out;
	struct bytes message;

	buf_init(&out, LIMIT_MESSAGE_BYTES);
	value_pack(tree, &out);
	assert_false(out.failed);
	message = (struct bytes){(uint8_t *)arena_memdup(arena, out.data, out.len), out.len};
	buf_release(&out);
	return message;
}

static inline void kit_arena(struct arena *arena)
{
	arena_init(arena, LIMIT_ARENA_BYTES);
}

#endif
