/*
 * consuming.c - theory: what a consumer is called and when it comes back does
 * not depend on what carries its messages, so that both carriers have the same
 * queues under the same names and the same patience.
 */
#include "queue/consuming.h"

#include <sys/random.h>

#include "base/clock.h"
#include "base/text.h"
#include "queue/topology.h"

enum { WAIT_MIN_MS = 250, WAIT_MAX_MS = 15000 };

/* --- queues ----------------------------------------------------------- */

static void add_queue(struct arena *arena, const char *prefix, const char *suffix,
		      struct consuming_queues *queues)
{
	char name[TOPOLOGY_NAME_BYTES];

	topology_name(prefix, suffix, name);
	queues->names[queues->len++] = arena_strdup(arena, name);
}

void consuming_queues(struct arena *arena, const char *prefix, enum source source, const char *key,
		      bool with_control, struct consuming_queues *ret)
{
	static const enum job_priority order[] = {PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW};
	char name[TOPOLOGY_NAME_BYTES];
	char uuid[TEXT_UUID_BYTES];

	*ret = (struct consuming_queues){0};
	if (source == SOURCE_JOBS) {
		for (size_t i = 0; i < ARRAY_LEN(order); i++)
			add_queue(arena, prefix, topology_job_suffix(order[i]), ret);
		topology_name(prefix, "control", name);
		if (with_control)
			ret->control = arena_strdup(arena, name);
	} else if (key != NULL) {
		text_uuid7(uuid);
		topology_name(prefix, "reply", name);
		ret->names[ret->len++] = arena_printf(arena, "%s.%s", name, uuid);
	} else {
		add_queue(arena, prefix, source == SOURCE_DEAD ? "dead" : "results", ret);
	}
}

size_t consuming_room(unsigned prefetch)
{
	return prefetch > CONSUMER_ROOM ? prefetch : CONSUMER_ROOM;
}

/* --- coming back ------------------------------------------------------ */

void consuming_retry_reset(struct consuming_retry *retry)
{
	retry->wait_ms = WAIT_MIN_MS;
}

void consuming_retry_schedule(struct consuming_retry *retry, bool jitter)
{
	int64_t wait_ms = retry->wait_ms;
	uint32_t dice;

	if (jitter) {
		if (getrandom(&dice, sizeof(dice), 0) != sizeof(dice))
			dice = (uint32_t)clock_mono_us();
		wait_ms = wait_ms / 2 + (int64_t)(dice % (uint64_t)(wait_ms / 2 + 1));
	}
	retry->at_us = clock_mono_us() + wait_ms * 1000;
	retry->wait_ms = retry->wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : retry->wait_ms * 2;
}

bool consuming_retry_due(const struct consuming_retry *retry)
{
	return clock_mono_us() >= retry->at_us;
}

bool consuming_is_final(const struct err *err)
{
	return err->kind == ERR_UNSUPPORTED || err->kind == ERR_CONFLICT || err->kind == ERR_INPUT;
}

int consuming_left_ms(int64_t at_us)
{
	int64_t left_ms = (at_us - clock_mono_us() + 999) / 1000;

	return left_ms < 0 ? 0 : (int)left_ms;
}
