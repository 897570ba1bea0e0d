/*
 * init_step.c - theory of operation.
 *
 * A step is started by vfork(2): the child shares init's memory until it
 * execs, so no page table is copied, and why it could not exec is simply left
 * in a variable. The child has no right that matters: it inherits the filter
 * and no_new_privs, and gives up init's one capability before the exec.
 *
 * The pipes are made here rather than by the driver, because their owner
 * decides who may open /dev/stdout again, and that has to be the inner user.
 *
 * When the direct child has ended, or is to end, kill(-1, SIGKILL) reaches all
 * other processes of the pid namespace in one sweep that no fork can outrun,
 * stopped ones too; all of them are init's children then, and are reaped.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/sandbox/filter.h"
#include "worker/sandbox/init_private.h"
#include "worker/sandbox/landlock.h"

enum { REAP_AT_ONCE = 1024, CALLS_AT_ONCE = 16 };

/* --- reading the request ------------------------------------------------------- */

struct request {
	struct wire_step head;
	int tty_fd;
	int stdin_fd;
	struct bytes map; /* of a memory file; data NULL: none */
	const char *cwd;
	const char **argv; /* one free place before it, for a script's shell */
	const char **env;
	const char **words; /* owned */
};

static void request_release(struct request *request)
{
	fd_close(request->tty_fd);
	fd_close(request->stdin_fd);
	fd_unmap(&request->map);
	free(request->words);
}

/* cwd, argv, env: the words one after the other, each with its NUL. */
static int split(struct request *request, struct bytes text, struct err *err)
{
	size_t argc = request->head.argc, envc = request->head.envc, at = 0;
	const char **next;

	if (argc < 1 || argc > WIRE_STEP_WORDS || envc > WIRE_STEP_WORDS || text.len == 0 ||
	    text.data[text.len - 1] != '\0')
		return err_set(err, ERR_PEER, "a step that is not formed as it should be");
	request->words = calloc(argc + envc + 4, sizeof(char *));
	if (request->words == NULL)
		return err_set(err, ERR_SYSTEM, "out of memory");
	request->argv = request->words + 1;
	request->env = request->argv + argc + 1;
	next = request->argv;
	for (size_t i = 0; i < 1 + argc + envc; i++) {
		const char *word = (const char *)text.data + at;

		if (at >= text.len)
			return err_set(err, ERR_PEER, "a step with words missing");
		at += strlen(word) + 1;
		if (i == 0)
			request->cwd = word;
		else if (next == request->argv + argc)
			*(next = request->env) = word, next++;
		else
			*next++ = word;
	}
	return at == text.len ? 0 : err_set(err, ERR_PEER, "a step with words left over");
}

static int parse(struct init *init, size_t len, int *fds, size_t fds_len, struct request *ret,
		 struct err *err)
{
	struct bytes text = {init->message + sizeof(ret->head), len - sizeof(ret->head)};
	uint32_t flags;
	size_t used = 0;

	if (len < sizeof(ret->head))
		return err_set(err, ERR_PEER, "a step that is too short");
	(void)memcpy(&ret->head, init->message, sizeof(ret->head));
	flags = ret->head.flags;
	if ((flags & WIRE_STEP_OWN_TTY) != 0 && (flags & (WIRE_STEP_TTY | WIRE_STEP_STDIN)) != 0)
		return err_set(err, ERR_PEER, "a step with two inputs");
	if ((flags & (WIRE_STEP_TTY | WIRE_STEP_STDIN)) != 0) {
		int *place = (flags & WIRE_STEP_TTY) != 0 ? &ret->tty_fd : &ret->stdin_fd;

		if (used == fds_len)
			return err_set(err, ERR_PEER, "a step without its input");
		*place = fds[used];
		fds[used++] = -1;
	}
	if ((flags & WIRE_STEP_MEMFD) != 0) {
		if (used == fds_len)
			return err_set(err, ERR_PEER, "a step without its words");
		if (fd_map(fds[used++], WIRE_STEP_BYTES, &ret->map, err) < 0)
			return -1;
		text = ret->map;
	}
	return split(ret, text, err);
}

/* --- in the child -------------------------------------------------------------------- */

/* What the child leaves behind for init when it could not exec. Volatile where it
 * is used: a compiler sees that the writer never returns, not that it is vfork
 * that returns again. */
struct failure {
	int number;
	const char *what;
};

struct child {
	const struct init *init;
	const struct request *request;
	int stdout_fd, stderr_fd;
	volatile struct failure *failure;
};

static NORETURN void give_up(const struct child *child, const char *what)
{
	child->failure->number = errno;
	child->failure->what = what;
	_exit(127);
}

static void set_streams(const struct child *child)
{
	const struct request *request = child->request;
	int in = request->tty_fd >= 0 ? request->tty_fd : request->stdin_fd;
	int out = request->tty_fd >= 0 ? request->tty_fd : child->stdout_fd;
	int errors = request->tty_fd >= 0 ? request->tty_fd : child->stderr_fd;

	if (setsid() < 0)
		give_up(child, "cannot make a session");
	if (request->tty_fd >= 0 && ioctl(request->tty_fd, TIOCSCTTY, 0) < 0)
		give_up(child, "cannot take the terminal");
	if ((in >= 0 && dup2(in, STDIN_FILENO) < 0) || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(errors, STDERR_FILENO) < 0)
		give_up(child, "cannot set the standard streams");
	if (close_range(3, ~0U, 0) < 0)
		give_up(child, "cannot close descriptors");
}

static void set_limit(const struct child *child, __rlimit_resource_t resource, int64_t soft,
		      int64_t hard)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		give_up(child, "cannot read a limit");
	if (limit.rlim_max == RLIM_INFINITY || (rlim_t)hard < limit.rlim_max)
		limit.rlim_max = (rlim_t)hard;
	limit.rlim_cur = (rlim_t)soft < limit.rlim_max ? (rlim_t)soft : limit.rlim_max;
	if (setrlimit(resource, &limit) < 0)
		give_up(child, "cannot set a limit");
}

/* What the kernel counts by user an ordinary user's boxes share with him. */
static void set_shared_limits(const struct child *child)
{
	enum { LOCKED = 8 << 20, SIGNALS = 4096, QUEUES = 819200 /* as in every kernel */ };
	bool shared = child->init->host->user_mode;
	int64_t locked = shared ? LOCKED / QUOTA_SHARES_BOX : LOCKED, signals;
	struct rlimit pending;

	set_limit(child, RLIMIT_MEMLOCK, locked, locked);
	if (!shared)
		return;
	set_limit(child, RLIMIT_MSGQUEUE, QUEUES / QUOTA_SHARES_BOX, QUEUES / QUOTA_SHARES_BOX);
	if (getrlimit(RLIMIT_SIGPENDING, &pending) < 0)
		give_up(child, "cannot read a limit");
	signals = pending.rlim_max == RLIM_INFINITY ? SIGNALS
						    : (int64_t)pending.rlim_max / QUOTA_SHARES_BOX;
	set_limit(child, RLIMIT_SIGPENDING, signals, signals);
}

/* As many descriptors as a job may have open its user may have on their way, or
 * nobody of that user can send one: our own processes may have twice as many. */
static void set_files(const struct child *child, int64_t files)
{
	struct rlimit ours;

	if (child->init->host->user_mode && getrlimit(RLIMIT_NOFILE, &ours) == 0 &&
	    (files == 0 || (rlim_t)files > ours.rlim_max / 2))
		files = (int64_t)(ours.rlim_max / 2);
	if (files > 0)
		set_limit(child, RLIMIT_NOFILE, files, files);
}

/* nice(3) answers with the value it sets, which may be -1. */
static void be_nice(const struct child *child, int more)
{
	errno = 0;
	if (more > 0 && nice(more) < 0 && errno != 0)
		give_up(child, "cannot lower the priority");
}

static void set_limits(const struct child *child)
{
	enum { STACK = 8 << 20, STACK_MOST = 64 << 20 };
	const struct wire_attach *attach = &child->init->attach;
	const struct box_limits *limits = &attach->limits;

	set_limit(child, RLIMIT_STACK, STACK, STACK_MOST);
	set_shared_limits(child);
	set_limit(child, RLIMIT_RTPRIO, 0, 0);
	set_limit(child, RLIMIT_NICE, 0, 0);
	be_nice(child, limits->nice);
	set_files(child, limits->open_files);
	if (limits->file_bytes > 0)
		set_limit(child, RLIMIT_FSIZE, limits->file_bytes, limits->file_bytes);
	/* A backstop for each process; the driver watches all together. */
	if (limits->cpu_ms > 0)
		set_limit(child, RLIMIT_CPU, limits->cpu_ms / 1000 + 1, limits->cpu_ms / 1000 + 2);
	if (attach->limit_processes != 0)
		set_limit(child, RLIMIT_NPROC, limits->processes + BOX_INIT_PROCESSES,
			  limits->processes + BOX_INIT_PROCESSES);
}

static void drop_capability(const struct child *child)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capset, &header, data) < 0)
		give_up(child, "cannot drop the last capability");
}

/* As execvp(3) does it, but for scripts without "#!": those get their shell
 * in the free place before argv. */
static void try_exec(const struct child *child, const char *path)
{
	const char **argv = child->request->argv;
	char *const *env = (char *const *)(uintptr_t)child->request->env;

	(void)execve(path, (char *const *)(uintptr_t)argv, env);
	if (errno == ENOEXEC) {
		const char *name = argv[0];

		argv[-1] = "sh";
		argv[0] = path;
		(void)execve("/bin/sh", (char *const *)(uintptr_t)(argv - 1), env);
		argv[0] = name;
	}
}

static const char *search_path(const struct request *request)
{
	for (const char **env = request->env; *env != NULL; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return "/usr/local/bin:/usr/bin:/bin";
}

static NORETURN void exec_in_path(const struct child *child)
{
	const char *name = child->request->argv[0];
	bool denied = false;
	char path[4096];

	if (strchr(name, '/') != NULL || name[0] == '\0') {
		try_exec(child, name);
		give_up(child, "");
	}
	for (const char *at = search_path(child->request); at != NULL;) {
		const char *end = strchrnul(at, ':');

		if (snprintf(path, sizeof(path), "%.*s%s%s", (int)(end - at), at,
			     end == at ? "" : "/", name) < (int)sizeof(path))
			try_exec(child, path);
		denied = denied || errno == EACCES;
		at = *end == '\0' ? NULL : end + 1;
	}
	errno = denied ? EACCES : ENOENT;
	give_up(child, "");
}

/* Before the descriptors are closed, of which one has the rules. */
static void confine(const struct child *child)
{
	if (child->init->landlock_fd >= 0 && landlock_confine(child->init->landlock_fd) < 0)
		give_up(child, "cannot confine the step with landlock");
}

static NORETURN void run_child(const struct child *child)
{
	const struct sigaction usual = {.sa_handler = SIG_DFL};
	sigset_t none;

	confine(child);
	set_streams(child);
	set_limits(child);
	drop_capability(child);
	if (chdir(child->request->cwd) < 0)
		give_up(child, "cannot enter the step's directory");
	(void)sigaction(SIGPIPE, &usual, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	exec_in_path(child);
}

/* --- starting ---------------------------------------------------------------------------- */

static int send_started(struct init *init, const int *fds, size_t len, struct err *err)
{
	uint32_t kind = WIRE_STARTED;

	return fd_send(init->control_fd, &kind, sizeof(kind), fds, len, err);
}

static int send_not_started(struct init *init, const volatile struct failure *failure,
			    struct err *err)
{
	struct wire_done done = {.kind = WIRE_DONE};
	const char *reason = strerrordesc_np(failure->number);

	(void)snprintf(done.start_error, sizeof(done.start_error), "%s%s%s", failure->what,
		       failure->what[0] == '\0' ? "" : ": ", reason == NULL ? "?" : reason);
	return fd_send(init->control_fd, &done, sizeof(done), NULL, 0, err);
}

/* Never inlined: the frame that vfork returns into twice holds nothing else. */
static __attribute__((noinline)) pid_t spawn(const struct child *child)
{
	pid_t pid = vfork();

	if (pid == 0)
		run_child(child);
	return pid;
}

/* A step is the first to go when memory is short, before all of the host; init
 * itself only until the step has its score from it. */
static bool set_oom_score(const struct init *init, const char *score)
{
	size_t len = strlen(score);

	return pwrite(init->oom_fd, score, len, 0) == (ssize_t)len;
}

static pid_t spawn_step(const struct child *child)
{
	const struct init *init = child->init;
	pid_t pid;

	if (!set_oom_score(init, "1000")) {
		child->failure->what = "cannot raise the oom score";
		return -1;
	}
	pid = spawn(child);
	if (pid < 0)
		child->failure->what = "cannot make a process";
	return pid;
}

/* From the box's own /dev/pts. init must not make it its own by opening it. */
static int make_tty(struct request *request, int *ret_master_fd, struct err *err)
{
	const struct winsize size = {.ws_row = request->head.rows, .ws_col = request->head.columns};
	CLEANUP(fd_cleanup) int fd = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int locked = 0;

	if (fd < 0 || ioctl(fd, TIOCSPTLCK, &locked) < 0)
		return err_sys(err, "cannot make a terminal");
	request->tty_fd = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (request->tty_fd < 0 || ioctl(fd, TIOCSWINSZ, &size) < 0)
		return err_sys(err, "cannot make a terminal");
	*ret_master_fd = fd_take(&fd);
	return 0;
}

static int launch(struct init *init, struct request *request, struct err *err)
{
	volatile struct failure failure = {0};
	int out[2] = {-1, -1}, errors[2] = {-1, -1}, result = -1;
	bool own_tty = (request->head.flags & WIRE_STEP_OWN_TTY) != 0;
	bool tty = request->tty_fd >= 0 || own_tty;
	struct child child = {.init = init, .request = request, .failure = &failure};
	pid_t pid;

	if (!tty && (pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0)) {
		(void)err_sys(err, "cannot make pipes");
		goto out;
	}
	if (own_tty && make_tty(request, &out[0], err) < 0)
		goto out;
	child.stdout_fd = out[1];
	child.stderr_fd = errors[1];
	init->step = (struct init_step){.started_us = clock_mono_us()};
	pid = spawn_step(&child);
	if (pid < 0) {
		failure.number = errno;
		result = send_not_started(init, &failure, err);
	} else if (failure.what != NULL) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		result = send_not_started(init, &failure, err);
	} else {
		init->step.pid = pid;
		result = send_started(init, (int[]){out[0], errors[0]}, own_tty ? 1 : (tty ? 0 : 2),
				      err);
	}
	(void)set_oom_score(init, init->oom_score);
out:
	for (int i = 0; i < 2; i++) {
		fd_close(out[i]);
		fd_close(errors[i]);
	}
	return result;
}

int init_step_start(struct init *init, size_t len, int *fds, size_t fds_len, struct err *err)
{
	struct request request = {.tty_fd = -1, .stdin_fd = -1};
	int result = parse(init, len, fds, fds_len, &request, err);

	if (result == 0)
		result = launch(init, &request, err);
	request_release(&request);
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
	return result;
}

/* --- watching ------------------------------------------------------------------------------ */

static int64_t timeval_us(const struct timeval *time)
{
	return (int64_t)time->tv_sec * 1000000 + time->tv_usec;
}

/* Of a child, and of all that it has waited for. */
static void add_usage(struct wire_done *done, const struct rusage *usage)
{
	enum { BLOCK_BYTES = 512 };

	done->user_us += timeval_us(&usage->ru_utime);
	done->system_us += timeval_us(&usage->ru_stime);
	done->switches += usage->ru_nvcsw + usage->ru_nivcsw;
	done->faults += usage->ru_minflt + usage->ru_majflt;
	done->disk_faults += usage->ru_majflt;
	done->read_bytes += usage->ru_inblock * BLOCK_BYTES;
	done->write_bytes += usage->ru_oublock * BLOCK_BYTES;
}

/* The step's own processes and the orphans that came to init. */
static bool reap_one(struct init *init, int flags)
{
	struct init_step *step = &init->step;
	struct rusage usage;
	int status;
	pid_t pid;

	do
		pid = wait4(-1, &status, flags, &usage);
	while (pid < 0 && errno == EINTR);
	if (pid <= 0)
		return false;
	add_usage(&step->done, &usage);
	if (usage.ru_maxrss * 1024 > step->done.max_rss_bytes)
		step->done.max_rss_bytes = usage.ru_maxrss * 1024;
	if (pid == step->pid) {
		step->ended = true;
		step->done.status = status;
		step->done.wall_us = clock_mono_us() - step->started_us;
	}
	return true;
}

/* All that lives in the pid namespace descends from init. */
static bool is_alone(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD;
}

static void look_at_layer(struct init *init)
{
	struct statfs fs;

	if (fstatfs(init->layer_fd, &fs) < 0)
		return;
	if (fs.f_bavail == 0)
		init->step.done.disk_full = 1;
	if (init->attach.limits.inodes > 0 && fs.f_ffree == 0)
		init->step.done.inodes_full = 1;
}

static void look_at_calls(struct init *init)
{
	struct filter_call call;

	for (int i = 0; i < CALLS_AT_ONCE && filter_next(init->notify_fd, &call); i++) {
		if (call.asks) {
			init_route(init, &call);
			continue;
		}
		if (init->step.done.syscall[0] == '\0')
			(void)memcpy(init->step.done.syscall, call.name, sizeof(call.name));
		/* The caller waits in the kernel: it and all others go now. */
		init->step.ended = true;
	}
	init_route_look(init);
}

void init_step_look(struct init *init)
{
	struct signalfd_siginfo info;

	while (read(init->signal_fd, &info, sizeof(info)) > 0)
		;
	if (init->step.pid == 0)
		return;
	look_at_layer(init);
	look_at_calls(init);
	/* Orphans that come faster than they are reaped must not keep init from
	 * the driver, who may want to end the step. */
	for (int i = 0; i < REAP_AT_ONCE && reap_one(init, WNOHANG); i++)
		;
}

void init_step_end(struct init *init)
{
	struct init_step *step = &init->step;

	look_at_layer(init);
	if (!is_alone()) /* the kernel would look at every process of the host */
		(void)kill(-1, SIGKILL);
	while (reap_one(init, 0))
		;
	step->done.kind = WIRE_DONE;
	step->done.started = 1;
	step->ended = true;
}
