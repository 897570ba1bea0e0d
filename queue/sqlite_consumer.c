/*
 * sqlite_consumer.c - consuming from the file, driven by its owner's loop.
 *
 * There is no server to wake anybody. Each commit writes to the WAL, so the
 * descriptor that becomes readable is a watch (inotify) on "<path>-wal", and on
 * "<path>-leases", which a process that ends closes. Whatever a watch may miss
 * is found by a look once in LOOK_MS; without one (the system's bound of
 * watches) the looks come every BLIND_MS.
 *
 *	          joined ----failure, lease lost----> waiting
 *	              ^                                  |
 *	              \------------ retry time ----------/
 *
 * Each membership is an epoch. What is settled is collected and written with
 * the next dispatch in one transaction; a process killed in between has it
 * redelivered, as with any ack on its way. Claiming looks first without a lock
 * and writes only when there is something to claim.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "queue/consuming.h"
#include "queue/sqlite_private.h"
#include "schema/limits.h"

enum {
	SETTLES_MAX = 256,
	LOOK_MS = 1000,
	BLIND_MS = 50,
	DELIVERY_BYTES = LIMIT_CARRIED_BYTES + (1 << 20),
};

struct held {
	int64_t seq;
	size_t queue; /* its place in our list */
};

struct settled {
	int64_t seq;
	enum settle how;
	bool seen; /* by the hook: handing back counts as a delivery */
};

struct lite_consumer {
	struct consumer consumer;
	struct lite lite;
	struct lite_member member;
	struct arena arena; /* config and names */
	struct carrier_config config;
	struct consumer_hooks hooks;
	enum source source;
	const char *key;
	struct consuming_queues queues; /* that of control is read, not taken from */
	int64_t control_seq;		/* of the last one read */
	size_t held_of[CONSUMING_QUEUES_MAX];
	struct held *unsettled; /* in no order */
	size_t unsettled_len;
	struct settled settled[SETTLES_MAX]; /* not yet written */
	size_t settled_len;
	uint64_t epoch;
	int watch_fd; /* inotify, or -1 */
	int wal_watch;
	int leases_watch;
	int kept_lock_fd; /* keeps a lost membership's lock, or -1 */
	int64_t sweep_at_us;
	struct consuming_retry retry;
	bool more; /* there may be more to take at once */
	bool stopped;
	bool broken; /* a write failed: the next dispatch tears down */
	struct err broken_why;
};

static struct lite_consumer *from_base(struct consumer *consumer)
{
	return (struct lite_consumer *)consumer;
}

static const struct lite_consumer *from_const_base(const struct consumer *consumer)
{
	return (const struct lite_consumer *)consumer;
}

/* --- watching --------------------------------------------------------- */

static int watch_one(const struct lite_consumer *c, const char *suffix, uint32_t what)
{
	char path[PATH_MAX + 16];

	(void)snprintf(path, sizeof(path), "%s%s", c->lite.path, suffix);
	return inotify_add_watch(c->watch_fd, path, what);
}

static void start_watching(struct lite_consumer *c)
{
	if (c->watch_fd < 0)
		c->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (c->watch_fd < 0)
		return;
	c->wal_watch = watch_one(c, "-wal", IN_MODIFY);
	c->leases_watch = watch_one(c, "-leases", IN_CLOSE_WRITE);
}

static void read_watch(struct lite_consumer *c)
{
	char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool lost = false;
	ssize_t len;

	while (c->watch_fd >= 0 && (len = read(c->watch_fd, data, sizeof(data))) > 0) {
		for (ssize_t at = 0; at < len;) {
			struct inotify_event event;

			memcpy(&event, data + at, sizeof(event));
			at += (ssize_t)(sizeof(event) + event.len);
			if (event.wd == c->leases_watch || (event.mask & IN_Q_OVERFLOW) != 0)
				c->sweep_at_us = 0;
			lost = lost || (event.mask & IN_IGNORED) != 0;
		}
	}
	if (lost) /* somebody removed the file: it is made anew by the next write */
		start_watching(c);
}

static bool is_blind(const struct lite_consumer *c)
{
	return c->watch_fd < 0 || c->wal_watch < 0;
}

/* --- joining ---------------------------------------------------------- */

static int subscribe(struct lite_consumer *c, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(&c->lite, LITE_SUBSCRIBE);

	lite_bind_text(statement, 1, c->queues.names[0]);
	lite_bind_text(statement, 2, c->config.prefix);
	(void)sqlite3_bind_int64(statement, 3, c->source);
	lite_bind_text(statement, 4, c->key);
	(void)sqlite3_bind_int64(statement, 5, c->member.id);
	return lite_run(&c->lite, statement, "subscribe in", err);
}

static int join(struct lite_consumer *c, struct err *err)
{
	int64_t lease_us = (int64_t)c->config.heartbeat_s * LITE_LEASE_BEATS * 1000000;

	if (lite_begin(&c->lite, false, err) < 0)
		return -1;
	if (lite_join(&c->lite, &c->member, &c->config, c->source, c->key == NULL, lease_us, err) <
		    0 ||
	    (c->key != NULL && subscribe(c, err) < 0)) {
		lite_rollback(&c->lite);
		return -1;
	}
	return lite_commit(&c->lite, err);
}

static int connect_now(struct lite_consumer *c, struct err *err)
{
	if (c->lite.db == NULL && lite_open(&c->lite, &c->config, err) < 0)
		return -1;
	if (join(c, err) < 0) {
		lite_close(&c->lite);
		return -1;
	}
	start_watching(c);
	fd_cleanup(&c->kept_lock_fd);
	c->epoch++;
	c->control_seq = 0;
	consuming_retry_reset(&c->retry);
	c->sweep_at_us = 0;
	c->more = true;
	if (c->hooks.connected != NULL)
		c->hooks.connected(c->hooks.ctx, c->epoch);
	return 0;
}

/* --- losing ----------------------------------------------------------- */

/*
 * All tags are void. With the file closed our lock is gone, and others may
 * clean up after us; a queue of one's own for results must outlive that.
 */
static void lose(struct lite_consumer *c, const struct err *why)
{
	if (c->key != NULL && c->source == SOURCE_RESULTS && c->kept_lock_fd < 0 &&
	    c->lite.db != NULL)
		c->kept_lock_fd = dup(c->lite.lock_fd);
	lite_close(&c->lite);
	c->member = (struct lite_member){0};
	c->unsettled_len = 0;
	c->settled_len = 0;
	memset(c->held_of, 0, sizeof(c->held_of));
	c->more = false;
	c->broken = false;
	consuming_retry_schedule(&c->retry, false);
	if (c->hooks.lost != NULL)
		c->hooks.lost(c->hooks.ctx, why);
}

static int try_again(struct lite_consumer *c, struct err *err)
{
	struct err why = {0};

	if (c->stopped || !consuming_retry_due(&c->retry) || connect_now(c, &why) == 0)
		return 0;
	if (consuming_is_final(&why)) {
		if (err != NULL)
			*err = why;
		return -1;
	}
	lose(c, &why);
	return 0;
}

static int keep_lease(struct lite_consumer *c, struct err *err)
{
	int kept;

	if (clock_mono_us() < c->member.beat_at_us)
		return 0;
	kept = lite_beat(&c->lite, &c->member, err);
	if (kept == 0)
		return err_set(err, ERR_TIMEOUT,
			       "this process did not run for longer than its lease on '%s'",
			       c->lite.path);
	return kept < 0 ? -1 : 0;
}

/* --- settling --------------------------------------------------------- */

static int write_settled(struct lite_consumer *c, const struct settled *settled, struct err *err)
{
	static const enum lite_statement statements[] = {[SETTLE_ACK] = LITE_DROP,
							 [SETTLE_HANDBACK] = LITE_HAND_BACK,
							 [SETTLE_REJECT] = LITE_REJECT};
	sqlite3_stmt *statement = lite_statement(&c->lite, statements[settled->how]);
	char dead[TOPOLOGY_NAME_BYTES];

	topology_name(c->config.prefix, "dead", dead);
	(void)sqlite3_bind_int64(statement, 1, settled->seq);
	(void)sqlite3_bind_int64(statement, 2, c->member.id);
	if (settled->how == SETTLE_HANDBACK)
		(void)sqlite3_bind_int64(statement, 3, settled->seen);
	if (settled->how == SETTLE_REJECT) {
		lite_bind_text(statement, 3, dead);
		(void)sqlite3_bind_int64(statement, 4, clock_wall_us() / 1000);
	}
	return lite_run(&c->lite, statement, "settle in", err);
}

static int flush_settled(struct lite_consumer *c, struct err *err)
{
	size_t len = c->settled_len;

	if (len == 0)
		return 0;
	c->settled_len = 0;
	if (lite_begin(&c->lite, false, err) < 0)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (write_settled(c, &c->settled[i], err) < 0) {
			lite_rollback(&c->lite);
			return -1;
		}
	}
	c->more = true; /* there is room again */
	return lite_commit(&c->lite, err);
}

static bool forget_held(struct lite_consumer *c, int64_t seq)
{
	for (size_t i = 0; i < c->unsettled_len; i++) {
		if (c->unsettled[i].seq != seq)
			continue;
		c->held_of[c->unsettled[i].queue]--;
		c->unsettled[i] = c->unsettled[--c->unsettled_len];
		return true;
	}
	return false;
}

static void note_settled(struct lite_consumer *c, int64_t seq, enum settle how, bool seen)
{
	bool known = forget_held(c, seq);

	assert(known);
	(void)known;
	c->settled[c->settled_len++] = (struct settled){seq, how, seen};
	if (c->settled_len == SETTLES_MAX && flush_settled(c, &c->broken_why) < 0)
		c->broken = true;
}

static int lite_settle(struct consumer *base, uint64_t epoch, uint64_t tag, enum settle how,
		       struct err *err)
{
	struct lite_consumer *c = from_base(base);

	(void)err;
	if (epoch == c->epoch && c->lite.db != NULL && !c->broken)
		note_settled(c, (int64_t)tag, how, true);
	return 0;
}

/* --- claiming --------------------------------------------------------- */

static int list_queue(struct lite_consumer *c, size_t queue, size_t most, struct held *list,
		      size_t *len, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(&c->lite, LITE_READY);
	int got;

	lite_bind_text(statement, 1, c->queues.names[queue]);
	(void)sqlite3_bind_int64(statement, 2, (int64_t)most);
	(void)sqlite3_bind_int64(statement, 3, INT64_MAX);
	while ((got = lite_step(&c->lite, statement, "read", err)) == 1)
		list[(*len)++] = (struct held){sqlite3_column_int64(statement, 0), queue};
	return got;
}

/* What could be claimed now, the highest priority first. */
static int list_ready(struct lite_consumer *c, struct held list[CONSUMING_DELIVERIES],
		      size_t *ret_len, struct err *err)
{
	*ret_len = 0;
	for (size_t i = 0; i < c->queues.len; i++) {
		size_t most = c->config.prefetch;
		size_t room = c->held_of[i] < most ? most - c->held_of[i] : 0;
		size_t left = CONSUMING_DELIVERIES - *ret_len;

		room = room < left ? room : left;
		if (room > 0 && list_queue(c, i, room, list, ret_len, err) < 0)
			return -1;
	}
	return 0;
}

static int hold(struct lite_consumer *c, const struct held *held, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(&c->lite, LITE_HOLD);

	(void)sqlite3_bind_int64(statement, 1, held->seq);
	(void)sqlite3_bind_int64(statement, 2, c->member.id);
	return lite_run(&c->lite, statement, "claim from", err);
}

static int claim(struct lite_consumer *c, struct held list[CONSUMING_DELIVERIES], size_t *ret_len,
		 struct err *err)
{
	if (list_ready(c, list, ret_len, err) < 0)
		return -1;
	if (*ret_len == 0)
		return 0;
	if (lite_begin(&c->lite, false, err) < 0)
		return -1;
	if (list_ready(c, list, ret_len, err) < 0)
		goto undo;
	for (size_t i = 0; i < *ret_len; i++) {
		if (hold(c, &list[i], err) < 0)
			goto undo;
	}
	return lite_commit(&c->lite, err);
undo:
	lite_rollback(&c->lite);
	return -1;
}

/* --- delivering ------------------------------------------------------- */

static int deliver(struct lite_consumer *c, const struct held *held, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct delivery delivery;
	int got;

	arena_init(&arena, DELIVERY_BYTES);
	got = lite_read(&c->lite, held->seq, &arena, &delivery, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return err_set(err, ERR_PEER, "a claimed message left the queue '%s'",
			       c->lite.path);
	delivery.tag = (uint64_t)held->seq;
	delivery.epoch = c->epoch;
	c->hooks.delivered(c->hooks.ctx, &delivery);
	return 0;
}

static int read_control_row(struct lite_consumer *c, int64_t seq, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct delivery delivery;
	int got;

	arena_init(&arena, DELIVERY_BYTES);
	got = lite_read(&c->lite, seq, &arena, &delivery, err);
	if (got <= 0)
		return got;
	delivery.epoch = c->epoch;
	c->hooks.control(c->hooks.ctx, &delivery);
	return 0;
}

/* Every worker reads all of it, in the order it was written. */
static int read_control(struct lite_consumer *c, struct err *err)
{
	for (int i = 0; c->queues.control != NULL && i < CONSUMING_DELIVERIES; i++) {
		sqlite3_stmt *statement = lite_statement(&c->lite, LITE_AFTER);
		int64_t seq;

		lite_bind_text(statement, 1, c->queues.control);
		(void)sqlite3_bind_int64(statement, 2, c->control_seq);
		if (lite_number(&c->lite, statement, "read", 0, &seq, err) < 0)
			return -1;
		if (seq == 0)
			return 0;
		c->control_seq = seq;
		if (read_control_row(c, seq, err) < 0)
			return -1;
	}
	c->more = c->queues.control != NULL;
	return 0;
}

static int take(struct lite_consumer *c, struct err *err)
{
	struct held list[CONSUMING_DELIVERIES];
	size_t len;

	if (c->stopped)
		return 0;
	if (claim(c, list, &len, err) < 0)
		return -1;
	for (size_t i = 0; i < len; i++) {
		c->held_of[list[i].queue]++;
		c->unsettled[c->unsettled_len++] = list[i];
	}
	for (size_t i = 0; i < len && !c->broken; i++) {
		if (c->stopped) /* by a hook, meanwhile */
			note_settled(c, list[i].seq, SETTLE_HANDBACK, false);
		else if (deliver(c, &list[i], err) < 0)
			return -1;
	}
	c->more = c->more || len == CONSUMING_DELIVERIES;
	return 0;
}

static int sweep(struct lite_consumer *c, struct err *err)
{
	int64_t now_us = clock_mono_us();
	int64_t next_us;

	if (now_us < c->sweep_at_us)
		return 0;
	if (lite_sweep(&c->lite, &c->member, &next_us, err) < 0)
		return -1;
	c->sweep_at_us = now_us + LOOK_MS * 1000;
	if (next_us < c->sweep_at_us)
		c->sweep_at_us = next_us;
	return 0;
}

static int pump(struct lite_consumer *c, struct err *err)
{
	if (c->broken)
		return err_set(err, c->broken_why.kind, "%s", c->broken_why.message);
	read_watch(c);
	if (keep_lease(c, err) < 0 || flush_settled(c, err) < 0 || sweep(c, err) < 0)
		return -1;
	c->more = false;
	if (read_control(c, err) < 0)
		return -1;
	return take(c, err);
}

static int lite_dispatch(struct consumer *base, struct err *err)
{
	struct lite_consumer *c = from_base(base);
	struct err why = {0};

	if (c->lite.db == NULL && try_again(c, err) < 0)
		return -1;
	if (c->lite.db != NULL && pump(c, &why) < 0)
		lose(c, &why);
	return 0;
}

/* --- the rest --------------------------------------------------------- */

static int lite_fd(const struct consumer *base)
{
	const struct lite_consumer *c = from_const_base(base);

	return c->lite.db == NULL ? -1 : c->watch_fd;
}

static int lite_timeout_ms(const struct consumer *base)
{
	const struct lite_consumer *c = from_const_base(base);
	int64_t at_us = c->retry.at_us;
	int left_ms;

	if (c->lite.db == NULL && c->stopped)
		return -1;
	if (c->lite.db != NULL) {
		if (c->more || c->broken || c->settled_len > 0)
			return 0;
		at_us = c->member.beat_at_us < c->sweep_at_us ? c->member.beat_at_us
							      : c->sweep_at_us;
	}
	left_ms = consuming_left_ms(at_us);
	if (c->lite.db != NULL && is_blind(c) && left_ms > BLIND_MS)
		left_ms = BLIND_MS;
	return left_ms;
}

static void lite_prefetch(struct consumer *base, unsigned prefetch)
{
	from_base(base)->config.prefetch = prefetch;
	from_base(base)->more = true;
}

static void ask_one(struct lite_consumer *c, const char *queue)
{
	sqlite3_stmt *statement = lite_statement(&c->lite, LITE_COUNT);
	int64_t messages;

	lite_bind_text(statement, 1, queue);
	if (lite_number(&c->lite, statement, "read", 0, &messages, NULL) == 0)
		c->hooks.depth(c->hooks.ctx, queue, messages);
}

static void lite_ask(struct consumer *base)
{
	struct lite_consumer *c = from_base(base);
	char dead[TOPOLOGY_NAME_BYTES];

	if (c->lite.db == NULL || c->hooks.depth == NULL)
		return;
	for (size_t i = 0; i < c->queues.len; i++)
		ask_one(c, c->queues.names[i]);
	topology_name(c->config.prefix, "dead", dead);
	ask_one(c, dead);
}

static int lite_stop(struct consumer *base, struct err *err)
{
	(void)err;
	from_base(base)->stopped = true;
	return 0;
}

static void lite_consumer_close(struct consumer *base)
{
	struct lite_consumer *c = from_base(base);

	if (c->lite.db != NULL) {
		if (!c->broken)
			NEGLECT(flush_settled(c, NULL));
		NEGLECT(lite_leave(&c->lite, &c->member, NULL));
	}
	lite_close(&c->lite);
	fd_close(c->watch_fd);
	fd_close(c->kept_lock_fd);
	arena_release(&c->arena);
	free(c);
}

/* --- opening ---------------------------------------------------------- */

static int name_queues(struct lite_consumer *c)
{
	consuming_queues(&c->arena, c->config.prefix, c->source, c->key, c->hooks.control != NULL,
			 &c->queues);
	c->unsettled = arena_array(&c->arena, c->queues.len * consuming_room(c->config.prefetch),
				   sizeof(*c->unsettled));
	return c->arena.exhausted ? -1 : 0;
}

static int copy_config(struct lite_consumer *c, const struct carrier_config *config,
		       struct err *err)
{
	c->config = (struct carrier_config){
		.url = arena_strdup(&c->arena, config->url),
		.prefix = arena_strdup(&c->arena, config->prefix),
		.passive = config->passive,
		.prefetch = config->prefetch == 0 ? 1 : config->prefetch,
		.heartbeat_s = config->heartbeat_s == 0 ? LITE_HEARTBEAT_S : config->heartbeat_s,
		.name = config->name == NULL ? NULL : arena_strdup(&c->arena, config->name),
	};
	if (c->config.prefetch > CONSUMING_PREFETCH_MAX || c->config.heartbeat_s > 3600)
		return err_set(err, ERR_INPUT, "a prefetch is at most %d, a heartbeat 3600 s",
			       CONSUMING_PREFETCH_MAX);
	if (c->arena.exhausted || name_queues(c) < 0)
		return err_set(err, ERR_LIMIT, "out of memory for a consumer");
	return 0;
}

static int lite_consumer_open(struct consumer **ret, const struct carrier_config *config,
			      enum source source, const char *key,
			      const struct consumer_hooks *hooks, struct err *err)
{
	struct lite_consumer *c = calloc(1, sizeof(*c));

	assert(hooks->delivered != NULL);
	assert(key != NULL || source != SOURCE_EVENTS);
	if (c == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for a consumer");
	arena_init(&c->arena, 8 << 20);
	c->consumer.ops = &lite_consumer_ops;
	c->lite.lock_fd = c->watch_fd = c->kept_lock_fd = -1;
	c->hooks = *hooks;
	c->source = source;
	consuming_retry_reset(&c->retry);
	if (key != NULL && (source == SOURCE_RESULTS || source == SOURCE_EVENTS))
		c->key = arena_strdup(&c->arena, key);
	if (copy_config(c, config, err) < 0 || connect_now(c, err) < 0) {
		lite_consumer_close(&c->consumer);
		return -1;
	}
	*ret = &c->consumer;
	return 0;
}

const struct consumer_ops lite_consumer_ops = {
	.open = lite_consumer_open,
	.close = lite_consumer_close,
	.fd = lite_fd,
	.timeout_ms = lite_timeout_ms,
	.dispatch = lite_dispatch,
	.settle = lite_settle,
	.prefetch = lite_prefetch,
	.ask = lite_ask,
	.stop = lite_stop,
};
