/*
 * progress.h - one line on a terminal that is written over itself.
 *
 *	progress_init(&progress, cli.quiet);
 *	progress_draw(&progress, "%d of %d", n, all);	// as often as one likes
 *	progress_erase(&progress);			// before anything else is printed
 *
 * Without a terminal on standard error nothing is drawn.
 */
#ifndef SBX_PRODUCER_PROGRESS_H
#define SBX_PRODUCER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

struct progress {
	bool on;
	bool drawn;
	int64_t drawn_us;
};

void progress_init(struct progress *progress, bool quiet);

/* Draws unless it has just drawn. */
void progress_draw(struct progress *progress, const char *fmt, ...) PRINTF_LIKE(2, 3);

void progress_erase(struct progress *progress);

#endif
