/*
 * test_trees.c - large trees, which are found in by halves and copied in parts,
 * against small ones' way: one database reads the base from disk and indexes it,
 * another has it in its quarantine, where nothing is indexed. Both must answer
 * the same to every lookup and every edit.
 */
#include "tests/unit/snapshots/git_fixture.h"

enum { NAMES = 260, LEVELS = 12, BASE_MAX = NAMES * (LEVELS + 1), EDITS_MAX = 40, ROUNDS = 400 };

static char paths[BASE_MAX][160];
static size_t paths_len;

/* Names that sort differently as files and as directories, at a level of the
 * nest: "nest/nest/..." with as many siblings each. */
static void any_path(unsigned level, unsigned number, char *ret, size_t size)
{
	static const char *const tails[] = {"", ".x", "-", "0", " b", "/f", "/g"};
	size_t len = 0;

	ret[0] = '\0';
	for (unsigned i = 0; i < level; i++)
		len += (size_t)snprintf(ret + len, size - len, "nest/");
	(void)snprintf(ret + len, size - len, "n%03u%s", number / (unsigned)ARRAY_LEN(tails),
		       tails[number % ARRAY_LEN(tails)]);
}

static struct oid any_oid(void)
{
	struct oid oid = {{1}};

	for (size_t i = 1; i < OID_BYTES; i++)
		oid.raw[i] = (uint8_t)random_below(256);
	return oid;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct gitdb_edit *)a)->path, ((const struct gitdb_edit *)b)->path);
}

/* Groups of names are files alone, or files and a directory, by turns: one name
 * cannot be both. */
static size_t base_edits(struct gitdb_edit *edits)
{
	size_t len = 0;

	for (unsigned level = 0; level <= LEVELS; level++) {
		for (unsigned i = 0; i < NAMES; i++) {
			size_t tail = i % 7;

			if (i / 7 % 2 == 0 ? tail >= 5 : tail == 0)
				continue;
			any_path(level, i, paths[len], sizeof(paths[len]));
			edits[len] = (struct gitdb_edit){
				.path = paths[len], .mode = MODE_FILE, .oid = any_oid()};
			len++;
		}
	}
	paths_len = len;
	return len;
}

/* Some change or go, some come; no path twice. */
static size_t random_edits(struct gitdb_edit *ret, char (*room)[160])
{
	size_t len = 1 + random_below(EDITS_MAX - 1), unique = 0;

	for (size_t i = 0; i < len; i++) {
		if (random_below(2) == 0)
			(void)snprintf(room[i], sizeof(room[i]), "%s",
				       paths[random_below((unsigned)paths_len)]);
		else
			any_path(random_below(LEVELS + 1), random_below(2 * NAMES), room[i],
				 sizeof(room[i]));
		if (random_below(12) == 0)
			room[i][strcspn(room[i], "/")] = '\0';
		ret[i] = (struct gitdb_edit){.path = room[i]};
		if (random_below(3) != 0) {
			ret[i].mode = random_below(5) == 0 ? MODE_LINK : MODE_FILE;
			ret[i].oid = any_oid();
		}
	}
	qsort(ret, len, sizeof(*ret), compare_paths);
	for (size_t i = 0; i < len; i++) {
		if (unique == 0 || strcmp(ret[unique - 1].path, ret[i].path) != 0)
			ret[unique++] = ret[i];
	}
	return unique;
}

static void same_lookups(struct gitdb *disk, struct gitdb *memory, const struct oid *tree,
			 const struct gitdb_edit *edits, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		struct gitdb_entry one = {0}, other = {0};
		struct err err = {0};
		int code = gitdb_lookup(disk, tree, edits[i].path, &one, &err);

		assert_int_equal(code, gitdb_lookup(memory, tree, edits[i].path, &other, &err));
		assert_int_equal(one.mode, other.mode);
		ASSERT_OID(&one.oid, &other.oid);
	}
}

static void large_trees_are_edited_as_small_ones(void **state)
{
	static struct gitdb_edit base[BASE_MAX], edits[EDITS_MAX];
	static char room[EDITS_MAX][160];
	size_t len = base_edits(base), taken = 0;
	struct gitdb *disk = NULL, *memory = NULL;
	struct oid tree, same, one, other;
	struct err err = {0};

	(void)state;
	OK(gitdb_create("disk.git", &err));
	OK(gitdb_create("memory.git", &err));
	OK(gitdb_open("disk.git", GITDB_WRITE, &disk, &err));
	OK(gitdb_tree_update(disk, NULL, base, len, &tree, &err));
	gitdb_close(disk);
	OK(gitdb_open("disk.git", GITDB_QUARANTINE, &disk, &err));
	OK(gitdb_open("memory.git", GITDB_QUARANTINE, &memory, &err));
	OK(gitdb_tree_update(memory, NULL, base, len, &same, &err));
	ASSERT_OID(&same, &tree);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct err err_one = {0}, err_other = {0};
		int code;

		len = random_edits(edits, room);
		same_lookups(disk, memory, &tree, edits, len);
		code = gitdb_tree_update(disk, &tree, edits, len, &one, &err_one);
		assert_int_equal(code,
				 gitdb_tree_update(memory, &tree, edits, len, &other, &err_other));
		assert_string_equal(err_one.message, err_other.message);
		if (code == 0)
			ASSERT_OID(&one, &other);
		taken += code == 0;
	}
	assert_in_range(taken, ROUNDS / 10, ROUNDS);
	gitdb_close(disk);
	gitdb_close(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_trees_are_edited_as_small_ones),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
