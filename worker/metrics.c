/*
 * metrics.c - the only door to libmicrohttpd, which runs without a thread: its
 * own epoll set is one descriptor of our loop, and MHD_run handles what is
 * there. Its time-outs are seen to once a second. Connections, their memory and
 * their time have bounds, so that who connects cannot hold up the jobs.
 */
#include "worker/metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/status.h"
#include "worker/supervisor_private.h"

enum {
	CONNECTIONS = 16,
	CONNECTION_BYTES = 16 * 1024,
	CONNECTION_S = 10,
	TEXT_BYTES = 1 << 20,
	TURN_US = 1000 * 1000,
};

struct metrics {
	struct supervisor *supervisor;
	struct MHD_Daemon *daemon;
	const char *path; /* of the socket; NULL: none */
	int epoll_fd;	  /* the library's; -1: none */
	int64_t turn_at_us;
};

/* --- answers ---------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type,
			      const char *text, size_t len)
{
	/* The library copies the text, and does not write to it. */
	struct MHD_Response *response = MHD_create_response_from_buffer(
		len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) != MHD_YES ||
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") != MHD_YES)
		result = MHD_NO;
	else
		result = MHD_queue_response(connection, code, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned code, const char *text)
{
	return answer(connection, code, "text/plain; charset=utf-8", text, strlen(text));
}

static enum MHD_Result tell_metrics(const struct supervisor *self,
				    struct MHD_Connection *connection)
{
	enum MHD_Result result;
	struct buf out;

	buf_init(&out, TEXT_BYTES);
	metrics_text(self, &out);
	result = out.failed ? MHD_NO
			    : answer(connection, MHD_HTTP_OK,
				     "text/plain; version=0.0.4; charset=utf-8", buf_text(&out),
				     out.len);
	buf_release(&out);
	return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_len, void **request)
{
	const struct metrics *metrics = ctx;
	const char *why;

	(void)version;
	(void)upload;
	(void)upload_len;
	(void)request;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (strcmp(url, "/metrics") == 0)
		return tell_metrics(metrics->supervisor, connection);
	if (strcmp(url, "/healthz") == 0)
		return say(connection, MHD_HTTP_OK, "ok\n");
	if (strcmp(url, "/readyz") != 0)
		return say(connection, MHD_HTTP_NOT_FOUND, "/metrics, /healthz or /readyz\n");
	if (status_ready(metrics->supervisor, &why))
		return say(connection, MHD_HTTP_OK, "ready\n");
	return say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, why);
}

/* --- the socket ------------------------------------------------------- */

/* A socket that a killed worker left is replaced; anything else is not ours. */
static int remove_old(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_CONFLICT, "'%s' is there and no socket", path);
	return unlink(path) < 0 ? err_sys(err, "cannot remove '%s'", path) : 0;
}

static int listen_at(const struct metrics_address *where, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup)
	int fd = socket(where->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;
	mode_t mask;
	int rc;

	if (fd < 0)
		return err_sys(err, "cannot make a socket");
	if (where->path == NULL)
		NEGLECT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	else if (remove_old(where->path, err) < 0)
		return -1;
	mask = umask(0117);
	rc = bind(fd, (const struct sockaddr *)&where->address, where->len);
	(void)umask(mask);
	if (rc < 0 && where->path != NULL)
		return err_sys(err, "user %u cannot make the socket '%s'", geteuid(), where->path);
	if (rc < 0 || listen(fd, CONNECTIONS) < 0)
		return err_sys(err, "cannot listen");
	*ret_fd = fd_take(&fd);
	return 0;
}

/* --- the server ------------------------------------------------------- */

static void on_events(void *ctx, int fd, uint32_t events)
{
	struct metrics *metrics = ctx;

	(void)fd;
	(void)events;
	(void)MHD_run(metrics->daemon);
}

static void metrics_turn(struct supervisor *self)
{
	struct metrics *metrics = self->metrics;
	int64_t now_us = clock_mono_us();

	if (metrics == NULL || now_us < metrics->turn_at_us)
		return;
	metrics->turn_at_us = now_us + TURN_US;
	(void)MHD_run(metrics->daemon);
}

static void metrics_close(struct supervisor *self)
{
	struct metrics *metrics = self->metrics;

	if (metrics == NULL)
		return;
	self->metrics = NULL;
	loop_remove(&self->loop, metrics->epoll_fd);
	if (metrics->daemon != NULL)
		MHD_stop_daemon(metrics->daemon);
	if (metrics->path != NULL)
		(void)unlink(metrics->path);
	free(metrics);
}

static int start(struct metrics *metrics, int fd, struct err *err)
{
	const union MHD_DaemonInfo *info;

	metrics->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, metrics, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_S, MHD_OPTION_END);
	if (metrics->daemon == NULL) {
		fd_close(fd);
		return err_set(err, ERR_SYSTEM, "cannot start the HTTP server");
	}
	info = MHD_get_daemon_info(metrics->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL)
		return err_set(err, ERR_UNSUPPORTED, "the HTTP library has no epoll");
	metrics->epoll_fd = info->epoll_fd;
	return loop_add(&metrics->supervisor->loop, metrics->epoll_fd, EPOLLIN, on_events, metrics,
			err);
}

static int metrics_open(struct supervisor *self, struct err *err)
{
	const char *listen = self->config->metrics_listen;
	struct metrics_address where;
	struct metrics *metrics;
	int fd = -1;

	if (*listen == '\0')
		return 0;
	metrics = calloc(1, sizeof(*metrics));
	if (metrics == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	*metrics = (struct metrics){.supervisor = self, .epoll_fd = -1};
	self->metrics = metrics;
	if (metrics_address(listen, &where, err) < 0 || listen_at(&where, &fd, err) < 0)
		return err_prefix(err, "metrics.listen '%.128s'", listen);
	metrics->path = where.path;
	if (start(metrics, fd, err) < 0)
		return -1;
	log_info("metrics", "listen", listen, NULL);
	return 0;
}

const struct supervisor_server metrics_server = {
	.open = metrics_open,
	.turn = metrics_turn,
	.close = metrics_close,
};
