/*
 * sandbox_private.h - what the files of the sandbox share: the host, the
 * modes it can run in, and the messages to and from the init of a box.
 *
 * Messages travel whole over SOCK_SEQPACKET and start with a `kind`. The
 * privileged socket (box.c to init) carries HELLO, ATTACH, ATTACHED and
 * FAILED; the control socket (driver.c to init) everything else. init trusts
 * the first and checks every byte of the second; the driver bounds what it
 * accepts from init.
 */
#ifndef SBX_SANDBOX_PRIVATE_H
#define SBX_SANDBOX_PRIVATE_H

#include <linux/filter.h>
#include <stdalign.h>

#include "worker/sandbox/cgroup.h"
#include "worker/sandbox/driver.h"

/* --- bounds ------------------------------------------------------------- */

enum {
	WIRE_BYTES = 60 << 10,		 /* one message, at most */
	WIRE_STEP_BYTES = 4 << 20,	 /* argv and environment of a step */
	WIRE_STEP_WORDS = 32 << 10,	 /* how many of them */
	WIRE_EDITS_BYTES = 512 << 20,	 /* one memory file of edits */
	WIRE_GLOBS = 256,		 /* patterns of one driver_find */
	WIRE_PATH_BYTES = 4096,		 /* a path in the workspace, NUL included */
	WIRE_REPLY_MS = 10 * 1000,	 /* init's answer to anything quick */
	WIRE_WALK_ENTRIES = 4 << 20,	 /* names of one walk */
	BOX_OVERLAY_INODES = 16,	 /* of the layer's own, beyond the job's */
	BOX_INIT_PROCESSES = 1,		 /* beyond the job's */
	BOX_INIT_MEMORY_BYTES = 8 << 20, /* init and kernel objects, beyond the job's */
	BOX_TICK_MS = 50,		 /* how often running counters are looked at */
	BOX_ROUTE_SOCKETS = 32,		 /* of one job at a time, see init_route.c, ... */
	BOX_ROUTE_LEAST = 4,		 /* ... fewer where this many ... */
	BOX_ROUTE_BYTES = 32 << 20,	 /* ... bytes could lie in fewer */
	BOX_SLOTS_MAX = 1024,
	BOX_ROOTS_MAX = 64,
	ROOT_PATH_BYTES = 256,
};

/* --- messages ----------------------------------------------------------- */

enum wire_kind {
	WIRE_ROOT = 1, /* init: its root is there; brings the mount namespace */
	WIRE_NET,      /* host: brings the network namespace, unless it is the host's own */
	WIRE_HELLO,    /* init: set up and confined */
	WIRE_FAILED,   /* init: `wire_failed` says what */
	WIRE_ATTACH,   /* host: `wire_attach`, brings the top of the layer */
	WIRE_ATTACHED, /* init */
	WIRE_STEP,     /* driver: `wire_step` */
	WIRE_STARTED,  /* init: brings the reading ends of both streams, or the terminal */
	WIRE_KILL,     /* driver: end the running step */
	WIRE_DONE,     /* init: `wire_done` */
	WIRE_EDIT,     /* driver: brings a memory file of `wire_edit` records */
	WIRE_OK,       /* init: done as asked */
	WIRE_FINISH,   /* driver */
	WIRE_CHANGES,  /* driver */
	WIRE_FIND,     /* driver: `wire_find` and the patterns */
	WIRE_NAMES,    /* init: `wire_names` and names of one directory */
	WIRE_ENTRY,    /* init: `wire_entry`, path and target; brings a regular file */
	WIRE_STOP,     /* driver: enough of the walk */
	WIRE_END,      /* init: the walk is over */
};

struct wire_failed {
	uint32_t kind;
	uint32_t err_kind;
	int32_t number;
	char message[256];
};

/* As fd_recv, from init. */
ssize_t wire_recv(int sock, void *data, size_t size, int *fds, size_t *ret_fds_len,
		  struct err *err) MUST_CHECK;

int wire_send_failed(int sock, const struct err *err);
/* As the error that it tells of; always -1. */
int wire_failed(const struct wire_failed *message, struct err *err) MUST_CHECK;

struct wire_attach {
	uint32_t kind;
	uint32_t direct;	  /* the workspace has no layer */
	uint32_t limit_processes; /* no cgroup does it: use the rlimit */
	struct box_limits limits;
};

enum { WIRE_STEP_TTY = 1, WIRE_STEP_STDIN = 2, WIRE_STEP_MEMFD = 4, WIRE_STEP_OWN_TTY = 8 };

/* Followed by, or with a memory file of: cwd, argv, env, each NUL-terminated.
 * Descriptors in this order: terminal or input, memory file. */
struct wire_step {
	uint32_t kind;
	uint32_t flags;
	uint32_t argc;
	uint32_t envc;
	uint16_t rows, columns; /* of an own terminal */
};

struct wire_done {
	uint32_t kind;
	uint32_t started;
	int32_t status; /* as waitpid(2) has it */
	uint32_t disk_full;
	uint32_t inodes_full;
	int64_t wall_us;
	int64_t user_us, system_us;
	int64_t max_rss_bytes;
	int64_t switches; /* of context, wanted or not */
	int64_t faults, disk_faults;
	int64_t read_bytes, write_bytes; /* of the processes' own blocks */
	char syscall[32];
	char start_error[128];
};

/* A record of an edit's memory file: this, the path with its NUL, the content,
 * padded to eight bytes. */
struct wire_edit {
	uint32_t mode;
	uint32_t path_len; /* without the NUL */
	uint64_t content_len;
};

struct wire_find {
	uint32_t kind;
	uint32_t globs;
	uint64_t max_entries;
};

/* Followed by the directory's path and then `count` names, NUL-terminated. */
struct wire_names {
	uint32_t kind;
	uint32_t count;
	uint32_t more; /* the next message goes on with the same directory */
	uint32_t bytes;
};

/* Followed by path and target, NUL-terminated. */
struct wire_entry {
	uint32_t kind;
	uint32_t entry_kind; /* enum driver_kind */
	uint32_t mode;
	uint32_t bytes;
	int64_t size;
};

/* --- the host ----------------------------------------------------------- */

enum {
	LAYERS_MAX = 32,
	LAYER_DETAIL_BYTES = 192,
};

/* The mount namespace that the boxes of one slot and root start from, see root.c. */
struct root_template {
	int mount_ns_fd; /* -1: not built yet */
};

/* A root that boxes may have. */
struct host_root {
	char path[ROOT_PATH_BYTES]; /* of an image; "": parts of the host's own */
};

/* What gives the parts of the host's root inodes that are not the host's. */
enum host_view {
	VIEW_BOUND, /* nothing for /usr, which has mounts below it; an overlay for /etc */
	VIEW_APART, /* an overlay for each */
	VIEW_WHOLE, /* one for both */
};

/* What a file of /proc/net says in a network namespace that nobody has used. */
struct network_file {
	char path[48];
	char *text;
};

enum { NETWORK_FILES_MAX = 160, NETWORKS_MAX = 16 };

struct networks {
	bool reuse;
	int kept[NETWORKS_MAX]; /* of boxes that are gone; not looked at yet */
	size_t kept_len;
	struct network_file *files;
	size_t files_len;
	unsigned refused_in_row;
	struct box_networks counts;
};

struct idmap {
	uid_t uid;
	gid_t gid;
	int userns_fd;		      /* -1: none yet */
	pid_t maker;		      /* killed, not yet reaped; 0: none */
	alignas(16) char stack[2048]; /* of the maker */
};

/* Reaps it, waiting when told to. */
void idmap_reap(struct idmap *map, bool wait);

/* quota.c: what the kernel counts by user; 0: this one does not. */
enum { QUOTAS = 2, QUOTA_SHARES_HOST = 2, QUOTA_SHARES_BOX = 8 };
struct quotas {
	int most[QUOTAS];
};
void quotas_read(struct quotas *ret);
/* Bounds the user namespace of the caller, just made, to one of so many shares.
 * `proc_fd` is a /proc that can be written. */
int quotas_set(const struct quotas *quotas, int proc_fd, int shares, struct err *err) MUST_CHECK;

struct box_host {
	char instance[40];
	bool allow_missing_cgroup;
	bool once;
	bool user_mode;	      /* started by an ordinary user: in a user namespace of our own */
	struct quotas quotas; /* in user mode: of that user */
	enum host_view view;
	bool copy_workspace;
	bool time_ns;
	bool host_network; /* boxes stay in the network namespace of this process */
	bool probed;	   /* a host of one box finds out by making it */
	uid_t uid_base;	   /* in user mode: the one uid */
	gid_t gid_base;
	unsigned slots;
	unsigned serial; /* of boxes, for names */
	int own_mount_ns_fd;
	int own_net_ns_fd;
	struct networks networks;
	struct cgroup_host cgroups;
	enum filter_profile widest;
	struct filter_key filter_key; /* of all boxes; new in each process of the host half */
	struct sock_fprog filter;     /* of `widest` */
	struct sock_fprog narrow[FILTER_PROFILES]; /* on top of it */
	long route_sockets;			   /* of one job at a time */
	int landlock_abi;			   /* 0: not used */
	const struct box_bind *binds;
	unsigned binds_len;
	int bind_fds[BOX_BINDS_MAX]; /* detached mounts; -1: not taken */
	struct host_root *roots;
	unsigned roots_len;
	struct root_template *templates; /* one a slot and root, those of a slot together */
	struct idmap *idmaps;		 /* one a slot, for the last owner asked for */
	struct box_limits expected;	 /* those of the last job: the next box gets them ahead */
	struct box_layer layers[LAYERS_MAX];
	char details[LAYERS_MAX][LAYER_DETAIL_BYTES];
	size_t layers_len;
};

/* Probes what has not been probed, and says which required layer is missing. */
int host_check(struct box_host *host, struct err *err) MUST_CHECK;

/* What a slot's jobs are to the host. */
uid_t host_slot_uid(const struct box_host *host, unsigned slot);
gid_t host_slot_gid(const struct box_host *host, unsigned slot);

/* Enters another mount namespace, and comes back with the directory kept. */
struct mount_visit {
	int home_fd;
	int cwd_fd;
};
int mount_visit_new(struct mount_visit *visit, const struct box_host *host,
		    struct err *err) MUST_CHECK;
int mount_visit_enter(struct mount_visit *visit, const struct box_host *host, int mount_ns_fd,
		      struct err *err) MUST_CHECK;
void mount_visit_leave(struct mount_visit *visit);

/* --- network.c ------------------------------------------------------------- */

/* Only for a host that uses them anew. */
int networks_open(struct box_host *host, struct err *err) MUST_CHECK;
void networks_close(struct networks *self);
/* One for a box, its loopback interface up; and the one of a box all of whose
 * processes are gone, which may be taken again when it can be shown to be unused. */
int networks_take(struct box_host *host, int *ret_fd, struct err *err) MUST_CHECK;
void networks_give(struct box_host *host, int *fd);

/* --- root_skeleton.c, root.c, workspace.c ---------------------------------- */

/* A detached file system with the directories of a root, and the files in it. */
int skeleton_new(int *ret_top_fd, struct err *err) MUST_CHECK;
int skeleton_fill(const char *image, int top_fd, struct err *err) MUST_CHECK;

struct root_template *root_template_of(const struct box_host *host, unsigned slot, unsigned root);

/* Builds the template of `slot` and `root` unless it is there. */
int root_template_open(struct box_host *host, unsigned slot, unsigned root,
		       struct err *err) MUST_CHECK;

/* The same in a new mount namespace of the caller, which is init, around a
 * skeleton that another may still be filling (not that of an image, which is
 * below an overlay then). To be sealed after that. */
int root_build_here(const struct box_host *host, unsigned root, int top_fd,
		    struct err *err) MUST_CHECK;
int root_seal(int top_fd, struct err *err) MUST_CHECK;

/* Called by init in a copy of a template, still with the host's privilege:
 * private /dev/pts and /proc, without what tells about the host. `ret_proc_fd` is a
 * writable view of /proc that no job can reach. */
int root_mount_own(int *ret_proc_fd, struct err *err) MUST_CHECK;

/* Everything a job can write. Mounted when its box is made, or with the rest. */
struct layer {
	int mount_fd; /* -1: none */
	int top_fd;   /* its top directory */
	bool mounted;
};
int layer_new(const struct box_host *host, unsigned slot, const struct box_limits *limits,
	      struct layer *ret, struct err *err) MUST_CHECK;
int layer_mount(const struct box_host *host, struct layer *layer, int mount_ns_fd,
		struct err *err) MUST_CHECK;
int layer_limit(const struct layer *layer, const struct box_limits *limits,
		struct err *err) MUST_CHECK;
void layer_release(struct layer *layer);

/* A detached mount on its way into a box. */
struct workspace_parts {
	int lower_fd; /* -1: none */
	int under_fd; /* -1: none */
	bool direct;
};
int workspace_prepare(struct box_host *host, unsigned slot, const struct box_workspace *workspace,
		      const struct layer *layer, struct workspace_parts *ret,
		      struct err *err) MUST_CHECK;
void workspace_release(struct workspace_parts *parts);
/* A detached copy of what the descriptor names: -1 with errno. */
int tree_clone(int fd);

/* The namespace that shows `uid` and `gid` of the disk as the slot's. Borrowed. */
int idmap_slot(struct box_host *host, unsigned slot, uid_t uid, gid_t gid,
	       struct err *err) MUST_CHECK;

/* binds.c: takes what the box is to see beside root and workspace; and, in its
 * mount namespace, puts it into place. `direct`: the workspace is the host's. */
int binds_take(struct box_host *host, unsigned slot, const struct box_limits *limits,
	       struct err *err) MUST_CHECK;
int binds_mount(const struct box_host *host, bool direct, struct err *err) MUST_CHECK;
void binds_release(struct box_host *host);

int workspace_mount(const struct box_host *host, const struct workspace_parts *parts,
		    struct layer *layer, int mount_ns_fd, struct err *err) MUST_CHECK;

/* Names in the layer. */
#define LAYER_UPPER "upper"
#define LAYER_UNDER "under"
#define LAYER_WORK  "work"
#define LAYER_TMP   "tmp"
#define LAYER_SHM   "shm"

/* --- init ----------------------------------------------------------------- */

/* What a new init is given; the descriptors are inherited. */
struct init_start {
	int host_fd;
	int control_fd;
	int template_fd; /* mount namespace to copy; -1: build one */
	unsigned root;	 /* of this one */
	int top_fd;	 /* around this skeleton, which the host fills meanwhile */
	struct box_host *host;
	int cgroup_fds[CGROUP_JOINS];
	uid_t uid; /* outside */
	gid_t gid;
	bool drop_groups;
};

/* The whole life of pid 1. */
NORETURN void init_main(const struct init_start *start);

#endif
