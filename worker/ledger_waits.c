/*
 * ledger_waits.c - jobs in wait queues. A message there is out of everybody's
 * reach until its time is over; who put it there remembers until when, and what
 * a result must repeat of it, so that it can be answered meanwhile. The time is
 * counted from before the message was sent, so it is over here before the
 * message moves.
 */
#include "worker/ledger_private.h"

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
	if (text != NULL)
		(void)sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

int ledger_wait(struct ledger *ledger, const struct ledger_key *key, const struct ledger_wait *wait,
		struct err *err)
{
	sqlite3_stmt *statement = ledger_statement(ledger, WAIT, key);

	(void)sqlite3_bind_int64(statement, 3, wait->until_us);
	(void)sqlite3_bind_int64(statement, 4, wait->attempts);
	(void)sqlite3_bind_blob64(statement, 5, wait->job.data, wait->job.len, SQLITE_STATIC);
	bind_text(statement, 6, wait->reply_to);
	bind_text(statement, 7, wait->correlation_id);
	return ledger_write(ledger, statement, err);
}

static int read_wait(sqlite3_stmt *statement, struct arena *arena, struct ledger_wait *ret,
		     struct err *err)
{
	const void *job = sqlite3_column_blob(statement, 2);
	size_t len = (size_t)sqlite3_column_bytes(statement, 2);

	*ret = (struct ledger_wait){
		.digest = ledger_text(arena, statement, 0),
		.attempts = sqlite3_column_int64(statement, 1),
		.job = {(const uint8_t *)arena_memdup(arena, job == NULL ? "" : job, len), len},
		.reply_to = ledger_text(arena, statement, 3),
		.correlation_id = ledger_text(arena, statement, 4),
	};
	if (arena->exhausted || ret->digest == NULL)
		return err_set(err, ERR_LIMIT, "cannot read ledger: out of memory");
	return 1;
}

int ledger_waiting(struct ledger *ledger, const struct ledger_key *key, int64_t wall_us,
		   struct arena *arena, struct ledger_wait *ret, struct err *err)
{
	sqlite3_stmt *statement = ledger_statement(ledger, WAITING, key);
	int rc;

	(void)sqlite3_bind_int64(statement, 3, wall_us);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		rc = read_wait(statement, arena, ret, err);
	else
		rc = rc == SQLITE_DONE ? 0 : ledger_fail(ledger, "read", err);
	(void)sqlite3_reset(statement);
	return rc;
}
