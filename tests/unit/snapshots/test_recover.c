/*
 * test_recover.c - recover mode: each kind of damage on one small change that
 * is mended and says so, and what no mode may take.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "schema/limits.h"

/* clang-format off */
#define HEAD \
	"/* head */\n#include <stdio.h>\n\nstatic int total;\n\n"
#define ADD(body) \
	"int add(int value)\n{\n\tif (value < 0)\n\t\treturn -1;\n" body "\treturn total;\n}\n\n"
#define SUB \
	"int sub(int value)\n{\n\tif (value < 0)\n\t\treturn -1;\n\ttotal -= value;\n" \
	"\treturn total;\n}\n\n"
#define MAIN \
	"int main(void)\n{\n\tprintf(\"%d\\n\", add(1));\n\treturn 0;\n}\n"
#define OLD HEAD ADD("\ttotal += value;\n") SUB MAIN
#define NEW HEAD ADD("\ttotal += 2 * value;\n") SUB MAIN

#define GIT   "diff --git a/src/count.c b/src/count.c\n"
#define SIDES "--- a/src/count.c\n+++ b/src/count.c\n"
#define AT    "@@ -7,7 +7,7 @@ int add(int value)\n"
#define LEAD  " {\n \tif (value < 0)\n \t\treturn -1;\n"
#define EDIT  "-\ttotal += value;\n+\ttotal += 2 * value;\n"
#define TAIL  " \treturn total;\n }\n \n"
/* clang-format on */

static const struct kit_file files[] = {
	{"src/count.c", MODE_FILE, OLD},
	{"crlf", MODE_FILE, "one\r\ntwo\r\nthree\r\nfour\r\nfive\r\n"},
	{"cut", MODE_FILE, "one\ntwo\nthree"},
	{"twins", MODE_FILE, "a\nb\nc\nx\na\nb\nc\nx\na\nb\nc\n"},
	{"count.c", MODE_FILE, "other\n"},
	{"rival", MODE_FILE, "alpha\nbeta\ngamma\nnext\nalpha\nbeta\nextra\ngamma\nend\n"},
	{"blank", MODE_FILE, "one\ntwo\nthree\n\n\n\nseven\n\n\nten\n"},
	{"comment", MODE_FILE, "/*\n * one\n * two\n */\nend\n"},
	{"white", MODE_FILE, "one\ntwo\nthree\nfour  \nfive\nsix\nseven\neight\nnine\nten\n"},
	{"ends", MODE_FILE, "one\ntwo\nthree\nfour\nfive\nreturn nothing\nreturn seven\n\n\n"},
	{NULL, 0, NULL},
};

static struct oid tree_with(struct kit *kit, const char *path, const char *content)
{
	struct kit_file changed[ARRAY_LEN(files) + 1];
	size_t len = 0;

	for (size_t i = 0; files[i].path != NULL; i++) {
		if (strcmp(files[i].path, path) != 0)
			changed[len++] = files[i];
	}
	changed[len++] = (struct kit_file){path, MODE_FILE, content};
	changed[len] = (struct kit_file){NULL, 0, NULL};
	return kit_tree(kit, changed);
}

static int open_files(void **state)
{
	static struct kit kit;

	kit_open(&kit, files);
	kit.policy.recover = true;
	*state = &kit;
	return 0;
}

static int close_files(void **state)
{
	kit_close(*state);
	return 0;
}

/* --- what is mended ---------------------------------------------------------- */

struct mended {
	const char *kind;
	const char *diff;
	const char *path;
	const char *content;
	const char *note; /* of some sentence; NULL: nothing is adjusted */
};

/* clang-format off */
#define COUNT(kind, diff, note) {kind, diff, "src/count.c", NEW, note}

static const struct mended mended[] = {
	COUNT("nothing", GIT SIDES AT LEAD EDIT TAIL, NULL),
	COUNT("wrong counts", GIT SIDES "@@ -7,5 +7,9 @@ int add(int value)\n" LEAD EDIT TAIL,
	      "hunk 1 has 7 old and 7 new lines instead of 5 and 9"),
	COUNT("wrong lines", GIT SIDES "@@ -70,7 +71,7 @@\n" LEAD EDIT TAIL,
	      "applied at line 7 instead of 70"),
	COUNT("both", GIT SIDES "@@ -70,5 +71,6 @@\n" LEAD EDIT TAIL, "instead of 5 and 6"),
	COUNT("bare @@", GIT SIDES "@@\n" LEAD EDIT TAIL, "no line numbers, applied at line 7"),
	COUNT("bare @@ with heading", GIT SIDES "@@ int add(int value)\n" LEAD EDIT TAIL,
	      "no line numbers"),
	COUNT("no diff --git", SIDES AT LEAD EDIT TAIL, NULL),
	COUNT("no sides", GIT AT LEAD EDIT TAIL, NULL),
	COUNT("one side", "--- a/src/count.c\n" AT LEAD EDIT TAIL, "'---' and '+++'"),
	COUNT("the other side", "+++ b/src/count.c\n" AT LEAD EDIT TAIL, "'---' and '+++'"),
	COUNT("no final newline", GIT SIDES "@@ -7,6 +7,6 @@\n" LEAD EDIT " \treturn total;\n }",
	      ""),
	COUNT("code fence", "```diff\n" GIT SIDES AT LEAD EDIT TAIL "```\n", NULL),
	COUNT("indented code fence", "  ```diff\n" GIT SIDES AT LEAD EDIT TAIL "  ```\n", NULL),
	COUNT("prose", "Here it is:\n\n" GIT SIDES AT LEAD EDIT TAIL "\nThat is all.\n", NULL),
	COUNT("prose and wrong counts",
	      "Here:\n" GIT SIDES "@@ -7,9 +7,8 @@\n" LEAD EDIT TAIL "\nThat is all.\n",
	      "instead of 9 and 8"),
	COUNT("fence and counts too large",
	      "```diff\n" GIT SIDES "@@ -7,9 +7,8 @@\n" LEAD EDIT TAIL "```\n", "instead of 9 and 8"),
	COUNT("blank context without its space", GIT SIDES AT LEAD EDIT " \treturn total;\n }\n\n",
	      NULL),
	COUNT("context right-stripped",
	      GIT SIDES AT " {  \n \tif (value < 0)\t\n \t\treturn -1;\n" EDIT TAIL,
	      "white space at the end of 2 lines"),
	COUNT("CRLF all",
	      "--- a/src/count.c\r\n+++ b/src/count.c\r\n@@ -9,3 +9,3 @@\r\n \t\treturn -1;\r\n"
	      "-\ttotal += value;\r\n+\ttotal += 2 * value;\r\n \treturn total;\r\n",
	      "added lines end as those of the file do"),
	COUNT("CRLF mixed",
	      "--- a/src/count.c\n+++ b/src/count.c\r\n@@ -9,3 +9,3 @@\n \t\treturn -1;\n"
	      "-\ttotal += value;\n+\ttotal += 2 * value;\r\n \treturn total;\r\n",
	      "added lines end as those of the file do"),
	COUNT("context line dropped",
	      GIT SIDES "@@ -7,6 +7,6 @@\n {\n \t\treturn -1;\n" EDIT TAIL,
	      "lacks 1 context lines"),
	COUNT("counts too large, no shape of a hunk that was cut off",
	      GIT SIDES "@@ -7,8 +7,9 @@ int add(int value)\n" LEAD EDIT TAIL,
	      "7 new lines instead of 8 and 9"),
	COUNT("counts that no file has", GIT SIDES "@@ -7,107 +7,107 @@ int add(int value)\n" LEAD EDIT TAIL,
	      "instead of 107 and 107"),
	{"context line dropped next to what is added, counts remember it",
	 "--- a/white\n+++ b/white\n@@ -2,6 +2,7 @@\n two\n three\n+new\n five\n six\n seven\n",
	 "white", "one\ntwo\nthree\nfour  \nnew\nfive\nsix\nseven\neight\nnine\nten\n",
	 "lacks 1 context lines"},
	{"context line dropped behind what is added, counts remember it",
	 "--- a/white\n+++ b/white\n@@ -1,6 +1,7 @@\n one\n two\n three\n+new\n five\n six\n",
	 "white", "one\ntwo\nthree\nnew\nfour  \nfive\nsix\nseven\neight\nnine\nten\n",
	 "lacks 1 context lines"},
	COUNT("removed lines say where",
	      GIT SIDES "@@ -7,6 +7,6 @@\n {\n \tif (value < 0)\n" EDIT TAIL,
	      "lacks 1 context lines"),
	COUNT("outer context altered",
	      GIT SIDES AT " begin\n \tif (value < 0)\n \t\treturn -1;\n" EDIT
	      " \treturn total;\n }\n end\n", "outer context lines that are not in the file"),
	COUNT("context re-indented",
	      GIT SIDES AT " {\n     if (value < 0)\n         return -1;\n" EDIT
	      "     return total;\n }\n \n", "3 context lines in another way"),
	COUNT("fake index line", GIT "index 1234567..89abcde 100644\n" SIDES AT LEAD EDIT TAIL, NULL),
	COUNT("broken index line", GIT "index XXXXXXX..YYYYYYY\n" SIDES AT LEAD EDIT TAIL,
	      "index line without two oids"),
	{"no prefix", "--- crlf\n+++ crlf\n@@ -1,2 +1,2 @@\n-one\r\n+1\r\n two\r\n", "crlf",
	 "1\r\ntwo\r\nthree\r\nfour\r\nfive\r\n", "prefixes"},
	{"LF for a CRLF file", "--- a/crlf\n+++ b/crlf\n@@ -2,3 +2,4 @@\n two\n-three\n+3\n+3.5\n four\n",
	 "crlf", "one\r\ntwo\r\n3\r\n3.5\r\nfour\r\nfive\r\n", "added lines end"},
	{"hunks out of order", SIDES
	 "@@ -22,5 +23,6 @@\n int main(void)\n {\n \tprintf(\"%d\\n\", add(1));\n+\tsub(1);\n"
	 " \treturn 0;\n }\n@@ -1,4 +1,5 @@\n /* head */\n+#include <errno.h>\n"
	 " #include <stdio.h>\n \n static int total;\n",
	 "src/count.c", "/* head */\n#include <errno.h>\n#include <stdio.h>\n\nstatic int total;\n\n"
	 ADD("\ttotal += value;\n") SUB
	 "int main(void)\n{\n\tprintf(\"%d\\n\", add(1));\n\tsub(1);\n\treturn 0;\n}\n",
	 "hunks were put in order"},
	{"new file without mode", "diff --git a/new b/new\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n",
	 "new", "x\n", "made with 100644"},
	{"new file without /dev/null",
	 "diff --git a/new b/new\nnew file mode 100644\n--- a/new\n+++ b/new\n@@ -0,0 +1 @@\n+x\n",
	 "new", "x\n", "/dev/null"},
	{"new file without either", "diff --git a/new b/new\n--- a/new\n+++ b/new\n@@ -0,0 +1 @@\n+x\n",
	 "new", "x\n", "the file is new"},
	{"new file with a made up oid",
	 "diff --git a/new b/new\nnew file mode 100644\nindex 0000000..e69de29\n--- /dev/null\n"
	 "+++ b/new\n@@ -0,0 +1,2 @@\n+x\n+y\n", "new", "x\ny\n", ""},
	{"comment that begins with dots", "--- a/cut\n+++ b/cut\n@@ -1,2 +1,2 @@\n one\n"
	 "+/* ... and of every instance whose process is no more. */\n two\n", "cut",
	 "one\n/* ... and of every instance whose process is no more. */\ntwo\nthree", ""},
	{"counts that end before a blank line", SIDES
	 "@@ -1,3 +1,4 @@\n /* head */\n+#include <errno.h>\n #include <stdio.h>\n \n static int total;\n \n"
	 "@@ -22,5 +23,6 @@\n int main(void)\n {\n \tprintf(\"%d\\n\", add(1));\n+\tsub(1);\n"
	 " \treturn 0;\n }\n",
	 "src/count.c", "/* head */\n#include <errno.h>\n#include <stdio.h>\n\nstatic int total;\n\n"
	 ADD("\ttotal += value;\n") SUB
	 "int main(void)\n{\n\tprintf(\"%d\\n\", add(1));\n\tsub(1);\n\treturn 0;\n}\n",
	 ""},
	{"lost mark of context", "--- a/cut\n+++ b/cut\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\n",
	 "cut", "1\ntwo\nthree", "white space at the end"},
	COUNT("a blank line of white space behind", "```\n" GIT SIDES "@@ -7,7 +7,7 @@\n" LEAD EDIT TAIL " \n```\n",
	      NULL),
	COUNT("fence behind the last line",
	      "```diff\n" GIT SIDES "@@ -7,6 +7,6 @@\n" LEAD EDIT " \treturn total;\n }```\n",
	      "on a line of its own"),
	COUNT("prose behind a ruler", GIT SIDES AT LEAD EDIT TAIL "\n---\n\n**Why**\n\n- it counts\n", ""),
	{"new file behind prefixes of another kind",
	 "diff --git c/new i/new\nnew file mode 100644\nindex 0000000..587be6b\n--- /dev/null\n+++ i/new\n"
	 "@@ -0,0 +1 @@\n+x\n", "new", "x\n", NULL},
	{"bare new file, its end marked", "--- /dev/null\n+++ b/new\n@@\n+x\n\\ No newline at end of file\n",
	 "new", "x", "no line numbers"},
	{"bare new file, and more behind it",
	 "```\n--- /dev/null\n+++ b/new\n@@\n+x\n+y\n```\n", "new", "x\ny\n", "no line numbers"},
	{"lost mark, the newline is the change",
	 "--- a/cut\n+++ b/cut\n@@ -2,2 +2,2 @@\n two\n-three\n+three\n", "cut",
	 "one\ntwo\nthree\n", "white space at the end"},
};
/* clang-format on */

static bool is_noted(const struct kit *kit, const char *note)
{
	for (size_t i = 0; i < kit->outcome.adjusted.len; i++) {
		if (strstr(kit->outcome.adjusted.items[i], note) != NULL)
			return true;
	}
	return false;
}

static void test_each_kind_of_damage_is_mended_and_told(void **state)
{
	struct kit *kit = *state;

	for (size_t i = 0; i < ARRAY_LEN(mended); i++) {
		const struct mended *row = &mended[i];
		struct oid want;

		want = tree_with(kit, row->path, row->content);
		if (kit_apply(kit, kit_text(row->diff)) != 0)
			fail_msg("%s: %s: %s", row->kind, reason_code_name(kit->reason.code),
				 kit->reason.message);
		if (!oid_equal(&want, &kit->outcome.tree))
			fail_msg("%s: another tree", row->kind);
		if (row->note == NULL ? kit->outcome.adjusted.len > 0
				      : row->note[0] != '\0' && !is_noted(kit, row->note))
			fail_msg("%s: told '%s' and %zu more", row->kind,
				 kit->outcome.adjusted.len > 0 ? kit->outcome.adjusted.items[0]
							       : "",
				 kit->outcome.adjusted.len);
	}
}

static void test_strict_mode_takes_no_damage(void **state)
{
	struct kit *kit = *state;

	kit->policy.recover = false;
	for (size_t i = 0; i < ARRAY_LEN(mended); i++) {
		/* A hunk may move, and an index line proves nothing when it is none. */
		if (mended[i].note == NULL || strcmp(mended[i].kind, "wrong lines") == 0 ||
		    strcmp(mended[i].kind, "broken index line") == 0)
			continue;
		if (kit_apply(kit, kit_text(mended[i].diff)) == 0)
			fail_msg("%s: accepted", mended[i].kind);
	}
	kit->policy.recover = true;
}

/* One line of a header is no line of the hunk before it. */
static void test_a_lone_name_starts_a_file(void **state)
{
	static const char *const diffs[] = {
		"+++ b/count.c\n@@ -1 +1 @@\n-other\n+another\n"
		"+++ b/cut\n@@ -1,3 +1,3 @@\n-one\n+1\n two\n three\n",
		"--- a/count.c\n@@ -1 +1 @@\n-other\n+another\n"
		"--- a/cut\n@@\n-one\n+1\n two\n three\n",
	};
	struct kit *kit = *state;

	for (size_t i = 0; i < ARRAY_LEN(diffs); i++) {
		if (kit_apply(kit, kit_text(diffs[i])) != 0)
			fail_msg("%zu: %s", i, kit->reason.message);
		assert_int_equal(kit->outcome.edits_len, 2);
	}
}

/* --- what is not ---------------------------------------------------------------- */

struct refused {
	const char *kind;
	const char *diff;
	enum reason_code code;
	const char *word;
};

/* clang-format off */
static const struct refused refused[] = {
	{"truncated at a line", GIT SIDES AT LEAD EDIT " \treturn total;\n", REASON_PATCH_TRUNCATED,
	 "cut off"},
	{"truncated in a closed fence",
	 "```diff\n--- /dev/null\n+++ b/new\n@@ -0,0 +1,3 @@\n+one\n```\n", REASON_PATCH_TRUNCATED,
	 "cut off"},
	{"truncated in a line", GIT SIDES AT LEAD EDIT " \treturn total;\n }\n \tx", REASON_PATCH_CONFLICT,
	 ""},
	{"truncated where the file ends", GIT SIDES AT LEAD EDIT TAIL
	 "--- a/ends\n+++ b/ends\n@@ -6,4 +6,8 @@\n return nothing\n return seven\n \n+eight\n", REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated where only context was left, of a function perhaps",
	 GIT SIDES "@@ -7,8 +7,8 @@ int add(int value)\n" LEAD EDIT TAIL, REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated before a change with less context",
	 GIT SIDES "@@ -7,9 +7,16 @@ int add(int value)\n" LEAD EDIT " \treturn total;\n", REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated where a gap would fit as well", GIT SIDES AT LEAD EDIT TAIL
	 "--- a/ends\n+++ b/ends\n@@ -6,4 +6,6 @@\n return nothing\n return seven\n \n+eight\n+nine\n", REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated in a whole function",
	 SIDES "@@ -14,12 +14,12 @@\n int sub(int value)\n" LEAD "-\ttotal -= value;\n+\ttotal -= 2;\n" TAIL " int main(void)\n", REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated in a whole function behind another",
	 SIDES "@@ -2,7 +2,7 @@\n #include <stdio.h>\n \n static int total;\n \n-int add(int value)\n+int add(int x)\n {\n \tif (value < 0)\n"
	 "@@ -14,12 +14,12 @@\n int sub(int value)\n" LEAD "-\ttotal -= value;\n+\ttotal -= 2;\n" TAIL, REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated in an added line",
	 "--- /dev/null\n+++ b/new\n@@ -0,0 +1,2 @@\n+one\n+tw", REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated, perhaps, without counts", "--- /dev/null\n+++ b/new\n@@\n+one\n+two\n",
	 REASON_PATCH_TRUNCATED, "cut off"},
	{"truncated, perhaps, without counts and context",
	 "--- a/white\n+++ b/white\n@@\n-three\n-four  \n+three and four\n", REASON_PATCH_TRUNCATED, "cut off"},
	{"a removed blank line that lost its mark",
	 "--- a/blank\n+++ b/blank\n@@ -1,7 +1,6 @@\n one\n two\n-three\n+3\n\n \n \n seven\n",
	 REASON_PATCH_AMBIGUOUS, "blank line"},
	{"an added blank line that lost its mark",
	 "--- a/blank\n+++ b/blank\n@@ -7,2 +7,4 @@\n seven\n+x\n\n \n```\n", REASON_PATCH_AMBIGUOUS,
	 "blank line"},
	{"the twin of a place that is gone", GIT SIDES
	 "@@ -1,3 +1,4 @@\n /* head */\n+#include <errno.h>\n #include <stdio.h>\n \n"
	 "@@ -9,3 +10,4 @@ int add(int value)\n \t\treturn -1;\n+\tcheck();\n \ttotal -= value;\n \treturn total;\n",
	 REASON_PATCH_AMBIGUOUS, "header names"},
	{"the twin of a place that is gone, and wrong counts", GIT SIDES
	 "@@ -1,3 +1,4 @@\n /* head */\n+#include <errno.h>\n #include <stdio.h>\n \n"
	 "@@ -9,3 +10,7 @@ int add(int value)\n \t\treturn -1;\n+\tcheck();\n \ttotal -= value;\n \treturn total;\n```\n",
	 REASON_PATCH_AMBIGUOUS, "header names"},
	{"the twin of a place that is gone, without line numbers", GIT SIDES
	 "@@ int add(int value)\n \t\treturn -1;\n+\tcheck();\n \ttotal -= value;\n \treturn total;\n",
	 REASON_PATCH_AMBIGUOUS, "header names"},
	{"all lines one space to the right",
	 "--- a/comment\n+++ b/comment\n@@ -1,4 +1,5 @@\n  /*\n   * one\n+ x\n   * two\n   */\n",
	 REASON_PATCH_AMBIGUOUS, "indented so too"},
	{"all lines to the right, context more than the others",
	 "--- a/comment\n+++ b/comment\n@@ -1,4 +1,5 @@\n   /*\n    * one\n+      x\n    * two\n    */\n",
	 REASON_PATCH_AMBIGUOUS, "indented so too"},
	{"outer context that was written for HTML",
	 "--- a/src/count.c\n+++ b/src/count.c\n@@ -2,4 +2,5 @@\n #include &lt;stdio.h&gt;\n \n static int total;\n"
	 "+static int more;\n \n", REASON_PATCH_CONFLICT, "expected"},
	{"truncated in a header", GIT "index 12", REASON_PATCH_TRUNCATED, "inside a header"},
	{"truncated before its hunk", GIT SIDES, REASON_PATCH_TRUNCATED, "no hunk"},
	{"elided, bare", GIT SIDES AT LEAD EDIT "...\n }\n \n", REASON_PATCH_MALFORMED, "left out"},
	{"elided, as context", GIT SIDES AT " ...\n \t\treturn -1;\n" EDIT TAIL, REASON_PATCH_CONFLICT,
	 "..."},
	{"elided, as an added line", GIT SIDES AT LEAD EDIT "+\t// ... existing code ...\n" TAIL,
	 REASON_PATCH_MALFORMED, "left out"},
	{"elided, in many words",
	 GIT SIDES AT LEAD EDIT "+\t// ... (here stands all of what was there, and the rest ...)\n" TAIL,
	 REASON_PATCH_MALFORMED, "left out"},
	{"elided behind the hunk", GIT SIDES AT LEAD EDIT TAIL "...\n", REASON_PATCH_MALFORMED,
	 "left out"},
	{"reversed", GIT SIDES "@@ -7,7 +7,7 @@\n" LEAD
	 "-\ttotal += 2 * value;\n+\ttotal += value;\n" TAIL, REASON_PATCH_APPLIED, "already"},
	{"reversed and bare", GIT SIDES "@@\n" LEAD
	 "-\ttotal += 2 * value;\n+\ttotal += value;\n" TAIL, REASON_PATCH_APPLIED, "already"},
	{"two places", "--- a/twins\n+++ b/twins\n@@\n a\n-b\n+B\n c\n", REASON_PATCH_AMBIGUOUS,
	 "fits at line"},
	{"two places, and a line of neither", "--- a/twins\n+++ b/twins\n@@ -40,3 +40,3 @@\n a\n-b\n+B\n c\n",
	 REASON_PATCH_AMBIGUOUS, "fits at line"},
	{"blank lines alone, not at their line",
	 "--- a/blank\n+++ b/blank\n@@ -6,3 +6,4 @@\n \n+x\n \n \n", REASON_PATCH_AMBIGUOUS, ""},
	{"a removed line that is not there", GIT SIDES AT LEAD
	 "-\ttotal += values;\n+\ttotal += 2 * value;\n" TAIL, REASON_PATCH_CONFLICT, "expected"},
	{"a removed line that is indented otherwise", GIT SIDES AT LEAD
	 "-    total += value;\n+\ttotal += 2 * value;\n" TAIL, REASON_PATCH_CONFLICT, "no place"},
	{"context missing next to what is added",
	 "--- a/src/count.c\n+++ b/src/count.c\n@@ -21,4 +21,5 @@\n \n int main(void)\n"
	 "+\tint unused;\n \tprintf(\"%d\\n\", add(1));\n \treturn 0;\n",
	 REASON_PATCH_AMBIGUOUS, "on which side"},
	{"counts of context that is missing at another place",
	 "--- a/rival\n+++ b/rival\n@@ -40,4 +40,5 @@\n alpha\n beta\n+new\n gamma\n```\n",
	 REASON_PATCH_AMBIGUOUS, "lacks 1 lines"},
	{"CR LF that is damage here and may be there",
	 "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\r\n" GIT SIDES "@@ -10,3 +10,3 @@\n"
	 " \t\treturn -1;\r\n-\ttotal += value;\r\n+\ttotal += 2 * value;\r\n \treturn total;\r\n",
	 REASON_PATCH_AMBIGUOUS, "damage too"},
	{"nothing but removed lines, elsewhere",
	 "--- a/src/count.c\n+++ b/src/count.c\n@@ -40,2 +39,0 @@\n-int main(void)\n-{\n",
	 REASON_PATCH_CONFLICT, ""},
	{"all of a hunk indented anew", GIT SIDES "@@ -7,5 +7,6 @@\n"
	 "   {\n     if (value < 0)\n         return -1;\n+    more();\n     total += value;\n"
	 "     return total;\n",
	 REASON_PATCH_AMBIGUOUS, "indented so too"},
	{"nothing but an addition", "--- a/cut\n+++ b/cut\n@@\n+x\n", REASON_PATCH_AMBIGUOUS,
	 "without context"},
	{"no change", GIT SIDES "@@ -7,3 +7,3 @@\n" LEAD, REASON_PATCH_MALFORMED, "changes nothing"},
	{"a change that the file's line ends undo",
	 "--- a/crlf\n+++ b/crlf\n@@ -1,2 +1,2 @@\n-one\n+one\n two\n", REASON_PATCH_APPLIED, "already"},
	{"lost mark of the last line",
	 "--- a/cut\n+++ b/cut\n@@ -2,2 +2,2 @@\n two\n-three\n+3\n", REASON_PATCH_AMBIGUOUS,
	 "does not say whether"},
	{"a name that may be either", "--- src/count.c\n+++ src/count.c\n" AT LEAD EDIT TAIL,
	 REASON_PATCH_AMBIGUOUS, "prefixes"},
	{"text in a hunk", GIT SIDES "@@\n" LEAD "and then\n" EDIT TAIL, REASON_PATCH_MALFORMED,
	 "middle of a hunk"},
	{"overlapping hunks", SIDES "@@\n" LEAD EDIT TAIL "@@\n" LEAD EDIT TAIL, REASON_PATCH_CONFLICT,
	 "another hunk"},
	{"a path out of the tree", "--- ../x\n+++ ../x\n@@ -0,0 +1 @@\n+x\n", REASON_PATCH_PATH, ""},
	{"a path into .git", "--- .git/x\n+++ .git/x\n@@ -0,0 +1 @@\n+x\n", REASON_PATCH_PATH, ""},
	{"a hunk without a file", "@@\n-x\n+y\n", REASON_PATCH_MALFORMED, "without a file"},
	{"nothing", "no diff at all\n", REASON_PATCH_MALFORMED, "starts a diff"},
};
/* clang-format on */

static void test_what_is_open_is_refused(void **state)
{
	struct kit *kit = *state;

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		const struct refused *row = &refused[i];

		if (kit_apply(kit, kit_text(row->diff)) != REFUSED)
			fail_msg("%s: accepted", row->kind);
		if (kit->reason.code != row->code || strstr(kit->reason.message, row->word) == NULL)
			fail_msg("%s: %s: %s", row->kind, reason_code_name(kit->reason.code),
				 kit->reason.message);
	}
}

#define DELETION "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"

/* What was made once says so the second time, whatever its numbers are. */
static void test_a_diff_that_is_applied_says_so(void **state)
{
	static const char *const again[] = {
		GIT SIDES AT LEAD EDIT TAIL,
		GIT SIDES "@@\n" LEAD EDIT TAIL,
		GIT SIDES "@@ -90,4 +91,4 @@\n" LEAD EDIT TAIL,
	};
	struct kit *kit = *state;
	struct oid old = kit->base;

	kit->base = tree_with(kit, "src/count.c", NEW);
	for (size_t i = 0; i < ARRAY_LEN(again); i++)
		kit_refuses(kit, kit_text(again[i]), REASON_PATCH_APPLIED, "already");
	kit->policy.recover = false;
	kit_refuses(kit, kit_text(DELETION), REASON_PATCH_NO_FILE, "deleted before");
	kit_refuses(kit, kit_text(DELETION GIT SIDES AT LEAD EDIT TAIL), REASON_PATCH_APPLIED,
		    "already");
	kit->policy.recover = true;
	kit_refuses(kit, kit_text(DELETION GIT SIDES AT LEAD EDIT TAIL), REASON_PATCH_APPLIED,
		    "already");
	kit->base =
		tree_with(kit, "white",
			  "one\ntwo\nthree\nfour\nmore\n\nfive\nsix\nseven\neight\nnine\nten\n");
	kit_refuses(kit,
		    kit_text("--- a/white\n+++ b/white\n@@ -1,9 +1,9 @@\n one\n two\n three\n"
			     "-four  \n+four\n+more\n+\n five\n six\n seven\n"),
		    REASON_PATCH_APPLIED, "already");
	kit->base = old;
}

/* --- proofs ------------------------------------------------------------------------ */

/* An index line with both oids tells which of two places is meant. */
static void test_an_index_line_decides(void **state)
{
	static const char *const lines[] = {"a\nB\nc\nx\na\nb\nc\nx\na\nb\nc\n",
					    "a\nb\nc\nx\na\nB\nc\nx\na\nb\nc\n"};
	struct kit *kit = *state;
	struct oid old_oid, new_oid;
	char old_hex[OID_HEX_BYTES], new_hex[OID_HEX_BYTES], diff[512];

	gitdb_blob_oid(kit_text(files[3].content), &old_oid);
	oid_hex(&old_oid, old_hex);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct oid want = tree_with(kit, "twins", lines[i]);

		gitdb_blob_oid(kit_text(lines[i]), &new_oid);
		oid_hex(&new_oid, new_hex);
		(void)snprintf(diff, sizeof(diff),
			       "diff --git a/twins b/twins\nindex %.10s..%.10s 100644\n"
			       "--- a/twins\n+++ b/twins\n@@\n a\n-b\n+B\n c\n",
			       old_hex, new_hex);
		if (kit_apply(kit, kit_text(diff)) != 0)
			fail_msg("%s", kit->reason.message);
		assert_true(oid_equal(&want, &kit->outcome.tree));
	}
	(void)snprintf(diff, sizeof(diff),
		       "diff --git a/twins b/twins\nindex %.10s..0123456789 100644\n"
		       "--- a/twins\n+++ b/twins\n@@\n a\n-b\n+B\n c\n",
		       old_hex);
	kit_refuses(kit, kit_text(diff), REASON_PATCH_RESULT, "index line names");
}

/* Of two files that a name without prefixes may mean, the index line's. */
static void test_an_index_line_names_the_file(void **state)
{
	struct kit *kit = *state;
	struct oid old_oid, new_oid, want = tree_with(kit, "src/count.c", NEW);
	char old_hex[OID_HEX_BYTES], new_hex[OID_HEX_BYTES], diff[1024];

	gitdb_blob_oid(kit_text(OLD), &old_oid);
	oid_hex(&old_oid, old_hex);
	gitdb_blob_oid(kit_text(NEW), &new_oid);
	oid_hex(&new_oid, new_hex);
	(void)snprintf(diff, sizeof(diff), "%sindex %.7s..%.7s 100644\n%s",
		       "diff --git src/count.c src/count.c\n", old_hex, new_hex,
		       "--- src/count.c\n+++ src/count.c\n" AT LEAD EDIT TAIL);
	if (kit_apply(kit, kit_text(diff)) != 0)
		fail_msg("%s", kit->reason.message);
	assert_true(oid_equal(&want, &kit->outcome.tree));
}

/* --- bounds ------------------------------------------------------------------------- */

/* Lines that all look alike, in a file and in a diff, cost a bounded search. */
static void test_repetition_costs_little(void **state)
{
	enum { LINES = 100000 };
	struct kit *kit = *state;
	struct buf file, diff;
	struct oid old = kit->base;
	int64_t begin;

	buf_init(&file, 2 * LINES + 1);
	buf_init(&diff, 64 * LINES);
	for (size_t i = 0; i < LINES; i++)
		buf_add_text(&file, "x\n");
	kit->base = tree_with(kit, "twins", buf_text(&file));
	buf_add_text(&diff, "--- a/twins\n+++ b/twins\n");
	for (size_t i = 0; i < LINES / 10; i++)
		buf_add_text(&diff, "@@\n x\n x\n-x\n+y\n x\n x\n");
	assert_false(file.failed || diff.failed);
	begin = clock_mono_us();
	kit_refuses(kit, buf_bytes(&diff), REASON_PATCH_AMBIGUOUS, "");
	assert_true(clock_mono_us() - begin < 5000000);
	kit->base = old;
	buf_release(&diff);
	buf_release(&file);
}

static void repeat(struct buf *diff, const char *hunk, size_t times)
{
	for (size_t i = 0; i < times; i++)
		buf_add_text(diff, hunk);
}

/* Many hunks of another file end the search, at whichever end they are; a few
 * do not hide what the others say. */
static void test_the_diff_of_another_file_is_given_up(void **state)
{
	static const char foreign[] = "@@\n nowhere\n-to be\n+found\n";
	struct kit *kit = *state;
	struct oid old = kit->base;
	struct buf diff;

	buf_init(&diff, 8 << 20);
	buf_add_text(&diff, SIDES);
	repeat(&diff, foreign, 1000);
	kit_refuses(kit, buf_bytes(&diff), REASON_PATCH_CONFLICT, "hunk 1 of");
	buf_clear(&diff);
	buf_add_text(&diff, SIDES "@@\n" LEAD EDIT TAIL);
	repeat(&diff, foreign, 1000);
	kit_refuses(kit, buf_bytes(&diff), REASON_PATCH_CONFLICT, "hunk 2 of");
	kit->base = tree_with(kit, "src/count.c", NEW);
	buf_clear(&diff);
	buf_add_text(&diff, SIDES);
	repeat(&diff, foreign, 3);
	buf_add_text(&diff, "@@\n" LEAD EDIT TAIL);
	kit_refuses(kit, buf_bytes(&diff), REASON_PATCH_AMBIGUOUS, "its new side already");
	kit->base = old;
	buf_clear(&diff);
	buf_add_text(&diff, SIDES);
	repeat(&diff, foreign, LIMIT_DAMAGED_HUNKS + 1);
	kit_refuses(kit, buf_bytes(&diff), REASON_PATCH_TOO_LARGE, "searched for");
	buf_release(&diff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_kind_of_damage_is_mended_and_told,
						open_files, close_files),
		cmocka_unit_test_setup_teardown(test_a_lone_name_starts_a_file, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_strict_mode_takes_no_damage, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_what_is_open_is_refused, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_a_diff_that_is_applied_says_so, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_an_index_line_decides, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_an_index_line_names_the_file, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_repetition_costs_little, open_files,
						close_files),
		cmocka_unit_test_setup_teardown(test_the_diff_of_another_file_is_given_up,
						open_files, close_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
