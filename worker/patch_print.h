/*
 * patch_print.h - what sbx-patch says, to a person and in JSON.
 */
#ifndef SBX_WORKER_PATCH_PRINT_H
#define SBX_WORKER_PATCH_PRINT_H

#include "base/buf.h"
#include "snapshots/diff.h"
#include "snapshots/patch.h"

struct patch_report {
	const char *name; /* of the diff's file; "-": standard input */
	struct bytes diff;
	bool refused;
	struct reason reason;	      /* when refused */
	struct patch_outcome outcome; /* check and apply */
	struct diff parsed;	      /* stat, show and guard */
	bool has_commit;
	struct oid commit;
};

/* Appends the answer of `command`. A refusal points at the line of the diff as
 * a compiler does: "NAME:LINE: patch.conflict: ...". */
void patch_print(const struct patch_report *report, const char *command, struct buf *out);

/* The same as one JSON object, with its newline. */
void patch_print_json(struct arena *arena, const struct patch_report *report, const char *command,
		      struct buf *out);

/* The default list of protected and noteworthy files. */
void patch_print_rules(struct arena *arena, bool json, struct buf *out);

#endif
