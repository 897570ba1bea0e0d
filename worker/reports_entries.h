/*
 * reports_entries.h - what reports.c gathers and reports_verdict.c judges.
 */
#ifndef SBX_WORKER_REPORTS_ENTRIES_H
#define SBX_WORKER_REPORTS_ENTRIES_H

#include "worker/reports_private.h"

enum { WANTED_TO_PASS = 1, WANTED_TO_STAY = 2 };

struct report_case {
	uint64_t hash;
	const char *canonical; /* what it is found by */
	const char *id;	       /* as the job or the report has it */
	const char *message;
	int64_t duration_us;
	enum case_status status;
	unsigned wanted; /* the lists of the job that hold it */
	bool seen;	 /* else the status is missing */
	bool from_file;
};

const char *report_status_name(enum case_status status);
bool report_status_bad(enum case_status status);

/* Adds one to `total` and to the column of this status. */
void report_count(struct result_tests *counts, enum case_status status);

#endif
