/*
 * record.c - one table says which texts and numbers a record has and where they
 * live in a delivery and in a message, so that both directions agree.
 */
#include "producer/record.h"

#include <inttypes.h>
#include <string.h>

#include "schema/limits.h"

enum { RECORD_VERSION = 1 };

/* What a letter has beside headers and body. */
struct fields {
	const char *id;
	const char *correlation_id;
	const char *reply_to;
	const char *reason;
	const char *error;
	const char *worker;
	const char *queue;
	int64_t attempts;
	int64_t first_at_ms;
	int64_t last_at_ms;
	int64_t timestamp_us;
};

static const struct {
	const char *key;
	size_t offset;
} texts[] =
	{
		{"id", offsetof(struct fields, id)},
		{"correlation_id", offsetof(struct fields, correlation_id)},
		{"reply_to", offsetof(struct fields, reply_to)},
		{"reason", offsetof(struct fields, reason)},
		{"error", offsetof(struct fields, error)},
		{"worker", offsetof(struct fields, worker)},
		{"queue", offsetof(struct fields, queue)},
},
  numbers[] = {
	  {"attempts", offsetof(struct fields, attempts)},
	  {"first_at_ms", offsetof(struct fields, first_at_ms)},
	  {"last_at_ms", offsetof(struct fields, last_at_ms)},
	  {"timestamp_us", offsetof(struct fields, timestamp_us)},
};

/* --- out -------------------------------------------------------------- */

/* As bytes, for a header need not be UTF-8. */
static struct value *text_value(struct arena *arena, const char *text)
{
	return value_bin(arena, (struct bytes){(const uint8_t *)text, strlen(text)});
}

static struct value *headers_value(struct arena *arena, const struct pair_list *headers)
{
	struct value *list = value_list(arena);

	for (size_t i = 0; list != NULL && i < headers->len; i++) {
		struct value *pair = value_list(arena);

		if (pair == NULL)
			return NULL;
		value_append(arena, pair, text_value(arena, headers->items[i].key));
		value_append(arena, pair, text_value(arena, headers->items[i].value));
		value_append(arena, list, pair);
	}
	return list;
}

int record_from_delivery(struct arena *arena, const struct delivery *delivery, struct value **ret,
			 struct err *err)
{
	const struct message_death *death = &delivery->death;
	const struct fields fields = {
		.id = delivery->id,
		.correlation_id = delivery->correlation_id,
		.reply_to = delivery->reply_to,
		.reason = death->reason,
		.error = death->error,
		.worker = death->worker,
		.queue = death->queue,
		.attempts = delivery->attempts,
		.first_at_ms = death->first_at_ms,
		.last_at_ms = death->last_at_ms,
		.timestamp_us = delivery->timestamp_us,
	};
	struct value *map = value_map(arena);

	if (delivery->size_bytes > delivery->body.len)
		return err_set(err, ERR_LIMIT,
			       "the message has %" PRIu64 " bytes, more than is carried",
			       delivery->size_bytes);
	if (map == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	value_put(arena, map, "sbx_dead", value_int(arena, RECORD_VERSION));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *text = *(const char *const *)((const char *)&fields + texts[i].offset);

		if (text != NULL)
			value_put(arena, map, texts[i].key, text_value(arena, text));
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int64_t number = *(const int64_t *)((const char *)&fields + numbers[i].offset);

		if (number != 0)
			value_put(arena, map, numbers[i].key, value_int(arena, number));
	}
	value_put(arena, map, "priority", value_str(arena, job_priority_name(delivery->priority)));
	value_put(arena, map, "headers", headers_value(arena, &delivery->headers));
	value_put(arena, map, "body", value_bin(arena, delivery->body));
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	*ret = map;
	return 0;
}

/* --- in --------------------------------------------------------------- */

static int read_text(struct arena *arena, const struct value *value, const char *key,
		     const char **ret, struct err *err)
{
	struct bytes bytes;

	if (value == NULL || !value_binary(arena, value, &bytes) ||
	    (bytes.len > 0 && memchr(bytes.data, 0, bytes.len) != NULL))
		return err_set(err, ERR_INPUT, "'%s' is no text", key);
	*ret = arena_memdup(arena, bytes.data, bytes.len);
	return 0;
}

static int read_fields(struct arena *arena, const struct value *record, struct fields *ret,
		       struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const struct value *value = value_get(record, texts[i].key);

		if (value != NULL && value->kind != VALUE_NULL &&
		    read_text(arena, value, texts[i].key,
			      (const char **)((char *)ret + texts[i].offset), err) < 0)
			return -1;
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		const struct value *value = value_get(record, numbers[i].key);

		if (value == NULL || value->kind == VALUE_NULL)
			continue;
		if (value->kind != VALUE_INT || value->integer < 0)
			return err_set(err, ERR_INPUT, "'%s' is no number of 0 or more",
				       numbers[i].key);
		*(int64_t *)((char *)ret + numbers[i].offset) = value->integer;
	}
	return 0;
}

static int read_headers(struct arena *arena, const struct value *list, struct pair_list *ret,
			struct err *err)
{
	if (list == NULL || list->kind == VALUE_NULL)
		return 0;
	if (list->kind != VALUE_LIST)
		return err_set(err, ERR_INPUT, "'headers' is no list");
	ret->items = arena_array(arena, list->list.len + 1, sizeof(*ret->items));
	if (ret->items == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (size_t i = 0; i < list->list.len; i++) {
		const struct value *pair = list->list.items[i];

		if (pair->kind != VALUE_LIST || pair->list.len != 2)
			return err_set(err, ERR_INPUT, "'headers[%zu]' is no [KEY, VALUE]", i);
		if (read_text(arena, pair->list.items[0], "headers", &ret->items[i].key, err) < 0 ||
		    read_text(arena, pair->list.items[1], "headers", &ret->items[i].value, err) < 0)
			return -1;
		ret->len++;
	}
	return 0;
}

static int read_priority(struct arena *arena, const struct value *record, enum job_priority *ret,
			 struct err *err)
{
	static const enum job_priority all[] = {PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW};
	const struct value *value = value_get(record, "priority");
	const char *name = value_text(arena, value);

	*ret = PRIORITY_NORMAL;
	if (value == NULL || value->kind == VALUE_NULL)
		return 0;
	for (size_t i = 0; name != NULL && i < ARRAY_LEN(all); i++) {
		if (strcmp(name, job_priority_name(all[i])) == 0) {
			*ret = all[i];
			return 0;
		}
	}
	return err_set(err, ERR_INPUT, "'priority' is neither high, normal nor low");
}

static int read_body(struct arena *arena, const struct value *record, struct bytes *ret,
		     struct err *err)
{
	const struct value *body = value_get(record, "body");

	if (body == NULL || !value_binary(arena, body, ret))
		return err_set(err, ERR_INPUT, "'body' is neither text nor base64");
	return 0;
}

int record_to_message(struct arena *arena, const struct value *record, struct message *ret,
		      struct err *err)
{
	const struct value *version = value_get(record, "sbx_dead");
	struct fields fields = {0};
	struct message message = {0};

	if (version == NULL || version->kind != VALUE_INT || version->integer != RECORD_VERSION)
		return err_set(err, ERR_INPUT, "no dead letter that 'dead export' wrote");
	if (read_fields(arena, record, &fields, err) < 0 ||
	    read_headers(arena, value_get(record, "headers"), &message.headers, err) < 0 ||
	    read_priority(arena, record, &message.priority, err) < 0 ||
	    read_body(arena, record, &message.body, err) < 0)
		return -1;
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	message.id = fields.id;
	message.correlation_id = fields.correlation_id;
	message.reply_to = fields.reply_to;
	message.timestamp_us = fields.timestamp_us;
	message.attempts = fields.attempts;
	message.death = (struct message_death){
		.reason = fields.reason,
		.error = fields.error,
		.worker = fields.worker,
		.attempts = fields.attempts,
		.first_at_ms = fields.first_at_ms,
		.last_at_ms = fields.last_at_ms,
		.queue = fields.queue,
	};
	*ret = message;
	return 0;
}
