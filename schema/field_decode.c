/*
 * field_decode.c - from tree to struct, checking every field on the way.
 *
 * The first thing wrong is reported and ends the decoding. Fields come in the
 * order of their table, so a table puts first what decides how to read the
 * rest. An absent field and one that is nil are the same.
 */
#include <assert.h>

#include "schema/field_private.h"
#include "schema/limits.h"
#include "schema/value_private.h"

/* --- presence --------------------------------------------------------- */

static bool is_absent(const struct value *value)
{
	return value == NULL || value->kind == VALUE_NULL;
}

static void *place(const struct field *field, void *at)
{
	return field->offset == FIELD_NOWHERE ? NULL : (uint8_t *)at + field->offset;
}

/* Whether a value says no more than its absence would. */
static bool is_empty(const struct value *value)
{
	switch (value->kind) {
	case VALUE_NULL:
		return true;
	case VALUE_BOOL:
		return !value->boolean;
	case VALUE_INT:
		return value->integer == 0;
	case VALUE_STR:
	case VALUE_BIN:
		return value->bytes.len == 0;
	case VALUE_LIST:
		return value->list.len == 0;
	case VALUE_MAP:
		return value->map.len == 0;
	case VALUE_REAL:
	case VALUE_TIME:
		return false;
	}
	assert(!"a value has a kind");
	return false;
}

/* --- lists of texts and files ----------------------------------------- */

static int decode_texts(struct decoder *decoder, const struct field *field,
			const struct value *value, const struct path *path, struct text_list *ret)
{
	const char **items;
	int r;

	if (value->kind != VALUE_LIST)
		return decoder_wrong_kind(decoder, field, value, path);
	r = decoder_check_range(decoder, path, (int64_t)value->list.len, field->min, field->max,
				" items");
	if (r != 0)
		return r;
	items = arena_array(decoder->arena, value->list.len + 1, sizeof(*items));
	if (items == NULL)
		return decoder_exhausted(decoder);
	for (size_t i = 0; i < value->list.len; i++) {
		const struct value *item = value->list.items[i];
		struct path here = {path->up, path->name, i};

		if (item->kind != VALUE_STR)
			return decoder_refuse(decoder, REASON_JOB_INVALID, &here,
					      "expected str, found %s",
					      value_kind_name(item->kind));
		r = string_decode(decoder, item->bytes, &here, field->item_min, field->item_max,
				  field->rule, &items[i]);
		if (r != 0)
			return r;
	}
	*ret = (struct text_list){items, value->list.len};
	return 0;
}

static int decode_key(struct decoder *decoder, const struct field *field, struct bytes key,
		      const struct path *path, const char **ret)
{
	return string_decode(decoder, key, path, 1,
			     field->key_max == 0 ? LIMIT_NAME_CHARS : field->key_max,
			     field->key_rule, ret);
}

/* One entry of a map whose keys the job chooses. `path` is the entry's own. */
typedef int decode_entry(struct decoder *decoder, const struct field *field, struct bytes key,
			 const struct value *value, const struct path *path, void *at);

static int decode_pair(struct decoder *decoder, const struct field *field, struct bytes key,
		       const struct value *value, const struct path *path, void *at)
{
	struct pair *ret = at;
	int r = decode_key(decoder, field, key, path, &ret->key);

	if (r != 0)
		return r;
	if (value->kind != VALUE_STR)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path, "expected str, found %s",
				      value_kind_name(value->kind));
	return string_decode(decoder, value->bytes, path, field->item_min, field->item_max,
			     field->rule, &ret->value);
}

static int decode_file(struct decoder *decoder, const struct field *field, struct bytes key,
		       const struct value *value, const struct path *path, void *at)
{
	const struct field content = {
		.kind = FIELD_BIN, .min = field->item_min, .max = field->item_max};
	struct job_file *ret = at;
	int r = decode_key(decoder, field, key, path, &ret->path);

	return r != 0 ? r : scalar_decode(decoder, &content, value, path, &ret->content);
}

static int decode_entries(struct decoder *decoder, const struct field *field,
			  const struct value *value, const struct path *path, size_t size,
			  decode_entry *decode, void **ret)
{
	size_t len;
	uint8_t *items;
	int r;

	if (value->kind != VALUE_MAP)
		return decoder_wrong_kind(decoder, field, value, path);
	len = value->map.len;
	r = decoder_check_range(decoder, path, (int64_t)len, field->min, field->max, " items");
	if (r != 0)
		return r;
	items = arena_array(decoder->arena, len, size);
	if (items == NULL)
		return decoder_exhausted(decoder);
	for (size_t i = 0; i < len; i++) {
		char quoted[QUOTE_BYTES];
		struct path here = {path, quoted, PATH_NO_INDEX};

		quote_text(value->map.keys[i], quoted);
		r = decode(decoder, field, value->map.keys[i], value->map.items[i], &here,
			   items + i * size);
		if (r != 0)
			return r;
	}
	*ret = items;
	return 0;
}

static int decode_pairs(struct decoder *decoder, const struct field *field,
			const struct value *value, const struct path *path, struct pair_list *ret)
{
	void *items;
	int r = decode_entries(decoder, field, value, path, sizeof(struct pair), decode_pair,
			       &items);

	if (r == 0)
		*ret = (struct pair_list){items, value->map.len};
	return r;
}

static int decode_files(struct decoder *decoder, const struct field *field,
			const struct value *value, const struct path *path, struct file_list *ret)
{
	void *items;
	int r = decode_entries(decoder, field, value, path, sizeof(struct job_file), decode_file,
			       &items);

	if (r == 0)
		*ret = (struct file_list){items, value->map.len};
	return r;
}

/* --- maps ------------------------------------------------------------- */

static int decode_maps(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path, void *at)
{
	size_t size = field->map->size;
	size_t len;
	uint8_t *items;
	int r;

	if (value->kind != VALUE_LIST)
		return decoder_wrong_kind(decoder, field, value, path);
	len = value->list.len;
	r = decoder_check_range(decoder, path, (int64_t)len, field->min, field->max, " items");
	if (r != 0)
		return r;
	items = arena_array(decoder->arena, len, size);
	if (items == NULL)
		return decoder_exhausted(decoder);
	for (size_t i = 0; i < len; i++) {
		struct path here = {path->up, path->name, i};

		if (value->list.items[i]->kind != VALUE_MAP)
			return decoder_refuse(decoder, REASON_JOB_INVALID, &here,
					      "expected map, found %s",
					      value_kind_name(value->list.items[i]->kind));
		r = map_decode(decoder, field->map, value->list.items[i], &here, items + i * size);
		if (r != 0)
			return r;
	}
	*(void **)place(field, at) = items;
	*(size_t *)(void *)((uint8_t *)at + field->len_offset) = len;
	return 0;
}

static int decode_present(struct decoder *decoder, const struct field *field,
			  const struct value *value, const struct path *path, void *at)
{
	void *to = place(field, at);

	if (field->unbuilt)
		return is_empty(value) ? 0
				       : decoder_refuse(decoder, REASON_JOB_UNSUPPORTED, path,
							"is not supported by this version");
	switch (field->kind) {
	case FIELD_VERSION:
	case FIELD_INT:
	case FIELD_MILLI:
	case FIELD_BOOL:
	case FIELD_CHOICE:
	case FIELD_FLAG:
	case FIELD_TEXT:
	case FIELD_SHA256:
	case FIELD_MODE:
	case FIELD_BIN:
		return scalar_decode(decoder, field, value, path, to);
	case FIELD_MAYBE:
		*(bool *)(void *)((uint8_t *)at + field->len_offset) = true;
		return scalar_decode(decoder, field, value, path, to);
	case FIELD_TEXTS:
		return decode_texts(decoder, field, value, path, to);
	case FIELD_PAIRS:
		return decode_pairs(decoder, field, value, path, to);
	case FIELD_FILES:
		return decode_files(decoder, field, value, path, to);
	case FIELD_MAP:
		return map_decode(decoder, field->map, value, path, to);
	case FIELD_MAPS:
		return decode_maps(decoder, field, value, path, at);
	}
	assert(!"a field has a kind");
	return -1;
}

/* What a field is when nobody gave it. `path` leads to its map. */
static int decode_absent(struct decoder *decoder, const struct field *field,
			 const struct path *path, void *at)
{
	void *to = place(field, at);

	if (to == NULL)
		return 0;
	if (field->kind == FIELD_INT || field->kind == FIELD_MILLI)
		*(int64_t *)to = field->fallback;
	if (field->kind == FIELD_TEXT)
		*(const char **)to = field->fallback_text;
	if (field->kind == FIELD_TEXT && field->numbered != NULL) {
		const char *text =
			arena_printf(decoder->arena, "%s%zu", field->numbered, path->index + 1);

		if (text == NULL)
			return decoder_exhausted(decoder);
		*(const char **)to = text;
	}
	if (field->kind == FIELD_MAP)
		return map_decode(decoder, field->map, NULL, path, to);
	return 0;
}

int map_decode(struct decoder *decoder, const struct map *map, const struct value *tree,
	       const struct path *path, void *at)
{
	bool absent = is_absent(tree);
	int r = 0;

	if (!absent && tree->kind != VALUE_MAP)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path, "expected map, found %s",
				      value_kind_name(tree->kind));
	if (map->has_present)
		*(bool *)at = !absent;
	for (size_t i = 0; r == 0 && i < map->len; i++) {
		const struct field *field = &map->fields[i];
		const struct value *value = absent ? NULL : value_get(tree, field->name);
		struct path here = {path, field->name, PATH_NO_INDEX};

		if (!is_absent(value))
			r = decode_present(decoder, field, value, &here, at);
		else if (field->required && !absent)
			r = decoder_refuse(decoder,
					   field->kind == FIELD_VERSION ? REASON_JOB_VERSION
									: REASON_JOB_INVALID,
					   &here, "is missing; expected %s",
					   field_type_name(field));
		else
			r = decode_absent(decoder, field, path, at);
	}
	if (r == 0 && !absent && map->check != NULL)
		r = map->check(decoder, path, at);
	return r;
}
