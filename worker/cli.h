/*
 * cli.h - what sbx-worker and sbx-run have in common on the command line: the
 * internal "--role NAME", --config, --set, and the exit codes.
 */
#ifndef SBX_WORKER_CLI_H
#define SBX_WORKER_CLI_H

#include "worker/config.h"

enum { EXIT_OK = 0, EXIT_FAULT = 1, EXIT_USAGE = 2 };

/* When the process was started as a role of a worker, runs it and exits. */
void cli_role(int argc, char **argv);

/* The configuration to read: `path`, or when it is NULL the usual file where
 * it exists, else NULL. */
const char *cli_config_path(const char *path);

/*
 * Defaults, then `path` (NULL: /etc/sbx/worker.ini where it exists), then the
 * environment, then `sets` ("section.name=value"); the log is set up.
 */
int cli_config(struct config *config, struct arena *arena, const char *program, const char *path,
	       const char *const *sets, size_t sets_len, struct err *err) MUST_CHECK;

/* The same again, for SIGHUP. What depends on the machine, or on the uid that
 * the process had, is taken from `old`; the log is left alone. */
struct cli_source {
	const char *path;
	const char *const *sets;
	size_t sets_len;
};
int cli_config_again(const struct cli_source *source, const struct config *old, struct config *ret,
		     struct arena *arena, struct err *err) MUST_CHECK;

#endif
