/*
 * url.c - taking a URL apart, from left to right. The authority ends at the
 * first '/', user information at the last '@' in it; so a password with a raw
 * '/' is refused rather than guessed at, and redaction, which must never let
 * one through, works on the whole text instead.
 */
#include "queue/url.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* --- hiding ----------------------------------------------------------- */

void url_redact(const char *text, char *ret, size_t size)
{
	const char *authority = strstr(text, "://");
	const char *at = strrchr(text, '@');
	const char *colon;

	authority = authority == NULL ? text : authority + 3;
	colon = strchr(authority, ':');
	if (at != NULL && colon != NULL && colon < at)
		(void)snprintf(ret, size, "%.*s:***%s", (int)(colon - text), text, at);
	else
		(void)snprintf(ret, size, "%s", text);
}

/* --- parts ------------------------------------------------------------ */

bool url_has_scheme(const char *text, const char *scheme)
{
	size_t len = strlen(scheme);

	return strncmp(text, scheme, len) == 0 && text[len] == ':';
}

/* Undoes percent-encoding; NULL and `err` when it is malformed or hides a NUL. */
static const char *decode(struct arena *arena, const char *text, size_t len, const char *what,
			  struct err *err)
{
	char *out = arena_memdup(arena, text, len);
	size_t used = 0;

	if (out == NULL) {
		(void)err_set(err, ERR_LIMIT, "out of memory for the URL");
		return NULL;
	}
	for (size_t i = 0; i < len; i++) {
		int byte;

		if (text[i] != '%') {
			out[used++] = text[i];
			continue;
		}
		byte = len - i > 2 ? text_hex_byte(text + i + 1) : -1;
		if (byte <= 0) {
			(void)err_set(err, ERR_INPUT,
				      "malformed percent-encoding in the %s of the URL; write '%%' "
				      "as %%25",
				      what);
			return NULL;
		}
		out[used++] = (char)byte;
		i += 2;
	}
	out[used] = '\0';
	return out;
}

static int parse_user(struct arena *arena, const char *text, size_t len, struct url *url,
		      struct err *err)
{
	const char *colon = memchr(text, ':', len);
	size_t user_len = colon == NULL ? len : (size_t)(colon - text);

	url->user = decode(arena, text, user_len, "user name", err);
	if (url->user == NULL)
		return -1;
	if (colon == NULL)
		return 0;
	url->password = decode(arena, colon + 1, len - user_len - 1, "password", err);
	return url->password == NULL ? -1 : 0;
}

static int parse_host(struct arena *arena, const char *text, size_t len, struct url *url,
		      struct err *err)
{
	const char *end = text + len;
	const char *host_end;
	int64_t port;
	const char *digits;

	if (len > 0 && *text == '[') {
		host_end = memchr(text, ']', len);
		if (host_end == NULL)
			return err_set(err, ERR_INPUT, "the URL's IPv6 address has no ']'");
		url->host = arena_memdup(arena, text + 1, (size_t)(host_end - text) - 1);
		host_end++;
	} else {
		host_end = memchr(text, ':', len);
		host_end = host_end == NULL ? end : host_end;
		url->host = arena_memdup(arena, text, (size_t)(host_end - text));
	}
	if (url->host == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for the URL");
	if (*url->host == '\0')
		return err_set(err, ERR_INPUT, "the URL names no host");
	if (host_end == end)
		return 0;
	digits = arena_memdup(arena, host_end + 1, (size_t)(end - host_end) - 1);
	if (*host_end != ':' || digits == NULL || !text_parse_int(digits, &port) || port < 1 ||
	    port > 65535)
		return err_set(err, ERR_INPUT,
			       "the URL's port is not a number from 1 to 65535 (a '/', '@' or ':' "
			       "in the password must be percent-encoded)");
	url->port = (int)port;
	return 0;
}

/* --- the whole -------------------------------------------------------- */

int url_parse(struct arena *arena, const char *text, struct url *ret, struct err *err)
{
	struct url url = {.user = "guest", .password = "guest", .vhost = "/", .port = 5672};
	const char *authority;
	const char *path;
	const char *at;

	url.tls = url_has_scheme(text, "amqps");
	url.scheme = url.tls ? "amqps" : "amqp";
	if (!url.tls && !url_has_scheme(text, "amqp"))
		return err_set(err, ERR_INPUT, "the URL's scheme is not amqp: or amqps:");
	if (url.tls)
		url.port = 5671;
	authority = text + strlen(url.scheme);
	if (strncmp(authority, "://", 3) != 0)
		return err_set(err, ERR_INPUT, "the URL has no '//' after '%s:'", url.scheme);
	authority += 3;
	path = authority + strcspn(authority, "/?#");
	if (*path == '?' || *path == '#' || strpbrk(path, "?#") != NULL)
		return err_set(err, ERR_INPUT,
			       "the URL has a '?' or '#'; options belong into the configuration");
	at = memrchr(authority, '@', (size_t)(path - authority));
	if (at != NULL && parse_user(arena, authority, (size_t)(at - authority), &url, err) < 0)
		return -1;
	authority = at == NULL ? authority : at + 1;
	if (parse_host(arena, authority, (size_t)(path - authority), &url, err) < 0)
		return -1;
	if (path[0] == '/' && path[1] != '\0')
		url.vhost = decode(arena, path + 1, strlen(path + 1), "virtual host", err);
	if (url.vhost == NULL)
		return -1;
	*ret = url;
	return 0;
}
