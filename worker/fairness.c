/*
 * fairness.c - theory: jobs that wait stand in one list a priority, in the order
 * they came. The next one is the first that may start, high before normal
 * before low; a priority that was passed over as often as the table says has
 * the next turn. A job whose base is not here yet, or whose tenant or concurrency
 * key has as many running as it may, is passed over by those behind it.
 *
 * The broker gives no more of a priority than the worker may hold, so the next
 * one comes only when one has been acked, and then its base is asked for. A slot
 * that such a job has left is kept for its successor for a moment, or every
 * second start would go to a lower priority.
 *
 * How many deliveries the worker holds is a matter of what they are:
 *
 *	narrow	as many as there are slots, so that none is kept from another
 *		worker that could run it
 *	wide	while jobs come that need no slot and are answered at once; or while
 *		a slot is free and all that is held may not start: those who may are
 *		behind them
 *
 * When even then nobody may start, the newest that may not are put aside into
 * the shortest wait queue, without counting an attempt, a few at a time. Going
 * back to narrow hands back what more is held.
 */
#include "worker/fairness.h"

#include <string.h>

#include "base/clock.h"
#include "worker/supervisor_private.h"

enum {
	WIDE = 256,
	/* So many in a row that needed no slot, none of them large, tell that
	 * more of them come. */
	QUICK_JOBS = 16,
	QUICK_BYTES = 64 * 1024,
	/* At most so many put aside at once, and how often. */
	ASIDE_JOBS = 16,
	ASIDE_EVERY_US = 100 * 1000,
	/* From the end of a job to the confirm of its result; from the ack to the
	 * next delivery. */
	LEAVING_US = 200 * 1000,
	SUCCESSOR_US = 10 * 1000,
	/* From the question for a base that is in the store to its answer; and what
	 * takes longer than any that can be fetched in short may take for ever. */
	BASE_HERE_US = 200 * 1000,
	BASE_SOON_US = 2 * 1000 * 1000,
};

/* How many starts of higher priorities pass one over. */
static const unsigned patience[PRIORITIES] = {[PRIORITY_NORMAL] = 8, [PRIORITY_LOW] = 24};

static const enum job_priority order[PRIORITIES] = {PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW};

/* --- who comes next --------------------------------------------------- */

/* Whether as many are held as may be, so that more may stand in the queue. */
static bool is_held_full(const struct supervisor *self, enum job_priority priority)
{
	size_t len = 0;

	for (const struct task *task = self->tasks; task != NULL; task = task->next)
		len += task->tag != 0 && task->priority == priority;
	return len >= self->carrier.prefetch;
}

static bool is_leaving(const struct supervisor *self, enum job_priority priority)
{
	int64_t since_us = clock_mono_us() - LEAVING_US;

	for (const struct task *task = self->tasks; task != NULL; task = task->next) {
		if (task->tag != 0 && task->priority == priority && task->slot == NULL &&
		    task->ended_mono_us > since_us)
			return true;
	}
	return false;
}

static bool is_next_due(const struct supervisor *self, enum job_priority priority)
{
	if (self->consumer == NULL || self->stop_signals > 0)
		return false;
	return clock_mono_us() < self->successor_until_us[priority] ||
	       (is_leaving(self, priority) && is_held_full(self, priority));
}

void fairness_note_come(struct supervisor *self, enum job_priority priority)
{
	self->successor_until_us[priority] = 0;
}

void fairness_note_gone(const struct task *task)
{
	struct supervisor *self = task->supervisor;

	if (task->tag != 0 && is_held_full(self, task->priority))
		self->successor_until_us[task->priority] = clock_mono_us() + SUCCESSOR_US;
}

int fairness_timeout_ms(const struct supervisor *self, int most_ms)
{
	return self->expecting && most_ms > SUCCESSOR_US / 1000 ? SUCCESSOR_US / 1000 : most_ms;
}

/* Whether a base of this priority was asked for so short a time ago. */
static bool is_base_due(const struct supervisor *self, enum job_priority priority,
			int64_t within_us)
{
	int64_t since_us = clock_mono_us() - within_us;

	for (const struct task *task = self->waiting[priority]; task != NULL;
	     task = task->next_waiting) {
		if (task->base == BASE_ASKED && task->base_mono_us > since_us)
			return true;
	}
	return false;
}

/* --- who may start ----------------------------------------------------- */

static bool is_full(const struct supervisor *self, const struct task *task)
{
	int64_t most_of_tenant = self->config->worker_max_per_tenant;
	int64_t most_of_key = self->config->worker_max_per_key;
	const char *key = task->job.concurrency_key;
	int64_t of_tenant = 0;
	int64_t of_key = 0;

	if (most_of_tenant == 0 && (most_of_key == 0 || key == NULL))
		return false;
	for (size_t i = 0; i < self->slots_len; i++) {
		const struct task *other = self->slots[i].task;

		if (other == NULL)
			continue;
		of_tenant += strcmp(other->job.tenant, task->job.tenant) == 0;
		of_key += key != NULL && other->job.concurrency_key != NULL &&
			  strcmp(other->job.concurrency_key, key) == 0;
	}
	return (most_of_tenant > 0 && of_tenant >= most_of_tenant) ||
	       (most_of_key > 0 && of_key >= most_of_key);
}

static bool may_start(const struct supervisor *self, const struct task *task, bool have_slot)
{
	return task->base == BASE_READY &&
	       (!task_needs_slot(task) || (have_slot && !is_full(self, task)));
}

static struct task **find(struct supervisor *self, enum job_priority priority, bool have_slot)
{
	struct task **at = &self->waiting[priority];

	while (*at != NULL && !may_start(self, *at, have_slot))
		at = &(*at)->next_waiting;
	return *at == NULL ? NULL : at;
}

/* Who takes a slot passes over all that wait below it. */
static void count_turns(struct supervisor *self, const struct task *task)
{
	bool below = false;

	if (!task_needs_slot(task))
		return;
	for (size_t i = 0; i < PRIORITIES; i++) {
		if (below && self->waiting[order[i]] != NULL)
			self->passed_over[order[i]]++;
		below = below || order[i] == task->priority;
	}
	self->passed_over[task->priority] = 0;
}

static struct task *take_of(struct supervisor *self, enum job_priority priority, bool have_slot)
{
	struct task **at = find(self, priority, have_slot);
	struct task *task;

	if (at == NULL)
		return NULL;
	task = *at;
	*at = task->next_waiting;
	task->waiting = false;
	count_turns(self, task);
	return task;
}

struct task *fairness_take(struct supervisor *self, bool have_slot)
{
	struct task *task = NULL;
	bool waiting = false;

	self->expecting = false;
	for (size_t i = 0; i < PRIORITIES; i++)
		waiting = waiting || self->waiting[i] != NULL;
	if (!waiting)
		return NULL;
	for (size_t i = PRIORITIES; task == NULL && i-- > 0;) {
		if (patience[order[i]] > 0 && self->passed_over[order[i]] >= patience[order[i]])
			task = take_of(self, order[i], have_slot);
	}
	for (size_t i = 0; task == NULL && i < PRIORITIES; i++) {
		task = take_of(self, order[i], have_slot);
		if (task == NULL && have_slot &&
		    (is_next_due(self, order[i]) || is_base_due(self, order[i], BASE_HERE_US))) {
			self->expecting = true;
			have_slot = false; /* for those below it */
		}
	}
	return task;
}

size_t fairness_missed(struct supervisor *self)
{
	size_t missed = 0, running = 0, ready = 0, free;

	for (size_t i = 0; i < self->slots_len; i++) {
		running += self->slots[i].task != NULL;
		ready += slot_waits(&self->slots[i]);
	}
	free = (size_t)self->config->worker_slots;
	free = free > running ? free - running : 0;
	for (size_t i = 0; i < PRIORITIES; i++) {
		for (struct task *task = self->waiting[order[i]]; task != NULL && free > 0;
		     task = task->next_waiting) {
			if (!task_needs_slot(task) || !may_start(self, task, true))
				continue;
			free--;
			if (ready > 0) { /* it stays free for another one */
				ready--;
				continue;
			}
			missed += !task->missed;
			task->missed = true;
		}
	}
	return missed;
}

/* --- how many are held ------------------------------------------------- */

static size_t waiting_len(const struct supervisor *self, enum job_priority priority)
{
	size_t len = 0;

	for (const struct task *task = self->waiting[priority]; task != NULL;
	     task = task->next_waiting)
		len++;
	return len;
}

void fairness_note_quick(struct task *task)
{
	struct supervisor *self = task->supervisor;

	if (task->payload.len > QUICK_BYTES)
		self->quick_jobs = 0;
	else
		self->quick_jobs++;
}

/* Takes out of the list what stands behind the first `keep`, at most `most`,
 * from the end of the list forward. */
static size_t drop_tail(struct supervisor *self, enum job_priority priority, size_t keep,
			size_t most, void (*drop)(struct task *task))
{
	size_t len = waiting_len(self, priority);
	struct task **at = &self->waiting[priority];
	struct task *rest;

	if (len <= keep)
		return 0;
	if (len - keep > most)
		keep = len - most;
	for (size_t i = 0; i < keep; i++)
		at = &(*at)->next_waiting;
	rest = *at;
	*at = NULL;
	while (rest != NULL) {
		struct task *next = rest->next_waiting;

		rest->waiting = false;
		drop(rest);
		rest = next;
	}
	return len - keep;
}

/* Those that another worker could run now. */
static size_t startable_len(const struct supervisor *self, enum job_priority priority)
{
	size_t len = 0;

	for (const struct task *task = self->waiting[priority]; task != NULL;
	     task = task->next_waiting)
		len += !is_full(self, task);
	return len;
}

static void hold(struct supervisor *self, unsigned prefetch)
{
	if (self->carrier.prefetch == prefetch)
		return;
	self->carrier.prefetch = prefetch;
	consumer_prefetch(self->consumer, prefetch);
}

static void narrow(struct supervisor *self)
{
	unsigned slots = (unsigned)self->config->worker_slots;

	if (self->carrier.prefetch == slots)
		return;
	hold(self, slots);
	for (size_t i = 0; i < PRIORITIES; i++)
		(void)drop_tail(self, order[i], slots, WIDE, finish_handback);
}

/* Nobody of those held may start, and as many are held as may be. */
static void put_aside(struct supervisor *self)
{
	int64_t now_us = clock_mono_us();

	if (now_us < self->aside_at_us)
		return;
	self->aside_at_us = now_us + ASIDE_EVERY_US;
	for (size_t i = 0; i < PRIORITIES; i++) {
		if (self->carrier.prefetch == WIDE && is_held_full(self, order[i]))
			(void)drop_tail(self, order[i], 0, ASIDE_JOBS, finish_aside);
	}
}

void fairness_adjust(struct supervisor *self, bool have_slot)
{
	size_t slots = (size_t)self->config->worker_slots;
	bool waiting = false;
	bool due = false;
	size_t stranded = 0;

	if (self->consumer == NULL || self->stop_signals > 0 || self->expecting ||
	    !self->consuming.connected || slots >= WIDE)
		return;
	for (size_t i = 0; i < PRIORITIES; i++) {
		waiting = waiting || self->waiting[i] != NULL;
		due = due || is_base_due(self, (enum job_priority)i, BASE_SOON_US);
		if (self->carrier.prefetch > slots)
			stranded += startable_len(self, (enum job_priority)i);
	}
	if (waiting && have_slot && due)
		return;
	if (waiting && have_slot) { /* all of them are passed over */
		hold(self, WIDE);
		put_aside(self);
	} else if (!waiting && self->quick_jobs >= QUICK_JOBS) {
		hold(self, WIDE);
	} else if (stranded > slots || (!waiting && self->quick_jobs == 0)) {
		narrow(self);
	}
}
