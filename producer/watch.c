/*
 * watch.c - one or two consumers and a poll over both. Callbacks only copy and
 * take notes; what goes wrong in one is kept in `failure` until the loop that
 * dispatched it can return it.
 */
#include "producer/watch.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "schema/limits.h"
#include "schema/value.h"

enum { PREFETCH = 64, KEY_BYTES = 1024 };

struct watch {
	struct watch_target target;
	struct watch_hooks hooks;
	struct consumer *results;
	struct consumer *events; /* NULL: none wanted */
	struct arena arena;	 /* of the result */
	struct bytes message;
	const struct value *result;
	struct err failure; /* kind ERR_NONE: none */
	bool lost;	    /* the results' connection, told and not yet back */
	bool ended;	    /* the event of the job's last state was seen */
};

/* The queue is our own: what cannot be acked is gone with it. */
static void acknowledge(struct consumer *consumer, const struct delivery *delivery)
{
	NEGLECT(consumer_ack(consumer, delivery->epoch, delivery->tag, NULL));
}

/* --- results ---------------------------------------------------------- */

/* Whether the message id is "<id>.<run>" of our job and of our run or later. */
static bool is_ours(const struct watch *watch, const char *message_id)
{
	size_t len = strlen(watch->target.id);
	int64_t run;

	return message_id != NULL && strncmp(message_id, watch->target.id, len) == 0 &&
	       message_id[len] == '.' && text_parse_int(message_id + len + 1, &run) &&
	       run >= watch->target.run;
}

static int take_result(struct watch *watch, const struct delivery *delivery, struct err *err)
{
	struct value *tree;
	char *copy;

	if (delivery->size_bytes > delivery->body.len)
		return err_set(err, ERR_LIMIT, "the result of '%s' is too large: %llu bytes",
			       watch->target.id, (unsigned long long)delivery->size_bytes);
	copy = arena_memdup(&watch->arena, delivery->body.data, delivery->body.len);
	if (copy == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (value_unpack(&watch->arena, copy, delivery->body.len, &tree, err) < 0) {
		/* Not the caller's input: a worker wrote what this version cannot read. */
		err->kind = ERR_UNSUPPORTED;
		return err_prefix(err, "cannot read the result of '%s'", watch->target.id);
	}
	watch->message = (struct bytes){(const uint8_t *)copy, delivery->body.len};
	watch->result = tree;
	return 0;
}

static void result_delivered(void *ctx, const struct delivery *delivery)
{
	struct watch *watch = ctx;

	if (watch->result == NULL && watch->failure.kind == ERR_NONE &&
	    is_ours(watch, delivery->id))
		(void)take_result(watch, delivery, &watch->failure);
	acknowledge(watch->results, delivery);
}

static void result_lost(void *ctx, const struct err *why)
{
	struct watch *watch = ctx;
	char text[ERR_MESSAGE_BYTES + 64];

	if (watch->lost)
		return;
	watch->lost = true;
	(void)snprintf(text, sizeof(text), "connection lost: %s; reconnecting", why->message);
	if (watch->hooks.notice != NULL)
		watch->hooks.notice(watch->hooks.ctx, true, text);
}

static void result_connected(void *ctx, uint64_t epoch)
{
	struct watch *watch = ctx;

	(void)epoch;
	if (!watch->lost)
		return;
	watch->lost = false;
	if (watch->hooks.notice != NULL)
		watch->hooks.notice(watch->hooks.ctx, false,
				    "connected again; states and output of the time in between "
				    "are lost, the result is not");
}

/* --- events ----------------------------------------------------------- */

static void event_delivered(void *ctx, const struct delivery *delivery)
{
	struct watch *watch = ctx;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct event event;

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (delivery->size_bytes == delivery->body.len &&
	    event_decode(&arena, delivery->body.data, delivery->body.len, &event, NULL) == 0 &&
	    strcmp(event.id, watch->target.id) == 0 && event.run >= watch->target.run) {
		if (watch->hooks.event != NULL)
			watch->hooks.event(watch->hooks.ctx, &event);
		if (event.kind == EVENT_STATE && strcmp(event.state, "done") == 0)
			watch->ended = true;
	}
	acknowledge(watch->events, delivery);
}

static void event_lost(void *ctx, const struct err *why)
{
	(void)ctx;
	(void)why;
}

static void event_connected(void *ctx, uint64_t epoch)
{
	(void)ctx;
	(void)epoch;
}

static void nothing_blocked(void *ctx, bool blocked, const char *why)
{
	(void)ctx;
	(void)blocked;
	(void)why;
}

/* --- opening ---------------------------------------------------------- */

static int open_results(struct watch *watch, const struct carrier_config *config, struct err *err)
{
	const struct consumer_hooks hooks = {
		.delivered = result_delivered,
		.lost = result_lost,
		.connected = result_connected,
		.blocked = nothing_blocked,
		.ctx = watch,
	};
	char key[KEY_BYTES];

	(void)snprintf(key, sizeof(key), "%s.%s",
		       watch->target.tenant != NULL ? watch->target.tenant : "#", watch->target.id);
	return consumer_open(&watch->results, config, SOURCE_RESULTS, key, &hooks, err);
}

static int open_events(struct watch *watch, const struct carrier_config *config, struct err *err)
{
	const struct consumer_hooks hooks = {
		.delivered = event_delivered,
		.lost = event_lost,
		.connected = event_connected,
		.blocked = nothing_blocked,
		.ctx = watch,
	};
	char key[KEY_BYTES];

	if (watch->target.events == NULL)
		return 0;
	(void)snprintf(key, sizeof(key), "job.%s.%s", watch->target.id, watch->target.events);
	return consumer_open(&watch->events, config, SOURCE_EVENTS, key, &hooks, err);
}

int watch_open(struct watch **ret, const struct carrier_config *config,
	       const struct watch_target *target, const struct watch_hooks *hooks, struct err *err)
{
	struct carrier_config own = *config;
	struct watch *watch = calloc(1, sizeof(*watch));

	if (watch == NULL)
		return err_sys(err, "cannot watch '%s'", target->id);
	own.prefetch = PREFETCH;
	watch->target = *target;
	if (hooks != NULL)
		watch->hooks = *hooks;
	arena_init(&watch->arena, LIMIT_ARENA_BYTES + LIMIT_MESSAGE_BYTES);
	if (open_results(watch, &own, err) < 0 || open_events(watch, &own, err) < 0) {
		watch_close(watch);
		return -1;
	}
	*ret = watch;
	return 0;
}

void watch_close(struct watch *watch)
{
	if (watch == NULL)
		return;
	if (watch->results != NULL)
		consumer_close(watch->results);
	if (watch->events != NULL)
		consumer_close(watch->events);
	arena_release(&watch->arena);
	free(watch);
}

struct bytes watch_message(const struct watch *watch)
{
	return watch->message;
}

/* --- waiting ---------------------------------------------------------- */

static int64_t least(int64_t wait_ms, int timeout_ms)
{
	return timeout_ms >= 0 && timeout_ms < wait_ms ? timeout_ms : wait_ms;
}

/* Waits once and hands out what has come. */
static int turn(struct watch *watch, int64_t wait_ms, struct err *err)
{
	struct consumer *const consumers[] = {watch->results, watch->events};
	struct pollfd polled[ARRAY_LEN(consumers)];
	size_t len = watch->events != NULL ? 2 : 1;

	for (size_t i = 0; i < len; i++) {
		polled[i] = (struct pollfd){.fd = consumer_fd(consumers[i]), .events = POLLIN};
		wait_ms = least(wait_ms, consumer_timeout_ms(consumers[i]));
	}
	(void)poll(polled, len, wait_ms > INT_MAX ? INT_MAX : (int)wait_ms);
	for (size_t i = 0; i < len; i++) {
		if (consumer_dispatch(consumers[i], err) < 0)
			return -1;
	}
	if (watch->failure.kind != ERR_NONE) {
		if (err != NULL)
			*err = watch->failure;
		return -1;
	}
	return 0;
}

int watch_next(struct watch *watch, int64_t timeout_ms, const struct value **ret, struct err *err)
{
	int64_t until_us = clock_mono_us() + timeout_ms * 1000;

	while (watch->result == NULL) {
		int64_t left_us = until_us - clock_mono_us();

		if (turn(watch, left_us > 0 ? (left_us + 999) / 1000 : 0, err) < 0)
			return -1;
		if (watch->result == NULL && left_us <= 0)
			return 0;
	}
	*ret = watch->result;
	return 1;
}

void watch_drain(struct watch *watch, int64_t timeout_ms)
{
	int64_t until_us = clock_mono_us() + timeout_ms * 1000;

	while (watch->events != NULL && !watch->ended) {
		int64_t left_us = until_us - clock_mono_us();

		if (left_us <= 0 || turn(watch, (left_us + 999) / 1000, NULL) < 0)
			return;
	}
}
