/*
 * commands.h - the commands of sbx-submit. Each takes its arguments without
 * program and command name, ended by NULL, and returns the exit code.
 */
#ifndef SBX_PRODUCER_COMMANDS_H
#define SBX_PRODUCER_COMMANDS_H

int submit_main(char *const *argv); /* sbx-submit JOB.json, --repo ... */
int dead_main(char *const *argv);   /* sbx-submit dead list | show */
int replay_main(char *const *argv); /* sbx-submit replay */

#endif
