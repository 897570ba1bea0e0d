/*
 * test_farm.c - checkouts that share files: what is linked, what is copied,
 * what happens to files that somebody changed.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <sys/stat.h>

/* --- helpers ----------------------------------------------------------- */

static ino_t inode_of(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_ino;
}

static const char *check_out(struct rig *rig, const char *commit)
{
	struct store_base base;

	FETCH_OK(rig, commit, &base);
	return checkout(rig, &base.tree);
}

static void make_neighbours(const char *name)
{
	sh("git init -q -b main %s && cd %s && mkdir -p a/b z && echo same >same && "
	   "echo same >z/twin && echo run >run && chmod +x run && echo run >a/text && "
	   "echo old >a/b/changes && : >empty && ln -s same link && git add . && "
	   "git commit -q -m one && git tag one && echo new >a/b/changes && echo added >a/added && "
	   "git rm -q empty && git add . && git commit -q -m two && git tag two",
	   name, name);
}

/* --- sharing ----------------------------------------------------------- */

static void neighbours_share_what_they_have_in_common(void **state)
{
	const char *one, *two;
	struct rig rig;

	(void)state;
	make_neighbours("share");
	rig_open(&rig, "store-share");
	rig_source(&rig, "share");
	one = check_out(&rig, "one");
	two = check_out(&rig, "two");
	assert_true(inode_of(one, "same") == inode_of(two, "same"));
	assert_true(inode_of(one, "run") == inode_of(two, "run"));
	assert_true(inode_of(one, "a/text") == inode_of(two, "a/text"));
	assert_true(inode_of(one, "a/b/changes") != inode_of(two, "a/b/changes"));
	/* One content under two names, or two modes, is two files. */
	assert_true(inode_of(two, "same") != inode_of(two, "z/twin"));
	assert_true(inode_of(one, "run") != inode_of(one, "a/text"));
	sh("test $(find %s -type f -printf '%%i\\n' | sort | uniq -d | wc -l) = 0", two);
	sh("cd %s && test $(stat -c %%a run) = 755 && test $(stat -c %%a a/text) = 644 && "
	   "test $(cat a/b/changes) = new && test ! -e empty && test $(readlink link) = same",
	   two);
	sh("find %s %s ! -newermt @946684799 -o -newermt @946684800 | (! grep .)", one, two);
	rig_close(&rig);
}

/* Links, modes and twins in many directories. */
static void a_large_tree_is_the_same_as_git_has_it(void **state)
{
	const char *one, *two;
	struct rig rig;

	(void)state;
	sh("git init -q -b main large && cd large && for d in $(seq 15); do mkdir -p d$d/e && "
	   "for f in $(seq 40); do echo $d $f >d$d/e/f$f; done; echo twin >d$d/twin; "
	   "cp d$d/e/f7 d$d/run && chmod +x d$d/run && ln -s e/f1 d$d/link; done && "
	   "git add . && git commit -q -m one && git tag one && echo x >>d3/e/f3 && "
	   "git commit -q -a -m two && git tag two && git worktree add -q --detach ../wanted two");
	rig_open(&rig, "store-large");
	rig_source(&rig, "large");
	one = check_out(&rig, "one");
	two = check_out(&rig, "two");
	sh("rm wanted/.git && diff -r --no-dereference wanted %s", two);
	sh("cd %s && test $(find . -type f -perm 755 | wc -l) = 15 && "
	   "test $(find . -type l | wc -l) = 15",
	   two);
	sh("test $(find %s -type f -printf '%%i\n' | sort | uniq -d | wc -l) = 0", two);
	sh("find %s %s ! -newermt @946684799 -o -newermt @946684800 | (! grep .)", one, two);
	assert_true(inode_of(one, "d9/e/f9") == inode_of(two, "d9/e/f9"));
	assert_true(inode_of(one, "d3/e/f3") != inode_of(two, "d3/e/f3"));
	rig_close(&rig);
}

static void a_large_tree_without_an_object_is_an_error(void **state)
{
	struct store_base base;
	const char *repo, *path;
	struct rig rig;

	(void)state;
	sh("git init -q -b main lost && cd lost && for d in $(seq 15); do mkdir d$d && "
	   "for f in $(seq 40); do echo $d $f >d$d/f$f; done; done && git add . && "
	   "git commit -q -m one");
	rig_open(&rig, "store-lost");
	rig_source(&rig, "lost");
	FETCH_OK(&rig, "main", &base);
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	sh("o=$(git -C lost rev-parse main:d9/f40) && cd %s && cp objects/pack/*.pack ../pack && "
	   "rm -f objects/pack/* && git --git-dir=. unpack-objects -q <../pack && rm ../pack && "
	   "rm -f objects/$(echo $o | sed 's,^..,&/,')",
	   repo);
	assert_int_not_equal(store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path,
					    &rig.reason, &rig.err),
			     0);
	assert_false(store_has_checkout(rig.store, &base.tree));
	sh("test -z \"$(ls store-lost/tmp)\"");
	rig_close(&rig);
}

static void a_full_or_missing_blob_costs_a_copy(void **state)
{
	const char *one, *two;
	char line[64];
	struct rig rig;

	(void)state;
	make_neighbours("full");
	rig_open(&rig, "store-full");
	rig_source(&rig, "full");
	one = check_out(&rig, "one");
	/* ext4 stops at 65,000 links; other file systems take more, and share. */
	sh("mkdir many && b=$(ls store-full/blobs/*/$(git -C full rev-parse one:same)-644) && "
	   "i=0; while [ $i -lt 65100 ]; do echo many/$i; i=$((i + 1)); done | "
	   "python3 -c 'import os,sys\n"
	   "for line in sys.stdin:\n"
	   "    try: os.link(sys.argv[1], line.strip())\n"
	   "    except OSError: break' $b && rm store-full/blobs/*/$(git -C full rev-parse "
	   "one:run)-755");
	sh_line(line, sizeof(line), "stat -c %%h '%s/same'", one);
	two = check_out(&rig, "two");
	assert_true((inode_of(one, "same") != inode_of(two, "same")) ==
		    (strcmp(line, "65000") == 0));
	assert_true(inode_of(one, "run") != inode_of(two, "run"));
	sh("cd %s && test $(cat same) = same && test $(cat run) = run", two);
	/* The copy has become what the next one links to. */
	sh("cd full && echo 3 >three && git add . && git commit -q -m three && git tag three");
	one = check_out(&rig, "three");
	assert_true(inode_of(one, "same") == inode_of(two, "same"));
	assert_true(inode_of(one, "run") == inode_of(two, "run"));
	sh("rm -r many");
	rig_close(&rig);
}

static void a_changed_blob_is_not_linked(void **state)
{
	const char *two;
	struct rig rig;

	(void)state;
	make_neighbours("touched");
	rig_open(&rig, "store-touched");
	rig_source(&rig, "touched");
	(void)check_out(&rig, "one");
	sh("b() { ls store-touched/blobs/*/$(git -C touched rev-parse one:$1)-$2; } && "
	   "echo evil >$(b same 644) && chmod 777 $(b run 755)");
	two = check_out(&rig, "two");
	sh("cd %s && test $(cat same) = same && test $(stat -c %%a run) = 755", two);
	sh("b() { cat store-touched/blobs/*/$(git -C touched rev-parse one:$1)-$2; } && "
	   "test $(b same 644) = same");
	rig_close(&rig);
}

/* What the packs of the store hold is hashed before it is shared. */
static void a_corrupt_object_is_not_checked_out(void **state)
{
	struct store_base base;
	const char *repo, *path;
	struct rig rig;

	(void)state;
	make_neighbours("rotten");
	rig_open(&rig, "store-rotten");
	rig_source(&rig, "rotten");
	FETCH_OK(&rig, "one", &base);
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	sh("d=$PWD/rotten && o() { git -C $d rev-parse $1 | sed 's,^..,&/,'; } && cd %s/objects && "
	   "chmod u+w $(o one:same) && cat $(o one:run) >$(o one:same)",
	   repo);
	assert_int_equal(store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path,
					&rig.reason, &rig.err),
			 -1);
	assert_int_equal(rig.err.kind, ERR_SYSTEM);
	assert_false(store_has_checkout(rig.store, &base.tree));
	sh("test -z \"$(ls store-rotten/tmp)\"");
	rig_close(&rig);
}

/* --- pins -------------------------------------------------------------- */

static void a_pin_finds_what_is_there(void **state)
{
	struct store_base base;
	const char *path;
	struct rig rig;
	int pin;

	(void)state;
	make_neighbours("pinned");
	rig_open(&rig, "store-pinned");
	rig_source(&rig, "pinned");
	FETCH_OK(&rig, "one", &base);
	assert_int_equal(store_pin(rig.store, &base.tree, &pin), 1);
	path = checkout(&rig, &base.tree);
	assert_int_equal(store_pin(rig.store, &base.tree, &pin), 0);
	sh("! flock -n -x '%s' true && flock -n -s '%s' true", path, path);
	(void)close(pin);
	sh("flock -n -x '%s' true", path);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_share_what_they_have_in_common),
		cmocka_unit_test(a_large_tree_is_the_same_as_git_has_it),
		cmocka_unit_test(a_large_tree_without_an_object_is_an_error),
		cmocka_unit_test(a_full_or_missing_blob_costs_a_copy),
		cmocka_unit_test(a_changed_blob_is_not_linked),
		cmocka_unit_test(a_corrupt_object_is_not_checked_out),
		cmocka_unit_test(a_pin_finds_what_is_there),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
