/*
 * attack_cwd.c - leaves by where it was started, as in CVE-2024-21626: the
 * current directory, or a descriptor that was left open, is one of the host.
 * The secret of the test is looked for above each.
 */
#include <sys/mount.h>

#include "attack.h"

enum { UP = 40, DESCRIPTORS = 1024 };

static void look_above(int fd, const char *secret)
{
	char path[4096] = "";
	size_t len = 0;

	for (int i = 0; i < UP; i++) {
		int found;

		(void)snprintf(path + len, sizeof(path) - len, "%s", secret);
		found = openat(fd, path, O_RDONLY | O_CLOEXEC);
		if (found >= 0)
			escaped("'%s' leads to the host", path);
		(void)snprintf(path + len, sizeof(path) - len, "../");
		len += 3;
	}
}

int main(int argc, char **argv)
{
	char link[64], cwd[4096];

	if (argc < 2)
		return 1;
	if (getcwd(cwd, sizeof(cwd)) == NULL || strncmp(cwd, "/work", 5) != 0)
		escaped("started in '%s'", cwd);
	look_above(AT_FDCWD, argv[1] + 1);
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		look_above(fd, argv[1] + 1);
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d/..", fd);
		if (chdir(link) == 0)
			look_above(AT_FDCWD, argv[1] + 1);
		(void)snprintf(link, sizeof(link), "/proc/1/fd/%d", fd);
		must_not_open(link, O_RDONLY);
	}
	must_not_open("/proc/1/cwd", O_RDONLY);
	must_not_open("/proc/1/root", O_RDONLY);
	contained();
}
