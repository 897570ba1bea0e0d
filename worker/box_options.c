/*
 * box_options.c - theory: what sets a limit is one line of a table, and a preset
 * is filled in where no such option was given. Who makes a mistake is told at
 * once: the process ends here.
 */
#include "worker/box_options.h"

#include <assert.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "worker/preset.h"
#include "worker/tty.h"

static const char usage[] =
	"usage: sbx-box [options] [--] [COMMAND [ARGUMENT...]]\n"
	"\n"
	"Runs COMMAND in a sandbox: no network unless asked for, no root, no sight of the\n"
	"host but /usr and the current directory, which it sees as " BOX_WORKSPACE
	". From a terminal\n"
	"it gets one of its own; without COMMAND, a shell.\n"
	"\n"
	"workspace (what the command changes is thrown away unless --write):\n"
	"  --write            change the current directory itself\n"
	"  --empty            start with an empty directory instead\n"
	"  --cwd DIR          start in this directory of the workspace\n"
	"\n"
	"beside the workspace:\n"
	"  --ro-bind SRC[:DST]  show this file or directory, at DST or the same place\n"
	"  --bind SRC[:DST]     the same, and let the command change it\n"
	"  --tmpfs DST          an empty directory\n"
	"\n"
	"limits (sizes take k, m, g; times take ms, s, m, h; 0: none):\n"
	"  --preset NAME      those of a set by name: light, heavy, browser; options of\n"
	"                     the same command line go before it\n"
	"  --wall TIME        from start to end                (none)\n"
	"  --cpu TIME         of all its processes together    (none)\n"
	"  --idle TIME        without output                   (none)\n"
	"  --memory SIZE      of all its processes together    (2g)\n"
	"  --disk SIZE        workspace changes, /tmp, /dev/shm (1g)\n"
	"  --inodes N         files and directories in them    (200000)\n"
	"  --processes N      processes and threads            (512)\n"
	"  --files N          open files of a process          (1024)\n"
	"  --file-size SIZE   of one file                      (none)\n"
	"  --output SIZE      of both streams                  (none)\n"
	"  --cpus N           as in 1.5                        (all)\n"
	"\n"
	"other:\n"
	"  --env NAME=VALUE   add to its environment, which starts with PATH, HOME, LANG\n"
	"  --profile NAME     of system calls: strict, default or trusted (default)\n"
	"  --network none|host  none: a loopback of its own; host: the network of the host,\n"
	"                     its loopback and all that listens there included (none)\n"
	"  --root NAME|DIR    see this root directory as / instead of the host's /usr: the\n"
	"                     one that mkroot has made under this name, or any other; its\n"
	"                     image's variables are in the environment\n"
	"  --no-tty           no terminal of its own, even when run from one\n"
	"  --allow-missing cgroup\n"
	"                     run although a limit has no control group to hold it\n"
	"  --outcome-fd N     write the outcome as JSON to this descriptor\n"
	"  --outcome-file F   ... to this file\n"
	"  --explain          print each layer, whether it holds, and why not\n"
	"  --help, --version\n"
	"\n"
	"exit code: the command's; 128 + N when signal N killed it; 124 when a limit\n"
	"ended it; 125 for wrong usage, or when the sandbox could not be made; 127 when\n"
	"the command could not be started.\n";

/* --- the command line ----------------------------------------------------------- */

enum option_kind { OPT_TIME = 256, OPT_SIZE, OPT_NUMBER, OPT_OTHER };

/* Options that set a limit: one line each. */
#define PLACES(field) offsetof(struct box_limits, field), offsetof(struct job_limits, field)
static const struct {
	const char *name;
	enum option_kind kind;
	size_t offset;
	size_t preset_offset;
} limit_options[] = {
	{"wall", OPT_TIME, PLACES(wall_ms)},	      {"cpu", OPT_TIME, PLACES(cpu_ms)},
	{"idle", OPT_TIME, PLACES(idle_ms)},	      {"memory", OPT_SIZE, PLACES(memory_bytes)},
	{"disk", OPT_SIZE, PLACES(disk_bytes)},	      {"inodes", OPT_NUMBER, PLACES(inodes)},
	{"processes", OPT_NUMBER, PLACES(processes)}, {"files", OPT_NUMBER, PLACES(open_files)},
	{"file-size", OPT_SIZE, PLACES(file_bytes)},  {"output", OPT_SIZE, PLACES(output_bytes)},
};

static const struct option other_options[] = {
	{"write", no_argument, NULL, 'w'},	   {"empty", no_argument, NULL, 'e'},
	{"no-tty", no_argument, NULL, 'T'},	   {"bind", required_argument, NULL, 'b'},
	{"ro-bind", required_argument, NULL, 'B'}, {"tmpfs", required_argument, NULL, 't'},
	{"cwd", required_argument, NULL, 'd'},	   {"env", required_argument, NULL, 'E'},
	{"root", required_argument, NULL, 'r'},	   {"allow-missing", required_argument, NULL, 'a'},
	{"cpus", required_argument, NULL, 'c'},	   {"outcome-fd", required_argument, NULL, 'o'},
	{"explain", no_argument, NULL, 'x'},	   {"outcome-file", required_argument, NULL, 'O'},
	{"preset", required_argument, NULL, 'p'},  {"profile", required_argument, NULL, 'P'},
	{"network", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
};

enum { LIMITS_LEN = ARRAY_LEN(limit_options), OTHERS_LEN = ARRAY_LEN(other_options) };
static_assert(ARRAY_LEN(limit_options) <= BOX_OPTIONS_LIMITS, "options.given");

NORETURN void box_bad_usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "sbx-box: %s: '%s'; see sbx-box --help\n", what, value);
	exit(BOX_EXIT_FAULT);
}

static int64_t *limit_place(struct box_options *options, size_t i)
{
	return (int64_t *)(void *)((char *)&options->limits + limit_options[i].offset);
}

static void set_limit(struct box_options *options, size_t i, const char *value)
{
	int64_t *place = limit_place(options, i);
	bool ok = limit_options[i].kind == OPT_TIME   ? text_parse_duration_ms(value, place)
		  : limit_options[i].kind == OPT_SIZE ? text_parse_size(value, place)
						      : text_parse_int(value, place);

	if (!ok || *place < 0)
		box_bad_usage("not a limit", value);
	options->given[i] = true;
}

/* What the preset does not say stays as without one. */
static void set_preset(struct box_options *options, const char *name)
{
	const struct text_list none = {0};
	struct preset preset;

	if (!preset_find(&none, name, &preset))
		box_bad_usage("--preset: expected default, light, heavy or browser", name);
	for (size_t i = 0; i < ARRAY_LEN(limit_options); i++) {
		const char *at = (const char *)&preset.limits + limit_options[i].preset_offset;
		int64_t value = *(const int64_t *)(const void *)at;

		if (!options->given[i] && value != 0)
			*limit_place(options, i) = value;
	}
}

static void set_cpus(struct box_options *options, const char *value)
{
	char *end;
	double cpus = strtod(value, &end);

	if (end == value || *end != '\0' || !(cpus >= 0.01 && cpus <= 4096))
		box_bad_usage("--cpus: expected a number from 0.01", value);
	options->limits.millicpus = (int64_t)(cpus * 1000);
}

static struct box_bind *new_bind(struct box_options *options, const char *at)
{
	unsigned i = options->binds_len;

	if (i == BOX_BINDS_MAX)
		box_bad_usage("too many binds", at);
	if (at[0] != '/' || strlen(at) >= sizeof(options->places[i]))
		box_bad_usage("not an absolute path", at);
	(void)snprintf(options->places[i], sizeof(options->places[i]), "%s", at);
	options->binds[i] = (struct box_bind){.fd = -1, .at = options->places[i]};
	options->binds_len++;
	return &options->binds[i];
}

/* "SRC:DST", or a SRC that is absolute. A colon may be a part of it only then. */
static void set_bind(struct box_options *options, const char *value, bool writable)
{
	const char *colon = strrchr(value, ':');
	char source[PATH_MAX];
	struct box_bind *bind;
	struct stat st;

	if ((size_t)snprintf(source, sizeof(source), "%.*s",
			     colon == NULL ? (int)strlen(value) : (int)(colon - value),
			     value) >= sizeof(source))
		box_bad_usage("too long a path", value);
	bind = new_bind(options, colon == NULL ? value : colon + 1);
	bind->fd = open(source, O_PATH | O_CLOEXEC);
	if (bind->fd < 0 || fstat(bind->fd, &st) < 0)
		box_bad_usage("cannot open what is to be bound", source);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		box_bad_usage("neither a directory nor a regular file", source);
	bind->uid = st.st_uid;
	bind->gid = st.st_gid;
	bind->writable = writable;
}

/* What tells a program of the host's network how to find names; another root has
 * files of its own. A link (to a resolver's in /run) shows what it leads to. */
static void bind_resolver(struct box_options *options)
{
	static const char *const files[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		bool bound = access(files[i], R_OK) != 0;

		for (unsigned k = 0; k < options->binds_len; k++)
			bound = bound || strcmp(options->places[k], files[i]) == 0;
		if (!bound)
			set_bind(options, files[i], false);
	}
}

static void set_network(struct box_options *options, const char *value)
{
	bool host = strcmp(value, "host") == 0;

	if (!host && strcmp(value, "none") != 0)
		box_bad_usage("--network: expected none or host", value);
	options->network = host ? BOX_NETWORK_HOST : BOX_NETWORK_NONE;
}

static void set_other(struct box_options *options, int letter, const char *value)
{
	int64_t number;

	switch (letter) {
	case 'w':
		options->write = true;
		break;
	case 'e':
		options->empty = true;
		break;
	case 'b':
	case 'B':
		set_bind(options, value, letter == 'b');
		break;
	case 't':
		(void)new_bind(options, value);
		break;
	case 'T':
		options->no_tty = true;
		break;
	case 'x':
		options->explain = true;
		break;
	case 'd':
		options->cwd = value;
		break;
	case 'r':
		options->root = value;
		break;
	case 'P':
		if (!filter_profile_parse(value, &options->limits.profile))
			box_bad_usage("--profile: expected strict, default or trusted", value);
		break;
	case 'n':
		set_network(options, value);
		break;
	case 'p':
		options->preset = value;
		break;
	case 'c':
		set_cpus(options, value);
		break;
	case 'O':
		options->outcome_file = value;
		break;
	case 'a':
		if (strcmp(value, "cgroup") != 0)
			box_bad_usage("--allow-missing: expected 'cgroup'", value);
		options->allow_missing = true;
		break;
	case 'o':
		if (!text_parse_int(value, &number) || number < 0 || number > 1 << 20)
			box_bad_usage("--outcome-fd: expected a descriptor", value);
		options->outcome_fd = (int)number;
		break;
	case 'E':
		if (strchr(value, '=') == NULL || options->env_len == BOX_OPTIONS_ENV)
			box_bad_usage("--env: expected NAME=VALUE", value);
		options->env[options->env_len++] = value;
		break;
	case 'V':
		(void)printf("sbx-box %s\n", SBX_VERSION);
		exit(0);
	case 'h':
		(void)fputs(usage, stdout);
		exit(0);
	default:
		exit(BOX_EXIT_FAULT); /* getopt has said why */
	}
}

static void add_env(struct box_options *options, const char *entry)
{
	size_t name = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < options->env_len; i++)
		if (strncmp(options->env[i], entry, name) == 0)
			return;
	if (options->env_len < BOX_OPTIONS_ENV)
		options->env[options->env_len++] = entry;
}

/* A program that draws has to know what it draws on. */
static void add_term(struct box_options *options)
{
	static char term[128];
	const char *own = getenv("TERM");

	if (own == NULL || strlen(own) >= sizeof(term) - 5)
		return;
	(void)snprintf(term, sizeof(term), "TERM=%s", own);
	add_env(options, term);
}

/* What comes first stays. */
void box_options_add_env(struct box_options *options, const char *const *root_env)
{
	static const char *const defaults[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp",
		"LANG=C.UTF-8"};

	while (*root_env != NULL)
		add_env(options, *root_env++);
	for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
		add_env(options, defaults[i]);
	/* Looking for leaks takes ptrace, which other profiles refuse. */
	if (options->limits.profile != FILTER_TRUSTED)
		add_env(options, "LSAN_OPTIONS=detect_leaks=0");
	if (!options->no_tty && tty_here())
		add_term(options);
}

/* Of a person who names no command. */
static const char *const shell[] = {"sh", "-c", "command -v bash >/dev/null && exec bash; exec sh",
				    NULL};

void box_options_parse(int argc, char **argv, struct box_options *ret)
{
	struct option list[LIMITS_LEN + OTHERS_LEN + 1] = {{0}};
	int letter, which = 0;

	for (size_t i = 0; i < LIMITS_LEN; i++)
		list[i] = (struct option){limit_options[i].name, required_argument, NULL,
					  OPT_OTHER + (int)i};
	for (size_t i = 0; i < OTHERS_LEN; i++)
		list[LIMITS_LEN + i] = other_options[i];
	while ((letter = getopt_long(argc, argv, "+", list, &which)) != -1) {
		if (letter >= OPT_OTHER)
			set_limit(ret, (size_t)(letter - OPT_OTHER), optarg);
		else
			set_other(ret, letter, optarg);
	}
	if (ret->network == BOX_NETWORK_HOST && ret->root == NULL)
		bind_resolver(ret);
	if (ret->preset != NULL)
		set_preset(ret, ret->preset);
	ret->command = argv + optind;
	if (optind == argc && !ret->no_tty && tty_here())
		ret->command = (char *const *)(uintptr_t)shell;
	else if (optind == argc && !ret->explain)
		box_bad_usage("no command", "");
	if (ret->write && ret->empty)
		box_bad_usage("--write and --empty exclude each other", "");
	if (ret->limits.memory_bytes == 0 || ret->limits.disk_bytes == 0 ||
	    ret->limits.processes == 0)
		box_bad_usage("--memory, --disk and --processes can't be without limit", "0");
}
