/*
 * cli.c - what every command begins and ends with. Standard output carries
 * only what was asked for; words about it go to standard error.
 */
#include "producer/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/terminal.h"
#include "schema/limits.h"

#ifndef SBX_VERSION
#error "SBX_VERSION is set by the Makefile"
#endif

enum { OUTPUT_BYTES = 64 << 20, DEFAULT_URL_BYTES = 16 << 10 };

/* --- options of every command ----------------------------------------- */

#define AT(member) offsetof(struct cli, member), NULL

static const struct option_row connection_rows[] = {
	{"queue", "URL", "amqps://USER:PASSWORD@HOST/VHOST, amqp: or sqlite:/PATH", option_text,
	 AT(url)},
	{"prefix", "NAME", "of queues and exchanges (sbx)", option_text, AT(prefix)},
	{"ca-file", "FILE", "amqps: trust these instead of the system's", option_text, AT(ca_file)},
	{"cert-file", "FILE", "amqps: certificate to show", option_text, AT(cert_file)},
	{"key-file", "FILE", "amqps: its key", option_text, AT(key_file)},
	{"passive", NULL, "declare nothing; the queues must be there", option_flag, AT(passive)},
};

static const struct option_row common_rows[] = {
	{"timeout", "DURATION", "the most to wait for an answer", option_duration, AT(timeout_ms)},
	{"json", NULL, "JSON on standard output, one line each", option_flag, AT(json)},
	{"quiet", NULL, "only errors and warnings", option_flag, AT(quiet)},
	{"help", NULL, "this text", option_stop, AT(help)},
	{"version", NULL, "the version", option_stop, AT(version)},
};

struct option_group cli_connection_options(struct cli *cli)
{
	return (struct option_group){
		"Queue (--queue, SBX_QUEUE_URL, or this machine's embedded one)", connection_rows,
		ARRAY_LEN(connection_rows), cli};
}

struct option_group cli_common_options(struct cli *cli)
{
	return (struct option_group){"General", common_rows, ARRAY_LEN(common_rows), cli};
}

/* --- words ------------------------------------------------------------ */

/* Messages quote what others wrote, so they are made harmless as well. */
PRINTF_LIKE(2, 0)
static void say(const char *before, const char *fmt, va_list args)
{
	CLEANUP(buf_release) struct buf line = {0};
	char text[4096];

	(void)vsnprintf(text, sizeof(text), fmt, args);
	buf_init(&line, 64 << 10);
	buf_add_text(&line, before);
	terminal_add(&line, text, strlen(text), true);
	buf_add_byte(&line, '\n');
	(void)fputs(buf_text(&line), stderr);
}

int cli_fail(enum cli_exit code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("sbx-submit: ", fmt, args);
	va_end(args);
	return code;
}

void cli_warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("sbx-submit: warning: ", fmt, args);
	va_end(args);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
	va_list args;

	if (cli->quiet)
		return;
	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
}

int cli_fail_carrier(const struct err *err)
{
	static const char private[] = " (a private one: contrib/broker/sbx-broker start DIR)";
	const char *way_out = err_is_unreachable(err) ? private : "";

	return cli_fail(err->kind == ERR_INPUT ? CLI_USAGE : CLI_ERROR, "%s%s", err->message,
			way_out);
}

int cli_print(const struct buf *out, int code)
{
	struct err err = {0};

	if (out->failed)
		return cli_fail(CLI_ERROR, "out of memory for the output");
	if (fd_write_all(STDOUT_FILENO, buf_text(out), out->len, &err) < 0)
		return cli_fail(CLI_ERROR, "cannot write to standard output: %s", err.message);
	return code;
}

void cli_add_json(const struct value *value, struct buf *out)
{
	if (value == NULL) {
		out->failed = true;
		return;
	}
	value_to_json(value, 0, out);
	buf_add_byte(out, '\n');
}

void cli_time(int64_t at_ms, char ret_text[CLI_TIME_BYTES])
{
	char text[CLOCK_TEXT_BYTES];

	if (at_ms <= 0 || at_ms > LIMIT_DEADLINE_MS) {
		(void)snprintf(ret_text, CLI_TIME_BYTES, "-");
		return;
	}
	clock_text(at_ms * 1000, text);
	(void)snprintf(ret_text, CLI_TIME_BYTES, "%.10s %.8sZ", text, text + 11);
}

bool cli_color(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && getenv("NO_COLOR") == NULL &&
	       (term == NULL || strcmp(term, "dumb") != 0);
}

/* --- beginning -------------------------------------------------------- */

static int print_help(const struct cli_help *help, const struct option_group *groups,
		      size_t groups_len)
{
	CLEANUP(buf_release) struct buf out = {0};

	buf_init(&out, OUTPUT_BYTES);
	buf_printf(&out, "%s%s", help->usage, help->intro);
	options_help(groups, groups_len, &out);
	buf_printf(&out, "\n%s", help->ending);
	return cli_print(&out, CLI_DONE);
}

static int print_version(void)
{
	CLEANUP(buf_release) struct buf out = {0};

	buf_init(&out, 256);
	buf_add_text(&out, "sbx-submit " SBX_VERSION "\n");
	return cli_print(&out, CLI_DONE);
}

int cli_begin(const struct cli *cli, const struct cli_help *help, const struct option_group *groups,
	      size_t groups_len, struct arena *arena, char *const *argv, struct text_list *ret_rest,
	      int *ret_exit)
{
	struct err err = {0};
	int rc = options_parse(groups, groups_len, arena, argv, ret_rest, &err);

	if (rc == 0)
		return 0;
	if (rc < 0)
		*ret_exit = cli_fail(CLI_USAGE, "%s", err.message);
	else
		*ret_exit = cli->help ? print_help(help, groups, groups_len) : print_version();
	return -1;
}

/* For as long as the program runs, as what the command line names. */
static const char *default_url(void)
{
	static struct arena arena;
	struct err err = {0};
	const char *url;

	arena_init(&arena, DEFAULT_URL_BYTES);
	url = carrier_default_url(&arena, &err);
	if (url == NULL)
		(void)cli_fail(CLI_USAGE,
			       "no queue is named; give --queue or set SBX_QUEUE_URL: %s",
			       err.message);
	return url;
}

int cli_carrier(const struct cli *cli, const char *name, struct carrier_config *ret)
{
	const char *url = cli->url != NULL ? cli->url : getenv("SBX_QUEUE_URL");

	if (url == NULL || *url == '\0')
		url = default_url();
	if (url == NULL)
		return -1;
	*ret = (struct carrier_config){
		.url = url,
		.prefix = cli->prefix != NULL ? cli->prefix : "sbx",
		.passive = cli->passive,
		.ca_file = cli->ca_file,
		.cert_file = cli->cert_file,
		.key_file = cli->key_file,
		.name = name,
	};
	return 0;
}

int cli_reply_to(const char *name, const struct carrier_config *config)
{
	if (name == NULL || carrier_reply_to_valid(config->prefix, name))
		return 0;
	(void)cli_fail(CLI_USAGE,
		       "--reply-to: no result is sent to '%s'; name a queue under "
		       "'%s.reply.', which is there before the result",
		       name, config->prefix);
	return -1;
}
