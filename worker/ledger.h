/*
 * ledger.h - what this worker has started and finished, in SQLite: the memory
 * that makes a redelivery harmless.
 *
 *	ledger_begin	a message came: is it new, or finished here already?
 *	ledger_start	an attempt starts: counts as a crash until it ends
 *	ledger_end	it ended in order (a fault, or handed back)
 *	ledger_finish	its result is stored, before anybody sees it
 *	ledger_sent	the broker has confirmed the result
 *	ledger_cancel	a job is not to run, whenever it comes
 *	ledger_wait	its message is in a wait queue now, and until when
 *	ledger_unsent	results that a crash kept from being sent
 *	ledger_tidy	from time to time: what is old, or too much, goes
 *
 *	ledger_group	from here on calls are written together
 *	ledger_commit	... by this call: what follows from them may be done after it
 *
 * For an operator beside the running worker: ledger_open_read, ledger_history.
 *
 * A job is known by id, run and the digest of its message. One process writes;
 * WAL makes each call, or each group, atomic under kill -9.
 */
#ifndef SBX_WORKER_LEDGER_H
#define SBX_WORKER_LEDGER_H

#include "base/arena.h"
#include "base/err.h"

struct ledger;

struct ledger_key {
	const char *id;
	int64_t run;
};

/* Makes the file when it is missing; migrates an older version, refuses a newer. */
int ledger_open(struct ledger **ret, const char *path, struct err *err) MUST_CHECK;

/* For ledger_history alone, while another process writes. ERR_UNSUPPORTED when
 * the file has another version: the worker migrates it, nobody else. */
int ledger_open_read(struct ledger **ret, const char *path, struct err *err) MUST_CHECK;
void ledger_close(struct ledger *ledger);

/*
 * Grouping: many jobs of one turn of the loop cost one transaction. Until
 * ledger_commit nothing that a call has noted may be acted upon outside this
 * process. Closing commits. Without an open group ledger_commit is free.
 */
void ledger_group(struct ledger *ledger);
int ledger_commit(struct ledger *ledger, struct err *err) MUST_CHECK;

enum ledger_known {
	LEDGER_NEW,	 /* not seen, or seen and not finished */
	LEDGER_FINISHED, /* `result` is its stored result */
	LEDGER_CONFLICT, /* the same id and run with another digest */
};

struct ledger_entry {
	enum ledger_known known;
	int64_t crashes;     /* attempts that started and did not end */
	bool cancelled;	     /* LEDGER_NEW: ledger_cancel was called for it */
	struct bytes result; /* in the caller's arena, as are these: */
	const char *reason;  /* LEDGER_FINISHED */
	const char *letter;  /* a dead letter is due still, with this error; NULL: none */
};

int ledger_begin(struct ledger *ledger, const struct ledger_key *key, const char *digest,
		 const char *tenant, struct arena *arena, struct ledger_entry *ret,
		 struct err *err) MUST_CHECK;
int ledger_start(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;
int ledger_end(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;
/* Commits in hex; NULL: the job did not come that far. */
struct ledger_snapshots {
	const char *initial, *before_patch, *after_patch, *final;
};
struct ledger_outcome {
	const char *verdict;
	const char *reason; /* "": none */
	struct bytes result;
	struct ledger_snapshots snapshots;
	const char *letter; /* error of the dead letter that must follow; NULL: none */
};
int ledger_finish(struct ledger *ledger, const struct ledger_key *key,
		  const struct ledger_outcome *outcome, struct err *err) MUST_CHECK;
int ledger_sent(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;

/* Remembered for LEDGER_CANCELS_US. */
#define LEDGER_CANCELS_US (8ll * 24 * 3600 * 1000 * 1000)
int ledger_cancel(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;

/* A job that waits for another attempt where nobody reads. */
struct ledger_wait {
	int64_t until_us; /* Unix time; not sooner it can be delivered again */
	int64_t attempts;
	struct bytes job;		       /* a job message: what of it the result repeats */
	const char *reply_to, *correlation_id; /* or NULL */
	const char *digest;		       /* from ledger_waiting alone */
};
/* Holds until the job comes again (ledger_begin). */
int ledger_wait(struct ledger *ledger, const struct ledger_key *key, const struct ledger_wait *wait,
		struct err *err) MUST_CHECK;
/* Whether the job waits at `wall_us` and has no result: 1, in the caller's arena; 0; -1. */
int ledger_waiting(struct ledger *ledger, const struct ledger_key *key, int64_t wall_us,
		   struct arena *arena, struct ledger_wait *ret, struct err *err) MUST_CHECK;

/* Calls `visit` for each result that is stored and not confirmed, until it
 * returns non-zero; but for those with a dead letter, which needs the message
 * and is sent when that comes again. It must not call the ledger. */
int ledger_unsent(struct ledger *ledger,
		  int (*visit)(void *ctx, const struct ledger_key *key, const char *digest,
			       const char *tenant, struct bytes result),
		  void *ctx, struct err *err) MUST_CHECK;

/*
 * Forgets jobs that were finished and sent before `wall_us`, and those that
 * were seen LEDGER_LOST_US before it and never finished: another worker has.
 * Gives some of the room that is free by now back to the file system.
 */
#define LEDGER_LOST_US (30ll * 24 * 3600 * 1000 * 1000)
int ledger_tidy(struct ledger *ledger, int64_t wall_us, struct err *err) MUST_CHECK;

/*
 * Forgets the jobs that were finished first, while all that are finished have
 * more than `bytes`; LEDGER_TRIM_JOBS at most in one call, and none whose
 * result is not confirmed. A job counts as its result and LEDGER_JOB_BYTES.
 * Free when there is nothing to do.
 */
enum { LEDGER_JOB_BYTES = 512, LEDGER_TRIM_JOBS = 256 };
int ledger_trim(struct ledger *ledger, int64_t bytes, struct err *err) MUST_CHECK;

/* --- history ---------------------------------------------------------- */

/* A member that is NULL or 0 selects all. */
struct ledger_filter {
	const char *job; /* a glob as sqlite's GLOB has it: '*', '?', '[a-z]' */
	const char *tenant;
	const char *verdict;
	int64_t since_us; /* Unix time: finished, or seen, from then on */
	int64_t limit;
};

struct ledger_row {
	struct ledger_key key;
	const char *tenant;
	int64_t seen_us;
	int64_t starts;	     /* attempts here; of version 1: unknown, 0 */
	int64_t finished_us; /* 0: not finished here */
	const char *verdict; /* NULL: not finished here */
	const char *reason;
	bool sent; /* the result is confirmed */
	int64_t result_bytes;
	struct ledger_snapshots snapshots;
};

/* Calls `visit` for each job, the newest first, until it returns non-zero.
 * What a row points to is borrowed until then. */
int ledger_history(struct ledger *ledger, const struct ledger_filter *filter,
		   int (*visit)(void *ctx, const struct ledger_row *row), void *ctx,
		   struct err *err) MUST_CHECK;

#endif
