/*
 * dispatch_private.h - the message being read, for dispatch*.c only.
 *
 *	while (letter_next(socket, &err) == 1) {
 *		struct ipc_pub_fate *fate = LETTER(IPC_PUB_FATE, ipc_pub_fate);
 *		...
 *		letter_close_fds();
 *	}
 */
#ifndef SBX_WORKER_DISPATCH_PRIVATE_H
#define SBX_WORKER_DISPATCH_PRIVATE_H

#include "worker/supervisor_private.h"

enum { MESSAGES_AT_ONCE = 64 };

/* One message of another role, with the descriptors that came along: who takes
 * one over takes it out of `fds`. */
struct letter {
	_Alignas(max_align_t) uint8_t room[IPC_MESSAGE_BYTES];
	ssize_t len;
	int fds[FD_PASS_MAX];
	size_t fds_len;
};

extern struct letter letter;

/* Returns 1 with a message in `letter`, 0 when there is none now, -1 when the
 * other side is gone. */
int letter_next(int socket, struct err *err) MUST_CHECK;
enum ipc_kind letter_kind(void);
void letter_close_fds(void);

/* The message as this structure, NULL when it is none. */
void *letter_as(enum ipc_kind kind, size_t size);
#define LETTER(kind, type) ((struct type *)letter_as(kind, sizeof(struct type)))

/* Messages of one trusted role; the loss of a role ends the worker. */
void dispatch_role(struct supervisor *self, struct outbox *outbox, const char *name,
		   uint32_t events, void (*handle)(struct supervisor *self));

/* Whether a job of this source may have the mode that it asks for: 0, or REFUSED
 * with why. */
int dispatch_mode_check(const struct task *task, struct reason *ret_reason) MUST_CHECK;

/* Which mode the job runs in, and its limits then. `findings` are those of the
 * diff, by severity. REFUSED when policy has none for it, -1 out of memory. */
int dispatch_mode(struct task *task, const int64_t findings[SEVERITY_COUNT],
		  struct reason *ret_reason, struct err *err) MUST_CHECK;

/* Gives the job of a task that has a slot to its executor. */
void dispatch_job(struct task *task);

/* Has the task's base mounted in the box of its slot. */
void dispatch_layer(struct task *task);

/* The job ends here although its executor could go on. */
void dispatch_take_back(struct slot *slot);

#endif
