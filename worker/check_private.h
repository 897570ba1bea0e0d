/*
 * check_private.h - the parts of check_run, one for each thing a worker stands
 * on.
 */
#ifndef SBX_WORKER_CHECK_PRIVATE_H
#define SBX_WORKER_CHECK_PRIVATE_H

#include "worker/check.h"

void check_queue(const struct config *config, struct check_report *report);   /* check_queue.c */
void check_state(const struct config *config, struct check_report *report);   /* check_host.c */
void check_limits(const struct config *config, struct check_report *report);  /* check_host.c */
void check_uids(const struct config *config, struct check_report *report);    /* check_host.c */
void check_policy(const struct config *config, struct check_report *report);  /* check.c */
void check_sandbox(const struct config *config, struct check_report *report); /* check_sandbox.c */

/* Cuts `path` back to the nearest directory that exists and makes a file there
 * that is gone again at once. False with `err` filled where that cannot be. */
bool check_place(char *path, struct err *err);

#endif
