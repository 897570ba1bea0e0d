/*
 * print_private.h - small pieces of the report for people.
 */
#ifndef SBX_SCHEMA_PRINT_PRIVATE_H
#define SBX_SCHEMA_PRINT_PRIVATE_H

#include "base/buf.h"

/* One line of foreign text: what a terminal would act on is spelled out, and
 * what is very long is cut. */
void print_harmless(struct buf *out, struct bytes text);

/* "1.25 ms", "30 ms", "2.50 s" */
void print_duration(struct buf *out, int64_t us);

/* "512 B", "20 KiB", "31 MiB" */
void print_size(struct buf *out, int64_t size);

#endif
