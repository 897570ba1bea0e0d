/*
 * gitdb_gc.c - keeping a repository small while others write to it.
 *
 * Loose objects and small packs are candidates. In the first half, without any
 * lock, those of their objects that a ref leads to are written to one new pack.
 * The second half needs everybody else to hold still for a moment: refs that
 * came meanwhile are followed, what they need of the candidates goes to
 * another pack, and the candidates are deleted. What was written after they
 * were listed is none, and stays. So an object is only ever deleted when it is
 * in a new pack, or when nothing led to it while nobody wrote: whoever skips
 * writing an object because it is there holds the lock until its ref is set.
 *
 * An executor exports all that it has made, whether it is here or not, and
 * refers beyond that to the base alone, which a ref leads to.
 *
 * Packs above the bound are left alone: they came from a server as they are,
 * with deltas that would cost more to find again than they take.
 *
 * Readers go on: libgit2 looks for new packs before it says that an object is
 * missing. Parents are followed unless the commit is one of `shallow`, whose
 * parents were left out on purpose.
 */
#include "snapshots/gitdb_private.h"

#include <git2/sys/repository.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { PACK_NAME_BYTES = 64, SHALLOW_BYTES_MAX = 64 << 20 };

struct oid_list {
	struct oid *items;
	size_t len;
	size_t capacity;
};

struct name_list {
	char (*items)[PACK_NAME_BYTES]; /* "pack-<40 digits>" */
	size_t len;
	size_t capacity;
};

struct gitdb_gc {
	struct gitdb *db;
	struct oid_list loose;	 /* candidates that are files */
	struct name_list packs;	 /* candidates that are packs */
	struct oid_list objects; /* of both; some twice */
	struct oid_set shallow;
	struct oid_set reached;
	struct oid_set packed; /* what is in the new packs */
	struct name_list made;
};

/* --- lists ------------------------------------------------------------- */

/* Makes room for one more of `size` bytes. */
static void *grow(void *items, size_t len, size_t *capacity, size_t size, struct err *err)
{
	size_t more = *capacity == 0 ? 256 : 2 * *capacity;

	if (len < *capacity)
		return items;
	items = reallocarray(items, more, size);
	if (items == NULL)
		(void)gitdb_oom(err, "cannot list objects");
	else
		*capacity = more;
	return items;
}

static int add_oid(struct oid_list *list, const struct oid *oid, struct err *err)
{
	void *items = grow(list->items, list->len, &list->capacity, sizeof(*list->items), err);

	if (items == NULL)
		return -1;
	list->items = items;
	list->items[list->len++] = *oid;
	return 0;
}

static int add_name(struct name_list *list, const char *name, struct err *err)
{
	void *items = grow(list->items, list->len, &list->capacity, sizeof(*list->items), err);

	if (items == NULL)
		return -1;
	list->items = items;
	(void)snprintf(list->items[list->len++], PACK_NAME_BYTES, "%s", name);
	return 0;
}

static bool has_name(const struct name_list *list, const char *name)
{
	for (size_t i = 0; i < list->len; i++) {
		if (strcmp(list->items[i], name) == 0)
			return true;
	}
	return false;
}

/* --- candidates -------------------------------------------------------- */

/* Calls `visit` for each name in <dir>/<below>; a missing directory is empty. */
static int each_name(const struct gitdb *db, const char *below,
		     int (*visit)(struct gitdb_gc *gc, const char *below, const char *name,
				  int64_t bound, struct err *err),
		     struct gitdb_gc *gc, int64_t bound, struct err *err)
{
	char path[PATH_MAX];
	const struct dirent *entry;
	int result = 0;
	DIR *stream;

	(void)snprintf(path, sizeof(path), "%s/%s", db->dir, below);
	stream = opendir(path);
	if (stream == NULL)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open '%s'", path);
	while (result == 0 && (entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] != '.')
			result = visit(gc, below, entry->d_name, bound, err);
	}
	(void)closedir(stream);
	return result;
}

static int note_loose(struct gitdb_gc *gc, const char *below, const char *name, int64_t bound,
		      struct err *err)
{
	char hex[OID_HEX_BYTES];
	struct oid oid;

	(void)bound;
	if (strlen(name) != 2 * OID_BYTES - 2)
		return 0;
	(void)snprintf(hex, sizeof(hex), "%.2s%.38s", below + strlen("objects/"), name);
	return oid_parse(hex, &oid) ? add_oid(&gc->loose, &oid, err) : 0;
}

static int note_pack(struct gitdb_gc *gc, const char *below, const char *name, int64_t bound,
		     struct err *err)
{
	size_t len = strlen(name);
	char path[PATH_MAX];
	char pack[PACK_NAME_BYTES];
	struct stat st;

	if (len < 10 || len - 4 >= sizeof(pack) || strcmp(name + len - 4, ".idx") != 0)
		return 0;
	(void)snprintf(pack, sizeof(pack), "%.*s", (int)len - 4, name);
	(void)snprintf(path, sizeof(path), "%s/%s/%s.pack", gc->db->dir, below, pack);
	if (stat(path, &st) < 0 || st.st_size >= bound)
		return 0;
	return add_name(&gc->packs, pack, err);
}

struct collect {
	struct gitdb_gc *gc;
	struct err *err;
};

static int on_packed(const git_oid *id, void *payload)
{
	const struct collect *collect = payload;
	struct oid oid;

	(void)memcpy(oid.raw, id->id, OID_BYTES);
	return add_oid(&collect->gc->objects, &oid, collect->err);
}

static int collect_pack(struct gitdb_gc *gc, const char *pack, struct err *err)
{
	struct collect collect = {.gc = gc, .err = err};
	git_odb_backend *backend = NULL;
	char path[PATH_MAX];
	int code;

	(void)snprintf(path, sizeof(path), "%s/objects/pack/%s.idx", gc->db->dir, pack);
	code = git_odb_backend_one_pack(&backend, path);
	if (code < 0)
		return gitdb_fail(err, code, "cannot open '%s'", path);
	code = backend->foreach (backend, on_packed, &collect);
	backend->free(backend);
	return code < 0 ? gitdb_fail(err, code, "cannot read '%s'", path) : 0;
}

static int list_candidates(struct gitdb_gc *gc, const struct gitdb_gc_policy *policy,
			   struct err *err)
{
	char below[32];

	for (unsigned i = 0; i < 256; i++) {
		(void)snprintf(below, sizeof(below), "objects/%02x", i);
		if (each_name(gc->db, below, note_loose, gc, 0, err) < 0)
			return -1;
	}
	return each_name(gc->db, "objects/pack", note_pack, gc, policy->pack_bytes, err);
}

static int collect_objects(struct gitdb_gc *gc, struct err *err)
{
	for (size_t i = 0; i < gc->loose.len; i++) {
		if (add_oid(&gc->objects, &gc->loose.items[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < gc->packs.len; i++) {
		if (collect_pack(gc, gc->packs.items[i], err) < 0)
			return -1;
	}
	return 0;
}

/* --- what refs lead to ------------------------------------------------- */

static int read_shallow(struct gitdb_gc *gc, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	char path[PATH_MAX];
	int got;

	(void)snprintf(path, sizeof(path), "%s/shallow", gc->db->dir);
	got = layout_read_small(path, SHALLOW_BYTES_MAX, &text, err);
	if (got != 0)
		return got < 0 ? -1 : 0;
	for (const char *line = buf_text(&text); strlen(line) > 2 * OID_BYTES;
	     line += 2 * OID_BYTES + 1) {
		char hex[OID_HEX_BYTES];
		struct oid oid;

		(void)snprintf(hex, sizeof(hex), "%.40s", line);
		if (!oid_parse(hex, &oid) || line[2 * OID_BYTES] != '\n')
			return err_set(err, ERR_INPUT, "'%s' is damaged", path);
		if (oid_set_add(&gc->shallow, &oid, err) < 0)
			return -1;
	}
	return 0;
}

/* The parents of a commit, in the lines after its tree. */
static int push_parents(struct oid_list *todo, struct bytes commit, struct err *err)
{
	static const size_t line = sizeof("parent ") - 1 + 2 * OID_BYTES + 1;
	size_t at = sizeof("tree ") - 1 + 2 * OID_BYTES + 1;

	for (; at + line <= commit.len && memcmp(commit.data + at, "parent ", 7) == 0; at += line) {
		char hex[OID_HEX_BYTES];
		struct oid oid;

		(void)memcpy(hex, commit.data + at + 7, 2 * OID_BYTES);
		hex[2 * OID_BYTES] = '\0';
		if (!oid_parse(hex, &oid))
			return err_set(err, ERR_INPUT, "a commit has a bad parent");
		if (add_oid(todo, &oid, err) < 0)
			return -1;
	}
	return 0;
}

static int reach_commit(struct gitdb_gc *gc, const struct oid *oid, struct oid_list *todo,
			struct err *err)
{
	CLEANUP(object_release) struct object object = {0};
	struct oid tree;
	int added = oid_set_add(&gc->reached, oid, err);

	if (added <= 0)
		return added;
	if (object_read(gc->db, oid, GIT_OBJECT_COMMIT, GITDB_COMMIT_BYTES_MAX, &object, err) < 0 ||
	    gitdb_commit_tree(gc->db, oid, &tree, err) < 0 ||
	    walk_reach(gc->db, &tree, &gc->reached, err) < 0)
		return -1;
	return oid_set_has(&gc->shallow, oid) ? 0 : push_parents(todo, object.bytes, err);
}

/* A ref that is gone again, or another's file, leads nowhere. */
static int reach_ref(struct gitdb_gc *gc, const char *below, const char *name, int64_t bound,
		     struct err *err)
{
	char ref[PATH_MAX];
	struct oid_list todo = {0};
	struct oid oid;
	int got, result;

	(void)bound;
	(void)snprintf(ref, sizeof(ref), "%s/%s", below, name);
	got = ref_read(gc->db, ref, &oid, err);
	if (got != 0)
		return got < 0 ? -1 : 0;
	result = add_oid(&todo, &oid, err);
	while (result == 0 && todo.len > 0) {
		struct oid next = todo.items[--todo.len];

		result = reach_commit(gc, &next, &todo, err);
	}
	free(todo.items);
	return result < 0 ? err_prefix(err, "ref '%s'", ref) : 0;
}

static int reach_all(struct gitdb_gc *gc, struct err *err)
{
	static const char *const places[] = {"refs/sbx-base", "refs/sbx", "refs/heads",
					     "refs/tags"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (each_name(gc->db, places[i], reach_ref, gc, 0, err) < 0)
			return -1;
	}
	return 0;
}

/* --- packing ----------------------------------------------------------- */

static int open_builder(struct gitdb *db, git_repository **ret_repo, git_config **ret_config,
			git_packbuilder **ret_builder)
{
	int code = git_repository_wrap_odb(ret_repo, db->odb);

	/* Nobody's configuration, so that nobody's is looked for. */
	if (code == 0)
		code = git_config_new(ret_config);
	if (code == 0)
		code = git_repository_set_config(*ret_repo, *ret_config);
	if (code == 0)
		code = git_packbuilder_new(ret_builder, *ret_repo);
	return code;
}

/* Writes a pack of all candidates that are reached and not in a new pack yet. */
static int pack_reached(struct gitdb_gc *gc, struct err *err)
{
	git_repository *repo = NULL;
	git_config *config = NULL;
	git_packbuilder *builder = NULL;
	char path[PATH_MAX], name[PACK_NAME_BYTES];
	int code = open_builder(gc->db, &repo, &config, &builder);
	int result = 0;

	for (size_t i = 0; code == 0 && result == 0 && i < gc->objects.len; i++) {
		const struct oid *oid = &gc->objects.items[i];

		if (!oid_set_has(&gc->reached, oid))
			continue;
		result = oid_set_add(&gc->packed, oid, err);
		if (result == 1) {
			code = git_packbuilder_insert(builder, (const git_oid *)oid, NULL);
			result = 0;
		}
	}
	(void)snprintf(path, sizeof(path), "%s/objects/pack", gc->db->dir);
	if (code == 0 && result == 0 && git_packbuilder_object_count(builder) > 0) {
		code = git_packbuilder_write(builder, path, 0444, NULL, NULL);
		(void)snprintf(name, sizeof(name), "pack-%s",
			       code == 0 ? git_packbuilder_name(builder) : "");
		if (code == 0)
			result = add_name(&gc->made, name, err);
	}
	if (code < 0)
		result = gitdb_fail(err, code, "cannot pack objects");
	git_packbuilder_free(builder);
	git_config_free(config);
	git_repository_free(repo);
	return result;
}

/* --- on disk ------------------------------------------------------------ */

static int sync_path(const char *path, int flags, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	return fd < 0 || fsync(fd) < 0 ? err_sys(err, "cannot sync '%s'", path) : 0;
}

/* What a job has written may be lost with the power, what was safe may not: the
 * new packs are on disk before the old objects go. */
static int sync_made(const struct gitdb_gc *gc, struct err *err)
{
	static const char *const suffixes[] = {".pack", ".idx"};
	char path[PATH_MAX];

	for (size_t i = 0; i < gc->made.len * ARRAY_LEN(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s/objects/pack/%s%s", gc->db->dir,
			       gc->made.items[i / ARRAY_LEN(suffixes)],
			       suffixes[i % ARRAY_LEN(suffixes)]);
		if (sync_path(path, 0, err) < 0)
			return -1;
	}
	(void)snprintf(path, sizeof(path), "%s/objects/pack", gc->db->dir);
	return gc->made.len == 0 ? 0 : sync_path(path, O_DIRECTORY, err);
}

/* --- deleting ---------------------------------------------------------- */

static void delete_pack(const struct gitdb *db, const char *pack)
{
	static const char *const suffixes[] = {".idx", ".pack"};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s/objects/pack/%s%s", db->dir, pack,
			       suffixes[i]);
		(void)unlink(path);
	}
}

static void delete_candidates(const struct gitdb_gc *gc)
{
	for (size_t i = 0; i < gc->loose.len; i++) {
		char path[PATH_MAX], hex[OID_HEX_BYTES];

		oid_hex(&gc->loose.items[i], hex);
		(void)snprintf(path, sizeof(path), "%s/objects/%.2s/%s", gc->db->dir, hex, hex + 2);
		(void)unlink(path);
	}
	for (size_t i = 0; i < gc->packs.len; i++) {
		/* One that needed no change was made again under its old name. */
		if (!has_name(&gc->made, gc->packs.items[i]))
			delete_pack(gc->db, gc->packs.items[i]);
	}
}

/* Leaves out the commits that are gone. */
static int write_shallow(const struct gitdb_gc *gc, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	char hex[OID_HEX_BYTES];
	bool any = false;

	buf_init(&text, SHALLOW_BYTES_MAX);
	for (size_t i = 0; i < gc->shallow.slots_len; i++) {
		const struct oid *oid = &gc->shallow.slots[i];
		bool used = oid_set_has(&gc->shallow, oid);

		if (used && oid_set_has(&gc->reached, oid)) {
			oid_hex(oid, hex);
			buf_printf(&text, "%s\n", hex);
		}
		any |= used && !oid_set_has(&gc->reached, oid);
	}
	if (!any || text.failed)
		return 0;
	return ref_write_file(gc->db, "shallow", buf_bytes(&text), err);
}

/* --- the two halves ---------------------------------------------------- */

void gitdb_gc_free(struct gitdb_gc *gc)
{
	if (gc == NULL)
		return;
	gitdb_close(gc->db);
	free(gc->loose.items);
	free(gc->packs.items);
	free(gc->objects.items);
	free(gc->made.items);
	oid_set_release(&gc->shallow);
	oid_set_release(&gc->reached);
	oid_set_release(&gc->packed);
	free(gc);
}

static bool worth_it(const struct gitdb_gc *gc, const struct gitdb_gc_policy *policy)
{
	return policy->always || gc->loose.len > policy->loose || gc->packs.len > policy->packs;
}

int gitdb_gc_begin(const char *path, const struct gitdb_gc_policy *policy, struct gitdb_gc **ret,
		   struct err *err)
{
	struct gitdb_gc *gc = calloc(1, sizeof(*gc));
	int result;

	if (gc == NULL)
		return gitdb_oom(err, "cannot pack repository");
	result = gitdb_open(path, GITDB_WRITE, &gc->db, err);
	if (result == 0)
		result = list_candidates(gc, policy, err);
	if (result == 0 && !worth_it(gc, policy)) {
		gitdb_gc_free(gc);
		return 1;
	}
	if (result == 0 && (read_shallow(gc, err) < 0 || collect_objects(gc, err) < 0 ||
			    reach_all(gc, err) < 0 || pack_reached(gc, err) < 0))
		result = -1;
	if (result < 0) {
		gitdb_gc_free(gc);
		return err_prefix(err, "cannot pack '%s'", path);
	}
	*ret = gc;
	return 0;
}

int gitdb_gc_finish(struct gitdb_gc *gc, struct err *err)
{
	int code = git_odb_refresh(gc->db->odb);

	if (code < 0)
		return gitdb_fail(err, code, "cannot pack '%s'", gc->db->dir);
	if (read_shallow(gc, err) < 0 || reach_all(gc, err) < 0 || pack_reached(gc, err) < 0 ||
	    write_shallow(gc, err) < 0 || sync_made(gc, err) < 0)
		return err_prefix(err, "cannot pack '%s'", gc->db->dir);
	delete_candidates(gc);
	return 0;
}

void gitdb_gc_abandon(struct gitdb_gc *gc)
{
	for (size_t i = 0; i < gc->made.len; i++) {
		if (!has_name(&gc->packs, gc->made.items[i]))
			delete_pack(gc->db, gc->made.items[i]);
	}
}
