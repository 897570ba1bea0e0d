/*
 * box.h - the privileged half of a sandbox: make it, give it a workspace and
 * limits, kill it, read its meters. It knows no job, no git and no queue.
 *
 *	struct box_host *host;			// once a process
 *	box_host_open(&host, &config, &err);
 *	box_host_sweep(host, "w1", &err);	// what a killed predecessor left
 *
 *	struct box *box;			// ahead of any work
 *	box_new(host, slot, &box, &err);	// namespaces, root, filter; init waits
 *	box_handle_take(box, &handle);		// the unprivileged half, see driver.h
 *
 *	box_attach(box, &workspace, &limits, &err);	// when the work is known
 *	...					// driver.h runs the steps
 *	box_free(box);				// everything in it is dead and gone
 *
 * A box is used once. It dies with any of: box_kill, box_free, the end of the
 * process that made it, the closing of the control socket in the handle.
 *
 * Started as root, each slot gets uids of its own that the host does not use;
 * started as an ordinary user, box_host_open moves the whole process into a
 * user namespace of its own first (it must still be single-threaded, and keeps
 * no network), and box_host_layers says what that costs.
 */
#ifndef SBX_SANDBOX_BOX_H
#define SBX_SANDBOX_BOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/defs.h"
#include "base/err.h"
#include "worker/sandbox/filter.h"

/* The uid and gid that a job sees itself as. */
enum { BOX_INNER_UID = 1000, BOX_INNER_GID = 1000 };
#define BOX_WORKSPACE "/work" /* where the workspace is mounted in the box */

struct box_host;
struct box;

/* Something of the host's that a box sees beside root and workspace, or a tmpfs. */
struct box_bind {
	int fd;	   /* directory or regular file, borrowed; -1: an empty, writable tmpfs */
	uid_t uid; /* as root: owner of the files, shown as the inner uid */
	gid_t gid;
	/* Absolute, without "." and "..". Made where it is not there, but not below
	 * what is the host's own. */
	const char *at;
	bool writable; /* the host's files themselves: no layer, no limit of the box */
};
enum { BOX_BINDS_MAX = 32 };

/* What a box sees of a network. */
enum box_network {
	BOX_NETWORK_NONE, /* a loopback of its own, and nothing else */
	BOX_NETWORK_HOST, /* the network namespace of the host's process itself: one layer less */
};

struct box_config {
	const char *instance;	   /* a-z0-9 and '-'; names the cgroups of this worker */
	const char *cgroup_parent; /* below each hierarchy; NULL: the process's own cgroup */
	bool allow_missing_cgroup; /* else box_attach fails where a limit has no controller */
	uid_t uid_base;		   /* as root: slot k runs as uid_base + k */
	unsigned slots;
	bool once; /* one box and no more: nothing is prepared for others */
	/* No cpu limit and no quota will be asked for: no groups are made for
	 * them, and cpu time is what the processes themselves report. */
	bool without_cpu;
	/* Copy workspaces instead of mounting an overlay; where the kernel can't do
	 * that (an ordinary user before Linux 6.6, root on a file system without
	 * idmapped mounts) they are copied anyway. */
	bool copy_workspace;
	/* What boxes may have as their root, read-only, as box_new_in names them:
	 * whole directories, or "" for parts of the host's own; none: that alone. */
	const char *const *roots;
	unsigned roots_len;
	/* The widest that box_attach may be asked for; what waits is under it, and
	 * a stricter one goes on top. Of a host of one box the very one. */
	enum filter_profile widest;
	const struct box_bind *binds; /* borrowed; only of a host of one box */
	unsigned binds_len;
	/* Boxes may get the network namespace of one that is gone, when nothing in it
	 * differs from an unused one: see network.c. Not of a host of one box. */
	bool reuse_networks;
	enum box_network network; /* HOST: only of a host of one box, or of one that makes none */
};

/* 0 means "no such limit" for every field but memory, processes and disk,
 * which must be given. */
struct box_limits {
	int64_t wall_ms; /* all steps together; driver.h watches, init backs it up */
	int64_t cpu_ms;	 /* all processes together */
	int64_t idle_ms; /* since the last output of the running step */
	int64_t memory_bytes;
	int64_t disk_bytes; /* workspace layer, /tmp and /dev/shm together */
	int64_t inodes;
	int64_t processes;
	int64_t open_files;
	int64_t file_bytes;
	int64_t output_bytes; /* both streams of all steps together */
	int64_t millicpus;
	/* How much nicer than the host's process steps are, 0-19. On version 2 of
	 * control groups the weights of their group say the same. */
	int nice;
	enum filter_profile profile; /* of system calls */
};

struct box_workspace {
	int lower_fd;	 /* directory, never written; -1: an empty workspace */
	int under_fd;	 /* directory that shows where the lower one has nothing, and that
			  * whiteouts of the lower one hide; of the same owner. 0: none */
	uid_t lower_uid; /* as root: owner of the files below, shown as the inner uid */
	gid_t lower_gid;
	bool direct; /* lower_fd itself is mounted writable: no layer, nothing is kept apart */
};

/* What the kernel counted for the whole box. -1: this host has no counter. */
struct box_usage {
	int64_t cpu_us;
	int64_t memory_peak_bytes; /* cgroup's peak: includes page cache and layer */
	int64_t processes_peak;
	int64_t io_read_bytes;
	int64_t io_write_bytes;
	int64_t oom_kills;
};

/* What the unprivileged half needs; all descriptors are owned by the holder. */
enum {
	BOX_METER_CPU,
	BOX_METER_MEMORY_PEAK,
	BOX_METER_MEMORY_EVENTS,
	BOX_METER_MEMORY_STAT,
	BOX_METER_PROCESSES_PEAK,
	BOX_METER_PROCESSES_EVENTS,
	BOX_METER_IO,
	BOX_METER_THROTTLED, /* on version 2 a part of BOX_METER_CPU */
	BOX_METERS
};
struct box_handle {
	int control_fd;		   /* SOCK_SEQPACKET to init */
	int meter_fds[BOX_METERS]; /* -1 where missing */
};
void box_handle_release(struct box_handle *handle);

/* --- the host --------------------------------------------------------- */

/* Whether this user namespace has all uids that the slots will take: root of
 * one may have no others than its own. */
bool box_ids_exist(uid_t base, unsigned slots);

/* Probes the kernel, compiles the filters, opens the root's directories. Fails
 * closed: ERR_UNSUPPORTED names what is missing and how to get it. */
int box_host_open(struct box_host **ret, const struct box_config *config,
		  struct err *err) MUST_CHECK;
void box_host_close(struct box_host *host);

/*
 * Kills and removes what an earlier process left behind that had `instance` as
 * its name (box_config.instance; not only the host's own), and only that. The
 * caller holds the lock of that instance.
 */
int box_host_sweep(struct box_host *host, const char *instance, struct err *err) MUST_CHECK;

/* The same for every instance "PREFIX-PID" whose process is no more. What does
 * not go is left for the next time. */
void box_host_sweep_dead(struct box_host *host, const char *prefix);

/* One line for each layer: name, whether it holds, and why it does not. */
struct box_layer {
	const char *name; /* "user_namespace", "seccomp", "cgroup_memory", ... */
	bool required;
	bool present;
	const char *detail; /* "" or the reason and the fix */
};
size_t box_host_layers(struct box_host *host, const struct box_layer **ret);

/* Network namespaces of boxes so far. */
struct box_networks {
	uint64_t made;
	uint64_t reused;  /* shown to be as when they were made */
	uint64_t refused; /* not so: gone */
};
struct box_networks box_host_networks(const struct box_host *host);

/* --- one box ---------------------------------------------------------- */

int box_new(struct box_host *host, unsigned slot, struct box **ret, struct err *err) MUST_CHECK;

/* The same with another root than the first of the host's, counted from 0. */
int box_new_in(struct box_host *host, unsigned slot, unsigned root, struct box **ret,
	       struct err *err) MUST_CHECK;

/* No box is made in this slot for now: lets go of what was kept for the next one.
 * None may be there. */
void box_host_forget(struct box_host *host, unsigned slot);

/* Moves the handle out; to be called once. */
void box_handle_take(struct box *box, struct box_handle *ret);

/* Sets the kernel's limits, mounts the workspace and hands it to init. The driver
 * need not wait for anything: init does nothing for it before all is in place.
 * ERR_LIMIT/ERR_UNSUPPORTED as above; ERR_INPUT for a profile that is wider than
 * the host's widest. */
int box_attach(struct box *box, const struct box_workspace *workspace,
	       const struct box_limits *limits, struct err *err) MUST_CHECK;

/* Waits for init's word that it has attached. To be asked when the driver fails,
 * for the reason. */
int box_confirm(struct box *box, struct err *err) MUST_CHECK;

/* For an event loop: readable once init has died. Borrowed. */
int box_pidfd(const struct box *box);

/* Every process in it is sent SIGKILL. Does not wait. */
void box_kill(struct box *box);

/* Kills, waits, removes the cgroups. NULL is fine. */
void box_free(struct box *box);

#endif
