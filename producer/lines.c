/*
 * lines.c - a window over the input that grows only while a line has no end.
 * What has been handed out is dropped when more must be read, so each byte is
 * moved once at most.
 */
#include "producer/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { READ_BYTES = 256 << 10 };

int lines_open(struct lines *lines, const char *name, size_t limit_bytes, struct err *err)
{
	struct stat st;

	*lines = (struct lines){.fd = -1, .name = name, .size = -1, .limit = limit_bytes};
	buf_init(&lines->held, limit_bytes + 2 * (size_t)READ_BYTES);
	if (strcmp(name, "-") == 0) {
		lines->name = "standard input";
		lines->fd = STDIN_FILENO;
	} else {
		lines->fd = open(name, O_RDONLY | O_CLOEXEC);
	}
	if (lines->fd < 0)
		return err_sys(err, "cannot read '%s'", name);
	if (fstat(lines->fd, &st) == 0 && S_ISREG(st.st_mode))
		lines->size = st.st_size;
	return 0;
}

bool lines_is_blank(struct bytes line)
{
	for (size_t i = 0; i < line.len; i++) {
		if (strchr(" \t\r", line.data[i]) == NULL || line.data[i] == '\0')
			return false;
	}
	return true;
}

void lines_close(struct lines *lines)
{
	if (lines->fd != STDIN_FILENO)
		fd_close(lines->fd);
	lines->fd = -1;
	buf_release(&lines->held);
}

bool lines_wait(const struct lines *lines, int timeout_ms)
{
	struct pollfd polled = {.fd = lines->fd, .events = POLLIN};

	if (lines->ended ||
	    (lines->scanned < lines->held.len &&
	     memchr(lines->held.data + lines->scanned, '\n', lines->held.len - lines->scanned)))
		return true;
	return poll(&polled, 1, timeout_ms) > 0;
}

static int read_more(struct lines *lines, struct err *err)
{
	uint8_t *room;
	ssize_t got;

	if (lines->at > 0) {
		buf_consume(&lines->held, lines->at);
		lines->scanned -= lines->at;
		lines->at = 0;
	}
	room = buf_reserve(&lines->held, READ_BYTES);
	if (room == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for a line of '%s'", lines->name);
	got = read(lines->fd, room, READ_BYTES);
	if (got < 0)
		return err_sys(err, "cannot read '%s'", lines->name);
	buf_commit(&lines->held, (size_t)got);
	lines->ended = got == 0;
	return 0;
}

/* Whether a whole line is held; `*ret_len` is its length without the end. */
static bool find_end(struct lines *lines, size_t *ret_len)
{
	const uint8_t *from = lines->held.data;
	const uint8_t *feed = NULL;

	if (lines->scanned < lines->held.len)
		feed = memchr(from + lines->scanned, '\n', lines->held.len - lines->scanned);
	lines->scanned = feed != NULL ? (size_t)(feed - from) : lines->held.len;
	*ret_len = lines->scanned - lines->at;
	return feed != NULL;
}

/* Drops all of a line that is too long but its end. */
static void forget(struct lines *lines, size_t len)
{
	lines->read += (int64_t)len;
	lines->at = lines->scanned;
}

enum lines_got lines_next(struct lines *lines, struct bytes *ret, struct err *err)
{
	bool too_long = false;
	size_t len;

	while (!find_end(lines, &len)) {
		if (lines->ended && len == 0 && !too_long)
			return LINES_END;
		if (lines->ended)
			break;
		if (len > lines->limit) {
			too_long = true;
			forget(lines, len);
		}
		if (read_more(lines, err) < 0)
			return LINES_FAILED;
	}
	*ret = (struct bytes){lines->held.data + lines->at, len};
	lines->number++;
	lines->read += (int64_t)len + 1;
	lines->at += len;
	if (lines->at < lines->held.len) {
		lines->held.data[lines->at] = '\0';
		lines->at++;
	}
	lines->scanned = lines->at;
	return too_long || len > lines->limit ? LINES_TOO_LONG : LINES_LINE;
}
