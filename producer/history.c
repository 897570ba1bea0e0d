/*
 * history.c - consumers that ack nothing: together they take as many deliveries
 * as there are, and hand all of them back. One consumer cannot hold more than
 * 65535, so another one is made when the first is full. Two such visits: the
 * first finds the latest run of each id, the second hands it out, so that no
 * result need be kept.
 */
#include "producer/history.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

enum {
	HOLDERS_MAX = 16,
	HOLDER_MAX = 65535,   /* a consumer cannot hold more */
	QUIET_US = 2000000,   /* somebody else has taken the rest */
	HELD_BYTES = 2 << 20, /* of the tags of so many */
	INSPECT_BYTES = 1 << 20,
};

struct held {
	uint64_t epoch;
	uint64_t tag;
};

struct holder {
	struct history *history;
	struct consumer *consumer;
	struct buf held;
};

struct history {
	struct ids *wanted;
	int64_t run;
	const struct history_hooks *hooks; /* NULL: the first visit */
	struct holder holders[HOLDERS_MAX];
	size_t holders_len;
	size_t seen;
	size_t matched;
	int64_t last_us; /* when the last one came */
	struct err failure;
};

struct ids_entry *history_entry(const struct ids *wanted, const struct delivery *delivery,
				int64_t run, int64_t *ret_run)
{
	const char *dot = delivery->id != NULL ? strrchr(delivery->id, '.') : NULL;
	char id[256];

	if (dot == NULL || (size_t)(dot - delivery->id) >= sizeof(id) ||
	    !text_parse_int(dot + 1, ret_run) || *ret_run < run)
		return NULL;
	memcpy(id, delivery->id, (size_t)(dot - delivery->id));
	id[dot - delivery->id] = '\0';
	return ids_find(wanted, id);
}

/* --- one visit -------------------------------------------------------- */

static void delivered(void *ctx, const struct delivery *delivery)
{
	struct holder *holder = ctx;
	struct history *history = holder->history;
	const struct held held = {delivery->epoch, delivery->tag};
	struct ids_entry *entry;
	int64_t run;

	buf_add(&holder->held, &held, sizeof(held));
	history->seen++;
	history->last_us = clock_mono_us();
	entry = history_entry(history->wanted, delivery, history->run, &run);
	if (entry == NULL || entry->done)
		return;
	history->matched++;
	if (history->hooks == NULL)
		entry->digest = (uint64_t)run > entry->digest ? (uint64_t)run : entry->digest;
	else if ((uint64_t)run == entry->digest)
		history->hooks->found(history->hooks->ctx, entry, delivery);
}

static void lost(void *ctx, const struct err *why)
{
	const struct holder *holder = ctx;

	holder->history->failure = *why;
}

static void connected(void *ctx, uint64_t epoch)
{
	(void)ctx;
	(void)epoch;
}

static void blocked(void *ctx, bool is_blocked, const char *why)
{
	(void)ctx;
	(void)is_blocked;
	(void)why;
}

static int count_results(const struct carrier_config *config, size_t *ret, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct carrier_report report;
	char name[256];

	arena_init(&arena, INSPECT_BYTES);
	if (carrier_inspect(&arena, config, &report, err) < 0)
		return -1;
	(void)snprintf(name, sizeof(name), "%s.results", config->prefix);
	*ret = 0;
	for (size_t i = 0; i < report.queues_len; i++) {
		if (strcmp(report.queues[i].name, name) == 0 && report.queues[i].messages > 0)
			*ret = (size_t)report.queues[i].messages;
	}
	return 0;
}

/* All of them are served, for each keeps a connection alive. */
static int serve(struct history *history, struct err *err)
{
	for (size_t i = 0; i < history->holders_len; i++) {
		if (consumer_dispatch(history->holders[i].consumer, err) < 0)
			return -1;
	}
	if (history->failure.kind != ERR_NONE) {
		if (err != NULL)
			*err = history->failure;
		return -1;
	}
	return 0;
}

/* Until the last holder is full: 1, or nothing more comes: 0. */
static int look(struct history *history, size_t wanted, struct err *err)
{
	struct consumer *newest = history->holders[history->holders_len - 1].consumer;

	history->last_us = clock_mono_us();
	while (history->seen < wanted) {
		struct pollfd polled = {.fd = consumer_fd(newest), .events = POLLIN};
		int timeout_ms = consumer_timeout_ms(newest);

		if (clock_mono_us() - history->last_us >= QUIET_US)
			return 0;
		(void)poll(&polled, 1, timeout_ms < 0 || timeout_ms > 100 ? 100 : timeout_ms);
		if (serve(history, err) < 0)
			return -1;
	}
	return 1;
}

static int open_holder(const struct carrier_config *config, struct history *history, size_t count,
		       struct err *err)
{
	struct holder *holder = &history->holders[history->holders_len];
	const struct consumer_hooks hooks = {.delivered = delivered,
					     .lost = lost,
					     .connected = connected,
					     .blocked = blocked,
					     .ctx = holder};
	struct carrier_config own = *config;

	own.prefetch = count < HOLDER_MAX ? (unsigned)count : HOLDER_MAX;
	holder->history = history;
	buf_init(&holder->held, HELD_BYTES);
	if (consumer_open(&holder->consumer, &own, SOURCE_RESULTS, NULL, &hooks, err) < 0)
		return -1;
	history->holders_len++;
	return 0;
}

/* None may take what another one hands back, so all stop first. */
static int give_back(const struct history *history, struct err *err)
{
	for (size_t i = 0; i < history->holders_len; i++) {
		if (consumer_stop(history->holders[i].consumer, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < history->holders_len; i++) {
		const struct holder *holder = &history->holders[i];

		for (size_t at = 0; at < holder->held.len; at += sizeof(struct held)) {
			struct held held;

			memcpy(&held, holder->held.data + at, sizeof(held));
			if (consumer_handback(holder->consumer, held.epoch, held.tag, err) < 0)
				return -1;
		}
	}
	return 0;
}

static void close_holders(struct history *history)
{
	for (size_t i = 0; i < history->holders_len; i++) {
		consumer_close(history->holders[i].consumer);
		buf_release(&history->holders[i].held);
	}
	history->holders_len = 0;
}

static int visit(const struct carrier_config *config, struct history *history, size_t count,
		 struct err *err)
{
	int rc = 1;

	history->seen = 0;
	while (rc > 0 && history->seen < count && history->holders_len < HOLDERS_MAX) {
		size_t left = count - history->seen;

		rc = open_holder(config, history, left, err);
		if (rc == 0)
			rc = look(history, history->seen + (left < HOLDER_MAX ? left : HOLDER_MAX),
				  err);
	}
	if (rc >= 0)
		rc = give_back(history, err);
	close_holders(history);
	return rc;
}

/* --- both ------------------------------------------------------------- */

int history_find(const struct carrier_config *config, struct ids *wanted, int64_t run,
		 const struct history_hooks *hooks, uint64_t *ret_left_out, struct err *err)
{
	const size_t most = (size_t)HOLDERS_MAX * HOLDER_MAX;
	struct history history = {.wanted = wanted, .run = run};
	size_t count;

	if (count_results(config, &count, err) < 0)
		return -1;
	*ret_left_out = count > most ? count - most : 0;
	if (count == 0)
		return 0;
	if (visit(config, &history, count, err) < 0)
		return -1;
	if (history.matched == 0)
		return 0;
	history.hooks = hooks;
	return visit(config, &history, count, err);
}
