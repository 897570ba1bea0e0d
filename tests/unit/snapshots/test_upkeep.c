/*
 * test_upkeep.c - verifying, evicting, and several processes at it at once.
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

/* --- helpers ----------------------------------------------------------- */

static const char *check_out(struct rig *rig, const char *commit)
{
	struct store_base base = base_of(rig, commit);

	return checkout(rig, &base.tree);
}

static void used_ago(struct rig *rig, const char *commit, int seconds)
{
	struct store_base base = base_of(rig, commit);
	char hex[OID_HEX_BYTES];

	oid_hex(&base.tree, hex);
	sh("touch -d '%d seconds ago' '%s'/checkouts/%s.info", seconds, rig->path, hex);
}

static int told;
static char last[ERR_MESSAGE_BYTES];

static void on_tell(void *ctx, const char *what)
{
	(void)ctx;
	told++;
	(void)snprintf(last, sizeof(last), "%s", what);
}

static struct store_verified verify(struct rig *rig, enum store_depth depth)
{
	struct store_verified found;
	struct err err = {0};

	told = 0;
	last[0] = '\0';
	OK(store_verify(rig->store, depth, on_tell, NULL, &found, &err));
	return found;
}

/* --- verifying --------------------------------------------------------- */

static void an_untouched_store_verifies(void **state)
{
	struct store_verified found;
	struct rig rig;

	(void)state;
	make_commits("sound");
	sh("cd sound && git update-index --add --cacheinfo "
	   "160000,1111111111111111111111111111111111111111,module && : >empty && "
	   "cp dir/common dir/twin && git add dir/twin empty && git commit -q -m odd && "
	   "git tag odd");
	rig_open(&rig, "store-sound");
	rig_source(&rig, "sound");
	(void)check_out(&rig, "c1");
	(void)check_out(&rig, "c2");
	(void)check_out(&rig, "odd");
	found = verify(&rig, STORE_LOOK);
	assert_int_equal(found.damaged, 0);
	assert_int_equal(found.checkouts, 3);
	found = verify(&rig, STORE_READ);
	if (found.damaged != 0)
		fail_msg("%s", last);
	assert_int_equal(found.checkouts, 3);
	assert_int_equal(found.files, 4 + 4 + 6);
	rig_close(&rig);
}

/* Each damage is found, and what is built anew is right. */
static void damage_is_found_and_repaired(void **state)
{
	static const struct {
		const char *what, *how;
		bool look_sees;
	} rows[] = {
		{"a shared file is written", "echo evil >>dir/common", true},
		{"a shared file is written, its time put back",
		 "sed -i -e 's/^x$/y/' -e 's/$//' dir/sub/x; touch -d @946684800 dir/sub/x dir/sub",
		 false},
		{"in place, its time put back",
		 "printf y | dd of=dir/sub/x conv=notrunc status=none; touch -d @946684800 "
		 "dir/sub/x",
		 false},
		{"a file is added", "echo new >dir/new", true},
		{"a file is added, times put back",
		 "echo new >dir/new; touch -d @946684800 dir/new dir", true},
		{"a file is removed", "rm dir/sub/x", true},
		{"a file is removed, times put back", "rm dir/sub/x; touch -d @946684800 dir/sub",
		 true},
		{"a mode changes", "chmod 600 run", true},
		{"a mode changes to another possible one", "chmod 644 run", true},
		{"a link is changed", "ln -sf y dir/sub/link", true},
		{"a link is changed, times put back",
		 "ln -sfn y dir/sub/link; touch -h -d @946684800 dir/sub/link dir/sub", false},
		{"a file is cut off", ": >dir/common; touch -d @946684800 dir/common", true},
		{"the info is cut off", ": >$INFO", true},
	};
	const char *path = NULL;
	struct rig rig;

	(void)state;
	make_commits("damage");
	rig_open(&rig, "store-damage");
	rig_source(&rig, "damage");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct store_verified found;

		path = check_out(&rig, "c1");
		(void)check_out(&rig, "c2");
		sh("cd '%s' && INFO='%s.info' && %s", path, path, rows[i].how);
		found = verify(&rig, STORE_LOOK);
		if ((found.damaged > 0) != rows[i].look_sees)
			fail_msg("%s: a look finds %d: %s", rows[i].what, (int)found.damaged, last);
		found = verify(&rig, STORE_READ);
		if ((found.damaged > 0) == rows[i].look_sees)
			fail_msg("%s: reading finds %d: %s", rows[i].what, (int)found.damaged,
				 last);
		path = check_out(&rig, "c1");
		sh("rm -rf clean && git clone -q --no-local damage clean && cd clean && "
		   "git checkout -q c1 && rm -rf .git && diff -r --no-dereference . '%s' && "
		   "test -x '%s/run' && test $(readlink '%s/dir/sub/link') = x",
		   path, path, path);
		found = verify(&rig, STORE_READ);
		if (found.damaged != 0)
			fail_msg("%s: not repaired: %s", rows[i].what, last);
	}
	rig_close(&rig);
}

static void a_corrupt_object_is_reported(void **state)
{
	struct store_verified found;
	struct rig rig;

	(void)state;
	make_commits("decay");
	rig_open(&rig, "store-decay");
	rig_source(&rig, "decay");
	(void)check_out(&rig, "c1");
	assert_true(verify(&rig, STORE_READ).objects >= 7);
	/* One blob in the place of another: a sound object under a wrong name. */
	sh("d=$PWD/decay && o() { git -C $d rev-parse $1 | sed 's,^..,&/,'; } && "
	   "cd store-decay/repos/*.git/objects && chmod u+w $(o c1:run) && "
	   "cat $(o c1:dir/sub/x) >$(o c1:run)");
	assert_int_equal(verify(&rig, STORE_LOOK).damaged, 0);
	found = verify(&rig, STORE_READ);
	assert_int_equal(found.damaged, 1);
	assert_non_null(strstr(last, "is corrupt"));
	rig_close(&rig);
}

static void a_damaged_checkout_in_use_loses_its_name(void **state)
{
	struct store_base base;
	struct rig rig;
	const char *path;
	int pin, again;

	(void)state;
	make_commits("inuse");
	rig_open(&rig, "store-inuse");
	rig_source(&rig, "inuse");
	base = base_of(&rig, "c1");
	path = checkout(&rig, &base.tree);
	assert_int_equal(store_pin(rig.store, &base.tree, &pin), 0);
	sh("echo evil >'%s/run'", path);
	assert_int_equal(verify(&rig, STORE_LOOK).damaged, 2);
	assert_false(store_has_checkout(rig.store, &base.tree));
	assert_int_equal(store_pin(rig.store, &base.tree, &again), 1);
	/* The holder still has it; a new one is good. */
	assert_int_equal(faccessat(pin, "run", F_OK, 0), 0);
	path = checkout(&rig, &base.tree);
	sh("test $(cat '%s/run') = run", path);
	(void)upkeep(&rig, &ROOMY);
	assert_int_equal(faccessat(pin, "run", F_OK, 0), 0);
	(void)close(pin);
	(void)upkeep(&rig, &ROOMY);
	sh("test -z \"$(ls store-inuse/tmp)\"");
	rig_close(&rig);
}

/* --- evicting ---------------------------------------------------------- */

static void the_least_recently_used_goes_first(void **state)
{
	struct store_policy policy = ROOMY;
	struct store_upkept upkept;
	struct store_base c1, c2, c3;
	struct rig rig;
	int64_t all;

	(void)state;
	make_commits("lru");
	rig_open(&rig, "store-lru");
	rig_source(&rig, "lru");
	(void)check_out(&rig, "c1");
	(void)check_out(&rig, "c2");
	(void)check_out(&rig, "c3");
	c1 = base_of(&rig, "c1");
	c2 = base_of(&rig, "c2");
	c3 = base_of(&rig, "c3");
	used_ago(&rig, "c1", 100);
	used_ago(&rig, "c2", 300);
	used_ago(&rig, "c3", 200);
	upkept = upkeep(&rig, &policy);
	assert_int_equal(upkept.checkouts + upkept.blobs, 0);
	all = upkept.bytes;
	/* Common blobs count once: three times 40 kB, once 60 kB. */
	assert_in_range(all, 180000, 260000);
	policy.max_bytes = all - 1;
	upkept = upkeep(&rig, &policy);
	assert_int_equal(upkept.checkouts, 1);
	assert_int_equal(upkept.blobs, 1);
	assert_in_range(all - upkept.bytes, 40000, 70000);
	assert_false(store_has_checkout(rig.store, &c2.tree));
	/* Asking for one makes it young. */
	(void)checkout(&rig, &c3.tree);
	policy.max_bytes = upkept.bytes - 1;
	upkept = upkeep(&rig, &policy);
	assert_int_equal(upkept.checkouts, 1);
	assert_true(store_has_checkout(rig.store, &c3.tree));
	assert_false(store_has_checkout(rig.store, &c1.tree));
	/* What was evicted comes back. */
	sh("test $(cat '%s/run') = run", checkout(&rig, &c2.tree));
	assert_int_equal(verify(&rig, STORE_READ).damaged, 0);
	rig_close(&rig);
}

static void what_is_used_stays(void **state)
{
	struct store_policy policy = {.max_bytes = 1, .recent_ms = 60000, .keep_refs_ms = 1 << 30};
	struct store_base c1, c2;
	struct rig rig;
	int pin;

	(void)state;
	make_commits("used");
	rig_open(&rig, "store-used");
	rig_source(&rig, "used");
	c1 = base_of(&rig, "c1");
	c2 = base_of(&rig, "c2");
	(void)checkout(&rig, &c1.tree);
	(void)checkout(&rig, &c2.tree);
	used_ago(&rig, "c1", 1000);
	used_ago(&rig, "c2", 1000);
	assert_int_equal(store_pin(rig.store, &c1.tree, &pin), 0);
	assert_int_equal(upkeep(&rig, &policy).checkouts, 1);
	assert_true(store_has_checkout(rig.store, &c1.tree));
	assert_false(store_has_checkout(rig.store, &c2.tree));
	(void)close(pin);
	/* Just used, though nobody holds it. */
	(void)checkout(&rig, &c1.tree);
	assert_int_equal(upkeep(&rig, &policy).checkouts, 0);
	used_ago(&rig, "c1", 1000);
	assert_int_equal(upkeep(&rig, &policy).checkouts, 1);
	sh("test -z \"$(find store-used/checkouts store-used/blobs -type f)\"");
	rig_close(&rig);
}

static void what_crashes_left_goes(void **state)
{
	struct rig rig;

	(void)state;
	make_commits("orphans");
	rig_open(&rig, "store-orphans");
	rig_source(&rig, "orphans");
	(void)check_out(&rig, "c1");
	sh("cd store-orphans && t=0123456789012345678901234567890123456789 && "
	   "echo x >checkouts/$t.info && : >checkouts/$t.lock && mkdir -p tmp/build-x/y && "
	   "touch -d '1 hour ago' checkouts/$t.*");
	(void)upkeep(&rig, &ROOMY);
	sh("cd store-orphans && test -z \"$(ls tmp)\" && test $(ls checkouts | wc -l) = 2");
	rig_close(&rig);
}

/* --- repositories ------------------------------------------------------ */

static void loose_objects_become_one_pack(void **state)
{
	struct store_base base;
	const char *repo;
	struct rig rig;
	char job[32];

	(void)state;
	make_commits("pack");
	rig_open(&rig, "store-pack");
	rig_source(&rig, "pack");
	base = base_of(&rig, "c1");
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	assert_int_equal(upkeep(&rig, &ROOMY).repos, 0);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(job, sizeof(job), "job-%d", i);
		(void)settle(&rig, &base, job);
	}
	sh("test $(find '%s'/objects/[0-9a-f]* -type f | wc -l) -gt 1000", repo);
	assert_int_equal(upkeep(&rig, &ROOMY).repos, 1);
	sh("cd '%s/objects' && test $(find [0-9a-f]* -type f | wc -l) = 0 && test $(ls pack/*.pack "
	   "| wc "
	   "-l) = 1",
	   repo);
	sh("git -C '%s' for-each-ref refs/sbx | wc -l | grep -qx 300 && "
	   "test \"$(git -C '%s' show refs/sbx/job-77:dir/job)\" = job-77",
	   repo, repo);
	assert_fsck(repo);
	assert_int_equal(upkeep(&rig, &ROOMY).repos, 0);
	/* The base and its neighbours are usable as before. */
	(void)settle(&rig, &base, "after");
	(void)check_out(&rig, "c1");
	(void)check_out(&rig, "c2");
	assert_fsck(repo);
	rig_close(&rig);
}

static void old_refs_go_with_what_only_they_need(void **state)
{
	struct store_policy policy = ROOMY;
	struct store_base c1, c2;
	struct oid kept, gone;
	char hex[OID_HEX_BYTES];
	struct gitdb *db = NULL;
	struct err err = {0};
	const char *repo;
	struct rig rig;

	(void)state;
	make_commits("expire");
	rig_open(&rig, "store-expire");
	rig_source(&rig, "expire");
	c1 = base_of(&rig, "c1");
	c2 = base_of(&rig, "c2");
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	gone = settle(&rig, &c2, "old");
	kept = settle(&rig, &c1, "young");
	policy.keep_refs_ms = 24LL * 3600 * 1000;
	assert_int_equal(upkeep(&rig, &policy).refs, 0);
	oid_hex(&c2.commit, hex);
	sh("cd '%s' && touch -d '25 hours ago' refs/sbx/old refs/sbx-base/*", repo);
	/* A base that is asked for is young again. */
	FETCH_OK(&rig, "c1", &c1);
	assert_int_equal(upkeep(&rig, &policy).refs, 2);
	sh("cd '%s' && test ! -e refs/sbx/old && test ! -e refs/sbx-base/%s && "
	   "! grep %s shallow && test $(wc -l <shallow) = 1",
	   repo, hex, hex);
	OK(gitdb_open(repo, GITDB_READ, &db, &err));
	assert_true(gitdb_has(db, &kept));
	assert_true(gitdb_has(db, &c1.commit));
	assert_false(gitdb_has(db, &gone));
	assert_false(gitdb_has(db, &c2.commit));
	gitdb_close(db);
	assert_fsck(repo);
	/* What went comes back when it is asked for. */
	FETCH_OK(&rig, "c2", &c2);
	(void)check_out(&rig, "c2");
	(void)settle(&rig, &c2, "again");
	assert_fsck(repo);
	rig_close(&rig);
}

static void a_corrupt_repository_is_not_packed(void **state)
{
	struct store_policy policy = ROOMY;
	struct store_upkept upkept;
	struct store_base base;
	struct err err = {0};
	const char *repo;
	struct rig rig;

	(void)state;
	make_commits("torn");
	rig_open(&rig, "store-torn");
	rig_source(&rig, "torn");
	base = base_of(&rig, "c1");
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	(void)settle(&rig, &base, "one");
	(void)settle(&rig, &base, "old");
	sh("d=$PWD/torn && cd '%s' && touch -d '2 days ago' refs/sbx/old && "
	   "rm -f objects/$(git -C $d rev-parse c1:dir/sub | sed 's,^..,&/,') && "
	   "find objects -type f | wc -l >../../count",
	   repo);
	policy.keep_refs_ms = 24LL * 3600 * 1000;
	assert_int_equal(store_upkeep(rig.store, &policy, &upkept, &err), -1);
	sh("cd '%s' && test $(find objects -type f | wc -l) = $(cat ../../count)", repo);
	rig_close(&rig);
}

/* --- several processes ------------------------------------------------- */

static void only_one_does_the_upkeep(void **state)
{
	struct store_policy policy = {.max_bytes = 1, .recent_ms = 0, .keep_refs_ms = 1 << 30};
	struct rig rig;
	int lock;

	(void)state;
	make_commits("alone");
	rig_open(&rig, "store-alone");
	rig_source(&rig, "alone");
	(void)check_out(&rig, "c1");
	used_ago(&rig, "c1", 10);
	lock = open("store-alone/upkeep.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_int_equal(upkeep(&rig, &policy).checkouts, 0);
	(void)close(lock);
	assert_int_equal(upkeep(&rig, &policy).checkouts, 1);
	rig_close(&rig);
}

/* Builders and an evictor that wants nothing to stay, all at once. */
static void use_and_eviction(int round)
{
	static const char *const commits[] = {"c1", "c2", "c3"};
	struct rig rig;

	rig_open(&rig, "store-race");
	rig_source(&rig, "race");
	for (int i = 0; i < 60; i++) {
		char command[256];
		struct store_base base;
		const char *path;
		int pin;

		if (fetch(&rig, commits[(i + round) % 3], &base) != 0 ||
		    store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path,
				   &rig.reason, &rig.err) != 0)
			_exit(3);
		if (store_pin(rig.store, &base.tree, &pin) != 0)
			continue;
		(void)snprintf(command, sizeof(command),
			       "cd /proc/%d/fd/%d && test $(cat run) = run && "
			       "test $(cat dir/sub/link) = x",
			       (int)getpid(), pin);
		if (system(command) != 0)
			_exit(4);
		(void)close(pin);
	}
	rig_close(&rig);
}

static void use_and_eviction_go_together(void **state)
{
	(void)state;
	make_commits("race");
	race_eviction(use_and_eviction, false);
}

/* A child that fails says so by its exit: it must not go on as a test. */
static void settle_for_ever(void)
{
	struct store_base base;
	struct oid commit;
	struct rig rig;
	char job[32];

	rig_open(&rig, "store-gc");
	rig_source(&rig, "gc");
	for (unsigned i = 0;; i++) {
		/* The same objects again and again, so that many are there already. */
		(void)snprintf(job, sizeof(job), "job-%u", i % 40);
		if (fetch(&rig, i % 3 == 0 ? "c1" : "c2", &base) != 0)
			_exit(3);
		if (try_settle(&rig, &base, job, &commit) != 0 && rig.err.kind != ERR_NOT_FOUND)
			_exit(4);
	}
}

/* Refs come and go while everything is packed: no ref ever leads to nothing. */
static void settling_and_packing_go_together(void **state)
{
	enum { SETTLERS = 2 };
	struct store_policy policy = ROOMY;
	pid_t settlers[SETTLERS];
	const char *repo;
	struct rig rig;
	int64_t packed = 0;

	(void)state;
	make_commits("gc");
	rig_open(&rig, "store-gc");
	rig_source(&rig, "gc");
	(void)base_of(&rig, "c1");
	(void)base_of(&rig, "c2");
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	(void)fflush(NULL);
	for (int i = 0; i < SETTLERS; i++) {
		settlers[i] = fork();
		if (settlers[i] == 0)
			settle_for_ever();
	}
	policy.keep_refs_ms = 24LL * 3600 * 1000;
	for (int i = 0; i < 25; i++) {
		sh("cd '%s' && find refs/sbx -type f 2>/dev/null | shuf -n 9 "
		   "--random-source=/dev/zero | "
		   "xargs -r touch -c -d '2 days ago'",
		   repo);
		packed += upkeep(&rig, &policy).repos;
	}
	for (int i = 0; i < SETTLERS; i++) {
		int status;

		assert_int_equal(waitpid(settlers[i], &status, WNOHANG), 0);
		assert_int_equal(kill(settlers[i], SIGKILL), 0);
		assert_int_equal(waitpid(settlers[i], &status, 0), settlers[i]);
	}
	assert_in_range(packed, 20, 25);
	assert_fsck(repo);
	(void)upkeep(&rig, &policy);
	assert_fsck(repo);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_untouched_store_verifies),
		cmocka_unit_test(damage_is_found_and_repaired),
		cmocka_unit_test(a_corrupt_object_is_reported),
		cmocka_unit_test(a_damaged_checkout_in_use_loses_its_name),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(what_is_used_stays),
		cmocka_unit_test(what_crashes_left_goes),
		cmocka_unit_test(loose_objects_become_one_pack),
		cmocka_unit_test(old_refs_go_with_what_only_they_need),
		cmocka_unit_test(a_corrupt_repository_is_not_packed),
		cmocka_unit_test(settling_and_packing_go_together),
		cmocka_unit_test(only_one_does_the_upkeep),
		cmocka_unit_test(use_and_eviction_go_together),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
