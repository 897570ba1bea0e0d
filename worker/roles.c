/*
 * roles.c - the other processes of one worker, from their start to their end.
 * Each is told to end by the end of its socket, and collects what is its own.
 *
 * That one of them has ended by itself is told by the end of its socket, too,
 * after all that it had said. But a copy of the socket may be in a child of it
 * that lives on: so the process is watched as well, and given up soon after.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "worker/supervisor_private.h"

enum { END_US = 10 * 1000 * 1000, LAST_WORDS_US = 1000 * 1000 };

/* --- starting --------------------------------------------------------- */

static void on_role_ended(void *ctx, int fd, uint32_t events)
{
	struct supervisor *self = ctx;

	(void)events;
	loop_remove(&self->loop, fd); /* it stays readable */
	self->role_lost_us = clock_mono_us();
}

void roles_look_at_clock(struct supervisor *self, int64_t now_us)
{
	struct err err = {0};

	if (self->role_lost_us == 0 || now_us < self->role_lost_us + LAST_WORDS_US)
		return;
	(void)err_set(&err, ERR_PEER, "one of its processes has ended");
	supervisor_die(self, &err);
}

static int watch_role(struct supervisor *self, size_t index, struct err *err)
{
	self->role_fds[index] = pidfd_open(self->pids[index], 0);
	if (self->role_fds[index] < 0)
		return err_sys(err, "cannot watch process %d", (int)self->pids[index]);
	return loop_add(&self->loop, self->role_fds[index], EPOLLIN, on_role_ended, self, err);
}

static int start_role(struct supervisor *self, const char *name, enum config_role role,
		      struct outbox *outbox, loop_handler *handler, size_t index, struct err *err)
{
	int socket;

	if (role_start(name, self->config, role, &socket, &self->pids[index], err) < 0)
		return -1;
	outbox_init(outbox, &self->loop, socket);
	if (loop_add(&self->loop, socket, EPOLLIN, handler, self, err) < 0)
		return -1;
	return watch_role(self, index, err);
}

int roles_start(struct supervisor *self, struct err *err)
{
	if (start_role(self, "storekeeper", ROLE_STOREKEEPER, &self->storekeeper,
		       dispatch_storekeeper, 0, err) < 0 ||
	    start_role(self, "zygote", ROLE_ZYGOTE, &self->zygote, dispatch_zygote, 1, err) < 0)
		return -1;
	if (self->local != NULL)
		return 0;
	return start_role(self, "publisher", ROLE_PUBLISHER, &self->publisher, dispatch_publisher,
			  2, err);
}

/* --- ending ----------------------------------------------------------- */

/* Waits for a role that was told to end; until then it may be killed, which
 * loses nothing: what is not confirmed is in the ledger. */
static void await_role(pid_t pid, int64_t until_us)
{
	CLEANUP(fd_cleanup) int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};
	int64_t left_us = until_us - clock_mono_us();
	int timeout_ms = left_us < 0 ? 0 : (int)(left_us / 1000);

	if (pidfd < 0)
		return;
	if (poll(&ended, 1, timeout_ms) == 0 && kill(pid, SIGKILL) < 0)
		return; /* the zygote may be root's: the end of its socket must do */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

/* Closing the sockets ends them; each collects what is its own. */
void roles_end(struct supervisor *self)
{
	int64_t until_us = clock_mono_us() + END_US;

	for (size_t i = 0; i < ARRAY_LEN(self->role_fds); i++) {
		loop_remove(&self->loop, self->role_fds[i]);
		fd_cleanup(&self->role_fds[i]);
	}
	for (size_t i = 0; i < self->slots_len; i++)
		outbox_release(&self->slots[i].executor);
	outbox_release(&self->zygote);
	outbox_release(&self->storekeeper);
	outbox_release(&self->publisher);
	for (size_t i = 0; i < ARRAY_LEN(self->pids); i++)
		await_role(self->pids[i], until_us);
}
