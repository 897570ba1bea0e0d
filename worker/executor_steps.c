/*
 * executor_steps.c - prepared and running: the patched files are written into
 * the box's layer, then the steps run one after the other. After a failed
 * step only those that always run do; after a limit or a stop none does.
 */
#include <string.h>

#include "base/clock.h"
#include "worker/executor_private.h"
#include "worker/roots.h"
#include "worker/stream.h"

enum { OUTPUT_MESSAGE_BYTES = 32 * 1024 };

/* --- the layer -------------------------------------------------------- */

static int want_layer(struct executor *self, struct err *err)
{
	struct ipc_exec_want_layer want = {.kind = IPC_EXEC_WANT_LAYER};
	struct ipc_exec_layer answer;
	ssize_t len;

	for (size_t i = 0; i < self->patch.findings_len; i++)
		want.findings[self->patch.findings[i].severity]++;
	if (fd_send(self->socket, &want, sizeof(want), NULL, 0, err) < 0)
		return -1;
	len = fd_recv(self->socket, &answer, sizeof(answer), NULL, NULL, err);
	if (len == sizeof(struct ipc_exec_stop) && answer.kind == IPC_EXEC_STOP) {
		self->stopped = true;
		return 0;
	}
	if (len != sizeof(answer) || answer.kind != IPC_EXEC_LAYER)
		return err_set(err, ERR_PEER, "no workspace: the supervisor is gone");
	if (!answer.ok)
		return err_set(err, ERR_UNSUPPORTED, "no workspace: %s", answer.error);
	self->order.limits = answer.limits;
	return 0;
}

/* The content of every edit; blobs stay open until the edits are sent. */
static int load_edits(struct executor *self, struct driver_edit *edits, struct gitdb_blob *blobs,
		      struct err *err)
{
	for (size_t i = 0; i < self->patch.edits_len; i++) {
		const struct gitdb_edit *edit = &self->patch.edits[i];

		edits[i] = (struct driver_edit){.path = edit->path, .mode = edit->mode};
		if (edit->mode == 0)
			continue;
		if (gitdb_blob_read(self->db, &edit->oid, LIMIT_FILE_BYTES, &blobs[i], err) < 0)
			return -1;
		edits[i].content = blobs[i].bytes;
	}
	return 0;
}

static int write_layer(struct executor *self, struct err *err)
{
	size_t len = self->patch.edits_len;
	struct driver_edit *edits = arena_array(&self->arena, len, sizeof(*edits));
	struct gitdb_blob *blobs = arena_array(&self->arena, len, sizeof(*blobs));
	int rc;

	if (edits == NULL || blobs == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	rc = load_edits(self, edits, blobs, err);
	if (rc == 0 && len > 0)
		rc = driver_edit(&self->driver, edits, len, err);
	for (size_t i = 0; i < len; i++)
		gitdb_blob_release(&blobs[i]);
	return rc;
}

int executor_prepare(struct executor *self, struct err *err)
{
	struct reason reason;

	if (want_layer(self, err) < 0)
		return -1;
	if (self->stopped) { /* the box has no workspace, and gets none */
		(void)reason_set(&reason, REASON_JOB_CANCELLED, NULL,
				 "the job was stopped before its first step");
		executor_verdict(self, VERDICT_cancelled, &reason);
		return REFUSED;
	}
	driver_init(&self->driver, self->handle, &self->order.limits);
	self->has_driver = true;
	if (write_layer(self, err) < 0)
		return -1;
	return executor_state(self, STATE_prepared, err);
}

/* --- one step's command ----------------------------------------------- */

static const char *const *make_argv(struct executor *self, const struct job_step *step,
				    struct text_list *ret)
{
	const char **argv;

	if (step->shell != NULL) {
		static const char *const prefix[] = {"sh", "-c"};

		argv = arena_array(&self->arena, 4, sizeof(*argv));
		if (argv == NULL)
			return NULL;
		argv[0] = prefix[0];
		argv[1] = prefix[1];
		argv[2] = step->shell;
		*ret = (struct text_list){argv, 3};
		return argv;
	}
	argv = arena_array(&self->arena, step->run.len + 1, sizeof(*argv));
	if (argv == NULL)
		return NULL;
	for (size_t i = 0; i < step->run.len; i++)
		argv[i] = step->run.items[i];
	*ret = (struct text_list){argv, step->run.len};
	return argv;
}

static bool sets(const struct job_step *step, const char *pair)
{
	for (size_t i = 0; i < step->env.len; i++)
		if (root_env_same(step->env.items[i].key, pair))
			return true;
	return false;
}

static bool has(const char *const *env, const char *pair)
{
	while (*env != NULL && !root_env_same(*env, pair))
		env++;
	return *env != NULL;
}

/* From scratch: nothing of the worker's own environment reaches a step. What the
 * job says comes before what the root's image says, and that before ours. */
static const char *const *make_env(struct executor *self, const struct job_step *step)
{
	const char *fixed[] = {
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
		"HOME=/tmp",
		"TMPDIR=/tmp",
		"USER=sbx",
		"LOGNAME=sbx",
		"LANG=C.UTF-8",
		"TERM=dumb",
		arena_printf(&self->arena, "SBX_JOB=%s", self->job.id),
		/* It stops its own process with ptrace: where that is refused, every
		 * program with AddressSanitizer would fail at its end. */
		"LSAN_OPTIONS=detect_leaks=0",
	};
	size_t fixed_len = ARRAY_LEN(fixed) - (self->order.limits.profile == FILTER_TRUSTED);
	const char **env = arena_array(
		&self->arena, ARRAY_LEN(fixed) + ROOT_ENV_MAX + step->env.len + 1, sizeof(*env));
	size_t len = 0;

	if (self->arena.exhausted)
		return NULL;
	for (size_t i = 0; i < fixed_len; i++) {
		if (!sets(step, fixed[i]) && !has(self->root_env, fixed[i]))
			env[len++] = fixed[i];
	}
	for (const char *const *pair = self->root_env; *pair != NULL; pair++) {
		if (!sets(step, *pair))
			env[len++] = *pair;
	}
	for (size_t i = 0; i < step->env.len; i++)
		env[len++] = arena_printf(&self->arena, "%s=%s", step->env.items[i].key,
					  step->env.items[i].value);
	return self->arena.exhausted ? NULL : env;
}

static const char *make_cwd(struct executor *self, const struct job_step *step)
{
	const char *top = self->job.source.subdir;

	if (top == NULL)
		return step->cwd;
	if (step->cwd == NULL)
		return top;
	return arena_printf(&self->arena, "%s/%s", top, step->cwd);
}

/* --- output ----------------------------------------------------------- */

struct capture {
	struct executor *executor;
	const struct job_step *step;
	struct stream streams[2];
};

static void send_output(struct capture *capture, enum driver_stream stream, const uint8_t *data,
			size_t len)
{
	static _Alignas(struct ipc_exec_output)
		uint8_t room[sizeof(struct ipc_exec_output) + OUTPUT_MESSAGE_BYTES];
	struct ipc_exec_output *message = (struct ipc_exec_output *)room;

	while (len > 0) {
		size_t part = len < OUTPUT_MESSAGE_BYTES ? len : OUTPUT_MESSAGE_BYTES;

		*message = (struct ipc_exec_output){
			.kind = IPC_EXEC_OUTPUT, .stream = stream, .len = (uint32_t)part};
		ipc_text(message->step, capture->step->name);
		(void)memcpy(message->data, data, part);
		/* Live output may be lost; it never delays the job. */
		NEGLECT(fd_send_now(capture->executor->socket, message, sizeof(*message) + part,
				    NULL, 0, NULL));
		data += part;
		len -= part;
	}
}

static void on_output(void *ctx, enum driver_stream stream, const void *data, size_t len)
{
	struct capture *capture = ctx;
	struct executor *self = capture->executor;

	stream_add(&capture->streams[stream], data, len);
	if (stream == DRIVER_STDOUT && self->job.tests.present)
		buf_add(&self->report_text, data, len);
	if (self->order.output_events)
		send_output(capture, stream, data, len);
}

/* Live, as output is: lost rather than waited for. */
static void on_sample(void *ctx, const struct driver_sample *sample)
{
	const struct capture *capture = ctx;
	struct ipc_exec_sample message = {.kind = IPC_EXEC_SAMPLE,
					  .wall_us = sample->wall_us,
					  .cpu_us = sample->cpu_us,
					  .memory_bytes = sample->memory_bytes,
					  .output_bytes = sample->output_bytes};

	ipc_text(message.step, capture->step->name);
	NEGLECT(fd_send_now(capture->executor->socket, &message, sizeof(message), NULL, 0, NULL));
}

static bool on_watch(void *ctx)
{
	return executor_watch(((struct capture *)ctx)->executor);
}

/* --- what came of it -------------------------------------------------- */

static enum reason_code limit_reason(enum box_limit limit)
{
	static const enum reason_code reasons[BOX_LIMIT_COUNT] = {
		[BOX_LIMIT_NONE] = REASON_NONE,
		[BOX_LIMIT_WALL] = REASON_LIMIT_WALL,
		[BOX_LIMIT_STEP_WALL] = REASON_LIMIT_WALL,
		[BOX_LIMIT_CPU] = REASON_LIMIT_CPU,
		[BOX_LIMIT_IDLE] = REASON_LIMIT_IDLE,
		[BOX_LIMIT_MEMORY] = REASON_LIMIT_MEMORY,
		[BOX_LIMIT_DISK] = REASON_LIMIT_DISK,
		[BOX_LIMIT_INODES] = REASON_LIMIT_INODES,
		[BOX_LIMIT_PROCESSES] = REASON_LIMIT_PROCESSES,
		[BOX_LIMIT_FILE] = REASON_LIMIT_FILE,
		[BOX_LIMIT_OUTPUT] = REASON_LIMIT_OUTPUT,
	};

	return reasons[limit];
}

/* Sets the verdict of the job when this step decides it; returns its outcome. */
static const char *judge(struct executor *self, const struct job_step *step,
			 const struct driver_outcome *outcome)
{
	struct reason reason;

	if (self->stopped) {
		(void)reason_set(&reason, REASON_JOB_CANCELLED, step->name, "step '%s' was stopped",
				 step->name);
		executor_verdict(self, VERDICT_cancelled, &reason);
		return "killed";
	}
	if (outcome->limit != BOX_LIMIT_NONE) {
		(void)reason_set(&reason, limit_reason(outcome->limit), step->name,
				 "step '%s' reached the limit %s (measured: %lld %s)", step->name,
				 box_limit_name(outcome->limit), (long long)outcome->limit_value,
				 box_limit_unit(outcome->limit));
		executor_verdict(self, VERDICT_limit, &reason);
		return "limit";
	}
	if (outcome->started && outcome->signal == 0 && outcome->exit_code == step->expect_exit)
		return "passed";
	self->steps_failed = true;
	if (!outcome->started)
		(void)reason_set(&reason, REASON_STEP_NOT_STARTED, step->name,
				 "step '%s' could not be started: %s", step->name,
				 outcome->start_error);
	else if (outcome->syscall[0] != '\0')
		(void)reason_set(&reason, REASON_STEP_SYSCALL, step->name,
				 "step '%s' was killed for the system call %s", step->name,
				 outcome->syscall);
	else if (outcome->signal != 0)
		(void)reason_set(&reason, REASON_STEP_SIGNAL, step->name,
				 "step '%s' was ended by signal %d (%s)", step->name,
				 outcome->signal, strsignal(outcome->signal));
	else
		(void)reason_set(&reason, REASON_STEP_FAILED, step->name,
				 "step '%s' exited with %d, expected %lld", step->name,
				 outcome->exit_code, (long long)step->expect_exit);
	/* With test reports, they decide: see executor_collect.c. */
	if (self->reason.code == REASON_NONE)
		self->reason = reason;
	if (!outcome->started)
		return "not_started";
	return outcome->signal != 0 ? "killed" : "failed";
}

static int64_t counted(int64_t value)
{
	return value < 0 ? 0 : value; /* -1 where nothing counts */
}

static void keep_use(const struct driver_outcome *outcome, struct result_step *ret)
{
	if (outcome->memory_peak_bytes > 0)
		ret->memory_counter =
			outcome->memory_is_groups ? MEMORY_COUNTER_GROUP : MEMORY_COUNTER_PROCESS;
	ret->io_read_bytes = counted(outcome->io_read_bytes);
	ret->io_write_bytes = counted(outcome->io_write_bytes);
	ret->processes_peak = counted(outcome->processes_peak);
	ret->use = (struct result_use){
		.user_us = outcome->user_us,
		.system_us = outcome->system_us,
		.context_switches = outcome->context_switches,
		.page_faults = outcome->page_faults,
		.disk_faults = outcome->disk_faults,
		.throttled_us = counted(outcome->throttled_us),
		.output_bytes = outcome->output_bytes,
	};
}

static struct text_list limits_met(struct executor *self, const struct driver_outcome *outcome)
{
	const char **names = arena_array(&self->arena, BOX_LIMIT_COUNT, sizeof(*names));
	size_t len = 0;

	for (int i = 0; i < BOX_LIMIT_COUNT && names != NULL; i++)
		if (outcome->met[i])
			names[len++] = box_limit_name((enum box_limit)i);
	return (struct text_list){names, len};
}

static int keep_outcome(struct executor *self, const struct job_step *step,
			const struct driver_outcome *outcome, struct capture *capture,
			struct result_step *ret, struct err *err)
{
	ret->outcome = judge(self, step, outcome);
	ret->exit = outcome->exit_code;
	ret->signal = outcome->signal;
	ret->wall_us = outcome->wall_us;
	ret->cpu_us = outcome->cpu_us;
	ret->memory_peak_bytes = outcome->memory_peak_bytes;
	keep_use(outcome, ret);
	ret->stdout_bytes = stream_text(&capture->streams[0], &self->arena);
	ret->stderr_bytes = stream_text(&capture->streams[1], &self->arena);
	ret->truncated_bytes = stream_truncated(&capture->streams[0]) +
			       stream_truncated(&capture->streams[1]) + outcome->dropped_bytes;
	if (outcome->syscall[0] != '\0')
		ret->syscall = arena_strdup(&self->arena, outcome->syscall);
	ret->limits_met = limits_met(self, outcome);
	if (self->arena.exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	return 0;
}

/* --- the steps -------------------------------------------------------- */

/* Head and tail of one stream, so that those of all steps fit the result. */
static size_t stream_share(const struct executor *self)
{
	size_t share = LIMIT_STREAMS_TOTAL_BYTES / (4 * self->job.steps_len);

	return share < LIMIT_STREAM_HEAD_BYTES ? share : LIMIT_STREAM_HEAD_BYTES;
}

static int run_step(struct executor *self, const struct job_step *step, struct result_step *ret,
		    struct err *err)
{
	struct capture capture = {.executor = self, .step = step};
	struct driver_hooks hooks = {
		.output = on_output, .watch_fd = self->socket, .watch = on_watch, .ctx = &capture};
	struct driver_step command = {
		.stdin_bytes = step->stdin_bytes, .timeout_ms = step->timeout_ms, .tty_fd = -1};
	struct driver_outcome outcome;
	size_t share = stream_share(self);
	int rc;

	if (self->order.output_events) {
		hooks.sample_ms = self->config->worker_sample;
		hooks.sample = on_sample;
	}
	command.argv = make_argv(self, step, &ret->argv);
	command.env = make_env(self, step);
	command.cwd = make_cwd(self, step);
	if (self->arena.exhausted)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(capture.streams); i++)
		stream_init(&capture.streams[i], share, share);
	rc = driver_step(&self->driver, &command, &hooks, &outcome, err);
	if (rc == 0)
		rc = keep_outcome(self, step, &outcome, &capture, ret, err);
	for (size_t i = 0; i < ARRAY_LEN(capture.streams); i++)
		stream_release(&capture.streams[i]);
	return rc;
}

static bool is_skipped(const struct executor *self, const struct job_step *step)
{
	if (self->stopped || self->verdict != VERDICT_passed)
		return true;
	return self->steps_failed && !step->always;
}

int executor_run(struct executor *self, struct err *err)
{
	struct result_body *body = &self->body;
	int64_t start_us = clock_mono_us();

	body->steps = arena_array(&self->arena, self->job.steps_len, sizeof(*body->steps));
	if (body->steps == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	for (size_t i = 0; i < self->job.steps_len; i++) {
		const struct job_step *step = &self->job.steps[i];
		struct result_step *result = &body->steps[body->steps_len++];

		*result = (struct result_step){.name = step->name, .exit = -1};
		if (is_skipped(self, step)) {
			(void)make_argv(self, step, &result->argv);
			result->outcome = "skipped";
			continue;
		}
		if (run_step(self, step, result, err) < 0)
			return -1;
	}
	self->run_us = clock_mono_us() - start_us;
	if (driver_finish(&self->driver, err) < 0)
		return -1;
	return executor_state(self, STATE_running, err);
}
