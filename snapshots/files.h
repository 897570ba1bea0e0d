/*
 * files.h - a base that comes with the job: paths and contents instead of a
 * repository.
 */
#ifndef SBX_SNAPSHOTS_FILES_H
#define SBX_SNAPSHOTS_FILES_H

#include "schema/job.h"
#include "schema/reason.h"
#include "snapshots/gitdb.h"

/*
 * Writes the files and links of `source` to a quarantine, and a commit of them
 * without parents. The commit depends on the files alone, so equal files have
 * equal oids, here and on any other worker. REFUSED with SOURCE_FILES for what
 * a diff could not create either: paths, links, clashes (guard.h).
 */
int files_write(struct arena *arena, struct gitdb *db, const struct job_source *source,
		struct oid *ret_commit, struct oid *ret_tree, struct reason *ret_reason,
		struct err *err) MUST_CHECK;

#endif
