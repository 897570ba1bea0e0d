/*
 * attack_sockets.c - kinds of sockets that lead around the network namespace or
 * into rarely used parts of the kernel.
 */
#include <linux/netlink.h>
#include <sys/socket.h>

#include "attack.h"

int main(void)
{
	static const int families[] = {AF_PACKET,  AF_VSOCK, AF_ALG, AF_BLUETOOTH, AF_CAN,
				       AF_TIPC,	   AF_RDS,   AF_KEY, AF_XDP,	   AF_IB,
				       AF_QIPCRTR, AF_NFC,   AF_LLC, AF_APPLETALK, AF_X25};
	static const int netlinks[] = {NETLINK_AUDIT,	       NETLINK_NETFILTER, NETLINK_XFRM,
				       NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC,	  NETLINK_SOCK_DIAG,
				       NETLINK_CONNECTOR,      NETLINK_CRYPTO};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		for (int type = 1; type <= 5; type++)
			must_fail("a family", socket(families[i], type, 0));
	for (size_t i = 0; i < sizeof(netlinks) / sizeof(netlinks[0]); i++)
		must_fail("a netlink protocol", socket(AF_NETLINK, SOCK_RAW, netlinks[i]));
	for (int family = 0; family < 2; family++)
		for (int type = 1; type <= 6; type++) {
			must_fail("SCTP", socket(family == 0 ? AF_INET : AF_INET6, type, 132));
			must_fail("DCCP", socket(family == 0 ? AF_INET : AF_INET6, type, 33));
			must_fail("L2TP", socket(family == 0 ? AF_INET : AF_INET6, type, 115));
			must_fail("MPTCP", socket(family == 0 ? AF_INET : AF_INET6, type, 262));
		}
	must_fail("DCCP by its type", socket(AF_INET, 6, 0));
	must_fail("a raw socket", socket(AF_INET, SOCK_RAW, 1));
	must_fail("a raw socket", socket(AF_INET6, SOCK_RAW, 58));
	must_fail("vsock by the upper half", syscall(SYS_socket, 0x100000000L | AF_VSOCK, 1, 0));
	contained();
}
