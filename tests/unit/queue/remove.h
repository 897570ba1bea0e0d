/*
 * remove.h - removes everything that the topology of a prefix has made, for
 * tests and benchmarks; the carrier itself never removes a queue. amqp: only.
 */
#ifndef SBX_TESTS_QUEUE_REMOVE_H
#define SBX_TESTS_QUEUE_REMOVE_H

#include <amqp.h>
#include <amqp_tcp_socket.h>

#include "queue/topology.h"
#include "queue/url.h"

/* False when the broker could not be asked; what is not there is no failure. */
static inline bool remove_topology_of(const char *text, const char *prefix)
{
	CLEANUP(arena_cleanup) struct arena arena;
	amqp_connection_state_t state = amqp_new_connection();
	struct err err = {0};
	struct url url;
	char name[TOPOLOGY_NAME_BYTES];

	arena_init(&arena, 1 << 16);
	if (state == NULL || url_parse(&arena, text, &url, &err) < 0 || url.tls ||
	    amqp_socket_open(amqp_tcp_socket_new(state), url.host, url.port) != 0 ||
	    amqp_login(state, url.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, url.user,
		       url.password)
			    .reply_type != AMQP_RESPONSE_NORMAL ||
	    amqp_channel_open(state, 1) == NULL)
		return false;
	for (size_t i = 0; i < topology_queues_len; i++) {
		topology_name(prefix, topology_queues[i].suffix, name);
		(void)amqp_queue_delete(state, 1, amqp_cstring_bytes(name), 0, 0);
	}
	for (size_t i = 0; i < topology_exchanges_len; i++) {
		topology_name(prefix, topology_exchanges[i].suffix, name);
		(void)amqp_exchange_delete(state, 1, amqp_cstring_bytes(name), 0);
	}
	(void)amqp_connection_close(state, AMQP_REPLY_SUCCESS);
	return amqp_destroy_connection(state) == AMQP_STATUS_OK;
}

#endif
