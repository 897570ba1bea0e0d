/*
 * progress.c - drawn a few times a second at most, so that it costs the work
 * nothing.
 */
#include "producer/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/terminal.h"

enum { REFRESH_US = 200000, LINE_BYTES = 256 };

void progress_init(struct progress *progress, bool quiet)
{
	*progress = (struct progress){.on = !quiet && isatty(STDERR_FILENO)};
}

void progress_draw(struct progress *progress, const char *fmt, ...)
{
	CLEANUP(buf_release) struct buf line = {0};
	char text[LINE_BYTES];
	int64_t now_us;
	va_list args;

	if (!progress->on)
		return;
	now_us = clock_mono_us();
	if (progress->drawn && now_us - progress->drawn_us < REFRESH_US)
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	buf_init(&line, 8 * (size_t)LINE_BYTES);
	buf_add_text(&line, "\r\033[K");
	terminal_add_text(&line, text);
	(void)fputs(buf_text(&line), stderr);
	(void)fflush(stderr);
	progress->drawn = true;
	progress->drawn_us = now_us;
}

void progress_erase(struct progress *progress)
{
	if (progress->drawn)
		(void)fputs("\r\033[K", stderr);
	progress->drawn = false;
}
