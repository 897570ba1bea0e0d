/*
 * options.h - the command line as a table: each row is one option, what it
 * takes, what it does and its line of help, so that the three never disagree.
 *
 *	static const struct option_row rows[] = {
 *		{"wait", NULL, "wait for the result", option_flag, OFFSET(wait)},
 *		...
 *	};
 *	struct option_group groups[] = {{"General", rows, ARRAY_LEN(rows), &command}};
 *	rc = options_parse(groups, ARRAY_LEN(groups), &arena, argv, &rest, &err);
 *
 * "--name value" and "--name=value" are the same; "--" ends the options; "-"
 * is an argument; options and arguments may be mixed.
 */
#ifndef SBX_PRODUCER_OPTIONS_H
#define SBX_PRODUCER_OPTIONS_H

#include "base/buf.h"
#include "schema/job.h"

struct option_row;

/* Takes one value (NULL for a flag) into `ctx`: 0, -1 with the error, or
 * OPTIONS_STOP to leave the rest of the line unread. */
enum { OPTIONS_STOP = 1 };
typedef int option_take(void *ctx, const struct option_row *row, const char *value,
			struct err *err);

struct option_row {
	const char *name;  /* without dashes */
	const char *value; /* what help calls the value; NULL: a flag */
	const char *help;
	option_take *take;
	size_t offset;	  /* of the field in ctx, for the takers below */
	const char *path; /* for takers of a command's own */
};

struct option_group {
	const char *title;
	const struct option_row *rows;
	size_t len;
	void *ctx; /* what its rows take their values into */
};

/* Takers for plain fields: bool; const char *; int64_t milliseconds from a
 * duration ("90s", "5m"); int64_t count of at least 1. */
option_take option_flag;
option_take option_text;
option_take option_duration;
option_take option_count;

/* A flag that ends the reading of the line: --help, --version. */
option_take option_stop;

/*
 * Reads `argv`, which ends with NULL and does not hold the program's name.
 * What is no option goes to `ret_rest`. Returns 0, OPTIONS_STOP, or -1 with
 * ERR_INPUT: the message names the option and, for a misspelt one, the
 * nearest there is.
 */
int options_parse(const struct option_group *groups, size_t groups_len, struct arena *arena,
		  char *const *argv, struct text_list *ret_rest, struct err *err) MUST_CHECK;

/* Appends the groups' help, one line an option. */
void options_help(const struct option_group *groups, size_t groups_len, struct buf *out);

#endif
