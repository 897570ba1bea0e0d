/*
 * dispatch_letter.c - one message of another process at a time, in the one
 * place that all of dispatch*.c reads.
 */
#include <string.h>

#include "worker/dispatch_private.h"

struct letter letter;

/* --- letters ---------------------------------------------------------- */

void letter_close_fds(void)
{
	for (size_t i = 0; i < letter.fds_len; i++)
		fd_close(letter.fds[i]);
	letter.fds_len = 0;
}

int letter_next(int socket, struct err *err)
{
	letter.fds_len = 0;
	letter.len = fd_recv_now(socket, letter.room, sizeof(letter.room), letter.fds,
				 &letter.fds_len, err);
	if (letter.len == FD_AGAIN)
		return 0;
	if (letter.len == 0)
		return err_set(err, ERR_PEER, "process ended");
	return letter.len < 0 ? -1 : 1;
}

enum ipc_kind letter_kind(void)
{
	enum ipc_kind kind = 0;

	if ((size_t)letter.len >= sizeof(kind))
		(void)memcpy(&kind, letter.room, sizeof(kind));
	return kind;
}

void *letter_as(enum ipc_kind kind, size_t size)
{
	return letter_kind() == kind && (size_t)letter.len == size ? letter.room : NULL;
}

/* --- roles ------------------------------------------------------------ */

void dispatch_role(struct supervisor *self, struct outbox *outbox, const char *name,
		   uint32_t events, void (*handle)(struct supervisor *self))
{
	struct err err = {0};
	int rc = 1;

	if ((events & EPOLLOUT) != 0 && outbox_flush(outbox, &err) < 0)
		rc = -1;
	for (int i = 0; rc == 1 && i < MESSAGES_AT_ONCE && !self->dying; i++) {
		rc = letter_next(outbox->socket, &err);
		if (rc == 1)
			handle(self);
		letter_close_fds();
	}
	if (rc >= 0)
		return;
	(void)err_prefix(&err, "%s", name);
	supervisor_die(self, &err);
}
