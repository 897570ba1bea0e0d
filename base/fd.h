/*
 * fd.h - descriptors: closing them, moving bytes through them, passing them.
 *
 *	CLEANUP(fd_cleanup) int fd = -1;
 *	if (fd_open_beneath(root, path, O_RDONLY, 0, &fd, err) < 0)
 *		return -1;
 *	*ret_fd = fd_take(&fd);
 *
 * Everything opened here is close-on-exec. EINTR is retried. -1 is "none".
 */
#ifndef SBX_BASE_FD_H
#define SBX_BASE_FD_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

/* The most descriptors that travel with one message. */
enum { FD_PASS_MAX = 16 };

/* Closes `fd` unless it is -1. errno is kept. */
void fd_close(int fd);

/* For CLEANUP(fd_cleanup): closes and sets to -1. */
void fd_cleanup(int *fd);

/* This process and those it starts may have as many descriptors as root, or the
 * service manager, permits: the soft bound becomes the hard one. */
void fd_raise_bound(void);

/* Hands the descriptor over: returns it and leaves -1. */
int fd_take(int *fd);

/*
 * Opens an untrusted path below the directory `root_fd`: no "..", no
 * absolute path, no symbolic link anywhere, no magic link (openat2(2)).
 */
int fd_open_beneath(int root_fd, const char *path, int flags, mode_t mode, int *ret_fd,
		    struct err *err) MUST_CHECK;

/* Makes every missing directory of `path`, which is trusted. */
int fd_make_dirs(const char *path, mode_t mode, struct err *err) MUST_CHECK;

/* Reads to the end, into `out` and its bound. ERR_LIMIT beyond it. */
int fd_read_all(int fd, struct buf *out, struct err *err) MUST_CHECK;

/* A whole trusted file, at most `limit_bytes`. */
int fd_read_file(const char *path, size_t limit_bytes, struct buf *out, struct err *err) MUST_CHECK;

/* A positive number as /proc/sys has them; false: none, or no such file. */
bool fd_read_positive(const char *path, int64_t *ret);

int fd_write_all(int fd, const void *data, size_t len, struct err *err) MUST_CHECK;

/* A sealed anonymous file with this content, to be handed to another process. */
int fd_memfd(const char *name, const void *data, size_t len, int *ret_fd,
	     struct err *err) MUST_CHECK;

/* Maps a sealed memory file read-only; `ret->data` is unmapped with fd_unmap.
 * ERR_INPUT when it is not sealed against writing and shrinking. */
int fd_map(int fd, size_t limit_bytes, struct bytes *ret, struct err *err) MUST_CHECK;
void fd_unmap(struct bytes *map);

/* --- messages over SOCK_SEQPACKET -------------------------------------- */

/* A connected pair, close-on-exec, blocking. */
int fd_socketpair(int ret_pair[2], struct err *err) MUST_CHECK;

/*
 * Sends one whole message and `fds_len` descriptors with it (they stay open
 * here). Blocks unless the socket does not. ERR_PEER when the other end is
 * gone.
 */
int fd_send(int sock, const void *data, size_t len, const int *fds, size_t fds_len,
	    struct err *err) MUST_CHECK;

/*
 * Receives one whole message into `data` of `size` bytes. Returns its length,
 * 0 at the end of the connection, FD_AGAIN when the socket is non-blocking
 * and nothing is there, -1 on failure. A message or descriptor list that does
 * not fit is ERR_INPUT. `fds` has room for FD_PASS_MAX; the caller owns what
 * arrives.
 */
enum { FD_AGAIN = -2 };
ssize_t fd_recv(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len,
		struct err *err) MUST_CHECK;

/* As fd_recv, but never waits, whatever the socket's own mode. */
ssize_t fd_recv_now(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len,
		    struct err *err) MUST_CHECK;

/* As fd_send, but never waits: FD_AGAIN when there is no room now. */
int fd_send_now(int sock, const void *data, size_t len, const int *fds, size_t fds_len,
		struct err *err) MUST_CHECK;

int fd_set_nonblocking(int fd, bool on, struct err *err) MUST_CHECK;

#endif
