/*
 * mode.c - theory: the choice is a function of a few facts, with one sentence
 * for each way through it, so that a result can say why and a test can try all.
 */
#include "worker/mode.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "worker/limits_row.h"

/* --- the table -------------------------------------------------------- */

static const struct mode modes[] = {
#define MODE(label, prof, all, wall, cpu, idle, memory, disk, inode, process, files, file, output, \
	     why)                                                                                  \
	{.name = #label,                                                                           \
	 .profile = FILTER_##prof,                                                                 \
	 .whole = all,                                                                             \
	 .most = LIMITS_ROW(wall, cpu, idle, memory, disk, inode, process, files, file, output),   \
	 .doc = why},
#include "worker/mode.def"
#undef MODE
};

size_t mode_table(const struct mode **ret)
{
	*ret = modes;
	return ARRAY_LEN(modes);
}

const struct mode *mode_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (strcmp(modes[i].name, name) == 0)
			return &modes[i];
	}
	return NULL;
}

static const struct mode *mode_named(const char *name)
{
	const struct mode *mode = mode_find(name);

	assert(mode != NULL);
	return mode;
}

/* --- the choice ------------------------------------------------------- */

bool mode_isolate_valid(const char *word)
{
	for (size_t i = 0; i < SEVERITY_COUNT; i++) {
		if (strcmp(word, severity_name((enum severity)i)) == 0)
			return true;
	}
	return strcmp(word, "never") == 0;
}

/* Findings that are as grave as the operator says, or more. */
static int64_t grave_findings(const struct mode_facts *facts)
{
	int64_t grave = 0;
	bool counts = false;

	for (size_t i = 0; i < SEVERITY_COUNT; i++) {
		counts = counts || strcmp(facts->isolate, severity_name((enum severity)i)) == 0;
		if (counts)
			grave += facts->findings[i];
	}
	return grave;
}

static void choose_auto(const struct mode_facts *facts, struct mode_choice *ret)
{
	int64_t grave = grave_findings(facts);

	if (grave > 0) {
		ret->mode = mode_named("isolated");
		(void)snprintf(ret->why, sizeof(ret->why),
			       "auto: the diff has %lld finding%s of severity %s or above",
			       (long long)grave, grave == 1 ? "" : "s", facts->isolate);
	} else if (facts->trusted_source) {
		ret->mode = mode_named("trusted");
		(void)snprintf(ret->why, sizeof(ret->why),
			       "auto: the source is one of [sources] trusted, and the diff has no "
			       "grave finding");
	} else {
		ret->mode = mode_named("sandboxed");
		(void)snprintf(ret->why, sizeof(ret->why),
			       "auto: the source is none of [sources] trusted, and the diff has no "
			       "grave finding");
	}
}

static int refuse_missing(const struct mode_facts *facts, const struct mode *mode,
			  struct reason *ret_reason)
{
	CLEANUP(buf_release) struct buf names;

	buf_init(&names, REASON_MESSAGE_BYTES);
	for (size_t i = 0; i < facts->missing->len; i++)
		buf_printf(&names, "%s%s", i == 0 ? "" : ", ", facts->missing->items[i]);
	return reason_set(ret_reason, REASON_POLICY_SECURITY, "security",
			  "'%s' needs every layer of the box; this worker is without %s",
			  mode->name, names.failed ? "several" : buf_text(&names));
}

static bool raise_to_least(const struct mode_facts *facts, struct mode_choice *choice)
{
	const struct mode *least = mode_named(facts->least);

	if (choice->mode >= least)
		return false;
	(void)snprintf(choice->why, sizeof(choice->why),
		       "[security] least is %s; it would have been %s", least->name,
		       choice->mode->name);
	choice->mode = least;
	return true;
}

/* Findings make `auto` as strict as this host can be; where somebody asked for
 * a whole box, less is not what was asked for. */
int mode_choose(const struct mode_facts *facts, struct mode_choice *ret, struct reason *ret_reason)
{
	static const char *const names[] = {
		[SECURITY_TRUSTED] = "trusted",
		[SECURITY_SANDBOXED] = "sandboxed",
		[SECURITY_ISOLATED] = "isolated",
	};
	struct mode_choice choice = {.why = "the job asks for it"};
	bool may_lack = false;

	if (facts->asked == SECURITY_TRUSTED && !facts->trusted_source)
		return reason_set(ret_reason, REASON_POLICY_SECURITY, "security",
				  "'trusted' is for sources of the worker's [sources] trusted, and "
				  "this is none");
	if (facts->asked == SECURITY_AUTO) {
		choose_auto(facts, &choice);
		may_lack = true;
	} else {
		choice.mode = mode_named(names[facts->asked]);
	}
	if (raise_to_least(facts, &choice))
		may_lack = false;
	if (choice.mode->whole && !may_lack && facts->missing->len > 0)
		return refuse_missing(facts, choice.mode, ret_reason);
	*ret = choice;
	return 0;
}
