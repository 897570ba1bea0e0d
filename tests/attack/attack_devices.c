/*
 * attack_devices.c - makes a device node, or one of the overlay's whiteouts,
 * which are devices of number 0:0 and need no privilege; or opens one that leads
 * into a large part of the kernel (FUSE under an overlay: CVE-2023-0386).
 */
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "attack.h"

static void open_existing(void)
{
	static const char *const devices[] = {
		"/dev/fuse",
		"/dev/kvm",
		"/dev/mem",
		"/dev/kmem",
		"/dev/port",
		"/dev/kmsg",
		"/dev/net/tun",
		"/dev/vhost-net",
		"/dev/vhost-vsock",
		"/dev/userfaultfd",
		"/dev/loop-control",
		"/dev/loop0",
		"/dev/sda",
		"/dev/vda",
		"/dev/mapper/control",
		"/dev/uinput",
		"/dev/input/event0",
		"/dev/dri/card0",
		"/dev/snd/control",
		"/dev/hpet",
		"/dev/rtc0",
		"/dev/tty0",
		"/dev/tty1",
		"/dev/ttyS0",
		"/dev/console",
		"/dev/cuse",
		"/dev/udmabuf",
		"/dev/dma_heap/system",
		"/dev/btrfs-control",
		"/dev/autofs",
		"/dev/nvram",
		"/dev/watchdog",
		"/dev/hugepages",
		"/dev/binderfs",
		"/dev/vsock",
	};

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		must_fail(devices[i], open(devices[i], O_RDONLY | O_NONBLOCK | O_NOCTTY));
		must_fail(devices[i], open(devices[i], O_RDWR | O_NONBLOCK | O_NOCTTY));
	}
}

int main(void)
{
	static const char *const places[] = {"/work/node", "/tmp/node", "/dev/shm/node"};
	static const char *const marks[] = {"trusted.overlay.opaque", "trusted.overlay.redirect",
					    "user.overlay.opaque", "user.overlay.whiteout"};

	open_existing();
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
