/*
 * executor.h - the process that runs one job: it parses the diff, applies it,
 * drives the steps, parses the reports, collects what is left, and is gone.
 * Everything hostile is read here, without any privilege.
 */
#ifndef SBX_WORKER_EXECUTOR_H
#define SBX_WORKER_EXECUTOR_H

#include "worker/config.h"
#include "worker/sandbox/box.h"

/* Moves what an executor keeps to the lowest free descriptors and closes all
 * others. Called in the child, before confine_executor. */
void executor_keep_descriptors(int *socket, struct box_handle *handle, int *store_fd);

/* Waits for one job on `socket` and runs it in the box of `handle`, which it
 * takes over. `root_env` is what the box's root adds to the environment of steps
 * (root_env_read). Returns an exit code. The process is confined already. */
int executor_main(const struct config *config, const char *const *root_env, int socket,
		  struct box_handle *handle);

#endif
