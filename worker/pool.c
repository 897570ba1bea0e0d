/*
 * pool.c - theory: a box that waits costs memory, one that does not costs the
 * next job the time of making it. `want` boxes are to wait:
 *
 *	grows	at once, by one for each job that may start and finds no box,
 *		up to `most`
 *	shrinks	by half of what was not needed in all of sandbox.pool_idle, at
 *		least by one, down to `least`
 *
 * A box has its successor made only when the job's workspace is in place, or the
 * making would delay that very job; a slot whose job has ended is let go of when
 * as many as wanted wait elsewhere. So jobs that come one after the other cost
 * one box each, whatever `want` is.
 *
 * A slot is let go of by the serial of the box that was there last. When the
 * zygote has made another one meanwhile, that is on its way here: it is killed
 * when it comes, unless the slot is wanted again by then.
 */
#include "worker/pool.h"

#include "base/clock.h"
#include "worker/supervisor_private.h"

/* --- bounds ----------------------------------------------------------- */

size_t pool_most(const struct config *config)
{
	return config->sandbox_pool_most == 0 ? (size_t)config->worker_slots + 1
					      : (size_t)config->sandbox_pool_most;
}

size_t pool_boxes(const struct config *config)
{
	size_t boxes = (size_t)config->worker_slots + pool_most(config);

	return boxes < ROLE_BOXES_MAX ? boxes : ROLE_BOXES_MAX;
}

static void take_bounds(struct supervisor *self)
{
	struct pool *pool = &self->pool;

	pool->most = pool_most(self->config);
	pool->least = (size_t)self->config->sandbox_pool_least;
	if (pool->least > pool->most)
		pool->least = pool->most;
	if (pool->want < pool->least)
		pool->want = pool->least;
}

void pool_init(struct supervisor *self)
{
	self->pool = (struct pool){0};
	take_bounds(self);
}

/* --- what there is ---------------------------------------------------- */

size_t pool_kept(const struct supervisor *self)
{
	size_t kept = 0;

	for (size_t i = 0; i < self->slots_len; i++)
		kept += self->slots[i].kept;
	return kept;
}

static size_t waiting(const struct supervisor *self)
{
	size_t len = 0;

	for (size_t i = 0; i < self->slots_len; i++)
		len += slot_waits(&self->slots[i]);
	return len;
}

/* Boxes that are in use for good: until then each is one of those that wait. */
static size_t used(const struct supervisor *self)
{
	size_t len = 0;

	for (size_t i = 0; i < self->slots_len; i++)
		len += self->slots[i].task != NULL && self->slots[i].layer == LAYER_GIVEN;
	return len;
}

/* --- how many --------------------------------------------------------- */

static void grow(struct supervisor *self)
{
	struct pool *pool = &self->pool;
	size_t missed = fairness_missed(self);
	size_t room = pool->most > pool->want ? pool->most - pool->want : 0;

	pool->missed += missed;
	missed = missed < room ? missed : room;
	pool->want += missed;
	pool->grown += missed;
}

static void shrink(struct supervisor *self)
{
	struct pool *pool = &self->pool;
	int64_t now_us = clock_mono_us();
	size_t len = waiting(self);
	size_t surplus;

	if (len < pool->low)
		pool->low = len;
	if (pool->since_us != 0 && now_us - pool->since_us < self->config->sandbox_pool_idle * 1000)
		return;
	surplus = pool->since_us == 0 ? 0 : (pool->low + 1) / 2;
	if (pool->want - pool->least < surplus)
		surplus = pool->want - pool->least;
	pool->want -= surplus;
	pool->shrunk += surplus;
	pool->since_us = now_us;
	pool->low = len;
}

/* Jobs that are given by hand end some time: no box is made that none of them
 * can need. */
static size_t target(const struct supervisor *self)
{
	size_t boxes = used(self) + self->pool.want;
	size_t left;

	if (self->local != NULL) {
		left = self->local->jobs_len - self->local_done;
		boxes = boxes < left ? boxes : left;
	}
	return boxes < self->slots_len ? boxes : self->slots_len;
}

/* --- which ------------------------------------------------------------ */

static void keep(struct slot *slot, bool kept)
{
	struct supervisor *self = slot->supervisor;
	struct ipc_box_keep message = {
		.kind = IPC_BOX_KEEP, .slot = slot->number, .serial = slot->serial, .kept = kept};
	struct err err = {0};

	slot->kept = kept;
	if (!kept)
		outbox_release(&slot->executor);
	if (outbox_send(&self->zygote, &message, sizeof(message), -1, &err) < 0)
		supervisor_die(self, &err);
}

/* The first ones are used most, the last ones go first; better one that is not
 * made yet. */
static struct slot *least_needed(struct supervisor *self)
{
	struct slot *ready = NULL;

	for (size_t i = self->slots_len; i-- > 0;) {
		struct slot *slot = &self->slots[i];

		if (!slot->kept || slot->task != NULL)
			continue;
		if (slot->executor.socket < 0)
			return slot;
		ready = ready == NULL ? slot : ready;
	}
	return ready;
}

static struct slot *first_empty(struct supervisor *self)
{
	for (size_t i = 0; i < self->slots_len; i++)
		if (!self->slots[i].kept)
			return &self->slots[i];
	return NULL;
}

void pool_fit(struct supervisor *self)
{
	size_t kept = pool_kept(self), wanted;
	struct slot *slot;

	take_bounds(self);
	grow(self);
	shrink(self);
	wanted = target(self);
	for (; kept < wanted && (slot = first_empty(self)) != NULL; kept++)
		keep(slot, true);
	for (; kept > wanted && (slot = least_needed(self)) != NULL; kept--)
		keep(slot, false);
}
