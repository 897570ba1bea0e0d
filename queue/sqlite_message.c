/*
 * sqlite_message.c - a message as rows: which queues it goes to, what of it is
 * kept, and how it comes back as a delivery.
 *
 *	job	one row in its job queue
 *	retry	one in its wait bucket, with the time and the job queue it moves to
 *	dead	one in the dead letters
 *	result	one in the results, which expires, and one for each who waits for it
 *	reply	one in the queue it names, if somebody has made that queue
 *	event	one for each who listens, as long as he takes them
 *	control	one that nobody takes and every worker reads, until it expires
 *
 * A queue is nothing but its name in a row; queues of one's own are rows of
 * `subscriptions` and go with them.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "queue/headers.h"
#include "queue/sqlite_private.h"
#include "schema/limits.h"

enum { SHORT_TEXT_BYTES = 255 };

/* --- patterns --------------------------------------------------------- */

/* '*' is one word, '#' any number of them; words are separated by dots. */
bool lite_topic_matches(const char *pattern, const char *key)
{
	size_t len = strcspn(pattern, ".");
	size_t word = strcspn(key, ".");

	if (len == 1 && *pattern == '#') {
		if (pattern[1] == '\0')
			return true;
		for (;; key += word + 1) {
			if (lite_topic_matches(pattern + 2, key))
				return true;
			word = strcspn(key, ".");
			if (key[word] == '\0')
				return false;
		}
	}
	if (!(len == 1 && *pattern == '*') && (len != word || memcmp(pattern, key, len) != 0))
		return false;
	if (pattern[len] == '\0' || key[word] == '\0')
		return (pattern[len] == '\0' && key[word] == '\0') ||
		       strcmp(pattern + len, ".#") == 0;
	return lite_topic_matches(pattern + len + 1, key + word + 1);
}

/* --- checking and copying --------------------------------------------- */

static int check_short(const char *text, const char *what, struct err *err)
{
	if (text == NULL || strlen(text) <= SHORT_TEXT_BYTES)
		return 0;
	return err_set(err, ERR_INPUT, "the %s has more than 255 bytes", what);
}

int lite_check(const char *prefix, enum route route, const struct message *message, struct err *err)
{
	size_t limit = route == ROUTE_DEAD ? LIMIT_CARRIED_BYTES : LIMIT_MESSAGE_BYTES;
	bool keyed = route == ROUTE_RESULT || route == ROUTE_EVENT;

	if (message->body.len > limit)
		return err_set(err, ERR_INPUT, "the message has %zu bytes; %u are allowed",
			       message->body.len, LIMIT_MESSAGE_BYTES);
	if (keyed && (message->key == NULL || strlen(message->key) > SHORT_TEXT_BYTES))
		return err_set(err, ERR_INPUT, "a routing key has 1 to 255 bytes");
	if (route == ROUTE_REPLY &&
	    (message->reply_to == NULL || !carrier_reply_to_valid(prefix, message->reply_to)))
		return err_set(err, ERR_INPUT,
			       "a reply may not go to '%.128s'; name a queue under '%s.reply.'",
			       message->reply_to == NULL ? "" : message->reply_to, prefix);
	if (check_short(message->id, "message id", err) < 0 ||
	    check_short(message->correlation_id, "correlation id", err) < 0 ||
	    check_short(message->reply_to, "reply_to", err) < 0)
		return -1;
	return 0;
}

static const char *copy(struct arena *arena, const char *text)
{
	return text == NULL ? NULL : arena_strdup(arena, text);
}

int lite_copy(struct arena *arena, const struct message *message, struct message *ret,
	      struct err *err)
{
	struct message to = *message;
	size_t len = message->headers.len;

	to.id = copy(arena, message->id);
	to.correlation_id = copy(arena, message->correlation_id);
	to.key = copy(arena, message->key);
	to.reply_to = copy(arena, message->reply_to);
	to.death.reason = copy(arena, message->death.reason);
	to.death.error = copy(arena, message->death.error);
	to.death.worker = copy(arena, message->death.worker);
	to.death.queue = copy(arena, message->death.queue);
	to.headers.items = arena_array(arena, len + 1, sizeof(*to.headers.items));
	for (size_t i = 0; to.headers.items != NULL && i < len; i++)
		to.headers.items[i] = (struct pair){copy(arena, message->headers.items[i].key),
						    copy(arena, message->headers.items[i].value)};
	to.body.data = (const uint8_t *)arena_memdup(arena, message->body.data, message->body.len);
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory for a message");
	*ret = to;
	return 0;
}

/* --- one row ---------------------------------------------------------- */

struct place {
	const char *queue;
	const char *target; /* where it moves when it is due, or NULL */
	const char *key;
	int64_t due_ms;
	int64_t expires_ms;
};

static void bind_time(sqlite3_stmt *statement, int at, int64_t ms)
{
	if (ms != 0)
		(void)sqlite3_bind_int64(statement, at, ms);
}

static void bind_message(sqlite3_stmt *statement, const struct place *place, enum route route,
			 const struct message *message)
{
	const bool retried = route == ROUTE_RETRY || route == ROUTE_DEAD;
	const bool died = retried && message->death.reason != NULL;
	const bool answer = route == ROUTE_REPLY || route == ROUTE_RESULT || route == ROUTE_EVENT;
	const struct message_death *death = &message->death;
	int64_t now_us = clock_wall_us();

	lite_bind_text(statement, 1, place->queue);
	lite_bind_text(statement, 2, place->target);
	bind_time(statement, 3, place->due_ms);
	bind_time(statement, 4, place->expires_ms);
	lite_bind_text(statement, 5, place->key);
	lite_bind_text(statement, 6, message->id);
	lite_bind_text(statement, 7, message->correlation_id);
	/* Where to answer is of no use to those who read an answer. */
	lite_bind_text(statement, 8, answer ? NULL : message->reply_to);
	(void)sqlite3_bind_int64(statement, 9,
				 message->timestamp_us > 0 ? message->timestamp_us : now_us);
	(void)sqlite3_bind_int64(statement, 10, retried ? message->attempts : 0);
	lite_bind_text(statement, 11, died ? death->reason : NULL);
	lite_bind_text(statement, 12, died ? death->error : NULL);
	lite_bind_text(statement, 13, died ? death->worker : NULL);
	lite_bind_text(statement, 14, died ? death->queue : NULL);
	(void)sqlite3_bind_int64(statement, 15, died ? death->first_at_ms : 0);
	(void)sqlite3_bind_int64(statement, 16, died ? death->last_at_ms : 0);
}

static int put_row(struct lite *lite, const struct place *place, enum route route,
		   const struct message *message, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_PUT);
	CLEANUP(buf_release) struct buf headers = {0};

	buf_init(&headers, HEADERS_BYTES);
	headers_pack(&message->headers, &headers);
	bind_message(statement, place, route, message);
	(void)sqlite3_bind_blob(statement, 17, buf_text(&headers), (int)headers.len, SQLITE_STATIC);
	if (lite_run(lite, statement, "write to", err) < 0)
		return -1;
	(void)sqlite3_clear_bindings(statement);
	statement = lite_statement(lite, LITE_PUT_BODY);
	(void)sqlite3_bind_int64(statement, 1, sqlite3_last_insert_rowid(lite->db));
	(void)sqlite3_bind_blob(statement, 2,
				message->body.len == 0 ? (const void *)"" : message->body.data,
				(int)message->body.len, SQLITE_STATIC);
	return lite_run(lite, statement, "write to", err);
}

/* --- to each who asked ------------------------------------------------ */

static int has_room(struct lite *lite, const char *queue, bool *ret, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_BACKLOG);
	int64_t backlog;

	lite_bind_text(statement, 1, queue);
	(void)sqlite3_bind_int64(statement, 2, LITE_EVENTS_MAX);
	if (lite_number(lite, statement, "read", 0, &backlog, err) < 0)
		return -1;
	*ret = backlog < LITE_EVENTS_MAX;
	return 0;
}

static int put_to_one(struct lite *lite, const char *queue, enum route route,
		      const struct message *message, struct err *err)
{
	struct place place = {.queue = queue, .key = message->key};
	bool room = true;

	if (route == ROUTE_EVENT && has_room(lite, queue, &room, err) < 0)
		return -1;
	return room ? put_row(lite, &place, route, message, err) : 0;
}

static sqlite3_stmt *subscribers(struct lite *lite, const char *prefix, enum route route)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_SUBSCRIBERS);

	lite_bind_text(statement, 1, prefix);
	(void)sqlite3_bind_int64(statement, 2,
				 route == ROUTE_EVENT ? SOURCE_EVENTS : SOURCE_RESULTS);
	return statement;
}

static int put_to_subscribers(struct lite *lite, const char *prefix, enum route route,
			      const struct message *message, struct err *err)
{
	sqlite3_stmt *statement = subscribers(lite, prefix, route);
	int got;

	while ((got = lite_step(lite, statement, "read", err)) == 1) {
		const char *queue = (const char *)sqlite3_column_text(statement, 0);
		const char *pattern = (const char *)sqlite3_column_text(statement, 1);

		if (queue == NULL || pattern == NULL || !lite_topic_matches(pattern, message->key))
			continue;
		if (put_to_one(lite, queue, route, message, err) < 0) {
			(void)sqlite3_reset(statement);
			return -1;
		}
	}
	return got;
}

int lite_has_listeners(struct lite *lite, const char *prefix, bool *ret, struct err *err)
{
	sqlite3_stmt *statement = subscribers(lite, prefix, ROUTE_EVENT);
	int got = lite_step(lite, statement, "read", err);

	(void)sqlite3_reset(statement);
	*ret = got == 1;
	return got < 0 ? -1 : 0;
}

static int put_reply(struct lite *lite, const struct message *message, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_SUBSCRIBED);
	struct place place = {.queue = message->reply_to, .key = message->reply_to};
	int64_t known;

	lite_bind_text(statement, 1, message->reply_to);
	if (lite_number(lite, statement, "read", 0, &known, err) < 0)
		return -1;
	return known == 0 ? 0 : put_row(lite, &place, ROUTE_REPLY, message, err);
}

/* --- the whole -------------------------------------------------------- */

int lite_put(struct lite *lite, const char *prefix, enum route route, const struct message *message,
	     struct err *err)
{
	const char *suffix = topology_job_suffix(message->priority);
	int64_t now_ms = clock_wall_us() / 1000;
	char queue[TOPOLOGY_NAME_BYTES];
	char target[TOPOLOGY_NAME_BYTES];
	struct place place = {.queue = queue, .key = suffix};

	switch (route) {
	case ROUTE_JOB:
		topology_name(prefix, suffix, queue);
		break;
	case ROUTE_RETRY:
		topology_name(prefix, topology_wait_suffix(message->bucket), queue);
		topology_name(prefix, suffix, target);
		place.target = target;
		place.due_ms = now_ms + wait_bucket_ms(message->bucket);
		break;
	case ROUTE_DEAD:
		topology_name(prefix, "dead", queue);
		break;
	case ROUTE_RESULT:
		topology_name(prefix, "results", queue);
		place.key = message->key;
		place.expires_ms = now_ms + TOPOLOGY_RESULTS_TTL_MS;
		if (put_to_subscribers(lite, prefix, route, message, err) < 0)
			return -1;
		break;
	case ROUTE_CONTROL:
		topology_name(prefix, "control", queue);
		place.key = NULL;
		place.expires_ms = now_ms + TOPOLOGY_CONTROL_TTL_MS;
		break;
	case ROUTE_REPLY:
		return put_reply(lite, message, err);
	case ROUTE_EVENT:
	case ROUTE_COUNT:
		return put_to_subscribers(lite, prefix, route, message, err);
	}
	return put_row(lite, &place, route, message, err);
}

/* --- back ------------------------------------------------------------- */

/* What is not UTF-8 or holds a NUL counts as absent, as it does from a broker. */
static const char *text_at(sqlite3_stmt *statement, int at, struct arena *arena)
{
	const char *text = (const char *)sqlite3_column_text(statement, at);
	size_t len = (size_t)sqlite3_column_bytes(statement, at);

	return text == NULL || strlen(text) != len ? NULL : arena_strdup(arena, text);
}

static void read_row(sqlite3_stmt *statement, struct arena *arena, struct delivery *ret)
{
	const void *body = sqlite3_column_blob(statement, 15);
	size_t size = (size_t)sqlite3_column_bytes(statement, 15);
	size_t kept = size > LIMIT_CARRIED_BYTES ? LIMIT_CARRIED_BYTES + 1 : size;

	*ret = (struct delivery){
		.size_bytes = size,
		.queue = text_at(statement, 0, arena),
		.key = text_at(statement, 1, arena),
		.id = text_at(statement, 2, arena),
		.correlation_id = text_at(statement, 3, arena),
		.reply_to = text_at(statement, 4, arena),
		.timestamp_us = sqlite3_column_int64(statement, 5),
		.attempts = sqlite3_column_int64(statement, 6),
		.redeliveries = sqlite3_column_int64(statement, 7),
		.death = {.reason = text_at(statement, 8, arena),
			  .error = text_at(statement, 9, arena),
			  .worker = text_at(statement, 10, arena),
			  .attempts = sqlite3_column_int64(statement, 6),
			  .queue = text_at(statement, 11, arena),
			  .first_at_ms = sqlite3_column_int64(statement, 12),
			  .last_at_ms = sqlite3_column_int64(statement, 13)},
	};
	ret->priority = topology_job_priority(ret->key);
	ret->body = (struct bytes){
		(const uint8_t *)arena_memdup(arena, body == NULL ? "" : body, kept), kept};
	headers_unpack(arena, sqlite3_column_blob(statement, 14),
		       (size_t)sqlite3_column_bytes(statement, 14), &ret->headers);
}

int lite_read(struct lite *lite, int64_t seq, struct arena *arena, struct delivery *ret,
	      struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_READ);
	int got;

	(void)sqlite3_bind_int64(statement, 1, seq);
	got = lite_step(lite, statement, "read", err);
	if (got == 1)
		read_row(statement, arena, ret);
	(void)sqlite3_reset(statement);
	if (got == 1 && arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory for a delivery");
	return got;
}
