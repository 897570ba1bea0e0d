/*
 * init_route.c - theory of operation.
 *
 * What the kernel answers on a route socket lies in memory that no control
 * group is charged for, up to the size of the receive buffer, and a job may
 * set that as large as the machine allows: the number of sockets has to be
 * small. Programs need very few of them and for a moment only (getifaddrs,
 * if_nameindex, looking up a host's addresses), so the filter lets none be made
 * but by init. init makes it in the place of the caller, who waits, and hands
 * it over; when there are as many as may be, callers wait for one to be closed.
 *
 * How many there are the network namespace itself counts, whoever holds them
 * and wherever they are, as it does no others' sockets. In the host's own the
 * host's count as well, and nothing tells whose one is that was not bound yet
 * and lies in another socket's queue: there none is made, but for those who are
 * trusted, uncounted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/sandbox/filter.h"
#include "worker/sandbox/init_private.h"

enum { PROTOCOLS_BYTES = 16 << 10, PATIENCE_US = 1000 * 1000 };

/* The third column of the line "NETLINK size sockets ..."; -1 when it is not
 * there. */
static long route_sockets(const struct init *init)
{
	CLEANUP(fd_cleanup)
	int fd = openat(init->proc_fd, "self/net/protocols", O_RDONLY | O_CLOEXEC);
	char text[PROTOCOLS_BYTES];
	size_t len = 0;
	ssize_t n;
	long sockets;
	const char *line;

	if (fd < 0)
		return -1;
	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	line = strstr(text, "\nNETLINK ");
	return line != NULL && sscanf(line, " NETLINK %*d %ld", &sockets) == 1 ? sockets : -1;
}

static long count(const struct init *init)
{
	if (!init->host->host_network)
		return route_sockets(init);
	return init->attach.limits.profile == FILTER_TRUSTED ? 0 : -1;
}

static void serve(struct init *init, const struct filter_call *call)
{
	CLEANUP(fd_cleanup) int fd = filter_route_socket(&init->filter_key, call->type);

	if (fd < 0)
		filter_refuse(init->notify_fd, call, errno);
	else
		filter_give(init->notify_fd, call, fd);
}

static void drop_first(struct init_step *step)
{
	step->asking_len--;
	(void)memmove(&step->asking[0], &step->asking[1],
		      step->asking_len * sizeof(step->asking[0]));
}

void init_route_look(struct init *init)
{
	struct init_step *step = &init->step;

	while (step->asking_len > 0) {
		struct asking *first = &step->asking[0];
		long sockets = count(init);

		if (sockets < 0)
			filter_refuse(init->notify_fd, &first->call, EAFNOSUPPORT);
		else if (sockets < init->route_sockets)
			serve(init, &first->call);
		else if (clock_mono_us() > first->until_us)
			filter_refuse(init->notify_fd, &first->call, ENOBUFS);
		else
			return;
		drop_first(step);
	}
}

void init_route(struct init *init, const struct filter_call *call)
{
	struct init_step *step = &init->step;

	if (step->asking_len == ASKING_MAX) {
		filter_refuse(init->notify_fd, call, ENOBUFS);
		return;
	}
	step->asking[step->asking_len++] =
		(struct asking){.call = *call, .until_us = clock_mono_us() + PATIENCE_US};
	init_route_look(init);
}
