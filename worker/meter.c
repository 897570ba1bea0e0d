/* meter.c - see meter.h. */
#include "worker/meter.h"

#include <assert.h>

const int64_t meter_bounds_us[METER_BUCKETS - 1] = {METER_BOUNDS_US};

static_assert(sizeof((int64_t[]){METER_BOUNDS_US}) == sizeof(meter_bounds_us),
	      "as many bounds as there are buckets, but for the last");

void meter_state(struct meter *meter, enum job_state state, int64_t took_us)
{
	struct meter_times *times = &meter->states[state];
	int bucket = 0;

	if (took_us < 0) /* the clock was set back */
		took_us = 0;
	while (bucket < METER_BUCKETS - 1 && took_us > meter_bounds_us[bucket])
		bucket++;
	times->buckets[bucket]++;
	times->count++;
	times->sum_us += took_us;
}
