/*
 * fuzz_import.c - any bytes as the objects that an executor sends, and as a
 * bundle that a job names. What is imported must be whole: every object that is
 * there is what its name says, every commit can be checked out. A stream that
 * is refused has left nothing.
 *
 *	's' and a stream (gitdb_stream.c), or 'b' and a bundle
 */
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshots/gitdb_store.h"
#include "tests/fuzz/fuzz.h"

enum { BUNDLE_BYTES_MAX = 1 << 20, REFS_OF_A_BUNDLE = 3 };

static char folder[64], repo[96];
static struct oid base_commit;
static int64_t base_objects;

/* --- the store ------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void remove_folder(void)
{
	require(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void damaged(void *ctx, const char *hex)
{
	(void)ctx;
	require(hex == NULL);
}

static int64_t count_objects(struct gitdb *db)
{
	struct err err = {0};
	int64_t objects;

	require(gitdb_verify(db, damaged, NULL, &objects, &err) == 0);
	return objects;
}

/* One file, and the commit of it: the base of the job. */
static struct gitdb *make_store(void)
{
	static const uint8_t content[] = "base\n";
	struct gitdb_edit edit = {.path = "file", .mode = MODE_FILE};
	struct err err = {0};
	struct gitdb *db;
	struct oid tree;

	require(gitdb_create(repo, &err) == 0 && gitdb_open(repo, GITDB_WRITE, &db, &err) == 0);
	require(gitdb_blob_write(db, (struct bytes){content, 5}, &edit.oid, &err) == 0);
	require(gitdb_tree_update(db, NULL, &edit, 1, &tree, &err) == 0);
	require(gitdb_commit_write(db, &tree, NULL, "base", 1, &base_commit, &err) == 0);
	base_objects = count_objects(db);
	return db;
}

static void forget_store(struct gitdb **db)
{
	gitdb_close(*db);
	require(nftw(repo, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
	*db = NULL;
}

/* --- both ways in ---------------------------------------------------------- */

/* Every commit of an accepted stream is made again from what it says, so that its
 * name is known here. */
static void check_commits(struct gitdb *db, struct bytes stream)
{
	static const char head[] = "tree ";

	for (size_t at = 0; at + 50 < stream.len; at++) {
		struct err err = {0};
		char hex[OID_HEX_BYTES];
		struct oid tree;

		if (memcmp(stream.data + at, head, 5) != 0)
			continue;
		(void)snprintf(hex, sizeof(hex), "%.40s", (const char *)stream.data + at + 5);
		if (oid_parse(hex, &tree) && gitdb_has(db, &tree)) {
			struct oid commit;

			require(gitdb_commit_write(db, &tree, NULL, "again", 1, &commit, &err) ==
				0);
			require(gitdb_check_commit(db, &commit, &err) == 0);
		}
	}
}

static void take_stream(struct gitdb **db, struct bytes input)
{
	struct err err = {0};

	if (gitdb_import(*db, input, &base_commit, NULL, &err) < 0) {
		require(err.kind == ERR_INPUT || err.kind == ERR_LIMIT ||
			err.kind == ERR_NOT_FOUND);
		require(count_objects(*db) == base_objects);
		return;
	}
	require(count_objects(*db) >= base_objects);
	check_commits(*db, input);
	forget_store(db);
}

static void take_bundle(struct gitdb **db, struct bytes input)
{
	static const char *const wanted[REFS_OF_A_BUNDLE] = {
		"refs/heads/main", "v1", "2e3f5a8d6c7b4a190817263544536271809fabcd"};
	int fd = memfd_create("bundle", MFD_CLOEXEC);
	struct err err = {0};
	struct oid commit;
	char path[64];

	require(fd >= 0);
	require(input.len == 0 || write(fd, input.data, input.len) == (ssize_t)input.len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)gitdb_is_bundle(path);
	for (size_t i = 0; i < REFS_OF_A_BUNDLE; i++) {
		err = (struct err){0};
		if (gitdb_fetch_bundle(*db, path, wanted[i], BUNDLE_BYTES_MAX, &commit, &err) ==
			    0 &&
		    gitdb_check_commit(*db, &commit, &err) == 0)
			require(gitdb_has(*db, &commit));
		else
			require(err.kind != ERR_NONE);
	}
	(void)close(fd);
	forget_store(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gitdb *db;
	struct bytes input = {data, size};
	uint8_t kind = fuzz_byte(&input);

	if (folder[0] == '\0') {
		(void)snprintf(folder, sizeof(folder), "/dev/shm/sbx-fuzz-import-XXXXXX");
		require(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
		(void)snprintf(repo, sizeof(repo), "%s/store.git", folder);
	}
	if (db == NULL)
		db = make_store();
	if (kind == 'b')
		take_bundle(&db, input);
	else
		take_stream(&db, input);
	return 0;
}
