/*
 * filter.h - which dead letters a command is about: --reason, --tenant,
 * --since, --id, --limit, --all, and IDs named one by one.
 *
 *	struct filter filter = {0};
 *	groups[0] = filter_options(&filter);
 *	...						// cli_begin fills filter.ids
 *	if (filter_begin(&filter, &arena, &err) < 0) ...
 *	filter_visit(&filter, &config, &visitor, &err);	// take() for each that it takes
 *
 * Everything given must hold; IDs are alternatives to each other.
 */
#ifndef SBX_PRODUCER_FILTER_H
#define SBX_PRODUCER_FILTER_H

#include "producer/cli.h"
#include "producer/letter.h"
#include "schema/limits.h"

struct filter {
	const char *reason; /* glob, as is `id` */
	const char *id;
	const char *tenant;
	int64_t since_ms; /* 0: not given */
	int64_t limit;	  /* 0: not given */
	bool all;
	struct text_list ids;
	bool *found; /* for each of ids */
	int64_t now_ms;
	int64_t matched;
};

enum filter_verdict { FILTER_SKIP, FILTER_TAKE, FILTER_STOP };

/* The options with --all, for commands that change something, or without. */
struct option_group filter_options(struct filter *filter);
struct option_group filter_options_all(struct filter *filter);

/* Whether anything was said about which letters. */
bool filter_is_given(const struct filter *filter);

/* Starts counting. `filter->ids` and the options are in place. */
int filter_begin(struct filter *filter, struct arena *arena, struct err *err) MUST_CHECK;

/* FILTER_TAKE counts the letter; FILTER_STOP: the limit is reached. */
enum filter_verdict filter_judge(struct filter *filter, const struct letter *letter);

/*
 * Goes through the dead letters of a queue until the filter has enough or the
 * person interrupts. `before` may be NULL; it is called for each letter, taken
 * or not, and ends the visit with -1. `take` answers as the callback of
 * carrier_visit_dead does; the arena is the letter's own.
 */
enum { FILTER_ARENA_BYTES = 2 * LIMIT_ARENA_BYTES }; /* to read a letter */
struct filter_visitor {
	size_t more_bytes; /* of the arena, for what `take` makes in it */
	int (*before)(void *ctx);
	int (*take)(void *ctx, struct arena *arena, const struct letter *letter);
	void *ctx;
};
int filter_visit(struct filter *filter, const struct carrier_config *config,
		 const struct filter_visitor *visitor, struct err *err) MUST_CHECK;

/* Says which of the ids were not there. Returns `code`, or CLI_FAILED. */
int filter_missing(const struct filter *filter, int code);

/*
 * For a command that changes letters: 0 when it may go on, or -1 with the exit
 * code. Something must be said about which letters; unless they are named one
 * by one a person is asked, after a look at how many they are.
 */
int filter_agree(struct filter *filter, const struct cli *cli, const struct carrier_config *config,
		 bool yes, const char *verb, int *ret_exit) MUST_CHECK;

#endif
