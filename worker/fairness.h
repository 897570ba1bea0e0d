/*
 * fairness.h - whose turn it is among the jobs that wait for a slot, and how
 * many jobs are held so that those who may start are among them.
 */
#ifndef SBX_WORKER_FAIRNESS_H
#define SBX_WORKER_FAIRNESS_H

#include <stdbool.h>

#include "schema/job.h"

struct supervisor;
struct task;

/* Takes the next job that may start out of those that wait; NULL: none. Without
 * a slot only one that needs none. */
struct task *fairness_take(struct supervisor *self, bool have_slot);

/* A job has left that never needed a slot. */
void fairness_note_quick(struct task *task);

/* A delivery of this priority has come; a task is about to be let go of. */
void fairness_note_come(struct supervisor *self, enum job_priority priority);
void fairness_note_gone(const struct task *task);

/* How long the loop may sleep when a slot waits for a job that must be about to
 * come: at most `most_ms`. */
int fairness_timeout_ms(const struct supervisor *self, int most_ms);

/* How many more of those that wait might start, were there a box for each; every
 * one is counted once. */
size_t fairness_missed(struct supervisor *self);

/* After all that may start has started: holds more, or hands back, or puts
 * aside what keeps others from coming. */
void fairness_adjust(struct supervisor *self, bool have_slot);

#endif
