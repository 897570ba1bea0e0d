/*
 * job_directory.h - the files below a directory as the source of a job, for
 * the command lines that offer it.
 */
#ifndef SBX_SCHEMA_JOB_DIRECTORY_H
#define SBX_SCHEMA_JOB_DIRECTORY_H

#include "schema/value.h"

/*
 * Puts `files`, `executable` and `links` into the map `source`: everything
 * below `dir` but what is named .git, in the order of names, so that the same
 * directory gives the same message. ERR_LIMIT above what a job may carry,
 * ERR_INPUT for what is neither file, directory nor link.
 */
int job_source_directory(struct arena *arena, const char *dir, struct value *source,
			 struct err *err) MUST_CHECK;

#endif
