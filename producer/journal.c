/*
 * journal.c - read once, then only appended to. The lock goes with the
 * descriptor, so a killed batch leaves none behind.
 */
#include "producer/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"

#define HEAD "sbx-batch 1 "

enum { JOURNAL_BYTES = 1 << 30 };

static int no_journal(const struct journal *journal, struct err *err)
{
	return err_set(err, ERR_INPUT, "'%s' is no journal of a batch; name another file",
		       journal->path);
}

/* --- reading ---------------------------------------------------------- */

static int read_head(struct journal *journal, const char *line, struct err *err)
{
	const char *uuid = line + strlen(HEAD);

	if (strncmp(line, HEAD, strlen(HEAD)) != 0 || strlen(uuid) != TEXT_UUID_BYTES - 1 ||
	    !text_is_id(uuid))
		return no_journal(journal, err);
	(void)snprintf(journal->batch, sizeof(journal->batch), "%s", uuid);
	return 0;
}

static int read_line(struct journal *journal, char *line, struct ids *ids, struct err *err)
{
	char *blank = strchr(line, ' ');
	struct ids_entry *entry;
	uint64_t digest;
	bool fresh;
	int end = 0;

	if (blank == NULL || sscanf(blank, " %16" SCNx64 "%n", &digest, &end) != 1 ||
	    blank[end] != '\0')
		return no_journal(journal, err);
	*blank = '\0';
	entry = ids_put(ids, line, &fresh);
	if (entry == NULL)
		return err_set(err, ERR_LIMIT, "out of memory for '%s'", journal->path);
	entry->digest = digest;
	entry->done = true;
	return 0;
}

static int read_lines(struct journal *journal, struct buf *text, struct ids *ids, struct err *err)
{
	char *at = (char *)text->data;
	char *feed;

	while (at != NULL && (feed = strchr(at, '\n')) != NULL) {
		*feed = '\0';
		if ((at == (char *)text->data ? read_head(journal, at, err)
					      : read_line(journal, at, ids, err)) < 0)
			return -1;
		at = feed + 1;
	}
	/* A crash may have left the start of a line. */
	if (at != NULL && *at != '\0' &&
	    ftruncate(journal->fd, (off_t)(at - (char *)text->data)) < 0)
		return err_sys(err, "cannot repair '%s'", journal->path);
	return 0;
}

int journal_open(struct journal *journal, const char *path, struct ids *ids, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};

	*journal = (struct journal){.fd = -1, .path = path};
	buf_init(&journal->out, JOURNAL_BYTES);
	buf_init(&text, JOURNAL_BYTES);
	journal->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (journal->fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	if (flock(journal->fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(err, ERR_CONFLICT, "'%s' is used by another batch now",
				       path);
		return err_sys(err, "cannot lock '%s'", path);
	}
	if (fd_read_all(journal->fd, &text, err) < 0)
		return err_prefix(err, "cannot read '%s'", path);
	if (text.len > 0 && memchr(text.data, 0, text.len) != NULL)
		return no_journal(journal, err);
	/* Before anything is cut off: it may be somebody's own file. */
	if (strncmp(buf_text(&text), HEAD, text.len < strlen(HEAD) ? text.len : strlen(HEAD)) != 0)
		return no_journal(journal, err);
	if (read_lines(journal, &text, ids, err) < 0)
		return -1;
	if (journal->batch[0] == '\0') {
		text_uuid7(journal->batch);
		buf_printf(&journal->out, HEAD "%s\n", journal->batch);
	}
	return journal_flush(journal, err);
}

/* --- writing ---------------------------------------------------------- */

void journal_add(struct journal *journal, const char *id, uint64_t digest)
{
	if (journal->fd >= 0)
		buf_printf(&journal->out, "%s %016" PRIx64 "\n", id, digest);
}

int journal_flush(struct journal *journal, struct err *err)
{
	if (journal->fd < 0 || journal->out.len == 0)
		return 0;
	if (journal->out.failed)
		return err_set(err, ERR_LIMIT, "out of memory for '%s'", journal->path);
	if (fd_write_all(journal->fd, journal->out.data, journal->out.len, err) < 0)
		return err_prefix(err, "cannot write '%s'", journal->path);
	buf_clear(&journal->out);
	return 0;
}

void journal_close(struct journal *journal)
{
	fd_close(journal->fd);
	journal->fd = -1;
	buf_release(&journal->out);
}
