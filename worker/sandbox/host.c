/*
 * host.c - theory of operation.
 *
 * box_host_open decides once how boxes are made here. As root, everything is
 * done with the privilege at hand. As an ordinary user the process first moves
 * into a user and a mount namespace of its own, in which it has that
 * privilege over what it makes and none over the host; its uid stays what it
 * was. All later code is the same for both, but for ids (there is only the
 * one) and the overlay's kind of attributes.
 *
 * The process itself stays in its mount namespace. Building a template and
 * mounting a workspace are visits to another, from which it returns.
 */
#include "worker/sandbox/box.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "worker/sandbox/filter.h"
#include "worker/sandbox/landlock.h"
#include "worker/sandbox/sandbox_private.h"

/* --- visits ------------------------------------------------------------------ */

static int visit_begin(struct mount_visit *visit, const struct box_host *host, struct err *err)
{
	visit->home_fd = host->own_mount_ns_fd;
	visit->cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (visit->cwd_fd < 0)
		return err_sys(err, "cannot open the current directory");
	return 0;
}

int mount_visit_new(struct mount_visit *visit, const struct box_host *host, struct err *err)
{
	if (visit_begin(visit, host, err) < 0)
		return -1;
	if (unshare(CLONE_NEWNS) == 0)
		return 0;
	(void)err_sys(err, "cannot make a mount namespace");
	fd_close(visit->cwd_fd);
	return -1;
}

int mount_visit_enter(struct mount_visit *visit, const struct box_host *host, int mount_ns_fd,
		      struct err *err)
{
	if (visit_begin(visit, host, err) < 0)
		return -1;
	if (setns(mount_ns_fd, CLONE_NEWNS) == 0)
		return 0;
	(void)err_sys(err, "cannot enter the sandbox's mount namespace");
	fd_close(visit->cwd_fd);
	return -1;
}

void mount_visit_leave(struct mount_visit *visit)
{
	/* A host half that stayed in a box would be a hole: rather die. */
	if (setns(visit->home_fd, CLONE_NEWNS) < 0 || fchdir(visit->cwd_fd) < 0)
		abort();
	fd_close(visit->cwd_fd);
}

/* --- ids ------------------------------------------------------------------------ */

uid_t host_slot_uid(const struct box_host *host, unsigned slot)
{
	assert(slot < host->slots);
	return host->user_mode ? host->uid_base : host->uid_base + slot;
}

gid_t host_slot_gid(const struct box_host *host, unsigned slot)
{
	assert(slot < host->slots);
	return host->user_mode ? host->gid_base : host->gid_base + slot;
}

static bool have_admin(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	uint32_t wanted = 1U << CAP_SYS_ADMIN | 1U << CAP_SETUID | 1U << CAP_SETGID |
			  1U << CAP_SYS_CHROOT | 1U << CAP_CHOWN;

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & wanted) == wanted;
}

bool box_ids_exist(uid_t base, unsigned slots)
{
	struct buf map;
	bool found = false;

	buf_init(&map, 64 << 10);
	if (fd_read_file("/proc/self/uid_map", 64 << 10, &map, NULL) == 0)
		for (const char *line = buf_text(&map); *line != '\0';) {
			unsigned long inside, outside, len;

			if (sscanf(line, "%lu %lu %lu", &inside, &outside, &len) == 3 &&
			    base >= inside && base - inside + slots <= len)
				found = true;
			line = strchrnul(line, '\n');
			line += *line == '\n';
		}
	buf_release(&map);
	return found;
}

static int write_self(const char *path, const char *text, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	return fd_write_all(fd, text, strlen(text), err);
}

/* Of what the kernel counts for the user, boxes included. Where a container shows
 * /proc/sys read-only, only each box has a bound, by the /proc of its own. */
static void share_quotas(struct box_host *host)
{
	CLEANUP(fd_cleanup) int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	quotas_read(&host->quotas);
	NEGLECT(quotas_set(&host->quotas, proc_fd, QUOTA_SHARES_HOST, NULL));
}

static int enter_user_namespace(struct box_host *host, struct err *err)
{
	int dumpable = prctl(PR_GET_DUMPABLE);
	char uid_map[64], gid_map[64];

	host->user_mode = true;
	host->uid_base = geteuid();
	host->gid_base = getegid();
	(void)snprintf(uid_map, sizeof(uid_map), "%u %u 1", host->uid_base, host->uid_base);
	(void)snprintf(gid_map, sizeof(gid_map), "%u %u 1", host->gid_base, host->gid_base);
	/* To a network namespace of the host there would be no way back. */
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS |
		    (host->once || host->host_network ? 0 : CLONE_NEWNET)) < 0) {
		(void)err_sys(err, "cannot make a user namespace; start as root, or allow them: "
				   "sysctl kernel.unprivileged_userns_clone=1, "
				   "user.max_user_namespaces");
		if (err != NULL)
			err->kind = ERR_UNSUPPORTED;
		return -1;
	}
	/* A process that once changed its user does not own its files in /proc. */
	(void)prctl(PR_SET_DUMPABLE, 1);
	if (write_self("/proc/self/setgroups", "deny", err) < 0 ||
	    write_self("/proc/self/uid_map", uid_map, err) < 0 ||
	    write_self("/proc/self/gid_map", gid_map, err) < 0)
		return err_prefix(err, "cannot set up a user namespace");
	share_quotas(host);
	/* The kernel counts by user how many descriptors are on their way through
	 * sockets, and refuses to send more to whoever may have fewer open: jobs,
	 * which have the same user, may have half of what this process may
	 * (init_step.c). */
	fd_raise_bound();
	(void)prctl(PR_SET_DUMPABLE, dumpable);
	return 0;
}

/* --- probes ----------------------------------------------------------------------- */

static void add_layer(struct box_host *host, const char *name, bool required, bool present,
		      const char *detail)
{
	size_t i = host->layers_len++;

	assert(i < LAYERS_MAX);
	(void)snprintf(host->details[i], LAYER_DETAIL_BYTES, "%s", detail);
	host->layers[i] = (struct box_layer){name, required, present, host->details[i]};
}

static bool namespace_exists(const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	return access(path, F_OK) == 0;
}

/* Asked for, and therefore not required: what that opens is said. */
static void probe_host_network(struct box_host *host)
{
	char detail[LAYER_DETAIL_BYTES];
	int abi = landlock_abi();

	(void)snprintf(detail, sizeof(detail),
		       "off, as asked for: the host's own network, its loopback too; its abstract "
		       "sockets %s",
		       abi >= LANDLOCK_ABI_SCOPES
			       ? "stay out of reach by landlock"
			       : "can be reached: needs Linux 6.12 with landlock");
	add_layer(host, "network_namespace", false, false, detail);
}

static void probe_namespaces(struct box_host *host)
{
	static const struct {
		const char *layer, *file;
		bool required;
		const char *why;
	} spaces[] = {
		{"user_namespace", "user", true, "what is root inside is nobody outside"},
		{"mount_namespace", "mnt", true, "a root of its own; the host's is gone"},
		{"pid_namespace", "pid", true, "no other process can be seen; all die with init"},
		{"network_namespace", "net", true, "a loopback interface of its own, no other"},
		{"ipc_namespace", "ipc", true, "no shared memory or queue of others"},
		{"uts_namespace", "uts", true, "a host name of its own"},
		{"cgroup_namespace", "cgroup", true, "paths of control groups tell nothing"},
		{"time_namespace", "time", false, "monotonic and boot clocks of its own"},
	};

	for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
		bool present = namespace_exists(spaces[i].file);

		if (host->host_network && strcmp(spaces[i].file, "net") == 0) {
			probe_host_network(host);
			continue;
		}
		add_layer(host, spaces[i].layer, spaces[i].required, present,
			  present ? spaces[i].why : "the kernel was built without it");
	}
}

static void probe_seccomp(struct box_host *host)
{
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	char profile[64];
	bool present = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;

	(void)snprintf(profile, sizeof(profile), "profile %s", filter_profile_name(host->widest));
	add_layer(host, "seccomp", true, present,
		  present ? profile : "needs a kernel of 5.0 or later with CONFIG_SECCOMP_FILTER");
	add_layer(host, "no_new_privs", true, true, "no program of the job gains anything by exec");
	add_layer(host, "capabilities_empty", true, true,
		  "in all sets; init keeps one that jobs lack");
	add_layer(host, "securebits_locked", true, true, "uid 0 would mean nothing");
	add_layer(host, "keyring", true, true,
		  access("/proc/keys", F_OK) == 0
			  ? "a session keyring of its own; jobs have no calls for keys"
			  : "the kernel was built without keys: there are none to reach");
}

static void probe_landlock(struct box_host *host)
{
	int abi = landlock_abi();
	char detail[LAYER_DETAIL_BYTES];

	if (abi >= LANDLOCK_ABI_LEAST) {
		host->landlock_abi = abi;
		(void)snprintf(detail, sizeof(detail),
			       "ABI %d: steps write below " BOX_WORKSPACE
			       ", /tmp and /dev/shm alone",
			       abi);
	} else {
		(void)snprintf(
			detail, sizeof(detail),
			"ABI %d of this kernel; needs Linux 5.19 with landlock among lsm=", abi);
	}
	add_layer(host, "landlock", false, host->landlock_abi != 0, detail);
}

static void probe_ids(struct box_host *host)
{
	add_layer(host, "uid_per_slot", false, !host->user_mode,
		  host->user_mode ? "started by an ordinary user: jobs run as that user outside; "
				    "start as root for uids of their own"
				  : "each slot has one that nobody of this host has");
	add_layer(host, "groups_dropped", false, !host->user_mode,
		  host->user_mode ? "started by an ordinary user: supplementary groups stay"
				  : "no group of the host is left");
}

static void probe_cgroups(struct box_host *host)
{
	static const char *const layer[CGROUP_CONTROLLERS] = {
		"cgroup_memory", "cgroup_pids", "cgroup_cpu", "cgroup_cpuacct", "cgroup_io"};

	static const char *const why[CGROUP_CONTROLLERS] = {
		"memory and swap of all processes together", "processes and threads",
		"a quota of CPUs", "cpu time of all processes, counted",
		"bytes read and written, counted"};

	for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++) {
		bool present = cgroup_has(&host->cgroups, c);

		if ((host->cgroups.unwanted & 1U << c) != 0)
			continue; /* nobody misses it */
		add_layer(host, layer[c], c != CGROUP_IO && !host->allow_missing_cgroup, present,
			  present ? why[c] : host->cgroups.missing[c]);
	}
}

static int check_required(const struct box_host *host, struct err *err)
{
	for (size_t i = 0; i < host->layers_len; i++) {
		const struct box_layer *layer = &host->layers[i];

		/* Control groups are judged against the limits of each job. */
		if (layer->required && !layer->present && strncmp(layer->name, "cgroup_", 7) != 0)
			return err_set(err, ERR_UNSUPPORTED, "cannot make sandboxes: no %s: %s",
				       layer->name, layer->detail);
	}
	return 0;
}

static void probe_kernel(struct box_host *host)
{
	if (host->probed)
		return;
	probe_namespaces(host);
	probe_seccomp(host);
	host->probed = true;
}

int host_check(struct box_host *host, struct err *err)
{
	probe_kernel(host);
	return check_required(host, err);
}

static bool is_mount_of(const char *point, const char *path)
{
	size_t len = strlen(path);

	return strncmp(point, path, len) == 0 && point[len] == ' ';
}

/* By where something is mounted, which an overlay of what is above would not
 * show. In a user namespace the kernel takes no tree with mounts in it. */
static enum host_view choose_view(const char *mounts, bool user_mode)
{
	static const char below_usr[] = "/usr/";
	enum host_view view = user_mode ? VIEW_APART : VIEW_WHOLE;

	for (const char *line = mounts; *line != '\0';) {
		const char *point = line;

		for (int field = 0; field < 4; field++) { /* ID PARENT DEVICE ROOT */
			point += strcspn(point, " \n");
			point += *point == ' ';
		}
		if (strncmp(point, below_usr, sizeof(below_usr) - 1) == 0)
			return VIEW_BOUND;
		if (is_mount_of(point, "/usr") || is_mount_of(point, "/etc"))
			view = VIEW_APART;
		line = strchrnul(line, '\n');
		line += *line == '\n';
	}
	return view;
}

/* --- opening -------------------------------------------------------------------------- */

static bool valid_instance(const char *instance)
{
	size_t len = strlen(instance);

	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)instance[i]) && !isdigit((unsigned char)instance[i]) &&
		    instance[i] != '-')
			return false;
	return len > 0 && len < sizeof(((struct box_host *)0)->instance);
}

/* The separators of an overlay's options cannot be in it. */
static bool valid_root(const char *root)
{
	return *root == '\0' ||
	       (*root == '/' && strpbrk(root, ":,\\") == NULL && strlen(root) < ROOT_PATH_BYTES);
}

/* An absolute path, not the root itself, without "." and "..", of names that fit. */
static bool is_plain(const char *path)
{
	if (path[0] != '/' || path[strspn(path, "/")] == '\0')
		return false;
	while (*(path += strspn(path, "/")) != '\0') {
		size_t len = strcspn(path, "/");

		if (len > NAME_MAX || (len == 1 && path[0] == '.') ||
		    (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		path += len;
	}
	return true;
}

static int check_config(const struct box_config *config, struct err *err)
{
	if (config->instance == NULL || !valid_instance(config->instance))
		return err_set(err, ERR_INPUT,
			       "instance: expected 1-39 of a-z, 0-9 and '-', got '%s'",
			       config->instance == NULL ? "" : config->instance);
	if (config->slots == 0 || config->slots > BOX_SLOTS_MAX)
		return err_set(err, ERR_INPUT, "slots: expected 1-%d, got %u", BOX_SLOTS_MAX,
			       config->slots);
	if (config->roots_len > BOX_ROOTS_MAX)
		return err_set(err, ERR_INPUT, "roots: expected %d at most, got %u", BOX_ROOTS_MAX,
			       config->roots_len);
	for (unsigned i = 0; i < config->roots_len; i++)
		if (!valid_root(config->roots[i]))
			return err_set(
				err, ERR_INPUT,
				"root: expected an absolute path of at most %d bytes without "
				"':', ',' or '\\', got '%s'",
				ROOT_PATH_BYTES - 1, config->roots[i]);
	if (config->binds_len > BOX_BINDS_MAX || (config->binds_len > 0 && !config->once))
		return err_set(err, ERR_INPUT, "binds: at most %d, of a host of one box",
			       BOX_BINDS_MAX);
	if (config->reuse_networks && config->once)
		return err_set(err, ERR_INPUT, "networks: none is left to be used anew");
	for (unsigned i = 0; i < config->binds_len; i++)
		if (!is_plain(config->binds[i].at))
			return err_set(err, ERR_INPUT,
				       "bind: expected an absolute path without '.' and '..', got "
				       "'%s'",
				       config->binds[i].at);
	return 0;
}

/* As many as hold BOX_ROUTE_BYTES in buffers as large as the machine allows:
 * the kernel doubles what is asked for, and adds the message that is above. */
static long count_route_sockets(void)
{
	enum { MESSAGE_BYTES = 64 << 10 };
	int64_t most, sockets = BOX_ROUTE_LEAST;

	if (fd_read_positive("/proc/sys/net/core/rmem_max", &most))
		sockets = BOX_ROUTE_BYTES / (2 * most + MESSAGE_BYTES);
	return sockets < BOX_ROUTE_LEAST     ? BOX_ROUTE_LEAST
	       : sockets > BOX_ROUTE_SOCKETS ? BOX_ROUTE_SOCKETS
					     : (long)sockets;
}

/* A host of one box puts the very profile into place. */
static int compile_filters(struct box_host *host, struct err *err)
{
	if (getrandom(&host->filter_key, sizeof(host->filter_key), 0) != sizeof(host->filter_key))
		return err_sys(err, "cannot make a key for the filter");
	if (filter_compile(host->widest, &host->filter_key, &host->filter, err) < 0)
		return -1;
	for (unsigned i = 0; i < FILTER_PROFILES && !host->once; i++) {
		if (filter_fits(host->widest, (enum filter_profile)i) &&
		    filter_compile_narrow(host->widest, (enum filter_profile)i, &host->filter_key,
					  &host->narrow[i], err) < 0)
			return -1;
	}
	return 0;
}

static int open_roots(struct box_host *host, const struct box_config *config, struct err *err)
{
	host->roots_len = config->roots_len == 0 ? 1 : config->roots_len;
	host->roots = calloc(host->roots_len, sizeof(host->roots[0]));
	host->templates = calloc((size_t)host->slots * host->roots_len, sizeof(host->templates[0]));
	if (host->roots == NULL || host->templates == NULL)
		return err_set(err, ERR_SYSTEM, "cannot open the host of sandboxes: out of memory");
	for (unsigned i = 0; i < host->slots * host->roots_len; i++)
		host->templates[i].mount_ns_fd = -1;
	for (unsigned i = 0; i < config->roots_len; i++)
		if (strcmp(config->roots[i], "/") != 0)
			(void)snprintf(host->roots[i].path, ROOT_PATH_BYTES, "%s",
				       config->roots[i]);
	return 0;
}

static int open_parts(struct box_host *host, const struct box_config *config, const char *mounts,
		      struct err *err)
{
	if (open_roots(host, config, err) < 0)
		return -1;
	host->idmaps = calloc(host->slots, sizeof(host->idmaps[0]));
	if (host->idmaps == NULL)
		return err_set(err, ERR_SYSTEM, "cannot open the host of sandboxes: out of memory");
	for (unsigned i = 0; i < host->slots; i++)
		host->idmaps[i].userns_fd = -1;
	if (!host->once)
		probe_kernel(host);
	host->time_ns = true; /* until the kernel has none */
	probe_landlock(host);
	host->route_sockets = count_route_sockets();
	if (cgroup_host_open(&host->cgroups, config->instance, config->cgroup_parent,
			     config->without_cpu ? 1U << CGROUP_CPU | 1U << CGROUP_CPUACCT : 0,
			     mounts, err) < 0)
		return -1;
	if (geteuid() == 0 && have_admin() && box_ids_exist(config->uid_base, config->slots)) {
		host->uid_base = config->uid_base;
		host->gid_base = config->uid_base;
	} else if (enter_user_namespace(host, err) < 0) {
		return -1;
	}
	probe_ids(host);
	probe_cgroups(host);
	host->view = choose_view(mounts, host->user_mode);
	if ((!host->once && host_check(host, err) < 0) || compile_filters(host, err) < 0)
		return -1;
	host->own_mount_ns_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	host->own_net_ns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (host->own_mount_ns_fd < 0 || host->own_net_ns_fd < 0)
		return err_sys(err, "cannot open '/proc/self/ns'");
	return config->reuse_networks ? networks_open(host, err) : 0;
}

/* Until the first job says otherwise. */
static const struct box_limits usual = {
	.memory_bytes = 2LL << 30, .disk_bytes = 1LL << 30, .inodes = 200000, .processes = 512};

int box_host_open(struct box_host **ret, const struct box_config *config, struct err *err)
{
	struct box_host *host;
	struct buf mounts;
	int result;

	if (check_config(config, err) < 0)
		return -1;
	host = calloc(1, sizeof(*host));
	if (host == NULL)
		return err_set(err, ERR_SYSTEM, "cannot open the host of sandboxes: out of memory");
	host->own_mount_ns_fd = host->own_net_ns_fd = -1;
	host->slots = config->slots;
	host->once = config->once;
	host->widest = config->widest;
	host->binds = config->binds;
	host->binds_len = config->binds_len;
	host->host_network = config->network == BOX_NETWORK_HOST;
	for (unsigned i = 0; i < BOX_BINDS_MAX; i++)
		host->bind_fds[i] = -1;
	host->copy_workspace = config->copy_workspace;
	host->allow_missing_cgroup = config->allow_missing_cgroup;
	host->expected = usual;
	(void)snprintf(host->instance, sizeof(host->instance), "%s", config->instance);
	buf_init(&mounts, 4 << 20);
	result = fd_read_file("/proc/self/mountinfo", 4 << 20, &mounts, err);
	if (result == 0)
		result = open_parts(host, config, buf_text(&mounts), err);
	buf_release(&mounts);
	if (result < 0) {
		box_host_close(host);
		return -1;
	}
	*ret = host;
	return 0;
}

void box_host_close(struct box_host *host)
{
	if (host == NULL)
		return;
	for (unsigned i = 0; host->templates != NULL && i < host->slots * host->roots_len; i++)
		fd_close(host->templates[i].mount_ns_fd);
	for (unsigned i = 0; host->idmaps != NULL && i < host->slots; i++) {
		idmap_reap(&host->idmaps[i], true);
		fd_close(host->idmaps[i].userns_fd);
	}
	free(host->roots);
	free(host->templates);
	free(host->idmaps);
	filter_release(&host->filter);
	for (size_t i = 0; i < FILTER_PROFILES; i++)
		filter_release(&host->narrow[i]);
	binds_release(host);
	networks_close(&host->networks);
	cgroup_host_close(&host->cgroups);
	fd_close(host->own_mount_ns_fd);
	fd_close(host->own_net_ns_fd);
	free(host);
}

struct box_networks box_host_networks(const struct box_host *host)
{
	return host->networks.counts;
}

void box_host_forget(struct box_host *host, unsigned slot)
{
	assert(slot < host->slots);
	for (unsigned root = 0; root < host->roots_len; root++)
		fd_cleanup(&root_template_of(host, slot, root)->mount_ns_fd);
	idmap_reap(&host->idmaps[slot], true);
	fd_cleanup(&host->idmaps[slot].userns_fd);
}

int box_host_sweep(struct box_host *host, const char *instance, struct err *err)
{
	if (!valid_instance(instance))
		return err_set(err, ERR_INPUT, "cannot sweep: '%s' is no instance", instance);
	return cgroup_sweep(&host->cgroups, instance, err);
}

void box_host_sweep_dead(struct box_host *host, const char *prefix)
{
	assert(valid_instance(prefix));
	cgroup_sweep_dead(&host->cgroups, prefix);
}

size_t box_host_layers(struct box_host *host, const struct box_layer **ret)
{
	probe_kernel(host);
	*ret = host->layers;
	return host->layers_len;
}
