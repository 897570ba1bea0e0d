/*
 * amqp_outbound.c - a message as the broker takes it: exchange, routing key,
 * properties, headers. Headers are always made anew, and amqp_inbound.c leaves
 * out what the broker has noted on an earlier journey (x-death and the like),
 * so it cannot travel on: older brokers would take it for their own and drop
 * the message.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "queue/amqp_private.h"

enum {
	SHORT_TEXT_BYTES = 255,
	/* All headers have to fit into one frame with room to spare. */
	HEADERS_BYTES = RABBIT_FRAME_BYTES / 2,
	HEADER_TEXT_BYTES = 4096,
};

/* --- where to --------------------------------------------------------- */

struct route_rule {
	const char *type; /* the property, for people who look into queues */
	bool mandatory;
	bool persistent;
};

static const struct route_rule rules[ROUTE_COUNT] = {
	[ROUTE_JOB] = {"job", true, true},	   [ROUTE_RETRY] = {"job", true, true},
	[ROUTE_DEAD] = {"job", true, true},	   [ROUTE_RESULT] = {"result", true, true},
	[ROUTE_REPLY] = {"result", false, false},  [ROUTE_EVENT] = {"event", false, false},
	[ROUTE_CONTROL] = {"control", true, true},
};

static int choose_target(struct rabbit_outbound *outbound, const char *prefix, enum route route,
			 const struct message *message, struct err *err)
{
	const char *suffix = "";

	outbound->key = message->key;
	switch (route) {
	case ROUTE_JOB:
		outbound->key = topology_job_suffix(message->priority);
		break;
	case ROUTE_RETRY:
		suffix = topology_wait_suffix(message->bucket);
		outbound->key = topology_job_suffix(message->priority);
		break;
	case ROUTE_DEAD:
		suffix = "dead";
		outbound->key = topology_job_suffix(message->priority);
		break;
	case ROUTE_RESULT:
		suffix = "results";
		break;
	case ROUTE_EVENT:
		suffix = "events";
		break;
	case ROUTE_CONTROL:
		suffix = "control";
		outbound->key = "";
		break;
	case ROUTE_REPLY:
		outbound->key = message->reply_to;
		if (outbound->key == NULL || !carrier_reply_to_valid(prefix, outbound->key))
			return err_set(err, ERR_INPUT,
				       "a reply may not go to '%.128s'; name a queue under "
				       "'%s.reply.'",
				       outbound->key == NULL ? "" : outbound->key, prefix);
		break;
	case ROUTE_COUNT:
		break;
	}
	if (outbound->key == NULL || strlen(outbound->key) > SHORT_TEXT_BYTES)
		return err_set(err, ERR_INPUT, "a routing key has at most 255 bytes");
	topology_name(prefix, suffix, outbound->exchange);
	if (route == ROUTE_REPLY)
		outbound->exchange[0] = '\0';
	return 0;
}

/* --- headers ---------------------------------------------------------- */

static void add(struct rabbit_outbound *outbound, const char *key, amqp_field_value_t value)
{
	amqp_table_t *table = &outbound->properties.headers;

	outbound->headers[table->num_entries++] = (amqp_table_entry_t){
		.key = amqp_cstring_bytes(key),
		.value = value,
	};
}

static void add_text(struct rabbit_outbound *outbound, const char *key, const char *text)
{
	amqp_bytes_t bytes;

	if (text == NULL)
		return;
	bytes = amqp_cstring_bytes(text);
	if (bytes.len > HEADER_TEXT_BYTES) {
		bytes.len = HEADER_TEXT_BYTES;
		/* Not in the middle of a character. */
		while (bytes.len > 0 && ((uint8_t)text[bytes.len] & 0xc0) == 0x80)
			bytes.len--;
	}
	add(outbound, key,
	    (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = bytes});
}

static void add_number(struct rabbit_outbound *outbound, const char *key, int64_t number)
{
	add(outbound, key, (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value.i64 = number});
}

static void add_death(struct rabbit_outbound *outbound, const struct message *message)
{
	const struct message_death *death = &message->death;

	add_number(outbound, "x-sbx-attempts", message->attempts);
	if (death->reason == NULL)
		return;
	add_text(outbound, "x-sbx-reason", death->reason);
	add_text(outbound, "x-sbx-error", death->error);
	add_text(outbound, "x-sbx-worker", death->worker);
	add_text(outbound, "x-sbx-queue", death->queue);
	add_number(outbound, "x-sbx-first-at", death->first_at_ms);
	add_number(outbound, "x-sbx-last-at", death->last_at_ms);
}

#define OWN_HEADERS 8u

/* A header handed on that has no room is left out: it came from a stranger. */
static void add_others(struct rabbit_outbound *outbound, const struct pair_list *headers)
{
	size_t used = 0;

	for (size_t i = 0; i < headers->len; i++) {
		const struct pair *pair = &headers->items[i];
		size_t bytes = strlen(pair->key) + strlen(pair->value) + 8;

		if (outbound->properties.headers.num_entries == OUTBOUND_HEADERS_MAX)
			return;
		if (strlen(pair->key) > 128 || bytes > HEADERS_BYTES - used)
			continue;
		used += bytes;
		add_text(outbound, pair->key, pair->value);
	}
}

static_assert(OWN_HEADERS < (unsigned)OUTBOUND_HEADERS_MAX, "our own headers always have room");
static_assert(OWN_HEADERS * (unsigned)HEADER_TEXT_BYTES + (unsigned)HEADERS_BYTES <
		      (unsigned)RABBIT_FRAME_BYTES,
	      "all headers together fit into one frame");

/* --- properties ------------------------------------------------------- */

static int set_short(amqp_bytes_t *field, amqp_flags_t flag, amqp_flags_t *flags, const char *text,
		     const char *what, struct err *err)
{
	if (text == NULL)
		return 0;
	if (strlen(text) > SHORT_TEXT_BYTES)
		return err_set(err, ERR_INPUT, "the %s has more than 255 bytes", what);
	*field = amqp_cstring_bytes(text);
	*flags |= flag;
	return 0;
}

static int set_properties(struct rabbit_outbound *outbound, enum route route,
			  const struct message *message, struct err *err)
{
	amqp_basic_properties_t *to = &outbound->properties;
	amqp_flags_t flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
			     AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG;
	int64_t sent_us = message->timestamp_us > 0 ? message->timestamp_us : clock_wall_us();

	to->content_type = amqp_cstring_bytes("application/msgpack");
	to->type = amqp_cstring_bytes(rules[route].type);
	to->delivery_mode =
		rules[route].persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
	to->timestamp = (uint64_t)(sent_us / 1000000);
	if (set_short(&to->message_id, AMQP_BASIC_MESSAGE_ID_FLAG, &flags, message->id,
		      "message id", err) < 0 ||
	    set_short(&to->correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG, &flags,
		      message->correlation_id, "correlation id", err) < 0)
		return -1;
	/* Where to answer is of no use to those who read an answer. */
	if (route != ROUTE_REPLY && route != ROUTE_RESULT && route != ROUTE_EVENT &&
	    set_short(&to->reply_to, AMQP_BASIC_REPLY_TO_FLAG, &flags, message->reply_to,
		      "reply_to", err) < 0)
		return -1;
	to->headers = (amqp_table_t){0, outbound->headers};
	if (route == ROUTE_JOB || route == ROUTE_RETRY || route == ROUTE_DEAD)
		add_number(outbound, "x-sbx-timestamp-us", sent_us);
	if (route == ROUTE_RETRY || route == ROUTE_DEAD)
		add_death(outbound, message);
	add_others(outbound, &message->headers);
	if (to->headers.num_entries > 0)
		flags |= AMQP_BASIC_HEADERS_FLAG;
	to->_flags = flags;
	return 0;
}

/* --- the whole -------------------------------------------------------- */

int rabbit_outbound_make(struct rabbit_outbound *outbound, const char *prefix, enum route route,
			 const struct message *message, struct err *err)
{
	size_t limit = route == ROUTE_DEAD ? LIMIT_CARRIED_BYTES : LIMIT_MESSAGE_BYTES;

	assert((size_t)route < ROUTE_COUNT);
	outbound->properties = (amqp_basic_properties_t){0};
	outbound->mandatory = rules[route].mandatory;
	outbound->body = message->body;
	if (message->body.len > limit)
		return err_set(err, ERR_INPUT, "the message has %zu bytes; %u are allowed",
			       message->body.len, LIMIT_MESSAGE_BYTES);
	if (choose_target(outbound, prefix, route, message, err) < 0)
		return -1;
	return set_properties(outbound, route, message, err);
}

static uint64_t mix(uint64_t hash, const char *text)
{
	for (; text != NULL && *text != '\0'; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3; /* FNV-1a */
	return (hash ^ 0xff) * 0x100000001b3;
}

uint64_t rabbit_fingerprint(const char *exchange, const char *key, const char *id)
{
	return mix(mix(mix(0xcbf29ce484222325, exchange), key), id);
}
