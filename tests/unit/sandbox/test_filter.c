/*
 * test_filter.c - the compiled table: the same as libseccomp's on every number,
 * and the same as last time. Both programs are run by a small interpreter of
 * the classic BPF that seccomp knows.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fd.h"
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

static const struct filter_key key = {{0x12345678, 0x9abcdef0}};

static void compile(enum filter_profile profile, struct sock_fprog *ret)
{
	struct err err = {0};

	if (filter_compile(profile, &key, ret, &err) < 0)
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

static void compare_profile(enum filter_profile profile)
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

	compile(profile, &program);
	if (filter_reference_build(profile, &reference, &err) < 0)
		fail_msg("%s", err.message);
	for (uint32_t number = 0; number < 1024; number++)
		for (size_t i = 0; i < ARRAY_LEN(values) && number != SYS_socket; i++)
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

static void test_same_as_libseccomp(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FILTER_PROFILES; i++)
		compare_profile((enum filter_profile)i);
}

/* What filter_table.c says of sockets, said once more. */
static uint32_t expected(enum filter_profile profile, uint64_t family, uint64_t type,
			 uint64_t protocol)
{
	bool tcp = type == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP);
	bool udp = type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP);

	switch (family) {
	case AF_UNIX:
		return FILTER_ALLOW;
	case AF_INET:
	case AF_INET6:
		return tcp || udp ? FILTER_ALLOW : FILTER_ERRNO(EPROTONOSUPPORT);
	case AF_NETLINK:
		return protocol == 0 && profile != FILTER_STRICT ? FILTER_ASK
								 : FILTER_ERRNO(EAFNOSUPPORT);
	default:
		return FILTER_ERRNO(EAFNOSUPPORT);
	}
}

static void test_sockets(void **state)
{
	struct sock_fprog program;

	(void)state;
	for (unsigned i = 0; i < FILTER_PROFILES; i++) {
		compile((enum filter_profile)i, &program);
		for (uint64_t family = 0; family < 50; family++)
			for (uint64_t type = 0; type < 16; type++)
				for (uint64_t protocol = 0; protocol < 300; protocol++)
					assert_int_equal(answer(&program, SYS_socket, family,
								type | SOCK_CLOEXEC, protocol),
							 expected((enum filter_profile)i, family,
								  type, protocol));
		filter_release(&program);
	}
}

/* --- one on top of another --------------------------------------------------------------- */

static void compare_stacked(enum filter_profile widest, enum filter_profile profile)
{
	static const uint64_t values[] = {0, 1, 2, 6, 16, 17, PR_SET_SECCOMP, CLONE_NEWUSER};
	struct sock_fprog wide, narrow, whole;
	struct err err = {0};

	compile(widest, &wide);
	compile(profile, &whole);
	if (filter_compile_narrow(widest, profile, &key, &narrow, &err) < 0)
		fail_msg("%s", err.message);
	for (uint32_t number = 0; number < 512; number++)
		for (size_t i = 0; i < ARRAY_LEN(values); i++)
			for (size_t j = 0; j < ARRAY_LEN(values); j++)
				for (size_t k = 0; k < ARRAY_LEN(values); k++) {
					struct seccomp_data data = {
						.nr = (int)number,
						.arch = filter_arch(),
						.args = {values[i], values[j], values[k]}};
					uint32_t below = run(&wide, &data);
					uint32_t above = narrow.len == 0 ? FILTER_ALLOW
									 : run(&narrow, &data);

					/* the kernel takes the smaller, whose data counts */
					if (run(&whole, &data) != (above < below ? above : below))
						fail_msg("%s on %s: number %u",
							 filter_profile_name(profile),
							 filter_profile_name(widest), number);
				}
	filter_release(&wide);
	filter_release(&narrow);
	filter_release(&whole);
}

static void test_profiles_on_top(void **state)
{
	size_t pairs = 0;

	(void)state;
	for (unsigned i = 0; i < FILTER_PROFILES; i++)
		for (unsigned j = 0; j < FILTER_PROFILES; j++) {
			if (!filter_fits((enum filter_profile)i, (enum filter_profile)j))
				continue;
			compare_stacked((enum filter_profile)i, (enum filter_profile)j);
			pairs++;
		}
	assert_int_equal(pairs, 6);
	assert_false(filter_fits(FILTER_STRICT, FILTER_DEFAULT));
	assert_false(filter_fits(FILTER_DEFAULT, FILTER_TRUSTED));
	assert_false(filter_fits(FILTER_TRUSTED, FILTER_PROFILES));
}

/* Only who shows the key makes a route socket. */
static void test_key(void **state)
{
	struct sock_fprog program;
	struct seccomp_data data = {.nr = SYS_socket,
				    .arch = filter_arch(),
				    .args = {AF_NETLINK, SOCK_RAW, 0, key.words[0], key.words[1]}};

	(void)state;
	compile(FILTER_DEFAULT, &program);
	assert_int_equal(run(&program, &data), FILTER_ALLOW);
	data.args[4]++;
	assert_int_equal(run(&program, &data), FILTER_ASK);
	data.args[4]--;
	data.args[3] = 0;
	assert_int_equal(run(&program, &data), FILTER_ASK);
	data.args[3] = key.words[0];
	data.args[2] = 12;
	assert_int_equal(run(&program, &data), FILTER_ERRNO(EAFNOSUPPORT));
	filter_release(&program);
}

static void test_other_ways_in(void **state)
{
	static const uint32_t others[] = {
		AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_AARCH64, AUDIT_ARCH_X86_64, 0,
		0xffffffffU};
	struct sock_fprog program;

	(void)state;
	compile(FILTER_DEFAULT, &program);
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
	struct filter_line lines[FILTER_LINES_MAX];
	struct sock_fprog program;

	(void)state;
	for (unsigned profile = 0; profile < FILTER_PROFILES; profile++) {
		size_t len = filter_table((enum filter_profile)profile, lines);

		compile((enum filter_profile)profile, &program);
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
		{SYS_socket, AF_NETLINK, SOCK_RAW, 0, FILTER_ASK},
		{SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP, FILTER_ALLOW},
		{SYS_socket, AF_INET, SOCK_STREAM, 132, FILTER_ERRNO(EPROTONOSUPPORT)},
		{SYS_socket, AF_INET, 6, 0, FILTER_ERRNO(EPROTONOSUPPORT)},
		{SYS_socket, AF_INET6, SOCK_SEQPACKET, 0, FILTER_ERRNO(EPROTONOSUPPORT)},
		{SYS_socket, AF_INET6, SOCK_RAW, 58, FILTER_ERRNO(EPROTONOSUPPORT)},
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
		{SYS_seccomp, 1, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_mount, 0, 0, 0, FILTER_ERRNO(EPERM)},
		{SYS_kexec_load, 0, 0, 0, FILTER_KILL},
		{SYS_open_by_handle_at, 0, 0, 0, FILTER_KILL},
		{600, 0, 0, 0, FILTER_ERRNO(ENOSYS)},
	};
	struct sock_fprog program;

	(void)state;
	compile(FILTER_DEFAULT, &program);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (answer(&program, cases[i].number, cases[i].a0, cases[i].a1, cases[i].a2) !=
		    cases[i].answer)
			fail_msg("case %zu, number %u", i, cases[i].number);
	filter_release(&program);
}

/* --- as last time --------------------------------------------------------------------------- */

#ifdef __x86_64__
#define GOLDEN "tests/golden/filter.txt"

static void add_answer(struct buf *out, uint32_t action)
{
	if (action == FILTER_ALLOW)
		buf_add_text(out, "allow");
	else if (action == FILTER_KILL)
		buf_add_text(out, "init");
	else
		buf_printf(out, "errno %u", action & 0xffffU);
}

static void add_line(struct buf *out, const struct filter_line *line)
{
	if (line->rule == NULL) {
		if (line->action == FILTER_KILL)
			buf_add_text(out, "kill");
		else
			add_answer(out, line->action);
		return;
	}
	for (size_t i = 0; i < line->rule->len; i++) {
		const struct filter_check *check = &line->rule->checks[i];

		for (size_t j = 0; j < check->len; j++)
			buf_printf(out, "%s%u:%x=%x", j == 0 ? "" : ",", check->conditions[j].arg,
				   check->conditions[j].mask, check->conditions[j].value);
		buf_add_text(out, check->init_only ? ",key " : " ");
		add_answer(out, check->action);
		buf_add_text(out, "; ");
	}
	add_answer(out, line->rule->otherwise);
}

/* One line for each number of each profile, so that no answer changes unseen.
 * SBX_TEST_WRITE=1 writes the file anew. */
static void test_as_last_time(void **state)
{
	struct filter_line lines[FILTER_LINES_MAX];
	struct buf now, then;
	struct err err = {0};
	FILE *file;

	(void)state;
	buf_init(&now, 1 << 20);
	buf_init(&then, 1 << 20);
	for (unsigned profile = 0; profile < FILTER_PROFILES; profile++) {
		size_t len = filter_table((enum filter_profile)profile, lines);

		for (uint32_t number = 0; number < 512; number++)
			for (size_t i = 0; i < len; i++) {
				if (lines[i].number != number)
					continue;
				buf_printf(&now, "%s %u %s: ",
					   filter_profile_name((enum filter_profile)profile),
					   number, lines[i].name);
				add_line(&now, &lines[i]);
				buf_add_text(&now, "\n");
			}
	}
	if (getenv("SBX_TEST_WRITE") != NULL) {
		file = fopen(GOLDEN, "w");
		assert_non_null(file);
		assert_true(fputs(buf_text(&now), file) >= 0 && fclose(file) == 0);
	}
	if (fd_read_file(GOLDEN, 1 << 20, &then, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(buf_text(&now), buf_text(&then));
	buf_release(&now);
	buf_release(&then);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_libseccomp),
		cmocka_unit_test(test_sockets),
		cmocka_unit_test(test_profiles_on_top),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_other_ways_in),
		cmocka_unit_test(test_each_line),
		cmocka_unit_test(test_rules),
#ifdef __x86_64__
		cmocka_unit_test(test_as_last_time),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
