/*
 * reports_help.h - one report read, one result looked at: for the tests of
 * reports, of JUnit XML and of TAP.
 */
#ifndef SBX_TESTS_REPORTS_HELP_H
#define SBX_TESTS_REPORTS_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/reports.h"
#include "worker/reports_entries.h"

static struct arena arena;
static struct reports reports;
static struct result_tests result;
static struct reason reason;

static inline int setup(void **state)
{
	(void)state;
	arena_init(&arena, 64 << 20);
	reason = (struct reason){0};
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static inline struct bytes bytes_of(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline void assert_says(const char *message, const char *part)
{
	if (strstr(message, part) == NULL)
		fail_msg("'%s' does not say '%s'", message, part);
}

/* "id=status id=status ..." in the order of the result. */
static inline const char *cases_text(void)
{
	struct buf text;
	const char *copy;

	buf_init(&text, 1 << 20);
	for (size_t i = 0; i < result.cases_len; i++)
		buf_printf(&text, "%s%s=%s", i == 0 ? "" : "\n", result.cases[i].id,
			   result.cases[i].status);
	copy = arena_strdup(&arena, buf_text(&text));
	buf_release(&text);
	return copy;
}

static inline const struct result_case *case_of(const char *id)
{
	for (size_t i = 0; i < result.cases_len; i++) {
		if (strcmp(result.cases[i].id, id) == 0)
			return &result.cases[i];
	}
	fail_msg("no case '%s'", id);
	return NULL;
}

static inline bool read_one(const char *format, const char *file, const char *stream,
			    bool steps_failed)
{
	struct job_tests *wanted = arena_alloc(&arena, sizeof(*wanted));

	*wanted = (struct job_tests){.present = true, .format = format};
	reason = (struct reason){0};
	reports_init(&reports, &arena, wanted);
	if (stream != NULL)
		reports_stream(&reports, bytes_of(stream));
	if (file != NULL)
		reports_file(&reports, "report", bytes_of(file));
	return reports_finish(&reports, steps_failed, &result, &reason);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
