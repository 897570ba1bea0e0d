/*
 * sbx-worker - the daemon: pulls jobs from the queue, runs them, publishes
 * results. The command line only chooses what to do; supervisor.c does it.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/check.h"
#include "worker/cli.h"
#include "worker/history.h"
#include "worker/metrics.h"
#include "worker/status.h"
#include "worker/supervisor.h"
#include "worker/verify.h"

enum { SETS_MAX = 64, WORKER_ARENA_BYTES = 16 << 20, TEMPLATE_BYTES = 1 << 20 };

static const char help[] =
	"Usage: sbx-worker [OPTION]... [COMMAND]\n"
	"Pull jobs from a queue, run them in sandboxes, publish their results.\n"
	"\n"
	"Commands:\n"
	"  serve     run until SIGTERM, which drains (the default); a second one hands\n"
	"            running jobs back to the queue; SIGHUP reads the configuration again\n"
	"  check     validate configuration, queue, kernel and limits; each failed check\n"
	"            comes with its fix\n"
	"  verify    read and hash all of the store: a checkout that has changed is\n"
	"            removed, and built anew for the next job that needs it\n"
	"  history   the jobs that came here, the newest first, as the ledger keeps them\n"
	"  status    what the running worker does: slots, jobs, connections, outbox\n"
	"  template  print a configuration file with every setting and its default\n"
	"\n"
	"      --config FILE      configuration (default /etc/sbx/worker.ini when it exists)\n"
	"      --set S.NAME=VALUE one setting, as [S] NAME in the file; may be repeated\n"
	"      --queue URL        short for --set queue.url=URL\n"
	"      --job GLOB         history: of these ids only\n"
	"      --tenant T         history: of this tenant only\n"
	"      --verdict V        history: with this verdict only\n"
	"      --since DURATION   history: not older than this, such as 90s, 30m or 24h\n"
	"      --limit N          history: at most so many; 0: all (default 100)\n"
	"      --json             check, verify, history, status: print JSON; serve: log JSON "
	"lines\n"
	"  -h, --help             this text\n"
	"      --version          the version\n"
	"\n"
	"Settings also come from the environment: SBX_QUEUE_URL is [queue] url. Without\n"
	"one, the queue is a file of this machine that needs no server.\n"
	"\n"
	"Exit status: 0 after a drain, or when every check holds or the store is sound;\n"
	"1 when going on is impossible, a check fails or damage was found; 2 usage.\n";

struct options {
	const char *config;
	const char *sets[SETS_MAX];
	size_t sets_len;
	bool json;
	struct ledger_filter filter;
	bool filtered;
};

enum {
	OPT_CONFIG = 256,
	OPT_SET,
	OPT_QUEUE,
	OPT_JSON,
	OPT_VERSION,
	OPT_JOB,
	OPT_TENANT,
	OPT_VERDICT,
	OPT_SINCE,
	OPT_LIMIT,
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, OPT_CONFIG},
	{"set", required_argument, NULL, OPT_SET},
	{"queue", required_argument, NULL, OPT_QUEUE},
	{"job", required_argument, NULL, OPT_JOB},
	{"tenant", required_argument, NULL, OPT_TENANT},
	{"verdict", required_argument, NULL, OPT_VERDICT},
	{"since", required_argument, NULL, OPT_SINCE},
	{"limit", required_argument, NULL, OPT_LIMIT},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static void add_set(struct options *options, const char *set)
{
	if (set != NULL && options->sets_len < SETS_MAX)
		options->sets[options->sets_len++] = set;
}

static int wrong(const char *option, const char *expected)
{
	(void)fprintf(stderr, "sbx-worker: --%s '%s': expected %s\n", option, optarg, expected);
	return EXIT_USAGE;
}

static bool is_verdict(const char *text)
{
	for (int i = 0; i < VERDICT_COUNT; i++) {
		if (strcmp(text, verdict_name((enum verdict)i)) == 0)
			return true;
	}
	return false;
}

/* What selects of the history. Returns -1 to go on, else an exit code. */
static int parse_filter(struct options *options, int option)
{
	struct ledger_filter *filter = &options->filter;
	int64_t since_ms;

	options->filtered = true;
	switch (option) {
	case OPT_JOB:
		filter->job = optarg;
		return -1;
	case OPT_TENANT:
		filter->tenant = optarg;
		return -1;
	case OPT_VERDICT:
		filter->verdict = optarg;
		return is_verdict(optarg) ? -1
					  : wrong("verdict", "passed, failed, rejected, "
							     "limit, cancelled, expired or error");
	case OPT_SINCE:
		if (!text_parse_duration_ms(optarg, &since_ms))
			return wrong("since", "a duration, such as 90s, 30m or 24h");
		filter->since_us = clock_wall_us() - since_ms * 1000;
		return -1;
	default:
		if (!text_parse_int(optarg, &filter->limit) || filter->limit < 0)
			return wrong("limit", "a whole number, 0 or more");
		return -1;
	}
}

/* Returns -1 to go on, else an exit code. */
static int parse_option(struct options *options, struct arena *arena, int option)
{
	switch (option) {
	case OPT_CONFIG:
		options->config = optarg;
		return -1;
	case OPT_SET:
		add_set(options, optarg);
		return -1;
	case OPT_QUEUE:
		add_set(options, arena_printf(arena, "queue.url=%s", optarg));
		return -1;
	case OPT_JOB:
	case OPT_TENANT:
	case OPT_VERDICT:
	case OPT_SINCE:
	case OPT_LIMIT:
		return parse_filter(options, option);
	case OPT_JSON:
		options->json = true;
		return -1;
	case OPT_VERSION:
		(void)puts("sbx-worker " SBX_VERSION);
		return EXIT_OK;
	case 'h':
		(void)fputs(help, stdout);
		return EXIT_OK;
	default:
		(void)fputs("Try 'sbx-worker --help'.\n", stderr);
		return EXIT_USAGE;
	}
}

/* --- commands --------------------------------------------------------- */

static int complain(const struct err *err, int code)
{
	(void)fprintf(stderr, "sbx-worker: %s\n", err->message);
	return code;
}

static int read_again(void *ctx, const struct config *old, struct config *ret, struct arena *arena,
		      struct err *err)
{
	const struct options *options = ctx;
	const struct cli_source source = {options->config, options->sets, options->sets_len};

	return cli_config_again(&source, old, ret, arena, err);
}

/* Such a worker is legal, and seldom what was meant. */
static void tell_what_is_refused(const struct config *config)
{
	if (config->sources_allow.len == 0)
		log_warn("no source is allowed: every job with a repository is rejected", "setting",
			 "sources.allow", NULL);
	if (config->commands_allow.len == 0)
		log_warn("no command is allowed: every job with steps is rejected", "setting",
			 "commands.allow", NULL);
}

static int serve(struct options *options, struct arena *arena)
{
	static const char embedded[] = "sqlite:";
	const struct supervisor_source source = {.load = read_again, .ctx = options};
	struct config config;
	struct err err = {0};

	if (options->json)
		add_set(options, "log.json=true");
	if (cli_config(&config, arena, "sbx-worker", options->config, options->sets,
		       options->sets_len, &err) < 0)
		return complain(&err, EXIT_USAGE);
	if (strncmp(config.queue_url, embedded, strlen(embedded)) == 0)
		log_info("embedded queue", "file", config.queue_url + strlen(embedded), NULL);
	tell_what_is_refused(&config);
	if (supervisor_serve(&config, &source, &metrics_server, &err) == 0)
		return EXIT_OK;
	log_error("worker ends", "error", err.message, NULL);
	return EXIT_FAULT;
}

static int verify(const struct options *options, struct arena *arena)
{
	struct config config;
	struct err err = {0};

	if (cli_config(&config, arena, "sbx-worker", options->config, options->sets,
		       options->sets_len, &err) < 0)
		return complain(&err, EXIT_USAGE);
	return verify_main(&config, options->json);
}

static int history(const struct options *options, struct arena *arena)
{
	struct config config;
	struct err err = {0};

	if (cli_config(&config, arena, "sbx-worker", options->config, options->sets,
		       options->sets_len, &err) < 0)
		return complain(&err, EXIT_USAGE);
	return history_main(&config, &options->filter, options->json);
}

static int status(const struct options *options, struct arena *arena)
{
	struct config config;
	struct err err = {0};

	if (cli_config(&config, arena, "sbx-worker", options->config, options->sets,
		       options->sets_len, &err) < 0)
		return complain(&err, EXIT_USAGE);
	return status_main(&config, options->json);
}

static int template(void)
{
	struct buf out;
	int code = EXIT_FAULT;

	buf_init(&out, TEMPLATE_BYTES);
	config_print_template(&out);
	if (!out.failed && fwrite(buf_text(&out), 1, out.len, stdout) == out.len)
		code = EXIT_OK;
	buf_release(&out);
	return code;
}

int main(int argc, char **argv)
{
	struct options options = {.filter.limit = HISTORY_LIMIT};
	struct arena arena;
	const char *command = "serve";
	int option;
	int code = EXIT_USAGE;

	cli_role(argc, argv);
	arena_init(&arena, WORKER_ARENA_BYTES);
	while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		int done = parse_option(&options, &arena, option);

		if (done >= 0)
			return done;
	}
	if (optind < argc)
		command = argv[optind++];
	if (optind < argc)
		(void)fprintf(stderr, "sbx-worker: unexpected argument '%s'\n", argv[optind]);
	else if (options.filtered && strcmp(command, "history") != 0)
		(void)fprintf(stderr, "sbx-worker: only history has filters; try --help\n");
	else if (strcmp(command, "serve") == 0)
		code = serve(&options, &arena);
	else if (strcmp(command, "check") == 0)
		code = check_main(options.config, options.sets, options.sets_len, options.json);
	else if (strcmp(command, "verify") == 0)
		code = verify(&options, &arena);
	else if (strcmp(command, "history") == 0)
		code = history(&options, &arena);
	else if (strcmp(command, "status") == 0)
		code = status(&options, &arena);
	else if (strcmp(command, "template") == 0)
		code = template();
	else
		(void)fprintf(stderr, "sbx-worker: unknown command '%s'; try --help\n", command);
	arena_release(&arena);
	return code;
}
