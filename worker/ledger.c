/*
 * ledger.c - the only door to SQLite. Statements are prepared once; each public
 * call is one transaction of one statement. synchronous=NORMAL: after a power
 * cut the last rows may be gone, then the broker redelivers and the job runs
 * again, which the message id makes harmless; after a kill nothing is gone.
 */
#include "worker/ledger.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { SCHEMA_VERSION = 1, BUSY_MS = 5000 };

enum statement { BEGIN_JOB, FIND_JOB, START, END, FINISH, SENT, UNSENT, FORGET, STATEMENTS };

static const char *const sql[STATEMENTS] = {
	[BEGIN_JOB] =
		"INSERT INTO jobs (id, run, digest, tenant, seen_us) VALUES (?1, ?2, ?3, ?4, ?5)"
		" ON CONFLICT DO NOTHING",
	[FIND_JOB] =
		"SELECT digest, crashes, finished_us, result FROM jobs WHERE id = ?1 AND run = ?2",
	[START] = "UPDATE jobs SET crashes = crashes + 1 WHERE id = ?1 AND run = ?2",
	[END] = "UPDATE jobs SET crashes = max(crashes - 1, 0) WHERE id = ?1 AND run = ?2",
	[FINISH] = "UPDATE jobs SET finished_us = ?3, verdict = ?4, reason = ?5, result = ?6,"
		   " crashes = max(crashes - 1, 0) WHERE id = ?1 AND run = ?2",
	[SENT] = "UPDATE jobs SET sent = 1 WHERE id = ?1 AND run = ?2",
	[UNSENT] = "SELECT id, run, digest, tenant, result FROM jobs"
		   " WHERE finished_us IS NOT NULL AND sent = 0 ORDER BY finished_us",
	[FORGET] = "DELETE FROM jobs WHERE sent = 1 AND finished_us < ?1"
		   " OR finished_us IS NULL AND seen_us < ?2",
};

static const char schema[] =
	"CREATE TABLE jobs ("
	" id TEXT NOT NULL, run INTEGER NOT NULL, digest TEXT NOT NULL, tenant TEXT NOT NULL,"
	" seen_us INTEGER NOT NULL, crashes INTEGER NOT NULL DEFAULT 0,"
	" finished_us INTEGER, verdict TEXT, reason TEXT, result BLOB,"
	" sent INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id, run));"
	"CREATE INDEX jobs_finished ON jobs (finished_us);"
	"PRAGMA user_version = 1;";

struct ledger {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

/* --- errors ----------------------------------------------------------- */

static int fail(const struct ledger *ledger, const char *what, struct err *err)
{
	return err_set(err, ERR_SYSTEM, "cannot %s ledger: %s", what, sqlite3_errmsg(ledger->db));
}

/* --- opening ---------------------------------------------------------- */

static int run_sql(struct ledger *ledger, const char *text, struct err *err)
{
	if (sqlite3_exec(ledger->db, text, NULL, NULL, NULL) != SQLITE_OK)
		return fail(ledger, "set up", err);
	return 0;
}

static int read_version(struct ledger *ledger, int *ret, struct err *err)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(ledger->db, "PRAGMA user_version", -1, &statement, NULL) !=
		    SQLITE_OK ||
	    sqlite3_step(statement) != SQLITE_ROW)
		return fail(ledger, "read version of", err);
	*ret = sqlite3_column_int(statement, 0);
	(void)sqlite3_finalize(statement);
	return 0;
}

static int migrate(struct ledger *ledger, struct err *err)
{
	int version = 0;

	if (read_version(ledger, &version, err) < 0)
		return -1;
	if (version > SCHEMA_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
			       "ledger has version %d, this worker knows up to %d; run the newer "
			       "worker or move the ledger away",
			       version, SCHEMA_VERSION);
	if (version == SCHEMA_VERSION)
		return 0;
	if (run_sql(ledger, "BEGIN IMMEDIATE", err) < 0 || run_sql(ledger, schema, err) < 0)
		return -1;
	return run_sql(ledger, "COMMIT", err);
}

static int prepare(struct ledger *ledger, struct err *err)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		if (sqlite3_prepare_v3(ledger->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &ledger->statements[i], NULL) != SQLITE_OK)
			return fail(ledger, "prepare", err);
	}
	return 0;
}

int ledger_open(struct ledger **ret, const char *path, struct err *err)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));

	if (ledger == NULL)
		return err_set(err, ERR_LIMIT, "cannot open ledger: out of memory");
	if (sqlite3_open_v2(path, &ledger->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK) {
		(void)fail(ledger, "open", err);
		(void)err_prefix(err, "'%s'", path);
		goto undo;
	}
	(void)sqlite3_busy_timeout(ledger->db, BUSY_MS);
	if (run_sql(ledger,
		    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
		    "PRAGMA cache_size = -1024",
		    err) < 0 ||
	    migrate(ledger, err) < 0 || prepare(ledger, err) < 0)
		goto undo;
	*ret = ledger;
	return 0;
undo:
	ledger_close(ledger);
	return -1;
}

void ledger_close(struct ledger *ledger)
{
	if (ledger == NULL)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(ledger->statements[i]);
	(void)sqlite3_close(ledger->db);
	free(ledger);
}

/* --- statements ------------------------------------------------------- */

static sqlite3_stmt *bind_key(struct ledger *ledger, enum statement which,
			      const struct ledger_key *key)
{
	sqlite3_stmt *statement = ledger->statements[which];

	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	(void)sqlite3_bind_text(statement, 1, key->id, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(statement, 2, key->run);
	return statement;
}

static int finish_step(struct ledger *ledger, sqlite3_stmt *statement, const char *what,
		       struct err *err)
{
	int rc = sqlite3_step(statement);

	(void)sqlite3_reset(statement);
	return rc == SQLITE_DONE ? 0 : fail(ledger, what, err);
}

static int step_key(struct ledger *ledger, enum statement which, const struct ledger_key *key,
		    struct err *err)
{
	return finish_step(ledger, bind_key(ledger, which, key), "write", err);
}

/* --- the calls -------------------------------------------------------- */

static int read_entry(sqlite3_stmt *statement, const char *digest, struct arena *arena,
		      struct ledger_entry *ret, struct err *err)
{
	const char *stored = (const char *)sqlite3_column_text(statement, 0);
	size_t len = (size_t)sqlite3_column_bytes(statement, 3);

	*ret = (struct ledger_entry){.known = LEDGER_NEW,
				     .crashes = sqlite3_column_int64(statement, 1)};
	if (stored == NULL || strcmp(stored, digest) != 0) {
		ret->known = LEDGER_CONFLICT;
		return 0;
	}
	if (sqlite3_column_type(statement, 2) == SQLITE_NULL)
		return 0;
	ret->known = LEDGER_FINISHED;
	ret->result.data =
		(const uint8_t *)arena_memdup(arena, sqlite3_column_blob(statement, 3), len);
	ret->result.len = len;
	if (ret->result.data == NULL)
		return err_set(err, ERR_LIMIT, "cannot read ledger: out of memory");
	return 0;
}

int ledger_begin(struct ledger *ledger, const struct ledger_key *key, const char *digest,
		 const char *tenant, struct arena *arena, struct ledger_entry *ret, struct err *err)
{
	sqlite3_stmt *statement = bind_key(ledger, BEGIN_JOB, key);
	int rc;

	(void)sqlite3_bind_text(statement, 3, digest, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(statement, 4, tenant, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(statement, 5, clock_wall_us());
	if (finish_step(ledger, statement, "write", err) < 0)
		return -1;
	statement = bind_key(ledger, FIND_JOB, key);
	if (sqlite3_step(statement) != SQLITE_ROW) {
		(void)sqlite3_reset(statement);
		return fail(ledger, "read", err);
	}
	rc = read_entry(statement, digest, arena, ret, err);
	(void)sqlite3_reset(statement);
	return rc;
}

int ledger_start(struct ledger *ledger, const struct ledger_key *key, struct err *err)
{
	return step_key(ledger, START, key, err);
}

int ledger_end(struct ledger *ledger, const struct ledger_key *key, struct err *err)
{
	return step_key(ledger, END, key, err);
}

int ledger_finish(struct ledger *ledger, const struct ledger_key *key, const char *verdict,
		  const char *reason, struct bytes result, struct err *err)
{
	sqlite3_stmt *statement = bind_key(ledger, FINISH, key);

	assert(result.len <= INT32_MAX);
	(void)sqlite3_bind_int64(statement, 3, clock_wall_us());
	(void)sqlite3_bind_text(statement, 4, verdict, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(statement, 5, reason, -1, SQLITE_STATIC);
	(void)sqlite3_bind_blob(statement, 6, result.data, (int)result.len, SQLITE_STATIC);
	return finish_step(ledger, statement, "write", err);
}

int ledger_sent(struct ledger *ledger, const struct ledger_key *key, struct err *err)
{
	return step_key(ledger, SENT, key, err);
}

int ledger_unsent(struct ledger *ledger,
		  int (*visit)(void *ctx, const struct ledger_key *key, const char *digest,
			       const char *tenant, struct bytes result),
		  void *ctx, struct err *err)
{
	sqlite3_stmt *statement = ledger->statements[UNSENT];
	int rc;

	(void)sqlite3_reset(statement);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		struct ledger_key key = {.id = (const char *)sqlite3_column_text(statement, 0),
					 .run = sqlite3_column_int64(statement, 1)};
		const char *digest = (const char *)sqlite3_column_text(statement, 2);
		const char *tenant = (const char *)sqlite3_column_text(statement, 3);
		struct bytes result = {sqlite3_column_blob(statement, 4),
				       (size_t)sqlite3_column_bytes(statement, 4)};

		if (visit(ctx, &key, digest, tenant, result) != 0)
			break;
	}
	(void)sqlite3_reset(statement);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(ledger, "read", err);
}

int ledger_forget(struct ledger *ledger, int64_t wall_us, struct err *err)
{
	sqlite3_stmt *statement = ledger->statements[FORGET];

	(void)sqlite3_reset(statement);
	(void)sqlite3_bind_int64(statement, 1, wall_us);
	(void)sqlite3_bind_int64(statement, 2, wall_us - LEDGER_LOST_US);
	return finish_step(ledger, statement, "write", err);
}
