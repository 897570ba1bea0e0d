/*
 * wire.c - what comes from init to either half outside, above all what went wrong.
 */
#include <string.h>

#include "base/fd.h"
#include "worker/sandbox/sandbox_private.h"

/* When init ends with something of ours unread, the kernel tells that before it
 * gives out what init has said last. */
ssize_t wire_recv(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len, struct err *err)
{
	ssize_t len = fd_recv(sock, data, size, fds, ret_fds_len, err);

	return len != 0 ? len : fd_recv(sock, data, size, fds, ret_fds_len, err);
}

int wire_send_failed(int sock, const struct err *err)
{
	struct wire_failed message = {
		.kind = WIRE_FAILED, .err_kind = err->kind, .number = err->number};

	_Static_assert(sizeof(message.message) <= sizeof(err->message), "a cut, not an overrun");
	(void)memcpy(message.message, err->message, sizeof(message.message) - 1);
	return fd_send(sock, &message, sizeof(message), NULL, 0, NULL);
}

int wire_failed(const struct wire_failed *message, struct err *err)
{
	char text[sizeof(message->message)];
	enum err_kind kind = message->err_kind <= ERR_NOT_FOUND ? message->err_kind : ERR_SYSTEM;

	(void)memcpy(text, message->message, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	(void)err_set(err, kind, "%s", text);
	if (err != NULL)
		err->number = message->number;
	return -1;
}
