/*
 * fd.c - thin wrappers over Linux calls. Each retries EINTR, sets close-on-exec
 * and turns errno into a struct err that names the subject.
 */
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"

enum { READ_BYTES_FIRST = 8 * 1024, READ_BYTES = 64 * 1024, PATH_BYTES = 4096 };

/* --- closing ---------------------------------------------------------- */

void fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
}

void fd_cleanup(int *fd)
{
	fd_close(*fd);
	*fd = -1;
}

int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

void fd_raise_bound(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

/* --- opening ---------------------------------------------------------- */

int fd_open_beneath(int root_fd, const char *path, int flags, mode_t mode, int *ret_fd,
		    struct err *err)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	*ret_fd = (int)fd;
	return 0;
}

int fd_make_dirs(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_BYTES];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part))
		return err_set(err, ERR_INPUT, "cannot make directory '%.64s...': bad length",
			       path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		(void)memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_sys(err, "cannot make directory '%s'", part);
	}
	return 0;
}

/* --- whole contents --------------------------------------------------- */

int fd_read_all(int fd, struct buf *out, struct err *err)
{
	for (size_t step = READ_BYTES_FIRST;; step = READ_BYTES) {
		size_t room = out->limit_bytes - out->len;
		size_t want = room < step ? room : step;
		uint8_t *at = buf_reserve(out, want);
		uint8_t extra;
		ssize_t n;

		if (at == NULL)
			return err_set(err, ERR_LIMIT, "cannot read: out of memory");
		n = room == 0 ? read(fd, &extra, 1) : read(fd, at, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot read");
		if (n == 0)
			return 0;
		if (room == 0)
			return err_set(err, ERR_LIMIT, "cannot read: more than %zu bytes",
				       out->limit_bytes);
		buf_commit(out, (size_t)n);
	}
}

int fd_read_file(const char *path, size_t limit_bytes, struct buf *out, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	out->limit_bytes = limit_bytes;
	if (fd_read_all(fd, out, err) < 0)
		return err_prefix(err, "'%s'", path);
	return 0;
}

bool fd_read_positive(const char *path, int64_t *ret)
{
	enum { NUMBER_BYTES = 64 };
	struct buf text;
	bool read;

	buf_init(&text, NUMBER_BYTES);
	read = fd_read_file(path, NUMBER_BYTES, &text, NULL) == 0;
	if (read)
		text.data[strcspn(buf_text(&text), "\n")] = '\0';
	read = read && text_parse_int(buf_text(&text), ret) && *ret > 0;
	buf_release(&text);
	return read;
}

int fd_write_all(int fd, const void *data, size_t len, struct err *err)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot write");
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* --- memory files ----------------------------------------------------- */

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

int fd_memfd(const char *name, const void *data, size_t len, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(err, "cannot make memory file '%s'", name);
	if (fd_write_all(fd, data, len, err) < 0)
		return err_prefix(err, "memory file '%s'", name);
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return err_sys(err, "cannot seal memory file '%s'", name);
	*ret_fd = fd_take(&fd);
	return 0;
}

int fd_map(int fd, size_t limit_bytes, struct bytes *ret, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *at;

	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_WRITE))
		return err_set(err, ERR_INPUT, "cannot map memory file: not sealed");
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot stat memory file");
	if ((uint64_t)st.st_size > limit_bytes)
		return err_set(err, ERR_LIMIT, "cannot map memory file: %lld bytes, more than %zu",
			       (long long)st.st_size, limit_bytes);
	*ret = (struct bytes){NULL, 0};
	if (st.st_size == 0)
		return 0;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return err_sys(err, "cannot map memory file");
	*ret = (struct bytes){at, (size_t)st.st_size};
	return 0;
}

void fd_unmap(struct bytes *map)
{
	if (map->data != NULL)
		(void)munmap((void *)(uintptr_t)map->data, map->len);
	*map = (struct bytes){NULL, 0};
}

/* --- messages --------------------------------------------------------- */

int fd_socketpair(int ret_pair[2], struct err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_pair) < 0)
		return err_sys(err, "cannot make socket pair");
	return 0;
}

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
};

static int send_flags(int sock, const void *data, size_t len, const int *fds, size_t fds_len,
		      int flags, struct err *err)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	assert(len > 0 && fds_len <= FD_PASS_MAX);
	if (fds_len > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_len);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * fds_len);
		(void)memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fds_len);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN))
		return err_set(err, ERR_PEER, "cannot send message: the other end is gone");
	if (n < 0 && flags != 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return FD_AGAIN;
	if (n < 0)
		return err_sys(err, "cannot send message");
	return 0;
}

int fd_send(int sock, const void *data, size_t len, const int *fds, size_t fds_len, struct err *err)
{
	return send_flags(sock, data, len, fds, fds_len, 0, err);
}

int fd_send_now(int sock, const void *data, size_t len, const int *fds, size_t fds_len,
		struct err *err)
{
	return send_flags(sock, data, len, fds, fds_len, MSG_DONTWAIT, err);
}

static void take_fds(struct msghdr *msg, int *fds, size_t *ret_len)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert(*ret_len + count <= FD_PASS_MAX);
		(void)memcpy(fds + *ret_len, CMSG_DATA(c), count * sizeof(int));
		*ret_len += count;
	}
}

static ssize_t recv_flags(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len,
			  int flags, struct err *err)
{
	struct iovec iov = {.iov_base = data, .iov_len = size};
	union control control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int got[FD_PASS_MAX];
	size_t got_len = 0;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return FD_AGAIN;
	if (n < 0 && errno == ECONNRESET)
		return 0;
	if (n < 0)
		return err_sys(err, "cannot receive message");
	take_fds(&msg, got, &got_len);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || (fds == NULL && got_len > 0)) {
		for (size_t i = 0; i < got_len; i++)
			fd_close(got[i]);
		return err_set(err, ERR_INPUT, "cannot receive message: it does not fit");
	}
	if (fds != NULL) {
		(void)memcpy(fds, got, got_len * sizeof(int));
		*ret_fds_len = got_len;
	}
	return n;
}

ssize_t fd_recv(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len, struct err *err)
{
	return recv_flags(sock, data, size, fds, ret_fds_len, 0, err);
}

ssize_t fd_recv_now(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len,
		    struct err *err)
{
	return recv_flags(sock, data, size, fds, ret_fds_len, MSG_DONTWAIT, err);
}

int fd_set_nonblocking(int fd, bool on, struct err *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
		return err_sys(err, "cannot set descriptor flags");
	return 0;
}
