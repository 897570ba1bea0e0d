/*
 * history.c - see history.h. The ledger belongs to the supervisor's uid, and
 * SQLite makes files beside it while it reads: so this becomes that uid first.
 */
#include "worker/history.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "schema/value.h"
#include "worker/role.h"

enum { ROW_BYTES = 64 * 1024, SHORT_COMMIT = 12 };

/* --- rows ------------------------------------------------------------- */

static void put_text(struct arena *arena, struct value *map, const char *key, const char *text)
{
	if (text != NULL && *text != '\0')
		value_put(arena, map, key, value_str(arena, text));
}

static struct value *json_of(struct arena *arena, const struct ledger_row *row)
{
	struct value *map = value_map(arena);
	struct value *snapshots = value_map(arena);

	put_text(arena, map, "id", row->key.id);
	value_put(arena, map, "run", value_int(arena, row->key.run));
	put_text(arena, map, "tenant", row->tenant);
	value_put(arena, map, "seen_us", value_int(arena, row->seen_us));
	value_put(arena, map, "starts", value_int(arena, row->starts));
	if (row->finished_us == 0)
		return map;
	value_put(arena, map, "finished_us", value_int(arena, row->finished_us));
	put_text(arena, map, "verdict", row->verdict);
	put_text(arena, map, "reason", row->reason);
	value_put(arena, map, "confirmed", value_bool(arena, row->sent));
	value_put(arena, map, "result_bytes", value_int(arena, row->result_bytes));
	put_text(arena, snapshots, "initial", row->snapshots.initial);
	put_text(arena, snapshots, "before_patch", row->snapshots.before_patch);
	put_text(arena, snapshots, "after_patch", row->snapshots.after_patch);
	put_text(arena, snapshots, "final", row->snapshots.final);
	value_put(arena, map, "snapshots", snapshots);
	return map;
}

static int print_json(void *ctx, const struct ledger_row *row)
{
	struct value *map;
	struct arena arena;
	struct buf out;
	bool good;

	(void)ctx;
	arena_init(&arena, ROW_BYTES);
	buf_init(&out, ROW_BYTES);
	map = json_of(&arena, row);
	if (!arena.exhausted)
		value_to_json(map, 0, &out);
	buf_add_byte(&out, '\n');
	good = !arena.exhausted && !out.failed &&
	       fwrite(buf_text(&out), 1, out.len, stdout) == out.len;
	buf_release(&out);
	arena_release(&arena);
	return good ? 0 : 1;
}

/* Ids, tenants and names of ours hold nothing that a terminal would take for
 * more than text: the schema has seen to it. */
static int print_line(void *ctx, const struct ledger_row *row)
{
	bool *any = ctx;
	char at[CLOCK_TEXT_BYTES];
	const char *commit = row->snapshots.after_patch;

	clock_text(row->finished_us != 0 ? row->finished_us : row->seen_us, at);
	if (!*any)
		(void)printf("%-24s  %-9s %-20s %-12s  %-12s %s\n", "TIME", "VERDICT", "REASON",
			     "AFTER_PATCH", "TENANT", "JOB");
	*any = true;
	return printf("%-24s  %-9s %-20s %-*.*s  %-12s %s.%lld\n", at,
		      row->verdict == NULL ? "-" : row->verdict,
		      row->reason == NULL ? "" : row->reason, SHORT_COMMIT, SHORT_COMMIT,
		      commit == NULL ? "" : commit, row->tenant, row->key.id,
		      (long long)row->key.run) < 0;
}

/* --- the command ------------------------------------------------------ */

static int open_ledger(const struct config *config, struct ledger **ret, struct err *err)
{
	uid_t uid = (uid_t)config->worker_uid_base;
	char path[4096];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/ledger.db", config->worker_state_dir) >=
	    (int)sizeof(path))
		return err_set(err, ERR_INPUT, "state directory's path is too long");
	if (stat(path, &st) < 0) {
		(void)err_sys(err, "cannot open ledger '%s'", path);
		return err_prefix(err, "no worker has run with this [worker] state_dir");
	}
	if (role_drop(uid, uid, 0, err) < 0)
		return -1;
	(void)umask(077);
	return ledger_open_read(ret, path, err);
}

int history_main(const struct config *config, const struct ledger_filter *filter, bool json)
{
	struct ledger *ledger = NULL;
	struct err err = {0};
	bool any = false;
	bool good = open_ledger(config, &ledger, &err) == 0 &&
		    ledger_history(ledger, filter, json ? print_json : print_line, &any, &err) == 0;

	if (!good)
		(void)fprintf(stderr, "sbx-worker: %s\n", err.message);
	ledger_close(ledger);
	return fflush(stdout) == 0 && ferror(stdout) == 0 && good ? 0 : 1;
}
