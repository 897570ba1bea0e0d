/*
 * attack_disk.c - fills every place that can be written, with bytes or with
 * files. The limits, in MiB and inodes, are given; more than they say, in all
 * places together, is a win.
 */
#include "attack.h"

static const char *const places[] = {"/work", "/tmp", "/dev/shm", "/run", "/var/tmp",
				     "/home", "/dev", "/proc",	  "/usr", "/"};

enum { PLACES = sizeof(places) / sizeof(places[0]), BLOCK = 1 << 16 };

static long fill_bytes(const char *place)
{
	static char block[BLOCK];
	char path[64];
	long written = 0;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/filler", place);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	(void)memset(block, 'x', sizeof(block));
	while (fd >= 0 && written < 1L << 31 && (n = write(fd, block, sizeof(block))) > 0)
		written += n;
	if (fd >= 0 && fallocate(fd, 0, written, 1L << 30) == 0)
		escaped("a gigabyte more in %s", place);
	return written;
}

static long fill_inodes(const char *place)
{
	char path[64];
	long made = 0;

	for (; made < 200000; made++) {
		(void)snprintf(path, sizeof(path), "%s/f%ld", place, made);
		if (mkdir(path, 0700) < 0)
			break;
	}
	return made;
}

int main(int argc, char **argv)
{
	bool inodes = argc > 1 && strcmp(argv[1], "inodes") == 0;
	long limit = argc > 2 ? number(argv[2]) : 0, sum = 0;

	if (limit == 0)
		return 1;
	for (int i = 0; i < PLACES; i++)
		sum += inodes ? fill_inodes(places[i]) : fill_bytes(places[i]);
	if (sum > (inodes ? limit : limit << 20))
		escaped("%ld written", sum);
	if (sum == 0)
		return 1; /* then nothing was tried */
	return 3;	  /* failed by the limit, which the outcome has to name */
}
