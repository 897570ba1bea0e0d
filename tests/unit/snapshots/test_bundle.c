/*
 * test_bundle.c - bundles that come with a job: the commit is what git has, and
 * nothing of what other jobs have sent can be had through one.
 */
#include "tests/unit/snapshots/store_rig.h"

#include "base/fd.h"

/* --- helpers ------------------------------------------------------------- */

static int put(struct rig *rig, const char *bundle, const char *commit, struct store_base *ret)
{
	CLEANUP(buf_release) struct buf content = {0};
	struct job_source source = {.commit = commit};
	char path[PATH_MAX];
	struct err err = {0};

	(void)snprintf(path, sizeof(path), "%s/%s", fixture_dir, bundle);
	OK(fd_read_file(path, 8 << 20, &content, &err));
	source.bundle = buf_bytes(&content);
	rig->reason = (struct reason){0};
	rig->err = (struct err){0};
	return store_bundle(rig->store, &source, ret, &rig->reason, &rig->err);
}

#define PUT_OK(rig, bundle, commit, base)                                                          \
	do {                                                                                       \
		if (put((rig), (bundle), (commit), (base)) != 0)                                   \
			fail_msg("%s: %s%s", (bundle), (rig)->reason.message, (rig)->err.message); \
	} while (0)

#define PUT_REFUSED(rig, bundle, commit, base, reason_code)                                        \
	do {                                                                                       \
		int got = put((rig), (bundle), (commit), (base));                                  \
		if (got != REFUSED || (rig)->reason.code != (reason_code))                         \
			fail_msg("%s %s: %d %s%s", (bundle), (commit), got, (rig)->reason.message, \
				 (rig)->err.message);                                              \
	} while (0)

static void open_files(struct rig *rig, const char *name)
{
	rig_open(rig, name);
	rig->source = source_of_files();
}

/* --- what it is ------------------------------------------------------------ */

static void a_commit_comes_with_the_job(void **state)
{
	struct store_base base, again;
	struct oid want;
	const char *path;
	struct rig rig;
	char hex[OID_HEX_BYTES];

	(void)state;
	sh("git init -q -b main good && cd good && mkdir dir && echo 1 >dir/f && ln -s dir l && "
	   "git add . && git commit -q -m 1 && git tag -a -m x v1 && echo 2 >g && git add . && "
	   "git commit -q -m 2 && git bundle create -q ../good.bundle --all 2>/dev/null");
	open_files(&rig, "store-good");
	want = sh_oid("git -C good rev-parse main");
	PUT_OK(&rig, "good.bundle", "main", &base);
	ASSERT_OID(&base.commit, &want);
	path = checkout(&rig, &base.tree);
	sh("diff -r --no-dereference -x .git good %s", path);
	oid_hex(&want, hex);
	PUT_OK(&rig, "good.bundle", hex, &again);
	ASSERT_OID(&again.tree, &base.tree);
	want = sh_oid("git -C good rev-parse v1^{commit}");
	PUT_OK(&rig, "good.bundle", "v1", &base);
	ASSERT_OID(&base.commit, &want);
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	/* It is a base as any other. */
	(void)settle(&rig, &base, "job");
	rig_close(&rig);
	sh("test -z \"$(ls store-good/tmp)\"");
}

static void what_is_damaged_is_refused(void **state)
{
	struct store_base base;
	struct rig rig;

	(void)state;
	sh("cd good && git bundle create -q ../part.bundle main~1..main 2>/dev/null && cd .. && "
	   "head -c 300 good.bundle >cut.bundle && echo text >text.bundle && "
	   "(head -c 250 good.bundle && head -c 40 /dev/urandom && "
	   "tail -c +291 good.bundle) >bent.bundle");
	open_files(&rig, "store-damaged");
	PUT_REFUSED(&rig, "good.bundle", "none", &base, REASON_SOURCE_NO_COMMIT);
	PUT_REFUSED(&rig, "good.bundle", "main~1", &base, REASON_SOURCE_NO_COMMIT);
	PUT_REFUSED(&rig, "part.bundle", "main", &base, REASON_SOURCE_UNSUPPORTED);
	PUT_REFUSED(&rig, "cut.bundle", "main", &base, REASON_SOURCE_CORRUPT);
	PUT_REFUSED(&rig, "bent.bundle", "main", &base, REASON_SOURCE_CORRUPT);
	PUT_REFUSED(&rig, "text.bundle", "main", &base, REASON_SOURCE_CORRUPT);
	rig_close(&rig);
	sh("test -z \"$(ls store-damaged/tmp)\"");
}

/* --- what others have sent ------------------------------------------------- */

/* The victim's file is known by its oid, which is no secret; its content is. */
static void nothing_of_others_is_reached(void **state)
{
	struct store_base victim, base;
	char hex[OID_HEX_BYTES];
	struct rig rig;

	(void)state;
	sh("git init -q -b main victim && cd victim && seq 3000 >secret && git add . && "
	   "git commit -q -m x && git bundle create -q ../victim.bundle main 2>/dev/null");
	/* A tree that names the file without holding it. */
	sh("git clone -q victim thief 2>/dev/null && cd thief && b=$(git rev-parse HEAD:secret) && "
	   "t=$(printf '100644 blob %%s\\tmine\\n' $b | git mktree) && "
	   "c=$(git commit-tree -m x $t) && { printf '# v2 git bundle\\n%%s refs/heads/x\\n\\n' "
	   "$c; "
	   "printf '%%s\\n%%s\\n' $c $t | git pack-objects -q --stdout; } >../names.bundle");
	/* A file that is a delta of it: copying what it does not know. */
	sh("cd thief && echo more >>secret && git commit -q -a -m y && "
	   "c=$(git rev-parse HEAD) && "
	   "{ printf '# v2 git bundle\n%%s refs/heads/x\n\n' $c; "
	   "printf '%%s\n^origin/main\n' $c | git pack-objects -q --thin --revs --stdout; } "
	   ">../delta.bundle && test $(stat -c %%s ../delta.bundle) -lt 1000");
	open_files(&rig, "store-others");
	PUT_OK(&rig, "victim.bundle", "main", &victim);
	oid_hex(&victim.commit, hex);
	PUT_REFUSED(&rig, "good.bundle", hex, &base, REASON_SOURCE_NO_COMMIT);
	PUT_REFUSED(&rig, "names.bundle", "x", &base, REASON_SOURCE_CORRUPT);
	PUT_REFUSED(&rig, "delta.bundle", "x", &base, REASON_SOURCE_CORRUPT);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_comes_with_the_job),
		cmocka_unit_test(what_is_damaged_is_refused),
		cmocka_unit_test(nothing_of_others_is_reached),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
