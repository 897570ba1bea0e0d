/*
 * guard.h - what a diff may touch: paths, modes, link targets, protected files.
 *
 *	if (guard_path(path, &reason) == REFUSED) ...
 *	const struct guard_rule *rule = guard_protection(path);
 *
 * These are pure functions on names and tables; patch.h asks them about the
 * state that results from a whole diff. The default tables are protected.def
 * and noteworthy.def.
 */
#ifndef SBX_SNAPSHOTS_GUARD_H
#define SBX_SNAPSHOTS_GUARD_H

#include <stdbool.h>

#include "base/defs.h"
#include "schema/reason.h"
#include "schema/result.h"

/* --- names ------------------------------------------------------------- */

/*
 * REFUSED with PATCH_PATH unless the path is relative, plain UTF-8 without
 * control characters and backslashes, without empty, "." and ".." components,
 * without anything that a file system takes for .git or disguises another of
 * git's own files, and within the bounds of limits.h.
 */
int guard_path(const char *path, struct reason *reason) MUST_CHECK;

/* As guard_path, for a name that is to be made: no device of another system
 * (CON, aux.c, COM1) in any component. */
int guard_new_path(const char *path, struct reason *reason) MUST_CHECK;

/* Whether the last component is a file that git itself reads from a work
 * tree, and would follow if it were a link: .gitmodules, .gitattributes, ... */
bool guard_is_git_file(const char *path);

/* --- modes and links ---------------------------------------------------- */

/* REFUSED with PATCH_MODE unless 100644, 100755, 120000 or 160000. */
int guard_mode(uint32_t mode, const char *path, struct reason *reason) MUST_CHECK;

/*
 * REFUSED with PATCH_SYMLINK when the target is empty, absolute, not text, holds
 * a backslash, or leads above the root, counted from the link's directory.
 * `is_link` says whether a path of the resulting tree is itself a link: one may
 * not be followed by "..", since then the count is wrong. It returns 1, 0, or -1
 * when it cannot tell, which ends the check with -1.
 */
int guard_link(const char *path, struct bytes target, int (*is_link)(void *ctx, const char *path),
	       void *ctx, struct reason *reason) MUST_CHECK;

/* --- protected and noteworthy files ------------------------------------- */

enum guard_strength {
	GUARD_KEEP,  /* may change, but not vanish, move, become empty or a link */
	GUARD_FIXED, /* may not change at all */
};

struct guard_rule {
	const char *glob; /* of text_glob_match */
	enum guard_strength strength;
	const char *kind; /* "manifest", "ci", ... */
	const char *why;
};

const char *guard_strength_name(enum guard_strength strength); /* "keep", "fixed" */

/* The default list, in the order of protected.def. */
const struct guard_rule *guard_rules(size_t *ret_len);

/* The strictest default rule for a path, or NULL. */
const struct guard_rule *guard_protection(const char *path);

struct guard_note {
	const char *glob;
	const char *rule; /* of the finding: "patch.tests" */
	enum severity severity;
	const char *why;
};

const struct guard_note *guard_notes(size_t *ret_len);

/* The first note that a path deserves, or NULL. */
const struct guard_note *guard_note(const char *path);

#endif
