/*
 * test_patch.c - whole diffs: what results, and the hostile ones, each refused
 * for its own reason.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "schema/limits.h"

static const struct kit_file files[] = {
	{"a", MODE_FILE, "one\ntwo\nthree\n"},
	{"dir/f", MODE_FILE, "f\n"},
	{"link", MODE_LINK, "dir"},
	{"tool", MODE_EXEC, "run\n"},
	{"empty", MODE_FILE, ""},
	{"sub", MODE_GITLINK, "1111111111111111111111111111111111111111"},
	{"LICENSE", MODE_FILE, "terms\n"},
	{"package.json", MODE_FILE, "{}\n"},
	{".gitattributes", MODE_FILE, "* text\n"},
	{"Twice", MODE_FILE, "1\n"},
	{"twice", MODE_FILE, "2\n"},
	{"caf\xc3\xa9/menu", MODE_FILE, "m\n"},
	{"u\xcc\x88.txt", MODE_FILE, "u\n"},
	{"other/up", MODE_LINK, "../a"},
	{"other/gone/x", MODE_FILE, "x\n"},
	{NULL, 0, NULL},
};

/* The tree of `files`, with one path replaced, added or (NULL) removed. */
static struct oid tree_with(struct kit *kit, const char *path, uint32_t mode, const char *content)
{
	struct kit_file changed[ARRAY_LEN(files) + 1];
	size_t len = 0;

	for (size_t i = 0; files[i].path != NULL; i++) {
		if (strcmp(files[i].path, path) != 0)
			changed[len++] = files[i];
	}
	if (content != NULL)
		changed[len++] = (struct kit_file){path, mode, content};
	changed[len] = (struct kit_file){NULL, 0, NULL};
	return kit_tree(kit, changed);
}

static void makes(struct kit *kit, const char *diff, const char *path, uint32_t mode,
		  const char *content)
{
	struct oid want = tree_with(kit, path, mode, content);

	if (kit_apply(kit, kit_text(diff)) != 0)
		fail_msg("refused: %s: %s", reason_code_name(kit->reason.code),
			 kit->reason.message);
	assert_true(oid_equal(&want, &kit->outcome.tree));
}

static int open_files(void **state)
{
	static struct kit kit;

	kit_open(&kit, files);
	*state = &kit;
	return 0;
}

static int close_files(void **state)
{
	kit_close(*state);
	return 0;
}

/* --- what is accepted --------------------------------------------------- */

static void test_modes_are_the_base_s_unless_said(void **state)
{
	struct kit *kit = *state;

	makes(kit, "--- a/tool\n+++ b/tool\n@@ -1 +1 @@\n-run\n+walk\n", "tool", MODE_EXEC,
	      "walk\n");
	makes(kit,
	      "diff --git a/a b/a\nold mode 100644\nnew mode 100755\n--- a/a\n+++ b/a\n"
	      "@@ -1,2 +1,3 @@\n one\n+and a half\n two\n",
	      "a", MODE_EXEC, "one\nand a half\ntwo\nthree\n");
	assert_int_equal(kit->outcome.additions, 1);
	assert_int_equal(kit->outcome.edits_len, 1);
	assert_int_equal(kit->outcome.files[0].status, CHANGE_MODIFIED);
	makes(kit, "diff --git a/a b/a\nold mode 100644\nnew mode 100755\n", "a", MODE_EXEC,
	      "one\ntwo\nthree\n");
}

static void test_files_come_and_go(void **state)
{
	struct kit *kit = *state;

	makes(kit, "diff --git a/n/e w b/n/e w\nnew file mode 100644\nindex 0000000..e69de29\n",
	      "n/e w", MODE_FILE, "");
	makes(kit, "diff --git a/empty b/empty\ndeleted file mode 100644\nindex e69de29..0000000\n",
	      "empty", 0, NULL);
	makes(kit,
	      "diff --git a/dir/f b/dir/f\ndeleted file mode 100644\n--- a/dir/f\n+++ /dev/null\n"
	      "@@ -1 +0,0 @@\n-f\n",
	      "dir/f", 0, NULL);
	assert_int_equal(kit->outcome.files[0].status, CHANGE_DELETED);
	assert_int_equal(kit->outcome.edits[0].mode, 0);
	makes(kit, "--- /dev/null\n+++ b/last\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n",
	      "last", MODE_FILE, "x");
}

static void test_a_rename_with_edit_is_named_so(void **state)
{
	struct kit *kit = *state;
	static const char diff[] = "diff --git a/dir/f b/dir/g\nsimilarity index 50%\n"
				   "rename from dir/f\nrename to dir/g\n"
				   "--- a/dir/f\n+++ b/dir/g\n@@ -1 +1,2 @@\n f\n+g\n";

	assert_int_equal(kit_apply(kit, TEXT(diff)), 0);
	assert_int_equal(kit->outcome.files_len, 1);
	assert_int_equal(kit->outcome.files[0].status, CHANGE_RENAMED);
	assert_string_equal(kit->outcome.files[0].old_path, "dir/f");
	assert_int_equal(kit->outcome.edits_len, 2);
	assert_string_equal(kit->outcome.edits[0].path, "dir/f");
	assert_int_equal(kit->outcome.edits[0].mode, 0);
	assert_int_equal(kit->outcome.edits[1].mode, MODE_FILE);
}

static void test_two_files_swap_names(void **state)
{
	struct kit *kit = *state;

	assert_int_equal(kit_apply(kit, TEXT("diff --git a/empty b/dir/f\nsimilarity index 100%\n"
					     "rename from empty\nrename to dir/f\n"
					     "diff --git a/dir/f b/empty\nsimilarity index 100%\n"
					     "rename from dir/f\nrename to empty\n")),
			 0);
	assert_int_equal(kit->outcome.edits_len, 2);
	assert_int_equal(kit->outcome.edits[0].mode, MODE_FILE);
	assert_int_equal(kit->outcome.edits[1].mode, MODE_FILE);
}

static void test_a_file_becomes_a_directory(void **state)
{
	struct kit *kit = *state;

	makes(kit,
	      "diff --git a/link b/link\ndeleted file mode 120000\n--- a/link\n+++ /dev/null\n"
	      "@@ -1 +0,0 @@\n-dir\n\\ No newline at end of file\n"
	      "diff --git a/link b/link\nnew file mode 100644\n--- /dev/null\n+++ b/link\n"
	      "@@ -0,0 +1 @@\n+x\n",
	      "link", MODE_FILE, "x\n");
	assert_int_equal(
		kit_apply(kit, TEXT("diff --git a/dir b/dir\nnew file mode 100644\n"
				    "diff --git a/dir/f b/dir/f\ndeleted file mode 100644\n"
				    "--- a/dir/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-f\n")),
		0);
}

static void test_a_series_builds_on_itself(void **state)
{
	struct kit *kit = *state;

	makes(kit,
	      "From 0000 Mon Sep 17 00:00:00 2001\nSubject: 1\n\n---\n a | 2 +-\n\n"
	      "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\n"
	      "-- \n2.39\n\nFrom 0000 Mon Sep 17 00:00:00 2001\nSubject: 2\n\n---\n"
	      "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n 1\n-two\n+2\n three\n"
	      "-- \n2.39\n\n",
	      "a", MODE_FILE, "1\n2\nthree\n");
	makes(kit,
	      "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n"
	      "+x\n\nsecond\n"
	      "diff --git a/n b/m\nsimilarity index 100%\nrename from n\nrename to m\n\nthird\n"
	      "diff --git a/m b/m\n--- a/m\n+++ b/m\n@@ -1 +1,2 @@\n x\n+y\n",
	      "m", MODE_FILE, "x\ny\n");
}

static void test_copies_read_what_the_patch_began_with(void **state)
{
	struct kit *kit = *state;

	assert_int_equal(kit_apply(kit, TEXT("diff --git a/dir/f b/dir/f\n--- a/dir/f\n"
					     "+++ b/dir/f\n@@ -1 +1 @@\n-f\n+F\n"
					     "diff --git a/dir/f b/g\nsimilarity index 100%\n"
					     "copy from dir/f\ncopy to g\n")),
			 0);
	assert_int_equal(kit->outcome.edits_len, 2);
	assert_string_equal(kit->outcome.edits[1].path, "g");
	assert_false(oid_equal(&kit->outcome.edits[0].oid, &kit->outcome.edits[1].oid));
}

static void test_submodules_change_where_the_policy_lets_them(void **state)
{
	struct kit *kit = *state;
	static const char diff[] =
		"diff --git a/sub b/sub\nindex 1111111..2222222 160000\n--- a/sub\n+++ b/sub\n"
		"@@ -1 +1 @@\n-Subproject commit 1111111111111111111111111111111111111111\n"
		"+Subproject commit 2222222222222222222222222222222222222222\n";

	kit_refuses(kit, TEXT(diff), REASON_PATCH_GITLINK, "submodule");
	kit->policy.gitlinks = true;
	makes(kit, diff, "sub", MODE_GITLINK, "2222222222222222222222222222222222222222");
	kit_refuses(kit,
		    TEXT("diff --git a/sub b/sub\n--- a/sub\n+++ b/sub\n@@ -1 +1 @@\n"
			 "-Subproject commit 1111111111111111111111111111111111111111\n+../../x\n"),
		    REASON_PATCH_GITLINK, "one commit");
	kit_refuses(kit, TEXT("diff --git a/s b/s\nnew file mode 160000\n"), REASON_PATCH_GITLINK,
		    "one commit");
	kit->policy.gitlinks = false;
}

static void test_findings_name_what_deserves_a_look(void **state)
{
	struct kit *kit = *state;

	makes(kit, "--- /dev/null\n+++ b/tests/x.c\n@@ -0,0 +1 @@\n+x\n", "tests/x.c", MODE_FILE,
	      "x\n");
	assert_int_equal(kit->outcome.findings_len, 1);
	assert_string_equal(kit->outcome.findings[0].rule, "patch.tests");
}

/* --- the hostile table ---------------------------------------------------- */

#define NEW(path)    "diff --git a/" path " b/" path "\nnew file mode 100644\n"
#define QUOTED(path) "diff --git \"a/" path "\" \"b/" path "\"\nnew file mode 100644\n"
#define LINK(path, target)                                                                   \
	"diff --git a/" path " b/" path "\nnew file mode 120000\n--- /dev/null\n+++ b/" path \
	"\n@@ -0,0 +1 @@\n+" target "\n\\ No newline at end of file\n"
#define RENAME(from, to)                                                           \
	"diff --git a/" from " b/" to "\nsimilarity index 100%\nrename from " from \
	"\nrename to " to "\n"

static const struct {
	const char *diff;
	enum reason_code code;
	const char *word;
} hostile[] = {
	/* names */
	{NEW("../x"), REASON_PATCH_PATH, "'..'"},
	{NEW("x/../../y"), REASON_PATCH_PATH, "'..'"},
	{NEW("./x"), REASON_PATCH_PATH, "'.'"},
	{NEW("x//y"), REASON_PATCH_PATH, "empty"},
	{NEW("/etc/passwd"), REASON_PATCH_PATH, "absolute"},
	{"--- /dev/null\n+++ /etc/passwd\n@@ -0,0 +1 @@\n+x\n", REASON_PATCH_PATH, "absolute"},
	{NEW(".git/hooks/post-checkout"), REASON_PATCH_PATH, ".git"},
	{NEW("x/.GIT/config"), REASON_PATCH_PATH, ".git"},
	{NEW("git~1/config"), REASON_PATCH_PATH, "NTFS"},
	{NEW(".git./config"), REASON_PATCH_PATH, ".git"},
	{NEW(".git  /config"), REASON_PATCH_PATH, ".git"},
	{NEW(".git::$INDEX_ALLOCATION/config"), REASON_PATCH_PATH, ".git"},
	{QUOTED(".g\\342\\200\\214it/config"), REASON_PATCH_PATH, ".git"},
	{QUOTED("\\357\\273\\277.git/config"), REASON_PATCH_PATH, ".git"},
	{NEW("GITMOD~1"), REASON_PATCH_PATH, "NTFS"},
	{NEW("x/GI7EB~12/config"), REASON_PATCH_PATH, "NTFS"},
	{NEW("x/git~1::$INDEX_ALLOCATION/config"), REASON_PATCH_PATH, "NTFS"},
	{NEW("x/.git:x/config"), REASON_PATCH_PATH, ".git"},
	{NEW(".gitmodules::$DATA"), REASON_PATCH_PATH, "disguises"},
	{NEW("x/.gitattributes:y"), REASON_PATCH_PATH, "disguises"},
	{QUOTED("x/.g\\302\\255it/config"), REASON_PATCH_PATH, ".git"},
	{QUOTED(".gitmod\\342\\200\\213ules"), REASON_PATCH_PATH, "disguises"},
	{NEW("x/..:y/z"), REASON_PATCH_PATH, "'..'"},
	{NEW(".GITMODULES"), REASON_PATCH_PATH, "disguises"},
	{QUOTED("x\\\\..\\\\y"), REASON_PATCH_PATH, "backslash"},
	{QUOTED("x\\ny"), REASON_PATCH_PATH, "control"},
	{QUOTED("x\\033[2Jy"), REASON_PATCH_PATH, "control"},
	{QUOTED("x\\000y"), REASON_PATCH_PATH, "NUL"},
	{QUOTED("x\\177"), REASON_PATCH_PATH, "control"},
	{QUOTED("\\302\\205"), REASON_PATCH_PATH, "control"},
	{QUOTED("\\377\\376"), REASON_PATCH_PATH, "UTF-8"},
	{NEW("CON"), REASON_PATCH_PATH, "device"},
	{NEW("src/aux.c"), REASON_PATCH_PATH, "device"},
	{NEW("com1.txt"), REASON_PATCH_PATH, "device"},
	{NEW("aux/x"), REASON_PATCH_PATH, "device"},
	{QUOTED("COM\\302\\271.txt"), REASON_PATCH_PATH, "device"},
	{NEW("nul "), REASON_PATCH_PATH, "device"},

	/* places */
	{NEW("link/x"), REASON_PATCH_SYMLINK, "below 'link'"},
	{"--- a/link/f\n+++ b/link/f\n@@ -1 +1 @@\n-f\n+g\n", REASON_PATCH_SYMLINK, "beyond"},
	{LINK("l", "dir") NEW("l/x"), REASON_PATCH_SYMLINK, "below 'l'"},
	{NEW("l/x") LINK("l", "dir"), REASON_PATCH_SYMLINK, "below 'l'"},
	{NEW("a/x"), REASON_PATCH_COLLISION, "below 'a'"},
	{NEW("n") NEW("n/x"), REASON_PATCH_COLLISION, "below 'n'"},
	{NEW("sub/x"), REASON_PATCH_GITLINK, "submodule"},
	{NEW("dir"), REASON_PATCH_COLLISION, "directory"},
	{RENAME("a", "dir"), REASON_PATCH_COLLISION, "directory"},
	{NEW("a"), REASON_PATCH_EXISTS, "other content"},
	{NEW("empty"), REASON_PATCH_APPLIED, "this content"},
	{RENAME("a", "tool"), REASON_PATCH_EXISTS, "'tool'"},
	{"diff --git a/a b/tool\nsimilarity index 100%\ncopy from a\ncopy to tool\n",
	 REASON_PATCH_EXISTS, "'tool'"},
	{NEW("n") NEW("n"), REASON_PATCH_DUPLICATE, "twice"},
	{RENAME("a", "x") RENAME("a", "y"), REASON_PATCH_DUPLICATE, "earlier"},
	{RENAME("none", "x"), REASON_PATCH_NO_FILE, "'none'"},
	{RENAME("a", "a"), REASON_PATCH_MALFORMED, "itself"},
	{NEW("A"), REASON_PATCH_COLLISION, "case"},
	{NEW("Dir/g"), REASON_PATCH_COLLISION, "case"},
	{NEW("n/x") NEW("N/y"), REASON_PATCH_COLLISION, "case"},
	{QUOTED("n/\\303\\204") QUOTED("n/\\303\\244"), REASON_PATCH_COLLISION, "case"},
	/* Unicode forms: within the diff, a parent, against the base, below and above it */
	{QUOTED("n/\\303\\251") QUOTED("n/e\\314\\201"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("n\\303\\251/x") QUOTED("nE\\314\\201/y"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("cafe\\314\\201/extra"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("CAF\\303\\211"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("caf\\303\\251/MENU"), REASON_PATCH_COLLISION, "by case"},
	{QUOTED("caf\\303\\251/me\\302\\255nu"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("\\303\\274.txt"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("\\303\\234.TXT/in"), REASON_PATCH_COLLISION, "Unicode"},
	{"diff --git a/a \"b/\\303\\234.txt\"\nsimilarity index 100%\nrename from a\n"
	 "rename to \"\\303\\234.txt\"\n",
	 REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("\\357\\254\\201") NEW("FI"), REASON_PATCH_COLLISION, "Unicode"},
	{QUOTED("n/\\352\\260\\200") QUOTED("n/\\341\\204\\200\\341\\205\\241"),
	 REASON_PATCH_COLLISION, "Unicode"},

	/* places by way of what the same diff moves, copies or turns into a link */
	{RENAME("link", "l") NEW("l/x"), REASON_PATCH_SYMLINK, "below 'l'"},
	{"diff --git a/link b/l\nsimilarity index 100%\ncopy from link\ncopy to l\n" NEW("l/x"),
	 REASON_PATCH_SYMLINK, "below 'l'"},
	{RENAME("a", "link/x"), REASON_PATCH_SYMLINK, "below 'link'"},
	{"diff --git a/a b/link/x\nsimilarity index 100%\ncopy from a\ncopy to link/x\n",
	 REASON_PATCH_SYMLINK, "below 'link'"},
	{RENAME("link/f", "x"), REASON_PATCH_SYMLINK, "beyond"},
	{"diff --git a/link/f b/link/f\ndeleted file mode 100644\n--- a/link/f\n+++ /dev/null\n"
	 "@@ -1 +0,0 @@\n-f\n",
	 REASON_PATCH_SYMLINK, "beyond"},
	{"diff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n@@ -1,3 +0,0 @@\n"
	 "-one\n-two\n-three\n" LINK("a", "dir") NEW("a/x"),
	 REASON_PATCH_SYMLINK, "below 'a'"},
	{"diff --git a/other/gone/x b/other/gone/x\ndeleted file mode 100644\n--- a/other/gone/x\n"
	 "+++ /dev/null\n@@ -1 +0,0 @@\n-x\n" LINK("other/gone", "..") NEW("other/gone/x"),
	 REASON_PATCH_COLLISION, "does not empty"},
	{RENAME("sub", "moved") NEW("moved/x"), REASON_PATCH_GITLINK, "submodule"},

	/* modes */
	{"diff --git a/n b/n\nnew file mode 000000\n", REASON_PATCH_MODE, "000000"},
	{"diff --git a/n b/n\nnew file mode 104755\n", REASON_PATCH_MODE, "104755"},
	{"diff --git a/n b/n\nnew file mode 040000\n", REASON_PATCH_MODE, "040000"},
	{"diff --git a/n b/n\nnew file mode 177777\n", REASON_PATCH_MODE, "177777"},
	{"diff --git a/n b/n\nnew file mode 100666\n", REASON_PATCH_MODE, "100666"},
	{"diff --git a/a b/a\nold mode 100644\nnew mode 104755\n", REASON_PATCH_MODE, "104755"},
	{"diff --git a/a b/a\nold mode 100644\nnew mode 120000\n", REASON_PATCH_MODE, "a link"},
	{"diff --git a/a b/a\nold mode 100644\nnew mode 160000\n", REASON_PATCH_MODE, "submodule"},
	{"diff --git a/link b/link\nindex 1234567..89abcde 100644\n--- a/link\n+++ b/link\n"
	 "@@ -1 +1 @@\n-dir\n\\ No newline at end of file\n+x\n",
	 REASON_PATCH_CONFLICT, "is a link"},

	/* links */
	{LINK("l", "/etc/passwd"), REASON_PATCH_SYMLINK, "absolute"},
	{LINK("l", "../x"), REASON_PATCH_SYMLINK, "outside"},
	{LINK("d/e/l", "../../../x"), REASON_PATCH_SYMLINK, "outside"},
	{LINK("l", "link/../../x"), REASON_PATCH_SYMLINK, "follows"},
	{LINK("l", "dir/.git/config"), REASON_PATCH_SYMLINK, ".git"},
	{"diff --git a/l b/l\nnew file mode 120000\n", REASON_PATCH_SYMLINK, "empty"},
	{LINK(".mailmap", "a"), REASON_PATCH_SYMLINK, "may not be a link"},
	{LINK("x/.gitmodules", "../a"), REASON_PATCH_SYMLINK, "may not be a link"},
	{LINK("x/.gitattributes", "../a"), REASON_PATCH_SYMLINK, "may not be a link"},
	{RENAME("link", ".gitmodules"), REASON_PATCH_SYMLINK, "may not be a link"},
	{RENAME("other/up", "up"), REASON_PATCH_SYMLINK, "outside"},
	{"diff --git a/other/up b/up\nsimilarity index 100%\ncopy from other/up\ncopy to up\n",
	 REASON_PATCH_SYMLINK, "outside"},
	{LINK("l", "dir") LINK("m", "l/../../x"), REASON_PATCH_SYMLINK, "follows"},
	{LINK("l", "..\\x"), REASON_PATCH_SYMLINK, "backslash"},
	{LINK("l", "//server/share"), REASON_PATCH_SYMLINK, "absolute"},
	{LINK("l", "GIT~1/hooks"), REASON_PATCH_SYMLINK, ".git"},
	{LINK("d/.gitignore", "../a"), REASON_PATCH_SYMLINK, "may not be a link"},

	/* headers that say two things */
	{"diff --git a/a b/a\nsimilarity index 100%\nrename from LICENSE\nrename to b\n",
	 REASON_PATCH_MALFORMED, "first line"},
	{"diff --git a/a b/a\n--- a/a\n+++ b/dir/f\n@@ -1 +1 @@\n-one\n+1\n",
	 REASON_PATCH_MALFORMED, "rename"},
	{"--- a/a\n+++ b/dir/f\n@@ -1 +1 @@\n-f\n+1\n", REASON_PATCH_MALFORMED, "two files"},
	{"diff --git a/a b/a\n--- a/dir/f\n+++ b/dir/f\n@@ -1 +1 @@\n-f\n+1\n",
	 REASON_PATCH_MALFORMED, "first line"},
	{"diff --git a/a b/a\nnew file mode 100644\ndeleted file mode 100644\n",
	 REASON_PATCH_MALFORMED, "contradicts"},
	{"diff --git a/n b/n\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n", REASON_PATCH_MALFORMED,
	 "/dev/null"},

	/* protected files */
	{"diff --git a/LICENSE b/LICENSE\ndeleted file mode 100644\n--- a/LICENSE\n+++ /dev/null\n"
	 "@@ -1 +0,0 @@\n-terms\n",
	 REASON_PATCH_PROTECTED, "deleted"},
	{RENAME("LICENSE", "old"), REASON_PATCH_PROTECTED, "renamed away"},
	{"--- a/LICENSE\n+++ b/LICENSE\n@@ -1 +0,0 @@\n-terms\n", REASON_PATCH_PROTECTED,
	 "emptied"},
	{"--- a/LICENSE\n+++ b/LICENSE\n@@ -1 +1,2 @@\n-terms\n+ \n+\t\n", REASON_PATCH_PROTECTED,
	 "emptied"},
	{RENAME("LICENSE", "old") NEW("LICENSE"), REASON_PATCH_PROTECTED, "made again"},
	{"diff --git a/LICENSE b/LICENSE\ndeleted file mode 100644\n--- a/LICENSE\n+++ /dev/null\n"
	 "@@ -1 +0,0 @@\n-terms\n" LINK("LICENSE", "a"),
	 REASON_PATCH_PROTECTED, "made again"},
	{RENAME("a", "LICENSE") RENAME("LICENSE", "b"), REASON_PATCH_PROTECTED, "made again"},
	{RENAME("LICENSE", "x") "\nthen\n" RENAME("x", "LICENSE") "\nthen\n" RENAME("LICENSE", "y"),
	 REASON_PATCH_PROTECTED, "renamed away"},
	{"--- a/.gitattributes\n+++ b/.gitattributes\n@@ -1 +1 @@\n-* text\n+* filter=x\n",
	 REASON_PATCH_PROTECTED, "changed"},
	{NEW(".gitmodules"), REASON_PATCH_PROTECTED, "made"},

	/* numbers that no counter holds */
	{"--- a/a\n+++ b/a\n@@ -4294967295,4294967295 +1 @@\n-one\n+1\n", REASON_PATCH_MALFORMED,
	 ""},
	{"--- a/a\n+++ b/a\n@@ -4294967296 +1 @@\n-one\n+1\n", REASON_PATCH_MALFORMED, ""},
	{"--- a/a\n+++ b/a\n@@ -1,18446744073709551617 +1 @@\n-one\n+1\n", REASON_PATCH_MALFORMED,
	 ""},
	{"--- a/a\n+++ b/a\n@@ -4294967295 +4294967295 @@\n-one\n+1\n", REASON_PATCH_MALFORMED, ""},
	{"--- a/a\n+++ b/a\n@@ -1 +1,-1 @@\n-one\n+1\n", REASON_PATCH_MALFORMED, ""},

	/* contents */
	{"diff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n@@ -1,2 +0,0 @@\n"
	 "-one\n-two\n",
	 REASON_PATCH_CONFLICT, "deleted"},
	{"diff --git a/a b/a\ndeleted file mode 100644\n", REASON_PATCH_CONFLICT, "deleted"},
	{"diff --git a/none b/none\ndeleted file mode 100644\n", REASON_PATCH_NO_FILE, "'none'"},
	{"diff --git a/a b/a\nindex 4cb29ea..1111111 100644\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n"
	 "+1\n",
	 REASON_PATCH_RESULT, "1111111"},
	{"diff --git a/n b/n\nnew file mode 100644\nindex 0000000..1111111\n", REASON_PATCH_RESULT,
	 "1111111"},
	{"diff --git a/a b/a\nindex 1234567..89abcde 100644\nBinary files a/a and b/a differ\n",
	 REASON_PATCH_UNSUPPORTED, "--binary"},
	{"--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+one\n", REASON_PATCH_EMPTY, "as it is"},
	{"diff --git a/tool b/tool\nold mode 100644\nnew mode 100755\n", REASON_PATCH_APPLIED,
	 "mode"},
};

static void test_hostile_diffs_are_refused_for_their_reason(void **state)
{
	struct kit *kit = *state;

	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		if (kit_apply(kit, kit_text(hostile[i].diff)) != REFUSED)
			fail_msg("accepted:\n%s", hostile[i].diff);
		if (kit->reason.code != hostile[i].code ||
		    strstr(kit->reason.message, hostile[i].word) == NULL)
			fail_msg("wanted %s (%s), got %s: %s\n%s",
				 reason_code_name(hostile[i].code), hostile[i].word,
				 reason_code_name(kit->reason.code), kit->reason.message,
				 hostile[i].diff);
	}
}

static bool is_guard(enum reason_code code)
{
	return code == REASON_PATCH_PATH || code == REASON_PATCH_SYMLINK ||
	       code == REASON_PATCH_COLLISION || code == REASON_PATCH_GITLINK ||
	       code == REASON_PATCH_MODE || code == REASON_PATCH_PROTECTED ||
	       code == REASON_PATCH_DUPLICATE || code == REASON_PATCH_EXISTS;
}

/* Recover mode mends the form of a diff, and gets around no guard. */
static void test_recover_mode_keeps_the_guards(void **state)
{
	struct kit *kit = *state;
	size_t guards = 0;

	kit->policy.recover = true;
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		int code = kit_apply(kit, kit_text(hostile[i].diff));

		if (!is_guard(hostile[i].code))
			continue;
		guards++;
		if (code != REFUSED || kit->reason.code != hostile[i].code)
			fail_msg("wanted %s (%s), got %s\n%s", reason_code_name(hostile[i].code),
				 hostile[i].word, code == 0 ? "it accepted" : kit->reason.message,
				 hostile[i].diff);
	}
	assert_true(guards > 80);
	kit->policy.recover = false;
}

static void test_what_the_base_has_already_is_not_the_diff_s_fault(void **state)
{
	struct kit *kit = *state;

	makes(kit, "--- a/Twice\n+++ b/Twice\n@@ -1 +1 @@\n-1\n+one\n", "Twice", MODE_FILE,
	      "one\n");
	makes(kit, NEW("dir/F2"), "dir/F2", MODE_FILE, "");
	assert_int_equal(kit_apply(kit, TEXT(RENAME("dir/f", "dir/F"))), 0);
	assert_int_equal(kit_apply(kit, TEXT(RENAME("dir/f", "DIR/f"))), 0);
	assert_int_equal(
		kit_apply(kit, TEXT("diff --git \"a/u\\314\\210.txt\" \"b/\\303\\274.txt\"\n"
				    "similarity index 100%\n"
				    "rename from \"u\\314\\210.txt\"\n"
				    "rename to \"\\303\\274.txt\"\n")),
		0);
	assert_int_equal(kit_apply(kit, TEXT(LINK("dir/l", "../a"))), 0);
	assert_int_equal(kit_apply(kit, TEXT(LINK("l", "dir/../a"))), 0);
}

static void test_rules_are_added_and_lifted(void **state)
{
	struct kit *kit = *state;
	static const char drop[] = "diff --git a/package.json b/package.json\n"
				   "deleted file mode 100644\n--- a/package.json\n+++ /dev/null\n"
				   "@@ -1 +0,0 @@\n-{}\n";
	static const char edit[] = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n";
	const char *lifted[] = {"package.json"};
	const char *fixed[] = {"/a", "new/**"};
	const char *permitted[] = {"*.lock", "package*", NULL};

	kit_refuses(kit, TEXT(drop), REASON_PATCH_PROTECTED, "package.json");
	kit->policy.allow = (struct text_list){lifted, 1};
	kit_refuses(kit, TEXT(drop), REASON_POLICY_PROTECT, "not permit");
	kit->policy.allow_permitted = permitted;
	makes(kit, drop, "package.json", 0, NULL);
	kit->policy.allow = (struct text_list){0};
	kit->policy.allow_permitted = NULL;
	kit->policy.protect = (struct text_list){fixed, 2};
	kit_refuses(kit, kit_text(edit), REASON_PATCH_PROTECTED, "the job protects it");
	kit_refuses(kit, TEXT(NEW("new/x/y")), REASON_PATCH_PROTECTED, "the job protects it");
	kit->policy.protect = (struct text_list){0};
	kit->policy.unprotected = true;
	makes(kit, drop, "package.json", 0, NULL);
	kit->policy.unprotected = false;
	makes(kit, edit, "a", MODE_FILE, "1\ntwo\nthree\n");
}

static void test_bounds_hold(void **state)
{
	struct kit *kit = *state;

	kit->policy.max_files = 1;
	kit_refuses(kit, TEXT(NEW("x") NEW("y")), REASON_PATCH_TOO_LARGE, "files");
	kit->policy.max_files = 0;
	kit->policy.max_hunks = 1;
	kit_refuses(kit, TEXT("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n@@ -3 +3 @@\n-three\n+3\n"),
		    REASON_PATCH_TOO_LARGE, "hunks");
	kit->policy.max_hunks = 0;
	kit->policy.max_file_bytes = 8;
	kit_refuses(kit, TEXT("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n"), REASON_PATCH_TOO_LARGE,
		    "8 bytes");
	kit_refuses(kit, TEXT("--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+123456789\n"),
		    REASON_PATCH_TOO_LARGE, "8 are allowed");
	kit->policy.max_file_bytes = 0;
}

static void test_a_diff_is_as_long_as_a_message_may_be(void **state)
{
	struct kit *kit = *state;
	char *diff = malloc(LIMIT_DIFF_BYTES + 1);

	assert_non_null(diff);
	(void)memset(diff, '\n', LIMIT_DIFF_BYTES + 1);
	for (int recover = 0; recover < 2; recover++) {
		kit->policy.recover = recover != 0;
		kit_refuses(kit, (struct bytes){(uint8_t *)diff, LIMIT_DIFF_BYTES + 1},
			    REASON_PATCH_TOO_LARGE, "are allowed");
		/* One byte less is read, to find that it is none. */
		assert_int_equal(kit_apply(kit, (struct bytes){(uint8_t *)diff, LIMIT_DIFF_BYTES}),
				 REFUSED);
		assert_null(strstr(kit->reason.message, "are allowed"));
	}
	kit->policy.recover = false;
	free(diff);
}

static void test_nothing_is_written_for_a_refused_diff(void **state)
{
	struct kit *kit = *state;
	struct oid oid;

	kit_refuses(kit,
		    TEXT("--- /dev/null\n+++ b/fresh\n@@ -0,0 +1 @@\n+never kept\n" NEW("a/x")),
		    REASON_PATCH_COLLISION, "below");
	gitdb_blob_oid(TEXT("never kept\n"), &oid);
	assert_false(gitdb_has(kit->db, &oid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes_are_the_base_s_unless_said),
		cmocka_unit_test(test_files_come_and_go),
		cmocka_unit_test(test_a_rename_with_edit_is_named_so),
		cmocka_unit_test(test_two_files_swap_names),
		cmocka_unit_test(test_a_file_becomes_a_directory),
		cmocka_unit_test(test_a_series_builds_on_itself),
		cmocka_unit_test(test_copies_read_what_the_patch_began_with),
		cmocka_unit_test(test_submodules_change_where_the_policy_lets_them),
		cmocka_unit_test(test_findings_name_what_deserves_a_look),
		cmocka_unit_test(test_hostile_diffs_are_refused_for_their_reason),
		cmocka_unit_test(test_recover_mode_keeps_the_guards),
		cmocka_unit_test(test_what_the_base_has_already_is_not_the_diff_s_fault),
		cmocka_unit_test(test_rules_are_added_and_lifted),
		cmocka_unit_test(test_bounds_hold),
		cmocka_unit_test(test_a_diff_is_as_long_as_a_message_may_be),
		cmocka_unit_test(test_nothing_is_written_for_a_refused_diff),
	};

	return cmocka_run_group_tests(tests, open_files, close_files);
}
