/*
 * ledger_private.h - the data base behind the ledger, for ledger*.c only.
 */
#ifndef SBX_WORKER_LEDGER_PRIVATE_H
#define SBX_WORKER_LEDGER_PRIVATE_H

#include <sqlite3.h>

#include "worker/ledger.h"

enum { LEDGER_VERSION = 5, LEDGER_BUSY_MS = 5000 };

enum statement {
	BEGIN_JOB,
	FIND_JOB,
	START,
	END,
	FINISH,
	SENT,
	CANCEL,
	UNSENT,
	FORGET,
	FORGET_CANCELS,
	TRIM,
	WAIT,
	WAITING,
	UNWAIT,
	FORGET_WAITS,
	STATEMENTS
};

struct ledger {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS]; /* NULL when it is open for reading */
	bool grouping;			      /* writes are collected in a transaction */
	bool in_group;			      /* it is open */
	int64_t bytes;			      /* of all finished jobs, as ledger_trim counts */
};

int ledger_fail(const struct ledger *ledger, const char *what, struct err *err);

/* A statement without bindings but its first two, the key. */
sqlite3_stmt *ledger_statement(struct ledger *ledger, enum statement which,
			       const struct ledger_key *key);

/* Runs one that writes and gives no rows, within the group where there is one. */
int ledger_write(struct ledger *ledger, sqlite3_stmt *statement, struct err *err) MUST_CHECK;

/* A copy; NULL for NULL. */
const char *ledger_text(struct arena *arena, sqlite3_stmt *statement, int column);

/* Opens the file and nothing more; `flags` are sqlite's. */
int ledger_open_file(struct ledger **ret, const char *path, int flags, struct err *err) MUST_CHECK;

/* The one number that a query gives. */
int ledger_number(struct ledger *ledger, const char *query, int *ret, struct err *err) MUST_CHECK;

#endif
