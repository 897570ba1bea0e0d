/*
 * verify.c - see verify.h. Files belong to the storekeeper, so this becomes
 * the storekeeper before it touches any.
 */
#include "worker/verify.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshots/store.h"
#include "worker/role.h"

enum { VERIFY_ARENA_BYTES = 1 << 20, VERIFY_REPORT_BYTES = 16 << 20 };

struct report {
	struct buf *out;
	bool json;
	int64_t len;
};

static void add_json_text(struct buf *out, const char *text)
{
	buf_add_byte(out, '"');
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
			buf_printf(out, "\\u%04x", c);
		else
			buf_add_byte(out, c);
	}
	buf_add_byte(out, '"');
}

static void on_damage(void *ctx, const char *what)
{
	struct report *report = ctx;

	if (report->json) {
		buf_add_text(report->out, report->len == 0 ? "" : ", ");
		add_json_text(report->out, what);
	} else {
		buf_printf(report->out, "%s\n", what);
	}
	report->len++;
}

static int open_store(const struct config *config, struct arena *arena, struct store **ret,
		      struct err *err)
{
	uid_t uid = (uid_t)config->worker_uid_base;
	const char *path = arena_printf(arena, "%s/store", config->worker_state_dir);
	const struct store_config store = {
		.path = path,
		.fetch_timeout_ms = config->sources_fetch_timeout,
		.max_repo_bytes = config->sources_max_repo,
		.max_checkout_files = config->sources_max_files,
		.max_checkout_bytes = config->sources_max_checkout,
	};
	struct stat st;

	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (stat(path, &st) < 0)
		return err_sys(err, "cannot open store '%s'", path);
	if (role_drop(uid, uid, 0, err) < 0)
		return -1;
	(void)umask(027);
	return store_open(ret, &store, err);
}

int verify_main(const struct config *config, bool json)
{
	struct store_verified found = {0};
	struct store *store = NULL;
	struct arena arena;
	struct buf out;
	struct report report = {.out = &out, .json = json};
	struct err err = {0};
	bool good;

	arena_init(&arena, VERIFY_ARENA_BYTES);
	buf_init(&out, VERIFY_REPORT_BYTES);
	if (json)
		buf_add_text(&out, "{\"damage\": [");
	good = open_store(config, &arena, &store, &err) == 0 &&
	       store_verify(store, STORE_READ, on_damage, &report, &found, &err) == 0;
	if (json)
		buf_printf(&out,
			   "], \"checkouts\": %lld, \"files\": %lld, \"objects\": %lld, "
			   "\"ok\": %s}\n",
			   (long long)found.checkouts, (long long)found.files,
			   (long long)found.objects, good && found.damaged == 0 ? "true" : "false");
	else if (good)
		buf_printf(&out, "%lld checkouts, %lld files, %lld objects: %s\n",
			   (long long)found.checkouts, (long long)found.files,
			   (long long)found.objects,
			   found.damaged == 0 ? "all as they were made"
					      : "see above for what is not");
	if (!good)
		(void)fprintf(stderr, "sbx-worker: %s\n", err.message);
	if (out.failed || fwrite(buf_text(&out), 1, out.len, stdout) != out.len ||
	    fflush(stdout) != 0 || found.damaged > 0)
		good = false;
	store_close(store);
	buf_release(&out);
	arena_release(&arena);
	return good ? 0 : 1;
}
