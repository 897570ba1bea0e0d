/*
 * attack_memory.c - memory without end, of one kind: anonymous, shared, a
 * memory file, pipes. The limit in MiB is given; twice that is a win.
 */
#include <sys/mman.h>

#include "attack.h"

enum { STEP = 1 << 20 };

static void take(const char *kind, int i)
{
	static char block[STEP];
	static int file = -1;

	(void)memset(block, i | 1, sizeof(block));
	if (strcmp(kind, "memfd") == 0 || strcmp(kind, "shm") == 0) {
		if (file < 0)
			file = kind[0] == 'm' ? memfd_create("x", 0)
					      : open("/dev/shm/x", O_RDWR | O_CREAT, 0600);
		if (write(file, block, sizeof(block)) < 0)
			contained(); /* full, as it should be */
	} else if (strcmp(kind, "pipe") == 0) {
		for (int k = 0; k < 16; k++) {
			int ends[2];

			if (pipe2(ends, O_NONBLOCK) < 0)
				contained(); /* out of descriptors */
			(void)fcntl(ends[1], F_SETPIPE_SZ, STEP);
			if (write(ends[1], block, sizeof(block)) < 0)
				contained();
		}
	} else {
		void *at = mmap(NULL, STEP, PROT_READ | PROT_WRITE,
				(kind[0] == 's' ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED)
			contained();
		(void)memset(at, 1, STEP);
	}
}

int main(int argc, char **argv)
{
	int limit_mb = argc > 2 ? (int)number(argv[2]) : 64;

	if (argc < 2)
		return 1;
	for (int i = 0;; i++) {
		if (i > 2 * limit_mb)
			escaped("%d MiB of %s", i, argv[1]);
		take(argv[1], i);
	}
}
