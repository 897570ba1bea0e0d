/*
 * url.h - where a broker is: amqp://user:password@host:port/vhost
 *
 *	struct url url;
 *	if (url_parse(&arena, text, &url, &err) < 0) ...
 *
 * Percent-encoding is undone in user, password and virtual host. Absent parts
 * get RabbitMQ's defaults: guest, guest, 5672 or 5671, "/". Texts live in the
 * arena.
 */
#ifndef SBX_QUEUE_URL_H
#define SBX_QUEUE_URL_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

struct url {
	const char *scheme; /* lowercase as given: "amqp" */
	const char *user;
	const char *password;
	const char *host; /* an IPv6 address without its brackets */
	const char *vhost;
	int port;
	bool tls;
};

/* ERR_INPUT names what is wrong, and never the password. */
int url_parse(struct arena *arena, const char *text, struct url *ret, struct err *err) MUST_CHECK;

/* Whether `text` starts with "<scheme>:". */
bool url_has_scheme(const char *text, const char *scheme);

/* The URL with everything that could be a password as "***"; cut when `ret` is
 * too small. */
void url_redact(const char *text, char *ret, size_t size);

#endif
