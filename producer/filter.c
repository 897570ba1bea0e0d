/*
 * filter.c - letters are judged by what letter.h could read of them. A letter
 * without any time is older than every --since, for nobody can say that it is
 * not.
 */
#include "producer/filter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "producer/interrupt.h"

#define AT(member) offsetof(struct filter, member), NULL

/* --all stands first, so that it can be left out. */
static const struct option_row rows[] = {
	{"all", NULL, "every letter", option_flag, AT(all)},
	{"reason", "GLOB", "given up for this reason ('source.*')", option_text, AT(reason)},
	{"tenant", "NAME", "of this tenant", option_text, AT(tenant)},
	{"since", "DURATION", "given up within this time", option_duration, AT(since_ms)},
	{"id", "GLOB", "whose id is like this ('build-*')", option_text, AT(id)},
	{"limit", "N", "only the first so many of them", option_count, AT(limit)},
};

struct option_group filter_options(struct filter *filter)
{
	return (struct option_group){"Which letters", rows + 1, ARRAY_LEN(rows) - 1, filter};
}

struct option_group filter_options_all(struct filter *filter)
{
	return (struct option_group){"Which letters", rows, ARRAY_LEN(rows), filter};
}

bool filter_is_given(const struct filter *filter)
{
	return filter->all || filter->reason != NULL || filter->id != NULL ||
	       filter->tenant != NULL || filter->since_ms != 0 || filter->limit != 0 ||
	       filter->ids.len > 0;
}

int filter_begin(struct filter *filter, struct arena *arena, struct err *err)
{
	filter->now_ms = clock_wall_us() / 1000;
	filter->matched = 0;
	filter->found = arena_array(arena, filter->ids.len + 1, sizeof(*filter->found));
	if (filter->found == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	return 0;
}

/* --- judging ---------------------------------------------------------- */

static bool is_recent(const struct filter *filter, const struct letter *letter)
{
	int64_t at_ms = letter->delivery->death.last_at_ms;

	if (filter->since_ms == 0)
		return true;
	if (at_ms <= 0 && letter->delivery->timestamp_us / 1000 <= LIMIT_DEADLINE_MS)
		at_ms = letter->delivery->timestamp_us / 1000;
	return at_ms > 0 && at_ms >= filter->now_ms - filter->since_ms;
}

static bool is_named(struct filter *filter, const char *id)
{
	bool named = filter->ids.len == 0;

	for (size_t i = 0; i < filter->ids.len; i++) {
		if (strcmp(filter->ids.items[i], id) == 0)
			filter->found[i] = named = true;
	}
	return named;
}

enum filter_verdict filter_judge(struct filter *filter, const struct letter *letter)
{
	const char *reason = letter->delivery->death.reason;
	const char *tenant = letter->tenant;

	if (filter->limit != 0 && filter->matched == filter->limit)
		return FILTER_STOP;
	if (filter->reason != NULL && !text_glob_match(filter->reason, reason ? reason : "-"))
		return FILTER_SKIP;
	if (filter->id != NULL && !text_glob_match(filter->id, letter->id))
		return FILTER_SKIP;
	if (filter->tenant != NULL && (tenant == NULL || strcmp(filter->tenant, tenant) != 0))
		return FILTER_SKIP;
	if (!is_recent(filter, letter) || !is_named(filter, letter->id))
		return FILTER_SKIP;
	filter->matched++;
	return FILTER_TAKE;
}

int filter_missing(const struct filter *filter, int code)
{
	for (size_t i = 0; i < filter->ids.len; i++) {
		if (!filter->found[i])
			code = cli_fail(CLI_FAILED, "no dead letter has the id '%s'; %s",
					filter->ids.items[i],
					strpbrk(filter->ids.items[i], "*?[") != NULL
						? "patterns go with --id"
						: "'dead list' lists them");
	}
	return code;
}

/* --- visiting --------------------------------------------------------- */

struct visit {
	struct filter *filter;
	const struct filter_visitor *visitor;
};

static int visit_letter(void *ctx, const struct delivery *delivery)
{
	const struct visit *visit = ctx;
	const struct filter_visitor *visitor = visit->visitor;
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct letter letter;

	if (interrupt_seen() || (visitor->before != NULL && visitor->before(visitor->ctx) < 0))
		return -1;
	arena_init(&arena, FILTER_ARENA_BYTES + visitor->more_bytes);
	letter_read(&arena, delivery, &letter);
	switch (filter_judge(visit->filter, &letter)) {
	case FILTER_SKIP:
		return 0;
	case FILTER_STOP:
		return -1;
	case FILTER_TAKE:
		break;
	}
	return visitor->take(visitor->ctx, &arena, &letter);
}

int filter_visit(struct filter *filter, const struct carrier_config *config,
		 const struct filter_visitor *visitor, struct err *err)
{
	struct visit visit = {filter, visitor};

	return carrier_visit_dead(config, visit_letter, &visit, err);
}

/* --- asking ----------------------------------------------------------- */

static int count_letter(void *ctx, struct arena *arena, const struct letter *letter)
{
	(void)ctx;
	(void)arena;
	(void)letter;
	return 0;
}

static bool is_answered_yes(int64_t count, const char *verb)
{
	char answer[8];

	(void)fprintf(stderr, "%s %" PRId64 " dead letter%s? [y/N] ", verb, count,
		      count == 1 ? "" : "s");
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	       (answer[0] == 'y' || answer[0] == 'Y');
}

int filter_agree(struct filter *filter, const struct cli *cli, const struct carrier_config *config,
		 bool yes, const char *verb, int *ret_exit)
{
	const struct filter_visitor counter = {.take = count_letter};
	struct filter count = *filter;
	struct err err = {0};

	if (!filter_is_given(filter)) {
		*ret_exit = cli_fail(CLI_USAGE, "say which letters: IDs, a filter, or --all");
		return -1;
	}
	if (filter->all && filter->ids.len > 0) {
		*ret_exit = cli_fail(CLI_USAGE, "--all and IDs exclude each other");
		return -1;
	}
	if (yes || filter->ids.len > 0)
		return 0;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		*ret_exit = cli_fail(CLI_USAGE, "letters that are not named one by one need --yes "
						"where there is no terminal to ask on");
		return -1;
	}
	if (filter_visit(&count, config, &counter, &err) < 0) {
		*ret_exit = cli_fail_carrier(&err);
		return -1;
	}
	if (count.matched == 0) {
		cli_note(cli, "no such dead letters");
		*ret_exit = CLI_DONE;
		return -1;
	}
	if (is_answered_yes(count.matched, verb))
		return 0;
	*ret_exit = cli_fail(CLI_FAILED, "nothing was done");
	return -1;
}
