/*
 * record.h - a dead letter as one line of JSON that gives back the same letter:
 * its payload byte for byte, its headers, and why it was given up.
 *
 *	{"sbx_dead": 1, "id": ..., "reason": ..., "headers": [[KEY, VALUE], ...], "body": ...}
 *
 * Bytes are text where they are UTF-8 and {"base64": "..."} where they are not.
 */
#ifndef SBX_PRODUCER_RECORD_H
#define SBX_PRODUCER_RECORD_H

#include "queue/carrier.h"

/* NULL when the arena is exhausted. Borrows from `delivery`. ERR_LIMIT for a
 * letter too large to have been carried whole. */
int record_from_delivery(struct arena *arena, const struct delivery *delivery, struct value **ret,
			 struct err *err) MUST_CHECK;

/* The message for ROUTE_DEAD. Borrows from the arena. ERR_INPUT says what is
 * no record. */
int record_to_message(struct arena *arena, const struct value *record, struct message *ret,
		      struct err *err) MUST_CHECK;

#endif
