/*
 * preset.h - sets of limits by name: those of preset.def, and the operator's
 * own, one line of [limits] presets each: "NAME KEY=VALUE...".
 *
 *	struct preset preset;
 *	if (preset_find(&own, "heavy", &preset))	// own: lines that parse
 *		... preset.limits.memory_bytes ...	// 0: the preset does not say
 *
 * A preset is a default, no right: the worker's maxima are above it.
 */
#ifndef SBX_WORKER_PRESET_H
#define SBX_WORKER_PRESET_H

#include "base/err.h"
#include "schema/job.h"
#include "schema/limits.h"

struct preset {
	char name[LIMIT_ID_CHARS + 1];
	const char *doc; /* "" for an operator's own */
	struct job_limits limits;
};

/* Those of preset.def, `default` first. */
size_t preset_builtin(const struct preset **ret);

/* One line: the name, then limits by the names of [limits], such as
 * "ci wall=20m memory=4g". ERR_INPUT says which word is wrong. */
int preset_parse(const char *line, struct preset *ret, struct err *err) MUST_CHECK;

/* The operator's own come first. False when there is none of this name. */
bool preset_find(const struct text_list *own, const char *name, struct preset *ret);

/* All names once, separated by ", ". */
struct buf;
void preset_names(const struct text_list *own, struct buf *out);

#endif
