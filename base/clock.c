/* clock.c - both clocks exist on every Linux, so failure is a bug. */
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now_us(clockid_t id)
{
	struct timespec at;
	int rc = clock_gettime(id, &at);

	assert(rc == 0);
	return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
	return now_us(CLOCK_REALTIME);
}

void clock_text(int64_t wall_us, char ret_text[CLOCK_TEXT_BYTES])
{
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm;
	size_t used;

	if (gmtime_r(&seconds, &tm) == NULL)
		abort();
	used = strftime(ret_text, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	assert(used == 19);
	(void)snprintf(ret_text + used, CLOCK_TEXT_BYTES - used, ".%03uZ",
		       (unsigned)(wall_us / 1000 % 1000));
}
