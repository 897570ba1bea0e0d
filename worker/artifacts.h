/*
 * artifacts.h - a file of the workspace becomes an artifact of the result:
 * sha256 of its content, zstd where that is smaller, inline up to the bounds
 * of limits.h, else listed with its size and digest and encoding "omitted".
 *
 *	artifacts_init(&artifacts, &arena, job.artifacts.max_bytes, &err);
 *	artifacts_add(&artifacts, "out/report.xml", fd, &err);
 *	body.artifacts = artifacts.items;
 *	body.artifacts_len = artifacts.len;
 *
 * Names and contents are hostile. A name is made valid UTF-8 first: each byte
 * that is none becomes \xHH, control characters too. A file is read once and
 * never as a whole; what a job can make this process read is bounded by
 * ARTIFACTS_READ_BYTES, for a sparse file costs its job nothing.
 */
#ifndef SBX_WORKER_ARTIFACTS_H
#define SBX_WORKER_ARTIFACTS_H

#include "base/arena.h"
#include "base/err.h"
#include "schema/result.h"

/* All files of a job together. */
#define ARTIFACTS_READ_BYTES (1ll << 30)

struct artifacts {
	struct arena *arena;
	struct result_artifact *items;
	size_t len;
	size_t inline_bytes;
	int64_t max_bytes;   /* of the job: content of all together; 0: no own bound */
	int64_t total_bytes; /* size of those listed with data, before compression */
	int64_t read_bytes;
	bool truncated; /* some were left out or not inlined */
};

int artifacts_init(struct artifacts *artifacts, struct arena *arena, int64_t max_bytes,
		   struct err *err) MUST_CHECK;

/* Reads `fd`, a regular file, from its start; its offset does not matter and
 * stays. A path already added is skipped. What passes a bound is no failure:
 * `truncated` says so. */
int artifacts_add(struct artifacts *artifacts, const char *path, int fd,
		  struct err *err) MUST_CHECK;

/* sha256 as lowercase hex; for digests of payloads and diffs too. */
void sha256_hex(struct bytes content, char ret_hex[65]);

#endif
