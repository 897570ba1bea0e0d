/*
 * test_extent.c - trees of a few objects that would be any number of files or
 * bytes: refused from the objects alone, before anything is made.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <sys/resource.h>

enum { CPU_MS_MOST = 1000 }; /* a few milliseconds are usual */

/* --- helpers ----------------------------------------------------------- */

static int64_t cpu_ms(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* `levels` trees, each with `width` entries that all are the one before; the
 * lowest ones are `blob`. Echoes the name of the highest. */
static void make_bomb(const char *repo, const char *blob, int levels, int width, const char *then)
{
	sh("cd %s && o=$(%s | git hash-object -w --stdin) && t=blob && m=100644 && "
	   "for i in $(seq %d); do "
	   "o=$(for j in $(seq %d); do printf '%%s %%s %%s\\tf%%04d\\n' $m $t $o $j; done | "
	   "git mktree) && t=tree && m=040000 || exit 1; done && %s",
	   repo, blob, levels, width, then);
}

#define AS_COMMIT(name) "git update-ref refs/heads/" name " $(git commit-tree -m x $o)"

/* Refused, quickly, and no file of it was ever made. */
static void assert_refused(struct rig *rig, const char *commit, const char *word)
{
	struct store_base base;
	const char *path;
	int64_t before_ms;

	FETCH_OK(rig, commit, &base);
	before_ms = cpu_ms();
	assert_int_equal(store_checkout(rig->store, &rig->source, &base.tree, &rig->arena, &path,
					&rig->reason, &rig->err),
			 REFUSED);
	assert_in_range(cpu_ms() - before_ms, 0, CPU_MS_MOST);
	assert_int_equal(rig->reason.code, REASON_SOURCE_LIMIT);
	if (strstr(rig->reason.message, word) == NULL)
		fail_msg("%s: %s", commit, rig->reason.message);
	assert_false(store_has_checkout(rig->store, &base.tree));
}

/* --- bombs ------------------------------------------------------------- */

static void few_objects_are_not_many_files(void **state)
{
	struct rig rig;

	(void)state;
	sh("git init -q -b main bombs");
	make_bomb("bombs", "echo x", 10, 10, AS_COMMIT("billions"));
	make_bomb("bombs", "echo x", 100, 10, AS_COMMIT("beyond-any-integer"));
	make_bomb("bombs", "printf ''", 3, 13, AS_COMMIT("empty-files")); /* 2,379 of 2,000 */
	make_bomb("bombs", "head -c 1000000 /dev/zero", 2, 9, AS_COMMIT("bytes")); /* 81 of 67 MB */
	make_bomb("bombs", "head -c 1000000 /dev/zero", 1, 69, AS_COMMIT("one-blob"));
	make_bomb("bombs", "head -c 1000000 /dev/zero", 40, 2, AS_COMMIT("bytes-without-end"));
	rig_open(&rig, "store-bombs");
	rig_source(&rig, "bombs");
	assert_refused(&rig, "billions", "files");
	assert_refused(&rig, "beyond-any-integer", "files");
	assert_refused(&rig, "empty-files", "files");
	assert_refused(&rig, "bytes", "bytes");
	assert_refused(&rig, "one-blob", "bytes");
	assert_refused(&rig, "bytes-without-end", "");
	rig_close(&rig);
	sh("test -z \"$(ls store-bombs/tmp)\" && test -z \"$(ls store-bombs/blobs)\"");
}

/* Submodules are directories, and their commits are not looked for. */
static void what_is_within_the_bounds_is_made(void **state)
{
	struct store_base base;
	struct rig rig;
	const char *path;

	(void)state;
	sh("git init -q -b main within");
	make_bomb("within", "echo x", 3, 11, AS_COMMIT("files")); /* 1,463 */
	make_bomb("within", "head -c 1000000 /dev/zero", 2, 8, AS_COMMIT("bytes"));
	sh("cd within && t=$(for i in $(seq 1999); do printf '160000 commit %%040d\\ts%%d\\n' $i "
	   "$i; "
	   "done | git mktree --missing) && git update-ref refs/heads/links "
	   "$(git commit-tree -m x $t)");
	rig_open(&rig, "store-within");
	rig_source(&rig, "within");
	FETCH_OK(&rig, "files", &base);
	path = checkout(&rig, &base.tree);
	sh("test $(find %s -mindepth 1 | wc -l) = 1463", path);
	FETCH_OK(&rig, "bytes", &base);
	(void)checkout(&rig, &base.tree);
	FETCH_OK(&rig, "links", &base);
	(void)checkout(&rig, &base.tree);
	rig_close(&rig);
}

/* A commit that adds a directory to a large neighbour is judged by what is in it. */
static void a_neighbour_is_not_near_with_a_bomb(void **state)
{
	static const char *const commits[] = {"near", "bomb", "bytes"};
	struct store_base base;
	const char *path;
	struct rig rig;

	(void)state;
	sh("git init -q -b main near && cd near && for i in $(seq 300); do echo $i >$i; done && "
	   "git add . && git commit -q -m base && git tag base && echo new >1 && git add . && "
	   "git commit -q -m near && git tag near");
	make_bomb("near", "echo x", 9, 10,
		  "git update-ref refs/tags/bomb $(git commit-tree -m x $( (git ls-tree base; "
		  "printf '040000 tree %s\\tdir\\n' $o) | git mktree))");
	make_bomb("near", "head -c 3000000 /dev/zero", 1, 25,
		  "git update-ref refs/tags/bytes $(git commit-tree -m x $( (git ls-tree base; "
		  "printf '040000 tree %s\\tdir\\n' $o) | git mktree))");
	rig_open_with(&rig, "store-near", true);
	rig_source(&rig, "near");
	FETCH_OK(&rig, "base", &base);
	(void)checkout(&rig, &base.tree);
	FETCH_OK(&rig, commits[0], &base);
	(void)checkout(&rig, &base.tree);
	assert_true(store_under(rig.store, &base.tree, &rig.arena, &path));
	sh("ls store-near/blobs/* | sort >before");
	assert_refused(&rig, commits[1], "files");
	assert_refused(&rig, commits[2], "bytes");
	rig_close(&rig);
	sh("test -z \"$(ls store-near/tmp)\" && ls store-near/blobs/* | sort | cmp - before");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_objects_are_not_many_files),
		cmocka_unit_test(what_is_within_the_bounds_is_made),
		cmocka_unit_test(a_neighbour_is_not_near_with_a_bomb),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
