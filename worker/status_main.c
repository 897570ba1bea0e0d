/*
 * status_main.c - `sbx-worker status`: asks the worker of a state directory,
 * and prints what it says. What stands in it came from jobs, too: it is made
 * harmless before a terminal sees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/terminal.h"
#include "schema/value.h"
#include "worker/status.h"

enum { ANSWER_BYTES = 1 << 20, TREE_BYTES = 32 << 20, PATIENCE_S = 10 };

/* --- asking ----------------------------------------------------------- */

static int connect_to(const char *state_dir, int *ret_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int dir = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(fd_cleanup) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};

	if (dir < 0)
		return err_sys(err, "cannot open state directory '%s'", state_dir);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return err_sys(err, "cannot make a socket");
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/status.sock",
		       dir);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
		*ret_fd = fd_take(&fd);
		return 0;
	}
	if (errno == ENOENT || errno == ECONNREFUSED)
		return err_set(err, ERR_NOT_FOUND, "no worker runs with state directory '%s'",
			       state_dir);
	if (errno == EACCES || errno == EPERM)
		return err_set(err, ERR_SYSTEM,
			       "cannot ask the worker of '%s': only root and its own user may",
			       state_dir);
	return err_sys(err, "cannot ask the worker of '%s'", state_dir);
}

static int ask(const char *state_dir, struct bytes *ret, struct err *err)
{
	CLEANUP(fd_cleanup) int socket = -1;
	char word[8];
	int fds[FD_PASS_MAX];
	size_t fds_len = 0;
	ssize_t len;
	int rc;

	if (connect_to(state_dir, &socket, err) < 0)
		return -1;
	len = fd_recv(socket, word, sizeof(word), fds, &fds_len, err);
	if (len == FD_AGAIN)
		return err_set(err, ERR_TIMEOUT, "the worker does not answer within %d s",
			       PATIENCE_S);
	if (len < 0)
		return -1;
	if (len == 0 || fds_len != 1)
		return err_set(err, ERR_PEER, "the worker gave no answer; see its log");
	rc = fd_map(fds[0], ANSWER_BYTES, ret, err);
	fd_close(fds[0]);
	return rc;
}

/* --- for people ------------------------------------------------------- */

static int64_t number(const struct value *map, const char *key)
{
	const struct value *value = value_get(map, key);

	return value != NULL && value->kind == VALUE_INT ? value->integer : 0;
}

static bool is_true(const struct value *map, const char *key)
{
	const struct value *value = value_get(map, key);

	return value != NULL && value->kind == VALUE_BOOL && value->boolean;
}

static void add_text(const struct value *map, const char *key, struct buf *out)
{
	const struct value *value = value_get(map, key);

	if (value != NULL && value->kind == VALUE_STR)
		terminal_add(out, value->bytes.data, value->bytes.len, false);
}

static void add_duration(int64_t us, struct buf *out)
{
	long long s = us / 1000000;

	if (s < 10)
		buf_printf(out, "%lld.%lld s", s, (long long)us / 100000 % 10);
	else if (s < 600)
		buf_printf(out, "%lld s", s);
	else if (s < 36000)
		buf_printf(out, "%lld min", s / 60);
	else
		buf_printf(out, "%lld h", s / 3600);
}

static void add_connection(const char *name, const struct value *map, struct buf *out)
{
	buf_printf(out, "%-11s %s, connection %lld%s", name,
		   is_true(map, "connected") ? "up" : "DOWN", (long long)number(map, "epoch"),
		   is_true(map, "blocked") ? ", BLOCKED by the broker" : "");
	if (value_get(map, "why") != NULL) {
		buf_add_text(out, ": ");
		add_text(map, "why", out);
	}
	buf_add_byte(out, '\n');
}

static void add_job(const struct value *job, struct buf *out)
{
	buf_add_text(out, "  ");
	add_text(job, "id", out);
	buf_printf(out, ".%lld  ", (long long)number(job, "run"));
	add_text(job, "phase", out);
	buf_add_text(out, ", ");
	add_text(job, "state", out);
	buf_add_text(out, ", ");
	add_duration(number(job, "age_us"), out);
	buf_printf(out, ", attempt %lld, tenant ", (long long)number(job, "attempt"));
	add_text(job, "tenant", out);
	buf_add_byte(out, '\n');
}

static void add_list(const char *title, const struct value *list,
		     void (*add)(const struct value *item, struct buf *out), struct buf *out)
{
	if (list == NULL || list->kind != VALUE_LIST || list->list.len == 0)
		return;
	buf_printf(out, "%s\n", title);
	for (size_t i = 0; i < list->list.len; i++)
		add(list->list.items[i], out);
}

static void add_layer(const struct value *layer, struct buf *out)
{
	buf_add_text(out, "  ");
	if (layer->kind == VALUE_STR)
		terminal_add(out, layer->bytes.data, layer->bytes.len, false);
	buf_add_byte(out, '\n');
}

static void print_text(const struct value *tree, struct buf *out)
{
	const struct value *slots = value_get(tree, "slots");
	const struct value *sandboxes = value_get(tree, "sandboxes");
	const struct value *outbox = value_get(tree, "outbox");

	add_text(tree, "worker", out);
	buf_add_text(out, is_true(tree, "ready") ? ": ready" : ": NOT READY, ");
	add_text(tree, "why", out);
	buf_add_text(out, "\nsbx ");
	add_text(tree, "version", out);
	buf_printf(out, ", pid %lld, up ", (long long)number(tree, "pid"));
	add_duration(number(tree, "uptime_us"), out);
	buf_printf(out, "\nslots       %lld of %lld busy, %lld executors ready, %lld jobs wait\n",
		   (long long)number(slots, "busy"), (long long)number(slots, "total"),
		   (long long)number(slots, "executors_ready"), (long long)number(tree, "waiting"));
	buf_printf(out,
		   "sandboxes   %lld, %lld of %lld wait (at least %lld, at most %lld), %lld made, "
		   "%lld jobs had to wait for one\n",
		   (long long)number(sandboxes, "kept"), (long long)number(sandboxes, "waiting"),
		   (long long)number(sandboxes, "wanted_waiting"),
		   (long long)number(sandboxes, "least"), (long long)number(sandboxes, "most"),
		   (long long)number(sandboxes, "made"), (long long)number(sandboxes, "missed"));
	add_connection("consuming", value_get(tree, "consuming"), out);
	add_connection("publishing", value_get(tree, "publishing"), out);
	buf_printf(out, "outbox      %lld jobs not confirmed, %lld messages queued (%lld bytes)",
		   (long long)number(outbox, "unconfirmed"),
		   (long long)number(outbox, "queued_messages"),
		   (long long)number(outbox, "queued_bytes"));
	if (number(outbox, "unconfirmed") > 0) {
		buf_add_text(out, ", the oldest for ");
		add_duration(number(outbox, "oldest_us"), out);
	}
	buf_add_byte(out, '\n');
	add_list("sandbox layers missing", value_get(tree, "missing_layers"), add_layer, out);
	add_list("jobs", value_get(tree, "jobs"), add_job, out);
}

/* --- the command ------------------------------------------------------ */

static int print(struct bytes answer, bool json, struct err *err)
{
	struct arena arena;
	struct value *tree;
	struct buf out;
	int rc;

	arena_init(&arena, TREE_BYTES);
	buf_init(&out, TREE_BYTES);
	rc = value_from_json(&arena, (const char *)answer.data, answer.len, &tree, err);
	if (rc == 0 && json)
		value_to_json(tree, 2, &out);
	else if (rc == 0)
		print_text(tree, &out);
	if (rc == 0 && json)
		buf_add_byte(&out, '\n');
	if (rc == 0 && (out.failed || fwrite(buf_text(&out), 1, out.len, stdout) != out.len ||
			fflush(stdout) != 0))
		rc = err_set(err, ERR_SYSTEM, "cannot print the status");
	buf_release(&out);
	arena_release(&arena);
	return rc;
}

int status_main(const struct config *config, bool json)
{
	struct bytes answer = {NULL, 0};
	struct err err = {0};
	int rc = ask(config->worker_state_dir, &answer, &err);

	if (rc == 0)
		rc = print(answer, json, &err);
	fd_unmap(&answer);
	if (rc < 0)
		(void)fprintf(stderr, "sbx-worker: %s\n", err.message);
	return rc < 0 ? 1 : 0;
}
