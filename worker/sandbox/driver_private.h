/*
 * driver_private.h - what the parts of the driver share.
 */
#ifndef SBX_SANDBOX_DRIVER_PRIVATE_H
#define SBX_SANDBOX_DRIVER_PRIVATE_H

#include "worker/sandbox/sandbox_private.h"

/* Any message from init. */
union driver_message {
	uint32_t kind;
	struct wire_failed failed;
	struct wire_done done;
	struct wire_names names;
	struct wire_entry entry;
	uint8_t bytes[WIRE_BYTES];
};

/*
 * Receives one message within `timeout_ms`; 0 bytes are an error too. The
 * caller owns `ret_fds`, of which there is room for FD_PASS_MAX. A WIRE_FAILED
 * becomes the error that it tells of.
 */
int driver_recv(struct driver *driver, int timeout_ms, union driver_message *ret, size_t *ret_len,
		int *ret_fds, size_t *ret_fds_len, struct err *err) MUST_CHECK;

/* As fd_send; when init is gone, the error is what it has said last. */
int driver_send(struct driver *driver, const void *data, size_t len, const int *fds, size_t fds_len,
		struct err *err) MUST_CHECK;

/* Waits for WIRE_OK. */
int driver_await(struct driver *driver, int timeout_ms, struct err *err) MUST_CHECK;

/* One number of a meter: after `key`, or the first where key is NULL or the
 * file holds nothing but a number. -1 when it is not there. */
int64_t driver_meter(const struct driver *driver, int meter, const char *key);

/* Held up by the quota, in microseconds; -1 when nothing counts it. */
int64_t driver_throttled_us(const struct driver *driver);

/* "rbytes" or "wbytes" of the group; -1 when nothing counts them. */
int64_t driver_io_bytes(const struct driver *driver, const char *key);

/* Without init. */
int64_t driver_processes_peak(const struct driver *driver);

/* All processes of the box, in microseconds; -1 when nothing counts it. */
int64_t driver_cpu_us(const struct driver *driver);

#endif
