/*
 * filter.h - which system calls a job may make: the tables of filter.def and
 * filter_profile.def as programs for seccomp(2).
 *
 *	struct sock_fprog program;
 *	filter_compile(FILTER_DEFAULT, &key, &program, &err);	// about 30 us
 *	...
 *	filter_install(&program, &listener, &err);	// in init; jobs inherit it
 *	filter_next(listener, &call);		// a call that waits for init
 *	filter_release(&program);
 *
 * A call that the table kills for waits in the kernel until init, which holds
 * the listener, has killed the job: SECCOMP_RET_KILL would not tell which
 * call it was. Should init be gone, such a call fails with ENOSYS. A call that
 * asks for a route socket waits there, too: init makes it, see init_route.c.
 *
 * A stricter profile can be put on top of a wider one:
 *
 *	filter_compile_narrow(FILTER_TRUSTED, FILTER_STRICT, &key, &narrow, &err);
 *	filter_narrow(&key, &narrow, &err);
 */
#ifndef SBX_SANDBOX_FILTER_H
#define SBX_SANDBOX_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"

enum {
	FILTER_CHECKS_MAX = 48,
	FILTER_CONDITIONS = 3,
	FILTER_LINES_MAX = 512,
	FILTER_CALL_BYTES = 32,
};

/* From wide to strict: trusted, default, strict. */
enum filter_profile {
	FILTER_DEFAULT, /* what builds and tests need */
	FILTER_TRUSTED, /* and what debuggers, tracers and sandboxes of their own do */
	FILTER_STRICT,	/* what programs can do without */
	FILTER_PROFILES
};
const char *filter_profile_name(enum filter_profile profile); /* "none" of what is none */
bool filter_profile_parse(const char *name, enum filter_profile *ret);

/* Whether a valid `profile` refuses all that `widest` refuses. */
bool filter_fits(enum filter_profile widest, enum filter_profile profile);

/* What the kernel is told, in the encoding of seccomp(2). */
#define FILTER_ALLOW	 0x7fff0000U /* SECCOMP_RET_ALLOW */
#define FILTER_ERRNO(e)	 (0x00050000U | (e))
#define FILTER_KILL	 0x7fc00000U /* SECCOMP_RET_USER_NOTIF; init does the rest */
#define FILTER_ASK	 FILTER_KILL /* the same for a call that init answers */
#define FILTER_X32_FIRST 0x40000000U

/* A condition on the lower 32 bits of an argument. The kernel cuts each of
 * these arguments to 32 bits too, so the upper half can't be used to slip by. */
struct filter_condition {
	uint32_t mask, value;
	uint8_t arg;
};

/* The first check whose conditions all hold decides. */
struct filter_check {
	struct filter_condition conditions[FILTER_CONDITIONS];
	uint8_t len;
	bool init_only; /* and the fourth and fifth argument are the key */
	uint32_t action;
};

/* Two numbers that no job can guess: a call that init alone may make shows
 * them in arguments that the kernel does not look at. */
struct filter_key {
	uint32_t words[2];
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

/* The table of a profile, in the order of filter.def. */
size_t filter_table(enum filter_profile profile, struct filter_line ret[FILTER_LINES_MAX]);

/* The AUDIT_ARCH_* this program is built for. */
uint32_t filter_arch(void);

/* Never fails but for memory. */
int filter_compile(enum filter_profile profile, const struct filter_key *key,
		   struct sock_fprog *ret, struct err *err) MUST_CHECK;

/* The program that makes `to` of `from` when both are in place: it answers
 * where their tables differ. Nothing, len 0, where `to` refuses nothing more. */
int filter_compile_narrow(enum filter_profile from, enum filter_profile to,
			  const struct filter_key *key, struct sock_fprog *ret,
			  struct err *err) MUST_CHECK;
void filter_release(struct sock_fprog *program);

/* Puts the calling thread under the filter for good. no_new_privs must be set. */
int filter_install(const struct sock_fprog *program, int *ret_listener, struct err *err) MUST_CHECK;

/* Puts the calling thread under another one, on top. */
int filter_narrow(const struct filter_key *key, const struct sock_fprog *program,
		  struct err *err) MUST_CHECK;

/* A call that waits for init. */
struct filter_call {
	uint64_t id;
	char name[FILTER_CALL_BYTES]; /* "reboot", "i386:102", "x32:1" */
	bool asks;		      /* for a route socket; else it is one that kills */
	uint32_t type;		      /* of the socket */
};

/* Takes one from the listener. False when there is none. */
bool filter_next(int listener, struct filter_call *ret);

/* Answers it: with a copy of `fd`, or with an errno. What became of the caller
 * meanwhile does not matter. */
void filter_give(int listener, const struct filter_call *call, int fd);
void filter_refuse(int listener, const struct filter_call *call, int number);

/* In init: a route socket, past the filter. -1 with errno. */
int filter_route_socket(const struct filter_key *key, uint32_t type);

#endif
