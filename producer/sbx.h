/*
 * sbx.h - libsbx: enqueue jobs from a C program, and wait for their results.
 *
 *	struct sbx_options options = {.url = "amqp://user:password@host/vhost"};
 *	struct sbx_error error;
 *	struct sbx *sbx;
 *	struct sbx_job *job;
 *	struct sbx_wait *wait;
 *	struct sbx_result result;
 *
 *	if (sbx_open(&sbx, &options, &error) < 0) ...
 *	if (sbx_job_from_json(&job, text, strlen(text), &error) < 0) ...
 *	if (sbx_wait_open(&wait, sbx, job, &error) < 0) ...	// before sbx_submit
 *	if (sbx_submit(sbx, job, &error) < 0) ...
 *	switch (sbx_wait_next(wait, 60000, &result, &error)) {
 *	case 1:  printf("%s\n", result.verdict); break;
 *	case 0:  puts("not yet"); break;
 *	default: fputs(error.message, stderr);
 *	}
 *	sbx_wait_close(wait);
 *	sbx_job_free(job);
 *	sbx_close(sbx);
 *
 * This header needs nothing but itself and the C library. The fields of jobs
 * and results are those of schema/PROTOCOL.md.
 *
 * Sending. sbx_submit returns 0 once the broker has confirmed that the job is
 * queued durably. After a failure of the kinds SBX_CONNECTION and SBX_TIMEOUT
 * it may be queued or not: submit the same job again. Jobs are known by their
 * id, and a worker that gets the same job twice runs it once.
 *
 * Waiting. A wait has a queue of its own on the broker; opened before the job
 * is sent, it cannot miss the result. When the connection breaks it is made
 * again, and the queue keeps what came in between for ten minutes; of a longer
 * absence the result is only in the shared results queue (PREFIX.results),
 * which is where a program reads that must not miss any. A result that is
 * delivered more than once is handed out once.
 *
 * Threads. An object of this library may be used by one thread at a time.
 */
#ifndef SBX_PRODUCER_SBX_H
#define SBX_PRODUCER_SBX_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- errors ----------------------------------------------------------- */

enum sbx_failure {
	SBX_NONE,
	SBX_JOB,	/* the job is not valid: the message names field and expectation */
	SBX_USAGE,	/* URL, prefix or another option is not valid */
	SBX_CONNECTION, /* no connection, or it was lost: try again */
	SBX_TIMEOUT,	/* no answer in time: try again */
	SBX_BROKER,	/* the broker refuses, until somebody changes something there */
	SBX_SYSTEM,	/* memory, descriptors */
};

enum { SBX_MESSAGE_BYTES = 1600 };

/* Filled whenever a function returns -1. NULL is allowed in its place. */
struct sbx_error {
	enum sbx_failure failure;
	char message[SBX_MESSAGE_BYTES]; /* one or more lines, no newline at the end */
};

/* --- connection ------------------------------------------------------- */

/* What is 0 or NULL has the default in brackets. All texts are copied. */
struct sbx_options {
	const char *url;       /* amqp: or amqps: [the environment's SBX_QUEUE_URL] */
	const char *prefix;    /* of queues and exchanges [sbx] */
	const char *ca_file;   /* amqps: trusted certificates [the system's] */
	const char *cert_file; /* amqps: a certificate to show [none] */
	const char *key_file;
	const char *name; /* shown by the broker for the connection [libsbx] */
	int passive;	  /* declare nothing, the queues must be there [0] */
	int timeout_ms;	  /* for one confirm, reconnecting included [30000] */
};

struct sbx;

/* Connects at once. `*ret` is untouched on failure. */
int sbx_open(struct sbx **ret, const struct sbx_options *options, struct sbx_error *error);
void sbx_close(struct sbx *sbx); /* NULL is allowed */

/* --- jobs ------------------------------------------------------------- */

struct sbx_job;

/* From JSON, where binary fields are text or {"base64": "..."}; from a packed
 * message. An absent id becomes a UUIDv7, an absent v becomes 1. The input is
 * copied. SBX_JOB when a worker would reject it. */
int sbx_job_from_json(struct sbx_job **ret, const char *text, size_t len, struct sbx_error *error);
int sbx_job_from_msgpack(struct sbx_job **ret, const void *data, size_t len,
			 struct sbx_error *error);
void sbx_job_free(struct sbx_job *job); /* NULL is allowed */

/* Borrowed from the job. */
const char *sbx_job_id(const struct sbx_job *job);
const void *sbx_job_message(const struct sbx_job *job, size_t *ret_len);

/* The n-th field that nobody knows, in words ("limit: unknown field; did you
 * mean 'limits'?"); NULL behind the last. Such a field is sent and ignored. */
const char *sbx_job_warning(const struct sbx_job *job, size_t n);

/* Sends with confirm, connecting again when the connection is lost. */
int sbx_submit(struct sbx *sbx, const struct sbx_job *job, struct sbx_error *error);

/* Tells all workers that a run (1, if there was no replay) of a job is not to run:
 * queued, it is answered as `cancelled`; running, it is ended within a second.
 * What has finished keeps its result. 0 once the broker keeps the message for
 * workers that are away, too. */
int sbx_cancel(struct sbx *sbx, const char *id, long long run, struct sbx_error *error);

/* --- results ---------------------------------------------------------- */

struct sbx_wait;

/* Borrowed from the wait, until it is closed; from a reader of results, until
 * sbx_results_done. */
struct sbx_result {
	const char *verdict; /* "passed", "failed", ...; see PROTOCOL.md */
	int exit_code;	     /* as of sbx-submit --wait: 0 passed, 1 failed, ... */
	const char *reason;  /* code such as "patch.conflict"; "" when there is none */
	const char *message; /* the reason in words; "" when there is none */
	const char *json;    /* the whole result on one line */
	const void *data;    /* the whole result as it came, msgpack */
	size_t len;
	const char *job; /* its id */
	long long run;	 /* 1, or more after replays */
};

/* Waits for the result of `job`: to be opened before it is submitted. Neither
 * `sbx` nor `job` is needed afterwards. */
int sbx_wait_open(struct sbx_wait **ret, const struct sbx *sbx, const struct sbx_job *job,
		  struct sbx_error *error);
void sbx_wait_close(struct sbx_wait *wait); /* NULL is allowed */

/* 1 with the result, and again 1 with the same one from then on; 0 when it has
 * not come within `timeout_ms` (0 only looks, negative waits for ever); -1. */
int sbx_wait_next(struct sbx_wait *wait, int timeout_ms, struct sbx_result *ret,
		  struct sbx_error *error);

/* --- results of everybody ---------------------------------------------- */

/*
 * Reads the shared results queue (PREFIX.results), where every result waits for
 * seven days until one reader has taken it:
 *
 *	while (sbx_results_next(results, -1, &result, &error) == 1) {
 *		... store it ...
 *		sbx_results_done(results);
 *	}
 *
 * A result is the reader's once sbx_results_done was called; a program that ends
 * before has it delivered again, to itself or another reader. Workers publish at
 * least once, under the name "<job>.<run>": what one object of this library has
 * done with, it does not hand out again (SBX_RESULTS_REMEMBERED of them, or
 * more). Repetitions across restarts and readers have the same job and run, by
 * which a store drops them.
 */
enum { SBX_RESULTS_REMEMBERED = 50000 };

struct sbx_results;

int sbx_results_open(struct sbx_results **ret, const struct sbx *sbx, struct sbx_error *error);
void sbx_results_close(struct sbx_results *results); /* NULL is allowed */

/* 1 with the next result, and with the same one again until sbx_results_done; 0
 * when none has come within `timeout_ms` (0 only looks, negative waits for ever);
 * -1. A lost connection is made again meanwhile. SBX_USAGE: a message that is no
 * result this version can read; `ret` has its data, and sbx_results_done passes
 * over it. */
int sbx_results_next(struct sbx_results *results, int timeout_ms, struct sbx_result *ret,
		     struct sbx_error *error);

/* The result handed out last is safe: it is taken off the queue. */
void sbx_results_done(struct sbx_results *results);

#ifdef __cplusplus
}
#endif

#endif
