/*
 * mode.h - the security modes: rows of mode.def, and which of them a job gets.
 *
 *	struct mode_facts facts = {.asked = job->security, ...};
 *	struct mode_choice choice;
 *	if (mode_choose(&facts, &choice, &reason) == REFUSED) ...
 *	mode_lower(choice.mode, &arena, &limits, &clamped, &err);
 *
 * `auto` is no mode: it chooses one, from the source, the findings of the diff
 * and the operator's policy, and says why. No choice leads out of the box.
 */
#ifndef SBX_WORKER_MODE_H
#define SBX_WORKER_MODE_H

#include "schema/result.h"
#include "worker/config.h"
#include "worker/sandbox/filter.h"

enum { MODE_WHY_BYTES = 192 };

struct mode {
	const char *name;
	enum filter_profile profile;
	bool whole;		/* no layer may be missing */
	struct job_limits most; /* 0: the worker's maximum alone */
	const char *doc;
};

/* From wide to strict. */
size_t mode_table(const struct mode **ret);

/* NULL when there is none of this name. */
const struct mode *mode_find(const char *name);

struct mode_facts {
	enum job_security asked;
	bool trusted_source;		  /* it is one of [sources] trusted */
	int64_t findings[SEVERITY_COUNT]; /* of the diff; all 0 before it was read */
	const struct text_list *missing;  /* layers that this host does not have */
	const char *least;		  /* [security] least */
	const char *isolate;		  /* [security] isolate: a severity, or never */
};

struct mode_choice {
	const struct mode *mode;
	char why[MODE_WHY_BYTES];
};

/* REFUSED with POLICY_SECURITY where the job asks for what it cannot have. */
int mode_choose(const struct mode_facts *facts, struct mode_choice *ret,
		struct reason *ret_reason) MUST_CHECK;

/* Lowers what is above the mode's own limits, and says so in `clamped`, as
 * config_limits does. -1: out of memory. */
int mode_lower(const struct mode *mode, struct arena *arena, struct job_limits *limits,
	       struct text_list *clamped, struct err *err) MUST_CHECK;

/* Whether `word` is a severity or "never". */
bool mode_isolate_valid(const char *word);

#endif
