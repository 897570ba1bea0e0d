/*
 * carrier_private.h - what a carrier is to carrier.c: one table of functions.
 * A carrier's own publisher and consumer begin with these structs.
 */
#ifndef SBX_QUEUE_CARRIER_PRIVATE_H
#define SBX_QUEUE_CARRIER_PRIVATE_H

#include "queue/carrier.h"

/* Each as the function of carrier.h that has its name. */
struct publisher_ops {
	int (*open)(struct publisher **ret, const struct carrier_config *config, struct err *err);
	void (*close)(struct publisher *publisher);
	int (*send)(struct publisher *publisher, enum route route, const struct message *message,
		    uint64_t tag, struct err *err);
	int (*send_wait)(struct publisher *publisher, enum route route,
			 const struct message *message, int timeout_ms, struct err *err);
	int (*next)(struct publisher *publisher, int timeout_ms, struct publisher_fate *ret,
		    struct err *err);
	int (*flush)(struct publisher *publisher, int timeout_ms, struct err *err);
	int (*fd)(const struct publisher *publisher);
	int (*timeout_ms)(const struct publisher *publisher);
	bool (*blocked)(const struct publisher *publisher, const char **ret_why);
};

enum settle { SETTLE_ACK, SETTLE_HANDBACK, SETTLE_REJECT };

struct consumer_ops {
	int (*open)(struct consumer **ret, const struct carrier_config *config, enum source source,
		    const char *key, const struct consumer_hooks *hooks, struct err *err);
	void (*close)(struct consumer *consumer);
	int (*fd)(const struct consumer *consumer);
	int (*timeout_ms)(const struct consumer *consumer);
	int (*dispatch)(struct consumer *consumer, struct err *err);
	int (*settle)(struct consumer *consumer, uint64_t epoch, uint64_t tag, enum settle how,
		      struct err *err);
	void (*prefetch)(struct consumer *consumer, unsigned prefetch);
	void (*ask)(struct consumer *consumer);
	int (*stop)(struct consumer *consumer, struct err *err);
};

struct carrier_ops {
	const char *schemes[3]; /* up to a NULL */
	const struct publisher_ops *publisher;
	const struct consumer_ops *consumer;
	int (*inspect)(struct arena *arena, const struct carrier_config *config,
		       struct carrier_report *ret, struct err *err);
	int (*declare)(const struct carrier_config *config, struct err *err);
	int (*visit_dead)(const struct carrier_config *config,
			  int (*visit)(void *ctx, const struct delivery *delivery), void *ctx,
			  struct err *err);
	int (*give)(const struct carrier_config *config, unsigned uid, struct err *err);
};

struct publisher {
	const struct publisher_ops *ops;
};

struct consumer {
	const struct consumer_ops *ops;
};

extern const struct carrier_ops rabbit_carrier;
extern const struct carrier_ops lite_carrier;

#endif
