/*
 * check_host.c - the machine: its memory and descriptors against the limits,
 * and the state directory.
 *
 * The uids of a worker that root starts must exist in its user namespace, or
 * nothing can be given to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "worker/check_private.h"
#include "worker/pool.h"
#include "worker/preset.h"
#include "worker/role.h"
#include "worker/sandbox/box.h"

enum {
	MIB = 1 << 20,
	SPACE_LEAST_MIB = 256, /* below: nothing can be fetched or checked out */
	SPACE_WISE_MIB = 4096,
	PRESETS_BYTES = 8192,
};

/* --- limits ----------------------------------------------------------- */

static int64_t machine_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long page = sysconf(_SC_PAGESIZE);

	return pages < 0 || page < 0 ? INT64_MAX : (int64_t)pages * page;
}

static void check_memory(const struct config *config, struct check_report *report)
{
	int64_t machine = machine_bytes();
	int64_t all;

	if (__builtin_mul_overflow(config->worker_slots, config->limits_memory, &all))
		all = INT64_MAX;
	if (config->limits_memory > machine)
		check_add(report, CHECK_FAIL, "memory", "lower [limits] memory",
			  "one job may take %lld MiB by default; the machine has %lld",
			  (long long)config->limits_memory / MIB, (long long)machine / MIB);
	else if (all > machine)
		check_add(report, CHECK_WARN, "memory", "lower [limits] memory or [worker] slots",
			  "%lld slots with %lld MiB each are more than the machine's %lld MiB",
			  (long long)config->worker_slots, (long long)config->limits_memory / MIB,
			  (long long)machine / MIB);
	else
		check_add(report, CHECK_OK, "memory", "",
			  "%lld slots with %lld MiB each, of %lld MiB",
			  (long long)config->worker_slots, (long long)config->limits_memory / MIB,
			  (long long)machine / MIB);
	if (config->max_memory > machine)
		check_add(report, CHECK_WARN, "memory", "lower [max] memory",
			  "a job may ask for %lld MiB; the machine has %lld",
			  (long long)config->max_memory / MIB, (long long)machine / MIB);
}

static void check_open_files(const struct config *config, struct check_report *report)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
		return;
	if (geteuid() != 0)
		limit.rlim_max /= 2; /* the other half keeps the worker going, see host.c */
	if ((int64_t)limit.rlim_max >= config->max_open_files)
		return;
	check_add(report, CHECK_WARN, "open_files",
		  "raise LimitNOFILE= of the service, or lower [max] open_files",
		  "a job may ask for %lld descriptors; it gets %llu at most",
		  (long long)config->max_open_files, (unsigned long long)limit.rlim_max);
}

/* Those that come with the program may be more than this worker gives. */
static void check_presets(const struct config *config, struct check_report *report)
{
	CLEANUP(buf_release) struct buf names;
	CLEANUP(buf_release) struct buf lowered;
	const struct preset *presets;
	size_t len = preset_builtin(&presets);

	buf_init(&names, PRESETS_BYTES);
	buf_init(&lowered, PRESETS_BYTES);
	preset_names(&config->limits_presets, &names);
	for (size_t i = 0; i < len; i++) {
		struct preset preset;
		const char *name;
		int64_t max;

		if (preset_find(&config->limits_presets, presets[i].name, &preset) &&
		    config_above_max(config, &preset.limits, &name, &max))
			buf_printf(&lowered, "; [max] lowers %s", preset.name);
	}
	check_add(report, CHECK_OK, "presets", "", "%s%s", buf_text(&names), buf_text(&lowered));
}

void check_limits(const struct config *config, struct check_report *report)
{
	check_memory(config, report);
	check_open_files(config, report);
	check_presets(config, report);
}

/* --- identities ------------------------------------------------------- */

void check_uids(const struct config *config, struct check_report *report)
{
	uid_t first = (uid_t)config->worker_uid_base;
	unsigned len = ROLE_UID_SANDBOX + (unsigned)pool_boxes(config);

	if (geteuid() == 0 && !box_ids_exist(first, len))
		check_add(report, CHECK_FAIL, "uids",
			  "set [worker] uid_base to unused uids that /proc/self/uid_map has, or "
			  "start the worker as an ordinary user",
			  "root of a user namespace that does not have uids %u to %u", first,
			  first + len - 1);
}

/* --- the state directory ---------------------------------------------- */

/* Cuts `path` back to the nearest directory that exists. */
static bool nearest_dir(char *path)
{
	struct stat st;

	for (;;) {
		char *slash;

		if (stat(path, &st) == 0)
			return S_ISDIR(st.st_mode);
		slash = strrchr(path, '/');
		if (slash == NULL || (errno != ENOENT && errno != ENOTDIR))
			return false;
		slash[slash == path ? 1 : 0] = '\0';
	}
}

/* A real file, for a mount may be read-only and a quota full. Not every file
 * system has files without a name. */
static int make_file(const char *path, int *ret_fd, struct err *err)
{
	char name[PATH_MAX];
	int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
		(void)snprintf(name, sizeof(name), "%s/.sbx-check-%d", path, (int)getpid());
		fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			(void)unlink(name);
	}
	if (fd < 0)
		return err_sys(err, "cannot make a file");
	*ret_fd = fd;
	return 0;
}

static int try_writing(const char *path, struct err *err)
{
	static const char content[] = "sbx-worker check\n";
	CLEANUP(fd_cleanup) int fd = -1;

	if (make_file(path, &fd, err) < 0)
		return -1;
	return fd_write_all(fd, content, sizeof(content) - 1, err);
}

static void check_space(const struct config *config, const char *path, struct check_report *report)
{
	static const char fix[] = "free some, or put [worker] state_dir on a larger disk";
	struct statvfs fs;
	int64_t free_mib;

	if (statvfs(path, &fs) < 0)
		return;
	free_mib = (int64_t)((double)fs.f_bavail * (double)fs.f_frsize / MIB);
	check_add(report,
		  free_mib < SPACE_LEAST_MIB  ? CHECK_FAIL
		  : free_mib < SPACE_WISE_MIB ? CHECK_WARN
					      : CHECK_OK,
		  "state_space", fix, "%lld MiB free for repositories and checkouts",
		  (long long)free_mib);
	if (fs.f_files > 0 && (int64_t)fs.f_favail < config->sources_max_files)
		check_add(report, CHECK_WARN, "state_space", fix,
			  "%llu inodes free, fewer than one checkout may need (%lld)",
			  (unsigned long long)fs.f_favail, (long long)config->sources_max_files);
}

bool check_place(char *path, struct err *err)
{
	if (*path != '/' || !nearest_dir(path))
		return err_set(err, ERR_NOT_FOUND, "not below a directory"), false;
	return try_writing(path, err) == 0;
}

void check_state(const struct config *config, struct check_report *report)
{
	static const char fix[] =
		"make the directory and give it to the worker's user, or set [worker] state_dir";
	const char *wanted = config->worker_state_dir;
	char *path = arena_strdup(report->arena, wanted);
	struct err err = {0};

	if (path == NULL)
		return;
	if (*path != '/' || !nearest_dir(path)) {
		check_add(report, CHECK_FAIL, "state_dir", fix, "'%s' is not a directory", wanted);
		return;
	}
	if (try_writing(path, &err) < 0) {
		check_add(report, CHECK_FAIL, "state_dir", fix, "'%s': %s", path, err.message);
		return;
	}
	if (strcmp(path, wanted) == 0)
		check_add(report, CHECK_OK, "state_dir", "", "'%s' can be written", wanted);
	else
		check_add(report, CHECK_OK, "state_dir", "",
			  "'%s' is not there yet; the worker makes it", wanted);
	check_space(config, path, report);
}
