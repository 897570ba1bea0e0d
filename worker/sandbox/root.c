/*
 * root.c - theory of operation.
 *
 * What a job sees as "/" is built once for each slot, in a mount namespace of
 * its own, the template: a small tmpfs with the skeleton, the host's /usr read
 * only, a few copied and a few made-up files in /etc, nodes of harmless devices.
 * Then the template is pivoted into and the old root is gone from it. The init
 * of a box copies the template (a dozen mounts, some 20 us) and adds only
 * what must be its own: /proc, /dev/pts, /dev/mqueue, and later workspace, /tmp,
 * /dev/shm.
 *
 * /usr is an overlay with an empty second layer rather than a bind mount. A
 * file lock, lease or watch taken through it lies on the overlay's own inode,
 * so a job can't block or watch the host's use of the same file; one template
 * a slot means that two running jobs do not share these inodes either. The
 * directories of /etc are shown in the same way for the same reason. One overlay
 * over the whole of the host's root serves both, of which only these parts are
 * taken in; it leaves with the old root. An overlay does not show what is mounted
 * below: where /usr or /etc is a file system of its own, or to a user namespace,
 * each gets one, and with mounts below /usr, or where the kernel refuses one, /usr
 * is bound.
 *
 * A root directory of its own (an image) is shown whole instead: one overlay of
 * the skeleton over that directory, so that the names that a box needs are there
 * whatever the image has in their place, and nothing in it is written.
 *
 * A host that makes one box only lets init build its root in place instead, and
 * fills the skeleton meanwhile.
 *
 * All of it is read-only, which device nodes do not mind.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/mounts.h"
#include "worker/sandbox/sandbox_private.h"

/* --- what is in it ---------------------------------------------------------- */

/* Beside /usr: links into it on most hosts, directories on others. */
static const char *const beside_usr[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

static const struct {
	const char *name;
	unsigned major, minor;
} devices[] = {
	{"null", 1, 3},	  {"zero", 1, 5},    {"full", 1, 7},
	{"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
	const char *name, *target;
} device_links[] = {
	{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

/* Directories of the host's /etc that programs miss, none with anything secret. */
static const char *const bound[] = {
	"alternatives",	   /* cc, java, awk, ... lead through it */
	"ssl/certs",	   /* the public certificates, never private/ */
	"pki",		   /* the same elsewhere */
	"java-11-openjdk", /* the settings of the JVM and of its tools */
	"java-17-openjdk",
	"java-21-openjdk",
	"maven",
	"fonts",
};

/* Of the new /proc: what tells about the host or its other users, and is not
 * root's alone anyway. Writing is refused everywhere in it, the mount being
 * read-only. */
static const char *const masked_files[] = {
	"diskstats", "interrupts",  "kallsyms",	     "kcore",	   "key-users",
	"keys",	     "sched_debug", "sysrq-trigger", "timer_list",
};
static const char *const masked_dirs[] = {"acpi", "asound", "bus", "driver", "fs", "irq", "scsi"};

#define IMAGE_AT "work" /* a directory of the skeleton, see mount_image */

enum {
	PART_ATTRS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
	DEVICE_ATTRS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
};

/* --- mounting into it ---------------------------------------------------------- */

static int bind(int host_fd, int top_fd, const char *path, struct err *err)
{
	CLEANUP(fd_cleanup) int tree = mounts_clone_all(host_fd, path);

	if (tree < 0 || mounts_attrs(tree, "", AT_RECURSIVE, PART_ATTRS, -1) < 0 ||
	    mounts_attach(tree, top_fd, path) < 0)
		return err_sys(err, "cannot mount the host's '/%s' in the sandbox", path);
	return 0;
}

/* Shows the host's directory `path` at `at`, with inodes that are not the
 * host's. The current directory is the top of the skeleton: "empty" is in it. */
static int overlay(const char *path, int dir_fd, const char *at)
{
	char lower[PATH_MAX];
	const struct mount_option options[] = {{"lowerdir", lower}};
	CLEANUP(fd_cleanup) int fd = -1;

	if (snprintf(lower, sizeof(lower), "/%s:empty", path) >= (int)sizeof(lower))
		return -1;
	fd = mounts_make("overlay", options, ARRAY_LEN(options), PART_ATTRS, NULL);
	if (fd < 0)
		return -1;
	return mounts_attach(fd, dir_fd, at);
}

/* Shows a part of what is mounted already. */
static int show_part(int from_fd, const char *name, int top_fd, const char *at)
{
	CLEANUP(fd_cleanup) int tree = mounts_clone(from_fd, name);

	if (tree < 0 || mounts_attrs(tree, "", 0, PART_ATTRS, -1) < 0)
		return -1;
	return mounts_attach(tree, top_fd, at);
}

static int show_dir(int host_fd, int top_fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstatat(host_fd, path, &st, 0) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (mkdirat(top_fd, path, 0755) < 0 && errno != EEXIST)
		return err_sys(err, "cannot make '%s' in the root of the sandbox", path);
	if (overlay(path, top_fd, path) == 0)
		return 0;
	return bind(host_fd, top_fd, path, err);
}

/* A link stays a link when it stays inside, as /bin -> usr/bin does. */
static int mount_beside_usr(int host_fd, int top_fd, const char *path, struct err *err)
{
	char target[256];
	ssize_t len = readlinkat(host_fd, path, target, sizeof(target) - 1);

	if (len < 0)
		return show_dir(host_fd, top_fd, path, err);
	target[len] = '\0';
	if (symlinkat(target, top_fd, path) < 0)
		return err_sys(err, "cannot make '%s' in the root of the sandbox", path);
	return 0;
}

/* An overlay that only parts of are shown lies on the host's /usr, in this mount
 * namespace, and leaves with the old root. */
static int aside(const char *path, int host_fd)
{
	if (overlay(path, host_fd, "usr") < 0)
		return -1;
	return openat(host_fd, "usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Asked for in the host's directory first, which knows without looking at the
 * disk what it does not have. */
static int show_etc(int host_fd, int etc_fd, int top_fd, const char *name, struct err *err)
{
	struct stat st;
	char path[64];

	(void)snprintf(path, sizeof(path), "etc/%s", name);
	if (fstatat(host_fd, path, &st, 0) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (mkdirat(top_fd, path, 0755) < 0 && errno != EEXIST)
		return err_sys(err, "cannot make '%s' in the root of the sandbox", path);
	if (show_part(etc_fd, name, top_fd, path) < 0)
		return err_sys(err, "cannot mount the host's '/%s' in the sandbox", path);
	return 0;
}

static int show_apart(bool over_usr, int host_fd, int top_fd, int *ret_etc_fd, struct err *err)
{
	if (!(over_usr && overlay("usr", top_fd, "usr") == 0) &&
	    bind(host_fd, top_fd, "usr", err) < 0)
		return -1;
	*ret_etc_fd = aside("etc", host_fd);
	if (*ret_etc_fd < 0)
		*ret_etc_fd = openat(host_fd, "etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

/* /usr, and for /etc a descriptor; -1: there is none. */
static int show_main(enum host_view view, int host_fd, int top_fd, int *ret_etc_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int whole_fd = view == VIEW_WHOLE ? aside("", host_fd) : -1;

	if (whole_fd < 0)
		return show_apart(view != VIEW_BOUND, host_fd, top_fd, ret_etc_fd, err);
	if (show_part(whole_fd, "usr", top_fd, "usr") < 0)
		return err_sys(err, "cannot mount the host's '/usr' in the sandbox");
	*ret_etc_fd = openat(whole_fd, "etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

static int mount_host_parts(enum host_view view, int host_fd, int top_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int etc_fd = -1;

	if (show_main(view, host_fd, top_fd, &etc_fd, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(beside_usr); i++)
		if (mount_beside_usr(host_fd, top_fd, beside_usr[i], err) < 0)
			return -1;
	for (size_t i = 0; etc_fd >= 0 && i < ARRAY_LEN(bound); i++)
		if (show_etc(host_fd, etc_fd, top_fd, bound[i], err) < 0)
			return -1;
	return 0;
}

/* --- the template ------------------------------------------------------------------ */

/* Nodes of the box's own, so that a lock or a watch on one is nobody else's;
 * the mount that shows them is the only one where nodes work. */
static int make_devices(int dev_fd)
{
	mode_t mask = umask(0);
	int result = 0;

	for (size_t i = 0; i < ARRAY_LEN(devices) && result == 0; i++)
		result = mknodat(dev_fd, devices[i].name, S_IFCHR | 0666,
				 makedev(devices[i].major, devices[i].minor));
	(void)umask(mask);
	return result < 0 ? -1 : mounts_attrs(dev_fd, "", 0, DEVICE_ATTRS, -1);
}

/* Read-only, so that nobody touches the times of the host's node; a device
 * takes writes all the same. */
static int bind_device(int slash_fd, int dev_fd, const char *name, struct err *err)
{
	CLEANUP(fd_cleanup) int tree = -1;
	char path[64];

	(void)snprintf(path, sizeof(path), "dev/%s", name);
	if (unlinkat(dev_fd, name, 0) < 0 && errno != ENOENT)
		return err_sys(err, "cannot replace '/%s' in the sandbox", path);
	if (mknodat(dev_fd, name, S_IFREG | 0644, 0) < 0)
		return err_sys(err, "cannot make '/%s' in the sandbox", path);
	tree = mounts_clone(slash_fd, path);
	if (tree < 0 || mounts_attrs(tree, "", 0, DEVICE_ATTRS, -1) < 0 ||
	    mounts_attach(tree, dev_fd, name) < 0)
		return err_sys(err, "cannot mount the host's '/%s' in the sandbox", path);
	return 0;
}

/* Who may not make device nodes, in a user namespace or a container, shows the
 * host's. */
static int mount_devices(const struct box_host *host, int slash_fd, int top_fd, int dev_fd,
			 struct err *err)
{
	bool made;

	for (size_t i = 0; i < ARRAY_LEN(device_links); i++)
		if (symlinkat(device_links[i].target, dev_fd, device_links[i].name) < 0)
			return err_sys(err, "cannot make '/dev/%s' in the sandbox",
				       device_links[i].name);
	made = !host->user_mode && make_devices(dev_fd) == 0;
	if (mounts_attach(dev_fd, top_fd, "dev") < 0)
		return err_sys(err, "cannot mount '/dev' of the sandbox");
	for (size_t i = 0; i < ARRAY_LEN(devices) && !made; i++)
		if (bind_device(slash_fd, dev_fd, devices[i].name, err) < 0)
			return -1;
	if (!made && mounts_attrs(dev_fd, "", 0, DEVICE_ATTRS | MOUNT_ATTR_NODEV, -1) < 0)
		return err_sys(err, "cannot make '/dev' of the sandbox read-only");
	return 0;
}

/* What comes from the machine itself, whatever the root. In a user
 * namespace the kernel allows a new /proc only where another is in full view. */
static int mount_machine(const struct box_host *host, int top_fd, int dev_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int slash_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (slash_fd < 0)
		return err_sys(err, "cannot open '/'");
	if (mount_devices(host, slash_fd, top_fd, dev_fd, err) < 0)
		return -1;
	return host->user_mode ? bind(slash_fd, top_fd, "proc", err) : 0;
}

static int pivot(struct err *err)
{
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(err, "cannot pivot into the root of the sandbox");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_sys(err, "cannot leave the host's root");
	return 0;
}

/* The parts of the host's own root, around the skeleton. */
static int mount_host(const struct box_host *host, int top_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int host_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (host_fd < 0)
		return err_sys(err, "cannot open '/'");
	return mount_host_parts(host->view, host_fd, top_fd, err);
}

/* The whole of an image below the skeleton, which is where we are. It waits in a
 * directory of the skeleton until we are in that: a second pivot leads there, for
 * after a single one the skeleton would cover the old root, and only the upper of
 * the two would be taken away. */
static int mount_image(const char *image, int skeleton_fd, int *ret_top_fd, struct err *err)
{
	char lower[ROOT_PATH_BYTES + 8];
	const struct mount_option options[] = {{"lowerdir", lower}};
	CLEANUP(fd_cleanup) int image_fd = open(image, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(fd_cleanup) int top_fd = -1;
	struct stat st;

	if (image_fd < 0)
		return err_sys(err, "cannot open root directory '%s'", image);
	if (fstatat(image_fd, "usr", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return err_set(err, ERR_NOT_FOUND, "'%s' is no root directory: no usr/ is in it",
			       image);
	(void)snprintf(lower, sizeof(lower), ".:%s", image);
	top_fd = mounts_make("overlay", options, ARRAY_LEN(options), PART_ATTRS, err);
	if (top_fd < 0)
		return err_prefix(err, "cannot show root directory '%s'", image);
	if (mounts_attach(top_fd, skeleton_fd, IMAGE_AT) < 0)
		return err_sys(err, "cannot mount the root of the sandbox");
	*ret_top_fd = fd_take(&top_fd);
	return 0;
}

/* In a new mount namespace, of which nothing is left but what is made here. */
static int build(const struct box_host *host, const char *image, int skeleton_fd, struct err *err)
{
	CLEANUP(fd_cleanup) int image_top_fd = -1;
	CLEANUP(fd_cleanup) int dev_fd = -1;
	int top_fd = skeleton_fd;

	if (mounts_attach(skeleton_fd, AT_FDCWD, "/") < 0 || fchdir(skeleton_fd) < 0)
		return err_sys(err, "cannot mount the root of the sandbox");
	dev_fd = mounts_clone(skeleton_fd, "dev");
	if (dev_fd < 0)
		return err_sys(err, "cannot clone '/dev' of the sandbox");
	if (*image != '\0') {
		if (mount_image(image, skeleton_fd, &image_top_fd, err) < 0)
			return -1;
		top_fd = image_top_fd;
	} else if (mount_host(host, skeleton_fd, err) < 0) {
		return -1;
	}
	if (mount_machine(host, top_fd, dev_fd, err) < 0 || pivot(err) < 0)
		return -1;
	if (*image == '\0')
		return 0;
	if (chdir(IMAGE_AT) < 0)
		return err_sys(err, "cannot enter the root of the sandbox");
	return pivot(err);
}

int root_seal(int top_fd, struct err *err)
{
	if (mounts_attrs(top_fd, "", 0, PART_ATTRS, -1) < 0)
		return err_sys(err, "cannot make the root of the sandbox read-only");
	return 0;
}

int root_build_here(const struct box_host *host, unsigned root, int top_fd, struct err *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(err, "cannot make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(err, "cannot make the mounts private");
	return build(host, host->roots[root].path, top_fd, err);
}

static int build_template(const struct box_host *host, const char *image, struct err *err)
{
	CLEANUP(fd_cleanup) int top_fd = -1;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(err, "cannot make the mounts private");
	if (skeleton_new(&top_fd, err) < 0 || skeleton_fill(image, top_fd, err) < 0 ||
	    build(host, image, top_fd, err) < 0)
		return -1;
	return *image == '\0' ? root_seal(top_fd, err) : 0;
}

struct root_template *root_template_of(const struct box_host *host, unsigned slot, unsigned root)
{
	assert(slot < host->slots && root < host->roots_len);
	return &host->templates[(size_t)slot * host->roots_len + root];
}

int root_template_open(struct box_host *host, unsigned slot, unsigned root, struct err *err)
{
	struct root_template *template = root_template_of(host, slot, root);
	struct mount_visit visit;
	int fd = -1, result = -1;

	if (template->mount_ns_fd >= 0 || host->once)
		return 0;
	if (mount_visit_new(&visit, host, err) < 0)
		return -1;
	fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		(void)err_sys(err, "cannot open '/proc/self/ns/mnt'");
	else
		result = build_template(host, host->roots[root].path, err);
	mount_visit_leave(&visit);
	if (result < 0)
		fd_close(fd);
	else
		template->mount_ns_fd = fd;
	return result;
}

/* --- what each box has of its own ----------------------------------------------------- */

static int mask(const char *name, const char *with, struct err *err)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%s", name);
	if (mount(with, path, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
		return err_sys(err, "cannot mask '%s'", path);
	return 0;
}

/* Mounted over with what is empty in the box. */
static int mask_proc(struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(masked_files); i++)
		if (mask(masked_files[i], "/dev/null", err) < 0)
			return -1;
	for (size_t i = 0; i < ARRAY_LEN(masked_dirs); i++)
		if (mask(masked_dirs[i], "/empty", err) < 0)
			return -1;
	return 0;
}

static int mount_proc(int *ret_proc_fd, struct err *err)
{
	static const struct mount_option options[] = {{"hidepid", "2"}};
	CLEANUP(fd_cleanup) int shown = -1;
	CLEANUP(fd_cleanup)
	int fd = mounts_make("proc", options, ARRAY_LEN(options),
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);

	if (fd < 0)
		return err_prefix(err, "is /proc of this host partly hidden, as in a container?");
	/* The view of the host's that an ordinary user needed until here. */
	while (umount2("/proc", MNT_DETACH) == 0)
		;
	if (mounts_attach(fd, AT_FDCWD, "/proc") < 0)
		return err_sys(err, "cannot attach the private /proc");
	/* Covered, it stays writable for init; a mount that is nowhere would cost
	 * another RCU grace period when it goes. */
	shown = mounts_clone(AT_FDCWD, "/proc");
	if (shown < 0 || mounts_attrs(shown, "", 0, MOUNT_ATTR_RDONLY, -1) < 0 ||
	    mounts_attach(shown, AT_FDCWD, "/proc") < 0)
		return err_sys(err, "cannot make /proc read-only");
	*ret_proc_fd = fd_take(&fd);
	return 0;
}

/* Without it Landlock would let nobody open a message queue: this is where the
 * rule for them is tied to. A kernel without queues has no such file system. */
static int mount_queues(struct err *err)
{
	CLEANUP(fd_cleanup)
	int queues = mounts_make("mqueue", NULL, 0,
				 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);

	if (queues < 0)
		return errno == ENODEV ? 0 : -1;
	if (mounts_attach(queues, AT_FDCWD, "/dev/mqueue") < 0)
		return err_sys(err, "cannot mount a private /dev/mqueue");
	return 0;
}

int root_mount_own(int *ret_proc_fd, struct err *err)
{
	/* The host has a number of terminals for all together. */
	static const struct mount_option pts_options[] = {
		{"ptmxmode", "0666"}, {"mode", "0600"}, {"max", "64"}};
	CLEANUP(fd_cleanup) int pts = -1;

	if (mount_proc(ret_proc_fd, err) < 0 || mask_proc(err) < 0)
		return -1;
	pts = mounts_make("devpts", pts_options, ARRAY_LEN(pts_options),
			  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	if (pts < 0)
		return -1;
	if (mounts_attach(pts, AT_FDCWD, "/dev/pts") < 0)
		return err_sys(err, "cannot mount a private /dev/pts");
	return mount_queues(err);
}
