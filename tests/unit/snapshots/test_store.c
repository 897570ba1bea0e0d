/*
 * test_store.c - fetching, checking out and settling, against repositories
 * that the real git made, with several processes at once and killed ones.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"

/* A repository with what a tree can hold, and three commits. */
static void make_repo(const char *name)
{
	sh("git init -q -b main %s && cd %s && git config core.safecrlf false && mkdir -p dir/sub "
	   "empty && echo one >a.txt && "
	   "printf 'two\\r\\n' >dir/b.txt && : >dir/empty && head -c 70000 /dev/urandom "
	   ">dir/sub/big && "
	   "chmod +x dir/b.txt && ln -s ../a.txt dir/link && ln -s /nowhere dangling && "
	   "echo 'a.txt text eol=crlf ident' >.gitattributes && echo x >'sp ace' && "
	   "printf x >\"$(printf 'h\\303\\251')\" && git add . && "
	   "git update-index --add --cacheinfo 160000,1111111111111111111111111111111111111111,sub "
	   "&& "
	   "git commit -q -m first && git tag v1 && echo 2 >dir/new && git add dir && "
	   "git commit -q -m second && git tag -a -m note v2 && git rm -q --cached a.txt && "
	   "git commit -q -m third",
	   name, name);
}

/* --- fetching ---------------------------------------------------------- */

static void commits_are_fetched_by_every_name(void **state)
{
	static const char *const names[] = {"main", "v1", "v2", "HEAD", "refs/tags/v2"};
	struct store_base base, again;
	struct rig rig;
	char hex[64];

	(void)state;
	make_repo("names");
	rig_open(&rig, "store-names");
	rig_source(&rig, "names");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct oid commit = sh_oid("git -C names rev-parse '%s^{commit}'", names[i]);
		struct oid tree = sh_oid("git -C names rev-parse '%s^{tree}'", names[i]);

		oid_hex(&commit, hex);
		if (i == 0)
			assert_int_equal(store_fetch_fast(rig.store, &rig.source, hex, &again), 1);
		FETCH_OK(&rig, names[i], &base);
		ASSERT_OID(&base.commit, &commit);
		ASSERT_OID(&base.tree, &tree);
		assert_int_equal(store_fetch_fast(rig.store, &rig.source, hex, &again), 0);
		ASSERT_OID(&again.tree, &tree);
		assert_int_equal(store_fetch_fast(rig.store, &rig.source, names[i], &again), 0);
		ASSERT_OID(&again.commit, &commit);
		hex[10] = '\0';
		FETCH_OK(&rig, hex, &base);
		ASSERT_OID(&base.commit, &commit);
	}
	/* A branch that moves is seen. */
	sh("cd names && echo more >more && git add more && git commit -q -m fourth");
	FETCH_OK(&rig, "main", &base);
	again.commit = sh_oid("git -C names rev-parse main");
	ASSERT_OID(&base.commit, &again.commit);
	FETCH_REFUSED(&rig, "nothing", &base, REASON_SOURCE_NO_COMMIT);
	FETCH_REFUSED(&rig, "0123456789012345678901234567890123456789", &base,
		      REASON_SOURCE_NO_COMMIT);
	FETCH_REFUSED(&rig, "main^{tree}", &base, REASON_SOURCE_NO_COMMIT);
	FETCH_REFUSED(&rig, "--all", &base, REASON_SOURCE_NO_COMMIT);
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	/* The source may go: what is here is here. */
	sh("rm -rf names");
	oid_hex(&base.commit, hex);
	FETCH_OK(&rig, hex, &base);
	assert_int_equal(fetch(&rig, "main", &base), -1);
	rig_close(&rig);
}

/* A branch is looked at each time, whatever was known of it. */
static void a_branch_that_moves_is_followed(void **state)
{
	struct store_base base, again;
	struct oid commit;
	struct rig rig;

	(void)state;
	make_repo("moving");
	rig_open(&rig, "store-moving");
	rig_source(&rig, "moving");
	FETCH_OK(&rig, "main", &base);
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "main", &again), 0);
	ASSERT_OID(&again.commit, &base.commit);
	sh("cd moving && git commit -q --allow-empty -m moved && git pack-refs --all");
	commit = sh_oid("git -C moving rev-parse main");
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "main", &again), 1);
	FETCH_OK(&rig, "main", &again);
	ASSERT_OID(&again.commit, &commit);
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "main", &again), 0);
	/* A tag goes before a branch of the same name. */
	sh("cd moving && git tag main v1");
	commit = sh_oid("git -C moving rev-parse v1");
	FETCH_OK(&rig, "main", &again);
	ASSERT_OID(&again.commit, &commit);
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "main", &again), 0);
	ASSERT_OID(&again.commit, &commit);
	/* What leads elsewhere is for the slow way to judge. */
	sh("mv moving/.git moving-git && ln -s ../moving-git moving/.git");
	assert_int_equal(store_fetch_fast(rig.store, &rig.source, "main", &again), 1);
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_UNSUPPORTED);
	rig_close(&rig);
}

static void every_kind_of_repository_is_a_source(void **state)
{
	static const char *const kinds[] = {"kinds/plain", "kinds/bare.git", "kinds/packed",
					    "kinds/shallow", "kinds/plain/.git"};
	struct store_base base;
	struct oid want;
	struct rig rig;

	(void)state;
	sh("mkdir kinds");
	make_repo("kinds/plain");
	sh("cd kinds && git clone -q --bare plain bare.git && git clone -q --no-local plain packed "
	   "&& "
	   "git clone -q --depth 1 file://$PWD/plain shallow");
	want = sh_oid("git -C kinds/plain rev-parse main");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		rig_open(&rig, "store-kinds");
		rig_source(&rig, kinds[i]);
		FETCH_OK(&rig, "main", &base);
		ASSERT_OID(&base.commit, &want);
		rig_close(&rig);
	}
}

static void sources_that_lead_elsewhere_are_refused(void **state)
{
	struct store_base base;
	struct rig rig;

	(void)state;
	sh("mkdir elsewhere");
	make_repo("elsewhere/secret");
	sh("cd elsewhere && git clone -q --shared secret borrowed && "
	   "git -C secret worktree add -q ../linked v1 && "
	   "git init -q --bare objects.git && rm -r objects.git/objects && "
	   "ln -s ../secret/.git/objects objects.git/objects && "
	   "echo $(git -C secret rev-parse main) >objects.git/refs/heads/main && "
	   "git init -q --bare loose.git && ln -s ../../secret/.git/objects/?? loose.git/objects/ "
	   "&& "
	   "echo $(git -C secret rev-parse main) >loose.git/refs/heads/main && "
	   "git clone -q --bare secret refs.git && "
	   "ln -s /etc/passwd refs.git/refs/heads/passwd && mkfifo refs.git/refs/heads/fifo && "
	   "echo nonsense >refs.git/refs/heads/nonsense");
	rig_open(&rig, "store-elsewhere");
	rig_source(&rig, "elsewhere/borrowed");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_UNSUPPORTED);
	rig_source(&rig, "elsewhere/linked");
	FETCH_REFUSED(&rig, "HEAD", &base, REASON_SOURCE_UNSUPPORTED);
	rig_source(&rig, "elsewhere/objects.git");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_UNSUPPORTED);
	rig_source(&rig, "elsewhere/loose.git");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_UNSUPPORTED);
	rig_source(&rig, "elsewhere/refs.git");
	FETCH_OK(&rig, "main", &base);
	FETCH_REFUSED(&rig, "fifo", &base, REASON_SOURCE_CORRUPT);
	FETCH_REFUSED(&rig, "nonsense", &base, REASON_SOURCE_CORRUPT);
	assert_int_not_equal(fetch(&rig, "passwd", &base), 0);
	assert_null(strstr(rig.err.message, "root:"));
	assert_null(strstr(rig.reason.message, "root:"));
	rig_close(&rig);
}

static void corrupt_and_strange_sources_cost_one_error(void **state)
{
	static const char *const broken[] = {"missing-blob", "missing-tree", "garbage", "swapped",
					     "truncated-pack"};
	struct store_base base;
	struct rig rig;

	(void)state;
	sh("mkdir broken");
	make_repo("broken/good");
	sh("cd broken && for r in missing-blob missing-tree garbage swapped truncated-pack; do "
	   "cp -a good $r; done && "
	   "o() { git -C good rev-parse $1 | sed 's,^..,&/,'; } && "
	   "rm -f missing-blob/.git/objects/$(o main:dir/b.txt) && "
	   "rm -f missing-tree/.git/objects/$(o main:dir/sub) && "
	   "f=garbage/.git/objects/$(o main:dir/b.txt) && chmod u+w $f && echo junk >$f && "
	   "f=swapped/.git/objects/$(o main:dir/b.txt) && chmod u+w $f && "
	   "cat swapped/.git/objects/$(o main:dir/new) >$f && "
	   "cd truncated-pack && git gc -q && p=$(echo .git/objects/pack/*.pack) && chmod u+w $p "
	   "&& "
	   "truncate -s 40000 $p");
	rig_open(&rig, "store-broken");
	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		char repo[64];

		(void)snprintf(repo, sizeof(repo), "broken/%s", broken[i]);
		rig_source(&rig, repo);
		if (fetch(&rig, "main", &base) != REFUSED ||
		    rig.reason.code != REASON_SOURCE_CORRUPT)
			fail_msg("%s: %s%s", repo, rig.reason.message, rig.err.message);
	}
	sh("cd broken && git init -q --object-format=sha256 newer && mkdir none && "
	   "(cd newer && echo x >x && git add x && git commit -q -m x)");
	rig_source(&rig, "broken/newer");
	FETCH_REFUSED(&rig, "HEAD", &base, REASON_SOURCE_UNSUPPORTED);
	rig_source(&rig, "broken/none");
	assert_int_equal(fetch(&rig, "main", &base), -1);
	/* and the good one still works after all that */
	rig_source(&rig, "broken/good");
	FETCH_OK(&rig, "main", &base);
	rig_close(&rig);
}

/* Trees that git itself would not make, made by hand. */
static void hostile_trees_are_refused(void **state)
{
	static const char *const trees[] = {
		"100644 blob %s\t.git",
		"040000 tree %s\t.GIT",
		"100644 blob %s\t..",
		"100644 blob %s\tgit~1",
	};
	struct store_base base;
	struct rig rig;
	char line[256], hex[64];

	(void)state;
	make_repo("hostile");
	rig_open(&rig, "store-hostile");
	rig_source(&rig, "hostile");
	for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
		bool tree = strncmp(trees[i], "04", 2) == 0;

		sh_line(hex, sizeof(hex), "git -C hostile rev-parse main:%s",
			tree ? "dir" : "dir/b.txt");
		(void)snprintf(line, sizeof(line), "%.*s %s\t%s", (int)strcspn(trees[i], "%") - 1,
			       trees[i], hex, strchr(trees[i], '\t') + 1);
		sh("cd hostile && git update-ref refs/heads/h$((%zu)) $(git commit-tree -m x "
		   "$(printf "
		   "'%%s\\n' '%s' | git mktree))",
		   i, line);
		(void)snprintf(line, sizeof(line), "h%zu", i);
		FETCH_REFUSED(&rig, line, &base, REASON_SOURCE_CORRUPT);
	}
	/* Ten trees of ten references each to the next: ten billion files. */
	sh("cd hostile && o=$(echo x | git hash-object -w --stdin) && t=blob && m=100644 && "
	   "for i in 1 2 3 4 5 6 7 8 9 10; do "
	   "o=$(for j in 0 1 2 3 4 5 6 7 8 9; do printf '%%s %%s %%s\\tf%%s\\n' $m $t $o $j; done "
	   "| "
	   "git mktree) && t=tree && m=040000 || exit 1; done && "
	   "git update-ref refs/heads/bomb $(git commit-tree -m x $o)");
	FETCH_OK(&rig, "bomb", &base);
	{
		const char *path;
		int64_t start_us = clock_mono_us();
		int result = store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path,
					    &rig.reason, &rig.err);

		assert_int_equal(result, REFUSED);
		assert_int_equal(rig.reason.code, REASON_SOURCE_LIMIT);
		assert_true(clock_mono_us() - start_us < 60 * 1000000LL);
		assert_false(store_has_checkout(rig.store, &base.tree));
	}
	rig_close(&rig);
	sh("test -z \"$(ls store-hostile/tmp)\"");
}

static void large_sources_are_stopped(void **state)
{
	struct store_base base;
	struct rig rig;

	(void)state;
	sh("git init -q -b main large && cd large && head -c 70000000 /dev/zero >zeros && "
	   "git add . && git commit -q -m x");
	rig_open(&rig, "store-large");
	rig_source(&rig, "large");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_LIMIT);
	rig_close(&rig);
}

static void a_bundle_is_a_source(void **state)
{
	struct store_base base;
	struct oid want;
	char hex[64];
	struct rig rig;

	(void)state;
	make_repo("bundled");
	sh("cd bundled && git bundle create -q ../all.bundle --all 2>/dev/null && "
	   "git bundle create -q --version=3 ../v3.bundle main 2>/dev/null && "
	   "git bundle create -q ../part.bundle main~1..main 2>/dev/null && cd .. && "
	   "head -c 2000 all.bundle >cut.bundle && (cat all.bundle | head -c 900 && "
	   "head -c 300 /dev/urandom && tail -c +1201 all.bundle) >bent.bundle && "
	   "printf '# v2 git bundle\n' >short.bundle");
	want = sh_oid("git -C bundled rev-parse v1");
	rig_open(&rig, "store-bundled");
	rig_source(&rig, "all.bundle");
	FETCH_OK(&rig, "v2", &base);
	FETCH_OK(&rig, "refs/heads/main", &base);
	FETCH_OK(&rig, "v1", &base);
	ASSERT_OID(&base.commit, &want);
	(void)checkout(&rig, &base.tree);
	oid_hex(&want, hex);
	hex[12] = '\0';
	FETCH_OK(&rig, hex, &base);
	ASSERT_OID(&base.commit, &want);
	FETCH_REFUSED(&rig, "absent", &base, REASON_SOURCE_NO_COMMIT);
	FETCH_REFUSED(&rig, "0123456789012345678901234567890123456789", &base,
		      REASON_SOURCE_NO_COMMIT);
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	rig_source(&rig, "v3.bundle");
	FETCH_OK(&rig, "main", &base);
	rig_source(&rig, "part.bundle");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_UNSUPPORTED);
	rig_source(&rig, "cut.bundle");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_CORRUPT);
	rig_source(&rig, "bent.bundle");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_CORRUPT);
	rig_source(&rig, "short.bundle");
	FETCH_REFUSED(&rig, "main", &base, REASON_SOURCE_CORRUPT);
	sh("! ls store-bundled/repos/*/objects/pack/pack_git2_* 2>/dev/null");
	rig_close(&rig);
}

/* --- several processes ------------------------------------------------- */

static pid_t spawn(void (*body)(void *ctx), void *ctx)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		body(ctx);
		_exit(0);
	}
	return pid;
}

static void assert_child(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

struct contender {
	int gate; /* readable end: closed when all may run */
};

static void wait_at(int gate)
{
	char byte;

	if (read(gate, &byte, 1) != 0)
		_exit(9);
}

static void fetch_and_check_out(void *ctx)
{
	const struct contender *contender = ctx;
	struct store_base base;
	const char *path;
	struct rig rig;

	rig_open(&rig, "store-many");
	rig_source(&rig, "many");
	wait_at(contender->gate);
	if (fetch(&rig, "main", &base) != 0)
		_exit(1);
	if (store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path, &rig.reason,
			   &rig.err) != 0)
		_exit(2);
	rig_close(&rig);
}

static void contenders_do_the_work_once(void **state)
{
	enum { COUNT = 6 };
	struct contender contender;
	pid_t pids[COUNT];
	int ends[2];

	(void)state;
	make_repo("many");
	sh("cd many && for i in $(seq 500); do echo $i >dir/f$i; done && git add . && "
	   "git commit -q -m many");
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	contender.gate = ends[0];
	{
		/* The store exists before the race; the repository does not. */
		struct rig rig;

		rig_open(&rig, "store-many");
		rig_close(&rig);
	}
	for (size_t i = 0; i < COUNT; i++) {
		(void)fflush(NULL);
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			(void)close(ends[1]);
			fetch_and_check_out(&contender);
			_exit(0);
		}
	}
	(void)close(ends[1]);
	(void)close(ends[0]);
	for (size_t i = 0; i < COUNT; i++)
		assert_child(pids[i]);
	sh("test $(ls store-many/repos/*.git/objects/pack/*.pack | wc -l) = 1");
	sh("test $(ls -d store-many/checkouts/*/ | wc -l) = 1 && test -z \"$(ls store-many/tmp)\"");
}

/* --- checking out ------------------------------------------------------ */

static void checkouts_equal_the_tree(void **state)
{
	struct store_base base;
	const char *path, *again;
	struct rig rig;
	char line[256];

	(void)state;
	make_repo("equal");
	rig_open(&rig, "store-equal");
	rig_source(&rig, "equal");
	FETCH_OK(&rig, "main", &base);
	assert_false(store_has_checkout(rig.store, &base.tree));
	path = checkout(&rig, &base.tree);
	assert_true(store_has_checkout(rig.store, &base.tree));
	again = checkout(&rig, &base.tree);
	assert_string_equal(path, again);
	/* Content, modes and links as the objects have them, unfiltered. */
	sh("git -C equal ls-tree -r -z main >entries && tr '\\0' '\\n' <entries | "
	   "grep -v ^160000 | while read -r mode type oid name; do case $mode in "
	   "120000) test \"$(readlink \"%s/$name\" | tr -d '\\n' | git hash-object --stdin)\" = "
	   "$oid;; "
	   "*) test -f \"%s/$name\" && test ! -L \"%s/$name\" && "
	   "test $(git hash-object --no-filters \"%s/$name\") = $oid && "
	   "test $(stat -c %%a \"%s/$name\") = $(echo $mode | cut -c4-);; esac || exit 1; done",
	   path, path, path, path, path);
	sh("test $(git -C equal ls-tree -r --name-only main | wc -l) = "
	   "$(cd %s && find . ! -type d -o -name sub -path ./sub | wc -l)",
	   path);
	sh("test -d %s/sub && test -z \"$(ls %s/sub)\"", path, path);
	sh_line(line, sizeof(line),
		"find %s \\( ! -type l ! -perm 644 ! -perm 755 \\) -o ! -newermt @946684799 -o "
		"-newermt @946684800 | head -1",
		path);
	assert_string_equal(line, "");
	sh("find %s -type d ! -perm 755 | (! grep .)", path);
	assert_int_equal(chmod(path, 0755), 0);
	sh("ls store-equal/checkouts | (! grep lock)");
	rig_close(&rig);
}

static void bounds_of_checkouts_hold(void **state)
{
	struct store_config config = {.fetch_timeout_ms = TIMEOUT_MS, .max_repo_bytes = 64 << 20};
	const struct {
		int64_t files, bytes;
		int result;
	} rows[] = {
		{12, 1 << 20, 0}, {11, 1 << 20, REFUSED}, {100, 70100, 0}, {100, 70000, REFUSED}};
	char path[PATH_MAX];

	(void)state;
	make_repo("bounds");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rig rig = {0};
		struct store_base base;
		struct err err = {0};
		const char *checkout_path;

		arena_init(&rig.arena, 1 << 20);
		(void)snprintf(path, sizeof(path), "%s/store-bounds-%zu", fixture_dir, i);
		config.path = path;
		config.max_checkout_files = rows[i].files;
		config.max_checkout_bytes = rows[i].bytes;
		OK(store_open(&rig.store, &config, &err));
		rig_source(&rig, "bounds");
		FETCH_OK(&rig, "v1", &base);
		assert_int_equal(store_checkout(rig.store, &rig.source, &base.tree, &rig.arena,
						&checkout_path, &rig.reason, &rig.err),
				 rows[i].result);
		if (rows[i].result == REFUSED)
			assert_int_equal(rig.reason.code, REASON_SOURCE_LIMIT);
		rig_close(&rig);
	}
}

/* --- crashes ----------------------------------------------------------- */

static void build_for_ever(void *ctx)
{
	const struct oid *tree = ctx;
	const char *path;
	struct rig rig;

	rig_open(&rig, "store-crash");
	rig_source(&rig, "crash");
	(void)!store_checkout(rig.store, &rig.source, tree, &rig.arena, &path, &rig.reason,
			      &rig.err);
}

/* Kills a builder as soon as its directory holds a file, again and again;
 * whoever opens the store next cleans up, and builds what was not finished. */
static void killed_builders_leave_nothing(void **state)
{
	struct store_base base;
	struct rig rig;
	int killed = 0;

	(void)state;
	sh("git init -q -b main crash && cd crash && for i in $(seq 1500); do "
	   "echo $i >f$i; done && git add . && git commit -q -m x");
	rig_open(&rig, "store-crash");
	rig_source(&rig, "crash");
	FETCH_OK(&rig, "main", &base);
	for (int i = 0; i < 3; i++) {
		char line[256] = "";
		pid_t pid = spawn(build_for_ever, &base.tree);

		while (line[0] == '\0' && !store_has_checkout(rig.store, &base.tree))
			sh_line(line, sizeof(line), "ls store-crash/tmp/*/f1 2>/dev/null || true");
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		sh_line(line, sizeof(line), "ls store-crash/tmp");
		killed += line[0] != '\0';
		if (store_has_checkout(rig.store, &base.tree))
			sh("rm -rf store-crash/checkouts/*");
		rig_close(&rig);
		rig_open(&rig, "store-crash");
		rig_source(&rig, "crash");
		sh("test -z \"$(ls store-crash/tmp)\"");
		assert_false(store_has_checkout(rig.store, &base.tree));
	}
	assert_true(killed > 0);
	sh("test $(ls '%s' | wc -l) = 1500", checkout(&rig, &base.tree));
	rig_close(&rig);
}

/* Opening a store does not touch what another process is building. */
static void live_builders_are_left_alone(void **state)
{
	struct rig rig;
	int fd;

	(void)state;
	rig_open(&rig, "store-live");
	sh("mkdir -p store-live/tmp/build-live/x store-live/tmp/build-dead/x && "
	   "touch store-live/tmp/build-live/x/y store-live/tmp/build-dead/x/y");
	fd = open("store-live/tmp/build-live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	rig_close(&rig);
	rig_open(&rig, "store-live");
	sh("test -e store-live/tmp/build-live/x/y && test ! -e store-live/tmp/build-dead");
	(void)close(fd);
	rig_close(&rig);
}

static void a_fetch_that_hangs_is_a_fault(void **state)
{
	struct store_config config = {.fetch_timeout_ms = 300,
				      .max_repo_bytes = 64 << 20,
				      .max_checkout_files = 100,
				      .max_checkout_bytes = 64 << 20};
	char path[PATH_MAX];
	struct rig rig = {0};
	struct err err = {0};
	struct store_base base;
	int64_t start_us;
	int lock;

	(void)state;
	make_repo("hang");
	arena_init(&rig.arena, 1 << 20);
	(void)snprintf(path, sizeof(path), "%s/store-hang", fixture_dir);
	config.path = path;
	OK(store_open(&rig.store, &config, &err));
	rig_source(&rig, "hang");
	(void)snprintf(path, sizeof(path), "store-hang/repos/%s.lock", rig.source.name);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(lock >= 0);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	start_us = clock_mono_us();
	assert_int_equal(fetch(&rig, "main", &base), -1);
	assert_int_equal(rig.err.kind, ERR_TIMEOUT);
	assert_in_range(clock_mono_us() - start_us, 300 * 1000, 5000 * 1000);
	(void)close(lock);
	FETCH_OK(&rig, "main", &base);
	rig_close(&rig);
}

/* --- settling ---------------------------------------------------------- */

static void jobs_are_settled(void **state)
{
	static const char *const jobs[] = {"job-1", "a.b", "..", ".x", "y.lock", "z.", "-"};
	struct gitdb_edit edit = {.path = "dir/new", .mode = MODE_FILE};
	struct store_outcome made, empty;
	struct store_base base, older;
	struct gitdb *db = NULL;
	struct oid tree, commit, got;
	struct err err = {0};
	struct buf stream;
	const char *repo;
	struct rig rig;

	(void)state;
	make_repo("settle");
	rig_open(&rig, "store-settle");
	rig_source(&rig, "settle");
	FETCH_OK(&rig, "main", &base);
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	OK(gitdb_open(repo, GITDB_QUARANTINE, &db, &err));
	OK(gitdb_blob_write(db, (struct bytes){(const uint8_t *)"x", 1}, &edit.oid, &err));
	OK(gitdb_tree_update(db, &base.tree, &edit, 1, &tree, &err));
	OK(gitdb_commit_write(db, &tree, &base.commit, "after_patch", 1, &commit, &err));
	buf_init(&stream, 1 << 20);
	OK(gitdb_export(db, &stream, &err));
	gitdb_close(db);
	made = (struct store_outcome){
		.base = base.commit, .keep = commit, .objects = buf_bytes(&stream)};
	empty = (struct store_outcome){.base = base.commit, .keep = commit};
	/* A commit that did not come along is no snapshot, and no ref is set. */
	FAILS(store_settle(rig.store, &rig.source, "early", &empty, &err), ERR_INPUT);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		OK(store_settle(rig.store, &rig.source, jobs[i], &made, &err));
		OK(store_settle(rig.store, &rig.source, jobs[i], &made, &err));
		OK(gitdb_open(repo, GITDB_READ, &db, &err));
		OK(gitdb_ref_get(db, store_job_ref(&rig.arena, jobs[i]), &got, &err));
		ASSERT_OID(&got, &commit);
		gitdb_close(db);
	}
	/* Not even when another job has brought it, or it is a commit of the source. */
	FAILS(store_settle(rig.store, &rig.source, "early", &empty, &err), ERR_INPUT);
	FETCH_OK(&rig, "v2", &older);
	made.keep = older.commit;
	FAILS(store_settle(rig.store, &rig.source, "early", &made, &err), ERR_INPUT);
	empty.keep = base.commit;
	OK(store_settle(rig.store, &rig.source, "job-1", &empty, &err));
	got = sh_oid("git -C %s rev-parse refs/sbx/job-1", repo);
	ASSERT_OID(&got, &base.commit);
	stream.data[stream.len / 2] ^= 1;
	made.keep = commit;
	made.objects.len--;
	assert_int_equal(store_settle(rig.store, &rig.source, "job-2", &made, &err), -1);
	sh("git -C %s for-each-ref refs/sbx | (! grep 'job-2\\|early')", repo);
	assert_fsck(repo);
	buf_release(&stream);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_are_fetched_by_every_name),
		cmocka_unit_test(a_branch_that_moves_is_followed),
		cmocka_unit_test(every_kind_of_repository_is_a_source),
		cmocka_unit_test(sources_that_lead_elsewhere_are_refused),
		cmocka_unit_test(corrupt_and_strange_sources_cost_one_error),
		cmocka_unit_test(hostile_trees_are_refused),
		cmocka_unit_test(large_sources_are_stopped),
		cmocka_unit_test(a_bundle_is_a_source),
		cmocka_unit_test(contenders_do_the_work_once),
		cmocka_unit_test(checkouts_equal_the_tree),
		cmocka_unit_test(bounds_of_checkouts_hold),
		cmocka_unit_test(killed_builders_leave_nothing),
		cmocka_unit_test(live_builders_are_left_alone),
		cmocka_unit_test(a_fetch_that_hangs_is_a_fault),
		cmocka_unit_test(jobs_are_settled),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
