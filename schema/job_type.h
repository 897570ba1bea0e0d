/*
 * job_type.h - what kind of value the job has at a path, for programs that
 * write one field of it from text ("limits.memory_bytes", "steps[0].run[1]").
 */
#ifndef SBX_SCHEMA_JOB_TYPE_H
#define SBX_SCHEMA_JOB_TYPE_H

enum job_type {
	JOB_TYPE_UNKNOWN, /* no field of this version: any value may stand there */
	JOB_TYPE_TEXT,
	JOB_TYPE_INT,
	JOB_TYPE_NUMBER, /* a number that may have a fraction */
	JOB_TYPE_BIN,
	JOB_TYPE_OTHER, /* bool, list or map */
};

/* The path is keys between dots, each followed by indexes in brackets where it
 * names a list. What is not spelled so is JOB_TYPE_UNKNOWN. */
enum job_type job_type_at(const char *path);

#endif
