/*
 * interrupt.h - SIGINT and SIGTERM as a question that long work asks between
 * two steps, so that it ends in order: letters that are held go back, progress
 * is written down. The second signal ends the program at once.
 */
#ifndef SBX_PRODUCER_INTERRUPT_H
#define SBX_PRODUCER_INTERRUPT_H

#include <stdbool.h>

void interrupt_catch(void);

/* Whether one has come since interrupt_catch. */
bool interrupt_seen(void);

#endif
