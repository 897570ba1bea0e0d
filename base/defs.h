/*
 * defs.h - the few compiler words that every file uses.
 *
 * Nothing here allocates, fails or has state.
 */
#ifndef SBX_BASE_DEFS_H
#define SBX_BASE_DEFS_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The caller must look at the result, or say with NEGLECT that it does not
 * matter (gcc does not take a cast to void for an answer). */
#define MUST_CHECK	       __attribute__((warn_unused_result))
#define NEGLECT(call)	       ((void)!(call))
#define NORETURN	       __attribute__((noreturn))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Runs `fn(&variable)` when the variable leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/*
 * A run of bytes somebody else owns. `data` may be NULL when `len` is 0. Not
 * NUL-terminated unless the text that hands it out says so.
 */
struct bytes {
	const uint8_t *data;
	size_t len;
};

/*
 * The second kind of "no" beside -1: the job itself is at fault. A function
 * that can meet all three kinds of failure returns 0 on success, REFUSED with
 * a struct reason filled (a verdict), or -1 with a struct err filled (a fault
 * of the host, worth a retry). A bug asserts.
 */
enum { REFUSED = 1 };

#endif
