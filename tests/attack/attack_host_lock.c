/*
 * attack_host_lock.c - takes a lock or a lease on a file that the host uses, and
 * keeps it for a while: the test tries to lock the same file meanwhile.
 */
#include <sys/file.h>

#include "attack.h"

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	struct flock record = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	if (fd < 0)
		return 1;
	(void)flock(fd, LOCK_EX | LOCK_NB);
	(void)fcntl(fd, F_SETLK, &record);
	must_fail("a lease", fcntl(fd, F_SETLEASE, F_RDLCK));
	(void)puts("holding");
	(void)fflush(stdout);
	pause_ms(2000);
	contained();
}
