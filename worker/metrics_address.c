/* metrics_address.c - see metrics.h. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/text.h"
#include "worker/metrics.h"

enum { PORT_MAX = 65535 };

static int wrong(const char *text, struct err *err)
{
	return err_set(err, ERR_INPUT,
		       "'%.128s' is neither an address on loopback with a port, such as "
		       "127.0.0.1:9464 or [::1]:9464, nor an absolute path",
		       text);
}

static int unix_address(const char *text, struct metrics_address *ret, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(text);

	if (len >= sizeof(address.sun_path))
		return err_set(err, ERR_INPUT, "the path is longer than %zu bytes",
			       sizeof(address.sun_path) - 1);
	(void)memcpy(address.sun_path, text, len + 1);
	(void)memcpy(&ret->address, &address, sizeof(address));
	ret->len = sizeof(address);
	ret->path = text;
	return 0;
}

int metrics_address(const char *text, struct metrics_address *ret, struct err *err)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	int64_t port;

	*ret = (struct metrics_address){.path = NULL};
	if (*text == '/')
		return unix_address(text, ret, err);
	if (colon == NULL || (size_t)(colon - text) >= sizeof(host) ||
	    !text_parse_int(colon + 1, &port) || port < 1 || port > PORT_MAX)
		return wrong(text, err);
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	v4.sin_port = v6.sin6_port = htons((uint16_t)port);
	if (strcmp(host, "[::1]") == 0) {
		v6.sin6_addr = in6addr_loopback;
		(void)memcpy(&ret->address, &v6, sizeof(v6));
		ret->len = sizeof(v6);
		return 0;
	}
	if (inet_pton(AF_INET, host, &v4.sin_addr) != 1 || ntohl(v4.sin_addr.s_addr) >> 24 != 127)
		return wrong(text, err);
	(void)memcpy(&ret->address, &v4, sizeof(v4));
	ret->len = sizeof(v4);
	return 0;
}
