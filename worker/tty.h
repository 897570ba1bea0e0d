/*
 * tty.h - a person's terminal, lent to a command in a box that has a pseudo
 * terminal of its own: keys go to it as they are pressed, so that the
 * terminal's own line editing and signals are those of the box.
 *
 *	tty_open(&tty, &err);		// raw from here on
 *	tty_attach(&tty, master_fd);	// when the command has its terminal
 *	tty_ready(&tty);		// whenever tty.poll_fd is readable
 *	tty_close(&tty);		// as it was
 *
 * The terminal is put back as it was on every way out but SIGKILL: by
 * tty_close, at exit(3), and when a signal kills the process.
 */
#ifndef SBX_WORKER_TTY_H
#define SBX_WORKER_TTY_H

#include <stdbool.h>
#include <sys/ioctl.h>

#include "base/defs.h"
#include "base/err.h"

enum { TTY_PENDING_BYTES = 4096 };

struct tty {
	int poll_fd;   /* readable when there is something to do */
	int master_fd; /* of the box's pseudo terminal, borrowed; -1: not yet */
	bool input_ended;
	uint8_t pending[TTY_PENDING_BYTES]; /* keys that the box has not taken yet */
	size_t pending_len;
};

/* Whether standard input and output are a terminal, both. */
bool tty_here(void);

/* Of the person's terminal; 0 and 0 when it does not say. */
struct winsize tty_size(void);

int tty_open(struct tty *tty, struct err *err) MUST_CHECK;
void tty_attach(struct tty *tty, int master_fd);
void tty_ready(struct tty *tty);
void tty_close(struct tty *tty);

/* SIGWINCH: hands the new size on. */
void tty_resized(const struct tty *tty);

/* SIGTSTP, sent by somebody: stops with the terminal as it was, and takes it
 * again when it goes on. */
void tty_stop(const struct tty *tty);

#endif
