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
 * A stricter profile on top of a wider one is a second program that answers only
 * where the two tables differ. The kernel asks both and takes the stricter
 * answer, and remembers for each number whether all allow it whatever the
 * arguments: then it asks none.
 *
 * The program begins by refusing any other architecture (int 0x80) and the
 * x32 numbers, which would otherwise be a second road around the table.
 */
#include "worker/sandbox/filter.h"

#include <asm/unistd.h>
#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* --- the compiler ------------------------------------------------------------ */

uint32_t filter_arch(void)
{
	return ARCH_HERE;
}

/* A run of numbers that starts at `first` and ends before the next segment. */
struct segment {
	uint32_t first;
	const struct filter_line *line; /* NULL: ENOSYS */
};

struct compiler {
	struct sock_filter code[BPF_MAXINSNS];
	size_t len;
	struct filter_key key;
	uint32_t unknown; /* the answer to what has no line */
};

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
	if (mask != UINT32_MAX)
		emit(c, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
}

/* How many instructions a condition takes. */
static size_t condition_len(const struct filter_condition *condition)
{
	return condition->mask != UINT32_MAX ? 3 : 2;
}

static void emit_key(struct compiler *c)
{
	emit_load(c, 3, UINT32_MAX);
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, c->key.words[0], 0, 3);
	emit_load(c, 4, UINT32_MAX);
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, c->key.words[1], 0, 1);
}

/* A condition that does not hold jumps behind the answer. */
static void emit_check(struct compiler *c, const struct filter_check *check, bool loaded)
{
	size_t left = 1 + (check->init_only ? 4 : 0);

	for (size_t i = 0; i < check->len; i++)
		left += condition_len(&check->conditions[i]);
	for (size_t i = 0; i < check->len; i++) {
		const struct filter_condition *condition = &check->conditions[i];

		if (i > 0 || !loaded)
			emit_load(c, condition->arg, condition->mask);
		left -= condition_len(condition);
		emit(c, BPF_JMP | BPF_JEQ | BPF_K, condition->value, 0, (uint8_t)left);
	}
	if (check->init_only)
		emit_key(c);
	emit_return(c, check->action);
}

/* Checks of one argument in a row load it once. */
static void emit_rule(struct compiler *c, const struct filter_rule *rule)
{
	const struct filter_condition *loaded = NULL;

	for (size_t i = 0; i < rule->len; i++) {
		const struct filter_check *check = &rule->checks[i];
		const struct filter_condition *first = &check->conditions[0];

		emit_check(c, check,
			   loaded != NULL && loaded->arg == first->arg &&
				   loaded->mask == first->mask);
		loaded = check->len == 1 ? first : NULL;
	}
	emit_return(c, rule->otherwise);
}

static void emit_leaf(struct compiler *c, const struct segment *segment)
{
	if (segment->line == NULL)
		emit_return(c, c->unknown);
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

static size_t make_segments(const struct filter_line *const *lines, size_t lines_len,
			    struct segment *segments)
{
	enum { NUMBERS = 1024 }; /* more than Linux has */
	const struct filter_line *by_number[NUMBERS] = {0};
	size_t len = 0;

	for (size_t i = 0; i < lines_len; i++) {
		assert(lines[i]->number < NUMBERS);
		by_number[lines[i]->number] = lines[i];
	}
	for (uint32_t number = 0; number < NUMBERS; number++)
		add_segment(segments, &len, number, by_number[number]);
	return len;
}

static void emit_table(struct compiler *c, const struct filter_line *const *lines, size_t len)
{
	struct segment segments[2 * FILTER_LINES_MAX + 1];

	emit_search(c, segments, make_segments(lines, len, segments));
}

static struct compiler *compiler_new(struct err *err)
{
	struct compiler *c = calloc(1, sizeof(*c));

	if (c == NULL)
		(void)err_set(err, ERR_SYSTEM, "cannot compile the seccomp filter: out of memory");
	return c;
}

/* Frees the compiler. */
static int compiler_take(struct compiler *c, struct sock_fprog *ret, struct err *err)
{
	struct sock_filter *code = malloc(c->len * sizeof(c->code[0]));

	if (code != NULL)
		(void)memcpy(code, c->code, c->len * sizeof(c->code[0]));
	*ret = (struct sock_fprog){.len = (unsigned short)c->len, .filter = code};
	free(c);
	return code != NULL ? 0
			    : err_set(err, ERR_SYSTEM,
				      "cannot compile the seccomp filter: out of memory");
}

int filter_compile(enum filter_profile profile, const struct filter_key *key,
		   struct sock_fprog *ret, struct err *err)
{
	struct filter_line lines[FILTER_LINES_MAX];
	const struct filter_line *chosen[FILTER_LINES_MAX];
	size_t len = filter_table(profile, lines);
	struct compiler *c = compiler_new(err);

	if (c == NULL)
		return -1;
	for (size_t i = 0; i < len; i++)
		chosen[i] = &lines[i];
	c->key = *key;
	c->unknown = FILTER_ERRNO(ENOSYS);
	emit(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0);
	emit_return(c, FILTER_KILL);
	emit(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	emit(c, BPF_JMP | BPF_JGE | BPF_K, FILTER_X32_FIRST, 0, 1);
	emit_return(c, FILTER_KILL);
	emit_table(c, chosen, len);
	return compiler_take(c, ret, err);
}

/* Only refusals: what would be wider is not this program's to say, for the
 * stricter of two answers holds. */
int filter_compile_narrow(enum filter_profile from, enum filter_profile to,
			  const struct filter_key *key, struct sock_fprog *ret, struct err *err)
{
	struct filter_line wide[FILTER_LINES_MAX], lines[FILTER_LINES_MAX];
	const struct filter_line *chosen[FILTER_LINES_MAX];
	size_t len = filter_table(from, wide), differ = 0;
	struct compiler *c;

	(void)filter_table(to, lines);
	for (size_t i = 0; i < len; i++) {
		if (!same_answer(&wide[i], &lines[i]) &&
		    (lines[i].rule != NULL || lines[i].action != FILTER_ALLOW))
			chosen[differ++] = &lines[i];
	}
	*ret = (struct sock_fprog){0};
	if (differ == 0)
		return 0;
	c = compiler_new(err);
	if (c == NULL)
		return -1;
	c->key = *key;
	c->unknown = FILTER_ALLOW;
	/* Other architectures are the first program's to refuse. */
	emit(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0);
	emit_return(c, FILTER_ALLOW);
	emit(c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	emit_table(c, chosen, differ);
	return compiler_take(c, ret, err);
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

int filter_narrow(const struct filter_key *key, const struct sock_fprog *program, struct err *err)
{
	struct sock_fprog copy = *program;

	if (program->len > 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &copy,
					key->words[0], key->words[1]) < 0)
		return err_sys(err, "cannot install the profile's seccomp filter");
	return 0;
}

static void name_call(const struct seccomp_data *data, char ret_call[FILTER_CALL_BYTES])
{
	struct filter_line lines[FILTER_LINES_MAX];
	size_t len = filter_table(FILTER_DEFAULT, lines);
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
	for (size_t i = 0; i < len; i++)
		if (lines[i].number == number)
			(void)snprintf(ret_call, FILTER_CALL_BYTES, "%s", lines[i].name);
}

bool filter_next(int listener, struct filter_call *ret)
{
	struct pollfd waiting = {.fd = listener, .events = POLLIN};
	struct seccomp_notif call = {0};

	if (poll(&waiting, 1, 0) <= 0 || (waiting.revents & POLLIN) == 0)
		return false;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return false;
	*ret = (struct filter_call){.id = call.id, .type = (uint32_t)call.data.args[1]};
	name_call(&call.data, ret->name);
	ret->asks = call.data.arch == ARCH_HERE && call.data.nr == __NR_socket;
	return true;
}

void filter_give(int listener, const struct filter_call *call, int fd)
{
	struct seccomp_notif_addfd add = {.id = call->id,
					  .flags = SECCOMP_ADDFD_FLAG_SEND,
					  .srcfd = (uint32_t)fd,
					  .newfd_flags = call->type & SOCK_CLOEXEC};

	/* A caller that has too many files, or a kernel before 5.14. */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0)
		filter_refuse(listener, call, errno == EINVAL ? EAFNOSUPPORT : errno);
}

void filter_refuse(int listener, const struct filter_call *call, int number)
{
	struct seccomp_notif_resp answer = {.id = call->id, .error = -number};

	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

int filter_route_socket(const struct filter_key *key, uint32_t type)
{
	return (int)syscall(SYS_socket, AF_NETLINK, (long)(type | SOCK_CLOEXEC), NETLINK_ROUTE,
			    key->words[0], key->words[1]);
}
