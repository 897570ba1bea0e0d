/*
 * loop.c - entries are kept by descriptor number, and epoll carries number and
 * generation, so an event that was reported before its descriptor was removed
 * (and perhaps reused) finds another generation and is dropped.
 */
#include "worker/loop.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/fd.h"

enum { EVENTS = 64 };

int loop_init(struct loop *loop, struct err *err)
{
	*loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	if (loop->epoll_fd < 0)
		return err_sys(err, "cannot make event loop");
	return 0;
}

void loop_release(struct loop *loop)
{
	fd_close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

/* --- what is watched -------------------------------------------------- */

static uint64_t pack(const struct loop *loop, int fd)
{
	return (uint64_t)loop->entries[fd].generation << 32 | (uint32_t)fd;
}

static int control(struct loop *loop, int op, int fd, uint32_t events, struct err *err)
{
	struct epoll_event event = {.events = events, .data.u64 = pack(loop, fd)};

	if (epoll_ctl(loop->epoll_fd, op, fd, &event) < 0)
		return err_sys(err, "cannot watch descriptor %d", fd);
	return 0;
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_handler *handler, void *ctx,
	     struct err *err)
{
	assert(fd >= 0 && handler != NULL);
	if (fd >= LOOP_FDS)
		return err_set(err, ERR_LIMIT, "cannot watch descriptor %d: at most %d", fd,
			       LOOP_FDS);
	assert(loop->entries[fd].handler == NULL);
	loop->entries[fd] = (struct loop_entry){handler, ctx, ++loop->generation};
	if (control(loop, EPOLL_CTL_ADD, fd, events, err) < 0) {
		loop->entries[fd].handler = NULL;
		return -1;
	}
	return 0;
}

int loop_change(struct loop *loop, int fd, uint32_t events, struct err *err)
{
	assert(fd >= 0 && fd < LOOP_FDS && loop->entries[fd].handler != NULL);
	return control(loop, EPOLL_CTL_MOD, fd, events, err);
}

void loop_remove(struct loop *loop, int fd)
{
	if (fd < 0 || fd >= LOOP_FDS || loop->entries[fd].handler == NULL)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	loop->entries[fd].handler = NULL;
}

/* --- waiting ---------------------------------------------------------- */

int loop_wait(struct loop *loop, int timeout_ms, struct err *err)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(loop->epoll_fd, events, EVENTS, timeout_ms);

	if (count < 0 && errno == EINTR)
		return 0;
	if (count < 0)
		return err_sys(err, "cannot wait for events");
	for (int i = 0; i < count; i++) {
		int fd = (int)(uint32_t)events[i].data.u64;
		struct loop_entry entry = loop->entries[fd];

		if (entry.handler != NULL && entry.generation == events[i].data.u64 >> 32)
			entry.handler(entry.ctx, fd, events[i].events);
	}
	return 0;
}
