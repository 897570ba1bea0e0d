/*
 * copy.h - a directory's files, directories and links, copied: the workspace
 * where no overlay can be had.
 */
#ifndef SBX_SANDBOX_COPY_H
#define SBX_SANDBOX_COPY_H

#include <sys/types.h>

#include "base/defs.h"
#include "base/err.h"

struct copy_owner {
	uid_t uid;
	gid_t gid;
};

/* Copies what is in one directory into another, over what that has: afterwards
 * it holds what overlayfs would show of the two, so whiteouts remove. All of it
 * comes to belong to `owner`; modes are kept, times are not; other devices, pipes
 * and sockets are left out. Both descriptors stay with the caller. */
int copy_tree(int from_fd, int to_fd, const struct copy_owner *owner, struct err *err) MUST_CHECK;

#endif
