/*
 * attack_host_files.c - reads what only the host may read: its secrets, and a
 * file that the test has put there and names. What an image has under the same
 * name as the host is named after "own:".
 */
#include "attack.h"

static bool is_own(int argc, char **argv, const char *path)
{
	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], "own:", 4) == 0 && strcmp(argv[i] + 4, path) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const char *const paths[] = {
		"/etc/shadow",
		"/etc/gshadow",
		"/etc/sudoers",
		"/root/.bashrc",
		"/root/.ssh/id_rsa",
		"/home",
		"/etc/ssh/sshd_config",
		"/var/log/dpkg.log",
		"/var/lib/dpkg/status",
		"/boot",
		"/sys/kernel/vmcoreinfo",
		"/sys/class",
		"/proc/kcore",
		"/proc/kmsg",
		"/proc/keys",
		"/proc/kallsyms",
		"/proc/1/environ",
		"/proc/1/maps",
		"/proc/1/root/etc/shadow",
		"/proc/1/cwd/../etc/shadow",
		"/run/docker.sock",
		"/dev/mem",
		"/dev/kmem",
		"/dev/port",
		"/dev/kmsg",
		"/dev/vda",
		"/dev/sda",
		"/dev/kvm",
		"/dev/fuse",
		"/dev/net/tun",
		"/dev/vsock",
		"/etc/ssl/private",
		"/old_root",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (!is_own(argc, argv, paths[i]))
			must_not_open(paths[i], O_RDONLY);
	for (int i = 1; i < argc; i++) {
		char up[4096];

		if (strncmp(argv[i], "own:", 4) == 0)
			continue;
		must_not_open(argv[i], O_RDONLY);
		(void)snprintf(up, sizeof(up), "/work/../../../../../..%s", argv[i]);
		must_not_open(up, O_RDONLY);
		(void)snprintf(up, sizeof(up), "/proc/self/root%s", argv[i]);
		must_not_open(up, O_RDONLY);
		(void)snprintf(up, sizeof(up), "/proc/self/cwd/..%s", argv[i]);
		must_not_open(up, O_RDONLY);
	}
	contained();
}
