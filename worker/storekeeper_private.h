/*
 * storekeeper_private.h - what the files of the storekeeper share. Only
 * storekeeper*.c include it.
 */
#ifndef SBX_WORKER_STOREKEEPER_PRIVATE_H
#define SBX_WORKER_STOREKEEPER_PRIVATE_H

#include "snapshots/store.h"
#include "worker/config.h"
#include "worker/ipc.h"
#include "worker/role.h"

enum {
	KEEPER_CHILDREN = ROLE_SLOTS_MAX * 4,
	KEEPER_PINS = 64,
	KEEPER_SECRET_BYTES = 16 << 10,
	KEEPER_HOSTS_BYTES = 256 << 10,
	KEEPER_ARENA_BYTES = 1 << 20, /* of one request */
};

/* A request that takes a while. */
struct keeper_child {
	pid_t pid;
	enum ipc_kind kind; /* of its answer */
	int socket;
	uint64_t task;
	bool trusted; /* FETCHED: the source is one of [sources] trusted */
};

/* A checkout that was named in an answer. */
struct keeper_pin {
	int fd;
	int64_t until_us; /* 0: free */
};

struct keeper_upkeep {
	pid_t pid;   /* 0: none */
	int end;     /* readable when it is over */
	bool looked; /* for damage */
	int64_t next_us;
};

struct keeper {
	struct config *config;
	struct store *store;
	const char *store_path;
	struct keeper_child children[KEEPER_CHILDREN];
	size_t children_len;
	struct keeper_pin pins[KEEPER_PINS];
	struct keeper_upkeep upkeep;
	bool quit;
};

/* --- storekeeper.c ----------------------------------------------------- */

void keeper_answer(struct keeper *keeper, const void *reply, size_t len);

/* The repository of a request: "" is that of files which come with jobs.
 * Returns as source_normalise. */
int keeper_source(struct keeper *keeper, struct arena *arena, const char *repo,
		  struct source_url *ret, struct reason *ret_reason, struct err *err) MUST_CHECK;

/* Has `run` send one answer of this kind from a process of its own. */
int keeper_child_start(struct keeper *keeper, enum ipc_kind kind, uint64_t task,
		       void (*run)(void *work, int socket), void *work, struct err *err) MUST_CHECK;

/* --- storekeeper_fetch.c ----------------------------------------------- */

/* `payload_fd` is the job's message when its files are the source, or -1. */
void keeper_fetch(struct keeper *keeper, struct ipc_store_fetch *request, int payload_fd);
/* A child has answered, or died: its socket says which. */
void keeper_fetched(struct keeper *keeper, const struct keeper_child *child);
/* Lets go of checkouts that were named in an answer a while ago. */
void keeper_release_pins(struct keeper *keeper, int64_t now_us);

/* --- storekeeper_settle.c ---------------------------------------------- */

/* `objects_fd` is what the executor has made, or -1. */
void keeper_settle(struct keeper *keeper, struct ipc_store_settle *request, int objects_fd);
void keeper_settled(struct keeper *keeper, const struct keeper_child *child);

/* --- storekeeper_login.c ----------------------------------------------- */

/* The secret of one fetch, in the memory of this process alone. */
struct keeper_login {
	char secret[KEEPER_SECRET_BYTES];
	char known_hosts[KEEPER_HOSTS_BYTES]; /* not that it were one */
};
void keeper_login_cleanup(struct keeper_login *login);
/* Fills in what the host of `source` wants to know, from the configuration.
 * What it points to is in `login`. */
int keeper_login(const struct keeper *keeper, struct keeper_login *login, struct source_url *source,
		 struct err *err) MUST_CHECK;

/* --- storekeeper_upkeep.c ---------------------------------------------- */

/* Milliseconds until the store is due, -1 while it cannot be. */
int keeper_upkeep_wait_ms(const struct keeper *keeper);
void keeper_upkeep_start(struct keeper *keeper);
void keeper_upkeep_ended(struct keeper *keeper);
/* Something was built: soon. */
void keeper_upkeep_soon(struct keeper *keeper);

#endif
