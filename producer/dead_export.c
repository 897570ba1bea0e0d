/*
 * dead_export.c - `dead export`: letters copied into a file, one line each, for
 * `dead import`. The file gets its name when it is whole and on disk; before
 * that it is FILE.part, so a copy that is there is a whole one. The letters
 * stay where they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/filter.h"
#include "producer/interrupt.h"
#include "producer/progress.h"
#include "producer/record.h"
#include "schema/limits.h"

enum { LINE_BYTES = LIMIT_JSON_BYTES + (1 << 20), FLUSH_BYTES = 256 << 10 };

struct export
{
	struct cli cli;
	struct filter filter;
	struct carrier_config config;
	struct progress progress;
	const char *path;
	const char *part; /* NULL: standard output */
	int fd;
	struct buf out;
	int64_t written;
	int64_t failed;
	int exit_code; /* CLI_DONE until writing failed */
};

static const struct cli_help export_help = {
	.usage = "usage: sbx-submit dead export FILE [ID...] [OPTIONS]\n",
	.intro = "\nCopies dead letters into FILE ('-' is standard output), one line of JSON each, "
		 "with\npayload and headers as they are. The letters stay; 'dead purge' removes "
		 "them,\n'dead import' puts them back.\n",
	.ending = "Exit codes: 0 done; 1 not found, not all, or interrupted; 2 usage; 6 error.\n",
};

/* --- the file --------------------------------------------------------- */

static int open_file(struct export *export, struct arena *arena, struct err *err)
{
	export->fd = STDOUT_FILENO;
	if (strcmp(export->path, "-") == 0)
		return 0;
	if (access(export->path, F_OK) == 0)
		return err_set(err, ERR_CONFLICT, "'%s' exists already; name another file",
			       export->path);
	export->part = arena_printf(arena, "%s.part", export->path);
	if (export->part == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	export->fd = open(export->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (export->fd < 0)
		return err_sys(err, "cannot write '%s'", export->part);
	return 0;
}

static int flush(struct export *export, struct err *err)
{
	if (fd_write_all(export->fd, buf_text(&export->out), export->out.len, err) < 0)
		return err_prefix(err, "cannot write '%s'", export->path);
	buf_clear(&export->out);
	return 0;
}

/* Gives the whole file its name, unless somebody else has taken it. */
static int finish_file(struct export *export, struct err *err)
{
	if (flush(export, err) < 0)
		return -1;
	if (export->part == NULL)
		return 0;
	if (fsync(export->fd) < 0)
		return err_sys(err, "cannot write '%s'", export->part);
	if (renameat2(AT_FDCWD, export->part, AT_FDCWD, export->path, RENAME_NOREPLACE) < 0)
		return err_sys(err, "cannot rename '%s' to '%s'", export->part, export->path);
	return 0;
}

/* --- letters ---------------------------------------------------------- */

static int take(void *ctx, struct arena *arena, const struct letter *letter)
{
	struct export *export = ctx;
	struct err err = {0};
	struct value *record;

	if (record_from_delivery(arena, letter->delivery, &record, &err) < 0) {
		progress_erase(&export->progress);
		(void)cli_fail(CLI_FAILED, "'%s' is left out: %s", letter->id, err.message);
		export->failed++;
		return 0;
	}
	value_to_json(record, 0, &export->out);
	buf_add_byte(&export->out, '\n');
	export->written++;
	if (export->out.failed)
		export->exit_code = cli_fail(CLI_ERROR, "out of memory for '%s'", letter->id);
	else if (export->out.len >= FLUSH_BYTES && flush(export, &err) < 0)
		export->exit_code = cli_fail(CLI_ERROR, "%s", err.message);
	return export->exit_code == CLI_DONE ? 0 : -1;
}

static int before(void *ctx)
{
	struct export *export = ctx;

	progress_draw(&export->progress, "%" PRId64 " exported", export->written);
	return 0;
}

/* --- the command ------------------------------------------------------ */

static int conclude(struct export *export)
{
	struct err err = {0};
	int code = filter_missing(&export->filter, export->failed > 0 ? CLI_FAILED : CLI_DONE);

	if (finish_file(export, &err) < 0)
		return cli_fail(CLI_ERROR, "%s", err.message);
	export->part = NULL;
	cli_note(&export->cli, "%" PRId64 " exported", export->written);
	return code;
}

static int copy_letters(struct export *export)
{
	const struct filter_visitor visitor = {
		.more_bytes = LIMIT_ARENA_BYTES, .before = before, .take = take, .ctx = export};
	struct err err = {0};
	int rc;

	progress_init(&export->progress, export->cli.quiet);
	interrupt_catch();
	rc = filter_visit(&export->filter, &export->config, &visitor, &err);
	progress_erase(&export->progress);
	if (rc < 0)
		return cli_fail_carrier(&err);
	if (export->exit_code != CLI_DONE)
		return export->exit_code;
	if (interrupt_seen())
		return cli_fail(CLI_FAILED, "interrupted; '%s' is not written", export->path);
	return conclude(export);
}

static int export_letters(struct export *export, struct arena *arena)
{
	struct err err = {0};
	int code;

	if (filter_begin(&export->filter, arena, &err) < 0)
		return cli_fail(CLI_ERROR, "%s", err.message);
	if (cli_carrier(&export->cli, "sbx-submit dead", &export->config) < 0)
		return CLI_USAGE;
	if (open_file(export, arena, &err) < 0)
		return cli_fail(err.kind == ERR_CONFLICT ? CLI_USAGE : CLI_ERROR, "%s",
				err.message);
	buf_init(&export->out, LINE_BYTES);
	code = copy_letters(export);
	if (export->part != NULL)
		(void)unlink(export->part);
	if (export->fd != STDOUT_FILENO)
		fd_close(export->fd);
	buf_release(&export->out);
	return code;
}

int dead_export(struct arena *arena, char *const *argv)
{
	struct export export = {0};
	struct option_group groups[] = {
		filter_options_all(&export.filter),
		cli_connection_options(&export.cli),
		cli_common_options(&export.cli),
	};
	struct text_list rest;
	int code;

	if (cli_begin(&export.cli, &export_help, groups, ARRAY_LEN(groups), arena, argv, &rest,
		      &code) < 0)
		return code;
	if (rest.len == 0)
		return cli_fail(CLI_USAGE, "name the FILE to write, or '-'");
	export.path = rest.items[0];
	export.filter.ids = (struct text_list){rest.items + 1, rest.len - 1};
	return export_letters(&export, arena);
}
