/*
 * roots.h - root directories by name: what steps see as "/" instead of the
 * machine's own /usr. Each is a directory that contrib/roots/mkroot has made, or
 * one like it; it is shown whole, read-only, and nobody writes into it.
 *
 *	roots_read(config, &arena, &roots, &err);	// names to directories
 *	roots_find(&roots, job.sandbox_root, &index);	// "" or NULL: the first
 *	root_check(roots.items[i].path, &err);		// may it be offered?
 *	root_env_read(roots.items[i].path, &arena, &roots.items[i].env, &err);
 *
 * Supervisor and zygote read the same settings, so a number means the same to
 * both. The first is that of jobs that name none.
 */
#ifndef SBX_WORKER_ROOTS_H
#define SBX_WORKER_ROOTS_H

#include "worker/config.h"

enum { ROOTS_MAX = 32, ROOTS_PATH_BYTES = 256, ROOT_ENV_MAX = 256, ROOT_ENV_BYTES = 64 << 10 };

/* The name of the machine's own root, of which only parts are shown. */
#define ROOTS_HOST "host"

struct root {
	const char *name;
	const char *path;	/* "": the host's */
	const char *const *env; /* root_env_read; NULL until somebody has called it */
};

struct roots {
	struct root items[ROOTS_MAX];
	size_t len; /* at least 1 */
};

/* Whether a text can be the name of a root: 1-64 of a-z, 0-9, '.', '_', '-', the
 * first a letter or digit. */
bool roots_is_name(const char *text);

/* [sandbox] root, roots and roots_dir. Texts live in `arena` or are borrowed from
 * `config`. ERR_INPUT says what does not fit together. */
int roots_read(const struct config *config, struct arena *arena, struct roots *ret,
	       struct err *err) MUST_CHECK;

bool roots_find(const struct roots *roots, const char *name, unsigned *ret_index);

/* "host, debian12", for messages. */
void roots_names(const struct roots *roots, struct buf *out);

/* Where roots without a directory of their own are. NULL with `err`. */
const char *roots_default_dir(struct arena *arena, struct err *err);

/* For programs without a configuration: the directory of a name (the caller's own
 * comes before the machine's), or the directory that is given itself. What is
 * found by name is held against root_check. NULL with `err`. */
const char *roots_locate(const char *name, struct arena *arena, struct err *err);

/* --- root_check.c: may it be offered? --------------------------------- */

/*
 * Looks at the directory itself and at all above it: it must exist, hold a usr/,
 * be open to everybody, and nobody but root and the caller may change it or what
 * leads to it. ERR_INPUT says what is wrong, ERR_SYSTEM what could not be seen.
 */
int root_check(const char *path, struct err *err) MUST_CHECK;

/* What is in it, and what should not be; the first path of each kind is kept. */
enum root_flaw {
	ROOT_FOREIGN,  /* owned by neither root nor the caller */
	ROOT_WRITABLE, /* by others than its owner */
	ROOT_SET_ID,   /* set-user-id or set-group-id: of no use in a sandbox */
	ROOT_DEVICE,   /* a device, socket or pipe: likewise */
	ROOT_FLAWS
};
struct root_audit {
	int64_t files;
	int64_t bytes;
	int64_t flaws[ROOT_FLAWS];
	char first[ROOT_FLAWS][ROOTS_PATH_BYTES];
	bool cut; /* there is more than was looked at */
};

/* Walks all of it, following no link. */
int root_walk(const char *path, struct root_audit *ret, struct err *err) MUST_CHECK;

/* --- root_env.c: the variables of an image ---------------------------- */

/*
 * What steps in the root have in their environment because its image says so:
 * `path`.env, as mkroot writes it, "NAME=VALUE" each followed by NUL. Its
 * WorkingDir is SBX_WORKING_DIR. Variables about what is the box's own (where is
 * home, who is it) are not among them. NULL-terminated, in `arena`; nothing at all
 * where there is no such file or `path` is NULL, "" or "/". ERR_INPUT when the
 * file is damaged, too large, or not to be trusted; ERR_SYSTEM.
 */
int root_env_read(const char *path, struct arena *arena, const char *const **ret,
		  struct err *err) MUST_CHECK;

/* Whether both, "NAME=VALUE" or "NAME", are about the same variable. */
bool root_env_same(const char *a, const char *b);

#endif
