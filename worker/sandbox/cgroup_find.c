/*
 * cgroup_find.c - theory of operation.
 *
 * A tree is one mounted hierarchy with at least one controller that boxes
 * use. Version 1 mounts come first, because a controller lives in one
 * hierarchy only; what is left is looked for in version 2.
 *
 * Version 2 forbids processes in a group whose controllers are enabled for
 * its children. When the parent is the group that this process itself is in,
 * everything in it moves one level down first, into HOST_GROUP, as systemd's
 * delegation asks of its clients; who is started in there later finds the
 * parent above it. Only a group that was given to us is treated so: for an
 * ordinary user one that is the user's own, for root one that systemd marked
 * as delegated. Root in any other, say that of a login session, leaves it
 * alone and makes its groups at the top, where all controllers are.
 *
 * init is born in its group, which the kernel allows to who may write the
 * cgroup.procs of the nearest group above both: an ordinary user must have
 * been started below the group that was delegated.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "worker/sandbox/cgroup_private.h"

/* What was in the parent before it got boxes below it. */
#define HOST_GROUP "sbx-host"

/* Whether `word` is one of the words in `list`, which `separator` parts. */
static bool has_word(const char *list, const char *word, char separator)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)) != NULL; at += len) {
		char after = at[len];

		if ((at == list || at[-1] == separator) &&
		    (after == '\0' || after == separator || after == '\n'))
			return true;
	}
	return false;
}

/* --- finding the hierarchies -------------------------------------------- */

struct mount_line {
	char root[CGROUP_PATH_BYTES];
	char point[CGROUP_PATH_BYTES];
	char type[32];
	char options[256]; /* of the superblock: the version 1 controllers */
};

/* 36 35 98:0 ROOT POINT OPTIONS [FIELDS...] - TYPE SOURCE SUPEROPTIONS */
static bool parse_mount(const char *line, struct mount_line *ret)
{
	size_t len = strcspn(line, "\n");
	const char *dash = memmem(line, len, " - cgroup", 9);

	return dash != NULL &&
	       sscanf(line, "%*s %*s %*s %511s %511s", ret->root, ret->point) == 2 &&
	       sscanf(dash, " - %31s %*s %255s", ret->type, ret->options) == 2;
}

/* The path of this process in the hierarchy of `controller`, NULL: version 2. */
static bool own_path(const char *proc_cgroup, const char *controller, char *ret, size_t size)
{
	for (const char *line = proc_cgroup; line != NULL && *line != '\0';) {
		const char *list = strchr(line, ':');
		const char *path = list != NULL ? strchr(list + 1, ':') : NULL;
		const char *end = path != NULL ? strchrnul(path, '\n') : NULL;
		char controllers[256];

		if (path == NULL)
			return false;
		(void)snprintf(controllers, sizeof(controllers), "%.*s", (int)(path - list - 1),
			       list + 1);
		if (controller == NULL ? controllers[0] == '\0'
				       : has_word(controllers, controller, ',')) {
			(void)snprintf(ret, size, "%.*s", (int)(end - path - 1), path + 1);
			return true;
		}
		line = *end == '\0' ? NULL : end + 1;
	}
	return false;
}

/* The directory of the group that this process is in. */
static bool own_directory(const struct mount_line *mount, const char *proc_cgroup,
			  const char *controller, char *ret, size_t size)
{
	char own[CGROUP_PATH_BYTES];
	const char *below = own;
	size_t root_len = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);

	if (!own_path(proc_cgroup, controller, own, sizeof(own)))
		return false;
	if (strncmp(own, mount->root, root_len) == 0)
		below = own + root_len;
	if (strncmp(below, "/..", 3) == 0)
		below = "";
	if (strcmp(below, "/") == 0)
		below = "";
	return snprintf(ret, size, "%s%s", mount->point, below) < (int)size;
}

/* Where our groups go in a hierarchy: below `parent`, or below ourselves. */
static bool parent_path(const struct mount_line *mount, const char *parent, const char *proc_cgroup,
			const char *controller, char *ret, size_t size)
{
	if (parent != NULL)
		return snprintf(ret, size, "%s/%s", mount->point, parent) < (int)size;
	return own_directory(mount, proc_cgroup, controller, ret, size);
}

static void set_missing(struct cgroup_host *host, uint32_t controllers, const char *path,
			const char *why)
{
	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++)
		if ((controllers & 1U << c) != 0)
			(void)snprintf(host->missing[c], sizeof(host->missing[c]), "%s: %s%.100s",
				       cgroup_controller_name(c), why, path);
}

static void add_tree(struct cgroup_host *host, bool v2, uint32_t controllers, const char *path,
		     int fd)
{
	struct cgroup_tree *tree = &host->trees[host->trees_len];

	assert(host->trees_len < CGROUP_TREES);
	*tree = (struct cgroup_tree){.v2 = v2, .controllers = controllers, .parent_fd = fd};
	(void)snprintf(tree->parent, sizeof(tree->parent), "%s", path);
	host->trees_len++;
	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++)
		if ((controllers & 1U << c) != 0)
			host->missing[c][0] = '\0';
}

static int open_parent(struct cgroup_host *host, uint32_t controllers, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		set_missing(host, controllers, path, "there is no group ");
	else if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0) {
		set_missing(host, controllers, path, "not delegated to this user: ");
		fd_close(fd);
		return -1;
	}
	return fd;
}

static void find_v1(struct cgroup_host *host, const struct mount_line *mount, const char *parent,
		    const char *proc_cgroup)
{
	char path[CGROUP_PATH_BYTES];
	uint32_t controllers = 0;
	const char *first = NULL;
	int fd;

	for (unsigned c = 0; c < CGROUP_IO; c++)
		if ((host->unwanted & 1U << c) == 0 &&
		    has_word(mount->options, cgroup_controller_name(c), ',')) {
			controllers |= 1U << c;
			first = cgroup_controller_name(c);
		}
	if (first == NULL || !parent_path(mount, parent, proc_cgroup, first, path, sizeof(path)))
		return;
	fd = open_parent(host, controllers, path);
	if (fd >= 0)
		add_tree(host, false, controllers, path, fd);
}

/* --- version 2 ------------------------------------------------------------ */

static void move_all(int from_fd, int to_fd)
{
	int fd = openat(from_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
	long pid;

	if (file == NULL)
		return;
	while (fscanf(file, "%ld", &pid) == 1)
		(void)cgroup_write_number(to_fd, "cgroup.procs", pid);
	(void)fclose(file);
}

/* Enables a controller in the group we are in, once all of it is in a group
 * below; again when somebody in there forked meanwhile. */
static int enable_emptied(int fd, const char *text)
{
	enum { TRIES = 10 };
	CLEANUP(fd_cleanup) int below = -1;
	int result = -1;

	if (mkdirat(fd, HOST_GROUP, 0755) < 0 && errno != EEXIST)
		return -1;
	below = openat(fd, HOST_GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (below < 0)
		return -1;
	for (int i = 0; i < TRIES && result < 0; i++) {
		move_all(fd, below);
		result = cgroup_write(fd, "cgroup.subtree_control", text);
		if (result < 0 && errno != EBUSY)
			break;
	}
	return result;
}

/* Whether systemd has given the group away (Delegate=yes). */
static bool is_marked(const char *path)
{
	char value[8];

	return getxattr(path, "trusted.delegate", value, sizeof(value)) == 1 ||
	       getxattr(path, "user.delegate", value, sizeof(value)) == 1;
}

/* Without a parent asked for: the group we are in, the one above HOST_GROUP, or
 * the top. */
static void choose_v2(const struct mount_line *mount, char path[CGROUP_PATH_BYTES])
{
	char *last = strrchr(path, '/');

	if (last != NULL && strcmp(last, "/" HOST_GROUP) == 0)
		*last = '\0';
	if (geteuid() == 0 && !is_marked(path))
		(void)snprintf(path, CGROUP_PATH_BYTES, "%s", mount->point);
}

/* Whether init may be born below `path`: see above. */
static bool may_start_in(const char *path, const char *own)
{
	char file[CGROUP_PATH_BYTES + 16];
	size_t len = 0, common = 0;

	for (; path[len] != '\0' && path[len] == own[len]; len++)
		if (path[len] == '/')
			common = len;
	if ((path[len] == '\0' || path[len] == '/') && (own[len] == '\0' || own[len] == '/'))
		common = len;
	(void)snprintf(file, sizeof(file), "%.*s/cgroup.procs", (int)common, path);
	return faccessat(AT_FDCWD, file, W_OK, AT_EACCESS) == 0;
}

/* Whether what is in the group at `path` is us: see above. */
static bool is_own(const char *path, const char *own)
{
	size_t len = strlen(path);

	return strncmp(own, path, len) == 0 &&
	       (own[len] == '\0' || strcmp(own + len, "/" HOST_GROUP) == 0);
}

static uint32_t enable_v2(int fd, uint32_t wanted, bool may_empty)
{
	char enabled[256];
	uint32_t got = 0;

	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++) {
		char text[32];

		if (c == CGROUP_CPUACCT || (wanted & 1U << c) == 0)
			continue;
		(void)cgroup_read(fd, "cgroup.subtree_control", enabled, sizeof(enabled));
		(void)snprintf(text, sizeof(text), "+%s", cgroup_controller_name(c));
		if (has_word(enabled, cgroup_controller_name(c), ' ') ||
		    cgroup_write(fd, "cgroup.subtree_control", text) == 0 ||
		    (errno == EBUSY && may_empty && enable_emptied(fd, text) == 0))
			got |= 1U << c;
	}
	return got;
}

/* The wanted controllers that the parent could give to groups below it. */
static uint32_t available_v2(struct cgroup_host *host, const char *path)
{
	char available[256];
	uint32_t found = 0;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)cgroup_read(fd, "cgroup.controllers", available, sizeof(available));
	fd_close(fd);
	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++) {
		if (cgroup_has(host, c) || (host->unwanted & 1U << c) != 0)
			continue;
		if (c == CGROUP_CPUACCT || has_word(available, cgroup_controller_name(c), ' '))
			found |= 1U << c;
		else if (available[0] != '\0')
			set_missing(host, 1U << c, path, "not given to the group ");
	}
	return found == 1U << CGROUP_CPUACCT ? 0 : found;
}

static void find_v2(struct cgroup_host *host, const struct mount_line *mount, const char *parent,
		    const char *proc_cgroup)
{
	char path[CGROUP_PATH_BYTES], own[CGROUP_PATH_BYTES];
	uint32_t wanted, got;
	int fd;

	if (!own_directory(mount, proc_cgroup, NULL, own, sizeof(own)) ||
	    !parent_path(mount, parent, proc_cgroup, NULL, path, sizeof(path)))
		return;
	if (parent == NULL)
		choose_v2(mount, path);
	wanted = available_v2(host, path);
	fd = wanted == 0 ? -1 : open_parent(host, wanted, path);
	if (fd < 0)
		return;
	if (!may_start_in(path, own)) {
		set_missing(host, wanted, path, "not started by root, nor in a group below ");
		fd_close(fd);
		return;
	}
	got = enable_v2(fd, wanted, parent == NULL && is_own(path, own));
	set_missing(host, wanted & ~got, path, "cannot be enabled for the groups below ");
	if (got == 0) {
		fd_close(fd);
		return;
	}
	add_tree(host, true, got | (wanted & 1U << CGROUP_CPUACCT), path, fd);
}

static void each_mount(struct cgroup_host *host, const char *mounts, const char *type,
		       const char *parent, const char *proc_cgroup)
{
	struct mount_line mount;

	for (const char *line = mounts; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');

		if (host->trees_len < CGROUP_TREES && parse_mount(line, &mount) &&
		    strcmp(mount.type, type) == 0) {
			if (strcmp(type, "cgroup2") == 0)
				find_v2(host, &mount, parent, proc_cgroup);
			else
				find_v1(host, &mount, parent, proc_cgroup);
		}
		line = end != NULL ? end + 1 : NULL;
	}
}

/* --- all of them ------------------------------------------------------------ */

int cgroup_host_open(struct cgroup_host *host, const char *instance, const char *parent,
		     uint32_t unwanted, const char *mounts, struct err *err)
{
	struct buf own;
	int result;

	*host = (struct cgroup_host){.unwanted = unwanted};
	(void)snprintf(host->instance, sizeof(host->instance), "%s", instance);
	set_missing(host, (1U << CGROUP_CONTROLLERS) - 1, "",
		    "no cgroup hierarchy of this host has the controller");
	set_missing(host, unwanted, "", "nothing was asked that needs it");
	buf_init(&own, 1 << 16);
	result = fd_read_file("/proc/self/cgroup", 1 << 16, &own, err);
	if (result == 0) {
		each_mount(host, mounts, "cgroup", parent, buf_text(&own));
		each_mount(host, mounts, "cgroup2", parent, buf_text(&own));
	}
	buf_release(&own);
	return result;
}
