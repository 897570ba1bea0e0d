/*
 * box_options.h - the command line of sbx-box.
 *
 *	static struct box_options options = {.outcome_fd = -1, .limits = ...};
 *	box_options_parse(argc, argv, &options);	// ends the process when it is wrong
 */
#ifndef SBX_WORKER_BOX_OPTIONS_H
#define SBX_WORKER_BOX_OPTIONS_H

#include <limits.h>

#include "worker/sandbox/box.h"

enum {
	BOX_EXIT_LIMIT = 124,
	BOX_EXIT_FAULT = 125,
	BOX_EXIT_NOT_STARTED = 127,
};

enum { BOX_OPTIONS_LIMITS = 16, BOX_OPTIONS_ENV = 1024 };

struct box_options {
	struct box_limits limits;
	bool given[BOX_OPTIONS_LIMITS]; /* by an option of its own */
	bool write, empty, explain, allow_missing, no_tty;
	const char *cwd;
	const char *root;
	const char *outcome_file;
	const char *preset;
	int outcome_fd;
	const char *env[BOX_OPTIONS_ENV + 1];
	size_t env_len;
	struct box_bind binds[BOX_BINDS_MAX];
	char places[BOX_BINDS_MAX][PATH_MAX]; /* of the binds */
	unsigned binds_len;
	char *const *command;
};

void box_options_parse(int argc, char **argv, struct box_options *ret);

/* Says so and ends the process. */
NORETURN void box_bad_usage(const char *what, const char *value);

#endif
