/*
 * letter.h - one dead letter: what was carried, and why it was given up.
 *
 * A letter is shown however damaged its body is: what cannot be decoded is
 * said to be so, and id and tenant are taken from wherever they can be read.
 */
#ifndef SBX_PRODUCER_LETTER_H
#define SBX_PRODUCER_LETTER_H

#include "queue/carrier.h"

struct letter {
	const struct delivery *delivery;
	const char *id;	     /* "?" when there is none anywhere */
	const char *tenant;  /* or NULL */
	int64_t run;	     /* 0: not readable */
	struct value *tree;  /* NULL: the body cannot be decoded */
	const char *problem; /* why not; NULL: it can */
};

/* Borrows from `delivery` and the arena. */
void letter_read(struct arena *arena, const struct delivery *delivery, struct letter *ret);

/* The tree of one letter: where it comes from and why it is dead; with
 * `whole` the job too, or the body as it came. NULL when exhausted. */
struct value *letter_to_value(struct arena *arena, const struct letter *letter, bool whole);

/* One line of a table, and the line above it. */
void letter_print_head(struct buf *out);
void letter_print_row(const struct letter *letter, struct buf *out);

/* The whole letter for a person: why, history, the job. */
void letter_print(const struct letter *letter, struct buf *out);

/*
 * The message that replays a letter: `run` counted up, `replayed_from` set to
 * "<id>.<run>" of the letter, everything else as it was, unknown fields too.
 * The same letter always gives the same bytes, so a replay that is interrupted
 * and repeated is recognised. `ret_job` is what the message says. REFUSED with
 * the reason when the body cannot be decoded or is no valid job, or when its
 * deadline has passed at `now_ms`.
 */
int letter_replay(struct arena *arena, const struct letter *letter, int64_t now_ms,
		  struct buf *ret_message, struct job *ret_job, struct reason *ret_reason,
		  struct err *err) MUST_CHECK;

#endif
