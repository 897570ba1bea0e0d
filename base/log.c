/*
 * log.c - each line is built in one buffer and leaves in one write(2), so that
 * lines of several processes on one descriptor do not mix.
 */
#include "base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { LINE_BYTES = 16 * 1024 };

static struct {
	const char *program;
	enum log_level level;
	bool json;
} settings = {.program = "sbx", .level = LOG_INFO};

static const char *const level_names[] = {
	[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

void log_init(const char *program, enum log_level level, bool json)
{
	settings.program = program;
	settings.level = level;
	settings.json = json;
}

bool log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* --- one value -------------------------------------------------------- */

static bool is_plain(const char *text)
{
	for (const unsigned char *at = (const unsigned char *)text; *at != 0; at++) {
		if (*at <= ' ' || *at == '"' || *at == '=' || *at == '\\' || *at >= 0x7f)
			return false;
	}
	return *text != '\0';
}

/* The escapes of JSON, which key=value lines share. Bytes above 0x7f are
 * escaped too: a terminal must never be driven by a log. */
static void add_quoted(struct buf *line, const char *text)
{
	buf_add_byte(line, '"');
	for (const unsigned char *at = (const unsigned char *)text; *at != 0; at++) {
		if (*at == '"' || *at == '\\')
			buf_printf(line, "\\%c", *at);
		else if (*at == '\n')
			buf_add_text(line, "\\n");
		else if (*at < ' ' || *at >= 0x7f)
			buf_printf(line, "\\u%04x", *at);
		else
			buf_add_byte(line, *at);
	}
	buf_add_byte(line, '"');
}

static void add_key(struct buf *line, const char *key)
{
	if (settings.json)
		buf_printf(line, "%s\"%s\":", line->len > 1 ? "," : "", key);
	else
		buf_printf(line, "%s%s=", line->len > 0 ? " " : "", key);
}

static void add_pair(struct buf *line, const char *key, const char *value)
{
	add_key(line, key);
	if (!settings.json && is_plain(value))
		buf_add_text(line, value);
	else
		add_quoted(line, value);
}

static void add_int(struct buf *line, const char *key, int64_t value)
{
	add_key(line, key);
	buf_printf(line, "%" PRId64, value);
}

/* --- the line --------------------------------------------------------- */

const char log_int_follows[] = "";

void log_line(enum log_level level, const char *message, ...)
{
	char when[CLOCK_TEXT_BYTES];
	struct buf line;
	va_list args;
	const char *key;

	if (level < settings.level)
		return;
	clock_text(clock_wall_us(), when);
	buf_init(&line, LINE_BYTES);
	if (settings.json)
		buf_add_byte(&line, '{');
	add_pair(&line, "ts", when);
	add_pair(&line, "level", level_names[level]);
	add_pair(&line, "program", settings.program);
	add_pair(&line, "msg", message);
	va_start(args, message);
	while ((key = va_arg(args, const char *)) != NULL) {
		const char *value;

		if (key == log_int_follows) {
			key = va_arg(args, const char *);
			add_int(&line, key, va_arg(args, int64_t));
			continue;
		}
		value = va_arg(args, const char *);
		if (value != NULL)
			add_pair(&line, key, value);
	}
	va_end(args);
	line.failed = false;
	buf_add_text(&line, settings.json ? "}\n" : "\n");
	if (write(STDERR_FILENO, line.data, line.len) < 0)
		(void)0; /* nowhere left to complain to */
	buf_release(&line);
}
