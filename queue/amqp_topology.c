/*
 * amqp_topology.c - declaring what topology.c lists.
 *
 * Declaring is idempotent, and two programs may do it at once. A queue that
 * exists with other arguments is an error that names queue and argument; the
 * broker closes the channel for it, so the caller drops the connection.
 */
#include <stdio.h>
#include <string.h>

#include "queue/amqp_private.h"

/* --- actively --------------------------------------------------------- */

static int declare_exchange(struct rabbit_link *link, const char *prefix,
			    const struct topology_exchange *exchange, bool passive, struct err *err)
{
	char name[TOPOLOGY_NAME_BYTES];
	char what[TOPOLOGY_NAME_BYTES + 32];

	topology_name(prefix, exchange->suffix, name);
	(void)snprintf(what, sizeof(what), "%s the exchange '%s'", passive ? "find" : "declare",
		       name);
	(void)amqp_exchange_declare(link->state, RABBIT_CHANNEL, amqp_cstring_bytes(name),
				    amqp_cstring_bytes(exchange->type), passive, 1, 0, 0,
				    amqp_empty_table);
	return rabbit_link_check(link, what, err);
}

static amqp_field_value_t argument_value(const struct topology_argument *argument,
					 const char *prefix, char name[TOPOLOGY_NAME_BYTES])
{
	switch (argument->kind) {
	case ARGUMENT_NUMBER:
		return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64,
					    .value.i64 = argument->number};
	case ARGUMENT_NAME:
		topology_name(prefix, argument->text, name);
		return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8,
					    .value.bytes = amqp_cstring_bytes(name)};
	case ARGUMENT_TEXT:
		break;
	}
	return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8,
				    .value.bytes = amqp_cstring_bytes(argument->text)};
}

static int declare_queue(struct rabbit_link *link, const char *prefix,
			 const struct topology_queue *queue, bool passive, struct err *err)
{
	amqp_table_entry_t entries[TOPOLOGY_ARGUMENTS_MAX];
	char target[TOPOLOGY_NAME_BYTES]; /* at most one argument is a name */
	char name[TOPOLOGY_NAME_BYTES];
	char what[TOPOLOGY_NAME_BYTES + 32];
	amqp_table_t arguments = {0, entries};

	for (size_t i = 0; i < TOPOLOGY_ARGUMENTS_MAX && queue->arguments[i].key != NULL; i++) {
		entries[arguments.num_entries++] = (amqp_table_entry_t){
			.key = amqp_cstring_bytes(queue->arguments[i].key),
			.value = argument_value(&queue->arguments[i], prefix, target),
		};
	}
	topology_name(prefix, queue->suffix, name);
	(void)snprintf(what, sizeof(what), "%s the queue '%s'", passive ? "find" : "declare", name);
	(void)amqp_queue_declare(link->state, RABBIT_CHANNEL, amqp_cstring_bytes(name), passive, 1,
				 0, 0, passive ? amqp_empty_table : arguments);
	return rabbit_link_check(link, what, err);
}

static int bind(struct rabbit_link *link, const char *prefix,
		const struct topology_binding *binding, struct err *err)
{
	char exchange[TOPOLOGY_NAME_BYTES];
	char queue[TOPOLOGY_NAME_BYTES];
	char what[TOPOLOGY_NAME_BYTES + 32];

	topology_name(prefix, binding->exchange, exchange);
	topology_name(prefix, binding->queue, queue);
	(void)snprintf(what, sizeof(what), "bind the queue '%s'", queue);
	(void)amqp_queue_bind(link->state, RABBIT_CHANNEL, amqp_cstring_bytes(queue),
			      amqp_cstring_bytes(exchange), amqp_cstring_bytes(binding->key),
			      amqp_empty_table);
	return rabbit_link_check(link, what, err);
}

/* --- all of it -------------------------------------------------------- */

/* The control stream is there and bound, or nobody could say that it is down. */
static int pass_over(struct rabbit_link *link, const char *queue, struct err *err)
{
	if (!link->starting || strcmp(queue, "control") != 0)
		return -1;
	if (err != NULL)
		*err = (struct err){.kind = ERR_NONE};
	return rabbit_link_reopen_channel(link, err);
}

static int each(struct rabbit_link *link, const char *prefix, bool passive, struct err *err)
{
	for (size_t i = 0; i < topology_exchanges_len; i++) {
		if (declare_exchange(link, prefix, &topology_exchanges[i], passive, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < topology_queues_len; i++) {
		if (declare_queue(link, prefix, &topology_queues[i], passive, err) < 0 &&
		    pass_over(link, topology_queues[i].suffix, err) < 0)
			return -1;
	}
	return 0;
}

int rabbit_topology_declare(struct rabbit_link *link, const char *prefix, struct err *err)
{
	if (each(link, prefix, false, err) < 0)
		return -1;
	for (size_t i = 0; i < topology_bindings_len; i++) {
		if (bind(link, prefix, &topology_bindings[i], err) < 0 &&
		    pass_over(link, topology_bindings[i].queue, err) < 0)
			return -1;
	}
	return 0;
}

int rabbit_topology_check(struct rabbit_link *link, const char *prefix, struct err *err)
{
	return each(link, prefix, true, err);
}
