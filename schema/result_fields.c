/*
 * result_fields.c - the fields of a result: the head, which the supervisor
 * vouches for, and the body, which the executor found out. The two share no
 * key.
 *
 * `required` marks what every result of this version has, also when it is 0
 * or empty; the rest is there when there is something to say.
 */
#include "schema/field_private.h"
#include "schema/limits.h"

#define FIELDS(table) .fields = (table), .len = ARRAY_LEN(table)

/* Bounds here only say what a reader may rely on; sizes were bounded where
 * the values came from, and by LIMIT_RESULT_BYTES. */
#define TEXT(type, member) \
	.kind = FIELD_TEXT, FIELD_AT(type, member, const char *), .max = LIMIT_RESULT_BYTES
#define COUNT(type, member) .kind = FIELD_INT, FIELD_AT(type, member, int64_t), .max = INT64_MAX
#define TEXTS(type, member)                                                                \
	.kind = FIELD_TEXTS, FIELD_AT(type, member, struct text_list), .max = LIMIT_NODES, \
	.item_max = LIMIT_RESULT_BYTES
#define PAIRS(type, member)                                                                \
	.kind = FIELD_PAIRS, FIELD_AT(type, member, struct pair_list), .max = LIMIT_NODES, \
	.item_max = LIMIT_RESULT_BYTES
#define BIN(type, member) \
	.kind = FIELD_BIN, FIELD_AT(type, member, struct bytes), .max = LIMIT_RESULT_BYTES
#define LIST(type, member, item, table)                                                     \
	.kind = FIELD_MAPS, FIELD_LIST_AT(type, member, struct item *), .max = LIMIT_NODES, \
	.map = &(table)

/* --- head ------------------------------------------------------------- */

static const struct field reason_fields[] = {
	{"code", TEXT(struct result_wire_reason, code), .required = true},
	{"message", TEXT(struct result_wire_reason, message), .required = true},
	{"subject", TEXT(struct result_wire_reason, subject), .fallback_text = ""},
	{"hint", TEXT(struct result_wire_reason, hint), .fallback_text = ""},
};

static const struct map reason_map = {FIELDS(reason_fields), sizeof(struct result_wire_reason),
				      .has_present = true};

static const struct field state_fields[] = {
	{"state", TEXT(struct result_wire_state, state), .required = true},
	{"at_us", COUNT(struct result_wire_state, at_us), .required = true},
};

static const struct map state_map = {FIELDS(state_fields), sizeof(struct result_wire_state)};

static const char *const memory_counters[] = {[MEMORY_COUNTER_NONE] = "none",
					      [MEMORY_COUNTER_GROUP] = "cgroup",
					      [MEMORY_COUNTER_PROCESS] = "process",
					      NULL};

#define USE_ROWS(type)                                                                            \
	{"memory_counter", .kind = FIELD_CHOICE,                                                  \
	 FIELD_AT(type, memory_counter, enum memory_counter), .choices = memory_counters},        \
		{"user_us", COUNT(type, use.user_us)}, {"system_us", COUNT(type, use.system_us)}, \
		{"context_switches", COUNT(type, use.context_switches)},                          \
		{"page_faults", COUNT(type, use.page_faults)},                                    \
		{"disk_faults", COUNT(type, use.disk_faults)},                                    \
		{"throttled_us", COUNT(type, use.throttled_us)},                                  \
	{                                                                                         \
		"output_bytes", COUNT(type, use.output_bytes)                                     \
	}

static const struct field metrics_fields[] = {
	{"cpu_us", COUNT(struct result_metrics, cpu_us), .required = true},
	{"memory_peak_bytes", COUNT(struct result_metrics, memory_peak_bytes), .required = true},
	{"io_read_bytes", COUNT(struct result_metrics, io_read_bytes), .required = true},
	{"io_write_bytes", COUNT(struct result_metrics, io_write_bytes), .required = true},
	{"processes_peak", COUNT(struct result_metrics, processes_peak), .required = true},
	USE_ROWS(struct result_metrics),
	{"queue_us", COUNT(struct result_metrics, queue_us), .fallback = -1},
	{"prepare_us", COUNT(struct result_metrics, prepare_us), .required = true},
	{"run_us", COUNT(struct result_metrics, run_us), .required = true},
	{"overhead_us", COUNT(struct result_metrics, overhead_us), .required = true},
};

static const struct map metrics_map = {FIELDS(metrics_fields), sizeof(struct result_metrics)};

static const struct field security_fields[] = {
	{"mode", TEXT(struct result_wire_security, mode), .required = true},
	{"profile", TEXT(struct result_wire_security, profile), .required = true},
	{"reason", TEXT(struct result_wire_security, reason), .required = true},
	{"root", TEXT(struct result_wire_security, root)},
};

static const struct map security_map = {FIELDS(security_fields),
					sizeof(struct result_wire_security), .has_present = true};

static const struct field head_fields[] = {
	{"v", .kind = FIELD_VERSION, .offset = FIELD_NOWHERE, .required = true, .min = JOB_VERSION,
	 .max = JOB_VERSION},
	{"job", TEXT(struct result_wire, job)},
	{"run", COUNT(struct result_wire, run), .required = true},
	{"attempt", COUNT(struct result_wire, attempt), .required = true},
	{"worker", TEXT(struct result_wire, worker)},
	{"tenant", TEXT(struct result_wire, tenant)},
	{"stage", TEXT(struct result_wire, stage)},
	{"labels", PAIRS(struct result_wire, labels)},
	{"traceparent", TEXT(struct result_wire, traceparent)},
	{"verdict", TEXT(struct result_wire, verdict), .required = true},
	{"reason", .kind = FIELD_MAP,
	 FIELD_AT(struct result_wire, reason, struct result_wire_reason), .map = &reason_map},
	{"states", LIST(struct result_wire, states, result_wire_state, state_map),
	 .required = true},
	{"metrics", .kind = FIELD_MAP, FIELD_AT(struct result_wire, metrics, struct result_metrics),
	 .map = &metrics_map, .required = true},
	{"security", .kind = FIELD_MAP,
	 FIELD_AT(struct result_wire, security, struct result_wire_security), .map = &security_map},
	{"missing", TEXTS(struct result_wire, missing)},
	{"clamped", TEXTS(struct result_wire, clamped)},
};

const struct map result_head_map = {FIELDS(head_fields), sizeof(struct result_wire)};

/* --- body: the patch -------------------------------------------------- */

static const char *const change_statuses[] = {
	[CHANGE_ADDED] = "added",     [CHANGE_MODIFIED] = "modified", [CHANGE_DELETED] = "deleted",
	[CHANGE_RENAMED] = "renamed", [CHANGE_COPIED] = "copied",     NULL};

#define FILE_ROWS                                                                        \
	{"path", TEXT(struct result_file, path), .required = true},                      \
		{"old_path", TEXT(struct result_file, old_path)},                        \
		{"status", .kind = FIELD_CHOICE,                                         \
		 FIELD_AT(struct result_file, status, enum change_status),               \
		 .choices = change_statuses, .required = true},                          \
	{                                                                                \
		"mode", .kind = FIELD_MODE, FIELD_AT(struct result_file, mode, uint32_t) \
	}

static const struct field file_fields[] = {
	FILE_ROWS,
	{"additions", COUNT(struct result_file, additions), .required = true},
	{"deletions", COUNT(struct result_file, deletions), .required = true},
};

static const struct map file_map = {FIELDS(file_fields), sizeof(struct result_file)};

static const struct field patch_fields[] = {
	{"files", LIST(struct result_patch, files, result_file, file_map), .required = true},
	{"additions", COUNT(struct result_patch, additions), .required = true},
	{"deletions", COUNT(struct result_patch, deletions), .required = true},
	{"adjusted", TEXTS(struct result_patch, adjusted)},
	{"digest", .kind = FIELD_SHA256, FIELD_AT(struct result_patch, digest, char *)},
};

static const struct map patch_map = {FIELDS(patch_fields), sizeof(struct result_patch),
				     .has_present = true};

/* --- body: what the steps did ----------------------------------------- */

static const struct field change_fields[] = {
	FILE_ROWS,
	{"size", COUNT(struct result_file, size_bytes), .fallback = -1},
};

static const struct map change_map = {FIELDS(change_fields), sizeof(struct result_file)};

static const char *const severities[] = {
	[SEVERITY_INFO] = "info", [SEVERITY_WARNING] = "warning", [SEVERITY_ERROR] = "error", NULL};

static const struct field finding_fields[] = {
	{"severity", .kind = FIELD_CHOICE, FIELD_AT(struct result_finding, severity, enum severity),
	 .choices = severities, .required = true},
	{"rule", TEXT(struct result_finding, rule), .required = true},
	{"path", TEXT(struct result_finding, path)},
	{"line", COUNT(struct result_finding, line)},
	{"snippet", TEXT(struct result_finding, snippet)},
	{"message", TEXT(struct result_finding, message), .required = true},
};

static const struct map finding_map = {FIELDS(finding_fields), sizeof(struct result_finding)};

static const struct field step_fields[] = {
	{"name", TEXT(struct result_step, name), .required = true},
	{"argv", TEXTS(struct result_step, argv), .required = true},
	{"exit", .kind = FIELD_INT, FIELD_AT(struct result_step, exit, int64_t), .min = -1,
	 .max = INT64_MAX, .required = true},
	{"signal", COUNT(struct result_step, signal), .required = true},
	{"outcome", TEXT(struct result_step, outcome), .required = true},
	{"wall_us", COUNT(struct result_step, wall_us), .required = true},
	{"cpu_us", COUNT(struct result_step, cpu_us), .required = true},
	{"memory_peak_bytes", COUNT(struct result_step, memory_peak_bytes), .required = true},
	{"io_read_bytes", COUNT(struct result_step, io_read_bytes)},
	{"io_write_bytes", COUNT(struct result_step, io_write_bytes)},
	{"processes_peak", COUNT(struct result_step, processes_peak)},
	USE_ROWS(struct result_step),
	{"stdout", BIN(struct result_step, stdout_bytes)},
	{"stderr", BIN(struct result_step, stderr_bytes)},
	{"truncated_bytes", COUNT(struct result_step, truncated_bytes)},
	{"syscall", TEXT(struct result_step, syscall)},
	{"limits_met", TEXTS(struct result_step, limits_met)},
};

static const struct map step_map = {FIELDS(step_fields), sizeof(struct result_step)};

static const struct field case_fields[] = {
	{"id", TEXT(struct result_case, id), .required = true},
	{"status", TEXT(struct result_case, status), .required = true},
	{"duration_us", COUNT(struct result_case, duration_us)},
	{"message", TEXT(struct result_case, message)},
};

static const struct map case_map = {FIELDS(case_fields), sizeof(struct result_case)};

static const struct field tests_fields[] = {
	{"total", COUNT(struct result_tests, total), .required = true},
	{"passed", COUNT(struct result_tests, passed), .required = true},
	{"failed", COUNT(struct result_tests, failed), .required = true},
	{"errors", COUNT(struct result_tests, errors), .required = true},
	{"skipped", COUNT(struct result_tests, skipped), .required = true},
	{"resolved", .kind = FIELD_MAYBE, FIELD_AT(struct result_tests, resolved, bool),
	 .len_offset = offsetof(struct result_tests, has_resolved)},
	{"cases", LIST(struct result_tests, cases, result_case, case_map)},
	{"conflicts", TEXTS(struct result_tests, conflicts)},
};

static const struct map tests_map = {FIELDS(tests_fields), sizeof(struct result_tests),
				     .has_present = true};

static const struct field artifact_fields[] = {
	{"path", TEXT(struct result_artifact, path), .required = true},
	{"size", COUNT(struct result_artifact, size_bytes), .required = true},
	{"sha256", .kind = FIELD_SHA256, FIELD_AT(struct result_artifact, sha256, char *)},
	{"encoding", TEXT(struct result_artifact, encoding), .required = true},
	{"data", BIN(struct result_artifact, data)},
};

static const struct map artifact_map = {FIELDS(artifact_fields), sizeof(struct result_artifact)};

/* --- the body --------------------------------------------------------- */

static const struct field body_fields[] = {
	{"snapshots", PAIRS(struct result_body, snapshots)},
	{"patch", .kind = FIELD_MAP, FIELD_AT(struct result_body, patch, struct result_patch),
	 .map = &patch_map},
	{"findings", LIST(struct result_body, findings, result_finding, finding_map)},
	{"steps", LIST(struct result_body, steps, result_step, step_map)},
	{"tests", .kind = FIELD_MAP, FIELD_AT(struct result_body, tests, struct result_tests),
	 .map = &tests_map},
	{"changes", LIST(struct result_body, changes, result_file, change_map)},
	{"changes_truncated", .kind = FIELD_BOOL,
	 FIELD_AT(struct result_body, changes_truncated, bool)},
	{"artifacts", LIST(struct result_body, artifacts, result_artifact, artifact_map)},
};

const struct map result_body_map = {FIELDS(body_fields), sizeof(struct result_body)};

const char *change_status_name(enum change_status status)
{
	return change_statuses[status];
}

const char *severity_name(enum severity severity)
{
	assert((unsigned)severity < SEVERITY_COUNT);
	return severities[severity];
}
