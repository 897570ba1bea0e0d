/*
 * letter.c - reading, showing and renewing one dead letter. Everything in it
 * was written by somebody else: texts are made harmless before they are shown,
 * numbers are bounded before they are used.
 */
#include "producer/letter.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/terminal.h"
#include "producer/cli.h"
#include "schema/limits.h"

enum { SHOWN_BYTES = 256, ROW_ID = 36, ROW_REASON = 22, ROW_ERROR_BYTES = 80 };

/* --- reading ---------------------------------------------------------- */

static int64_t int_of(const struct value *map, const char *key, int64_t fallback)
{
	const struct value *value = value_get(map, key);

	return value != NULL && value->kind == VALUE_INT ? value->integer : fallback;
}

/* A message id is any text: it is made one that can be shown and typed. */
static const char *id_of_header(struct arena *arena, const char *text)
{
	CLEANUP(buf_release) struct buf harmless = {0};
	const char *copy;

	buf_init(&harmless, 4096);
	terminal_add_text(&harmless, text);
	copy = arena_strdup(arena, buf_text(&harmless));
	return copy == NULL || *copy == '\0' ? "?" : copy;
}

void letter_read(struct arena *arena, const struct delivery *delivery, struct letter *ret)
{
	struct bytes body = delivery->body;
	struct err err = {0};

	*ret = (struct letter){.delivery = delivery};
	if (delivery->size_bytes > body.len) {
		ret->problem =
			arena_printf(arena, "the message has %" PRIu64 " bytes, the maximum is %u",
				     delivery->size_bytes, LIMIT_MESSAGE_BYTES);
	} else if (value_unpack(arena, body.data, body.len, &ret->tree, &err) < 0) {
		ret->tree = NULL;
		ret->problem = arena_strdup(arena, err.message);
	} else if (ret->tree->kind != VALUE_MAP) {
		ret->problem = arena_printf(arena, "expected a map, found %s",
					    value_kind_name(ret->tree->kind));
		ret->tree = NULL;
	}
	job_salvage(arena, body.data, body.len, &ret->id, &ret->tenant);
	if (ret->id == NULL)
		ret->id = id_of_header(arena, delivery->id);
	if (ret->tree != NULL) {
		ret->run = int_of(ret->tree, "run", 1);
		if (ret->tenant == NULL && value_get(ret->tree, "tenant") == NULL)
			ret->tenant = "default";
	}
}

static const char *reason_of(const struct letter *letter)
{
	const char *reason = letter->delivery->death.reason;

	return reason != NULL ? reason : "-";
}

/* --- as a tree -------------------------------------------------------- */

static void put_text(struct arena *arena, struct value *map, const char *key, const char *text)
{
	CLEANUP(buf_release) struct buf harmless = {0};
	const char *copy;

	if (text == NULL)
		return;
	/* Headers need not be UTF-8, trees must be. */
	buf_init(&harmless, LIMIT_MESSAGE_BYTES);
	terminal_add(&harmless, text, strlen(text), true);
	copy = arena_strdup(arena, buf_text(&harmless));
	if (copy != NULL)
		value_put(arena, map, key, value_str(arena, copy));
}

static void put_int(struct arena *arena, struct value *map, const char *key, int64_t number)
{
	if (number > 0)
		value_put(arena, map, key, value_int(arena, number));
}

struct value *letter_to_value(struct arena *arena, const struct letter *letter, bool whole)
{
	const struct message_death *death = &letter->delivery->death;
	struct value *map = value_map(arena);

	if (map == NULL)
		return NULL;
	put_text(arena, map, "id", letter->id);
	put_int(arena, map, "run", letter->run);
	put_text(arena, map, "tenant", letter->tenant);
	put_text(arena, map, "reason", death->reason);
	put_text(arena, map, "error", death->error);
	put_text(arena, map, "worker", death->worker);
	put_int(arena, map, "attempts", death->attempts);
	put_int(arena, map, "first_at_ms", death->first_at_ms);
	put_int(arena, map, "last_at_ms", death->last_at_ms);
	put_text(arena, map, "queue", death->queue);
	put_int(arena, map, "enqueued_at_us", letter->delivery->timestamp_us);
	put_int(arena, map, "size_bytes", (int64_t)letter->delivery->size_bytes);
	value_put(arena, map, "decodable", value_bool(arena, letter->tree != NULL));
	put_text(arena, map, "problem", letter->problem);
	if (whole && letter->tree != NULL)
		value_put(arena, map, "job", letter->tree);
	else if (whole)
		value_put(arena, map, "body", value_bin(arena, letter->delivery->body));
	return arena->exhausted ? NULL : map;
}

/* --- for a person ----------------------------------------------------- */

/* At least `width` columns, then a blank. Letters beyond ASCII are rare here
 * and cost only the alignment. */
static void add_cell(struct buf *out, const char *text, size_t width)
{
	size_t before = out->len;
	size_t used;

	terminal_add_text(out, text);
	used = out->len - before;
	buf_printf(out, "%*s ", (int)(used < width ? width - used : 0), "");
}

void letter_print_head(struct buf *out)
{
	buf_printf(out, "%-*s %3s %-*s %8s %-20s %s\n", ROW_ID, "ID", "RUN", ROW_REASON, "REASON",
		   "ATTEMPTS", "LAST", "ERROR");
}

void letter_print_row(const struct letter *letter, struct buf *out)
{
	const struct message_death *death = &letter->delivery->death;
	const char *error = letter->problem != NULL ? letter->problem : death->error;
	char last[CLI_TIME_BYTES];

	cli_time(death->last_at_ms, last);
	add_cell(out, letter->id, ROW_ID);
	if (letter->run > 0)
		buf_printf(out, "%3" PRId64 " ", letter->run);
	else
		buf_printf(out, "%3s ", "-");
	add_cell(out, reason_of(letter), ROW_REASON);
	buf_printf(out, "%8" PRId64 " %-20s ", death->attempts, last);
	if (letter->problem != NULL)
		buf_add_text(out, "not decodable: ");
	if (error != NULL)
		terminal_add(out, error, strnlen(error, ROW_ERROR_BYTES), false);
	buf_add_byte(out, '\n');
}

static void add_line(struct buf *out, const char *name, const char *text)
{
	if (text == NULL)
		return;
	buf_printf(out, "  %-10s ", name);
	terminal_add_text(out, text);
	buf_add_byte(out, '\n');
}

static void add_body(const struct letter *letter, struct buf *out)
{
	struct bytes body = letter->delivery->body;
	size_t shown = body.len < SHOWN_BYTES ? body.len : SHOWN_BYTES;

	buf_printf(out, "  %-10s %" PRIu64 " bytes, the first %zu:\n", "body",
		   letter->delivery->size_bytes, shown);
	for (size_t at = 0; at < shown; at += 16) {
		buf_printf(out, "    %04zx ", at);
		for (size_t i = at; i < at + 16; i++) {
			if (i < shown)
				buf_printf(out, " %02x", body.data[i]);
			else
				buf_add_text(out, "   ");
		}
		buf_add_text(out, "  ");
		for (size_t i = at; i < at + 16 && i < shown; i++)
			buf_add_byte(out, body.data[i] >= 0x20 && body.data[i] < 0x7f ? body.data[i]
										      : '.');
		buf_add_byte(out, '\n');
	}
}

/* When it was first sent, and what it is a replay of. */
static void add_origin(const struct letter *letter, struct buf *out)
{
	const struct value *from =
		letter->tree == NULL ? NULL : value_get(letter->tree, "replayed_from");
	int64_t sent_ms = letter->delivery->timestamp_us / 1000;
	char sent[CLI_TIME_BYTES];

	if (sent_ms > 0 && sent_ms <= LIMIT_DEADLINE_MS) {
		cli_time(sent_ms, sent);
		add_line(out, "sent", sent);
	}
	if (from == NULL || from->kind != VALUE_STR)
		return;
	buf_printf(out, "  %-10s ", "replay of");
	terminal_add(out, (const char *)from->bytes.data, from->bytes.len, false);
	buf_add_byte(out, '\n');
}

void letter_print(const struct letter *letter, struct buf *out)
{
	const struct message_death *death = &letter->delivery->death;
	char text[64];
	char first[CLI_TIME_BYTES];
	char last[CLI_TIME_BYTES];

	cli_time(death->first_at_ms, first);
	cli_time(death->last_at_ms, last);
	terminal_add_text(out, letter->id);
	if (letter->run > 0)
		buf_printf(out, "  run %" PRId64, letter->run);
	buf_add_byte(out, '\n');
	add_line(out, "tenant", letter->tenant);
	add_line(out, "reason", reason_of(letter));
	add_line(out, "error", death->error);
	add_line(out, "worker", death->worker);
	(void)snprintf(text, sizeof(text), "%" PRId64, death->attempts);
	add_line(out, "attempts", text);
	(void)snprintf(text, sizeof(text), "%s to %s", first, last);
	add_line(out, "failed", text);
	add_line(out, "queue", death->queue);
	add_origin(letter, out);
	if (letter->tree == NULL) {
		add_line(out, "problem", letter->problem);
		add_body(letter, out);
		return;
	}
	buf_add_text(out, "  job\n");
	value_to_json(letter->tree, 2, out);
	buf_add_byte(out, '\n');
}

/* --- renewing --------------------------------------------------------- */

static int renew(struct arena *arena, const struct letter *letter, struct err *err)
{
	const char *from = arena_printf(arena, "%s.%" PRId64, letter->id, letter->run);

	if (from != NULL)
		value_put(arena, letter->tree, "replayed_from", value_str(arena, from));
	value_put(arena, letter->tree, "run", value_int(arena, letter->run + 1));
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory for the replay of '%s'", letter->id);
	return 0;
}

int letter_replay(struct arena *arena, const struct letter *letter, int64_t now_ms,
		  struct buf *ret_message, struct job *ret_job, struct reason *ret_reason,
		  struct err *err)
{
	int rc;

	if (letter->tree == NULL)
		return reason_set(ret_reason, REASON_JOB_MALFORMED, NULL, "%s", letter->problem);
	/* First as it is: the run it names must be one that can be counted up. */
	rc = job_from_value(arena, letter->tree, ret_job, ret_reason, err);
	if (rc != 0)
		return rc;
	if (renew(arena, letter, err) < 0)
		return -1;
	rc = job_from_value(arena, letter->tree, ret_job, ret_reason, err);
	if (rc != 0)
		return rc;
	if (ret_job->deadline_ms != 0 && ret_job->deadline_ms <= now_ms) {
		char deadline[CLI_TIME_BYTES];

		cli_time(ret_job->deadline_ms, deadline);
		return reason_set(ret_reason, REASON_JOB_EXPIRED, "deadline_ms",
				  "its deadline passed at %s, it would not be run", deadline);
	}
	value_pack(letter->tree, ret_message);
	if (ret_message->failed)
		return err_set(err, ERR_LIMIT, "out of memory for the replay of '%s'", letter->id);
	if (ret_message->len > LIMIT_MESSAGE_BYTES)
		return reason_set(ret_reason, REASON_JOB_TOO_LARGE, NULL,
				  "the message would have %zu bytes, the maximum is %u",
				  ret_message->len, LIMIT_MESSAGE_BYTES);
	return 0;
}
