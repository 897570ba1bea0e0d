/*
 * history.h - results that came before anybody waited for them: they are in
 * the shared results queue, for seven days or until a program reads them.
 *
 *	ids_put(&wanted, "j1", &fresh);
 *	history_find(&config, &wanted, 1, &hooks, &err);
 */
#ifndef SBX_PRODUCER_HISTORY_H
#define SBX_PRODUCER_HISTORY_H

#include "producer/ids.h"
#include "queue/carrier.h"

/*
 * The entry whose result this is, by the message id "<id>.<run>"; NULL when it
 * is none of them, or of a run before `run`.
 */
struct ids_entry *history_entry(const struct ids *wanted, const struct delivery *delivery,
				int64_t run, int64_t *ret_run);

struct history_hooks {
	/* The result of the latest run of one id. */
	void (*found)(void *ctx, struct ids_entry *entry, const struct delivery *delivery);
	void *ctx;
};

/*
 * Looks through the shared queue and leaves everything in it; what was looked
 * at may come to stand in another order. What is already done in `wanted` is left out; `digest` of
 * the entries is used. The oldest million is looked at; `*ret_left_out` says how many
 * more there are.
 */
int history_find(const struct carrier_config *config, struct ids *wanted, int64_t run,
		 const struct history_hooks *hooks, uint64_t *ret_left_out,
		 struct err *err) MUST_CHECK;

#endif
