/*
 * loop.h - one epoll set: descriptors, what they wait for, and who is called.
 * It knows nothing else.
 *
 *	loop_init(&loop, &err);
 *	loop_add(&loop, fd, EPOLLIN, on_ready, self, &err);
 *	while (!done)
 *		loop_wait(&loop, timeout_ms, &err);
 *
 * A handler may add, change and remove any descriptor, its own too: events of
 * a removed one that the kernel had already reported are not delivered.
 */
#ifndef SBX_WORKER_LOOP_H
#define SBX_WORKER_LOOP_H

#include <sys/epoll.h>

#include "base/err.h"

enum { LOOP_FDS = 4096 };

typedef void loop_handler(void *ctx, int fd, uint32_t events);

struct loop_entry {
	loop_handler *handler; /* NULL: the descriptor is not watched */
	void *ctx;
	uint32_t generation; /* tells a reused number from the old one */
};

struct loop {
	int epoll_fd;
	uint32_t generation;
	struct loop_entry entries[LOOP_FDS]; /* by descriptor number */
};

int loop_init(struct loop *loop, struct err *err) MUST_CHECK;
void loop_release(struct loop *loop);

int loop_add(struct loop *loop, int fd, uint32_t events, loop_handler *handler, void *ctx,
	     struct err *err) MUST_CHECK;
int loop_change(struct loop *loop, int fd, uint32_t events, struct err *err) MUST_CHECK;

/* Call before closing the descriptor. One that is not watched is ignored. */
void loop_remove(struct loop *loop, int fd);

/* Waits up to `timeout_ms` (-1: for ever) and calls the handlers. */
int loop_wait(struct loop *loop, int timeout_ms, struct err *err) MUST_CHECK;

#endif
