/*
 * carrier.c - choosing a carrier by the URL's scheme, and handing calls on to
 * it. What is the same for every carrier is here: the prefix is checked once,
 * the waits between attempts are one table.
 */
#include "queue/carrier.h"

#include <assert.h>
#include <string.h>

#include "queue/carrier_private.h"
#include "queue/topology.h"
#include "queue/url.h"

/* --- waiting ---------------------------------------------------------- */

static const int64_t wait_ms[WAIT_COUNT] = {
	[WAIT_5S] = 5000,    [WAIT_30S] = 30000,  [WAIT_2M] = 120000,
	[WAIT_10M] = 600000, [WAIT_1H] = 3600000,
};

enum wait_bucket wait_bucket_after(int64_t attempts)
{
	assert(attempts >= 1);
	return attempts < WAIT_COUNT ? (enum wait_bucket)(attempts - 1) : WAIT_1H;
}

int64_t wait_bucket_ms(enum wait_bucket bucket)
{
	assert((size_t)bucket < WAIT_COUNT);
	return wait_ms[bucket];
}

/* --- names ------------------------------------------------------------ */

const char *carrier_url_redacted(struct arena *arena, const char *url)
{
	size_t size = strlen(url) + sizeof(":***");
	char *text = arena_alloc(arena, size);

	if (text != NULL)
		url_redact(url, text, size);
	return text;
}

bool carrier_reply_to_valid(const char *prefix, const char *name)
{
	static const char direct[] = "amq.rabbitmq.reply-to.";
	static const char own[] = ".reply.";
	size_t prefix_len = strlen(prefix);
	size_t len = strlen(name);

	if (len >= TOPOLOGY_NAME_BYTES)
		return false;
	if (strncmp(name, direct, sizeof(direct) - 1) == 0)
		return len > sizeof(direct) - 1;
	return strncmp(name, prefix, prefix_len) == 0 &&
	       strncmp(name + prefix_len, own, sizeof(own) - 1) == 0 &&
	       len > prefix_len + sizeof(own) - 1;
}

/* --- choosing --------------------------------------------------------- */

static const struct carrier_ops *const carriers[] = {&rabbit_carrier, &lite_carrier};

static const struct carrier_ops *choose(const struct carrier_config *config, struct err *err)
{
	char shown[ERR_MESSAGE_BYTES / 2];

	if (topology_check_prefix(config->prefix, err) < 0)
		return NULL;
	for (size_t i = 0; config->url != NULL && i < ARRAY_LEN(carriers); i++) {
		for (const char *const *scheme = carriers[i]->schemes; *scheme != NULL; scheme++) {
			if (url_has_scheme(config->url, *scheme))
				return carriers[i];
		}
	}
	url_redact(config->url == NULL ? "" : config->url, shown, sizeof(shown));
	(void)err_set(err, ERR_INPUT,
		      "no carrier for the queue '%s'; give a URL like "
		      "amqps://user:password@host/vhost, amqp://... or sqlite:/path/queue.db",
		      shown);
	return NULL;
}

/* --- publishing ------------------------------------------------------- */

int publisher_open(struct publisher **ret, const struct carrier_config *config, struct err *err)
{
	const struct carrier_ops *carrier = choose(config, err);

	return carrier == NULL ? -1 : carrier->publisher->open(ret, config, err);
}

void publisher_close(struct publisher *publisher)
{
	if (publisher != NULL)
		publisher->ops->close(publisher);
}

int publisher_send(struct publisher *publisher, enum route route, const struct message *message,
		   uint64_t tag, struct err *err)
{
	return publisher->ops->send(publisher, route, message, tag, err);
}

int publisher_send_wait(struct publisher *publisher, enum route route,
			const struct message *message, int timeout_ms, struct err *err)
{
	return publisher->ops->send_wait(publisher, route, message, timeout_ms, err);
}

int publisher_next(struct publisher *publisher, int timeout_ms, struct publisher_fate *ret,
		   struct err *err)
{
	return publisher->ops->next(publisher, timeout_ms, ret, err);
}

int publisher_flush(struct publisher *publisher, int timeout_ms, struct err *err)
{
	return publisher->ops->flush(publisher, timeout_ms, err);
}

int publisher_fd(const struct publisher *publisher)
{
	return publisher->ops->fd(publisher);
}

int publisher_timeout_ms(const struct publisher *publisher)
{
	return publisher->ops->timeout_ms(publisher);
}

bool publisher_blocked(const struct publisher *publisher, const char **ret_why)
{
	return publisher->ops->blocked(publisher, ret_why);
}

/* --- consuming -------------------------------------------------------- */

int consumer_open(struct consumer **ret, const struct carrier_config *config, enum source source,
		  const char *key, const struct consumer_hooks *hooks, struct err *err)
{
	const struct carrier_ops *carrier = choose(config, err);

	return carrier == NULL ? -1 : carrier->consumer->open(ret, config, source, key, hooks, err);
}

void consumer_close(struct consumer *consumer)
{
	if (consumer != NULL)
		consumer->ops->close(consumer);
}

int consumer_fd(const struct consumer *consumer)
{
	return consumer->ops->fd(consumer);
}

int consumer_timeout_ms(const struct consumer *consumer)
{
	return consumer->ops->timeout_ms(consumer);
}

int consumer_dispatch(struct consumer *consumer, struct err *err)
{
	return consumer->ops->dispatch(consumer, err);
}

int consumer_ack(struct consumer *consumer, uint64_t epoch, uint64_t tag, struct err *err)
{
	return consumer->ops->settle(consumer, epoch, tag, SETTLE_ACK, err);
}

int consumer_handback(struct consumer *consumer, uint64_t epoch, uint64_t tag, struct err *err)
{
	return consumer->ops->settle(consumer, epoch, tag, SETTLE_HANDBACK, err);
}

int consumer_reject(struct consumer *consumer, uint64_t epoch, uint64_t tag, struct err *err)
{
	return consumer->ops->settle(consumer, epoch, tag, SETTLE_REJECT, err);
}

void consumer_prefetch(struct consumer *consumer, unsigned prefetch)
{
	assert(prefetch >= 1 && prefetch <= CONSUMER_ROOM);
	consumer->ops->prefetch(consumer, prefetch);
}

void consumer_ask(struct consumer *consumer)
{
	consumer->ops->ask(consumer);
}

int consumer_stop(struct consumer *consumer, struct err *err)
{
	return consumer->ops->stop(consumer, err);
}

/* --- looking ---------------------------------------------------------- */

int carrier_inspect(struct arena *arena, const struct carrier_config *config,
		    struct carrier_report *ret, struct err *err)
{
	const struct carrier_ops *carrier = choose(config, err);

	return carrier == NULL ? -1 : carrier->inspect(arena, config, ret, err);
}

int carrier_declare(const struct carrier_config *config, struct err *err)
{
	const struct carrier_ops *carrier = choose(config, err);

	return carrier == NULL ? -1 : carrier->declare(config, err);
}

int carrier_give(const struct carrier_config *config, unsigned uid, struct err *err)
{
	const struct carrier_ops *carrier = choose(config, err);

	if (carrier == NULL)
		return -1;
	return carrier->give == NULL ? 0 : carrier->give(config, uid, err);
}

int carrier_visit_dead(const struct carrier_config *config,
		       int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
		       struct err *err)
{
	const struct carrier_ops *carrier = choose(config, err);

	return carrier == NULL ? -1 : carrier->visit_dead(config, visit, ctx, err);
}
