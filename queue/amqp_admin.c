/*
 * amqp_admin.c - short visits to the broker, each on a connection of its own:
 * looking, declaring, walking through the dead letters. And the carrier's one
 * table.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "queue/amqp_private.h"

enum {
	GET_TIMEOUT_MS = 20000,
	RETURN_TIMEOUT_MS = 3000,
	RETURN_POLL_MS = 2,
	RETURN_AT_ONCE = 16,
	HELD_BYTES = 64 << 20, /* tags of letters that are held: eight million */
	/* A visit waits for people and for other connections, so its own
	 * connection does without heartbeats; TCP says when the peer is gone. */
	NO_HEARTBEAT = 0,
};

/* --- configuration ---------------------------------------------------- */

static const char *copy(struct arena *arena, const char *text)
{
	return text == NULL ? NULL : arena_strdup(arena, text);
}

int rabbit_config_copy(struct arena *arena, const struct carrier_config *config,
		       struct carrier_config *ret, struct err *err)
{
	*ret = *config;
	ret->url = copy(arena, config->url);
	ret->prefix = copy(arena, config->prefix);
	ret->ca_file = copy(arena, config->ca_file);
	ret->cert_file = copy(arena, config->cert_file);
	ret->key_file = copy(arena, config->key_file);
	ret->name = copy(arena, config->name);
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory for a connection's configuration");
	if (ret->prefetch == 0)
		ret->prefetch = 1;
	if (ret->heartbeat_s == 0)
		ret->heartbeat_s = RABBIT_HEARTBEAT_S;
	if (ret->heartbeat_s > 3600)
		return err_set(err, ERR_INPUT, "a heartbeat of %u s is beyond 3600",
			       ret->heartbeat_s);
	return 0;
}

/* --- looking and declaring -------------------------------------------- */

static int look_at(struct rabbit_link *link, struct queue_depth *depth, struct err *err)
{
	char what[TOPOLOGY_NAME_BYTES + 32];
	amqp_queue_declare_ok_t *ok;
	struct err why = {0};

	ok = amqp_queue_declare(link->state, RABBIT_CHANNEL, amqp_cstring_bytes(depth->name), 1, 0,
				0, 0, amqp_empty_table);
	if (ok != NULL) {
		depth->messages = ok->message_count;
		depth->consumers = ok->consumer_count;
		return 0;
	}
	(void)snprintf(what, sizeof(what), "look at the queue '%s'", depth->name);
	if (rabbit_link_check(link, what, &why) == 0)
		return err_set(err, ERR_PEER, "'%s' gave no answer about a queue", link->where);
	if (why.kind != ERR_NOT_FOUND) {
		if (err != NULL)
			*err = why;
		return -1;
	}
	depth->messages = -1;
	return rabbit_link_reopen_channel(link, err);
}

static bool knows_queue_timeouts(const char *server)
{
	int major = 0;
	int minor = 0;

	if (sscanf(server, "RabbitMQ %d.%d", &major, &minor) != 2)
		return false;
	return major > 3 || (major == 3 && minor >= 12);
}

static int rabbit_inspect(struct arena *arena, const struct carrier_config *config,
			  struct carrier_report *ret, struct err *err)
{
	struct carrier_report report = {.queues_len = topology_queues_len};
	struct rabbit_link link;
	char name[TOPOLOGY_NAME_BYTES];

	report.queues = arena_array(arena, topology_queues_len, sizeof(*report.queues));
	if (report.queues == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for a report");
	if (rabbit_link_open(&link, config, "inspect", RABBIT_HEARTBEAT_S, RABBIT_PATIENCE_S, err) <
	    0)
		return -1;
	(void)snprintf(report.server, sizeof(report.server), "%s", link.server);
	report.queue_timeouts = knows_queue_timeouts(link.server);
	for (size_t i = 0; i < topology_queues_len; i++) {
		topology_name(config->prefix, topology_queues[i].suffix, name);
		report.queues[i].name = arena_strdup(arena, name);
		if (report.queues[i].name == NULL) {
			rabbit_link_close(&link);
			return err_set(err, ERR_LIMIT, "out of memory for a report");
		}
		if (look_at(&link, &report.queues[i], err) < 0) {
			rabbit_link_drop(&link);
			return -1;
		}
	}
	rabbit_link_close(&link);
	*ret = report;
	return 0;
}

static int declare_once(struct rabbit_link *link, const struct carrier_config *config,
			struct err *err)
{
	int done;

	if (rabbit_link_open(link, config, "declare", RABBIT_HEARTBEAT_S, RABBIT_PATIENCE_S, err) <
	    0)
		return -1;
	done = config->passive ? rabbit_topology_check(link, config->prefix, err)
			       : rabbit_topology_declare(link, config->prefix, err);
	if (done < 0)
		rabbit_link_drop(link);
	else
		rabbit_link_close(link);
	return done;
}

static int rabbit_declare(const struct carrier_config *config, struct err *err)
{
	struct rabbit_link link;
	int64_t end_us = 0;

	while (declare_once(&link, config, err) < 0) {
		if (!rabbit_link_worth_waiting(&link, &end_us, err))
			return -1;
	}
	return 0;
}

/* --- dead letters ----------------------------------------------------- */

/* The next letter: 1, 0 when there is none, -1. */
static int get(struct rabbit_link *link, struct rabbit_inbound *inbound, const char *queue,
	       struct err *err)
{
	amqp_basic_get_t method = {.queue = amqp_cstring_bytes(queue)};
	amqp_frame_t frame;
	int got;

	got = amqp_send_method(link->state, RABBIT_CHANNEL, AMQP_BASIC_GET_METHOD, &method);
	if (rabbit_link_check_status(link, got, "get a dead letter", err) < 0)
		return -1;
	for (;;) {
		got = rabbit_link_next(link, GET_TIMEOUT_MS, &frame, err);
		if (got == 0)
			return err_set(err, ERR_TIMEOUT, "'%s' did not answer", link->where);
		if (got < 0)
			return -1;
		if (frame.channel == 0)
			continue;
		if (frame.frame_type == AMQP_FRAME_METHOD &&
		    frame.payload.method.id == AMQP_BASIC_GET_EMPTY_METHOD)
			return 0;
		got = rabbit_inbound_feed(inbound, &frame, err);
		if (got != 0)
			return got;
	}
}

static void hold(struct buf *held, const struct rabbit_inbound *inbound)
{
	buf_add(held, &inbound->delivery.tag, sizeof(inbound->delivery.tag));
}

/*
 * What was held before and given back stands in a list of its own before the
 * rest, and what is given back now goes to that list's end. So all of the list
 * must be held once, to come back in its order; the first letter that nobody
 * has held yet ends it.
 */
static int pass_over(struct rabbit_link *link, struct rabbit_inbound *inbound, const char *queue,
		     uint32_t left, struct buf *held, struct err *err)
{
	for (; left > 0 && inbound->redelivered; left--) {
		int got = get(link, inbound, queue, err);

		if (got <= 0)
			return got;
		hold(held, inbound);
	}
	return 0;
}

/* How many letters are there for whoever asks now. */
static int count_ready(struct rabbit_link *link, const char *queue, uint32_t *ret, struct err *err)
{
	char what[TOPOLOGY_NAME_BYTES + 32];
	const amqp_queue_declare_ok_t *ok;

	(void)snprintf(what, sizeof(what), "look into the queue '%s'", queue);
	ok = amqp_queue_declare(link->state, RABBIT_CHANNEL, amqp_cstring_bytes(queue), 1, 0, 0, 0,
				amqp_empty_table);
	if (ok == NULL && rabbit_link_check(link, what, err) < 0)
		return -1;
	if (ok == NULL)
		return err_set(err, ERR_PEER, "'%s' gave no answer about a queue", link->where);
	*ret = ok->message_count;
	return 0;
}

/*
 * What was given back is there again a moment later, when the queue's members
 * agree on it; who looks at once would find nothing. Somebody else may have
 * taken a letter meanwhile, so the wait is a short one, and `*patient` says
 * whether another is worth it.
 */
static int await_return(struct rabbit_link *link, const char *queue, size_t wanted, bool *patient,
			struct err *err)
{
	int64_t end_us = clock_mono_us() + RETURN_TIMEOUT_MS * 1000;
	uint32_t ready;

	for (;;) {
		if (count_ready(link, queue, &ready, err) < 0)
			return -1;
		if (ready >= wanted)
			return 0;
		if (clock_mono_us() > end_us) {
			*patient = false;
			return 0;
		}
		(void)poll(NULL, 0, RETURN_POLL_MS);
	}
}

static int give_back_one(struct rabbit_link *link, uint64_t tag, struct err *err)
{
	int sent = amqp_basic_nack(link->state, RABBIT_CHANNEL, tag, 0, 1);

	return rabbit_link_check_status(link, sent, "give back a dead letter", err);
}

/*
 * One by one, in their order. A channel that is closed gives its letters back
 * as well, but sorted by the decimal text of a number that each get has: after
 * the tenth letter that is another order. So they are when many are given back
 * faster than the queue takes them (32 are under way), for the broker then puts
 * them together: a few are given back, then they must be there again.
 */
static int give_back(struct rabbit_link *link, const char *queue, const struct buf *held,
		     struct err *err)
{
	size_t count = held->len / sizeof(uint64_t);
	bool patient = true;
	uint32_t ready = 0;

	if (held->failed)
		return err_set(err, ERR_LIMIT, "out of memory for the order of the dead letters");
	if (count > 0 && count_ready(link, queue, &ready, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		uint64_t tag;

		memcpy(&tag, held->data + i * sizeof(tag), sizeof(tag));
		if (give_back_one(link, tag, err) < 0)
			return -1;
		if (((i + 1) % RETURN_AT_ONCE == 0 || i + 1 == count) && patient &&
		    await_return(link, queue, ready + i + 1, &patient, err) < 0)
			return -1;
	}
	return 0;
}

static int visit_all(struct rabbit_link *link, const char *queue,
		     int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
		     struct rabbit_inbound *inbound, struct buf *held, struct err *err)
{
	uint32_t left;

	if (count_ready(link, queue, &left, err) < 0)
		return -1;
	for (; left > 0; left--) {
		int got = get(link, inbound, queue, err);
		int decided;

		if (got <= 0)
			return got;
		inbound->delivery.queue = queue;
		inbound->delivery.priority = topology_job_priority(inbound->delivery.key);
		rabbit_inbound_tell_death(inbound);
		decided = visit(ctx, &inbound->delivery);
		if (decided <= 0)
			hold(held, inbound);
		if (decided < 0)
			return pass_over(link, inbound, queue, left - 1, held, err);
		if (decided == 0)
			continue;
		got = amqp_basic_ack(link->state, RABBIT_CHANNEL, inbound->delivery.tag, 0);
		if (rabbit_link_check_status(link, got, "ack a dead letter", err) < 0)
			return -1;
	}
	return 0;
}

static int rabbit_visit_dead(const struct carrier_config *config,
			     int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
			     struct err *err)
{
	struct rabbit_link link;
	struct rabbit_inbound inbound;
	CLEANUP(buf_release) struct buf held = {0};
	char queue[TOPOLOGY_NAME_BYTES];
	int done;

	buf_init(&held, HELD_BYTES);
	topology_name(config->prefix, "dead", queue);
	if (rabbit_link_open(&link, config, "dead letters", NO_HEARTBEAT, RABBIT_PATIENCE_S, err) <
	    0)
		return -1;
	rabbit_inbound_init(&inbound);
	done = visit_all(&link, queue, visit, ctx, &inbound, &held, err);
	rabbit_inbound_release(&inbound);
	if (done == 0)
		done = give_back(&link, queue, &held, err);
	if (done == 0)
		done = rabbit_link_check_reply(
			&link, amqp_channel_close(link.state, RABBIT_CHANNEL, AMQP_REPLY_SUCCESS),
			"give back the dead letters", err);
	if (done < 0)
		rabbit_link_drop(&link);
	else
		rabbit_link_close(&link);
	return done;
}

/* --- the carrier ------------------------------------------------------ */

const struct carrier_ops rabbit_carrier = {
	.schemes = {"amqp", "amqps"},
	.publisher = &rabbit_publisher_ops,
	.consumer = &rabbit_consumer_ops,
	.inspect = rabbit_inspect,
	.declare = rabbit_declare,
	.visit_dead = rabbit_visit_dead,
};
