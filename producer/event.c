/*
 * event.c - decoding reads the tree field by field and forgives what is
 * missing but the kind and the id. The transcript holds at most one unfinished
 * line a stream, of one step: another step's output ends the lines of the one
 * before. A line longer than the bound is shown in parts.
 */
#include "producer/event.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/terminal.h"
#include "schema/limits.h"
#include "schema/value.h"

/* --- decoding --------------------------------------------------------- */

static int64_t int_or(const struct value *map, const char *key, int64_t fallback)
{
	const struct value *value = value_get(map, key);

	return value != NULL && value->kind == VALUE_INT ? value->integer : fallback;
}

static const char *text_or(struct arena *arena, const struct value *map, const char *key,
			   const char *fallback)
{
	const char *text = value_text(arena, value_get(map, key));

	return text != NULL ? text : fallback;
}

static int read_output(struct arena *arena, const struct value *map, struct event *event,
		       struct err *err)
{
	const struct value *data = value_get(map, "data");

	if (data == NULL || (data->kind != VALUE_BIN && data->kind != VALUE_STR))
		return err_set(err, ERR_INPUT, "an output event without data");
	event->kind = EVENT_OUTPUT;
	event->data = data->bytes;
	event->step = text_or(arena, map, "step", "");
	event->is_stderr = strcmp(text_or(arena, map, "stream", ""), "stderr") == 0;
	return 0;
}

static void read_sample(struct arena *arena, const struct value *map, struct event *event)
{
	event->kind = EVENT_SAMPLE;
	event->step = text_or(arena, map, "step", "");
	event->wall_us = int_or(map, "wall_us", 0);
	event->cpu_us = int_or(map, "cpu_us", -1);
	event->memory_bytes = int_or(map, "memory_bytes", -1);
}

int event_decode(struct arena *arena, const void *data, size_t len, struct event *ret,
		 struct err *err)
{
	struct event event = {0};
	struct value *map;
	const char *kind;

	if (value_unpack(arena, data, len, &map, err) < 0)
		return -1;
	event.id = text_or(arena, map, "id", NULL);
	event.run = int_or(map, "run", 1);
	event.at_us = int_or(map, "at_us", 0);
	if (event.at_us < 0 || event.at_us / 1000 > LIMIT_DEADLINE_MS)
		event.at_us = 0;
	kind = text_or(arena, map, "kind", "");
	if (event.id == NULL)
		return err_set(err, ERR_INPUT, "an event without id");
	if (strcmp(kind, "output") == 0) {
		if (read_output(arena, map, &event, err) < 0)
			return -1;
	} else if (strcmp(kind, "state") == 0) {
		event.kind = EVENT_STATE;
		event.state = text_or(arena, map, "state", NULL);
		if (event.state == NULL)
			return err_set(err, ERR_INPUT, "a state event without state");
	} else if (strcmp(kind, "sample") == 0) {
		read_sample(arena, map, &event);
	} else {
		return err_set(err, ERR_INPUT, "an event of unknown kind '%.32s'", kind);
	}
	*ret = event;
	return 0;
}

/* --- transcript ------------------------------------------------------- */

void transcript_init(struct transcript *transcript, bool color)
{
	*transcript = (struct transcript){.color = color};
	for (size_t i = 0; i < ARRAY_LEN(transcript->lines); i++)
		buf_init(&transcript->lines[i], TRANSCRIPT_LINE_BYTES);
}

void transcript_release(struct transcript *transcript)
{
	for (size_t i = 0; i < ARRAY_LEN(transcript->lines); i++)
		buf_release(&transcript->lines[i]);
}

static const char *shade(const struct transcript *transcript, const char *escape)
{
	return transcript->color ? escape : "";
}

/* A state's event comes when the state is left; the meaning says what has been
 * done by then. "" for a state that this version does not know. */
static const char *meaning_of(const char *state)
{
	static const struct {
		const char *name;
		const char *meaning;
	} states[] = {
#define STATE(name, meaning) {#name, meaning},
#include "schema/state.def"
#undef STATE
	};

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (strcmp(states[i].name, state) == 0)
			return states[i].meaning;
	}
	return "";
}

static void end_line(struct transcript *transcript, bool is_stderr, struct buf *out)
{
	struct buf *line = &transcript->lines[is_stderr];
	size_t len = line->len;

	if (len > 0 && line->data[len - 1] == '\r')
		len--;
	buf_add_text(out, shade(transcript, "\033[2m"));
	terminal_add_text(out, transcript->step);
	buf_add_text(out, transcript->step[0] == '\0' ? "" : " ");
	buf_printf(out, "%c%s ", is_stderr ? '!' : '|', shade(transcript, "\033[0m"));
	terminal_add(out, line->data, len, false);
	buf_add_byte(out, '\n');
	buf_clear(line);
}

void transcript_finish(struct transcript *transcript, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(transcript->lines); i++) {
		if (transcript->lines[i].len > 0)
			end_line(transcript, i == 1, out);
	}
}

/* The time of day is enough for what is watched live. */
static void add_time(const struct transcript *transcript, const struct event *event,
		     struct buf *out)
{
	char when[CLOCK_TEXT_BYTES];

	clock_text(event->at_us, when);
	if (event->at_us != 0)
		buf_printf(out, "%s%.12s%s ", shade(transcript, "\033[2m"), when + 11,
			   shade(transcript, "\033[0m"));
}

static void add_sample(struct transcript *transcript, const struct event *event, struct buf *out)
{
	transcript_finish(transcript, out);
	add_time(transcript, event, out);
	terminal_add_text(out, event->step);
	buf_printf(out, ": %lld s", (long long)(event->wall_us / 1000000));
	if (event->cpu_us >= 0)
		buf_printf(out, ", cpu %.1f s", (double)event->cpu_us / 1e6);
	if (event->memory_bytes >= 0)
		buf_printf(out, ", memory %lld MiB", (long long)(event->memory_bytes >> 20));
	buf_add_byte(out, '\n');
}

static void add_state(struct transcript *transcript, const struct event *event, struct buf *out)
{
	const char *meaning = meaning_of(event->state);

	transcript_finish(transcript, out);
	add_time(transcript, event, out);
	buf_add_text(out, shade(transcript, "\033[1m"));
	terminal_add_text(out, event->state);
	buf_printf(out, "%s%s%s\n", shade(transcript, "\033[0m"), *meaning == '\0' ? "" : ": ",
		   meaning);
}

static void add_output(struct transcript *transcript, const struct event *event, struct buf *out)
{
	struct buf *line = &transcript->lines[event->is_stderr];
	size_t at = 0;

	if (strncmp(transcript->step, event->step, TRANSCRIPT_STEP_BYTES) != 0) {
		transcript_finish(transcript, out);
		(void)snprintf(transcript->step, sizeof(transcript->step), "%s", event->step);
	}
	while (at < event->data.len) {
		const uint8_t *from = event->data.data + at;
		const uint8_t *feed = memchr(from, '\n', event->data.len - at);
		size_t part = feed != NULL ? (size_t)(feed - from) : event->data.len - at;
		size_t room = TRANSCRIPT_LINE_BYTES - line->len;
		bool whole = feed != NULL && part <= room;

		part = part < room ? part : room;
		buf_add(line, from, part);
		at += part + whole;
		if (whole || part == room)
			end_line(transcript, event->is_stderr, out);
	}
}

void transcript_add(struct transcript *transcript, const struct event *event, struct buf *out)
{
	if (event->kind == EVENT_STATE)
		add_state(transcript, event, out);
	else if (event->kind == EVENT_SAMPLE)
		add_sample(transcript, event, out);
	else
		add_output(transcript, event, out);
}
