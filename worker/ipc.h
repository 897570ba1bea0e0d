/*
 * ipc.h - what the processes of one worker say to each other: one fixed
 * structure a message, over SOCK_SEQPACKET, with descriptors beside it.
 *
 *	supervisor -> any role		CONFIG [settings]
 *	supervisor -> publisher		PUB_MESSAGE [body]
 *	publisher  -> supervisor	PUB_FATE, PUB_STATE
 *	supervisor -> storekeeper	STORE_FETCH [payload], STORE_SETTLE [objects]
 *	storekeeper -> supervisor	STORE_FETCHED, STORE_SETTLED
 *	supervisor -> zygote		BOX_KEEP, BOX_ATTACH, BOX_KILL, BOX_REMAKE
 *	zygote     -> supervisor	BOX_HOST, BOX_READY [executor], BOX_ATTACHED, BOX_FAILED
 *	supervisor -> executor		EXEC_JOB [payload], EXEC_LAYER, EXEC_STOP
 *	executor   -> supervisor	EXEC_STATE, EXEC_WANT_LAYER, EXEC_OUTPUT, EXEC_SAMPLE,
 *					EXEC_DONE [body, objects]
 *
 * The sender is known by its socket. An executor is hostile once it has read
 * its job: what it sends is accepted only in a state that permits it, and its
 * texts are terminated by the receiver. A message of the wrong size or kind
 * ends that executor, or, from any other role, the worker.
 */
#ifndef SBX_WORKER_IPC_H
#define SBX_WORKER_IPC_H

#include "base/fd.h"
#include "queue/carrier.h"
#include "schema/limits.h"
#include "schema/result.h"
#include "snapshots/gitdb.h"
#include "worker/sandbox/box.h"

enum { IPC_PATH_BYTES = 1024, IPC_KEY_BYTES = 256, IPC_INLINE_BYTES = 60 * 1024 };

enum ipc_kind {
	IPC_PUB_MESSAGE = 1,
	IPC_PUB_FATE,
	IPC_PUB_STATE,
	IPC_STORE_FETCH,
	IPC_STORE_FETCHED,
	IPC_STORE_SETTLE,
	IPC_STORE_SETTLED,
	IPC_BOX_HOST,
	IPC_BOX_KEEP,
	IPC_BOX_READY,
	IPC_BOX_ATTACH,
	IPC_BOX_ATTACHED,
	IPC_BOX_KILL,
	IPC_BOX_REMAKE,
	IPC_BOX_FAILED,
	IPC_EXEC_JOB,
	IPC_EXEC_LAYER,
	IPC_EXEC_STOP,
	IPC_EXEC_STATE,
	IPC_EXEC_WANT_LAYER,
	IPC_EXEC_OUTPUT,
	IPC_EXEC_SAMPLE,
	IPC_EXEC_DONE,
	IPC_CONFIG,
};

/* To any role, with its settings as at its start in a memory file: those that
 * may change are to be taken over. */
struct ipc_config {
	enum ipc_kind kind;
};

/* --- publisher -------------------------------------------------------- */

struct ipc_pub_message {
	enum ipc_kind kind;
	enum route route;
	uint64_t tag;
	enum job_priority priority;
	enum wait_bucket bucket;
	int64_t attempts;
	int64_t timestamp_us;
	int64_t first_at_ms;
	int64_t last_at_ms;
	char id[IPC_KEY_BYTES];
	char key[IPC_KEY_BYTES];
	char reply_to[IPC_KEY_BYTES];
	char correlation_id[IPC_KEY_BYTES];
	char reason[64]; /* "": no death headers */
	char error[ERR_MESSAGE_BYTES];
	char worker[IPC_KEY_BYTES];
	char queue[IPC_KEY_BYTES];
	uint32_t headers_len; /* of what follows, as headers.h has them; the body is the rest */
	uint32_t inline_len;  /* or 0 and a memory file beside the message */
	uint8_t inline_body[];
};

struct ipc_pub_fate {
	enum ipc_kind kind;
	uint64_t tag;
};

struct ipc_pub_state {
	enum ipc_kind kind;
	bool connected;
	bool blocked; /* the broker takes nothing now */
	char why[ERR_MESSAGE_BYTES];
};

/* --- storekeeper ------------------------------------------------------ */

/* With `repo` "" the source is files that come with the job, whose message goes
 * along; `commit` is then "", or theirs when it is known already. */
struct ipc_store_fetch {
	enum ipc_kind kind;
	uint64_t task;
	bool checkout;
	char repo[LIMIT_TEXT_CHARS + 1];
	char commit[LIMIT_PATH_BYTES + 1];
};

/* How a request ended, in the three kinds of failure. */
enum ipc_end { IPC_OK, IPC_REFUSED, IPC_FAULT };

struct ipc_store_fetched {
	enum ipc_kind kind;
	uint64_t task;
	enum ipc_end end;
	struct reason reason; /* IPC_REFUSED */
	char error[ERR_MESSAGE_BYTES];
	struct oid commit;
	struct oid tree;
	char repo_path[IPC_PATH_BYTES];
	char checkout_path[IPC_PATH_BYTES];
	char under_path[IPC_PATH_BYTES]; /* what the checkout is a layer over; "": it is whole */
	bool trusted;			 /* the source is one of [sources] trusted */
};

struct ipc_store_settle {
	enum ipc_kind kind;
	uint64_t task;
	struct oid base; /* as the storekeeper answered it */
	struct oid keep; /* as the executor says: the base, or what it has made of it */
	char repo[LIMIT_TEXT_CHARS + 1];
	char job[LIMIT_ID_CHARS + 1];
};

struct ipc_store_settled {
	enum ipc_kind kind;
	uint64_t task;
	enum ipc_end end; /* IPC_REFUSED: for what the executor handed over */
	char error[ERR_MESSAGE_BYTES];
};

/* --- zygote ----------------------------------------------------------- */

struct ipc_box_host {
	enum ipc_kind kind;
	uint32_t missing_len;
	char missing[16][64];
};

/* Whether this slot is to have a box whenever it is empty; none has at first.
 * When it is not, the box `serial` ends, if that is still the one. */
struct ipc_box_keep {
	enum ipc_kind kind;
	uint32_t slot;
	uint64_t serial;
	bool kept;
};

/* A fresh box and its executor wait in this slot. `serial` tells them from
 * those before and after: a request about another one is out of date. */
struct ipc_box_ready {
	enum ipc_kind kind;
	uint32_t slot;
	uint64_t serial;
	uint64_t config;	      /* how many IPC_CONFIG its executor has seen */
	uint32_t root;		      /* which of roots.h the box has */
	struct box_networks networks; /* of all so far */
};

struct ipc_box_attach {
	enum ipc_kind kind;
	uint32_t slot;
	uint64_t serial;
	struct box_limits limits;
	char checkout_path[IPC_PATH_BYTES];
	char under_path[IPC_PATH_BYTES];
};

struct ipc_box_attached {
	enum ipc_kind kind;
	uint32_t slot;
	uint64_t serial;
	bool ok;
	bool unlimited; /* a limit has no controller: box.h, box_attach */
	bool gone;	/* the checkout is; another one may be attached */
	char error[ERR_MESSAGE_BYTES];
};

/* Ends what is in the slot; BOX_READY follows when it is fresh again. */
struct ipc_box_kill {
	enum ipc_kind kind;
	uint32_t slot;
	uint64_t serial;
};

/* What waits in the slot is to have another root: it is made anew, and then
 * BOX_READY follows, or BOX_FAILED. When it has got a workspace already, the
 * request is void. */
struct ipc_box_remake {
	enum ipc_kind kind;
	uint32_t slot;
	uint64_t serial;
	uint32_t root;
};

/* No box could be made with this root; the zygote tries again by itself, with the
 * first root. */
struct ipc_box_failed {
	enum ipc_kind kind;
	uint32_t slot;
	uint32_t root;
	char error[ERR_MESSAGE_BYTES];
};

/* --- executor --------------------------------------------------------- */

struct ipc_exec_job {
	enum ipc_kind kind;
	bool output_events;
	struct box_limits limits;
	struct oid commit;
	struct oid tree;
	char repo_path[IPC_PATH_BYTES];
};

/* The diff is judged, the steps may run. */
struct ipc_exec_want_layer {
	enum ipc_kind kind;
	int64_t findings[SEVERITY_COUNT]; /* of the diff, by severity */
};

struct ipc_exec_layer {
	enum ipc_kind kind;
	bool ok;
	struct box_limits limits; /* that hold, perhaps lower than those of EXEC_JOB */
	char error[ERR_MESSAGE_BYTES];
};

struct ipc_exec_stop {
	enum ipc_kind kind;
};

struct ipc_exec_state {
	enum ipc_kind kind;
	enum job_state state;
	int64_t at_us;
};

struct ipc_exec_output {
	enum ipc_kind kind;
	uint32_t stream; /* 0: stdout, 1: stderr */
	uint32_t len;
	char step[LIMIT_NAME_CHARS + 1];
	uint8_t data[];
};

/* As of driver.h, of a step that runs. */
struct ipc_exec_sample {
	enum ipc_kind kind;
	int64_t wall_us, cpu_us, memory_bytes, output_bytes;
	char step[LIMIT_NAME_CHARS + 1];
};

struct ipc_exec_done {
	enum ipc_kind kind;
	enum ipc_end end; /* IPC_FAULT: `error` says what failed on the host */
	enum verdict verdict;
	struct reason reason;
	char error[ERR_MESSAGE_BYTES];
	struct result_metrics metrics; /* what the kernel counted; run_us */
	uint64_t body_pairs;
	bool has_objects;
	struct oid keep; /* what the job's ref is to name */
};

/* Receives one message into a buffer this large. */
enum { IPC_MESSAGE_BYTES = 64 * 1024 };

/* Copies a text, cut where it must be. */
#define ipc_text(dst, src) ipc_copy_text((dst), sizeof(dst), (src))
void ipc_copy_text(char *dst, size_t size, const char *src);

#endif
