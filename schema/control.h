/*
 * control.h - what is said to all workers at once, as PROTOCOL.md defines it.
 *
 *	struct control cancel = {.kind = CONTROL_CANCEL, .id = "job-1", .run = 1};
 *	control_pack(&arena, &cancel, &out);
 *	...
 *	rc = control_decode(&arena, data, len, &control, &err);
 *
 * A cancel names a job and its run. A mark is said by a worker to itself: when
 * it comes back, all that was said before it has been heard.
 */
#ifndef SBX_SCHEMA_CONTROL_H
#define SBX_SCHEMA_CONTROL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum control_kind { CONTROL_CANCEL, CONTROL_MARK };

struct control {
	enum control_kind kind;
	const char *id; /* of the job, or of the mark; 1-64 of A-Za-z0-9._- */
	int64_t run;	/* CONTROL_CANCEL: 1 to LIMIT_RUN */
};

/* Appends the message; out->failed when it does not fit. */
void control_pack(struct arena *arena, const struct control *control, struct buf *out);

/* ERR_INPUT: malformed. ERR_UNSUPPORTED: of a kind or version that is not known
 * here, which a later version may send. Texts are in the arena. */
int control_decode(struct arena *arena, const void *data, size_t len, struct control *ret,
		   struct err *err) MUST_CHECK;

#endif
