/*
 * job_type.c - the tables of fields walked along a path, one key and its
 * indexes at a time.
 */
#include "schema/job_type.h"

#include <string.h>

#include "schema/field_private.h"

static enum job_type type_of(const struct field *field)
{
	switch (field->kind) {
	case FIELD_VERSION:
	case FIELD_INT:
		return JOB_TYPE_INT;
	case FIELD_MILLI:
		return JOB_TYPE_NUMBER;
	case FIELD_CHOICE:
	case FIELD_FLAG:
	case FIELD_TEXT:
	case FIELD_SHA256:
	case FIELD_MODE:
		return JOB_TYPE_TEXT;
	case FIELD_BIN:
		return JOB_TYPE_BIN;
	case FIELD_BOOL:
	case FIELD_MAYBE:
	case FIELD_TEXTS:
	case FIELD_PAIRS:
	case FIELD_FILES:
	case FIELD_MAP:
	case FIELD_MAPS:
		break;
	}
	return JOB_TYPE_OTHER;
}

/* Moves `*at` behind "[N]"; false when there is none. */
static bool skip_index(const char **at)
{
	size_t digits;

	if (**at != '[')
		return false;
	digits = strspn(*at + 1, "0123456789");
	if (digits == 0 || (*at)[1 + digits] != ']')
		return false;
	*at += digits + 2;
	return true;
}

/* The type of what the end of a path says about `field`; its key is read. With
 * JOB_TYPE_UNKNOWN and `*ret_map` set the path goes on there. */
static enum job_type follow(const struct field *field, const char **at, const struct map **ret_map)
{
	bool indexed = skip_index(at);

	if (**at == '\0' && !indexed)
		return type_of(field);
	if (**at == '\0' && field->kind == FIELD_TEXTS)
		return JOB_TYPE_TEXT;
	if (**at == '\0')
		return field->kind == FIELD_MAPS ? JOB_TYPE_OTHER : JOB_TYPE_UNKNOWN;
	if (*(*at)++ != '.')
		return JOB_TYPE_UNKNOWN;
	if (field->kind == FIELD_PAIRS && !indexed)
		return JOB_TYPE_TEXT;
	if (field->kind == FIELD_FILES && !indexed)
		return JOB_TYPE_BIN;
	if (field->kind == (indexed ? FIELD_MAPS : FIELD_MAP))
		*ret_map = field->map;
	return JOB_TYPE_UNKNOWN;
}

enum job_type job_type_at(const char *path)
{
	const struct map *map = &job_map;
	enum job_type type = JOB_TYPE_UNKNOWN;

	while (map != NULL && type == JOB_TYPE_UNKNOWN) {
		size_t len = strcspn(path, ".[");
		struct bytes key = {(const uint8_t *)path, len};
		const struct field *field = map_find(map, key);

		if (field == NULL)
			return JOB_TYPE_UNKNOWN;
		path += len;
		map = NULL;
		type = follow(field, &path, &map);
	}
	return type;
}
