/*
 * landlock.h - a step may write in its own places and nowhere else, whatever
 * the mounts say: a wall that is not made of mounts.
 *
 *	landlock_abi();				// 0: this kernel has none
 *	landlock_prepare(abi, &fd, &err);	// in init, while it waits for work
 *	landlock_complete(abi, fd, &err);	// ... once all is mounted
 *	landlock_confine(fd);			// in the child, before exec
 *
 * Whoever is confined can mount no more, so init and the host are not.
 */
#ifndef SBX_SANDBOX_LANDLOCK_H
#define SBX_SANDBOX_LANDLOCK_H

#include "base/defs.h"
#include "base/err.h"

/* Below this one a file could not be moved to another directory. */
enum { LANDLOCK_ABI_LEAST = 2 };

/* From this one on neither signals nor abstract sockets lead out of a step. */
enum { LANDLOCK_ABI_SCOPES = 6 };

int landlock_abi(void);

/* A set of rules as a descriptor, with the directories as they are now; then
 * those of the workspace, /tmp and /dev/shm. */
int landlock_prepare(int abi, int *ret_fd, struct err *err) MUST_CHECK;
int landlock_complete(int abi, int fd, struct err *err) MUST_CHECK;

/* One more place that may be written: a directory with all below it, or a file. */
int landlock_allow(int abi, int fd, const char *path, struct err *err) MUST_CHECK;

/* For good, for the caller and all its children. Async-signal-safe; -1 with
 * errno. no_new_privs must be set. */
int landlock_confine(int fd) MUST_CHECK;

#endif
