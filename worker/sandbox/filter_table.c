/*
 * filter_table.c - the tables of system calls: the rules that look at
 * arguments, filter.def, and what filter_profile.def changes in it.
 */
#include <asm/unistd.h>
#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include "worker/sandbox/filter.h"

/* --- the rules ------------------------------------------------------------ */

#define ALL_BITS    0xffffffffU
#define SOCKET_TYPE 0xfU /* without SOCK_CLOEXEC and SOCK_NONBLOCK */
#define NEW_SPACES                                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)
#define TIME_SPACE 0x80U /* CLONE_NEWTIME */
#define IS(n, v)                                           \
	{                                                  \
		.arg = (n), .mask = ALL_BITS, .value = (v) \
	}
#define BITS(n, m, v)                                 \
	{                                             \
		.arg = (n), .mask = (m), .value = (v) \
	}
#define IF_EQ(n, v, a)                                            \
	{                                                         \
		.conditions = {IS(n, v)}, .len = 1, .action = (a) \
	}
#define IF_BITS(n, m, v, a)                                            \
	{                                                              \
		.conditions = {BITS(n, m, v)}, .len = 1, .action = (a) \
	}
#define IF_SOCKET(f, t, p, a)                                                          \
	{                                                                              \
		.conditions = {IS(0, f), BITS(1, SOCKET_TYPE, t), IS(2, p)}, .len = 3, \
		.action = (a)                                                          \
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

/* Other protocols of the internet families would load rarely used modules into
 * the kernel, so that the type and the protocol are looked at as well. Route
 * sockets can be neither limited nor charged, so init makes them, and counts. */
#define INTERNET(family)                                                   \
	IF_SOCKET(family, SOCK_STREAM, 0, FILTER_ALLOW),                   \
		IF_SOCKET(family, SOCK_STREAM, IPPROTO_TCP, FILTER_ALLOW), \
		IF_SOCKET(family, SOCK_DGRAM, 0, FILTER_ALLOW),            \
		IF_SOCKET(family, SOCK_DGRAM, IPPROTO_UDP, FILTER_ALLOW),  \
		IF_EQ(0, family, FILTER_ERRNO(EPROTONOSUPPORT))
#define ROUTE(...)                                                                             \
	{                                                                                      \
		.conditions = {IS(0, AF_NETLINK), IS(2, NETLINK_ROUTE)}, .len = 2, __VA_ARGS__ \
	}

static const struct filter_check checks_socket[] = {
	IF_EQ(0, AF_UNIX, FILTER_ALLOW),
	INTERNET(AF_INET),
	INTERNET(AF_INET6),
	ROUTE(.init_only = true, .action = FILTER_ALLOW),
	ROUTE(.action = FILTER_ASK),
};
RULE(socket, FILTER_ERRNO(EAFNOSUPPORT));

static const struct filter_check checks_socket_strict[] = {
	IF_EQ(0, AF_UNIX, FILTER_ALLOW),
	INTERNET(AF_INET),
	INTERNET(AF_INET6),
};
RULE(socket_strict, FILTER_ERRNO(EAFNOSUPPORT));

/* Protocols on top of sockets that were made already, in parts of the kernel with
 * a long list of holes: TLS and others over TCP, IPsec and tunnels over UDP. The
 * answers are those of a kernel without them. */
#define IF_OPTION(level, option, a)                                                  \
	{                                                                            \
		.conditions = {IS(1, level), IS(2, option)}, .len = 2, .action = (a) \
	}

static const struct filter_check checks_setsockopt[] = {
	IF_OPTION(IPPROTO_TCP, TCP_ULP, FILTER_ERRNO(ENOENT)),
	IF_OPTION(IPPROTO_UDP, UDP_ENCAP, FILTER_ERRNO(ENOPROTOOPT)),
};
RULE(setsockopt, FILTER_ALLOW);

/* What is missing would reach beyond the caller or the job: seccomp, core
 * scheduling, merging of pages with other jobs, who may trace. */
#define PRCTL_USUAL                                                                                \
	IF_EQ(0, PR_SET_NAME, FILTER_ALLOW), IF_EQ(0, PR_GET_NAME, FILTER_ALLOW),                  \
		IF_EQ(0, PR_SET_VMA, FILTER_ALLOW), IF_EQ(0, PR_SET_PDEATHSIG, FILTER_ALLOW),      \
		IF_EQ(0, PR_GET_PDEATHSIG, FILTER_ALLOW), IF_EQ(0, PR_SET_DUMPABLE, FILTER_ALLOW), \
		IF_EQ(0, PR_GET_DUMPABLE, FILTER_ALLOW), IF_EQ(0, PR_SET_KEEPCAPS, FILTER_ALLOW),  \
		IF_EQ(0, PR_GET_KEEPCAPS, FILTER_ALLOW), IF_EQ(0, PR_CAPBSET_READ, FILTER_ALLOW),  \
		IF_EQ(0, PR_CAPBSET_DROP, FILTER_ALLOW), IF_EQ(0, PR_CAP_AMBIENT, FILTER_ALLOW),   \
		IF_EQ(0, PR_GET_SECUREBITS, FILTER_ALLOW),                                         \
		IF_EQ(0, PR_SET_SECUREBITS, FILTER_ALLOW),                                         \
		IF_EQ(0, PR_SET_NO_NEW_PRIVS, FILTER_ALLOW),                                       \
		IF_EQ(0, PR_GET_NO_NEW_PRIVS, FILTER_ALLOW),                                       \
		IF_EQ(0, PR_GET_SECCOMP, FILTER_ALLOW),                                            \
		IF_EQ(0, PR_SET_CHILD_SUBREAPER, FILTER_ALLOW),                                    \
		IF_EQ(0, PR_GET_CHILD_SUBREAPER, FILTER_ALLOW),                                    \
		IF_EQ(0, PR_SET_TIMERSLACK, FILTER_ALLOW),                                         \
		IF_EQ(0, PR_GET_TIMERSLACK, FILTER_ALLOW), IF_EQ(0, PR_SET_TIMING, FILTER_ALLOW),  \
		IF_EQ(0, PR_GET_TIMING, FILTER_ALLOW), IF_EQ(0, PR_SET_TSC, FILTER_ALLOW),         \
		IF_EQ(0, PR_GET_TSC, FILTER_ALLOW), IF_EQ(0, PR_SET_THP_DISABLE, FILTER_ALLOW),    \
		IF_EQ(0, PR_GET_THP_DISABLE, FILTER_ALLOW),                                        \
		IF_EQ(0, PR_GET_TID_ADDRESS, FILTER_ALLOW),                                        \
		IF_EQ(0, PR_GET_SPECULATION_CTRL, FILTER_ALLOW),                                   \
		IF_EQ(0, PR_SET_SPECULATION_CTRL, FILTER_ALLOW),                                   \
		IF_EQ(0, PR_MCE_KILL_GET, FILTER_ALLOW),                                           \
		IF_EQ(0, PR_TASK_PERF_EVENTS_DISABLE, FILTER_ALLOW),                               \
		IF_EQ(0, PR_TASK_PERF_EVENTS_ENABLE, FILTER_ALLOW),                                \
		IF_EQ(0, PR_SET_PTRACER, FILTER_ALLOW)

static const struct filter_check checks_prctl[] = {
	PRCTL_USUAL,
};
static_assert(ARRAY_LEN(checks_prctl) <= FILTER_CHECKS_MAX, "one block of the program");
RULE(prctl, FILTER_ERRNO(EINVAL));

static const struct filter_check checks_prctl_trusted[] = {
	PRCTL_USUAL,
	IF_EQ(0, PR_SET_SECCOMP, FILTER_ALLOW),
};
RULE(prctl_trusted, FILTER_ERRNO(EINVAL));

static const struct filter_check checks_seccomp[] = {
	{.conditions = {IS(0, SECCOMP_SET_MODE_FILTER)},
	 .len = 1,
	 .init_only = true,
	 .action = FILTER_ALLOW},
};
RULE(seccomp, FILTER_ERRNO(EPERM));

/* Without flags: a listener of the job's own is none that init would hear. */
static const struct filter_check checks_seccomp_trusted[] = {
	{.conditions = {IS(0, SECCOMP_SET_MODE_FILTER),
			BITS(1, ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC, 0)},
	 .len = 2,
	 .action = FILTER_ALLOW},
	IF_EQ(0, SECCOMP_SET_MODE_STRICT, FILTER_ALLOW),
	IF_EQ(0, SECCOMP_GET_ACTION_AVAIL, FILTER_ALLOW),
};
RULE(seccomp_trusted, FILTER_ERRNO(EPERM));

static const struct filter_check checks_personality[] = {
	IF_EQ(0, PER_LINUX, FILTER_ALLOW),   IF_EQ(0, PER_LINUX32, FILTER_ALLOW),
	IF_EQ(0, UNAME26, FILTER_ALLOW),     IF_EQ(0, ADDR_NO_RANDOMIZE, FILTER_ALLOW),
	IF_EQ(0, 0xffffffffU, FILTER_ALLOW), /* only asks */
};
RULE(personality, FILTER_ERRNO(EPERM));

/* What is no device: a file, in both spellings, a pipe, a socket. */
#define NO_DEVICE(mode)                                                                       \
	IF_BITS(mode, S_IFMT, 0, FILTER_ALLOW), IF_BITS(mode, S_IFMT, S_IFREG, FILTER_ALLOW), \
		IF_BITS(mode, S_IFMT, S_IFIFO, FILTER_ALLOW),                                 \
		IF_BITS(mode, S_IFMT, S_IFSOCK, FILTER_ALLOW)

static const struct filter_check checks_mknodat[] = {NO_DEVICE(2)};
RULE(mknodat, FILTER_ERRNO(EPERM));

#ifdef __NR_mknod
static const struct filter_check checks_mknod[] = {NO_DEVICE(1)};
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
static_assert(ARRAY_LEN(table) <= FILTER_LINES_MAX, "a copy of the table");

#define EXCEPT(prof, n, act, why) \
	{FILTER_##prof, {.name = #n, .number = __NR_##n, act, .reason = why}},

static const struct {
	enum filter_profile profile;
	struct filter_line line;
} exceptions[] = {
#include "worker/sandbox/filter_profile.def"
};

static const char *const profile_names[FILTER_PROFILES] = {
	[FILTER_DEFAULT] = "default", [FILTER_TRUSTED] = "trusted", [FILTER_STRICT] = "strict"};

const char *filter_profile_name(enum filter_profile profile)
{
	return profile < FILTER_PROFILES ? profile_names[profile] : "none";
}

bool filter_profile_parse(const char *name, enum filter_profile *ret)
{
	for (unsigned i = 0; i < FILTER_PROFILES; i++) {
		if (strcmp(profile_names[i], name) == 0) {
			*ret = (enum filter_profile)i;
			return true;
		}
	}
	return false;
}

bool filter_fits(enum filter_profile widest, enum filter_profile profile)
{
	static const unsigned strictness[FILTER_PROFILES] = {
		[FILTER_TRUSTED] = 0, [FILTER_DEFAULT] = 1, [FILTER_STRICT] = 2};

	return (unsigned)profile < FILTER_PROFILES && strictness[profile] >= strictness[widest];
}

static struct filter_line *find_line(struct filter_line *lines, uint32_t number)
{
	for (size_t i = 0; i < TABLE_LEN; i++) {
		if (lines[i].number == number)
			return &lines[i];
	}
	assert(!"each exception is from a line of filter.def");
	return NULL;
}

size_t filter_table(enum filter_profile profile, struct filter_line ret[FILTER_LINES_MAX])
{
	(void)memcpy(ret, table, sizeof(table));
	for (size_t i = 0; i < ARRAY_LEN(exceptions); i++) {
		if (exceptions[i].profile == profile)
			*find_line(ret, exceptions[i].line.number) = exceptions[i].line;
	}
	return TABLE_LEN;
}
