/*
 * attack_mount.c - changes what is mounted, by the old calls and the new ones,
 * or writes through a mount that is read-only.
 */
#include <sys/mount.h>

#include "attack.h"

int main(void)
{
	static const char *const covered[] = {"/tmp",	  "/work", "/proc",
					      "/dev/shm", "/usr",  "/proc/kallsyms"};

	must_fail("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
	must_fail("bind", mount("/usr", "/tmp", NULL, MS_BIND, NULL));
	must_fail("remount", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
	must_fail("remount of /proc", mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND, NULL));
	for (size_t i = 0; i < sizeof(covered) / sizeof(covered[0]); i++)
		must_fail("umount", umount2(covered[i], MNT_DETACH));
	must_fail("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	must_fail("fspick", syscall(SYS_fspick, -1, "/", 0));
	must_fail("open_tree", syscall(SYS_open_tree, -100, "/", 1));
	must_fail("open_tree without a copy", syscall(SYS_open_tree, -100, "/tmp", 0));
	must_fail("move_mount", syscall(SYS_move_mount, -100, "/tmp", -100, "/work", 0));
	must_fail("mount_setattr", syscall(SYS_mount_setattr, -100, "/", 0, NULL, 0));
	must_fail("chroot", chroot("/tmp"));
	must_fail("a file in /", open("/x", O_CREAT | O_WRONLY, 0644));
	must_fail("a file in /usr", open("/usr/x", O_CREAT | O_WRONLY, 0644));
	must_fail("a change of /usr", open("/usr/bin/env", O_WRONLY));
	must_fail("a change of /etc", open("/etc/ld.so.cache", O_WRONLY));
	must_fail("a mode in /usr", chmod("/usr/bin/env", 0777));
	must_fail("a time of /dev/null", utimensat(AT_FDCWD, "/dev/null", NULL, 0));
	contained();
}
