/*
 * test_upkeep_crash.c - upkeep that is killed, and several workers on one store.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

/* Whatever point it has come to: refs lead to what they led to, and the next one
 * tidies up after it. */
static void a_killed_upkeep_loses_nothing(void **state)
{
	enum { ROUNDS = 40, JOBS = 40, PAUSE_MAX_US = 25000 };
	struct store_policy policy = ROOMY;
	struct oid commits[JOBS];
	struct store_base base;
	const char *repo;
	struct rig rig;
	unsigned killed = 0;
	char job[32];

	(void)state;
	make_commits("killed");
	rig_open(&rig, "store-killed");
	rig_source(&rig, "killed");
	base = base_of(&rig, "c1");
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	policy.keep_refs_ms = 24LL * 3600 * 1000;
	for (int i = 0; i < JOBS; i++) {
		(void)snprintf(job, sizeof(job), "job-%d", i);
		commits[i] = settle(&rig, &base, job);
	}
	for (int round = 0; round < ROUNDS; round++) {
		struct timespec pause = {.tv_nsec = (long)random_below(PAUSE_MAX_US) * 1000};
		int status;
		pid_t pid;

		(void)snprintf(job, sizeof(job), "old-%d", round);
		(void)settle(&rig, &base, job);
		sh("touch -d '2 days ago' '%s'/refs/sbx/old-*", repo);
		(void)fflush(NULL);
		pid = fork();
		if (pid == 0) {
			(void)upkeep(&rig, &policy);
			_exit(0);
		}
		(void)nanosleep(&pause, NULL);
		(void)kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		killed += WIFSIGNALED(status);
		(void)snprintf(job, sizeof(job), "job-%d", round % JOBS);
		commits[round % JOBS] = settle(&rig, &base, job);
		assert_fsck(repo);
	}
	assert_true(killed > ROUNDS / 8);
	for (int i = 0; i < JOBS; i++) {
		struct oid found = sh_oid("git -C '%s' rev-parse refs/sbx/job-%d", repo, i);

		ASSERT_OID(&found, &commits[i]);
	}
	sh("touch -d '2 days ago' '%s'/refs/sbx/job-0", repo);
	assert_int_equal(upkeep(&rig, &policy).repos, 1);
	sh("cd '%s/objects' && test $(find [0-9a-f]* -type f | wc -l) = 0 && "
	   "test $(ls pack | wc -l) = 2 && test $(ls pack/*.pack pack/*.idx | wc -l) = 2",
	   repo);
	sh("test -z \"$(ls store-killed/tmp)\"");
	assert_fsck(repo);
	rig_close(&rig);
}

/* Two workers, each with its storekeeper, fetch, build, settle and tidy one store. */
static void work_as_a_worker(int number, const char *const *tags, size_t len)
{
	struct store_policy policy = ROOMY;
	struct rig rig;
	char job[32];

	rig_open(&rig, "store-workers");
	rig_source(&rig, "workers");
	policy.max_bytes = 150000; /* about one checkout: they take it from each other */
	for (int i = 0; i < 30; i++) {
		struct store_base base;
		struct oid commit;
		const char *path;
		struct store_upkept upkept;

		if (fetch(&rig, tags[(size_t)(i + number) % len], &base) != 0)
			_exit(3);
		if (store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path,
				   &rig.reason, &rig.err) != 0)
			_exit(4);
		(void)snprintf(job, sizeof(job), "job-%d-%d", number, i);
		if (try_settle(&rig, &base, job, &commit) != 0)
			_exit(5);
		if (i % 5 == number && store_upkeep(rig.store, &policy, &upkept, &rig.err) < 0)
			_exit(6);
	}
	_exit(0);
}

static void workers_share_a_store(void **state)
{
	enum { WORKERS = 3 };
	static const char *const tags[] = {"c1", "c2", "c3"};
	struct store_verified verified;
	pid_t workers[WORKERS];
	const char *repo;
	struct rig rig;
	struct err err = {0};

	(void)state;
	make_commits("workers");
	(void)fflush(NULL);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		if (workers[i] == 0)
			work_as_a_worker(i, tags, ARRAY_LEN(tags));
	}
	for (int i = 0; i < WORKERS; i++) {
		int status;

		assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
		assert_int_equal(status, 0);
	}
	rig_open(&rig, "store-workers");
	rig_source(&rig, "workers");
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	assert_fsck(repo);
	sh("test $(git -C '%s' for-each-ref refs/sbx | wc -l) = 90", repo);
	OK(store_verify(rig.store, STORE_READ, NULL, NULL, &verified, &err));
	assert_int_equal(verified.damaged, 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_upkeep_loses_nothing),
		cmocka_unit_test(workers_share_a_store),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
