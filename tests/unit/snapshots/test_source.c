/* test_source.c - which repositories a job may name, and how names are spelled. */
#include "tests/unit/snapshots/git_fixture.h"

#include "snapshots/source.h"

#include <ctype.h>

static const char *items[8];
static struct text_list list = {.items = items};

static void allow(const char *a, const char *b)
{
	items[0] = a;
	items[1] = b;
	list.len = b != NULL ? 2 : 1;
}

static int normalise(struct arena *arena, const char *repo, struct source_url *ret,
		     struct reason *reason, struct err *err)
{
	*reason = (struct reason){0};
	*err = (struct err){0};
	return source_normalise(arena, repo, &list, ret, reason, err);
}

static const struct {
	const char *repo;
	const char *url; /* NULL: SOURCE_URL */
} spellings[] = {
	{"https://host.example/a/b.git", "https://host.example/a/b.git"},
	{"HTTPS://Host.EXAMPLE:443/a/b.git/", "https://host.example/a/b.git"},
	{"https://host.example.:443//a//./x/../b.git", "https://host.example/a/b.git"},
	{"https://host.example/%61/%62.git", "https://host.example/a/b.git"},
	{"https://host.example/%2e%2E/a", "https://host.example/a"},
	{"https://host.example/../../a", "https://host.example/a"},
	{"https://host.example/a%c3%a9", "https://host.example/a%C3%A9"},
	{"https://host.example/a\xc3\xa9", "https://host.example/a%C3%A9"},
	{"https://host.example/a%20b", "https://host.example/a%20b"},
	{"https://host.example:8443/a", "https://host.example:8443/a"},
	{"https://host.example:0443/a", "https://host.example/a"},
	{"https://host.example:/a", "https://host.example/a"},
	{"ssh://git@host.example:22/a", "ssh://git@host.example/a"},
	{"ssh://git@host.example/~me/a", "ssh://git@host.example/~me/a"},
	{"ssh://git@host.example/a'b", NULL},
	{"ssh://git@host.example/a%27;id;%27", NULL},
	{"ssh://git@host.example/a%20b", NULL},
	{"ssh://git@host.example/$(id)", NULL},
	{"ssh://git@host.example/a!b", NULL},
	{"ssh://git@host.example/a\\b", NULL},
	{"ssh://git@host.example/a\xc3\xa9", NULL},
	{"ssh://git@host.example/%61+b@c=d,e.git", "ssh://git@host.example/a+b@c=d,e.git"},
	{"https://[::1]/a", "https://[::1]/a"},
	{"https://[::1]:443/a", "https://[::1]/a"},
	{"http://host.example/a", NULL},
	{"git://host.example/a", NULL},
	{"ftp://host.example/a", NULL},
	{"ext::sh -c true", NULL},
	{"ext::https://host.example/a", NULL},
	{"git@host.example:a/b", NULL},
	{"host.example:a", NULL},
	{"relative/path", NULL},
	{"--upload-pack=x", NULL},
	{"", NULL},
	{"https://user@host.example/a", NULL},
	{"https://user:secret@host.example/a", NULL},
	{"https://allowed.example@host.example/a", NULL},
	{"ssh://git:secret@host.example/a", NULL},
	{"ssh://-oProxyCommand=x@host.example/a", NULL},
	{"ssh://-oProxyCommand=x/a", NULL},
	{"https://host.example/a?b", NULL},
	{"https://host.example/a#b", NULL},
	{"https://host.example?/a", NULL},
	{"https://host.example", NULL},
	{"https://host.example/", NULL},
	{"https:///a", NULL},
	{"https://host..example/a", NULL},
	{"https://host.example:0/a", NULL},
	{"https://host.example:65536/a", NULL},
	{"https://host.example:4x/a", NULL},
	{"https://host.example:-1/a", NULL},
	{"https://host.example/a%", NULL},
	{"https://host.example/a%2", NULL},
	{"https://host.example/a%00b", NULL},
	{"https://host.example/a%2Fb", NULL},
	{"https://host.example/a%0Ab", NULL},
	{"https://host.example/a\nb", NULL},
	{"https://host.example/a\\b", NULL},
	{"https://host.example\\@other.example/a", NULL},
	{"https://host.example/a b", NULL},
	{"https://host.example/a\xff", NULL},
	{"https://*.example/a", NULL},
	{"https://h\xc3\xb6st.example/a", NULL},
	{"file://relative", NULL},
	{"file://host.example/a", NULL},
};

static void spellings_become_one(void **state)
{
	struct arena arena;
	struct source_url url;
	struct reason reason;
	struct err err;

	(void)state;
	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		int result;

		allow("https://*.example", "ssh://git@host.example/");
		items[2] = "https://[::1]/";
		items[3] = "https://host.example:8443/";
		list.len = 4;
		result = normalise(&arena, spellings[i].repo, &url, &reason, &err);
		if (spellings[i].url == NULL) {
			if (result != REFUSED || reason.code != REASON_SOURCE_URL)
				fail_msg("'%s': %d %s", spellings[i].repo, result, reason.message);
			continue;
		}
		if (result != 0)
			fail_msg("'%s': %s%s", spellings[i].repo, reason.message, err.message);
		assert_string_equal(url.url, spellings[i].url);
		assert_false(url.local);
	}
	arena_release(&arena);
}

static void the_list_decides(void **state)
{
	static const struct {
		const char *entry;
		const char *repo;
		bool allowed;
	} rows[] = {
		{"https://host.example/team/", "https://host.example/team/a", true},
		{"https://host.example/team", "https://host.example/team/a", true},
		{"https://host.example/team/a", "https://host.example/team/a", true},
		{"https://host.example/team/", "https://host.example/teamwork/a", false},
		{"https://host.example/team/", "https://host.example/team/../other/a", false},
		{"https://host.example/team/", "https://host.example/team/%2e%2e/other/a", false},
		{"https://host.example/team/", "https://host.example/other", false},
		{"https://host.example/team/", "https://host.example:8443/team/a", false},
		{"https://host.example:8443/team/", "https://host.example:8443/team/a", true},
		{"https://host.example/team/", "ssh://host.example/team/a", false},
		{"https://host.example/", "https://host.example.evil.example/a", false},
		{"https://host.example/", "https://evilhost.example/a", false},
		{"https://host.example/", "https://127.0.0.1/a", false},
		{"https://*.host.example/", "https://a.host.example/x", true},
		{"https://*.host.example/", "https://a.b.host.example/x", true},
		{"https://*.host.example/", "https://host.example/x", false},
		{"https://*.host.example/", "https://evilhost.example/x", false},
		{"https://*.host.example/", "https://.host.example/x", false},
		{"https://*.host.example:8443/", "https://a.host.example:8443/x", true},
		{"ssh://git@host.example/", "ssh://git@host.example/a", true},
		{"ssh://git@host.example/", "ssh://root@host.example/a", false},
		{"ssh://git@host.example/", "ssh://host.example/a", false},
		{"/srv/git/", "https://host.example/srv/git/a", false},
	};
	struct arena arena;
	struct source_url url;
	struct reason reason;
	struct err err;

	(void)state;
	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int result;

		allow(rows[i].entry, NULL);
		result = normalise(&arena, rows[i].repo, &url, &reason, &err);
		if ((result == 0) != rows[i].allowed || result < 0)
			fail_msg("'%s' by '%s': %d %s", rows[i].repo, rows[i].entry, result,
				 reason.message);
		if (result == REFUSED && strstr(rows[i].repo, "//.") == NULL)
			assert_int_equal(reason.code, REASON_SOURCE_FORBIDDEN);
	}
	list.len = 0;
	assert_int_equal(normalise(&arena, "https://host.example/a", &url, &reason, &err), REFUSED);
	assert_int_equal(normalise(&arena, "/", &url, &reason, &err), REFUSED);
	arena_release(&arena);
}

static void local_paths_are_resolved(void **state)
{
	char allowed[PATH_MAX], repo[PATH_MAX], file_url[PATH_MAX], want[PATH_MAX];
	struct source_url url, same;
	struct reason reason;
	struct arena arena;
	struct err err;

	(void)state;
	arena_init(&arena, 1 << 20);
	sh("mkdir -p srv/git/one.git srv/other 'srv/git/with space' && ln -s ../other srv/git/out "
	   "&& "
	   "ln -s one.git srv/git/alias && ln -s srv link");
	(void)snprintf(allowed, sizeof(allowed), "%s/link/git/", fixture_dir);
	(void)snprintf(want, sizeof(want), "%s/srv/git/one.git", fixture_dir);
	allow(allowed, NULL);
	(void)snprintf(repo, sizeof(repo), "%s/srv/git/../git/./alias/", fixture_dir);
	OK(normalise(&arena, repo, &url, &reason, &err));
	assert_string_equal(url.url, want);
	assert_true(url.local);
	(void)snprintf(file_url, sizeof(file_url), "FILE://localhost%s/srv/git/%%6Fne.git",
		       fixture_dir);
	OK(normalise(&arena, file_url, &same, &reason, &err));
	assert_string_equal(same.url, want);
	assert_string_equal(same.name, url.name);
	(void)snprintf(repo, sizeof(repo), "file://%s/srv/git/with%%20space", fixture_dir);
	OK(normalise(&arena, repo, &same, &reason, &err));
	assert_string_not_equal(same.name, url.name);
	/* A link leads out. */
	(void)snprintf(repo, sizeof(repo), "%s/srv/git/out", fixture_dir);
	assert_int_equal(normalise(&arena, repo, &url, &reason, &err), REFUSED);
	assert_int_equal(reason.code, REASON_SOURCE_FORBIDDEN);
	/* What does not exist: below the list a fault, elsewhere, and behind a
	 * link that leads out, no word about it. */
	(void)snprintf(repo, sizeof(repo), "%s/srv/git/none", fixture_dir);
	assert_int_equal(normalise(&arena, repo, &url, &reason, &err), -1);
	(void)snprintf(repo, sizeof(repo), "%s/srv/none", fixture_dir);
	assert_int_equal(normalise(&arena, repo, &url, &reason, &err), REFUSED);
	(void)snprintf(repo, sizeof(repo), "%s/srv/git/out/none/deep", fixture_dir);
	assert_int_equal(normalise(&arena, repo, &url, &reason, &err), REFUSED);
	assert_int_equal(normalise(&arena, "/etc", &url, &reason, &err), REFUSED);
	assert_int_equal(reason.code, REASON_SOURCE_FORBIDDEN);
	arena_release(&arena);
}

static void names_are_safe_and_differ(void **state)
{
	static const char *const repos[] = {
		"https://host.example/a/b.git",
		"https://host.example/a/c.git",
		"https://host.example/a-b.git",
		"https://host.example/a/b",
		"https://host.example/%41/...b",
		"https://host.example/x/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	const char *names[ARRAY_LEN(repos)];
	struct source_url url;
	struct reason reason;
	struct arena arena;
	struct err err;

	(void)state;
	arena_init(&arena, 1 << 20);
	allow("https://host.example/", NULL);
	for (size_t i = 0; i < ARRAY_LEN(repos); i++) {
		OK(normalise(&arena, repos[i], &url, &reason, &err));
		names[i] = url.name;
		assert_in_range(strlen(url.name), 42, 81);
		for (const char *at = url.name; *at != '\0'; at++)
			assert_true(isalnum((unsigned char)*at) || *at == '-');
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
	}
	arena_release(&arena);
}

static void entries_are_validated(void **state)
{
	static const char *const good[] = {"/srv/git/", "file:///srv/git/",
					   "https://host.example/a/", "https://*.example.org/",
					   "ssh://git@host.example/a/"};
	static const char *const wrong[] = {"",
					    "srv/git",
					    "http://host.example/",
					    "https://",
					    "https://a*.example/",
					    "https://u@host.example/",
					    "https://*/",
					    "host.example"};
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		OK(source_allow_check(good[i], &err));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (source_allow_check(wrong[i], &err) == 0)
			fail_msg("'%s' is taken", wrong[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spellings_become_one),
		cmocka_unit_test(the_list_decides),
		cmocka_unit_test(local_paths_are_resolved),
		cmocka_unit_test(names_are_safe_and_differ),
		cmocka_unit_test(entries_are_validated),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
