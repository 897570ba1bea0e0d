/*
 * pipeline.c - a ring of copies. `base` is the oldest message without a fate,
 * `next` the number of the one that comes next, and a message's number is the
 * tag by which the publisher tells its fate. A new connection sends the ring
 * again, less what is settled; fates of the old connection died with it.
 */
#include "producer/pipeline.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "producer/interrupt.h"

enum {
	RING = 512,
	RING_BYTES = 64 << 20, /* of bodies under way; one is always let through */
	ITEM_BYTES = 1 << 20,  /* beside its body: headers and texts */
	COLLECT_EVERY = 64,
	WAIT_MS = 500,
	PAUSE_FIRST_MS = 100,
	PAUSE_MOST_MS = 2000,
	PATIENCE_MS = 60000, /* with a lost connection, when no timeout is given */
	SILENCE_MS = 15000,  /* then the person is told */
	GRACE_MS = 10000,    /* for the fates that are due when an interrupt comes */
};

static_assert((unsigned)RING <= (unsigned)PUBLISHER_FATES, "the publisher keeps the fates of all");

struct item {
	struct arena arena; /* of the copy */
	struct message message;
	uint64_t number; /* the caller's */
	bool settled;
};

struct pipeline {
	struct carrier_config config;
	enum route route;
	int64_t timeout_ms; /* 0: none */
	int64_t heard_us;   /* the last fate, or when the first without one was sent */
	bool silent;	    /* told */
	struct pipeline_hooks hooks;
	struct publisher *publisher; /* NULL between connections */
	struct item ring[RING];
	uint64_t base;
	uint64_t next;
	size_t bytes; /* of the bodies in the ring */
	bool blocked; /* told */
};

static struct item *item_of(struct pipeline *p, uint64_t tag)
{
	return &p->ring[tag % RING];
}

size_t pipeline_pending(const struct pipeline *pipeline)
{
	return (size_t)(pipeline->next - pipeline->base);
}

/* --- copies ----------------------------------------------------------- */

static const char *copy_text(struct arena *arena, const char *text)
{
	return text != NULL ? arena_strdup(arena, text) : NULL;
}

static void copy_headers(struct arena *arena, const struct pair_list *from, struct pair_list *ret)
{
	ret->items = arena_array(arena, from->len + 1, sizeof(*ret->items));
	ret->len = ret->items != NULL ? from->len : 0;
	for (size_t i = 0; i < ret->len; i++)
		ret->items[i] = (struct pair){copy_text(arena, from->items[i].key),
					      copy_text(arena, from->items[i].value)};
}

static int copy_message(struct item *item, const struct message *from, struct err *err)
{
	struct arena *arena = &item->arena;
	struct message *to = &item->message;

	arena_init(arena, from->body.len + ITEM_BYTES);
	*to = *from;
	to->body.data = (const uint8_t *)arena_memdup(arena, from->body.data, from->body.len);
	to->id = copy_text(arena, from->id);
	to->correlation_id = copy_text(arena, from->correlation_id);
	to->key = copy_text(arena, from->key);
	to->reply_to = copy_text(arena, from->reply_to);
	to->death.reason = copy_text(arena, from->death.reason);
	to->death.error = copy_text(arena, from->death.error);
	to->death.worker = copy_text(arena, from->death.worker);
	to->death.queue = copy_text(arena, from->death.queue);
	copy_headers(arena, &from->headers, &to->headers);
	if (arena->exhausted) {
		arena_release(arena);
		return err_set(err, ERR_INPUT, "the headers of the message are too large");
	}
	return 0;
}

/* --- fates ------------------------------------------------------------ */

static void drop(struct pipeline *p, struct item *item)
{
	p->bytes -= item->message.body.len;
	arena_release(&item->arena);
	item->settled = true;
	while (p->base < p->next && item_of(p, p->base)->settled)
		p->base++;
}

static void settle(struct pipeline *p, const struct publisher_fate *fate)
{
	struct item *item = item_of(p, fate->tag);

	assert(fate->tag >= p->base && fate->tag < p->next && !item->settled);
	p->heard_us = clock_mono_us();
	p->silent = false;
	p->hooks.settled(p->hooks.ctx, item->number, &item->message,
			 fate->confirmed ? NULL : fate->why);
	drop(p, item);
}

static void tell_blocked(struct pipeline *p)
{
	const char *why = NULL;
	bool blocked = publisher_blocked(p->publisher, &why);
	char text[256];

	if (blocked == p->blocked)
		return;
	p->blocked = blocked;
	if (blocked)
		(void)snprintf(text, sizeof(text), "the broker takes nothing now: %.128s; waiting",
			       why != NULL ? why : "");
	else
		(void)snprintf(text, sizeof(text), "the broker takes messages again");
	p->hooks.notice(p->hooks.ctx, text);
}

/* Takes fates, waiting up to `timeout_ms` for the first. */
static int take_fates(struct pipeline *p, int timeout_ms, struct err *err)
{
	struct publisher_fate fate;
	int rc;

	while ((rc = publisher_next(p->publisher, timeout_ms, &fate, err)) > 0) {
		settle(p, &fate);
		timeout_ms = 0;
	}
	tell_blocked(p);
	return rc;
}

/* A broker may be there and yet confirm nothing: under an alarm, or with a disk
 * that is full. */
static int check_silence(struct pipeline *p, struct err *err)
{
	int64_t silence_ms = (clock_mono_us() - p->heard_us) / 1000;

	if (pipeline_pending(p) == 0)
		return 0;
	if (p->timeout_ms > 0 && silence_ms > p->timeout_ms)
		return err_set(
			err, ERR_TIMEOUT,
			"the broker has confirmed nothing for %lld s; has it memory and disk "
			"left?",
			(long long)silence_ms / 1000);
	if (silence_ms > SILENCE_MS && !p->silent && !p->blocked) {
		p->silent = true;
		p->hooks.notice(p->hooks.ctx, "the broker confirms nothing; waiting");
	}
	return 0;
}

/* --- connections ------------------------------------------------------ */

static void disconnect(struct pipeline *p)
{
	if (p->publisher != NULL)
		publisher_close(p->publisher);
	p->publisher = NULL;
	p->blocked = false;
}

/* Waits for the broker to take it, as long as it may. */
static int send_item(struct pipeline *p, uint64_t tag, struct err *err)
{
	const struct message *message = &item_of(p, tag)->message;
	struct err local = {0};

	while (publisher_send(p->publisher, p->route, message, tag, &local) < 0) {
		tell_blocked(p);
		if (local.kind == ERR_TIMEOUT && !interrupt_seen() && check_silence(p, &local) == 0)
			continue;
		*err = local;
		return -1;
	}
	return 0;
}

static int send_ring(struct pipeline *p, struct err *err)
{
	for (uint64_t tag = p->base; tag < p->next; tag++) {
		if (!item_of(p, tag)->settled && send_item(p, tag, err) < 0)
			return -1;
	}
	return 0;
}

static void pause_ms(int64_t ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&pause, NULL);
}

/* Makes a new connection after `err`, if that is worth it. */
static int recover(struct pipeline *p, struct err *err)
{
	int64_t patience_ms = p->timeout_ms > 0 ? p->timeout_ms : PATIENCE_MS;
	int64_t until_us = clock_mono_us() + patience_ms * 1000;
	int64_t pause = PAUSE_FIRST_MS;
	char text[ERR_MESSAGE_BYTES + 32];

	if (err->kind == ERR_PEER) {
		(void)snprintf(text, sizeof(text), "%s; connecting again", err->message);
		p->hooks.notice(p->hooks.ctx, text);
	}
	while (err->kind == ERR_PEER) {
		disconnect(p);
		if (interrupt_seen() || clock_mono_us() > until_us)
			return -1;
		*err = (struct err){0};
		if (publisher_open(&p->publisher, &p->config, err) == 0 && send_ring(p, err) == 0) {
			p->hooks.notice(p->hooks.ctx, "connected again");
			return 0;
		}
		pause_ms(pause);
		pause = 2 * pause < PAUSE_MOST_MS ? 2 * pause : PAUSE_MOST_MS;
	}
	disconnect(p);
	return -1;
}

/* As take_fates, through as many connections as it takes. */
static int turn(struct pipeline *p, int timeout_ms, struct err *err)
{
	struct err local = {0};

	if (p->publisher == NULL)
		return err_set(err, ERR_PEER, "the connection is lost");
	if (take_fates(p, timeout_ms, &local) < 0 ? recover(p, &local) == 0
						  : check_silence(p, &local) == 0)
		return 0;
	if (err != NULL)
		*err = local;
	return -1;
}

/* --- sending ---------------------------------------------------------- */

static bool has_room(const struct pipeline *p, size_t bytes)
{
	size_t pending = pipeline_pending(p);

	return !p->blocked && pending < RING && (pending == 0 || p->bytes + bytes <= RING_BYTES);
}

static int make_room(struct pipeline *p, size_t bytes, struct err *err)
{
	while (!has_room(p, bytes)) {
		if (turn(p, WAIT_MS, err) < 0)
			return -1;
		if (interrupt_seen())
			return err_set(err, ERR_TIMEOUT, "interrupted");
	}
	return 0;
}

int pipeline_send(struct pipeline *p, const struct message *message, uint64_t number,
		  struct err *err)
{
	struct err local = {0};
	struct item *item;
	uint64_t tag;

	if ((p->next % COLLECT_EVERY == 0 && turn(p, 0, err) < 0) ||
	    make_room(p, message->body.len, err) < 0)
		return -1;
	tag = p->next;
	item = item_of(p, tag);
	*item = (struct item){.number = number};
	if (copy_message(item, message, err) < 0)
		return -1;
	if (pipeline_pending(p) == 0)
		p->heard_us = clock_mono_us();
	p->next++;
	p->bytes += message->body.len;
	if (send_item(p, tag, &local) == 0)
		return 0;
	if (local.kind == ERR_INPUT)
		drop(p, item);
	else if (recover(p, &local) == 0)
		return 0;
	if (err != NULL)
		*err = local;
	return -1;
}

int pipeline_collect(struct pipeline *pipeline, struct err *err)
{
	return turn(pipeline, 0, err);
}

int pipeline_flush(struct pipeline *p, struct err *err)
{
	int64_t grace_us = 0;

	while (pipeline_pending(p) > 0) {
		if (turn(p, WAIT_MS, err) < 0)
			return -1;
		if (interrupt_seen() && grace_us == 0)
			grace_us = clock_mono_us() + GRACE_MS * 1000;
		if (grace_us != 0 && clock_mono_us() > grace_us)
			return err_set(err, ERR_TIMEOUT, "interrupted");
	}
	return 0;
}

/* --- opening ---------------------------------------------------------- */

int pipeline_open(struct pipeline **ret, const struct carrier_config *config, enum route route,
		  int64_t timeout_ms, const struct pipeline_hooks *hooks, struct err *err)
{
	struct pipeline *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	p->config = *config;
	p->config.send_wait_ms = WAIT_MS;
	p->route = route;
	p->timeout_ms = timeout_ms;
	p->hooks = *hooks;
	if (publisher_open(&p->publisher, &p->config, err) < 0) {
		free(p);
		return -1;
	}
	*ret = p;
	return 0;
}

void pipeline_close(struct pipeline *pipeline)
{
	if (pipeline == NULL)
		return;
	disconnect(pipeline);
	for (uint64_t tag = pipeline->base; tag < pipeline->next; tag++) {
		if (!item_of(pipeline, tag)->settled)
			arena_release(&item_of(pipeline, tag)->arena);
	}
	free(pipeline);
}
