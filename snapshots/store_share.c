/*
 * store_share.c - theory of operation.
 *
 * Making thousands of files is work for the kernel, that several processes do
 * faster than one. All of them run the same function with a number of their
 * own and do what falls to it; this process is number 0. A child has nothing
 * that outlives it but what it made on disk: it reports through a pipe, and
 * dies with its parent.
 */
#include "snapshots/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

struct helper {
	pid_t pid;
	int pipe_fd; /* reading end */
};

struct report {
	int result;
	struct store_share share;
	struct err err;
};

unsigned store_share_workers(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (processors < 1)
		return 1;
	return processors < STORE_SHARE_MAX ? (unsigned)processors : STORE_SHARE_MAX;
}

static NORETURN void help(store_share_work *work, void *ctx, struct store_share share, int pipe_fd,
			  pid_t parent)
{
	struct report report = {.share = share};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	report.result = work(ctx, &report.share, &report.err);
	_exit(fd_write_all(pipe_fd, &report, sizeof(report), NULL) < 0);
}

/* False when there can be no child: its share is then done here. */
static bool start(store_share_work *work, void *ctx, struct store_share share, struct helper *ret)
{
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	ret->pid = fork();
	if (ret->pid == 0)
		help(work, ctx, share, ends[1], parent);
	fd_close(ends[1]);
	if (ret->pid < 0) {
		fd_close(ends[0]);
		return false;
	}
	ret->pipe_fd = ends[0];
	return true;
}

static int collect(struct helper *helper, struct store_share *sum, struct err *err)
{
	struct report report;
	size_t have = 0;

	while (have < sizeof(report)) {
		ssize_t n = read(helper->pipe_fd, (uint8_t *)&report + have, sizeof(report) - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	fd_close(helper->pipe_fd);
	while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (have < sizeof(report))
		return err_set(err, ERR_SYSTEM, "a process that helped to check out died");
	if (report.result < 0) {
		*err = report.err;
		return -1;
	}
	sum->bytes += report.share.bytes;
	sum->own_bytes += report.share.own_bytes;
	return 0;
}

int store_share(unsigned workers, store_share_work *work, void *ctx, struct store_share *ret,
		struct err *err)
{
	struct helper helpers[STORE_SHARE_MAX];
	struct store_share sum = {.workers = workers};
	struct err failure = {0};
	unsigned started = 1;
	int result = 0;

	while (started < workers &&
	       start(work, ctx, (struct store_share){.worker = started, .workers = workers},
		     &helpers[started]))
		started++;
	result = work(ctx, &sum, err);
	for (unsigned i = started; i < workers && result == 0; i++) {
		sum.worker = i;
		result = work(ctx, &sum, err);
	}
	for (unsigned i = 1; i < started; i++) {
		if (result < 0)
			(void)kill(helpers[i].pid, SIGKILL);
		if (collect(&helpers[i], &sum, &failure) < 0 && result == 0) {
			*err = failure;
			result = -1;
		}
	}
	*ret = sum;
	return result;
}
