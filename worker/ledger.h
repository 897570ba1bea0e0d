/*
 * ledger.h - what this worker has started and finished, in SQLite: the memory
 * that makes a redelivery harmless.
 *
 *	ledger_begin	a message came: is it new, or finished here already?
 *	ledger_start	an attempt starts: counts as a crash until it ends
 *	ledger_end	it ended in order (a fault, or handed back)
 *	ledger_finish	its result is stored, before anybody sees it
 *	ledger_sent	the broker has confirmed the result
 *	ledger_unsent	results that a crash kept from being sent
 *
 * A job is known by id, run and the digest of its message. One process writes;
 * WAL makes each call atomic under kill -9.
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
void ledger_close(struct ledger *ledger);

enum ledger_known {
	LEDGER_NEW,	 /* not seen, or seen and not finished */
	LEDGER_FINISHED, /* `result` is its stored result */
	LEDGER_CONFLICT, /* the same id and run with another digest */
};

struct ledger_entry {
	enum ledger_known known;
	int64_t crashes;     /* attempts that started and did not end */
	struct bytes result; /* in the caller's arena */
};

int ledger_begin(struct ledger *ledger, const struct ledger_key *key, const char *digest,
		 const char *tenant, struct arena *arena, struct ledger_entry *ret,
		 struct err *err) MUST_CHECK;
int ledger_start(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;
int ledger_end(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;
int ledger_finish(struct ledger *ledger, const struct ledger_key *key, const char *verdict,
		  const char *reason, struct bytes result, struct err *err) MUST_CHECK;
int ledger_sent(struct ledger *ledger, const struct ledger_key *key, struct err *err) MUST_CHECK;

/* Calls `visit` for each result that is stored and not confirmed, until it
 * returns non-zero. It must not call the ledger. */
int ledger_unsent(struct ledger *ledger,
		  int (*visit)(void *ctx, const struct ledger_key *key, const char *digest,
			       const char *tenant, struct bytes result),
		  void *ctx, struct err *err) MUST_CHECK;

/* Forgets jobs that were finished and sent before `wall_us`, and those that
 * were seen LEDGER_LOST_US before it and never finished: another worker has. */
#define LEDGER_LOST_US (30ll * 24 * 3600 * 1000 * 1000)
int ledger_forget(struct ledger *ledger, int64_t wall_us, struct err *err) MUST_CHECK;

#endif
