/*
 * history.c - a consumer that acks nothing: it takes as many deliveries as
 * there are, and hands all of them back. Two such visits: the
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
	LOOK_MAX = 65535,      /* a consumer cannot hold more */
	QUIET_US = 2000000,    /* somebody else has taken the rest */
	HELD_BYTES = 16 << 20, /* of the tags of so many */
	INSPECT_BYTES = 1 << 20,
};

struct held {
	uint64_t epoch;
	uint64_t tag;
};

struct history {
	struct ids *wanted;
	int64_t run;
	const struct history_hooks *hooks; /* NULL: the first visit */
	struct buf held;
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
	struct history *history = ctx;
	const struct held held = {delivery->epoch, delivery->tag};
	struct ids_entry *entry;
	int64_t run;

	buf_add(&history->held, &held, sizeof(held));
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
	struct history *history = ctx;

	history->failure = *why;
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

static int look(struct consumer *consumer, struct history *history, size_t wanted, struct err *err)
{
	history->last_us = clock_mono_us();
	while (history->seen < wanted && clock_mono_us() - history->last_us < QUIET_US) {
		struct pollfd polled = {.fd = consumer_fd(consumer), .events = POLLIN};
		int timeout_ms = consumer_timeout_ms(consumer);

		(void)poll(&polled, 1, timeout_ms < 0 || timeout_ms > 100 ? 100 : timeout_ms);
		if (consumer_dispatch(consumer, err) < 0)
			return -1;
		if (history->failure.kind != ERR_NONE) {
			if (err != NULL)
				*err = history->failure;
			return -1;
		}
	}
	return 0;
}

static int give_back(struct consumer *consumer, const struct history *history, struct err *err)
{
	if (consumer_stop(consumer, err) < 0)
		return -1;
	for (size_t at = 0; at < history->held.len; at += sizeof(struct held)) {
		struct held held;

		memcpy(&held, history->held.data + at, sizeof(held));
		if (consumer_handback(consumer, held.epoch, held.tag, err) < 0)
			return -1;
	}
	return 0;
}

static int visit(const struct carrier_config *config, struct history *history, size_t count,
		 struct err *err)
{
	const struct consumer_hooks hooks = {.delivered = delivered,
					     .lost = lost,
					     .connected = connected,
					     .blocked = blocked,
					     .ctx = history};
	struct carrier_config own = *config;
	struct consumer *consumer;
	int rc;

	own.prefetch = count < LOOK_MAX ? (unsigned)count : LOOK_MAX;
	history->seen = 0;
	buf_init(&history->held, HELD_BYTES);
	rc = consumer_open(&consumer, &own, SOURCE_RESULTS, NULL, &hooks, err);
	if (rc == 0) {
		rc = look(consumer, history, own.prefetch, err);
		if (rc == 0)
			rc = give_back(consumer, history, err);
		consumer_close(consumer);
	}
	buf_release(&history->held);
	return rc;
}

/* --- both ------------------------------------------------------------- */

int history_find(const struct carrier_config *config, struct ids *wanted, int64_t run,
		 const struct history_hooks *hooks, struct err *err)
{
	struct history history = {.wanted = wanted, .run = run};
	size_t count;

	if (count_results(config, &count, err) < 0)
		return -1;
	if (count == 0)
		return 0;
	if (visit(config, &history, count, err) < 0)
		return -1;
	if (history.matched == 0)
		return 0;
	history.hooks = hooks;
	return visit(config, &history, count, err);
}
