/*
 * clock.h - the two clocks. Durations and deadlines inside a process come
 * from clock_mono_us (CLOCK_MONOTONIC, also comparable between processes of
 * one machine); times that leave the machine come from clock_wall_us (Unix
 * time).
 */
#ifndef SBX_BASE_CLOCK_H
#define SBX_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_us(void);
int64_t clock_wall_us(void);

/* "2026-01-31T12:34:56.789Z". */
enum { CLOCK_TEXT_BYTES = 25 };
void clock_text(int64_t wall_us, char ret_text[CLOCK_TEXT_BYTES]);

#endif
