/*
 * sqlite_admin.c - short visits to the file: looking, declaring, walking
 * through the dead letters, giving it to another user. And the carrier's one
 * table.
 *
 * A visit to the dead letters holds all of them as a member of its own, so that
 * nobody else sees them; what it leaves was never moved and keeps its place.
 * When the visitor is killed, its lock goes and the letters are there again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "queue/sqlite_private.h"
#include "schema/limits.h"

enum {
	/* A visitor may wait for a broker or a person between two letters. */
	VISIT_LEASE_US = 600 * 1000 * 1000,
	LETTERS_BYTES = 64 << 20, /* numbers of letters: eight million */
};

/* --- looking ---------------------------------------------------------- */

static enum source source_of(const char *suffix, bool *ret_consumed)
{
	*ret_consumed = true;
	if (strncmp(suffix, "jobs", 4) == 0)
		return SOURCE_JOBS;
	if (strcmp(suffix, "results") == 0)
		return SOURCE_RESULTS;
	*ret_consumed = strcmp(suffix, "dead") == 0;
	return SOURCE_DEAD;
}

static int look_at(struct lite *lite, const char *prefix, const char *suffix,
		   struct queue_depth *depth, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_COUNT);
	bool consumed;
	enum source source = source_of(suffix, &consumed);

	lite_bind_text(statement, 1, depth->name);
	if (lite_number(lite, statement, "read", 0, &depth->messages, err) < 0)
		return -1;
	if (!consumed)
		return 0;
	statement = lite_statement(lite, LITE_COUNT_MEMBERS);
	lite_bind_text(statement, 1, prefix);
	(void)sqlite3_bind_int64(statement, 2, source);
	return lite_number(lite, statement, "read", 0, &depth->consumers, err);
}

static int look_at_all(struct lite *lite, const char *prefix, struct carrier_report *report,
		       struct err *err)
{
	for (size_t i = 0; i < report->queues_len; i++) {
		if (look_at(lite, prefix, topology_queues[i].suffix, &report->queues[i], err) < 0)
			return -1;
	}
	return 0;
}

/* Makes nothing: of a file that is not there yet no queue exists. */
static int lite_inspect(struct arena *arena, const struct carrier_config *config,
			struct carrier_report *ret, struct err *err)
{
	struct carrier_report report = {.queue_timeouts = true, .queues_len = topology_queues_len};
	struct carrier_config passive = *config;
	char name[TOPOLOGY_NAME_BYTES];
	struct err why = {0};
	struct lite lite;
	int done = 0;

	(void)snprintf(report.server, sizeof(report.server), "SQLite %s", sqlite3_libversion());
	report.queues = arena_array(arena, topology_queues_len, sizeof(*report.queues));
	for (size_t i = 0; report.queues != NULL && i < topology_queues_len; i++) {
		topology_name(config->prefix, topology_queues[i].suffix, name);
		report.queues[i] =
			(struct queue_depth){.name = arena_strdup(arena, name), .messages = -1};
	}
	if (arena->exhausted)
		return err_set(err, ERR_LIMIT, "out of memory for a report");
	passive.passive = true;
	if (lite_open(&lite, &passive, &why) == 0) {
		done = look_at_all(&lite, config->prefix, &report, err);
		lite_close(&lite);
	} else if (why.kind != ERR_NOT_FOUND) {
		if (err != NULL)
			*err = why;
		return -1;
	}
	if (done == 0)
		*ret = report;
	return done;
}

static int lite_declare(const struct carrier_config *config, struct err *err)
{
	struct lite lite;

	if (lite_open(&lite, config, err) < 0)
		return -1;
	lite_close(&lite);
	return 0;
}

/* --- dead letters ----------------------------------------------------- */

static int hold(struct lite *lite, int64_t seq, int64_t member, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_HOLD);

	(void)sqlite3_bind_int64(statement, 1, seq);
	(void)sqlite3_bind_int64(statement, 2, member);
	return lite_run(lite, statement, "claim from", err);
}

/* All letters that are there, in their order. */
static int hold_all(struct lite *lite, const char *queue, int64_t member, struct buf *letters,
		    struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_READY);
	int got;

	lite_bind_text(statement, 1, queue);
	(void)sqlite3_bind_int64(statement, 2, -1);
	(void)sqlite3_bind_int64(statement, 3, INT64_MAX);
	while ((got = lite_step(lite, statement, "read", err)) == 1) {
		int64_t seq = sqlite3_column_int64(statement, 0);

		buf_add(letters, &seq, sizeof(seq));
	}
	if (got == 0 && letters->failed)
		return err_set(err, ERR_LIMIT, "out of memory for the dead letters");
	for (size_t at = 0; got == 0 && at < letters->len; at += sizeof(int64_t)) {
		int64_t seq;

		memcpy(&seq, letters->data + at, sizeof(seq));
		got = hold(lite, seq, member, err);
	}
	return got;
}

static int begin_visit(struct lite *lite, const struct carrier_config *config, const char *queue,
		       struct lite_member *member, struct buf *letters, struct err *err)
{
	int64_t next_us;

	/* What a killed visitor or worker held must be seen. */
	if (lite_sweep(lite, NULL, &next_us, err) < 0 || lite_begin(lite, false, err) < 0)
		return -1;
	if (lite_join(lite, member, config, SOURCE_DEAD, false, VISIT_LEASE_US, err) < 0 ||
	    hold_all(lite, queue, member->id, letters, err) < 0) {
		lite_rollback(lite);
		member->id = 0;
		return -1;
	}
	if (lite_commit(lite, err) == 0)
		return 0;
	member->id = 0;
	return -1;
}

static int drop(struct lite *lite, int64_t seq, int64_t member, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_DROP);

	(void)sqlite3_bind_int64(statement, 1, seq);
	(void)sqlite3_bind_int64(statement, 2, member);
	return lite_run(lite, statement, "settle in", err);
}

/* 1: go on. 0: the visitor has seen enough. */
static int visit_one(struct lite *lite, struct lite_member *member, int64_t seq,
		     int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
		     struct err *err)
{
	CLEANUP(arena_cleanup) struct arena arena = {0};
	struct delivery letter;
	int decided;
	int got = lite_beat(lite, member, err);

	if (got == 0)
		return err_set(err, ERR_TIMEOUT, "the visit to the dead letters took too long");
	arena_init(&arena, LIMIT_CARRIED_BYTES + (1 << 20));
	if (got > 0)
		got = lite_read(lite, seq, &arena, &letter, err);
	if (got <= 0) /* 0: somebody has removed it by hand */
		return got < 0 ? -1 : 1;
	letter.tag = (uint64_t)seq;
	decided = visit(ctx, &letter);
	if (decided > 0 && drop(lite, seq, member->id, err) < 0)
		return -1;
	return decided >= 0;
}

static int visit_all(struct lite *lite, struct lite_member *member, const struct buf *letters,
		     int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
		     struct err *err)
{
	for (size_t at = 0; at < letters->len; at += sizeof(int64_t)) {
		int64_t seq;
		int got;

		memcpy(&seq, letters->data + at, sizeof(seq));
		got = visit_one(lite, member, seq, visit, ctx, err);
		if (got <= 0)
			return got;
	}
	return 0;
}

static int lite_visit_dead(const struct carrier_config *config,
			   int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
			   struct err *err)
{
	CLEANUP(buf_release) struct buf letters = {0};
	struct lite_member member = {0};
	struct lite lite;
	char queue[TOPOLOGY_NAME_BYTES];
	int done;

	buf_init(&letters, LETTERS_BYTES);
	topology_name(config->prefix, "dead", queue);
	if (lite_open(&lite, config, err) < 0)
		return -1;
	done = begin_visit(&lite, config, queue, &member, &letters, err);
	if (done == 0)
		done = visit_all(&lite, &member, &letters, visit, ctx, err);
	if (lite_leave(&lite, &member, done == 0 ? err : NULL) < 0)
		done = -1;
	lite_close(&lite);
	return done;
}

/* --- giving it away --------------------------------------------------- */

/*
 * Only in a directory of root's in which nobody else may write: elsewhere the
 * names could be another user's links. There the files belong to the owner of
 * the directory anyway (sqlite_file.c).
 */
static bool is_roots(const char *path)
{
	char directory[PATH_MAX];
	struct stat st;

	(void)snprintf(directory, sizeof(directory), "%s", path);
	strrchr(directory, '/')[1] = '\0';
	return stat(directory, &st) == 0 && st.st_uid == 0 && (st.st_mode & 022) == 0;
}

static int lite_give(const struct carrier_config *config, unsigned uid, struct err *err)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-leases"};
	char path[PATH_MAX];
	char name[PATH_MAX + 16];
	int done = lite_declare(config, err);

	if (done < 0 || lite_path(config->url, path, err) < 0)
		return -1;
	if (geteuid() != 0 || !is_roots(path))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		(void)snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		if (fchownat(AT_FDCWD, name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(err, "cannot give '%s' to uid %u", name, uid);
	}
	return 0;
}

/* --- the carrier ------------------------------------------------------ */

const struct carrier_ops lite_carrier = {
	.schemes = {"sqlite"},
	.publisher = &lite_publisher_ops,
	.consumer = &lite_consumer_ops,
	.inspect = lite_inspect,
	.declare = lite_declare,
	.visit_dead = lite_visit_dead,
	.give = lite_give,
};
