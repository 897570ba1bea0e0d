/*
 * amqp_publisher.c - publishing with confirms, counted by ourselves.
 *
 * The broker numbers what is published on a channel from 1 and confirms by
 * number, one at a time or all up to one. `base` is the oldest number without
 * an answer, `next` the one that comes next, and the window between them is a
 * ring of what we know about each. A message that no queue takes is returned
 * first, with its content but without its number, and then confirmed: it is
 * found again by exchange, key and message id, the oldest first, and a
 * confirmation of a returned message is a failure.
 *
 *	published --return--> returned --ack--> not confirmed
 *	    |--ack--> confirmed
 *	    \--nack-> not confirmed
 *
 * While the broker blocks publishers nothing is written: the library's publish
 * has no timeout, and heartbeats would starve in it. Nor may it be called when
 * the time of the broker's heartbeat is over, for then it waits for one without
 * an end: so a look, which notices that, comes right before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/amqp_private.h"

enum {
	/* How many messages go out between two looks at what came in. */
	LOOK_EVERY = 16,
	LOOK_US = 1000,
	FOREVER = -1,
};

struct pending {
	uint64_t tag;
	uint64_t fingerprint;
	bool silent; /* nobody asks for its fate */
	bool waited; /* publisher_send_wait does */
	bool settled;
	bool returned;
	char why[RABBIT_WHY_BYTES];
};

struct rabbit_publisher {
	struct publisher publisher;
	struct rabbit_link link;
	struct rabbit_inbound inbound;
	struct rabbit_outbound outbound;
	struct arena arena;
	struct carrier_config config;
	uint64_t base;
	uint64_t next;
	struct pending window[PUBLISHER_WINDOW];
	struct publisher_fate fates[PUBLISHER_FATES]; /* a ring */
	size_t fates_first;
	size_t fates_len;
	struct publisher_fate waited; /* of publisher_send_wait */
	bool waited_known;
	int64_t looked_us; /* when the library was last asked for frames */
};

static struct rabbit_publisher *from_base(struct publisher *publisher)
{
	return (struct rabbit_publisher *)publisher;
}

static const struct rabbit_publisher *from_const_base(const struct publisher *publisher)
{
	return (const struct rabbit_publisher *)publisher;
}

static struct pending *slot(struct rabbit_publisher *p, uint64_t number)
{
	return &p->window[number % PUBLISHER_WINDOW];
}

static size_t pending_len(const struct rabbit_publisher *p)
{
	return (size_t)(p->next - p->base);
}

/* --- fates ------------------------------------------------------------ */

static void settle_one(struct rabbit_publisher *p, uint64_t number, bool acked)
{
	struct pending *pending = slot(p, number);
	struct publisher_fate fate = {.tag = pending->tag};

	if (pending->settled)
		return;
	pending->settled = true;
	fate.confirmed = acked && !pending->returned;
	if (pending->returned)
		(void)snprintf(fate.why, sizeof(fate.why), "unroutable: %.100s", pending->why);
	else if (!acked)
		(void)snprintf(fate.why, sizeof(fate.why), "refused by the broker");
	if (pending->waited) {
		p->waited = fate;
		p->waited_known = true;
	} else if (!pending->silent) {
		assert(p->fates_len < PUBLISHER_FATES);
		p->fates[(p->fates_first + p->fates_len++) % PUBLISHER_FATES] = fate;
	}
}

static int settle(struct rabbit_publisher *p, uint64_t number, bool multiple, bool acked,
		  struct err *err)
{
	if (number >= p->next || (number == 0 && !multiple))
		return err_set(err, ERR_PEER, "the broker confirmed what was never published");
	if (number == 0) /* with `multiple`: everything */
		number = p->next - 1;
	if (number < p->base)
		return 0;
	for (uint64_t i = multiple ? p->base : number; i <= number; i++)
		settle_one(p, i, acked);
	while (p->base < p->next && slot(p, p->base)->settled)
		p->base++;
	return 0;
}

static void note_returned(struct rabbit_publisher *p)
{
	const struct rabbit_inbound *in = &p->inbound;
	uint64_t fingerprint = rabbit_fingerprint(in->exchange, in->delivery.key, in->delivery.id);

	for (uint64_t i = p->base; i < p->next; i++) {
		struct pending *pending = slot(p, i);

		if (pending->settled || pending->returned || pending->fingerprint != fingerprint)
			continue;
		pending->returned = true;
		(void)snprintf(pending->why, sizeof(pending->why), "%s", in->why);
		return;
	}
}

/* --- frames ----------------------------------------------------------- */

static int take_frame(struct rabbit_publisher *p, const amqp_frame_t *frame, struct err *err)
{
	int got;

	if (frame->channel == 0)
		return 0;
	if (frame->frame_type == AMQP_FRAME_METHOD) {
		if (frame->payload.method.id == AMQP_BASIC_ACK_METHOD) {
			const amqp_basic_ack_t *ack = frame->payload.method.decoded;

			return settle(p, ack->delivery_tag, ack->multiple, true, err);
		}
		if (frame->payload.method.id == AMQP_BASIC_NACK_METHOD) {
			const amqp_basic_nack_t *nack = frame->payload.method.decoded;

			return settle(p, nack->delivery_tag, nack->multiple, false, err);
		}
	}
	got = rabbit_inbound_feed(&p->inbound, frame, err);
	if (got == 1)
		note_returned(p);
	return got < 0 ? -1 : 0;
}

/* Takes one frame, waiting up to `timeout_ms`. 1, 0 when there is none, -1. */
static int step(struct rabbit_publisher *p, int timeout_ms, struct err *err)
{
	amqp_frame_t frame;
	int got = rabbit_link_next(&p->link, timeout_ms, &frame, err);

	p->looked_us = clock_mono_us();
	if (got == 1 && take_frame(p, &frame, err) < 0)
		got = -1;
	if (got < 0)
		rabbit_link_drop(&p->link);
	return got;
}

static int lost(const struct rabbit_publisher *p, struct err *err)
{
	return err_set(err, ERR_PEER, "the connection to '%s' was lost", p->link.where);
}

static int drain(struct rabbit_publisher *p, struct err *err)
{
	int got;

	do {
		got = step(p, 0, err);
	} while (got == 1);
	return got;
}

static int look(struct rabbit_publisher *p, struct err *err)
{
	if (p->next % LOOK_EVERY != 0 && clock_mono_us() < p->looked_us + LOOK_US)
		return 0;
	return drain(p, err);
}

/* --- waiting ---------------------------------------------------------- */

static int64_t deadline_after(int timeout_ms)
{
	return timeout_ms < 0 ? FOREVER : clock_mono_us() + (int64_t)timeout_ms * 1000;
}

/* A part of the time left that heartbeats can stand. 0 when it is over. */
static int slice_ms(const struct rabbit_publisher *p, int64_t deadline_us)
{
	int most_ms = rabbit_link_timeout_ms(&p->link);
	int64_t left_ms;

	most_ms = most_ms < 0 ? 1000 : most_ms;
	if (deadline_us == FOREVER)
		return most_ms;
	left_ms = (deadline_us - clock_mono_us() + 999) / 1000;
	return left_ms < 0 ? 0 : left_ms < most_ms ? (int)left_ms : most_ms;
}

static bool has_room(const struct rabbit_publisher *p)
{
	return !p->link.blocked && pending_len(p) < PUBLISHER_WINDOW;
}

static bool is_idle(const struct rabbit_publisher *p)
{
	return p->base == p->next;
}

static bool has_waited(const struct rabbit_publisher *p)
{
	return p->waited_known;
}

static bool has_fate(const struct rabbit_publisher *p)
{
	return p->fates_len > 0;
}

/* 0 once `done`, 1 when the time is over first, -1. */
static int wait_until(struct rabbit_publisher *p, bool (*done)(const struct rabbit_publisher *),
		      int64_t deadline_us, struct err *err)
{
	while (!done(p)) {
		int ms;

		if (p->link.state == NULL)
			return lost(p, err);
		ms = slice_ms(p, deadline_us);
		if (step(p, ms, err) < 0)
			return -1;
		if (ms == 0 && !done(p))
			return drain(p, err) < 0 ? -1 : done(p) ? 0 : 1;
	}
	return 0;
}

static int too_late(const struct rabbit_publisher *p, struct err *err)
{
	if (p->link.blocked)
		return err_set(err, ERR_TIMEOUT,
			       "the broker at '%s' takes no messages (%s); free its memory or disk",
			       p->link.where, p->link.blocked_why);
	return err_set(err, ERR_TIMEOUT, "the broker at '%s' did not confirm in time",
		       p->link.where);
}

/* --- sending ---------------------------------------------------------- */

static int publish(struct rabbit_publisher *p, struct err *err)
{
	struct rabbit_outbound *out = &p->outbound;
	/* The library takes the body as changeable, but only reads it. */
	amqp_bytes_t body = {out->body.len, (void *)(uintptr_t)out->body.data};
	struct err why = {0};
	int status;

	status = amqp_basic_publish(p->link.state, RABBIT_CHANNEL,
				    amqp_cstring_bytes(out->exchange), amqp_cstring_bytes(out->key),
				    out->mandatory, 0, &out->properties, body);
	if (status == AMQP_STATUS_OK)
		return 0;
	/* The broker's goodbye, if there is one, says more than the socket. */
	if (drain(p, &why) < 0 && why.kind != ERR_PEER && why.kind != ERR_TIMEOUT)
		return err_set(err, why.kind, "%s", why.message);
	rabbit_link_drop(&p->link);
	return err_set(err, ERR_PEER, "cannot publish at '%s': %s", p->link.where,
		       amqp_error_string2(status));
}

static int send_message(struct rabbit_publisher *p, enum route route, const struct message *message,
			struct pending pending, int64_t deadline_us, struct err *err)
{
	int waited;

	if (p->link.state == NULL)
		return lost(p, err);
	if (p->fates_len + pending_len(p) >= PUBLISHER_FATES)
		return err_set(err, ERR_LIMIT, "collect the fates of what was sent before");
	if (rabbit_outbound_make(&p->outbound, p->config.prefix, route, message, err) < 0)
		return -1;
	if (look(p, err) < 0)
		return -1;
	waited = wait_until(p, has_room, deadline_us, err);
	if (waited != 0)
		return waited < 0 ? -1 : too_late(p, err);
	pending.fingerprint =
		rabbit_fingerprint(p->outbound.exchange, p->outbound.key, message->id);
	*slot(p, p->next) = pending;
	p->next++;
	return publish(p, err);
}

static int rabbit_send(struct publisher *base, enum route route, const struct message *message,
		       uint64_t tag, struct err *err)
{
	struct pending pending = {.tag = tag, .silent = route == ROUTE_EVENT};

	struct rabbit_publisher *p = from_base(base);
	int64_t deadline_us =
		p->config.send_wait_ms == 0 ? FOREVER : deadline_after(p->config.send_wait_ms);

	return send_message(p, route, message, pending, deadline_us, err);
}

static int rabbit_send_wait(struct publisher *base, enum route route, const struct message *message,
			    int timeout_ms, struct err *err)
{
	struct rabbit_publisher *p = from_base(base);
	int64_t deadline_us = deadline_after(timeout_ms);
	uint64_t number = p->next;
	int waited;

	p->waited_known = false;
	if (send_message(p, route, message, (struct pending){.waited = true}, deadline_us, err) < 0)
		return -1;
	waited = wait_until(p, has_waited, deadline_us, err);
	if (waited < 0)
		return -1;
	if (waited > 0) {
		slot(p, number)->waited = false;
		slot(p, number)->silent = true;
		return too_late(p, err);
	}
	if (p->waited.confirmed)
		return 0;
	if (slot(p, number)->returned)
		return err_set(err, ERR_NOT_FOUND,
			       "no queue takes the message at '%s' (%s); declare the topology, or "
			       "start a worker once",
			       p->link.where, p->waited.why);
	return err_set(err, ERR_LIMIT, "the broker at '%s' refused the message; is the queue full?",
		       p->link.where);
}

/* --- the rest --------------------------------------------------------- */

static int rabbit_next(struct publisher *base, int timeout_ms, struct publisher_fate *ret,
		       struct err *err)
{
	struct rabbit_publisher *p = from_base(base);

	if (p->fates_len == 0) {
		int waited = wait_until(p, has_fate, deadline_after(timeout_ms), err);

		if (p->fates_len == 0)
			return waited < 0 ? -1 : 0;
	}
	*ret = p->fates[p->fates_first];
	p->fates_first = (p->fates_first + 1) % PUBLISHER_FATES;
	p->fates_len--;
	return 1;
}

static int rabbit_flush(struct publisher *base, int timeout_ms, struct err *err)
{
	struct rabbit_publisher *p = from_base(base);
	int waited = wait_until(p, is_idle, deadline_after(timeout_ms), err);

	return waited > 0 ? too_late(p, err) : waited;
}

static int rabbit_fd(const struct publisher *base)
{
	return rabbit_link_fd(&from_const_base(base)->link);
}

static int rabbit_timeout_ms(const struct publisher *base)
{
	const struct rabbit_publisher *p = from_const_base(base);

	if (p->fates_len > 0 || p->link.state == NULL)
		return 0;
	return rabbit_link_timeout_ms(&p->link);
}

static bool rabbit_blocked(const struct publisher *base, const char **ret_why)
{
	const struct rabbit_publisher *p = from_const_base(base);

	if (ret_why != NULL)
		*ret_why = p->link.blocked_why;
	return p->link.blocked;
}

static void rabbit_close(struct publisher *base)
{
	struct rabbit_publisher *p = from_base(base);

	rabbit_link_close(&p->link);
	rabbit_inbound_release(&p->inbound);
	arena_release(&p->arena);
	free(p);
}

static int connect_now(struct rabbit_publisher *p, struct err *err)
{
	if (rabbit_link_open(&p->link, &p->config, "publisher", (int)p->config.heartbeat_s,
			     RABBIT_PATIENCE_S, err) < 0)
		return -1;
	if (!p->config.passive && rabbit_topology_declare(&p->link, p->config.prefix, err) < 0) {
		rabbit_link_drop(&p->link);
		return -1;
	}
	(void)amqp_confirm_select(p->link.state, RABBIT_CHANNEL);
	return rabbit_link_check(&p->link, "ask for confirms", err);
}

static int rabbit_open(struct publisher **ret, const struct carrier_config *config, struct err *err)
{
	struct rabbit_publisher *p = calloc(1, sizeof(*p));
	int64_t end_us = 0;

	if (p == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for a publisher");
	p->publisher.ops = &rabbit_publisher_ops;
	p->base = 1;
	p->next = 1;
	arena_init(&p->arena, 64 << 10);
	rabbit_inbound_init(&p->inbound);
	if (rabbit_config_copy(&p->arena, config, &p->config, err) < 0)
		goto fail;
	while (connect_now(p, err) < 0) {
		if (!rabbit_link_worth_waiting(&p->link, &end_us, err))
			goto fail;
	}
	*ret = &p->publisher;
	return 0;
fail:
	rabbit_close(&p->publisher);
	return -1;
}

const struct publisher_ops rabbit_publisher_ops = {
	.open = rabbit_open,
	.close = rabbit_close,
	.send = rabbit_send,
	.send_wait = rabbit_send_wait,
	.next = rabbit_next,
	.flush = rabbit_flush,
	.fd = rabbit_fd,
	.timeout_ms = rabbit_timeout_ms,
	.blocked = rabbit_blocked,
};
