/*
 * sbx-worker - the daemon: pulls jobs from the queue, runs them, publishes
 * results. The command line only chooses what to do; supervisor.c does it.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/check.h"
#include "worker/cli.h"
#include "worker/supervisor.h"
#include "worker/verify.h"

enum { SETS_MAX = 64, WORKER_ARENA_BYTES = 16 << 20, TEMPLATE_BYTES = 1 << 20 };

static const char help[] =
	"Usage: sbx-worker [OPTION]... [COMMAND]\n"
	"Pull jobs from a queue, run them in sandboxes, publish their results.\n"
	"\n"
	"Commands:\n"
	"  serve     run until SIGTERM, which drains (the default); a second one hands\n"
	"            running jobs back to the queue\n"
	"  check     validate configuration, queue, kernel and limits; each failed check\n"
	"            comes with its fix\n"
	"  verify    read every file of the store's checkouts and hash it; what has\n"
	"            changed is removed, and built anew for the next job that needs it\n"
	"  template  print a configuration file with every setting and its default\n"
	"\n"
	"      --config FILE      configuration (default /etc/sbx/worker.ini when it exists)\n"
	"      --set S.NAME=VALUE one setting, as [S] NAME in the file; may be repeated\n"
	"      --queue URL        short for --set queue.url=URL\n"
	"      --json             check, verify: print JSON; serve: log JSON lines\n"
	"  -h, --help             this text\n"
	"      --version          the version\n"
	"\n"
	"Settings also come from the environment: SBX_QUEUE_URL is [queue] url.\n"
	"\n"
	"Exit status: 0 after a drain, or when every check holds or the store is sound;\n"
	"1 when going on is impossible, a check fails or damage was found; 2 usage.\n";

struct options {
	const char *config;
	const char *sets[SETS_MAX];
	size_t sets_len;
	bool json;
};

enum { OPT_CONFIG = 256, OPT_SET, OPT_QUEUE, OPT_JSON, OPT_VERSION };

static const struct option long_options[] = {
	{"config", required_argument, NULL, OPT_CONFIG},
	{"set", required_argument, NULL, OPT_SET},
	{"queue", required_argument, NULL, OPT_QUEUE},
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

static int serve(struct options *options, struct arena *arena)
{
	struct config config;
	struct err err = {0};

	if (options->json)
		add_set(options, "log.json=true");
	if (cli_config(&config, arena, "sbx-worker", options->config, options->sets,
		       options->sets_len, &err) < 0)
		return complain(&err, EXIT_USAGE);
	if (*config.queue_url == '\0') {
		(void)err_set(&err, ERR_INPUT,
			      "no queue: set [queue] url, SBX_QUEUE_URL or --queue "
			      "amqp://user:password@host/ (sbx-run runs jobs without one)");
		return complain(&err, EXIT_USAGE);
	}
	if (supervisor_serve(&config, &err) == 0)
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
	struct options options = {0};
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
	else if (strcmp(command, "serve") == 0)
		code = serve(&options, &arena);
	else if (strcmp(command, "check") == 0)
		code = check_main(options.config, options.sets, options.sets_len, options.json);
	else if (strcmp(command, "verify") == 0)
		code = verify(&options, &arena);
	else if (strcmp(command, "template") == 0)
		code = template();
	else
		(void)fprintf(stderr, "sbx-worker: unknown command '%s'; try --help\n", command);
	arena_release(&arena);
	return code;
}
