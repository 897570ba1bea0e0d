/*
 * driver_files.c - theory of operation.
 *
 * Edits go to init as one memory file; walks come back as a stream of
 * messages, which the socket's own buffer keeps from running ahead. A visitor
 * that has enough makes the driver ask init to stop, and what is already on its
 * way is read and thrown away, so that the next request meets an empty socket.
 */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/driver_private.h"

enum {
	WALK_WAIT_MS = 120 * 1000, /* between two messages */
	NAMES_BYTES = 32 << 20,	   /* of one directory */
};

/* --- edits ----------------------------------------------------------------------- */

static void add_edit(struct buf *records, const struct driver_edit *edit)
{
	struct wire_edit head = {.mode = edit->mode,
				 .path_len = (uint32_t)strlen(edit->path),
				 .content_len = edit->content.len};

	buf_add(records, &head, sizeof(head));
	buf_add(records, edit->path, head.path_len + 1);
	if (edit->content.len > 0)
		buf_add(records, edit->content.data, edit->content.len);
	while (records->len % 8 != 0 && !records->failed)
		buf_add_byte(records, 0);
}

static int send_edits(struct driver *driver, const struct buf *records, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	uint32_t kind = WIRE_EDIT;

	if (records->failed)
		return err_set(err, ERR_LIMIT,
			       "cannot write the patched files: more than %d bytes together",
			       WIRE_EDITS_BYTES);
	if (fd_memfd("edits", records->data, records->len, &fd, err) < 0 ||
	    driver_send(driver, &kind, sizeof(kind), &fd, 1, err) < 0)
		return -1;
	return driver_await(driver, WALK_WAIT_MS, err);
}

int driver_edit(struct driver *driver, const struct driver_edit *edits, size_t len, struct err *err)
{
	struct buf records;
	int result;

	assert(driver->started_mono_us == 0 && !driver->finished);
	if (len == 0)
		return 0;
	buf_init(&records, WIRE_EDITS_BYTES);
	for (size_t i = 0; i < len; i++)
		add_edit(&records, &edits[i]);
	result = send_edits(driver, &records, err);
	buf_release(&records);
	return result;
}

/* --- what comes from a walk ------------------------------------------------------------ */

struct visit {
	struct driver *driver;
	const struct driver_visitor *visitor;
	int (*match)(void *ctx, const char *path, int64_t size, int fd);
	void *ctx;
	struct buf names; /* of the directory whose names are coming */
	size_t names_len;
	char dir[WIRE_PATH_BYTES];
	bool in_dir;
	bool stopped;
	bool ended;
	union driver_message *message;
};

static int malformed(struct err *err)
{
	return err_set(err, ERR_PEER, "the init of the sandbox sends what is not a walk");
}

/* Takes the next NUL-terminated text of at most `most` bytes with its NUL. */
static const char *take_text(const uint8_t **at, size_t *left, size_t most)
{
	size_t room = *left < most ? *left : most;
	const uint8_t *end = memchr(*at, '\0', room);
	const char *text = (const char *)*at;

	if (end == NULL)
		return NULL;
	*left -= (size_t)(end + 1 - *at);
	*at = end + 1;
	return text;
}

static int stop(struct visit *visit, struct err *err)
{
	uint32_t kind = WIRE_STOP;

	if (visit->stopped)
		return 0;
	visit->stopped = true;
	return driver_send(visit->driver, &kind, sizeof(kind), NULL, 0, err);
}

static int visit_dir(struct visit *visit, struct err *err)
{
	const char **list = calloc(visit->names_len + 1, sizeof(char *));
	const char *at = (const char *)visit->names.data;
	int result = 0;

	if (list == NULL)
		return err_set(err, ERR_SYSTEM, "cannot walk the workspace: out of memory");
	for (size_t i = 0; i < visit->names_len; i++) {
		list[i] = at;
		at += strlen(at) + 1;
	}
	if (!visit->stopped && visit->visitor->dir(visit->ctx, visit->dir, list) != 0)
		result = stop(visit, err);
	free(list);
	buf_clear(&visit->names);
	visit->names_len = 0;
	return result;
}

static int on_names(struct visit *visit, size_t len, struct err *err)
{
	const struct wire_names *head = &visit->message->names;
	const uint8_t *at = visit->message->bytes + sizeof(*head);
	size_t left = len - sizeof(*head);
	const char *path;

	if (len < sizeof(*head) || visit->visitor == NULL)
		return malformed(err);
	path = take_text(&at, &left, WIRE_PATH_BYTES);
	if (path == NULL || (visit->in_dir && strcmp(path, visit->dir) != 0))
		return malformed(err);
	(void)snprintf(visit->dir, sizeof(visit->dir), "%s", path);
	visit->in_dir = head->more != 0;
	for (uint32_t i = 0; i < head->count; i++) {
		const char *name = take_text(&at, &left, NAME_MAX + 1);

		if (name == NULL || name[0] == '\0' || strchr(name, '/') != NULL)
			return malformed(err);
		buf_add(&visit->names, name, strlen(name) + 1);
		visit->names_len++;
	}
	if (visit->names.failed)
		return err_set(err, ERR_LIMIT,
			       "cannot walk the workspace: a directory has more "
			       "than %d bytes of names",
			       NAMES_BYTES);
	return visit->in_dir ? 0 : visit_dir(visit, err);
}

static int on_entry(struct visit *visit, size_t len, int fd, struct err *err)
{
	const struct wire_entry *head = &visit->message->entry;
	const uint8_t *at = visit->message->bytes + sizeof(*head);
	size_t left = len - sizeof(*head);
	const char *path, *target;
	int enough;

	if (len < sizeof(*head) || head->entry_kind > DRIVER_OTHER || head->size < 0 ||
	    (head->entry_kind == DRIVER_FILE) != (fd >= 0))
		return malformed(err);
	path = take_text(&at, &left, WIRE_PATH_BYTES);
	target = path == NULL ? NULL : take_text(&at, &left, WIRE_PATH_BYTES);
	if (target == NULL || left != 0)
		return malformed(err);
	if (visit->stopped)
		return 0;
	if (visit->visitor != NULL)
		enough = visit->visitor->entry(visit->ctx, path, head->entry_kind, head->mode,
					       head->size, fd,
					       head->entry_kind == DRIVER_LINK ? target : NULL);
	else
		enough = visit->match(visit->ctx, path, head->size, fd);
	return enough != 0 ? stop(visit, err) : 0;
}

static int one_message(struct visit *visit, struct err *err)
{
	int fds[FD_PASS_MAX], result;
	size_t fds_len = 0, len = 0;

	if (driver_recv(visit->driver, WALK_WAIT_MS, visit->message, &len, fds, &fds_len, err) < 0)
		return -1;
	switch (visit->message->kind) {
	case WIRE_NAMES:
		result = on_names(visit, len, err);
		break;
	case WIRE_ENTRY:
		result = on_entry(visit, len, fds_len > 0 ? fds[0] : -1, err);
		break;
	case WIRE_END:
		visit->ended = true;
		result = 0;
		break;
	default:
		result = malformed(err);
	}
	for (size_t i = 0; i < fds_len; i++)
		fd_close(fds[i]);
	return result;
}

static int receive_walk(struct visit *visit, struct err *err)
{
	int result = 0;

	visit->message = malloc(sizeof(*visit->message));
	if (visit->message == NULL)
		return err_set(err, ERR_SYSTEM, "cannot walk the workspace: out of memory");
	buf_init(&visit->names, NAMES_BYTES);
	while (result == 0 && !visit->ended)
		result = one_message(visit, err);
	buf_release(&visit->names);
	free(visit->message);
	return result;
}

/* --- the two walks --------------------------------------------------------------------------- */

int driver_changes(struct driver *driver, const struct driver_visitor *visitor, void *ctx,
		   struct err *err)
{
	struct visit visit = {.driver = driver, .visitor = visitor, .ctx = ctx};
	uint32_t kind = WIRE_CHANGES;

	assert(driver->finished);
	if (driver_send(driver, &kind, sizeof(kind), NULL, 0, err) < 0)
		return -1;
	return receive_walk(&visit, err);
}

int driver_find(struct driver *driver, const char *const *globs, size_t globs_len,
		size_t max_entries, int (*match)(void *ctx, const char *path, int64_t size, int fd),
		void *ctx, struct err *err)
{
	struct visit visit = {.driver = driver, .match = match, .ctx = ctx};
	struct wire_find head = {
		.kind = WIRE_FIND, .globs = (uint32_t)globs_len, .max_entries = max_entries};
	struct buf message;
	int result;

	assert(driver->finished);
	if (globs_len == 0)
		return 0;
	buf_init(&message, WIRE_BYTES - 1);
	buf_add(&message, &head, sizeof(head));
	for (size_t i = 0; i < globs_len; i++)
		buf_add(&message, globs[i], strlen(globs[i]) + 1);
	if (message.failed || globs_len > WIRE_GLOBS)
		result = err_set(err, ERR_LIMIT, "cannot search: more than %d patterns or %d bytes",
				 WIRE_GLOBS, WIRE_BYTES);
	else
		result = driver_send(driver, message.data, message.len, NULL, 0, err);
	buf_release(&message);
	return result < 0 ? -1 : receive_walk(&visit, err);
}
