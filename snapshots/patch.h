/*
 * patch.h - a diff applied to a tree in object space: validated as a whole,
 * then applied as a whole, without a working tree.
 *
 *	patch_apply(&arena, db, &base_tree, diff, &policy, &outcome, &reason, &err)
 *
 * In recover mode a diff that strict mode takes at its letter is taken so. Any
 * other is read again with its damage mended and its hunks placed by the
 * ladder of hunk.h; paths, modes and the resulting tree are judged by the same
 * code. Where the index line has both oids of a file and its old one is the
 * base's, the result must have the new one: that proves it, and alone lets
 * what is in doubt be tried. Without that proof, what may have been cut off is
 * refused.
 *
 * The dry run is the run: with a GITDB_QUARANTINE the objects exist only in
 * memory until somebody exports and imports them.
 */
#ifndef SBX_SNAPSHOTS_PATCH_H
#define SBX_SNAPSHOTS_PATCH_H

#include "schema/result.h"
#include "snapshots/gitdb.h"

/* Zeros are the safe choice: strip nothing, lift nothing, the bounds of
 * limits.h, no change of submodules. */
struct patch_policy {
	unsigned strip;
	struct text_list protect;	    /* globs beside the built-in list: no change at all */
	struct text_list allow;		    /* globs lifted from both */
	const char *const *allow_permitted; /* NULL-terminated: what jobs may lift; NULL: nothing */
	bool unprotected;		    /* without the built-in list */
	bool gitlinks;			    /* submodule entries may change */
	bool recover;			    /* mend damaged diffs (recover.h, hunk.h) */
	size_t max_files;
	size_t max_hunks;
	size_t max_file_bytes;
};

struct patch_outcome {
	struct oid tree; /* what results */
	/* What differs from the base, sorted by path: what the workspace's layer
	 * must hold. Removals have mode 0. */
	struct gitdb_edit *edits;
	size_t edits_len;
	struct result_file *files; /* as the diff says it: with renames */
	size_t files_len;
	int64_t additions;
	int64_t deletions;
	struct text_list adjusted;	 /* what differs from the diff's letter, in sentences */
	struct result_finding *findings; /* allowed but noteworthy */
	size_t findings_len;
};

/*
 * REFUSED with a PATCH_* or POLICY_PROTECT reason: its subject is the path,
 * its message starts with "line N: " of the diff where there is one, names the
 * hunk, and shows what was expected and what was found. Nothing is written to
 * `db` unless 0 is returned. A diff that needs more than the arena's bound is
 * refused with PATCH_TOO_LARGE.
 */
int patch_apply(struct arena *arena, struct gitdb *db, const struct oid *base, struct bytes diff,
		const struct patch_policy *policy, struct patch_outcome *ret,
		struct reason *ret_reason, struct err *err) MUST_CHECK;

#endif
