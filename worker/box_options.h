/*
 * box_options.h - the command line of sbx-box.
 *
 *	static struct box_options options = {.outcome_fd = -1, .limits = ...};
 *	box_options_parse(argc, argv, &options);	// ends the process when it is wrong
 *	box_options_add_env(&options, root_env);
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
	enum box_network network;
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

/* Adds what is not given: of the root (root_env_read), which must live as long as
 * the options, then what there is by default. */
void box_options_add_env(struct box_options *options, const char *const *root_env);

/* Says so and ends the process. */
NORETURN void box_bad_usage(const char *what, const char *value);

#endif
