/*
 * attack_proc.c - the ways out that /proc has: magic links to another root, the
 * host's program behind /proc/self/exe, descriptors that were left open, and the
 * kernel's knobs.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attack.h"

/* Nothing but the standard streams was inherited. */
static void look_for_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");

	if (dir == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (fd > 2 && fd != dirfd(dir))
			escaped("descriptor %d was inherited", fd);
	}
	(void)closedir(dir);
}

static void look_at_processes(void)
{
	DIR *dir = opendir("/proc");
	char path[300];

	if (dir == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		int pid = (int)strtol(entry->d_name, NULL, 10);

		if (pid == 0 || pid == getpid())
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/root/etc/shadow", pid);
		must_not_open(path, O_RDONLY);
		(void)snprintf(path, sizeof(path), "/proc/%d/exe", pid);
		must_not_open(path, O_RDWR);
		if (pid == 1)
			escaped("init can be seen");
	}
	(void)closedir(dir);
}

/* A knob may be hidden behind the null device, which takes all and does nothing. */
static void must_not_turn(const char *path)
{
	struct stat st;
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return;
	if (fstat(fd, &st) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		escaped("'%s' is open for writing", path);
	(void)close(fd);
}

int main(void)
{
	static const char *const knobs[] = {
		"/proc/sys/kernel/core_pattern",
		"/proc/sys/kernel/modprobe",
		"/proc/sys/kernel/hostname",
		"/proc/sys/kernel/randomize_va_space",
		"/proc/sys/vm/drop_caches",
		"/proc/sys/vm/overcommit_memory",
		"/proc/sys/fs/binfmt_misc/register",
		"/proc/sys/user/max_user_namespaces",
		"/proc/sys/net/ipv4/ip_forward",
		"/proc/sys/kernel/ns_last_pid",
		"/proc/sysrq-trigger",
		"/proc/irq/default_smp_affinity",
		"/proc/mtrr",
		"/proc/acpi/wakeup",
		"/proc/self/uid_map",
		"/proc/self/gid_map",
		"/proc/self/setgroups",
		"/proc/self/oom_score_adj",
		"/proc/self/attr/current",
		"/proc/self/loginuid",
		"/sys/kernel/uevent_helper",
		"/sys/fs/cgroup/release_agent",
		"/sys/fs/cgroup/memory/release_agent",
		"/sys/fs/cgroup/cgroup.procs",
	};

	look_for_descriptors();
	look_at_processes();
	for (size_t i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++)
		must_not_turn(knobs[i]);
	must_not_open("/proc/self/exe", O_WRONLY);
	contained();
}
