/*
 * root_skeleton.c - theory of operation.
 *
 * The root of a box is a small tmpfs. What is not the host's is made here, in
 * two halves: the directories, that others mount on, and the files. Nothing but
 * the descriptor of the tmpfs is needed for either, so that one process can
 * fill it while another mounts what belongs around it; no file lies where the
 * other mounts something.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "worker/sandbox/mounts.h"
#include "worker/sandbox/sandbox_private.h"

/* --- what is in it ---------------------------------------------------------- */

enum { COPY_MAX_BYTES = 4 << 20 };

static const char *const directories[] = {
	"dev",	"dev/mqueue", "dev/pts", "dev/shm", "empty", "etc", "etc/ssl", "home",
	"proc", "root",	      "run",	 "tmp",	    "usr",   "var", "work",
};

static const struct {
	const char *path, *target;
} links[] = {
	{"etc/mtab", "../proc/self/mounts"},
	{"var/tmp", "../tmp"},
	{"var/run", "../run"},
};

/* The users; an image may have more, which follow the job's own line. */
static const struct {
	const char *path, *own, *others;
} accounts[] = {
	{"etc/passwd", "sbx:x:1000:1000:sbx:/tmp:/bin/sh\n",
	 "root:x:0:0:root:/root:/usr/sbin/nologin\n"
	 "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
	{"etc/group", "sbx:x:1000:\n", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
};

static const struct {
	const char *path, *text;
} made_up[] = {
	{"etc/hosts", "127.0.0.1 localhost sbx\n::1 localhost ip6-localhost\n"},
	{"etc/hostname", "sbx\n"},
	{"etc/resolv.conf", "# no network\n"},
	{"etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"
			      "networks: files\nprotocols: files\nservices: files\n"},
};

/* Files of the host's /etc that programs miss, none with anything secret;
 * copied when everybody may read them. */
static const char *const copied[] = {
	"etc/ld.so.cache",     "etc/localtime",	     "etc/timezone",	 "etc/protocols",
	"etc/services",	       "etc/host.conf",	     "etc/locale.alias", "etc/os-release",
	"etc/ssl/openssl.cnf", "etc/debian_version",
};

/* --- the directories -------------------------------------------------------- */

int skeleton_new(int *ret_top_fd, struct err *err)
{
	static const struct mount_option options[] = {
		{"size", "16m"}, {"nr_inodes", "512"}, {"mode", "0755"}};
	CLEANUP(fd_cleanup)
	int top_fd = mounts_make("tmpfs", options, ARRAY_LEN(options), MOUNT_ATTR_NOSUID, err);

	if (top_fd < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		if (mkdirat(top_fd, directories[i], 0755) < 0)
			return err_sys(err, "cannot make '%s' in the root of the sandbox",
				       directories[i]);
	*ret_top_fd = fd_take(&top_fd);
	return 0;
}

/* --- the files -------------------------------------------------------------- */

static int put_file(int top_fd, const char *path, const void *data, size_t len, struct err *err)
{
	CLEANUP(fd_cleanup)
	int fd = openat(top_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_sys(err, "cannot make '%s' in the root of the sandbox", path);
	return fd_write_all(fd, data, len, err);
}

/* Whether everybody may read it, and it is of a size to be copied. */
static bool can_copy(int fd, off_t *ret_size)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & S_IROTH) == 0 ||
	    st.st_size > COPY_MAX_BYTES)
		return false;
	*ret_size = st.st_size;
	return true;
}

/* What the host does not have, or not for everybody, is left out. */
static int copy_file(int host_fd, int top_fd, const char *path, struct err *err)
{
	CLEANUP(fd_cleanup) int from = openat(host_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	CLEANUP(fd_cleanup) int to = -1;
	off_t left;

	if (!can_copy(from, &left))
		return 0;
	to = openat(top_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (to < 0)
		return err_sys(err, "cannot make '%s' in the root of the sandbox", path);
	while (left > 0) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		if (n < 0)
			return err_sys(err, "cannot copy '/%s' into the root of the sandbox", path);
		if (n == 0)
			break;
		left -= n;
	}
	return 0;
}

/* The job's own user, then those of the image, or the usual ones. */
static int put_accounts(int image_fd, int top_fd, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(accounts); i++) {
		CLEANUP(fd_cleanup) int fd = -1;
		CLEANUP(buf_release) struct buf text;
		off_t size;

		buf_init(&text, COPY_MAX_BYTES + 256);
		buf_add_text(&text, accounts[i].own);
		if (image_fd >= 0 &&
		    fd_open_beneath(image_fd, accounts[i].path, O_RDONLY | O_NONBLOCK, 0, &fd,
				    NULL) == 0 &&
		    can_copy(fd, &size))
			NEGLECT(fd_read_all(fd, &text, NULL));
		else
			buf_add_text(&text, accounts[i].others);
		if (put_file(top_fd, accounts[i].path, text.data, text.len, err) < 0)
			return -1;
	}
	return 0;
}

int skeleton_fill(const char *image, int top_fd, struct err *err)
{
	bool own = *image == '\0';
	CLEANUP(fd_cleanup) int from_fd = open(own ? "/" : image, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (from_fd < 0)
		return err_sys(err, "cannot open root directory '%s'", own ? "/" : image);
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlinkat(links[i].target, top_fd, links[i].path) < 0)
			return err_sys(err, "cannot make '%s' in the root of the sandbox",
				       links[i].path);
	for (size_t i = 0; i < ARRAY_LEN(made_up); i++)
		if (put_file(top_fd, made_up[i].path, made_up[i].text, strlen(made_up[i].text),
			     err) < 0)
			return -1;
	for (size_t i = 0; own && i < ARRAY_LEN(copied); i++)
		if (copy_file(from_fd, top_fd, copied[i], err) < 0)
			return -1;
	return put_accounts(own ? -1 : from_fd, top_fd, err);
}
