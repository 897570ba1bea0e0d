/*
 * driver.c - theory of operation.
 *
 * The driver only sends messages, receives messages and reads counters whose
 * files it was handed open. Nothing that init sends is believed further than
 * its length: init is trusted by the host, but a driver that holds a store
 * open should survive one that was taken over.
 *
 * Counters come in two formats: version 1 of control groups has files with a
 * bare number, version 2 lines of key and number. One reader takes both.
 */
#include "worker/sandbox/driver.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/driver_private.h"

static const struct {
	const char *name, *unit;
} limit_words[BOX_LIMIT_COUNT] = {
	[BOX_LIMIT_NONE] = {"none", ""},
	[BOX_LIMIT_WALL] = {"wall", "ms"},
	[BOX_LIMIT_STEP_WALL] = {"step_wall", "ms"},
	[BOX_LIMIT_CPU] = {"cpu", "ms"},
	[BOX_LIMIT_IDLE] = {"idle", "ms"},
	[BOX_LIMIT_MEMORY] = {"memory", "bytes"},
	[BOX_LIMIT_DISK] = {"disk", "bytes"},
	[BOX_LIMIT_INODES] = {"inodes", "files"},
	[BOX_LIMIT_PROCESSES] = {"processes", "at one time"},
	[BOX_LIMIT_FILE] = {"file", "bytes"},
	[BOX_LIMIT_OUTPUT] = {"output", "bytes"},
};

const char *box_limit_name(enum box_limit limit)
{
	assert((size_t)limit < BOX_LIMIT_COUNT);
	return limit_words[limit].name;
}

const char *box_limit_unit(enum box_limit limit)
{
	assert((size_t)limit < BOX_LIMIT_COUNT);
	return limit_words[limit].unit;
}

/* --- life ------------------------------------------------------------------------ */

void driver_init(struct driver *driver, struct box_handle *handle, const struct box_limits *limits)
{
	*driver = (struct driver){
		.handle = *handle, .limits = *limits, .output_left_bytes = limits->output_bytes};
	handle->control_fd = -1;
	for (size_t i = 0; i < BOX_METERS; i++)
		handle->meter_fds[i] = -1;
}

void driver_release(struct driver *driver)
{
	box_handle_release(&driver->handle);
}

/* --- messages ------------------------------------------------------------------------ */

int driver_recv(struct driver *driver, int timeout_ms, union driver_message *ret, size_t *ret_len,
		int *ret_fds, size_t *ret_fds_len, struct err *err)
{
	struct pollfd readable = {.fd = driver->handle.control_fd, .events = POLLIN};
	ssize_t len;
	int n;

	*ret_fds_len = 0;
	do
		n = poll(&readable, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return err_set(err, ERR_TIMEOUT, "the init of the sandbox does not answer");
	len = wire_recv(driver->handle.control_fd, ret, sizeof(*ret), ret_fds, ret_fds_len, err);
	if (len < 0)
		return -1;
	if (len < (ssize_t)sizeof(ret->kind))
		return err_set(err, ERR_PEER, "the init of the sandbox died");
	if (ret->kind == WIRE_FAILED && (size_t)len == sizeof(ret->failed)) {
		for (size_t i = 0; i < *ret_fds_len; i++)
			fd_close(ret_fds[i]);
		*ret_fds_len = 0;
		return wire_failed(&ret->failed, err);
	}
	*ret_len = (size_t)len;
	return 0;
}

/* An init that is gone has said why before. */
static int ask_why(struct driver *driver, struct err *err)
{
	union driver_message *message = malloc(sizeof(*message));
	int fds[FD_PASS_MAX];
	size_t fds_len = 0, len = 0;
	struct err why = {0};

	if (message != NULL && err != NULL &&
	    driver_recv(driver, 0, message, &len, fds, &fds_len, &why) < 0)
		*err = why;
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
	free(message);
	return -1;
}

int driver_send(struct driver *driver, const void *data, size_t len, const int *fds, size_t fds_len,
		struct err *err)
{
	if (fd_send(driver->handle.control_fd, data, len, fds, fds_len, err) < 0)
		return ask_why(driver, err);
	return 0;
}

int driver_await(struct driver *driver, int timeout_ms, struct err *err)
{
	union driver_message *message = malloc(sizeof(*message));
	int fds[FD_PASS_MAX], result;
	size_t fds_len = 0, len = 0;

	if (message == NULL)
		return err_set(err, ERR_SYSTEM, "out of memory");
	result = driver_recv(driver, timeout_ms, message, &len, fds, &fds_len, err);
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
	if (result == 0 && (message->kind != WIRE_OK || len != sizeof(message->kind)))
		result = err_set(err, ERR_PEER, "the init of the sandbox answers out of turn");
	free(message);
	return result;
}

int driver_finish(struct driver *driver, struct err *err)
{
	uint32_t kind = WIRE_FINISH;

	assert(!driver->finished);
	if (driver_send(driver, &kind, sizeof(kind), NULL, 0, err) < 0 ||
	    driver_await(driver, WIRE_REPLY_MS, err) < 0)
		return -1;
	driver->finished = true;
	return 0;
}

/* --- meters ------------------------------------------------------------------------------ */

enum { METER_BYTES = 8192 };

static bool read_meter(const struct driver *driver, int meter, char text[METER_BYTES])
{
	int fd = driver->handle.meter_fds[meter];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, METER_BYTES - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

/* The sum of all numbers that stand after "KEY " or "KEY=". */
static int64_t sum_of(const char *text, const char *key)
{
	size_t len = strlen(key);
	int64_t sum = -1;

	for (const char *at = text; (at = strstr(at, key)) != NULL; at += len) {
		bool starts = at == text || isspace((unsigned char)at[-1]);

		if (starts && (at[len] == ' ' || at[len] == '='))
			sum = (sum < 0 ? 0 : sum) + strtoll(at + len + 1, NULL, 10);
	}
	return sum;
}

int64_t driver_meter(const struct driver *driver, int meter, const char *key)
{
	char text[METER_BYTES];

	if (!read_meter(driver, meter, text))
		return -1;
	if (key == NULL || (isdigit((unsigned char)text[0]) && strchr(text, ' ') == NULL))
		return isdigit((unsigned char)text[0]) ? strtoll(text, NULL, 10) : -1;
	return sum_of(text, key);
}

int64_t driver_cpu_us(const struct driver *driver)
{
	char text[METER_BYTES];

	if (!read_meter(driver, BOX_METER_CPU, text))
		return -1;
	if (isdigit((unsigned char)text[0])) /* version 1: nanoseconds */
		return strtoll(text, NULL, 10) / 1000;
	return sum_of(text, "usage_usec");
}

/* A group that has done none has no line for it. */
int64_t driver_io_bytes(const struct driver *driver, const char *key)
{
	int64_t bytes = driver_meter(driver, BOX_METER_IO, key);

	return bytes < 0 && driver->handle.meter_fds[BOX_METER_IO] >= 0 ? 0 : bytes;
}

int64_t driver_processes_peak(const struct driver *driver)
{
	int64_t peak = driver_meter(driver, BOX_METER_PROCESSES_PEAK, NULL);

	return peak > BOX_INIT_PROCESSES ? peak - BOX_INIT_PROCESSES : peak;
}

int64_t driver_throttled_us(const struct driver *driver)
{
	char text[METER_BYTES];
	int64_t ns;

	if (read_meter(driver, BOX_METER_THROTTLED, text)) {
		ns = sum_of(text, "throttled_time");
		return ns < 0 ? -1 : ns / 1000;
	}
	return read_meter(driver, BOX_METER_CPU, text) ? sum_of(text, "throttled_usec") : -1;
}

int driver_usage(const struct driver *driver, struct box_usage *ret, struct err *err)
{
	int64_t cpu_us = driver_cpu_us(driver);

	(void)err;
	*ret = (struct box_usage){
		.cpu_us = cpu_us < 0 ? -1 : cpu_us - driver->cpu_base_us,
		.memory_peak_bytes = driver_meter(driver, BOX_METER_MEMORY_PEAK, NULL),
		.processes_peak = driver_processes_peak(driver),
		.io_read_bytes = driver_io_bytes(driver, "rbytes"),
		.io_write_bytes = driver_io_bytes(driver, "wbytes"),
		.oom_kills = driver_meter(driver, BOX_METER_MEMORY_EVENTS, "oom_kill"),
	};
	return 0;
}
