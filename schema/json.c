/*
 * json.c - the gateway to jansson, which reads JSON for us; nobody else
 * includes jansson.h. Writing is json_write.c.
 *
 * Before jansson sees a text, its brackets and commas outside of strings are
 * counted: they bound how many values there can be and how deep they can lie,
 * so that neither memory nor stack depends on a hostile file.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "schema/limits.h"
#include "schema/value_private.h"

/* --- bounds ----------------------------------------------------------- */

/* Behind the string that starts at text[at]. */
static size_t skip_string(const char *text, size_t len, size_t at)
{
	for (at++; at < len && text[at] != '"'; at++) {
		if (text[at] == '\\')
			at++;
	}
	return at;
}

static int check_bounds(const char *text, size_t len, struct err *err)
{
	size_t depth = 0;
	size_t nodes = 1;

	if (len > LIMIT_JSON_BYTES)
		return err_set(err, ERR_INPUT, "the text has %zu bytes, more than %u", len,
			       LIMIT_JSON_BYTES);
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '"')
			i = skip_string(text, len, i);
		else if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}') && depth > 0)
			depth--;
		if (c == '[' || c == '{' || c == ',' || c == ':')
			nodes++;
		if (depth > LIMIT_DEPTH)
			return err_set(err, ERR_INPUT, "the text is nested deeper than %d",
				       LIMIT_DEPTH);
		if (nodes > LIMIT_NODES)
			return err_set(err, ERR_INPUT, "the text has more than %u values",
				       LIMIT_NODES);
	}
	return 0;
}

/* --- reading ---------------------------------------------------------- */

/* Lists and maps hold values, so these three call each other. */
static struct value *copy(struct arena *arena, const json_t *from);

static struct value *copy_str(struct arena *arena, const json_t *from)
{
	size_t len = json_string_length(from);
	const char *text = arena_memdup(arena, json_string_value(from), len);
	struct value *value = value_new(arena, VALUE_STR);

	if (text == NULL || value == NULL)
		return NULL;
	value->bytes = (struct bytes){(const uint8_t *)text, len};
	return value;
}

static struct value *copy_list(struct arena *arena, const json_t *from)
{
	size_t len = json_array_size(from);
	struct value *list = value_list_of(arena, len);

	for (size_t i = 0; list != NULL && i < len; i++) {
		list->list.items[i] = copy(arena, json_array_get(from, i));
		if (list->list.items[i] == NULL)
			return NULL;
	}
	return list;
}

/* jansson iterates an object in the order of its insertions. */
static struct value *copy_map(struct arena *arena, json_t *from)
{
	struct value *map = value_map_of(arena, json_object_size(from));
	size_t i = 0;

	for (void *at = json_object_iter(from); map != NULL && at != NULL;
	     at = json_object_iter_next(from, at)) {
		const char *key = arena_strdup(arena, json_object_iter_key(at));

		map->map.items[i] = copy(arena, json_object_iter_value(at));
		if (key == NULL || map->map.items[i] == NULL)
			return NULL;
		map->map.keys[i++] = (struct bytes){(const uint8_t *)key, strlen(key)};
	}
	return map;
}

static struct value *copy_real(struct arena *arena, const json_t *from)
{
	struct value *value = value_new(arena, VALUE_REAL);

	if (value != NULL)
		value->real = json_real_value(from);
	return value;
}

static struct value *copy(struct arena *arena, const json_t *from)
{
	switch (json_typeof(from)) {
	case JSON_NULL:
		return value_new(arena, VALUE_NULL);
	case JSON_TRUE:
	case JSON_FALSE:
		return value_bool(arena, json_is_true(from));
	case JSON_INTEGER:
		return value_int(arena, json_integer_value(from));
	case JSON_REAL:
		return copy_real(arena, from);
	case JSON_STRING:
		return copy_str(arena, from);
	case JSON_ARRAY:
		return copy_list(arena, from);
	case JSON_OBJECT:
		return copy_map(arena, (json_t *)(uintptr_t)from);
	}
	return NULL;
}

int value_from_json(struct arena *arena, const char *text, size_t len, struct value **ret,
		    struct err *err)
{
	json_error_t error;
	json_t *root;
	struct value *tree;

	if (check_bounds(text, len, err) < 0)
		return -1;
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL,
			  &error);
	if (root == NULL && json_error_code(&error) == json_error_out_of_memory) {
		errno = ENOMEM;
		return err_sys(err, "cannot read JSON of %zu bytes", len);
	}
	if (root == NULL)
		return err_set(err, ERR_INPUT, "not JSON at line %d, column %d: %s", error.line,
			       error.column, error.text);
	tree = copy(arena, root);
	json_decref(root);
	if (tree == NULL)
		return value_exhausted(arena, err);
	*ret = tree;
	return 0;
}
