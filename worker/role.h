/*
 * role.h - the processes of a worker: starting one, and what it gives up.
 *
 * A role is the same program, executed anew (so it has nothing of its
 * parent's memory or environment), with a socket to the supervisor as
 * descriptor ROLE_SOCKET, and nothing at standard input and output. Its first message is its
 *configuration: only the keys of its role. It ends when the socket does.
 *
 *	role_start("zygote", &config, ROLE_ZYGOTE, &socket, &pid, &err);	// supervisor
 *	role_enter(&config, &arena, &err);					// the role
 */
#ifndef SBX_WORKER_ROLE_H
#define SBX_WORKER_ROLE_H

#include <assert.h>
#include <sys/types.h>

#include "queue/carrier.h"
#include "worker/config.h"

enum { ROLE_SOCKET = 3 };

/*
 * The uids of a worker that was started as root, counted from worker.uid_base:
 * nobody else on the host has them.
 *
 *	+0		supervisor, publisher, storekeeper; owner and group of the store
 *	+100 + box	executors
 *	+600 + box	sandboxes
 *
 * There are more boxes than slots, so that a job that starts as soon as another
 * ends does not wait for a fresh one: see pool.h.
 */
enum {
	ROLE_UID_EXECUTOR = 100,
	ROLE_UID_SANDBOX = 600,
	ROLE_SLOTS_MAX = 400,
	ROLE_BOXES_MAX = 500,
};
static_assert(ROLE_SLOTS_MAX < ROLE_BOXES_MAX, "each slot has a box, and one waits");
static_assert(ROLE_UID_EXECUTOR + ROLE_BOXES_MAX <= ROLE_UID_SANDBOX, "no uid has two owners");

int role_start(const char *name, const struct config *config, enum config_role role,
	       int *ret_socket, pid_t *ret_pid, struct err *err) MUST_CHECK;

/* Reads the configuration from ROLE_SOCKET and sets up the log. */
int role_enter(const char *name, struct config *config, struct arena *arena,
	       struct err *err) MUST_CHECK;

/* Takes over what may change of the settings that came with IPC_CONFIG in the
 * memory file `fd`, borrowed. When that fails the old ones stay, and it is
 * logged. Texts stay valid until the next call. */
void role_reload(const char *name, struct config *config, int fd);

/*
 * Becomes `uid` with `gid` as the only group, for good, and reads it back
 * (not when it is not root, nor for ROLE_SAME_UID). Of its capabilities it
 * keeps those in `keep` (bits of capabilities(7)); it gets no new privileges
 * and cannot be dumped.
 */
#define ROLE_SAME_UID ((uid_t)-1)
int role_drop(uid_t uid, gid_t gid, uint64_t keep, struct err *err) MUST_CHECK;

/* How this worker's processes reach the broker; `process` names the connection. */
struct carrier_config role_carrier(const struct config *config, struct arena *arena,
				   const char *process);

#endif
