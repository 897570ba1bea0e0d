/*
 * ledger_history.c - the reader's half: an operator beside the running worker,
 * which WAL keeps out of each other's way. It never writes and never migrates.
 */
#include "worker/ledger_private.h"

static const char history[] =
	"SELECT id, run, tenant, seen_us, starts, coalesce(finished_us, 0), verdict, reason, sent,"
	" bytes, initial, before_patch, after_patch, final FROM jobs"
	" WHERE (?1 IS NULL OR id GLOB ?1) AND (?2 IS NULL OR tenant = ?2)"
	" AND (?3 IS NULL OR verdict = ?3) AND coalesce(finished_us, seen_us) >= ?4"
	" ORDER BY coalesce(finished_us, seen_us) DESC, id, run LIMIT ?5";

int ledger_open_read(struct ledger **ret, const char *path, struct err *err)
{
	struct ledger *ledger;
	int version = 0;
	int rc;

	if (ledger_open_file(&ledger, path, SQLITE_OPEN_READONLY, err) < 0)
		return -1;
	rc = ledger_number(ledger, "PRAGMA user_version", &version, err);
	if (rc == 0 && version != LEDGER_VERSION)
		rc = err_set(err, ERR_UNSUPPORTED,
			     "ledger has version %d, this program reads %d; %s", version,
			     LEDGER_VERSION,
			     version < LEDGER_VERSION ? "start its worker once, which migrates it"
						      : "use the program of its worker");
	if (rc < 0)
		ledger_close(ledger);
	else
		*ret = ledger;
	return rc;
}

static const char *text(sqlite3_stmt *statement, int column)
{
	return (const char *)sqlite3_column_text(statement, column);
}

static struct ledger_row read_row(sqlite3_stmt *statement)
{
	return (struct ledger_row){
		.key = {text(statement, 0), sqlite3_column_int64(statement, 1)},
		.tenant = text(statement, 2),
		.seen_us = sqlite3_column_int64(statement, 3),
		.starts = sqlite3_column_int64(statement, 4),
		.finished_us = sqlite3_column_int64(statement, 5),
		.verdict = text(statement, 6),
		.reason = text(statement, 7),
		.sent = sqlite3_column_int(statement, 8) != 0,
		.result_bytes = sqlite3_column_int64(statement, 9),
		.snapshots = {text(statement, 10), text(statement, 11), text(statement, 12),
			      text(statement, 13)},
	};
}

static void bind(sqlite3_stmt *statement, int index, const char *wanted)
{
	if (wanted != NULL)
		(void)sqlite3_bind_text(statement, index, wanted, -1, SQLITE_STATIC);
}

int ledger_history(struct ledger *ledger, const struct ledger_filter *filter,
		   int (*visit)(void *ctx, const struct ledger_row *row), void *ctx,
		   struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(ledger->db, history, -1, &statement, NULL);

	if (rc == SQLITE_OK) {
		bind(statement, 1, filter->job);
		bind(statement, 2, filter->tenant);
		bind(statement, 3, filter->verdict);
		(void)sqlite3_bind_int64(statement, 4, filter->since_us);
		(void)sqlite3_bind_int64(statement, 5, filter->limit == 0 ? -1 : filter->limit);
		while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
			struct ledger_row row = read_row(statement);

			if (visit(ctx, &row) != 0)
				break;
		}
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		(void)ledger_fail(ledger, "read", err);
	(void)sqlite3_finalize(statement);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -1;
}
