/*
 * artifacts.h - a file of the workspace becomes an artifact of the result:
 * sha256 of its content, zstd where that is smaller, inline up to the bounds
 * of limits.h, else listed with its size and digest and encoding "omitted".
 */
#ifndef SBX_WORKER_ARTIFACTS_H
#define SBX_WORKER_ARTIFACTS_H

#include "base/arena.h"
#include "base/err.h"
#include "schema/result.h"

struct artifacts {
	struct arena *arena;
	struct result_artifact *items;
	size_t len;
	size_t inline_bytes;
	int64_t max_bytes; /* of the job: content of all together; 0: no own bound */
	int64_t total_bytes;
	bool truncated; /* some were left out or not inlined */
};

int artifacts_init(struct artifacts *artifacts, struct arena *arena, int64_t max_bytes,
		   struct err *err) MUST_CHECK;

/* Reads `fd`, a regular file, from its start. A path already added is skipped. */
int artifacts_add(struct artifacts *artifacts, const char *path, int fd,
		  struct err *err) MUST_CHECK;

/* sha256 as lowercase hex; for digests of payloads and diffs too. */
void sha256_hex(struct bytes content, char ret_hex[65]);

#endif
