/*
 * attack_huge.c - files larger than any limit: sparse ones, by length and by
 * hole, by a mapping, by a memory file; and one byte beyond the limit, which is
 * given in MiB.
 */
#include <linux/falloc.h>
#include <sys/mman.h>

#include "attack.h"

int main(int argc, char **argv)
{
	off_t limit = argc > 1 ? number(argv[1]) << 20 : 0, over = limit + 1;
	int fd = open("/work/huge", O_RDWR | O_CREAT, 0600), memory = memfd_create("huge", 0);

	if (limit == 0 || fd < 0 || memory < 0)
		return 1;
	ignore_signals();
	must_fail("a longer file", ftruncate(fd, over));
	must_fail("a longer memory file", ftruncate(memory, over));
	must_fail("a byte behind the limit", pwrite(fd, "x", 1, limit));
	must_fail("a byte at the end of the world", pwrite(fd, "x", 1, 1LL << 60));
	must_fail("reserved space", fallocate(fd, 0, 0, over));
	must_fail("reserved space beyond the end",
		  fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1LL << 50));
	must_fail("the same in a memory file",
		  fallocate(memory, FALLOC_FL_KEEP_SIZE, 0, 1LL << 50));
	contained();
}
