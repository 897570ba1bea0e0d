/*
 * reports.h - test reports become cases, cases become one verdict.
 *
 *	reports_init(&reports, &arena, &job.tests);
 *	reports_stream(&reports, stdout_bytes);		// TAP in a step's output
 *	reports_file(&reports, "junit.xml", content);	// each file that a glob matched
 *	reports_finish(&reports, exit_failed, &tests, &reason);
 *
 * A case is known by its id: in JUnit XML `classname::name`, or `name` alone
 * where there is no class; in TAP the descriptions of a subtest's points from
 * the outermost in, joined by `::`. An id that the job spells as pytest's node
 * id, `tests/test_a.py::TestB::test_c`, means the case `tests.test_a.TestB::test_c`
 * of pytest's JUnit XML. Ids are cut at 1,024 bytes.
 *
 * What the statuses are, which of two is worse and what they count as stands
 * in status.def. Two sources or two cases may disagree about one id: a file
 * wins over a stream, else the worse status; where they differ the conflict is
 * listed.
 *
 * Hostile bytes: bounded by limits.h, no entity is expanded, no external one
 * fetched; text that is not UTF-8 is made so. Forging stays possible, for the
 * code under test runs in the test's own process: SECURITY.md says so.
 */
#ifndef SBX_WORKER_REPORTS_H
#define SBX_WORKER_REPORTS_H

#include "base/arena.h"
#include "schema/limits.h"
#include "schema/result.h"

/* Ids and messages of all cases in a result, so that it can be sent beside
 * streams and artifacts. Bad cases are listed first, and messages go before
 * cases do; the counts are right anyway. */
#define REPORTS_TEXT_BYTES (1536u << 10)
#define REPORTS_ID_BYTES   (4u << 20) /* ids that are kept beside the wanted ones */
#define REPORTS_NOTES	   100	      /* conflicts and problems, each */

static_assert(REPORTS_TEXT_BYTES + LIMIT_STREAMS_TOTAL_BYTES + LIMIT_ARTIFACTS_INLINE_BYTES <
		      LIMIT_RESULT_BYTES,
	      "a result holds cases, streams and artifacts");

struct report_case;

struct reports {
	struct arena *arena;
	const struct job_tests *wanted;
	struct report_case *cases; /* the wanted ids first */
	size_t cases_len;
	size_t cases_capacity;
	size_t wanted_len;
	uint32_t *index; /* open hash of id to case, counted from 1 */
	size_t index_mask;
	uint64_t seed;
	struct result_tests beyond; /* counts of cases that there was no room for */
	bool beyond_bad;
	size_t id_bytes;
	size_t message_bytes;
	const char *origin; /* of what is being read, for notes */
	bool in_file;
	struct text_list conflicts;
	struct text_list problems;	  /* unreadable reports, wrong plans */
	struct text_list stream_problems; /* forgotten when a file was read */
	bool any_file;
	bool any_report;
};

/* Both are borrowed. When the arena is exhausted all calls stay harmless and
 * the tests are not good; the caller looks at arena->exhausted. */
void reports_init(struct reports *reports, struct arena *arena, const struct job_tests *wanted);

/* Looks for TAP in what a step printed (format auto and tap). */
void reports_stream(struct reports *reports, struct bytes text);

/* JUnit XML or TAP by the wanted format, or by a look at the content. */
void reports_file(struct reports *reports, const char *path, struct bytes content);

/*
 * `steps_failed`: a step did not exit as expected. Fills counts, cases and
 * `resolved`; returns whether the tests as a whole are good. They are when
 *
 *  - reports that were asked for (a format, a glob, or ids) are there,
 *    readable, complete by their own plans, and hold at least one case;
 *  - with fail_to_pass or pass_to_pass, every id of theirs is resolved, else
 *    no case is bad, even if all steps succeeded;
 *  - a failed step is explained by a bad case.
 *
 * `ret_reason` is filled when they are not. Problems are listed among the
 * conflicts of the result. With the format "exit", and with "auto" when nothing
 * was asked for and nothing found, only `steps_failed` counts.
 */
bool reports_finish(struct reports *reports, bool steps_failed, struct result_tests *ret,
		    struct reason *ret_reason);

#endif
