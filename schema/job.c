/*
 * job.c - a job in and out: decoding, encoding, preparing what a person
 * wrote, and reading what can be read of a message that was refused. The
 * fields themselves are in job_fields.c.
 */
#include "schema/job.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "schema/field_private.h"
#include "schema/limits.h"
#include "schema/value_private.h"

/* --- in --------------------------------------------------------------- */

int job_from_value(struct arena *arena, const struct value *tree, struct job *ret,
		   struct reason *ret_reason, struct err *err)
{
	struct decoder decoder = {arena, ret_reason, err};
	struct job job = {0};
	int r;

	if (tree->kind != VALUE_MAP)
		return reason_set(ret_reason, REASON_JOB_MALFORMED, NULL,
				  "expected a map, found %s", value_kind_name(tree->kind));
	r = map_decode(&decoder, &job_map, tree, NULL, &job);
	if (r == 0)
		*ret = job;
	return r;
}

/* The most common mistake of a new producer deserves its own words. */
static bool looks_like_json(const void *data, size_t len)
{
	const char *text = data;

	return len >= 2 && text[0] == '{' && text[len - 1] == '}';
}

int job_decode(struct arena *arena, const void *data, size_t len, struct job *ret,
	       struct reason *ret_reason, struct err *err)
{
	struct err local = {0};
	struct value *tree;

	if (len > LIMIT_MESSAGE_BYTES)
		return reason_set(ret_reason, REASON_JOB_TOO_LARGE, NULL,
				  "the message has %zu bytes, the maximum is %u", len,
				  LIMIT_MESSAGE_BYTES);
	if (value_unpack(arena, data, len, &tree, &local) == 0)
		return job_from_value(arena, tree, ret, ret_reason, err);
	if (local.kind == ERR_INPUT)
		return reason_set(ret_reason, REASON_JOB_MALFORMED, NULL, "%s",
				  looks_like_json(data, len)
					  ? "the message is JSON text; pack it as msgpack"
					  : local.message);
	if (err != NULL)
		*err = local;
	return -1;
}

/* --- out -------------------------------------------------------------- */

struct value *job_to_value(struct arena *arena, const struct job *job)
{
	return map_encode(arena, &job_map, job);
}

/* --- what people write ------------------------------------------------ */

static int unknown_fields(struct arena *arena, const struct value *tree, struct text_list *ret,
			  struct err *err)
{
	struct value *list = value_list(arena);
	const char **items;

	if (list != NULL)
		map_list_unknown(arena, &job_map, tree, NULL, list);
	if (arena->exhausted)
		return value_exhausted(arena, err);
	items = arena_array(arena, list->list.len + 1, sizeof(*items));
	for (size_t i = 0; items != NULL && i < list->list.len; i++)
		items[i] = value_text(arena, list->list.items[i]);
	if (arena->exhausted)
		return value_exhausted(arena, err);
	*ret = (struct text_list){items, list->list.len};
	return 0;
}

static bool is_missing(const struct value *tree, const char *key)
{
	const struct value *value = value_get(tree, key);

	return value == NULL || value->kind == VALUE_NULL;
}

static void complete(struct arena *arena, struct value *tree)
{
	char id[TEXT_UUID_BYTES];
	const char *copy;

	if (is_missing(tree, "v"))
		value_put(arena, tree, "v", value_int(arena, JOB_VERSION));
	if (!is_missing(tree, "id"))
		return;
	text_uuid7(id);
	copy = arena_strdup(arena, id);
	if (copy != NULL)
		value_put(arena, tree, "id", value_str(arena, copy));
}

int job_prepare(struct arena *arena, struct value *tree, struct buf *ret_message,
		struct text_list *ret_unknown, struct reason *ret_reason, struct err *err)
{
	struct job job;
	size_t size;
	int r;

	if (tree->kind == VALUE_MAP) {
		if (unknown_fields(arena, tree, ret_unknown, err) < 0)
			return -1;
		map_make_binaries(arena, &job_map, tree);
		complete(arena, tree);
		if (arena->exhausted)
			return value_exhausted(arena, err);
	}
	r = job_from_value(arena, tree, &job, ret_reason, err);
	if (r != 0)
		return r;
	size = value_packed_size(tree);
	if (size > LIMIT_MESSAGE_BYTES)
		return reason_set(ret_reason, REASON_JOB_TOO_LARGE, NULL,
				  "the message has %zu bytes, the maximum is %u", size,
				  LIMIT_MESSAGE_BYTES);
	value_pack(tree, ret_message);
	if (ret_message->failed)
		return err_set(err, ERR_LIMIT, "out of memory for a message of %zu bytes", size);
	return 0;
}

/* --- what was refused ------------------------------------------------- */

/* The text when it is a valid value of that field, else NULL. */
static const char *salvage_text(struct arena *arena, const char *field, struct bytes bytes)
{
	struct reason reason;
	const struct field *row =
		map_find(&job_map, (struct bytes){(const uint8_t *)field, strlen(field)});
	struct map map = {.fields = row, .len = 1, .size = sizeof(struct job)};
	struct decoder decoder = {arena, &reason, NULL};
	struct job job = {0};
	struct value *tree = value_map(arena);
	struct value *text = value_new(arena, VALUE_STR);

	assert(row != NULL);
	if (tree == NULL || text == NULL)
		return NULL;
	text->bytes = bytes;
	value_put(arena, tree, field, text);
	if (map_decode(&decoder, &map, tree, NULL, &job) != 0)
		return NULL;
	return job.id != NULL ? job.id : job.tenant;
}

/* The message may be damaged anywhere: it is read as far as it makes sense. */
void job_salvage(struct arena *arena, const void *data, size_t len, const char **ret_id,
		 const char **ret_tenant)
{
	struct reader reader = {data, len, 0};
	struct token head;
	const char *id = NULL;
	const char *tenant = NULL;

	*ret_id = *ret_tenant = NULL;
	if (reader_next(&reader, &head, NULL) < 0 || head.kind != VALUE_MAP)
		return;
	for (size_t i = 0; i < head.count; i++) {
		struct token key;
		struct reader ahead;
		struct token value;

		if (reader_next(&reader, &key, NULL) < 0 || key.kind != VALUE_STR)
			break;
		ahead = reader;
		if (reader_skip(&reader, NULL) < 0 || reader_next(&ahead, &value, NULL) < 0)
			break;
		if (value.kind != VALUE_STR)
			continue;
		if (id == NULL && key.bytes.len == 2 && memcmp(key.bytes.data, "id", 2) == 0)
			id = salvage_text(arena, "id", value.bytes);
		if (tenant == NULL && key.bytes.len == 6 &&
		    memcmp(key.bytes.data, "tenant", 6) == 0)
			tenant = salvage_text(arena, "tenant", value.bytes);
	}
	*ret_id = id;
	*ret_tenant = tenant;
}
