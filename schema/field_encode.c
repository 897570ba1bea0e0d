/*
 * field_encode.c - from struct to tree. A field that has its default is left
 * out unless its row says `required`, so decoding gives the same struct again.
 *
 * Paths, test names and messages come from strangers. Text that is not UTF-8
 * could not travel at all, so each byte that is none becomes U+FFFD: a report
 * with a strange name beats no report.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "schema/field_private.h"

/* --- texts ------------------------------------------------------------ */

static const char replacement[] = "\xef\xbf\xbd";

/* Length of the UTF-8 sequence at the start of `text`, 0 when there is none. */
static size_t sequence_len(const char *text)
{
	for (size_t len = 1; len <= 4 && text[len - 1] != '\0'; len++) {
		if (text_is_utf8(text, len))
			return len;
	}
	return 0;
}

static const char *make_utf8(struct arena *arena, const char *text)
{
	size_t len = strlen(text);
	char *clean;
	size_t used = 0;

	if (text_is_utf8(text, len))
		return text;
	clean = arena_array(arena, len + 1, sizeof(replacement) - 1);
	while (clean != NULL && *text != '\0') {
		size_t step = sequence_len(text);

		if (step == 0) {
			(void)memcpy(clean + used, replacement, sizeof(replacement) - 1);
			used += sizeof(replacement) - 1;
			text++;
			continue;
		}
		(void)memcpy(clean + used, text, step);
		used += step;
		text += step;
	}
	return clean;
}

static struct value *encode_string(struct arena *arena, const char *text)
{
	const char *clean = make_utf8(arena, text);

	return clean == NULL ? NULL : value_str(arena, clean);
}

static bool is_default_text(const struct field *field, const char *text, size_t index)
{
	char numbered[64];

	if (field->numbered != NULL) {
		(void)snprintf(numbered, sizeof(numbered), "%s%zu", field->numbered, index + 1);
		return strcmp(text, numbered) == 0;
	}
	return field->fallback_text != NULL && strcmp(text, field->fallback_text) == 0;
}

static struct value *encode_texts(struct arena *arena, const struct text_list *texts)
{
	struct value *list = value_list(arena);

	for (size_t i = 0; i < texts->len; i++)
		value_append(arena, list, encode_string(arena, texts->items[i]));
	return list;
}

static struct value *encode_pairs(struct arena *arena, const struct pair_list *pairs)
{
	struct value *map = value_map(arena);

	for (size_t i = 0; i < pairs->len; i++) {
		const char *key = make_utf8(arena, pairs->items[i].key);

		if (key != NULL)
			value_put(arena, map, key, encode_string(arena, pairs->items[i].value));
	}
	return map;
}

static struct value *encode_files(struct arena *arena, const struct file_list *files)
{
	struct value *map = value_map(arena);

	for (size_t i = 0; i < files->len; i++)
		value_put(arena, map, files->items[i].path,
			  value_bin(arena, files->items[i].content));
	return map;
}

/* --- numbers ---------------------------------------------------------- */

static struct value *encode_milli(struct arena *arena, int64_t thousandths)
{
	struct value *value = value_int(arena, thousandths / 1000);

	if (value != NULL && thousandths % 1000 != 0) {
		value->kind = VALUE_REAL;
		value->real = (double)thousandths / 1000;
	}
	return value;
}

static struct value *encode_mode(struct arena *arena, uint32_t mode)
{
	const char *text = arena_printf(arena, "%06o", mode);

	return text == NULL ? NULL : value_str(arena, text);
}

/* --- fields ----------------------------------------------------------- */

/* Maps hold fields that are maps: encode_map and encode_maps come back here. */
static struct value *encode(struct arena *arena, const struct map *map, const void *at,
			    size_t index);

/* Puts `item` when `differs` or when the field must be there. */
static void put(struct arena *arena, struct value *map, const struct field *field, bool differs,
		struct value *item)
{
	if (differs || field->required)
		value_put(arena, map, field->name, item);
}

static void encode_maps(struct arena *arena, struct value *map, const struct field *field,
			const uint8_t *at)
{
	const uint8_t *items = *(const uint8_t *const *)(const void *)(at + field->offset);
	size_t len = *(const size_t *)(const void *)(at + field->len_offset);
	struct value *list;

	if (len == 0 && !field->required)
		return;
	list = value_list(arena);
	for (size_t i = 0; i < len; i++)
		value_append(arena, list,
			     encode(arena, field->map, items + i * field->map->size, i));
	value_put(arena, map, field->name, list);
}

static void encode_map(struct arena *arena, struct value *map, const struct field *field,
		       const void *from)
{
	bool present = field->map->has_present ? *(const bool *)from : true;
	struct value *item;

	if (!present)
		return;
	item = encode(arena, field->map, from, 0);
	if (item != NULL)
		put(arena, map, field, item->map.len > 0 || field->map->has_present, item);
}

static void encode_text(struct arena *arena, struct value *map, const struct field *field,
			const char *text, size_t index)
{
	if (text != NULL)
		put(arena, map, field, !is_default_text(field, text, index),
		    encode_string(arena, text));
}

/* Lists and binaries: absent when empty. */
static void encode_many(struct arena *arena, struct value *map, const struct field *field,
			const void *from)
{
	const struct bytes *bytes = from;
	const struct text_list *texts = from;
	const struct pair_list *pairs = from;
	const struct file_list *files = from;

	if (field->kind == FIELD_BIN)
		put(arena, map, field, bytes->len > 0, value_bin(arena, *bytes));
	else if (field->kind == FIELD_TEXTS)
		put(arena, map, field, texts->len > 0, encode_texts(arena, texts));
	else if (field->kind == FIELD_FILES)
		put(arena, map, field, files->len > 0, encode_files(arena, files));
	else
		put(arena, map, field, pairs->len > 0, encode_pairs(arena, pairs));
}

static void encode_number(struct arena *arena, struct value *map, const struct field *field,
			  const void *from)
{
	int64_t number = *(const int64_t *)from;

	put(arena, map, field, number != field->fallback,
	    field->kind == FIELD_MILLI ? encode_milli(arena, number) : value_int(arena, number));
}

static void encode_choice(struct arena *arena, struct value *map, const struct field *field,
			  const void *from)
{
	unsigned choice = field->kind == FIELD_FLAG ? *(const bool *)from : *(const unsigned *)from;

	put(arena, map, field, choice != 0, value_str(arena, field->choices[choice]));
}

static void encode_field(struct arena *arena, struct value *map, const struct field *field,
			 const uint8_t *at, size_t index)
{
	const void *from = at + field->offset;

	switch (field->kind) {
	case FIELD_VERSION:
		break; /* not stored */
	case FIELD_INT:
	case FIELD_MILLI:
		encode_number(arena, map, field, from);
		return;
	case FIELD_BOOL:
		put(arena, map, field, *(const bool *)from, value_bool(arena, *(const bool *)from));
		return;
	case FIELD_MAYBE:
		put(arena, map, field, *(const bool *)(const void *)(at + field->len_offset),
		    value_bool(arena, *(const bool *)from));
		return;
	case FIELD_CHOICE:
	case FIELD_FLAG:
		encode_choice(arena, map, field, from);
		return;
	case FIELD_TEXT:
		encode_text(arena, map, field, *(const char *const *)from, index);
		return;
	case FIELD_SHA256:
		if (*(const char *)from != '\0')
			value_put(arena, map, field->name, value_str(arena, from));
		return;
	case FIELD_MODE:
		if (*(const uint32_t *)from != 0)
			value_put(arena, map, field->name,
				  encode_mode(arena, *(const uint32_t *)from));
		return;
	case FIELD_BIN:
	case FIELD_TEXTS:
	case FIELD_PAIRS:
	case FIELD_FILES:
		encode_many(arena, map, field, from);
		return;
	case FIELD_MAP:
		encode_map(arena, map, field, from);
		return;
	case FIELD_MAPS:
		encode_maps(arena, map, field, at);
		return;
	}
	assert(!"a field has a kind");
}

/* Recursion follows the tables, which are not deep. */
static struct value *encode(struct arena *arena, const struct map *map, const void *at,
			    size_t index)
{
	struct value *tree = value_map(arena);

	for (size_t i = 0; i < map->len; i++) {
		const struct field *field = &map->fields[i];

		if (field->kind == FIELD_VERSION)
			value_put(arena, tree, field->name, value_int(arena, field->min));
		else if (field->offset != FIELD_NOWHERE)
			encode_field(arena, tree, field, at, index);
	}
	return tree;
}

struct value *map_encode(struct arena *arena, const struct map *map, const void *at)
{
	struct value *tree = encode(arena, map, at, 0);

	return arena->exhausted ? NULL : tree;
}
