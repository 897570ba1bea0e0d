/*
 * lines.h - a file or standard input, line by line, in bounded memory.
 *
 *	lines_open(&lines, "jobs.jsonl", LIMIT_JSON_BYTES, &err);
 *	while ((rc = lines_next(&lines, &line, &err)) != LINES_END) ...
 *	lines_close(&lines);
 */
#ifndef SBX_PRODUCER_LINES_H
#define SBX_PRODUCER_LINES_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

enum lines_got { LINES_FAILED = -1, LINES_END, LINES_LINE, LINES_TOO_LONG };

struct lines {
	int fd;
	const char *name; /* for messages */
	int64_t size;	  /* of a regular file; -1: not known */
	int64_t read;	  /* bytes of whole lines handed out */
	int64_t number;	  /* of the last line, counted from 1 */
	size_t limit;
	struct buf held;
	size_t at;	/* where the next line starts in it */
	size_t scanned; /* up to here there is no line end */
	bool ended;
};

/* "-" is standard input. `name` is borrowed. Close after any return. */
int lines_open(struct lines *lines, const char *name, size_t limit_bytes,
	       struct err *err) MUST_CHECK;

/*
 * The next line without its end, with a NUL behind it, borrowed until the next
 * call. The last one need not have a line end. LINES_TOO_LONG: a line beyond
 * the limit has been passed over. LINES_FAILED with EINTR in err->number: a
 * signal came while nothing did.
 */
enum lines_got lines_next(struct lines *lines, struct bytes *ret, struct err *err) MUST_CHECK;

/* Nothing but blanks, tabs and a carriage return. */
bool lines_is_blank(struct bytes line);

/* Whether lines_next has something to do within `timeout_ms`: a line, the end,
 * or more to read. */
bool lines_wait(const struct lines *lines, int timeout_ms);

void lines_close(struct lines *lines);

#endif
