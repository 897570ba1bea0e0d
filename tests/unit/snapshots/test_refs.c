/*
 * test_refs.c - names of a source that are found without a fetch: tags that are
 * objects, and refs of a packed-refs of any length, sorted, unsorted or lying.
 */
#include "tests/unit/snapshots/store_rig.h"

#include "snapshots/gitdb_store.h"

/* --- tags ---------------------------------------------------------------- */

static void assert_fast(struct rig *rig, const char *name, const struct oid *commit)
{
	struct store_base base;

	if (store_fetch_fast(rig->store, &rig->source, name, &base) != 0)
		fail_msg("'%s' is fetched anew", name);
	ASSERT_OID(&base.commit, commit);
}

static void tags_are_read_once(void **state)
{
	static const char *const names[] = {"note", "refs/tags/note", "twice", "light"};
	struct oid first, tag;
	struct store_base base;
	struct rig rig;
	char hex[OID_HEX_BYTES];

	(void)state;
	sh("git init -q -b main tags && cd tags && echo 1 >f && git add f && git commit -q -m 1 && "
	   "git tag -a -m x note && git tag -a -m x twice note 2>/dev/null && git tag light");
	first = sh_oid("git -C tags rev-parse main");
	rig_open(&rig, "store-tags");
	rig_source(&rig, "tags");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		FETCH_OK(&rig, names[i], &base);
		ASSERT_OID(&base.commit, &first);
		assert_fast(&rig, names[i], &first);
	}
	/* The oid of the tag itself, also without what this process remembers. */
	tag = sh_oid("git -C tags rev-parse note");
	oid_hex(&tag, hex);
	assert_fast(&rig, hex, &first);
	rig_close(&rig);
	rig_open(&rig, "store-tags");
	rig_source(&rig, "tags");
	assert_fast(&rig, hex, &first);
	assert_fast(&rig, "note", &first);
	/* A tag that moves is another object; one whose commit went is fetched. */
	sh("cd tags && echo 2 >f && git commit -q -a -m 2 && git tag -f -a -m y note >/dev/null");
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "note", &base), 1);
	FETCH_OK(&rig, "note", &base);
	tag = sh_oid("git -C tags rev-parse main");
	assert_fast(&rig, "note", &tag);
	oid_hex(&tag, hex);
	sh("rm %s/refs/sbx-base/%s", store_repo_path(&rig.arena, rig.store, &rig.source), hex);
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "note", &base), 1);
	FETCH_OK(&rig, "note", &base);
	assert_fast(&rig, "note", &tag);
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	rig_close(&rig);
}

/* --- packed-refs --------------------------------------------------------- */

enum { REFS = 5000 };

static struct oid numbered(size_t number)
{
	char hex[OID_HEX_BYTES];
	struct oid oid;

	(void)snprintf(hex, sizeof(hex), "%040zx", number + 1);
	assert_true(oid_parse(hex, &oid));
	return oid;
}

/* 5,000 refs with tags' peels in between, 400 KB; `order` writes them. */
static void make_packed(const char *repo, const char *header, const char *order)
{
	sh("git init -q --bare %s && cd %s && { echo '%s' && "
	   "seq 0 4999 | awk '{printf \"%%040x refs/heads/topic/%%05d\\n\", $1 + 1, $1; "
	   "if ($1 %% 7 == 0) printf \"^%%040x\\n\", 99}' | %s; } >packed-refs",
	   repo, repo, header, order);
}

static void every_packed_ref_is_found(void **state)
{
	char path[PATH_MAX], name[64];
	struct oid oid, want;

	(void)state;
	make_packed("packed", "# pack-refs with: peeled fully-peeled sorted ", "cat");
	(void)snprintf(path, sizeof(path), "%s/packed", fixture_dir);
	for (size_t i = 0; i < REFS; i++) {
		want = numbered(i);
		(void)snprintf(name, sizeof(name), "topic/%05zu", i);
		assert_int_equal(gitdb_peek(path, name, &oid), 0);
		ASSERT_OID(&oid, &want);
	}
	assert_int_equal(gitdb_peek(path, "topic/05000", &oid), 1);
	assert_int_equal(gitdb_peek(path, "topic", &oid), 1);
	assert_int_equal(gitdb_peek(path, "a", &oid), 1);
	assert_int_equal(gitdb_peek(path, "zzz", &oid), 1);
	/* A loose one goes before. */
	sh("mkdir -p packed/refs/heads/topic && printf '%%040d\\n' 7 "
	   ">packed/refs/heads/topic/00042");
	assert_int_equal(gitdb_peek(path, "topic/00042", &oid), 0);
	assert_int_equal(oid.raw[19], 7);
}

/* What cannot be trusted to be in order is read as a whole, by who fetches. */
static void files_out_of_order_are_read_whole(void **state)
{
	static const struct {
		const char *name, *header, *order;
	} files[] = {
		{"unsorted", "# pack-refs with: peeled fully-peeled ", "cat"},
		{"no-header", "# nothing", "cat"},
		{"resorted", "# pack-refs with: peeled fully-peeled unsorted sortedness", "cat"},
		{"liar", "# pack-refs with: peeled fully-peeled sorted ", "tac"},
		{"one-line", "# pack-refs with: peeled fully-peeled sorted ",
		 "{ cat; head -c 600000 /dev/zero | tr '\\0' x; }"},
	};
	struct err err = {0};
	struct gitdb *db;
	struct oid oid, want = numbered(4711);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char path[PATH_MAX];

		make_packed(files[i].name, files[i].header, files[i].order);
		(void)snprintf(path, sizeof(path), "%s/%s", fixture_dir, files[i].name);
		assert_int_equal(gitdb_peek(path, "topic/04711", &oid), 1);
		OK(gitdb_open(path, GITDB_READ, &db, &err));
		OK(gitdb_ref_get(db, "refs/heads/topic/04711", &oid, &err));
		ASSERT_OID(&oid, &want);
		gitdb_close(db);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_are_read_once),
		cmocka_unit_test(every_packed_ref_is_found),
		cmocka_unit_test(files_out_of_order_are_read_whole),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
