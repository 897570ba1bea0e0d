/*
 * pool.h - how many boxes wait for jobs. The supervisor decides it, for it alone
 * knows which jobs wait; the zygote keeps a box in each slot that it was told to.
 */
#ifndef SBX_WORKER_POOL_H
#define SBX_WORKER_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "worker/config.h"
#include "worker/sandbox/box.h"

struct supervisor;

/* Of a supervisor. */
struct pool {
	size_t least, most;	      /* bounds of `want` */
	size_t want;		      /* boxes that are to wait, beside those that have a job */
	size_t low;		      /* the fewest that waited since `since_us` */
	int64_t since_us;	      /* when it was last looked at; 0: not yet */
	uint64_t made;		      /* boxes, since the start */
	uint64_t missed;	      /* jobs that might have started, had a box been ready */
	uint64_t grown, shrunk;	      /* by how many in all */
	struct box_networks networks; /* of the zygote's boxes so far */
};

/* The most boxes that may wait. */
size_t pool_most(const struct config *config);

/* The most boxes that there can be at once, with a job or waiting. */
size_t pool_boxes(const struct config *config);

void pool_init(struct supervisor *self);

/* After all that may start has started: notes who found no box, and tells the
 * zygote which slots are to have one. */
void pool_fit(struct supervisor *self);

/* Slots that are to have a box, with a job or waiting. */
size_t pool_kept(const struct supervisor *self);

#endif
