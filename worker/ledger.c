/*
 * ledger.c - the writer's half. Statements are prepared once; each public call
 * is one transaction. synchronous=NORMAL: after a power cut the last rows may
 * be gone, then the broker redelivers and the job runs again, which the message
 * id makes harmless; after a kill nothing is gone.
 *
 * How much the finished jobs take is read once and counted from then on, so
 * that the bound may be looked at every turn of the loop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "worker/ledger_private.h"

static const char *const sql[STATEMENTS] = {
	[BEGIN_JOB] =
		"INSERT INTO jobs (id, run, digest, tenant, seen_us) VALUES (?1, ?2, ?3, ?4, ?5)"
		" ON CONFLICT DO NOTHING",
	[FIND_JOB] = "SELECT digest, crashes, finished_us, result,"
		     " EXISTS (SELECT 1 FROM cancels WHERE id = ?1 AND run = ?2), reason, letter"
		     " FROM jobs WHERE id = ?1 AND run = ?2",
	[START] = "UPDATE jobs SET crashes = crashes + 1, starts = starts + 1"
		  " WHERE id = ?1 AND run = ?2",
	[END] = "UPDATE jobs SET crashes = max(crashes - 1, 0) WHERE id = ?1 AND run = ?2",
	[FINISH] = "UPDATE jobs SET finished_us = ?3, verdict = ?4, reason = ?5, result = ?6,"
		   " bytes = ?7, initial = ?8, before_patch = ?9, after_patch = ?10, final = ?11, "
		   "letter = ?12,"
		   " crashes = max(crashes - 1, 0) WHERE id = ?1 AND run = ?2",
	[SENT] = "UPDATE jobs SET sent = 1, letter = NULL WHERE id = ?1 AND run = ?2",
	[CANCEL] =
		"INSERT INTO cancels (id, run, at_us) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
	[FORGET_CANCELS] = "DELETE FROM cancels WHERE at_us < ?1",
	[UNSENT] = "SELECT id, run, digest, tenant, result FROM jobs"
		   " WHERE finished_us IS NOT NULL AND sent = 0 AND letter IS NULL"
		   " ORDER BY finished_us",
	[FORGET] =
		"DELETE FROM jobs WHERE sent = 1 AND finished_us < ?1"
		" OR finished_us IS NULL AND seen_us < ?2"
		" OR letter IS NOT NULL AND finished_us < ?2 RETURNING iif(finished_us IS NULL, 0, "
		"bytes + 512)",
	[TRIM] = "DELETE FROM jobs WHERE rowid = (SELECT rowid FROM jobs"
		 " WHERE finished_us IS NOT NULL AND sent = 1 ORDER BY finished_us LIMIT 1)"
		 " RETURNING bytes + 512",
	[WAIT] = "INSERT OR REPLACE INTO waits (id, run, until_us, attempts, job, reply_to,"
		 " correlation_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[WAITING] = "SELECT digest, attempts, job, reply_to, correlation_id FROM waits"
		    " JOIN jobs USING (id, run)"
		    " WHERE id = ?1 AND run = ?2 AND until_us > ?3 AND finished_us IS NULL",
	[UNWAIT] = "DELETE FROM waits WHERE id = ?1 AND run = ?2",
	[FORGET_WAITS] = "DELETE FROM waits WHERE until_us < ?1",
};

static_assert(LEDGER_JOB_BYTES == 512, "as the statements above have it");

/* --- errors ----------------------------------------------------------- */

int ledger_fail(const struct ledger *ledger, const char *what, struct err *err)
{
	return err_set(err, ERR_SYSTEM, "cannot %s ledger: %s", what, sqlite3_errmsg(ledger->db));
}

/* --- opening ---------------------------------------------------------- */

static int run_sql(struct ledger *ledger, const char *text, struct err *err)
{
	if (sqlite3_exec(ledger->db, text, NULL, NULL, NULL) != SQLITE_OK)
		return ledger_fail(ledger, "set up", err);
	return 0;
}

int ledger_number(struct ledger *ledger, const char *query, int *ret, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	bool good = sqlite3_prepare_v2(ledger->db, query, -1, &statement, NULL) == SQLITE_OK &&
		    sqlite3_step(statement) == SQLITE_ROW;

	if (good)
		*ret = sqlite3_column_int(statement, 0);
	else
		(void)ledger_fail(ledger, "read version of", err);
	(void)sqlite3_finalize(statement);
	return good ? 0 : -1;
}

/* From each version to the next. */
static const char *const steps[LEDGER_VERSION] = {
	"CREATE TABLE jobs ("
	" id TEXT NOT NULL, run INTEGER NOT NULL, digest TEXT NOT NULL, tenant TEXT NOT NULL,"
	" seen_us INTEGER NOT NULL, crashes INTEGER NOT NULL DEFAULT 0,"
	" finished_us INTEGER, verdict TEXT, reason TEXT, result BLOB,"
	" sent INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id, run));"
	"CREATE INDEX jobs_finished ON jobs (finished_us)",
	/* An index that has `bytes`: the sum must not read every result. */
	"ALTER TABLE jobs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE jobs ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE jobs ADD COLUMN initial TEXT;"
	"ALTER TABLE jobs ADD COLUMN before_patch TEXT;"
	"ALTER TABLE jobs ADD COLUMN after_patch TEXT;"
	"ALTER TABLE jobs ADD COLUMN final TEXT;"
	"UPDATE jobs SET bytes = length(result) WHERE finished_us IS NOT NULL;"
	"DROP INDEX jobs_finished;"
	"CREATE INDEX jobs_finished ON jobs (finished_us, sent, bytes)",
	("CREATE TABLE cancels (id TEXT NOT NULL, run INTEGER NOT NULL, at_us INTEGER NOT NULL,"
	 " PRIMARY KEY (id, run)) WITHOUT ROWID"),
	"ALTER TABLE jobs ADD COLUMN letter TEXT",
	("CREATE TABLE waits (id TEXT NOT NULL, run INTEGER NOT NULL, until_us INTEGER NOT NULL,"
	 " attempts INTEGER NOT NULL, job BLOB NOT NULL, reply_to TEXT, correlation_id TEXT,"
	 " PRIMARY KEY (id, run)) WITHOUT ROWID"),
};

static int step_up(struct ledger *ledger, int version, struct err *err)
{
	char set[48];

	(void)sqlite3_snprintf(sizeof(set), set, "PRAGMA user_version = %d", version + 1);
	if (run_sql(ledger, "BEGIN IMMEDIATE", err) < 0 ||
	    run_sql(ledger, steps[version], err) < 0 || run_sql(ledger, set, err) < 0)
		return -1;
	return run_sql(ledger, "COMMIT", err);
}

static int migrate(struct ledger *ledger, struct err *err)
{
	int version = 0;

	if (ledger_number(ledger, "PRAGMA user_version", &version, err) < 0)
		return -1;
	if (version > LEDGER_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
			       "ledger has version %d, this worker knows up to %d; run the newer "
			       "worker or move the ledger away",
			       version, LEDGER_VERSION);
	for (; version < LEDGER_VERSION; version++) {
		if (step_up(ledger, version, err) < 0)
			return -1;
	}
	return 0;
}

/* A file of version 1 has no room for what incremental vacuum must know, and is
 * written anew; that a crash may interrupt it is why the file itself is asked. */
static int make_shrinkable(struct ledger *ledger, struct err *err)
{
	enum { INCREMENTAL = 2 };
	int mode = 0;

	if (ledger_number(ledger, "PRAGMA auto_vacuum", &mode, err) < 0)
		return -1;
	if (mode == INCREMENTAL)
		return 0;
	return run_sql(ledger, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM", err);
}

static int count_bytes(struct ledger *ledger, struct err *err)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(ledger->db,
				    "SELECT count(*), coalesce(sum(bytes), 0) FROM jobs"
				    " WHERE finished_us IS NOT NULL",
				    -1, &statement, NULL);

	if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
		ledger->bytes = sqlite3_column_int64(statement, 0) * LEDGER_JOB_BYTES +
				sqlite3_column_int64(statement, 1);
	if (sqlite3_finalize(statement) != SQLITE_OK || rc != SQLITE_OK)
		return ledger_fail(ledger, "read", err);
	return 0;
}

static int prepare(struct ledger *ledger, struct err *err)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		if (sqlite3_prepare_v3(ledger->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &ledger->statements[i], NULL) != SQLITE_OK)
			return ledger_fail(ledger, "prepare", err);
	}
	return 0;
}

int ledger_open_file(struct ledger **ret, const char *path, int flags, struct err *err)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));

	if (ledger == NULL)
		return err_set(err, ERR_LIMIT, "cannot open ledger: out of memory");
	if (sqlite3_open_v2(path, &ledger->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		(void)ledger_fail(ledger, "open", err);
		ledger_close(ledger);
		return err_prefix(err, "'%s'", path);
	}
	(void)sqlite3_busy_timeout(ledger->db, LEDGER_BUSY_MS);
	*ret = ledger;
	return 0;
}

int ledger_open(struct ledger **ret, const char *path, struct err *err)
{
	struct ledger *ledger;

	if (ledger_open_file(&ledger, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err) < 0)
		return -1;
	if (run_sql(ledger,
		    "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
		    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -1024;"
		    /* Often and little: all jobs wait for a checkpoint. */
		    "PRAGMA wal_autocheckpoint = 200",
		    err) < 0 ||
	    migrate(ledger, err) < 0 || make_shrinkable(ledger, err) < 0 ||
	    count_bytes(ledger, err) < 0 || prepare(ledger, err) < 0) {
		ledger_close(ledger);
		return -1;
	}
	*ret = ledger;
	return 0;
}

void ledger_group(struct ledger *ledger)
{
	ledger->grouping = true;
}

static int join_group(struct ledger *ledger, struct err *err)
{
	if (!ledger->grouping || ledger->in_group)
		return 0;
	if (run_sql(ledger, "BEGIN IMMEDIATE", err) < 0)
		return -1;
	ledger->in_group = true;
	return 0;
}

int ledger_commit(struct ledger *ledger, struct err *err)
{
	if (!ledger->in_group)
		return 0;
	ledger->in_group = false;
	return run_sql(ledger, "COMMIT", err);
}

void ledger_close(struct ledger *ledger)
{
	if (ledger == NULL)
		return;
	if (ledger->in_group)
		NEGLECT(ledger_commit(ledger, NULL));
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(ledger->statements[i]);
	(void)sqlite3_close(ledger->db);
	free(ledger);
}

/* --- statements ------------------------------------------------------- */

sqlite3_stmt *ledger_statement(struct ledger *ledger, enum statement which,
			       const struct ledger_key *key)
{
	sqlite3_stmt *statement = ledger->statements[which];

	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	(void)sqlite3_bind_text(statement, 1, key->id, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(statement, 2, key->run);
	return statement;
}

int ledger_write(struct ledger *ledger, sqlite3_stmt *statement, struct err *err)
{
	int rc;

	if (join_group(ledger, err) < 0)
		return -1;
	rc = sqlite3_step(statement);
	(void)sqlite3_reset(statement);
	return rc == SQLITE_DONE ? 0 : ledger_fail(ledger, "write", err);
}

static int step_key(struct ledger *ledger, enum statement which, const struct ledger_key *key,
		    struct err *err)
{
	return ledger_write(ledger, ledger_statement(ledger, which, key), err);
}

/* --- the calls -------------------------------------------------------- */

const char *ledger_text(struct arena *arena, sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	return text == NULL ? NULL : arena_strdup(arena, text);
}

static int read_entry(sqlite3_stmt *statement, const char *digest, struct arena *arena,
		      struct ledger_entry *ret, struct err *err)
{
	const char *stored = (const char *)sqlite3_column_text(statement, 0);
	size_t len = (size_t)sqlite3_column_bytes(statement, 3);

	*ret = (struct ledger_entry){.known = LEDGER_NEW,
				     .crashes = sqlite3_column_int64(statement, 1),
				     .cancelled = sqlite3_column_int(statement, 4) != 0};
	if (stored == NULL || strcmp(stored, digest) != 0) {
		ret->known = LEDGER_CONFLICT;
		return 0;
	}
	if (sqlite3_column_type(statement, 2) == SQLITE_NULL)
		return 0;
	ret->known = LEDGER_FINISHED;
	ret->reason = ledger_text(arena, statement, 5);
	ret->letter = ledger_text(arena, statement, 6);
	ret->result.data =
		(const uint8_t *)arena_memdup(arena, sqlite3_column_blob(statement, 3), len);
	ret->result.len = len;
	if (ret->result.data == NULL || arena->exhausted)
		return err_set(err, ERR_LIMIT, "cannot read ledger: out of memory");
	return 0;
}

int ledger_begin(struct ledger *ledger, const struct ledger_key *key, const char *digest,
		 const char *tenant, struct arena *arena, struct ledger_entry *ret, struct err *err)
{
	sqlite3_stmt *statement = ledger_statement(ledger, BEGIN_JOB, key);
	int rc;

	(void)sqlite3_bind_text(statement, 3, digest, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(statement, 4, tenant, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(statement, 5, clock_wall_us());
	if (ledger_write(ledger, statement, err) < 0)
		return -1;
	/* One that was here before has left its wait queue. */
	if (sqlite3_changes(ledger->db) == 0 && step_key(ledger, UNWAIT, key, err) < 0)
		return -1;
	statement = ledger_statement(ledger, FIND_JOB, key);
	if (sqlite3_step(statement) != SQLITE_ROW) {
		(void)sqlite3_reset(statement);
		return ledger_fail(ledger, "read", err);
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

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
	if (text != NULL)
		(void)sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

int ledger_finish(struct ledger *ledger, const struct ledger_key *key,
		  const struct ledger_outcome *outcome, struct err *err)
{
	sqlite3_stmt *statement = ledger_statement(ledger, FINISH, key);
	int len = (int)outcome->result.len;

	assert(outcome->result.len <= INT32_MAX);
	(void)sqlite3_bind_int64(statement, 3, clock_wall_us());
	bind_text(statement, 4, outcome->verdict);
	bind_text(statement, 5, outcome->reason);
	(void)sqlite3_bind_blob(statement, 6, outcome->result.data, len, SQLITE_STATIC);
	(void)sqlite3_bind_int64(statement, 7, len);
	bind_text(statement, 8, outcome->snapshots.initial);
	bind_text(statement, 9, outcome->snapshots.before_patch);
	bind_text(statement, 10, outcome->snapshots.after_patch);
	bind_text(statement, 11, outcome->snapshots.final);
	bind_text(statement, 12, outcome->letter);
	if (ledger_write(ledger, statement, err) < 0)
		return -1;
	ledger->bytes += len + LEDGER_JOB_BYTES;
	return 0;
}

int ledger_sent(struct ledger *ledger, const struct ledger_key *key, struct err *err)
{
	return step_key(ledger, SENT, key, err);
}

int ledger_cancel(struct ledger *ledger, const struct ledger_key *key, struct err *err)
{
	sqlite3_stmt *statement = ledger_statement(ledger, CANCEL, key);

	(void)sqlite3_bind_int64(statement, 3, clock_wall_us());
	return ledger_write(ledger, statement, err);
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
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : ledger_fail(ledger, "read", err);
}

/* --- forgetting ------------------------------------------------------- */

/* A statement that deletes and tells what; returns how many jobs, or -1. */
static int forget(struct ledger *ledger, sqlite3_stmt *statement, struct err *err)
{
	int64_t bytes = 0;
	int jobs = 0;
	int rc;

	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		bytes += sqlite3_column_int64(statement, 0);
		jobs++;
	}
	(void)sqlite3_reset(statement);
	if (rc != SQLITE_DONE)
		return ledger_fail(ledger, "write", err);
	ledger->bytes -= bytes;
	return jobs;
}

int ledger_tidy(struct ledger *ledger, int64_t wall_us, struct err *err)
{
	sqlite3_stmt *statement = ledger->statements[FORGET];

	if (ledger_commit(ledger, err) < 0)
		return -1;
	(void)sqlite3_reset(statement);
	(void)sqlite3_bind_int64(statement, 1, wall_us);
	(void)sqlite3_bind_int64(statement, 2, wall_us - LEDGER_LOST_US);
	if (forget(ledger, statement, err) < 0)
		return -1;
	statement = ledger->statements[FORGET_CANCELS];
	(void)sqlite3_reset(statement);
	(void)sqlite3_bind_int64(statement, 1, clock_wall_us() - LEDGER_CANCELS_US);
	if (ledger_write(ledger, statement, err) < 0)
		return -1;
	statement = ledger->statements[FORGET_WAITS];
	(void)sqlite3_reset(statement);
	(void)sqlite3_bind_int64(statement, 1, clock_wall_us());
	if (ledger_write(ledger, statement, err) < 0 || ledger_commit(ledger, err) < 0)
		return -1;
	return run_sql(ledger, "PRAGMA incremental_vacuum(1024)", err);
}

int ledger_trim(struct ledger *ledger, int64_t bytes, struct err *err)
{
	int jobs = 1;

	if (ledger->bytes <= bytes)
		return 0;
	if (ledger_commit(ledger, err) < 0 || run_sql(ledger, "BEGIN IMMEDIATE", err) < 0)
		return -1;
	for (int i = 0; i < LEDGER_TRIM_JOBS && jobs == 1 && ledger->bytes > bytes; i++) {
		sqlite3_stmt *statement = ledger->statements[TRIM];

		jobs = forget(ledger, statement, err);
	}
	if (jobs < 0) {
		(void)run_sql(ledger, "ROLLBACK", NULL);
		return -1;
	}
	return run_sql(ledger, "COMMIT", err);
}
