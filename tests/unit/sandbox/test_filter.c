/*
 * test_filter.c - the compiled table: the same as libseccomp's on every number,
 * and the same as last time. Both programs are run by a small interpreter of
 * the classic BPF that seccomp knows.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "base/defs.h"
#include "worker/sandbox/filter.h"
#include "worker/sandbox/filter_reference.h"

/* --- the interpreter ------------------------------------------------------------------- */

static uint32_t run(const struct sock_fprog *program, const struct seccomp_data *data)
{
	uint32_t a = 0, words[sizeof(*data) / 4];

	(void)memcpy(words, data, sizeof(*data));
	for (uint32_t at = 0; at < program->len; at++) {
		const struct sock_filter *op = &program->filter[at];

		switch (op->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(op->k % 4 == 0 && op->k < sizeof(*data));
			a = words[op->k / 4];
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= op->k;
			break;
		case BPF_JMP | BPF_JA:
			at += op->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			at += a == op->k ? op->jt : op->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			at += a > op->k ? op->jt : op->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			at += a >= op->k ? op->jt : op->jf;
			break;
		case BPF_RET | BPF_K:
			return op->k;
		default:
			fail_msg("an instruction that is not known: %x", op->code);
		}
	}
	fail_msg("a program that runs off its end");
	return 0;
}

static uint32_t answer(const struct sock_fprog *program, uint32_t number, uint64_t a0, uint64_t a1,
		       uint64_t a2)
{
	struct seccomp_data data = {.nr = (int)number, .arch = filter_arch(), .args = {a0, a1, a2}};

	return run(program, &data);
}

static void compile(struct sock_fprog *ret)
{
	struct err err = {0};

	if (filter_compile(ret, &err) < 0)
		fail_msg("%s", err.message);
}

/* --- against libseccomp ------------------------------------------------------------------ */

/* The answer that the kernel would give under both: the stricter one. Only
 * what is an errno here may be another errno there. */
static uint32_t both(const struct filter_reference *reference, const struct seccomp_data *data)
{
	uint32_t allow = run(&reference->allow, data), deny = run(&reference->deny, data);

	if (deny != FILTER_ALLOW)
		return deny;
	return allow;
}

static void compare(const struct sock_fprog *program, const struct filter_reference *reference,
		    const struct seccomp_data *data)
{
	uint32_t ours = run(program, data), theirs = both(reference, data);
	bool same = ours == theirs ||
		    ((ours & 0xffff0000U) == FILTER_ERRNO(0) && theirs == FILTER_ERRNO(ENOSYS));

	if (!same)
		fail_msg("number %d, arguments %llx %llx %llx: %x, but by libseccomp %x", data->nr,
			 (unsigned long long)data->args[0], (unsigned long long)data->args[1],
			 (unsigned long long)data->args[2], ours, theirs);
}

static void test_same_as_libseccomp(void **state)
{
	static const uint64_t values[] = {
		0,
		1,
		2,
		3,
		10,
		16,
		17,
		38,
		40,
		0x5411,
		TIOCSTI,
		TIOCSETD,
		0x541c,
		0x541d,
		0x100005412ULL,
		0xffffffff00000000ULL,
		CLONE_NEWUSER,
		CLONE_NEWNET | 17,
		CLONE_VM,
		0x80,
		S_IFCHR | 0600,
		S_IFBLK,
		S_IFIFO | 0644,
		S_IFREG | 0644,
		PR_SET_SECCOMP,
		PR_SET_NAME,
		PR_SET_VMA,
		PR_CAP_AMBIENT,
		0xffffffffULL,
		0x40000,
		0x400000,
		UINT64_MAX,
	};
	struct filter_reference reference;
	struct sock_fprog program;
	struct err err = {0};

	(void)state;
	compile(&program);
	if (filter_reference_build(&reference, &err) < 0)
		fail_msg("%s", err.message);
	for (uint32_t number = 0; number < 1024; number++)
		for (size_t i = 0; i < ARRAY_LEN(values); i++)
			for (size_t j = 0; j < ARRAY_LEN(values); j++) {
				struct seccomp_data data = {
					.nr = (int)number,
					.arch = filter_arch(),
					.args = {values[i], values[j], values[(i + j) % 5]}};

				compare(&program, &reference, &data);
				data.args[2] = values[j];
				compare(&program, &reference, &data);
			}
	filter_reference_release(&reference);
	filter_release(&program);
}

static void test_other_ways_in(void **state)
{
	static const uint32_t others[] = {
		AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_AARCH64, AUDIT_ARCH_X86_64, 0,
		0xffffffffU};
	struct sock_fprog program;

	(void)state;
	compile(&program);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		for (int number = 0; number < 500; number++) {
			struct seccomp_data data = {.nr = number, .arch = others[i]};

			if (others[i] != filter_arch())
				assert_int_equal(run(&program, &data), FILTER_KILL);
		}
	for (uint32_t number = 0; number < 1000; number++)
		assert_int_equal(answer(&program, FILTER_X32_FIRST + number, 0, 0, 0), FILTER_KILL);
	assert_int_equal(answer(&program, 0xffffffffU, 0, 0, 0), FILTER_KILL);
	assert_int_equal(answer(&program, FILTER_X32_FIRST - 1, 0, 0, 0), FILTER_ERRNO(ENOSYS));
	filter_release(&program);
}

/* --- the table -------------------------------------------------------------------------------- */

static void test_each_line(void **state)
{
	const struct filter_line *lines;
	size_t len = filter_table(&lines);
	struct sock_fprog program;

	(void)state;
	compile(&program);
	assert_true(len > 300);
	for (size_t i = 0; i < len; i++) {
		assert_true(lines[i].reason[0] != '\0');
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(lines[i].number, lines[j].number);
		if (lines[i].rule == NULL)
			assert_int_equal(answer(&program, lines[i].number, 7, 7, 7),
					 lines[i].action);
	}
	filter_release(&program);
}

static void test_rules(void **state)
{
	static const struct {
		uint32_t number;
		uint64_t a0, a1, a2;
		uint32_t answer;
	} cases[] = {
		{SYS_clone, CLONE_VM | CLONE_FS | 17, 0, 0, FILTER_ALLOW},
		{SYS_clone, CLONE_NEWUSER, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_clone, CLONE_NEWNS | CLONE_VM, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_clone, 0xffffffff00000011ULL, 0, 0, FILTER_ALLOW},
		{SYS_clone3, 0, 0, 0, FILTER_ERRNO(ENOSYS)},
		{SYS_unshare, CLONE_FILES, 0, 0, FILTER_ALLOW},
		{SYS_unshare, CLONE_NEWNET, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_unshare, 0x80, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_setns, 3, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_ioctl, 0, TIOCSTI, 0, FILTER_ERRNO(EPERM)},
		{SYS_ioctl, 0, 0x100000000ULL | TIOCSTI, 0, FILTER_ERRNO(EPERM)},
		{SYS_ioctl, 0, 0xdeadbeef00000000ULL | 0x541c, 0, FILTER_ERRNO(EPERM)},
		{SYS_ioctl, 0, TIOCGWINSZ, 0, FILTER_ALLOW},
		{SYS_socket, AF_UNIX, SOCK_STREAM, 0, FILTER_ALLOW},
		{SYS_socket, AF_INET6, SOCK_DGRAM, 0, FILTER_ALLOW},
		{SYS_socket, AF_NETLINK, SOCK_RAW, 0, FILTER_ALLOW},
		{SYS_socket, AF_NETLINK, SOCK_RAW, 12, FILTER_ERRNO(EAFNOSUPPORT)},
		{SYS_socket, AF_PACKET, SOCK_RAW, 0, FILTER_ERRNO(EAFNOSUPPORT)},
		{SYS_socket, AF_VSOCK, SOCK_STREAM, 0, FILTER_ERRNO(EAFNOSUPPORT)},
		{SYS_socket, AF_ALG, SOCK_SEQPACKET, 0, FILTER_ERRNO(EAFNOSUPPORT)},
		{SYS_socket, 0x100000000ULL | AF_VSOCK, 0, 0, FILTER_ERRNO(EAFNOSUPPORT)},
		{SYS_mknodat, 0, 0, S_IFCHR | 0666, FILTER_ERRNO(EPERM)},
		{SYS_mknodat, 0, 0, S_IFBLK | 0666, FILTER_ERRNO(EPERM)},
		{SYS_mknodat, 0, 0, S_IFIFO | 0666, FILTER_ALLOW},
		{SYS_mknodat, 0, 0, 0x10000 | S_IFCHR, FILTER_ERRNO(EPERM)},
		{SYS_prlimit64, 0, 7, 0, FILTER_ALLOW},
		{SYS_prlimit64, 1, 7, 0, FILTER_ERRNO(EPERM)},
		{SYS_sched_setaffinity, 1, 8, 0, FILTER_ERRNO(EPERM)},
		{SYS_sched_setaffinity, 0, 8, 0, FILTER_ALLOW},
		{SYS_prctl, PR_SET_NAME, 0, 0, FILTER_ALLOW},
		{SYS_prctl, PR_SET_SECCOMP, 2, 0, FILTER_ERRNO(EINVAL)},
		{SYS_prctl, PR_SET_MM, 0, 0, FILTER_ERRNO(EINVAL)},
		{SYS_personality, 0xffffffffU, 0, 0, FILTER_ALLOW},
		{SYS_personality, 0x400000, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_io_uring_setup, 0, 0, 0, FILTER_ERRNO(ENOSYS)},
		{SYS_ptrace, 0, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_bpf, 0, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_mount, 0, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_kexec_load, 0, 0, 0, FILTER_KILL},
		{SYS_open_by_handle_at, 0, 0, 0, FILTER_KILL},
		{600, 0, 0, 0, FILTER_ERRNO(ENOSYS)},
	};
	struct sock_fprog program;

	(void)state;
	compile(&program);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (answer(&program, cases[i].number, cases[i].a0, cases[i].a1, cases[i].a2) !=
		    cases[i].answer)
			fail_msg("case %zu, number %u", i, cases[i].number);
	filter_release(&program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_libseccomp),
		cmocka_unit_test(test_other_ways_in),
		cmocka_unit_test(test_each_line),
		cmocka_unit_test(test_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
