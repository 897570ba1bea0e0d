/*
 * filter.c - theory of operation.
 *
 * libseccomp takes about two milliseconds to build its database and to write
 * the program out, which is more than all the rest of a sandbox costs, so the
 * table is compiled here: the numbers are sorted, runs of the same answer
 * become one segment, and a binary search over the segments ends in the
 * answer or in the checks of one call. filter_reference.c builds the same
 * policy with libseccomp, and a test compares the two on every number.
 *
 * The program begins by refusing any other architecture (int 0x80) and the
 * x32 numbers, which would otherwise be a second road around the table.
 */
#include "worker/sandbox/filter.h"

#include <asm/unistd.h>
#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH_HERE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH_HERE AUDIT_ARCH_AARCH64
#else
#error "no system call table for this architecture"
#endif

static_assert(FILTER_ALLOW == SECCOMP_RET_ALLOW, "seccomp(2)");
static_assert(FILTER_ERRNO(0) == SECCOMP_RET_ERRNO, "seccomp(2)");
static_assert(FILTER_KILL == SECCOMP_RET_USER_NOTIF, "seccomp(2)");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lower half of an argument is first");

/* --- the rules ------------------------------------------------------------ */

#define ALL_BITS 0xffffffffU
#define NEW_SPACES                                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)
#define TIME_SPACE 0x80U /* CLONE_NEWTIME */
#define IF_EQ(n, v, a)                                                    \
	{                                                                 \
		.arg = (n), .mask = ALL_BITS, .value = (v), .action = (a) \
	}
#define IF_BITS(n, m, v, a)                                          \
	{                                                            \
		.arg = (n), .mask = (m), .value = (v), .action = (a) \
	}
#define IF_EQ_EQ(n, v, n2, v2, a)                                                       \
	{                                                                               \
		.arg = (n), .mask = ALL_BITS, .value = (v), .both = true, .arg2 = (n2), \
		.value2 = (v2), .action = (a)                                           \
	}
#define RULE(name, other)                                                                       \
	static const struct filter_rule rule_##name = {checks_##name, ARRAY_LEN(checks_##name), \
						       other}

static const struct filter_check checks_clone[] = {
	IF_BITS(0, NEW_SPACES, 0, FILTER_ALLOW),
};
RULE(clone, FILTER_ERRNO(EPERM));

static const struct filter_check checks_unshare[] = {
	IF_BITS(0, NEW_SPACES | TIME_SPACE, 0, FILTER_ALLOW),
};
RULE(unshare, FILTER_ERRNO(EPERM));

static const struct filter_check checks_ioctl[] = {
	IF_EQ(1, TIOCSTI, FILTER_ERRNO(EPERM)),
	IF_EQ(1, TIOCLINUX, FILTER_ERRNO(EPERM)),
	IF_EQ(1, TIOCSETD, FILTER_ERRNO(EPERM)),
	IF_EQ(1, TIOCCONS, FILTER_ERRNO(EPERM)),
};
RULE(ioctl, FILTER_ALLOW);

static const struct filter_check checks_socket[] = {
	IF_EQ(0, AF_UNIX, FILTER_ALLOW), IF_EQ(0, AF_INET, FILTER_ALLOW),
	IF_EQ(0, AF_INET6, FILTER_ALLOW),
	IF_EQ_EQ(0, AF_NETLINK, 2, 0, FILTER_ALLOW), /* NETLINK_ROUTE */
};
RULE(socket, FILTER_ERRNO(EAFNOSUPPORT));

/* What is missing would reach beyond the caller or the job: seccomp, core
 * scheduling, merging of pages with other jobs, who may trace. */
static const struct filter_check checks_prctl[] = {
	IF_EQ(0, PR_SET_NAME, FILTER_ALLOW),
	IF_EQ(0, PR_GET_NAME, FILTER_ALLOW),
	IF_EQ(0, PR_SET_VMA, FILTER_ALLOW),
	IF_EQ(0, PR_SET_PDEATHSIG, FILTER_ALLOW),
	IF_EQ(0, PR_GET_PDEATHSIG, FILTER_ALLOW),
	IF_EQ(0, PR_SET_DUMPABLE, FILTER_ALLOW),
	IF_EQ(0, PR_GET_DUMPABLE, FILTER_ALLOW),
	IF_EQ(0, PR_SET_KEEPCAPS, FILTER_ALLOW),
	IF_EQ(0, PR_GET_KEEPCAPS, FILTER_ALLOW),
	IF_EQ(0, PR_CAPBSET_READ, FILTER_ALLOW),
	IF_EQ(0, PR_CAPBSET_DROP, FILTER_ALLOW),
	IF_EQ(0, PR_CAP_AMBIENT, FILTER_ALLOW),
	IF_EQ(0, PR_GET_SECUREBITS, FILTER_ALLOW),
	IF_EQ(0, PR_SET_SECUREBITS, FILTER_ALLOW),
	IF_EQ(0, PR_SET_NO_NEW_PRIVS, FILTER_ALLOW),
	IF_EQ(0, PR_GET_NO_NEW_PRIVS, FILTER_ALLOW),
	IF_EQ(0, PR_GET_SECCOMP, FILTER_ALLOW),
	IF_EQ(0, PR_SET_CHILD_SUBREAPER, FILTER_ALLOW),
	IF_EQ(0, PR_GET_CHILD_SUBREAPER, FILTER_ALLOW),
	IF_EQ(0, PR_SET_TIMERSLACK, FILTER_ALLOW),
	IF_EQ(0, PR_GET_TIMERSLACK, FILTER_ALLOW),
	IF_EQ(0, PR_SET_TIMING, FILTER_ALLOW),
	IF_EQ(0, PR_GET_TIMING, FILTER_ALLOW),
	IF_EQ(0, PR_SET_TSC, FILTER_ALLOW),
	IF_EQ(0, PR_GET_TSC, FILTER_ALLOW),
	IF_EQ(0, PR_SET_THP_DISABLE, FILTER_ALLOW),
	IF_EQ(0, PR_GET_THP_DISABLE, FILTER_ALLOW),
	IF_EQ(0, PR_GET_TID_ADDRESS, FILTER_ALLOW),
	IF_EQ(0, PR_GET_SPECULATION_CTRL, FILTER_ALLOW),
	IF_EQ(0, PR_SET_SPECULATION_CTRL, FILTER_ALLOW),
	IF_EQ(0, PR_MCE_KILL_GET, FILTER_ALLOW),
	IF_EQ(0, PR_TASK_PERF_EVENTS_DISABLE, FILTER_ALLOW),
	IF_EQ(0, PR_TASK_PERF_EVENTS_ENABLE, FILTER_ALLOW),
	IF_EQ(0, PR_SET_PTRACER, FILTER_ALLOW),
};
static_assert(ARRAY_LEN(checks_prctl) <= FILTER_CHECKS_MAX, "one block of the program");
RULE(prctl, FILTER_ERRNO(EINVAL));

static const struct filter_check checks_personality[] = {
	IF_EQ(0, PER_LINUX, FILTER_ALLOW),   IF_EQ(0, PER_LINUX32, FILTER_ALLOW),
	IF_EQ(0, UNAME26, FILTER_ALLOW),     IF_EQ(0, ADDR_NO_RANDOMIZE, FILTER_ALLOW),
	IF_EQ(0, 0xffffffffU, FILTER_ALLOW), /* only asks */
};
RULE(personality, FILTER_ERRNO(EPERM));

static const struct filter_check checks_mknodat[] = {
	IF_BITS(2, S_IFMT, 0, FILTER_ALLOW),
	IF_BITS(2, S_IFMT, S_IFREG, FILTER_ALLOW),
	IF_BITS(2, S_IFMT, S_IFIFO, FILTER_ALLOW),
	IF_BITS(2, S_IFMT, S_IFSOCK, FILTER_ALLOW),
};
RULE(mknodat, FILTER_ERRNO(EPERM));

#ifdef __NR_mknod
static const struct filter_check checks_mknod[] = {
	IF_BITS(1, S_IFMT, 0, FILTER_ALLOW),
	IF_BITS(1, S_IFMT, S_IFREG, FILTER_ALLOW),
	IF_BITS(1, S_IFMT, S_IFIFO, FILTER_ALLOW),
	IF_BITS(1, S_IFMT, S_IFSOCK, FILTER_ALLOW),
};
RULE(mknod, FILTER_ERRNO(EPERM));
#endif

static const struct filter_check checks_prlimit[] = {
	IF_EQ(0, 0, FILTER_ALLOW),
};
RULE(prlimit, FILTER_ERRNO(EPERM));

static const struct filter_check checks_not_init[] = {
	IF_EQ(0, 1, FILTER_ERRNO(EPERM)),
};
RULE(not_init, FILTER_ALLOW);

/* By user would mean init too: PRIO_USER is 2, IOPRIO_WHO_USER 3. */
static const struct filter_check checks_priority[] = {
	IF_EQ(0, 2, FILTER_ERRNO(EPERM)),
	IF_EQ(0, 3, FILTER_ERRNO(EPERM)),
	IF_EQ(1, 1, FILTER_ERRNO(EPERM)),
};
RULE(priority, FILTER_ALLOW);

/* --- the table -------------------------------------------------------------- */

#define ALLOW		     .action = FILTER_ALLOW
#define ERRNO(e)	     .action = FILTER_ERRNO(e)
#define KILL		     .action = FILTER_KILL
#define CHECK(name)	     .rule = &rule_##name
#define SYSCALL(n, act, why) {.name = #n, .number = __NR_##n, act, .reason = why},

static const struct filter_line table[] = {
#include "worker/sandbox/filter.def"
};

enum { TABLE_LEN = ARRAY_LEN(table) };

size_t filter_table(const struct filter_line **ret)
{
	*ret = table;
	return TABLE_LEN;
}

uint32_t filter_arch(void)
{
	return ARCH_HERE;
}

/* --- the compiler ------------------------------------------------------------ */

/* A run of numbers that starts at `first` and ends before the next segment. */
struct segment {
	uint32_t first;
	const struct filter_line *line; /* NULL: ENOSYS */
};

struct compiler {
	struct sock_filter code[BPF_MAXINSNS];
	size_t len;
};

static const uint32_t action_unknown = FILTER_ERRNO(ENOSYS);

static void emit(struct compiler *c, uint16_t op, uint32_t k, uint8_t on_true, uint8_t on_false)
{
	assert(c->len < BPF_MAXINSNS);
	c->code[c->len++] = (struct sock_filter){op, on_true, on_false, k};
}

static void emit_return(struct compiler *c, uint32_t action)
{
	emit(c, BPF_RET | BPF_K, action, 0, 0);
}

static void emit_load(struct compiler *c, uint8_t arg, uint32_t mask)
{
	uint32_t offset = (uint32_t)offsetof(struct seccomp_data, args) + arg * 8U;

	emit(c, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
	if (mask != ALL_BITS)
		emit(c, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
}

static void emit_rule(struct compiler *c, const struct filter_rule *rule)
{
	const struct filter_check *loaded = NULL;

	for (size_t i = 0; i < rule->len; i++) {
		const struct filter_check *check = &rule->checks[i];

		if (loaded == NULL || loaded->arg != check->arg || loaded->mask != check->mask)
			emit_load(c, check->arg, check->mask);
		loaded = check->both ? NULL : check;
		emit(c, BPF_JMP | BPF_JEQ | BPF_K, check->value, 0, check->both ? 3 : 1);
		if (check->both) {
			emit_load(c, check->arg2, ALL_BITS);
			emit(c, BPF_JMP | BPF_JEQ | BPF_K, check->value2, 0, 1);
		}
		emit_return(c, check->action);
	}
	emit_return(c, rule->otherwise);
}

static void emit_leaf(struct compiler *c, const struct segment *segment)
{
	if (segment->line == NULL)
		emit_return(c, action_unknown);
	else if (segment->line->rule != NULL)
		emit_rule(c, segment->line->rule);
	else
		emit_return(c, segment->line->action);
}

/* A conditional jump reaches 255 instructions, so the way to the upper half is
 * a jump of its own where the lower half is longer. */
static void emit_search(struct compiler *c, const struct segment *segments, size_t len)
{
	size_t half = len / 2, at = c->len, lower;

	if (len == 1) {
		emit_leaf(c, segments);
		return;
	}
	emit(c, BPF_JMP | BPF_JGE | BPF_K, segments[half].first, 0, 0);
	emit_search(c, segments, half);
	lower = c->len - at - 1;
	if (lower <= UINT8_MAX) {
		c->code[at].jt = (uint8_t)lower;
	} else {
		assert(c->len < BPF_MAXINSNS);
		(void)memmove(&c->code[at + 2], &c->code[at + 1], lower * sizeof(c->code[0]));
		c->len++;
		c->code[at].jf = 1;
		c->code[at + 1] = (struct sock_filter){BPF_JMP | BPF_JA, 0, 0, (uint32_t)lower};
	}
	emit_search(c, segments + half, len - half);
}

static bool same_answer(const struct filter_line *a, const struct filter_line *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->rule == b->rule && a->action == b->action;
}

static void add_segment(struct segment *segments, size_t *len, uint32_t first,
			const struct filter_line *line)
{
	if (*len > 0 && same_answer(segments[*len - 1].line, line))
		return;
	segments[(*len)++] = (struct segment){first, line};
}

static size_t make_segments(struct segment *segments)
{
	enum { NUMBERS = 1024 }; /* more than Linux has */
	static const struct filter_line *lines[NUMBERS];
	size_t len = 0;

	for (size_t i = 0; i < TABLE_LEN; i++) {
		assert(table[i].number < NUMBERS);
		lines[table[i].number] = &table[i];
	}
	for (uint32_t number = 0; number < NUMBERS; number++)
		add_segment(segments, &len, number, lines[number]);
	return len;
}

int filter_compile(struct sock_fprog *ret, struct err *err)
{
	struct segment segments[2 * TABLE_LEN + 1];
	size_t len = make_segments(segments);
	struct compiler *c = malloc(sizeof(*c));

	if (c == NULL)
		return err_set(err, ERR_SYSTEM, "cannot compile the seccomp filter: out of memory");
	c->len = 0;
	emit(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0);
	emit_return(c, FILTER_KILL);
	emit(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	emit(c, BPF_JMP | BPF_JGE | BPF_K, FILTER_X32_FIRST, 0, 1);
	emit_return(c, FILTER_KILL);
	emit_search(c, segments, len);
	ret->len = (unsigned short)c->len;
	ret->filter = malloc(c->len * sizeof(c->code[0]));
	if (ret->filter != NULL)
		(void)memcpy(ret->filter, c->code, c->len * sizeof(c->code[0]));
	free(c);
	if (ret->filter == NULL)
		return err_set(err, ERR_SYSTEM, "cannot compile the seccomp filter: out of memory");
	return 0;
}

void filter_release(struct sock_fprog *program)
{
	free(program->filter);
	*program = (struct sock_fprog){0};
}

/* --- the kernel ----------------------------------------------------------------- */

int filter_install(const struct sock_fprog *program, int *ret_listener, struct err *err)
{
	struct sock_fprog copy = *program;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  &copy);

	if (fd < 0 && errno == EBUSY)
		return err_set(err, ERR_UNSUPPORTED,
			       "cannot install the seccomp filter: the process is already "
			       "supervised by another seccomp listener");
	if (fd < 0)
		return err_sys(err, "cannot install the seccomp filter");
	*ret_listener = (int)fd;
	return 0;
}

static void name_call(const struct seccomp_data *data, char ret_call[FILTER_CALL_BYTES])
{
	uint32_t number = (uint32_t)data->nr;

	if (data->arch != ARCH_HERE) {
		(void)snprintf(ret_call, FILTER_CALL_BYTES, "i386:%u", number);
		return;
	}
	if (number >= FILTER_X32_FIRST) {
		(void)snprintf(ret_call, FILTER_CALL_BYTES, "x32:%u", number - FILTER_X32_FIRST);
		return;
	}
	(void)snprintf(ret_call, FILTER_CALL_BYTES, "%u", number);
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (table[i].number == number)
			(void)snprintf(ret_call, FILTER_CALL_BYTES, "%s", table[i].name);
}

bool filter_next(int listener, char ret_call[FILTER_CALL_BYTES])
{
	struct pollfd waiting = {.fd = listener, .events = POLLIN};
	struct seccomp_notif call = {0};

	if (poll(&waiting, 1, 0) <= 0 || (waiting.revents & POLLIN) == 0)
		return false;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return false;
	name_call(&call.data, ret_call);
	return true;
}
