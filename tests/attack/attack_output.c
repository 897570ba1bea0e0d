/*
 * attack_output.c - writes to both streams without end, and never reads a
 * signal's meaning.
 */
#include "attack.h"

int main(void)
{
	static char block[1 << 16];
	pid_t pid;

	(void)memset(block, 'x', sizeof(block));
	ignore_signals();
	pid = fork();
	for (;;)
		if (write(pid == 0 ? 1 : 2, block, sizeof(block)) < 0)
			return 1;
}
