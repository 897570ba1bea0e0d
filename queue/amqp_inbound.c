/*
 * amqp_inbound.c - frames put together to messages.
 *
 *	IDLE --deliver, get-ok, return--> HEADER --header--> BODY --all bytes--> IDLE
 *	                                      \--empty body------------------>/
 *
 * Everything is copied out of the library's frames, which go at the next read.
 * A body is kept up to one byte beyond the bound of a message and counted to
 * its end; a returned message's body is only counted. Texts that are not UTF-8
 * or hold a NUL count as absent: they come from whoever may publish.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "queue/amqp_private.h"

enum {
	/* Properties and headers come in one frame. */
	INBOUND_ARENA_BYTES = 4 * RABBIT_FRAME_BYTES,
	/* A body buffer beyond this is not kept for the next message. */
	BODY_KEEP_BYTES = 256 << 10,
};

/* --- texts and numbers ------------------------------------------------ */

static const char *copy_text(struct rabbit_inbound *inbound, amqp_bytes_t text)
{
	if (text.bytes == NULL || memchr(text.bytes, '\0', text.len) != NULL ||
	    !text_is_utf8(text.bytes, text.len))
		return NULL;
	return arena_memdup(&inbound->arena, text.bytes, text.len);
}

static const char *field_text(struct rabbit_inbound *inbound, const amqp_field_value_t *value)
{
	if (value->kind != AMQP_FIELD_KIND_UTF8)
		return NULL;
	return copy_text(inbound, value->value.bytes);
}

static int64_t field_number(const amqp_field_value_t *value)
{
	switch (value->kind) {
	case AMQP_FIELD_KIND_I8:
		return value->value.i8;
	case AMQP_FIELD_KIND_U8:
		return value->value.u8;
	case AMQP_FIELD_KIND_I16:
		return value->value.i16;
	case AMQP_FIELD_KIND_U16:
		return value->value.u16;
	case AMQP_FIELD_KIND_I32:
		return value->value.i32;
	case AMQP_FIELD_KIND_U32:
		return value->value.u32;
	case AMQP_FIELD_KIND_I64:
		return value->value.i64;
	case AMQP_FIELD_KIND_U64:
	case AMQP_FIELD_KIND_TIMESTAMP:
		return value->value.u64 > INT64_MAX ? 0 : (int64_t)value->value.u64;
	default:
		return 0;
	}
}

static bool key_is(const amqp_table_entry_t *entry, const char *key)
{
	return entry->key.len == strlen(key) && memcmp(entry->key.bytes, key, entry->key.len) == 0;
}

static bool key_starts(const amqp_table_entry_t *entry, const char *start)
{
	size_t len = strlen(start);

	return entry->key.len >= len && memcmp(entry->key.bytes, start, len) == 0;
}

/* --- headers ---------------------------------------------------------- */

/* The newest entry of x-death comes first. */
static void take_broker_death(struct rabbit_inbound *inbound, const amqp_field_value_t *value)
{
	const amqp_table_t *newest;

	if (value->kind != AMQP_FIELD_KIND_ARRAY || value->value.array.num_entries < 1 ||
	    value->value.array.entries[0].kind != AMQP_FIELD_KIND_TABLE)
		return;
	newest = &value->value.array.entries[0].value.table;
	for (int i = 0; i < newest->num_entries; i++) {
		const amqp_table_entry_t *entry = &newest->entries[i];

		if (key_is(entry, "queue"))
			inbound->died_in = field_text(inbound, &entry->value);
		else if (key_is(entry, "reason"))
			inbound->died_why = field_text(inbound, &entry->value);
		else if (key_is(entry, "time"))
			inbound->died_at_ms = field_number(&entry->value) % 1000000000000 * 1000;
	}
}

/* What the broker notes on a message, or reads from it, and what is ours: none
 * of it may travel on with a message that is published again. */
static bool stays_behind(const amqp_table_entry_t *entry)
{
	return key_starts(entry, "x-death") || key_starts(entry, "x-first-death-") ||
	       key_starts(entry, "x-last-death-") || key_starts(entry, "x-delivery-") ||
	       key_is(entry, "x-acquired-count") || key_starts(entry, "x-sbx-") ||
	       key_is(entry, "CC") || key_is(entry, "BCC");
}

static void take_own(struct rabbit_inbound *inbound, const amqp_table_entry_t *entry)
{
	struct message_death *death = &inbound->delivery.death;
	const struct {
		const char *key;
		const char **text;
		int64_t *number;
	} own[] = {
		{"x-sbx-reason", &death->reason, NULL},
		{"x-sbx-error", &death->error, NULL},
		{"x-sbx-worker", &death->worker, NULL},
		{"x-sbx-queue", &death->queue, NULL},
		{"x-sbx-attempts", NULL, &inbound->delivery.attempts},
		{"x-sbx-first-at", NULL, &death->first_at_ms},
		{"x-sbx-last-at", NULL, &death->last_at_ms},
		{"x-sbx-timestamp-us", NULL, &inbound->timestamp_us},
	};

	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (!key_is(entry, own[i].key))
			continue;
		if (own[i].text != NULL)
			*own[i].text = field_text(inbound, &entry->value);
		else
			*own[i].number = field_number(&entry->value);
		if (own[i].number != NULL && *own[i].number < 0)
			*own[i].number = 0;
	}
}

static void take_other(struct rabbit_inbound *inbound, const amqp_table_entry_t *entry)
{
	struct pair_list *list = &inbound->delivery.headers;
	const char *key = copy_text(inbound, entry->key);
	const char *value = field_text(inbound, &entry->value);

	if (key != NULL && value != NULL)
		list->items[list->len++] = (struct pair){key, value};
}

static int take_headers(struct rabbit_inbound *inbound, const amqp_table_t *table)
{
	struct pair_list *list = &inbound->delivery.headers;

	list->items =
		arena_array(&inbound->arena, (size_t)table->num_entries, sizeof(*list->items));
	if (list->items == NULL)
		return -1;
	for (int i = 0; i < table->num_entries; i++) {
		const amqp_table_entry_t *entry = &table->entries[i];

		if (key_is(entry, "x-death"))
			take_broker_death(inbound, &entry->value);
		else if (key_is(entry, "x-delivery-count"))
			inbound->delivery.redeliveries = field_number(&entry->value);
		else if (key_starts(entry, "x-sbx-"))
			take_own(inbound, entry);
		else if (!stays_behind(entry))
			take_other(inbound, entry);
	}
	inbound->delivery.death.attempts = inbound->delivery.attempts;
	return 0;
}

void rabbit_inbound_tell_death(struct rabbit_inbound *inbound)
{
	struct message_death *death = &inbound->delivery.death;
	const char *why;

	if (inbound->died_why == NULL || inbound->died_in == NULL)
		return;
	why = arena_printf(&inbound->arena, "broker.%s", inbound->died_why);
	if (why == NULL)
		return;
	death->reason = why;
	death->queue = inbound->died_in;
	death->last_at_ms = inbound->died_at_ms;
	if (death->first_at_ms == 0)
		death->first_at_ms = inbound->died_at_ms;
}

/* --- parts of a message ----------------------------------------------- */

static int take_properties(struct rabbit_inbound *inbound, const amqp_basic_properties_t *from)
{
	struct delivery *delivery = &inbound->delivery;

	if (from->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
		delivery->id = copy_text(inbound, from->message_id);
	if (from->_flags & AMQP_BASIC_CORRELATION_ID_FLAG)
		delivery->correlation_id = copy_text(inbound, from->correlation_id);
	if (from->_flags & AMQP_BASIC_REPLY_TO_FLAG)
		delivery->reply_to = copy_text(inbound, from->reply_to);
	if ((from->_flags & AMQP_BASIC_TIMESTAMP_FLAG) && from->timestamp <= INT64_MAX / 1000000)
		delivery->timestamp_us = (int64_t)from->timestamp * 1000000;
	if (inbound->redelivered)
		delivery->redeliveries = 1;
	if ((from->_flags & AMQP_BASIC_HEADERS_FLAG) && take_headers(inbound, &from->headers) < 0)
		return -1;
	/* A message that a stranger has sent on keeps our header, and has another time. */
	if (inbound->timestamp_us / 1000000 == delivery->timestamp_us / 1000000)
		delivery->timestamp_us = inbound->timestamp_us;
	return inbound->arena.exhausted ? -1 : 0;
}

static void begin(struct rabbit_inbound *inbound, enum inbound_kind kind)
{
	rabbit_inbound_reset(inbound);
	inbound->kind = kind;
	inbound->state = INBOUND_HEADER;
}

static int take_method(struct rabbit_inbound *inbound, const amqp_method_t *method)
{
	switch (method->id) {
	case AMQP_BASIC_DELIVER_METHOD: {
		const amqp_basic_deliver_t *deliver = method->decoded;

		begin(inbound, INBOUND_DELIVER);
		inbound->delivery.tag = deliver->delivery_tag;
		inbound->redelivered = deliver->redelivered;
		inbound->delivery.key = copy_text(inbound, deliver->routing_key);
		(void)snprintf(inbound->consumer, sizeof(inbound->consumer), "%.*s",
			       (int)deliver->consumer_tag.len,
			       (const char *)deliver->consumer_tag.bytes);
		return 0;
	}
	case AMQP_BASIC_GET_OK_METHOD: {
		const amqp_basic_get_ok_t *got = method->decoded;

		begin(inbound, INBOUND_GET);
		inbound->delivery.tag = got->delivery_tag;
		inbound->redelivered = got->redelivered;
		inbound->delivery.key = copy_text(inbound, got->routing_key);
		return 0;
	}
	case AMQP_BASIC_RETURN_METHOD: {
		const amqp_basic_return_t *returned = method->decoded;

		begin(inbound, INBOUND_RETURN);
		inbound->delivery.key = copy_text(inbound, returned->routing_key);
		(void)snprintf(inbound->exchange, sizeof(inbound->exchange), "%.*s",
			       (int)returned->exchange.len, (const char *)returned->exchange.bytes);
		(void)snprintf(inbound->why, sizeof(inbound->why), "%d %.*s", returned->reply_code,
			       (int)returned->reply_text.len,
			       (const char *)returned->reply_text.bytes);
		return 0;
	}
	default:
		return -1;
	}
}

/* Complete: hand out what is kept. */
static int complete(struct rabbit_inbound *inbound)
{
	static const uint8_t nothing[1];
	struct delivery *delivery = &inbound->delivery;

	inbound->state = INBOUND_IDLE;
	delivery->body = buf_bytes(&inbound->body);
	if (delivery->body.data == NULL)
		delivery->body.data = nothing;
	return 1;
}

static int take_header(struct rabbit_inbound *inbound, const amqp_frame_t *frame)
{
	if (take_properties(inbound, frame->payload.properties.decoded) < 0)
		return -1;
	inbound->delivery.size_bytes = frame->payload.properties.body_size;
	inbound->got_bytes = 0;
	inbound->state = INBOUND_BODY;
	return inbound->delivery.size_bytes == 0 ? complete(inbound) : 0;
}

static int take_body(struct rabbit_inbound *inbound, amqp_bytes_t part)
{
	size_t room = inbound->body.limit_bytes - inbound->body.len;

	if (part.len > inbound->delivery.size_bytes - inbound->got_bytes)
		return -1;
	inbound->got_bytes += part.len;
	if (inbound->kind != INBOUND_RETURN && room > 0)
		buf_add(&inbound->body, part.bytes, part.len < room ? part.len : room);
	if (inbound->body.failed)
		return -1;
	return inbound->got_bytes == inbound->delivery.size_bytes ? complete(inbound) : 0;
}

/* --- the whole -------------------------------------------------------- */

void rabbit_inbound_init(struct rabbit_inbound *inbound)
{
	*inbound = (struct rabbit_inbound){.state = INBOUND_IDLE};
	arena_init(&inbound->arena, INBOUND_ARENA_BYTES);
	buf_init(&inbound->body, LIMIT_CARRIED_BYTES + 1);
}

void rabbit_inbound_release(struct rabbit_inbound *inbound)
{
	arena_release(&inbound->arena);
	buf_release(&inbound->body);
}

void rabbit_inbound_reset(struct rabbit_inbound *inbound)
{
	arena_release(&inbound->arena);
	if (inbound->body.capacity > BODY_KEEP_BYTES)
		buf_release(&inbound->body);
	else
		buf_clear(&inbound->body);
	inbound->state = INBOUND_IDLE;
	inbound->delivery = (struct delivery){0};
	inbound->died_in = NULL;
	inbound->died_why = NULL;
	inbound->timestamp_us = 0;
	inbound->died_at_ms = 0;
}

int rabbit_inbound_feed(struct rabbit_inbound *inbound, const amqp_frame_t *frame, struct err *err)
{
	int got = -1;

	if (inbound->state == INBOUND_IDLE && frame->frame_type == AMQP_FRAME_METHOD)
		got = take_method(inbound, &frame->payload.method);
	else if (inbound->state == INBOUND_HEADER && frame->frame_type == AMQP_FRAME_HEADER)
		got = take_header(inbound, frame);
	else if (inbound->state == INBOUND_BODY && frame->frame_type == AMQP_FRAME_BODY)
		got = take_body(inbound, frame->payload.body_fragment);
	if (got < 0)
		return err_set(err, ERR_PEER,
			       "the broker sent a frame that does not belong here (type %d), or "
			       "there was no memory for it",
			       frame->frame_type);
	return got;
}
