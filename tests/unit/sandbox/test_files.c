/*
 * test_files.c - the workspace: what is written into it, what steps make of it,
 * and how that is found again.
 */
#include <dirent.h>
#include <sys/xattr.h>

#include "boxtest.h"

/* --- a checkout to stand on ------------------------------------------------------------- */

enum { LOWER_UID = 23456 };

struct checkout {
	char path[256];
	int fd;
	struct box_workspace workspace;
};

static void put(const struct checkout *checkout, const char *name, const char *content)
{
	struct err err = {0};
	int fd = openat(checkout->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, content, strlen(content), &err), 0);
	if (!boxtest_as_user)
		assert_int_equal(fchown(fd, LOWER_UID, LOWER_UID), 0);
	(void)close(fd);
}

static void put_dir(const struct checkout *checkout, const char *name)
{
	assert_int_equal(mkdirat(checkout->fd, name, 0755), 0);
	if (!boxtest_as_user)
		assert_int_equal(fchownat(checkout->fd, name, LOWER_UID, LOWER_UID, 0), 0);
}

static void put_link(const struct checkout *checkout, const char *target, const char *name)
{
	assert_int_equal(symlinkat(target, checkout->fd, name), 0);
	if (!boxtest_as_user)
		assert_int_equal(
			fchownat(checkout->fd, name, LOWER_UID, LOWER_UID, AT_SYMLINK_NOFOLLOW), 0);
}

static void checkout_make(struct checkout *checkout)
{
	const char *folder = getenv("TMPDIR");

	(void)snprintf(checkout->path, sizeof(checkout->path), "%s/sbx-unit-XXXXXX",
		       folder != NULL ? folder : "/tmp");
	assert_non_null(mkdtemp(checkout->path));
	if (!boxtest_as_user)
		assert_int_equal(chown(checkout->path, LOWER_UID, LOWER_UID), 0);
	checkout->fd = open(checkout->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(checkout->fd >= 0);
	checkout->workspace = (struct box_workspace){
		.lower_fd = checkout->fd, .lower_uid = LOWER_UID, .lower_gid = LOWER_UID};
	put(checkout, "kept", "kept\n");
	put(checkout, "changed", "old\n");
	put(checkout, "removed", "gone\n");
	put_dir(checkout, "dir");
	put(checkout, "dir/a", "a\n");
	put(checkout, "dir/b", "b\n");
	put_dir(checkout, "other");
	put(checkout, "other/deep", "deep\n");
	put_link(checkout, "kept", "link");
	put_link(checkout, "/etc", "away");
}

static void checkout_remove(struct checkout *checkout)
{
	static const char *const files[] = {"kept",  "changed",	   "removed", "dir/a",
					    "dir/b", "other/deep", "link",    "away"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		assert_int_equal(unlinkat(checkout->fd, files[i], 0), 0);
	assert_int_equal(unlinkat(checkout->fd, "dir", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(checkout->fd, "other", AT_REMOVEDIR), 0);
	(void)close(checkout->fd);
	assert_int_equal(rmdir(checkout->path), 0); /* and nothing else is in it */
}

/* --- what a walk says, as text -------------------------------------------------------------- */

/* Names come in the directory's order: a test wants them sorted. */
static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct seen {
	char *lines[4096];
	size_t len;
	size_t stop_after;
	bool copied; /* the workspace: this machine can't mount an overlay for us */
};

/* What a walk says of a checkout as it was made. All of it is in the layer of a
 * workspace that is a copy, and only there. */
static const char *const untouched[] = {
	"/: away changed dir kept link other removed",
	"away /etc",
	"changed 644 4 old",
	"dir/: a b",
	"dir/a 644 2 a",
	"dir/b 644 2 b",
	"kept 644 5 kept",
	"link kept",
	"other/: deep",
	"other/deep 644 5 deep",
	"removed 644 5 gone",
};

static bool is_in(const char *const *list, size_t len, const char *line)
{
	for (size_t i = 0; i < len; i++)
		if (strcmp(list[i], line) == 0)
			return true;
	return false;
}

static void see(struct seen *seen, const char *line)
{
	assert_true(seen->len < ARRAY_LEN(seen->lines));
	seen->lines[seen->len++] = strdup(line);
}

static int see_dir(void *ctx, const char *path, const char *const *names)
{
	struct seen *seen = ctx;
	const char *sorted[64];
	char line[8192];
	size_t len = 0, at;

	for (; names[len] != NULL && len < ARRAY_LEN(sorted); len++)
		sorted[len] = names[len];
	qsort(sorted, len, sizeof(sorted[0]), by_text);
	at = (size_t)snprintf(line, sizeof(line), "%s/:", path);
	for (size_t i = 0; i < len && at < sizeof(line) - 256; i++)
		at += (size_t)snprintf(line + at, sizeof(line) - at, " %s", sorted[i]);
	see(seen, line);
	return seen->stop_after != 0 && seen->len >= seen->stop_after;
}

static int see_entry(void *ctx, const char *path, enum driver_kind kind, uint32_t mode,
		     int64_t size, int fd, const char *target)
{
	struct seen *seen = ctx;
	char line[8192], content[64] = "";
	ssize_t n;

	if (kind == DRIVER_FILE) {
		n = read(fd, content, sizeof(content) - 1);
		assert_true(n >= 0);
		content[n] = '\0';
		content[strcspn(content, "\n")] = '\0';
		(void)snprintf(line, sizeof(line), "%s %o %lld %s", path, mode & 07777,
			       (long long)size, content);
	} else {
		(void)snprintf(line, sizeof(line), "%s %s", path,
			       kind == DRIVER_LINK ? target : "other");
	}
	see(seen, line);
	return seen->stop_after != 0 && seen->len >= seen->stop_after;
}

static int see_match(void *ctx, const char *path, int64_t size, int fd)
{
	return see_entry(ctx, path, DRIVER_FILE, 0, size, fd, NULL);
}

static void drop_untouched(struct seen *seen, const char *const *expected, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < seen->len; i++) {
		if (is_in(expected, len, seen->lines[i]) ||
		    !is_in(untouched, ARRAY_LEN(untouched), seen->lines[i]))
			seen->lines[kept++] = seen->lines[i];
		else
			free(seen->lines[i]);
	}
	seen->len = kept;
}

static void expect_seen(struct seen *seen, const char *const *expected, size_t len)
{
	if (seen->copied)
		drop_untouched(seen, expected, len);
	qsort(seen->lines, seen->len, sizeof(seen->lines[0]), by_text);
	for (size_t i = 0; i < seen->len || i < len; i++) {
		if (i >= len)
			fail_msg("unexpected: '%s'", seen->lines[i]);
		if (i >= seen->len)
			fail_msg("missing: '%s'", expected[i]);
		assert_string_equal(seen->lines[i], expected[i]);
	}
	for (size_t i = 0; i < seen->len; i++)
		free(seen->lines[i]);
	seen->len = 0;
}

static const struct driver_visitor visitor = {.dir = see_dir, .entry = see_entry};

static void walk_changes(struct boxtest *test, struct seen *seen)
{
	struct err err = {0};

	*seen = (struct seen){
		.copied = strcmp(boxtest_ok(test, "stat -f -c %T /work"), "overlayfs\n") != 0};
	if (driver_finish(&test->driver, &err) < 0 ||
	    driver_changes(&test->driver, &visitor, seen, &err) < 0)
		boxtest_fail("driver_changes", &err);
}

#define EXPECT_SEEN(seen, ...)                                \
	expect_seen(seen, (const char *const[]){__VA_ARGS__}, \
		    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* --- edits --------------------------------------------------------------------------------------
 */

static int edit(struct boxtest *test, const char *path, uint32_t mode, const char *content,
		struct err *err)
{
	struct driver_edit one = {
		.path = path, .mode = mode, .content = {(const uint8_t *)content, strlen(content)}};

	return driver_edit(&test->driver, &one, 1, err);
}

static void test_edits(void **state)
{
	const struct driver_edit edits[] = {
		{"changed", 0100644, {(const uint8_t *)"new\n", 4}},
		{"removed", 0, {NULL, 0}},
		{"dir/a", 0, {NULL, 0}},
		{"dir/b", 0, {NULL, 0}}, /* the last of its directory */
		{"new/deep/er", 0100755, {(const uint8_t *)"#!/bin/sh\necho run\n", 19}},
		{"newlink", 0120000, {(const uint8_t *)"../x", 4}},
		{"kept", 0120000, {(const uint8_t *)"changed", 7}},
		{"-n\n\xff\\", 0100644, {NULL, 0}},
	};
	struct checkout checkout;
	struct boxtest test;
	struct err err = {0};

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	if (driver_edit(&test.driver, edits, ARRAY_LEN(edits), &err) < 0)
		boxtest_fail("driver_edit", &err);
	assert_string_equal(boxtest_ok(&test, "cat changed; new/deep/er; readlink newlink kept; "
					      "ls -d dir removed 2>/dev/null; "
					      "stat -c '%a %U' changed new new/deep/er"),
			    "new\nrun\n../x\nchanged\n644 sbx\n755 sbx\n755 sbx\n");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

static void test_edit_conflicts(void **state)
{
	static const struct {
		const char *path;
		uint32_t mode;
		enum err_kind kind;
	} bad[] = {
		{"dir", 0100644, ERR_CONFLICT},	   {"kept/x", 0100644, ERR_CONFLICT},
		{"link/x", 0100644, ERR_CONFLICT}, {"away/x", 0100644, ERR_CONFLICT},
		{"nothing", 0, ERR_CONFLICT},	   {"dir", 0, ERR_CONFLICT},
		{"../x", 0100644, ERR_INPUT},	   {"/tmp/x", 0100644, ERR_INPUT},
		{"a/../b", 0100644, ERR_INPUT},	   {"a//b", 0100644, ERR_INPUT},
		{"./a", 0100644, ERR_INPUT},	   {"", 0100644, ERR_INPUT},
		{"x", 0100600, ERR_INPUT},	   {"d/", 0100644, ERR_INPUT},
	};
	struct checkout checkout;
	struct boxtest test;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};

		assert_int_equal(edit(&test, bad[i].path, bad[i].mode, "x", &err), -1);
		if (err.kind != bad[i].kind)
			fail_msg("'%s': %s: %s", bad[i].path, err_kind_name(err.kind), err.message);
	}
	boxtest_close(&test);
	checkout_remove(&checkout);
}

/* --- changes
 * ---------------------------------------------------------------------------------------- */

static void test_changes(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct seen seen;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test,
			 "echo new > changed; rm removed; rm dir/a; mkdir n; echo x > n/y; "
			 "ln -s nowhere n/l; mkfifo n/p; chmod 755 n/y; cat kept other/deep");
	walk_changes(&test, &seen);
	EXPECT_SEEN(&seen, "/: away changed dir kept link n other", "changed 644 4 new", "dir/: b",
		    "n/: l p y", "n/l nowhere", "n/p other", "n/y 755 2 x");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

/* A directory in the place of another, one in the place of a file, and back. */
static void test_changes_of_kind(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct seen seen;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "rm -r dir; mkdir dir; echo c > dir/c; rm kept; mkdir kept; "
				"rm -r other; echo file > other; mv link renamed");
	walk_changes(&test, &seen);
	EXPECT_SEEN(&seen, "/: away changed dir kept other removed renamed", "dir/: c",
		    "dir/c 644 2 c", "kept/:", "other 644 5 file", "renamed kept");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

static void test_nothing_changed(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct seen seen;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "grep -r . . > /dev/null; echo x > /tmp/x");
	walk_changes(&test, &seen);
	EXPECT_SEEN(&seen, "/: away changed dir kept link other removed");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

/* Names that hurt, modes that hide, whiteouts that are none. */
static void test_hostile_changes(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct seen seen;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test,
			 "mkdir h; cd h; : > -rf; : > 'a\nb'; printf x > \"$(printf '\\377')\"; "
			 "echo s > secret; chmod 000 secret; mkdir locked; echo in > locked/in; "
			 "chmod 000 locked; echo w > .wh.kept; : > .wh..wh..opq; cd ..; "
			 "python3 -c 'import os,socket; socket.socket(1).bind(\"h/sock\")'; "
			 "mknod kept2 c 0 0 2>/dev/null; rm kept; mknod kept c 0 0 2>/dev/null; "
			 "setfattr -n user.overlay.opaque -v y dir 2>/dev/null; "
			 "python3 -c 'import os\ntry: os.setxattr(\"dir\",\"user.overlay.opaque\","
			 "b\"y\")\nexcept OSError: pass\ntry: os.setxattr(\"dir\","
			 "\"trusted.overlay.opaque\",b\"y\")\nexcept OSError: pass'; ls dir; true");
	walk_changes(&test, &seen);
	EXPECT_SEEN(&seen, "/: away changed dir h link other removed", "dir/: a b", "h/-rf 644 0 ",
		    "h/.wh..wh..opq 644 0 ", "h/.wh.kept 644 2 w",
		    "h/: -rf .wh..wh..opq .wh.kept a\nb locked secret sock \xff", "h/a\nb 644 0 ",
		    "h/locked/: in", "h/locked/in 644 3 in", "h/secret 0 2 s", "h/sock other",
		    "h/\xff 644 1 x");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

static void test_many_names(void **state)
{
	enum { FILES = 3000 };
	struct checkout checkout;
	struct boxtest test;
	struct seen seen;
	size_t files = 0;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "mkdir m; i=0; while [ $i -lt 3000 ]; do echo $i > "
				"m/a-rather-long-name-so-that-one-message-is-not-enough-$i; "
				"i=$((i+1)); done");
	walk_changes(&test, &seen);
	for (size_t i = 0; i < seen.len; i++) {
		files += strncmp(seen.lines[i], "m/a-", 4) == 0;
		free(seen.lines[i]);
	}
	assert_int_equal(files, FILES);
	assert_int_equal(seen.len, FILES + 2 + (seen.copied ? ARRAY_LEN(untouched) - 1 : 0));
	/* Enough is enough, and the next walk starts afresh. */
	seen = (struct seen){.stop_after = 5};
	assert_int_equal(driver_changes(&test.driver, &visitor, &seen, NULL), 0);
	assert_int_equal(seen.len, 5);
	for (size_t i = 0; i < seen.len; i++)
		free(seen.lines[i]);
	seen = (struct seen){.stop_after = 2};
	assert_int_equal(driver_changes(&test.driver, &visitor, &seen, NULL), 0);
	assert_int_equal(seen.len, 2);
	for (size_t i = 0; i < seen.len; i++)
		free(seen.lines[i]);
	boxtest_close(&test);
	checkout_remove(&checkout);
}

/* Deeper than a path can be said: told, and no reason to lose the rest. */
static void test_too_deep(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct seen seen;
	size_t others = 0, files = 0;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "echo new > kept; python3 -c 'import os\nfor i in range(30):\n"
				"  os.mkdir(\"d\"*200); os.chdir(\"d\"*200)'");
	walk_changes(&test, &seen);
	for (size_t i = 0; i < seen.len; i++) {
		const char *line = seen.lines[i];

		others += strncmp(line, "ddd", 3) == 0 && strcmp(strchr(line, ' '), " other") == 0;
		files += strcmp(line, "kept 644 4 new") == 0;
		free(seen.lines[i]);
	}
	assert_int_equal(others, 1);
	assert_int_equal(files, 1);
	boxtest_close(&test);
	checkout_remove(&checkout);
}

static void test_empty_workspace(void **state)
{
	struct boxtest test;
	struct seen seen;

	(void)state;
	boxtest_open(&test, NULL, NULL);
	(void)boxtest_ok(&test, "mkdir a; echo 1 > a/b; echo 2 > c");
	walk_changes(&test, &seen);
	EXPECT_SEEN(&seen, "/: a c", "a/: b", "a/b 644 2 1", "c 644 2 2");
	boxtest_close(&test);
}

/* --- the search
 * ------------------------------------------------------------------------------------------ */

static void test_find(void **state)
{
	static const char *const globs[] = {"out/**/*.txt", "*.xml", "/kept", "out/../kept"};
	struct checkout checkout;
	struct boxtest test;
	struct seen seen = {0};
	struct err err = {0};

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "mkdir -p out/a/b; echo 1 > out/1.txt; echo 2 > out/a/b/2.txt; "
				"echo r > other/r.xml; ln -s /etc/passwd out/p.txt; "
				"ln -s /etc out/a/etc; mkfifo out/f.txt; mkdir out/d.txt; "
				"ln -s ../kept out/k.txt; echo h > out/h.txt; chmod 000 out/h.txt");
	assert_int_equal(driver_finish(&test.driver, &err), 0);
	if (driver_find(&test.driver, globs, ARRAY_LEN(globs), 10000, see_match, &seen, &err) < 0)
		boxtest_fail("driver_find", &err);
	EXPECT_SEEN(&seen, "kept 0 5 kept", "other/r.xml 0 2 r", "out/1.txt 0 2 1",
		    "out/a/b/2.txt 0 2 2", "out/h.txt 0 2 h");
	/* A bound on what is looked at. */
	assert_int_equal(driver_find(&test.driver, globs, 1, 3, see_match, &seen, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	for (size_t i = 0; i < seen.len; i++)
		free(seen.lines[i]);
	boxtest_close(&test);
	checkout_remove(&checkout);
}

/* --- what stands below
 * ---------------------------------------------------------------------------------------- */

static void test_lower_is_safe(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct err err = {0};
	struct buf content;

	(void)state;
	checkout_make(&checkout);
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "rm -rf * .[a-z]*; echo all gone > kept; ls -la > /dev/null");
	boxtest_close(&test);
	buf_init(&content, 100);
	{
		char path[sizeof(checkout.path) + 8];

		(void)snprintf(path, sizeof(path), "%s/kept", checkout.path);
		assert_int_equal(fd_read_file(path, 100, &content, &err), 0);
		assert_string_equal(buf_text(&content), "kept\n");
	}
	buf_release(&content);
	checkout_remove(&checkout);
}

static void test_direct(void **state)
{
	struct checkout checkout;
	struct boxtest test;
	struct stat st;

	(void)state;
	checkout_make(&checkout);
	checkout.workspace.direct = true;
	boxtest_open(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "echo direct > made; rm removed; id -u");
	assert_string_equal(boxtest_ok(&test, "stat -c %U made kept"), "sbx\nsbx\n");
	boxtest_close(&test);
	assert_int_equal(fstatat(checkout.fd, "made", &st, 0), 0);
	assert_int_equal(st.st_uid, boxtest_as_user ? getuid() : LOWER_UID);
	assert_int_equal(unlinkat(checkout.fd, "made", 0), 0);
	put(&checkout, "removed", "again");
	checkout_remove(&checkout);
}

/* The directory was opened by somebody in another mount namespace. */
static void test_foreign_descriptor(void **state)
{
	struct checkout checkout;
	struct boxtest test;

	(void)state;
	checkout_make(&checkout);
	boxtest_open_host(&test, "unit-foreign");
	boxtest_new(&test, &checkout.workspace, NULL);
	assert_string_equal(boxtest_ok(&test, "cat kept"), "kept\n");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

/* Where no overlay can be had, the workspace is a copy, and all of it a change. */
static void test_copied(void **state)
{
	struct box_config config = {.instance = "unit-copied",
				    .allow_missing_cgroup = true,
				    .uid_base = BOXTEST_UID_BASE,
				    .slots = 1,
				    .copy_workspace = true};
	struct checkout checkout;
	struct boxtest test = {0};
	struct err err = {0};
	struct seen seen;

	(void)state;
	checkout_make(&checkout);
	buf_init(&test.out, 1 << 20);
	buf_init(&test.errors, 1 << 20);
	assert_int_equal(box_host_open(&test.host, &config, &err), 0);
	boxtest_new(&test, &checkout.workspace, NULL);
	(void)boxtest_ok(&test, "echo new > changed; rm -r dir; mkdir dir; readlink away");
	assert_string_equal(boxtest_ok(&test, "stat -c '%U %a' kept other other/deep"),
			    "sbx 644\nsbx 755\nsbx 644\n");
	walk_changes(&test, &seen);
	EXPECT_SEEN(&seen, "/: away changed dir kept link other removed", "away /etc",
		    "changed 644 4 new", "dir/:", "kept 644 5 kept", "link kept", "other/: deep",
		    "other/deep 644 5 deep", "removed 644 5 gone");
	boxtest_close(&test);
	checkout_remove(&checkout);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_copied),
	cmocka_unit_test(test_edits),
	cmocka_unit_test(test_edit_conflicts),
	cmocka_unit_test(test_changes),
	cmocka_unit_test(test_changes_of_kind),
	cmocka_unit_test(test_nothing_changed),
	cmocka_unit_test(test_hostile_changes),
	cmocka_unit_test(test_many_names),
	cmocka_unit_test(test_too_deep),
	cmocka_unit_test(test_empty_workspace),
	cmocka_unit_test(test_find),
	cmocka_unit_test(test_lower_is_safe),
	cmocka_unit_test(test_direct),
	cmocka_unit_test(test_foreign_descriptor),
};

int main(void)
{
	return boxtest_main(tests, ARRAY_LEN(tests), NULL, 0);
}
