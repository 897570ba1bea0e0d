/*
 * check_sandbox.c - the sandbox: each of its layers, then a real one that runs
 * a command.
 *
 * It is made by a child, for box_host_open may move the process into a user
 * namespace, and a trial must not hang or crash the check. The child sends its
 * rows over a socket, one message each, and ends.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "worker/check_private.h"
#include "worker/mode.h"
#include "worker/role.h"
#include "worker/roots.h"
#include "worker/sandbox/box.h"
#include "worker/sandbox/driver.h"

enum { TRIAL_MS = 30000, STEP_MS = 10000, DETAIL_BYTES = 512, NAME_BYTES = 128 };

struct trial_row {
	enum check_status status;
	char name[NAME_BYTES];
	char detail[DETAIL_BYTES];
	char fix[DETAIL_BYTES];
};

/* --- the child -------------------------------------------------------- */

static void send_row(int sock, enum check_status status, const char *name, const char *detail,
		     const char *fix)
{
	struct trial_row message = {.status = status};

	(void)snprintf(message.name, sizeof(message.name), "%s", name);
	(void)snprintf(message.detail, sizeof(message.detail), "%s", detail);
	(void)snprintf(message.fix, sizeof(message.fix), "%s", fix);
	(void)!fd_send(sock, &message, sizeof(message), NULL, 0, NULL);
}

/* What is missing for jobs that must have every layer; io is only metered. */
static bool needs_all(const struct config *config, const struct box_layer *layer)
{
	const struct mode *least = mode_find(config->security_least);

	return least != NULL && least->whole && strcmp(layer->name, "cgroup_io") != 0;
}

static const char *fix_of(const struct config *config, const struct box_layer *layer)
{
	bool is_cgroup = strncmp(layer->name, "cgroup_", 7) == 0 &&
			 strcmp(layer->name, "cgroup_namespace") != 0;

	if (!layer->required && needs_all(config, layer))
		return "mend what the detail names, or lower [security] least: without this layer "
		       "every job is rejected";
	if (!is_cgroup)
		return "see the detail; README.md lists what a machine needs";
	return layer->required ? "delegate the controller to the worker (systemd: Delegate=yes), "
				 "or set [sandbox] allow_missing = cgroup: jobs then run without "
				 "this limit"
			       : "nothing to do: results lack these figures";
}

static void send_layers(int sock, struct box_host *host, const struct config *config)
{
	const struct box_layer *layers;
	size_t len = box_host_layers(host, &layers);

	for (size_t i = 0; i < len; i++) {
		const struct box_layer *layer = &layers[i];
		bool required = layer->required || needs_all(config, layer);
		char name[NAME_BYTES];

		(void)snprintf(name, sizeof(name), "sandbox.%s", layer->name);
		send_row(sock,
			 layer->present ? CHECK_OK
			 : required	? CHECK_FAIL
					: CHECK_WARN,
			 name,
			 *layer->detail != '\0' ? layer->detail
			 : layer->present	? "present"
						: "missing",
			 fix_of(config, layer));
	}
}

static struct box_limits trial_limits(const struct config *config)
{
	return (struct box_limits){
		.wall_ms = STEP_MS,
		.cpu_ms = STEP_MS,
		.idle_ms = STEP_MS,
		.memory_bytes = config->limits_memory,
		.disk_bytes = config->limits_disk,
		.inodes = config->limits_inodes,
		.processes = config->limits_processes,
		.open_files = config->limits_open_files,
		.file_bytes = config->limits_file,
		.output_bytes = config->limits_output,
		.millicpus = config->limits_millicpus,
	};
}

/* Runs /bin/true in `box`, which is attached. */
static int run_true(struct box *box, const struct box_limits *limits, struct err *err)
{
	static const char *const argv[] = {"/bin/true", NULL};
	static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	const struct driver_step step = {.argv = argv, .env = env, .tty_fd = -1};
	const struct driver_hooks hooks = {.watch_fd = -1};
	struct driver_outcome outcome = {0};
	struct box_handle handle;
	struct driver driver;
	int rc;

	box_handle_take(box, &handle);
	driver_init(&driver, &handle, limits);
	rc = driver_step(&driver, &step, &hooks, &outcome, err);
	driver_release(&driver);
	if (rc < 0)
		return -1;
	if (!outcome.started)
		return err_set(err, ERR_NOT_FOUND, "cannot start /bin/true: %s",
			       outcome.start_error);
	if (outcome.exit_code != 0)
		return err_set(err, ERR_UNSUPPORTED,
			       "/bin/true ended with exit code %d, signal %d%s%s",
			       outcome.exit_code, outcome.signal,
			       *outcome.syscall != '\0' ? ", killed for the system call " : "",
			       outcome.syscall);
	return 0;
}

static int try_box(struct box_host *host, const struct config *config, unsigned root,
		   struct err *err)
{
	const struct box_workspace workspace = {.lower_fd = -1};
	const struct box_limits limits = trial_limits(config);
	struct box *box = NULL;
	int rc;

	if (box_new_in(host, 0, root, &box, err) < 0)
		return -1;
	rc = box_attach(box, &workspace, &limits, err);
	if (rc == 0)
		rc = run_true(box, &limits, err);
	box_free(box);
	return rc;
}

/* A real box of one root, which runs a command. */
static void try_root(int sock, struct box_host *host, const struct config *config,
		     const struct root *root, unsigned index)
{
	int64_t start = clock_mono_us();
	char name[NAME_BYTES], detail[DETAIL_BYTES];
	struct err err = {0};

	(void)snprintf(name, sizeof(name), index == 0 ? "sandbox.trial" : "sandbox.trial.%s",
		       root->name);
	if (try_box(host, config, index, &err) < 0) {
		/* An image may hold nothing but one program: the box itself is good. */
		if (err.kind == ERR_NOT_FOUND && *root->path != '\0') {
			send_row(sock, CHECK_WARN, name, err.message,
				 "nothing to do, if jobs do not miss it either");
			return;
		}
		send_row(sock, CHECK_FAIL, name, err.message,
			 "mend what the message names; the layers above say what is missing");
		return;
	}
	(void)snprintf(detail, sizeof(detail),
		       "made with root '%s', ran /bin/true and gone in %.1f ms", root->name,
		       (double)(clock_mono_us() - start) / 1000.0);
	send_row(sock, CHECK_OK, name, detail, "");
}

static void child(int sock, const struct config *config, const struct roots *roots)
{
	const char *paths[ROOTS_MAX];
	struct box_host *host = NULL;
	char instance[32];
	struct err err = {0};

	for (size_t i = 0; i < roots->len; i++)
		paths[i] = roots->items[i].path;
	(void)snprintf(instance, sizeof(instance), "check-%d", (int)getpid());
	const struct box_config box_config = {
		.instance = instance,
		.cgroup_parent = *config->sandbox_cgroup_parent == '\0'
					 ? NULL
					 : config->sandbox_cgroup_parent,
		.allow_missing_cgroup = config->sandbox_allow_missing.len > 0,
		.uid_base = (uid_t)(config->worker_uid_base + ROLE_UID_SANDBOX),
		.slots = 1,
		.roots = paths,
		.roots_len = (unsigned)roots->len,
	};
	if (box_host_open(&host, &box_config, &err) < 0) {
		send_row(sock, CHECK_FAIL, "sandbox", err.message,
			 "mend what the message names; README.md lists what a machine needs");
		return;
	}
	send_layers(sock, host, config);
	for (size_t i = 0; i < roots->len; i++)
		try_root(sock, host, config, &roots->items[i], (unsigned)i);
	box_host_close(host);
}

/* --- the parent ------------------------------------------------------- */

/* Takes rows until the child ends. False when it was too slow. */
static bool receive_rows(int sock, struct check_report *report)
{
	int64_t end = clock_mono_us() + (int64_t)TRIAL_MS * 1000;

	for (;;) {
		struct pollfd poll_fd = {.fd = sock, .events = POLLIN};
		int64_t left_ms = (end - clock_mono_us()) / 1000;
		struct trial_row message;

		if (left_ms <= 0)
			return false;
		if (poll(&poll_fd, 1, (int)left_ms) <= 0)
			continue;
		if (fd_recv(sock, &message, sizeof(message), NULL, NULL, NULL) !=
		    (ssize_t)sizeof(message))
			return true;
		check_add(report, message.status, message.name, message.fix, "%s", message.detail);
	}
}

static void report_end(pid_t pid, bool in_time, struct check_report *report)
{
	int status = 0;

	if (!in_time)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!in_time)
		check_add(report, CHECK_FAIL, "sandbox", "look at the kernel's log",
			  "the trial did not end within %d s", TRIAL_MS / 1000);
	else if (WIFSIGNALED(status))
		check_add(report, CHECK_FAIL, "sandbox", "look at the kernel's log, and report it",
			  "the trial crashed with signal %d", WTERMSIG(status));
}

/* --- the roots -------------------------------------------------------- */

/* What is in a root and should not be. The kernel ignores set-id bits and device
 * nodes in a sandbox, but somebody had a reason to put them there. */
static const struct {
	const char *what, *fix;
	enum check_status status;
} root_flaws[ROOT_FLAWS] = {
	[ROOT_FOREIGN] = {"of another owner, who could change them",
			  "make the root anew with mkroot, or chown -R root:root it", CHECK_FAIL},
	[ROOT_WRITABLE] = {"that others may write", "chmod -R go-w it", CHECK_FAIL},
	[ROOT_SET_ID] = {"with a set-id bit, which no sandbox honours",
			 "make the root anew with mkroot, which takes it off", CHECK_WARN},
	[ROOT_DEVICE] = {"that are devices, sockets or pipes, which no sandbox opens",
			 "make the root anew with mkroot, which leaves them out", CHECK_WARN},
};

static void check_root(const struct root *root, struct arena *arena, struct check_report *report)
{
	const char *const *env;
	struct root_audit audit;
	struct err err = {0};
	char name[NAME_BYTES];
	bool good = true;

	(void)snprintf(name, sizeof(name), "sandbox.root.%s", root->name);
	if (root_check(root->path, &err) < 0 || root_walk(root->path, &audit, &err) < 0 ||
	    root_env_read(root->path, arena, &env, &err) < 0) {
		check_add(
			report, CHECK_FAIL, name,
			"name a directory that mkroot has made, or take the root out of [sandbox]",
			"%s", err.message);
		return;
	}
	for (size_t i = 0; i < ROOT_FLAWS; i++) {
		if (audit.flaws[i] == 0)
			continue;
		good = good && root_flaws[i].status != CHECK_FAIL;
		check_add(report, root_flaws[i].status, name, root_flaws[i].fix,
			  "%s: %lld files %s: the first is %s", root->path,
			  (long long)audit.flaws[i], root_flaws[i].what, audit.first[i]);
	}
	if (good)
		check_add(report, CHECK_OK, name, "", "%s: %lld files, %lld MiB%s", root->path,
			  (long long)audit.files, (long long)(audit.bytes >> 20),
			  audit.cut ? ", and more that were not looked at" : "");
}

void check_sandbox(const struct config *config, struct check_report *report)
{
	struct roots roots;
	int pair[2];
	struct err err = {0};
	pid_t parent = getpid();
	pid_t pid;
	bool in_time;

	if (roots_read(config, config->arena, &roots, &err) < 0)
		return; /* a misfit of the settings, which are reported by themselves */
	for (size_t i = 0; i < roots.len; i++)
		if (*roots.items[i].path != '\0')
			check_root(&roots.items[i], config->arena, report);
	if (fd_socketpair(pair, &err) < 0) {
		check_add(report, CHECK_FAIL, "sandbox", "free some descriptors", "%s",
			  err.message);
		return;
	}
	pid = fork();
	if (pid == 0) {
		fd_close(pair[0]);
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
			child(pair[1], config, &roots);
		_exit(0);
	}
	fd_close(pair[1]);
	if (pid < 0) {
		check_add(report, CHECK_FAIL, "sandbox", "raise the limit of processes",
			  "cannot start a process: %s", strerror(errno));
	} else {
		in_time = receive_rows(pair[0], report);
		report_end(pid, in_time, report);
	}
	fd_close(pair[0]);
}
