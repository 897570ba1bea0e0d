/*
 * check_main.c - the command: configuration, checks, report.
 *
 * What is wrong with the configuration's text becomes rows like everything
 * else, and the checks go on with what could be read.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/check.h"
#include "worker/cli.h"

enum { CHECK_ARENA_BYTES = 32 << 20, REPORT_BYTES = 1 << 20 };

static void on_problem(void *ctx, const char *problem)
{
	check_add(ctx, CHECK_FAIL, "configuration",
		  "see sbx-worker.ini(5); `sbx-worker template` prints every key", "%s", problem);
}

/* The URL of the queue holds a password. */
static void check_mode(const struct config *config, const char *path, struct check_report *report)
{
	struct stat st;

	if (path == NULL || strchr(config->queue_url, '@') == NULL || stat(path, &st) < 0 ||
	    (st.st_mode & S_IROTH) == 0)
		return;
	check_add(report, CHECK_WARN, "configuration", "chmod o-r the file",
		  "'%s' holds a password and can be read by everybody", path);
}

static int run(const char *path, const char *const *sets, size_t sets_len,
	       struct check_report *report, struct err *err)
{
	const struct config_sink sink = {.found = on_problem, .ctx = report};
	const struct config_origins origins = {
		.path = path, .env = environ, .sets = sets, .sets_len = sets_len};
	struct config config;

	if (config_init(&config, report->arena, err) < 0 ||
	    config_load(&config, &origins, &sink, err) < 0)
		return -1;
	if (!check_failed(report))
		check_add(report, CHECK_OK, "configuration", "", "%s",
			  path == NULL ? "defaults, environment and flags" : path);
	check_mode(&config, path, report);
	return check_run(&config, report, err);
}

int check_main(const char *path, const char *const *sets, size_t sets_len, bool json)
{
	struct check_report report;
	struct arena arena;
	struct err err = {0};
	struct buf out;
	int code;

	arena_init(&arena, CHECK_ARENA_BYTES);
	buf_init(&out, REPORT_BYTES);
	check_report_init(&report, &arena);
	if (run(cli_config_path(path), sets, sets_len, &report, &err) < 0)
		check_add(&report, CHECK_FAIL, "check", "free some memory", "%s", err.message);
	if (json)
		check_json(&report, &out);
	else
		check_print(&report, isatty(STDOUT_FILENO) == 1, &out);
	code = check_failed(&report) || out.failed ? EXIT_FAULT : EXIT_OK;
	if (fwrite(buf_text(&out), 1, out.len, stdout) != out.len || fflush(stdout) != 0)
		code = EXIT_FAULT;
	buf_release(&out);
	arena_release(&arena);
	return code;
}
