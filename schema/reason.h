/*
 * reason.h - verdicts, and the reasons that stand behind them.
 *
 * Both lists are written once, in verdict.def and reason.def; enum, names,
 * hints, exit codes and the tables of PROTOCOL.md come from there.
 */
#ifndef SBX_SCHEMA_REASON_H
#define SBX_SCHEMA_REASON_H

#include <stdbool.h>

#include "base/defs.h"

enum verdict {
#define VERDICT(name, exit_code, meaning) VERDICT_##name,
#include "schema/verdict.def"
#undef VERDICT
	VERDICT_COUNT
};

enum reason_code {
	REASON_NONE,
#define REASON(identifier, code, hint) REASON_##identifier,
#include "schema/reason.def"
#undef REASON
	REASON_COUNT
};

enum { REASON_MESSAGE_BYTES = 1024, REASON_SUBJECT_BYTES = 512 };

/*
 * Why a job is not `passed`. Filled by whoever finds out, without allocating.
 * `message` says what was expected and what was found, and may have several
 * lines; `subject` is the path, field or step it is about, or "".
 */
struct reason {
	enum reason_code code;
	char message[REASON_MESSAGE_BYTES];
	char subject[REASON_SUBJECT_BYTES];
};

/* Fills `reason` and returns REFUSED, so that `return reason_set(...)` reads
 * well. `subject` may be NULL. Text is cut at a character boundary, and bytes
 * that are not UTF-8 are replaced by '?', so it can always be encoded. */
int reason_set(struct reason *reason, enum reason_code code, const char *subject, const char *fmt,
	       ...) PRINTF_LIKE(4, 5);

const char *reason_code_name(enum reason_code code); /* "patch.protected" */
const char *reason_code_hint(enum reason_code code); /* "" when there is none */
bool reason_code_parse(const char *name, enum reason_code *ret);

const char *verdict_name(enum verdict verdict);
const char *verdict_meaning(enum verdict verdict);
int verdict_exit_code(enum verdict verdict);
bool verdict_parse(const char *name, enum verdict *ret);

#endif
