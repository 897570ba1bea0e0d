/*
 * attack_network.c - reaches a server of the host, given as a port and an
 * abstract socket's name, or anything beyond it.
 */
#include <arpa/inet.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "attack.h"

static void try_internet(const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);

	(void)inet_pton(AF_INET, address, &to.sin_addr);
	(void)alarm(5);
	if (stream >= 0)
		must_fail(address, connect(stream, (struct sockaddr *)&to, sizeof(to)));
	/* A datagram to nobody on the box's own loopback is sent and lost. */
	if (datagram >= 0 && strncmp(address, "127.", 4) != 0)
		must_fail(address, sendto(datagram, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
}

static void try_abstract(const char *name)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(to.sun_path + 1, sizeof(to.sun_path) - 1, "%s", name);
	if (fd >= 0)
		must_fail("abstract socket",
			  connect(fd, (struct sockaddr *)&to,
				  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
					      strlen(name))));
}

int main(int argc, char **argv)
{
	int port = argc > 1 ? (int)number(argv[1]) : 22;

	try_internet("127.0.0.1", port);
	try_internet("192.0.2.1", 80);
	try_internet("10.0.0.1", 53);
	try_internet("169.254.169.254", 80);
	if (argc > 2)
		try_abstract(argv[2]);
	contained();
}
