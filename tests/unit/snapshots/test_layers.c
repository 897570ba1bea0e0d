/*
 * test_layers.c - checkouts that are layers over others: that overlayfs shows
 * the tree, when one is made, and that the checkout below stays.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <sys/stat.h>
#include <unistd.h>

/* --- helpers ----------------------------------------------------------- */

/* 300 files, so that others are near; each commit after the first starts there. */
static void make_repo(const char *name)
{
	sh("git init -q -b main %s && cd %s && mkdir -p a/b c/d/e many && "
	   "for i in $(seq 300); do echo $i >many/$i; done && echo text >a/text && echo t >a/b/t "
	   "&& "
	   "echo u >c/d/e/u && echo v >c/v && echo run >run && chmod +x run && ln -s run link && "
	   "git add . && git update-index --add --cacheinfo "
	   "160000,1111111111111111111111111111111111111111,sub && git commit -q -m base && "
	   "git tag base",
	   name, name);
}

static void change(const char *name, const char *tag, const char *commands)
{
	sh("cd %s && git checkout -q -f base && git clean -qfdx && { %s; } && "
	   "git commit -q -m %s && git tag %s",
	   name, commands, tag, tag);
}

static const char *check_out(struct rig *rig, const char *commit, struct oid *ret_tree)
{
	struct store_base base;

	FETCH_OK(rig, commit, &base);
	*ret_tree = base.tree;
	return checkout(rig, &base.tree);
}

/* A checkout that must be a layer; *ret_under is what it is over. */
static const char *layer(struct rig *rig, const char *commit, struct oid *ret_tree,
			 const char **ret_under)
{
	const char *path = check_out(rig, commit, ret_tree);

	if (!store_under(rig->store, ret_tree, &rig->arena, ret_under))
		fail_msg("%s is whole", commit);
	return path;
}

/* Whether overlayfs shows the same as a whole checkout of the tree has. */
static void assert_shows(const char *path, const char *under, const char *whole)
{
	sh("mkdir -p shown && unshare %s sh -euc '"
	   "mount -t overlay overlay -o lowerdir=%s:%s shown && "
	   "diff -r --no-dereference shown %s && "
	   "list() { (cd $1 && find . \\( -type d -printf \"%%p %%m\\n\" \\) -o "
	   "-printf \"%%p %%m %%l %%T@\\n\" | sort); } && "
	   "list shown >one && list %s >two && cmp one two && "
	   "test $(find shown -type f -printf \"%%i\\n\" | sort | uniq -d | wc -l) = 0'",
	   geteuid() == 0 ? "-m" : "-Urm", path, under, whole, whole);
}

/* --- what it shows ------------------------------------------------------ */

static const struct {
	const char *tag, *commands;
} changes[] = {
	{"edit", "echo new >a/text && chmod +x many/7 && git add ."},
	{"add", "mkdir -p n/m && echo n >n/m/f && echo x >a/b/x && echo y >y && git add ."},
	{"delete", "git rm -q a/b/t many/1 run && git add ."},
	{"dir-gone", "git rm -qr c && git add ."},
	{"file-to-dir", "git rm -q a/text && mkdir a/text && echo i >a/text/in && git add ."},
	{"dir-to-file", "git rm -qr c && echo c >c && git add ."},
	{"dir-to-link", "git rm -qr c/d && ln -s ../a c/d && git add ."},
	{"link-to-dir", "git rm -q link && mkdir link && echo l >link/l && git add ."},
	{"link", "ln -sf a/text link && git add ."},
	{"dir-to-sub", "git rm -qr c && git update-index --add --cacheinfo "
		       "160000,2222222222222222222222222222222222222222,c"},
	{"sub-to-dir", "git update-index --force-remove sub && rm -rf sub && mkdir sub && "
		       "echo s >sub/s && git add sub"},
	{"sub-moves", "git update-index --cacheinfo "
		      "160000,3333333333333333333333333333333333333333,sub && echo z >z && "
		      "git add z"},
	{"sub-gone", "git update-index --force-remove sub && git add many"},
	{"rename", "git mv a/text a/b/moved && git mv many/2 two && git add ."},
	{"copy", "cp many/3 three && cp a/text a/b/text && git add three a"},
};

static void overlayfs_shows_the_tree(void **state)
{
	const char *path, *under, *whole;
	struct rig layered, plain;
	struct oid tree;

	(void)state;
	make_repo("shows");
	for (size_t i = 0; i < ARRAY_LEN(changes); i++)
		change("shows", changes[i].tag, changes[i].commands);
	rig_open_with(&layered, "store-shows", true);
	rig_source(&layered, "shows");
	rig_open(&plain, "store-whole");
	rig_source(&plain, "shows");
	(void)check_out(&layered, "base", &tree);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		path = layer(&layered, changes[i].tag, &tree, &under);
		whole = check_out(&plain, changes[i].tag, &tree);
		assert_shows(path, under, whole);
		sh("test $(find %s | wc -l) -lt 12", path);
	}
	rig_close(&layered);
	rig_close(&plain);
}

/* --- when it is made ------------------------------------------------------ */

static void what_is_far_or_small_is_whole(void **state)
{
	const char *under;
	struct oid tree;
	struct rig rig;

	(void)state;
	make_repo("far");
	change("far", "near", "for i in $(seq 30); do echo x >many/$i; done; git add .");
	change("far", "far", "for i in $(seq 60); do echo x >many/$i; done; git add .");
	change("far", "near-far", "git checkout -q far && echo y >many/1 && git add .");
	sh("git init -q -b main small && cd small && echo 1 >a && git add . && git commit -q -m 1 "
	   "&& "
	   "git tag one && echo 2 >a && git add . && git commit -q -m 2 && git tag two");
	rig_open_with(&rig, "store-far", true);
	rig_source(&rig, "far");
	(void)check_out(&rig, "base", &tree);
	assert_false(store_under(rig.store, &tree, &rig.arena, &under));
	(void)layer(&rig, "near", &tree, &under);
	(void)check_out(&rig, "far", &tree);
	assert_false(store_under(rig.store, &tree, &rig.arena, &under));
	/* Over the one that is near, whichever was used last. */
	sh("touch store-far/checkouts/$(git -C far rev-parse base^{tree}).info");
	(void)layer(&rig, "near-far", &tree, &under);
	sh("test $(basename %s) = $(git -C far rev-parse far^{tree})", under);
	/* Another repository's checkouts are nothing to be over. */
	rig_source(&rig, "small");
	(void)check_out(&rig, "one", &tree);
	(void)check_out(&rig, "two", &tree);
	assert_false(store_under(rig.store, &tree, &rig.arena, &under));
	rig_close(&rig);
}

/* --- what is below stays --------------------------------------------------- */

static int64_t trim(struct rig *rig)
{
	const struct store_policy policy = {
		.max_bytes = 1, .recent_ms = 0, .keep_refs_ms = 1000000};
	struct store_upkept upkept;
	struct err err = {0};

	OK(store_upkeep(rig->store, &policy, &upkept, &err));
	return upkept.checkouts;
}

static void what_is_below_stays_as_long_as_the_layer(void **state)
{
	struct oid base, tree;
	const char *under;
	struct rig rig;
	int pin;

	(void)state;
	make_repo("stays");
	change("stays", "edit", "echo new >a/text && git add .");
	rig_open_with(&rig, "store-stays", true);
	rig_source(&rig, "stays");
	(void)check_out(&rig, "base", &base);
	(void)layer(&rig, "edit", &tree, &under);
	assert_int_equal(store_pin(rig.store, &tree, &pin), 0);
	/* The layer is in use, and so what is below is, though nobody holds that. */
	sh("touch -d @0 store-stays/checkouts/$(git -C stays rev-parse base^{tree}).info");
	assert_int_equal(trim(&rig), 0);
	assert_true(store_has_checkout(rig.store, &base));
	assert_true(store_has_checkout(rig.store, &tree));
	(void)close(pin);
	assert_int_equal(trim(&rig), 2);
	assert_false(store_has_checkout(rig.store, &base));
	assert_false(store_has_checkout(rig.store, &tree));
	rig_close(&rig);
}

static void a_layer_over_nothing_is_made_anew(void **state)
{
	const char *path, *under;
	struct oid base, tree;
	struct rig rig;

	(void)state;
	make_repo("lost");
	change("lost", "edit", "echo new >a/text && git add .");
	rig_open_with(&rig, "store-lost", true);
	rig_source(&rig, "lost");
	(void)check_out(&rig, "base", &base);
	(void)layer(&rig, "edit", &tree, &under);
	sh("rm -r %s %s.info", under, under);
	assert_false(store_has_checkout(rig.store, &tree));
	path = check_out(&rig, "edit", &tree);
	assert_true(store_has_checkout(rig.store, &tree));
	assert_false(store_under(rig.store, &tree, &rig.arena, &under));
	sh("cd %s && test $(cat a/text) = new && test $(ls many | wc -l) = 300", path);
	/* Now it is the one that others are over. */
	path = layer(&rig, "base", &base, &under);
	sh("cd %s && test $(cat a/text) = text && test ! -e many", path);
	rig_close(&rig);
}

/* --- several processes ------------------------------------------------------- */

/* Whether a layer that is pinned has all that it needs, for a while. */
static bool stays_whole(struct rig *rig, const struct oid *tree)
{
	const char *under;
	char path[PATH_MAX];

	if (!store_under(rig->store, tree, &rig->arena, &under))
		return true;
	(void)snprintf(path, sizeof(path), "%s/many/300", under);
	for (int i = 0; i < 200; i++) {
		if (access(path, R_OK) != 0)
			return false;
	}
	return true;
}

/* A child that fails says so by its exit: it must not go on as a test. */
static void use_and_check(int which)
{
	static const char *const tags[] = {"base", "one", "two"};
	int layered = 0;

	for (int i = 0; i < 60 || layered < 5; i++) {
		struct store_base base;
		const char *path, *under;
		struct rig rig;
		int pin;

		rig_open_with(&rig, "store-race", true);
		rig_source(&rig, "race");
		if (i > 2000 || fetch(&rig, tags[(i + which) % 3], &base) != 0)
			_exit(3);
		if (store_checkout(rig.store, &rig.source, &base.tree, &rig.arena, &path,
				   &rig.reason, &rig.err) != 0)
			_exit(4);
		if (store_pin(rig.store, &base.tree, &pin) == 0) {
			layered += store_under(rig.store, &base.tree, &rig.arena, &under);
			if (!stays_whole(&rig, &base.tree))
				_exit(6);
			(void)close(pin);
		}
		rig_close(&rig);
	}
}

static void layers_and_eviction_go_together(void **state)
{
	(void)state;
	make_repo("race");
	change("race", "one", "echo new >a/text && git add .");
	change("race", "two", "git rm -q run && git add .");
	race_eviction(use_and_check, true);
}

/* --- verification ----------------------------------------------------------- */

static int64_t damaged(struct rig *rig, enum store_depth depth)
{
	struct store_verified found;
	struct err err = {0};

	OK(store_verify(rig->store, depth, NULL, NULL, &found, &err));
	return found.damaged;
}

static const struct {
	const char *damage;
	enum store_depth depth;
} damages[] = {
	{"echo evil >a/text", STORE_LOOK},
	{"rm a/b/t", STORE_LOOK},
	{"echo more >a/more", STORE_LOOK},
	{"rm a/b/t && mknod a/b/t p && touch -h -d @946684800 a/b/t a/b", STORE_LOOK},
	{"rm a/b/t && : >a/b/t && touch -d @946684800 a/b/t a/b", STORE_READ},
	{"printf 'NEW\\n' >a/text && touch -d @946684800 a/text", STORE_READ},
};

static void a_changed_layer_is_found(void **state)
{
	const char *path, *under;
	struct oid base, tree;
	struct rig rig;

	(void)state;
	make_repo("verify");
	change("verify", "edit",
	       "echo new >a/text && git rm -q a/b/t && mkdir -p a/b && echo k >a/b/k && git add .");
	rig_open_with(&rig, "store-verify", true);
	rig_source(&rig, "verify");
	(void)check_out(&rig, "base", &base);
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		path = layer(&rig, "edit", &tree, &under);
		assert_int_equal(damaged(&rig, STORE_READ), 0);
		sh("cd %s && %s", path, damages[i].damage);
		if (damages[i].depth == STORE_READ)
			assert_int_equal(damaged(&rig, STORE_LOOK), 0);
		if (damaged(&rig, damages[i].depth) != 1)
			fail_msg("not found: %s", damages[i].damage);
		assert_false(store_has_checkout(rig.store, &tree));
		assert_true(store_has_checkout(rig.store, &base));
	}
	/* What is below was changed: neither is there any more, nor after the next look. */
	(void)layer(&rig, "edit", &tree, &under);
	sh("echo evil >%s/run", under);
	assert_in_range(damaged(&rig, STORE_LOOK), 2, 3); /* the blob too, by the same inode */
	assert_false(store_has_checkout(rig.store, &tree));
	assert_false(store_has_checkout(rig.store, &base));
	(void)damaged(&rig, STORE_LOOK);
	assert_int_equal(damaged(&rig, STORE_READ), 0);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overlayfs_shows_the_tree),
		cmocka_unit_test(what_is_far_or_small_is_whole),
		cmocka_unit_test(what_is_below_stays_as_long_as_the_layer),
		cmocka_unit_test(a_layer_over_nothing_is_made_anew),
		cmocka_unit_test(layers_and_eviction_go_together),
		cmocka_unit_test(a_changed_layer_is_found),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
