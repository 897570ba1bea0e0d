/*
 * attack_buffers.c - keeps bytes where no process has them: in connections, sent
 * and never received. The limit in MiB is given; twice that, held by all
 * processes together, is a win.
 */
#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "attack.h"

enum { PROCESSES = 4, HOLD_MS = 4000 };

static int listen_on_loopback(struct sockaddr_in *ret_name)
{
	struct sockaddr_in name = {.sin_family = AF_INET};
	socklen_t len = sizeof(name);
	int server = socket(AF_INET, SOCK_STREAM, 0);

	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(server, (struct sockaddr *)&name, len) < 0 || listen(server, 10) < 0 ||
	    getsockname(server, (struct sockaddr *)&name, &len) < 0)
		_exit(1);
	*ret_name = name;
	return server;
}

static long fill_one(int sender, int receiver, long most)
{
	static char block[1 << 16];
	int huge = 1 << 30;
	long held = 0;
	ssize_t n;

	(void)setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &huge, sizeof(huge));
	(void)setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &huge, sizeof(huge));
	while (held < most && (n = send(sender, block, sizeof(block), MSG_DONTWAIT)) > 0)
		held += n;
	return held;
}

static long fill(long most)
{
	struct sockaddr_in name;
	int server = listen_on_loopback(&name);
	long held = 0;

	while (held < most) {
		int sender = socket(AF_INET, SOCK_STREAM, 0), receiver;

		if (sender < 0 || connect(sender, (struct sockaddr *)&name, sizeof(name)) < 0)
			break;
		receiver = accept(server, NULL, NULL);
		if (receiver < 0)
			break;
		held += fill_one(sender, receiver, most - held);
	}
	return held;
}

int main(int argc, char **argv)
{
	long limit = argc > 1 ? number(argv[1]) << 20 : 0;
	long *held = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (limit == 0 || held == MAP_FAILED)
		return 1;
	for (int i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			(void)__atomic_add_fetch(held, fill(limit), __ATOMIC_SEQ_CST);
			for (;;)
				(void)pause();
		}
	pause_ms(HOLD_MS);
	if (*held > 2 * limit)
		escaped("%ld MiB lie in sockets", *held >> 20);
	contained();
}
