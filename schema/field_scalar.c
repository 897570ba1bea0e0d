/*
 * field_scalar.c - fields of one value: numbers, truths, texts and binaries,
 * each checked against the bounds, choices and rules of its row.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "schema/field_private.h"
#include "schema/value_private.h"

/* --- numbers ---------------------------------------------------------- */

static int decode_int(struct decoder *decoder, const struct field *field, const struct value *value,
		      const struct path *path, int64_t *ret)
{
	int r;

	if (value->kind != VALUE_INT)
		return decoder_wrong_kind(decoder, field, value, path);
	r = decoder_check_range(decoder, path, value->integer, field->min, field->max, "");
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
		return decoder_wrong_kind(decoder, field, value, path);
	number = value->kind == VALUE_INT ? (double)value->integer : value->real;
	if (number * 1000 < (double)field->min)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "%g is below the minimum %g", number,
				      (double)field->min / 1000);
	if (number * 1000 > (double)field->max)
		return decoder_refuse(decoder, REASON_JOB_INVALID, path,
				      "%g is above the maximum %g", number,
				      (double)field->max / 1000);
	*ret = (int64_t)(number * 1000 + 0.5);
	return 0;
}

static int decode_bool(struct decoder *decoder, const struct field *field,
		       const struct value *value, const struct path *path, bool *ret)
{
	if (value->kind != VALUE_BOOL)
		return decoder_wrong_kind(decoder, field, value, path);
	*ret = value->boolean;
	return 0;
}

/* --- texts ------------------------------------------------------------ */

/* The bytes of a str as a checked C string. */
int string_decode(struct decoder *decoder, struct bytes bytes, const struct path *path, int64_t min,
		  int64_t max, const struct text_rule *rule, const char **ret)
{
	char quoted[QUOTE_BYTES];
	const char *text;
	int r = decoder_check_range(decoder, path, (int64_t)bytes.len, min, max, " bytes");

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
		return decoder_wrong_kind(decoder, field, value, path);
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
		return decoder_wrong_kind(decoder, field, value, path);
	if (field->choices == NULL)
		return string_decode(decoder, value->bytes, path, field->min, field->max,
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
		return decoder_wrong_kind(decoder, field, value, path);
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
		return decoder_wrong_kind(decoder, field, value, path);
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
		return decoder_wrong_kind(decoder, field, value, path);
	}
	r = decoder_check_range(decoder, path, (int64_t)bytes.len, field->min, field->max,
				" bytes");
	if (r == 0)
		*ret = bytes;
	return r;
}

/* --- all of them ------------------------------------------------------ */

int scalar_decode(struct decoder *decoder, const struct field *field, const struct value *value,
		  const struct path *path, void *ret)
{
	switch (field->kind) {
	case FIELD_VERSION:
		return decode_version(decoder, field, value, path);
	case FIELD_INT:
		return decode_int(decoder, field, value, path, ret);
	case FIELD_MILLI:
		return decode_milli(decoder, field, value, path, ret);
	case FIELD_BOOL:
	case FIELD_MAYBE:
		return decode_bool(decoder, field, value, path, ret);
	case FIELD_CHOICE:
	case FIELD_FLAG:
		return decode_enum(decoder, field, value, path, ret);
	case FIELD_TEXT:
		return decode_text(decoder, field, value, path, ret);
	case FIELD_SHA256:
		return decode_sha256(decoder, field, value, path, ret);
	case FIELD_MODE:
		return decode_mode(decoder, field, value, path, ret);
	case FIELD_BIN:
		return decode_bin(decoder, field, value, path, ret);
	case FIELD_TEXTS:
	case FIELD_PAIRS:
	case FIELD_FILES:
	case FIELD_MAP:
	case FIELD_MAPS:
		break;
	}
	assert(!"a field of one value");
	return -1;
}
