/*
 * executor_private.h - one job, as the files executor*.c share it. Each stage
 * returns 0, REFUSED (verdict and reason are set, nothing more is to be done
 * but to report), or -1 with err filled: a fault of the host.
 */
#ifndef SBX_WORKER_EXECUTOR_PRIVATE_H
#define SBX_WORKER_EXECUTOR_PRIVATE_H

#include "schema/result.h"
#include "snapshots/patch.h"
#include "worker/config.h"
#include "worker/ipc.h"
#include "worker/reports.h"
#include "worker/sandbox/driver.h"

enum { SNAPSHOTS_MAX = 4 };

struct executor {
	const struct config *config;
	const char *const *root_env; /* of the box's root; NULL-terminated */
	int socket;
	struct box_handle *handle;
	struct arena arena;
	struct ipc_exec_job order;
	struct bytes payload; /* mapped */
	struct job job;
	struct gitdb *db; /* NULL: the job has no source */
	struct oid before_tree, after_tree;
	struct oid before_patch, after_patch; /* commits */
	struct patch_outcome patch;
	struct driver driver;
	bool has_driver;
	bool stopped; /* the supervisor asked for it */
	bool steps_failed;
	struct buf report_text; /* what steps printed, for TAP */
	struct pair snapshot_pairs[SNAPSHOTS_MAX];
	struct result_body body;
	enum verdict verdict;
	struct reason reason;
	int64_t run_us;
};

/* --- executor.c ------------------------------------------------------- */

/* Says that the work of `state` is done. */
int executor_state(struct executor *self, enum job_state state, struct err *err) MUST_CHECK;
int executor_snapshot(struct executor *self, const char *name, const struct oid *commit,
		      struct err *err) MUST_CHECK;
int executor_finding(struct executor *self, const struct result_finding *finding,
		     struct err *err) MUST_CHECK;
/* Sets the verdict unless an earlier stage has. */
void executor_verdict(struct executor *self, enum verdict verdict, const struct reason *reason);
/* Reads what the supervisor sent while the job runs: true when it is to stop. */
bool executor_watch(void *ctx);

/* --- executor_patch.c: checked, patched ------------------------------- */
int executor_patch(struct executor *self, struct err *err) MUST_CHECK;

/* --- executor_steps.c: prepared, running ------------------------------ */
int executor_prepare(struct executor *self, struct err *err) MUST_CHECK;
int executor_run(struct executor *self, struct err *err) MUST_CHECK;

/* --- executor_collect.c: reported, collected -------------------------- */
int executor_report(struct executor *self, struct err *err) MUST_CHECK;
int executor_collect(struct executor *self, struct err *err) MUST_CHECK;

#endif
