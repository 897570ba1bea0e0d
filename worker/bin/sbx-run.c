/*
 * sbx-run - one job, no queue: the same processes as a worker's, started for
 * the jobs on the command line and gone with them. The person who runs it is
 * the operator, so without a configuration of commands and sources it runs
 * what the job names.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/terminal.h"
#include "base/text.h"
#include "schema/job_directory.h"
#include "schema/limits.h"
#include "schema/result.h"
#include "worker/cli.h"
#include "worker/supervisor.h"

enum { SETS_MAX = 64, JOBS_MAX = 10000, RUN_ARENA_BYTES = 512 << 20 };

static const char help[] =
	"Usage: sbx-run [OPTION]... JOB.json...\n"
	"Run jobs in the sandbox of this machine, without a queue, and print their results.\n"
	"JOB.json is a job as schema/PROTOCOL.md describes it; '-' reads standard input.\n"
	"\n"
	"      --json             print each result as one line of JSON\n"
	"      --files DIR        all files below DIR but .git are the base of every job\n"
	"      --follow           show states and output as they come (to standard error)\n"
	"      --repeat N         run the jobs N times over, each with an id of its own\n"
	"      --config FILE      configuration as of sbx-worker (default /etc/sbx/worker.ini)\n"
	"      --set S.NAME=VALUE one setting, as [S] NAME in the file; may be repeated\n"
	"      --state-dir DIR    where commits and checkouts are kept between runs\n"
	"      --allow-missing cgroup\n"
	"                         run although this user has no cgroup: the result says so\n"
	"                         (as one word, --allow-missing-cgroup, it is its older name)\n"
	"  -h, --help             this text\n"
	"      --version          the version\n"
	"\n"
	"Without [sources] allow, the repositories that the jobs name are allowed; without\n"
	"[commands] allow, any command is.\n"
	"\n"
	"Exit status: 0 passed, 1 failed, 2 usage, 3 rejected, 4 limit, 5 cancelled or expired,\n"
	"6 error; with several jobs, that of the first that is not passed.\n";

struct options {
	const char *config;
	const char *sets[SETS_MAX];
	size_t sets_len;
	bool json;
	bool follow;
	const char *files;
	int64_t repeat;
};

struct run {
	struct options options;
	struct arena arena;
	struct bytes jobs[JOBS_MAX];
	size_t jobs_len;
	struct text_list repos;
	int exit_code;
};

/* --- options ---------------------------------------------------------- */

enum {
	OPT_JSON = 256,
	OPT_FILES,
	OPT_FOLLOW,
	OPT_REPEAT,
	OPT_CONFIG,
	OPT_SET,
	OPT_STATE,
	OPT_MISSING,
	OPT_MISSING_CGROUP,
	OPT_VERSION
};

static const struct option long_options[] = {
	{"json", no_argument, NULL, OPT_JSON},
	{"files", required_argument, NULL, OPT_FILES},
	{"follow", no_argument, NULL, OPT_FOLLOW},
	{"repeat", required_argument, NULL, OPT_REPEAT},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"set", required_argument, NULL, OPT_SET},
	{"state-dir", required_argument, NULL, OPT_STATE},
	{"allow-missing", required_argument, NULL, OPT_MISSING},
	{"allow-missing-cgroup", no_argument, NULL, OPT_MISSING_CGROUP},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static void add_set(struct run *run, const char *set)
{
	if (set != NULL && run->options.sets_len < SETS_MAX)
		run->options.sets[run->options.sets_len++] = set;
}

/* Returns -1 to go on, else an exit code. */
static int parse_option(struct run *run, int option)
{
	switch (option) {
	case OPT_JSON:
		run->options.json = true;
		return -1;
	case OPT_FILES:
		run->options.files = optarg;
		return -1;
	case OPT_FOLLOW:
		run->options.follow = true;
		return -1;
	case OPT_REPEAT:
		if (text_parse_int(optarg, &run->options.repeat) && run->options.repeat > 0)
			return -1;
		(void)fprintf(stderr, "sbx-run: --repeat '%s': expected a number above 0\n",
			      optarg);
		return EXIT_USAGE;
	case OPT_CONFIG:
		run->options.config = optarg;
		return -1;
	case OPT_SET:
		add_set(run, optarg);
		return -1;
	case OPT_STATE:
		add_set(run, arena_printf(&run->arena, "worker.state_dir=%s", optarg));
		return -1;
	case OPT_MISSING:
		if (strcmp(optarg, "cgroup") != 0) {
			(void)fprintf(stderr, "sbx-run: --allow-missing '%s': expected 'cgroup'\n",
				      optarg);
			return EXIT_USAGE;
		}
		add_set(run, "sandbox.allow_missing=cgroup");
		return -1;
	case OPT_MISSING_CGROUP:
		add_set(run, "sandbox.allow_missing=cgroup");
		return -1;
	case OPT_VERSION:
		(void)puts("sbx-run " SBX_VERSION);
		return EXIT_OK;
	case 'h':
		(void)fputs(help, stdout);
		return EXIT_OK;
	default:
		(void)fputs("Try 'sbx-run --help'.\n", stderr);
		return EXIT_USAGE;
	}
}

/* --- jobs ------------------------------------------------------------- */

static int read_text(const char *path, struct buf *out, struct err *err)
{
	if (strcmp(path, "-") == 0)
		return fd_read_all(STDIN_FILENO, out, err);
	return fd_read_file(path, out->limit_bytes, out, err);
}

/* The job's own source goes, but for where the steps start. */
static int set_files(struct run *run, struct value *tree, struct err *err)
{
	const struct value *old = value_get(tree, "source");
	const char *subdir = value_text(&run->arena, value_get(old, "subdir"));
	struct value *source = value_map(&run->arena);

	if (tree->kind != VALUE_MAP || source == NULL)
		return 0; /* what is wrong is said later, in other words */
	if (job_source_directory(&run->arena, run->options.files, source, err) < 0)
		return err_prefix(err, "--files");
	if (subdir != NULL)
		value_put(&run->arena, source, "subdir", value_str(&run->arena, subdir));
	value_put(&run->arena, tree, "source", source);
	return 0;
}

/* One message of the tree; with --repeat the id is counted on. */
static int add_job(struct run *run, struct value *tree, int64_t round, struct err *err)
{
	const char *id = value_text(&run->arena, value_get(tree, "id"));
	const char *repo = value_text(&run->arena, value_get(value_get(tree, "source"), "repo"));
	struct text_list unknown;
	struct reason reason;
	struct buf message;
	int rc;

	if (run->jobs_len == JOBS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d jobs", JOBS_MAX);
	if (round > 0 && id != NULL)
		value_put(&run->arena, tree, "id",
			  value_str(&run->arena,
				    arena_printf(&run->arena, "%s-%lld", id, (long long)round)));
	buf_init(&message, LIMIT_MESSAGE_BYTES);
	rc = job_prepare(&run->arena, tree, &message, &unknown, &reason, err);
	if (rc == REFUSED) { /* the worker says so in a result, as for any producer */
		buf_clear(&message);
		value_pack(tree, &message);
		unknown.len = 0;
		rc = 0;
	}
	for (size_t i = 0; rc == 0 && round == 0 && i < unknown.len; i++)
		(void)fprintf(stderr, "sbx-run: warning: %s\n", unknown.items[i]);
	if (rc == 0) {
		struct bytes *job = &run->jobs[run->jobs_len++];

		job->len = message.len;
		job->data = (const uint8_t *)arena_memdup(&run->arena, message.data, message.len);
		if (repo != NULL)
			run->repos.items[run->repos.len++] = repo;
	}
	buf_release(&message);
	return rc == 0 && run->arena.exhausted ? err_set(err, ERR_LIMIT, "out of memory") : rc;
}

static int read_job(struct run *run, const char *path, struct err *err)
{
	struct buf text;
	int rc;

	buf_init(&text, 2 * LIMIT_MESSAGE_BYTES);
	rc = read_text(path, &text, err);
	for (int64_t round = 0; rc == 0 && round < run->options.repeat; round++) {
		char *copy = arena_memdup(&run->arena, text.data, text.len);
		struct value *tree;

		if (copy == NULL)
			rc = err_set(err, ERR_LIMIT, "out of memory");
		else
			rc = value_from_json(&run->arena, copy, text.len, &tree, err);
		if (rc == 0 && run->options.files != NULL)
			rc = set_files(run, tree, err);
		if (rc == 0)
			rc = add_job(run, tree, round, err);
	}
	buf_release(&text);
	return rc < 0 ? err_prefix(err, "'%s'", path) : 0;
}

/* --- results ---------------------------------------------------------- */

static void print_result(struct run *run, const struct value *result)
{
	struct buf out;

	buf_init(&out, 4 * LIMIT_RESULT_BYTES);
	if (run->options.json) {
		value_to_json(result, 0, &out);
		buf_add_byte(&out, '\n');
	} else {
		result_print(result, isatty(STDOUT_FILENO) == 1, &out);
	}
	if (fwrite(buf_text(&out), 1, out.len, stdout) != out.len || fflush(stdout) != 0)
		run->exit_code = 6;
	buf_release(&out);
}

static void on_result(void *ctx, size_t job, struct bytes message)
{
	struct run *run = ctx;
	struct arena arena;
	struct value *result;
	struct err err = {0};
	enum verdict verdict = VERDICT_error;
	const char *name;

	(void)job;
	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (value_unpack(&arena, message.data, message.len, &result, &err) < 0) {
		log_error("cannot read result", "error", err.message, NULL);
	} else {
		name = value_text(&arena, value_get(result, "verdict"));
		if (name != NULL)
			(void)verdict_parse(name, &verdict);
		print_result(run, result);
	}
	if (run->exit_code == 0)
		run->exit_code = verdict_exit_code(verdict);
	arena_release(&arena);
}

static void print_output(struct bytes output)
{
	struct buf out;

	buf_init(&out, 16 * LIMIT_MESSAGE_BYTES);
	terminal_add(&out, output.data, output.len, true);
	(void)fwrite(buf_text(&out), 1, out.len, stderr);
	buf_release(&out);
}

static int64_t number_at(const struct value *event, const char *key)
{
	const struct value *value = value_get(event, key);

	return value != NULL && value->kind == VALUE_INT ? value->integer : 0;
}

static void print_sample(const struct value *event)
{
	(void)fprintf(stderr, "-- running for %lld s, cpu %lld ms, memory %lld KiB\n",
		      (long long)(number_at(event, "wall_us") / 1000000),
		      (long long)(number_at(event, "cpu_us") / 1000),
		      (long long)(number_at(event, "memory_bytes") >> 10));
}

static void on_event(void *ctx, size_t job, struct bytes message)
{
	struct arena arena;
	struct value *event;
	const struct value *data;
	const char *state;

	(void)ctx;
	(void)job;
	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (value_unpack(&arena, message.data, message.len, &event, NULL) == 0) {
		state = value_text(&arena, value_get(event, "state"));
		data = value_get(event, "data");
		if (state != NULL)
			(void)fprintf(stderr, "-- %s\n", state);
		else if (value_get(event, "wall_us") != NULL)
			print_sample(event);
		else if (data != NULL && data->kind == VALUE_BIN)
			print_output(data->bytes);
	}
	arena_release(&arena);
}

/* --- the run ---------------------------------------------------------- */

static int configure(struct run *run, struct config *config, struct err *err)
{
	static const char *const any_command[] = {"off"};
	static const char *const one_slot[] = {"worker.slots=1"};

	if (run->jobs_len == 1)
		add_set(run, one_slot[0]);
	if (cli_config(config, &run->arena, "sbx-run", run->options.config, run->options.sets,
		       run->options.sets_len, err) < 0)
		return -1;
	if (config->sources_allow.len == 0)
		config->sources_allow = run->repos;
	if (config->commands_allow.len == 0)
		config->commands_allow =
			(struct text_list){(const char **)(uintptr_t)any_command, 1};
	return 0;
}

static int execute(struct run *run, char **paths, struct err *err)
{
	struct supervisor_local local = {.jobs = run->jobs, .result = on_result, .ctx = run};
	struct config config;

	for (; *paths != NULL; paths++) {
		if (read_job(run, *paths, err) < 0)
			return EXIT_USAGE;
	}
	if (configure(run, &config, err) < 0)
		return EXIT_USAGE;
	/* Whoever reads the results does not want the worker's own log as well. */
	if (strcmp(config.log_level, "info") == 0)
		config.log_level = "warn";
	log_init("sbx-run", LOG_WARN, config.log_json);
	local.jobs_len = run->jobs_len;
	local.event = run->options.follow ? on_event : NULL;
	if (supervisor_run(&config, &local, err) < 0)
		return 6;
	return run->exit_code;
}

int main(int argc, char **argv)
{
	static struct run run;
	struct err err = {0};
	int option;
	int code;

	cli_role(argc, argv);
	arena_init(&run.arena, RUN_ARENA_BYTES);
	run.options.repeat = 1;
	while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		code = parse_option(&run, option);
		if (code >= 0)
			return code;
	}
	if (optind == argc) {
		(void)fputs("sbx-run: no job given\nTry 'sbx-run --help'.\n", stderr);
		return EXIT_USAGE;
	}
	run.repos.items = arena_array(&run.arena, JOBS_MAX, sizeof(char *));
	if (run.repos.items == NULL)
		return 6;
	code = execute(&run, argv + optind, &err);
	if (err.kind != ERR_NONE)
		(void)fprintf(stderr, "sbx-run: %s\n", err.message);
	arena_release(&run.arena);
	return code;
}
