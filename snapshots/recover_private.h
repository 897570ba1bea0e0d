/*
 * recover_private.h - what the files of the tolerant reader share.
 */
#ifndef SBX_SNAPSHOTS_RECOVER_PRIVATE_H
#define SBX_SNAPSHOTS_RECOVER_PRIVATE_H

#include "base/buf.h"
#include "snapshots/diff_private.h"
#include "snapshots/recover.h"

/* One hunk as it was found. */
struct recover_hunk {
	struct bytes heading;
	bool numbered;					 /* its header has line numbers */
	bool counted;					 /* and counts */
	bool missed;					 /* the counts were wrong */
	bool unfinished;				 /* its last line has no newline */
	bool changing;					 /* it is no context, nor a marker */
	bool context;					 /* it has some */
	uint32_t old_start, old_len, new_start, new_len; /* as stated */
	uint32_t old_found, new_found;
	uint32_t blank; /* lines without any mark, taken for context */
	const uint8_t *lines_at;
	size_t lines_len; /* raw lines, markers included */
	size_t at_line;
	unsigned doubts;
	uint32_t lacking, owed_old, owed_new;
};

enum { RECOVER_WORDS_MAX = 16 };

/* One file's header as it was found; absent lines have data NULL. */
struct recover_header {
	struct bytes git;     /* behind "diff --git " */
	struct bytes side[2]; /* behind "--- " and "+++ " */
	struct bytes words[RECOVER_WORDS_MAX];
	size_t word_lines[RECOVER_WORDS_MAX];
	size_t words_len;
	size_t at_line;
	size_t side_lines[2];
};

struct recover_reader {
	struct diff_parser in; /* the cursor; its strip and limits */
	const struct recover_request *request;
	struct buf text;    /* what is mended */
	struct buf origins; /* the input's line, uint32_t, for each line of it */
	struct buf found;   /* all hunks of the diff: */
	struct recover_hunk *hunks;
	size_t hunks_len;
	struct recovered *ret;
};

/* --- recover.c ------------------------------------------------------------ */

/* The line without its CR. */
struct bytes recover_trim(struct recover_reader *reader, struct bytes text);

/* Adds a line to the mended text. */
void recover_emit(struct recover_reader *reader, size_t origin, const char *prefix,
		  struct bytes text);

/* --- recover_hunk.c ------------------------------------------------------- */

/* The kind of a line of a hunk, whatever its line end; 0: it is none. */
int recover_kind(struct bytes text);

/* At "@@": reads one hunk and adds it to the list. */
int recover_read_hunk(struct recover_reader *reader) MUST_CHECK;
void recover_emit_hunk(struct recover_reader *reader, const struct recover_hunk *hunk,
		       uint32_t *next_line);

/* --- recover_header.c ----------------------------------------------------- */

/* Whether a file starts at this line. */
bool recover_starts_file(const struct recover_reader *reader, const struct diff_raw *line);
bool recover_is_fence(struct bytes text);

/* Reads the header up to its first hunk. */
int recover_read_header(struct recover_reader *reader, struct recover_header *ret) MUST_CHECK;

/* Writes it as it should have been; the file's hunks are known by then. */
int recover_emit_header(struct recover_reader *reader, const struct recover_header *header,
			const struct recover_hunk *hunks, size_t hunks_len) MUST_CHECK;

#endif
