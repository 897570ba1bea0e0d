/*
 * cgroup_private.h - what finding the hierarchies and using them share: small
 * files of a group.
 */
#ifndef SBX_SANDBOX_CGROUP_PRIVATE_H
#define SBX_SANDBOX_CGROUP_PRIVATE_H

#include "worker/sandbox/cgroup.h"

/* -1 with errno set when the file does not take it. */
int cgroup_write(int dir_fd, const char *file, const char *text);
int cgroup_write_number(int dir_fd, const char *file, int64_t value);

/* "" when it cannot be read. */
size_t cgroup_read(int dir_fd, const char *file, char *text, size_t size);

#endif
