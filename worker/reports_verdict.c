/*
 * reports_verdict.c - the cases of a job, judged.
 *
 * The rules stand in reports.h; each is a function here that fills a reason
 * when it is broken, and the first broken one is the answer.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "worker/reports_entries.h"

enum { NAMED_IDS = 5, SUMMARY_BYTES = 900 };

/* --- the table -------------------------------------------------------- */

static const struct {
	const char *name;
	size_t column; /* of struct result_tests */
	bool bad;
	bool resolves[WANTED_TO_STAY + 1];
} statuses[] = {
#define STATUS(name, column, bad, f2p, p2p)     \
	{#name,                                 \
	 offsetof(struct result_tests, column), \
	 bad,                                   \
	 {[WANTED_TO_PASS] = f2p, [WANTED_TO_STAY] = p2p}},
#include "worker/status.def"
#undef STATUS
};

const char *report_status_name(enum case_status status)
{
	return statuses[status].name;
}

bool report_status_bad(enum case_status status)
{
	return statuses[status].bad;
}

void report_count(struct result_tests *counts, enum case_status status)
{
	counts->total++;
	++*(int64_t *)((char *)counts + statuses[status].column);
}

static bool resolves(const struct report_case *entry)
{
	return ((entry->wanted & WANTED_TO_PASS) == 0 ||
		statuses[entry->status].resolves[WANTED_TO_PASS]) &&
	       ((entry->wanted & WANTED_TO_STAY) == 0 ||
		statuses[entry->status].resolves[WANTED_TO_STAY]);
}

/* --- what goes into the result ---------------------------------------- */

static void count(const struct reports *reports, struct result_tests *ret)
{
	*ret = reports->beyond;
	ret->present = true;
	ret->has_resolved = reports->wanted_len > 0;
	ret->resolved = ret->has_resolved;
	for (size_t i = 0; i < reports->cases_len; i++) {
		report_count(ret, reports->cases[i].status);
		if (!resolves(&reports->cases[i]))
			ret->resolved = false;
	}
}

/* In this order cases are listed as long as there is room. */
enum { RANK_BAD, RANK_WANTED, RANK_OTHER, RANKS };

static int rank_of(const struct report_case *entry)
{
	return report_status_bad(entry->status) ? RANK_BAD
	       : entry->wanted != 0		? RANK_WANTED
						: RANK_OTHER;
}

static void list_cases(struct reports *reports, struct result_tests *ret)
{
	size_t room = REPORTS_TEXT_BYTES;
	size_t places = reports->cases_len < LIMIT_CASES ? reports->cases_len : LIMIT_CASES;

	ret->cases = arena_array(reports->arena, places, sizeof(*ret->cases));
	if (ret->cases == NULL)
		return;
	for (int rank = 0; rank < RANKS; rank++) {
		for (size_t i = 0; i < reports->cases_len && ret->cases_len < places; i++) {
			const struct report_case *entry = &reports->cases[i];
			size_t id_len = strlen(entry->id);
			size_t message_len = entry->message == NULL ? 0 : strlen(entry->message);

			if (rank_of(entry) != rank || id_len > room)
				continue;
			room -= id_len;
			/* Half of the room is for ids. */
			if (message_len > 0 && message_len + REPORTS_TEXT_BYTES / 2 > room)
				message_len = 0;
			room -= message_len;
			ret->cases[ret->cases_len++] = (struct result_case){
				.id = entry->id,
				.status = report_status_name(entry->status),
				.duration_us = entry->duration_us,
				.message = message_len == 0 ? NULL : entry->message};
		}
	}
}

/* Conflicts first, then the problems that count, then what was left out. */
static void list_notes(struct reports *reports, const struct text_list *problems,
		       const char *inconsistency, struct result_tests *ret)
{
	size_t most = reports->conflicts.len + problems->len + 2;
	const char **items = arena_array(reports->arena, most + 1, sizeof(*items));
	size_t len = 0;

	if (items == NULL)
		return;
	for (size_t i = 0; i < reports->conflicts.len; i++)
		items[len++] = reports->conflicts.items[i];
	for (size_t i = 0; i < problems->len; i++)
		items[len++] = problems->items[i];
	if (inconsistency != NULL)
		items[len++] = inconsistency;
	if (ret->total > (int64_t)ret->cases_len) {
		items[len] = arena_printf(reports->arena, "%lld cases are counted but not listed",
					  (long long)(ret->total - (int64_t)ret->cases_len));
		len += items[len] != NULL;
	}
	ret->conflicts = (struct text_list){.items = items, .len = len};
}

/* --- rules ------------------------------------------------------------ */

/* "a::b (failed), c::d (missing) and 3 more" */
static void name_cases(const struct reports *reports, bool unresolved, struct buf *out)
{
	size_t named = 0;
	size_t more = 0;

	for (size_t i = 0; i < reports->cases_len; i++) {
		const struct report_case *entry = &reports->cases[i];

		if (unresolved ? resolves(entry) : !report_status_bad(entry->status))
			continue;
		if (named++ >= NAMED_IDS) {
			more++;
			continue;
		}
		buf_printf(out, "%s%.120s (%s)", named == 1 ? "" : ", ", entry->id,
			   report_status_name(entry->status));
	}
	if (more > 0)
		buf_printf(out, " and %zu more", more);
}

static bool has_bad(const struct reports *reports)
{
	for (size_t i = 0; i < reports->cases_len; i++) {
		if (reports->cases[i].seen && report_status_bad(reports->cases[i].status))
			return true;
	}
	return reports->beyond_bad;
}

static bool is_exit_only(const struct reports *reports)
{
	return strcmp(reports->wanted->format, "exit") == 0;
}

static bool asks_for_reports(const struct reports *reports)
{
	return !is_exit_only(reports) &&
	       (strcmp(reports->wanted->format, "auto") != 0 || reports->wanted->report.len > 0 ||
		reports->wanted_len > 0);
}

static bool lacks_report(const struct reports *reports, const struct text_list *problems,
			 struct reason *ret_reason)
{
	if (!asks_for_reports(reports) || reports->any_report)
		return false;
	if (problems->len > 0)
		(void)reason_set(ret_reason, REASON_TESTS_NO_REPORT, NULL,
				 "no test report could be read: %s", problems->items[0]);
	else
		(void)reason_set(ret_reason, REASON_TESTS_NO_REPORT,
				 reports->wanted->report.len > 0 ? reports->wanted->report.items[0]
								 : NULL,
				 "no test report was found, neither a file nor in the output");
	return true;
}

static bool has_unresolved(const struct reports *reports, const struct result_tests *tests,
			   struct reason *ret_reason)
{
	CLEANUP(buf_release) struct buf names = {0};
	size_t unresolved = 0;

	if (!tests->has_resolved || tests->resolved)
		return false;
	for (size_t i = 0; i < reports->wanted_len; i++)
		unresolved += !resolves(&reports->cases[i]);
	buf_init(&names, SUMMARY_BYTES);
	name_cases(reports, true, &names);
	(void)reason_set(ret_reason, REASON_TESTS_UNRESOLVED, NULL,
			 "%zu of %zu expected tests are not resolved: %s", unresolved,
			 reports->wanted_len, buf_text(&names));
	return true;
}

static bool has_failed(const struct reports *reports, const struct result_tests *tests,
		       struct reason *ret_reason)
{
	CLEANUP(buf_release) struct buf names = {0};

	if (tests->has_resolved || tests->failed + tests->errors == 0)
		return false;
	buf_init(&names, SUMMARY_BYTES);
	name_cases(reports, false, &names);
	(void)reason_set(ret_reason, REASON_TESTS_FAILED, NULL, "%lld of %lld tests failed: %s",
			 (long long)(tests->failed + tests->errors), (long long)tests->total,
			 buf_text(&names));
	return true;
}

static bool is_doubtful(const struct reports *reports, const struct text_list *problems,
			const struct result_tests *tests, struct reason *ret_reason)
{
	if (problems->len > 0)
		(void)reason_set(ret_reason, REASON_TESTS_FAILED, NULL,
				 "the test reports are not complete: %s", problems->items[0]);
	else if (reports->any_report && tests->total == 0)
		(void)reason_set(ret_reason, REASON_TESTS_NO_REPORT, NULL,
				 "the test reports hold no test");
	else
		return false;
	return true;
}

/* A failed step that no case explains: the suite itself broke. */
static const char *inconsistency_of(const struct reports *reports, bool steps_failed)
{
	return steps_failed && reports->any_report && !has_bad(reports)
		       ? "a step failed, but no test is reported as failed"
		       : NULL;
}

bool reports_finish(struct reports *reports, bool steps_failed, struct result_tests *ret,
		    struct reason *ret_reason)
{
	const struct text_list *problems = reports->any_file || reports->problems.len > 0
						   ? &reports->problems
						   : &reports->stream_problems;
	const char *inconsistency;

	*ret = (struct result_tests){.present = reports->wanted->present};
	if (!reports->wanted->present)
		return !steps_failed;
	count(reports, ret);
	list_cases(reports, ret);
	inconsistency = inconsistency_of(reports, steps_failed);
	list_notes(reports, problems, inconsistency, ret);
	if (reports->arena->exhausted) {
		(void)reason_set(ret_reason, REASON_HOST_FAULT, NULL,
				 "out of memory while reading test reports");
		return false;
	}
	if (lacks_report(reports, problems, ret_reason) ||
	    has_unresolved(reports, ret, ret_reason) || has_failed(reports, ret, ret_reason) ||
	    is_doubtful(reports, problems, ret, ret_reason))
		return false;
	if (inconsistency != NULL)
		(void)reason_set(ret_reason, REASON_TESTS_FAILED, NULL, "%s", inconsistency);
	else if (steps_failed && !reports->any_report)
		(void)reason_set(ret_reason, REASON_TESTS_FAILED, NULL,
				 "a step failed, and there is no test report that says why");
	else
		return true;
	return false;
}
