/*
 * sbx_private.h - what the files of libsbx share: sbx.c, sbx_results.c.
 */
#ifndef SBX_PRODUCER_SBX_PRIVATE_H
#define SBX_PRODUCER_SBX_PRIVATE_H

#include "producer/sbx.h"
#include "producer/sender.h"
#include "schema/value.h"

struct sbx {
	struct arena arena; /* of the options' texts */
	struct carrier_config config;
	int timeout_ms;
	struct sender sender;
};

/* Fill the caller's error and return -1. */
int libsbx_fail(struct sbx_error *error, enum sbx_failure failure, const char *message);
int libsbx_fail_err(struct sbx_error *error, const struct err *err);
int libsbx_fail_memory(struct sbx_error *error);

/* False when the arena is exhausted. */
bool libsbx_copy_config(struct arena *arena, const struct carrier_config *from,
			struct carrier_config *ret);

/* A result's tree as the caller gets it; texts in arena and `json`, `message` is
 * borrowed. 0, or -1 with the error. */
int libsbx_read_result(struct arena *arena, struct buf *json, const struct value *tree,
		       struct bytes message, struct sbx_result *ret,
		       struct sbx_error *error) MUST_CHECK;

#endif
