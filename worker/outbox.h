/*
 * outbox.h - messages on their way to one other process, in order, without
 * ever waiting for it.
 *
 *	outbox_init(&outbox, &loop, socket);
 *	outbox_send(&outbox, &message, sizeof(message), fd, &err);	// fd -1: none
 *	...	on EPOLLOUT: outbox_flush(&outbox, &err)
 *
 * One that is held keeps everything until it is let go: what must not be said
 * before something else is done.
 *
 * What the socket does not take at once is kept and sent when it does; the
 * owner watches the socket with loop_add and forwards EPOLLOUT.
 */
#ifndef SBX_WORKER_OUTBOX_H
#define SBX_WORKER_OUTBOX_H

#include <stdbool.h>

#include "base/err.h"
#include "worker/loop.h"

struct outbox_item;

struct outbox {
	struct loop *loop;
	int socket;
	struct outbox_item *first;
	struct outbox_item **last;
	size_t len;
	size_t bytes; /* of what is kept */
	bool held;
};

void outbox_init(struct outbox *outbox, struct loop *loop, int socket);

/* Drops what is left and closes the socket. */
void outbox_release(struct outbox *outbox);

/* Borrows `fd`. ERR_PEER when the other process is gone. */
int outbox_send(struct outbox *outbox, const void *data, size_t len, int fd,
		struct err *err) MUST_CHECK;

/* From now on, until outbox_let_go, messages are kept. */
void outbox_hold(struct outbox *outbox);
int outbox_let_go(struct outbox *outbox, struct err *err) MUST_CHECK;

int outbox_flush(struct outbox *outbox, struct err *err) MUST_CHECK;

#endif
