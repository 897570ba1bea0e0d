/*
 * publisher.c - theory: messages from the supervisor join a list in their
 * order. Each is sent, and leaves the list when the broker confirms it, which
 * the supervisor is told. When the connection breaks, all that is left in the
 * list is sent again over the next one; whoever reads them dedupes by message
 * id. Events are sent when there is a connection and are never kept.
 *
 *	kept --send--> pending --confirmed--> gone (PUB_FATE)
 *	  ^               |
 *	  +--returned or nacked (after a pause), connection lost
 */
#include "worker/publisher.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/headers.h"
#include "worker/ipc.h"
#include "worker/role.h"

enum {
	BACKOFF_FIRST_US = 500 * 1000,
	BACKOFF_MOST_US = 15 * 1000 * 1000,
	RESEND_PAUSE_US = 5 * 1000 * 1000,
	RETRY_POLL_MS = 200,
	MESSAGES_AT_ONCE = 256, /* far below PUBLISHER_FATES: fates are read in between */
	CONFIG_ARENA_BYTES = 1 << 20,
	HEADERS_ARENA_BYTES = 4 << 20,
};

struct item {
	struct item *next;
	uint64_t serial; /* our own tag at the carrier */
	bool sent;
	int64_t not_before_us; /* after a return: a pause */
	size_t content_len;
	struct ipc_pub_message head; /* headers and body follow, wherever they came from */
};

struct state {
	struct config *config;
	struct carrier_config carrier;
	struct publisher *publisher; /* NULL: not connected */
	struct item *first;
	struct item **last;
	uint64_t serial;
	int64_t backoff_us;
	int64_t retry_at_us;
	bool blocked; /* as the supervisor was told */
	bool quit;
};

/* --- telling the supervisor ------------------------------------------- */

static void tell(struct state *state, const void *message, size_t len)
{
	struct err err = {0};

	if (fd_send(ROLE_SOCKET, message, len, NULL, 0, &err) < 0)
		state->quit = true;
}

static void tell_connection(struct state *state, bool connected, const char *why)
{
	struct ipc_pub_state message = {
		.kind = IPC_PUB_STATE, .connected = connected, .blocked = state->blocked};

	ipc_text(message.why, why);
	tell(state, &message, sizeof(message));
}

/* --- the connection --------------------------------------------------- */

/* Half of it, and any part of the other: workers do not come back as one. */
static int64_t jitter(int64_t us)
{
	uint32_t number = 0;

	NEGLECT(getrandom(&number, sizeof(number), 0));
	return us / 2 + number % (us / 2 + 1);
}

static void disconnect(struct state *state, const struct err *why)
{
	log_warn("publishing connection lost", "error", why->message, NULL);
	publisher_close(state->publisher);
	state->publisher = NULL;
	state->blocked = false;
	for (struct item *item = state->first; item != NULL; item = item->next)
		item->sent = false;
	state->retry_at_us = clock_mono_us() + jitter(state->backoff_us);
	if (state->backoff_us < BACKOFF_MOST_US)
		state->backoff_us *= 2;
	tell_connection(state, false, why->message);
}

static void connect_if_due(struct state *state)
{
	struct err err = {0};

	if (state->publisher != NULL || clock_mono_us() < state->retry_at_us)
		return;
	if (publisher_open(&state->publisher, &state->carrier, &err) < 0) {
		state->publisher = NULL;
		disconnect(state, &err);
		return;
	}
	state->backoff_us = BACKOFF_FIRST_US;
	tell_connection(state, true, "");
}

/* --- sending ---------------------------------------------------------- */

static const char *or_null(const char *text)
{
	return *text == '\0' ? NULL : text;
}

static int send_item(struct state *state, struct item *item, struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	const struct ipc_pub_message *head = &item->head;
	struct message message = {
		.body = {head->inline_body + head->headers_len,
			 item->content_len - head->headers_len},
		.id = or_null(head->id),
		.key = or_null(head->key),
		.reply_to = or_null(head->reply_to),
		.correlation_id = or_null(head->correlation_id),
		.timestamp_us = head->timestamp_us,
		.priority = head->priority,
		.attempts = head->attempts,
		.bucket = head->bucket,
		.death = {.reason = or_null(head->reason),
			  .error = head->error,
			  .worker = head->worker,
			  .attempts = head->attempts,
			  .first_at_ms = head->first_at_ms,
			  .last_at_ms = head->last_at_ms,
			  .queue = head->queue},
	};

	arena_init(&arena, HEADERS_ARENA_BYTES);
	headers_unpack(&arena, head->inline_body, head->headers_len, &message.headers);
	item->serial = ++state->serial;
	item->sent = true;
	return publisher_send(state->publisher, head->route, &message, item->serial, err);
}

/* Replies and events are not vouched for: sent once, then forgotten. */
static bool is_kept(enum route route)
{
	return route != ROUTE_EVENT && route != ROUTE_REPLY;
}

/* What the carrier will never take must not be sent again and again before
 * all that waits behind it: that ends the worker, loudly. */
static void give_up_or_disconnect(struct state *state, const struct err *err)
{
	if (err->kind == ERR_PEER || err->kind == ERR_TIMEOUT || err->kind == ERR_SYSTEM) {
		disconnect(state, err);
		return;
	}
	log_error("a message cannot be published at all", "error", err->message, NULL);
	state->quit = true;
}

static void send_due(struct state *state)
{
	int64_t now = clock_mono_us();
	struct err err = {0};
	int sent = 0;

	for (struct item *item = state->first; item != NULL; item = item->next) {
		if (state->publisher == NULL || sent == MESSAGES_AT_ONCE)
			return;
		if (item->sent || item->not_before_us > now)
			continue;
		sent++;
		if (send_item(state, item, &err) < 0)
			give_up_or_disconnect(state, &err);
	}
}

static void settle(struct state *state, const struct publisher_fate *fate)
{
	for (struct item **at = &state->first; *at != NULL; at = &(*at)->next) {
		struct item *item = *at;
		struct ipc_pub_fate message = {.kind = IPC_PUB_FATE, .tag = item->head.tag};

		if (!item->sent || item->serial != fate->tag)
			continue;
		if (!fate->confirmed) {
			log_error("message not taken by the broker, trying again", "id",
				  item->head.id, "why", fate->why, NULL);
			item->sent = false;
			item->not_before_us = clock_mono_us() + RESEND_PAUSE_US;
			return;
		}
		*at = item->next;
		if (state->last == &item->next)
			state->last = at;
		free(item);
		tell(state, &message, sizeof(message));
		return;
	}
}

static void tell_blocked(struct state *state)
{
	const char *why = NULL;
	bool blocked = state->publisher != NULL && publisher_blocked(state->publisher, &why);

	if (state->publisher == NULL || blocked == state->blocked)
		return;
	state->blocked = blocked;
	log_warn(blocked ? "broker blocks publishers" : "broker takes messages again", "why",
		 blocked ? why : NULL, NULL);
	tell_connection(state, true, blocked ? why : "");
}

static void read_fates(struct state *state)
{
	struct publisher_fate fate;
	struct err err = {0};
	int rc = 0;

	while (state->publisher != NULL &&
	       (rc = publisher_next(state->publisher, 0, &fate, &err)) == 1)
		settle(state, &fate);
	if (rc < 0)
		disconnect(state, &err);
}

/* --- receiving -------------------------------------------------------- */

static struct item *make_item(const struct ipc_pub_message *head, struct bytes content)
{
	struct item *item = calloc(1, sizeof(*item) + content.len);

	if (item == NULL)
		return NULL;
	assert(head->headers_len <= content.len);
	item->head = *head;
	item->content_len = content.len;
	if (content.len > 0)
		(void)memcpy(item->head.inline_body, content.data, content.len);
	return item;
}

static void accept_item(struct state *state, struct item *item)
{
	struct err err = {0};

	if (is_kept(item->head.route)) {
		*state->last = item;
		state->last = &item->next;
		return;
	}
	if (state->publisher != NULL && send_item(state, item, &err) < 0)
		disconnect(state, &err);
	free(item);
}

/* Returns false when there is nothing more to read now. */
static bool receive(struct state *state)
{
	static _Alignas(struct ipc_pub_message) uint8_t room[IPC_MESSAGE_BYTES];
	const struct ipc_pub_message *head = (const struct ipc_pub_message *)room;
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	struct bytes map = {NULL, 0};
	struct err err = {0};
	struct item *item;
	ssize_t len = fd_recv_now(ROLE_SOCKET, room, sizeof(room), fds, &fds_len, &err);

	if (len == FD_AGAIN)
		return false;
	if (len == sizeof(struct ipc_config) && head->kind == IPC_CONFIG && fds_len == 1) {
		role_reload("publisher", state->config, fds[0]);
		fd_close(fds[0]);
		return true;
	}
	if (len < (ssize_t)sizeof(*head) || head->kind != IPC_PUB_MESSAGE) {
		state->quit = true;
		return false;
	}
	assert(head->inline_len == (size_t)len - sizeof(*head) && fds_len <= 1);
	if (fds_len == 1 && fd_map(fds[0], LIMIT_CARRIED_BYTES + HEADERS_BYTES, &map, &err) < 0)
		item = NULL;
	else
		item = make_item(
			head,
			fds_len == 1 ? map : (struct bytes){head->inline_body, head->inline_len});
	fd_unmap(&map);
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
	if (item == NULL) { /* never publish another body instead */
		log_error("cannot publish: out of memory", "error", err.message, NULL);
		state->quit = true;
		return false;
	}
	accept_item(state, item);
	return true;
}

/* --- the loop --------------------------------------------------------- */

static void wait_for_work(struct state *state)
{
	struct pollfd fds[2] = {{.fd = ROLE_SOCKET, .events = POLLIN}};
	int timeout_ms = RETRY_POLL_MS;

	if (state->publisher != NULL) {
		fds[1] = (struct pollfd){.fd = publisher_fd(state->publisher), .events = POLLIN};
		timeout_ms = publisher_timeout_ms(state->publisher);
	}
	for (struct item *item = state->first; item != NULL && state->publisher != NULL;
	     item = item->next) {
		if (item->sent)
			continue;
		if (item->not_before_us == 0)
			timeout_ms = 0;
		else if (timeout_ms < 0 || timeout_ms > RETRY_POLL_MS)
			timeout_ms = RETRY_POLL_MS;
	}
	(void)poll(fds, state->publisher == NULL ? 1 : 2, timeout_ms);
}

int publisher_main(void)
{
	struct arena arena;
	struct config config;
	struct state state = {.config = &config, .backoff_us = BACKOFF_FIRST_US};
	struct err err = {0};

	arena_init(&arena, CONFIG_ARENA_BYTES);
	state.last = &state.first;
	if (role_enter("publisher", &config, &arena, &err) < 0 ||
	    role_drop((uid_t)config.worker_uid_base, (gid_t)config.worker_uid_base, 0, &err) < 0) {
		log_error("publisher cannot start", "error", err.message, NULL);
		return 1;
	}
	state.carrier = role_carrier(&config, &arena, "publisher");
	while (!state.quit) {
		connect_if_due(&state);
		wait_for_work(&state);
		for (int i = 0; i < MESSAGES_AT_ONCE && !state.quit && receive(&state); i++)
			continue;
		send_due(&state);
		read_fates(&state);
		tell_blocked(&state);
	}
	publisher_close(state.publisher);
	arena_release(&arena);
	return 0;
}
