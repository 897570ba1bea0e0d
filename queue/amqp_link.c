/*
 * amqp_link.c - one connection to RabbitMQ with one channel.
 *
 * librabbitmq sends and checks heartbeats only inside its calls, so the owner
 * must call rabbit_link_next often enough; rabbit_link_timeout_ms says when.
 * Frames live in the channel's pool of the library, which grows until it is
 * recycled: rabbit_link_next recycles it before it reads on, so a frame is
 * valid just until then. A connection that failed in any way is destroyed,
 * never mended.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <amqp_tcp_socket.h>

#include "base/clock.h"
#include "queue/amqp_private.h"
#include "queue/url.h"

/* Making a quorum queue on a busy disk takes seconds. */
static const struct timeval rpc_timeout = {.tv_sec = 20};
static const struct timeval goodbye_timeout = {.tv_sec = 1};

/* --- errors ----------------------------------------------------------- */

/* What to do about a reply code, and the kind of error that it is. */
static const char *fix_for(int code, enum err_kind *ret_kind)
{
	switch (code) {
	case AMQP_ACCESS_REFUSED:
		*ret_kind = ERR_UNSUPPORTED;
		return "; give this user the permission, or let the operator declare the topology "
		       "and set passive";
	case AMQP_NOT_FOUND:
		*ret_kind = ERR_NOT_FOUND;
		return "; declare the topology: import contrib/broker/definitions.json, or start "
		       "once without passive";
	case AMQP_RESOURCE_LOCKED:
		/* Most often by our own last connection, which the broker has not
		 * missed yet. */
		*ret_kind = ERR_PEER;
		return "; another connection holds it";
	case AMQP_PRECONDITION_FAILED:
		*ret_kind = ERR_CONFLICT;
		return "";
	case AMQP_NOT_ALLOWED:
		*ret_kind = ERR_NOT_FOUND;
		return "; check the virtual host of the URL and the user's access to it";
	default:
		*ret_kind = ERR_PEER;
		return "";
	}
}

static bool says(amqp_bytes_t text, const char *part)
{
	return text.len > 0 && memmem(text.bytes, text.len, part, strlen(part)) != NULL;
}

/* Said for a while after a start or a crash: the queue is there and its leader is
 * not, or the stream is and its local replica is not, or is just being made. */
static bool is_starting(int code, amqp_bytes_t text)
{
	switch (code) {
	case AMQP_NOT_FOUND:
		return says(text, "down or inaccessible");
	case AMQP_PRECONDITION_FAILED:
		return says(text, "replica on the local node");
	default:
		return code == AMQP_INTERNAL_ERROR;
	}
}

static int closed_error(struct rabbit_link *link, const char *what, int code, amqp_bytes_t text,
			struct err *err)
{
	enum err_kind kind;
	const char *fix = fix_for(code, &kind);

	link->starting = is_starting(code, text);
	if (link->starting) {
		kind = ERR_PEER;
		fix = "; the broker is still starting, or a node of it is missing";
	}
	if (code == AMQP_PRECONDITION_FAILED && says(text, "inequivalent"))
		fix = "; it was declared otherwise before: delete it, or choose another prefix";
	return err_set(err, kind, "cannot %s at '%s': %d %.*s%s", what, link->where, code,
		       (int)(text.len > 200 ? 200 : text.len), (const char *)text.bytes, fix);
}

/* The broker has closed channel or connection; false when `method` is neither. */
static bool method_closes(struct rabbit_link *link, const amqp_method_t *method, const char *what,
			  struct err *err)
{
	if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *close = method->decoded;

		(void)closed_error(link, what, close->reply_code, close->reply_text, err);
		return true;
	}
	if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *close = method->decoded;

		(void)closed_error(link, what, close->reply_code, close->reply_text, err);
		return true;
	}
	return false;
}

static bool is_timeout(int status)
{
	return status == AMQP_STATUS_TIMEOUT || status == AMQP_STATUS_HEARTBEAT_TIMEOUT;
}

int rabbit_link_check_status(struct rabbit_link *link, int status, const char *what,
			     struct err *err)
{
	if (status >= 0)
		return 0;
	return err_set(err, is_timeout(status) ? ERR_TIMEOUT : ERR_PEER, "cannot %s at '%s': %s",
		       what, link->where, amqp_error_string2(status));
}

int rabbit_link_check_reply(struct rabbit_link *link, amqp_rpc_reply_t reply, const char *what,
			    struct err *err)
{
	switch (reply.reply_type) {
	case AMQP_RESPONSE_NORMAL:
		return 0;
	case AMQP_RESPONSE_LIBRARY_EXCEPTION:
		return rabbit_link_check_status(link, reply.library_error, what, err);
	case AMQP_RESPONSE_SERVER_EXCEPTION:
		if (reply.reply.decoded != NULL && method_closes(link, &reply.reply, what, err))
			return -1;
		break;
	case AMQP_RESPONSE_NONE:
		break;
	}
	return err_set(err, ERR_PEER, "cannot %s at '%s': the connection was closed", what,
		       link->where);
}

int rabbit_link_check(struct rabbit_link *link, const char *what, struct err *err)
{
	return rabbit_link_check_reply(link, amqp_get_rpc_reply(link->state), what, err);
}

/* --- closing ---------------------------------------------------------- */

void rabbit_link_drop(struct rabbit_link *link)
{
	if (link->state != NULL)
		(void)amqp_destroy_connection(link->state);
	link->state = NULL;
	link->blocked = false;
	link->blocked_changed = false;
}

void rabbit_link_close(struct rabbit_link *link)
{
	if (link->state == NULL)
		return;
	(void)amqp_set_rpc_timeout(link->state, &goodbye_timeout);
	(void)amqp_connection_close(link->state, AMQP_REPLY_SUCCESS);
	rabbit_link_drop(link);
}

/* --- opening ---------------------------------------------------------- */

static amqp_table_entry_t entry_text(const char *key, const char *text)
{
	return (amqp_table_entry_t){
		.key = amqp_cstring_bytes(key),
		.value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(text)},
	};
}

static amqp_table_entry_t entry_true(const char *key)
{
	return (amqp_table_entry_t){
		.key = amqp_cstring_bytes(key),
		.value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1},
	};
}

/* What the broker must be told before it sends cancels and blocking notices. */
static amqp_rpc_reply_t login(struct rabbit_link *link, const struct url *url, const char *name)
{
	amqp_table_entry_t capabilities[] = {
		entry_true("consumer_cancel_notify"),
		entry_true("connection.blocked"),
		entry_true("publisher_confirms"),
		entry_true("basic.nack"),
	};
	amqp_table_entry_t properties[] = {
		entry_text("product", "sbx"),
		entry_text("version", SBX_VERSION),
		entry_text("connection_name", name),
		{.key = amqp_cstring_bytes("capabilities"),
		 .value = {.kind = AMQP_FIELD_KIND_TABLE,
			   .value.table = {ARRAY_LEN(capabilities), capabilities}}},
	};
	amqp_table_t table = {ARRAY_LEN(properties), properties};

	return amqp_login_with_properties(link->state, url->vhost, 0, RABBIT_FRAME_BYTES,
					  link->heartbeat_s, &table, AMQP_SASL_METHOD_PLAIN,
					  url->user, url->password);
}

static int connect_error(struct rabbit_link *link, const struct url *url, int status,
			 struct err *err)
{
	switch (status) {
	case AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED:
		return err_unreachable(err, "cannot connect to '%s': the host '%s' is not known",
				       link->where, url->host);
	case AMQP_STATUS_TIMEOUT:
		return err_set(err, ERR_TIMEOUT,
			       "cannot connect to '%s': no answer; are host, port and firewall "
			       "right?",
			       link->where);
	case AMQP_STATUS_SSL_CONNECTION_FAILED:
	case AMQP_STATUS_SSL_PEER_VERIFY_FAILED:
	case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED:
	case AMQP_STATUS_SSL_ERROR:
		if (*link->tls_why != '\0')
			return err_set(err, ERR_UNSUPPORTED,
				       "cannot connect to '%s': %s; give the CA file that signed "
				       "it, and the host name that it was made for",
				       link->where, link->tls_why);
		return err_set(err, ERR_PEER,
			       "cannot connect to '%s': the TLS handshake failed; does the port "
			       "speak TLS?",
			       link->where);
	case AMQP_STATUS_SOCKET_ERROR: /* the library has lost which */
		return err_unreachable(err,
				       "cannot connect to '%s': refused, or no way there; is the "
				       "broker running?",
				       link->where);
	default:
		return err_unreachable(err, "cannot connect to '%s': %s; is the broker running?",
				       link->where, amqp_error_string2(status));
	}
}

/* Data that is not acknowledged for so long means that the peer is gone, even
 * when the kernel would try for a quarter of an hour. */
static void bound_silence(const struct rabbit_link *link)
{
	unsigned int ms = link->heartbeat_s == 0 ? 20000 : 2000 * (unsigned)link->heartbeat_s;
	int on = 1;
	int fd = amqp_get_sockfd(link->state);

	ms = ms < 5000 ? 5000 : ms;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int connect_socket(struct rabbit_link *link, const struct carrier_config *config,
			  const struct url *url, struct err *err)
{
	amqp_socket_t *sock = NULL;
	int status;

	if (url->tls) {
		if (rabbit_tls_socket(link, config, url->host, &sock, err) < 0)
			return -1;
	} else {
		sock = amqp_tcp_socket_new(link->state);
		if (sock == NULL)
			return err_set(err, ERR_SYSTEM, "cannot make a socket");
	}
	status = amqp_socket_open_noblock(sock, url->host, url->port,
					  &(struct timeval){.tv_sec = link->patience_s});
	if (status != AMQP_STATUS_OK)
		return connect_error(link, url, status, err);
	bound_silence(link);
	return 0;
}

static int login_error(struct rabbit_link *link, const struct url *url, amqp_rpc_reply_t reply,
		       struct err *err)
{
	if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
	    reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *close = reply.reply.decoded;

		if (close->reply_code == AMQP_ACCESS_REFUSED)
			return err_set(err, ERR_UNSUPPORTED,
				       "cannot log in at '%s': the broker refuses user '%s'; check "
				       "user name and password of the URL",
				       link->where, url->user);
	}
	return rabbit_link_check_reply(link, reply, "log in", err);
}

static void note_server(struct rabbit_link *link)
{
	const amqp_table_t *table = amqp_get_server_properties(link->state);
	amqp_bytes_t product = amqp_empty_bytes;
	amqp_bytes_t version = amqp_empty_bytes;

	for (int i = 0; table != NULL && i < table->num_entries; i++) {
		const amqp_table_entry_t *entry = &table->entries[i];

		if (entry->value.kind != AMQP_FIELD_KIND_UTF8)
			continue;
		if (entry->key.len == 7 && memcmp(entry->key.bytes, "product", 7) == 0)
			product = entry->value.value.bytes;
		if (entry->key.len == 7 && memcmp(entry->key.bytes, "version", 7) == 0)
			version = entry->value.value.bytes;
	}
	(void)snprintf(link->server, sizeof(link->server), "%.*s %.*s", (int)product.len,
		       (const char *)product.bytes, (int)version.len, (const char *)version.bytes);
}

int rabbit_link_reopen_channel(struct rabbit_link *link, struct err *err)
{
	amqp_channel_close_ok_t ok = {0};

	if (amqp_send_method(link->state, RABBIT_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) < 0)
		return err_set(err, ERR_PEER, "the connection to '%s' was lost", link->where);
	amqp_maybe_release_buffers(link->state);
	(void)amqp_channel_open(link->state, RABBIT_CHANNEL);
	return rabbit_link_check(link, "open a channel", err);
}

static int set_up(struct rabbit_link *link, const struct carrier_config *config,
		  const struct url *url, const char *name, struct err *err)
{
	amqp_rpc_reply_t reply;

	if (connect_socket(link, config, url, err) < 0)
		return -1;
	if (amqp_set_handshake_timeout(
		    link->state, &(struct timeval){.tv_sec = link->patience_s}) != AMQP_STATUS_OK ||
	    amqp_set_rpc_timeout(link->state, &rpc_timeout) != AMQP_STATUS_OK)
		return err_set(err, ERR_SYSTEM, "cannot set timeouts on a connection");
	reply = login(link, url, name);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		return login_error(link, url, reply, err);
	link->heartbeat_s = amqp_get_heartbeat(link->state);
	note_server(link);
	(void)amqp_channel_open(link->state, RABBIT_CHANNEL);
	return rabbit_link_check(link, "open a channel", err);
}

bool rabbit_link_worth_waiting(const struct rabbit_link *link, int64_t *end_us, struct err *err)
{
	int64_t now_us = clock_mono_us();

	if (!link->starting)
		return false;
	if (*end_us == 0)
		*end_us = now_us + (int64_t)RABBIT_PATIENCE_S * 1000000;
	if (now_us > *end_us)
		return false;
	(void)poll(NULL, 0, 250);
	if (err != NULL)
		*err = (struct err){.kind = ERR_NONE}; /* or it would outlive a success */
	return true;
}

int rabbit_link_open(struct rabbit_link *link, const struct carrier_config *config,
		     const char *role, int heartbeat_s, int patience_s, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena;
	struct url url;
	const char *name;

	arena_init(&arena, 64 << 10);
	*link = (struct rabbit_link){.heartbeat_s = heartbeat_s, .patience_s = patience_s};
	url_redact(config->url, link->where, sizeof(link->where));
	if (url_parse(&arena, config->url, &url, err) < 0)
		return err_prefix(err, "cannot use the queue '%s'", link->where);
	name = arena_printf(&arena, "%s %s", config->name == NULL ? "sbx" : config->name, role);
	link->state = amqp_new_connection();
	if (link->state == NULL || name == NULL) {
		rabbit_link_drop(link);
		return err_set(err, ERR_LIMIT, "out of memory for a connection");
	}
	if (set_up(link, config, &url, name, err) < 0) {
		rabbit_link_drop(link);
		return -1;
	}
	return 0;
}

/* --- frames ----------------------------------------------------------- */

int rabbit_link_fd(const struct rabbit_link *link)
{
	return link->state == NULL ? -1 : amqp_get_sockfd(link->state);
}

/* The broker gives up after two silent intervals; four looks in each keep what
 * we send well inside of that. */
int rabbit_link_timeout_ms(const struct rabbit_link *link)
{
	return link->heartbeat_s == 0 ? -1 : link->heartbeat_s * 250;
}

static void note_blocked(struct rabbit_link *link, bool blocked, amqp_bytes_t why)
{
	link->blocked = blocked;
	link->blocked_changed = true;
	(void)snprintf(link->blocked_why, sizeof(link->blocked_why), "%.*s", (int)why.len,
		       (const char *)why.bytes);
}

/* Frames of channel 0. Returns 0 when handled, -1 when the connection ends. */
static int connection_frame(struct rabbit_link *link, const amqp_frame_t *frame, struct err *err)
{
	if (frame->frame_type != AMQP_FRAME_METHOD)
		return 0;
	switch (frame->payload.method.id) {
	case AMQP_CONNECTION_BLOCKED_METHOD: {
		const amqp_connection_blocked_t *blocked = frame->payload.method.decoded;

		note_blocked(link, true, blocked->reason);
		return 0;
	}
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		note_blocked(link, false, amqp_empty_bytes);
		return 0;
	default:
		if (method_closes(link, &frame->payload.method, "go on", err))
			return -1;
		return 0;
	}
}

int rabbit_link_next(struct rabbit_link *link, int timeout_ms, amqp_frame_t *ret, struct err *err)
{
	struct timeval wait = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	int status;

	amqp_maybe_release_buffers(link->state);
	status = amqp_simple_wait_frame_noblock(link->state, ret, &wait);
	if (status == AMQP_STATUS_TIMEOUT)
		return 0;
	if (status != AMQP_STATUS_OK)
		return rabbit_link_check_status(link, status, "go on", err);
	if (ret->channel == 0 && connection_frame(link, ret, err) < 0)
		return -1;
	if (ret->channel != 0 && ret->frame_type == AMQP_FRAME_METHOD &&
	    method_closes(link, &ret->payload.method, "go on", err))
		return -1;
	return 1;
}
