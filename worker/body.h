/*
 * body.h - the body of a result, made to fit into its message. What a job may
 * leave behind is bounded list by list, but not in the sum.
 *
 *	buf_init(&out, LIMIT_RESULT_BYTES);
 *	body_pack(&arena, &body, LIMIT_BODY_BYTES, &out, &pairs, &err);
 *
 * When it does not fit, parts are left out in a fixed order, the least missed
 * first, until it does: content of artifacts, messages of cases, cases,
 * most of the output, changes, files, arguments, findings. Counts and verdicts
 * stay. Each part that went is told by a warning with the rule
 * `result.truncated`.
 */
#ifndef SBX_WORKER_BODY_H
#define SBX_WORKER_BODY_H

#include "schema/result.h"

/* Changes `body`, with memory from `arena`; what it points to stays. */
int body_pack(struct arena *arena, struct result_body *body, size_t limit_bytes, struct buf *out,
	      size_t *ret_pairs, struct err *err) MUST_CHECK;

#endif
