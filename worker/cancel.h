/*
 * cancel.h - what is said to all workers: cancels, and the mark by which a
 * worker knows that it has heard all of them.
 */
#ifndef SBX_WORKER_CANCEL_H
#define SBX_WORKER_CANCEL_H

#include "queue/carrier.h"

struct supervisor;
struct task;

/* A new connection: jobs wait until what was said before is heard. */
void cancel_connected(struct supervisor *self);

/* The hook `control` of the consumer. */
void cancel_heard(void *ctx, const struct delivery *delivery);

/* A mark that does not come back must not hold up jobs for ever. */
void cancel_look_at_clock(struct supervisor *self, int64_t now_us);

/* The job was cancelled and nothing of it runs any more: its result. */
void cancel_finish(struct task *task);

/* The message of a task is in a wait queue by now. True: it was cancelled meanwhile,
 * and the task goes on to that result; else it is remembered for one that comes. */
bool cancel_note_wait(struct task *task);

#endif
