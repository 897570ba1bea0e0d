/*
 * init_private.h - the parts of pid 1 of a box: init.c is its life, the others
 * are what it is asked for.
 */
#ifndef SBX_SANDBOX_INIT_PRIVATE_H
#define SBX_SANDBOX_INIT_PRIVATE_H

#include "worker/sandbox/filter.h"
#include "worker/sandbox/sandbox_private.h"

/* A caller that waits for a route socket. */
struct asking {
	struct filter_call call;
	int64_t until_us;
};

enum { ASKING_MAX = 64 };

/* The step that runs; `pid` is 0 when none does. */
struct init_step {
	pid_t pid;
	int64_t started_us;
	bool ended; /* the direct child has been reaped */
	struct wire_done done;
	struct asking asking[ASKING_MAX]; /* the first has waited longest */
	size_t asking_len;
};

struct init {
	int host_fd;
	int control_fd;
	int signal_fd; /* SIGCHLD */
	int notify_fd; /* calls that the filter kills for, and those that ask */
	struct filter_key filter_key;
	const struct sock_fprog *narrow; /* by profile */
	const struct box_host *host;	 /* as it was when init was made */
	int landlock_abi;		 /* 0: not used */
	int landlock_fd;		 /* rules of steps; -1: none */
	long route_sockets;		 /* at most, of the job at a time */
	int proc_fd;			 /* a writable /proc */
	int oom_fd;			 /* its own /proc/self/oom_score_adj */
	char oom_score[16];		 /* that it has between steps */
	int mount_ns_fd;
	int work_fd;  /* top of the workspace, as it is seen */
	int layer_fd; /* top of the layer */
	bool attached;
	bool stepped; /* a step has run: no more edits */
	bool finished;
	struct wire_attach attach;
	int64_t deadline_us; /* when the host's own patience ends; 0: never */
	struct init_step step;
	_Alignas(8) uint8_t message[WIRE_BYTES];
};

/* init_setup.c: from a copy of the host to the confined pid 1. */
int init_setup(struct init *init, const struct init_start *start, struct err *err) MUST_CHECK;

/* init_step.c. `len` bytes of init->message are a WIRE_STEP; takes `fds`. A
 * negative result means that the driver broke the rules. */
int init_step_start(struct init *init, size_t len, int *fds, size_t fds_len,
		    struct err *err) MUST_CHECK;

/* Looks at what happened: children that ended, calls that kill, a full layer. */
void init_step_look(struct init *init);

/* Kills and reaps everything but init. Then `init->step.done` is complete. */
void init_step_end(struct init *init);

/* init_route.c: a step's process asks for a route socket; it is answered. */
void init_route(struct init *init, const struct filter_call *call);
/* ... now, if one has been closed or the wait is over. */
void init_route_look(struct init *init);

/* init_files.c: applies a memory file of edits. */
int init_edit(struct init *init, int fd, struct err *err) MUST_CHECK;

/* init_walk.c: both send to the control socket; a negative result means that
 * the driver broke the rules or left. */
int init_changes(struct init *init, struct err *err) MUST_CHECK;
int init_find(struct init *init, size_t len, struct err *err) MUST_CHECK;

/* Sends WIRE_FAILED with `err`, or WIRE_OK. Ends the process when nobody is there. */
void init_reply(struct init *init, int result, const struct err *err);

#endif
