/*
 * junit.c - the gateway to expat: JUnit XML as pytest, Gradle, Maven, Jest,
 * GoogleTest and CTest write it.
 *
 * Theory: the content is made valid first (see make_valid), then expat parses
 * it in one call: in pieces, a token as long as the content would be scanned
 * again for each piece. A document type is refused where it starts, so no
 * entity is ever declared, expanded or fetched. Depth is bounded; a case is
 * kept in fixed buffers until its element ends and is then handed to the sink.
 *
 * An id is `classname::name`, or `name` alone where there is no class.
 */
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "schema/limits.h"
#include "worker/reports_private.h"

enum { DEPTH_MAX = 64, NAME_BYTES = 256 };

/* --- making it valid -------------------------------------------------- */

/* What XML 1.0 permits as a character (its section 2.2). */
static bool is_xml_char(unsigned long c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0xd800) ||
	       (c >= 0xe000 && c < 0xfffe) || (c >= 0x10000 && c <= 0x10ffff);
}

/* Length of "&#27;" or "&#x1b;" at the start when it names no XML character. */
static size_t bad_reference(const char *at, size_t len)
{
	bool hex = len > 2 && at[2] == 'x';
	size_t i = hex ? 3 : 2;
	unsigned long c = 0;

	if (len < 4 || at[0] != '&' || at[1] != '#')
		return 0;
	for (; i < len && at[i] != ';'; i++) {
		const char *digits = "0123456789abcdef";
		const char *digit = at[i] == '\0' ? NULL : strchr(digits, at[i] | 0x20);

		if (digit == NULL || digit - digits >= (hex ? 16 : 10))
			return 0;
		c = c * (hex ? 16 : 10) + (unsigned long)(digit - digits);
		if (c > 0x10ffff)
			c = 0x110000;
	}
	return i < len && !is_xml_char(c) ? i + 1 : 0;
}

/*
 * Test output ends up in reports, and with it bytes that are not UTF-8,
 * terminal colours, and references to characters that XML does not have; many
 * writers pass them through. Each such byte is overwritten with '?'.
 */
static void make_valid(char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		struct bytes rest = {(const uint8_t *)text + i, len - i};
		size_t n = report_character(rest);
		size_t bad = 0;

		if (n == 0 || (n == 1 && !is_xml_char(rest.data[0])) ||
		    (n == 3 && memcmp(rest.data, "\xef\xbf", 2) == 0 && rest.data[2] >= 0xbe))
			bad = n == 0 ? 1 : n;
		else if (text[i] == '&')
			bad = bad_reference(text + i, len - i);
		(void)memset(text + i, '?', bad);
		i += bad > 0 ? bad : n;
	}
}

/* Whether the content says to be in another encoding than UTF-8. */
static bool is_other_encoding(struct bytes content)
{
	static const char *const utf8[] = {"utf-8", "utf8", "us-ascii", "ascii"};
	char head[201];
	size_t len = content.len < 200 ? content.len : 200;
	char *end;
	char *at;

	if (len >= 2 &&
	    (memcmp(content.data, "\xfe\xff", 2) == 0 || memcmp(content.data, "\xff\xfe", 2) == 0))
		return true;
	if (len > 0)
		(void)memcpy(head, content.data, len);
	head[len] = '\0';
	end = strstr(head, "?>");
	at = end == NULL ? NULL : strstr(head, "encoding=");
	if (at == NULL || at > end)
		return false;
	at += strlen("encoding=") + 1;
	for (size_t i = 0; i < ARRAY_LEN(utf8); i++) {
		if (strncasecmp(at, utf8[i], strlen(utf8[i])) == 0)
			return false;
	}
	return true;
}

bool junit_looks_like(struct bytes content)
{
	size_t i = content.len >= 3 && memcmp(content.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	if (content.len >= 2 && (content.data[0] == 0xfe || content.data[0] == 0xff))
		return true;
	while (i < content.len && strchr(" \t\r\n", content.data[i]) != NULL &&
	       content.data[i] != '\0')
		i++;
	return i < content.len && content.data[i] == '<';
}

/* --- what is being read ----------------------------------------------- */

enum element {
	ELEMENT_OTHER,
	ELEMENT_SUITES,
	ELEMENT_SUITE,
	ELEMENT_CASE,
	ELEMENT_FAILURE,
	ELEMENT_ERROR,
	ELEMENT_SKIPPED,
	ELEMENT_FLAKY,
	ELEMENT_RERUN,
};

struct level {
	enum element element;
	int64_t declared; /* failures and errors that a suite says to hold */
	int64_t bad_before;
	char name[NAME_BYTES]; /* of a suite */
};

struct junit {
	XML_Parser parser;
	const struct report_sink *sink;
	struct level levels[DEPTH_MAX];
	size_t depth;
	int64_t bad;   /* cases so far that are */
	bool is_junit; /* the root is one of ours */
	bool stopped;
	bool in_case;
	bool in_text;	  /* character data belongs to the case's message */
	bool needs_break; /* before it, behind the attribute `message` */
	size_t outcome_depth;
	char id[CASE_ID_BYTES];
	enum case_status status;
	int64_t duration_us;
	struct buf message;
};

static void stop(struct junit *junit, const char *why)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "line %lu: %s",
		       (unsigned long)XML_GetCurrentLineNumber(junit->parser), why);
	junit->sink->problem(junit->sink->ctx, text);
	junit->stopped = true;
	(void)XML_StopParser(junit->parser, XML_FALSE);
}

static enum element element_of(const char *name)
{
	static const struct {
		const char *name;
		enum element element;
	} elements[] = {
		{"testsuites", ELEMENT_SUITES},	 {"testsuite", ELEMENT_SUITE},
		{"testcase", ELEMENT_CASE},	 {"failure", ELEMENT_FAILURE},
		{"error", ELEMENT_ERROR},	 {"skipped", ELEMENT_SKIPPED},
		{"flakyFailure", ELEMENT_FLAKY}, {"flakyError", ELEMENT_FLAKY},
		{"rerunFailure", ELEMENT_RERUN}, {"rerunError", ELEMENT_RERUN},
	};
	const char *colon = strrchr(name, ':');

	for (size_t i = 0; i < ARRAY_LEN(elements); i++) {
		if (strcmp(colon == NULL ? name : colon + 1, elements[i].name) == 0)
			return elements[i].element;
	}
	return ELEMENT_OTHER;
}

static const char *attribute(const char **attributes, const char *name)
{
	for (size_t i = 0; attributes[i] != NULL; i += 2) {
		if (strcmp(attributes[i], name) == 0)
			return attributes[i + 1];
	}
	return "";
}

static struct bytes as_bytes(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text)};
}

/* --- cases ------------------------------------------------------------ */

static void begin_case(struct junit *junit, const char *class_name, const char *name)
{
	size_t len = report_text(as_bytes(class_name), junit->id, sizeof(junit->id));

	if (*name == '\0' && len == 0)
		name = "(unnamed)";
	if (len > 0 && *name != '\0' && len + CASE_JOINT_BYTES < sizeof(junit->id)) {
		(void)memcpy(junit->id + len, "::", CASE_JOINT_BYTES + 1);
		len += CASE_JOINT_BYTES;
	}
	(void)report_text(as_bytes(name), junit->id + len, sizeof(junit->id) - len);
	junit->status = CASE_passed;
	junit->duration_us = 0;
	junit->in_case = true;
	buf_clear(&junit->message);
}

static void end_case(struct junit *junit)
{
	struct found_case found = {
		.id = junit->id, .status = junit->status, .duration_us = junit->duration_us};
	char message[LIMIT_CASE_MESSAGE_BYTES + 1];
	size_t len;

	len = report_text(buf_bytes(&junit->message), message, sizeof(message));
	while (len > 0 && strchr(" \t\n", message[len - 1]) != NULL)
		message[--len] = '\0';
	if (len > 0)
		found.message = message;
	if (found.status >= CASE_missing)
		junit->bad++;
	junit->in_case = false;
	junit->sink->found(junit->sink->ctx, &found);
}

/* Some writers put the outcome into an attribute, beside or instead of an
 * element: GoogleTest's `notrun`, CTest's `disabled` and `fail`. */
static enum case_status status_attribute(const char *status)
{
	static const struct {
		const char *word;
		enum case_status status;
	} words[] = {{"notrun", CASE_skipped},	{"disabled", CASE_skipped},
		     {"skipped", CASE_skipped}, {"ignored", CASE_skipped},
		     {"fail", CASE_failed},	{"failed", CASE_failed},
		     {"error", CASE_error},	{"timeout", CASE_timeout}};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(status, words[i].word) == 0)
			return words[i].status;
	}
	return CASE_passed;
}

/* JUnit 4, JUnit 5, pytest-timeout, Jest. A timeout inside of the code under
 * test is an ordinary failure. */
static bool says_timeout(const char *type, const char *message)
{
	return strstr(type, "TestTimedOut") != NULL ||
	       (strstr(type, "TimeoutException") != NULL &&
		strstr(message, "timed out after") != NULL) ||
	       strncmp(message, "Failed: Timeout >", strlen("Failed: Timeout >")) == 0 ||
	       strstr(message, "Exceeded timeout of") != NULL;
}

static void worsen(struct junit *junit, enum case_status status)
{
	if (status > junit->status)
		junit->status = status;
}

static void add_text(struct junit *junit, const char *text, size_t len)
{
	size_t room = junit->message.limit_bytes - junit->message.len;

	if (!junit->message.failed)
		buf_add(&junit->message, text, len < room ? len : room);
}

static void begin_outcome(struct junit *junit, enum element element, const char **attributes)
{
	const char *type = attribute(attributes, "type");
	const char *message = attribute(attributes, "message");

	switch (element) {
	case ELEMENT_FAILURE:
		worsen(junit, says_timeout(type, message) ? CASE_timeout : CASE_failed);
		break;
	case ELEMENT_ERROR:
		worsen(junit, says_timeout(type, message) ? CASE_timeout : CASE_error);
		break;
	case ELEMENT_SKIPPED:
		worsen(junit, strcmp(type, "pytest.xfail") == 0 ? CASE_xfail : CASE_skipped);
		break;
	case ELEMENT_FLAKY:
		worsen(junit, CASE_flaky);
		break;
	default: /* a rerun of what is a failure in the same case anyway */
		return;
	}
	if (junit->message.len > 0)
		add_text(junit, "\n", 1);
	add_text(junit, message, strlen(message));
	junit->needs_break = *message != '\0';
	junit->in_text = true;
	junit->outcome_depth = junit->depth;
}

/* --- elements --------------------------------------------------------- */

static int64_t count_attribute(const char **attributes, const char *name)
{
	char *end;
	const char *text = attribute(attributes, name);
	long value = strtol(text, &end, 10);

	return *text == '\0' || *end != '\0' || value < 0 || value > 1000000000 ? 0 : value;
}

static void begin_suite(struct junit *junit, struct level *level, const char **attributes)
{
	level->declared =
		count_attribute(attributes, "failures") + count_attribute(attributes, "errors");
	level->bad_before = junit->bad;
	(void)report_text(as_bytes(attribute(attributes, "name")), level->name,
			  sizeof(level->name));
}

static void begin_testcase(struct junit *junit, const char **attributes)
{
	begin_case(junit, attribute(attributes, "classname"), attribute(attributes, "name"));
	junit->duration_us = report_duration_us(as_bytes(attribute(attributes, "time")), 1000000);
	worsen(junit, status_attribute(attribute(attributes, "status")));
	worsen(junit, status_attribute(attribute(attributes, "result")));
}

/* Some writers report so that a suite broke before its cases. */
static bool breaks_suite(enum element element, enum element outer)
{
	return outer == ELEMENT_SUITE && (element == ELEMENT_FAILURE || element == ELEMENT_ERROR);
}

static void XMLCALL on_start(void *ctx, const char *name, const char **attributes)
{
	struct junit *junit = ctx;
	enum element element = element_of(name);
	enum element outer =
		junit->depth == 0 ? ELEMENT_SUITES : junit->levels[junit->depth - 1].element;
	bool outcome = element >= ELEMENT_FAILURE;

	if (junit->stopped)
		return;
	if (junit->depth == 0 && element != ELEMENT_SUITES && element != ELEMENT_SUITE) {
		stop(junit, "the root is neither testsuites nor testsuite");
		return;
	}
	if (junit->depth >= DEPTH_MAX) {
		stop(junit, "elements are nested too deeply");
		return;
	}
	junit->is_junit = true;
	junit->levels[junit->depth] = (struct level){.element = element};
	if (element == ELEMENT_SUITES || element == ELEMENT_SUITE)
		begin_suite(junit, &junit->levels[junit->depth], attributes);
	else if (element == ELEMENT_CASE && !junit->in_case)
		begin_testcase(junit, attributes);
	else if (element == ELEMENT_CASE || (outcome && outer != ELEMENT_CASE && junit->in_case))
		junit->levels[junit->depth].element = ELEMENT_OTHER;
	else if (breaks_suite(element, outer))
		begin_case(junit, "", junit->levels[junit->depth - 1].name);
	junit->depth++;
	if (outcome && junit->in_case && junit->levels[junit->depth - 1].element == element)
		begin_outcome(junit, element, attributes);
}

static void end_suite(struct junit *junit, const struct level *level)
{
	char text[NAME_BYTES + 128];

	if (level->declared == 0 || junit->bad > level->bad_before)
		return;
	(void)snprintf(text, sizeof(text),
		       "suite '%s' says to hold %lld failures and errors, but lists none",
		       level->name, (long long)level->declared);
	junit->sink->problem(junit->sink->ctx, text);
}

static void XMLCALL on_end(void *ctx, const char *name)
{
	struct junit *junit = ctx;
	const struct level *level;

	(void)name;
	if (junit->stopped)
		return;
	level = &junit->levels[--junit->depth];
	if (junit->in_text && junit->depth < junit->outcome_depth)
		junit->in_text = false;
	if (level->element == ELEMENT_CASE)
		end_case(junit);
	else if (level->element == ELEMENT_SUITE || level->element == ELEMENT_SUITES)
		end_suite(junit, level);
	else if (junit->in_case &&
		 breaks_suite(level->element, junit->levels[junit->depth - 1].element))
		end_case(junit);
}

static void XMLCALL on_text(void *ctx, const char *text, int len)
{
	struct junit *junit = ctx;

	if (junit->stopped || !junit->in_text)
		return;
	if (junit->needs_break)
		add_text(junit, "\n", 1);
	junit->needs_break = false;
	add_text(junit, text, (size_t)len);
}

static void XMLCALL on_doctype(void *ctx, const char *name, const char *system_id,
			       const char *public_id, int has_subset)
{
	(void)name;
	(void)system_id;
	(void)public_id;
	(void)has_subset;
	stop(ctx, "a document type declaration is refused");
}

/* --- the whole -------------------------------------------------------- */

static void parse(struct junit *junit, const char *text, size_t len)
{
	char problem[256];

	XML_SetUserData(junit->parser, junit);
	XML_SetElementHandler(junit->parser, on_start, on_end);
	XML_SetCharacterDataHandler(junit->parser, on_text);
	XML_SetStartDoctypeDeclHandler(junit->parser, on_doctype);
	(void)XML_SetParamEntityParsing(junit->parser, XML_PARAM_ENTITY_PARSING_NEVER);
	if (XML_Parse(junit->parser, text, (int)len, XML_TRUE) != XML_STATUS_ERROR ||
	    junit->stopped)
		return;
	(void)snprintf(problem, sizeof(problem), "line %lu: %s",
		       (unsigned long)XML_GetCurrentLineNumber(junit->parser),
		       XML_ErrorString(XML_GetErrorCode(junit->parser)));
	junit->sink->problem(junit->sink->ctx, problem);
}

bool junit_parse(struct bytes content, const struct report_sink *sink)
{
	bool other = is_other_encoding(content);
	struct junit *junit = calloc(1, sizeof(*junit));
	char *text = malloc(content.len + 1);
	bool is_junit = false;

	if (content.len > LIMIT_REPORT_BYTES) {
		sink->problem(sink->ctx, "the report is too large");
	} else if (junit == NULL || text == NULL ||
		   (junit->parser = XML_ParserCreate(other ? NULL : "UTF-8")) == NULL) {
		sink->problem(sink->ctx, "out of memory");
	} else {
		if (content.len > 0)
			(void)memcpy(text, content.data, content.len);
		if (!other)
			make_valid(text, content.len);
		junit->sink = sink;
		buf_init(&junit->message, LIMIT_CASE_MESSAGE_BYTES);
		parse(junit, text, content.len);
		is_junit = junit->is_junit;
		buf_release(&junit->message);
		XML_ParserFree(junit->parser);
	}
	free(text);
	free(junit);
	return is_junit;
}
