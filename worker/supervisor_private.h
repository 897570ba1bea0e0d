/*
 * supervisor_private.h - one worker and its jobs, as supervisor*.c, roles.c,
 * intake.c, dispatch*.c and finish.c share them.
 */
#ifndef SBX_WORKER_SUPERVISOR_PRIVATE_H
#define SBX_WORKER_SUPERVISOR_PRIVATE_H

#include "base/text.h"
#include "queue/carrier.h"
#include "worker/cancel.h"
#include "worker/commands.h"
#include "worker/fairness.h"
#include "worker/ipc.h"
#include "worker/ledger.h"
#include "worker/loop.h"
#include "worker/meter.h"
#include "worker/mode.h"
#include "worker/outbox.h"
#include "worker/pool.h"
#include "worker/role.h"
#include "worker/roots.h"
#include "worker/supervisor.h"

enum {
	PRIORITIES = 3,
	DEPTHS = 4, /* job queues and dead letters */
	TASK_ARENA_BYTES = 128 << 20,
	MISSING_MAX = 16,
	TROUBLE_GAP_US = 10 * 1000 * 1000,
};

struct supervisor;

/* One delivery and what becomes of it. */
struct task {
	struct task *next;	   /* in supervisor.tasks */
	struct task *next_waiting; /* in supervisor.waiting, while `waiting` */
	struct supervisor *supervisor;
	uint64_t id;
	struct arena arena;
	struct bytes payload;
	char digest[65];
	struct job job;
	bool in_ledger; /* the ledger has a row that this task may finish */
	bool started;	/* counted as a crash there until it ends */

	/* where it came from */
	size_t local_index;
	uint64_t epoch, tag;
	const char *reply_to;
	const char *message_id; /* as the producer gave it, whatever the body says */
	const char *correlation_id;
	struct bytes headers; /* of the producer, packed: headers.h */
	const char *queue;
	enum job_priority priority;
	int64_t timestamp_us;
	int64_t attempts; /* before this one */
	int64_t first_fault_ms;

	/* how far it is */
	enum job_state state;
	int64_t state_at_us[STATE_COUNT];
	int64_t received_mono_us;
	bool waiting; /* for its base, or for a slot */
	bool missed;  /* it might have started, had a box been ready */
	enum { BASE_WANTED, BASE_ASKED, BASE_READY } base;
	int64_t base_mono_us;	  /* since when it is ready */
	struct slot *slot;	  /* NULL: none taken */
	unsigned root;		  /* which of supervisor.roots its box must have */
	struct job_limits wanted; /* asked for, of the preset, or defaults; at most the maxima */
	struct box_limits limits; /* ... and of the mode */
	struct text_list clamped;
	bool trusted_source;
	bool asked_again;	 /* for its base, which was removed before it was mounted */
	struct mode_choice mode; /* .mode NULL: no box was made for it */
	struct oid commit, tree;
	const char *repo_path;
	const char *checkout_path;
	const char *under_path;	 /* what it is a layer over; "": it is whole */
	int64_t kill_at_mono_us; /* 0: no executor has the job */
	bool stop_sent;		 /* it was cancelled while an executor had it */
	bool cancelled;
	int64_t waits_until_us; /* in a wait queue, once that is confirmed; 0: in none */

	/* what came of it */
	enum verdict verdict;
	struct reason reason;
	struct result_metrics metrics;
	struct bytes body; /* mapped */
	uint64_t body_pairs;
	const char *letter;    /* a dead letter is due, with this error; NULL: none */
	bool decided;	       /* a result is on its way */
	int64_t ended_mono_us; /* its executor was done with it; 0: not yet */
	/* Above 0 the task is leaving: whatever else comes for it is too late. */
	unsigned confirms_due;
	int64_t leaving_mono_us; /* since when */
};

/* A place for one running job: the zygote's slot as the supervisor sees it. */
struct slot {
	struct supervisor *supervisor;
	unsigned number;
	uint64_t serial;	/* of what the zygote made there last */
	unsigned root;		/* that this has */
	bool kept;		/* the zygote makes a box whenever there is none */
	struct outbox executor; /* socket -1: no executor waits here */
	struct task *task;	/* NULL: free */
	/* Of the executor's box. AWAY: its base was removed, and is asked for again. */
	enum { LAYER_NONE, LAYER_ASKED, LAYER_AWAY, LAYER_GIVEN } layer;
};

/* Its box and executor are ready for a job. */
static inline bool slot_waits(const struct slot *slot)
{
	return slot->task == NULL && slot->executor.socket >= 0;
}

/* One of the two connections to the queue, as far as it has been told. */
struct connection {
	bool connected;
	bool blocked;	/* the broker takes no messages */
	uint64_t epoch; /* counts up with each connection */
	char why[256];	/* it is down, or blocked */
};

/* Messages ready in a queue, when it was last asked. */
struct depth {
	char queue[64];
	int64_t messages;
};

struct supervisor {
	struct config *config;
	struct arena arena;
	struct loop loop;
	struct commands *commands;
	struct roots roots;
	const struct supervisor_source *source; /* NULL: nothing to read again */
	struct arena live;			/* settings that SIGHUP brought */
	uint64_t zygote_config;			/* how often it was sent others */
	struct ledger *ledger;			/* NULL: local */
	struct consumer *consumer;		/* NULL: local */
	const struct supervisor_local *local;
	int consumer_fd; /* as it is watched; -1: not */
	bool consumer_moved;
	struct carrier_config carrier;
	struct outbox publisher, storekeeper, zygote;
	pid_t pids[3];
	int role_fds[3];      /* of those processes; -1: none */
	int64_t role_lost_us; /* since when one of them is gone; 0: none is */
	struct slot *slots;
	size_t slots_len;
	struct pool pool;
	bool host_known; /* the zygote has said which layers hold */
	struct text_list missing;
	struct task *tasks;
	struct task *waiting[PRIORITIES];
	unsigned passed_over[PRIORITIES];	/* starts of higher ones since the last of it */
	int64_t successor_until_us[PRIORITIES]; /* one acked makes room for the next */
	bool expecting;				/* a slot is kept for it */
	unsigned quick_jobs;			/* in a row that needed no slot */
	int64_t aside_at_us;			/* when jobs may be put aside again */
	uint64_t next_id;
	size_t local_next, local_done;
	char mark[TEXT_UUID_BYTES]; /* when it is heard, all cancels of before are */
	int64_t mark_until_us;
	bool caught_up; /* it was: jobs may start */
	struct connection consuming, publishing;
	struct depth depths[DEPTHS]; /* as seen last; those not seen yet have no name */
	int64_t ask_at_us;
	struct meter meter;
	int64_t started_mono_us;
	int status_fd;				/* -1: none */
	const struct supervisor_server *server; /* NULL: none */
	struct metrics *metrics;		/* its own; NULL: off */
	int signal_fd;
	unsigned stop_signals;
	int64_t drain_until_us;
	int64_t tidy_at_us;
	int64_t trouble_since_us; /* sandboxes or executors fail, one after the other */
	int64_t trouble_last_us;
	bool dying; /* going on makes no sense; `fatal` says why */
	struct err fatal;
};

/* --- supervisor.c ----------------------------------------------------- */

/* Ends the worker in order: the message goes to the log and to the caller. */
void supervisor_die(struct supervisor *self, const struct err *why);

struct task *task_new(struct supervisor *self);
struct task *task_find(struct supervisor *self, uint64_t id);
/* Takes it out of every list and frees it. Its slot must be given back before. */
void task_free(struct task *task);
/* Whether an executor is needed: without diff and steps the base is the answer. */
static inline bool task_needs_slot(const struct task *task)
{
	return task->job.patch.present || task->job.steps_len > 0;
}

/* Moves to the next state and tells who follows the job. */
void task_move(struct task *task, enum job_state state, int64_t at_us);

/* --- supervisor_state.c: the state directory -------------------------- */
int supervisor_prepare_state(struct supervisor *self, struct err *err) MUST_CHECK;
/* One worker a ledger, for the life of this process. */
int supervisor_lock(struct supervisor *self, struct err *err) MUST_CHECK;
int supervisor_open_ledger(struct supervisor *self, struct err *err) MUST_CHECK;

/* --- reload.c: SIGHUP ------------------------------------------------- */
void supervisor_reload(struct supervisor *self);

/* --- roles.c: the other processes ------------------------------------- */
int roles_start(struct supervisor *self, struct err *err) MUST_CHECK;
void roles_look_at_clock(struct supervisor *self, int64_t now_us);
void roles_end(struct supervisor *self);

/* --- intake.c: a delivery becomes a task ------------------------------ */
void intake_delivered(void *ctx, const struct delivery *delivery);
void intake_local(struct supervisor *self, size_t index);
struct box_limits intake_box_limits(const struct job_limits *limits);
/* Asks for the bases of what waits; starts what has its base while there are
 * slots. */
void intake_pump(struct supervisor *self);
/* Whether it waited; it does not any longer. */
bool intake_unwait(struct task *task);
/* Forgets what has not started; handed back when `hand_back`. */
void intake_drop_waiting(struct supervisor *self, bool hand_back);

/* --- dispatch.c, dispatch_box.c: what the other processes say --------- */
/* Asks the storekeeper for the base of a task. */
int dispatch_fetch(struct task *task, struct err *err) MUST_CHECK;
/* The base is here, and so is the slot where one is needed. */
int dispatch_start(struct task *task, struct err *err) MUST_CHECK;
void dispatch_publisher(void *ctx, int fd, uint32_t events);
void dispatch_storekeeper(void *ctx, int fd, uint32_t events);
void dispatch_zygote(void *ctx, int fd, uint32_t events);
/* The slot is to be made anew, whatever runs in it. */
void dispatch_kill(struct slot *slot);
/* A task has taken the slot: what waits there must have its root. */
void dispatch_fit_root(struct slot *slot);

/* --- finish.c: results, retries, dead letters, acks -------------------- */

/* Verdict, reason and body are set: stores and publishes the result. */
void finish_result(struct task *task);
/* Sets verdict and reason, then finish_result. */
void finish_refused(struct task *task, enum verdict verdict, const struct reason *reason);
/* The host failed: another attempt later, or the end. `crashed`: not in order. */
void finish_fault(struct task *task, enum reason_code code, const char *message, bool crashed);
/* The attempt ended in order: the slot is free once its executor is gone. */
void finish_attempt(struct task *task);
/* The message itself is no job: dead letter, and a result where it has an id. */
void finish_malformed(struct task *task, const char *tenant);
/* A stored result is sent once more. */
void finish_resend(struct task *task, const struct ledger_entry *entry);
/* Results that a crash kept from being sent. */
int finish_unsent(struct supervisor *self, struct err *err) MUST_CHECK;
/* The publisher has a message confirmed. */
void finish_confirmed(struct supervisor *self, uint64_t tag);
/* Something for all workers, this one included. */
void finish_control(struct supervisor *self, struct bytes body);
/* To the shortest wait queue, as if it had not come. */
void finish_aside(struct task *task);
/* Hands a job back to the queue without a trace. */
void finish_handback(struct task *task);
/* Live news of a task. */
void finish_event_state(struct task *task, enum job_state state, int64_t at_us);
void finish_event_sample(struct task *task, const struct ipc_exec_sample *sample);
void finish_event_output(struct task *task, const struct ipc_exec_output *output);

#endif
