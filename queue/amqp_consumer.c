/*
 * amqp_consumer.c - the consuming connection, driven by its owner's loop.
 *
 *	          connected ----failure, cancel----> waiting
 *	              ^                                 |
 *	              \------------ retry time ---------/     (refused: over, an error)
 *
 * Each connection is an epoch; tags belong to one. After a failure the
 * connection is destroyed and made again after a while (queue/consuming.h), half
 * of it random. What makes no sense to repeat (access refused, a queue of another
 * kind) ends in an error from consumer_dispatch.
 *
 * A queue that was deleted is noticed by the broker's cancel; reconnecting
 * declares it again, or, when passive, waits until the operator has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/amqp_private.h"
#include "queue/consuming.h"

enum {
	/* The consumer of the control stream is named by the place behind them. */
	CONTROL = CONSUMING_QUEUES_MAX,
	CONTROL_PREFETCH = 256,
	DISPATCH_FRAMES = 2048,
	/* How long a queue of one's own waits for its owner to come back. */
	OWN_QUEUE_EXPIRES_MS = 600000,
	TAG_BYTES = 32,
	/* A control stream without a leader: how long it is waited for, which is less
	 * than the patience of a start, and when it is asked for again. */
	CONTROL_PATIENCE_US = 6 * 1000 * 1000,
	CONTROL_AGAIN_US = 300 * 1000 * 1000,
};

struct rabbit_consumer {
	struct consumer consumer;
	struct rabbit_link link;
	struct rabbit_inbound inbound;
	struct arena arena; /* config and names */
	struct carrier_config config;
	struct consumer_hooks hooks;
	enum source source;
	const char *key;
	struct consuming_queues queues; /* and the stream */
	uint64_t *unsettled;		/* tags handed out, in no order */
	size_t unsettled_len;
	size_t unsettled_max;
	uint64_t epoch;
	unsigned generation; /* of the consumers: how often the prefetch changed */
	struct consuming_retry retry;
	int64_t control_failed_us; /* the stream's first failure in a row; 0: none */
	int64_t control_again_us;  /* deaf until then; 0: the stream is heard */
	struct err control_why;
	bool more;    /* the last dispatch left frames behind */
	bool stopped; /* by consumer_stop */
	/* A write failed. Nothing is torn down in the midst of a hook: the next
	 * dispatch does it. */
	bool broken;
	struct err broken_why;
};

static struct rabbit_consumer *from_base(struct consumer *consumer)
{
	return (struct rabbit_consumer *)consumer;
}

static const struct rabbit_consumer *from_const_base(const struct consumer *consumer)
{
	return (const struct rabbit_consumer *)consumer;
}

/* --- setting up ------------------------------------------------------- */

static int name_queues(struct rabbit_consumer *c, struct err *err)
{
	consuming_queues(&c->arena, c->config.prefix, c->source, c->key, c->hooks.control != NULL,
			 &c->queues);
	/* After a change of the prefetch what the old one allowed may still come. */
	c->unsettled_max = c->queues.len * consuming_room(c->config.prefetch) * 2;
	c->unsettled = arena_array(&c->arena, c->unsettled_max, sizeof(*c->unsettled));
	return c->arena.exhausted ? err_set(err, ERR_LIMIT, "out of memory for a consumer") : 0;
}

/*
 * The queue of one's own. For events it goes with the connection. For results
 * it outlives connection and broker, so that one which is published while the
 * connection is away is there when it is back; closing removes it, and a time
 * without anybody removes what a killed owner leaves.
 */
static int make_own_queue(struct rabbit_consumer *c, struct err *err)
{
	const bool lasting = c->source == SOURCE_RESULTS;
	char exchange[TOPOLOGY_NAME_BYTES];
	char what[TOPOLOGY_NAME_BYTES + 32];
	amqp_table_entry_t expires = {
		.key = amqp_cstring_bytes("x-expires"),
		.value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = OWN_QUEUE_EXPIRES_MS},
	};
	amqp_table_t arguments = {lasting ? 1 : 0, &expires};

	(void)snprintf(what, sizeof(what), "make the queue '%s'", c->queues.names[0]);
	(void)amqp_queue_declare(c->link.state, RABBIT_CHANNEL,
				 amqp_cstring_bytes(c->queues.names[0]), 0, lasting, !lasting,
				 !lasting, arguments);
	if (rabbit_link_check(&c->link, what, err) < 0)
		return -1;
	topology_name(c->config.prefix, c->source == SOURCE_EVENTS ? "events" : "results",
		      exchange);
	(void)snprintf(what, sizeof(what), "bind the queue '%s'", c->queues.names[0]);
	(void)amqp_queue_bind(c->link.state, RABBIT_CHANNEL, amqp_cstring_bytes(c->queues.names[0]),
			      amqp_cstring_bytes(exchange), amqp_cstring_bytes(c->key),
			      amqp_empty_table);
	return rabbit_link_check(&c->link, what, err);
}

/* The consumer's tag is the place of its queue in our list, and how often it
 * was made anew. */
static void name_consumer(const struct rabbit_consumer *c, size_t i, char ret_tag[TAG_BYTES])
{
	(void)snprintf(ret_tag, TAG_BYTES, "%zu.%u", i, c->generation);
}

static int consume(struct rabbit_consumer *c, size_t i, const char *queue, unsigned prefetch,
		   amqp_table_t arguments, struct err *err)
{
	char what[TOPOLOGY_NAME_BYTES + 32];
	char tag[TAG_BYTES];

	(void)snprintf(what, sizeof(what), "consume the queue '%s'", queue);
	name_consumer(c, i, tag);
	(void)amqp_basic_qos(c->link.state, RABBIT_CHANNEL, 0, (uint16_t)prefetch, 0);
	if (rabbit_link_check(&c->link, "set the prefetch", err) < 0)
		return -1;
	(void)amqp_basic_consume(c->link.state, RABBIT_CHANNEL, amqp_cstring_bytes(queue),
				 amqp_cstring_bytes(tag), 0, 0, 0, arguments);
	return rabbit_link_check(&c->link, what, err);
}

/* From its first message: what was said while we were away counts, too. */
static int consume_control(struct rabbit_consumer *c, struct err *err)
{
	amqp_table_entry_t offset = {
		.key = amqp_cstring_bytes("x-stream-offset"),
		.value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("first")},
	};

	return consume(c, CONTROL, c->queues.control, CONTROL_PREFETCH, (amqp_table_t){1, &offset},
		       err);
}

/* Jobs do not wait for ever for a stream that the broker may have lost. */
static int hear_control(struct rabbit_consumer *c, struct err *err)
{
	int64_t now_us = clock_mono_us();
	struct err why = {0};

	c->control_again_us = 0;
	if (consume_control(c, &why) == 0) {
		c->control_failed_us = 0;
		return 0;
	}
	if (c->control_failed_us == 0)
		c->control_failed_us = now_us;
	if (!c->link.starting || now_us - c->control_failed_us < CONTROL_PATIENCE_US) {
		if (err != NULL)
			*err = why;
		return -1;
	}
	c->control_again_us = now_us + CONTROL_AGAIN_US;
	c->control_why = why;
	return rabbit_link_reopen_channel(&c->link, err);
}

static int set_up(struct rabbit_consumer *c, struct err *err)
{
	if (!c->config.passive && rabbit_topology_declare(&c->link, c->config.prefix, err) < 0)
		return -1;
	if (c->key != NULL && make_own_queue(c, err) < 0)
		return -1;
	if (c->queues.control != NULL && hear_control(c, err) < 0)
		return -1;
	for (size_t i = 0; i < c->queues.len; i++) {
		if (consume(c, i, c->queues.names[i], c->config.prefetch, amqp_empty_table, err) <
		    0)
			return -1;
	}
	return 0;
}

static int connect_now(struct rabbit_consumer *c, struct err *err)
{
	if (rabbit_link_open(&c->link, &c->config, "consumer", (int)c->config.heartbeat_s,
			     c->epoch == 0 ? RABBIT_PATIENCE_S : RABBIT_PATIENCE_AGAIN_S, err) < 0)
		return -1;
	if (set_up(c, err) < 0) {
		rabbit_link_drop(&c->link);
		return -1;
	}
	c->epoch++;
	c->unsettled_len = 0;
	consuming_retry_reset(&c->retry);
	c->more = true; /* deliveries may have come along with the answers */
	rabbit_inbound_reset(&c->inbound);
	c->broken = false;
	if (c->hooks.connected != NULL)
		c->hooks.connected(c->hooks.ctx, c->epoch);
	if (c->control_again_us != 0 && c->hooks.deaf != NULL)
		c->hooks.deaf(c->hooks.ctx, c->control_why.message);
	return 0;
}

/* --- losing and making connections ------------------------------------ */

static void lose(struct rabbit_consumer *c, const struct err *why)
{
	bool was_blocked = c->link.blocked;

	rabbit_link_drop(&c->link);
	rabbit_inbound_reset(&c->inbound);
	c->unsettled_len = 0;
	c->more = false;
	c->broken = false;
	consuming_retry_schedule(&c->retry, true);
	if (was_blocked && c->hooks.blocked != NULL)
		c->hooks.blocked(c->hooks.ctx, false, "");
	if (c->hooks.lost != NULL)
		c->hooks.lost(c->hooks.ctx, why);
}

static int try_again(struct rabbit_consumer *c, struct err *err)
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

/* --- settling --------------------------------------------------------- */

static int send_settle(struct rabbit_consumer *c, uint64_t tag, enum settle how)
{
	switch (how) {
	case SETTLE_ACK:
		return amqp_basic_ack(c->link.state, RABBIT_CHANNEL, tag, 0);
	case SETTLE_HANDBACK:
		return amqp_basic_nack(c->link.state, RABBIT_CHANNEL, tag, 0, 1);
	case SETTLE_REJECT:
		break;
	}
	return amqp_basic_reject(c->link.state, RABBIT_CHANNEL, tag, 0);
}

static void note_written(struct rabbit_consumer *c, int status, const char *what)
{
	if (rabbit_link_check_status(&c->link, status, what, &c->broken_why) < 0)
		c->broken = true;
}

static void forget_tag(struct rabbit_consumer *c, uint64_t tag)
{
	for (size_t i = 0; i < c->unsettled_len; i++) {
		if (c->unsettled[i] == tag) {
			c->unsettled[i] = c->unsettled[--c->unsettled_len];
			return;
		}
	}
	assert(!"a delivery is settled once");
}

static int rabbit_settle(struct consumer *base, uint64_t epoch, uint64_t tag, enum settle how,
			 struct err *err)
{
	struct rabbit_consumer *c = from_base(base);

	(void)err;
	if (epoch != c->epoch || c->link.state == NULL || c->broken)
		return 0;
	forget_tag(c, tag);
	note_written(c, send_settle(c, tag, how), "settle a delivery");
	return 0;
}

/* --- frames ----------------------------------------------------------- */

static int deliver_control(struct rabbit_consumer *c, struct err *err)
{
	struct delivery *delivery = &c->inbound.delivery;
	int status;

	delivery->epoch = c->epoch;
	delivery->queue = c->queues.control;
	c->hooks.control(c->hooks.ctx, delivery);
	status = send_settle(c, delivery->tag, SETTLE_ACK);
	return rabbit_link_check_status(&c->link, status, "settle a delivery", err);
}

static int deliver(struct rabbit_consumer *c, struct err *err)
{
	struct rabbit_inbound *in = &c->inbound;
	struct delivery *delivery = &in->delivery;
	size_t i = (size_t)(in->consumer[0] - '0');

	if (in->kind == INBOUND_DELIVER && i == CONTROL && c->queues.control != NULL)
		return deliver_control(c, err);
	if (in->kind != INBOUND_DELIVER || i >= c->queues.len || in->consumer[1] != '.')
		return err_set(err, ERR_PEER, "the broker sent a message nobody asked for");
	if (c->stopped) {
		int status = send_settle(c, delivery->tag, SETTLE_HANDBACK);

		return rabbit_link_check_status(&c->link, status, "hand back a delivery", err);
	}
	if (c->unsettled_len == c->unsettled_max)
		return err_set(err, ERR_PEER, "the broker sent more than the prefetch allows");
	c->unsettled[c->unsettled_len++] = delivery->tag;
	delivery->epoch = c->epoch;
	delivery->queue = c->queues.names[i];
	delivery->priority = topology_job_priority(delivery->key);
	if (c->source == SOURCE_DEAD)
		rabbit_inbound_tell_death(in);
	c->hooks.delivered(c->hooks.ctx, delivery);
	return 0;
}

static void tell_depth(struct rabbit_consumer *c, const amqp_queue_declare_ok_t *answer)
{
	char name[TOPOLOGY_NAME_BYTES];

	if (c->hooks.depth == NULL || answer->queue.len >= sizeof(name))
		return;
	memcpy(name, answer->queue.bytes, answer->queue.len);
	name[answer->queue.len] = '\0';
	c->hooks.depth(c->hooks.ctx, name, answer->message_count);
}

/* Returns 1 when a message was handed out, 0, or -1 when the connection is of
 * no use any more. */
static int take_frame(struct rabbit_consumer *c, const amqp_frame_t *frame, struct err *err)
{
	int got;

	if (frame->channel == 0)
		return 0;
	if (frame->frame_type == AMQP_FRAME_METHOD) {
		switch (frame->payload.method.id) {
		case AMQP_BASIC_CANCEL_METHOD:
			return err_set(err, ERR_PEER,
				       "the broker cancelled the consumer; was its queue deleted?");
		case AMQP_QUEUE_DECLARE_OK_METHOD:
			tell_depth(c, frame->payload.method.decoded);
			return 0;
		case AMQP_BASIC_CANCEL_OK_METHOD:
		case AMQP_BASIC_QOS_OK_METHOD:
			return 0;
		default:
			break;
		}
	}
	got = rabbit_inbound_feed(&c->inbound, frame, err);
	if (got == 1 && deliver(c, err) < 0)
		return -1;
	return got;
}

static void tell_blocked(struct rabbit_consumer *c)
{
	if (!c->link.blocked_changed)
		return;
	c->link.blocked_changed = false;
	if (c->hooks.blocked != NULL)
		c->hooks.blocked(c->hooks.ctx, c->link.blocked, c->link.blocked_why);
}

/* -1 when the connection was lost. */
static int pump(struct rabbit_consumer *c, struct err *err)
{
	int deliveries = 0;

	c->more = false;
	if (c->broken)
		return err_set(err, c->broken_why.kind, "%s", c->broken_why.message);
	for (int i = 0; i < DISPATCH_FRAMES; i++) {
		amqp_frame_t frame;
		int got = rabbit_link_next(&c->link, 0, &frame, err);

		if (got <= 0)
			return got;
		got = take_frame(c, &frame, err);
		if (got < 0)
			return -1;
		tell_blocked(c);
		if (c->broken)
			return err_set(err, c->broken_why.kind, "%s", c->broken_why.message);
		deliveries += got;
		if (deliveries >= CONSUMING_DELIVERIES)
			break;
	}
	c->more = true;
	return 0;
}

static int rabbit_dispatch(struct consumer *base, struct err *err)
{
	struct rabbit_consumer *c = from_base(base);
	struct err why = {0};

	if (c->link.state == NULL && try_again(c, err) < 0)
		return -1;
	if (c->link.state == NULL)
		return 0;
	if (pump(c, &why) < 0) {
		lose(c, &why);
	} else if (c->control_again_us != 0 && !c->stopped &&
		   clock_mono_us() > c->control_again_us) {
		(void)err_set(&why, ERR_PEER,
			      "it is made anew to ask for the control stream again");
		lose(c, &why);
	}
	return 0;
}

/* --- the rest --------------------------------------------------------- */

static int rabbit_fd(const struct consumer *base)
{
	const struct rabbit_consumer *c = from_const_base(base);

	return c->broken ? -1 : rabbit_link_fd(&c->link);
}

static int rabbit_timeout_ms(const struct consumer *base)
{
	const struct rabbit_consumer *c = from_const_base(base);

	if (c->link.state != NULL)
		return c->more || c->broken ? 0 : rabbit_link_timeout_ms(&c->link);
	if (c->stopped)
		return -1;
	return consuming_left_ms(c->retry.at_us);
}

static void send_method(struct rabbit_consumer *c, amqp_method_number_t id, void *method,
			const char *what)
{
	if (c->link.state != NULL && !c->broken)
		note_written(c, amqp_send_method(c->link.state, RABBIT_CHANNEL, id, method), what);
}

static void cancel_consumers(struct rabbit_consumer *c)
{
	for (size_t i = 0; i < c->queues.len; i++) {
		amqp_basic_cancel_t cancel = {.nowait = 1};
		char tag[TAG_BYTES];

		name_consumer(c, i, tag);
		cancel.consumer_tag = amqp_cstring_bytes(tag);
		send_method(c, AMQP_BASIC_CANCEL_METHOD, &cancel, "stop consuming");
	}
}

/* A prefetch holds for consumers that begin after it: they are made anew, and
 * nobody waits for the answers. */
static void rabbit_prefetch(struct consumer *base, unsigned prefetch)
{
	struct rabbit_consumer *c = from_base(base);
	amqp_basic_qos_t qos = {.prefetch_count = (uint16_t)prefetch};

	if (c->stopped || prefetch == c->config.prefetch)
		return;
	c->config.prefetch = prefetch;
	cancel_consumers(c);
	c->generation++;
	send_method(c, AMQP_BASIC_QOS_METHOD, &qos, "set the prefetch");
	for (size_t i = 0; i < c->queues.len; i++) {
		amqp_basic_consume_t consume = {.nowait = 1};
		char tag[TAG_BYTES];

		name_consumer(c, i, tag);
		consume.queue = amqp_cstring_bytes(c->queues.names[i]);
		consume.consumer_tag = amqp_cstring_bytes(tag);
		send_method(c, AMQP_BASIC_CONSUME_METHOD, &consume, "consume");
	}
}

/* To declare passively is to ask; the answers are frames like others. */
static void ask_one(struct rabbit_consumer *c, const char *queue)
{
	amqp_queue_declare_t ask = {.queue = amqp_cstring_bytes(queue), .passive = 1};

	send_method(c, AMQP_QUEUE_DECLARE_METHOD, &ask, "ask for a queue's depth");
}

static void rabbit_ask(struct consumer *base)
{
	struct rabbit_consumer *c = from_base(base);
	char dead[TOPOLOGY_NAME_BYTES];

	for (size_t i = 0; i < c->queues.len; i++)
		ask_one(c, c->queues.names[i]);
	topology_name(c->config.prefix, "dead", dead);
	ask_one(c, dead);
}

static int rabbit_stop(struct consumer *base, struct err *err)
{
	struct rabbit_consumer *c = from_base(base);

	(void)err;
	if (c->stopped)
		return 0;
	c->stopped = true;
	cancel_consumers(c);
	return 0;
}

static void remove_own_queue(struct rabbit_consumer *c)
{
	amqp_queue_delete_t method = {.nowait = 1};

	if (c->key == NULL || c->source != SOURCE_RESULTS || c->queues.len == 0 ||
	    c->link.state == NULL || c->broken)
		return;
	method.queue = amqp_cstring_bytes(c->queues.names[0]);
	(void)amqp_send_method(c->link.state, RABBIT_CHANNEL, AMQP_QUEUE_DELETE_METHOD, &method);
}

static void rabbit_close(struct consumer *base)
{
	struct rabbit_consumer *c = from_base(base);

	remove_own_queue(c);
	rabbit_link_close(&c->link);
	rabbit_inbound_release(&c->inbound);
	arena_release(&c->arena);
	free(c);
}

static int rabbit_open(struct consumer **ret, const struct carrier_config *config,
		       enum source source, const char *key, const struct consumer_hooks *hooks,
		       struct err *err)
{
	struct rabbit_consumer *c = calloc(1, sizeof(*c));
	int64_t end_us = 0;

	assert(hooks->delivered != NULL);
	assert(key != NULL || source != SOURCE_EVENTS);
	if (c == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for a consumer");
	arena_init(&c->arena, 4 << 20);
	rabbit_inbound_init(&c->inbound);
	c->consumer.ops = &rabbit_consumer_ops;
	c->hooks = *hooks;
	c->source = source;
	consuming_retry_reset(&c->retry);
	if (rabbit_config_copy(&c->arena, config, &c->config, err) < 0)
		goto fail;
	if (c->config.prefetch > CONSUMING_PREFETCH_MAX) {
		(void)err_set(err, ERR_INPUT, "a prefetch of %u is beyond %d", c->config.prefetch,
			      CONSUMING_PREFETCH_MAX);
		goto fail;
	}
	if (source == SOURCE_RESULTS || source == SOURCE_EVENTS)
		c->key = key == NULL ? NULL : arena_strdup(&c->arena, key);
	if (name_queues(c, err) < 0)
		goto fail;
	while (connect_now(c, err) < 0) {
		if (!rabbit_link_worth_waiting(&c->link, &end_us, err))
			goto fail;
	}
	*ret = &c->consumer;
	return 0;
fail:
	rabbit_close(&c->consumer);
	return -1;
}

const struct consumer_ops rabbit_consumer_ops = {
	.open = rabbit_open,
	.close = rabbit_close,
	.fd = rabbit_fd,
	.timeout_ms = rabbit_timeout_ms,
	.dispatch = rabbit_dispatch,
	.settle = rabbit_settle,
	.prefetch = rabbit_prefetch,
	.ask = rabbit_ask,
	.stop = rabbit_stop,
};
