/*
 * attack_options.c - turns an ordinary socket into something else: a protocol on
 * top of it (CVE-2023-0461, CVE-2023-6176), a tunnel (CVE-2022-27666), a way to
 * the packet filter's tables (CVE-2021-22555), another owner's rights.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "attack.h"

enum { IPT_SET_REPLACE = 64, IPT_GET_INFO = 64, XFRM_POLICY = 17, IPV6_XFRM = 35 };

/* Both ends of a connection over the loopback interface. */
static int connected(void)
{
	struct sockaddr_in name = {.sin_family = AF_INET};
	socklen_t len = sizeof(name);
	int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);

	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(server, (struct sockaddr *)&name, len) < 0 || listen(server, 1) < 0 ||
	    getsockname(server, (struct sockaddr *)&name, &len) < 0 ||
	    connect(client, (struct sockaddr *)&name, len) < 0)
		_exit(1);
	return client;
}

static void try_protocols(int tcp)
{
	static const char *const names[] = {"tls", "smc", "espintcp", "mptcp"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		socklen_t len = (socklen_t)strlen(names[i]);

		if (setsockopt(tcp, IPPROTO_TCP, TCP_ULP, names[i], len) == 0)
			escaped("the protocol %s is on top of a socket", names[i]);
		must_fail("a protocol by upper bits",
			  syscall(SYS_setsockopt, tcp, 0x100000000L | IPPROTO_TCP,
				  0x100000000L | TCP_ULP, names[i], len));
		/* Not that the kernel has none: it must not have been asked. */
		if (errno != ENOENT)
			escaped("the protocol %s was looked for", names[i]);
	}
}

static void try_tunnels(int udp)
{
	for (int kind = 1; kind <= 7; kind++)
		must_fail("a tunnel", setsockopt(udp, IPPROTO_UDP, UDP_ENCAP, &kind, sizeof(kind)));
}

static void try_tables(int tcp, int six)
{
	char room[256] = "filter";
	socklen_t len = 84;

	must_fail("the tables", getsockopt(tcp, IPPROTO_IP, IPT_GET_INFO, room, &len));
	must_fail("the tables", getsockopt(six, IPPROTO_IPV6, IPT_GET_INFO, room, &len));
	must_fail("other tables", setsockopt(tcp, IPPROTO_IP, IPT_SET_REPLACE, room, sizeof(room)));
	must_fail("other tables",
		  setsockopt(six, IPPROTO_IPV6, IPT_SET_REPLACE, room, sizeof(room)));
	must_fail("a policy", setsockopt(tcp, IPPROTO_IP, XFRM_POLICY, room, sizeof(room)));
	must_fail("a policy", setsockopt(six, IPPROTO_IPV6, IPV6_XFRM, room, sizeof(room)));
}

static void try_rights(int tcp)
{
	static const struct {
		const char *what;
		int level, option;
	} rights[] = {
		{"repair", IPPROTO_TCP, TCP_REPAIR},	  {"debugging", SOL_SOCKET, SO_DEBUG},
		{"a mark", SOL_SOCKET, SO_MARK},	  {"a buffer", SOL_SOCKET, SO_RCVBUFFORCE},
		{"a buffer", SOL_SOCKET, SO_SNDBUFFORCE},
	};
	int on = 1;

	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++)
		must_fail(rights[i].what,
			  setsockopt(tcp, rights[i].level, rights[i].option, &on, sizeof(on)));
}

int main(void)
{
	int tcp = connected(), udp = socket(AF_INET, SOCK_DGRAM, 0);
	int six = socket(AF_INET6, SOCK_STREAM, 0);

	try_protocols(tcp);
	try_tunnels(udp);
	try_tables(tcp, six);
	try_rights(tcp);
	contained();
}
