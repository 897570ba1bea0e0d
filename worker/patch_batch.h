/*
 * patch_batch.h - many diffs through one process: a line of JSON in, a line of
 * JSON out, in the same order.
 *
 *	{"id": "1", "repo": "/srv/git/x", "commit": "main", "strip": 1,
 *	 "mode": "strict", "diff_base64": "..."}
 *	{"id": "1", "ok": true, "tree": "...", "reason": null, "adjusted": []}
 *
 * The diff is as schema/base64.h says. `strip` is 1 and `mode` "strict" when
 * absent. A refused diff answers ok false with the reason's code and a message; so
 * does a line that cannot be read or a repository that cannot be opened (job.* and
 * source.*). Repositories stay open, nothing is written to them, and memory does
 * not grow with the number of lines.
 */
#ifndef SBX_WORKER_PATCH_BATCH_H
#define SBX_WORKER_PATCH_BATCH_H

#include <stdio.h>

#include "snapshots/patch.h"

/* Until the end of `in`. `policy` holds for every line but for its strip. */
int patch_batch(FILE *in, FILE *out, const struct patch_policy *policy, struct err *err) MUST_CHECK;

#endif
