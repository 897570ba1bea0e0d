/*
 * test_farm.c - checkouts that share files: what is linked, what is copied,
 * what happens to files that somebody changed.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
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

/* Links, modes and twins in many directories, and files too large to hand over. */
static void make_large(void)
{
	sh("test -d large || { git init -q -b main large && cd large && for d in $(seq 15); do "
	   "mkdir -p d$d/e && for f in $(seq 40); do echo $d $f >d$d/e/f$f; done; echo twin "
	   ">d$d/twin; cp d$d/e/f7 d$d/run && chmod +x d$d/run && ln -s e/f1 d$d/link; done && "
	   "mkdir d10/e/deep && head -c 700000 /dev/urandom >d10/e/deep/huge && : >d11/empty && "
	   "git add . && git commit -q -m one && git tag one && echo x >>d3/e/f3 && "
	   "git commit -q -a -m two && git tag two && "
	   "git worktree add -q --detach ../wanted two && rm ../wanted/.git; }");
}

static void large_as_git_has_it(const char *store)
{
	const char *one, *two;
	struct rig rig;

	make_large();
	rig_open(&rig, store);
	rig_source(&rig, "large");
	one = check_out(&rig, "one");
	two = check_out(&rig, "two");
	sh("diff -r --no-dereference wanted %s", two);
	sh("cd %s && test $(find . -type f -perm 755 | wc -l) = 15 && "
	   "test $(find . -type l | wc -l) = 15",
	   two);
	sh("test $(find %s -type f -printf '%%i\n' | sort | uniq -d | wc -l) = 0", two);
	sh("find %s %s ! -newermt @946684799 -o -newermt @946684800 | (! grep .)", one, two);
	assert_true(inode_of(one, "d9/e/f9") == inode_of(two, "d9/e/f9"));
	assert_true(inode_of(one, "d3/e/f3") != inode_of(two, "d3/e/f3"));
	sh("find %s %s -type d ! -perm 755 | (! grep .)", one, two);
	rig_close(&rig);
}

static void a_large_tree_is_the_same_as_git_has_it(void **state)
{
	(void)state;
	large_as_git_has_it("store-large");
}

/* Where there is one processor, nobody helps. */
static void a_large_tree_is_the_same_without_helpers(void **state)
{
	cpu_set_t before, one;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
		if (CPU_ISSET(cpu, &before))
			CPU_SET(cpu, &one);
	}
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	large_as_git_has_it("store-alone");
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

/* A file that cannot be written, whoever makes it, is what the failure says. */
static void a_large_tree_that_cannot_be_written_is_an_error(void **state)
{
	struct rlimit before, small;
	struct store_base base;
	const char *path;
	struct rig rig;

	(void)state;
	make_large();
	sh("cd large && git checkout -q one && head -c 70000 /dev/urandom >d5/e/f5 && git add . && "
	   "git rm -q d10/e/deep/huge && git commit -q -m wide && git tag wide");
	rig_open(&rig, "store-wide");
	rig_source(&rig, "large");
	FETCH_OK(&rig, "wide", &base);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){.rlim_cur = 60000, .rlim_max = before.rlim_max};
	assert_true(sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL) == 0);
	for (int i = 0; i < 5; i++) {
		rig.err = (struct err){0};
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		assert_int_equal(store_checkout(rig.store, &rig.source, &base.tree, &rig.arena,
						&path, &rig.reason, &rig.err),
				 -1);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
		assert_non_null(strstr(rig.err.message, "'f5'"));
		assert_false(store_has_checkout(rig.store, &base.tree));
		sh("test -z \"$(ls store-wide/tmp)\"");
	}
	sh("test $(stat -c %%s '%s/d5/e/f5') = 70000", checkout(&rig, &base.tree));
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
		cmocka_unit_test(a_large_tree_is_the_same_without_helpers),
		cmocka_unit_test(a_large_tree_that_cannot_be_written_is_an_error),
		cmocka_unit_test(a_large_tree_without_an_object_is_an_error),
		cmocka_unit_test(a_full_or_missing_blob_costs_a_copy),
		cmocka_unit_test(a_changed_blob_is_not_linked),
		cmocka_unit_test(a_corrupt_object_is_not_checked_out),
		cmocka_unit_test(a_pin_finds_what_is_there),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
