/*
 * gitdb_private.h - what the files of gitdb share: the open database, raw
 * objects, the walk over a raw tree, refs as files. Only gitdb*.c include it.
 */
#ifndef SBX_SNAPSHOTS_GITDB_PRIVATE_H
#define SBX_SNAPSHOTS_GITDB_PRIVATE_H

#include <limits.h>

#include <git2.h>
#include <git2/sys/odb_backend.h>

#include "snapshots/gitdb.h"
#include "snapshots/gitdb_store.h"

enum {
	GITDB_TREE_BYTES_MAX = 64 << 20,   /* one tree object */
	GITDB_COMMIT_BYTES_MAX = 16 << 20, /* one commit or tag */
	GITDB_SMALL_BYTES_MAX = 64 << 10,  /* files that name other files */
	GITDB_DIR_MODE = 0755,		   /* as the umask allows, in a directory of the store's */
	GITDB_DEPTH_MAX = 256,		   /* directories inside each other */
	GITDB_QUARANTINE_BYTES_MAX = 1 << 30,
	GITDB_QUARANTINE_OBJECTS_MAX = 1 << 18,
};

/* --- the quarantine: objects in memory, in the order they were made ---- */

struct quarantine_object {
	struct oid oid;
	git_object_t type;
	size_t len;
	const uint8_t *data;
	bool owned; /* `data` is freed with it */
};

struct quarantine {
	struct quarantine_object *objects;
	size_t len;
	size_t capacity;
	size_t *slots; /* open addressing; index + 1, 0 is free */
	size_t slots_len;
	size_t bytes;
};

void quarantine_release(struct quarantine *q);
const struct quarantine_object *quarantine_find(const struct quarantine *q, const struct oid *oid);
/* Copies `data`, or borrows it for the life of the quarantine. */
enum quarantine_data { QUARANTINE_COPIES, QUARANTINE_BORROWS };
int quarantine_add(struct quarantine *q, const struct oid *oid, git_object_t type,
		   struct bytes data, enum quarantine_data how, struct err *err) MUST_CHECK;

/* --- where a repository's parts are ------------------------------------ */

/* A small regular file. Returns 1 when it does not exist. Never blocks. */
int layout_read_small(const char *path, size_t limit_bytes, struct buf *out,
		      struct err *err) MUST_CHECK;

/* The directory of HEAD and the one of objects and refs. They differ only for
 * a linked work tree. */
int layout_find_dirs(const char *path, char ret_head[PATH_MAX], char ret_dir[PATH_MAX],
		     struct err *err) MUST_CHECK;

/* ERR_UNSUPPORTED unless objects are SHA-1 and refs are files. */
int layout_check_format(const char *dir, struct err *err) MUST_CHECK;

/* ERR_UNSUPPORTED unless everything lies below `path`. */
int layout_check_confined(const char *path, const char *head_dir, const char *dir,
			  struct err *err) MUST_CHECK;

/* --- the database ------------------------------------------------------ */

enum { TREE_INDEXES = 8 };

struct gitdb {
	enum gitdb_mode mode;
	git_odb *odb;
	git_odb_backend *loose; /* owned by odb; where GITDB_WRITE writes */
	char *dir;		/* the git directory that objects and refs are in */
	char *head_dir;		/* where HEAD is: another one in a linked work tree */
	bool peeks;		/* only what is found within microseconds counts */
	struct quarantine quarantine;
	struct tree_index *indexes[TREE_INDEXES]; /* of the last large trees */
	size_t indexes_next;
};

/* Fills `err` from libgit2's last error; `code` is what it returned. */
int gitdb_fail(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Out of memory: a fault of the host, never a limit that a source reached. */
int gitdb_oom(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- raw objects ------------------------------------------------------- */

struct object {
	git_object_t type;
	struct bytes bytes;	/* borrowed from `handle` or from the quarantine */
	git_odb_object *handle; /* NULL for one of the quarantine */
};

/* ERR_NOT_FOUND, ERR_INPUT for another type, ERR_LIMIT. `type` may be
 * GIT_OBJECT_ANY. */
int object_read(struct gitdb *db, const struct oid *oid, git_object_t type, size_t limit_bytes,
		struct object *ret, struct err *err) MUST_CHECK;
void object_release(struct object *object); /* also for CLEANUP */
bool object_strict(void);		    /* gitdb_set_strict */

/* Without a look for packs that came after the database was opened. */
bool object_is_here(struct gitdb *db, const struct oid *oid);

/* Type and size, without inflating. ERR_NOT_FOUND. */
int object_header(struct gitdb *db, const struct oid *oid, git_object_t *ret_type, size_t *ret_size,
		  struct err *err) MUST_CHECK;

/* The name of an object (gitdb_hash.c). The safe one is slower, and ERR_INPUT
 * for content that was made to have the name of another one: for what is
 * written to disk. */
void object_oid(git_object_t type, struct bytes content, struct oid *ret);
int object_oid_safe(git_object_t type, struct bytes content, struct oid *ret,
		    struct err *err) MUST_CHECK;

/* Writes a small loose object where the file system has a quick way; false: it
 * must be written as any other (gitdb_loose.c). */
bool loose_write_small(const struct gitdb *db, const struct oid *oid, git_object_t type,
		       struct bytes content);

/* Writes where the mode says, unless it is there already. A quarantine gets also
 * what is on disk. */
int object_write(struct gitdb *db, git_object_t type, struct bytes content, struct oid *ret,
		 struct err *err) MUST_CHECK;

/* --- raw trees --------------------------------------------------------- */

struct tree_item {
	const char *name; /* NUL-terminated, borrowed from the tree */
	size_t name_len;
	struct bytes raw;	  /* the whole entry */
	bool canonical;		  /* `raw` spells the mode as git does today */
	struct gitdb_entry entry; /* its mode is one of the five */
};

/* Takes one item off `left`. Returns 1, 0 at the end, -1 for a malformed tree. */
int tree_next(struct bytes *left, struct tree_item *ret, struct err *err) MUST_CHECK;

/* git's order: directories compare as if they ended in '/'. */
int tree_compare(const struct tree_item *a, const struct tree_item *b);

/* Whether a tree entry may have this name: none that any file system takes
 * for ".git", no '/', not "." or "..". */
bool tree_name_valid(const char *name, size_t len);

/* A large tree in git's order, to be found in by halves. */
struct tree_index {
	struct oid oid;
	struct object object;
	uint32_t *starts; /* of each item, and the end: len + 1 */
	size_t len;
	unsigned users; /* trees that are open */
};
void tree_index_free(struct tree_index *index);

/* A tree as it is read. An index belongs to the database, and stays there while
 * the tree is open. */
struct tree {
	struct bytes bytes;
	struct object object;
	struct tree_index *index; /* NULL: it has none */
};
int tree_open(struct gitdb *db, const struct oid *oid, struct tree *ret,
	      struct err *err) MUST_CHECK;
void tree_close(struct tree *tree); /* also for CLEANUP */

void tree_index_item(const struct tree_index *index, size_t number, struct tree_item *ret);

/* Where the item is, or would be. */
size_t tree_index_place(const struct tree_index *index, const struct tree_item *item);

/* Where the name is, whatever it is; SIZE_MAX: not there. */
size_t tree_index_find(const struct tree_index *index, const char *name, size_t len,
		       struct gitdb_entry *ret);

/* Form alone: order, duplicates, names, modes. */
int tree_check(struct bytes tree, struct err *err) MUST_CHECK;

/* --- walks ------------------------------------------------------------- */

/* Adds a tree and all below it to `seen`; what is there is not walked again. */
int walk_reach(struct gitdb *db, const struct oid *tree, struct oid_set *seen,
	       struct err *err) MUST_CHECK;

/* --- https (gitdb_tls.c) ----------------------------------------------- */

/* From here on what goes over https is what `fetch` allows; it is borrowed. A
 * libgit2 error code. */
int tls_begin(const struct gitdb_fetch *fetch);

/* Whether more came than `fetch` allows. */
bool tls_exceeded(void);

/* --- refs -------------------------------------------------------------- */

bool ref_name_valid(const char *name);

enum {
	PACKED_REFS_BYTES_MAX = 256 << 20,
	PEEK_BYTES_MAX = 64 << 10, /* read within a few microseconds */
};

/* Whether a line of packed-refs, "<oid> <name>", is of this ref. */
bool packed_line(const char *line, size_t len, const char *name, struct oid *ret);

/* A ref of an open packed-refs. Returns 0, 1 when there is none, -1. Who peeks
 * gets 1 also for what only reading all of a long file would find. */
int packed_read(int fd, const char *name, bool peek, struct oid *ret, struct err *err) MUST_CHECK;

/* Puts `text` at <dir>/<name> in one step. */
int ref_write_file(struct gitdb *db, const char *name, struct bytes text,
		   struct err *err) MUST_CHECK;

/* Returns 0, 1 when there is no such ref, -1. Symbolic refs are followed. */
int ref_read(struct gitdb *db, const char *name, struct oid *ret, struct err *err) MUST_CHECK;

#endif
