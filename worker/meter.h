/*
 * meter.h - what a worker has counted since it started. Counters only grow, so
 * whoever reads them twice knows what happened in between.
 */
#ifndef SBX_WORKER_METER_H
#define SBX_WORKER_METER_H

#include "schema/reason.h"
#include "schema/result.h"

/* Upper bounds, in microseconds, ascending; one bucket more takes the rest. */
#define METER_BOUNDS_US                                                                            \
	1000, 5000, 10000, 50000, 100000, 500000, 1000000, 5000000, 10000000, 60000000, 600000000, \
		3600000000
enum { METER_BUCKETS = 13 };
extern const int64_t meter_bounds_us[METER_BUCKETS - 1];

struct meter_times {
	uint64_t buckets[METER_BUCKETS]; /* each on its own, not summed up */
	uint64_t count;
	int64_t sum_us;
};

struct meter {
	uint64_t received; /* deliveries */
	uint64_t finished[VERDICT_COUNT][REASON_COUNT];
	uint64_t resent; /* results of before, sent again */
	uint64_t retried;
	uint64_t dead;
	uint64_t put_aside;
	uint64_t executors_lost; /* with a job */
	uint64_t lost;		 /* consuming connections */
	struct meter_times states[STATE_COUNT];
};

/* The work that this state stands for took so long. */
void meter_state(struct meter *meter, enum job_state state, int64_t took_us);

#endif
