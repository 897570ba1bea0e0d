/*
 * sbx-box.c - one command in a sandbox, over the current directory: no queue,
 * no repository, no configuration.
 *
 * The program is host half and driver in one process. It opens the host, makes
 * one box, attaches the current directory and runs one step; everything the
 * command writes goes through. Names of control groups carry the process id,
 * and each start removes those of a predecessor that was killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/fd.h"
#include "worker/box_options.h"
#include "worker/roots.h"
#include "worker/sandbox/driver.h"
#include "worker/tty.h"

enum { UID_BASE = 0x5b000000 /* + the process id: no two running boxes share a uid */ };

/* --- the outcome ------------------------------------------------------------------- */

static void add_string(struct buf *json, const char *key, const char *value)
{
	buf_printf(json, ",\"%s\":\"", key);
	for (; *value != '\0'; value++) {
		if (*value == '"' || *value == '\\')
			buf_printf(json, "\\%c", *value);
		else if ((unsigned char)*value < 0x20 || (unsigned char)*value >= 0x7f)
			buf_printf(json, "\\u%04x", (unsigned char)*value);
		else
			buf_add_byte(json, (uint8_t)*value);
	}
	buf_add_text(json, "\"");
}

static void add_missing(struct buf *json, struct box_host *host)
{
	const struct box_layer *layers;
	size_t len = box_host_layers(host, &layers), said = 0;

	buf_add_text(json, ",\"missing\":[");
	for (size_t i = 0; i < len; i++)
		if (!layers[i].present)
			buf_printf(json, "%s\"%s\"", said++ == 0 ? "" : ",", layers[i].name);
	buf_add_text(json, "]");
}

static void add_met(struct buf *json, const struct driver_outcome *outcome)
{
	size_t said = 0;

	buf_add_text(json, ",\"limits_met\":[");
	for (int i = 0; i < BOX_LIMIT_COUNT; i++)
		if (outcome->met[i])
			buf_printf(json, "%s\"%s\"", said++ == 0 ? "" : ",",
				   box_limit_name((enum box_limit)i));
	buf_add_text(json, "]");
}

static const char *workspace_name(const struct box_options *options)
{
	return options->write ? "direct" : options->empty ? "empty" : "overlay";
}

static void write_outcome(const struct box_options *options, struct box_host *host,
			  const struct driver_outcome *outcome, const struct box_usage *usage_seen)
{
	struct err err = {0};
	struct buf json;

	buf_init(&json, 64 << 10);
	buf_printf(&json,
		   "{\"started\":%s,\"exit_code\":%d,\"signal\":%d,\"limit_value\":%lld,"
		   "\"wall_us\":%lld,\"cpu_us\":%lld,\"memory_peak_bytes\":%lld,"
		   "\"processes_peak\":%lld,\"oom_kills\":%lld,\"io_read_bytes\":%lld,"
		   "\"io_write_bytes\":%lld,\"dropped_bytes\":%lld,\"output_bytes\":%lld,"
		   "\"user_us\":%lld,\"system_us\":%lld,\"context_switches\":%lld,"
		   "\"page_faults\":%lld,\"disk_faults\":%lld,\"throttled_us\":%lld",
		   outcome->started ? "true" : "false", outcome->exit_code, outcome->signal,
		   (long long)outcome->limit_value, (long long)outcome->wall_us,
		   (long long)outcome->cpu_us, (long long)outcome->memory_peak_bytes,
		   (long long)usage_seen->processes_peak, (long long)usage_seen->oom_kills,
		   (long long)outcome->io_read_bytes, (long long)outcome->io_write_bytes,
		   (long long)outcome->dropped_bytes, (long long)outcome->output_bytes,
		   (long long)outcome->user_us, (long long)outcome->system_us,
		   (long long)outcome->context_switches, (long long)outcome->page_faults,
		   (long long)outcome->disk_faults, (long long)outcome->throttled_us);
	add_string(&json, "limit", box_limit_name(outcome->limit));
	add_met(&json, outcome);
	add_string(&json, "memory_counter", outcome->memory_is_groups ? "cgroup" : "process");
	add_string(&json, "syscall", outcome->syscall);
	add_string(&json, "start_error", outcome->start_error);
	add_string(&json, "workspace", workspace_name(options));
	add_string(&json, "network", options->network == BOX_NETWORK_HOST ? "host" : "none");
	add_missing(&json, host);
	buf_add_text(&json, "}\n");
	if (fd_write_all(options->outcome_fd, json.data, json.len, &err) < 0)
		(void)fprintf(stderr, "sbx-box: outcome: %s\n", err.message);
	buf_release(&json);
}

/* Who could change it could change what every command finds there. */
static bool explain_root(const char *root)
{
	struct err err = {0};
	bool own = root == NULL || strcmp(root, "/") == 0;
	bool good = own || root_check(root, &err) == 0;

	(void)printf("%-20s %-9s %-4s %s%s\n", "root", "required", good ? "yes" : "no",
		     !good ? err.message
		     : own ? "the host's /usr and parts of its /etc"
			   : root,
		     good ? ", read-only" : "");
	return good;
}

static int explain(struct box_host *host)
{
	const struct box_layer *layers;
	size_t len = box_host_layers(host, &layers);
	int missing = 0;

	for (size_t i = 0; i < len; i++) {
		const char *word = layers[i].present ? "yes" : "no";

		(void)printf("%-20s %-9s %-4s %s\n", layers[i].name,
			     layers[i].required ? "required" : "optional", word, layers[i].detail);
		missing += layers[i].required && !layers[i].present;
	}
	return missing == 0 ? 0 : BOX_EXIT_FAULT;
}

/* --- running -------------------------------------------------------------------------- */

struct session {
	int signal_fd;
	int watch_fd; /* signals and, with a terminal, keys */
	int caught;
	bool deaf; /* output can't be written any more */
	bool has_tty;
	struct tty tty;
};

/* A reader that is gone raises SIGPIPE, which is watched and ends the step. */
static void on_output(void *ctx, enum driver_stream stream, const void *data, size_t len)
{
	struct session *session = ctx;

	if (fd_write_all(stream == DRIVER_STDOUT ? STDOUT_FILENO : STDERR_FILENO, data, len, NULL) <
	    0)
		session->deaf = true;
}

static bool on_signal(struct session *session)
{
	struct signalfd_siginfo info;

	if (read(session->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	switch (info.ssi_signo) {
	case SIGWINCH:
		tty_resized(&session->tty);
		return false;
	case SIGTSTP:
		tty_stop(&session->tty);
		return false;
	default:
		session->caught = (int)info.ssi_signo;
		return true;
	}
}

static bool on_watch(void *ctx)
{
	struct session *session = ctx;

	if (session->has_tty)
		tty_ready(&session->tty);
	return on_signal(session);
}

static void on_tty(void *ctx, int master_fd)
{
	struct session *session = ctx;

	tty_attach(&session->tty, master_fd);
}

/* With a terminal, the keyboard is watched as well. */
static int watch(struct session *session, struct err *err)
{
	static const int usual[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
	struct epoll_event signals = {.events = EPOLLIN}, keys = {.events = EPOLLIN};
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		(void)sigaddset(&set, usual[i]);
	if (session->has_tty) {
		(void)sigaddset(&set, SIGWINCH);
		(void)sigaddset(&set, SIGTSTP);
	}
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(err, "cannot block signals");
	session->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	session->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (session->signal_fd < 0 || session->watch_fd < 0 ||
	    epoll_ctl(session->watch_fd, EPOLL_CTL_ADD, session->signal_fd, &signals) < 0)
		return err_sys(err, "cannot watch signals");
	if (!session->has_tty)
		return 0;
	if (tty_open(&session->tty, err) < 0)
		return -1;
	if (epoll_ctl(session->watch_fd, EPOLL_CTL_ADD, session->tty.poll_fd, &keys) < 0)
		return err_sys(err, "cannot watch the terminal");
	return 0;
}

static void session_release(struct session *session)
{
	if (session->has_tty)
		tty_close(&session->tty);
	fd_close(session->watch_fd);
	fd_close(session->signal_fd);
}

static int attach(struct box *box, const struct box_options *options, struct err *err)
{
	CLEANUP(fd_cleanup) int here = -1;
	struct box_workspace workspace = {.lower_fd = -1, .direct = options->write};
	struct stat st;

	if (!options->empty) {
		here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (here < 0 || fstat(here, &st) < 0)
			return err_sys(err, "cannot open the current directory");
		workspace.lower_fd = here;
		workspace.lower_uid = st.st_uid;
		workspace.lower_gid = st.st_gid;
	}
	return box_attach(box, &workspace, &options->limits, err);
}

static int report(const struct box_options *options, const struct driver_outcome *outcome,
		  const struct session *session)
{
	if (session->caught != 0)
		return 128 + session->caught;
	if (session->deaf) {
		(void)fprintf(stderr, "sbx-box: cannot write the command's output\n");
		return BOX_EXIT_FAULT;
	}
	if (outcome->limit != BOX_LIMIT_NONE) {
		(void)fprintf(stderr, "sbx-box: limit reached: %s (measured: %lld %s)\n",
			      box_limit_name(outcome->limit), (long long)outcome->limit_value,
			      box_limit_unit(outcome->limit));
		return BOX_EXIT_LIMIT;
	}
	if (!outcome->started) {
		(void)fprintf(stderr, "sbx-box: cannot start '%s': %s\n", options->command[0],
			      outcome->start_error);
		return BOX_EXIT_NOT_STARTED;
	}
	if (outcome->syscall[0] != '\0')
		(void)fprintf(stderr, "sbx-box: killed for the system call '%s'\n",
			      outcome->syscall);
	for (int i = 0; i < BOX_LIMIT_COUNT; i++)
		if (outcome->met[i])
			(void)fprintf(stderr, "sbx-box: the command met the limit: %s\n",
				      box_limit_name((enum box_limit)i));
	return outcome->signal != 0 ? 128 + outcome->signal : outcome->exit_code;
}

static int run(const struct box_options *options, struct box_host *host, struct box *box,
	       struct err *err)
{
	const struct winsize size = tty_size();
	struct session session = {
		.signal_fd = -1, .watch_fd = -1, .has_tty = !options->no_tty && tty_here()};
	struct driver_hooks hooks = {
		.output = on_output, .watch = on_watch, .tty = on_tty, .ctx = &session};
	struct driver_step step = {.argv = (const char *const *)options->command,
				   .env = options->env,
				   .cwd = options->cwd,
				   .pass_stdin = !session.has_tty && isatty(STDIN_FILENO) == 0,
				   .tty_fd = -1,
				   .own_tty = session.has_tty,
				   .tty_rows = size.ws_row,
				   .tty_columns = size.ws_col};
	struct driver_outcome outcome;
	struct box_handle handle;
	struct box_usage seen;
	struct driver driver;
	struct err why = {0};
	int result;

	if (attach(box, options, err) < 0)
		return -1;
	if (watch(&session, err) < 0) {
		session_release(&session);
		return -1;
	}
	hooks.watch_fd = session.watch_fd;
	box_handle_take(box, &handle);
	driver_init(&driver, &handle, &options->limits);
	result = driver_step(&driver, &step, &hooks, &outcome, err);
	if (result == 0)
		box_kill(box); /* it takes a while to be gone, and has nothing left to do */
	else if (box_confirm(box, &why) < 0)
		*err = why; /* init's own words rather than that it is gone */
	if (result == 0 && options->outcome_fd >= 0)
		result = driver_usage(&driver, &seen, err);
	session_release(&session); /* before anything is said */
	if (result == 0 && options->outcome_fd >= 0)
		write_outcome(options, host, &outcome, &seen);
	if (result == 0)
		result = report(options, &outcome, &session);
	driver_release(&driver);
	return result;
}

/* With the pid namespace: control groups may be shared with processes that cannot
 * see this one, and would take its boxes for those of a dead one. */
static void name_boxes(char *ret, size_t size)
{
	struct stat st;

	if (stat("/proc/self/ns/pid", &st) < 0)
		st.st_ino = 0;
	(void)snprintf(ret, size, "box-%lu", (unsigned long)st.st_ino);
}

static int run_box(const struct box_options *options, const char *root, struct err *err)
{
	char prefix[28], instance[40];
	struct box_config config = {.instance = instance,
				    .allow_missing_cgroup = options->allow_missing,
				    .uid_base = UID_BASE + (uid_t)getpid(),
				    .slots = 1,
				    .once = !options->explain,
				    .without_cpu = !options->explain &&
						   options->limits.cpu_ms == 0 &&
						   options->limits.millicpus == 0,
				    .roots = &root,
				    .roots_len = root != NULL,
				    .widest = options->limits.profile,
				    .network = options->network,
				    .binds = options->binds,
				    .binds_len = options->explain ? 0 : options->binds_len};
	struct box_host *host;
	struct box *box;
	bool root_holds = true;
	int result = -1;

	name_boxes(prefix, sizeof(prefix));
	(void)snprintf(instance, sizeof(instance), "%s-%d", prefix, (int)getpid());
	/* First: in a user namespace, owners cannot be told any more. */
	if (options->explain)
		root_holds = explain_root(root);
	if (box_host_open(&host, &config, err) < 0)
		return -1;
	if (options->explain) {
		result = explain(host);
		if (!root_holds)
			result = BOX_EXIT_FAULT;
	} else if (box_new(host, 0, &box, err) == 0) {
		box_host_sweep_dead(host, prefix); /* while init sets itself up */
		result = run(options, host, box, err);
		box_free(box);
	}
	box_host_close(host);
	return result;
}

/* Finds the root that was named, and makes the box. */
static int start(struct box_options *options, struct err *err)
{
	const char *root = NULL, *const * env;
	struct arena arena;
	int result = -1;

	arena_init(&arena, 2 * ROOT_ENV_BYTES);
	if ((options->root == NULL || (root = roots_locate(options->root, &arena, err)) != NULL) &&
	    root_env_read(root, &arena, &env, err) == 0) {
		box_options_add_env(options, env);
		result = run_box(options, root, err);
	}
	arena_release(&arena);
	return result;
}

int main(int argc, char **argv)
{
	static struct box_options options = {
		.limits = {.memory_bytes = 2LL << 30,
			   .disk_bytes = 1LL << 30,
			   .inodes = 200000,
			   .processes = 512,
			   .open_files = 1024},
		.outcome_fd = -1,
	};
	struct err err = {0};
	int code;

	box_options_parse(argc, argv, &options);
	if (options.outcome_file != NULL) {
		options.outcome_fd =
			open(options.outcome_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (options.outcome_fd < 0)
			box_bad_usage("cannot write the outcome file", options.outcome_file);
	}
	code = start(&options, &err);
	if (code < 0) {
		(void)fprintf(stderr, "sbx-box: %s\n", err.message);
		return BOX_EXIT_FAULT;
	}
	return code;
}
