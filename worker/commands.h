/*
 * commands.h - which commands the steps of a job may run.
 *
 * A pattern is an argv: words separated by blanks. '...' and "..." quote, and
 * a backslash outside of '...' takes the meaning of the next character away.
 * Each word must equal the argument, '*' stands for exactly one argument, and
 * a last '**' for any number, none too. A wildcard is a whole word and never
 * the first: a '*' inside a word, or instead of the program, is an error
 * unless it is quoted. The first word is compared like the others, as given:
 * /usr/bin/make is not make. A `shell` step is the argv {"sh", "-c", TEXT}.
 * The single pattern "off" allows everything.
 */
#ifndef SBX_WORKER_COMMANDS_H
#define SBX_WORKER_COMMANDS_H

#include "base/arena.h"
#include "base/err.h"
#include "schema/job.h"
#include "schema/reason.h"

struct commands;

/* ERR_INPUT names the pattern that is wrong. No pattern at all allows nothing.
 * `patterns` may go away afterwards. */
int commands_compile(struct arena *arena, const struct text_list *patterns, struct commands **ret,
		     struct err *err) MUST_CHECK;

/* 0, or REFUSED with POLICY_COMMAND that names the first step that may not run
 * and the nearest pattern. */
int commands_check(const struct commands *commands, const struct job *job,
		   struct reason *ret_reason) MUST_CHECK;

#endif
