/*
 * gitdb_copy.c - all that the checkout of one commit needs: walked, checked,
 * and copied from one database to another.
 *
 * The walk visits each object once, children before the trees that name them,
 * the commit last; what a tree repeats ten thousand times costs once. A copy
 * walks the source, skipping what the store already has - sound because the
 * store never holds an object without its parts. A few objects are written
 * loose in the walk's order; many become one pack, which appears at once by a
 * rename. There is no search for deltas: that is what makes libgit2's own
 * local transport take seconds.
 *
 * A pack's index is computed from what is in it, a loose object's name from
 * what was read: a corrupt source shows as a missing object.
 */
#include "snapshots/gitdb_private.h"

#include <git2/sys/config.h>
#include <git2/sys/repository.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

enum { LOOSE_MAX = 64, FIRST_SLOTS = 1024, FIRST_COPIED = 256 };

/* --- sets of oids ------------------------------------------------------ */

static const struct oid NULL_OID;

void oid_set_release(struct oid_set *set)
{
	free(set->slots);
	*set = (struct oid_set){0};
}

static struct oid *set_slot(const struct oid_set *set, const struct oid *oid)
{
	uint64_t hash;
	size_t at;

	(void)memcpy(&hash, oid->raw, sizeof(hash));
	for (at = (size_t)hash & (set->slots_len - 1);
	     !oid_equal(&set->slots[at], &NULL_OID) && !oid_equal(&set->slots[at], oid);
	     at = (at + 1) & (set->slots_len - 1)) {
	}
	return &set->slots[at];
}

int oid_set_add(struct oid_set *set, const struct oid *oid, struct err *err)
{
	struct oid_set grown = {.slots_len = set->slots_len == 0 ? FIRST_SLOTS : 2 * set->slots_len,
				.len = set->len};
	struct oid *slot;

	if (2 * (set->len + 1) > set->slots_len) {
		grown.slots = calloc(grown.slots_len, sizeof(*grown.slots));
		if (grown.slots == NULL)
			return gitdb_oom(err, "cannot walk objects");
		for (size_t i = 0; i < set->slots_len; i++) {
			if (!oid_equal(&set->slots[i], &NULL_OID))
				*set_slot(&grown, &set->slots[i]) = set->slots[i];
		}
		free(set->slots);
		*set = grown;
	}
	slot = set_slot(set, oid);
	if (oid_equal(slot, oid))
		return 0;
	*slot = *oid;
	set->len++;
	return 1;
}

bool oid_set_has(const struct oid_set *set, const struct oid *oid)
{
	return set->len > 0 && !oid_equal(oid, &NULL_OID) && oid_equal(set_slot(set, oid), oid);
}

/* --- the walk ---------------------------------------------------------- */

struct walk {
	struct gitdb *db;
	struct oid_set seen;
	/* 1 to go on with this object, 0 to leave it out, -1. */
	int (*wants)(void *ctx, const struct oid *oid, struct err *err);
	/* After its parts. */
	int (*visit)(void *ctx, const struct oid *oid, size_t size, struct err *err);
	void *ctx;
	struct err *err;
};

/* A tree is walked by walking what it names. */
static int walk_object(struct walk *walk, const struct oid *oid, git_object_t type, unsigned depth);

static int walk_entries(struct walk *walk, struct bytes tree, unsigned depth)
{
	struct tree_item item;
	int got;

	if (depth > GITDB_DEPTH_MAX)
		return err_set(walk->err, ERR_LIMIT, "more than %d directories inside each other",
			       GITDB_DEPTH_MAX);
	if (tree_check(tree, walk->err) < 0)
		return -1;
	while ((got = tree_next(&tree, &item, walk->err)) == 1) {
		if (item.entry.mode == MODE_GITLINK)
			continue;
		if (walk_object(walk, &item.entry.oid,
				item.entry.mode == MODE_TREE ? GIT_OBJECT_TREE : GIT_OBJECT_BLOB,
				depth) < 0)
			return -1;
	}
	return got;
}

static int walk_object(struct walk *walk, const struct oid *oid, git_object_t type, unsigned depth)
{
	CLEANUP(object_release) struct object object = {0};
	int added = oid_set_add(&walk->seen, oid, walk->err);
	char hex[OID_HEX_BYTES];
	git_object_t found;
	size_t size;
	int wanted;

	if (added <= 0)
		return added;
	wanted = walk->wants(walk->ctx, oid, walk->err);
	if (wanted <= 0)
		return wanted;
	if (object_header(walk->db, oid, &found, &size, walk->err) < 0)
		return -1;
	oid_hex(oid, hex);
	if (found != type)
		return err_set(walk->err, ERR_INPUT, "object %s is a %s, not a %s", hex,
			       git_object_type2string(found), git_object_type2string(type));
	if (type == GIT_OBJECT_TREE) {
		if (object_read(walk->db, oid, type, GITDB_TREE_BYTES_MAX, &object, walk->err) < 0)
			return -1;
		if (walk_entries(walk, object.bytes, depth + 1) < 0)
			return err_prefix(walk->err, "tree %s", hex);
	}
	return walk->visit(walk->ctx, oid, size, walk->err);
}

/* What is missing in a source is its own fault, not an answer. */
static int walk_commit(struct walk *walk, const struct oid *commit)
{
	struct oid tree;
	int result = gitdb_commit_tree(walk->db, commit, &tree, walk->err);

	if (result == 0)
		result = walk_object(walk, &tree, GIT_OBJECT_TREE, 0);
	oid_set_release(&walk->seen);
	if (result < 0 && walk->err != NULL && walk->err->kind == ERR_NOT_FOUND)
		walk->err->kind = ERR_INPUT;
	return result;
}

/* --- checking ---------------------------------------------------------- */

static int wants_all(void *ctx, const struct oid *oid, struct err *err)
{
	(void)ctx;
	(void)oid;
	(void)err;
	return 1;
}

static int visit_nothing(void *ctx, const struct oid *oid, size_t size, struct err *err)
{
	(void)ctx;
	(void)oid;
	(void)size;
	(void)err;
	return 0;
}

int gitdb_check_commit(struct gitdb *db, const struct oid *commit, struct err *err)
{
	struct walk walk = {.db = db, .wants = wants_all, .visit = visit_nothing, .err = err};
	char hex[OID_HEX_BYTES];

	oid_hex(commit, hex);
	return walk_commit(&walk, commit) < 0 ? err_prefix(err, "commit %s", hex) : 0;
}

int walk_reach(struct gitdb *db, const struct oid *tree, struct oid_set *seen, struct err *err)
{
	struct walk walk = {
		.db = db, .seen = *seen, .wants = wants_all, .visit = visit_nothing, .err = err};
	int result = walk_object(&walk, tree, GIT_OBJECT_TREE, 0);

	*seen = walk.seen;
	return result;
}

/* --- copying ----------------------------------------------------------- */

struct copy {
	struct gitdb *to;
	struct oid *oids; /* in the order of the walk */
	size_t len;
	size_t capacity;
	int64_t bytes;
	int64_t max_bytes;
};

static int copy_wants(void *ctx, const struct oid *oid, struct err *err)
{
	struct copy *copy = ctx;

	(void)err;
	return object_is_here(copy->to, oid) ? 0 : 1;
}

static int copy_visit(void *ctx, const struct oid *oid, size_t size, struct err *err)
{
	struct copy *copy = ctx;

	copy->bytes += (int64_t)size;
	if (copy->bytes > copy->max_bytes)
		return err_set(err, ERR_LIMIT, "its content is larger than %lld bytes",
			       (long long)copy->max_bytes);
	if (copy->len == copy->capacity) {
		size_t capacity = copy->capacity == 0 ? FIRST_COPIED : 2 * copy->capacity;
		struct oid *oids = reallocarray(copy->oids, capacity, sizeof(*oids));

		if (oids == NULL)
			return gitdb_oom(err, "cannot copy objects");
		copy->oids = oids;
		copy->capacity = capacity;
	}
	copy->oids[copy->len++] = *oid;
	return 0;
}

static int copy_loose(struct gitdb *from, const struct copy *copy, struct err *err)
{
	for (size_t i = 0; i < copy->len; i++) {
		CLEANUP(object_release) struct object object = {0};
		char hex[OID_HEX_BYTES];
		struct oid oid;

		if (object_read(from, &copy->oids[i], GIT_OBJECT_ANY, SIZE_MAX, &object, err) < 0 ||
		    object_write(copy->to, object.type, object.bytes, &oid, err) < 0)
			return -1;
		oid_hex(&copy->oids[i], hex);
		if (!oid_equal(&oid, &copy->oids[i]))
			return err_set(err, ERR_INPUT, "object %s is corrupt", hex);
	}
	return 0;
}

/* libgit2's pack builder wants a repository; it gets one of nothing but the
 * source's objects and a configuration of ours that rules out deltas. */
static int open_builder(struct gitdb *from, struct gitdb *to, git_repository **ret_repo,
			git_config **ret_config, git_packbuilder **ret_builder)
{
	char path[PATH_MAX];
	int code = git_repository_wrap_odb(ret_repo, from->odb);

	(void)snprintf(path, sizeof(path), "%s/sbx-pack.config", to->dir);
	if (code == 0)
		code = git_config_open_ondisk(ret_config, path);
	if (code == 0)
		code = git_repository_set_config(*ret_repo, *ret_config);
	if (code == 0)
		code = git_packbuilder_new(ret_builder, *ret_repo);
	return code;
}

static int copy_pack(struct gitdb *from, const struct copy *copy, struct err *err)
{
	git_repository *repo = NULL;
	git_config *config = NULL;
	git_packbuilder *builder = NULL;
	char path[PATH_MAX];
	int code = open_builder(from, copy->to, &repo, &config, &builder);
	int result = 0;

	for (size_t i = 0; code == 0 && i < copy->len; i++)
		code = git_packbuilder_insert(builder, (const git_oid *)&copy->oids[i], NULL);
	(void)snprintf(path, sizeof(path), "%s/objects/pack", copy->to->dir);
	if (code == 0)
		code = git_packbuilder_write(builder, path, 0444, NULL, NULL);
	if (code < 0)
		result = gitdb_fail(err, code, "cannot pack objects");
	git_packbuilder_free(builder);
	git_config_free(config);
	git_repository_free(repo);
	return result;
}

/* Tells git's own tools that this commit's parents are left out on purpose. */
static int add_shallow(struct gitdb *to, const struct oid *commit, struct err *err)
{
	char path[PATH_MAX];
	char line[OID_HEX_BYTES + 1];
	CLEANUP(fd_cleanup) int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/shallow", to->dir);
	oid_hex(commit, line);
	line[2 * OID_BYTES] = '\n';
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	return fd_write_all(fd, line, 2 * OID_BYTES + 1, err);
}

static int copy_collected(struct gitdb *from, struct copy *copy, const struct oid *commit,
			  struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	struct oid written;

	if (copy->len <= LOOSE_MAX) {
		if (copy_loose(from, copy, err) < 0)
			return -1;
	} else if (copy_pack(from, copy, err) < 0) {
		return -1;
	}
	if (object_read(from, commit, GIT_OBJECT_COMMIT, GITDB_COMMIT_BYTES_MAX, &object, err) < 0)
		return -1;
	if (add_shallow(copy->to, commit, err) < 0 ||
	    object_write(copy->to, GIT_OBJECT_COMMIT, object.bytes, &written, err) < 0)
		return -1;
	if (!oid_equal(&written, commit))
		return err_set(err, ERR_INPUT, "it is corrupt");
	return 0;
}

int gitdb_copy_commit(struct gitdb *from, struct gitdb *to, const struct oid *commit,
		      int64_t max_bytes, struct err *err)
{
	struct copy copy = {.to = to, .max_bytes = max_bytes};
	struct walk walk = {
		.db = from, .wants = copy_wants, .visit = copy_visit, .ctx = &copy, .err = err};
	char hex[OID_HEX_BYTES];
	int result;

	assert(to->mode == GITDB_WRITE);
	result = walk_commit(&walk, commit);
	if (result == 0)
		result = copy_collected(from, &copy, commit, err);
	free(copy.oids);
	oid_hex(commit, hex);
	return result < 0 ? err_prefix(err, "cannot copy commit %s", hex) : 0;
}
