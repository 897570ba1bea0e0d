/*
 * err.c - filling a struct err. The message is always terminated and is cut,
 * never overrun, when it does not fit.
 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- names ------------------------------------------------------------ */

static const char *const kind_names[] = {
	[ERR_NONE] = "none",
	[ERR_SYSTEM] = "system",
	[ERR_INPUT] = "input",
	[ERR_LIMIT] = "limit",
	[ERR_PEER] = "peer",
	[ERR_TIMEOUT] = "timeout",
	[ERR_UNSUPPORTED] = "unsupported",
	[ERR_CONFLICT] = "conflict",
	[ERR_NOT_FOUND] = "not_found",
};

const char *err_kind_name(enum err_kind kind)
{
	assert((size_t)kind < ARRAY_LEN(kind_names));
	return kind_names[kind];
}

/* --- filling ---------------------------------------------------------- */

PRINTF_LIKE(4, 0)
static int fill(struct err *err, enum err_kind kind, int number, const char *fmt, va_list args)
{
	if (err == NULL)
		return -1;
	err->kind = kind;
	err->number = number;
	(void)vsnprintf(err->message, sizeof(err->message), fmt, args);
	return -1;
}

int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)fill(err, kind, 0, fmt, args);
	va_end(args);
	return -1;
}

int err_sys(struct err *err, const char *fmt, ...)
{
	int number = errno;
	va_list args;
	size_t used;

	if (err == NULL)
		return -1;
	va_start(args, fmt);
	(void)fill(err, ERR_SYSTEM, number, fmt, args);
	va_end(args);
	used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", strerror(number));
	errno = number;
	return -1;
}

int err_unreachable(struct err *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)fill(err, ERR_PEER, ENOTCONN, fmt, args);
	va_end(args);
	return -1;
}

bool err_is_unreachable(const struct err *err)
{
	return err->kind == ERR_PEER && err->number == ENOTCONN;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	char old[ERR_MESSAGE_BYTES];
	va_list args;
	size_t used;

	if (err == NULL)
		return -1;
	(void)memcpy(old, err->message, sizeof(old));
	va_start(args, fmt);
	(void)vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", old);
	return -1;
}
