/*
 * attack_devices.c - makes a device node, or one of the overlay's whiteouts,
 * which are devices of number 0:0 and need no privilege.
 */
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "attack.h"

int main(void)
{
	static const char *const places[] = {"/work/node", "/tmp/node", "/dev/shm/node"};
	static const char *const marks[] = {"trusted.overlay.opaque", "trusted.overlay.redirect",
					    "user.overlay.opaque", "user.overlay.whiteout"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		must_fail("memory", mknod(places[i], S_IFCHR | 0666, makedev(1, 1)));
		must_fail("a disk", mknod(places[i], S_IFBLK | 0666, makedev(254, 0)));
		must_fail("a whiteout", mknod(places[i], S_IFCHR, makedev(0, 0)));
		must_fail("a disguised whiteout",
			  syscall(SYS_mknod, places[i], 0x10000U | S_IFCHR, makedev(0, 0)));
	}
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (setxattr("/work", marks[i], "y", 1, 0) == 0 &&
		    getxattr("/work", marks[i], NULL, 0) < 0)
			escaped("the mark '%s' went to the layer", marks[i]);
	contained();
}
