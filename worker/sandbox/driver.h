/*
 * driver.h - the unprivileged half of a sandbox: talks to the init of one box
 * over its control socket. Whoever holds the handle needs no privilege, may be
 * confined, and is not trusted by the host half.
 *
 *	struct driver driver;
 *	driver_init(&driver, &handle, &limits);
 *	driver_edit(&driver, edits, n, &err);	// write the patched files
 *	driver_step(&driver, &step, &hooks, &outcome, &err);
 *	driver_finish(&driver, &err);		// every process but init is dead
 *	driver_changes(&driver, &visitor, ctx, &err);
 *	driver_find(&driver, globs, n, ...);
 *	driver_release(&driver);		// closes the handle: the box dies
 */
#ifndef SBX_SANDBOX_DRIVER_H
#define SBX_SANDBOX_DRIVER_H

#include "base/arena.h"
#include "worker/sandbox/box.h"

/* Which limit ended a step. */
enum box_limit {
	BOX_LIMIT_NONE,
	BOX_LIMIT_WALL,
	BOX_LIMIT_STEP_WALL, /* the step's own timeout */
	BOX_LIMIT_CPU,
	BOX_LIMIT_IDLE,
	BOX_LIMIT_MEMORY,
	BOX_LIMIT_DISK,
	BOX_LIMIT_INODES,
	BOX_LIMIT_PROCESSES,
	BOX_LIMIT_FILE,
	BOX_LIMIT_OUTPUT,
	BOX_LIMIT_COUNT
};
const char *box_limit_name(enum box_limit limit); /* "wall", "step_wall", ... */
const char *box_limit_unit(enum box_limit limit); /* of what was measured: "ms", "bytes", ... */

struct driver {
	struct box_handle handle;
	struct box_limits limits;
	int64_t started_mono_us; /* of the first step; 0 before */
	int64_t output_left_bytes;
	int64_t cpu_base_us; /* the box's own, before the first step */
	bool finished;
};

struct driver_step {
	const char *const *argv; /* NULL-terminated; argv[0] is searched in PATH */
	const char *const *env;	 /* NULL-terminated "K=V", complete */
	const char *cwd;	 /* relative to the workspace; NULL: its top */
	struct bytes stdin_bytes;
	int64_t timeout_ms; /* 0: none of its own */
	bool pass_stdin;    /* the caller's own standard input instead of stdin_bytes */
	/* -1, or the other end of a pty to be the step's terminal: then there is
	 * no output to be called for, and neither idle nor output limit */
	int tty_fd;
	/* A terminal from the box's own /dev/pts: what is written to it comes as
	 * DRIVER_STDOUT, what is typed goes where the hook `tty` says. */
	bool own_tty;
	uint16_t tty_rows, tty_columns; /* at first; 0: unknown */
};

enum driver_stream { DRIVER_STDOUT, DRIVER_STDERR };

/* What a step has used so far. */
struct driver_sample {
	int64_t wall_us;
	int64_t cpu_us;	      /* -1: nothing counts it before the end */
	int64_t memory_bytes; /* anonymous, of all processes now; -1 likewise */
	int64_t output_bytes;
};

struct driver_hooks {
	/* Each piece of output as it comes, up to the output limit. */
	void (*output)(void *ctx, enum driver_stream stream, const void *data, size_t len);
	/* Also waited for: when readable, `watch` is called; true stops the step. */
	int watch_fd; /* -1: none */
	bool (*watch)(void *ctx);
	/* The other end of the step's own terminal, borrowed until the step ends. */
	void (*tty)(void *ctx, int master_fd);
	/* Every `sample_ms` of a running step; 0: never. */
	int64_t sample_ms;
	void (*sample)(void *ctx, const struct driver_sample *sample);
	void *ctx;
};

struct driver_outcome {
	bool started; /* false: `start_error` says why exec failed */
	char start_error[128];
	int exit_code; /* -1 when it did not exit by itself */
	int signal;    /* 0 when none */
	enum box_limit limit;
	int64_t limit_value; /* measured, in the limit's unit */
	/* Those that the kernel held it to, and it went on: disk, inodes, processes. */
	bool met[BOX_LIMIT_COUNT];
	bool stopped;	  /* the watch asked for it */
	char syscall[32]; /* the filter killed for it, else "" */
	int64_t wall_us;
	int64_t cpu_us;		   /* user and system, of the step and all it waited for */
	int64_t memory_peak_bytes; /* see memory_is_groups */
	/* The control group's peak, until the end of this step, with page cache and
	 * layer; else the largest resident set that any single process had. */
	bool memory_is_groups;
	int64_t dropped_bytes; /* output beyond the limit, read and thrown away */
	int64_t output_bytes;  /* all that it wrote to both streams */
	/* As the processes report them, those that were killed too. */
	int64_t user_us, system_us;
	int64_t context_switches;
	int64_t page_faults, disk_faults; /* all; those that had to read */
	/* The control group's, of this step; else what the processes report, which
	 * is blocks of disks read and written in their own name. */
	int64_t io_read_bytes, io_write_bytes;
	int64_t throttled_us;	/* held up by the quota of CPUs; -1: no counter */
	int64_t processes_peak; /* of the box until the end of this step; -1: no counter */
};

/* Takes the handle over. */
void driver_init(struct driver *driver, struct box_handle *handle, const struct box_limits *limits);
void driver_release(struct driver *driver);

/* Writes, replaces or removes files of the workspace, before the first step.
 * Parents are made; what is in the way of a file is not: that is ERR_CONFLICT. */
struct driver_edit {
	const char *path;
	uint32_t mode; /* 0100644, 0100755, 0120000 (content is the target), 0: remove */
	struct bytes content;
};
int driver_edit(struct driver *driver, const struct driver_edit *edits, size_t len,
		struct err *err) MUST_CHECK;

/* Runs one step to its end; afterwards none of its descendants is left. */
int driver_step(struct driver *driver, const struct driver_step *step,
		const struct driver_hooks *hooks, struct driver_outcome *ret,
		struct err *err) MUST_CHECK;

/* No more steps. Must precede the calls below. */
int driver_finish(struct driver *driver, struct err *err) MUST_CHECK;

int driver_usage(const struct driver *driver, struct box_usage *ret, struct err *err) MUST_CHECK;

enum driver_kind { DRIVER_FILE, DRIVER_LINK, DRIVER_DIR, DRIVER_OTHER };

/*
 * Visits what is in the workspace's own layer: directories before what is in
 * them. Forged whiteouts and attributes do not matter: only names that the
 * mounted workspace shows are reported, and for each directory of the layer
 * all names that it shows, so the caller sees what is gone. What lies too deep
 * for a path is one more DRIVER_OTHER in the name of its directory. A visitor
 * that returns non-zero ends the walk, which then succeeds. ERR_LIMIT: there are
 * more names than are taken (4 Mi, or 32 MiB of one directory); the driver is of
 * no more use but for driver_usage.
 */
struct driver_visitor {
	/* `names` is NULL-terminated: everything the directory now holds. "" is the top. */
	int (*dir)(void *ctx, const char *path, const char *const *names);
	/* `fd` is open for reading for a DRIVER_FILE, else -1; borrowed. `target`
	 * is set for a DRIVER_LINK. */
	int (*entry)(void *ctx, const char *path, enum driver_kind kind, uint32_t mode,
		     int64_t size, int fd, const char *target);
};
int driver_changes(struct driver *driver, const struct driver_visitor *visitor, void *ctx,
		   struct err *err) MUST_CHECK;

/* Regular files of the workspace that match any of the globs (base/text.h),
 * opened without following any link. Bounded by `max_entries` looked at. */
int driver_find(struct driver *driver, const char *const *globs, size_t globs_len,
		size_t max_entries, int (*match)(void *ctx, const char *path, int64_t size, int fd),
		void *ctx, struct err *err) MUST_CHECK;

#endif
