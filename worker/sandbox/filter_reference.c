/*
 * filter_reference.c - the gateway to libseccomp: the table's lines become its
 * rules by name, so that the numbers are checked by somebody else, too.
 */
#include "worker/sandbox/filter_reference.h"

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/filter.h"

static uint32_t to_action(uint32_t action)
{
	if (action == FILTER_ALLOW)
		return SCMP_ACT_ALLOW;
	if (action == FILTER_KILL)
		return SCMP_ACT_NOTIFY;
	return SCMP_ACT_ERRNO(action & 0xffff);
}

/* Those checks of a rule that lead to an answer of the program's own kind. */
static int add_rule(scmp_filter_ctx ctx, int number, const struct filter_rule *rule, bool allow)
{
	for (size_t i = 0; i < rule->len; i++) {
		const struct filter_check *check = &rule->checks[i];
		struct scmp_arg_cmp compares[FILTER_CONDITIONS];

		for (size_t j = 0; j < check->len; j++) {
			const struct filter_condition *c = &check->conditions[j];

			compares[j] = SCMP_CMP(c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value);
		}
		/* What init alone may do no test shows libseccomp the key for. */
		if (!check->init_only && (check->action == FILTER_ALLOW) == allow &&
		    seccomp_rule_add_array(ctx, to_action(check->action), number, check->len,
					   compares) < 0)
			return -1;
	}
	return 0;
}

static int add_line(scmp_filter_ctx ctx, const struct filter_line *line, bool allow)
{
	int number = seccomp_syscall_resolve_name(line->name);

	if (number == __NR_SCMP_ERROR)
		return -1;
	if (strcmp(line->name, "socket") == 0)
		return 0; /* see the header */
	if (line->rule == NULL)
		return (line->action == FILTER_ALLOW) == allow
			       ? seccomp_rule_add(ctx, to_action(line->action), number, 0)
			       : 0;
	/* "Allowed but for these" is all allowed there and some denied here. */
	if (line->rule->otherwise == FILTER_ALLOW)
		return allow ? seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 0)
			     : add_rule(ctx, number, line->rule, false);
	return allow ? add_rule(ctx, number, line->rule, true) : 0;
}

static int export(scmp_filter_ctx ctx, struct sock_fprog *ret, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = memfd_create("filter", MFD_CLOEXEC);
	struct buf code;

	if (fd < 0 || seccomp_export_bpf(ctx, fd) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(err, "cannot export the reference filter");
	buf_init(&code, 1 << 20);
	if (fd_read_all(fd, &code, err) < 0) {
		buf_release(&code);
		return -1;
	}
	/* The program takes the buffer's memory over. */
	*ret = (struct sock_fprog){.len = (unsigned short)(code.len / sizeof(struct sock_filter)),
				   .filter = (struct sock_filter *)(void *)code.data};
	return 0;
}

static int build(enum filter_profile profile, struct sock_fprog *ret, bool allow, struct err *err)
{
	struct filter_line lines[FILTER_LINES_MAX];
	scmp_filter_ctx ctx = seccomp_init(allow ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_ALLOW);
	size_t len = filter_table(profile, lines);
	int result = -1;

	if (ctx == NULL || seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_NOTIFY) < 0)
		(void)err_set(err, ERR_SYSTEM, "cannot start the reference filter");
	else
		result = 0;
	for (size_t i = 0; i < len && result == 0; i++)
		if (add_line(ctx, &lines[i], allow) < 0)
			result = err_set(err, ERR_INPUT, "libseccomp refuses the line of '%s'",
					 lines[i].name);
	if (result == 0)
		result = export(ctx, ret, err);
	seccomp_release(ctx);
	return result;
}

int filter_reference_build(enum filter_profile profile, struct filter_reference *ret,
			   struct err *err)
{
	*ret = (struct filter_reference){0};
	if (build(profile, &ret->allow, true, err) < 0 ||
	    build(profile, &ret->deny, false, err) < 0) {
		filter_reference_release(ret);
		return -1;
	}
	return 0;
}

void filter_reference_release(struct filter_reference *reference)
{
	free(reference->allow.filter);
	free(reference->deny.filter);
	*reference = (struct filter_reference){0};
}
