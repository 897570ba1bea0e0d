/*
 * history.h - `sbx-worker history`: what the ledger of a state directory knows
 * of the jobs that came here, the newest first. The worker may run meanwhile.
 */
#ifndef SBX_WORKER_HISTORY_H
#define SBX_WORKER_HISTORY_H

#include "worker/config.h"
#include "worker/ledger.h"

enum { HISTORY_LIMIT = 100 };

/* Prints a table, or one JSON object a line. Returns the exit code. */
int history_main(const struct config *config, const struct ledger_filter *filter, bool json);

#endif
