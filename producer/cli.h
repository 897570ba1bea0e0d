/*
 * cli.h - what the commands of sbx-submit share: options, exit codes, words
 * for failures, the terminal.
 *
 * A command is a function that gets its arguments without program and command
 * name and returns the exit code:
 *
 *	if (cli_begin(&cli, &help, groups, n, &arena, argv, &rest, &code) < 0)
 *		return code;
 */
#ifndef SBX_PRODUCER_CLI_H
#define SBX_PRODUCER_CLI_H

#include "producer/options.h"
#include "queue/carrier.h"

/* Beside these, --wait ends with the exit code of the result's verdict. */
enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1, /* done in part: a letter was refused or not found */
	CLI_USAGE = 2,
	CLI_REJECTED = 3, /* the job is not valid */
	CLI_ERROR = 6,	  /* the broker or this host failed */
};

struct cli {
	const char *url;
	const char *prefix;
	const char *ca_file;
	const char *cert_file;
	const char *key_file;
	bool passive;
	int64_t timeout_ms; /* 0: not given */
	bool json;
	bool quiet;
	bool help;
	bool version;
};

/* --queue and friends; --json, --quiet, --help, --version. */
struct option_group cli_connection_options(struct cli *cli);
struct option_group cli_common_options(struct cli *cli);

/* What a command's help says around its options. */
struct cli_help {
	const char *usage;  /* "sbx-submit replay ID..." lines */
	const char *intro;  /* what it does */
	const char *ending; /* exit codes, examples */
};

/*
 * Reads the options. Returns 0, or -1 when the command is over:
 * help or version was asked for, or the line is wrong; `*ret_exit` says how.
 */
int cli_begin(const struct cli *cli, const struct cli_help *help, const struct option_group *groups,
	      size_t groups_len, struct arena *arena, char *const *argv, struct text_list *ret_rest,
	      int *ret_exit) MUST_CHECK;

/* "sbx-submit: message" on standard error; returns the exit code given. */
int cli_fail(enum cli_exit code, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same for an error of the carrier, with the exit code that fits it. */
int cli_fail_carrier(const struct err *err);

/* "warning: ..." on standard error. */
void cli_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* A line on standard error, unless --quiet. */
void cli_note(const struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The connection that the options and the environment ask for. -1 with a
 * message printed when there is none. */
int cli_carrier(const struct cli *cli, const char *name, struct carrier_config *ret) MUST_CHECK;

/* Whether results may be sent to the queue `name`; NULL: to none. Else says why
 * not, and -1. */
int cli_reply_to(const char *name, const struct carrier_config *config) MUST_CHECK;

/* Writes `out` to standard output. Returns `code`, or CLI_ERROR when that
 * failed. */
int cli_print(const struct buf *out, int code);

/* Appends one line of JSON. */
void cli_add_json(const struct value *value, struct buf *out);

/* Unix milliseconds as "2026-01-31 12:34:56Z", "-" for what is no time. */
enum { CLI_TIME_BYTES = 24 };
void cli_time(int64_t at_ms, char ret_text[CLI_TIME_BYTES]);

bool cli_color(int fd);

#endif
