/* test_config.c - every way into the configuration, and what it refuses. Run
 * from the top of the tree: contrib/ is compared with what the table prints. */
#include "tests/unit/worker/config_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "queue/carrier.h"
#include "schema/limits.h"

static void assert_says(const char *message, const char *part)
{
	if (strstr(message, part) == NULL)
		fail_msg("'%s' does not say '%s'", message, part);
}

/* --- files ------------------------------------------------------------ */

static void defaults_are_those_of_the_table(void **state)
{
	(void)state;
	assert_int_equal(config.worker_slots, 0);
	assert_int_equal(config.limits_wall, 600000);
	assert_int_equal(config.limits_memory, 2LL << 30);
	assert_int_equal(config.worker_keep_history, 168LL * 3600 * 1000);
	assert_true(config.worker_events);
	assert_false(config.log_json);
	assert_string_equal(config.queue_prefix, "sbx");
	assert_int_equal(config.commands_allow.len, 0);
}

static void a_file_sets_values_of_each_kind(void **state)
{
	(void)state;
	assert_int_equal(config_read_text(&config,
					  "\xef\xbb\xbf# comment\n"
					  "[worker]\r\n"
					  "slots = 4\r\n"
					  "name: w1 ; not a comment\n"
					  "events = no\n"
					  "drain=90s\n"
					  "; comment\n"
					  "[limits]\nmemory = 512M\n",
					  "t.ini", &err),
			 0);
	assert_int_equal(config.worker_slots, 4);
	assert_string_equal(config.worker_name, "w1 ; not a comment");
	assert_false(config.worker_events);
	assert_int_equal(config.worker_drain, 90000);
	assert_int_equal(config.limits_memory, 512LL << 20);
}

static void lists_are_split_by_their_kind(void **state)
{
	(void)state;
	assert_int_equal(config_read_text(&config,
					  "[sources]\n"
					  "allow = /srv/git/, https://a/\n"
					  "  # comment in between\n"
					  "\n"
					  "\thttps://b/c/ ,, /x/\n"
					  "[commands]\n"
					  "allow =\n"
					  "  make test\n"
					  "  awk '{ print $1, $2 }' **\n"
					  "allow = python3 -c * ; x\n",
					  "t.ini", &err),
			 0);
	assert_list(&config.sources_allow,
		    (const char *[]){"/srv/git/", "https://a/", "https://b/c/", "/x/", NULL});
	assert_list(&config.commands_allow,
		    (const char *[]){"make test", "awk '{ print $1, $2 }' **", "python3 -c * ; x",
				     NULL});
	/* a later source replaces, it does not append */
	assert_int_equal(config_read_text(&config, "[sources]\nallow = /y/\n", "u.ini", &err), 0);
	assert_list(&config.sources_allow, (const char *[]){"/y/", NULL});
	assert_int_equal(config_read_text(&config, "[sources]\nallow =\n", "u.ini", &err), 0);
	assert_list(&config.sources_allow, (const char *[]){NULL});
}

static void a_long_list_stays_whole(void **state)
{
	struct buf text;
	char item[16];

	(void)state;
	buf_init(&text, 1 << 20);
	buf_add_text(&text, "[commands]\nallow =\n");
	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "  c%d\n", i);
	assert_int_equal(config_read_text(&config, buf_text(&text), "t", &err), 0);
	assert_int_equal(config.commands_allow.len, 1000);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(item, sizeof(item), "c%d", i);
		assert_string_equal(config.commands_allow.items[i], item);
	}
	assert_null(config.commands_allow.items[1000]);
	for (int i = 0; i < 10000; i++)
		buf_add_text(&text, "  x\n");
	assert_int_equal(config_read_text(&config, buf_text(&text), "t", &err), -1);
	assert_says(err.message, "more than 10000 items");
	buf_release(&text);
}

static void wrong_text_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text;
		const char *parts[3];
	} rows[] = {
		{"[worker]\n\nslot = 4\n", {"'t.ini' line 3", "'worker.slot'", "'worker.slots'?"}},
		{"[workr]\nslots = 4\n", {"line 2", "[workr]", "[worker]?"}},
		{"[nothing-like-it]\nslots = 4\n", {"line 2", "unknown section", ""}},
		{"slots = 4\n", {"line 1", "before any [section]", ""}},
		{"[worker]\nmemory = 4\n", {"line 2", "'worker.memory'", "'limits.memory'?"}},
		{"[worker]\nslots = four\n", {"line 2", "worker.slots: 'four'", "whole number"}},
		{"[worker]\nslots = -1\n", {"line 2", "'-1'", "0 or more"}},
		{"[worker]\nslots = 4 ; inline\n", {"line 2", "'4 ; inline'", ""}},
		{"[worker]\nslots = 99999999999999999999\n", {"line 2", "whole number", ""}},
		{"[worker]\nslots = 1\nslots = 2\n", {"line 3", "second time", ""}},
		{"[worker]\nname = a\n  b\n", {"line 3", "continued", ""}},
		{"[worker]\nevents = maybe\n", {"line 2", "true or false", ""}},
		{"[worker]\ndrain = 5 m\n", {"line 2", "duration", ""}},
		{"[limits]\nmemory = 2t\n", {"line 2", "size", ""}},
		{"[worker\nslots = 1\n", {"line 1", "expected '[section]'", ""}},
		{"[worker]\njust words\nslots = x\n", {"line 2", "key = value", ""}},
		{"[worker]\nname = a\x01z\n", {"line 2", "control character", ""}},
		{"[worker]\nname = \xff\n", {"line 2", "not UTF-8", ""}},
		{"[queue]\nurl = x\n[queue]\nurl = amqp://u:secret@h/\n", {"line 4", "second", ""}},
		{"[queue]\nprefix = sbx\n  amqp://u:secret@h/\n", {"line 3", "continued", ""}},
		{"[queue]\nheartbeat = amqp://u:sec@ret@h/\n", {"line 2", "amqp://***@h/", ""}},
		{"[queue]\nurll = amqp://u:secret@h/\n", {"line 2", "'queue.url'?", ""}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		err = (struct err){0};
		if (config_read_text(&config, rows[i].text, "t.ini", &err) != -1)
			fail_msg("accepted: %s", rows[i].text);
		assert_int_equal(err.kind, ERR_INPUT);
		for (size_t k = 0; k < 3; k++)
			assert_says(err.message, rows[i].parts[k]);
		assert_null(strstr(err.message, "secret"));
		assert_null(strstr(err.message, "sec@ret"));
	}
}

static void the_first_wrong_line_is_the_error(void **state)
{
	(void)state;
	assert_int_equal(
		config_read_text(&config, "[worker]\nslots = x\nrubbish\nslots = y\n", "t", &err),
		-1);
	assert_says(err.message, "line 2");
}

static void long_lines_are_refused_not_split(void **state)
{
	char *text = malloc(10000);
	size_t n = (size_t)snprintf(text, 10000, "[worker]\nname = ");

	(void)state;
	(void)memset(text + n, 'x', 4000);
	text[n + 4000] = '\0';
	assert_int_equal(config_read_text(&config, text, "t", &err), 0);
	assert_int_equal(strlen(config.worker_name), 4000);
	(void)memset(text + n, 'x', 9000);
	(void)snprintf(text + n + 9000, 10000 - n - 9000, "\nslots = 3\n");
	assert_int_equal(config_read_text(&config, text, "t", &err), -1);
	assert_says(err.message, "line 2");
	assert_says(err.message, "longer than");
	free(text);
}

static void files_are_read_and_checked(void **state)
{
	char path[] = "/tmp/sbx-config-XXXXXX";
	CLEANUP(fd_cleanup) int fd = mkstemp(path);

	(void)state;
	assert_int_equal(fd_write_all(fd, "[worker]\nslots = 7\n", 19, &err), 0);
	assert_int_equal(config_read_file(&config, path, &err), 0);
	assert_int_equal(config.worker_slots, 7);
	assert_int_equal(fd_write_all(fd, "\0", 1, &err), 0);
	assert_int_equal(config_read_file(&config, path, &err), -1);
	assert_says(err.message, "NUL");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(config_read_file(&config, path, &err), -1);
	assert_says(err.message, path);
	assert_says(err.message, "No such file");
}

/* --- environment and flags -------------------------------------------- */

static void the_environment_sets_keys(void **state)
{
	static const char *const good[] = {"PATH=/bin",
					   "SBX_QUEUE_URL=amqp://u:p@h/v",
					   "SBX_WORKER_MAX_ATTEMPTS=3",
					   "SBX_COMMANDS_ALLOW=make a, b\n make c ",
					   "SBX_SOURCES_ALLOW=/a/,/b/",
					   "SBX_CONFIG=/etc/x",
					   "SBX_TEST_BROKER=1",
					   "SBXY=1",
					   NULL};

	(void)state;
	assert_int_equal(config_read_env(&config, (char *const *)(uintptr_t)good, &err), 0);
	assert_string_equal(config.queue_url, "amqp://u:p@h/v");
	assert_int_equal(config.worker_max_attempts, 3);
	assert_list(&config.commands_allow, (const char *[]){"make a, b", "make c", NULL});
	assert_list(&config.sources_allow, (const char *[]){"/a/", "/b/", NULL});
}

static void unknown_variables_are_errors(void **state)
{
	static const struct {
		const char *entry;
		const char *part;
	} rows[] = {
		{"SBX_WORKER_SLOT=1", "did you mean SBX_WORKER_SLOTS?"},
		{"SBX_WORKER_SLOTS=x", "SBX_WORKER_SLOTS: worker.slots: 'x'"},
		{"SBX_QUEUE_URLL=amqp://u:secret@h/",
		 "SBX_QUEUE_URLL; did you mean SBX_QUEUE_URL?"},
		{"SBX_=1", "unknown environment variable SBX_"},
		{"SBX_CONFIGURATION=1", "unknown environment variable"},
		{"SBX_worker_slots=1", "unknown environment variable"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *env[] = {rows[i].entry, NULL};

		assert_int_equal(config_read_env(&config, (char *const *)(uintptr_t)env, &err), -1);
		assert_says(err.message, rows[i].part);
		assert_null(strstr(err.message, "secret"));
	}
}

static void flags_set_one_key(void **state)
{
	(void)state;
	assert_int_equal(config_set(&config, "worker.slots", " 9 ", &err), 0);
	assert_int_equal(config.worker_slots, 9);
	assert_int_equal(config_set(&config, "slots", "9", &err), -1);
	assert_says(err.message, "section.key=value");
	assert_int_equal(config_set(&config, "worker.slotz", "9", &err), -1);
	assert_says(err.message, "'worker.slots'?");
	assert_int_equal(config_set(&config, "worker.name", "a\nb", &err), -1);
	assert_says(err.message, "control character");
}

/* --- finishing -------------------------------------------------------- */

static void the_machine_fills_the_gaps(void **state)
{
	char host[256];

	(void)state;
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_int_equal(config_finish(&config, &err), 0);
	assert_string_equal(config.worker_name, host);
	assert_int_equal(config.worker_slots, sysconf(_SC_NPROCESSORS_ONLN));
	assert_int_equal(config.worker_state_dir[0], '/');
	if (geteuid() == 0)
		assert_string_equal(config.worker_state_dir, "/var/lib/sbx");
	/* Producers look there too, so it does not follow worker.state_dir. */
	assert_string_equal(config.queue_url, carrier_default_url(&arena, NULL));
}

struct misfit {
	const char *key;
	const char *value;
	const char *part; /* NULL: fits */
};

static void assert_misfits(void **state, const struct misfit *rows, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		(void)teardown(state);
		assert_int_equal(setup(state), 0);
		assert_int_equal(config_set(&config, rows[i].key, rows[i].value, &err), 0);
		if (rows[i].part == NULL) {
			if (config_finish(&config, &err) != 0)
				fail_msg("%s", err.message);
			continue;
		}
		if (config_finish(&config, &err) != -1)
			fail_msg("%s = %s fits", rows[i].key, rows[i].value);
		assert_says(err.message, rows[i].part);
		assert_null(strstr(err.message, "secret"));
	}
}

static void misfits_are_named(void **state)
{
	static const struct misfit rows[] = {
		{"worker.slots", "501", "worker.slots: 501"},
		{"worker.uid_base", "1000", "worker.uid_base: 1000"},
		{"worker.uid_base", "4294967295", "worker.uid_base"},
		{"worker.uid_base", "100000", NULL},
		{"worker.max_attempts", "0", "worker.max_attempts: 0 is not between 1"},
		{"worker.poison_cap", "0", "worker.poison_cap"},
		{"worker.state_dir", "var/lib", "worker.state_dir: 'var/lib' is not an absolute"},
		{"queue.url", "redis://u:secret@h/", "'redis://***@h/'"},
		{"queue.url", "u:secret@h", "'...'"},
		{"queue.url", "amqps://u:secret@h/", NULL},
		{"queue.url", "sqlite:/srv/queue.db", NULL},
		{"queue.url", "sqlite:queue.db", "sqlite:/"},
		{"queue.prefix", "a b", "queue.prefix: 'a b'"},
		{"queue.prefix", "", "queue.prefix"},
		{"queue.heartbeat", "500ms", "queue.heartbeat"},
		{"sources.credentials", "secret", "item 1 is not host=/path"},
		{"sources.credentials", "git.example.org=secret", "item 1 is not host=/path"},
		{"sources.credentials", "a=/a, secret==", "item 2 is not host=/path"},
		{"sources.credentials", "=/secret", "item 1 is not host=/path"},
		{"sources.credentials", "git.example.org=/srv/token", NULL},
		{"sources.ssh_keys", "git.example.org=secret", "item 1 is not host=/path"},
		{"sources.ssh_keys", "git.example.org=/srv/key", "without sources.known_hosts"},
		{"sources.known_hosts", "hosts", "'hosts' is not an absolute path"},
		{"sources.keep_refs", "1h", "sources.keep_refs"},
		{"sources.max_store", "0", "sources.max_store"},
		{"queue.cert_file", "/a", "only one of them"},
		{"sources.max_files", "0", "sources.max_files: 0"},
		{"sandbox.allow_missing", "cgroup, seccomp", "'seccomp' cannot be missing"},
		{"sandbox.allow_missing", "cgroup", NULL},
		{"log.level", "loud", "log.level: 'loud'"},
		{"limits.wall", "2h", "limits.wall: 7200000 is above max.wall, 3600000"},
		{"limits.memory", "0", "limits.memory: 0"},
		{"max.processes", "0", "max.processes: 0"},
		{"limits.millicpus", "65000", "limits.millicpus: 65000 is above"},
		{"max.millicpus", "0", NULL},
		{"limits.presets", "ci wall=20m memory=4g", NULL},
		{"limits.presets", "light memory=64m\nbig.1 processes=2000", NULL},
		{"limits.presets", "ci memory=9g", "'ci': memory_bytes is above its maximum"},
		{"limits.presets", "ci", "'ci' sets no limit"},
		{"limits.presets", "ci wall=0", "'wall=0' is no limit"},
		{"limits.presets", "ci wall", "'wall' is no limit"},
		{"limits.presets", "ci wall=5 wall=6", "'wall' is given twice"},
		{"limits.presets", "ci walls=5", "'walls' is no key of [limits]"},
		{"limits.presets", "c/i wall=5", "'c/i' is no name"},
		{"limits.presets", "default wall=5", "'default' is what [limits] says"},
		{"limits.presets", "ci wall=5\nci wall=6", "'ci' is given twice"},
	};

	assert_misfits(state, rows, ARRAY_LEN(rows));
}

static void misfits_of_the_pool_are_named(void **state)
{
	static const struct misfit rows[] = {
		{"sandbox.pool_least", "0", NULL},
		{"sandbox.pool_least", "401", "sandbox.pool_least: 401"},
		{"sandbox.pool_least", "400", "sandbox.pool_least: 400 is above the most"},
		{"sandbox.pool_most", "401", "sandbox.pool_most: 401"},
		{"sandbox.pool_most", "400", NULL},
		{"sandbox.pool_idle", "999ms", "sandbox.pool_idle (ms): 999"},
		{"sandbox.reuse_networks", "true", NULL},
	};

	assert_misfits(state, rows, ARRAY_LEN(rows));
}

static void found(void *ctx, const char *problem)
{
	buf_printf(ctx, "%s\n", problem);
}

static void loading_lists_every_problem(void **state)
{
	char path[] = "/tmp/sbx-config-XXXXXX";
	CLEANUP(fd_cleanup) int fd = mkstemp(path);
	static const char text[] = "[worker]\nslots = x\nnope = 1\n[limits]\nwall = 2h\nidle = 0\n";
	static const char *const env[] = {"SBX_LOG_LEVEL=loud", "SBX_NOPE=1", "SBX_X=2", NULL};
	static const char *const sets[] = {"worker.slots=9", "queue.url", "queue.nope=1"};
	struct config_origins origins = {.path = path,
					 .env = (char *const *)(uintptr_t)env,
					 .sets = sets,
					 .sets_len = ARRAY_LEN(sets)};
	CLEANUP(buf_release) struct buf all;
	const struct config_sink sink = {.found = found, .ctx = &all};

	(void)state;
	buf_init(&all, 1 << 16);
	assert_int_equal(fd_write_all(fd, text, strlen(text), &err), 0);
	assert_int_equal(config_load(&config, &origins, &sink, &err), 0);
	assert_says(buf_text(&all), "line 2: worker.slots");
	assert_says(buf_text(&all), "line 3: unknown key 'worker.nope'");
	assert_says(buf_text(&all), "SBX_NOPE");
	assert_says(buf_text(&all), "SBX_X");
	assert_says(buf_text(&all), "limits.wall");
	assert_says(buf_text(&all), "log.level");
	assert_says(buf_text(&all), "'queue.url' is no setting");
	assert_says(buf_text(&all), "unknown key 'queue.nope'");
	assert_int_equal(config.worker_slots, 9);
	assert_int_equal(unlink(path), 0);
	buf_clear(&all);
	origins = (struct config_origins){.path = path};
	assert_int_equal(config_load(&config, &origins, &sink, &err), 0);
	assert_says(buf_text(&all), "No such file");
}

/* --- printing --------------------------------------------------------- */

static void a_role_is_given_its_keys_only(void **state)
{
	CLEANUP(buf_release) struct buf text;
	struct config other;

	(void)state;
	buf_init(&text, 1 << 20);
	assert_int_equal(config_set(&config, "queue.url", "amqp://u:secret@h/", &err), 0);
	assert_int_equal(config_set(&config, "sources.allow", "/a/\n#odd/, ;odder/", &err), 0);
	assert_int_equal(config_set(&config, "worker.slots", "5", &err), 0);
	assert_int_equal(config_set(&config, "protect.paths", "*.lock\n[#]x", &err), 0);
	config_role_text(&config, ROLE_STOREKEEPER, &text);
	assert_null(strstr(buf_text(&text), "secret"));
	assert_null(strstr(buf_text(&text), "url"));
	assert_null(strstr(buf_text(&text), "commands"));
	assert_int_equal(config_init(&other, &arena, &err), 0);
	assert_int_equal(config_read_text(&other, buf_text(&text), "role", &err), 0);
	assert_list(&other.sources_allow, (const char *[]){"/a/", "#odd/", ";odder/", NULL});
	assert_int_equal(other.worker_slots, 0);
	buf_clear(&text);
	config_role_text(&config, ROLE_ZYGOTE, &text);
	assert_null(strstr(buf_text(&text), "secret"));
	assert_int_equal(config_init(&other, &arena, &err), 0);
	assert_int_equal(config_read_text(&other, buf_text(&text), "role", &err), 0);
	assert_int_equal(other.worker_slots, 5);
	assert_list(&other.protect_paths, (const char *[]){"*.lock", "[#]x", NULL});
}

static void every_role_reads_back_the_same(void **state)
{
	static const enum config_role roles[] = {ROLE_SUPERVISOR, ROLE_PUBLISHER, ROLE_STOREKEEPER,
						 ROLE_ZYGOTE};

	(void)state;
	assert_int_equal(config_set(&config, "limits.wall", "61s", &err), 0);
	assert_int_equal(config_set(&config, "max.memory", "3g", &err), 0);
	assert_int_equal(config_set(&config, "commands.allow", "a b, c\n'#' ;\n; x", &err), 0);
	assert_int_equal(config_finish(&config, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		CLEANUP(buf_release) struct buf first;
		CLEANUP(buf_release) struct buf second;
		struct config other;

		buf_init(&first, 1 << 20);
		buf_init(&second, 1 << 20);
		config_role_text(&config, roles[i], &first);
		assert_int_equal(config_init(&other, &arena, &err), 0);
		assert_int_equal(config_read_text(&other, buf_text(&first), "role", &err), 0);
		config_role_text(&other, roles[i], &second);
		assert_string_equal(buf_text(&first), buf_text(&second));
	}
}

static void the_template_is_contribs_and_the_defaults(void **state)
{
	CLEANUP(buf_release) struct buf text;
	CLEANUP(buf_release) struct buf shipped;
	struct config other;
	char *open;

	(void)state;
	buf_init(&text, 1 << 20);
	buf_init(&shipped, 1 << 20);
	config_print_template(&text);
	if (fd_read_file("contrib/sbx-worker.ini", 1 << 20, &shipped, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(buf_text(&text), buf_text(&shipped));
	/* with every key uncommented it still reads, and changes nothing */
	open = arena_strdup(&arena, buf_text(&text));
	for (char *at = strstr(open, "\n#"); at != NULL; at = strstr(at + 1, "\n#")) {
		if (at[2] != ' ' && at[2] != '\n')
			(void)memmove(at + 1, at + 2, strlen(at + 1));
	}
	assert_int_equal(config_init(&other, &arena, &err), 0);
	if (config_read_text(&other, open, "template", &err) < 0)
		fail_msg("%s", err.message);
	buf_clear(&text);
	buf_clear(&shipped);
	config_role_text(&config, ROLE_SUPERVISOR, &text);
	config_role_text(&other, ROLE_SUPERVISOR, &shipped);
	assert_string_equal(buf_text(&text), buf_text(&shipped));
}

/* What the page says of this key, up to the next. */
static void assert_says_of_reload(const char *page, const char *key, bool live)
{
	const char *start = strstr(page, key) + strlen(key);
	const char *end = strstr(start, ".It Va ");
	const char *said = strstr(start, "SIGHUP reloads it");

	assert_int_equal(said != NULL && (end == NULL || said < end), live);
}

static void the_manual_names_each_key(void **state)
{
	CLEANUP(buf_release) struct buf page;
	enum { S = 1, P = 2, K = 4, Z = 8, LIVE = ROLE_LIVE };
	char wanted[128];

	(void)state;
	buf_init(&page, 1 << 20);
	if (fd_read_file("contrib/man/sbx-worker.ini.5", 1 << 20, &page, &err) < 0)
		fail_msg("%s", err.message);
#define KEY(section, name, kind, def, roles, doc)                                  \
	(void)snprintf(wanted, sizeof(wanted), ".It Va %s.%s\n", #section, #name); \
	assert_says(buf_text(&page), wanted);                                      \
	assert_says_of_reload(buf_text(&page), wanted, ((roles)&LIVE) != 0);
#include "worker/config.def"
#undef KEY
}

/* --- what changes ----------------------------------------------------- */

static void what_may_change_is_told_from_what_may_not(void **state)
{
	CLEANUP(buf_release) struct buf live;
	CLEANUP(buf_release) struct buf restart;
	struct config old, fresh;

	(void)state;
	buf_init(&live, 1 << 16);
	buf_init(&restart, 1 << 16);
	if (config_init(&old, &arena, &err) < 0 || config_init(&fresh, &arena, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(config_changes(&old, &fresh, &live, &restart), 0);
	assert_int_equal(live.len + restart.len, 0);
	if (config_set(&fresh, "worker.drain", "1s", &err) < 0 ||
	    config_set(&fresh, "queue.prefix", "other", &err) < 0 ||
	    config_set(&fresh, "sources.allow", "/srv/", &err) < 0 ||
	    config_set(&fresh, "protect.paths", "a,b", &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(config_changes(&old, &fresh, &live, &restart),
			 ROLE_SUPERVISOR | ROLE_ZYGOTE);
	assert_string_equal(buf_text(&live), "worker.drain, protect.paths");
	assert_string_equal(buf_text(&restart), "queue.prefix, sources.allow");
	config_take_live(&old, &fresh);
	assert_int_equal(old.worker_drain, 1000);
	assert_int_equal(old.protect_paths.len, 2);
	assert_string_equal(old.queue_prefix, "sbx");
	assert_int_equal(old.sources_allow.len, 0);
	buf_clear(&live);
	buf_clear(&restart);
	/* an item that differs is a change too, and so is a boolean */
	if (config_set(&fresh, "protect.paths", "a,c", &err) < 0 ||
	    config_set(&fresh, "log.json", "true", &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(config_changes(&old, &fresh, &live, &restart),
			 ROLE_SUPERVISOR | ROLE_PUBLISHER | ROLE_STOREKEEPER | ROLE_ZYGOTE);
	assert_string_equal(buf_text(&live), "protect.paths, log.json");
}

/* --- memory ----------------------------------------------------------- */

static void exhausted_memory_is_an_error(void **state)
{
	const struct job_limits asked = {.wall_ms = LIMIT_TIME_MS};
	struct job_limits limits;
	struct text_list clamped;
	struct reason reason;
	struct arena small;

	(void)state;
	arena_init(&small, 128);
	assert_int_equal(config_limits(&config, &asked, &small, &limits, &clamped, &reason, &err),
			 -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	arena_release(&small);
	arena_init(&small, 64);
	assert_int_equal(config_init(&config, &small, &err), -1);
	arena_release(&small);
	for (size_t bytes = 512; bytes < 1200; bytes += 64) {
		arena_init(&small, bytes);
		if (config_init(&config, &small, &err) == 0 &&
		    config_read_text(&config, "[commands]\nallow = a\n b\n c\n d\n e\n f\n g\n h\n",
				     "t", &err) < 0)
			assert_int_equal(err.kind, ERR_LIMIT);
		arena_release(&small);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(defaults_are_those_of_the_table),
		T(a_file_sets_values_of_each_kind),
		T(lists_are_split_by_their_kind),
		T(a_long_list_stays_whole),
		T(wrong_text_is_refused_with_its_line),
		T(the_first_wrong_line_is_the_error),
		T(long_lines_are_refused_not_split),
		T(files_are_read_and_checked),
		T(the_environment_sets_keys),
		T(unknown_variables_are_errors),
		T(flags_set_one_key),
		T(the_machine_fills_the_gaps),
		T(misfits_are_named),
		T(misfits_of_the_pool_are_named),
		T(loading_lists_every_problem),
		T(a_role_is_given_its_keys_only),
		T(every_role_reads_back_the_same),
		T(the_template_is_contribs_and_the_defaults),
		T(the_manual_names_each_key),
		T(what_may_change_is_told_from_what_may_not),
		T(exhausted_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
