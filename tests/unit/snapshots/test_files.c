/*
 * test_files.c - bases that come with a job: the commit is what git would make
 * of the same files, equal files are one base, and nothing gets in that a diff
 * could not create.
 */
#include "tests/unit/snapshots/store_rig.h"

#include <sys/wait.h>

#include "schema/limits.h"

#define CONTENT(text)                                                \
	{                                                            \
		(const uint8_t *)(uintptr_t)(text), sizeof(text) - 1 \
	}

static struct job_file files[] = {
	{"src/main.py", CONTENT("print('gr\xc3\xbcn')\n")},
	{"run", CONTENT("#!/bin/sh\n")},
	{"raw", CONTENT("\0\xff\xfe")},
	{"empty", CONTENT("")},
	{"src.d/x", CONTENT("x")},
};
static const char *executable[] = {"src.d/x", "run"};
static struct pair links[] = {{"src/raw", "../raw"}, {"a-link", "src"}};

static const struct job_source whole = {
	.files = {files, ARRAY_LEN(files)},
	.executable = {executable, ARRAY_LEN(executable)},
	.links = {links, ARRAY_LEN(links)},
};

static int put(struct rig *rig, const struct job_source *source, struct store_base *ret)
{
	rig->reason = (struct reason){0};
	rig->err = (struct err){0};
	return store_files(rig->store, source, ret, &rig->reason, &rig->err);
}

#define PUT_OK(rig, source, base)                                                    \
	do {                                                                         \
		if (put((rig), (source), (base)) != 0)                               \
			fail_msg("%s%s", (rig)->reason.message, (rig)->err.message); \
	} while (0)

/* --- what is made ------------------------------------------------------ */

static void the_commit_is_what_git_makes(void **state)
{
	struct store_base base, again;
	struct oid tree, commit;
	const char *repo;
	const char *path;
	struct rig rig;

	(void)state;
	rig_open(&rig, "store-git");
	rig.source = source_of_files();
	PUT_OK(&rig, &whole, &base);
	sh("git init -q -b main same && cd same && mkdir src src.d && "
	   "printf \"print('gr\\303\\274n')\\n\" >src/main.py && printf '#!/bin/sh\\n' >run && "
	   "printf '\\000\\377\\376' >raw && : >empty && printf x >src.d/x && chmod +x run src.d/x "
	   "&& ln -s ../raw src/raw && ln -s src a-link && git add .");
	tree = sh_oid("git -C same write-tree");
	ASSERT_OID(&base.tree, &tree);
	commit = sh_oid("cd same && export GIT_AUTHOR_NAME=sbx GIT_AUTHOR_EMAIL=sbx@localhost "
			"GIT_COMMITTER_NAME=sbx GIT_COMMITTER_EMAIL=sbx@localhost "
			"GIT_AUTHOR_DATE='946684800 +0000' GIT_COMMITTER_DATE='946684800 +0000' && "
			"git commit-tree -m 'sbx: files of a job' $(git write-tree)");
	ASSERT_OID(&base.commit, &commit);
	repo = store_repo_path(&rig.arena, rig.store, &rig.source);
	assert_fsck(repo);
	sh("find %s -type f | sort | xargs stat -c '%%n %%i %%Y' >before", repo);
	PUT_OK(&rig, &whole, &again);
	ASSERT_OID(&again.commit, &commit);
	sh("find %s -type f | sort | xargs stat -c '%%n %%i %%Y' | cmp before -", repo);
	path = checkout(&rig, &base.tree);
	sh("cd same && diff -r --no-dereference -x .git . %s && test -x %s/run", path, path);
	rig_close(&rig);
}

static void order_does_not_matter(void **state)
{
	struct job_file turned[ARRAY_LEN(files)];
	struct store_base base, other;
	struct job_source source = whole;
	struct rig rig;

	(void)state;
	rig_open(&rig, "store-order");
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		turned[i] = files[ARRAY_LEN(files) - 1 - i];
	source.files.items = turned;
	PUT_OK(&rig, &whole, &base);
	PUT_OK(&rig, &source, &other);
	ASSERT_OID(&other.commit, &base.commit);
	source.executable.len = 1;
	PUT_OK(&rig, &source, &other);
	assert_false(oid_equal(&other.commit, &base.commit));
	rig_close(&rig);
}

/* Two processes with the same files at the same time, and two with others. */
static void many_at_once_are_all_whole(void **state)
{
	struct store_base base;
	struct rig rig;
	pid_t pids[8];

	(void)state;
	rig_open(&rig, "store-many");
	rig.source = source_of_files();
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			struct job_source source = whole;

			source.files.len -= i % 2;
			_exit(put(&rig, &source, &base) == 0 ? 0 : 1);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	sh("test $(git -C %s for-each-ref refs/sbx-base | wc -l) = 2",
	   store_repo_path(&rig.arena, rig.store, &rig.source));
	rig_close(&rig);
}

/* --- what is refused --------------------------------------------------- */

static void what_no_diff_could_create_is_refused(void **state)
{
	static const struct {
		const char *path, *other, *link, *target; /* NULL: none */
		const char *message;
	} rows[] = {
		{".git/config", NULL, NULL, NULL, "file systems take for .git"},
		{"a/.GIT/x", NULL, NULL, NULL, "file systems take for .git"},
		{"git~1", NULL, NULL, NULL, "NTFS"},
		{".g\xe2\x80\x8cit/x", NULL, NULL, NULL, "file systems take for .git"},
		{"a/../../b", NULL, NULL, NULL, "'.' or '..'"},
		{"/etc/passwd", NULL, NULL, NULL, "absolute"},
		{"a//b", NULL, NULL, NULL, "an empty component"},
		{"a/", NULL, NULL, NULL, "an empty component"},
		{"./a", NULL, NULL, NULL, "'.' or '..'"},
		{"a\\b", NULL, NULL, NULL, "backslash"},
		{"a\x1b[2J", NULL, NULL, NULL, "control character"},
		{"a\xff", NULL, NULL, NULL, "UTF-8"},
		{"aux.c", NULL, NULL, NULL, "a device on other systems"},
		{"a", "a/b", NULL, NULL, "which is a file"},
		{"a/b", "a", NULL, NULL, "which is a file"},
		{"README", "readme", NULL, NULL, "differ only by case"},
		{"D/a", "d/b", NULL, NULL, "differ only by case"},
		{"l/a", NULL, "l", "x", "which is a link"},
		{"a", NULL, "l", "/etc", "absolute"},
		{"a", NULL, "l", "../x", "outside of the repository"},
		{"a", NULL, "d/l", "../../x", "outside of the repository"},
		{"a", NULL, "l", ".git/x", "inside of .git"},
		{"a", NULL, ".gitmodules", "a", "may not be a link"},
		{"a", NULL, "a", "b", "there twice"},
	};
	struct rig rig;

	(void)state;
	rig_open(&rig, "store-refused");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct job_file some[] = {{rows[i].path, CONTENT("x")},
					  {rows[i].other, CONTENT("y")}};
		struct pair link = {rows[i].link, rows[i].target};
		const struct job_source source = {
			.files = {some, rows[i].other == NULL ? 1 : 2},
			.links = {&link, rows[i].link != NULL},
		};
		struct store_base base;

		if (put(&rig, &source, &base) != REFUSED)
			fail_msg("%s: %s", rows[i].path, rig.err.message);
		assert_int_equal(rig.reason.code, REASON_SOURCE_FILES);
		if (strstr(rig.reason.message, rows[i].message) == NULL ||
		    strncmp(rig.reason.message, "line", 4) == 0)
			fail_msg("%s: %s", rows[i].path, rig.reason.message);
	}
	rig.source = source_of_files();
	sh("test -z \"$(find %s/objects -type f)\"",
	   store_repo_path(&rig.arena, rig.store, &rig.source));
	rig_close(&rig);
}

static void a_full_message_of_files_is_quick(void **state)
{
	static struct job_file many[LIMIT_FILES];
	static char paths[LIMIT_FILES][200];
	const struct job_source source = {.files = {many, LIMIT_FILES}};
	struct store_base base;
	struct rig rig;

	(void)state;
	rig_open(&rig, "store-full");
	for (size_t i = 0; i < LIMIT_FILES; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]), "%s%zu/%zu/file-%zu",
			       "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/", i / 100,
			       i % 7, i);
		many[i] =
			(struct job_file){paths[i], {(const uint8_t *)paths[i], strlen(paths[i])}};
	}
	PUT_OK(&rig, &source, &base);
	rig.source = source_of_files();
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	sh("test $(git -C %s ls-tree -r --name-only $(git -C %s for-each-ref "
	   "--format='%%(objectname)') | wc -l) = %d",
	   store_repo_path(&rig.arena, rig.store, &rig.source),
	   store_repo_path(&rig.arena, rig.store, &rig.source), LIMIT_FILES);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_commit_is_what_git_makes),
		cmocka_unit_test(order_does_not_matter),
		cmocka_unit_test(many_at_once_are_all_whole),
		cmocka_unit_test(what_no_diff_could_create_is_refused),
		cmocka_unit_test(a_full_message_of_files_is_quick),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
