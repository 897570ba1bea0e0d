/*
 * journal.h - which jobs of a batch the broker has confirmed, in a file, so
 * that the batch can be repeated without sending them again.
 *
 *	sbx-batch 1 0190c5f2-7d3a-7c11-9d7e-2f6f0a4c9b1e
 *	build-1 85944171f73967e8
 *
 * The first line names the batch; a job without an id is called after it and
 * its line, so it has the same id whenever the batch is repeated. Then one line
 * a job: id and digest of its message. A last line without its end is what a
 * crash left of one; it is cut off. Lost lines cost nothing but sending again:
 * workers know a job by its id.
 */
#ifndef SBX_PRODUCER_JOURNAL_H
#define SBX_PRODUCER_JOURNAL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "producer/ids.h"

struct journal {
	int fd; /* -1: none */
	const char *path;
	char batch[TEXT_UUID_BYTES];
	struct buf out;
};

/* Reads what is there into `ids`, each entry done; makes the file when it is
 * missing. ERR_CONFLICT while another batch has it. Close after any return. */
int journal_open(struct journal *journal, const char *path, struct ids *ids,
		 struct err *err) MUST_CHECK;

void journal_add(struct journal *journal, const char *id, uint64_t digest);

/* Writes what was added. */
int journal_flush(struct journal *journal, struct err *err) MUST_CHECK;

void journal_close(struct journal *journal);

#endif
