/*
 * attack_terminal.c - puts characters into a terminal's input, as if its user
 * had typed them (CVE-2017-5226), also with upper bits set that a careless
 * filter compares (CVE-2019-10063), or changes its line discipline.
 */
#include <sys/ioctl.h>
#include <termios.h>

#include "attack.h"

static void try_on(int fd)
{
	char letter = 'x', linux_paste[] = {3};
	int discipline = 21;

	must_fail("TIOCSTI", ioctl(fd, TIOCSTI, &letter));
	must_fail("TIOCSTI with upper bits",
		  syscall(SYS_ioctl, fd, 0x100000000UL | TIOCSTI, &letter));
	must_fail("TIOCLINUX", ioctl(fd, TIOCLINUX, linux_paste));
	must_fail("TIOCSETD", ioctl(fd, TIOCSETD, &discipline));
	must_fail("TIOCCONS", ioctl(fd, TIOCCONS, 0));
}

int main(void)
{
	int own = posix_openpt(O_RDWR | O_NOCTTY), terminal = open("/dev/tty", O_RDWR);

	for (int fd = 0; fd < 3; fd++)
		try_on(fd);
	if (own >= 0)
		try_on(own);
	if (terminal >= 0)
		escaped("there is a controlling terminal");
	contained();
}
