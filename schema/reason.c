/*
 * reason.c - the two tables, and filling a struct reason. Text comes from
 * diffs, reports and file names, so it is formatted first and then copied
 * character by character, where a character is a whole UTF-8 sequence or one
 * byte that is none.
 */
#include "schema/reason.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* --- tables ----------------------------------------------------------- */

static const struct {
	const char *name;
	const char *meaning;
	int exit_code;
} verdicts[] = {
#define VERDICT(name, exit_code, meaning) {#name, meaning, exit_code},
#include "schema/verdict.def"
#undef VERDICT
};

static const struct {
	const char *name;
	const char *hint;
} reasons[] = {
	[REASON_NONE] = {"", ""},
#define REASON(identifier, code, hint) [REASON_##identifier] = {code, hint},
#include "schema/reason.def"
#undef REASON
};

/* --- verdicts --------------------------------------------------------- */

const char *verdict_name(enum verdict verdict)
{
	assert((size_t)verdict < ARRAY_LEN(verdicts));
	return verdicts[verdict].name;
}

const char *verdict_meaning(enum verdict verdict)
{
	assert((size_t)verdict < ARRAY_LEN(verdicts));
	return verdicts[verdict].meaning;
}

int verdict_exit_code(enum verdict verdict)
{
	assert((size_t)verdict < ARRAY_LEN(verdicts));
	return verdicts[verdict].exit_code;
}

bool verdict_parse(const char *name, enum verdict *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
		if (strcmp(verdicts[i].name, name) == 0) {
			*ret = (enum verdict)i;
			return true;
		}
	}
	return false;
}

/* --- reasons ---------------------------------------------------------- */

const char *reason_code_name(enum reason_code code)
{
	assert((size_t)code < ARRAY_LEN(reasons));
	return reasons[code].name;
}

const char *reason_code_hint(enum reason_code code)
{
	assert((size_t)code < ARRAY_LEN(reasons));
	return reasons[code].hint;
}

bool reason_code_parse(const char *name, enum reason_code *ret)
{
	for (size_t i = REASON_NONE + 1; i < ARRAY_LEN(reasons); i++) {
		if (strcmp(reasons[i].name, name) == 0) {
			*ret = (enum reason_code)i;
			return true;
		}
	}
	return false;
}

/* Length of the UTF-8 sequence at the start of `text`, 0 when there is none. */
static size_t character_len(const char *text)
{
	uint8_t lead = (uint8_t)text[0];
	size_t len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

	return strnlen(text, len) == len && text_is_utf8(text, len) ? len : 0;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t used = 0;

	while (*from != '\0') {
		size_t len = character_len(from);
		size_t wanted = len == 0 ? 1 : len;

		if (used + wanted >= size)
			break;
		if (len == 0)
			to[used] = '?';
		else
			(void)memcpy(to + used, from, len);
		used += wanted;
		from += wanted;
	}
	to[used] = '\0';
}

int reason_set(struct reason *reason, enum reason_code code, const char *subject, const char *fmt,
	       ...)
{
	/* Longer than the message, so that a sequence that is cut here is cut
	 * away there too. */
	char text[REASON_MESSAGE_BYTES + 8];
	va_list args;

	assert((size_t)code < ARRAY_LEN(reasons));
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	reason->code = code;
	copy_text(reason->message, sizeof(reason->message), text);
	copy_text(reason->subject, sizeof(reason->subject), subject == NULL ? "" : subject);
	return REFUSED;
}
