/*
 * result.h - a result, as PROTOCOL.md defines it.
 *
 * The executor fills struct result_body (what touched hostile bytes); the
 * supervisor adds struct result_head (what it vouches for). result_encode
 * joins the two into one message, without decoding the body: a body is a run
 * of packed msgpack key/value pairs, checked by value_walk once joined.
 */
#ifndef SBX_SCHEMA_RESULT_H
#define SBX_SCHEMA_RESULT_H

#include "schema/job.h"

/* --- states ----------------------------------------------------------- */

enum job_state {
#define STATE(name, meaning) STATE_##name,
#include "schema/state.def"
#undef STATE
	STATE_COUNT
};

const char *job_state_name(enum job_state state);

/* --- what the executor finds out ------------------------------------- */

enum change_status { CHANGE_ADDED, CHANGE_MODIFIED, CHANGE_DELETED, CHANGE_RENAMED, CHANGE_COPIED };

const char *change_status_name(enum change_status status); /* "added", ... */

struct result_file {
	const char *path;
	const char *old_path; /* for renames and copies, else NULL */
	enum change_status status;
	int64_t additions; /* lines */
	int64_t deletions;
	uint32_t mode;	    /* git's: 0100644, 0100755, 0120000; 0 when deleted */
	int64_t size_bytes; /* changes only; -1: unknown */
};

enum severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_ERROR, SEVERITY_COUNT };

const char *severity_name(enum severity severity); /* "info", ... */

struct result_finding {
	enum severity severity;
	const char *rule;
	const char *path; /* or NULL */
	int64_t line;	  /* 0: none */
	const char *snippet;
	const char *message;
};

/* What memory_peak_bytes is: of the control group, with page cache and what was
 * written to the workspace, or the largest resident set of one process. */
enum memory_counter { MEMORY_COUNTER_NONE, MEMORY_COUNTER_GROUP, MEMORY_COUNTER_PROCESS };

/* Beside cpu, memory and wall; 0 also where this host has no counter. */
struct result_use {
	int64_t user_us, system_us;
	int64_t context_switches;
	int64_t page_faults, disk_faults;
	int64_t throttled_us; /* held up by the quota of CPUs */
	int64_t output_bytes;
};

struct result_step {
	const char *name;
	struct text_list argv;
	int64_t exit;	     /* -1 when it did not exit */
	int64_t signal;	     /* 0 when none ended it */
	const char *outcome; /* "passed", "failed", "limit", "killed", "skipped", "not_started" */
	int64_t wall_us;
	int64_t cpu_us;
	int64_t memory_peak_bytes;
	enum memory_counter memory_counter;
	int64_t io_read_bytes, io_write_bytes, processes_peak;
	struct result_use use;
	struct bytes stdout_bytes; /* head, and tail when truncated */
	struct bytes stderr_bytes;
	int64_t truncated_bytes;     /* left out of both */
	const char *syscall;	     /* that the sandbox killed for, or NULL */
	struct text_list limits_met; /* without having been ended by them */
};

struct result_case {
	const char *id;
	const char *status; /* passed failed error skipped xfail xpass timeout missing */
	int64_t duration_us;
	const char *message; /* or NULL */
};

struct result_tests {
	bool present;
	int64_t total, passed, failed, errors, skipped;
	bool has_resolved; /* fail_to_pass or pass_to_pass were given */
	bool resolved;
	struct result_case *cases;
	size_t cases_len;
	struct text_list conflicts;
};

struct result_artifact {
	const char *path;
	int64_t size_bytes;
	char sha256[65];      /* hex, of the uncompressed content */
	const char *encoding; /* "zstd", "identity", or "omitted" (then no data) */
	struct bytes data;
};

struct result_patch {
	bool present;
	struct result_file *files;
	size_t files_len;
	int64_t additions;
	int64_t deletions;
	struct text_list adjusted;
	char digest[65]; /* sha256 of the diff, hex */
};

struct result_body {
	struct pair_list snapshots; /* name -> commit oid */
	struct result_patch patch;
	struct result_finding *findings;
	size_t findings_len;
	struct result_step *steps;
	size_t steps_len;
	struct result_tests tests;
	struct result_file *changes;
	size_t changes_len;
	bool changes_truncated;
	struct result_artifact *artifacts;
	size_t artifacts_len;
};

/* --- what the supervisor vouches for ---------------------------------- */

struct result_metrics {
	int64_t cpu_us, memory_peak_bytes, io_read_bytes, io_write_bytes, processes_peak;
	enum memory_counter memory_counter;
	struct result_use use;
	int64_t queue_us;    /* enqueued (message timestamp) until received; -1 unknown */
	int64_t prepare_us;  /* received until prepared; 0: not prepared */
	int64_t run_us;	     /* start of the first step until the end of the last */
	int64_t overhead_us; /* received until settled, less run_us */
};

struct result_head {
	const char *id;
	int64_t run;
	int64_t attempt; /* counted from 1 */
	const char *worker;
	const char *tenant;
	const char *stage;
	const struct pair_list *labels;
	const char *traceparent;
	enum verdict verdict;
	struct reason reason;		  /* code REASON_NONE: none */
	int64_t state_at_us[STATE_COUNT]; /* Unix time when its work was done; 0: not reached */
	struct result_metrics metrics;
	const char *security_mode; /* NULL: no box was made for it */
	const char *security_profile;
	const char *security_reason;
	const char *security_root; /* the name of its root directory */
	struct text_list missing;  /* sandbox layers that were not there, by name */
	struct text_list clamped;  /* limits that were lowered to the worker's maxima */
};

/*
 * Appends the body's pairs; sets `ret_pairs` to how many. Text that is not
 * UTF-8 travels with U+FFFD in place of each such byte. Check out->failed and
 * arena->exhausted.
 */
void result_body_pack(struct arena *arena, const struct result_body *body, struct buf *out,
		      size_t *ret_pairs);

/*
 * The whole message. `body` may be empty (0 pairs) and may hold no key but
 * those of a body, so an executor cannot speak for the supervisor. ERR_INPUT
 * when the body is not what it claims, ERR_LIMIT above LIMIT_RESULT_BYTES or
 * the bound of `arena` or `out`; `out` is then as before.
 */
int result_encode(struct arena *arena, const struct result_head *head, struct bytes body,
		  size_t body_pairs, struct buf *out, struct err *err) MUST_CHECK;

/*
 * The message of a result that was kept as JSON: binaries are turned from
 * JSON's spelling into bin, the known fields are checked, unknown ones stay.
 */
int result_prepare(struct arena *arena, struct value *tree, struct buf *ret_message,
		   struct reason *ret_reason, struct err *err) MUST_CHECK;

/* The human report of a result tree: what was applied, steps, tests, times.
 * `color` uses terminal colours. Text from the job is made harmless. */
void result_print(const struct value *result, bool color, struct buf *out);

#endif
