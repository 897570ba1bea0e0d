/*
 * dead.c - `dead list` and `dead show`: looking at dead letters. Both visit the
 * queue and leave every letter in its place.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "producer/cli.h"
#include "producer/commands.h"
#include "producer/filter.h"
#include "producer/interrupt.h"
#include "schema/limits.h"

enum { OUTPUT_BYTES = 64 << 20 };

struct dead {
	struct cli cli;
	struct filter filter;
	bool whole; /* show: everything of each */
	int64_t undecodable;
	int exit_code; /* CLI_DONE until printing failed */
};

static const struct cli_help list_help = {
	.usage = "usage: sbx-submit dead list [OPTIONS]\n",
	.intro = "\nLists the dead letters, oldest first: jobs that were given up, with the "
		 "reason.\nNothing is changed.\n",
	.ending = "Exit codes: 0 done; 2 usage; 6 error.\n",
};

static const struct cli_help show_help = {
	.usage = "usage: sbx-submit dead show ID [OPTIONS]\n",
	.intro = "\nShows every dead letter of one job: why it was given up, and the job itself.\n"
		 "Nothing is changed.\n",
	.ending = "Exit codes: 0 shown; 1 no such letter; 2 usage; 6 error.\n",
};

/* --- visiting --------------------------------------------------------- */

static void print_letter(struct dead *dead, struct arena *arena, const struct letter *letter)
{
	CLEANUP(buf_release) struct buf out = {0};

	buf_init(&out, OUTPUT_BYTES);
	if (dead->cli.json) {
		cli_add_json(letter_to_value(arena, letter, dead->whole), &out);
	} else if (dead->whole) {
		letter_print(letter, &out);
	} else {
		if (dead->filter.matched == 1)
			letter_print_head(&out);
		letter_print_row(letter, &out);
	}
	dead->exit_code = cli_print(&out, CLI_DONE);
}

static int take(void *ctx, struct arena *arena, const struct letter *letter)
{
	struct dead *dead = ctx;

	dead->undecodable += letter->tree == NULL;
	print_letter(dead, arena, letter);
	return dead->exit_code == CLI_DONE ? 0 : -1;
}

static int look(struct dead *dead, struct arena *arena)
{
	const struct filter_visitor visitor = {.take = take, .ctx = dead};
	struct carrier_config config;
	struct err err = {0};

	if (filter_begin(&dead->filter, arena, &err) < 0)
		return cli_fail(CLI_ERROR, "%s", err.message);
	if (cli_carrier(&dead->cli, "sbx-submit dead", &config) < 0)
		return CLI_USAGE;
	interrupt_catch();
	if (filter_visit(&dead->filter, &config, &visitor, &err) < 0)
		return cli_fail_carrier(&err);
	if (interrupt_seen())
		return cli_fail(CLI_FAILED, "interrupted");
	return dead->exit_code;
}

/* --- the commands ----------------------------------------------------- */

static int list_letters(struct arena *arena, char *const *argv)
{
	struct dead dead = {0};
	struct option_group groups[] = {
		filter_options(&dead.filter),
		cli_connection_options(&dead.cli),
		cli_common_options(&dead.cli),
	};
	struct text_list rest;
	int code;

	if (cli_begin(&dead.cli, &list_help, groups, ARRAY_LEN(groups), arena, argv, &rest, &code) <
	    0)
		return code;
	if (rest.len > 0)
		return cli_fail(CLI_USAGE,
				"'dead list' takes no '%s'; to see one letter: dead show %s",
				rest.items[0], rest.items[0]);
	code = look(&dead, arena);
	if (code == CLI_DONE && !dead.cli.json)
		cli_note(&dead.cli,
			 dead.filter.matched == 0 ? "no dead letters"
						  : "%" PRId64 " dead %s%s, %" PRId64
						    " not decodable",
			 dead.filter.matched, dead.filter.matched == 1 ? "letter" : "letters",
			 dead.filter.matched == dead.filter.limit ? " shown" : "",
			 dead.undecodable);
	return code;
}

static int show_letter(struct arena *arena, char *const *argv)
{
	struct dead dead = {0};
	struct option_group groups[] = {
		cli_connection_options(&dead.cli),
		cli_common_options(&dead.cli),
	};
	struct text_list rest;
	int code;

	if (cli_begin(&dead.cli, &show_help, groups, ARRAY_LEN(groups), arena, argv, &rest, &code) <
	    0)
		return code;
	if (rest.len != 1)
		return cli_fail(CLI_USAGE, "'dead show' takes one ID; 'dead list' lists them");
	dead.whole = true;
	dead.filter.ids = rest;
	code = look(&dead, arena);
	return code == CLI_DONE ? filter_missing(&dead.filter, code) : code;
}

static int print_help(void)
{
	CLEANUP(buf_release) struct buf out = {0};

	buf_init(&out, OUTPUT_BYTES);
	buf_printf(&out,
		   "%s       sbx-submit dead show ID [OPTIONS]\n"
		   "       sbx-submit dead purge ID... | --all | FILTER... [OPTIONS]\n"
		   "       sbx-submit dead export FILE [ID...] [OPTIONS]\n"
		   "       sbx-submit dead import FILE [OPTIONS]\n"
		   "       sbx-submit replay ID... | --all | FILTER... [OPTIONS]\n"
		   "\nLooks after jobs that were given up. Each command has a --help of "
		   "its own.\n",
		   list_help.usage);
	return cli_print(&out, CLI_DONE);
}

int dead_main(char *const *argv)
{
	static const struct {
		const char *name;
		int (*run)(struct arena *arena, char *const *argv);
	} commands[] = {
		{"list", list_letters},	 {"show", show_letter},	  {"purge", dead_purge},
		{"export", dead_export}, {"import", dead_import},
	};
	CLEANUP(arena_cleanup) struct arena arena = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	for (size_t i = 0; argv[0] != NULL && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(&arena, argv + 1);
	}
	if (argv[0] != NULL && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
		return print_help();
	return cli_fail(CLI_USAGE, "'dead' needs 'list', 'show ID', 'purge', 'export FILE' or "
				   "'import FILE'; 'dead --help' tells more");
}
