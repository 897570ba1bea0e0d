/*
 * gitdb_object.c - whole objects: the quarantine in memory, reading, writing.
 *
 * The quarantine is a list in the order of writing, which is also an order in
 * which every object comes after those it refers to, and a hash table over it.
 * Reading asks it first, then libgit2. Writing hashes first, and does nothing
 * when the object is already there.
 */
#include "snapshots/gitdb_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_OBJECTS = 64 };

static const git_oid *to_git(const struct oid *oid)
{
	static_assert(sizeof(git_oid) == sizeof(struct oid), "both are 20 raw bytes");
	return (const git_oid *)oid;
}

/* --- the quarantine ---------------------------------------------------- */

void quarantine_release(struct quarantine *q)
{
	for (size_t i = 0; i < q->len; i++) {
		if (q->objects[i].owned)
			free((void *)(uintptr_t)q->objects[i].data);
	}
	free(q->objects);
	free(q->slots);
	*q = (struct quarantine){0};
}

/* The slot of this oid, or the free one where it belongs. An oid is a hash
 * already; a job that grinds collisions only slows itself. */
static size_t *find_slot(const struct quarantine *q, const struct oid *oid)
{
	uint64_t hash;
	size_t at;

	(void)memcpy(&hash, oid->raw, sizeof(hash));
	for (at = (size_t)hash & (q->slots_len - 1); q->slots[at] != 0;
	     at = (at + 1) & (q->slots_len - 1)) {
		if (oid_equal(&q->objects[q->slots[at] - 1].oid, oid))
			break;
	}
	return &q->slots[at];
}

const struct quarantine_object *quarantine_find(const struct quarantine *q, const struct oid *oid)
{
	const size_t *slot;

	if (q->len == 0)
		return NULL;
	slot = find_slot(q, oid);
	return *slot == 0 ? NULL : &q->objects[*slot - 1];
}

static bool quarantine_grow(struct quarantine *q)
{
	size_t capacity = q->capacity == 0 ? FIRST_OBJECTS : 2 * q->capacity;
	struct quarantine_object *objects;
	size_t *slots;

	if (q->len < q->capacity)
		return true;
	objects = reallocarray(q->objects, capacity, sizeof(*objects));
	if (objects == NULL)
		return false;
	q->objects = objects;
	slots = calloc(2 * capacity, sizeof(*slots));
	if (slots == NULL)
		return false;
	free(q->slots);
	q->slots = slots;
	q->slots_len = 2 * capacity;
	q->capacity = capacity;
	for (size_t i = 0; i < q->len; i++)
		*find_slot(q, &q->objects[i].oid) = i + 1;
	return true;
}

int quarantine_add(struct quarantine *q, const struct oid *oid, git_object_t type,
		   struct bytes data, enum quarantine_data how, struct err *err)
{
	struct quarantine_object object = {
		.oid = *oid, .type = type, .len = data.len, .data = data.data};
	size_t *slot;

	if (data.len > GITDB_QUARANTINE_BYTES_MAX - q->bytes)
		return err_set(err, ERR_LIMIT, "cannot keep object: more than %d bytes are new",
			       GITDB_QUARANTINE_BYTES_MAX);
	if (q->len == GITDB_QUARANTINE_OBJECTS_MAX)
		return err_set(err, ERR_LIMIT, "cannot keep object: more than %d are new",
			       GITDB_QUARANTINE_OBJECTS_MAX);
	if (how == QUARANTINE_COPIES) {
		uint8_t *copy = malloc(data.len + 1);

		if (copy == NULL)
			return gitdb_oom(err, "cannot keep object");
		if (data.len > 0)
			(void)memcpy(copy, data.data, data.len);
		object.data = copy;
		object.owned = true;
	}
	if (!quarantine_grow(q)) {
		if (object.owned)
			free((void *)(uintptr_t)object.data);
		return gitdb_oom(err, "cannot keep object");
	}
	slot = find_slot(q, oid);
	assert(*slot == 0);
	q->objects[q->len] = object;
	q->len++;
	*slot = q->len;
	q->bytes += data.len;
	return 0;
}

/* --- reading ----------------------------------------------------------- */

bool gitdb_has(struct gitdb *db, const struct oid *oid)
{
	return quarantine_find(&db->quarantine, oid) != NULL ||
	       git_odb_exists(db->odb, to_git(oid)) == 1;
}

bool object_is_here(struct gitdb *db, const struct oid *oid)
{
	return quarantine_find(&db->quarantine, oid) != NULL ||
	       git_odb_exists_ext(db->odb, to_git(oid), GIT_ODB_LOOKUP_NO_REFRESH) == 1;
}

int object_header(struct gitdb *db, const struct oid *oid, git_object_t *ret_type, size_t *ret_size,
		  struct err *err)
{
	const struct quarantine_object *mine = quarantine_find(&db->quarantine, oid);
	char hex[OID_HEX_BYTES];
	git_object_t type;
	size_t size;
	int code;

	if (mine != NULL) {
		*ret_type = mine->type;
		*ret_size = mine->len;
		return 0;
	}
	code = git_odb_read_header(&size, &type, db->odb, to_git(oid));
	if (code < 0) {
		oid_hex(oid, hex);
		return gitdb_fail(err, code, "cannot read object %s", hex);
	}
	*ret_type = type;
	*ret_size = size;
	return 0;
}

void object_release(struct object *object)
{
	git_odb_object_free(object->handle);
	*object = (struct object){0};
}

/* Whether an object has to be asked for its size before it is read, which costs a
 * third of reading it. Not a tree or a commit of a repository that is trusted:
 * what entered the store was measured then. Blobs may have any size. */
static bool ask_first(const struct gitdb *db, git_object_t type)
{
	return db->mode != GITDB_QUARANTINE ||
	       (type != GIT_OBJECT_TREE && type != GIT_OBJECT_COMMIT);
}

static int judge_header(const struct oid *oid, git_object_t wanted, git_object_t found, size_t size,
			size_t limit_bytes, struct err *err)
{
	char hex[OID_HEX_BYTES];

	oid_hex(oid, hex);
	if (wanted != GIT_OBJECT_ANY && found != wanted)
		return err_set(err, ERR_INPUT, "cannot read object %s: it is a %s, not a %s", hex,
			       git_object_type2string(found), git_object_type2string(wanted));
	if (size > limit_bytes)
		return err_set(err, ERR_LIMIT,
			       "cannot read object %s: it has %zu bytes, %zu are allowed", hex,
			       size, limit_bytes);
	return 0;
}

/* An object as it came from disk. */
static int judge(const struct oid *oid, const struct object *object, struct err *err)
{
	char hex[OID_HEX_BYTES];
	struct oid found;

	if (!object_strict())
		return 0;
	object_oid(object->type, object->bytes, &found);
	if (oid_equal(&found, oid))
		return 0;
	oid_hex(oid, hex);
	return err_set(err, ERR_SYSTEM, "cannot read object %s: its content has changed", hex);
}

int object_read(struct gitdb *db, const struct oid *oid, git_object_t type, size_t limit_bytes,
		struct object *ret, struct err *err)
{
	const struct quarantine_object *mine = quarantine_find(&db->quarantine, oid);
	bool asked = mine != NULL || ask_first(db, type);
	struct object object;
	char hex[OID_HEX_BYTES];
	git_object_t found;
	size_t size;
	int code;

	if (asked && (object_header(db, oid, &found, &size, err) < 0 ||
		      judge_header(oid, type, found, size, limit_bytes, err) < 0))
		return -1;
	if (mine != NULL) {
		*ret = (struct object){.type = found, .bytes = {mine->data, mine->len}};
		return 0;
	}
	oid_hex(oid, hex);
	code = git_odb_read(&object.handle, db->odb, to_git(oid));
	if (code < 0)
		return gitdb_fail(err, code, "cannot read object %s", hex);
	object.type = git_odb_object_type(object.handle);
	object.bytes = (struct bytes){git_odb_object_data(object.handle),
				      git_odb_object_size(object.handle)};
	if (asked && (object.type != found || object.bytes.len != size))
		code = err_set(err, ERR_INPUT, "cannot read object %s: it is corrupt", hex);
	else
		code = judge_header(oid, type, object.type, object.bytes.len, limit_bytes, err);
	if (code == 0)
		code = judge(oid, &object, err);
	if (code < 0)
		object_release(&object);
	else
		*ret = object;
	return code;
}

int gitdb_blob_read(struct gitdb *db, const struct oid *oid, size_t limit_bytes,
		    struct gitdb_blob *ret, struct err *err)
{
	struct object object;

	if (object_read(db, oid, GIT_OBJECT_BLOB, limit_bytes, &object, err) < 0)
		return -1;
	*ret = (struct gitdb_blob){.bytes = object.bytes, .handle = object.handle};
	return 0;
}

void gitdb_blob_release(struct gitdb_blob *blob)
{
	git_odb_object_free(blob->handle);
	*blob = (struct gitdb_blob){0};
}

/* --- reading everything ------------------------------------------------ */

struct verify {
	struct gitdb *db;
	void (*damaged)(void *ctx, const char *hex);
	void *ctx;
	int64_t objects;
};

static int verify_one(const git_oid *id, void *payload)
{
	struct verify *verify = payload;
	struct object object = {0};
	char hex[OID_HEX_BYTES];
	struct oid oid;

	verify->objects++;
	(void)memcpy(oid.raw, id->id, OID_BYTES);
	if (object_read(verify->db, &oid, GIT_OBJECT_ANY, SIZE_MAX, &object, NULL) < 0) {
		oid_hex(&oid, hex);
		verify->damaged(verify->ctx, hex);
	}
	object_release(&object);
	return 0;
}

int gitdb_verify(struct gitdb *db, void (*damaged)(void *ctx, const char *hex), void *ctx,
		 int64_t *ret_objects, struct err *err)
{
	struct verify verify = {.db = db, .damaged = damaged, .ctx = ctx};
	int code;

	gitdb_set_strict(true);
	code = git_odb_foreach(db->odb, verify_one, &verify);
	gitdb_set_strict(false);
	if (code < 0)
		return gitdb_fail(err, code, "cannot list the objects of '%s'", db->dir);
	*ret_objects = verify.objects;
	return 0;
}

/* --- writing ----------------------------------------------------------- */

/* libgit2's own git_odb_write is not used: it touches an existing object's
 * file, and a quarantine must leave no trace. */
static int write_as(struct gitdb *db, git_object_t type, struct bytes content,
		    const struct oid *oid, struct err *err)
{
	char hex[OID_HEX_BYTES];
	int code;

	assert(db->mode != GITDB_READ);
	/* What is on disk may be there for another job, and gone with it before
	 * this one's objects arrive: a quarantine is whole by itself. */
	if (db->mode == GITDB_QUARANTINE) {
		if (quarantine_find(&db->quarantine, oid) != NULL)
			return 0;
		return quarantine_add(&db->quarantine, oid, type, content, QUARANTINE_COPIES, err);
	}
	/* Without a look for new packs: at worst an object is there twice. */
	if (object_is_here(db, oid) || loose_write_small(db, oid, type, content))
		return 0;
	code = db->loose->write(db->loose, to_git(oid),
				content.len > 0 ? (const void *)content.data : "", content.len,
				type);
	if (code < 0) {
		oid_hex(oid, hex);
		return gitdb_fail(err, code, "cannot write object %s", hex);
	}
	return 0;
}

int object_write(struct gitdb *db, git_object_t type, struct bytes content, struct oid *ret,
		 struct err *err)
{
	if (db->mode == GITDB_QUARANTINE)
		object_oid(type, content, ret);
	else if (object_oid_safe(type, content, ret, err) < 0)
		return -1;
	return write_as(db, type, content, ret, err);
}

int gitdb_blob_keep(struct gitdb *db, struct bytes content, const struct oid *oid, struct err *err)
{
	struct oid own;

	if (db->mode == GITDB_WRITE)
		return object_write(db, GIT_OBJECT_BLOB, content, &own, err);
	return write_as(db, GIT_OBJECT_BLOB, content, oid, err);
}

int gitdb_blob_write(struct gitdb *db, struct bytes content, struct oid *ret, struct err *err)
{
	return object_write(db, GIT_OBJECT_BLOB, content, ret, err);
}

/* --- commits ----------------------------------------------------------- */

int gitdb_commit_write(struct gitdb *db, const struct oid *tree, const struct oid *parent,
		       const char *message, int64_t time_s, struct oid *ret, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	char hex[OID_HEX_BYTES];
	size_t len = strlen(message);

	assert(time_s >= 0);
	buf_init(&text, GITDB_COMMIT_BYTES_MAX);
	oid_hex(tree, hex);
	buf_printf(&text, "tree %s\n", hex);
	if (parent != NULL) {
		oid_hex(parent, hex);
		buf_printf(&text, "parent %s\n", hex);
	}
	buf_printf(&text, "author sbx <sbx@localhost> %lld +0000\n", (long long)time_s);
	buf_printf(&text, "committer sbx <sbx@localhost> %lld +0000\n\n", (long long)time_s);
	buf_add_text(&text, message);
	if (len == 0 || message[len - 1] != '\n')
		buf_add_byte(&text, '\n');
	if (text.failed)
		return err_set(err, ERR_LIMIT, "cannot write commit: message too long");
	return object_write(db, GIT_OBJECT_COMMIT, buf_bytes(&text), ret, err);
}
