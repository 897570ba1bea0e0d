/*
 * supervisor_state.c - the state directory: whose it is, who has its ledger.
 *
 *	STATE_DIR/		the supervisor's uid
 *	STATE_DIR/store		the storekeeper's
 *	STATE_DIR/worker.lock	held by the one worker that has the ledger
 *	STATE_DIR/ledger.db
 *	STATE_DIR/queue.db*	the embedded queue, when it is the default one's place
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/supervisor_private.h"

/* --- directories ------------------------------------------------------ */

/* Whoever names /tmp here must not find it taken over. The embedded queue may be
 * there already: a producer has made it. */
static int check_ours(const char *path, uid_t uid, struct err *err)
{
	static const char queue[] = "queue.db";
	const struct dirent *entry;
	struct stat st;
	DIR *dir;
	int names = 0;

	if (stat(path, &st) < 0)
		return err_sys(err, "cannot stat '%s'", path);
	if (st.st_uid == uid)
		return 0;
	dir = opendir(path);
	if (dir == NULL)
		return err_sys(err, "cannot open '%s'", path);
	while ((entry = readdir(dir)) != NULL)
		names += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			 strncmp(entry->d_name, queue, sizeof(queue) - 1) != 0;
	(void)closedir(dir);
	if (names == 0)
		return 0;
	return err_set(
		err, ERR_CONFLICT,
		"'%s' belongs to uid %u and is not empty; give the worker a directory of its "
		"own ([worker] state_dir)",
		path, st.st_uid);
}

static int own_dir(const struct config *config, const char *path, struct err *err)
{
	uid_t uid = (uid_t)config->worker_uid_base;

	if (fd_make_dirs(path, 0755, err) < 0 || (geteuid() == 0 && check_ours(path, uid, err) < 0))
		return -1;
	if (geteuid() == 0 && (chown(path, uid, uid) < 0 || chmod(path, 0750) < 0))
		return err_sys(err, "cannot give '%s' to uid %u", path, uid);
	return 0;
}

/* While this is still root, and the directory too: what a producer of root's has
 * sent before the first worker started becomes the worker's. */
static int give_queue(struct supervisor *self, struct err *err)
{
	struct carrier_config carrier;

	if (self->local != NULL || geteuid() != 0)
		return 0;
	carrier = role_carrier(self->config, &self->arena, "start");
	return carrier_give(&carrier, (unsigned)self->config->worker_uid_base, err);
}

int supervisor_prepare_state(struct supervisor *self, struct err *err)
{
	const char *state = self->config->worker_state_dir;
	const char *store = arena_printf(&self->arena, "%s/store", state);

	if (store == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (give_queue(self, err) < 0 || own_dir(self->config, state, err) < 0 ||
	    own_dir(self->config, store, err) < 0)
		return -1;
	return 0;
}

/* --- the ledger ------------------------------------------------------- */

/* One worker a ledger. The lock ends with this process. */
int supervisor_lock(struct supervisor *self, struct err *err)
{
	const char *path =
		arena_printf(&self->arena, "%s/worker.lock", self->config->worker_state_dir);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd;

	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	if (fcntl(fd, F_SETLK, &lock) < 0)
		return err_set(err, ERR_CONFLICT,
			       "state directory '%s' belongs to a running worker; give this one "
			       "its own [worker] state_dir",
			       self->config->worker_state_dir);
	return 0; /* kept open for the life of the process */
}

int supervisor_open_ledger(struct supervisor *self, struct err *err)
{
	const char *path =
		arena_printf(&self->arena, "%s/ledger.db", self->config->worker_state_dir);

	if (path == NULL)
		return err_set(err, ERR_LIMIT, "out of memory");
	if (ledger_open(&self->ledger, path, err) == 0)
		return 0;
	return err_prefix(err,
			  "uid %u cannot use the state directory (every directory above it must "
			  "be enterable)",
			  geteuid());
}
