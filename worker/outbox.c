/*
 * outbox.c - a list of copies. Nothing overtakes: while the list holds
 * anything, new messages join its end.
 */
#include "worker/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

struct outbox_item {
	struct outbox_item *next;
	int fd;
	size_t len;
	uint8_t data[];
};

void outbox_init(struct outbox *outbox, struct loop *loop, int socket)
{
	*outbox = (struct outbox){.loop = loop, .socket = socket};
	outbox->last = &outbox->first;
}

static void drop_first(struct outbox *outbox)
{
	struct outbox_item *item = outbox->first;

	outbox->first = item->next;
	if (outbox->first == NULL)
		outbox->last = &outbox->first;
	outbox->len--;
	outbox->bytes -= item->len;
	fd_close(item->fd);
	free(item);
}

void outbox_release(struct outbox *outbox)
{
	while (outbox->first != NULL)
		drop_first(outbox);
	loop_remove(outbox->loop, outbox->socket);
	fd_cleanup(&outbox->socket);
}

static int keep(struct outbox *outbox, const void *data, size_t len, int fd, struct err *err)
{
	struct outbox_item *item = malloc(sizeof(*item) + len);

	if (item == NULL)
		return err_set(err, ERR_LIMIT, "cannot keep message: out of memory");
	*item = (struct outbox_item){.fd = -1, .len = len};
	(void)memcpy(item->data, data, len);
	if (fd >= 0) {
		item->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (item->fd < 0) {
			free(item);
			return err_sys(err, "cannot keep message's descriptor");
		}
	}
	if (outbox->first == NULL && !outbox->held &&
	    loop_change(outbox->loop, outbox->socket, EPOLLIN | EPOLLOUT, err) < 0) {
		fd_close(item->fd);
		free(item);
		return -1;
	}
	*outbox->last = item;
	outbox->last = &item->next;
	outbox->len++;
	outbox->bytes += len;
	return 0;
}

int outbox_send(struct outbox *outbox, const void *data, size_t len, int fd, struct err *err)
{
	int rc = FD_AGAIN;

	if (outbox->first == NULL && !outbox->held)
		rc = fd_send_now(outbox->socket, data, len, &fd, fd >= 0, err);
	return rc == FD_AGAIN ? keep(outbox, data, len, fd, err) : rc;
}

void outbox_hold(struct outbox *outbox)
{
	outbox->held = true;
}

int outbox_let_go(struct outbox *outbox, struct err *err)
{
	if (!outbox->held)
		return 0;
	outbox->held = false;
	if (outbox->first == NULL)
		return 0;
	if (outbox_flush(outbox, err) < 0)
		return -1;
	return outbox->first == NULL
		       ? 0
		       : loop_change(outbox->loop, outbox->socket, EPOLLIN | EPOLLOUT, err);
}

int outbox_flush(struct outbox *outbox, struct err *err)
{
	if (outbox->held)
		return 0;
	while (outbox->first != NULL) {
		struct outbox_item *item = outbox->first;
		int rc = fd_send_now(outbox->socket, item->data, item->len, &item->fd,
				     item->fd >= 0, err);

		if (rc == FD_AGAIN)
			return 0;
		if (rc < 0)
			return -1;
		drop_first(outbox);
	}
	return loop_change(outbox->loop, outbox->socket, EPOLLIN, err);
}
