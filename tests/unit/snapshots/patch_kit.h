/*
 * patch_kit.h - a base tree in a quarantine, and diffs applied to it. The
 * repository is an empty one in a temporary directory; all objects of a test
 * live in memory.
 */
#ifndef SBX_TESTS_UNIT_SNAPSHOTS_PATCH_KIT_H
#define SBX_TESTS_UNIT_SNAPSHOTS_PATCH_KIT_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "snapshots/patch.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

struct kit_file {
	const char *path;
	uint32_t mode;
	const char *content; /* of a gitlink: 40 hexadecimal digits */
};

struct kit {
	char dir[64];
	struct gitdb *db;
	struct arena arena;
	struct oid base;
	struct patch_policy policy;
	struct patch_outcome outcome;
	struct reason reason;
};

static inline struct bytes kit_text(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text)};
}

/* The tree of these files; a NULL path ends the list. */
static inline struct oid kit_tree(struct kit *kit, const struct kit_file *files)
{
	struct gitdb_edit edits[64];
	struct err err = {0};
	struct oid tree;
	size_t len = 0;

	for (; files->path != NULL; files++, len++) {
		assert_true(len < ARRAY_LEN(edits));
		edits[len] = (struct gitdb_edit){.path = files->path, .mode = files->mode};
		if (files->mode == MODE_GITLINK)
			assert_true(oid_parse(files->content, &edits[len].oid));
		else
			assert_int_equal(gitdb_blob_write(kit->db, kit_text(files->content),
							  &edits[len].oid, &err),
					 0);
	}
	assert_int_equal(gitdb_tree_update(kit->db, NULL, edits, len, &tree, &err), 0);
	return tree;
}

static inline void kit_open(struct kit *kit, const struct kit_file *files)
{
	struct err err = {0};

	*kit = (struct kit){.dir = "/tmp/sbx-patch-XXXXXX", .policy = {.strip = 1}};
	assert_int_equal(gitdb_library_init(&err), 0);
	assert_non_null(mkdtemp(kit->dir));
	assert_int_equal(gitdb_create(kit->dir, &err), 0);
	assert_int_equal(gitdb_open(kit->dir, GITDB_QUARANTINE, &kit->db, &err), 0);
	arena_init(&kit->arena, 64 << 20);
	kit->base = kit_tree(kit, files);
}

static inline int kit_remove(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
	(void)st;
	(void)kind;
	(void)walk;
	return remove(path);
}

static inline void kit_close(struct kit *kit)
{
	gitdb_close(kit->db);
	arena_release(&kit->arena);
	assert_int_equal(nftw(kit->dir, kit_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* What patch_apply returns, with outcome and reason in the kit. */
static inline int kit_apply(struct kit *kit, struct bytes diff)
{
	struct err err = {0};
	int code;

	arena_release(&kit->arena);
	kit->outcome = (struct patch_outcome){0};
	kit->reason = (struct reason){0};
	code = patch_apply(&kit->arena, kit->db, &kit->base, diff, &kit->policy, &kit->outcome,
			   &kit->reason, &err);
	if (code < 0)
		fail_msg("a fault: %s", err.message);
	if (code == REFUSED)
		assert_int_not_equal(kit->reason.code, REASON_NONE);
	return code;
}

/* The diff makes exactly this tree. */
static inline void kit_makes(struct kit *kit, const char *diff, const struct kit_file *files)
{
	struct oid want = kit_tree(kit, files);

	if (kit_apply(kit, kit_text(diff)) != 0)
		fail_msg("refused: %s: %s", reason_code_name(kit->reason.code),
			 kit->reason.message);
	assert_true(oid_equal(&want, &kit->outcome.tree));
}

/* The diff is refused with this reason, whose message holds the word. */
static inline void kit_refuses(struct kit *kit, struct bytes diff, enum reason_code code,
			       const char *word)
{
	if (kit_apply(kit, diff) != REFUSED)
		fail_msg("accepted, not %s (%s)", reason_code_name(code), word);
	if (kit->reason.code != code || strstr(kit->reason.message, word) == NULL)
		fail_msg("wanted %s (%s), got %s: %s", reason_code_name(code), word,
			 reason_code_name(kit->reason.code), kit->reason.message);
}

#endif
