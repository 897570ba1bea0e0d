/*
 * metrics.h - the worker's counters and health over HTTP, for machines.
 *
 *	/metrics	Prometheus' text format, version 0.0.4
 *	/healthz	200 while the supervisor's loop turns
 *	/readyz		200 while it takes jobs and can answer them; else 503 and why
 *
 * It has neither encryption nor passwords, and so listens on loopback or at a
 * path only. The server runs in the supervisor's loop, without a thread.
 */
#ifndef SBX_WORKER_METRICS_H
#define SBX_WORKER_METRICS_H

#include <sys/socket.h>

#include "base/buf.h"
#include "worker/config.h"
#include "worker/supervisor.h"

/* For supervisor_serve. Programs that do not serve do not link the library. */
extern const struct supervisor_server metrics_server;

/* All counters as text. */
void metrics_text(const struct supervisor *self, struct buf *out);

/* "127.0.0.1:9464", "[::1]:9464" or an absolute path. */
struct metrics_address {
	struct sockaddr_storage address;
	socklen_t len;
	const char *path; /* within the text; NULL: none */
};
int metrics_address(const char *text, struct metrics_address *ret, struct err *err) MUST_CHECK;

#endif
