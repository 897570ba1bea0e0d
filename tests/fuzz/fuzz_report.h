/*
 * fuzz_report.h - what the readers of test reports may tell of any bytes: a
 * sink that asks it of each case and each complaint.
 */
#ifndef SBX_TESTS_FUZZ_REPORT_H
#define SBX_TESTS_FUZZ_REPORT_H

#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"
#include "worker/reports_entries.h"

static inline void fuzz_on_found(void *ctx, const struct found_case *found)
{
	(void)ctx;
	require(strlen(found->id) < CASE_ID_BYTES && found->status < CASE_STATUSES);
	require(text_is_utf8(found->id, strlen(found->id)));
	require(found->duration_us >= 0);
	if (found->message != NULL) {
		require(strlen(found->message) <= LIMIT_CASE_MESSAGE_BYTES);
		require(text_is_utf8(found->message, strlen(found->message)));
	}
}

static inline void fuzz_on_problem(void *ctx, const char *text)
{
	(void)ctx;
	require(*text != '\0');
}

static const struct report_sink fuzz_report_sink = {.found = fuzz_on_found,
						    .problem = fuzz_on_problem};

#endif
