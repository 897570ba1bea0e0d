/*
 * cgroup.h - control groups of boxes, on version 2, on version 1, on a mix of
 * both, or on none.
 *
 *	cgroup_host_open(&host, instance, parent, unwanted, mounts, &err);  // what is there
 *	cgroup_new(&host, "name", &group, &err);	   // one box: made
 *	cgroup_joins(&group, fds);			   // init joins by itself
 *	cgroup_limit(&group, &limits, &err);
 *	cgroup_release(&host, &group);			   // all in it are dead
 *
 * Only groups named by us are made or removed: "sbx-INSTANCE-SLOT-SERIAL"
 * below the parent. Each controller may be missing; who calls decides what
 * that means.
 */
#ifndef SBX_SANDBOX_CGROUP_H
#define SBX_SANDBOX_CGROUP_H

#include "worker/sandbox/box.h"

enum cgroup_controller {
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_CPU,	/* the quota */
	CGROUP_CPUACCT, /* the meter; part of every group on version 2 */
	CGROUP_IO,	/* only metered */
	CGROUP_CONTROLLERS
};
const char *cgroup_controller_name(enum cgroup_controller controller);

enum {
	CGROUP_PATH_BYTES = 512,
	CGROUP_NAME_BYTES = 80,
	CGROUP_TREES = CGROUP_CONTROLLERS,
	CGROUP_JOINS = CGROUP_TREES,
};

/* One hierarchy that carries controllers we use. */
struct cgroup_tree {
	bool v2;
	uint32_t controllers; /* bits of enum cgroup_controller */
	char parent[CGROUP_PATH_BYTES];
	int parent_fd;
};

struct cgroup_host {
	char instance[40];
	uint32_t unwanted;
	struct cgroup_tree trees[CGROUP_TREES];
	size_t trees_len;
	char missing[CGROUP_CONTROLLERS][160]; /* "" or why it is not there */
};

/* The groups of one box, one in each tree. */
struct cgroup {
	char name[CGROUP_NAME_BYTES];
	int fds[CGROUP_TREES]; /* directories; -1 where not made */
};

/* Finds the hierarchies in `mounts`, the text of /proc/self/mountinfo. Missing
 * ones are no failure: see cgroup_has. Bits of enum cgroup_controller in
 * `unwanted` are not looked for. */
int cgroup_host_open(struct cgroup_host *host, const char *instance, const char *parent,
		     uint32_t unwanted, const char *mounts, struct err *err) MUST_CHECK;
void cgroup_host_close(struct cgroup_host *host);

bool cgroup_has(const struct cgroup_host *host, enum cgroup_controller controller);

int cgroup_new(const struct cgroup_host *host, unsigned slot, unsigned serial, struct cgroup *ret,
	       struct err *err) MUST_CHECK;

/* For clone3(CLONE_INTO_CGROUP): the version 2 group, or -1. Borrowed. */
int cgroup_v2_fd(const struct cgroup_host *host, const struct cgroup *group);

/* Files of version 1 groups into which a single-threaded process writes "0"
 * to join: writing a pid instead waits for an RCU grace period, about 13 ms.
 * The caller owns them. */
int cgroup_joins(const struct cgroup_host *host, const struct cgroup *group,
		 int ret_fds[CGROUP_JOINS], struct err *err) MUST_CHECK;

int cgroup_limit(const struct cgroup_host *host, const struct cgroup *group,
		 const struct box_limits *limits, struct err *err) MUST_CHECK;

/* Opens what can be read; -1 for the rest. The caller owns them. */
void cgroup_meters(const struct cgroup_host *host, const struct cgroup *group,
		   int ret_fds[BOX_METERS]);

/* Removes the groups, which must be empty or about to be. False when one
 * would not go: the next sweep finds it. */
bool cgroup_release(const struct cgroup_host *host, struct cgroup *group);

/* Kills and removes every group of an instance. */
int cgroup_sweep(const struct cgroup_host *host, const char *instance, struct err *err) MUST_CHECK;

/* ... and of every instance "PREFIX-PID" whose process is no more. */
void cgroup_sweep_dead(const struct cgroup_host *host, const char *prefix);

#endif
