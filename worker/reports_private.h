/*
 * reports_private.h - between the parsers of test reports and who gathers
 * their cases. The parsers know no job and keep nothing.
 */
#ifndef SBX_WORKER_REPORTS_PRIVATE_H
#define SBX_WORKER_REPORTS_PRIVATE_H

#include <stdbool.h>

#include "base/defs.h"
#include "worker/reports.h"

enum case_status {
#define STATUS(name, column, bad, f2p, p2p) CASE_##name,
#include "worker/status.def"
#undef STATUS
	CASE_STATUSES
};

enum {
	CASE_ID_BYTES = 1024, /* a longer id is cut */
	CASE_JOINT_BYTES = 2, /* "::" between the parts of an id */
};

/* Texts are valid UTF-8 without control characters but newline and tab, and
 * live until the sink returns. */
struct found_case {
	const char *id;
	enum case_status status;
	int64_t duration_us;
	const char *message; /* or NULL */
};

struct report_sink {
	void (*found)(void *ctx, const struct found_case *found);
	/* What makes the report as a whole doubtful. */
	void (*problem)(void *ctx, const char *text);
	void *ctx;
};

/* --- report_text.c ---------------------------------------------------- */

/* Copies what fits into `to`, a whole character at a time; bytes that are not
 * UTF-8 and control characters become '?'. Returns the length. */
size_t report_text(struct bytes from, char *to, size_t size);

/* Length of the UTF-8 character at the start of `text`, 0 when there is none. */
size_t report_character(struct bytes text);

/* A decimal number of seconds ("1,234.5", "2e-05") or, with `unit_us` 1000, of
 * milliseconds. 0 for what is none or is negative; at most a week. */
int64_t report_duration_us(struct bytes text, int64_t unit_us);

/* --- junit.c and tap.c ------------------------------------------------ */

/* Return whether it is such a report at all; problems go to the sink. */
bool junit_parse(struct bytes content, const struct report_sink *sink);
bool tap_parse(struct bytes content, const struct report_sink *sink);

bool junit_looks_like(struct bytes content);
bool tap_looks_like(struct bytes content);

#endif
