/*
 * prepare.h - a job ready to be sent: its message, and what the message says.
 */
#ifndef SBX_PRODUCER_PREPARE_H
#define SBX_PRODUCER_PREPARE_H

#include "queue/carrier.h"

struct prepared {
	struct value *tree;
	struct buf message;	  /* owned: prepared_release */
	struct job job;		  /* as decoded from the message */
	struct text_list unknown; /* "limit: unknown field; did you mean 'limits'?" */
};

/* Completes and validates `tree`. 0, REFUSED with the reason, or -1. The
 * tree's input must outlive it. Release after any return. */
int prepare_tree(struct arena *arena, struct value *tree, struct prepared *ret,
		 struct reason *ret_reason, struct err *err) MUST_CHECK;

/* From JSON text; what is no JSON is REFUSED as job.malformed. */
int prepare_json(struct arena *arena, const char *text, size_t len, struct prepared *ret,
		 struct reason *ret_reason, struct err *err) MUST_CHECK;

/* From a packed message, which is packed again in its shortest form. */
int prepare_message(struct arena *arena, const void *data, size_t len, struct prepared *ret,
		    struct reason *ret_reason, struct err *err) MUST_CHECK;

void prepared_release(struct prepared *prepared);

/* What the carrier needs to know to send it. Borrows from `prepared`. */
struct message prepared_message(const struct prepared *prepared);

#endif
