/*
 * job.h - a job, as wire.md and PROTOCOL.md define it.
 *
 *	struct job job;
 *	switch (job_decode(&arena, data, len, &job, &reason, &err)) {
 *	case 0: ...		// valid
 *	case REFUSED: ...	// reason says which field and what was expected
 *	default: ...		// out of memory
 *	}
 *
 * All of a job lives in the arena or borrows from the message. Texts are
 * NUL-terminated, absent texts are NULL, absent numbers are 0 (no field has 0
 * as a legal value unless said), absent lists have length 0, and defaults are
 * filled in. A job with a patch or steps has a source.
 */
#ifndef SBX_SCHEMA_JOB_H
#define SBX_SCHEMA_JOB_H

#include "base/arena.h"
#include "schema/reason.h"
#include "schema/value.h"

enum { JOB_VERSION = 1 };

/* `items` has a NULL behind its last text, so it can serve as an argv. */
struct text_list {
	const char **items;
	size_t len;
};

struct pair {
	const char *key;
	const char *value;
};

struct pair_list {
	struct pair *items;
	size_t len;
};

struct job_file {
	const char *path;
	struct bytes content;
};

struct file_list {
	struct job_file *items;
	size_t len;
};

/* A repository and a commit, a bundle and a commit, or files. */
struct job_source {
	struct bytes bundle; /* len 0: none */
	struct file_list files;
	struct text_list executable; /* which of `files` have mode 100755 */
	struct pair_list links;	     /* path to target */
	const char *repo;   /* URL or absolute path; NULL: files, a bundle, or no source at all */
	const char *commit; /* full or abbreviated oid, or ref name */
	const char *subdir; /* working directory of the steps, or NULL */
};

struct job_patch {
	bool present;
	struct bytes diff;
	int64_t strip;	  /* default 1 */
	const char *mode; /* default "strict" */
};

struct job_protect {
	struct text_list paths;
	struct text_list allow;
	struct text_list restore;
};

/* Exactly one of `run` and `shell` is given. */
struct job_step {
	const char *name; /* default "step-N", N counted from 1 */
	struct text_list run;
	const char *shell; /* given to /bin/sh -c */
	const char *cwd;   /* relative to the workspace */
	struct pair_list env;
	struct bytes stdin_bytes;
	int64_t timeout_ms;  /* 0: only the job's wall limit */
	int64_t expect_exit; /* default 0 */
	bool always;	     /* runs even after a failed step */
};

struct job_tests {
	bool present;
	const char *format;	 /* "auto" (default), "junit", "tap", "exit" */
	struct text_list report; /* globs */
	struct text_list fail_to_pass;
	struct text_list pass_to_pass;
};

/* 0 means "what the preset says". Units are in the names; cpus is in
 * thousandths of a CPU, which the wire has as a number (1.5). */
struct job_limits {
	const char *preset; /* default "default" */
	int64_t wall_ms;
	int64_t cpu_ms;
	int64_t idle_ms;
	int64_t memory_bytes;
	int64_t disk_bytes;
	int64_t inodes;
	int64_t processes;
	int64_t open_files;
	int64_t file_bytes;
	int64_t output_bytes;
	int64_t millicpus;
};

struct job_sandbox {
	const char *root; /* a name that the worker knows; NULL: its usual one */
};

struct job_artifacts {
	struct text_list paths; /* globs */
	int64_t max_bytes;
};

/* How strong the box must be; worker/mode.def says what each means. */
enum job_security { SECURITY_AUTO, SECURITY_SANDBOXED, SECURITY_TRUSTED, SECURITY_ISOLATED };

enum job_priority { PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW };

struct job {
	const char *id;
	const char *tenant; /* default "default" */
	const char *stage;
	struct pair_list labels;
	struct job_source source;
	struct job_patch patch;
	struct job_protect protect;
	struct job_step *steps;
	size_t steps_len;
	struct job_tests tests;
	struct job_limits limits;
	struct job_sandbox sandbox;
	struct job_artifacts artifacts;
	enum job_security security;
	bool keep_on_failure;
	int64_t deadline_ms; /* Unix time; 0: none */
	enum job_priority priority;
	const char *concurrency_key; /* NULL: none */
	int64_t max_attempts;	     /* default 5 */
	int64_t run;		     /* counted up by a replay; default 1 */
	const char *replayed_from;
	const char *traceparent;
};

/* From msgpack / from a tree (JSON, or built by a CLI). */
int job_decode(struct arena *arena, const void *data, size_t len, struct job *ret,
	       struct reason *ret_reason, struct err *err) MUST_CHECK;
int job_from_value(struct arena *arena, const struct value *tree, struct job *ret,
		   struct reason *ret_reason, struct err *err) MUST_CHECK;

/*
 * What could be read of a message that job_decode refused: id and tenant when
 * they are there and valid, else NULL. For routing its `rejected` result.
 */
void job_salvage(struct arena *arena, const void *data, size_t len, const char **ret_id,
		 const char **ret_tenant);

/* The tree of a job: only what differs from the defaults. NULL when the arena
 * is exhausted. job_from_value(job_to_value(j)) is j. */
struct value *job_to_value(struct arena *arena, const struct job *job);

/*
 * The message to send for a tree a person wrote: fields that hold binary are
 * turned from JSON's spelling into bin, an absent v becomes JOB_VERSION and an
 * absent id a UUIDv7, then it is validated. Unknown keys stay. `ret_unknown` lists their paths
 * ("limit: unknown field; did you mean 'limits'?").
 */
int job_prepare(struct arena *arena, struct value *tree, struct buf *ret_message,
		struct text_list *ret_unknown, struct reason *ret_reason,
		struct err *err) MUST_CHECK;

/* Whether the job has a base: a repository or files. */
bool job_has_source(const struct job *job);

const char *job_priority_name(enum job_priority priority);

#endif
