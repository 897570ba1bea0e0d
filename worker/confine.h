/*
 * confine.h - what an executor gives up before it reads a hostile byte: the
 * rest of the file system (its root is the store), its identity, every
 * capability, writing to any file (Landlock), every system call that is not in
 * the table of confine.c, and memory without end. It dies with its parent.
 *
 * The store is the process's root afterwards: "repos/x.git" is "/repos/x.git".
 */
#ifndef SBX_WORKER_CONFINE_H
#define SBX_WORKER_CONFINE_H

#include <sys/types.h>

#include "base/err.h"

/* Fails closed: the caller must exit when this fails. ROLE_SAME_UID
 * where there is only one, as for an ordinary user. */
int confine_executor(int store_fd, uid_t uid, gid_t gid, struct err *err) MUST_CHECK;

#endif
