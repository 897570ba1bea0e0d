/*
 * commands.h - the commands of sbx-submit. Each takes its arguments without
 * program and command name, ended by NULL, and returns the exit code.
 */
#ifndef SBX_PRODUCER_COMMANDS_H
#define SBX_PRODUCER_COMMANDS_H

#include "base/arena.h"

int submit_main(char *const *argv); /* sbx-submit JOB.json, --repo ... */
int batch_main(char *const *argv);  /* sbx-submit batch */
int wait_main(char *const *argv);   /* sbx-submit wait */
int follow_main(char *const *argv); /* sbx-submit follow */
int cancel_main(char *const *argv); /* sbx-submit cancel */
int dead_main(char *const *argv);   /* sbx-submit dead */
int replay_main(char *const *argv); /* sbx-submit replay */

/* sbx-submit dead NAME, called by dead_main. */
int dead_purge(struct arena *arena, char *const *argv);
int dead_export(struct arena *arena, char *const *argv);
int dead_import(struct arena *arena, char *const *argv);

#endif
