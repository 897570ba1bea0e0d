/*
 * lifecycle.h - which state of a job may follow which.
 *
 *  received -> admitted -> fetched -> snapshotted -> checked -> patched -> prepared
 *      |          |           |            |            |          |          |
 *      |          |           |            |            |          |       running
 *      |          |           |            |            |          |          |
 *      |          |           |            |            |          |       reported
 *      |          |           |            |            |          |          |
 *      |          |           |            |            |          |       collected
 *      +----------+-----------+------------+------------+----------+----------+
 *      |                                   |                                  |
 *   refused, stopped, faulted           settled  <----------------------------+
 *      |                                   |
 *      +-------------> published <---------+
 *                          |
 *                        done
 *
 * What a state stands for is in schema/state.def: that its work is done. Stages
 * that a job does not have (no source, no diff, no steps) are jumped over, never
 * back.
 */
#ifndef SBX_WORKER_LIFECYCLE_H
#define SBX_WORKER_LIFECYCLE_H

#include <stdbool.h>

#include "schema/result.h"

/* Whether `next` may follow `state`. */
bool lifecycle_allows(enum job_state state, enum job_state next);

/* Whether an executor may report `next` after `state`: the middle of the table. */
bool lifecycle_executor_allows(enum job_state state, enum job_state next);

/* The state in which a job with this verdict leaves. */
enum job_state lifecycle_end(enum verdict verdict);

#endif
