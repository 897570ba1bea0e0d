/*
 * test_fetch.c - sources behind https, served by git's own http-backend with a
 * certificate of our own authority: good servers, and servers that misbehave.
 */
#include "tests/unit/snapshots/git_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "snapshots/store.h"

static char origin[PATH_MAX]; /* where the test was started: the project's top */
static char ca_file[PATH_MAX];
static char port[16];
static pid_t server;

/* --- the server -------------------------------------------------------- */

static void make_certificates(void)
{
	sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
	   "-keyout ca.key -out ca.pem -subj /CN=test-ca "
	   "-addext basicConstraints=critical,CA:TRUE 2>/dev/null");
	sh("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key "
	   "-out server.csr -subj /CN=localhost 2>/dev/null && "
	   "printf 'subjectAltName=DNS:localhost\\n' >ext && "
	   "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
	   "-extfile ext -out server.pem 2>/dev/null");
	(void)snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", fixture_dir);
}

static int start_server(void)
{
	char script[PATH_MAX + 64];
	FILE *answer;
	int ends[2];

	(void)snprintf(script, sizeof(script), "%s/tests/unit/snapshots/https_git.py", origin);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	(void)fflush(NULL);
	server = fork();
	if (server < 0)
		return -1;
	if (server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)execl("/usr/bin/python3", "python3", script, "server.pem", "server.key",
			    "served", "log", (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	answer = fdopen(ends[0], "r");
	if (answer == NULL || fgets(port, sizeof(port), answer) == NULL)
		return -1;
	(void)fclose(answer);
	port[strcspn(port, "\n")] = '\0';
	return 0;
}

static int setup(void **state)
{
	if (fixture_setup(state) < 0)
		return -1;
	make_certificates();
	sh("mkdir served && touch log && git init -q -b main served/repo && cd served/repo && "
	   "git config uploadpack.allowAnySHA1InWant true && mkdir dir && echo 1 >dir/a && "
	   "git add . && git commit -q -m one && git tag v1 && echo 2 >dir/b && git add . && "
	   "git commit -q -m two && git tag -a -m note v2 && git checkout -q -b side && "
	   "echo 3 >c && git add . && git commit -q -m side && git checkout -q main");
	return start_server();
}

static int teardown(void **state)
{
	(void)kill(server, SIGKILL);
	(void)waitpid(server, NULL, 0);
	return fixture_teardown(state);
}

/* --- the rig ----------------------------------------------------------- */

struct rig {
	struct arena arena;
	struct store *store;
	const char *entry;
	struct text_list allow;
	struct source_url source;
	struct store_config config;
	struct reason reason;
	struct err err;
	char path[PATH_MAX];
};

/* `allowed` is the path that the allowlist has for the place's host. */
static void rig_open_at(struct rig *rig, const char *store, const char *place, const char *allowed)
{
	char url[256];
	struct err err = {0};

	arena_init(&rig->arena, 1 << 20);
	(void)snprintf(rig->path, sizeof(rig->path), "%s/%s", fixture_dir, store);
	rig->config.path = rig->path;
	if (rig->config.fetch_timeout_ms == 0)
		rig->config.fetch_timeout_ms = 20000;
	if (rig->config.max_repo_bytes == 0)
		rig->config.max_repo_bytes = 8 << 20;
	rig->config.max_checkout_files = 1000;
	rig->config.max_checkout_bytes = 8 << 20;
	OK(store_open(&rig->store, &rig->config, &err));
	(void)snprintf(url, sizeof(url), "https://%s", place);
	rig->entry = arena_printf(&rig->arena, "https://%.*s%s", (int)strcspn(place, "/"), place,
				  allowed);
	rig->allow = (struct text_list){.items = &rig->entry, .len = 1};
	if (source_normalise(&rig->arena, url, &rig->allow, &rig->source, &rig->reason, &err) != 0)
		fail_msg("%s: %s%s", url, rig->reason.message, err.message);
}

static void rig_open(struct rig *rig, const char *store, const char *place)
{
	rig_open_at(rig, store, place, "/");
}

static void rig_close(struct rig *rig)
{
	store_close(rig->store);
	arena_release(&rig->arena);
}

static int fetch(struct rig *rig, const char *commit, struct store_base *ret)
{
	rig->reason = (struct reason){0};
	rig->err = (struct err){0};
	return store_fetch(rig->store, &rig->source, commit, ret, &rig->reason, &rig->err);
}

static void assert_fetched(struct rig *rig, const char *commit, const char *want)
{
	struct oid oid = sh_oid("git -C served/repo rev-parse '%s^{commit}'", want);
	struct store_base base;

	if (fetch(rig, commit, &base) != 0)
		fail_msg("%s: %s%s", commit, rig->reason.message, rig->err.message);
	ASSERT_OID(&base.commit, &oid);
}

static const char *at(const char *path)
{
	static char place[256];

	(void)snprintf(place, sizeof(place), "localhost:%s/%s", port, path);
	return place;
}

/* --- good servers ------------------------------------------------------ */

static void commits_are_fetched_by_every_name(void **state)
{
	struct rig rig = {.config.ca_file = ca_file};
	struct store_base base;
	struct oid tree;
	const char *path;
	char hex[64];

	(void)state;
	rig_open(&rig, "store-names", at("git/repo"));
	assert_fetched(&rig, "main", "main");
	assert_fetched(&rig, "v1", "v1");
	assert_fetched(&rig, "v2", "v2");
	assert_fetched(&rig, "refs/heads/side", "side");
	assert_fetched(&rig, "HEAD", "HEAD");
	sh_line(hex, sizeof(hex), "git -C served/repo rev-parse side");
	hex[9] = '\0';
	assert_fetched(&rig, hex, "side");
	assert_int_equal(fetch(&rig, "absent", &base), REFUSED);
	assert_int_equal(rig.reason.code, REASON_SOURCE_NO_COMMIT);
	assert_int_equal(fetch(&rig, "0123456789012345678901234567890123456789", &base), REFUSED);
	assert_int_equal(rig.reason.code, REASON_SOURCE_NO_COMMIT);
	/* What is here needs no server; what is new is fetched on top. */
	sh("cd served/repo && echo 4 >d && git add . && git commit -q -m four && : >../../log");
	sh_line(hex, sizeof(hex), "git -C served/repo rev-parse v1");
	assert_fetched(&rig, hex, "v1");
	sh("test ! -s log");
	assert_fetched(&rig, "main", "main");
	tree = sh_oid("git -C served/repo rev-parse 'main^{tree}'");
	assert_int_equal(store_checkout(rig.store, &rig.source, &tree, &rig.arena, &path,
					&rig.reason, &rig.err),
			 0);
	sh("cd '%s' && test $(cat dir/a dir/b d | tr -d '\\n') = 124", path);
	assert_fsck(store_repo_path(&rig.arena, rig.store, &rig.source));
	rig_close(&rig);
}

static void one_commit_is_asked_for_by_its_oid(void **state)
{
	struct rig rig = {.config.ca_file = ca_file};
	struct gitdb *db = NULL;
	struct err err = {0};
	struct oid side;
	char hex[64];

	(void)state;
	rig_open(&rig, "store-oid", at("git/repo"));
	/* Not at the tip of any branch. */
	sh_line(hex, sizeof(hex), "git -C served/repo rev-parse v1");
	assert_fetched(&rig, hex, "v1");
	side = sh_oid("git -C served/repo rev-parse side");
	OK(gitdb_open(store_repo_path(&rig.arena, rig.store, &rig.source), GITDB_READ, &db, &err));
	assert_false(gitdb_has(db, &side));
	gitdb_close(db);
	rig_close(&rig);
}

static void a_server_that_hides_commits_gives_its_branches(void **state)
{
	struct rig rig = {.config.ca_file = ca_file};
	char hex[64];

	(void)state;
	sh("git clone -q --bare served/repo served/strict.git && cd served/strict.git && "
	   "git tag -d v1 >/dev/null");
	rig_open(&rig, "store-strict", at("git/strict.git"));
	assert_fetched(&rig, "side", "side");
	sh_line(hex, sizeof(hex), "git -C served/repo rev-parse v2^{commit}");
	assert_fetched(&rig, hex, "v2");
	rig_close(&rig);
	/* In a store of its own, so that no history holds it already. */
	rig_open(&rig, "store-strict-oid", at("git/strict.git"));
	sh_line(hex, sizeof(hex), "git -C served/repo rev-parse v1");
	assert_fetched(&rig, hex, "v1");
	rig_close(&rig);
}

static void who_logs_in_is_served(void **state)
{
	struct rig rig = {.config.ca_file = ca_file};
	struct store_base base;

	(void)state;
	rig_open(&rig, "store-login", at("login/repo"));
	assert_int_equal(strncmp(at(""), rig.source.host, strlen(rig.source.host)), 0);
	assert_int_equal(fetch(&rig, "main", &base), -1);
	assert_non_null(strstr(rig.err.message, "there are none"));
	rig.source.login = "bot";
	rig.source.secret = "wrong";
	assert_int_equal(fetch(&rig, "main", &base), -1);
	assert_non_null(strstr(rig.err.message, "does not accept"));
	assert_null(strstr(rig.err.message, "wrong"));
	rig.source.secret = "sesame";
	assert_fetched(&rig, "main", "main");
	assert_fetched(&rig, "v1", "v1");
	/* Nothing of it stays in the store. */
	sh("! grep -r sesame store-login");
	rig_close(&rig);
}

/* --- servers that misbehave -------------------------------------------- */

static void assert_fault(struct rig *rig, const char *text)
{
	struct store_base base;

	assert_int_equal(fetch(rig, "main", &base), -1);
	if (strstr(rig->err.message, text) == NULL)
		fail_msg("no '%s' in: %s", text, rig->err.message);
}

static void certificates_are_verified(void **state)
{
	struct rig unknown = {0};
	struct rig mismatch = {.config.ca_file = ca_file};
	char place[64];

	(void)state;
	rig_open(&unknown, "store-unknown", at("git/repo"));
	sh(": >log");
	assert_fault(&unknown, "certificate");
	rig_close(&unknown);
	(void)snprintf(place, sizeof(place), "127.0.0.1:%s/git/repo", port);
	rig_open(&mismatch, "store-mismatch", place);
	assert_fault(&mismatch, "certificate");
	rig_close(&mismatch);
	sh("test ! -s log");
}

static void redirects_to_another_host_are_refused(void **state)
{
	struct rig rig = {.config.ca_file = ca_file};

	(void)state;
	rig_open(&rig, "store-redirect", at("redirect/repo"));
	sh(": >log");
	assert_fault(&rig, "redirect");
	sh("grep -q /redirect/ log && ! grep -q /git/ log");
	rig_close(&rig);
}

/* Git hosts move repositories; where to, the allowlist still says. */
static void redirects_within_a_host_are_judged(void **state)
{
	struct rig good = {.config.ca_file = ca_file};
	struct rig path = {.config.ca_file = ca_file};
	struct rig login = {.config.ca_file = ca_file};
	struct rig other = {.config.ca_file = ca_file};

	(void)state;
	rig_open(&good, "store-moved", at("moved/repo"));
	assert_fetched(&good, "main", "main");
	rig_close(&good);
	rig_open_at(&path, "store-path", at("moved/repo"), "/moved/");
	sh(": >log");
	assert_fault(&path, "refused the redirect");
	sh("grep -q /moved/ log && ! grep -q /git/ log");
	rig_close(&path);
	rig_open_at(&login, "store-moved-login", at("moved-login/repo"), "/moved-login/");
	login.source.login = "bot";
	login.source.secret = "sesame";
	sh(": >log");
	assert_fault(&login, "refused the redirect");
	sh("! grep -q /login/ log");
	rig_close(&login);
	rig_open(&other, "store-port", at("port/repo"));
	sh(": >log");
	assert_fault(&other, "refused the redirect");
	sh("grep -q /port/ log && ! grep -q /git/ log");
	rig_close(&other);
}

static void refs_without_end_are_stopped(void **state)
{
	struct rig rig = {.config = {.ca_file = ca_file, .max_repo_bytes = 1LL << 40}};
	struct store_base base;

	(void)state;
	rig_open(&rig, "store-refs", at("refs/repo"));
	if (fetch(&rig, "main", &base) != REFUSED || rig.reason.code != REASON_SOURCE_LIMIT)
		fail_msg("%s%s", rig.reason.message, rig.err.message);
	rig_close(&rig);
}

static void other_refusals_are_faults(void **state)
{
	struct rig auth = {.config.ca_file = ca_file};
	struct rig none = {.config.ca_file = ca_file};
	struct rig closed = {.config.ca_file = ca_file};

	(void)state;
	rig_open(&auth, "store-auth", at("auth/repo"));
	assert_fault(&auth, "credentials");
	rig_close(&auth);
	rig_open(&none, "store-none", at("none/repo"));
	assert_fault(&none, "404");
	rig_close(&none);
	rig_open(&closed, "store-closed", "localhost:1/repo");
	assert_fault(&closed, "");
	rig_close(&closed);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct rig rig = {.config = {.ca_file = ca_file, .fetch_timeout_ms = 500}};
	int64_t start_us = clock_mono_us();

	(void)state;
	rig_open(&rig, "store-hang", at("hang/repo"));
	assert_fault(&rig, "too long");
	assert_int_equal(rig.err.kind, ERR_TIMEOUT);
	assert_in_range(clock_mono_us() - start_us, 400 * 1000, 10 * 1000 * 1000);
	rig_close(&rig);
}

static void too_much_is_stopped(void **state)
{
	struct rig rig = {.config = {.ca_file = ca_file, .max_repo_bytes = 1 << 20}};
	struct store_base base;

	(void)state;
	sh("git init -q -b main served/large && cd served/large && "
	   "head -c 3000000 /dev/urandom >noise && git add . && git commit -q -m x");
	rig_open(&rig, "store-large", at("git/large"));
	if (fetch(&rig, "main", &base) != REFUSED || rig.reason.code != REASON_SOURCE_LIMIT)
		fail_msg("%s%s", rig.reason.message, rig.err.message);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_are_fetched_by_every_name),
		cmocka_unit_test(one_commit_is_asked_for_by_its_oid),
		cmocka_unit_test(a_server_that_hides_commits_gives_its_branches),
		cmocka_unit_test(who_logs_in_is_served),
		cmocka_unit_test(certificates_are_verified),
		cmocka_unit_test(redirects_to_another_host_are_refused),
		cmocka_unit_test(redirects_within_a_host_are_judged),
		cmocka_unit_test(refs_without_end_are_stopped),
		cmocka_unit_test(other_refusals_are_faults),
		cmocka_unit_test(silence_ends_at_the_deadline),
		cmocka_unit_test(too_much_is_stopped),
	};

	if (getcwd(origin, sizeof(origin)) == NULL)
		return 1;
	return cmocka_run_group_tests(tests, setup, teardown);
}
