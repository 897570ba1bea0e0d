/*
 * sqlite_publisher.c - publishing into the file. What is sent is copied and
 * collected; the next look for fates, a flush or a full window writes it all
 * with one transaction, whose commit is the confirm. So the file is never
 * locked while the owner is busy with other things, and one sync of the disk
 * serves many messages. A batch of events alone is not synced, and not even
 * written when nobody listens.
 *
 * A batch is written whole or not at all. When it cannot be, the publisher is
 * over, as after a lost connection: its owner opens a new one and sends again.
 */
#include <stdlib.h>

#include "queue/sqlite_private.h"
#include "schema/limits.h"

enum { BATCH_BYTES = 4 << 20, ARENA_BYTES = BATCH_BYTES + LIMIT_CARRIED_BYTES + (8 << 20) };

struct pending {
	struct message message;
	uint64_t tag;
	enum route route;
};

struct lite_publisher {
	struct publisher publisher;
	struct lite lite;
	struct arena config_arena;
	struct arena arena; /* of the batch */
	const char *prefix;
	struct pending batch[PUBLISHER_WINDOW];
	size_t batch_len;
	struct publisher_fate fates[PUBLISHER_FATES]; /* a ring */
	size_t fates_first;
	size_t fates_len;
	bool broken;
};

static struct lite_publisher *from_base(struct publisher *publisher)
{
	return (struct lite_publisher *)publisher;
}

static const struct lite_publisher *from_const_base(const struct publisher *publisher)
{
	return (const struct lite_publisher *)publisher;
}

/* --- writing ---------------------------------------------------------- */

/* Whether the batch has to be written at all, and survive a power cut. */
static int judge(struct lite_publisher *p, bool *ret_write, bool *ret_durable, struct err *err)
{
	*ret_durable = false;
	for (size_t i = 0; i < p->batch_len; i++) {
		if (p->batch[i].route != ROUTE_EVENT && p->batch[i].route != ROUTE_REPLY)
			*ret_durable = true;
	}
	*ret_write = true;
	if (*ret_durable)
		return 0;
	for (size_t i = 0; i < p->batch_len; i++) {
		if (p->batch[i].route == ROUTE_REPLY)
			return 0;
	}
	return lite_has_listeners(&p->lite, p->prefix, ret_write, err);
}

static int put_all(struct lite_publisher *p, bool durable, struct err *err)
{
	if (lite_begin(&p->lite, durable, err) < 0)
		return -1;
	for (size_t i = 0; i < p->batch_len; i++) {
		if (lite_put(&p->lite, p->prefix, p->batch[i].route, &p->batch[i].message, err) <
		    0) {
			lite_rollback(&p->lite);
			return -1;
		}
	}
	return lite_commit(&p->lite, err);
}

static void confirm(struct lite_publisher *p, uint64_t tag)
{
	size_t at = (p->fates_first + p->fates_len++) % PUBLISHER_FATES;

	p->fates[at] = (struct publisher_fate){.tag = tag, .confirmed = true};
}

static int over(struct lite_publisher *p, struct err *err)
{
	return err_set(err, ERR_PEER, "writing to the queue '%s' has failed before", p->lite.path);
}

static int write_batch(struct lite_publisher *p, struct err *err)
{
	bool write = false;
	bool durable = false;

	if (p->broken)
		return over(p, err);
	if (p->batch_len == 0)
		return 0;
	if (judge(p, &write, &durable, err) < 0 || (write && put_all(p, durable, err) < 0)) {
		p->broken = true;
		return -1;
	}
	for (size_t i = 0; i < p->batch_len; i++) {
		if (p->batch[i].route != ROUTE_EVENT)
			confirm(p, p->batch[i].tag);
	}
	p->batch_len = 0;
	arena_release(&p->arena);
	return 0;
}

/* --- sending ---------------------------------------------------------- */

static int lite_send(struct publisher *base, enum route route, const struct message *message,
		     uint64_t tag, struct err *err)
{
	struct lite_publisher *p = from_base(base);
	struct pending *pending;

	if (p->broken)
		return over(p, err);
	if (lite_check(p->prefix, route, message, err) < 0)
		return -1;
	if (route != ROUTE_EVENT && p->fates_len + p->batch_len >= PUBLISHER_FATES)
		return err_set(err, ERR_LIMIT, "%d fates wait to be collected", PUBLISHER_FATES);
	if ((p->batch_len == PUBLISHER_WINDOW || p->arena.used_bytes > BATCH_BYTES) &&
	    write_batch(p, err) < 0)
		return -1;
	pending = &p->batch[p->batch_len];
	if (lite_copy(&p->arena, message, &pending->message, err) < 0) {
		p->broken = true;
		return -1;
	}
	pending->route = route;
	pending->tag = tag;
	p->batch_len++;
	return 0;
}

static int lite_send_wait(struct publisher *base, enum route route, const struct message *message,
			  int timeout_ms, struct err *err)
{
	struct lite_publisher *p = from_base(base);
	struct pending *pending = &p->batch[0];

	(void)timeout_ms; /* the file answers sooner than anybody would wait */
	if (lite_check(p->prefix, route, message, err) < 0 || write_batch(p, err) < 0)
		return -1;
	*pending = (struct pending){.message = *message, .route = route};
	p->batch_len = 1;
	if (put_all(p, true, err) < 0) {
		p->broken = true;
		return -1;
	}
	p->batch_len = 0;
	return 0;
}

/* --- fates ------------------------------------------------------------ */

static int lite_next(struct publisher *base, int timeout_ms, struct publisher_fate *ret,
		     struct err *err)
{
	struct lite_publisher *p = from_base(base);

	(void)timeout_ms; /* nothing is ever on its way */
	if (p->fates_len == 0 && write_batch(p, err) < 0)
		return -1;
	if (p->fates_len == 0)
		return 0;
	*ret = p->fates[p->fates_first];
	p->fates_first = (p->fates_first + 1) % PUBLISHER_FATES;
	p->fates_len--;
	return 1;
}

static int lite_flush(struct publisher *base, int timeout_ms, struct err *err)
{
	(void)timeout_ms;
	return write_batch(from_base(base), err);
}

/* --- the rest --------------------------------------------------------- */

static int lite_fd(const struct publisher *base)
{
	(void)base;
	return -1;
}

static int lite_timeout_ms(const struct publisher *base)
{
	const struct lite_publisher *p = from_const_base(base);

	return p->fates_len > 0 || p->batch_len > 0 || p->broken ? 0 : -1;
}

static bool lite_blocked(const struct publisher *base, const char **ret_why)
{
	(void)base;
	if (ret_why != NULL)
		*ret_why = "";
	return false;
}

static void lite_publisher_close(struct publisher *base)
{
	struct lite_publisher *p = from_base(base);

	if (p->lite.db != NULL)
		NEGLECT(write_batch(p, NULL));
	lite_close(&p->lite);
	arena_release(&p->arena);
	arena_release(&p->config_arena);
	free(p);
}

static int lite_publisher_open(struct publisher **ret, const struct carrier_config *config,
			       struct err *err)
{
	struct lite_publisher *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for a publisher");
	p->publisher.ops = &lite_publisher_ops;
	p->lite.lock_fd = -1;
	arena_init(&p->config_arena, 4096);
	arena_init(&p->arena, ARENA_BYTES);
	p->prefix = arena_strdup(&p->config_arena, config->prefix);
	if (p->prefix == NULL || lite_open(&p->lite, config, err) < 0) {
		if (p->prefix == NULL)
			(void)err_set(err, ERR_LIMIT, "out of memory for a publisher");
		lite_publisher_close(&p->publisher);
		return -1;
	}
	*ret = &p->publisher;
	return 0;
}

const struct publisher_ops lite_publisher_ops = {
	.open = lite_publisher_open,
	.close = lite_publisher_close,
	.send = lite_send,
	.send_wait = lite_send_wait,
	.next = lite_next,
	.flush = lite_flush,
	.fd = lite_fd,
	.timeout_ms = lite_timeout_ms,
	.blocked = lite_blocked,
};
