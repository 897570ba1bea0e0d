/*
 * zygote.h - the process that makes sandboxes and their executors ahead of the
 * jobs. It has whatever privilege the worker was started with, and parses
 * nothing but the supervisor's fixed messages.
 */
#ifndef SBX_WORKER_ZYGOTE_H
#define SBX_WORKER_ZYGOTE_H

/* The main function of role "zygote"; returns an exit code. */
int zygote_main(void);

#endif
