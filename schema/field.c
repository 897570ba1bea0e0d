/*
 * field.c - what the directions of field_private.h share: finding rows, and
 * errors that name the place. A path is only put into words when something is
 * wrong, so it costs a valid message nothing.
 */
#include "schema/field_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- rows ------------------------------------------------------------- */

const struct field *map_find(const struct map *map, struct bytes name)
{
	for (size_t i = 0; i < map->len; i++) {
		const struct field *field = &map->fields[i];

		if (strlen(field->name) == name.len &&
		    memcmp(field->name, name.data, name.len) == 0)
			return field;
	}
	return NULL;
}

const char *field_type_name(const struct field *field)
{
	static const char *const names[] = {
		[FIELD_VERSION] = "int",
		[FIELD_INT] = "int",
		[FIELD_MILLI] = "number",
		[FIELD_BOOL] = "bool",
		[FIELD_MAYBE] = "bool",
		[FIELD_CHOICE] = "str",
		[FIELD_FLAG] = "str",
		[FIELD_TEXT] = "str",
		[FIELD_SHA256] = "str",
		[FIELD_MODE] = "str",
		[FIELD_BIN] = "bin",
		[FIELD_TEXTS] = "list of str",
		[FIELD_PAIRS] = "map str to str",
		[FIELD_FILES] = "map str to bin",
		[FIELD_MAP] = "map",
		[FIELD_MAPS] = "list of map",
	};

	assert((size_t)field->kind < ARRAY_LEN(names));
	return names[field->kind];
}

/* --- words ------------------------------------------------------------ */

void quote_text(struct bytes text, char ret_text[QUOTE_BYTES])
{
	size_t len = text.len < QUOTE_BYTES - 4 ? text.len : QUOTE_BYTES - 4;
	const char *end = len < text.len ? "..." : "";

	for (size_t i = 0; i < len; i++)
		ret_text[i] =
			text.data[i] < 0x20 || text.data[i] == 0x7f ? '?' : (char)text.data[i];
	(void)snprintf(ret_text + len, QUOTE_BYTES - len, "%s", end);
}

static void append(char *text, size_t size, const char *more)
{
	size_t used = strlen(text);

	(void)snprintf(text + used, size - used, "%s", more);
}

void path_text(const struct path *path, char ret_text[PATH_TEXT_BYTES])
{
	char quoted[QUOTE_BYTES];
	char index[32];

	ret_text[0] = '\0';
	if (path == NULL)
		return;
	path_text(path->up, ret_text);
	if (path->name != NULL) {
		quote_text((struct bytes){(const uint8_t *)path->name, strlen(path->name)}, quoted);
		append(ret_text, PATH_TEXT_BYTES, ret_text[0] == '\0' ? "" : ".");
		append(ret_text, PATH_TEXT_BYTES, quoted);
	}
	if (path->index != PATH_NO_INDEX) {
		(void)snprintf(index, sizeof(index), "[%zu]", path->index);
		append(ret_text, PATH_TEXT_BYTES, index);
	}
}

/* --- failing ---------------------------------------------------------- */

int decoder_refuse(struct decoder *decoder, enum reason_code code, const struct path *path,
		   const char *fmt, ...)
{
	char where[PATH_TEXT_BYTES];
	char text[REASON_MESSAGE_BYTES];
	va_list args;

	path_text(path, where);
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return reason_set(decoder->reason, code, where, "%s%s%s", where,
			  where[0] == '\0' ? "" : ": ", text);
}

int decoder_exhausted(struct decoder *decoder)
{
	return err_set(decoder->err, ERR_LIMIT,
		       "out of memory: the bound for one message is %zu bytes",
		       decoder->arena->limit_bytes);
}

int decoder_wrong_kind(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path)
{
	return decoder_refuse(decoder, REASON_JOB_INVALID, path, "expected %s, found %s",
			      field_type_name(field), value_kind_name(value->kind));
}

int decoder_check_range(struct decoder *decoder, const struct path *path, int64_t number,
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
