/*
 * check.h - `sbx-worker check`: everything a worker needs, looked at before it
 * is needed. All checks run, whatever the others say; each that does not hold
 * comes with its fix.
 *
 *	check_report_init(&report, &arena);
 *	check_run(&config, &report, &err);
 *	check_print(&report, isatty(1), &out);		// or check_json
 *	return check_failed(&report) ? 1 : 0;
 *
 * Nothing is changed: no queue is declared, no directory made. Files and a
 * sandbox made to try are removed again.
 */
#ifndef SBX_WORKER_CHECK_H
#define SBX_WORKER_CHECK_H

#include "worker/config.h"

enum check_status { CHECK_OK, CHECK_WARN, CHECK_FAIL };

struct check_row {
	enum check_status status;
	const char *name;   /* "broker", "sandbox.seccomp", ... */
	const char *detail; /* what was found */
	const char *fix;    /* "" when there is nothing to mend */
};

enum { CHECK_ROWS_MAX = 256 };

struct check_report {
	struct arena *arena;
	struct check_row *rows;
	size_t len;
};

/* With an exhausted arena a report stays empty and has failed. */
void check_report_init(struct check_report *report, struct arena *arena);

/* Adds a row; `fix` is copied, and left out of a row that is OK. */
void check_add(struct check_report *report, enum check_status status, const char *name,
	       const char *fix, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* All checks but those of the configuration's text. -1: out of memory. */
int check_run(const struct config *config, struct check_report *report, struct err *err) MUST_CHECK;

bool check_failed(const struct check_report *report);

/* A line a row and a summary; for people. */
void check_print(const struct check_report *report, bool color, struct buf *out);

/* {"ok": bool, "checks": [{"name", "status", "detail", "fix"}]} */
void check_json(const struct check_report *report, struct buf *out);

/*
 * The whole command: reads the configuration as cli_config does, with every
 * problem of it as a row, runs the checks and prints to standard output.
 * Returns the exit code: 0, or 1 when a check failed.
 */
int check_main(const char *path, const char *const *sets, size_t sets_len, bool json);

#endif
