/*
 * filter_reference.h - the policy of filter.def once more, built by libseccomp.
 *
 * Only for the proof that filter.c compiles it rightly: a test runs both
 * programs over all numbers. libseccomp can't say "all but these values" with
 * an answer of its own for the rest, so the reference is two programs, and the
 * stricter answer holds, as it does in the kernel.
 *
 * The line of socket(2) is left out: of its rules of three conditions libseccomp
 * 2.5 writes a program that is not what its own pseudo code says. The test has a
 * plain function instead.
 */
#ifndef SBX_SANDBOX_FILTER_REFERENCE_H
#define SBX_SANDBOX_FILTER_REFERENCE_H

#include <linux/filter.h>

#include "base/defs.h"
#include "base/err.h"
#include "worker/sandbox/filter.h"

struct filter_reference {
	struct sock_fprog allow; /* what is not allowed answers ENOSYS */
	struct sock_fprog deny;	 /* what is not denied is allowed */
};

int filter_reference_build(enum filter_profile profile, struct filter_reference *ret,
			   struct err *err) MUST_CHECK;
void filter_reference_release(struct filter_reference *reference);

#endif
