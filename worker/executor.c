/*
 * executor.c - theory: one pass through the stages of a job, each in a file of
 * its own, between the one message that brings the job and the one that takes
 * its outcome away. There is no second job, so nothing is ever freed by hand
 * that the end of the process frees.
 *
 *	EXEC_JOB -> checked -> patched -> (EXEC_WANT_LAYER, EXEC_LAYER) -> prepared
 *	         -> running -> reported -> collected -> EXEC_DONE
 */
#include "worker/executor.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/body.h"
#include "worker/executor_private.h"

enum { JOB_ARENA_BYTES = 512 << 20 };

/* --- descriptors ------------------------------------------------------ */

enum { KEPT_FIRST = 3, KEPT_MOST = 2 + 1 + BOX_METERS, PARKED_FIRST = 32 };

static_assert(KEPT_FIRST + KEPT_MOST <= PARKED_FIRST, "no target is parked on");

/* Two moves, so that no target is overwritten before it is saved. */
void executor_keep_descriptors(int *socket, struct box_handle *handle, int *store_fd)
{
	int *kept[KEPT_MOST] = {socket, store_fd, &handle->control_fd};
	size_t len = 3;
	int next = KEPT_FIRST;

	for (size_t i = 0; i < BOX_METERS; i++)
		kept[len++] = &handle->meter_fds[i];
	for (size_t i = 0; i < len; i++) {
		if (*kept[i] < 0)
			continue;
		*kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, PARKED_FIRST);
		if (*kept[i] < 0)
			_exit(1);
	}
	for (size_t i = 0; i < len; i++) {
		if (*kept[i] < 0)
			continue;
		if (dup3(*kept[i], next, O_CLOEXEC) < 0)
			_exit(1);
		*kept[i] = next++;
	}
	(void)close_range((unsigned)next, ~0U, 0);
}

/* --- what the stages share -------------------------------------------- */

int executor_state(struct executor *self, enum job_state state, struct err *err)
{
	struct ipc_exec_state message = {
		.kind = IPC_EXEC_STATE, .state = state, .at_us = clock_wall_us()};

	return fd_send(self->socket, &message, sizeof(message), NULL, 0, err);
}

int executor_snapshot(struct executor *self, const char *name, const struct oid *commit,
		      struct err *err)
{
	char hex[OID_HEX_BYTES];
	char *copy;

	assert(self->body.snapshots.len < SNAPSHOTS_MAX);
	oid_hex(commit, hex);
	copy = arena_strdup(&self->arena, hex);
	if (copy == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	self->body.snapshots.items = self->snapshot_pairs;
	self->body.snapshots.items[self->body.snapshots.len++] = (struct pair){name, copy};
	return 0;
}

int executor_finding(struct executor *self, const struct result_finding *finding, struct err *err)
{
	struct result_body *body = &self->body;

	if (body->findings == NULL) {
		body->findings = arena_array(&self->arena, LIMIT_FINDINGS, sizeof(*body->findings));
		if (body->findings == NULL)
			return err_set(err, ERR_LIMIT, "out of memory");
	}
	if (body->findings_len < LIMIT_FINDINGS)
		body->findings[body->findings_len++] = *finding;
	return 0;
}

void executor_verdict(struct executor *self, enum verdict verdict, const struct reason *reason)
{
	if (self->verdict != VERDICT_passed)
		return;
	self->verdict = verdict;
	self->reason = *reason;
}

bool executor_watch(void *ctx)
{
	struct executor *self = ctx;
	struct ipc_exec_stop message;
	struct err err = {0};
	ssize_t len = fd_recv_now(self->socket, &message, sizeof(message), NULL, NULL, &err);

	if (len == FD_AGAIN)
		return false;
	if (len != sizeof(message) || message.kind != IPC_EXEC_STOP)
		_exit(0); /* the worker is gone: so are box and job */
	self->stopped = true;
	return true;
}

/* --- the job comes ---------------------------------------------------- */

static int receive_job(struct executor *self, struct err *err)
{
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	int rc;
	ssize_t len = fd_recv(self->socket, &self->order, sizeof(self->order), fds, &fds_len, err);

	if (len < 0)
		return -1;
	if (len == 0)
		_exit(0); /* never needed */
	if (len != sizeof(self->order) || self->order.kind != IPC_EXEC_JOB || fds_len != 1)
		return err_set(err, ERR_INPUT, "unexpected message to the executor");
	if (fd_map(fds[0], LIMIT_MESSAGE_BYTES, &self->payload, err) < 0)
		return -1;
	fd_close(fds[0]);
	rc = job_decode(&self->arena, self->payload.data, self->payload.len, &self->job,
			&self->reason, err);
	if (rc == REFUSED)
		return err_set(err, ERR_INPUT, "job was valid before: %s", self->reason.message);
	return rc;
}

static int open_source(struct executor *self, struct err *err)
{
	const char *path;

	if (self->order.repo_path[0] == '\0')
		return 0;
	path = arena_printf(&self->arena, "/%s", self->order.repo_path);
	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (gitdb_open(path, GITDB_QUARANTINE, &self->db, err) < 0)
		return -1;
	self->before_patch = self->after_patch = self->order.commit;
	self->before_tree = self->after_tree = self->order.tree;
	return executor_snapshot(self, "initial", &self->order.commit, err);
}

/* --- the outcome goes ------------------------------------------------- */

static void add_use(struct result_use *sum, const struct result_use *use)
{
	sum->user_us += use->user_us;
	sum->system_us += use->system_us;
	sum->context_switches += use->context_switches;
	sum->page_faults += use->page_faults;
	sum->disk_faults += use->disk_faults;
	sum->throttled_us += use->throttled_us;
	sum->output_bytes += use->output_bytes;
}

/* Without the counters of a control group: what the steps themselves used. */
static void add_up_steps(const struct executor *self, struct result_metrics *metrics)
{
	bool has_cpu = metrics->cpu_us > 0;
	bool has_memory = metrics->memory_peak_bytes > 0;
	bool has_io = metrics->io_read_bytes > 0 || metrics->io_write_bytes > 0;

	for (size_t i = 0; i < self->body.steps_len; i++) {
		const struct result_step *step = &self->body.steps[i];

		if (!has_cpu)
			metrics->cpu_us += step->cpu_us;
		if (!has_memory && step->memory_peak_bytes > metrics->memory_peak_bytes) {
			metrics->memory_peak_bytes = step->memory_peak_bytes;
			metrics->memory_counter = step->memory_counter;
		}
		if (!has_io) {
			metrics->io_read_bytes += step->io_read_bytes;
			metrics->io_write_bytes += step->io_write_bytes;
		}
		add_use(&metrics->use, &step->use);
	}
}

static int64_t counted(int64_t value)
{
	return value < 0 ? 0 : value; /* box.h: -1 where nothing counts */
}

static void take_usage(struct executor *self, struct ipc_exec_done *done)
{
	struct box_usage usage;

	done->metrics = (struct result_metrics){.run_us = self->run_us};
	if (!self->has_driver || driver_usage(&self->driver, &usage, NULL) < 0)
		return;
	done->metrics.cpu_us = counted(usage.cpu_us);
	done->metrics.memory_peak_bytes = counted(usage.memory_peak_bytes);
	if (usage.memory_peak_bytes > 0)
		done->metrics.memory_counter = MEMORY_COUNTER_GROUP;
	done->metrics.processes_peak = counted(usage.processes_peak);
	done->metrics.io_read_bytes = counted(usage.io_read_bytes);
	done->metrics.io_write_bytes = counted(usage.io_write_bytes);
	add_up_steps(self, &done->metrics);
}

/* The body and, where there are any, the new objects, as memory files. */
static int pack_outcome(struct executor *self, struct ipc_exec_done *done, int fds[2],
			size_t *ret_fds_len, struct err *err)
{
	struct buf out;
	size_t pairs = 0;
	int rc;

	buf_init(&out, LIMIT_RESULT_BYTES);
	rc = body_pack(&self->arena, &self->body, LIMIT_BODY_BYTES, &out, &pairs, err);
	if (rc == 0)
		rc = fd_memfd("sbx-body", out.data, out.len, &fds[0], err);
	buf_release(&out);
	if (rc < 0)
		return -1;
	*ret_fds_len = 1;
	done->body_pairs = pairs;
	if (self->db == NULL || self->verdict == VERDICT_rejected)
		return 0; /* nothing of a rejected job is kept */
	buf_init(&out, SIZE_MAX);
	rc = gitdb_export(self->db, &out, err);
	if (rc == 0 && out.len > 0) {
		rc = fd_memfd("sbx-objects", out.data, out.len, &fds[1], err);
		done->has_objects = rc == 0;
		*ret_fds_len += rc == 0;
	}
	buf_release(&out);
	return rc;
}

static int send_outcome(struct executor *self, struct err *err)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .end = IPC_OK};
	bool keep = self->verdict == VERDICT_passed ||
		    (self->job.keep_on_failure && self->verdict != VERDICT_rejected);
	int fds[2] = {-1, -1};
	size_t fds_len = 0;

	done.verdict = self->verdict;
	done.reason = self->reason;
	done.keep = keep ? self->after_patch : self->before_patch;
	take_usage(self, &done);
	if (pack_outcome(self, &done, fds, &fds_len, err) < 0)
		return -1;
	return fd_send(self->socket, &done, sizeof(done), fds, fds_len, err);
}

static int send_fault(struct executor *self, const struct err *why, struct err *err)
{
	struct ipc_exec_done done = {.kind = IPC_EXEC_DONE, .end = IPC_FAULT};

	done.verdict = VERDICT_error;
	ipc_text(done.error, why->message);
	return fd_send(self->socket, &done, sizeof(done), NULL, 0, err);
}

/* --- the stages ------------------------------------------------------- */

static int run_stages(struct executor *self, struct err *err)
{
	int rc = executor_patch(self, err);

	if (rc != 0)
		return rc;
	if (self->job.steps_len > 0) {
		rc = executor_prepare(self, err);
		if (rc == 0)
			rc = executor_run(self, err);
	}
	if (rc == 0)
		rc = executor_report(self, err);
	if (rc == 0)
		rc = executor_collect(self, err);
	return rc;
}

int executor_main(const struct config *config, const char *const *root_env, int socket,
		  struct box_handle *handle)
{
	static struct executor self;
	struct err err = {0};
	struct err gone = {0};
	int rc;

	self = (struct executor){.config = config,
				 .root_env = root_env,
				 .socket = socket,
				 .handle = handle,
				 .verdict = VERDICT_passed};
	arena_init(&self.arena, JOB_ARENA_BYTES);
	buf_init(&self.report_text, LIMIT_REPORT_BYTES);
	rc = receive_job(&self, &err);
	if (rc == 0)
		rc = open_source(&self, &err);
	if (rc == 0)
		rc = run_stages(&self, &err);
	if (rc != -1)
		rc = send_outcome(&self, &err);
	if (rc < 0 && send_fault(&self, &err, &gone) < 0)
		log_error("cannot report fault", "fault", err.message, "error", gone.message, NULL);
	return rc < 0 ? 1 : 0;
}
