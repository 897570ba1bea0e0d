/*
 * attack_exe.c - overwrites the host's program behind a magic link, as in
 * CVE-2019-5736: the program that made the box, or one that everybody runs, is
 * opened by /proc/self/exe and written through a second name of the descriptor
 * while nobody runs it any more.
 */
#include "attack.h"

enum { TRIES = 200 };

static void try_path(const char *path)
{
	char again[64];
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	must_not_open(again, O_WRONLY);
	must_not_open(again, O_RDWR);
	must_fail("truncating the program", truncate(again, 0));
	must_fail("changing its mode", chmod(again, 04777));
	(void)close(fd);
}

/* A script whose interpreter is the magic link runs the starter's own program. */
static void try_interpreter(void)
{
	int fd = open("/work/script", O_WRONLY | O_CREAT, 0755);

	if (fd < 0 || write(fd, "#!/proc/self/exe\n", 17) != 17 || close(fd) < 0)
		_exit(1);
	(void)run_shell("/work/script 2>/dev/null");
}

int main(void)
{
	static const char *const programs[] = {
		"/proc/1/exe",	  "/usr/bin/env",	   "/bin/sh",
		"/proc/self/exe", "/proc/thread-self/exe", "/lib64/ld-linux-x86-64.so.2"};

	try_interpreter();
	for (int i = 0; i < TRIES;
	     i++) /* whoever is started meanwhile may be between two programs */
		try_path("/proc/1/exe");
	for (size_t i = 0; i < 3; i++)
		try_path(programs[i]);
	try_path(programs[5]);
	must_not_open("/proc/1/exe", O_RDONLY);
	contained();
}
