/*
 * reports.h - test reports become cases, cases become one verdict.
 *
 *	reports_init(&reports, &arena, &job.tests);
 *	reports_stream(&reports, stdout_bytes);		// TAP in a step's output
 *	reports_file(&reports, "junit.xml", content);	// each file that a glob matched
 *	reports_finish(&reports, exit_failed, &tests, &reason);
 *
 * Hostile bytes: bounded by limits.h, no entity is expanded, no external one
 * fetched. Where stream and file disagree about a case, the file wins and the
 * conflict is listed. Forging stays possible, for the code under test runs in
 * the test's own process: SECURITY.md says so.
 */
#ifndef SBX_WORKER_REPORTS_H
#define SBX_WORKER_REPORTS_H

#include "base/arena.h"
#include "schema/result.h"

struct reports {
	struct arena *arena;
	const struct job_tests *wanted;
	struct result_case *cases;
	size_t cases_len;
	size_t cases_capacity;
	bool *from_file; /* one for each case */
	struct text_list conflicts;
	struct text_list problems; /* unreadable reports, wrong plans: text */
	bool any_report;
};

void reports_init(struct reports *reports, struct arena *arena, const struct job_tests *wanted);

/* Looks for TAP in what a step printed (format auto and tap). */
void reports_stream(struct reports *reports, struct bytes text);

/* JUnit XML or TAP by the wanted format, or by a look at the content. */
void reports_file(struct reports *reports, const char *path, struct bytes content);

/*
 * `steps_failed`: a step did not exit as expected. Fills counts, cases and
 * `resolved`; returns whether the tests as a whole are good: no failed case
 * (or, with fail_to_pass/pass_to_pass given, all of them resolved), and
 * consistent with the exit codes. `ret_reason` is filled when they are not.
 */
bool reports_finish(struct reports *reports, bool steps_failed, struct result_tests *ret,
		    struct reason *ret_reason);

#endif
