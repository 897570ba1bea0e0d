/*
 * snapshot_names.h - the commits that a result names, for the ledger.
 */
#ifndef SBX_WORKER_SNAPSHOT_NAMES_H
#define SBX_WORKER_SNAPSHOT_NAMES_H

#include "worker/ledger.h"

/*
 * Reads them out of a whole result message that result_encode has made. A name
 * that is missing or no commit is NULL; so are all when memory does not do, for
 * they are only a convenience. Texts live in `arena`.
 */
struct ledger_snapshots snapshot_names(struct arena *arena, struct bytes result);

#endif
