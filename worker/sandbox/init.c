/*
 * init.c - theory of operation.
 *
 *	ROOT, HELLO        ATTACH           STEP             FINISH
 *	setup ---> waiting -----> attached <----> stepping     |
 *	                              |     DONE               |
 *	                              +------------------> finished: walks
 *
 * One process, one poll loop, no threads. Before the workspace is attached only
 * the host is listened to. The driver is whoever was given the control socket
 * and may be hostile: a message that its state does not permit, or that is not
 * formed as it should be, ends init, and with it the box. So does the end of
 * either socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/sandbox/init_private.h"
#include "worker/sandbox/landlock.h"

/* --- answers ------------------------------------------------------------------ */

/* Both halves outside wait for it, or will. */
static NORETURN void give_up(const struct init *init, const struct err *err)
{
	(void)wire_send_failed(init->host_fd, err);
	(void)wire_send_failed(init->control_fd, err);
	_exit(1);
}

static void send_kind(int sock, uint32_t kind, const int *fds, size_t fds_len)
{
	if (fd_send(sock, &kind, sizeof(kind), fds, fds_len, NULL) < 0)
		_exit(1);
}

void init_reply(struct init *init, int result, const struct err *err)
{
	if (result == 0)
		send_kind(init->control_fd, WIRE_OK, NULL, 0);
	else if (wire_send_failed(init->control_fd, err) < 0)
		_exit(1);
}

/* --- the host -------------------------------------------------------------------- */

static int complete_rules(const struct init *init, struct err *err)
{
	const struct box_host *host = init->host;

	if (landlock_complete(init->landlock_abi, init->landlock_fd, err) < 0)
		return -1;
	for (unsigned i = 0; i < host->binds_len; i++)
		if ((host->binds[i].writable || host->binds[i].fd < 0) &&
		    landlock_allow(init->landlock_abi, init->landlock_fd, host->binds[i].at, err) <
			    0)
			return -1;
	return 0;
}

static int attach(struct init *init, size_t len, int *fds, size_t fds_len, struct err *err)
{
	if (init->attached || len != sizeof(init->attach) || fds_len != 1)
		return err_set(err, ERR_PEER, "cannot attach: unexpected message");
	(void)memcpy(&init->attach, init->message, sizeof(init->attach));
	init->layer_fd = fds[0];
	init->work_fd = open(BOX_WORKSPACE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (init->work_fd < 0)
		return err_sys(err, "cannot open the workspace");
	if (chdir(BOX_WORKSPACE) < 0)
		return err_sys(err, "cannot enter the workspace");
	if (init->landlock_fd >= 0 && complete_rules(init, err) < 0)
		return -1;
	if (filter_narrow(&init->filter_key, &init->narrow[init->attach.limits.profile], err) < 0)
		return -1;
	init->attached = true;
	return 0;
}

static void on_host(struct init *init)
{
	struct err err = {0};
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	ssize_t len =
		fd_recv(init->host_fd, init->message, sizeof(init->message), fds, &fds_len, &err);

	if (len < (ssize_t)sizeof(uint32_t) || *(uint32_t *)init->message != WIRE_ATTACH)
		_exit(0);
	if (attach(init, (size_t)len, fds, fds_len, &err) < 0)
		give_up(init, &err);
	send_kind(init->host_fd, WIRE_ATTACHED, NULL, 0);
}

/* --- the driver -------------------------------------------------------------------- */

static int end_step(struct init *init)
{
	init_step_end(init);
	if (fd_send(init->control_fd, &init->step.done, sizeof(init->step.done), NULL, 0, NULL) < 0)
		return -1;
	init->step = (struct init_step){0};
	return 0;
}

static int on_step(struct init *init, size_t len, int *fds, size_t *fds_len, struct err *err)
{
	enum { PATIENCE_US = 10 * 1000 * 1000 };
	size_t given = *fds_len;

	if (init->finished || init->step.pid != 0)
		return err_set(err, ERR_PEER, "a step out of turn");
	*fds_len = 0;
	init->stepped = true;
	if (init->deadline_us == 0 && init->attach.limits.wall_ms > 0)
		init->deadline_us =
			clock_mono_us() + init->attach.limits.wall_ms * 1000 + PATIENCE_US;
	return init_step_start(init, len, fds, given, err);
}

static int on_edit(struct init *init, const int *fds, size_t fds_len, struct err *err)
{
	struct err failure = {0};

	if (init->stepped || init->finished || fds_len != 1)
		return err_set(err, ERR_PEER, "an edit out of turn");
	init_reply(init, init_edit(init, fds[0], &failure), &failure);
	return 0;
}

static int on_finish(struct init *init, struct err *err)
{
	if (init->step.pid != 0)
		return err_set(err, ERR_PEER, "a finish out of turn");
	init_step_end(init);
	init->step = (struct init_step){0};
	init->finished = true;
	init_reply(init, 0, NULL);
	return 0;
}

static int dispatch(struct init *init, size_t len, int *fds, size_t *fds_len, struct err *err)
{
	uint32_t kind;

	(void)memcpy(&kind, init->message, sizeof(kind));
	switch (kind) {
	case WIRE_STEP:
		return on_step(init, len, fds, fds_len, err);
	case WIRE_KILL:
		return init->step.pid != 0 ? end_step(init) : 0; /* it may just have ended */
	case WIRE_EDIT:
		return on_edit(init, fds, *fds_len, err);
	case WIRE_FINISH:
		return on_finish(init, err);
	case WIRE_CHANGES:
		if (!init->finished || init->attach.direct != 0)
			return err_set(err, ERR_PEER, "changes out of turn");
		return init_changes(init, err);
	case WIRE_FIND:
		if (!init->finished)
			return err_set(err, ERR_PEER, "a search out of turn");
		return init_find(init, len, err);
	case WIRE_STOP: /* of a walk that ended at the same time */
		return 0;
	default:
		return err_set(err, ERR_PEER, "an unknown message");
	}
}

static void on_driver(struct init *init)
{
	struct err err = {0};
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	ssize_t len = fd_recv(init->control_fd, init->message, sizeof(init->message), fds, &fds_len,
			      &err);

	if (len < (ssize_t)sizeof(uint32_t))
		_exit(0);
	if (dispatch(init, (size_t)len, fds, &fds_len, &err) < 0)
		_exit(1);
	for (size_t i = 0; i < fds_len; i++)
		(void)close(fds[i]);
}

/* --- the loop -------------------------------------------------------------------------- */

static int timeout_ms(const struct init *init)
{
	if (init->step.asking_len > 0)
		return 1;
	if (init->step.pid != 0)
		return 2 * BOX_TICK_MS;
	return init->deadline_us != 0 ? 1000 : -1;
}

static NORETURN void serve(struct init *init)
{
	for (;;) {
		struct pollfd fds[] = {
			{.fd = init->host_fd, .events = POLLIN},
			{.fd = init->attached ? init->control_fd : -1, .events = POLLIN},
			{.fd = init->signal_fd, .events = POLLIN},
			{.fd = init->notify_fd, .events = POLLIN},
		};

		if (poll(fds, ARRAY_LEN(fds), timeout_ms(init)) < 0 && errno != EINTR)
			_exit(1);
		if (init->deadline_us != 0 && clock_mono_us() > init->deadline_us)
			_exit(1);
		if (fds[0].revents != 0)
			on_host(init);
		init_step_look(init);
		if (init->step.pid != 0 && init->step.ended && end_step(init) < 0)
			_exit(0);
		if (fds[1].revents != 0)
			on_driver(init);
	}
}

NORETURN void init_main(const struct init_start *start)
{
	static struct init init;
	struct err err = {0};

	init = (struct init){.host_fd = start->host_fd,
			     .control_fd = start->control_fd,
			     .signal_fd = -1,
			     .notify_fd = -1,
			     .proc_fd = -1,
			     .oom_fd = -1,
			     .mount_ns_fd = -1,
			     .work_fd = -1,
			     .layer_fd = -1,
			     .landlock_fd = -1};
	if (init_setup(&init, start, &err) < 0)
		give_up(&init, &err);
	send_kind(init.host_fd, WIRE_HELLO, NULL, 0);
	serve(&init);
}
