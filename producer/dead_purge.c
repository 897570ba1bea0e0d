/*
 * dead_purge.c - `dead purge`: letters thrown away for good. Each is named
 * before the next one is looked at; what was passed over stays in its place.
 */
#include <inttypes.h>

#include "base/terminal.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/filter.h"
#include "producer/interrupt.h"
#include "producer/progress.h"

enum { OUTPUT_BYTES = 1 << 20 };

struct purge {
	struct cli cli;
	struct filter filter;
	bool yes;
	bool dry_run;
	struct carrier_config config;
	struct progress progress;
	int exit_code; /* CLI_DONE until printing failed */
};

static const struct cli_help purge_help = {
	.usage = "usage: sbx-submit dead purge ID... [OPTIONS]\n"
		 "       sbx-submit dead purge --all | FILTER... [--yes] [OPTIONS]\n",
	.intro = "\nThrows dead letters away. 'dead export' keeps a copy.\n",
	.ending = "Exit codes: 0 done; 1 not found, or interrupted; 2 usage; 6 error.\n",
};

#define AT(member) offsetof(struct purge, member), NULL

static const struct option_row purge_rows[] = {
	{"yes", NULL, "do not ask (needed without a terminal)", option_flag, AT(yes)},
	{"dry-run", NULL, "only say what would be thrown away", option_flag, AT(dry_run)},
};

static void report(struct purge *purge, struct arena *arena, const struct letter *letter)
{
	CLEANUP(buf_release) struct buf out = {0};
	struct value *map = value_map(arena);

	progress_erase(&purge->progress);
	buf_init(&out, OUTPUT_BYTES);
	if (purge->cli.json) {
		if (map != NULL) {
			value_put(arena, map, "id", value_str(arena, letter->id));
			value_put(arena, map, "purged", value_bool(arena, !purge->dry_run));
		}
		cli_add_json(arena->exhausted ? NULL : map, &out);
	} else if (!purge->cli.quiet) {
		terminal_add_text(&out, letter->id);
		buf_printf(&out, "  %s\n", purge->dry_run ? "would be purged" : "purged");
	}
	purge->exit_code = cli_print(&out, CLI_DONE);
}

static int before(void *ctx)
{
	struct purge *purge = ctx;

	progress_draw(&purge->progress, "%" PRId64 " purged", purge->filter.matched);
	return 0;
}

static int take(void *ctx, struct arena *arena, const struct letter *letter)
{
	struct purge *purge = ctx;

	report(purge, arena, letter);
	if (purge->exit_code != CLI_DONE)
		return -1; /* what could not be said is not done */
	return purge->dry_run ? 0 : 1;
}

static int purge_letters(struct purge *purge)
{
	const struct filter_visitor visitor = {.before = before, .take = take, .ctx = purge};
	struct err err = {0};
	int code;

	progress_init(&purge->progress, purge->cli.quiet || purge->dry_run);
	interrupt_catch();
	if (filter_visit(&purge->filter, &purge->config, &visitor, &err) < 0) {
		progress_erase(&purge->progress);
		return cli_fail_carrier(&err);
	}
	progress_erase(&purge->progress);
	if (purge->exit_code != CLI_DONE)
		return purge->exit_code;
	if (interrupt_seen())
		code = cli_fail(CLI_FAILED, "interrupted; all other letters are still there");
	else
		code = filter_missing(&purge->filter, CLI_DONE);
	if (!purge->cli.json)
		cli_note(&purge->cli, "%" PRId64 " %s", purge->filter.matched,
			 purge->dry_run ? "would be purged" : "purged");
	return code;
}

int dead_purge(struct arena *arena, char *const *argv)
{
	struct purge purge = {0};
	struct option_group groups[] = {
		filter_options_all(&purge.filter),
		{"How", purge_rows, ARRAY_LEN(purge_rows), &purge},
		cli_connection_options(&purge.cli),
		cli_common_options(&purge.cli),
	};
	struct err err = {0};
	int code;

	if (cli_begin(&purge.cli, &purge_help, groups, ARRAY_LEN(groups), arena, argv,
		      &purge.filter.ids, &code) < 0)
		return code;
	if (filter_begin(&purge.filter, arena, &err) < 0)
		return cli_fail(CLI_ERROR, "%s", err.message);
	if (!filter_is_given(&purge.filter))
		return cli_fail(CLI_USAGE, "name the IDs to purge, a filter, or --all");
	if (cli_carrier(&purge.cli, "sbx-submit dead", &purge.config) < 0)
		return CLI_USAGE;
	if (filter_agree(&purge.filter, &purge.cli, &purge.config, purge.yes || purge.dry_run,
			 "purge", &code) < 0)
		return code;
	return purge_letters(&purge);
}
