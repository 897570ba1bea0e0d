/*
 * instance.h - which worker of a state directory this is. Each running zygote
 * holds one number by a lock on instances/<n>.lock, so that several may share
 * the directory, and so that whoever starts can tell what a killed one left:
 * a lock file that nobody holds.
 */
#ifndef SBX_WORKER_INSTANCE_H
#define SBX_WORKER_INSTANCE_H

#include "base/err.h"

enum { INSTANCES_MAX = 64, INSTANCE_NAME_BYTES = 32 };

struct instance {
	int dir_fd;
	int lock_fd; /* a POSIX lock: it ends with this process and no other */
	unsigned number;
	unsigned long long directory; /* inode of the state directory's instances/ */
	char name[INSTANCE_NAME_BYTES];
};

/* Takes the first number that is free. */
int instance_take(const char *state_dir, struct instance *ret, struct err *err) MUST_CHECK;

/* Calls `sweep` with the name of each instance that is dead, the own one
 * included (whoever had the number before), while its lock is held. */
int instance_sweep(struct instance *instance,
		   int (*sweep)(void *ctx, const char *name, struct err *err), void *ctx,
		   struct err *err) MUST_CHECK;

void instance_release(struct instance *instance);

#endif
