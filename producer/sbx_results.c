/*
 * sbx_results.c - theory: deliveries come several at a time and are handed out
 * one by one, so they wait in a list. The first of it is the one the caller has.
 * When the connection is lost the broker delivers all of them again; the one that
 * the caller has stays his, and is known when it comes again.
 *
 * The names of what is done are kept in two sets: when the younger one is full it
 * becomes the older one, and the older one is forgotten.
 */
#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "producer/ids.h"
#include "producer/sbx_private.h"
#include "schema/limits.h"

enum { PREFETCH = 16, TURN_MS = 1000, JSON_BYTES = 64 << 20 };

struct waiting {
	struct waiting *next;
	uint64_t epoch, tag;
	char *name; /* NULL: none */
	size_t len;
	uint8_t data[];
};

struct sbx_results {
	struct arena config_arena;
	struct carrier_config config;
	struct consumer *consumer;
	struct waiting *first;
	struct waiting **last;
	bool handed_out; /* the first one */
	bool memory_gone;
	struct ids done, done_before;
	struct arena arena; /* of the one handed out */
	struct buf json;
};

/* --- what is done ----------------------------------------------------- */

static bool is_done(const struct sbx_results *results, const char *name)
{
	return name != NULL && (ids_find(&results->done, name) != NULL ||
				ids_find(&results->done_before, name) != NULL);
}

static void note_done(struct sbx_results *results, const char *name)
{
	bool fresh;

	if (name == NULL)
		return;
	if (results->done.len >= SBX_RESULTS_REMEMBERED) {
		ids_release(&results->done_before);
		results->done_before = results->done;
		ids_init(&results->done);
	}
	/* Without memory it may be handed out twice, which the caller expects. */
	NEGLECT(ids_put(&results->done, name, &fresh) == NULL);
}

/* --- deliveries ------------------------------------------------------- */

static void free_waiting(struct waiting *waiting)
{
	free(waiting->name);
	free(waiting);
}

static void ack(struct sbx_results *results, uint64_t epoch, uint64_t tag)
{
	NEGLECT(consumer_ack(results->consumer, epoch, tag, NULL));
}

/* Whether the caller has it already, from a connection that was lost: then this
 * delivery is the one to settle. */
static bool is_handed_out(struct sbx_results *results, const struct delivery *delivery)
{
	struct waiting *first = results->first;

	if (!results->handed_out || first->name == NULL || delivery->id == NULL ||
	    strcmp(first->name, delivery->id) != 0)
		return false;
	if (first->epoch == delivery->epoch) {
		ack(results, delivery->epoch, delivery->tag);
	} else {
		first->epoch = delivery->epoch;
		first->tag = delivery->tag;
	}
	return true;
}

static void delivered(void *ctx, const struct delivery *delivery)
{
	struct sbx_results *results = ctx;
	struct waiting *waiting;

	if (is_done(results, delivery->id)) {
		ack(results, delivery->epoch, delivery->tag);
		return;
	}
	if (is_handed_out(results, delivery))
		return;
	waiting = calloc(1, sizeof(*waiting) + delivery->body.len);
	if (waiting == NULL) { /* it stays with the broker until we go */
		results->memory_gone = true;
		return;
	}
	waiting->epoch = delivery->epoch;
	waiting->tag = delivery->tag;
	waiting->name = delivery->id == NULL ? NULL : strdup(delivery->id);
	waiting->len = delivery->body.len;
	if (waiting->len > 0)
		(void)memcpy(waiting->data, delivery->body.data, waiting->len);
	*results->last = waiting;
	results->last = &waiting->next;
}

/* All but the one handed out come again. */
static void lost(void *ctx, const struct err *why)
{
	struct sbx_results *results = ctx;
	struct waiting **at = results->handed_out ? &results->first->next : &results->first;

	(void)why;
	while (*at != NULL) {
		struct waiting *waiting = *at;

		*at = waiting->next;
		free_waiting(waiting);
	}
	results->last = at;
}

/* --- opening ---------------------------------------------------------- */

int sbx_results_open(struct sbx_results **ret, const struct sbx *sbx, struct sbx_error *error)
{
	struct sbx_results *results = calloc(1, sizeof(*results));
	const struct consumer_hooks hooks = {.delivered = delivered, .lost = lost, .ctx = results};
	struct err err = {0};

	if (results == NULL)
		return libsbx_fail_memory(error);
	arena_init(&results->config_arena, LIMIT_ARENA_BYTES);
	arena_init(&results->arena, LIMIT_ARENA_BYTES);
	buf_init(&results->json, JSON_BYTES);
	ids_init(&results->done);
	ids_init(&results->done_before);
	results->last = &results->first;
	if (!libsbx_copy_config(&results->config_arena, &sbx->config, &results->config)) {
		sbx_results_close(results);
		return libsbx_fail_memory(error);
	}
	results->config.prefetch = PREFETCH;
	if (consumer_open(&results->consumer, &results->config, SOURCE_RESULTS, NULL, &hooks,
			  &err) < 0) {
		sbx_results_close(results);
		return libsbx_fail_err(error, &err);
	}
	*ret = results;
	return 0;
}

void sbx_results_close(struct sbx_results *results)
{
	if (results == NULL)
		return;
	consumer_close(results->consumer);
	while (results->first != NULL) {
		struct waiting *waiting = results->first;

		results->first = waiting->next;
		free_waiting(waiting);
	}
	ids_release(&results->done);
	ids_release(&results->done_before);
	buf_release(&results->json);
	arena_release(&results->arena);
	arena_release(&results->config_arena);
	free(results);
}

/* --- reading ---------------------------------------------------------- */

static int hand_out(struct sbx_results *results, struct sbx_result *ret, struct sbx_error *error)
{
	const struct bytes message = {results->first->data, results->first->len};
	struct value *tree;
	struct err err = {0};

	results->handed_out = true;
	arena_release(&results->arena);
	*ret = (struct sbx_result){.data = message.data, .len = message.len};
	if (value_unpack(&results->arena, message.data, message.len, &tree, &err) < 0) {
		(void)err_prefix(&err, "a message among the results cannot be read");
		return libsbx_fail(error, SBX_USAGE, err.message);
	}
	return libsbx_read_result(&results->arena, &results->json, tree, message, ret, error) < 0
		       ? -1
		       : 1;
}

/* One wait and what came with it. */
static int turn(struct sbx_results *results, int most_ms, struct err *err)
{
	struct pollfd polled = {.fd = consumer_fd(results->consumer), .events = POLLIN};
	int own_ms = consumer_timeout_ms(results->consumer);

	(void)poll(&polled, 1, own_ms >= 0 && own_ms < most_ms ? own_ms : most_ms);
	if (consumer_dispatch(results->consumer, err) < 0)
		return -1;
	return results->memory_gone ? err_set(err, ERR_SYSTEM, "out of memory for a result") : 0;
}

static void drop_first(struct sbx_results *results)
{
	struct waiting *first = results->first;

	ack(results, first->epoch, first->tag);
	results->handed_out = false;
	results->first = first->next;
	if (results->first == NULL)
		results->last = &results->first;
	free_waiting(first);
}

/* Those that came before the first of their name was done. */
static void drop_repetitions(struct sbx_results *results)
{
	while (results->first != NULL && !results->handed_out &&
	       is_done(results, results->first->name))
		drop_first(results);
}

int sbx_results_next(struct sbx_results *results, int timeout_ms, struct sbx_result *ret,
		     struct sbx_error *error)
{
	int64_t until_us = timeout_ms < 0 ? INT64_MAX : clock_mono_us() + timeout_ms * 1000ll;
	bool looked = false;
	struct err err = {0};

	for (drop_repetitions(results); results->first == NULL; drop_repetitions(results)) {
		int64_t left_us = until_us - clock_mono_us();

		if (left_us <= 0 && looked)
			return 0;
		looked = true;
		left_us = left_us < 0 ? 0 : left_us;
		if (turn(results, left_us / 1000 < TURN_MS ? (int)(left_us / 1000) : TURN_MS,
			 &err) < 0)
			return libsbx_fail_err(error, &err);
	}
	return hand_out(results, ret, error);
}

void sbx_results_done(struct sbx_results *results)
{
	const struct waiting *first = results->first;

	assert(results->handed_out && first != NULL);
	note_done(results, first->name);
	drop_first(results);
}
