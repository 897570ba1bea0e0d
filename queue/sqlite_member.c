/*
 * sqlite_member.c - who holds messages, and what becomes of them when he is
 * gone.
 *
 * A member is a row with a lease that its owner renews, and a lock on the byte
 * of "<path>-leases" that has the member's number. The kernel drops the lock
 * with the process, whatever ends it, so what a killed worker held is there
 * again at once. The lease is for a process that lives but hangs: when it ends,
 * others take its messages, and its own next heartbeat finds no row.
 *
 *	joined --heartbeat--> joined
 *	   |--lock free--> gone: messages back, queues of its own removed
 *	   \--lease over-> gone: messages back, its results' queue kept a while
 *
 * Leases are times of the monotonic clock together with the boot they belong
 * to: a laptop that sleeps or a clock that is set ends nobody's lease. Whoever
 * works with the file sweeps for all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "queue/sqlite_private.h"

enum { BOOT_BYTES = 64, GONE_MAX = 32 };

/* --- locks and boots -------------------------------------------------- */

static struct flock byte_of(int64_t id)
{
	return (struct flock){
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)id, .l_len = 1};
}

static int take_lock(const struct lite *lite, int64_t id, struct err *err)
{
	struct flock lock = byte_of(id);

	if (fcntl(lite->lock_fd, F_OFD_SETLK, &lock) < 0)
		return err_sys(err, "cannot lock '%s-leases'", lite->path);
	return 0;
}

static void drop_lock(const struct lite *lite, int64_t id)
{
	struct flock lock = byte_of(id);

	lock.l_type = F_UNLCK;
	(void)fcntl(lite->lock_fd, F_OFD_SETLK, &lock);
}

static bool is_locked(const struct lite *lite, int64_t id)
{
	struct flock lock = byte_of(id);

	/* When that cannot be told, the lease decides. */
	return fcntl(lite->lock_fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

/* "" where the host does not say: then leases of earlier boots end late. */
static const char *boot_id(void)
{
	static char boot[BOOT_BYTES];
	struct buf text;

	if (*boot != '\0')
		return boot;
	buf_init(&text, sizeof(boot) - 1);
	if (fd_read_file("/proc/sys/kernel/random/boot_id", sizeof(boot) - 1, &text, NULL) == 0)
		(void)snprintf(boot, sizeof(boot), "%s", buf_text(&text));
	buf_release(&text);
	return boot;
}

/* --- a member's own life ---------------------------------------------- */

static int64_t beat_after(const struct lite_member *member)
{
	return clock_mono_us() + member->lease_us / LITE_LEASE_BEATS;
}

int lite_join(struct lite *lite, struct lite_member *member, const struct carrier_config *config,
	      enum source source, bool shared, int64_t lease_us, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_JOIN);
	int64_t id;

	lite_bind_text(statement, 1, config->prefix);
	(void)sqlite3_bind_int64(statement, 2, source);
	(void)sqlite3_bind_int64(statement, 3, shared);
	lite_bind_text(statement, 4, boot_id());
	(void)sqlite3_bind_int64(statement, 5, clock_mono_us() + lease_us);
	lite_bind_text(statement, 6, config->name);
	if (lite_run(lite, statement, "join", err) < 0)
		return -1;
	id = sqlite3_last_insert_rowid(lite->db);
	if (take_lock(lite, id, err) < 0)
		return -1;
	*member = (struct lite_member){.id = id, .lease_us = lease_us};
	member->beat_at_us = beat_after(member);
	return 0;
}

int lite_beat(struct lite *lite, struct lite_member *member, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_BEAT);

	(void)sqlite3_bind_int64(statement, 1, member->id);
	(void)sqlite3_bind_int64(statement, 2, clock_mono_us() + member->lease_us);
	if (lite_run(lite, statement, "renew a lease in", err) < 0)
		return -1;
	member->beat_at_us = beat_after(member);
	return sqlite3_changes(lite->db) > 0;
}

/* --- the end of one --------------------------------------------------- */

static int run_for(struct lite *lite, enum lite_statement which, int64_t id, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, which);

	(void)sqlite3_bind_int64(statement, 1, id);
	return lite_run(lite, statement, "write to", err);
}

/* `hung`: it may come back for the results it waits for. */
static int remove_member(struct lite *lite, int64_t id, bool hung, struct err *err)
{
	sqlite3_stmt *statement;

	if (run_for(lite, LITE_RELEASE, id, err) < 0 || run_for(lite, LITE_LEAVE, id, err) < 0)
		return -1;
	if (!hung)
		return run_for(lite, LITE_UNSUBSCRIBE, id, err);
	statement = lite_statement(lite, LITE_ORPHAN);
	(void)sqlite3_bind_int64(statement, 1, id);
	(void)sqlite3_bind_int64(statement, 2, clock_wall_us() / 1000 + LITE_OWN_QUEUE_MS);
	return lite_run(lite, statement, "write to", err);
}

int lite_leave(struct lite *lite, struct lite_member *member, struct err *err)
{
	int64_t id = member->id;

	member->id = 0;
	if (id == 0)
		return 0;
	if (lite_begin(lite, false, err) < 0)
		return -1;
	if (remove_member(lite, id, false, err) < 0) {
		lite_rollback(lite);
		return -1;
	}
	if (lite_commit(lite, err) < 0)
		return -1;
	drop_lock(lite, id);
	return 0;
}

/* --- others' ends ----------------------------------------------------- */

struct gone {
	int64_t id;
	bool hung;
};

static int find_gone(struct lite *lite, const struct lite_member *member,
		     struct gone gone[GONE_MAX], size_t *ret_len, struct err *err)
{
	sqlite3_stmt *statement = lite_statement(lite, LITE_MEMBERS);
	int64_t now_us = clock_mono_us();
	size_t len = 0;
	int got;

	while (len < GONE_MAX && (got = lite_step(lite, statement, "read", err)) != 0) {
		const char *boot;
		int64_t id;
		bool locked;

		if (got < 0)
			return -1;
		id = sqlite3_column_int64(statement, 0);
		boot = (const char *)sqlite3_column_text(statement, 1);
		if (member != NULL && id == member->id)
			continue;
		locked = is_locked(lite, id);
		if (locked && boot != NULL && strcmp(boot, boot_id()) == 0 &&
		    sqlite3_column_int64(statement, 2) > now_us)
			continue;
		gone[len++] = (struct gone){id, locked};
	}
	(void)sqlite3_reset(statement);
	*ret_len = len;
	return 0;
}

/* Looked at again within the transaction: it may have renewed its lease. */
static int remove_gone(struct lite *lite, const struct lite_member *member, struct err *err)
{
	struct gone gone[GONE_MAX];
	size_t len;

	if (find_gone(lite, member, gone, &len, err) < 0)
		return -1;
	if (len == 0)
		return 0;
	if (lite_begin(lite, false, err) < 0)
		return -1;
	if (find_gone(lite, member, gone, &len, err) < 0)
		goto undo;
	for (size_t i = 0; i < len; i++) {
		if (remove_member(lite, gone[i].id, gone[i].hung, err) < 0)
			goto undo;
	}
	return lite_commit(lite, err);
undo:
	lite_rollback(lite);
	return -1;
}

/* --- what time has done ------------------------------------------------ */

/* Runs `act` when the earliest time that `look` finds has come. */
static int do_due(struct lite *lite, enum lite_statement look, enum lite_statement act,
		  int64_t *ret_next_ms, struct err *err)
{
	int64_t now_ms = clock_wall_us() / 1000;
	int64_t next_ms;

	if (lite_number(lite, lite_statement(lite, look), "read", INT64_MAX, &next_ms, err) < 0)
		return -1;
	if (next_ms <= now_ms) {
		if (run_for(lite, act, now_ms, err) < 0 ||
		    lite_number(lite, lite_statement(lite, look), "read", INT64_MAX, &next_ms,
				err) < 0)
			return -1;
	}
	if (ret_next_ms != NULL)
		*ret_next_ms = next_ms;
	return 0;
}

int lite_sweep(struct lite *lite, const struct lite_member *member, int64_t *ret_next_us,
	       struct err *err)
{
	int64_t next_ms;

	if (remove_gone(lite, member, err) < 0 ||
	    do_due(lite, LITE_NEXT_DUE, LITE_MOVE_DUE, &next_ms, err) < 0 ||
	    do_due(lite, LITE_NEXT_EXPIRY, LITE_EXPIRE, NULL, err) < 0 ||
	    do_due(lite, LITE_STALE, LITE_FORGET_STALE, NULL, err) < 0)
		return -1;
	*ret_next_us = next_ms == INT64_MAX
			       ? INT64_MAX
			       : clock_mono_us() + next_ms * 1000 - clock_wall_us() + 1000;
	return 0;
}
