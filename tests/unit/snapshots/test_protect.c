/*
 * test_protect.c - every protected file against every way to do away with it,
 * with real diffs; what is allowed all the same; and which files of each
 * ecosystem are in the tables.
 */
#include "tests/unit/snapshots/patch_kit.h"

#include "snapshots/guard.h"

/* --- one file at a time --------------------------------------------------- */

enum { PATH_BYTES = 128, DIFF_BYTES = 4096 };

/* A path that a glob of the tables fits. */
static void path_of(const char *glob, char ret[PATH_BYTES])
{
	size_t len = 0;

	for (glob += glob[0] == '/'; *glob != '\0'; glob++) {
		assert_true(len < PATH_BYTES - 2);
		if (glob[0] == '*' && len > 0 && ret[len - 1] == 'x')
			continue;
		ret[len++] = *glob == '*' ? 'x' : *glob;
	}
	ret[len] = '\0';
}

/* Each is written with the path for every %1$s. */
static const struct {
	const char *diff, *word;
} tricks[] = {
	{"diff --git a/%1$s b/%1$s\ndeleted file mode 100644\n--- a/%1$s\n+++ /dev/null\n"
	 "@@ -1 +0,0 @@\n-content\n",
	 "deleted"},
	{"--- a/%1$s\n+++ /dev/null\n@@ -1 +0,0 @@\n-content\n", "deleted"},
	{"diff --git a/%1$s b/moved-away\nsimilarity index 100%%\nrename from %1$s\n"
	 "rename to moved-away\n",
	 "renamed away"},
	{"diff --git a/%1$s b/moved-away\nsimilarity index 50%%\nrename from %1$s\n"
	 "rename to moved-away\n--- a/%1$s\n+++ b/moved-away\n@@ -1 +1 @@\n-content\n+x\n",
	 "renamed away"},
	{"--- a/%1$s\n+++ b/%1$s\n@@ -1 +0,0 @@\n-content\n", "emptied"},
	{"--- a/%1$s\n+++ b/%1$s\n@@ -1 +1,3 @@\n-content\n+\n+ \t \n+\f\n", "emptied"},
	{"--- a/%1$s\n+++ b/%1$s\n@@ -1 +1 @@\n-content\n+\xef\xbb\xbf\n", "emptied"},
	{"diff --git a/%1$s b/%1$s\ndeleted file mode 100644\n--- a/%1$s\n+++ /dev/null\n"
	 "@@ -1 +0,0 @@\n-content\ndiff --git a/%1$s b/%1$s\nnew file mode 100644\n"
	 "--- /dev/null\n+++ b/%1$s\n@@ -0,0 +1 @@\n+other\n",
	 "made again"},
	{"diff --git a/%1$s b/moved-away\nsimilarity index 100%%\nrename from %1$s\n"
	 "rename to moved-away\ndiff --git a/plain b/%1$s\nsimilarity index 100%%\n"
	 "rename from plain\nrename to %1$s\n",
	 "made again"},
	{"diff --git a/%1$s b/%1$s\ndeleted file mode 100644\n--- a/%1$s\n+++ /dev/null\n"
	 "@@ -1 +0,0 @@\n-content\ndiff --git a/%1$s/in b/%1$s/in\nnew file mode 100644\n",
	 "deleted"},
	{"diff --git a/%1$s b/one\nsimilarity index 100%%\nrename from %1$s\nrename to "
	 "one\n\nthen\n"
	 "diff --git a/one b/two\nsimilarity index 100%%\nrename from one\nrename to two\n",
	 "renamed away"},
};

/* `diff` with the path for %1$s, and %% for %. */
static void write_diff(const char *diff, const char *path, char ret[DIFF_BYTES])
{
	size_t len = 0;

	while (*diff != '\0') {
		assert_true(len + PATH_BYTES < DIFF_BYTES);
		if (strncmp(diff, "%1$s", 4) == 0) {
			len += (size_t)snprintf(ret + len, PATH_BYTES, "%s", path);
			diff += 4;
		} else {
			diff += diff[0] == '%';
			ret[len++] = *diff++;
		}
	}
	ret[len] = '\0';
}

static void every_trick_on(struct kit *kit, const char *path)
{
	const struct kit_file files[] = {
		{path, MODE_FILE, "content\n"}, {"plain", MODE_FILE, "text\n"}, {NULL, 0, NULL}};
	char diff[DIFF_BYTES];

	kit->base = kit_tree(kit, files);
	for (size_t i = 0; i < ARRAY_LEN(tricks); i++) {
		write_diff(tricks[i].diff, path, diff);
		if (kit_apply(kit, kit_text(diff)) != REFUSED ||
		    kit->reason.code != REASON_PATCH_PROTECTED ||
		    strstr(kit->reason.message, tricks[i].word) == NULL)
			fail_msg("'%s': wanted '%s', got %s: %s\n%s", path, tricks[i].word,
				 reason_code_name(kit->reason.code), kit->reason.message, diff);
	}
}

static int change_is(struct kit *kit, const char *path)
{
	char diff[DIFF_BYTES];

	write_diff("--- a/%1$s\n+++ b/%1$s\n@@ -1 +1,2 @@\n content\n+more\n", path, diff);
	return kit_apply(kit, kit_text(diff));
}

static void every_rule_holds_against_every_trick(void **state)
{
	struct kit *kit = *state;
	const struct guard_rule *rules;
	char path[PATH_BYTES];
	size_t len;

	rules = guard_rules(&len);
	for (size_t i = 0; i < len; i++) {
		bool fixed;

		path_of(rules[i].glob, path);
		if (guard_protection(path) == NULL)
			fail_msg("'%s' does not fit '%s'", path, rules[i].glob);
		fixed = guard_protection(path)->strength == GUARD_FIXED;
		every_trick_on(kit, path);
		assert_int_equal(change_is(kit, path), fixed ? REFUSED : 0);
	}
}

/* The same diffs on a file that nobody protects are applied. */
static void the_tricks_are_good_diffs(void **state)
{
	static const struct kit_file files[] = {{"src/other", MODE_FILE, "content\n"},
						{"plain", MODE_FILE, "text\n"},
						{NULL, 0, NULL}};
	struct kit *kit = *state;
	char diff[DIFF_BYTES];

	kit->base = kit_tree(kit, files);
	for (size_t i = 0; i < ARRAY_LEN(tricks); i++) {
		write_diff(tricks[i].diff, "src/other", diff);
		if (kit_apply(kit, kit_text(diff)) != 0)
			fail_msg("%s: %s\n%s", reason_code_name(kit->reason.code),
				 kit->reason.message, diff);
	}
}

/* --- the tables --------------------------------------------------------------- */

static const char *const guarded[] = {
	"Makefile",
	"CMakeLists.txt",
	"pyproject.toml",
	"pkg/setup.py",
	"requirements.txt",
	"poetry.lock",
	"environment.yml",
	"package.json",
	"web/package-lock.json",
	"yarn.lock",
	"pnpm-lock.yaml",
	"lerna.json",
	"Cargo.toml",
	"crates/a/Cargo.toml",
	"Cargo.lock",
	"go.mod",
	"go.sum",
	"pom.xml",
	"mvnw",
	"build.gradle",
	"gradlew",
	"app/app.csproj",
	"global.json",
	"Gemfile.lock",
	"composer.json",
	"mix.exs",
	"Package.swift",
	"pubspec.yaml",
	"stack.yaml",
	"cabal.project",
	"dune-project",
	"x.opam",
	"flake.nix",
	".terraform.lock.hcl",
	"MODULE.bazel",
	"rebar.config",
	"project.clj",
	"deps.edn",
	"Project.toml",
	"DESCRIPTION",
	"renv.lock",
	"cpanfile",
	"build.zig",
	"shard.yml",
	"Dockerfile",
	"docker-compose.yml",
	".github/workflows/x.yml",
	".gitlab-ci.yml",
	".drone.yml",
	"Jenkinsfile",
	"tests/conftest.py",
	"tox.ini",
	"jest.config.js",
	"LICENSE",
	"README.md",
	".gitignore",
	".github/CODEOWNERS",
};
static const char *const unguarded[] = {"src/main.c",	   "docs/guide.md", "a/b/c.py",
					"lib/README.html", "x/LICENSE.c",   "test/data.json"};

static void each_ecosystem_has_its_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(guarded); i++) {
		if (guard_protection(guarded[i]) == NULL)
			fail_msg("'%s' is not protected", guarded[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(unguarded); i++) {
		if (guard_protection(unguarded[i]) != NULL)
			fail_msg("'%s' is protected by '%s'", unguarded[i],
				 guard_protection(unguarded[i])->glob);
	}
}

static void what_deserves_a_look_is_named(void **state)
{
	static const struct {
		const char *path, *rule;
	} notes[] = {
		{".github/workflows/ci.yml", "patch.ci"},
		{".travis.yml", "patch.ci"},
		{".drone.yml", "patch.ci"},
		{".husky/pre-commit", "patch.ci"},
		{"CODEOWNERS", "patch.ci"},
		{"a/conftest.py", "patch.harness"},
		{"setup.cfg", "patch.harness"},
		{".coveragerc", "patch.harness"},
		{"cypress.config.ts", "patch.harness"},
		{".rspec", "patch.harness"},
		{"Makefile", "patch.build"},
		{"sub/Makefile.am", "patch.build"},
		{"defs.bzl", "patch.build"},
		{"BUILD", "patch.build"},
		{"webpack.config.js", "patch.build"},
		{"Gruntfile.js", "patch.build"},
		{".cargo/config.toml", "patch.build"},
		{"docker-compose.yml", "patch.build"},
		{"Directory.Build.props", "patch.build"},
		{"Rakefile", "patch.build"},
		{"scripts/x.ps1", NULL},
		{"package.json", "patch.dependencies"},
		{"go.work", "patch.dependencies"},
		{"mix.exs", "patch.dependencies"},
		{"a/x.csproj", "patch.dependencies"},
		{"tests/a.c", "patch.tests"},
		{"src/a_test.go", "patch.tests"},
		{"src/A.test.tsx", "patch.tests"},
		{"FooTests.cs", "patch.tests"},
		{"e2e/x.ts", "patch.tests"},
		{"t/00-load.t", "patch.tests"},
		{"src/__snapshots__/a", "patch.tests"},
		{"src/contest.c", NULL},
		{"src/main.c", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		const struct guard_note *note = guard_note(notes[i].path);

		if (notes[i].rule == NULL ? note != NULL
					  : note == NULL || strcmp(note->rule, notes[i].rule) != 0)
			fail_msg("'%s': %s", notes[i].path, note == NULL ? "none" : note->rule);
	}
}

static int open_kit(void **state)
{
	static const struct kit_file files[] = {{"plain", MODE_FILE, "text\n"}, {NULL, 0, NULL}};
	static struct kit kit;

	kit_open(&kit, files);
	*state = &kit;
	return 0;
}

static int close_kit(void **state)
{
	kit_close(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_rule_holds_against_every_trick),
		cmocka_unit_test(the_tricks_are_good_diffs),
		cmocka_unit_test(each_ecosystem_has_its_files),
		cmocka_unit_test(what_deserves_a_look_is_named),
	};

	return cmocka_run_group_tests(tests, open_kit, close_kit);
}
