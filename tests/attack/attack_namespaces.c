/*
 * attack_namespaces.c - a namespace of one's own is the door to most kernel
 * exploits: by clone, clone3, unshare, setns, each alone and together.
 */
#include <linux/sched.h>
#include <sched.h>

#include "attack.h"

int main(void)
{
	static const unsigned long spaces[] = {CLONE_NEWUSER,
					       CLONE_NEWNS,
					       CLONE_NEWPID,
					       CLONE_NEWNET,
					       CLONE_NEWIPC,
					       CLONE_NEWUTS,
					       CLONE_NEWCGROUP,
					       CLONE_NEWUSER | CLONE_NEWNS,
					       CLONE_NEWUSER | CLONE_NEWNET};
	static const char *const own[] = {"user", "mnt", "pid", "net", "ipc", "uts"};

	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		struct clone_args args = {.flags = spaces[i], .exit_signal = SIGCHLD};

		must_fail("unshare", unshare((int)spaces[i]));
		must_fail("clone", syscall(SYS_clone, spaces[i] | SIGCHLD, 0, 0, 0, 0));
		must_fail("clone with upper bits",
			  syscall(SYS_clone, 0xdead00000000UL | spaces[i] | SIGCHLD, 0, 0, 0, 0));
		must_fail("clone3", syscall(SYS_clone3, &args, sizeof(args)));
	}
	must_fail("unshare of time", unshare(0x80));
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		char path[64];
		int fd;

		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", own[i]);
		fd = open(path, O_RDONLY);
		must_fail("setns", setns(fd, 0));
	}
	contained();
}
