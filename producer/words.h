/*
 * words.h - one command line into the words of an argv, without a shell.
 *
 * Blanks separate; '...' keeps everything; "..." keeps everything but the
 * backslash before " \ $ ` and a line end; a backslash outside quotes keeps
 * the next character (POSIX.1-2017, XCU 2.2). What only a shell could act on
 * (operators, expansions, assignments before the command) is refused with the
 * way out, because a job that runs something else than was typed is worse
 * than an error. Patterns stay as they are typed.
 */
#ifndef SBX_PRODUCER_WORDS_H
#define SBX_PRODUCER_WORDS_H

#include "schema/job.h"

/* At least one word, at most LIMIT_ARGV; else ERR_INPUT or ERR_LIMIT. */
int words_split(struct arena *arena, const char *line, struct text_list *ret,
		struct err *err) MUST_CHECK;

#endif
