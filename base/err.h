/*
 * err.h - a host fault, described once where it happened.
 *
 * The caller owns a struct err, usually on its stack, and passes it last. A
 * function that fails fills it and returns a negative number:
 *
 *	struct err err = {0};
 *	if (fd_open_read(path, &fd, &err) < 0)
 *		log_error("cannot start", "error", err.message, NULL);
 *
 * Filling never allocates. Messages are lowercase, name the failure first,
 * quote the subject, end without a full stop, and carry the fix where one is
 * known. Passing NULL for `err` is allowed everywhere: nobody wants the text.
 */
#ifndef SBX_BASE_ERR_H
#define SBX_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/defs.h"

enum { ERR_MESSAGE_BYTES = 512 };

enum err_kind {
	ERR_NONE = 0,
	ERR_SYSTEM,	 /* a system call failed: `number` is its errno */
	ERR_INPUT,	 /* what was read is not what the format allows */
	ERR_LIMIT,	 /* a bound of our own was reached */
	ERR_PEER,	 /* the other side of a connection failed or left */
	ERR_TIMEOUT,	 /* a deadline passed */
	ERR_UNSUPPORTED, /* this host or version cannot do it */
	ERR_CONFLICT,	 /* somebody else holds it, or it is there already */
	ERR_NOT_FOUND,	 /* what was asked for does not exist */
};

struct err {
	enum err_kind kind;
	/* For ERR_SYSTEM its errno, for ERR_PEER ENOTCONN when there was nobody to
	 * connect to; else 0. */
	int number;
	char message[ERR_MESSAGE_BYTES];
};

/* Fills `err` and returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set with ERR_PEER, for a connection that did not come about. */
int err_unreachable(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool err_is_unreachable(const struct err *err);

/* As err_set with ERR_SYSTEM: appends ": " and the text of `errno`. */
int err_sys(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Puts "context: " before the message that is already there. Returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A stable lowercase word for a kind: "system", "input", ... */
const char *err_kind_name(enum err_kind kind);

#endif
