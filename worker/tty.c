/*
 * tty.c - theory of operation.
 *
 * Three things are watched through one epoll descriptor: the keyboard, and
 * the box's terminal for room when not all keys found their place. While keys
 * are pending the keyboard is left alone, so that nothing is ever dropped and
 * nothing piles up.
 *
 * How the terminal was is kept in a variable of this file, for the handlers of
 * exit(3) and of deadly signals have no other way to find it.
 */
#include "worker/tty.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"

/* --- as it was --------------------------------------------------------- */

static struct termios before;
static volatile sig_atomic_t is_raw;

/* Async-signal-safe. In the background there is nobody to put it back for, and
 * trying would stop the process: the signal is blocked for that. */
static void restore(void)
{
	sigset_t stop, mask;

	if (!is_raw)
		return;
	is_raw = 0;
	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &stop, &mask);
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void on_death(int number)
{
	restore();
	(void)raise(number); /* the handler is gone: SA_RESETHAND */
}

static void watch_deaths(void)
{
	static const int deaths[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT, SIGALRM};
	struct sigaction action = {.sa_handler = on_death, .sa_flags = (int)SA_RESETHAND};

	for (size_t i = 0; i < ARRAY_LEN(deaths); i++)
		(void)sigaction(deaths[i], &action, NULL);
}

static int make_raw(void)
{
	struct termios raw = before;

	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
		return -1;
	is_raw = 1;
	return 0;
}

/* --- looking ------------------------------------------------------------ */

bool tty_here(void)
{
	return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

struct winsize tty_size(void)
{
	struct winsize size = {0};

	(void)ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	return size;
}

/* --- watching ----------------------------------------------------------- */

static void watch(const struct tty *tty, int fd, int op, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	(void)epoll_ctl(tty->poll_fd, op, fd, &event);
}

/* Either the keyboard or the box is waited for. */
static void choose(const struct tty *tty)
{
	bool pending = tty->pending_len > 0;

	watch(tty, STDIN_FILENO, EPOLL_CTL_MOD, pending || tty->input_ended ? 0 : EPOLLIN);
	watch(tty, tty->master_fd, EPOLL_CTL_MOD, pending ? EPOLLOUT : 0);
}

static void hand_on(struct tty *tty)
{
	ssize_t n = write(tty->master_fd, tty->pending, tty->pending_len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		n = (ssize_t)tty->pending_len; /* nobody is there to read them */
	tty->pending_len -= (size_t)n;
	(void)memmove(tty->pending, tty->pending + n, tty->pending_len);
}

static void take_keys(struct tty *tty)
{
	ssize_t n = read(STDIN_FILENO, tty->pending, sizeof(tty->pending));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		tty->input_ended = true;
	else
		tty->pending_len = (size_t)n;
}

/* The command has closed its side: that is told whether it is asked for or not,
 * again and again. */
static void detach(struct tty *tty)
{
	watch(tty, STDIN_FILENO, EPOLL_CTL_MOD, 0);
	watch(tty, tty->master_fd, EPOLL_CTL_DEL, 0);
	tty->master_fd = -1;
}

void tty_ready(struct tty *tty)
{
	struct epoll_event event;

	if (tty->master_fd < 0 || epoll_wait(tty->poll_fd, &event, 1, 0) != 1)
		return;
	if (event.data.fd == tty->master_fd && (event.events & EPOLLOUT) == 0) {
		detach(tty);
		return;
	}
	if (event.data.fd == STDIN_FILENO)
		take_keys(tty);
	if (tty->pending_len > 0)
		hand_on(tty);
	choose(tty);
}

/* --- life ---------------------------------------------------------------- */

int tty_open(struct tty *tty, struct err *err)
{
	struct epoll_event event = {.data.fd = STDIN_FILENO};

	*tty = (struct tty){.poll_fd = epoll_create1(EPOLL_CLOEXEC), .master_fd = -1};
	if (tty->poll_fd < 0 || epoll_ctl(tty->poll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0 ||
	    tcgetattr(STDIN_FILENO, &before) < 0) {
		(void)err_sys(err, "cannot use the terminal");
		fd_cleanup(&tty->poll_fd);
		return -1;
	}
	watch_deaths();
	if (atexit(restore) != 0 || make_raw() < 0) {
		(void)err_sys(err, "cannot use the terminal");
		fd_cleanup(&tty->poll_fd);
		return -1;
	}
	return 0;
}

void tty_attach(struct tty *tty, int master_fd)
{
	tty->master_fd = master_fd;
	watch(tty, master_fd, EPOLL_CTL_ADD, 0);
	choose(tty);
	tty_resized(tty);
}

void tty_resized(const struct tty *tty)
{
	struct winsize size = tty_size();

	if (tty->master_fd >= 0 && size.ws_row != 0)
		(void)ioctl(tty->master_fd, TIOCSWINSZ, &size);
}

void tty_stop(const struct tty *tty)
{
	restore();
	(void)raise(SIGSTOP);
	(void)make_raw();
	tty_resized(tty);
}

void tty_close(struct tty *tty)
{
	restore();
	fd_cleanup(&tty->poll_fd);
	tty->master_fd = -1;
}
