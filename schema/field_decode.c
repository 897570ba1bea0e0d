/*
 * field_decode.c - from tree to struct, checking every field on the way.
 *
 * The first thing wrong is reported and ends the decoding. Fields come in the
 * order of their table, so a table puts first what decides how to read the
 * rest. An absent field and one that is nil are the same.
 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/field_private.h"
#include "schema/limits.h"
#include "schema/value_private.h"

/* --- shared checks ---------------------------------------------------- */

static bool is_absent(const struct value *value)
{
	return value == NULL || value->kind == VALUE_NULL;
}

static void *place(const struct field *field, void *at)
{
	return field->offset == FIELD_NOWHERE ? NULL : (uint8_t *)at + field->offset;
}

static int wrong_kind(struct decoder *decoder, const struct field *field, const struct value *value,
		      const struct path *path)
{
	return decoder_refuse(decoder, REASON_JOB_INVALID, path, "expected %s, found %s",
			      field_type_name(field), value_kind_name(value->kind));
}

/* `unit` is "", " bytes" or " items". */
static int check_range(struct decoder *decoder, const struct path *path, int64_t number,
		       int64_t min, int64_t max, const char *unit)
{
	if (number < min)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "%" PRId64 "%s is below the minimum %" PRId64, number, unit,
				      min);
	if (number > max)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "%" PRId64 "%s is above the maximum %" PRId64, number, unit,
				      max);
	return 0;
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

/* --- numbers ---------------------------------------------------------- */

static int decode_int(struct decoder *decoder, const struct field *field, const struct value *value,
		      const struct path *path, int64_t *ret)
{
	int r;

	if (value->kind != VALUE_INT)
		return wrong_kind(decoder, field, value, path);
	r = check_range(decoder, path, value->integer, field->min, field->max, "");
	if (r == 0 && ret != NULL)
		*ret = value->integer;
	return r;
}

static int decode_version(struct decoder *decoder, const struct field *field,
			  const struct value *value, const struct path *path)
{
	if (value->kind != VALUE_INT)
		return decoder_refuse(decoder, REASON_JOB_VERSION, path, "expected int, found %s",
				      value_kind_name(value->kind));
	if (value->integer != field->min)
		return decoder_refuse(decoder, REASON_JOB_VERSION, path,
				      "%" PRId64 " is not known here; expected %" PRId64,
				      value->integer, field->min);
	return 0;
}

static int decode_milli(struct decoder *decoder, const struct field *field,
			const struct value *value, const struct path *path, int64_t *ret)
{
	double number;

	if (value->kind != VALUE_INT && value->kind != VALUE_REAL)
		return wrong_kind(decoder, field, value, path);
	number = value->kind == VALUE_INT ? (double)value->integer : value->real;
	if (number * 1000 < (double)field->min)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "%g is below the minimum %g", number,
				      (double)field->min / 1000);
	if (number * 1000 > (double)field->max)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "%g is above the maximum %g", number,
				      (double)field->max / 1000);
	*ret = llround(number * 1000);
	return 0;
}

static int decode_bool(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path, bool *ret)
{
	if (value->kind != VALUE_BOOL)
		return wrong_kind(decoder, field, value, path);
	*ret = value->boolean;
	return 0;
}

/* --- texts ------------------------------------------------------------ */

/* The bytes of a str as a checked C string. */
static int decode_string(struct decoder *decoder, struct bytes bytes, const struct path *path,
			 int64_t min, int64_t max, const struct text_rule *rule, const char **ret)
{
	char quoted[QUOTE_BYTES];
	const char *text;
	int r = check_range(decoder, path, (int64_t)bytes.len, min, max, " bytes");

	if (r != 0)
		return r;
	if (bytes.len > 0 && memchr(bytes.data, 0, bytes.len) != NULL)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path, "holds a NUL byte");
	text = arena_memdup(decoder->arena, bytes.data, bytes.len);
	if (text == NULL)
		return decoder_exhausted(decoder);
	if (rule != NULL && !rule->holds(text)) {
		quote_text(bytes, quoted);
		return decoder_refuse(decoder, REASON_JOB_INVALID, path, "'%s' is not %s", quoted,
				      rule->expected);
	}
	*ret = text;
	return 0;
}

/* The choices from the first on, as "a, b, c". */
static void list_choices(const struct field *field, size_t count, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i == 0 ? "" : ", ",
					 field->choices[i]);
}

static size_t choices_len(const struct field *field)
{
	size_t len = 0;

	while (field->choices[len] != NULL)
		len++;
	return len;
}

/* Which of the field's choices the text is. */
static int decode_choice(struct decoder *decoder, const struct field *field,
			 const struct value *value, const struct path *path, size_t *ret)
{
	size_t len = choices_len(field);
	size_t built = field->built == 0 ? len : field->built;
	char quoted[QUOTE_BYTES];
	char list[256];
	size_t at = 0;

	if (value->kind != VALUE_STR)
		return wrong_kind(decoder, field, value, path);
	while (at < len && !(strlen(field->choices[at]) == value->bytes.len &&
			     memcmp(field->choices[at], value->bytes.data, value->bytes.len) == 0))
		at++;
	if (at < built) {
		*ret = at;
		return 0;
	}
	quote_text(value->bytes, quoted);
	if (at == len && !field->open) {
		list_choices(field, len, list, sizeof(list));
		return decoder_refuse(decoder, REASON_JOB_INVALID, path, "'%s' is not one of: %s",
				      quoted, list);
	}
	list_choices(field, built, list, sizeof(list));
	return decoder_refuse(decoder, REASON_JOB_UNSUPPORTED, path,
			      "'%s' is not supported by this version, only: %s", quoted, list);
}

static int decode_text(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path, const char **ret)
{
	size_t choice = 0;
	int r;

	if (value->kind != VALUE_STR)
		return wrong_kind(decoder, field, value, path);
	if (field->choices == NULL)
		return decode_string(decoder, value->bytes, path, field->min, field->max,
				     field->rule, ret);
	r = decode_choice(decoder, field, value, path, &choice);
	if (r == 0 && ret != NULL)
		*ret = field->choices[choice];
	return r;
}

/* Stored as an enum (of ours, so with the size of an int) or as a bool. */
static int decode_enum(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path, void *ret)
{
	size_t choice = 0;
	int r = decode_choice(decoder, field, value, path, &choice);

	if (r == 0 && field->kind == FIELD_FLAG)
		*(bool *)ret = choice == 1;
	else if (r == 0 && ret != NULL)
		*(unsigned *)ret = (unsigned)choice;
	return r;
}

static bool is_hex(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (!(text.data[i] >= '0' && text.data[i] <= '9') &&
		    !(text.data[i] >= 'a' && text.data[i] <= 'f'))
			return false;
	}
	return true;
}

static int decode_sha256(struct decoder *decoder, const struct field *field,
			 const struct value *value, const struct path *path, char *ret)
{
	if (value->kind != VALUE_STR)
		return wrong_kind(decoder, field, value, path);
	if (value->bytes.len != 64 || !is_hex(value->bytes))
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "expected 64 lowercase hexadecimal digits");
	(void)memcpy(ret, value->bytes.data, 64);
	ret[64] = '\0';
	return 0;
}

static int decode_mode(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path, uint32_t *ret)
{
	uint32_t mode = 0;

	if (value->kind != VALUE_STR)
		return wrong_kind(decoder, field, value, path);
	for (size_t i = 0; i < value->bytes.len; i++) {
		uint8_t digit = value->bytes.data[i];

		if (value->bytes.len != 6 || digit < '0' || digit > '7')
			return decoder_refuse(decoder, REASON_JOB_INVALID, path,
					      "expected six octal digits");
		mode = mode << 3 | (uint32_t)(digit - '0');
	}
	*ret = mode;
	return 0;
}

static int decode_bin(struct decoder *decoder, const struct field *field, const struct value *value,
		      const struct path *path, struct bytes *ret)
{
	struct bytes bytes;
	int r;

	if (!value_binary(decoder->arena, value, &bytes)) {
		if (decoder->arena->exhausted)
			return decoder_exhausted(decoder);
		if (value_get(value, "base64") != NULL)
			return decoder_refuse(decoder, REASON_JOB_INVALID, path,
					      "'base64' does not hold base64 text");
		return wrong_kind(decoder, field, value, path);
	}
	r = check_range(decoder, path, (int64_t)bytes.len, field->min, field->max, " bytes");
	if (r == 0)
		*ret = bytes;
	return r;
}

/* --- lists of texts --------------------------------------------------- */

static int decode_texts(struct decoder *decoder, const struct field *field,
			const struct value *value, const struct path *path, struct text_list *ret)
{
	const char **items;
	int r;

	if (value->kind != VALUE_LIST)
		return wrong_kind(decoder, field, value, path);
	r = check_range(decoder, path, (int64_t)value->list.len, field->min, field->max, " items");
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
		r = decode_string(decoder, item->bytes, &here, field->item_min, field->item_max,
				  field->rule, &items[i]);
		if (r != 0)
			return r;
	}
	*ret = (struct text_list){items, value->list.len};
	return 0;
}

static int decode_pair(struct decoder *decoder, const struct field *field, struct bytes key,
		       const struct value *value, const struct path *path, struct pair *ret)
{
	char quoted[QUOTE_BYTES];
	struct path here = {path, quoted, PATH_NO_INDEX};
	int r;

	quote_text(key, quoted);
	r = decode_string(decoder, key, &here, 1, LIMIT_NAME_CHARS, field->key_rule, &ret->key);
	if (r != 0)
		return r;
	if (value->kind != VALUE_STR)
		return decoder_refuse(decoder, REASON_JOB_INVALID, &here, "expected str, found %s",
				      value_kind_name(value->kind));
	return decode_string(decoder, value->bytes, &here, field->item_min, field->item_max,
			     field->rule, &ret->value);
}

static int decode_pairs(struct decoder *decoder, const struct field *field,
			const struct value *value, const struct path *path, struct pair_list *ret)
{
	struct pair *items;
	int r;

	if (value->kind != VALUE_MAP)
		return wrong_kind(decoder, field, value, path);
	r = check_range(decoder, path, (int64_t)value->map.len, field->min, field->max, " items");
	if (r != 0)
		return r;
	items = arena_array(decoder->arena, value->map.len, sizeof(*items));
	if (items == NULL)
		return decoder_exhausted(decoder);
	for (size_t i = 0; i < value->map.len; i++) {
		r = decode_pair(decoder, field, value->map.keys[i], value->map.items[i], path,
				&items[i]);
		if (r != 0)
			return r;
	}
	*ret = (struct pair_list){items, value->map.len};
	return 0;
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
		return wrong_kind(decoder, field, value, path);
	len = value->list.len;
	r = check_range(decoder, path, (int64_t)len, field->min, field->max, " items");
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
		return decode_version(decoder, field, value, path);
	case FIELD_INT:
		return decode_int(decoder, field, value, path, to);
	case FIELD_MILLI:
		return decode_milli(decoder, field, value, path, to);
	case FIELD_BOOL:
		return decode_bool(decoder, field, value, path, to);
	case FIELD_MAYBE:
		*(bool *)(void *)((uint8_t *)at + field->len_offset) = true;
		return decode_bool(decoder, field, value, path, to);
	case FIELD_CHOICE:
	case FIELD_FLAG:
		return decode_enum(decoder, field, value, path, to);
	case FIELD_TEXT:
		return decode_text(decoder, field, value, path, to);
	case FIELD_SHA256:
		return decode_sha256(decoder, field, value, path, to);
	case FIELD_MODE:
		return decode_mode(decoder, field, value, path, to);
	case FIELD_BIN:
		return decode_bin(decoder, field, value, path, to);
	case FIELD_TEXTS:
		return decode_texts(decoder, field, value, path, to);
	case FIELD_PAIRS:
		return decode_pairs(decoder, field, value, path, to);
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
