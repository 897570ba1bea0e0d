/*
 * sqlite_file.c - the file of the embedded carrier: one SQLite database in WAL
 * mode, which any number of processes of one machine share.
 *
 * Beside "<path>", "<path>-wal" and "<path>-shm" stands "<path>-leases", whose
 * content is nothing but locks: flock(2) on the whole while the file is set up,
 * and one byte for each member (sqlite_member.c). All four stay when the last
 * process closes, so that a directory in which only root may write will do and
 * a watch on the WAL holds.
 *
 * The file may be another user's, and root opens it too: no link is followed,
 * and a schema found there may call no function with side effects. What root
 * makes belongs to the owner of the directory, so that a worker which has given
 * up root can use what root's producer has made first.
 *
 * Bodies stand in a table of their own: to hold, to hand back and to move a
 * message touches a short row, however long the diff in it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "queue/sqlite_private.h"
#include "queue/url.h"

enum { SCHEMA_VERSION = 2, APPLICATION_ID = 0x736278 /* "sbx" */, BUSY_US = 10000000 };

static const char schema[] =
	"CREATE TABLE topologies (prefix TEXT PRIMARY KEY) WITHOUT ROWID;"
	"CREATE TABLE messages ("
	" seq INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL,"
	" holder INTEGER, redeliveries INTEGER NOT NULL DEFAULT 0,"
	" target TEXT, due_ms INTEGER, expires_ms INTEGER,"
	" key TEXT, id TEXT, correlation_id TEXT, reply_to TEXT, timestamp_us INTEGER NOT NULL,"
	" attempts INTEGER NOT NULL, reason TEXT, error TEXT, worker TEXT, died_in TEXT,"
	" first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL, headers BLOB);"
	"CREATE INDEX messages_ready ON messages (queue, holder);"
	"CREATE INDEX messages_held ON messages (holder) WHERE holder IS NOT NULL;"
	"CREATE INDEX messages_due ON messages (due_ms) WHERE due_ms IS NOT NULL;"
	"CREATE INDEX messages_expire ON messages (expires_ms) WHERE expires_ms IS NOT NULL;"
	"CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);"
	"CREATE TRIGGER messages_gone AFTER DELETE ON messages BEGIN"
	" DELETE FROM bodies WHERE seq = OLD.seq; END;"
	"CREATE TRIGGER messages_moved AFTER UPDATE OF seq ON messages BEGIN"
	" UPDATE bodies SET seq = NEW.seq WHERE seq = OLD.seq; END;"
	"CREATE TABLE members ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, prefix TEXT NOT NULL, source INTEGER NOT NULL,"
	" shared INTEGER NOT NULL, boot TEXT NOT NULL, until_us INTEGER NOT NULL, name TEXT);"
	"CREATE TABLE subscriptions ("
	" queue TEXT PRIMARY KEY, prefix TEXT NOT NULL, source INTEGER NOT NULL,"
	" pattern TEXT NOT NULL, member INTEGER, until_ms INTEGER);"
	"CREATE INDEX subscriptions_of ON subscriptions (prefix, source);"
	"CREATE TRIGGER subscriptions_gone AFTER DELETE ON subscriptions BEGIN"
	" DELETE FROM messages WHERE queue = OLD.queue; END;";

static const char *const sql[LITE_STATEMENTS] = {
	[LITE_BEGIN] = "BEGIN IMMEDIATE",
	[LITE_COMMIT] = "COMMIT",
	[LITE_ROLLBACK] = "ROLLBACK",
	[LITE_DECLARE] = "INSERT INTO topologies (prefix) VALUES (?1) ON CONFLICT DO NOTHING",
	[LITE_DECLARED] = "SELECT 1 FROM topologies WHERE prefix = ?1",
	[LITE_PUT] = "INSERT INTO messages (queue, target, due_ms, expires_ms, key, id,"
		     " correlation_id, reply_to, timestamp_us, attempts, reason, error, worker,"
		     " died_in, first_at_ms, last_at_ms, headers)"
		     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,"
		     " ?16, ?17)",
	[LITE_PUT_BODY] = "INSERT INTO bodies (seq, body) VALUES (?1, ?2)",
	[LITE_READY] = "SELECT seq FROM messages WHERE queue = ?1 AND holder IS NULL AND seq <= ?3"
		       " ORDER BY seq LIMIT ?2",
	[LITE_AFTER] = "SELECT seq FROM messages WHERE queue = ?1 AND holder IS NULL AND seq > ?2"
		       " ORDER BY seq LIMIT 1",
	[LITE_HOLD] = "UPDATE messages SET holder = ?2 WHERE seq = ?1",
	[LITE_READ] = "SELECT m.queue, key, id, correlation_id, reply_to, timestamp_us, attempts,"
		      " redeliveries, reason, error, worker, died_in, first_at_ms, last_at_ms,"
		      " headers, body FROM messages m JOIN bodies b ON b.seq = m.seq"
		      " WHERE m.seq = ?1",
	[LITE_DROP] = "DELETE FROM messages WHERE seq = ?1 AND holder = ?2",
	[LITE_HAND_BACK] = "UPDATE messages SET holder = NULL, redeliveries = redeliveries + ?3"
			   " WHERE seq = ?1 AND holder = ?2",
	[LITE_REJECT] = "UPDATE messages SET seq = (SELECT max(seq) + 1 FROM messages),"
			" holder = NULL, redeliveries = 0, reason = 'broker.rejected',"
			" died_in = queue, queue = ?3, first_at_ms = ?4, last_at_ms = ?4"
			" WHERE seq = ?1 AND holder = ?2",
	[LITE_JOIN] = "INSERT INTO members (prefix, source, shared, boot, until_us, name)"
		      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[LITE_BEAT] = "UPDATE members SET until_us = ?2 WHERE id = ?1",
	[LITE_LEAVE] = "DELETE FROM members WHERE id = ?1",
	[LITE_MEMBERS] = "SELECT id, boot, until_us FROM members",
	[LITE_RELEASE] = "UPDATE messages SET holder = NULL, redeliveries = redeliveries + 1"
			 " WHERE holder = ?1",
	[LITE_SUBSCRIBE] = "INSERT INTO subscriptions (queue, prefix, source, pattern, member)"
			   " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (queue) DO UPDATE"
			   " SET member = ?5, until_ms = NULL",
	[LITE_SUBSCRIBERS] =
		"SELECT queue, pattern FROM subscriptions WHERE prefix = ?1 AND source = ?2",
	[LITE_SUBSCRIBED] = "SELECT 1 FROM subscriptions WHERE queue = ?1",
	[LITE_UNSUBSCRIBE] = "DELETE FROM subscriptions WHERE member = ?1",
	[LITE_ORPHAN] = "UPDATE subscriptions SET member = NULL, until_ms = ?2 WHERE member = ?1",
	[LITE_STALE] = "SELECT min(until_ms) FROM subscriptions",
	[LITE_FORGET_STALE] = "DELETE FROM subscriptions WHERE until_ms <= ?1",
	[LITE_NEXT_DUE] = "SELECT min(due_ms) FROM messages WHERE due_ms IS NOT NULL",
	[LITE_MOVE_DUE] = "UPDATE messages SET queue = target, target = NULL, due_ms = NULL"
			  " WHERE due_ms <= ?1",
	[LITE_NEXT_EXPIRY] = "SELECT min(expires_ms) FROM messages WHERE expires_ms IS NOT NULL"
			     " AND holder IS NULL",
	[LITE_EXPIRE] = "DELETE FROM messages WHERE expires_ms <= ?1 AND holder IS NULL",
	[LITE_BACKLOG] = "SELECT count(*) FROM (SELECT 1 FROM messages WHERE queue = ?1 LIMIT ?2)",
	[LITE_COUNT] = "SELECT count(*) FROM messages WHERE queue = ?1 AND holder IS NULL",
	[LITE_COUNT_MEMBERS] = "SELECT count(*) FROM members WHERE prefix = ?1 AND source = ?2"
			       " AND shared = 1",
};

/* --- errors ----------------------------------------------------------- */

static const char rights_fix[] = "; file and directory must be this user's to write "
				 "(a worker started as root uses [worker] uid_base)";

int lite_fail(const struct lite *lite, const char *what, struct err *err)
{
	enum err_kind kind = ERR_PEER;
	const char *fix = "";

	switch (sqlite3_errcode(lite->db) & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		kind = ERR_TIMEOUT;
		break;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_AUTH:
	case SQLITE_READONLY:
		kind = ERR_UNSUPPORTED;
		fix = rights_fix;
		break;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		kind = ERR_CONFLICT;
		fix = "; move the file away";
		break;
	case SQLITE_NOMEM:
		kind = ERR_LIMIT;
		break;
	default:
		break;
	}
	return err_set(err, kind, "cannot %s the queue '%s': %s%s", what, lite->path,
		       sqlite3_errmsg(lite->db), fix);
}

/* --- statements ------------------------------------------------------- */

sqlite3_stmt *lite_statement(struct lite *lite, enum lite_statement which)
{
	sqlite3_stmt *statement = lite->statements[which];

	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	return statement;
}

int lite_step(struct lite *lite, sqlite3_stmt *statement, const char *what, struct err *err)
{
	int rc = sqlite3_step(statement);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		(void)lite_fail(lite, what, err);
	(void)sqlite3_reset(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

int lite_run(struct lite *lite, sqlite3_stmt *statement, const char *what, struct err *err)
{
	int rc = lite_step(lite, statement, what, err);

	(void)sqlite3_reset(statement);
	return rc < 0 ? -1 : 0;
}

int lite_number(struct lite *lite, sqlite3_stmt *statement, const char *what, int64_t none,
		int64_t *ret, struct err *err)
{
	int rc = lite_step(lite, statement, what, err);

	if (rc < 0)
		return -1;
	*ret = rc == 0 || sqlite3_column_type(statement, 0) == SQLITE_NULL
		       ? none
		       : sqlite3_column_int64(statement, 0);
	(void)sqlite3_reset(statement);
	return 0;
}

void lite_bind_text(sqlite3_stmt *statement, int at, const char *text)
{
	if (text != NULL)
		(void)sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

/* --- transactions ----------------------------------------------------- */

static int set_durable(struct lite *lite, bool durable, struct err *err)
{
	if (lite->durable == durable)
		return 0;
	if (sqlite3_exec(lite->db,
			 durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
			 NULL, NULL, NULL) != SQLITE_OK)
		return lite_fail(lite, "set up", err);
	lite->durable = durable;
	return 0;
}

int lite_begin(struct lite *lite, bool durable, struct err *err)
{
	if (set_durable(lite, durable, err) < 0)
		return -1;
	return lite_run(lite, lite_statement(lite, LITE_BEGIN), "write to", err);
}

int lite_commit(struct lite *lite, struct err *err)
{
	if (lite_run(lite, lite_statement(lite, LITE_COMMIT), "write to", err) == 0)
		return 0;
	lite_rollback(lite);
	return -1;
}

void lite_rollback(struct lite *lite)
{
	if (lite->db != NULL && sqlite3_get_autocommit(lite->db) == 0)
		NEGLECT(lite_run(lite, lite_statement(lite, LITE_ROLLBACK), "leave", NULL));
}

/* --- where ------------------------------------------------------------ */

/* Without links in the directory, which the library would refuse. */
int lite_path(const char *url, char ret_path[PATH_MAX], struct err *err)
{
	const char *path = url + strlen("sqlite:");
	const char *name = strrchr(path, '/');
	char directory[PATH_MAX];
	char resolved[PATH_MAX];

	if (!url_has_scheme(url, "sqlite") || *path != '/' || name[1] == '\0' ||
	    strlen(path) > PATH_MAX - sizeof("-leases"))
		return err_set(err, ERR_INPUT,
			       "the queue '%.200s' is not sqlite: and the absolute path of a file",
			       url);
	(void)snprintf(directory, sizeof(directory), "%.*s", (int)(name - path), path);
	if (realpath(*directory == '\0' ? "/" : directory, resolved) == NULL)
		(void)snprintf(resolved, sizeof(resolved), "%s", directory);
	if (strcmp(resolved, "/") == 0)
		*resolved = '\0';
	if ((size_t)snprintf(ret_path, PATH_MAX, "%s%s", resolved, name) >=
	    PATH_MAX - sizeof("-leases"))
		return err_set(err, ERR_INPUT, "the path of the queue '%.200s' is too long", url);
	return 0;
}

static int make_directory(const char *url, struct err *err)
{
	const char *path = url + strlen("sqlite:");
	char directory[PATH_MAX];

	(void)snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(path, '/') - path),
		       path);
	return *directory == '\0' ? 0 : fd_make_dirs(directory, 0755, err);
}

/* Makes a file with mode 0600, the directory owner's; one that is there stays. */
static int make_file(const char *path, struct err *err)
{
	CLEANUP(fd_cleanup)
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_CREAT | O_EXCL, 0600);
	char directory[PATH_MAX];
	struct stat st;

	if (fd < 0)
		return errno == EEXIST ? 0 : err_sys(err, "cannot make the queue '%s'", path);
	(void)snprintf(directory, sizeof(directory), "%s", path);
	strrchr(directory, '/')[1] = '\0';
	if (geteuid() == 0 && (stat(directory, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0))
		return err_sys(err, "cannot give '%s' to its directory's owner", path);
	return 0;
}

/*
 * The database itself is never opened here once it is there: closing it would
 * drop the locks that other connections of this process have on it.
 */
static int find_file(const char *path, bool make, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return 0;
	if (errno == ENOENT && make)
		return make_file(path, err);
	if (errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND,
			       "the queue '%s' does not exist; start a worker, or send a job",
			       path);
	return err_sys(err, "cannot look at the queue '%s'", path);
}

static int open_leases(struct lite *lite, struct err *err)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%.*s-leases", (int)(sizeof(path) - sizeof("-leases")),
		       lite->path);
	if (find_file(path, true, err) < 0)
		return -1;
	lite->lock_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return lite->lock_fd < 0 ? err_sys(err, "cannot open '%s'", path) : 0;
}

/* What stays until a person changes rights is told apart from what may pass. */
static int refuse_access(struct err *err)
{
	struct err why;

	if (err == NULL || err->kind != ERR_SYSTEM)
		return -1;
	why = *err;
	switch (err->number) {
	case EACCES:
	case EPERM:
		return err_set(err, ERR_UNSUPPORTED, "%.256s%s", why.message, rights_fix);
	case EROFS:
	case ELOOP:
	case ENOTDIR:
		err->kind = ERR_UNSUPPORTED;
		break;
	default:
		err->kind = ERR_PEER;
		break;
	}
	return -1;
}

/* --- setting up ------------------------------------------------------- */

/* Short waits first, for a transaction here is short. */
static int wait_busy(void *ctx, int count)
{
	struct timespec pause = {.tv_nsec = count < 20 ? 100000 : 1000000};

	(void)ctx;
	if ((int64_t)count * 1000 > BUSY_US)
		return 0;
	(void)nanosleep(&pause, NULL);
	return 1;
}

static int pragma_number(struct lite *lite, const char *text, int64_t *ret, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc;

	if (sqlite3_prepare_v2(lite->db, text, -1, &statement, NULL) != SQLITE_OK)
		return lite_fail(lite, "read", err);
	rc = lite_number(lite, statement, "read", 0, ret, err);
	(void)sqlite3_finalize(statement);
	return rc;
}

/* From version 1, which had times in seconds. Locked: nobody else does it now. */
static int upgrade(struct lite *lite, struct err *err)
{
	if (sqlite3_exec(lite->db,
			 "BEGIN IMMEDIATE;"
			 "ALTER TABLE messages RENAME COLUMN timestamp_s TO timestamp_us;"
			 "UPDATE messages SET timestamp_us = timestamp_us * 1000000;"
			 "PRAGMA user_version = 2; COMMIT",
			 NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	(void)lite_fail(lite, "upgrade", err);
	(void)sqlite3_exec(lite->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

static int migrate(struct lite *lite, struct err *err)
{
	char text[sizeof(schema) + 128];
	int64_t version;
	int64_t tables;

	if (pragma_number(lite, "PRAGMA user_version", &version, err) < 0 ||
	    pragma_number(lite, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
		return -1;
	if (version == SCHEMA_VERSION)
		return 0;
	if (version == 1)
		return upgrade(lite, err);
	if (version > SCHEMA_VERSION)
		return err_set(
			err, ERR_CONFLICT,
			"the queue '%s' has version %d, this program knows up to %d; use the "
			"newer programs, or another file",
			lite->path, (int)version, SCHEMA_VERSION);
	if (tables > 0)
		return err_set(err, ERR_CONFLICT, "'%s' is a database, but not a queue",
			       lite->path);
	(void)snprintf(text, sizeof(text),
		       "BEGIN IMMEDIATE;%s PRAGMA application_id = %d; PRAGMA user_version = %d;"
		       "COMMIT",
		       schema, APPLICATION_ID, SCHEMA_VERSION);
	if (sqlite3_exec(lite->db, text, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	(void)lite_fail(lite, "set up", err);
	(void)sqlite3_exec(lite->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

static int set_up(struct lite *lite, struct err *err)
{
	int persist = 1;

	(void)sqlite3_busy_handler(lite->db, wait_busy, NULL);
	(void)sqlite3_extended_result_codes(lite->db, 1);
	(void)sqlite3_db_config(lite->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(lite->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (sqlite3_exec(lite->db,
			 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
			 "PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -4096;"
			 /* Often and little: a checkpoint holds up all who wait for it. */
			 "PRAGMA wal_autocheckpoint = 300",
			 NULL, NULL, NULL) != SQLITE_OK)
		return lite_fail(lite, "set up", err);
	(void)sqlite3_file_control(lite->db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
	if (migrate(lite, err) < 0)
		return -1;
	for (size_t i = 0; i < LITE_STATEMENTS; i++) {
		if (sqlite3_prepare_v3(lite->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &lite->statements[i], NULL) != SQLITE_OK)
			return lite_fail(lite, "prepare", err);
	}
	return 0;
}

/* --- the topology ----------------------------------------------------- */

static int declare(struct lite *lite, const struct carrier_config *config, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_DECLARED);
	int64_t declared;

	lite_bind_text(statement, 1, config->prefix);
	if (lite_number(lite, statement, "read", 0, &declared, err) < 0)
		return -1;
	if (declared != 0)
		return 0;
	if (config->passive)
		return err_set(err, ERR_NOT_FOUND,
			       "the queue '%s' knows no queues with the prefix '%s'; start a "
			       "worker with it, or do without 'passive'",
			       lite->path, config->prefix);
	statement = lite_statement(lite, LITE_DECLARE);
	lite_bind_text(statement, 1, config->prefix);
	return lite_run(lite, statement, "declare in", err);
}

/* --- opening ---------------------------------------------------------- */

static int open_database(struct lite *lite, struct err *err)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;

	if (sqlite3_open_v2(lite->path, &lite->db, flags, NULL) != SQLITE_OK)
		return lite_fail(lite, "open", err);
	/* One at a time: the first one changes the file's mode and makes the tables. */
	while (flock(lite->lock_fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return err_sys(err, "cannot lock '%s-leases'", lite->path);
	}
	if (set_up(lite, err) < 0)
		return -1;
	(void)flock(lite->lock_fd, LOCK_UN);
	return 0;
}

static int open_files(struct lite *lite, const struct carrier_config *config, struct err *err)
{
	bool make = !config->passive;

	if (lite_path(config->url, lite->path, err) < 0)
		return -1;
	if (make &&
	    (make_directory(config->url, err) < 0 || lite_path(config->url, lite->path, err) < 0))
		return -1;
	if (find_file(lite->path, make, err) < 0)
		return -1;
	return open_leases(lite, err);
}

int lite_open(struct lite *lite, const struct carrier_config *config, struct err *err)
{
	*lite = (struct lite){.lock_fd = -1};
	if (open_files(lite, config, err) < 0)
		return refuse_access(err);
	if (open_database(lite, err) < 0 || declare(lite, config, err) < 0) {
		lite_close(lite);
		return refuse_access(err);
	}
	return 0;
}

void lite_close(struct lite *lite)
{
	if (lite->db == NULL && lite->lock_fd <= 0)
		return;
	for (size_t i = 0; i < LITE_STATEMENTS; i++)
		(void)sqlite3_finalize(lite->statements[i]);
	(void)sqlite3_close(lite->db);
	fd_close(lite->lock_fd);
	*lite = (struct lite){.lock_fd = -1};
}
