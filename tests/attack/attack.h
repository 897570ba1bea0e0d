/*
 * attack.h - how an attack says how it went. It runs inside a box, tries one
 * thing, and ends with escaped() when it won or contained() when it lost; an
 * attack that ends in neither way was stopped, and test_attacks.py says by
 * what it has to be.
 */
#ifndef SBX_TESTS_ATTACK_H
#define SBX_TESTS_ATTACK_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_ESCAPED = 42 };

static inline __attribute__((noreturn, format(printf, 1, 2))) void escaped(const char *fmt, ...)
{
	va_list args;

	(void)fputs("escaped: ", stdout);
	va_start(args, fmt);
	(void)vprintf(fmt, args);
	va_end(args);
	(void)putchar('\n');
	(void)fflush(stdout);
	_exit(EXIT_ESCAPED);
}

static inline __attribute__((noreturn)) void contained(void)
{
	(void)puts("contained");
	(void)fflush(stdout);
	_exit(0);
}

/* An argument that is a number; anything else is the test's mistake. */
static inline long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 0);

	if (end == text || *end != '\0')
		_exit(1);
	return value;
}

/* Every signal that can be ignored. */
static inline void ignore_signals(void)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};

	for (int i = 1; i < 65; i++)
		(void)sigaction(i, &ignore, NULL);
}

static inline void pause_ms(int ms)
{
	(void)poll(NULL, 0, ms);
}

/* The exit code of a shell's script; 255 when it was killed. */
static inline int run_shell(const char *script)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		_exit(1);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* A call that has to be refused: it answers with a negative number. */
static inline void must_fail(const char *what, long result)
{
	if (result >= 0)
		escaped("%s worked (%ld)", what, result);
}

/* A file that must neither be read nor, with other flags, written. */
static inline void must_not_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	char byte;

	if (fd < 0)
		return;
	if ((flags & O_ACCMODE) != O_RDONLY)
		escaped("'%s' is open for writing", path);
	if (read(fd, &byte, 1) == 1)
		escaped("'%s' can be read", path);
	(void)close(fd);
}

#endif
