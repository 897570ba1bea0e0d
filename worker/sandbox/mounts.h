/*
 * mounts.h - the mount API of Linux 5.2 in the few forms that are used here.
 * Every call returns 0 or a descriptor, or -1 with errno set; mounts_make,
 * which can fail for many reasons, fills `err` with the kernel's own words.
 */
#ifndef SBX_SANDBOX_MOUNTS_H
#define SBX_SANDBOX_MOUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct mount_option {
	const char *key;
	const char *value; /* NULL: a flag */
};

/* A new, detached file system. `attrs` are MOUNT_ATTR_*. */
int mounts_make(const char *type, const struct mount_option *options, size_t len, unsigned attrs,
		struct err *err) MUST_CHECK;

/* Gives a mounted file system other options. */
int mounts_change(int mount_fd, const struct mount_option *options, size_t len,
		  struct err *err) MUST_CHECK;

/* A detached copy of what is mounted at a place, with all below it or without. */
int mounts_clone(int dir_fd, const char *path);
int mounts_clone_all(int dir_fd, const char *path);

/* Sets attributes; `userns_fd` maps the ids, -1: no map. */
int mounts_attrs(int dir_fd, const char *path, unsigned flags, uint64_t attrs, int userns_fd);

/* Attaches a detached mount; the descriptor stays open. */
int mounts_attach(int mount_fd, int dir_fd, const char *path);

#endif
