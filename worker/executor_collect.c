/*
 * executor_collect.c - reported and collected: what the steps left behind, read
 * after every process of the box is dead. All of it comes through init, which
 * opens files inside the box without following links.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "snapshots/layer.h"
#include "worker/artifacts.h"
#include "worker/executor_private.h"

enum {
	FIND_ENTRIES = 4 << 20, /* more than a job may make and a repository has */
	FINAL_FILE_BYTES = 1 << 20,
	FINAL_TOTAL_BYTES = 16 << 20,
	/* Sparse files cost a job nothing, reading them costs us: what is beyond
	 * these is not looked into. */
	FINAL_READ_BYTES = 512 << 20,
	REPORTS_READ_BYTES = 256 << 20,
};

/* --- reports ---------------------------------------------------------- */

struct report_walk {
	struct executor *executor;
	struct reports *reports;
	size_t left_bytes; /* of REPORTS_READ_BYTES */
	struct err *err;
	bool failed;
};

static int on_report(void *ctx, const char *path, int64_t size, int fd)
{
	struct report_walk *walk = ctx;
	struct err unreadable = {0};
	struct buf content;

	(void)size;
	buf_init(&content,
		 walk->left_bytes < LIMIT_REPORT_BYTES ? walk->left_bytes : LIMIT_REPORT_BYTES);
	if (fd_read_all(fd, &content, &unreadable) < 0) {
		struct result_finding finding = {
			.severity = SEVERITY_WARNING,
			.rule = "report.unreadable",
			.path = arena_strdup(&walk->executor->arena, path),
			.message = arena_strdup(&walk->executor->arena, unreadable.message),
		};

		walk->failed = executor_finding(walk->executor, &finding, walk->err) < 0;
	} else {
		reports_file(walk->reports, path, buf_bytes(&content));
	}
	walk->left_bytes -= content.len;
	buf_release(&content);
	return walk->failed || walk->left_bytes == 0 ? 1 : 0;
}

static int read_reports(struct executor *self, struct reports *reports, struct err *err)
{
	struct report_walk walk = {
		.executor = self, .reports = reports, .left_bytes = REPORTS_READ_BYTES, .err = err};
	const struct text_list *globs = &self->job.tests.report;

	reports_stream(reports, buf_bytes(&self->report_text));
	if (!self->has_driver || globs->len == 0)
		return 0;
	if (driver_find(&self->driver, globs->items, globs->len, FIND_ENTRIES, on_report, &walk,
			err) < 0)
		return -1;
	return walk.failed ? -1 : 0;
}

/* A step that failed before it could report explains more than the report that
 * is missing. */
static const struct reason *decisive(const struct reason *from_steps,
				     const struct reason *from_tests)
{
	if (from_tests->code == REASON_NONE)
		return from_steps;
	if (from_tests->code == REASON_TESTS_NO_REPORT && from_steps->code != REASON_NONE)
		return from_steps;
	return from_tests;
}

/* The verdict of steps and tests together. A limit or a stop has decided
 * already; else the reports decide where the job wants them, the exit codes
 * where it does not. */
static int judge(struct executor *self, struct reports *reports, struct err *err)
{
	struct reason from_steps = self->reason;
	struct reason from_tests = {0};
	bool good;

	if (!self->job.tests.present) {
		if (self->steps_failed)
			executor_verdict(self, VERDICT_failed, &from_steps);
		return 0;
	}
	good = reports_finish(reports, self->steps_failed, &self->body.tests, &from_tests);
	for (size_t i = 0; i < reports->problems.len; i++) {
		struct result_finding finding = {.severity = SEVERITY_WARNING,
						 .rule = "report.problem",
						 .message = reports->problems.items[i]};

		if (executor_finding(self, &finding, err) < 0)
			return -1;
	}
	if (!good)
		executor_verdict(self, VERDICT_failed, decisive(&from_steps, &from_tests));
	else if (self->verdict == VERDICT_passed)
		self->reason = (struct reason){.code = REASON_NONE};
	return 0;
}

int executor_report(struct executor *self, struct err *err)
{
	struct reports reports;

	if (self->job.steps_len == 0)
		return 0;
	reports_init(&reports, &self->arena, &self->job.tests);
	if (self->job.tests.present && read_reports(self, &reports, err) < 0)
		return -1;
	if (judge(self, &reports, err) < 0)
		return -1;
	return executor_state(self, STATE_reported, err);
}

/* --- artifacts -------------------------------------------------------- */

struct artifact_walk {
	struct artifacts *artifacts;
	struct err *err;
	bool failed;
};

static int on_artifact(void *ctx, const char *path, int64_t size, int fd)
{
	struct artifact_walk *walk = ctx;

	(void)size;
	walk->failed = artifacts_add(walk->artifacts, path, fd, walk->err) < 0;
	return walk->failed ? 1 : 0;
}

static int collect_artifacts(struct executor *self, struct err *err)
{
	const struct text_list *globs = &self->job.artifacts.paths;
	struct artifacts artifacts;
	struct artifact_walk walk = {.artifacts = &artifacts, .err = err};

	if (globs->len == 0)
		return 0;
	if (artifacts_init(&artifacts, &self->arena, self->job.artifacts.max_bytes, err) < 0)
		return -1;
	if (driver_find(&self->driver, globs->items, globs->len, FIND_ENTRIES, on_artifact, &walk,
			err) < 0 ||
	    walk.failed)
		return -1;
	self->body.artifacts = artifacts.items;
	self->body.artifacts_len = artifacts.len;
	if (artifacts.truncated) {
		struct result_finding finding = {
			.severity = SEVERITY_WARNING,
			.rule = "artifacts.truncated",
			.message = "not all artifacts are in the result: too many or too large"};

		return executor_finding(self, &finding, err);
	}
	return 0;
}

/* --- changes ---------------------------------------------------------- */

struct change_walk {
	struct layer layer;
	int64_t left_bytes; /* of FINAL_READ_BYTES */
	struct err *err;
	bool failed;
};

static int on_dir(void *ctx, const char *path, const char *const *names)
{
	struct change_walk *walk = ctx;

	walk->failed = layer_dir(&walk->layer, path, names, walk->err) < 0;
	return walk->failed ? 1 : 0;
}

static int on_file(struct change_walk *walk, const char *path, uint32_t mode, int64_t size, int fd)
{
	uint32_t git_mode = (mode & S_IXUSR) != 0 ? MODE_EXEC : MODE_FILE;
	struct buf content;
	int rc;

	if (size > FINAL_FILE_BYTES || size > walk->left_bytes)
		return layer_large(&walk->layer, path, git_mode, size, walk->err);
	buf_init(&content, FINAL_FILE_BYTES);
	rc = fd_read_all(fd, &content, walk->err);
	walk->left_bytes -= (int64_t)content.len;
	if (rc == 0)
		rc = layer_file(&walk->layer, path, git_mode, buf_bytes(&content), walk->err);
	buf_release(&content);
	return rc;
}

static int on_entry(void *ctx, const char *path, enum driver_kind kind, uint32_t mode, int64_t size,
		    int fd, const char *target)
{
	struct change_walk *walk = ctx;
	int rc = 0;

	if (kind == DRIVER_FILE && fd >= 0)
		rc = on_file(walk, path, mode, size, fd);
	else if (kind == DRIVER_LINK)
		rc = layer_file(&walk->layer, path, MODE_LINK,
				(struct bytes){(const uint8_t *)target, strlen(target)}, walk->err);
	else if (kind != DRIVER_DIR)
		walk->layer.truncated = true;
	walk->failed = rc < 0;
	return walk->failed ? 1 : 0;
}

static int commit_final(struct executor *self, struct change_walk *walk, struct err *err)
{
	const char *message = arena_printf(&self->arena, "sbx: %s after its steps\n", self->job.id);
	struct oid tree;
	struct oid commit = self->after_patch;

	if (layer_tree(&walk->layer, &tree, err) < 0)
		return -1;
	if (message == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (!oid_equal(&tree, &self->after_tree) &&
	    gitdb_commit_write(self->db, &tree, &self->after_patch, message,
			       clock_wall_us() / 1000000, &commit, err) < 0)
		return -1;
	self->body.changes = walk->layer.changes;
	self->body.changes_len = walk->layer.changes_len;
	self->body.changes_truncated = walk->layer.truncated;
	return executor_snapshot(self, "final", &commit, err);
}

/* More names or longer paths than are taken are the job's own doing: its verdict
 * stands, without a final snapshot. */
static void give_up_changes(struct executor *self, const struct change_walk *walk,
			    const struct err *why)
{
	log_info("no final snapshot", "job", self->job.id, "why", why->message, NULL);
	self->body.changes = walk->layer.changes;
	self->body.changes_len = walk->layer.changes_len;
	self->body.changes_truncated = true;
}

static int collect_changes(struct executor *self, struct err *err)
{
	static const struct driver_visitor visitor = {.dir = on_dir, .entry = on_entry};
	struct layer_limits limits = {.changes = LIMIT_CHANGES,
				      .file_bytes = FINAL_FILE_BYTES,
				      .total_bytes = FINAL_TOTAL_BYTES};
	struct change_walk walk = {.left_bytes = FINAL_READ_BYTES, .err = err};

	if (self->db == NULL)
		return 0;
	if (layer_init(&walk.layer, &self->arena, self->db, &self->after_tree, &limits, err) < 0)
		return -1;
	if (driver_changes(&self->driver, &visitor, &walk, err) < 0) {
		if (err->kind != ERR_LIMIT)
			return -1;
		give_up_changes(self, &walk, err);
		*err = (struct err){0};
		return 0;
	}
	if (walk.failed)
		return -1;
	return commit_final(self, &walk, err);
}

int executor_collect(struct executor *self, struct err *err)
{
	if (!self->has_driver || self->stopped)
		return 0;
	if (collect_artifacts(self, err) < 0 || collect_changes(self, err) < 0)
		return -1;
	return executor_state(self, STATE_collected, err);
}
