/*
 * test_network.c - a network namespace is used anew only when nothing shows that
 * anybody has used it: a job that left anything there has had it for itself.
 *
 * Each attack leaves something behind on purpose; then the next job looks for
 * it, in whatever namespace it was given.
 */
#include "tests/unit/sandbox/boxtest.h"

static bool reuse;

static void open_host(struct boxtest *test)
{
	char instance[40];
	struct box_config config = {.instance = instance,
				    .allow_missing_cgroup = boxtest_as_user,
				    .uid_base = BOXTEST_UID_BASE,
				    .slots = 2,
				    .reuse_networks = reuse};
	struct err err = {0};

	*test = (struct boxtest){0};
	(void)snprintf(instance, sizeof(instance), "network-%d", (int)getpid());
	buf_init(&test->out, 8 << 20);
	buf_init(&test->errors, 8 << 20);
	if (box_host_open(&test->host, &config, &err) < 0)
		boxtest_fail("box_host_open", &err);
	box_host_sweep_dead(test->host, "network");
}

static void next_job(struct boxtest *test, const char *script, char *ret_said, size_t size)
{
	struct box_limits limits = boxtest_limits;

	limits.wall_ms *= boxtest_slow();
	boxtest_new(test, NULL, &limits);
	(void)snprintf(ret_said, size, "%s", boxtest_ok(test, script));
	boxtest_drop(test);
}

/* --- what stays behind -------------------------------------------------------- */

#define PYTHON(program) "python3 - <<'END'\nimport os, socket, struct\n" program "\nEND"

/* An echo of itself is what a service on loopback is. */
#define TCP_PAIR                                          \
	"s = socket.create_server(('127.0.0.1', 0))\n"    \
	"c = socket.create_connection(s.getsockname())\n" \
	"d = s.accept()[0]\n"

static const struct {
	const char *what, *script;
	bool shows; /* the namespace may not be used anew */
} leavings[] = {
	{"nothing", "true", false},
	{"a socket of its own that was closed", PYTHON("socket.socket().close()"), false},
	{"an abstract socket",
	 PYTHON("s = socket.socket(socket.AF_UNIX)\n"
		"s.bind('\\0hidden'); s.listen()"),
	 false},
	{"an abstract socket of a process that no signal ends",
	 PYTHON("import signal\n"
		"s = socket.socket(socket.AF_UNIX); s.bind('\\0hidden'); s.listen()\n"
		"if os.fork() == 0:\n"
		"    os.setsid(); signal.signal(15, signal.SIG_IGN); signal.pause()"),
	 false},
	{"sockets that hold each other on their way",
	 PYTHON("a, b = socket.socketpair()\n"
		"s = socket.socket(socket.AF_UNIX); s.bind('\\0hidden'); s.listen()\n"
		"socket.send_fds(a, [b'x'], [b.fileno(), s.fileno()])\n"
		"socket.send_fds(b, [b'x'], [a.fileno()])"),
	 false},
	{"a TCP socket on its way in one that holds itself",
	 PYTHON("a, b = socket.socketpair()\n"
		"s = socket.create_server(('127.0.0.1', 7777))\n"
		"socket.send_fds(a, [b'x'], [b.fileno(), s.fileno()])\n"
		"socket.send_fds(b, [b'x'], [a.fileno()])"),
	 false},
	{"a connection that waits for its end", PYTHON(TCP_PAIR "c.close(); d.close()"), true},
	{"a connection that nobody has closed", PYTHON(TCP_PAIR "c.send(b'x' * 1000)"), true},
	{"a datagram",
	 PYTHON("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
		".sendto(b'x', ('127.0.0.1', 9))"),
	 true},
	{"a datagram to itself by IPv6",
	 PYTHON("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"
		".sendto(b'x', ('::1', 9))"),
	 true},
	{"a flow label",
	 PYTHON("s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
		"s.setsockopt(41, 32, socket.inet_pton(socket.AF_INET6, '::1') + "
		"struct.pack('!I', 0x12345) + struct.pack('BBHHHI', 0, 1, 1, 60, "
		"60, 0))"),
	 true},
};

/* All that a job can find out about those before it. The socket that asked for
 * neighbours is counted a moment longer than it is open. */
static const char look[] =
	"readlink /proc/self/ns/net; for i in 1 2 3 4 5 6 7 8 9; do "
	"grep -q '^sockets: used 0' /proc/net/sockstat && break; sleep 0.1; done; "
	"cat /proc/net/unix | tail -n +2; tail -n +2 /proc/net/tcp; "
	"tail -n +2 /proc/net/udp; tail -n +2 /proc/net/tcp6; tail -n +2 /proc/net/udp6; "
	"tail -n +2 /proc/net/ip6_flowlabel; cat /proc/net/snmp /proc/net/netstat /proc/net/dev "
	"/proc/net/dev_snmp6/lo /proc/net/fib_trie /proc/net/ipv6_route; "
	"grep -E '^sockets' /proc/net/sockstat; "
	"python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + 'hidden')\" "
	"2>&1 | "
	"tail -1; "
	"python3 -c \"import socket; socket.create_server(('127.0.0.1', 7777))\" 2>&1";

/* From the second line on: the first has the namespace's number. */
static char *without_number(char *said)
{
	return strchr(said, '\n') + 1;
}

/* Moves both on to the line in which they differ, which ends them. */
static void first_difference(char **a, char **b)
{
	char *at_a = *a, *at_b = *b;

	for (; *at_a == *at_b && *at_a != '\0'; at_a++, at_b++) {
		if (*at_a != '\n')
			continue;
		*a = at_a + 1;
		*b = at_b + 1;
	}
	(*a)[strcspn(*a, "\n")] = '\0';
	(*b)[strcspn(*b, "\n")] = '\0';
}

static void nothing_of_a_job_is_seen_by_the_next(void **state)
{
	static char unused[64 << 10], before[256], after[64 << 10];
	struct boxtest test;

	(void)state;
	reuse = true;
	open_host(&test);
	next_job(&test, look, unused, sizeof(unused));
	assert_non_null(strstr(unused, "ConnectionRefusedError"));
	assert_null(strstr(unused, "Address already in use"));
	for (size_t i = 0; i < ARRAY_LEN(leavings); i++) {
		char script[2048];

		(void)snprintf(script, sizeof(script), "readlink /proc/self/ns/net\n%s",
			       leavings[i].script);
		next_job(&test, script, before, sizeof(before));
		before[strcspn(before, "\n") + 1] = '\0';
		next_job(&test, look, after, sizeof(after));
		if (strcmp(without_number(after), without_number(unused)) != 0) {
			char *seen = without_number(after), *wanted = without_number(unused);

			first_difference(&seen, &wanted);
			fail_msg("%s: the next job sees '%s', and not '%s'", leavings[i].what, seen,
				 wanted);
		}
		if (leavings[i].shows && strncmp(after, before, strlen(before)) == 0)
			fail_msg("%s: the namespace was used anew", leavings[i].what);
	}
	boxtest_close(&test);
}

static void what_nobody_has_used_is_used_anew(void **state)
{
	char first[256], second[256], third[256];
	struct box_networks counts;
	struct boxtest test;

	(void)state;
	reuse = true;
	open_host(&test);
	next_job(&test, "readlink /proc/self/ns/net", first, sizeof(first));
	next_job(&test, "readlink /proc/self/ns/net; sleep 2", second, sizeof(second));
	next_job(&test, "readlink /proc/self/ns/net", third, sizeof(third));
	assert_string_equal(first, second);
	assert_string_equal(first, third);
	counts = box_host_networks(test.host);
	assert_int_equal(counts.made, 1);
	assert_int_equal(counts.reused, 2);
	assert_int_equal(counts.refused, 0);
	boxtest_close(&test);
}

static void by_default_none_is(void **state)
{
	char first[256], second[256];
	struct boxtest test;

	(void)state;
	reuse = false;
	open_host(&test);
	next_job(&test, "readlink /proc/self/ns/net", first, sizeof(first));
	next_job(&test, "readlink /proc/self/ns/net", second, sizeof(second));
	assert_string_not_equal(first, second);
	assert_int_equal(box_host_networks(test.host).made, 2);
	assert_int_equal(box_host_networks(test.host).reused, 0);
	boxtest_close(&test);
}

/* Two boxes at once never share one. */
static void only_one_box_at_a_time_has_it(void **state)
{
	struct boxtest one, other;
	char first[256], second[256];
	struct err err = {0};
	struct box *box;

	(void)state;
	reuse = true;
	open_host(&one);
	next_job(&one, "true", first, sizeof(first)); /* one is kept */
	boxtest_new(&one, NULL, NULL);
	other = one;
	if (box_new(one.host, 1, &box, &err) < 0)
		boxtest_fail("box_new", &err);
	box_free(box); /* and given back while the first one lives */
	(void)snprintf(first, sizeof(first), "%s", boxtest_ok(&one, "readlink /proc/self/ns/net"));
	boxtest_new(&other, NULL, NULL);
	(void)snprintf(second, sizeof(second), "%s",
		       boxtest_ok(&other, "readlink /proc/self/ns/net"));
	assert_string_not_equal(first, second);
	boxtest_drop(&other);
	boxtest_close(&one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_of_a_job_is_seen_by_the_next),
		cmocka_unit_test(what_nobody_has_used_is_used_anew),
		cmocka_unit_test(by_default_none_is),
		cmocka_unit_test(only_one_box_at_a_time_has_it),
	};

	return boxtest_main(tests, ARRAY_LEN(tests), NULL, 0);
}
