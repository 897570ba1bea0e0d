/*
 * filter.h - which system calls a job may make: the table of filter.def as
 * one program for seccomp(2).
 *
 *	struct sock_fprog program;
 *	filter_compile(&program);		// once a process, about 30 us
 *	...
 *	filter_install(&program, &listener, &err);	// in init; jobs inherit it
 *	filter_next(listener, &call);		// a call that kills was made
 *	filter_release(&program);
 *
 * A call that the table kills for waits in the kernel until init, which holds
 * the listener, has killed the job: SECCOMP_RET_KILL would not tell which
 * call it was. Should init be gone, such a call fails with ENOSYS.
 */
#ifndef SBX_SANDBOX_FILTER_H
#define SBX_SANDBOX_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"

enum {
	FILTER_CHECKS_MAX = 48,
	FILTER_CALL_BYTES = 32,
};

/* What the kernel is told, in the encoding of seccomp(2). */
#define FILTER_ALLOW	 0x7fff0000U /* SECCOMP_RET_ALLOW */
#define FILTER_ERRNO(e)	 (0x00050000U | (e))
#define FILTER_KILL	 0x7fc00000U /* SECCOMP_RET_USER_NOTIF; init does the rest */
#define FILTER_X32_FIRST 0x40000000U

/* One condition on the lower 32 bits of an argument, and perhaps on another:
 * the first that holds decides. The kernel cuts each of these arguments to 32
 * bits too, so the upper half can't be used to slip by. */
struct filter_check {
	uint32_t mask, value;
	uint32_t action;
	uint8_t arg;
	bool both; /* the second condition must hold as well */
	uint8_t arg2;
	uint32_t value2;
};

struct filter_rule {
	const struct filter_check *checks;
	size_t len;
	uint32_t otherwise;
};

struct filter_line {
	const char *name;
	uint32_t number;
	uint32_t action;		/* where there is no rule */
	const struct filter_rule *rule; /* NULL: none */
	const char *reason;
};

/* The table, in the order of filter.def. */
size_t filter_table(const struct filter_line **ret);

/* The AUDIT_ARCH_* this program is built for. */
uint32_t filter_arch(void);

/* Never fails but for memory. */
int filter_compile(struct sock_fprog *ret, struct err *err) MUST_CHECK;
void filter_release(struct sock_fprog *program);

/* Puts the calling thread under the filter for good. no_new_privs must be set. */
int filter_install(const struct sock_fprog *program, int *ret_listener, struct err *err) MUST_CHECK;

/* Takes one waiting call from the listener and names it: "reboot", "i386:102",
 * "x32:1". False when there is none. */
bool filter_next(int listener, char ret_call[FILTER_CALL_BYTES]);

#endif
