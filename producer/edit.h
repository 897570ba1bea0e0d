/*
 * edit.h - one field of a job changed from text: "PATH=VALUE".
 *
 *	limits.memory_bytes=2g	sizes where the name ends in _bytes
 *	limits.wall_ms=5m	durations where it ends in _ms
 *	steps[0].run[1]=-v	an item of a list; one behind the last is appended
 *	steps[1]={"run":["true"]}
 *	stage=			takes the field, or the item of a list, away
 *
 * The value is read as the type that the field has: text as it stands, or as the
 * JSON string that it is as a whole, numbers as numbers, bool, lists and maps as
 * JSON. A field that no version has yet gets JSON where the value reads as such,
 * and text where it does not.
 */
#ifndef SBX_PRODUCER_EDIT_H
#define SBX_PRODUCER_EDIT_H

#include "base/arena.h"
#include "schema/value.h"

/* ERR_INPUT when path or value can never be right, whatever the job. */
int edit_check(const char *assignment, struct err *err) MUST_CHECK;

/* Whether a field is set that no version has yet, so that it may be a slip. */
bool edit_is_unknown(const char *assignment);

/* Changes `tree`, a map. `assignment` is borrowed by it. */
int edit_apply(struct arena *arena, struct value *tree, const char *assignment,
	       struct err *err) MUST_CHECK;

#endif
