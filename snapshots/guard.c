/*
 * guard.c - the tables of protected and noteworthy files.
 *
 * Every path of a diff meets all globs, so the cheap questions come first: a
 * glob without wildcards is compared as text, and one with wildcards goes to
 * the matcher only when what stands before its first and behind its last
 * wildcard fits.
 */
#include "snapshots/guard.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

static const struct guard_rule rules[] = {
#define PROTECT(strength, kind, glob, why) {glob, GUARD_##strength, kind, why},
#include "snapshots/protected.def"
#undef PROTECT
};

static const struct guard_note notes[] = {
#define NOTE(severity, rule, glob, why) {glob, rule, SEVERITY_##severity, why},
#include "snapshots/noteworthy.def"
#undef NOTE
};

const char *guard_strength_name(enum guard_strength strength)
{
	assert(strength == GUARD_KEEP || strength == GUARD_FIXED);
	return strength == GUARD_KEEP ? "keep" : "fixed";
}

static bool matches(const char *glob, const char *path, const char *name)
{
	const char *subject = strchr(glob, '/') == NULL ? name : path;
	const char *text = glob[0] == '/' ? glob + 1 : glob;
	size_t head = strcspn(text, "*?[\\");
	size_t len = strlen(subject);
	const char *tail;

	if (text[head] == '\0')
		return strcmp(text, subject) == 0;
	if (strncmp(text, subject, head) != 0)
		return false;
	for (tail = text + strlen(text); strchr("*?]\\", tail[-1]) == NULL;)
		tail--;
	if (strlen(tail) > len || strcmp(subject + len - strlen(tail), tail) != 0)
		return false;
	return text_glob_match(glob, path);
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

const struct guard_rule *guard_rules(size_t *ret_len)
{
	*ret_len = ARRAY_LEN(rules);
	return rules;
}

const struct guard_rule *guard_protection(const char *path)
{
	const char *name = last_component(path);
	const struct guard_rule *found = NULL;

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (matches(rules[i].glob, path, name) &&
		    (found == NULL || rules[i].strength > found->strength))
			found = &rules[i];
	}
	return found;
}

const struct guard_note *guard_notes(size_t *ret_len)
{
	*ret_len = ARRAY_LEN(notes);
	return notes;
}

const struct guard_note *guard_note(const char *path)
{
	const char *name = last_component(path);

	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		if (matches(notes[i].glob, path, name))
			return &notes[i];
	}
	return NULL;
}
