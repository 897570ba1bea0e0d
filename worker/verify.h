/*
 * verify.h - `sbx-worker verify`: whether the store's checkouts and objects are
 * still what was made. Needs no queue; a worker may run on the same store meanwhile.
 */
#ifndef SBX_WORKER_VERIFY_H
#define SBX_WORKER_VERIFY_H

#include "worker/config.h"

/* Reads all of the store as its owner, prints a line for each thing that was
 * wrong and a summary. Returns the exit code: 0, or 1 when there was damage or
 * the store could not be read. */
int verify_main(const struct config *config, bool json);

#endif
