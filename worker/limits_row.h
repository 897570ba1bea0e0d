/*
 * limits_row.h - how preset.def and mode.def write a set of limits: units, and
 * the order of the columns. For the files that read such a table, and no other:
 * the units' names are short.
 */
#ifndef SBX_WORKER_LIMITS_ROW_H
#define SBX_WORKER_LIMITS_ROW_H

#include "schema/job.h"

#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define MIB    (1LL << 20)
#define GIB    (1LL << 30)

/* struct job_limits of the columns of a table. */
#define LIMITS_ROW(wall, cpu, idle, memory, disk, inode, process, files, file, output)          \
	{                                                                                       \
		.wall_ms = wall, .cpu_ms = cpu, .idle_ms = idle, .memory_bytes = memory,        \
		.disk_bytes = disk, .inodes = inode, .processes = process, .open_files = files, \
		.file_bytes = file, .output_bytes = output                                      \
	}

#endif
