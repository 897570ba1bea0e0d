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
#include "producer/letter.h"
#include "schema/limits.h"

enum { OUTPUT_BYTES = 64 << 20 };

struct dead {
	struct cli cli;
	int64_t limit;
	const char *id; /* show: the one looked for */
	int64_t seen;
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

static const struct option_row list_rows[] = {
	{"limit", "N", "stop after so many letters", option_count, offsetof(struct dead, limit),
	 NULL},
};

/* --- visiting --------------------------------------------------------- */

static void print_letter(struct dead *dead, struct arena *arena, const struct letter *letter)
{
	CLEANUP(buf_release) struct buf out = {0};
	bool whole = dead->id != NULL;

	buf_init(&out, OUTPUT_BYTES);
	if (dead->cli.json) {
		cli_add_json(letter_to_value(arena, letter, whole), &out);
	} else if (whole) {
		letter_print(letter, &out);
	} else {
		if (dead->seen == 1)
			letter_print_head(&out);
		letter_print_row(letter, &out);
	}
	dead->exit_code = cli_print(&out, CLI_DONE);
}

static int visit(void *ctx, const struct delivery *delivery)
{
	struct dead *dead = ctx;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct letter letter;

	if (dead->limit != 0 && dead->seen == dead->limit)
		return -1;
	arena_init(&arena, 2 * (size_t)LIMIT_ARENA_BYTES);
	letter_read(&arena, delivery, &letter);
	if (dead->id != NULL && strcmp(dead->id, letter.id) != 0)
		return 0;
	dead->seen++;
	dead->undecodable += letter.tree == NULL;
	print_letter(dead, &arena, &letter);
	return dead->exit_code == CLI_DONE ? 0 : -1;
}

static int look(struct dead *dead)
{
	struct carrier_config config;
	struct err err = {0};

	if (cli_carrier(&dead->cli, "sbx-submit dead", &config) < 0)
		return CLI_USAGE;
	if (carrier_visit_dead(&config, visit, dead, &err) < 0)
		return cli_fail_carrier(&err);
	return dead->exit_code;
}

/* --- the commands ----------------------------------------------------- */

static int list_letters(struct arena *arena, char *const *argv)
{
	struct dead dead = {0};
	struct option_group groups[] = {
		{"Which", list_rows, ARRAY_LEN(list_rows), &dead},
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
	code = look(&dead);
	if (code == CLI_DONE && !dead.cli.json)
		cli_note(&dead.cli,
			 dead.seen == 0 ? "no dead letters"
					: "%" PRId64 " dead letters%s, %" PRId64 " not decodable",
			 dead.seen, dead.seen == dead.limit ? " shown" : "", dead.undecodable);
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
	dead.id = rest.items[0];
	code = look(&dead);
	if (code == CLI_DONE && dead.seen == 0)
		return cli_fail(CLI_FAILED,
				"no dead letter has the id '%s'; 'dead list' lists them", dead.id);
	return code;
}

int dead_main(char *const *argv)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};

	arena_init(&arena, LIMIT_ARENA_BYTES);
	if (argv[0] != NULL && strcmp(argv[0], "list") == 0)
		return list_letters(&arena, argv + 1);
	if (argv[0] != NULL && strcmp(argv[0], "show") == 0)
		return show_letter(&arena, argv + 1);
	if (argv[0] != NULL && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		CLEANUP(buf_release) struct buf out = {0};

		buf_init(&out, OUTPUT_BYTES);
		buf_printf(&out,
			   "%s       sbx-submit dead show ID [OPTIONS]\n"
			   "       sbx-submit replay ID... | --all [OPTIONS]\n"
			   "\nLooks at jobs that were given up. Each command has a --help of "
			   "its own.\n",
			   list_help.usage);
		return cli_print(&out, CLI_DONE);
	}
	return cli_fail(CLI_USAGE, "'dead' needs 'list' or 'show ID'; 'dead --help' tells more");
}
