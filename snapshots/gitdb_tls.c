/*
 * gitdb_tls.c - what carries https for libgit2.
 *
 * libgit2 1.5 follows redirects within a host, to any path and any port, takes
 * the credentials along, and tells nobody. So the bytes go through here: TLS
 * of OpenSSL, and a look at every request before it leaves. Its address is
 * composed from what the connection was made to and from what its first line
 * says, and is asked about like the address that the job named.
 *
 *	libgit2 writes a request	    -> its first line is judged, all of it is sent
 *	libgit2 reads			    -> the next write starts another request
 *
 * A request whose first line does not come in one piece is refused.
 */
#include "snapshots/gitdb_private.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <git2/sys/stream.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/fd.h"

enum { URL_BYTES = 4096, REFS_BYTES_MAX = 64 << 20 };

struct tls {
	git_stream parent;
	char *host;
	char *port;
	int fd;
	SSL_CTX *context;
	SSL *ssl;
	bool answering; /* something was read since the last request */
	int64_t left_bytes;
};

/* libgit2's constructor has no argument of ours. One fetch a process. */
static struct {
	const struct gitdb_fetch *fetch;
	bool exceeded;
} now;

/* --- errors ------------------------------------------------------------ */

static int fail(const char *what, const char *subject, const char *why)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "%s '%.200s': %s", what, subject, why);
	git_error_set_str(GIT_ERROR_SSL, text);
	return -1;
}

static const char *last_tls_error(char *text, size_t size)
{
	unsigned long code = ERR_get_error();

	(void)snprintf(text, size, "%s", "the connection was closed");
	if (code != 0)
		ERR_error_string_n(code, text, size);
	ERR_clear_error();
	return text;
}

/* --- judging ----------------------------------------------------------- */

static bool ends_with(const char *text, size_t len, const char *end, size_t *ret_rest)
{
	size_t end_len = strlen(end);

	*ret_rest = len - end_len;
	return len >= end_len && memcmp(text + len - end_len, end, end_len) == 0;
}

/* "GET <path>/info/refs?service=git-upload-pack HTTP/1.1" and the like: where
 * the path is, or NULL for what no fetch asks. */
static const char *find_path(const char *data, size_t len, size_t *ret_len)
{
	const char *end = memmem(data, len, " HTTP/1.1\r\n", 11);
	bool get = len > 4 && memcmp(data, "GET /", 5) == 0;
	bool post = len > 5 && memcmp(data, "POST /", 6) == 0;
	const char *path = get ? data + 4 : data + 5;

	if (end == NULL || end <= path || (!get && !post) ||
	    memchr(path, '\r', (size_t)(end - path)) != NULL ||
	    memchr(path, ' ', (size_t)(end - path)) != NULL)
		return NULL;
	return ends_with(path, (size_t)(end - path),
			 get ? "/info/refs?service=git-upload-pack" : "/git-upload-pack", ret_len)
		       ? path
		       : NULL;
}

static int judge(const struct tls *tls, const char *data, size_t len)
{
	bool numeric = strchr(tls->host, ':') != NULL && tls->host[0] != '[';
	char url[URL_BYTES];
	size_t path_len = 0;
	const char *path = find_path(data, len, &path_len);
	int size = path == NULL ? 0
				: snprintf(url, sizeof(url), "https://%s%s%s:%s%.*s",
					   numeric ? "[" : "", tls->host, numeric ? "]" : "",
					   tls->port, (int)path_len, path);

	if (path == NULL || size >= (int)sizeof(url))
		return fail("refused to ask", tls->host, "that is no request of a fetch");
	if (!now.fetch->allowed(now.fetch->ctx, url))
		return fail("refused the redirect to", url,
			    "it is not where the job's source may be");
	return 0;
}

/* --- the connection ---------------------------------------------------- */

static int open_socket(struct tls *tls)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int code = getaddrinfo(tls->host, tls->port, &hints, &list);
	int number = 0;

	if (code != 0)
		return fail("cannot find", tls->host, gai_strerror(code));
	for (const struct addrinfo *at = list; at != NULL && tls->fd < 0; at = at->ai_next) {
		int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);

		if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
			tls->fd = fd_take(&fd);
		else
			number = errno;
		fd_close(fd);
	}
	freeaddrinfo(list);
	return tls->fd >= 0 ? 0 : fail("cannot connect to", tls->host, strerror(number));
}

static bool prepare(struct tls *tls)
{
	const char *ca_file = now.fetch->ca_file;

	tls->context = SSL_CTX_new(TLS_client_method());
	if (tls->context == NULL ||
	    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1)
		return false;
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
	if ((ca_file != NULL ? SSL_CTX_load_verify_locations(tls->context, ca_file, NULL)
			     : SSL_CTX_set_default_verify_paths(tls->context)) != 1)
		return false;
	tls->ssl = SSL_new(tls->context);
	return tls->ssl != NULL && SSL_set_fd(tls->ssl, tls->fd) == 1;
}

/* The name that the certificate must have. */
static bool expect_name(struct tls *tls)
{
	X509_VERIFY_PARAM *wanted = SSL_get0_param(tls->ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(wanted, tls->host) == 1)
		return true;
	SSL_set_hostflags(tls->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(tls->ssl, tls->host) == 1 &&
	       SSL_set_tlsext_host_name(tls->ssl, tls->host) == 1;
}

static int on_connect(git_stream *stream)
{
	struct tls *tls = (struct tls *)(void *)stream;
	char text[256];
	long verdict;

	/* A peer that hangs up is an error of the write, not the end of us. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (open_socket(tls) < 0)
		return -1;
	if (!prepare(tls) || !expect_name(tls))
		return fail("cannot set up TLS for", tls->host, last_tls_error(text, sizeof(text)));
	if (SSL_connect(tls->ssl) == 1 && SSL_get_verify_result(tls->ssl) == X509_V_OK)
		return 0;
	verdict = SSL_get_verify_result(tls->ssl);
	if (verdict != X509_V_OK)
		return fail("the certificate is not good for", tls->host,
			    X509_verify_cert_error_string(verdict));
	return fail("cannot agree on TLS with", tls->host, last_tls_error(text, sizeof(text)));
}

/* It was verified in the handshake; there is nothing to show. */
static int on_certificate(git_cert **ret, git_stream *stream)
{
	static git_cert_x509 none = {.parent = {.cert_type = GIT_CERT_X509}};

	(void)stream;
	*ret = &none.parent;
	return 0;
}

/* --- the bytes --------------------------------------------------------- */

static ssize_t on_write(git_stream *stream, const char *data, size_t len, int flags)
{
	struct tls *tls = (struct tls *)(void *)stream;
	char text[256];
	size_t written = 0;

	(void)flags;
	if (tls->answering && judge(tls, data, len) < 0)
		return -1;
	if (tls->answering) /* refs are kept in memory, a pack is not */
		tls->left_bytes = data[0] == 'G' && REFS_BYTES_MAX < now.fetch->max_bytes
					  ? REFS_BYTES_MAX
					  : now.fetch->max_bytes + REFS_BYTES_MAX;
	tls->answering = false;
	if (len > 0 && SSL_write_ex(tls->ssl, data, len, &written) != 1)
		return fail("cannot write to", tls->host, last_tls_error(text, sizeof(text)));
	return (ssize_t)written;
}

static ssize_t on_read(git_stream *stream, void *data, size_t len)
{
	struct tls *tls = (struct tls *)(void *)stream;
	char text[256];
	size_t got = 0;

	tls->answering = true;
	if (SSL_read_ex(tls->ssl, data, len, &got) != 1) {
		if (SSL_get_error(tls->ssl, 0) == SSL_ERROR_ZERO_RETURN)
			return 0;
		return fail("cannot read from", tls->host, last_tls_error(text, sizeof(text)));
	}
	tls->left_bytes -= (int64_t)got;
	now.exceeded = now.exceeded || tls->left_bytes < 0;
	return now.exceeded ? fail("too much comes from", tls->host, "more than is allowed")
			    : (ssize_t)got;
}

static int on_close(git_stream *stream)
{
	struct tls *tls = (struct tls *)(void *)stream;

	if (tls->ssl != NULL)
		(void)SSL_shutdown(tls->ssl);
	SSL_free(tls->ssl);
	SSL_CTX_free(tls->context);
	tls->ssl = NULL;
	tls->context = NULL;
	fd_cleanup(&tls->fd);
	ERR_clear_error();
	return 0;
}

static void on_free(git_stream *stream)
{
	struct tls *tls = (struct tls *)(void *)stream;

	(void)on_close(stream);
	free(tls->host);
	free(tls->port);
	free(tls);
}

static int on_init(git_stream **ret, const char *host, const char *port)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (tls == NULL) {
		git_error_set_oom();
		return -1;
	}
	*tls = (struct tls){
		.parent = {.version = GIT_STREAM_VERSION,
			   .encrypted = 1,
			   .connect = on_connect,
			   .certificate = on_certificate,
			   .read = on_read,
			   .write = on_write,
			   .close = on_close,
			   .free = on_free},
		.host = strdup(host),
		.port = strdup(port),
		.fd = -1,
		.answering = true,
	};
	if (tls->host == NULL || tls->port == NULL) {
		on_free(&tls->parent);
		git_error_set_oom();
		return -1;
	}
	*ret = &tls->parent;
	return 0;
}

/* --- for gitdb_fetch --------------------------------------------------- */

int tls_begin(const struct gitdb_fetch *fetch)
{
	static git_stream_registration registration = {.version = GIT_STREAM_VERSION,
						       .init = on_init};

	now.fetch = fetch;
	now.exceeded = false;
	return git_stream_register(GIT_STREAM_TLS, &registration);
}

bool tls_exceeded(void)
{
	return now.exceeded;
}
